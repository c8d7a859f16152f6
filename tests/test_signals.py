"""SIGINT and SIGTERM end a run, wherever they arrive and whatever catches them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import write

from mxm.pipeline import FlowSpec, State, TaskSpec, compile_flow
from mxm.pipeline.adapters import prefect_adapter, prefect_answers
from mxm.pipeline.bindings import Bindings, Const, Each
from mxm.pipeline.runs import FlowRun


def one() -> int:
    return 1


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


SPEC = FlowSpec("f", [TaskSpec("a", one), TaskSpec("b", one, after=["a"])])


@contextmanager
def cancelled() -> Iterator[list[FlowRun]]:
    runs: list[FlowRun] = []
    with pytest.raises(KeyboardInterrupt) as caught:
        yield runs
    run = caught.value.mxm_run  # type: ignore[attr-defined]
    assert run.state is State.CANCELLED
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    runs.append(run)


@pytest.mark.parametrize(("state", "done"), [("RUNNING", {}), ("COMPLETED", {"a": 1, "b": 1})])
def test_a_signal_in_prefects_flow_engine_cancels_the_run(
    state: str, done: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    enter = prefect_answers._enter

    def entered(run: dict[str, Any], new: dict[str, Any]) -> None:
        if new["type"] == state:
            interrupt()
        enter(run, new)

    monkeypatch.setattr(prefect_answers, "_enter", entered)
    with cancelled() as runs:
        compile_flow(SPEC).run()
    assert runs[0].values == done
    assert set(runs[0].tasks) == {"a", "b"}


def test_a_signal_between_tasks_cancels_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect import task_engine

    create = task_engine._create_task_run_locally

    def created(*args: Any, task: Any, **options: Any) -> Any:
        if task.name == "b":
            interrupt()
        return create(*args, task=task, **options)

    monkeypatch.setattr(task_engine, "_create_task_run_locally", created)
    with cancelled() as runs:
        compile_flow(SPEC).run()
    assert runs[0].values == {"a": 1}
    assert runs[0].tasks["b"].state is State.CANCELLED


def test_a_signal_while_the_engine_waits_is_not_kept_waiting() -> None:
    code = f"import os, time; time.sleep(0.2); os.kill({os.getpid()}, {signal.SIGINT:d})"
    others: list[subprocess.Popen[bytes]] = []

    def fail() -> None:
        others.append(subprocess.Popen([sys.executable, "-c", code]))
        raise ValueError

    before = time.monotonic()
    with cancelled():
        compile_flow(FlowSpec("f", [TaskSpec("a", fail, retries=1, retry_delay_s=60)])).run()
    assert time.monotonic() - before < 20
    others[0].wait()


@pytest.mark.parametrize("waits_for", ["a worker", "a timeout", "a coroutine", "items"])
@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_a_signal_that_interrupts_no_wait_cancels_the_run(backend: str, waits_for: str) -> None:
    # The kernel may hand it to any thread: then the wait of the main thread goes on.
    over = threading.Event()

    def interrupts() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        over.wait(60)

    async def interrupts_async() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        await asyncio.sleep(60)

    task = TaskSpec("interrupts", interrupts)
    if waits_for == "a timeout":
        task = replace(task, timeout_s=60.0)
    elif waits_for == "a coroutine":
        task = replace(task, fn=interrupts_async)
    elif waits_for == "items":
        task = TaskSpec(
            "interrupts", lambda _: interrupts(), bindings=Bindings((Each(Const([1])),))
        )
    runner = "threads" if waits_for in ("a worker", "items") else "sequential"
    with cancelled() as runs:
        compile_flow(FlowSpec("f", [task]), backend=backend, runner=runner, workers=1).run()
    over.set()
    assert runs[0].tasks["interrupts"].state == "cancelled"


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_a_task_that_keeps_a_signal_to_itself_is_the_last(backend: str) -> None:
    def deaf() -> None:
        try:
            interrupt()
            time.sleep(20)
        except BaseException:  # noqa: S110
            pass

    tasks = [TaskSpec("deaf", deaf), TaskSpec("next", one, after=["deaf"])]
    with cancelled() as runs:
        compile_flow(FlowSpec("f", tasks), backend=backend).run()
    assert [t.state.value for t in runs[0].tasks.values()] == ["cancelled", "cancelled"]


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_what_the_hosts_handler_raises_ends_the_run(backend: str) -> None:
    def stop(*_: object) -> None:
        sys.exit(7)

    def term() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(SystemExit) as caught:
            compile_flow(FlowSpec("f", [TaskSpec("a", term)]), backend=backend).run()
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.code == 7
    assert caught.value.mxm_run.state is State.CANCELLED  # type: ignore[attr-defined]


def test_a_direct_call_of_the_prefect_flow_is_cancelled_too() -> None:
    flow = prefect_adapter.build_prefect_flow(FlowSpec("f", [TaskSpec("a", interrupt)]))
    with cancelled():
        flow()


FLOWS = """
import os, threading, time, mxm

@mxm.task
def deaf(folder: str) -> None:
    open(os.path.join(folder, "started"), "w").close()
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

@mxm.flow(tasks=[deaf])
def ignoring(folder: str): ...

@mxm.task
def leaves() -> int:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return 1

@mxm.flow(tasks=[leaves])
def leaving(): ...
"""


@pytest.mark.parametrize("name", ["INT", "TERM"])
@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_a_second_signal_ends_the_command_at_once(tmp_path: Path, backend: str, name: str) -> None:
    write(tmp_path, {"flows.py": FLOWS})
    process = subprocess.Popen(
        [sys.executable, "-m", "mxm.pipeline.cli.main", "run", "ignoring", "--backend", backend]
        + ["-p", f"folder={tmp_path}"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "started").exists():
            assert time.monotonic() < deadline, "the task never started"
            time.sleep(0.05)
        for _ in range(2):
            time.sleep(0.2)
            process.send_signal(getattr(signal, f"SIG{name}"))
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == {"INT": 130, "TERM": 143}[name]
    assert "Traceback" not in err


def test_threads_of_a_task_do_not_hold_the_command(tmp_path: Path) -> None:
    write(tmp_path, {"flows.py": FLOWS})
    told = subprocess.run(
        [sys.executable, "-m", "mxm.pipeline.cli.main", "run", "leaving", "--backend", "inline"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (told.returncode, told.stdout) == (0, '{\n  "leaves": 1\n}\n')


def test_ctrl_c_while_the_command_loads_is_quiet() -> None:
    code = """
import os, signal, sys
class Interrupts:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
from mxm.pipeline.cli.start import main
main()
"""
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=40, check=False
    )
    assert (told.returncode, told.stdout, told.stderr) == (130, "", "")
