"""The cache: what is used again, what runs, and what is never kept."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cached import Project, project_in
from command import invoke
from modules import module_of

import mxm
from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.execution.forecast import forecast
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.execution.plans.plan import make_plan
from mxm.pipeline.params.caching import cache_notes, cached_tasks
from mxm.pipeline.specdict import flow_from_dict, flow_to_dict
from mxm.pipeline.store.entries import open_entries


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return project_in(tmp_path, monkeypatch)


TWO = """
@mxm.task(cache=True)
def load(n: int) -> list[int]:
    return list(range(n))

@mxm.task(cache=True)
def total(xs: list[int], scale: int = 1) -> int:
    return sum(xs) * scale

@mxm.flow
def f(n: int = 4, scale: int = 1):
    return total(load(n), scale)
"""

RUNNERS = [
    (),
    ("--runner", "threads"),
    ("--runner", "processes", "--workers", "2"),
    ("--backend", "prefect"),
    ("--backend", "prefect", "--runner", "processes", "--workers", "2"),
]


def test_a_second_run_takes_every_result_of_the_first(project: Project) -> None:
    project.write(TWO)
    first, second = project.run(), project.run()
    assert (first.cached, second.cached) == ([], ["load", "total"])
    assert first.value == second.value == 6
    assert second.document["tasks"][0]["reason"] == f"kept by run {first.document['id']}"
    assert second.document["tasks"][0]["attempts"] == 0


@pytest.mark.parametrize("options", RUNNERS, ids=" ".join)
def test_every_runner_and_backend_has_the_same_keys(
    project: Project, options: tuple[str, ...]
) -> None:
    project.write(TWO)
    project.run(*options)
    assert project.run().cached == ["load", "total"]
    assert project.run(*options, "-p", "scale=2").cached == ["load"]
    ran = project.run("-p", "scale=2")
    assert (ran.cached, ran.value) == (["load", "total"], 12)


def test_what_changed_runs_and_says_why(project: Project) -> None:
    project.write(TWO)
    assert project.run().why("load") == "no earlier result"
    ran = project.run("-p", "n=5")
    assert ran.cached == []
    assert ran.why("load") == "parameter 'n' changed: 4 -> 5"
    assert ran.why("total") == "the result of 'load' changed"
    ran = project.run("-p", "n=5", "-p", "scale=3")
    assert ran.why("total") == "parameter 'scale' changed: 1 -> 3"


def test_a_task_that_runs_again_with_the_same_result_leaves_the_rest_cached(
    project: Project,
) -> None:
    project.write(TWO)
    project.run()
    project.edit("list(range(n))", "[x for x in range(n)]")
    assert project.run().cached == ["total"]


def test_a_flow_and_a_project_cache_the_tasks_that_do_not_say(project: Project) -> None:
    flows = TWO.replace("(cache=True)\ndef load", "(cache=False)\ndef load").replace(
        "(cache=True)\ndef total", "\ndef total"
    )
    project.write(flows)
    project.run()
    assert project.run().cached == []
    project.write(flows.replace("@mxm.flow", "@mxm.flow(cache=True)"))
    project.run()
    assert project.run().cached == ["total"]
    project.write(flows)
    (project.folder / "pyproject.toml").write_text("[tool.mxm.pipeline]\ncache = true\n")
    assert project.run().cached == ["total"]
    (project.folder / "pyproject.toml").write_text("[tool.mxm.pipeline]\ncache = false\n")
    assert project.run().cached == []


def test_a_cached_flow_in_the_body_of_another_keeps_its_option(project: Project) -> None:
    project.write("""
@mxm.task
def load(n: int) -> int: return n

@mxm.task
def other(n: int) -> int: return n

@mxm.flow(cache=True)
def inner(n: int): return load(n)

@mxm.flow
def f(n: int = 1): return other(inner(n))
""")
    project.run()
    assert project.run().cached == ["inner.load"]


@pytest.mark.parametrize("option", ["--no-cache"])
def test_a_run_without_the_cache_neither_uses_nor_keeps(project: Project, option: str) -> None:
    project.write(TWO)
    project.run(option)
    assert project.run().cached == []
    assert project.run(option).cached == []
    assert project.run().cached == ["load", "total"]


ONE = """
import mxm

@mxm.resource
def db():
    yield 1

@mxm.task(cache=True, cache_ttl_s=100)
def load(n: int, db: int = mxm.use(db)) -> int:
    return n + db

@mxm.task(cache=True)
def double(n: int) -> list[int]:
    return [2 * n]

@mxm.flow
def f(n: int = 1):
    return double(load(n))
"""


def test_from_python_cache_false_neither_uses_nor_keeps(project: Project) -> None:
    flow = module_of(project.folder, ONE).f
    states = [
        compile_flow(flow, backend="inline", cache=cache).run().tasks["load"].state
        for cache in (False, None, False, None)
    ]
    assert states == ["succeeded", "succeeded", "succeeded", "cached"]


def test_a_flow_with_a_cached_task_is_recorded_from_python(project: Project) -> None:
    compile_flow(module_of(project.folder, ONE).f, backend="inline").run()
    with sqlite3.connect(project.folder / ".mxm" / "store.db") as database:
        assert database.execute("SELECT count(*) FROM run").fetchone() == (1,)


def test_overrides_and_replaced_resources_neither_use_nor_keep(project: Project) -> None:
    module = module_of(project.folder, ONE)
    flow = compile_flow(module.f, backend="inline")
    assert flow.run(options={"resources": {module.db: 5}}).value() == [12]
    assert flow.run(options={"overrides": {"load": 10}}).value() == [20]
    first = flow.run()
    assert (first.value(), {t.state for t in first.tasks.values()}) == ([4], {"succeeded"})
    assert flow.run(options={"resources": {module.db: 5}}).value() == [12]
    assert flow.run(options={"overrides": {"load": 10}}).tasks["double"].state == "succeeded"
    assert [t.state for t in flow.run().tasks.values()] == ["cached", "cached"]


def test_the_flow_value_of_a_cached_run_is_loaded_by_reference_once(project: Project) -> None:
    flow = compile_flow(module_of(project.folder, ONE).f, backend="inline")
    flow.run()
    run = flow.run()
    assert run.results == {"load": 2, "double": [4]}
    assert run.values["double"] is run.tasks["double"].value
    assert run.value() == [4]


# Loading


def test_a_cached_upstream_is_loaded_only_when_a_task_that_runs_needs_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("""
@mxm.task(cache=True)
def load(n: int) -> list[int]: return list(range(n))

@mxm.task(cache=True)
def pick(xs: list[int]) -> int: return xs[0]

@mxm.task(cache=True)
def both(first: int, xs: list[int], k: int) -> int: return first + xs[1] + k

@mxm.flow
def f(k: int = 1):
    xs = load(4)
    return both(pick(xs), xs, k)
""")
    from mxm.pipeline.store import kept

    project.run()
    loaded: list[str] = []
    real = kept.load
    monkeypatch.setattr(
        kept, "load", lambda store, digest, data: loaded.append(digest) or real(store, digest, data)
    )
    assert project.run().cached == ["load", "pick", "both"]
    assert loaded == []
    ran = project.run("-p", "k=2")
    assert (ran.cached, ran.value) == (["load", "pick"], 3)
    assert len(loaded) == 2


def test_a_part_of_a_cached_result_needs_no_loading(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("""
@mxm.task(cache=True)
def load(n: int) -> dict[str, list[int]]: return {"a": [n], "b": [2 * n]}

@mxm.task(cache=True)
def pick(xs: list[int]) -> int: return xs[0]

@mxm.flow
def f(n: int = 1): return pick(load(n)["b"])
""")
    from mxm.pipeline.store import kept

    assert project.run().value == 2
    monkeypatch.setattr(kept, "load", None)
    assert project.run().cached == ["load", "pick"]


def test_parts_have_the_key_of_their_content(project: Project) -> None:
    project.write("""
@mxm.task(cache=True)
def load(n: int) -> dict[str, int]: return {"a": n, "b": 7}

@mxm.task(cache=True)
def pick(x: int) -> int: return x

@mxm.flow
def f(n: int = 1):
    d = load(n)
    return [pick.named("pa")(d["a"]), pick.named("pb")(d["b"])]
""")
    project.run()
    assert project.run("-p", "n=2").cached == ["pb"]


# Items

MAPPED = """
@mxm.task(cache=True)
def double(x: int, k: int = 2) -> int: return x * k

@mxm.task(cache=True)
def plus(x: int) -> int: return x + 1

@mxm.task(cache=True)
def total(xs: list[int]) -> int: return sum(xs)

@mxm.flow
def f(xs: list[int] = [1, 2, 3], k: int = 2):
    return total(plus.map(double.map(xs, k=k)))
"""


@pytest.mark.parametrize("options", RUNNERS, ids=" ".join)
def test_items_are_cached_one_by_one(project: Project, options: tuple[str, ...]) -> None:
    project.write(MAPPED)
    assert project.run(*options).value == 15
    again = project.run(*options)
    assert (again.cached, again.value) == (["double", "plus", "total"], 15)
    more = project.run(*options, "-p", "xs=[3, 1, 9]")
    assert more.items("double") == {"3": "cached", "1": "cached", "9": "succeeded"}
    assert more.items("plus") == {"3": "cached", "1": "cached", "9": "succeeded"}
    assert (more.states["double"], more.value) == ("succeeded", 29)


def test_cached_items_are_not_loaded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from mxm.pipeline.store import kept

    project.write(MAPPED)
    project.run()
    monkeypatch.setattr(kept, "load", None)
    assert project.run().value == 15


def test_equal_items_without_an_entry_agree(project: Project) -> None:
    project.write(MAPPED)
    ran = project.run("-p", "xs=[4, 4, 4]")
    assert (ran.value, set(ran.items("double").values())) == (27, {"succeeded", "cached"})


def test_the_shared_input_of_cached_items_is_not_loaded(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("""
@mxm.task(cache=True)
def load(n: int) -> list[int]: return [n]

@mxm.task(cache=True)
def plus(x: int, base: list[int]) -> int: return x + base[0]

@mxm.flow
def f(n: int = 5): return plus.map([1, 2], base=load(n))
""")
    from mxm.pipeline.store import kept

    assert project.run().value == [6, 7]
    monkeypatch.setattr(kept, "load", None)
    assert project.run().value == [6, 7]


def test_items_of_a_mapped_flow_are_cached(project: Project) -> None:
    project.write("""
@mxm.task(cache=True)
def load(s: int) -> int: return 10 * s

@mxm.task(cache=True)
def plus(x: int, y: int) -> int: return x + y

@mxm.flow
def one(s: int, y: int = 1): return plus(load(s), y)

@mxm.flow
def f(xs: list[int] = [1, 2]): return one.map(xs)
""")
    project.run()
    ran = project.run("-p", "xs=[2, 3]")
    assert ran.value == [21, 31]
    assert ran.items("one.load") == {"2": "cached", "3": "succeeded"}
    assert ran.items("one.plus") == {"2": "cached", "3": "succeeded"}


def test_a_failed_item_is_tried_again_and_the_others_are_cached(project: Project) -> None:
    project.write("""
import os
@mxm.task(cache=True, on_item_error="skip", inputs=["env:BROKEN"])
def plus(x: int) -> int:
    if x == 2 and os.environ.get("BROKEN"): raise ValueError(x)
    return x

@mxm.flow
def f(): return plus.map([1, 2, 3])
""")
    os.environ["BROKEN"] = ""
    try:
        project.edit('inputs=["env:BROKEN"]', "cache_version=1")
        os.environ["BROKEN"] = "yes"
        project.run()
        os.environ["BROKEN"] = "yes"
        again = project.run()
        assert again.items("plus") == {"1": "cached", "2": "failed", "3": "cached"}
        assert again.states == {"plus": "succeeded"}  # not cached: an item of it ran
    finally:
        del os.environ["BROKEN"]


def test_a_map_of_which_an_item_ran_is_not_cached_and_its_followers_run(project: Project) -> None:
    project.write("""
from mxm.pipeline import Skip
@mxm.task(cache=True)
def plus(x: int) -> int:
    if x == 2: raise Skip("closed")
    return x

@mxm.task(cache=True, after=plus)
def follows() -> int: return 1

@mxm.flow
def f(): return [plus.map([1, 2, 3]), follows()]
""")
    project.run()
    again = project.run()
    assert again.items("plus") == {"1": "cached", "2": "skipped", "3": "cached"}
    assert again.states == {"plus": "succeeded", "follows": "succeeded"}


# What is never kept


def test_a_task_that_changes_its_argument_in_place_is_not_kept(project: Project) -> None:
    project.write("""
@mxm.task
def load(n: int) -> list[int]: return [n]

@mxm.task(cache=True)
def push(xs: list[int]) -> int:
    xs.append(1)
    return len(xs)

@mxm.task
def count(xs: list[int], after: int) -> int: return len(xs)

@mxm.flow
def f(n: int = 1):
    xs = load(n)
    return count(xs, push(xs))
""")
    for _ in range(2):
        ran = project.run()
        assert (ran.cached, ran.value) == ([], 2)
        assert "MXM703" in ran.codes


def test_a_worker_process_sees_a_change_in_place(project: Project) -> None:
    project.write("""
@mxm.task(cache=True)
def push(xs: list[int]) -> int:
    xs.append(1)
    return len(xs)

@mxm.flow
def f(xs: list[int] = [1]): return push(xs)
""")
    options = ("--runner", "processes", "--workers", "1")
    assert "MXM703" in project.run(*options).codes
    assert project.run(*options).cached == []


def test_a_failure_a_skip_and_a_cancelled_task_are_not_kept(project: Project) -> None:
    project.write("""
from mxm.pipeline import Skip
@mxm.task(cache=True, cache_version=1, allow_failure=True)
def bad() -> int: raise ValueError("x")

@mxm.task(cache=True)
def skipped() -> int: raise Skip("closed")

@mxm.flow(tasks=[bad, skipped])
def f(): ...
""")
    for _ in range(2):
        assert project.run().states == {"bad": "failed", "skipped": "skipped"}


def test_what_cannot_be_pickled_goes_on_and_is_said_once(project: Project) -> None:
    project.write("""
@mxm.task(cache=True)
def make(n: int): return lambda: n

@mxm.task
def call(fn) -> int: return fn()

@mxm.flow
def f(n: int = 3): return call(make(n))
""")
    for _ in range(2):
        ran = project.run()
        assert (ran.value, ran.cached, ran.codes) == (3, [], ["MXM704"])


def test_an_argument_without_content_makes_no_key(project: Project) -> None:
    project.write("""
import threading
@mxm.task
def make(): return {"lock": threading.Lock()}

@mxm.task(cache=True)
def use(thing, n: int = 1) -> int: return n

@mxm.flow
def f(): return use(make())
""")
    for _ in range(2):
        ran = project.run()
        assert (ran.value, ran.cached) == (1, [])
        assert ran.codes == ["MXM705"]
        assert "argument 'thing'['lock']" in ran.err


def test_a_lossy_pickle_is_not_kept(project: Project) -> None:
    project.write("""
class Frame:
    def __init__(self, rows): self.rows, self.note = rows, ""
    def __reduce__(self): return Frame, (self.rows,), {"note": self.note}
    def __setstate__(self, state): self.note = ""

@mxm.task(cache=True)
def load(n: int) -> Frame:
    frame = Frame([n])
    frame.note = "adjusted"
    return frame

@mxm.task
def read(frame: Frame) -> str: return frame.note

@mxm.flow
def f(n: int = 3): return read(load(n))
""")
    for _ in range(2):
        ran = project.run()
        assert (ran.value, ran.cached, ran.codes) == ("adjusted", [], ["MXM704"])


def test_a_secret_is_kept_nowhere_and_its_key_cannot_be_guessed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "hunter2-secret")
    project.write("""
from pydantic import SecretStr
@mxm.task(cache=True)
def login(token: SecretStr, n: int = 1) -> int: return n

@mxm.task(cache=True)
def leak(token: SecretStr) -> str: return token.get_secret_value()

@mxm.flow
def f(token: SecretStr): return [login(token), leak(token)]
""")
    token = ("-p", "token=@env:TOKEN")
    project.run(*token)
    ran = project.run(*token)
    assert ran.cached == ["login"]
    for path in (project.folder / ".mxm").rglob("*"):
        assert path.is_dir() or b"hunter2-secret" not in path.read_bytes()
    monkeypatch.setenv("TOKEN", "another-secret")
    assert project.run(*token).cached == []


# Files, time, order


def test_declared_inputs_are_in_the_key(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("""
@mxm.task(cache=True, inputs=["data/*.csv", "one.txt", "env:DESK"])
def load() -> int: return 1

@mxm.flow
def f(): return load()
""")
    (project.folder / "data").mkdir()
    (project.folder / "data" / "a.csv").write_text("1")
    project.run()
    assert project.run().cached == ["load"]
    (project.folder / "data" / "b.csv").write_text("2")
    ran = project.run()
    assert (ran.cached, ran.why("load")) == ([], "file data/b.csv is new")
    (project.folder / "data" / "a.csv").write_text("3")
    assert project.run().why("load") == "file data/a.csv changed"
    (project.folder / "one.txt").write_text("x")
    assert project.run().why("load") == "file one.txt changed"
    monkeypatch.setenv("DESK", "rates")
    assert project.run().why("load") == "variable DESK changed"
    assert project.run().cached == ["load"]


def test_a_file_that_was_read_is_part_of_the_hit(project: Project) -> None:
    project.write("""
@mxm.task(cache=True)
def load(name: str) -> str:
    with open(name) as file: return file.read()

@mxm.flow
def f(name: str = "prices.csv"): return load(name)
""")
    (project.folder / "prices.csv").write_text("1")
    first = project.run()
    assert first.codes == ["MXM706"]
    assert "inputs=['prices.csv']" in first.err
    assert project.run().cached == ["load"]
    (project.folder / "prices.csv").write_text("2")
    ran = project.run()
    assert (ran.value, ran.why("load")) == ("2", "file prices.csv changed")


def test_a_strict_cache_keeps_only_what_names_its_files(project: Project) -> None:
    project.write("""
@mxm.task(cache=True)
def load(name: str) -> str:
    with open(name) as file: return file.read()

@mxm.flow
def f(name: str = "prices.csv"): return load(name)
""")
    (project.folder / "prices.csv").write_text("1")
    project.run("--strict-cache")
    assert project.run("--strict-cache").cached == []
    project.edit("cache=True", 'cache=True, inputs=["prices.csv"]')
    project.run("--strict-cache")
    assert project.run("--strict-cache").cached == ["load"]


def test_a_file_that_a_task_writes_must_be_there_and_unchanged(project: Project) -> None:
    project.write("""
@mxm.task(cache=True)
def save(n: int) -> int:
    with open("out.txt", "w") as file: file.write(str(n))
    return n

@mxm.flow
def f(n: int = 1): return save(n)
""")
    assert "MXM707" in project.run().codes
    assert project.run().cached == ["save"]
    (project.folder / "out.txt").unlink()
    assert project.run().cached == []
    assert (project.folder / "out.txt").read_text() == "1"
    (project.folder / "out.txt").write_text("2")
    assert project.run().cached == []


def test_an_input_that_changes_while_a_task_runs_is_not_credited_to_it(project: Project) -> None:
    project.write("""
@mxm.task(cache=True, inputs=["in.txt"])
def load() -> str:
    with open("in.txt") as file: text = file.read()
    with open("in.txt", "w") as file: file.write(text + "!")
    return text

@mxm.flow
def f(): return load()
""")
    (project.folder / "in.txt").write_text("a")
    assert "MXM709" in project.run().codes
    (project.folder / "in.txt").write_text("a")
    assert project.run().cached == []


def test_a_result_expires(project: Project) -> None:
    project.write(TWO.replace("(cache=True)\ndef load", "(cache=True, cache_ttl_s=60)\ndef load"))
    project.run()
    assert project.run().cached == ["load", "total"]
    move(project, timedelta(seconds=-61))
    ran = project.run()
    assert ran.cached == ["total"]
    assert ran.why("load").startswith("expired")
    assert project.run().cached == ["load", "total"]


def test_a_result_from_the_future_has_expired(project: Project) -> None:
    project.write(TWO)
    project.run()
    move(project, timedelta(days=1))
    assert project.run().cached == []


def move(project: Project, by: timedelta) -> None:
    """Let all results be kept at another time."""
    with sqlite3.connect(project.folder / ".mxm" / "store.db") as database:
        started = (datetime.now(UTC) + by).isoformat(timespec="microseconds")
        database.execute("UPDATE entry SET started = ?", (started,))


ORDER = """
@mxm.task(cache=CACHE)
def migrate(n: int) -> int: return n

@mxm.task(cache=True, after=migrate)
def report() -> int: return 1

@mxm.flow(tasks=[report])
def f(n: int = 1): ...
"""


def test_a_task_runs_after_an_order_only_upstream_that_ran(project: Project) -> None:
    project.write(ORDER.replace("CACHE", "True"))
    project.run()
    assert project.run().cached == ["migrate", "report"]
    ran = project.run("-p", "n=2")
    assert (ran.cached, ran.why("report")) == ([], "'migrate', which it runs after, ran")
    assert project.run("-p", "n=1").cached == ["migrate", "report"]
    project.write(ORDER.replace("CACHE", "False"))
    project.run()
    assert project.run().cached == []


def test_a_task_with_a_ttl_does_not_run_because_of_its_order(project: Project) -> None:
    project.write(ORDER.replace("CACHE", "False").replace("after=", "cache_ttl_s=60, after="))
    project.run()
    assert project.run().cached == ["report"]


# Code, resources, options


def test_code_deps_and_versions_are_in_the_key(project: Project) -> None:
    flows = """
import other
@mxm.task(cache=True, cache_version=1, code_deps=[other.helper])
def load() -> int: return 1

@mxm.flow
def f(): return load()
"""
    project.write(flows, other="def helper(): return 1\n")
    project.run()
    assert project.run().cached == ["load"]
    project.edit("return 1", "return 2", "other.py")
    assert project.run().cached == []
    project.edit("cache_version=1", "cache_version=2")
    assert project.run().why("load") == "cache_version changed: 1 -> 2"


def test_task_options_are_not_in_the_key(project: Project) -> None:
    project.write(TWO)
    project.run()
    project.edit(
        "@mxm.task(cache=True)\ndef load",
        "@mxm.task(cache=True, retries=2, timeout_s=60, tags=['x'], cache_ttl_s=99)\ndef load",
    )
    assert project.run().cached == ["load", "total"]


def test_names_of_task_and_flow_are_not_in_the_key(project: Project) -> None:
    project.write(TWO)
    project.run()
    project.edit("def f(n", "def g(n")
    project.edit("total(load(n)", 'total(load.named("x")(n)')
    with open(project.folder / "flows.py", "a") as file:
        file.write("\nf = mxm.flow(name='f')(g.fn)\n")
    assert project.run().cached == ["x", "total"]


def test_the_settings_of_a_resource_are_in_the_key(project: Project) -> None:
    project.write("""
@mxm.resource
def db(url: str = "a"):
    yield url

@mxm.task(cache=True, cache_ttl_s=1000)
def load(db: str = mxm.use(db)) -> str: return db

@mxm.flow
def f(): return load()
""")
    project.run()
    assert project.run().cached == ["load"]
    ran = project.run("--resource", "db.url=b")
    assert (ran.cached, ran.value, ran.why("load")) == ([], "b", "resource 'db' changed")
    project.edit("yield url", "yield url * 2")
    assert project.run().value == "aa"


def test_a_cached_task_with_a_resource_must_say_how_long_it_holds() -> None:
    @mxm.resource
    def db():
        yield 1

    @mxm.task(cache=True)
    def load(db: int = mxm.use(db)) -> int:
        return db

    @mxm.task
    def other(n: int, db: int = mxm.use(db)) -> int:
        return db

    @mxm.task(cache=True, run_if="always", after=load)
    def end() -> int:
        return 1

    @mxm.flow(cache=True)
    def f():
        return [other(load()), end()]

    assert [p.code for p in find_problems(f.spec)] == ["MXM701", "MXM701"]
    assert [(p.code, p.task, p.severity) for p in cache_notes(f.spec)] == [
        ("MXM701", "other", "note")
    ]
    assert cached_tasks(f.spec, None) == frozenset()


def test_retries_count_what_every_attempt_read(project: Project) -> None:
    project.write("""
import os
@mxm.task(cache=True, retries=1)
def load() -> str:
    if not os.path.exists("tried"):
        with open("first.txt") as file: file.read()
        open("tried", "w").close()
        raise OSError("again")
    return "done"

@mxm.flow
def f(): return load()
""")
    (project.folder / "first.txt").write_text("1")
    assert project.run().document["tasks"][0]["attempts"] == 2
    assert project.run().cached == ["load"]
    (project.folder / "first.txt").write_text("2")
    assert project.run().cached == []


@pytest.mark.parametrize("runner", ["sequential", "threads", "processes"])
def test_a_task_of_which_an_attempt_timed_out_is_not_kept(project: Project, runner: str) -> None:
    project.write("""
import os, time
@mxm.task(cache=True, cache_version=1, retries=1, timeout_s=1)
def load() -> int:
    if not os.path.exists("tried"):
        open("tried", "w").close()
        time.sleep(30)
    return 1

@mxm.flow
def f(): return load()
""")
    assert project.run("--runner", runner).document["tasks"][0]["attempts"] == 2
    assert project.run("--runner", runner).cached == []
    assert project.run("--runner", runner).cached == ["load"]


# The store


def entries(project: Project) -> list[tuple[str, str]]:
    with sqlite3.connect(project.folder / ".mxm" / "store.db") as database:
        return list(database.execute("SELECT step, key FROM entry ORDER BY step"))


LARGE = """
@mxm.task(cache=True)
def load(n: int) -> bytes: return bytes(n)

@mxm.task(cache=True)
def size(data: bytes, k: int = 1) -> int: return len(data) * k

@mxm.flow
def f(n: int = 100_000, k: int = 1): return size(load(n), k)
"""


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_value_is_computed_again(project: Project, damage: str) -> None:
    project.write(LARGE)
    project.run()
    [path] = [p for p in (project.folder / ".mxm" / "values").rglob("*") if p.is_file()]
    data = path.read_bytes()
    if damage == "remove":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(data[:-1])
    else:  # what can be loaded all the same, and is another value
        middle = len(data) // 2
        path.write_bytes(data[:middle] + b"x" + data[middle + 1 :])
    ran = project.run("-p", "k=2")
    assert (ran.cached, ran.value) == ([], 200_000)
    assert project.run().cached == ["load", "size"]


def test_a_damaged_value_in_a_row_is_computed_again(project: Project) -> None:
    project.write(TWO)
    project.run()
    with sqlite3.connect(project.folder / ".mxm" / "store.db") as database:
        database.execute("UPDATE entry SET data = x'00' WHERE step = 'load'")
    assert project.run("-p", "scale=2").cached == []


def test_a_value_that_was_exchanged_in_a_row_is_computed_again(project: Project) -> None:
    project.write("""
@mxm.task(cache=True)
def load() -> str: return "sell"

@mxm.flow
def f(): return load()
""")
    project.run()
    with sqlite3.connect(project.folder / ".mxm" / "store.db") as database:
        [[data]] = database.execute("SELECT data FROM entry").fetchall()
        assert data.count(b"sell") == 1
        other = data.replace(b"sell", b"hold")
        for table in ("entry", "task"):
            database.execute(f"UPDATE {table} SET data = ?", (other,))
    assert (project.run().cached, project.run().value) == ([], "sell")


def test_nothing_is_taken_from_a_store_that_others_can_write_to(project: Project) -> None:
    project.write(TWO)
    project.run()
    os.chmod(project.folder / ".mxm", 0o770)
    ran = project.run()
    assert (ran.cached, ran.value) == ([], 6)
    assert ran.err.count("others can write to") == 1


def test_a_store_that_cannot_be_used_is_said_once_and_the_run_goes_on(project: Project) -> None:
    project.write(TWO)
    project.run()
    (project.folder / ".mxm" / "store.db").write_bytes(b"no database at all" * 1000)
    ran = project.run("--no-record")
    assert (ran.cached, ran.value) == ([], 6)
    assert ran.err.count("the run uses and keeps no cached results") == 1


def test_a_store_that_breaks_during_a_run_is_said_once_and_the_run_goes_on(
    project: Project,
) -> None:
    project.write("""
import pathlib

@mxm.task(cache=True)
def load(n: int) -> int:
    for name in ("store.db", "store.db-wal"):
        pathlib.Path(".mxm", name).write_bytes(b"no database " * 9999)
    return n

@mxm.task(cache=True)
def double(n: int) -> int: return n * 2

@mxm.flow
def f(n: int = 3): return double(double(load(n)))
""")
    ran = project.run()
    assert ran.value == 12
    assert ran.err.count("from now on the run uses and keeps no cached results: ") == 1


def test_two_runs_that_compute_one_key_agree(project: Project) -> None:
    project.write("""
import time
@mxm.task(cache=True, cache_version=1)
def slow(n: int) -> int:
    time.sleep(0.5)
    return n

@mxm.flow
def f(n: int = 1): return slow(n)
""")
    command = [sys.executable, "-m", "mxm.pipeline.cli.start"]
    del command
    code = (
        "import sys; from mxm.pipeline.cli.start import main; "
        "sys.argv = ['mxm-pipeline', 'run', 'flows.py:f', '--backend', 'inline']; sys.exit(main())"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)
    ]
    assert [json.loads(p.communicate()[0]) for p in both] == [{"slow": 1}, {"slow": 1}]
    assert len(entries(project)) == 1
    assert project.run().cached == ["slow"]


def test_a_project_that_moves_keeps_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tmp_path / "one"
    first.mkdir()
    project = project_in(first, monkeypatch)
    project.write("""
@mxm.task(cache=True)
def load(name: str) -> str:
    with open(name) as file: return file.read()

@mxm.task(cache=True)
def place(text: str) -> str:
    import os
    return os.getcwd()

@mxm.flow
def f(name: str = "a.txt"): return place(load(name))
""")
    (first / "a.txt").write_text("1")
    project.run()
    second = tmp_path / "two"
    first.rename(second)
    moved = project_in(second, monkeypatch)
    ran = moved.run()
    assert "load" in ran.cached
    # What holds the folder's path is right in that folder alone.
    assert ran.value == str(second)


def test_an_older_store_is_migrated(project: Project) -> None:
    project.write(TWO)
    project.run("--no-cache")
    with sqlite3.connect(project.folder / ".mxm" / "store.db") as database:
        for table in ("entry", "asset", "materialisation", '"check"'):
            database.execute(f"DROP TABLE {table}")
        for column in ("given", "ungiven", "options", "resumes"):
            database.execute(f"ALTER TABLE run DROP COLUMN {column}")
        database.execute("PRAGMA user_version=2")
    project.run()
    assert project.run().cached == ["load", "total"]


def test_pruning_keeps_what_an_entry_needs_and_drops_entries_without_a_value(
    project: Project,
) -> None:
    from mxm.pipeline.store.database import Database
    from mxm.pipeline.store.pruning import prune

    project.write(LARGE)
    project.run("--no-record")
    store = str(project.folder / ".mxm")
    with sqlite3.connect(project.folder / ".mxm" / "store.db") as raw:
        raw.execute("UPDATE value SET made = 0")
        raw.execute("UPDATE entry SET made = 0")
    with Database(store) as database:
        assert prune(database).values == 0
    assert project.run().cached == ["load", "size"]
    with sqlite3.connect(project.folder / ".mxm" / "store.db") as raw:
        raw.execute("UPDATE value SET made = 0")
        raw.execute("UPDATE entry SET made = 0")
        raw.execute("DELETE FROM task")
    with Database(store) as database:
        assert prune(database, size=10).values == 1
    assert [step for step, _ in entries(project)] == ["size"]


def test_a_recorded_run_has_the_values_that_an_earlier_run_kept(project: Project) -> None:
    from mxm.pipeline import load_run

    project.write(TWO)
    project.run()
    project.run()
    run = load_run("last")
    assert run.tasks["load"].state == "cached"
    assert run.tasks["load"].value == [0, 1, 2, 3]


def test_a_run_without_cached_tasks_loads_nothing_of_the_cache(project: Project) -> None:
    project.write("""
@mxm.task
def load() -> int: return 1

@mxm.flow
def f(): return load()
""")
    code = (
        "import sys; from mxm.pipeline.cli.start import main\n"
        "sys.argv = ['mxm-pipeline', 'run', 'flows.py:f', '--backend', 'inline', '--no-record']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in sys.modules if m.endswith(('caching', 'step_cache', 'contents', 'probe'))"
        " and 'execution' in m], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.splitlines()[-1] == "[]"


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache": "yes"}, "task 'load': cache must be True or False, not 'yes'"),
        ({"cache_ttl_s": 0}, "cache_ttl_s must be a positive number of seconds, not 0"),
        ({"cache_ttl_s": float("inf")}, "cache_ttl_s must be a positive number of seconds"),
        (
            {"inputs": "a.csv"},
            "inputs must be a list of strings, not 'a.csv': write inputs=['a.csv']",
        ),
        ({"inputs": Path("a.csv")}, "inputs must be a list of strings, not "),
        ({"inputs": [1]}, "inputs must be a list of strings, not [1]"),
        ({"code_deps": ["helper"]}, "code_deps must be functions, classes or modules"),
        ({"cache_version": 1.5}, "cache_version must be a string or a whole number, not 1.5"),
        ({"cache_version": True}, "cache_version must be a string or a whole number, not True"),
    ],
)
def test_wrong_options_are_problems(options: dict[str, object], message: str) -> None:
    @mxm.task(**options)  # type: ignore[misc]
    def load() -> int: ...

    (problem,) = load.spec.problems
    assert problem.code == "MXM119"
    assert message in f"{problem.message}: {problem.hint}"


def test_a_flow_option_must_be_true_or_false() -> None:
    (problem,) = FlowSpec("f", [TaskSpec("t", dict)], cache="x").problems  # type: ignore[arg-type]
    assert problem.message == "flow 'f': cache must be True or False, not 'x'"


def test_options_survive_the_dict_form_and_with_options() -> None:
    spec = FlowSpec(
        "f",
        [
            TaskSpec(
                "load",
                json.dumps,
                cache=True,
                cache_ttl_s=60,
                inputs=["a.csv", "env:X"],
                code_deps=[json.loads, json],
                cache_version="2",
            )
        ],
        cache=False,
    )
    assert flow_from_dict(json.loads(json.dumps(flow_to_dict(spec)))) == spec

    @mxm.task(cache=True, inputs=["a"])
    def load() -> int:
        return 1

    other = load.with_options(cache=False, cache_ttl_s=5)
    assert (other.spec.cache, other.spec.cache_ttl_s, other.spec.inputs) == (False, 5, ("a",))
    assert load.spec.cache is True


def test_show_says_what_is_cached(project: Project) -> None:
    project.write("""
@mxm.task(cache=True, cache_ttl_s=60, inputs=["a.csv"], cache_version=3)
def load() -> int: return 1

@mxm.task(cache=False)
def other() -> int: return 1

@mxm.flow(tasks=[load, other])
def f(): ...
""")
    shown = invoke("show", "flows.py:f").out
    assert "cached for 60 s inputs a.csv version 3" in shown
    assert "not cached" in shown


# What an unchanged key does not say


def test_a_result_that_was_unpacked_into_other_parts_is_not_used(project: Project) -> None:
    project.write("""
@mxm.task(cache=True)
def pair() -> tuple[int, int]: return 1, 2

@mxm.flow
def f():
    a, b = pair()
    return [a, b]
""")
    project.run()
    assert project.run().cached == ["pair"]
    project.edit("-> tuple[int, int]", "-> tuple[int, int, int]")
    project.edit("a, b = pair()", "a, b, c = pair()")
    assert project.run(fails=True).states == {"pair": "failed"}


@pytest.mark.parametrize("runner", ["sequential", "processes"])
def test_checking_the_arguments_counts_into_no_timeout(project: Project, runner: str) -> None:
    project.write("""
import time
class Slow:
    def __init__(self, n): self.n = n
    def __getstate__(self):
        time.sleep(0.7)
        return {"n": self.n}
    def __setstate__(self, state): self.n = state["n"]

@mxm.task
def make() -> Slow: return Slow(1)

@mxm.task(cache=True, cache_version=1, timeout_s=0.5)
def use(slow: Slow) -> int: return slow.n

@mxm.flow
def f(): return use(make())
""")
    assert project.run("--runner", runner).states["use"] == "succeeded"
    assert project.run("--runner", runner).cached == ["use"]


def test_a_long_result_is_shown_although_its_json_is_not_kept(project: Project) -> None:
    project.write("""
@mxm.task(cache=True)
def load() -> list[int]: return list(range(100_000))

@mxm.task(cache=True)
def each(n: int) -> list[int]: return list(range(n))

@mxm.flow
def f(): return [load(), each.map([3, 100_000])]
""")
    first, second = project.run(), project.run()
    assert second.cached == ["load", "each"]
    assert first.value == second.value == [list(range(100_000)), [[0, 1, 2], list(range(100_000))]]


def test_forecast_says_what_a_run_would_do(project: Project) -> None:
    project.write(MAPPED)
    flows = "import mxm\n" + MAPPED

    def outlook(**params: object) -> list[tuple[str, str, dict[str, int] | None]]:
        spec = module_of(project.folder, flows, "flows").f.spec
        options = RunOptions(entries=open_entries)
        looked, _ = forecast(make_plan(spec, params), options)
        return [(one.name, one.verdict, one.items) for one in looked]

    assert outlook() == [
        ("double", "RUN", {"RUN": 3}),
        ("plus", "MAYBE", {"MAYBE": 3}),
        ("total", "MAYBE", None),
    ]
    project.run()
    assert outlook() == [
        ("double", "CACHED", {"CACHED": 3}),
        ("plus", "CACHED", {"CACHED": 3}),
        ("total", "CACHED", None),
    ]
    assert outlook(xs=[1, 2, 9]) == [
        ("double", "RUN", {"CACHED": 2, "RUN": 1}),
        ("plus", "MAYBE", {"CACHED": 2, "MAYBE": 1}),
        ("total", "MAYBE", None),
    ]


def test_a_cancelled_run_keeps_what_had_ended(project: Project) -> None:
    project.write("""
import os, signal
@mxm.task(cache=True)
def load() -> int: return 1

@mxm.task(cache=True, cache_version=1)
def stop(n: int) -> int:
    if not os.path.exists("go"): raise KeyboardInterrupt
    return n

@mxm.flow
def f(): return stop(load())
""")
    invoke("run", "flows.py:f", "--backend", "inline")
    (project.folder / "go").write_text("")
    assert project.run().cached == ["load"]


def test_plan_says_what_is_cached_and_why_the_rest_runs(project: Project) -> None:
    project.write(TWO)

    def plan(*options: str) -> list[tuple[str, str, list[str]]]:
        tasks = json.loads(invoke("plan", "flows.py:f", "--json", *options).out)["tasks"]
        return [(task["name"], task["verdict"], task["reasons"]) for task in tasks]

    def texts(*options: str) -> list[tuple[str, str]]:
        return [(name, verdict) for name, verdict, _ in plan(*options)]

    assert texts() == [("load", "RUN"), ("total", "RUN")]
    assert not (project.folder / ".mxm").exists()
    first = project.run().document["id"]
    assert texts() == [("load", "CACHED"), ("total", "CACHED")]
    assert first in str(plan())
    assert texts("-p", "scale=2") == [("load", "CACHED"), ("total", "RUN")]
    assert "parameter 'scale' changed" in str(plan("-p", "scale=2"))
    assert texts("--force") == [("load", "RUN"), ("total", "RUN")]


def test_forced_tasks_run_and_are_kept_again(project: Project) -> None:
    project.write(TWO)
    project.run()
    ran = project.run("--force-task", "load")
    assert (ran.cached, ran.why("load")) == (["total"], "forced")
    assert project.run("--force").cached == []
    assert project.run().cached == ["load", "total"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('os.chdir("..")', "the working folder"),
        ('vars(os)["environ"].update(MXM_LEFT="1")', "the environment"),
        ('sys.path.append("left")', "sys.path"),
    ],
)
def test_a_task_that_leaves_something_behind_in_its_process_is_not_kept(
    project: Project, line: str, what: str
) -> None:
    project.write(f"""
import os, sys
import mxm

@mxm.task(cache=True, cache_version=1)
def leaves() -> int:
    {line}
    return 1

@mxm.flow
def f(): return leaves()
""")
    before = dict(os.environ), os.getcwd(), [*sys.path]
    try:
        ran = project.run()
        assert f"MXM708 {what} changed while task 'leaves' ran" in ran.err
        os.chdir(before[1])
        assert project.run().cached == []
    finally:
        os.environ.pop("MXM_LEFT", None)
        os.chdir(before[1])
        sys.path[:] = before[2]
