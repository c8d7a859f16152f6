"""Where code is run in pieces: a notebook's cells, a prompt, a script from stdin, a reload."""

from __future__ import annotations

import asyncio
import code
import importlib
import linecache
import os
import pickle
import re
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import write

from mxm.pipeline.api import compile_flow, execute_flow
from mxm.pipeline.errors import GraphError, ParameterError, SpecError
from mxm.pipeline.registry import get_flow, list_flows
from mxm.pipeline.runs import State

BACKENDS = ["inline", "prefect"]

# What IPython and Jupyter's kernel call a cell; neither is a file.
FILES = ["<ipython-input-{}-0f3c>", "/tmp/no-such-folder/ipykernel_123/{}.py"]


class Notebook:
    """Runs cells as a kernel does, in one ``__main__``."""

    def __init__(self, file: str) -> None:
        self.main = types.ModuleType("__main__")
        self.file = file
        self.count = 0

    def cell(self, text: str, *, again: int | None = None) -> None:
        """Run *text* as the next cell; *again* is the number of one whose file name it has."""
        self.count += 1
        text = textwrap.dedent(text).lstrip("\n")
        name = self.name(again or self.count)
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), self.main.__dict__)

    def name(self, number: int) -> str:
        return self.file.format(number)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.main, name)


@pytest.fixture(params=FILES, ids=["ipython", "kernel"])
def notebook(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    made = Notebook(request.param)
    monkeypatch.setitem(sys.modules, "__main__", made.main)
    yield made
    for number in range(1, made.count + 1):
        linecache.cache.pop(made.name(number), None)


LOAD = """
    import mxm

    @mxm.task
    def load(n: int = 3) -> list[int]:
        return list(range(n))
    """
LOAD_OTHERS = """
    @mxm.task
    def load(n: int = 3) -> list[int]:
        return [100] * n
    """
TOTAL = """
    @mxm.task(upstream=load)
    def total(numbers: list[int]) -> int:
        return sum(numbers)
    """
DECLARED = """
    @mxm.flow
    def summed(n: int = 3):
        return total
    """
TRACED = """
    @mxm.flow
    def summed(n: int = 3) -> int:
        return total(load(n))
    """


def value(flow: Any, **params: Any) -> Any:
    return flow.with_options(backend="inline").run(**params).value()


# Cells


@pytest.mark.parametrize("backend", BACKENDS)
def test_cells_declare_and_run(notebook: Notebook, backend: str) -> None:
    for text in (LOAD, TOTAL, DECLARED):
        notebook.cell(text)
    notebook.cell(f"run = summed.with_options(backend={backend!r}).run(n=4); run")
    assert notebook.run.value() == 6
    assert execute_flow(compile_flow(get_flow("summed"), backend=backend), {"n": 4})["total"] == 6


def test_what_a_cell_shows(notebook: Notebook) -> None:
    for text in (LOAD, TOTAL, DECLARED):
        notebook.cell(text)
    notebook.cell("run = summed.with_options(backend='inline').run()")
    notebook.cell("failed = summed.with_options(backend='inline').run(n=-1)")
    assert repr(notebook.load) == f"<task 'load' at {notebook.name(1)}:3>"
    flow = f"summed(n: int = 3)  at {notebook.name(3)}:1\n└── load\n    └── total"
    assert repr(notebook.summed) == flow
    for shown in (notebook.summed, notebook.summed.spec, notebook.summed.with_options(workers=2)):
        bundle = shown._repr_mimebundle_(include=None, exclude=None)
        assert bundle["text/plain"] == flow
        assert "the graph of summed" in bundle["text/html"]
    assert repr(notebook.run) == "<FlowRun 'summed': 2 succeeded>"


@pytest.mark.parametrize("body", [DECLARED, TRACED], ids=["declared", "traced"])
def test_task_defined_again_is_the_one_that_runs(notebook: Notebook, body: str) -> None:
    for text in (LOAD, TOTAL, body):
        notebook.cell(text)
    with_options = notebook.summed.with_options(fail_fast=True)
    assert value(notebook.summed) == 3
    notebook.cell(LOAD_OTHERS)
    assert value(notebook.summed) == value(with_options) == 300
    notebook.cell(LOAD)  # and back
    assert value(notebook.summed) == 3
    assert [task.name for task in notebook.summed.spec.tasks] == ["load", "total"]


def test_unchanged_cell_that_runs_again_reads_its_defaults_again(notebook: Notebook) -> None:
    notebook.cell("SIZE = 3")
    text = LOAD.replace("= 3", "= SIZE")
    for each in (text, TOTAL, DECLARED.replace("n: int = 3", "")):
        notebook.cell(each)
    assert value(notebook.summed) == 3
    notebook.cell("SIZE = 5")
    notebook.cell(text, again=2)  # the kernel names a cell by its text
    assert value(notebook.summed) == 10


def test_options_of_a_task_defined_again_are_the_new_ones(notebook: Notebook) -> None:
    for text in (LOAD, TOTAL, DECLARED):
        notebook.cell(text)
    notebook.cell(LOAD_OTHERS.replace("@mxm.task", "@mxm.task(retries=2, params={'n': 2})"))
    load, _ = notebook.summed.spec.tasks
    assert (load.retries, dict(load.params)) == (2, {"n": 2})


def test_task_that_no_longer_fits_is_a_problem_of_the_flow(notebook: Notebook) -> None:
    for text in (LOAD, TOTAL, TRACED):
        notebook.cell(text)
    notebook.cell("@mxm.task\ndef load() -> list[int]:\n    return []")
    with pytest.raises(GraphError, match="MXM104") as caught:
        notebook.summed.run()
    assert f"{notebook.name(3)}:3" in str(caught.value)


def test_only_some_of_the_cells_run_again_make_no_duplicates(notebook: Notebook) -> None:
    for text in (LOAD, TOTAL):
        notebook.cell(text)
    notebook.cell(LOAD_OTHERS)
    notebook.cell("""
        @mxm.task(upstream=load)
        def count(numbers: list[int]) -> int:
            return len(numbers)

        @mxm.flow
        def both():
            return total, count
        """)
    assert [task.name for task in notebook.both.spec.tasks] == ["load", "total", "count"]
    assert value(notebook.both) == (300, 3)


def test_flow_defined_again_replaces_the_old_one(notebook: Notebook) -> None:
    for text in (LOAD, TOTAL, DECLARED):
        notebook.cell(text)
    notebook.cell(TRACED.replace("total(load(n))", "load(n)"))
    assert list_flows() == ["summed"]
    assert [task.name for task in get_flow("summed").tasks] == ["load"]
    assert value(notebook.summed, n=2) == [0, 1]


def test_law_holds_after_cells_ran_again(notebook: Notebook) -> None:
    for text in (LOAD, TOTAL, TRACED):
        notebook.cell(text)
    notebook.cell("""
        @mxm.flow
        def twice(n: int = 3) -> list[int]:
            return [summed(n), total.named("other")(load(n))]
        """)
    assert value(notebook.twice) == notebook.twice() == [3, 3]
    notebook.cell(LOAD_OTHERS)
    assert value(notebook.twice) == notebook.twice() == [300, 300]
    notebook.cell(TOTAL.replace("sum", "max"))
    assert value(notebook.twice) == notebook.twice() == [100, 100]
    notebook.cell(TRACED.replace("total(load(n))", "load(n)"))
    assert value(notebook.twice) == notebook.twice() == [[100] * 3, 100]
    names = [task.name for task in notebook.twice.spec.tasks]
    assert names == ["summed.load", "load", "other"]


def test_named_use_of_a_task_defined_again(notebook: Notebook) -> None:
    notebook.cell(LOAD)
    notebook.cell("""
        spare = load.named("spare")

        @mxm.task(upstream=[load, spare])
        def joined(a: list[int], b: list[int]) -> list[int]:
            return a + b

        @mxm.flow
        def pair(n: int = 1):
            return joined
        """)
    assert value(notebook.pair) == [0, 0]
    notebook.cell(LOAD_OTHERS)
    assert value(notebook.pair) == [100, 100]


def test_body_runs_again_only_where_something_was_defined_again(notebook: Notebook) -> None:
    notebook.cell(LOAD)
    notebook.cell("""
        passes = []

        @mxm.flow
        def counted(n: int = 3):
            passes.append(1)
            return load(n)
        """)
    assert value(notebook.counted) == value(notebook.counted)
    assert len(notebook.passes) == 1
    notebook.cell(LOAD_OTHERS)
    assert value(notebook.counted) == value(notebook.counted)
    assert len(notebook.passes) == 2


def test_tasks_that_a_closure_keeps_stay_and_the_body_runs_no_more_than_once(
    notebook: Notebook,
) -> None:
    notebook.cell(LOAD)
    notebook.cell(TOTAL)
    notebook.cell(TRACED)
    notebook.cell("""
        passes = []

        def made(load, summed):
            @mxm.flow
            def kept(n: int = 3):
                passes.append(1)
                return load(n), summed(n)
            return kept

        kept = made(load, summed)
        """)
    notebook.cell(LOAD_OTHERS)
    notebook.cell(TRACED.replace("total(load(n))", "load(n)"))
    for _ in range(3):
        assert value(notebook.kept)[0] == [0, 1, 2]
    assert len(notebook.passes) == 2


def test_flow_that_calls_itself_is_told_so(notebook: Notebook) -> None:
    for text in (LOAD, TOTAL, TRACED):
        notebook.cell(text)
    notebook.cell(TRACED.replace("total(load(n))", "summed(n)"))
    with pytest.raises(GraphError, match="flow 'summed' calls itself"):
        notebook.summed.run()
    with pytest.raises(RecursionError):
        notebook.summed()


def test_flow_may_call_the_one_that_had_its_name(notebook: Notebook) -> None:
    for text in (LOAD, TOTAL, TRACED):
        notebook.cell(text)
    notebook.cell("""
        before = summed

        @mxm.flow
        def summed(n: int = 3):
            return before(n), total.named("shorter")(load.named("fewer")(2))
        """)
    assert value(notebook.summed) == notebook.summed() == (3, 1)
    notebook.cell(LOAD_OTHERS)
    assert value(notebook.summed) == notebook.summed() == (300, 200)


def test_two_tasks_of_one_name_in_one_cell_are_two(notebook: Notebook) -> None:
    notebook.cell("""
        import mxm

        @mxm.task
        def load() -> int:
            return 1

        @mxm.task(upstream=load)
        def total(x: int) -> int:
            return x

        @mxm.task
        def load() -> int:
            return 2

        @mxm.flow
        def first():
            return total

        tasks = []
        for i in range(3):
            @mxm.task(name=f"part_{i}")
            def part(i: int = i) -> int:
                return i
            tasks.append(part)

        same = []
        for i in range(3):
            @mxm.task
            def again(i: int = i) -> int:
                return i
            same.append(again)

        @mxm.flow
        def parts():
            return tasks

        @mxm.flow
        def agains():
            return [task() for task in same]
        """)
    assert value(notebook.first) == 1
    assert value(notebook.parts) == [0, 1, 2]
    assert value(notebook.agains) == notebook.agains() == [0, 1, 2]


def test_tasks_of_a_file_are_what_they_were_where_they_are_named(tmp_path: Path) -> None:
    from modules import module_of

    module = module_of(
        tmp_path,
        """
        import mxm

        @mxm.task
        def load() -> int:
            return 1

        @mxm.task(upstream=load)
        def total(x: int) -> int:
            return x

        @mxm.task
        def load() -> int:
            return 2

        @mxm.flow
        def first():
            return total
        """,
    )
    assert value(module.first) == 1


# Errors


def test_errors_name_the_cell_and_the_line(notebook: Notebook) -> None:
    notebook.cell(LOAD)
    notebook.cell("""
        @mxm.flow
        def deciding(n: int = 3):
            numbers = load(n)
            if numbers:
                return numbers
        """)
    with pytest.raises(GraphError) as graph:
        notebook.deciding.run()
    # Pythons differ in the column of an `if`.
    assert re.search(re.escape(notebook.name(2)) + r":4:\d+: MXM301", str(graph.value))
    notebook.cell("@mxm.flow\ndef loading(n: int = 3):\n    return load(n)")
    with pytest.raises(ParameterError) as parameter:
        notebook.loading.run(n="x")
    assert f"{notebook.name(3)}:1: MXM402" in str(parameter.value)


def test_misspelt_upstream_suggests_a_task_of_another_cell(notebook: Notebook) -> None:
    notebook.cell(LOAD)
    notebook.cell(TOTAL.replace("=load", "='laod'"))
    notebook.cell(DECLARED)
    with pytest.raises(GraphError) as caught:
        notebook.summed.run()
    assert f"{notebook.name(2)}:1: MXM102 unknown upstream 'laod'" in str(caught.value)
    assert "did you mean 'load'?" in str(caught.value)
    notebook.cell(TOTAL)
    assert value(notebook.summed) == 3


def test_name_that_a_later_cell_defines_is_found_then(notebook: Notebook) -> None:
    notebook.cell("import mxm")
    notebook.cell(TOTAL.replace("=load", "='load'"))
    notebook.cell(DECLARED)
    assert notebook.summed.spec.tasks[0].name == "total"
    notebook.cell(LOAD)
    assert value(notebook.summed) == 3


# In a running event loop, as cells of a notebook are


@pytest.mark.parametrize("runner", ["sequential", "threads"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_flows_run_inside_a_running_event_loop(
    notebook: Notebook, backend: str, runner: str
) -> None:
    for text in (LOAD, TOTAL, TRACED):
        notebook.cell(text)
    notebook.cell("""
        import asyncio

        @mxm.task
        async def fetch(x: int) -> int:
            await asyncio.sleep(0)
            return x + 1

        @mxm.flow
        async def fetched(x: int = 1) -> int:
            return await fetch(await fetch(x))

        @mxm.task
        def nested(n: int) -> int:
            return summed.with_options(backend="inline").run(n=n).value()

        @mxm.flow
        def nesting(n: int = 4) -> int:
            return nested(n)
        """)

    async def cell() -> list[Any]:
        options = {"backend": backend, "runner": runner}
        flows = (notebook.summed, notebook.fetched, notebook.nesting)
        runs = [flow.with_options(**options).run() for _ in range(2) for flow in flows]
        return [*(run.value() for run in runs), await notebook.fetched(1)]

    assert asyncio.run(cell()) == [3, 3, 6, 3, 3, 6, 3]


# The processes runner


@pytest.mark.parametrize("backend", BACKENDS)
def test_processes_say_that_they_cannot_import_from_a_cell(
    notebook: Notebook, backend: str
) -> None:
    for text in (LOAD, TRACED.replace("total(load(n))", "load(n)")):
        notebook.cell(text)
    run = notebook.summed.with_options(backend=backend, runner="processes").run()
    assert run.state is State.FAILED
    error = run.tasks["load"].error
    assert isinstance(error, SpecError)
    assert str(error) == (
        f"'load' was defined at {notebook.name(1)}:3, where worker processes cannot import it\n"
        "  hint: put it into a module and import it here, or use runner 'threads'"
    )


def test_processes_run_an_imported_task_from_a_cell(
    notebook: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"for_a_cell.py": textwrap.dedent(LOAD).lstrip()})
    monkeypatch.syspath_prepend(tmp_path)
    notebook.cell("import mxm\nfrom for_a_cell import load")
    notebook.cell(TRACED.replace("total(load(n))", "load(n)"))
    run = notebook.summed.with_options(backend="inline", runner="processes").run(n=2)
    assert run.value() == [0, 1]
    del sys.modules["for_a_cell"]


def test_processes_say_that_a_program_from_stdin_has_no_file(tmp_path: Path) -> None:
    write(tmp_path, {"for_stdin.py": LOAD + DECLARED.replace("total", "load")})
    text = "import for_stdin; for_stdin.summed.with_options(backend={!r}, runner='processes').run()"
    for backend in BACKENDS:
        ran = subprocess.run(
            [sys.executable, "-"],
            input=text.format(backend),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert ran.returncode == 1
        last = ran.stderr.splitlines()[-2:]
        assert last[0].endswith(
            "BackendError: a program read from <stdin> cannot start worker processes"
        )
        assert last[1] == "  hint: write it to a file, or use runner 'threads'"


# A prompt, and a script from stdin

SESSION = (
    textwrap.dedent(LOAD).lstrip()
    + "\n"
    + textwrap.dedent(TOTAL).lstrip()
    + "\n"
    + textwrap.dedent(DECLARED).lstrip()
    + "\nprint(summed.with_options(backend='inline').run())\n"
    + textwrap.dedent(LOAD_OTHERS).lstrip()
    + "\nprint(summed.with_options(backend='inline').run().value())\n"
)


def test_a_prompt(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    console = code.InteractiveConsole(main.__dict__)
    for line in SESSION.splitlines():
        console.push(line)
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out == "<FlowRun 'summed': 2 succeeded>\n300\n"


@pytest.mark.parametrize(
    ("args", "last"), [(["-i"], "300"), (["-"], "3")], ids=["python -i", "python -"]
)
def test_stdin(args: list[str], last: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, *args],
        input=SESSION,
        cwd=tmp_path,
        env={**os.environ, "PYTHONSTARTUP": "", "HOME": str(tmp_path)},  # where -i keeps a history
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout.splitlines() == ["<FlowRun 'summed': 2 succeeded>", last]


# Reload


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for two modules, `prices` and `reports`, of which the second imports the first."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a changed file may have the same age
    write(
        tmp_path,
        {
            "prices.py": """
                import mxm

                @mxm.task
                def load() -> int:
                    return 1

                @mxm.flow
                def prices():
                    return load

                @mxm.flow
                def dropped():
                    return load
                """,
            "reports.py": """
                import mxm
                from prices import load

                @mxm.task(upstream=load)
                def double(x: int) -> int:
                    return 2 * x

                @mxm.flow
                def declared():
                    return double

                @mxm.flow
                def traced() -> int:
                    return double(load())
                """,
        },
    )
    yield tmp_path
    for name in ("prices", "reports"):
        sys.modules.pop(name, None)


def edit(folder: Path) -> None:
    """Let `load` return 50, on another line, and take a flow away."""
    text = (folder / "prices.py").read_text()
    text = text.replace("import mxm", "import mxm\n\n# edited").replace("return 1", "return 50")
    (folder / "prices.py").write_text(text.partition("@mxm.flow\ndef dropped")[0])


def test_reload_replaces_the_modules_flows(modules: Path) -> None:
    prices = importlib.import_module("prices")
    assert value(prices.prices) == 1
    edit(modules)
    importlib.reload(prices)
    assert value(prices.prices) == 50
    assert get_flow("prices") is prices.prices.spec
    # Python keeps the names that a reload no longer defines, and so do we.
    assert value(prices.dropped) == 1
    assert list_flows() == ["dropped", "prices"]


def test_reload_leaves_what_others_imported_as_python_does(modules: Path) -> None:
    prices, reports = map(importlib.import_module, ("prices", "reports"))
    old = prices.load
    edit(modules)
    importlib.reload(prices)
    assert reports.load is old
    assert value(reports.declared) == 2
    assert value(reports.traced) == reports.traced() == 2
    importlib.reload(reports)
    assert value(reports.declared) == value(reports.traced) == reports.traced() == 100


def test_reload_and_pickling_by_name(modules: Path) -> None:
    prices = importlib.import_module("prices")
    old = prices.load
    edit(modules)
    importlib.reload(prices)
    assert pickle.loads(pickle.dumps(prices.load)) is prices.load
    with pytest.raises(pickle.PicklingError, match=r"not the same object as prices\.load"):
        pickle.dumps(old)


# The real thing


IPYTHON = '''
import contextlib, io
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance(colors="NoColor")
shell.run_line_magic("autoawait", "asyncio")

def cell(text):
    with contextlib.redirect_stdout(io.StringIO()):
        outcome = shell.run_cell(text, store_history=True)
    print(f"[{shell.execution_count - 1}]", outcome.error_in_exec or repr(outcome.result))

cell("""@load@""")
cell("""@total@""")
cell("""@declared@""")
for backend in ("inline", "prefect"):
    cell(f"await asyncio.sleep(0); summed.with_options(backend={backend!r}).run()")
cell("""@others@""")
cell("summed.with_options(backend='inline').run().value()")
cell("""
@mxm.task
async def fetch(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1

@mxm.flow
async def fetched(x: int = 1) -> int:
    return await fetch(x)

await fetched(1), [fetched.with_options(backend=b).run().value() for b in ("inline", "prefect")]
""")
cell("""
@mxm.flow
def deciding(n: int = 3):
    if load(n):
        return total

deciding.run()""")
cell("load")
cell("summed.with_options(backend='inline', runner='processes').run().value()")
'''


@pytest.mark.slow
def test_ipython(tmp_path: Path) -> None:
    load = LOAD.replace("import mxm", "import asyncio, mxm")
    parts = {"load": load, "total": TOTAL, "declared": DECLARED, "others": LOAD_OTHERS}
    script = IPYTHON
    for name, text in parts.items():
        script = script.replace(f"@{name}@", textwrap.dedent(text))
    (tmp_path / "session.py").write_text(script)
    ran = subprocess.run(
        [sys.executable, "session.py"],
        cwd=tmp_path,
        env={**os.environ, "IPYTHONDIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        *(f"[{number}] None" for number in (1, 2, 3)),
        "[4] <FlowRun 'summed': 2 succeeded>",
        "[5] <FlowRun 'summed': 2 succeeded>",
        "[6] None",
        "[7] 300",
        "[8] (2, [2, 2])",
        "[9] flow 'deciding' has 1 problem",
        (
            "Cell In[9]:3:5: MXM301 <result of task 'load', known when the flow runs>: its truth value "
            "(if, and, or, not, while) cannot be used in a flow's body"
        ),
        "  hint: move the decision into a task, which gets the value as an argument",
        "[10] <task 'load' at Cell In[6]:1>",
        "[11] 'load' was defined at Cell In[6]:1, where worker processes cannot import it",
        "  hint: put it into a module and import it here, or use runner 'threads'",
    ]
