from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from command import invoke

import mxm
from mxm.pipeline import FlowRun, FlowSpec, State, TaskSpec, compile_flow
from mxm.pipeline.api import check_flow
from mxm.pipeline.bindings import Bindings, Const, Each
from mxm.pipeline.errors import BackendError, ParameterError, PipelineError
from mxm.pipeline.execution.events import StepStarted, StepWaits
from mxm.pipeline.specdict import flow_from_dict, flow_to_dict


class Gauge:
    """How many functions are at work at once, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = self.most = self.calls = 0

    def work(self, *_: object) -> int:
        with self._lock:
            self.calls += 1
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.003)
        with self._lock:
            self.now -= 1
        return self.calls


def mapped(name: str, fn: Callable[..., Any], items: int, **options: Any) -> TaskSpec:
    bindings = Bindings((Each(Const(list(range(items)))),))
    return TaskSpec(name, fn, bindings=bindings, **options)


def run_of(tasks: list[TaskSpec], **options: Any) -> FlowRun:
    options = {"backend": "inline", "runner": "threads", "workers": 6, **options}
    return compile_flow(FlowSpec("f", tasks), **options).run()


@pytest.mark.parametrize("backend", ["inline", "prefect"])
@pytest.mark.parametrize("most", [1, 2])
def test_no_more_attempts_than_the_limit_steps_and_items_mixed(backend: str, most: int) -> None:
    limited, free = Gauge(), Gauge()
    tasks = [TaskSpec(f"a{i}", limited.work, limits=["bloomberg"]) for i in range(6)]
    tasks += [mapped("m", limited.work, 8, limits=["bloomberg"])]
    tasks += [TaskSpec(f"b{i}", free.work) for i in range(6)]
    run = run_of(tasks, backend=backend, limits={"bloomberg": most})
    assert run.state is State.SUCCEEDED
    assert (limited.calls, free.calls) == (14, 6)
    assert limited.most <= most


def test_limit_is_reached_and_one_without_a_number_is_one() -> None:
    together = threading.Barrier(2)
    tasks = [TaskSpec(f"a{i}", lambda: together.wait(60), limits=["x"]) for i in range(4)]
    assert run_of(tasks, limits={"x": 2}).state is State.SUCCEEDED  # two at once, or none ends
    gauge = Gauge()
    run_of([TaskSpec(f"a{i}", gauge.work, limits=["x"]) for i in range(5)])
    assert (gauge.most, gauge.calls) == (1, 5)


@pytest.mark.parametrize("backend", ["inline", "prefect"])
@pytest.mark.parametrize("runner", ["sequential", "threads"])
def test_waiting_holds_no_worker(backend: str, runner: str) -> None:
    gauge = Gauge()
    tasks = [TaskSpec(f"a{i}", gauge.work, limits=["x", "y"]) for i in range(3)]
    tasks += [mapped("m", gauge.work, 5, limits=["y"]), TaskSpec("b", gauge.work, limits=["x"])]
    run = run_of(tasks, backend=backend, runner=runner, workers=1)
    assert run.state is State.SUCCEEDED
    assert (gauge.most, gauge.calls) == (1, 9)


def test_others_go_past_what_waits() -> None:
    gate = threading.Event()
    tasks = [
        TaskSpec("first", lambda: gate.wait(60), limits=["x"]),
        TaskSpec("second", lambda: True, limits=["x"]),
        TaskSpec("opens", gate.set),  # behind `second`, which must not keep the second worker
    ]
    run = run_of(tasks, workers=2)
    assert run.values == {"first": True, "second": True, "opens": None}


def test_several_limits_are_held_at_once() -> None:
    gauges = {"x": Gauge(), "y": Gauge(), "z": Gauge()}

    def work(names: list[str]) -> None:
        *others, last = names
        if others:
            with gauges[last]._lock:
                gauges[last].now += 1
                gauges[last].most = max(gauges[last].most, gauges[last].now)
            work(others)
            with gauges[last]._lock:
                gauges[last].now -= 1
        else:
            gauges[last].work()

    pairs = [["x", "y"], ["y", "z"], ["z", "x"], ["x"], ["y"], ["z"], ["z", "y", "x"]] * 4
    tasks = [
        TaskSpec(f"t{i}", work, params={"names": names}, limits=names)
        for i, names in enumerate(pairs)
    ]
    run = run_of(tasks, limits={"y": 2})
    assert run.state is State.SUCCEEDED
    assert gauges["x"].most == gauges["z"].most == 1
    assert gauges["y"].most <= 2


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_limit_is_free_between_attempts(backend: str) -> None:
    other = threading.Event()
    calls: list[int] = []

    def flaky() -> bool:
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError
        return other.is_set()

    tasks = [
        TaskSpec("flaky", flaky, limits=["x"], retries=1, retry_delay_s=0.3),
        TaskSpec("other", other.set, limits=["x"]),
    ]
    run = run_of(tasks, backend=backend, workers=2)
    assert run.values == {"flaky": True, "other": None}


def test_limit_is_free_while_an_item_waits_to_try_again() -> None:
    other = threading.Event()
    calls: list[int] = []

    def flaky(item: int) -> bool:
        calls.append(item)
        if len(calls) == 1:
            raise ConnectionError
        return other.is_set()

    tasks = [
        mapped("flaky", flaky, 1, limits=["x"], retries=1, retry_delay_s=0.3),
        TaskSpec("other", other.set, limits=["x"]),
    ]
    run = run_of(tasks, workers=2)
    assert run.values == {"flaky": [True], "other": None}


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_attempts_after_the_first_keep_the_limit_too(backend: str) -> None:
    gauge, lock = Gauge(), threading.Lock()
    failed: set[int] = set()

    def flaky(item: int) -> int:
        gauge.work()
        with lock:
            if item not in failed:
                failed.add(item)
                raise ConnectionError
        return item

    tasks = [
        TaskSpec(f"t{i}", flaky, params={"item": -i - 1}, limits=["x"], retries=2) for i in range(5)
    ]
    tasks += [mapped("m", flaky, 6, limits=["x"], retries=1)]
    run = run_of(tasks, backend=backend)
    assert run.state is State.SUCCEEDED
    assert (gauge.most, gauge.calls) == (1, 22)


def test_waiting_is_no_part_of_a_timeout_and_is_recorded() -> None:
    def work() -> None:
        time.sleep(0.15)

    events: list[Any] = []
    tasks = [TaskSpec(f"t{i}", work, limits=["x"], timeout_s=5) for i in range(3)]
    tasks += [TaskSpec("free", work)]
    run = run_of(tasks, observers=[events.append])
    waited = [run.tasks[f"t{i}"].waited or 0.0 for i in range(3)]
    assert waited[0] == 0 < waited[1] < waited[2]
    assert run.tasks["free"].waited is None
    assert run.to_dict()["tasks"][1]["waited"] == round(waited[1], 6)  # type: ignore[index, call-overload]
    waits = [(e.step, e.limit, e.most) for e in events if isinstance(e, StepWaits)]
    assert waits == [("t1", "x", 1), ("t2", "x", 1)]
    started = [e.step for e in events if isinstance(e, StepStarted)]
    assert sorted(started) == ["free", "t0", "t1", "t2"]


def test_fail_fast_skips_what_waits() -> None:
    begun = threading.Event()

    def fail() -> None:
        begun.set()
        time.sleep(0.05)  # the others wait by now
        raise LookupError("no such symbol")

    tasks = [TaskSpec("a", fail, limits=["x"]), TaskSpec("b", print, limits=["x"])]
    tasks += [TaskSpec("begun", lambda: begun.wait(60))]
    tasks += [mapped("m", abs, 3, limits=["x"], after=["begun"])]
    tasks += [TaskSpec("z", int, run_if="always", limits=["x"])]
    run = run_of(tasks, fail_fast=True)
    states = {name: task.state.value for name, task in run.tasks.items()}
    assert states.pop("begun") == "succeeded"
    assert states == {"a": "failed", "b": "skipped", "m": "skipped", "z": "succeeded"}
    assert run.tasks["b"].reason == "task 'a' failed, and fail_fast stops the run"


def test_inputs_that_cannot_be_read_give_the_limit_back() -> None:
    from mxm.pipeline.bindings import Upstream

    tasks = [
        TaskSpec("a", int),
        TaskSpec("b", print, bindings=Bindings((Upstream("a", ("x",)),)), limits=["x"]),
        TaskSpec("c", int, after=["b"], run_if="always", limits=["x"]),
    ]
    run = run_of(tasks)
    assert run.tasks["c"].state is State.SUCCEEDED


def test_attempt_that_timed_out_and_one_that_exits_give_the_limit_back() -> None:
    tasks = [
        TaskSpec("late", lambda: time.sleep(5), limits=["x"], timeout_s=0.05),
        TaskSpec("left", lambda: sys.exit(3), limits=["x"]),
        mapped("items", lambda _: sys.exit(3), 2, limits=["x"]),
        TaskSpec("last", int, limits=["x"]),
    ]
    run = run_of(tasks)
    states = [task.state.value for task in run.tasks.values()]
    assert states == ["failed", "failed", "failed", "succeeded"]


PROGRAM = """
import os, sys, time
import mxm

@mxm.task(limits=["x"])
def work(number: int, folder: str) -> int:
    mark = os.path.join(folder, "busy")
    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # fails where another one is at work
    time.sleep(0.02)
    os.remove(mark)
    return number

@mxm.task
def free(number: int) -> int:
    return number

@mxm.flow
def side_by_side(folder: str):
    return [work(0, folder), work(1, folder), work.map([2, 3, 4, 5], folder=folder), free.map([1, 2])]
"""


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_limit_of_one_on_processes(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows.py").write_text(PROGRAM, "utf-8")
    more = ("--backend", backend, "--runner", "processes", "--workers", "3", "--value")
    ran = invoke("run", "side_by_side", "-p", f"folder={tmp_path}", *more)
    assert ran.code == 0, ran.err
    assert ran.out.split() == "[ 0, 1, [ 2, 3, 4, 5 ], [ 1, 2 ] ]".split()


SLOW = """
import time
import mxm

@mxm.task(limits=["x"], retries=3)
def holds() -> None:
    print("holds", flush=True)
    time.sleep(60)

@mxm.task(limits=["x"])
def waits() -> None:
    pass

@mxm.flow
def stuck():
    return [holds(), waits()]
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("runner", ["threads", "processes"])
@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_ctrl_c_while_a_task_waits(runner: str, backend: str, tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(SLOW, "utf-8")
    options = ["--runner", runner, "--backend", backend, "--workers", "2", "--json"]
    script = "import sys; from mxm.pipeline.cli.start import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "run", "stuck", *options]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        seen = ""
        while "waits: limit x is reached (1)" not in seen or "] holds" not in seen:
            line = process.stderr.readline()
            assert line, seen
            seen += line
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out.count('"state": "cancelled"') == 4  # the run, both tasks, and the attempt


def test_retry_that_waits_for_a_limit_ends_with_the_run() -> None:
    held, failed, interrupted = threading.Event(), threading.Event(), threading.Event()
    calls: list[str] = []

    def flaky() -> None:
        calls.append("flaky")
        if len(calls) > 1:
            return
        failed.set()
        raise ConnectionError

    def holds() -> None:
        failed.wait(60)
        held.set()
        time.sleep(0.1)  # the other one waits by now
        raise KeyboardInterrupt

    tasks = [
        TaskSpec("flaky", flaky, limits=["x"], retries=1, retry_delay_s=0.05),
        TaskSpec("holds", holds, limits=["x"]),
    ]
    with pytest.raises(KeyboardInterrupt) as caught:
        run_of(tasks, workers=2)
    run: Any = caught.value.mxm_run  # type: ignore[attr-defined]
    assert run.state is State.CANCELLED
    interrupted.wait(0.2)
    assert calls == ["flaky"]


def test_numbers_come_from_the_run_then_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.mxm.pipeline.limits]\nx = 3\nother = 1\n")

    def most_of(options: Mapping[str, Any]) -> int:
        together = threading.Barrier(3)
        tasks = [TaskSpec(f"a{i}", lambda: together.wait(0.5), limits=["x"]) for i in range(3)]
        return 3 if run_of(tasks, **options).state is State.SUCCEEDED else 0

    assert most_of({}) == 3
    assert most_of({"limits": {"x": 2}}) == 0

    made = compile_flow(
        FlowSpec("f", [TaskSpec("a", int, limits=["x", "y"])]), limits={"x": 2}, backend="inline"
    )
    assert made.run({}, {"limits": {"y": 4}}).state is State.SUCCEEDED
    with pytest.raises(ParameterError, match="MXM112"):
        made.run({}, {"limits": {"z": 4}})


@mxm.task(limits=["bloomberg"])
def load(symbol: str) -> int:
    return len(symbol)


@mxm.flow
def loads(symbol: str = "SPY") -> int:
    return load(symbol)


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "2", None, float("nan")])
def test_number_of_a_limit_must_be_whole_and_positive(number: Any) -> None:
    with pytest.raises(ParameterError, match="MXM111 limit 'bloomberg' must be a whole number"):
        loads.with_options(limits={"bloomberg": number}).run()


def test_wrong_limits_are_errors() -> None:
    with pytest.raises(BackendError, match="limits must map names to whole numbers"):
        loads.with_options(limits=["bloomberg"])  # type: ignore[typeddict-item]
    with pytest.raises(ParameterError, match=r"MXM112 no task[^$]* did you mean 'bloomberg'"):
        loads.with_options(limits={"blomberg": 2}).run()
    for wrong in ("bloomberg", [1], [""], {"bloomberg": 2}, 3, None, [None]):
        (problem,) = mxm.task(limits=wrong)(load.fn).spec.problems  # type: ignore[arg-type]
        assert problem.code == "MXM119"
        assert "limits must be a list of strings" in problem.message
    assert load.spec.limits == ("bloomberg",)
    assert TaskSpec("a", int, limits={"b", "a"}).limits == ("a", "b")
    assert load.with_options(limits=["y", "x", "y"]).spec.limits == ("x", "y")


def test_check_notes_a_limit_without_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (note,) = check_flow(loads)
    assert (note.code, note.severity) == ("MXM110", "note")
    file = tmp_path / "pyproject.toml"
    file.write_text("[tool.mxm.pipeline.limits]\nblomberg = 2\n")
    assert check_flow(loads)[0].hint == "did you mean 'blomberg'?"
    file.write_text("[tool.mxm.pipeline.limits]\nbloomberg = 2\n")
    assert check_flow(loads) == []
    file.write_text("[tool.mxm.pipeline.limits]\nbloomberg = 0\nunused = 0\n")
    assert [(p.code, p.severity) for p in check_flow(loads)] == [("MXM111", "error")]
    with pytest.raises(ParameterError, match=r"pyproject.toml: \[tool.mxm.pipeline.limits\] limit"):
        loads.run()
    file.write_text("[tool.mxm.pipeline]\nlimits = 2\n")
    with pytest.raises(PipelineError, match="limits must be a table of whole numbers"):
        loads.run()


FLOWS = """
import mxm

@mxm.task(limits=["bloomberg"])
def load(symbol: str) -> int:
    return len(symbol)

@mxm.flow
def loads(symbol: str = "SPY") -> int:
    return load(symbol)
"""


def test_the_command_takes_and_shows_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows.py").write_text(FLOWS, "utf-8")
    assert invoke("run", "loads", "--limit", "bloomberg=2").code == 0
    for text, said in (
        ("bloomberg=0", "MXM111"),
        ("bloomberg=two", "MXM111"),
        ("bloomberg=-2", "MXM111"),
        ("blomberg=2", "did you mean 'bloomberg'?"),
        ("bloomberg", "--limit takes NAME=N"),
        ("=2", "--limit takes NAME=N"),
    ):
        ran = invoke("run", "loads", "--limit", text)
        assert (ran.code, said in ran.err) == (2, True), ran.err
    twice = invoke("run", "loads", "--limit", "bloomberg=2", "--limit", "bloomberg=3")
    assert (twice.code, "given twice" in twice.err) == (2, True)
    assert "limits bloomberg" in invoke("show", "loads").out
    assert '"limits": [\n        "bloomberg"' in invoke("show", "loads", "--json").out
    ran = invoke("check")
    assert (ran.code, "MXM110" in ran.err) == (0, True)


def test_dict_form() -> None:
    spec = FlowSpec("f", [TaskSpec("a", int, limits=["y", "x"])])
    assert flow_to_dict(spec)["tasks"][0]["limits"] == ["x", "y"]
    assert flow_from_dict(flow_to_dict(spec)) == spec
    assert flow_from_dict(flow_to_dict(FlowSpec("f", [TaskSpec("a", int)]))) != spec
