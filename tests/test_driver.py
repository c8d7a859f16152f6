from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mxm
from mxm.pipeline import FlowSpec, State, TaskSpec, compile_flow, execute_flow
from mxm.pipeline.adapters.base import load_backend
from mxm.pipeline.bindings import Bindings, Upstream
from mxm.pipeline.errors import BackendError, PipelineError, UnknownBackendError
from mxm.pipeline.execution import ledger, runners
from mxm.pipeline.execution.options import BACKENDS, RunOptions, backend_names


def one() -> int:
    return 1


def test_a_projection_that_fails_fails_the_task_that_takes_it() -> None:
    tasks = [
        TaskSpec("a", lambda: 1),
        TaskSpec("b", print, bindings=Bindings((Upstream("a", ("x",)),))),
    ]
    run = compile_flow(FlowSpec("f", tasks), backend="inline").run()
    assert run.tasks["b"].state is State.FAILED
    assert "its inputs could not be read: TypeError" in (run.tasks["b"].reason or "")


def test_a_task_starts_when_its_own_upstreams_are_done() -> None:
    gate = threading.Event()

    def slow() -> bool:
        return gate.wait(20)

    def quick() -> None:
        pass

    def opens(_: object) -> None:
        gate.set()

    # `opens` needs `quick` only: were it held back until `slow` ends, neither would end in time.
    tasks = [
        TaskSpec("slow", slow),
        TaskSpec("quick", quick),
        TaskSpec("opens", opens, upstream=["quick"]),
    ]
    run = compile_flow(FlowSpec("f", tasks), backend="inline", runner="threads", workers=2).run()
    assert run.values["slow"] is True


def test_threads_are_as_many_as_workers() -> None:
    lock, busy, most = threading.Lock(), 0, 0
    together = threading.Barrier(3)

    def work() -> None:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        together.wait(60)
        with lock:
            busy -= 1

    tasks = [TaskSpec(f"t{i}", work) for i in range(12)]
    flow = compile_flow(FlowSpec("f", tasks), backend="inline", runner="threads", workers=3)
    assert flow.run().state is State.SUCCEEDED
    assert most == 3


@pytest.mark.parametrize("runner", ["sequential", "threads"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_thread_that_a_task_leaves_does_not_hold_the_run(backend: str, runner: str) -> None:
    gate, left = threading.Event(), []

    def leaves() -> None:
        left.append(threading.Thread(target=gate.wait, args=(60,)))
        left[0].start()

    flow = compile_flow(FlowSpec("f", [TaskSpec("a", leaves)]), backend=backend, runner=runner)
    try:
        assert flow.run().state is State.SUCCEEDED
        assert left[0].is_alive()
    finally:
        gate.set()


def test_ctrl_c_from_a_task_cancels_the_run() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    tasks = [TaskSpec("a", one), TaskSpec("b", interrupt), TaskSpec("c", one)]
    with pytest.raises(KeyboardInterrupt) as caught:
        compile_flow(FlowSpec("f", tasks), backend="inline").run()
    run = caught.value.mxm_run  # type: ignore[attr-defined]
    assert run.state is State.CANCELLED
    assert [t.state.value for t in run.tasks.values()] == ["succeeded", "cancelled", "cancelled"]


@pytest.mark.parametrize("place", ["close", "finished"])
def test_ctrl_c_after_the_last_task_brings_the_run(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = ledger.Ledger if place == "finished" else runners.Sequential
    before, closed = getattr(owner, place), []

    def interrupted(self: Any) -> Any:
        if not closed:
            closed.append(self)
            raise KeyboardInterrupt
        return before(self)

    monkeypatch.setattr(owner, place, interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        compile_flow(FlowSpec("f", [TaskSpec("a", one)]), backend="inline").run()
    run = caught.value.mxm_run  # type: ignore[attr-defined]
    assert (run.state, run.values) == (State.CANCELLED, {"a": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runner": "thread"}, "did you mean 'threads'"),
        ({"runner": None}, "unknown runner None"),
        ({"workers": 0}, "positive number"),
        ({"workers": "3"}, "positive number, not '3'"),
        ({"fail_fast": "no"}, "fail_fast must be True or False, not 'no'"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], message: str) -> None:
    spec = FlowSpec("f", [TaskSpec("a", one)])
    with pytest.raises(BackendError, match=message):
        RunOptions(**options)
    with pytest.raises(BackendError, match=message):
        compile_flow(spec, backend="inline", **options)
    with pytest.raises(BackendError, match=message):
        execute_flow(compile_flow(spec, backend="inline"), {}, options)


@pytest.mark.parametrize("name", ["runer", "worker", "strict_param"])
def test_an_option_of_no_name_is_told_with_the_right_one(name: str) -> None:
    spec = FlowSpec("f", [TaskSpec("a", one)])
    wrong: Any = {name: 1}
    with pytest.raises(TypeError, match=f"a run has no option '{name}': did you mean '{name[:3]}"):
        compile_flow(spec, **wrong)
    with pytest.raises(TypeError, match="did you mean"):
        execute_flow(compile_flow(spec, backend="inline"), {}, wrong)
    with pytest.raises(TypeError, match="did you mean"):
        mxm.flow(one).with_options(**wrong)


def test_a_flow_that_is_not_compiled_is_not_executed() -> None:
    spec: Any = FlowSpec("f", [TaskSpec("a", one)])
    with pytest.raises(PipelineError, match="not a compiled flow: .*\n.*compile it first"):
        execute_flow(spec)


def test_an_unknown_backend_is_a_value_error_with_a_suggestion() -> None:
    assert {"inline", "prefect"} <= set(backend_names())
    with pytest.raises(UnknownBackendError, match="did you mean 'prefect'") as caught:
        load_backend("prefct")
    assert isinstance(caught.value, ValueError)


FLOWS = """
import os, sys, threading, time, mxm

@mxm.task
def started(folder: str) -> int:
    open(os.path.join(folder, "started"), "w").close()
    time.sleep(60)
    return 1

@mxm.task
def beside() -> int:
    time.sleep(60)
    return 1

@mxm.flow(tasks=[started, beside])
def long(folder: str): ...

@mxm.task
def kills() -> None:
    os._exit(7)

@mxm.task
def fine() -> int:
    return 1

@mxm.flow(tasks=[kills, fine])
def dying(): ...

@mxm.task
def threads() -> int:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return 1

@mxm.flow
def leaving():
    return threads
"""


@pytest.mark.parametrize("name", ["INT", "TERM"])
@pytest.mark.parametrize("runner", ["sequential", "threads", "processes"])
@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_a_signal_cancels_the_run(tmp_path: Path, backend: str, runner: str, name: str) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    command = [sys.executable, "-m", "mxm.pipeline.cli.main", "run", "long", "--backend", backend]
    process = subprocess.Popen(
        [*command, "-p", f"folder={tmp_path}", "--runner", runner, "--workers", "2"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "started").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "the task never started"
            time.sleep(0.05)
        process.send_signal(getattr(signal, f"SIG{name}"))
        out, err = process.communicate(timeout=30)  # far below the 60 s that the tasks sleep
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == {"INT": 130, "TERM": 143}[name], err
    assert out == "{}\n"
    assert "the run was cancelled" in err
    assert "Traceback" not in err
    deadline = time.monotonic() + 20
    while _group_lives(process.pid):
        assert time.monotonic() < deadline, "a child is left"
        time.sleep(0.05)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def run_command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "flows.py").write_text(FLOWS)
    return subprocess.run(
        [sys.executable, "-m", "mxm.pipeline.cli.main", "run", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_a_task_that_kills_its_worker_fails_alone(tmp_path: Path) -> None:
    told = run_command(tmp_path, "dying", "--runner", "processes", "--backend", "inline")
    assert told.returncode == 1
    assert '"fine": 1' in told.stdout
    assert "the worker process of task 'kills' ended with exit code 7" in told.stderr


def test_threads_that_a_task_leaves_behind_do_not_hold_the_command(tmp_path: Path) -> None:
    told = run_command(tmp_path, "leaving", "--backend", "inline")
    assert (told.returncode, told.stdout) == (0, '{\n  "threads": 1\n}\n')


def promised(x: int) -> Awaitable[int]:
    async def work() -> int:
        return 2 * x

    return work()


class Waits:
    def __init__(self, value: int) -> None:
        self.value = value

    def __await__(self) -> Iterator[Any]:
        yield from asyncio.sleep(0).__await__()
        return self.value


def waits(x: int) -> Waits:
    return Waits(x)


@functools.singledispatch
def by_type(x: object, y: int = 1) -> str:
    return "object"


@by_type.register
def _(x: int, y: int = 1) -> str:
    return f"int {x} {y}"


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_what_can_be_awaited_is_awaited(backend: str) -> None:
    tasks = [TaskSpec("a", promised), TaskSpec("b", waits, upstream=["a"])]
    assert compile_flow(FlowSpec("f", tasks), backend=backend).run({"x": 3}).values == {
        "a": 6,
        "b": 6,
    }


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_a_generic_function_gets_its_first_argument_by_position(backend: str) -> None:
    tasks = [TaskSpec("a", by_type), TaskSpec("b", by_type, upstream={"x": "a"})]
    run = compile_flow(FlowSpec("f", tasks), backend=backend).run({"x": 3, "y": 4})
    assert run.values == {"a": "int 3 4", "b": "object"}
