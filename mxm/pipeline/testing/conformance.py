"""The suite that every backend must pass, on each of its runners; needs pytest.

To run it on your own backend::

    import pytest

    from mxm.pipeline import compile_flow
    from mxm.pipeline.testing.conformance import *  # noqa: F403

    @pytest.fixture(params=["sequential", "threads"])
    def compiled(request):
        return lambda spec, **options: compile_flow(
            spec, backend="mine", **{"runner": request.param, "workers": 3, **options}
        )
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest

from mxm.pipeline.api import MXMFlow
from mxm.pipeline.authoring import task, use
from mxm.pipeline.bindings import Bindings, Collection, Const, Each, Param, Upstream
from mxm.pipeline.errors import ParameterError, Skip, TaskTimeoutError
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
from mxm.pipeline.process.logs import TaskFilter, TaskLines
from mxm.pipeline.resources import resource
from mxm.pipeline.runs import FlowRun, State
from mxm.pipeline.spec import AssetDecl, FlowSpec, TaskSpec
from mxm.pipeline.testing.guard import InputChangedError, guarded_inputs
from mxm.pipeline.timing.retries import RetryAfter, backoff

Compiled: TypeAlias = Callable[..., MXMFlow]


def one() -> int:
    return 1


def two() -> int:
    return 2


def value(x: Any) -> Any:
    return x


def add(*numbers: int) -> int:
    return sum(numbers)


def limited(limit: int = 1, mode: str = "slow") -> list[Any]:
    return [limit, mode]


def describe(*inputs: Any) -> list[str]:
    return [repr(value) for value in inputs]


def fail(*_: Any) -> None:
    raise ZeroDivisionError("by design")


def skip(*_: Any) -> None:
    raise Skip("market closed")


def leave(*_: Any) -> None:
    sys.exit(3)


async def later(x: int) -> int:
    return x + 1


def rows() -> list[dict[str, int]]:
    return [{"a": 1}, {"a": 2}]


def change(data: list[dict[str, int]]) -> int:
    data[0]["a"] = 100
    return data[0]["a"]


def read(data: list[dict[str, int]], _: int) -> int:
    return data[0]["a"]


def doze() -> str:
    time.sleep(60)
    return "late"


def heavy() -> int:
    return sum(range(3 * 10**7))  # in C, where nothing else of its process gets a turn


def scaled(fn: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(fn)
    def wrapper(*args: Any) -> int:
        return 100 * fn(*args)

    return wrapper


@task
@scaled
def price() -> int:
    return 1


class Adder:
    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, x: int) -> int:
        return self.n + x

    def add(self, x: int) -> int:
        return self.n + x


class RefusedError(Exception):
    """Cannot be made again of its ``args``."""

    def __init__(self, code: int, *, path: str) -> None:
        super().__init__(f"refused with {code}")
        self.code = code
        self.path = path


def refused(path: str) -> int:
    """Fail twice, as `flaky` does."""
    try:
        return flaky(path)
    except ValueError:
        raise RefusedError(7, path=path) from None


@dataclass(frozen=True)
class FrozenError(Exception):
    code: int


def frozen() -> None:
    raise FrozenError(7)


class ClosedError(Skip):
    def __init__(self, *, day: str) -> None:
        super().__init__(f"closed on {day}")


def closed() -> None:
    raise ClosedError(day="Sunday")


def tells() -> int:
    logging.getLogger("conformance.task").info("logged %s", "one")
    logging.getLogger("conformance.hidden").info("logged two")
    print("printed", "one")  # noqa: T201
    sys.stdout.buffer.write("printed \u00fc".encode())
    return 1


def flaky(path: str, error: str = "ValueError") -> int:
    """Fail twice, counted in a file so that it counts in any process."""
    with open(path, "a+", encoding="utf-8") as file:
        file.seek(0)
        count = len(file.read())
        file.write("x")
    if count < 2:
        raise {"ValueError": ValueError, "KeyError": KeyError}[error]("not yet")
    return count + 1


def states(run: FlowRun) -> dict[str, str]:
    return {name: task.state.value for name, task in run.tasks.items()}


def test_is_an_mxm_flow(compiled: Callable[..., Any]) -> None:
    flow = compiled(FlowSpec("f", [TaskSpec("a", one)]))
    assert isinstance(flow, MXMFlow)
    assert (flow.name, flow.spec.name) == ("f", "f")


def test_upstreams_arrive_in_order_and_by_name(compiled: Compiled) -> None:
    spec = FlowSpec(
        "f",
        [
            TaskSpec("a", value, params={"x": "a"}),
            TaskSpec("b", value, params={"x": "b"}),
            TaskSpec("pair", pair, upstream=["b", "a"]),
            TaskSpec("named", pair, upstream={"second": "b", "first": "a"}),
        ],
    )
    results = compiled(spec).execute()
    assert results == {"a": "a", "b": "b", "pair": ["b", "a"], "named": ["a", "b"]}
    assert list(results) == ["a", "b", "pair", "named"]


def pair(first: Any, second: Any) -> list[Any]:
    return [first, second]


def test_projections_containers_and_constants(compiled: Compiled) -> None:
    inputs = Collection(
        dict,
        (Upstream("rows", (1, "a")), Collection(list, (Const(5), Param("p", (0,))))),
        ("row", "rest"),
    )
    spec = FlowSpec(
        "f",
        [TaskSpec("rows", rows), TaskSpec("b", value, bindings=Bindings((inputs,)))],
        params={"p": ["first"]},
    )
    assert compiled(spec).run().values["b"] == {"row": 2, "rest": [5, "first"]}


def test_precedence_of_parameters(compiled: Compiled) -> None:
    task = TaskSpec("a", limited, params={"limit": 2, "mode": "task"})
    assert compiled(FlowSpec("f", [task])).execute() == {"a": [2, "task"]}
    flow = compiled(FlowSpec("f", [task], params={"limit": 3}))
    assert flow.execute() == {"a": [3, "task"]}
    assert flow.execute({"limit": 4, "unknown": 1}) == {"a": [4, "task"]}


def test_missing_parameter_is_asked_for_before_anything_runs(compiled: Compiled) -> None:
    flow = compiled(FlowSpec("f", [TaskSpec("a", value), TaskSpec("b", fail)]))
    with pytest.raises(ParameterError, match="missing parameter 'x'"):
        flow.run()


def test_failure_keeps_partial_results_and_independent_branches(compiled: Compiled) -> None:
    spec = FlowSpec(
        "f",
        [
            TaskSpec("a", one),
            TaskSpec("bad", fail, upstream=["a"]),
            TaskSpec("behind", value, upstream=["bad"]),
            TaskSpec("far", value, upstream=["behind"]),
            TaskSpec("other", value, upstream=["a"]),
        ],
    )
    run = compiled(spec).run()
    assert run.state is State.FAILED
    assert states(run) == {
        "a": "succeeded",
        "bad": "failed",
        "behind": "skipped",
        "far": "skipped",
        "other": "succeeded",
    }
    assert run.values == {"a": 1, "other": 1}
    assert run.tasks["far"].reason == "upstream 'bad' failed"
    with pytest.raises(ZeroDivisionError, match="by design") as caught:
        compiled(spec).execute()
    assert type(caught.value) is ZeroDivisionError
    notes = "\n".join(caught.value.__notes__)
    assert "task 'bad' of flow 'f' failed after 1 attempt" in notes
    partial: FlowRun = vars(caught.value)["mxm_run"]
    assert partial.values == {"a": 1, "other": 1}


def test_fail_fast_starts_nothing_more(compiled: Compiled) -> None:
    tasks = [TaskSpec("a", fail), TaskSpec("b", one), TaskSpec("c", value, upstream=["b"])]
    run = compiled(FlowSpec("f", tasks), workers=1, fail_fast=True).run()
    assert states(run) == {"a": "failed", "b": "skipped", "c": "skipped"}
    assert "fail_fast" in (run.tasks["b"].reason or "")


def test_run_rules_decide_what_runs_after_a_failure(compiled: Compiled) -> None:
    tasks = [
        TaskSpec("a", fail, allow_failure=True),
        TaskSpec("b", one, after="a", run_if="failed"),
        TaskSpec("c", describe, upstream=["a", "b"], run_if="not_failed"),
        TaskSpec("d", describe, upstream=["a", "b"], run_if="always"),
        TaskSpec("e", value, upstream="a"),
        TaskSpec("f", one, after="b", run_if="failed"),
    ]
    run = compiled(FlowSpec("f", tasks)).run()
    assert states(run) == {
        "a": "failed",
        "b": "succeeded",
        "c": "succeeded",
        "d": "succeeded",
        "e": "skipped",
        "f": "skipped",
    }
    assert run.values["c"] == ["None", "1"]
    assert run.values["d"] == ["<Failure of task 'a': ZeroDivisionError: by design>", "1"]
    assert (run.state, run.error) == (State.SUCCEEDED, None)
    assert compiled(FlowSpec("f", tasks)).execute() == run.results


def test_skip_skips_what_follows_and_the_run_succeeds(compiled: Compiled) -> None:
    tasks = [TaskSpec("a", skip), TaskSpec("b", value, upstream=["a"]), TaskSpec("c", one)]
    run = compiled(FlowSpec("f", tasks)).run()
    assert run.state is State.SUCCEEDED
    assert states(run) == {"a": "skipped", "b": "skipped", "c": "succeeded"}
    assert run.tasks["a"].reason == "market closed"
    assert run.tasks["b"].reason == "upstream 'a' was skipped: market closed"


def test_overrides_replace_functions_and_results(compiled: Compiled) -> None:
    tasks = [
        TaskSpec("a", fail),
        TaskSpec("b", value, upstream="a"),
        TaskSpec("c", one),
        TaskSpec("d", add, upstream=["b", "c"]),
    ]
    run = compiled(FlowSpec("f", tasks)).run({}, {"overrides": {"b": 5, "c": two}})
    assert run.values == {"b": 5, "c": 2, "d": 7}
    assert states(run) == {"a": "skipped", "b": "overridden", "c": "overridden", "d": "succeeded"}
    assert run.tasks["a"].reason == "only for overridden 'b'"


def test_retries_until_it_succeeds(compiled: Compiled, tmp_path: Any) -> None:
    task = TaskSpec("a", flaky, params={"path": str(tmp_path / "n")}, retries=2)
    run = compiled(FlowSpec("f", [task])).run()
    assert (run.values, run.tasks["a"].attempts) == ({"a": 3}, 3)


def test_retries_are_used_up(compiled: Compiled, tmp_path: Any) -> None:
    task = TaskSpec("a", flaky, params={"path": str(tmp_path / "n")}, retries=1)
    run = compiled(FlowSpec("f", [task])).run()
    assert (run.tasks["a"].state, run.tasks["a"].attempts) == (State.FAILED, 2)
    assert isinstance(run.tasks["a"].error, ValueError)


def test_retry_on_names_what_is_worth_another_attempt(compiled: Compiled, tmp_path: Any) -> None:
    tasks = [
        TaskSpec(name, flaky, retries=2, retry_on=KeyError, params={"path": str(tmp_path / name)})
        for name in ("value", "key")
    ]
    spec = FlowSpec("f", [tasks[0]])
    assert compiled(spec).run().tasks["value"].attempts == 1
    run = compiled(FlowSpec("f", [tasks[1]])).run({"error": "KeyError"})
    assert run.tasks["key"].attempts == 3


def is_early(error: Exception) -> bool:
    return "not yet" in str(error)


def growing(attempt: int) -> float:
    return 0.05 * attempt


def test_functions_decide_on_retries_and_delays(compiled: Compiled, tmp_path: Any) -> None:
    options: dict[str, Any] = {"retries": 2, "retry_delay_s": growing, "retry_on": is_early}
    tasks = [
        TaskSpec("a", flaky, params={"path": str(tmp_path / "n")}, **options),
        TaskSpec("b", fail, **options),
    ]
    began = time.monotonic()
    run = compiled(FlowSpec("f", tasks)).run()
    assert time.monotonic() - began >= 0.15
    assert (run.values, run.tasks["a"].attempts) == ({"a": 3}, 3)
    assert (run.tasks["b"].attempts, type(run.tasks["b"].error)) == (1, ZeroDivisionError)


def asks(path: str) -> int:
    """Fail once, and ask to be tried again after a while."""
    try:
        return flaky(path)
    except ValueError:
        raise RetryAfter(0.1) from None


def test_a_task_says_when_it_is_tried_again(compiled: Compiled, tmp_path: Any) -> None:
    params = {"path": str(tmp_path / "n")}
    task = TaskSpec("a", asks, params=params, retries=2, retry_delay_s=60, retry_on=KeyError)
    began = time.monotonic()
    run = compiled(FlowSpec("f", [task])).run()
    assert 0.2 <= time.monotonic() - began < 60
    assert (run.values, run.tasks["a"].attempts) == ({"a": 3}, 3)
    never = TaskSpec("a", asks, params={"path": str(tmp_path / "m")}, retries=1)
    error = compiled(FlowSpec("f", [never])).run().tasks["a"].error
    assert isinstance(error, RetryAfter)
    assert error.seconds == 0.1


def test_a_backoff_waits_between_attempts(compiled: Compiled, tmp_path: Any) -> None:
    params = {"path": str(tmp_path / "n")}
    delay = backoff(0.05, factor=3, jitter=0)
    flow = compiled(
        FlowSpec("f", [TaskSpec("a", flaky, params=params, retries=2, retry_delay_s=delay)])
    )
    began = time.monotonic()
    flow.run()
    assert time.monotonic() - began >= 0.2


def at_once(folder: str) -> int:
    """How many calls are at work, counted in files so that it counts in any process."""
    mine = tempfile.NamedTemporaryFile(dir=folder)  # noqa: SIM115
    with mine:
        time.sleep(0.02)
        return len(os.listdir(folder))


@pytest.mark.parametrize("most", [1, 2])
def test_a_limit_bounds_the_attempts_at_work(compiled: Compiled, tmp_path: Any, most: int) -> None:
    bindings = Bindings((Const(str(tmp_path)),))
    tasks = [TaskSpec(f"t{i}", at_once, bindings=bindings, limits=["x"]) for i in range(5)]
    items = Bindings((Each(Const([str(tmp_path)] * 4)),))
    tasks.append(TaskSpec("m", at_once, bindings=items, limits=["x", "y"]))
    run = compiled(FlowSpec("f", tasks), limits={"x": most, "y": 4}).run()
    counts = [run.values[f"t{i}"] for i in range(5)] + run.values["m"]
    assert len(counts) == 9
    assert max(counts) <= most


def test_a_retry_waits_without_its_limit(compiled: Compiled, tmp_path: Any) -> None:
    params = {"path": str(tmp_path / "n")}
    options: dict[str, Any] = {"retries": 2, "limits": ["x"]}
    tasks = [TaskSpec("a", asks, params=params, **options), TaskSpec("b", one, limits=["x"])]
    run = compiled(FlowSpec("f", tasks), limits={"x": 1}).run()
    assert run.values == {"a": 3, "b": 1}
    assert run.tasks["a"].attempts == 3


def test_delays_between_attempts_are_waited_for(compiled: Compiled, tmp_path: Any) -> None:
    task = TaskSpec(
        "a", flaky, params={"path": str(tmp_path / "n")}, retries=2, retry_delay_s=[0.15, 0.2]
    )
    flow = compiled(FlowSpec("f", [task]))
    began = time.monotonic()
    flow.run()
    # At least the delays: a bound from below holds on any machine.
    assert time.monotonic() - began >= 0.35


def test_timeout_fails_the_task_and_discards_what_comes_late(compiled: Compiled) -> None:
    tasks = [TaskSpec("a", doze, timeout_s=0.2), TaskSpec("b", one)]
    began = time.monotonic()
    run = compiled(FlowSpec("f", tasks)).run()
    assert time.monotonic() - began < 60
    assert states(run) == {"a": "failed", "b": "succeeded"}
    assert isinstance(run.tasks["a"].error, TaskTimeoutError)
    assert run.values == {"b": 1}


def test_a_result_in_hand_too_late_is_discarded_with_its_asset(
    compiled: Compiled, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tasks = [TaskSpec("a", heavy, timeout_s=0.05, produces=AssetDecl("numbers"))]
    run = compiled(FlowSpec("f", tasks)).run()
    assert isinstance(run.tasks["a"].error, TaskTimeoutError)
    assert "ASSET" not in caplog.text


def test_tags_change_nothing(compiled: Compiled) -> None:
    assert compiled(FlowSpec("f", [TaskSpec("a", one, tags=("x", "y"))])).run().values == {"a": 1}


def test_decorators_of_the_users_are_called(compiled: Compiled) -> None:
    assert price() == 100
    assert compiled(FlowSpec("f", [price.spec])).run().values == {"price": 100}


def test_any_callable_is_a_function(compiled: Compiled) -> None:
    functions: dict[str, Callable[..., Any]] = {
        "partial": functools.partial(add, 1),
        "of a task": functools.partial(price.fn),
        "builtin": abs,
        "instance": Adder(1),
        "method": Adder(2).add,
    }
    bound = Bindings((Const(2),))
    tasks = [
        TaskSpec(name, fn, bindings=Bindings() if name == "of a task" else bound)
        for name, fn in functions.items()
    ]
    values = compiled(FlowSpec("f", tasks)).run().values
    assert values == {"partial": 3, "of a task": 100, "builtin": 2, "instance": 3, "method": 4}


def test_an_exception_of_any_making_keeps_its_type(compiled: Compiled, tmp_path: Any) -> None:
    params = {"path": str(tmp_path / "n")}
    task = TaskSpec("a", refused, retries=2, retry_on=RefusedError, params=params)
    run = compiled(FlowSpec("f", [task])).run()
    assert (run.values, run.tasks["a"].attempts) == ({"a": 3}, 3)
    params = {"path": str(tmp_path / "again")}
    error = compiled(FlowSpec("f", [TaskSpec("a", refused, params=params)])).run().tasks["a"].error
    assert isinstance(error, RefusedError)
    assert (str(error), error.code, error.path) == ("refused with 7", 7, params["path"])


def test_a_frozen_exception_keeps_its_type(compiled: Compiled) -> None:
    flow = compiled(FlowSpec("f", [TaskSpec("a", frozen, timeout_s=60), TaskSpec("b", frozen)]))
    errors = [task.error for task in flow.run().tasks.values()]
    assert errors == [FrozenError(7), FrozenError(7)]
    with pytest.raises(FrozenError):
        flow.execute()


def test_a_skip_of_any_making_skips(compiled: Compiled) -> None:
    run = compiled(FlowSpec("f", [TaskSpec("a", closed, retries=2)])).run()
    assert states(run) == {"a": "skipped"}
    assert (run.tasks["a"].reason, run.tasks["a"].attempts) == ("closed on Sunday", 1)


def test_what_a_task_logs_and_prints_carries_flow_and_task(
    compiled: Compiled, caplog: pytest.LogCaptureFixture
) -> None:
    flow = compiled(FlowSpec("f", [TaskSpec("a", tells)]))
    caplog.handler.addFilter(TaskFilter())
    caplog.set_level(logging.WARNING, "conformance.hidden")
    caplog.set_level(logging.INFO)
    stream = io.StringIO()
    lines = TaskLines(stream)
    with contextlib.redirect_stdout(lines):
        assert flow.run().values == {"a": 1}
    lines.finish()
    records = [record for record in caplog.records if record.name.startswith("conformance.")]
    assert [(r.getMessage(), *_place(r)) for r in records] == [("logged one", "f", "a")]
    assert stream.getvalue() == "[f/a] printed one\n[f/a] printed \u00fc\n"


def outline(events: Iterable[Event]) -> list[str]:
    """*events* in a word or two each."""
    lines: list[str] = []
    for event in events:
        kind = type(event).__name__
        match event:
            case AttemptStarted():
                lines.append(f"{kind} {event.step} {event.attempt}")
            case AttemptEnded():
                retry = "" if event.retry_in is None else f" retry in {event.retry_in:g}"
                lines.append(f"{kind} {event.step} {event.attempt} {event.state}{retry}")
            case OutputLine():
                lines.append(f"{kind} {event.step} {event.stream}: {event.text}")
            case StepEnded():
                lines.append(f"{kind} {event.task.name} {event.task.state}")
            case StepStarted() | AssetWritten():
                lines.append(f"{kind} {event.step}")
            case _:
                lines.append(kind)
    return lines


def test_events_come_in_order_one_at_a_time_in_this_process(compiled: Compiled) -> None:
    events: list[Event] = []
    busy: list[Event] = []

    def observe(event: Event) -> None:
        assert not busy  # no other one is on its way
        busy.append(event)
        events.append(busy.pop())

    spec = FlowSpec(
        "f",
        [
            TaskSpec("a", one, produces=AssetDecl("numbers")),
            TaskSpec("bad", fail, upstream=["a"]),
            TaskSpec("behind", value, upstream=["bad"]),
            TaskSpec("shut", skip, after=["bad", "a"]),
            TaskSpec("later", later, upstream=["a"]),
            *(TaskSpec(f"w{i}", one) for i in range(10)),
        ],
    )
    run = compiled(spec, observers=[observe]).run()
    started, *_, ended = events
    assert isinstance(started, RunStarted)
    assert (started.run, started.steps) == (run.id, tuple(run.tasks))
    assert isinstance(ended, RunEnded)
    assert ended.flow_run is run
    assert {event.run for event in events} == {run.id}
    lines = outline(events)
    for name, ran in run.tasks.items():
        if ran.started is None:
            assert [line for line in lines if name in line.split()] == [f"StepEnded {name} skipped"]
            continue
        asset = ["AssetWritten a"] if name == "a" else []
        assert [line for line in lines if name in line.split()] == [
            f"StepStarted {name}",
            f"AttemptStarted {name} 1",
            f"AttemptEnded {name} 1 {ran.state}",
            *asset,
            f"StepEnded {name} {ran.state}",
        ]
    assert lines.index("StepEnded a succeeded") < lines.index("StepStarted later")
    assert lines.index("StepEnded bad failed") < lines.index("StepEnded behind skipped")


def test_an_attempt_that_will_be_repeated_says_when(compiled: Compiled, tmp_path: Any) -> None:
    events: list[Event] = []
    params = {"path": str(tmp_path / "n")}
    tasks = [TaskSpec("a", flaky, retries=3, retry_delay_s=[0, 0.01], params=params)]
    run = compiled(FlowSpec("f", tasks), observers=[events.append]).run()
    assert [line for line in outline(events) if line.startswith("Attempt")] == [
        "AttemptStarted a 1",
        "AttemptEnded a 1 failed retry in 0",
        "AttemptStarted a 2",
        "AttemptEnded a 2 failed retry in 0.01",
        "AttemptStarted a 3",
        "AttemptEnded a 3 succeeded",
    ]
    assert [(a.state.value, a.error) for a in run.tasks["a"].history] == [
        ("failed", "ValueError: not yet"),
        ("failed", "ValueError: not yet"),
        ("succeeded", None),
    ]


def test_an_attempt_that_is_the_last_says_so(compiled: Compiled) -> None:
    events: list[Event] = []
    tasks = [
        TaskSpec("left", leave, retries=3),
        TaskSpec("used", fail, retries=1),
        TaskSpec("other", fail, retries=3, retry_on=KeyError),
        TaskSpec("late", doze, timeout_s=0.1),
    ]
    compiled(FlowSpec("f", tasks), observers=[events.append]).run()
    ended = [line for line in outline(events) if line.startswith("AttemptEnded")]
    assert sorted(ended) == [
        "AttemptEnded late 1 failed",
        "AttemptEnded left 1 failed",
        "AttemptEnded other 1 failed",
        "AttemptEnded used 1 failed retry in 0",
        "AttemptEnded used 2 failed",
    ]


def test_output_is_kept_with_its_task_and_passed_on_by_line(
    compiled: Compiled, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    events: list[Event] = []
    tasks = [TaskSpec("a", tells), TaskSpec("b", one)]
    run = compiled(FlowSpec("f", tasks), observers=[events.append]).run()
    lines = ["logged one", "logged two", "printed one", "printed \u00fc"]
    assert run.tasks["a"].output.splitlines() == lines
    assert run.tasks["b"].output == ""
    streams = ["log", "log", "stdout", "stdout"]
    assert [(e.step, e.stream, e.text) for e in events if isinstance(e, OutputLine)] == [
        ("a", stream, line) for stream, line in zip(streams, lines, strict=True)
    ]
    assert "printed one" in capsys.readouterr().out  # where it would go without a run, too
    assert [r.getMessage() for r in caplog.records if r.name.startswith("conf")] == lines[:2]


def test_an_observer_that_fails_is_reported_once_and_loses_nothing(
    compiled: Compiled, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []

    def broken(event: Event) -> None:
        raise (SystemExit if isinstance(event, StepEnded) else RuntimeError)("by design")

    tasks = [TaskSpec("a", one), TaskSpec("b", value, upstream=["a"])]
    run = compiled(FlowSpec("f", tasks), observers=[broken, events.append]).run()
    assert (run.state, run.values) == (State.SUCCEEDED, {"a": 1, "b": 1})
    assert isinstance(events[-1], RunEnded)
    messages = [r.getMessage() for r in caplog.records if "observer" in r.getMessage()]
    assert len(messages) == 1
    assert "broken failed at RunStarted: RuntimeError: by design" in messages[0]


def test_a_run_knows_what_ran_it_and_a_task_when_it_was_ready(compiled: Compiled) -> None:
    flow = compiled(FlowSpec("f", [TaskSpec("a", one), TaskSpec("b", value, upstream=["a"])]))
    run = flow.run()
    assert run.backend == flow.backend
    a, b = run.tasks.values()
    assert (a.ready, b.ready) == (run.started, a.ended)
    assert (a.slot, b.slot) == (1, 1)


def _place(record: logging.LogRecord) -> tuple[str, str]:
    return vars(record)["mxm_flow"], vars(record)["mxm_task"]


def test_what_is_no_exception_fails_its_task_and_is_not_retried(compiled: Compiled) -> None:
    tasks = [TaskSpec("a", leave, retries=3), TaskSpec("b", one)]
    run = compiled(FlowSpec("f", tasks)).run()
    assert states(run) == {"a": "failed", "b": "succeeded"}
    assert isinstance(run.tasks["a"].error, SystemExit)
    assert run.tasks["a"].attempts == 1


def test_async_functions_are_awaited(compiled: Compiled) -> None:
    tasks = [TaskSpec("a", one), TaskSpec("b", later, upstream=["a"])]
    assert compiled(FlowSpec("f", tasks)).run().values == {"a": 1, "b": 2}


@resource
def opened(size: int = 2) -> Iterator[list[int]]:
    """What tasks of the next tests share, in each process."""
    yield [os.getpid(), size]


def take_opened(x: int, shared: Any = use(opened)) -> list[int]:
    return [x, *shared]


@resource
def never_open() -> Iterator[int]:
    if one():
        raise ZeroDivisionError("by design")
    yield 1


def take_never(x: int = use(never_open)) -> int:
    return x


def test_a_resource_is_opened_in_the_process_of_the_task(compiled: Compiled) -> None:
    tasks = [TaskSpec("one", one), TaskSpec("take", take_opened, upstream="one")]
    options = {"resource_settings": {"opened": {"size": 7}}}
    flow = compiled(FlowSpec("opening", tasks), **options)
    first, second = flow.run({"shared": "no key fills it"}).value(), flow.run({}).value()
    assert (first[0], first[2]) == (second[0], second[2]) == (1, 7)


def test_what_opening_a_resource_raises_is_the_tasks_own(compiled: Compiled) -> None:
    run = compiled(FlowSpec("opening", [TaskSpec("take", take_never, retries=1)])).run({})
    assert isinstance(run.tasks["take"].error, ZeroDivisionError)
    assert run.tasks["take"].attempts == 2


def test_wide_and_deep_with_few_workers(compiled: Compiled) -> None:
    wide = [TaskSpec(f"w{i}", one) for i in range(40)]
    deep = [TaskSpec("d0", add, upstream=[t.name for t in wide])]
    deep += [TaskSpec(f"d{i}", value, upstream=[f"d{i - 1}"]) for i in range(1, 40)]
    run = compiled(FlowSpec("f", [*wide, *deep]), workers=2).run()
    assert run.values["d39"] == 40


def test_runs_again_with_other_parameters(compiled: Compiled) -> None:
    flow = compiled(FlowSpec("f", [TaskSpec("a", value)]))
    assert [flow.run({"x": i}).values["a"] for i in range(3)] == [0, 1, 2]


def test_a_name_of_any_characters(compiled: Compiled) -> None:
    name = 'a b"c\n/%&<>\u00e9' + "x" * 100
    run = compiled(FlowSpec(name, [TaskSpec(name, one)])).run()
    assert run.values == {name: 1}


def test_a_change_in_place_is_caught_or_cannot_matter(compiled: Compiled) -> None:
    spec = FlowSpec(
        "f",
        [
            TaskSpec("rows", rows),
            TaskSpec("change", change, upstream=["rows"]),
            TaskSpec("read", read, upstream=["rows", "change"]),
        ],
    )
    with guarded_inputs():
        run = compiled(spec).run()
    if run.state is State.SUCCEEDED:  # a runner that gives each task copies of its own
        assert run.values["read"] == 1
    else:
        error = run.tasks["change"].error
        assert isinstance(error, InputChangedError)
        assert (error.task, error.inputs) == ("change", (0,))


def test_the_environment_is_as_before(compiled: Compiled) -> None:
    before = dict(os.environ)
    compiled(FlowSpec("f", [TaskSpec("a", one)])).run()
    assert dict(os.environ) == before
