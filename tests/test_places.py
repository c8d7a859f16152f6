"""The place `processes`: how its workers end, and what becomes of items when one dies."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import mxm
from mxm.pipeline import Failure, FlowSpec, TaskSpec
from mxm.pipeline.api import compile_flow
from mxm.pipeline.bindings import Bindings, Const, Each, Upstream
from mxm.pipeline.errors import BackendError, TaskTimeoutError, WorkerDiedError
from mxm.pipeline.runs import FlowRun, State

ENDS = {
    "a file that a module keeps open": """
        OUT = open("out.txt", "w")

        @mxm.task
        def work() -> int:
            for i in range(1000):
                print(i, file=OUT)
            return 1
    """,
    "a file that a task opens and leaves in a global": """
        KEPT = []

        @mxm.task
        def work() -> int:
            KEPT.append(open("out.txt", "w"))
            KEPT[0].write("999" + chr(10))
            return 1
    """,
    "an exit handler": """
        import atexit

        @mxm.task
        def work() -> int:
            atexit.register(lambda: open("out.txt", "w").write("999" + chr(10)))
            return 1
    """,
    "a handler of logs with a buffer": """
        import logging, logging.handlers

        @mxm.task
        def work() -> int:
            target = logging.FileHandler("out.txt")
            buffered = logging.handlers.MemoryHandler(1000, logging.CRITICAL, target)
            KEPT.append(buffered)
            buffered.handle(logging.makeLogRecord({"msg": "999", "levelno": logging.INFO}))
            return 1

        KEPT = []
    """,
    "a thread that still works": """
        import threading, time

        def late():
            time.sleep(0.5)
            open("out.txt", "w").write("999" + chr(10))

        @mxm.task
        def work() -> int:
            threading.Thread(target=late).start()
            return 1
    """,
    "the finalizer of a temporary folder": """
        import tempfile, weakref

        class Kept: ...

        KEPT = Kept()

        @mxm.task
        def work() -> int:
            weakref.finalize(KEPT, lambda: open("out.txt", "w").write("999" + chr(10)))
            return 1
    """,
}


@pytest.mark.parametrize("text", ENDS.values(), ids=list(ENDS))
def test_worker_ends_as_python_ends(tmp_path: Path, text: str) -> None:
    flow = "\n\n@mxm.flow\ndef ends():\n    return work\n"
    (tmp_path / "flows.py").write_text("import mxm\n" + textwrap.dedent(text) + flow)
    program = "import flows\nif __name__ == '__main__':\n    run = flows.ends.with_options"
    program += "(backend='inline', runner='processes', workers=1).run()\n    print(run.value())\n"
    (tmp_path / "program.py").write_text(program)
    ran = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert ran.stdout == "1\n", ran.stderr
    assert (tmp_path / "out.txt").read_text().splitlines()[-1] == "999"
    assert not list(tmp_path.glob("pymp-*")), "nothing is left behind"


def test_what_a_worker_prints_at_its_end_is_shown(tmp_path: Path) -> None:
    text = """
        import atexit
        import mxm

        @mxm.task
        def work() -> int:
            atexit.register(print, "goodbye")
            return 1

        @mxm.flow
        def ends():
            return work
    """
    (tmp_path / "flows.py").write_text(textwrap.dedent(text))
    program = "import flows\nif __name__ == '__main__':\n    flows.ends.with_options"
    program += "(backend='inline', runner='processes').run()\n"
    (tmp_path / "program.py").write_text(program)
    ran = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout == "goodbye\n", ran.stderr


# Items in chunks.


def die(x: int, folder: str, at: int) -> int:
    calls = Path(folder, str(x))
    calls.write_text(calls.read_text() + "." if calls.exists() else ".")
    if x == at:
        os._exit(7)
    return x


def doze(x: int) -> int:
    import time

    if x == 2:
        time.sleep(60)
    return x


def leave(x: int) -> int:
    if x == 1:
        raise SystemExit(3)
    return x


def plain(x: Any, same: Any = None) -> Any:
    return x


def change(x: int, same: list[int]) -> list[int]:
    same.append(x)
    return same


def numbers(count: int) -> list[Any]:
    return list(range(count))


def mapped(
    fn: Any, count: int, *, backend: str = "inline", workers: int = 2, **more: Any
) -> FlowRun:
    kwargs = {k: Const(v) for k, v in more.pop("given", {}).items()}
    tasks = [
        TaskSpec("m", numbers, params={"count": count}),
        TaskSpec("f", fn, bindings=Bindings((Each(Upstream("m")),), kwargs), **more),
    ]
    return compile_flow(
        FlowSpec("places", tasks), backend=backend, runner="processes", workers=workers
    ).run()


@pytest.mark.parametrize("retries", [0, 2])
def test_only_the_item_that_was_at_work_dies_with_its_worker(tmp_path: Path, retries: int) -> None:
    given = {"folder": str(tmp_path), "at": 5}
    run = mapped(die, 30, given=given, retries=retries)
    items = run.tasks["f"].items
    assert items is not None
    assert items.count() == {"succeeded": 29, "failed": 1}
    assert isinstance(items["5"].error, WorkerDiedError)
    assert items["5"].attempts == retries + 1
    calls = {path.name: len(path.read_text()) for path in tmp_path.iterdir()}
    assert calls == {str(i): 1 + retries * (i == 5) for i in range(30)}, "each at most once"


def test_timeout_of_an_item_is_its_own() -> None:
    run = mapped(doze, 6, timeout_s=0.5, workers=1)
    items = run.tasks["f"].items
    assert items is not None
    assert items.count() == {"succeeded": 5, "failed": 1}
    assert isinstance(items["2"].error, TaskTimeoutError)


def test_item_that_leaves_fails_alone() -> None:
    run = mapped(leave, 4, outcomes=True, retries=2)
    value = run.tasks["f"].value
    assert [value[i] for i in (0, 2, 3)] == [0, 2, 3]
    assert isinstance(value[1], Failure)
    assert (type(value[1].error), value[1].attempts) == (SystemExit, 1)


def test_item_that_cannot_be_sent_fails_alone() -> None:
    def odd() -> list[Any]:
        return [1, lambda: 1, 3]

    tasks = [
        TaskSpec("m", lambda: 1),
        TaskSpec("f", plain, bindings=Bindings((Each(Const(odd())),)), outcomes=True),
    ]
    run = compile_flow(
        FlowSpec("places", tasks[1:]), backend="inline", runner="processes", workers=1
    ).run()
    value = run.tasks["f"].value
    assert [value[0], value[2]] == [1, 3]
    assert isinstance(value[1].error, BackendError)
    assert "cannot pass between processes" in str(value[1].error)


def test_what_items_share_is_a_copy_for_each() -> None:
    assert mapped(change, 4, given={"same": [7]}, workers=1).tasks["f"].value == [
        [7, i] for i in range(4)
    ]


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_many_items_go_in_chunks(backend: str) -> None:
    assert mapped(plain, 3000, backend=backend).tasks["f"].value == list(range(3000))


def test_large_items() -> None:
    run = mapped(lengthy, 12)
    assert run.error is None, run.error
    assert [len(text) for text in run.tasks["f"].value] == [1_000_000] * 12


def lengthy(x: int) -> str:
    return str(x % 10) * 1_000_000


@mxm.task
def printing(x: int) -> int:
    print(f"item {x}")
    return x


def test_output_of_items_is_theirs() -> None:
    from mxm.pipeline.execution.events import Event, OutputLine

    lines: list[tuple[str | None, str]] = []

    def keep(event: Event) -> None:
        if isinstance(event, OutputLine):
            lines.append((event.item, event.text))

    tasks = [TaskSpec("f", printing.fn, bindings=Bindings((Each(Const([1, 2, 3])),)))]
    run = compile_flow(
        FlowSpec("places", tasks),
        backend="inline",
        runner="processes",
        workers=1,
        observers=[keep],
    ).run()
    assert lines == [("1", "item 1"), ("2", "item 2"), ("3", "item 3")]
    assert run.tasks["f"].output == "item 1\nitem 2\nitem 3\n"
    assert run.tasks["f"].items is not None
    assert [item.output for item in run.tasks["f"].items.values()] == [
        f"item {x}\n" for x in (1, 2, 3)
    ]
    assert run.state is State.SUCCEEDED
