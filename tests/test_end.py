"""The command ends as Python does: buffers are written, exit handlers run, threads are awaited."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from command import call, write

LEFT_OPEN = """
    import atexit
    import threading
    import time
    from concurrent.futures import ThreadPoolExecutor

    import mxm

    ROWS = open("rows.csv", "w")
    POOL = ThreadPoolExecutor(1)


    def note(name: str) -> None:
        with open("notes.txt", "a") as file:
            file.write(name + "\\n")


    def later(name: str) -> None:
        time.sleep(0.2)
        note(name)


    atexit.register(note, "exit handler")
    threading.Thread(target=later, args=("thread at import",)).start()
    ROWS.writelines("at import\\n" for _ in range(1_000))


    @mxm.task
    def rows() -> int:
        for i in range(1_000):
            ROWS.write(f"{i}\\n")
        POOL.submit(later, "given to a pool")
        threading.Thread(target=later, args=("thread of a task",)).start()
        return 1_000


    @mxm.flow
    def prices():
        return rows
    """


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, {"prices.py": LEFT_OPEN})
    return tmp_path


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_run_loses_nothing_that_a_task_left_open(project: Path, backend: str) -> None:
    ran = call("run", "prices", "--backend", backend, cwd=project)
    assert ran.code == 0, ran.err
    assert len((project / "rows.csv").read_text().splitlines()) == 2_000
    assert set((project / "notes.txt").read_text().splitlines()) == {
        "thread at import",
        "given to a pool",
        "thread of a task",
        "exit handler",
    }


@pytest.mark.parametrize(
    "arguments", [["list"], ["check"], ["show", "prices"], ["graph", "prices"]]
)
def test_every_other_verb_ends_as_python_does(project: Path, arguments: list[str]) -> None:
    ran = call(*arguments, cwd=project)
    assert ran.code == 0, ran.err
    assert len((project / "rows.csv").read_text().splitlines()) == 1_000
    assert (project / "notes.txt").read_text().splitlines() == ["thread at import", "exit handler"]


# What leaves 1,000 lines in "done.txt" when the process ends: of the module, and of the task.
LEFT = {
    "a suspended generator": (
        """
        def write():
            with open("done.txt", "w") as out:
                while True:
                    out.write((yield))
        WRITER = write()
        """,
        "next(WRITER); [WRITER.send(line) for line in LINES]",
    ),
    "a suspended generator in a cycle": (
        """
        class Box: ...
        def write():
            box = Box()
            box.writer = yield box
            try:
                yield
            finally:
                DONE(LINES)
        """,
        "writer = write(); next(writer); writer.send(writer)",
    ),
    "a suspended coroutine in a cycle": (
        """
        import types
        @types.coroutine
        def pause():
            yield
        async def write(own):
            own.append(own)
            try:
                await pause()
            finally:
                DONE(LINES)
        """,
        "own = []; own.append(write(own)); own[0].send(None)",
    ),
    "an object with __del__ in a cycle": (
        """
        class Writer:
            def __del__(self):
                DONE(LINES)
        """,
        "writer = Writer(); writer.itself = writer",
    ),
    "a file that a thread opens after the run": (
        """
        import threading, time
        KEPT = []
        def later():
            time.sleep(0.5)
            KEPT.append(open("done.txt", "w"))
            KEPT[0].writelines(LINES)
        """,
        "threading.Thread(target=later).start()",
    ),
    "a file that an exit handler opens": (
        """
        import atexit
        KEPT = []
        def later():
            KEPT.append(open("done.txt", "w"))
            KEPT[0].writelines(LINES)
        """,
        "atexit.register(later)",
    ),
    "a buffering log handler of the module": (
        """
        import logging, logging.handlers
        LOG = logging.getLogger("rows")
        LOG.propagate = False
        LOG.setLevel("INFO")
        LOG.addHandler(logging.handlers.MemoryHandler(
            5000, logging.CRITICAL, logging.FileHandler("done.txt")))
        """,
        "[LOG.info(line.strip()) for line in LINES]",
    ),
    "a class that refuses to be inspected": (
        """
        class Refuses(type):
            def __getattr__(cls, name): raise SystemExit(7)
            def __eq__(cls, other): raise SystemExit(7)
            def __hash__(cls): raise SystemExit(7)
        class Odd(metaclass=Refuses):
            __module__ = None
            def __del__(self): ...
        KEPT = [Odd()]
        """,
        "DONE(LINES)",
    ),
}

FLOW = """
import mxm

LINES = [f"row {i}\\n" for i in range(1000)]
def DONE(lines, open=open):
    with open("done.txt", "w") as out:
        out.writelines(lines)
"""


@pytest.mark.parametrize("backend", ["inline", "prefect"])
@pytest.mark.parametrize("kind", LEFT)
def test_what_a_task_left_is_written_at_the_end(tmp_path: Path, kind: str, backend: str) -> None:
    module, task = LEFT[kind]
    flow = f"@mxm.task\ndef leaves() -> int:\n    {task}\n    return 1\n\n@mxm.flow\ndef f():\n"
    code = f"{FLOW}{textwrap.dedent(module)}\n{flow}    return leaves()\n"
    write(tmp_path, {"flows.py": code})
    ran = call("run", "f", "-q", "--no-record", "--backend", backend, cwd=tmp_path)
    assert (ran.code, ran.out, ran.err) == (0, '{\n  "leaves": 1\n}\n', "")
    assert len((tmp_path / "done.txt").read_text().splitlines()) == 1_000


# Each writes a line as Python frees it, and only if nothing but its module holds it. `note` is
# None when Python empties the module, so a late finalizer fails.
HELD = """
    import contextlib
    import functools
    import types
    import weakref

    import mxm


    def note(line: str, open=open) -> None:
        with open("notes.txt", "a") as file:
            file.write(line + "\\n")


    def suspended(name: str):
        try:
            yield
        finally:
            note(name)


    @types.coroutine
    def pause():
        yield


    async def waiting(name: str):
        try:
            await pause()
        finally:
            note(name)


    async def streaming(name: str):
        try:
            yield
        finally:
            note(name)


    class Writer:
        def __init__(self, name: str) -> None:
            self.name = name

        def __del__(self) -> None:
            note(self.name)

        def method(self) -> None: ...


    class Number(int):
        __slots__ = ()

        def __del__(self) -> None:
            note("object unknown to the collector")


    class Plain: ...


    def function() -> None: ...


    KEPT = []


    def started(name: str):
        generator = suspended(name)
        next(generator)
        return generator


    @mxm.task
    def leaves() -> int:
        function.generator = started("function")
        leaves.fn.generator = started("task")
        Plain.generator = started("class")
        Plain.property = property(Writer("property").method)
        KEPT.append(started("module"))
        KEPT.append(functools.partial(print, started("partial")))
        KEPT.append(lambda generator=started("default"): generator)
        KEPT.append((lambda generator: lambda: generator)(started("closure")))
        KEPT.append(map(str, started("iterator")))
        KEPT.append(contextlib.contextmanager(suspended)("context"))
        KEPT[-1].__enter__()
        KEPT.append(waiting("coroutine"))
        KEPT[-1].send(None)
        KEPT.append(streaming("async generator"))
        with contextlib.suppress(StopIteration):
            KEPT[-1].__anext__().send(None)
        KEPT.append(Writer("object"))
        KEPT.append(Writer("method").method)
        KEPT.append(Number())
        cycle = Plain()
        cycle.itself = cycle
        KEPT.append(weakref.ref(cycle, lambda _: note("weak reference")))
        return 1


    @mxm.flow
    def f():
        return leaves()
    """
WRITTEN = {
    *("function", "task", "class", "property", "module", "partial", "default", "closure"),
    *("iterator", "context", "coroutine", "async generator", "object", "method", "weak reference"),
    "object unknown to the collector",
}


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_what_only_a_module_holds_ends_with_the_module(tmp_path: Path, backend: str) -> None:
    write(tmp_path, {"flows.py": HELD})
    ran = call("run", "f", "-q", "--no-record", "--backend", backend, cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert set((tmp_path / "notes.txt").read_text().splitlines()) == WRITTEN


# A thread of ours or of the engine that still holds the run as Python ends keeps the module with all
# it holds. With so long an interval such a thread gets no turn by itself.
ENDS_AT_ONCE = "import sys; sys.setswitchinterval(10)"
WAYS = {
    "inline": "backend='inline'",
    "in threads": "backend='inline', runner='threads', workers=2",
    "recorded": "backend='inline', record=True",
    "Prefect": "",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_script_that_runs_a_flow_ends_as_without_it(tmp_path: Path, way: str) -> None:
    run = f"flows.f.with_options({WAYS[way]}).run().value()"
    write(tmp_path, {"flows.py": HELD, "script.py": f"{ENDS_AT_ONCE}\nimport flows; print({run})"})
    ran = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "1\n", "")
    assert set((tmp_path / "notes.txt").read_text().splitlines()) == WRITTEN


SCRIPT = """
    import asyncio
    import sys
    from concurrent.futures import ThreadPoolExecutor

    import mxm

    sys.setswitchinterval(10)
    ROWS = open("rows.csv", "w")
    POOL = ThreadPoolExecutor(1)


    def rows() -> None:
        ROWS.writelines(f"{i}\\n" for i in range(1_000))


    @mxm.task
    def writes() -> None:
        rows()


    @mxm.task(timeout_s=60)
    def writes_in_time() -> None:
        rows()


    @mxm.task
    async def awaits() -> None:
        await asyncio.sleep(0)
        rows()


    @mxm.task
    def pools() -> None:
        POOL.submit(rows)


    @mxm.task
    def fails() -> None:
        rows()
        raise ValueError


    @mxm.task
    def writes_one(i: int) -> None:
        ROWS.writelines(f"{i}\\n" for _ in range(500))


    @mxm.flow
    def f():
        return {task}


    {run}
    """


@pytest.mark.slow
@pytest.mark.parametrize("options", ["", "runner='threads', workers=2"])
@pytest.mark.parametrize(
    "task",
    ["writes()", "writes_in_time()", "awaits()", "pools()", "fails()", "writes_one.map([1, 2])"],
)
def test_a_script_loses_nothing_that_a_task_left_open(
    tmp_path: Path, task: str, options: str
) -> None:
    run = f"f.with_options({options}).run()"
    for run in (run, f"async def main():\n        {run}\n    asyncio.run(main())"):
        write(tmp_path, {"script.py": SCRIPT.replace("{task}", task).replace("{run}", run)})
        ran = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True)
        assert ran.returncode == 0, ran.stderr
        assert len((tmp_path / "rows.csv").read_text().splitlines()) == 1_000


# What the search for finalizers can miss: each is the only one in its process.
UNSEEN = {
    "a weak reference to an object in a cycle": (
        """
        import weakref
        class Box: ...
        KEPT = []
        """,
        "box = Box(); box.box = box; KEPT.append(weakref.ref(box, lambda _: DONE(LINES)))",
    ),
    "an object without a place for attributes": (
        """
        class Number(int):
            __slots__ = ()
            def __del__(self):
                DONE(LINES)
        def keep(): ...
        """,
        "keep.number = Number()",
    ),
    "a class that gets its finalizer in the task": (
        """
        class Writer: ...
        KEPT = [Writer()]
        """,
        "Writer.__del__ = lambda self: DONE(LINES)",
    ),
    "a file that a thread opens while the engine loads": (
        """
        import sys, threading, time
        def later():
            while "mxm.pipeline.execution.driver" not in sys.modules:
                time.sleep(0.001)
            keep.out = open("done.txt", "w")
            keep.out.writelines(LINES)
        def keep(): ...
        threading.Thread(target=later).start()
        """,
        "pass",
    ),
}


@pytest.mark.parametrize("kind", UNSEEN)
def test_no_finalizer_is_overlooked(tmp_path: Path, kind: str) -> None:
    module, task = UNSEEN[kind]
    flow = f"@mxm.task\ndef leaves() -> int:\n    {task}\n    return 1\n\n@mxm.flow\ndef f():\n"
    write(tmp_path, {"flows.py": f"{FLOW}{textwrap.dedent(module)}\n{flow}    return leaves()\n"})
    ran = call("run", "f", "-q", "--no-record", "--backend", "inline", cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert len((tmp_path / "done.txt").read_text().splitlines()) == 1_000
