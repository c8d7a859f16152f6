"""Events: their order, what observers may do, and that they cover everything in a run."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mxm
from mxm.pipeline import FlowRun, FlowSpec, State, TaskRun, TaskSpec, compile_flow
from mxm.pipeline.errors import Skip
from mxm.pipeline.execution.events import (
    AssetWritten,
    AttemptEnded,
    AttemptStarted,
    Event,
    OutputLine,
    RunEnded,
    RunStarted,
    StepEnded,
    StepStarted,
)
from mxm.pipeline.execution.output import LIMIT, Output
from mxm.pipeline.runs import Attempt
from mxm.pipeline.spec import AssetDecl


def one() -> int:
    return 1


def run_with(*tasks: TaskSpec, **options: Any) -> tuple[FlowRun, list[Event]]:
    events: list[Event] = []
    flow = compile_flow(FlowSpec("f", tasks), backend="inline", observers=[events.append])
    return flow.run(options=options), events


# Replay


def replayed(events: Sequence[Event]) -> FlowRun:
    """The run that *events* tell of; of what ended only the outcome is taken from its event."""
    started, *_, ended = events
    assert isinstance(started, RunStarted)
    assert isinstance(ended, RunEnded)
    begun: dict[str, StepStarted] = {}
    opened: dict[str, AttemptStarted] = {}
    histories: dict[str, list[Attempt]] = {}
    outputs: dict[str, str] = {}
    written: dict[str, Any] = {}
    tasks: dict[str, TaskRun] = {}
    for event in events:
        match event:
            case StepStarted():
                begun[event.step] = event
            case AttemptStarted():
                opened[event.step] = event
            case AttemptEnded():
                first = opened.pop(event.step)
                assert first.attempt == event.attempt
                error = None if event.error is None else f"{type(event.error).__name__}: by design"
                attempt = Attempt(first.at, event.at, event.state, error)
                histories.setdefault(event.step, []).append(attempt)
            case OutputLine():
                assert event.step in opened  # printed while its function was called
                outputs[event.step] = outputs.get(event.step, "") + event.text + "\n"
            case AssetWritten():
                written[event.step] = event.asset
            case StepEnded(task=task):
                assert task.name not in tasks
                step = begun.get(task.name)
                history = tuple(histories.get(task.name, ()))
                tasks[task.name] = TaskRun(
                    task.name,
                    task.state,
                    task.value,
                    task.error,
                    task.reason,
                    len(history),
                    step.at if step else None,
                    event.at if step else None,
                    task.seconds,
                    history,
                    step.ready if step else None,
                    step.slot if step else None,
                    outputs.get(task.name, ""),
                    task.cause,
                    written.get(task.name),
                )
            case _:
                pass
    assert not opened
    failed = any(task.state is State.FAILED for task in tasks.values())
    return FlowRun(
        started.flow,
        started.params,
        {name: tasks[name] for name in started.steps},
        State.FAILED if failed else State.SUCCEEDED,
        started.warnings,
        started.at,
        ended.at,
        id=started.run,
        backend=started.backend,
        runner=started.runner,
        seconds=ended.flow_run.seconds,
    )


def behaving(outcome: str, fails: int, lines: int) -> Callable[..., int]:
    """A function that fails so often, prints so many lines a call, and then has this outcome."""
    calls: list[None] = []

    def fn(*_: Any) -> int:
        calls.append(None)
        for i in range(lines):
            print(f"line {i}")
        if len(calls) <= fails or outcome == "fail":
            raise ValueError("by design")
        if outcome == "skip":
            raise Skip("by design")
        return 1

    return fn


@st.composite
def flows(draw: st.DrawFn) -> FlowSpec:
    tasks: list[TaskSpec] = []
    for i in range(draw(st.integers(1, 8))):
        names = [task.name for task in tasks]
        upstream = draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) if names else []
        outcome = draw(st.sampled_from(["succeed", "succeed", "fail", "skip"]))
        fn = behaving(outcome, draw(st.integers(0, 2)), draw(st.integers(0, 2)))
        retries = draw(st.integers(0, 2))
        asset = AssetDecl(f"asset {i}") if draw(st.booleans()) else None
        tasks.append(TaskSpec(f"t{i}", fn, upstream=upstream, retries=retries, produces=asset))
    return FlowSpec("f", tasks)


@settings(deadline=None)
@given(flows(), st.sampled_from(["sequential", "threads"]), st.booleans())
def test_events_replayed_give_the_run(spec: FlowSpec, runner: str, fail_fast: bool) -> None:
    events: list[Event] = []
    flow = compile_flow(
        spec, backend="inline", runner=runner, workers=2, fail_fast=fail_fast,
        observers=[events.append],
    )  # fmt: skip
    run = flow.run()
    assert replayed(events).to_dict() == run.to_dict()
    # Nobody has a worker while another has it.
    busy: dict[int, str] = {}
    for event in events:
        if isinstance(event, StepStarted):
            assert event.slot not in busy
            busy[event.slot] = event.step
        elif isinstance(event, StepEnded) and event.task.slot is not None:
            assert busy.pop(event.task.slot) == event.task.name


# Cancelling


@pytest.mark.parametrize("runner", ["sequential", "threads"])
def test_a_cancelled_run_ends_each_step_and_attempt_that_was_open(runner: str) -> None:
    events: list[Event] = []
    came = threading.Event()
    gate = threading.Event()

    def waits() -> None:
        print("waiting")
        came.set()
        gate.wait(60)
        print("too late")

    def interrupt() -> None:
        came.wait(60)
        time.sleep(0.2)  # just before it waits, the main thread would not wake up
        os.kill(os.getpid(), signal.SIGINT)

    tasks = [TaskSpec("a", one), TaskSpec("b", waits), TaskSpec("c", one, after=["b"])]
    flow = compile_flow(
        FlowSpec("f", tasks), backend="inline", runner=runner, workers=1, observers=[events.append]
    )
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        flow.run()
    count = len(events)
    gate.set()  # what the thread does from here on is no event of the run
    time.sleep(0.05)
    run: FlowRun = vars(caught.value)["mxm_run"]
    assert [task.state.value for task in run.tasks.values()] == [
        "succeeded", "cancelled", "cancelled",
    ]  # fmt: skip
    b = run.tasks["b"]
    assert (b.attempts, [a.state.value for a in b.history], b.output) == (
        1, ["cancelled"], "waiting\n",
    )  # fmt: skip
    assert len(events) == count
    assert isinstance(events[-1], RunEnded)
    assert events[-1].flow_run.state is State.CANCELLED
    assert sum(isinstance(event, RunEnded) for event in events) == 1
    assert [e.task.name for e in events if isinstance(e, StepEnded)] == ["a", "b", "c"]


# What observers may do


def test_what_an_observer_prints_and_logs_is_not_the_tasks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def observe(event: Event) -> None:
        print("observed", type(event).__name__)
        logging.getLogger("observer").warning("logged")

    def says() -> None:
        print("said")

    flow = compile_flow(FlowSpec("f", [TaskSpec("a", says)]), backend="inline", observers=[observe])
    assert flow.run().tasks["a"].output == "said\n"
    assert "observed OutputLine" in capsys.readouterr().out


def test_an_observer_may_run_a_flow() -> None:
    runs: list[FlowRun] = []

    def observe(event: Event) -> None:
        if isinstance(event, StepEnded):
            runs.append(compile_flow(FlowSpec("g", [TaskSpec("b", one)]), backend="inline").run())

    flow = compile_flow(FlowSpec("f", [TaskSpec("a", one)]), backend="inline", observers=[observe])
    assert flow.run().state is State.SUCCEEDED
    assert [run.flow.name for run in runs] == ["g"]


def test_ctrl_c_within_an_observer_cancels_the_run() -> None:
    def observe(event: Event) -> None:
        if isinstance(event, StepEnded):
            os.kill(os.getpid(), signal.SIGINT)

    flow = compile_flow(FlowSpec("f", [TaskSpec("a", one)]), backend="inline", observers=[observe])
    with pytest.raises(KeyboardInterrupt):
        flow.run()


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_an_observer_raises_by_itself_changes_nothing(kind: type[BaseException]) -> None:
    def observe(event: Event) -> None:
        raise kind

    flow = compile_flow(FlowSpec("f", [TaskSpec("a", one)]), backend="inline", observers=[observe])
    assert flow.run().state is State.SUCCEEDED


def test_observers_are_options_of_a_flow_and_of_a_run() -> None:
    events: list[Event] = []

    @mxm.task
    def a() -> int:
        return 1

    @mxm.flow
    def f() -> int:
        return a()

    f.with_options(backend="inline", observers=[events.append]).run()
    count = len(events)
    assert count == 6
    compile_flow(f, backend="inline").run(options={"observers": [events.append]})
    assert len(events) == 2 * count
    compile_flow(f, backend="inline").run()
    assert len(events) == 2 * count


# Output


def test_output_keeps_its_last_part_and_is_passed_on_whole() -> None:
    def says() -> None:
        for i in range(20_000):
            print(f"line {i}")
        print("x" * 3 * LIMIT, end="")

    run, events = run_with(TaskSpec("a", says))
    assert run.tasks["a"].output == "x" * LIMIT
    lines = [event.text for event in events if isinstance(event, OutputLine)]
    assert lines == [*(f"line {i}" for i in range(20_000)), "x" * 3 * LIMIT]


def test_output_of_which_only_a_part_fits_keeps_the_end() -> None:
    output = Output()
    for i in range(30_000):
        output.write(f"{i}\n", "stdout")
    text = output.text()
    assert len(text) == LIMIT
    assert text.endswith("29998\n29999\n")


def test_a_progress_bar_is_passed_on_as_it_moves() -> None:
    lines: list[str] = []
    output = Output(lambda text, stream, level, is_bar: lines.append(text))
    for part in ("\r10%", "\r20%"):
        output.write(part, "stderr")
    assert lines == ["10%", "20%"]  # though its line has no end yet
    for part in ("\n", "\n", "done\r\n", "left"):
        output.write(part, "stderr")
    output.end_lines()
    assert lines == ["10%", "20%", "", "done", "left"]


def test_a_task_keeps_what_the_flow_that_it_runs_prints() -> None:
    def inner() -> None:
        print("inside")

    def outer() -> str:
        print("before")
        return run_with(TaskSpec("b", inner))[0].tasks["b"].output

    run, events = run_with(TaskSpec("a", outer))
    assert run.values["a"] == "inside\n"
    assert run.tasks["a"].output == "before\ninside\n"
    assert [e.text for e in events if isinstance(e, OutputLine)] == ["before"]


def test_streams_and_loggers_are_as_before_once_runs_have_ended() -> None:
    before = sys.stdout, sys.stderr, vars(logging.Logger)["callHandlers"]
    gate, inner = threading.Event(), threading.Event()

    def waits() -> None:
        inner.set()
        gate.wait(60)
        print("second")

    outputs: list[str] = []
    other = threading.Thread(
        target=lambda: outputs.append(run_with(TaskSpec("b", waits))[0].tasks["b"].output)
    )

    def starts() -> None:
        other.start()
        inner.wait(60)
        print("first")

    outputs.append(run_with(TaskSpec("a", starts))[0].tasks["a"].output)
    gate.set()  # the second run goes on once the first has ended
    other.join(60)
    assert outputs == ["first\n", "second\n"]
    assert (sys.stdout, sys.stderr, vars(logging.Logger)["callHandlers"]) == before


def test_a_task_may_configure_logging_itself() -> None:
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:

        def configures() -> int:
            logging.basicConfig()
            return len(root.handlers)

        assert run_with(TaskSpec("a", configures))[0].values == {"a": 1}
    finally:
        root.handlers = before


def test_a_record_whose_arguments_do_not_fit_fails_no_task() -> None:
    def logs() -> None:
        logging.getLogger("user").warning("%d rows", "no")

    raising, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        run, _ = run_with(TaskSpec("a", logs))
    finally:
        logging.raiseExceptions = raising
    assert (run.tasks["a"].state, run.tasks["a"].output) == (State.SUCCEEDED, "%d rows\n")


def test_a_stream_has_what_the_one_beneath_has(capsys: pytest.CaptureFixture[str]) -> None:
    def uses() -> tuple[bool, str]:
        sys.stdout.writelines(["one\n", "two\n"])
        sys.stdout.buffer.write("drei ü\n".encode())
        sys.stdout.flush()
        return sys.stdout.isatty(), sys.stdout.encoding.upper()

    run, _ = run_with(TaskSpec("a", uses))
    assert run.tasks["a"].output == "one\ntwo\ndrei ü\n"
    assert run.values["a"] == (False, "UTF-8")
    assert capsys.readouterr().out == "one\ntwo\ndrei ü\n"
