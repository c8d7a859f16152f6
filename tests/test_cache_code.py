"""The cache and edits: whatever a result depends on, an edit of it runs the task again."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cached import HEAD, Project, project_in
from command import write


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return project_in(tmp_path, monkeypatch)


LIB = """
RATES = {"eur": 2}
LIMIT = 10

def deep(x):
    # a comment
    return x + 1

def scale(x):
    return deep(x) * 2

class Curve:
    factor = 3

    def __init__(self, x):
        self.x = x

    def value(self):
        return self.x * self.factor * RATES["eur"]

    def __eq__(self, other):
        return self.x == other.x

CURVE = Curve(1)
"""
FLOWS = """
import lib

@mxm.task
def make(n: int): return lib.Curve(n)

@mxm.task(cache=True)
def helper(n: int) -> int: return lib.scale(n)

@mxm.task(cache=True)
def constant(n: int) -> int: return min(n, lib.LIMIT)

@mxm.task(cache=True)
def mapping(n: int) -> int: return n * lib.RATES["eur"]

@mxm.task(cache=True)
def of_class(n: int) -> int: return lib.Curve(n).value()

@mxm.task(cache=True)
def of_argument(curve) -> int: return curve.value()

@mxm.task(cache=True)
def of_constant(n: int) -> int: return n + lib.CURVE.value()

@mxm.flow
def f(n: int = 20):
    return [helper(n), constant(n), mapping(n), of_class(n), of_argument(make(n)), of_constant(n)]
"""
ALL = ["helper", "constant", "mapping", "of_class", "of_argument", "of_constant"]
CURVES = ["of_class", "of_argument", "of_constant"]


@pytest.mark.parametrize(
    ("before", "after", "run"),
    [
        ("x + 1", "x + 2", ["helper"]),
        ("# a comment", "# another one", []),
        ("def scale(x):", "\n\ndef scale(x):  # moved", []),
        ("LIMIT = 10", "LIMIT = 11", ["constant"]),
        ('"eur": 2', '"eur": 4', ["mapping", *CURVES]),
        ("factor = 3", "factor = 5", CURVES),
        ("self.x * self", "2 * self.x * self", CURVES),
        ("CURVE = Curve(1)", "CURVE = Curve(7)", ["of_constant"]),
    ],
)
@pytest.mark.parametrize("options", [(), ("--runner", "processes", "--workers", "1")], ids=" ".join)
def test_an_edit_runs_what_depends_on_it_and_nothing_else(
    project: Project, before: str, after: str, run: list[str], options: tuple[str, ...]
) -> None:
    project.write(FLOWS, lib=LIB)
    project.run(*options)
    assert project.run(*options).cached == ALL
    project.edit(before, after, "lib.py")
    ran, truth = project.run(*options), project.run("--no-cache")
    assert [name for name in ALL if name not in ran.cached] == run
    assert ran.value == truth.value
    assert project.run().cached == ALL


def test_why_names_the_function_its_place_and_the_run(project: Project) -> None:
    project.write(FLOWS, lib=LIB)
    first = project.run().document["id"]
    project.edit("x + 1", "x + 2", "lib.py")
    why = project.run().why("helper")
    assert why == f"function lib.deep changed at lib.py:4 since run {first}"


def test_a_name_bound_anew_at_run_time_is_what_counts(project: Project) -> None:
    project.write("""
LIMIT = 1

@mxm.task
def choose(n: int) -> int:
    global LIMIT
    LIMIT = n
    return 0

@mxm.task(cache=True, after=choose, cache_ttl_s=1000)
def use() -> int: return LIMIT

@mxm.flow(tasks=[use])
def f(n: int = 1): ...
""")
    assert [project.run("-p", f"n={n}").document["tasks"][1]["result"] for n in (1, 2, 1, 2)] == [
        1,
        2,
        1,
        2,
    ]
    assert project.run("-p", "n=2").cached == ["use"]


HELD = {
    "context variable": "RATE = contextvars.ContextVar('RATE')\nset, get = RATE.set, RATE.get",
    "attribute of a thread": """
HELD = threading.local()
def set(rate): HELD.rate = rate
def get(): return HELD.rate
""",
    "queue": """
HELD = queue.Queue()
set = HELD.put
def get(): return HELD.queue[-1]
""",
    "event": """
HELD = threading.Event()
def set(rate): HELD.set() if rate == 1 else HELD.clear()
def get(): return 1 if HELD.is_set() else 2
""",
    "attribute that a pickle leaves out": """
class Sheet:
    def __getstate__(self): return {}
SHEET = Sheet()
def set(rate): SHEET.rate = rate
def get(): return SHEET.rate
""",
}


@pytest.mark.parametrize("held", HELD)
def test_what_an_earlier_task_puts_where_the_code_looks_counts(project: Project, held: str) -> None:
    project.write(
        """
import rates

@mxm.task
def choose(n: int) -> int:
    rates.set(n)
    return 0

@mxm.task(cache=True)
def use(chosen: int) -> int: return rates.get()

@mxm.flow
def f(n: int = 1): return use(choose(n))
""",
        rates=f"import contextvars, queue, threading\n{HELD[held]}",
    )
    assert [project.run("-p", f"n={n}").value for n in (1, 2, 1)] == [1, 2, 1]
    assert project.run().cached == ["use"]


def test_a_task_that_binds_a_name_anew_is_not_kept(project: Project) -> None:
    project.write("""
COUNT = 0

@mxm.task(cache=True)
def count(n: int) -> int:
    global COUNT
    COUNT += n
    return COUNT

@mxm.flow
def f(n: int = 1): return count(n)
""")
    assert "MXM708" in project.run().codes
    assert project.run().cached == []


def test_code_that_is_decided_at_run_time_is_not_kept_without_a_version(project: Project) -> None:
    project.write("""
@mxm.task(cache=True)
def load(text: str) -> int: return eval(text)

@mxm.flow
def f(text: str = "1 + 1"): return load(text)
""")
    first = project.run()
    assert first.codes == ["MXM705"]
    assert "eval" in first.err
    assert project.run().cached == []
    project.edit("cache=True", "cache=True, cache_version=1")
    project.run()
    assert project.run().cached == ["load"]


def test_a_variable_of_the_environment_is_in_the_key(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("""
import os

@mxm.task(cache=True)
def load() -> str: return os.environ.get("DESK", "none")

@mxm.flow
def f(): return load()
""")
    assert [project.run().value, project.run().cached] == ["none", ["load"]]
    monkeypatch.setenv("DESK", "fx")
    ran = project.run()
    assert (ran.value, ran.cached) == ("fx", [])
    assert ran.why("load") == "variable DESK was set"


def test_the_clock_in_a_cached_task_is_a_warning(project: Project) -> None:
    project.write("""
import time

@mxm.task(cache=True)
def load() -> float: return time.time()

@mxm.flow
def f(): return load()
""")
    ran = project.run()
    assert ran.codes == ["MXM702"]
    assert "flows.py:6" in ran.err
    project.edit("cache=True", "cache=True, cache_ttl_s=60")
    assert project.run().codes == []


def test_a_warning_of_a_function_is_given_once_however_often_a_flow_uses_it(
    project: Project,
) -> None:
    project.write("""
import time

@mxm.task(cache=True)
def stamp(n: int) -> int: return n + int(time.time() * 0)

@mxm.task(cache=True)
def other(n: int) -> int: return n + int(time.time() * 0)

@mxm.flow
def f(n: int = 1): return other(stamp(stamp(stamp(n))))
""")
    ran = project.run()
    assert ran.codes == ["MXM702", "MXM702"]
    assert "task 'stamp' is cached" in ran.err
    assert "task 'other' is cached" in ran.err


def test_a_moved_state_of_random_is_a_warning(project: Project) -> None:
    project.write("""
import random

@mxm.task(cache=True, cache_version=1)
def load() -> int: return random.randrange(5)

@mxm.flow
def f(): return load()
""")
    assert project.run().codes == ["MXM702"]


def test_a_library_that_is_first_loaded_in_a_task_moves_nothing(project: Project) -> None:
    body = """
@mxm.task(cache=True, cache_version=1)
def load() -> float:
    import numpy as np
    return float(np.random.default_rng(3).normal())

@mxm.flow
def f(): return load()
"""
    write(project.folder, {"flows.py": HEAD + body})
    command = [sys.executable, "-m", "mxm.pipeline.cli.main", "run", "f", "--backend", "inline"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "MXM" not in ran.stderr
    project.edit("np.random.default_rng(3)", "np.random")
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "MXM702 task 'load' draws random numbers from np.random" in ran.stderr


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a server on this computer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_network_connection_in_a_cached_task_is_a_warning(project: Project, server: int) -> None:
    project.write(f"""
PARTS = ["sock", "et"]

@mxm.task(cache=True, code_deps=[len])
def load() -> int:
    import importlib
    importlib.import_module("".join(PARTS)).create_connection(("127.0.0.1", {server})).close()
    return 1

@mxm.flow
def f(): return load()
""")
    ran = project.run()
    assert "MXM702 task 'load' is cached, and it opened a network connection" in ran.err
    project.edit("cache=True", "cache=True, cache_ttl_s=60")
    assert project.run().codes == []


@pytest.mark.parametrize("edit", [False, True])
def test_files_of_the_system_count_and_are_not_asked_for(
    project: Project, edit: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mxm.pipeline.execution.files import kept_reads

    shared = tmp_path / "shared" / "zones"
    shared.parent.mkdir()
    shared.write_text("1")
    monkeypatch.setattr(kept_reads, "_SYSTEM", (str(shared.parent),))
    folder = project.folder / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    inner = project_in(folder, monkeypatch)
    inner.write(f"""
from pathlib import Path

@mxm.task(cache=True)
def load() -> str: return Path({str(shared)!r}).read_text()

@mxm.flow
def f(): return load()
""")
    ran = inner.run("--strict-cache")
    assert ran.codes == []
    if edit:
        shared.write_text("2")
    assert inner.run("--strict-cache").cached == ([] if edit else ["load"])


def test_a_statement_of_the_module_of_the_flow_counts_for_tasks_of_other_modules(
    project: Project,
) -> None:
    project.write(
        """
import lib
import decimal

decimal.getcontext().prec = 5

@mxm.flow
def f(): return lib.third()
""",
        lib="""
import decimal
import mxm

@mxm.task(cache=True)
def third() -> str: return str(decimal.Decimal(1) / 3)
""",
    )
    assert [project.run().value, project.run().cached] == ["0.33333", ["third"]]
    project.edit("prec = 5", "prec = 7")
    assert project.run().value == "0.3333333"


def test_two_desks_with_one_text_read_their_own_files(project: Project) -> None:
    text = """
import os
import mxm

@mxm.task(cache=True)
def load() -> str:
    with open(os.path.join(os.path.dirname(__file__), "data.txt")) as file: return file.read()

@mxm.flow
def NAME(): return load()
"""
    for name in ("one", "two"):
        (project.folder / name).mkdir()
        (project.folder / name / "flows.py").write_text(text.replace("NAME", "f"))
        (project.folder / name / "data.txt").write_text(name)
    (project.folder / "pyproject.toml").write_text("")
    from command import invoke

    for _ in range(2):
        for name in ("one", "two"):
            ran = invoke("run", f"{name}/flows.py:f", "--backend", "inline", "--value", "-q")
            assert ran.out == f'"{name}"\n'


def test_a_package_that_a_result_is_made_of_counts(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    from mxm.pipeline.execution.cache import run_cache as caching

    project.write("""
import numpy as np

@mxm.task(cache=True)
def load(n: int): return np.arange(n)

@mxm.task(cache=True)
def total(xs) -> int: return int(xs.sum())

@mxm.flow
def f(n: int = 4): return total(load(n))
""")
    project.run()
    assert project.run().cached == ["load", "total"]
    real = caching.installed
    monkeypatch.setattr(caching, "installed", lambda name: f"newer than {real(name)}")
    ran = project.run()
    assert ran.cached == []
    assert ran.why("load") == f"package numpy {np.__version__} -> newer"


def test_a_read_kept_by_a_function_counts_for_the_tasks_that_reach_it(project: Project) -> None:
    project.write(
        """
import lib

@mxm.task(cache=True, cache_version=VERSION)
def first(n: int) -> int: return lib.table() + n

@mxm.task(cache=True)
def second(n: int) -> int: return lib.table() * n

@mxm.task(cache=True)
def other(n: int) -> int: return n

@mxm.flow
def f(n: int = 2): return [first(n), second(n), other(n)]
""".replace("VERSION", "1"),
        lib="""
import functools

@functools.cache
def table():
    with open("table.txt") as file: return int(file.read())
""",
    )
    (project.folder / "table.txt").write_text("10")
    assert project.run().value == [12, 20, 2]
    assert project.run().cached == ["first", "second", "other"]
    (project.folder / "table.txt").write_text("20")
    ran = project.run()
    assert (ran.value, ran.cached) == ([22, 40, 2], ["other"])


def test_a_run_inside_a_cached_task_counts_with_what_it_read(project: Project) -> None:
    project.write("""
@mxm.task(cache=True)
def read(n: int) -> int:
    with open("inner.txt") as file: return int(file.read()) + n

@mxm.flow
def inner(n: int = 1): return read(n)

@mxm.task(cache=True)
def outer(n: int) -> int: return inner.run(n=n).value()

@mxm.flow
def f(n: int = 1): return outer(n)
""")
    (project.folder / "inner.txt").write_text("10")
    assert project.run().value == 11
    project.edit("def outer(n: int) -> int: return", "def outer(n: int) -> int: return 0 +")
    assert project.run().value == 11  # by the kept result of `read`
    assert project.run().cached == ["outer"]
    (project.folder / "inner.txt").write_text("20")
    assert project.run().value == 21
