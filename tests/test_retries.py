"""Retries of tasks, of items, and of items of mapped flows: when, after what, how often."""

from __future__ import annotations

import pickle
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from command import invoke
from hypothesis import given
from hypothesis import strategies as st

import mxm
from mxm.pipeline import FlowRun, FlowSpec, RetryAfter, Skip, State, TaskSpec, backoff, compile_flow
from mxm.pipeline.bindings import Bindings, Const, Each
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.errors import BackendError, GraphError, TaskTimeoutError
from mxm.pipeline.execution.events import AttemptEnded, Event, OutputLine
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.specdict import flow_from_dict, flow_to_dict
from mxm.pipeline.timing.retries import Backoff


class BusyError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def answers(folder: str, item: object = 0) -> int:
    """Busy, then a limit of rate, then busy again, then the number of calls; in any process."""
    with open(f"{folder}/{item}", "a+", encoding="utf-8") as file:
        file.seek(0)
        count = len(file.read())
        file.write("x")
    if count == 1:
        raise RetryAfter(0.05) from BusyError(429)
    if count < 3:
        raise BusyError(503)
    return count + 1


def by_item(item: object, folder: str) -> int:
    return answers(folder, item)


def is_passing(error: Exception) -> bool:
    return isinstance(error, BusyError) and error.status == 503


def growing(attempt: int) -> float:
    return 0.01 * attempt


FORMS = ("task", "map", "flow map")
Form = Literal["task", "map", "flow map"]


def flow_of(form: str, fn: Callable[..., Any], *args: Any, **options: Any) -> FlowSpec:
    """*fn* as a task, with its first parameter mapped over two items, or in a mapped flow."""
    if form == "task":
        bindings = Bindings(tuple(Const(value) for value in args))
        return FlowSpec("f", [TaskSpec("a", fn, bindings=bindings, **options)])
    items = Each(Const([0, 1]))
    if form == "map":
        bindings = Bindings((items, *(Const(value) for value in args[1:])))
        return FlowSpec("f", [TaskSpec("a", fn, bindings=bindings, **options)])
    task = mxm.task(**options)(fn).named("a")

    @mxm.flow(name="inner")
    def inner(item: Any) -> Any:
        return task(item, *args[1:])

    @mxm.flow(name="f")
    def outer() -> Any:
        return inner.map([0, 1])

    return outer.spec


@dataclass
class Seen:
    """What an observer saw: by item, the delays after the attempts."""

    delays: dict[str | None, list[float | None]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        if isinstance(event, AttemptEnded):
            self.delays.setdefault(event.item, []).append(event.retry_in)
        elif isinstance(event, OutputLine):
            self.lines.append(event.text)


def run_of(spec: FlowSpec, **options: Any) -> tuple[FlowRun, Seen]:
    seen = Seen()
    options = {"backend": "inline", "workers": 2, "observers": [seen], **options}
    return compile_flow(spec, **options).run(), seen


def runs(run: FlowRun) -> list[Any]:
    """The task's run, or those of its items."""
    (task,) = run.tasks.values()
    return [task] if task.items is None else list(task.items.values())


@pytest.fixture(params=["inline", "prefect"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sequential", "threads", "processes"])
def runner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("form", FORMS)
def test_predicates_functions_and_retry_after_on_every_runner(
    form: str, backend: str, runner: str, tmp_path: Path
) -> None:
    args = (str(tmp_path), 0) if form == "task" else (None, str(tmp_path))
    fn = answers if form == "task" else by_item
    options: dict[str, Any] = {"retries": 3, "retry_delay_s": growing, "retry_on": is_passing}
    began = time.monotonic()
    run, seen = run_of(flow_of(form, fn, *args, **options), backend=backend, runner=runner)
    assert time.monotonic() - began >= 0.01 + 0.05 + 0.03  # no sooner, on any machine
    assert [(one.state, one.value, one.attempts) for one in runs(run)] == [
        (State.SUCCEEDED, 4, 4)
    ] * (1 if form == "task" else 2)
    assert set(seen.delays) == ({None} if form == "task" else {"0", "1"})
    assert list(seen.delays.values()) == [[0.01, 0.05, 0.03, None]] * len(seen.delays)
    assert [len(one.history) for one in runs(run)] == [4] * len(seen.delays)


@pytest.mark.parametrize("form", FORMS)
def test_what_the_predicate_denies_is_not_tried_again(form: str, backend: str, runner: str) -> None:
    asked: list[Exception] = []

    def deny(error: Exception) -> bool:
        asked.append(error)
        return False

    spec = flow_of(form, refuse, 1, retries=5, retry_on=deny)
    run, _ = run_of(spec, backend=backend, runner=runner)
    assert [one.attempts for one in runs(run)] == [1] * len(asked)
    assert [type(error) for error in asked] == [BusyError] * (1 if form == "task" else 2)
    assert [one.reason for one in runs(run)] == ["BusyError: status 401"] * len(asked)


def refuse(*_: Any) -> None:
    raise BusyError(401)


def raises_key(_: object) -> Any:
    raise KeyError("status")


def leaves(_: object) -> Any:
    raise SystemExit(3)


async def later(_: object) -> bool:
    return True


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "predicate raises": ({"retry_on": raises_key}, "its retry_on raised KeyError: 'status' ("),
    "predicate leaves": ({"retry_on": leaves}, "its retry_on raised SystemExit: 3"),
    "predicate waits": (
        {"retry_on": lambda error: later(error)},
        "its retry_on raised TypeError: it must return True or False, not <coroutine",
    ),
    "delay raises": ({"retry_delay_s": raises_key}, "its retry_delay_s raised KeyError: 'status'"),
    "delay leaves": ({"retry_delay_s": leaves}, "its retry_delay_s raised SystemExit: 3"),
    **{
        f"delay is {wrong!r}": (
            {"retry_delay_s": lambda _, wrong=wrong: wrong},
            f"what its retry_delay_s gives for attempt 1 must be a number of seconds{what}",
        )
        for wrong, what in [
            (None, ", not None"),
            ("3", ", not '3'"),
            (True, ", not True"),
            (-1, " of at least 0, not -1"),
            (float("nan"), ", not nan"),
            (float("inf"), ", not inf"),
            (1e9, ", at most a year (31622400), not 1000000000.0"),
        ]
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", WRONG)
def test_a_function_that_fails_ends_the_retries_and_is_named(
    form: str, options: str, backend: str
) -> None:
    given, told = WRONG[options]
    run, seen = run_of(flow_of(form, refuse, 1, retries=5, **given), backend=backend)
    for one in runs(run):
        assert (one.state, one.attempts, type(one.error)) == (State.FAILED, 1, BusyError)
        assert (one.reason or "").startswith(f"BusyError: status 401 (not tried again: {told}")
        assert any(
            note.startswith(f"task {run.flow.tasks[0].name!r} was not tried again: {told}")
            for note in one.error.__notes__
        )
    assert all(delays == [None] for delays in seen.delays.values())


def test_an_error_that_takes_no_note_is_raised_all_the_same(backend: str) -> None:
    @dataclass(frozen=True)
    class FrozenError(Exception):
        code: int

    def fail() -> None:
        raise FrozenError(7)

    run, _ = run_of(flow_of("task", fail, retries=2, retry_on=raises_key), backend=backend)
    assert type(run.tasks["a"].error) is FrozenError
    assert "its retry_on raised KeyError" in (run.tasks["a"].reason or "")


@pytest.mark.parametrize("form", FORMS)
def test_functions_are_asked_once_for_each_retry_and_not_after_the_last(
    form: str, backend: str
) -> None:
    asked: list[int] = []
    delays: list[int] = []

    def again(error: Exception) -> bool:
        asked.append(1)
        return True

    def delay(attempt: int) -> float:
        delays.append(attempt)
        return 0

    spec = flow_of(form, refuse, 1, retries=2, retry_on=again, retry_delay_s=delay)
    run, _ = run_of(spec, backend=backend)
    each = [1, 2]
    assert [one.attempts for one in runs(run)] == [3] * len(runs(run))
    assert len(asked) == len(delays) == 2 * len(runs(run))
    assert sorted(delays) == sorted(each * len(runs(run)))


@pytest.mark.parametrize("form", FORMS)
def test_what_functions_print_belongs_to_the_task(form: str, backend: str) -> None:
    def again(error: Exception) -> bool:
        print("asked about", error)
        return False

    _, seen = run_of(flow_of(form, refuse, 1, retries=1, retry_on=again), backend=backend)
    assert set(seen.lines) == {"asked about status 401"}


@pytest.mark.parametrize("form", FORMS)
def test_retry_after_without_retries_left_fails_the_task_with_it(form: str, backend: str) -> None:
    def fail(*_: Any) -> None:
        raise RetryAfter(0) from BusyError(429)

    run, _ = run_of(flow_of(form, fail, 1, retries=1, retry_on=KeyError), backend=backend)
    assert [one.attempts for one in runs(run)] == [2] * len(runs(run))
    assert {one.reason for one in runs(run)} == {"RetryAfter: asks to be tried again after 0 s"}
    assert isinstance(runs(run)[0].error.__cause__, BusyError)
    run, _ = run_of(flow_of(form, fail, 1), backend=backend)
    assert {one.attempts for one in runs(run)} == {1}
    assert "(not tried again: it has no retries)" in (runs(run)[0].reason or "")


def test_a_skip_and_an_exit_are_never_asked_about(backend: str) -> None:
    def skip() -> None:
        raise Skip("closed")

    for fn, state in ((skip, State.SKIPPED), (lambda: leaves(0), State.FAILED)):
        run, _ = run_of(flow_of("task", fn, retries=3, retry_on=raises_key), backend=backend)
        task = run.tasks["a"]
        assert (task.state, task.attempts) == (state, 1)
        assert "retry_on" not in (task.reason or "")


def test_a_timeout_is_asked_about(backend: str) -> None:
    asked: list[Exception] = []

    def again(error: Exception) -> bool:
        asked.append(error)
        return True

    spec = flow_of("task", lambda: time.sleep(20), retries=1, retry_on=again, timeout_s=0.05)
    run, _ = run_of(spec, backend=backend)
    assert run.tasks["a"].attempts == 2
    assert [type(error) for error in asked] == [TaskTimeoutError]


def test_more_than_fifty_delays_are_all_waited_for(backend: str) -> None:
    # Prefect takes no longer list of its own.
    delays = [0.0001 * i for i in range(60)]
    spec = flow_of("task", refuse, retries=60, retry_delay_s=delays)
    run, seen = run_of(spec, backend=backend)
    assert run.tasks["a"].attempts == 61
    assert seen.delays[None] == [*delays, None]


def test_prefects_states_have_the_delay_whatever_gave_it() -> None:
    from prefect.context import TaskRunContext

    states: list[tuple[str, int]] = []

    def look(_: int = 0) -> None:
        context = TaskRunContext.get()
        assert context is not None
        states.append((context.task_run.state_name or "", context.task_run.run_count))
        if len(states) == 1:
            raise RetryAfter(0.01)
        if len(states) < 4:
            raise BusyError(503)

    spec = flow_of("task", look, retries=4, retry_delay_s=growing, retry_on=is_passing)
    run, _ = run_of(spec, backend="prefect")
    assert run.state is State.SUCCEEDED
    assert states == [("Running", 1), *(("Retrying", n) for n in (2, 3, 4))]


def test_two_runs_at_once_have_their_own_delays() -> None:
    # Prefect's task object is made once for a flow.
    ready = threading.Barrier(2, timeout=20)

    def fail(delay: float) -> None:
        if not waited.get(delay):
            waited[delay] = True
            ready.wait()
            raise RetryAfter(delay)

    waited: dict[float, bool] = {}
    tasks = [TaskSpec(f"t{i}", fail, params={"delay": i / 100}, retries=1) for i in (1, 2)]
    seen: dict[str, list[float | None]] = {}

    def note(event: Event) -> None:
        if isinstance(event, AttemptEnded):
            seen.setdefault(event.step, []).append(event.retry_in)

    options: dict[str, Any] = {"runner": "threads", "workers": 2, "observers": [note]}
    assert compile_flow(FlowSpec("f", tasks), **options).run().state is State.SUCCEEDED
    assert seen == {"t1": [0.01, None], "t2": [0.02, None]}


@pytest.mark.parametrize("form", ["task", "map"])
def test_a_limit_is_free_while_a_retry_waits_as_long_as_it_is_told(form: str, backend: str) -> None:
    # Each of two attempts ends only when the other has begun: with one limit both must have waited.
    begun = threading.Event()
    other = threading.Event()

    def first(_: int = 0) -> None:
        if not begun.is_set():
            begun.set()
            raise RetryAfter(0.3)
        assert other.is_set()

    def second() -> None:
        assert begun.wait(20)
        other.set()

    spec = flow_of(form, first, 1, retries=1, limits=["x"])
    task = spec.tasks[0]
    if form == "map":
        spec = FlowSpec(
            "f",
            [TaskSpec("a", first, bindings=Bindings((Each(Const([0])),)), retries=1, limits=["x"])],
        )
        task = spec.tasks[0]
    both = FlowSpec("f", [task, TaskSpec("b", second, limits=["x"])])
    run, _ = run_of(both, backend=backend, runner="threads", limits={"x": 1})
    assert run.state is State.SUCCEEDED


@given(
    st.floats(0, 1e5),
    st.floats(1, 10),
    st.floats(0, 1e6),
    st.floats(0, 1),
    st.integers(1, 10_000),
)
def test_a_backoff_grows_to_its_most_and_is_only_shortened(
    first: float, factor: float, more: float, jitter: float, attempt: int
) -> None:
    delay = backoff(first, factor, first + more, jitter)
    assert delay.wrong() is None
    exact = [delay.longest(n) for n in (1, attempt, attempt + 1)]
    assert exact == sorted(exact)
    assert exact[0] == first
    assert exact[-1] <= first + more
    assert exact[1] * (1 - jitter) * (1 - 1e-9) <= delay(attempt) <= exact[1]


def test_jitter_does_not_touch_the_numbers_of_a_seeded_task() -> None:
    random.seed(7)
    expected = [random.random() for _ in range(3)]
    random.seed(7)
    delay = backoff(10)
    got: list[float] = []
    for _ in range(3):
        delays = {delay(1) for _ in range(5)}
        assert len(delays) > 1
        got.append(random.random())
    assert got == expected


@pytest.mark.parametrize(
    "wrong", ["3", None, True, -1, float("nan"), float("inf"), 1e12, 10**400], ids=repr
)
def test_seconds_that_cannot_be_waited_for_are_refused_wherever_they_are_given(wrong: Any) -> None:
    refused = "must be a number of seconds"
    with pytest.raises((TypeError, ValueError), match=refused):
        RetryAfter(wrong)
    with pytest.raises(BackendError, match=f"grace_s {refused}"):
        RunOptions(grace_s=wrong)
    places: list[tuple[dict[str, Any], str]] = [
        ({"retry_delay_s": wrong}, "MXM114"),
        ({"retry_delay_s": [1, wrong]}, "MXM114"),
        ({"retry_delay_s": backoff(wrong)}, "MXM117"),
        ({"retry_delay_s": backoff(1, most=wrong)}, "MXM117"),
    ]
    places += [] if wrong is None else [({"timeout_s": wrong}, "MXM114")]
    for options, code in places:
        spec = FlowSpec("f", [TaskSpec("t", refuse, **{"retries": 2, **options})])
        (problem,) = find_problems(spec)
        assert (problem.code, problem.task, problem.severity) == (code, "t", "error")
        assert refused in problem.message
        with pytest.raises(GraphError, match=code):
            compile_flow(spec, backend="inline")

        @mxm.task
        def load(x: int = 1) -> int:
            return x

        @mxm.flow
        def changed() -> int:
            return load.with_options(**{"retries": 2, **options})(1)

        assert [p.code for p in find_problems(changed.spec)] == [code]


@pytest.mark.parametrize("given", ["inf", "nan", "-1", "1e12", "x"])
def test_the_command_refuses_a_grace_that_cannot_be_waited_for(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "import mxm\n@mxm.task\ndef t(): return 1\n@mxm.flow\ndef f(): return t\n"
    (tmp_path / "flows.py").write_text(text)
    ran = invoke("run", "f", "--backend", "inline", f"--grace={given}")
    assert ran.code == 2
    assert "grace" in ran.err


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        ({"retries": "3"}, "MXM113", "retries must be a whole number of at least 0, not '3'"),
        ({"retries": True}, "MXM113", "not True"),
        ({"retries": 1.5}, "MXM113", "not 1.5"),
        ({"retries": -1}, "MXM113", "not -1"),
        ({"retry_delay_s": {1, 2}}, "MXM114", "not {1, 2}"),
        ({"retry_delay_s": "exponential"}, "MXM114", "mxm.pipeline.backoff(1)"),
        ({"timeout_s": 0}, "MXM114", "timeout_s must be a number of seconds above 0, not 0"),
        ({"retry_on": int}, "MXM115", "not <class 'int'>"),
        ({"retry_on": None}, "MXM115", "not None"),
        ({"retry_on": [ValueError, KeyboardInterrupt]}, "MXM115", "are never tried again"),
        ({"retry_on": [ValueError, is_passing]}, "MXM115", "write one function"),
        ({"retry_on": lambda: True}, "MXM116", "its signature is ()"),
        ({"retry_on": later}, "MXM116", "retry_on=later is async"),
        ({"retry_delay_s": lambda a, b: a}, "MXM116", "its signature is (a, b)"),
        ({"retry_delay_s": backoff}, "MXM117", "call it: backoff(1)"),
        ({"retry_delay_s": backoff(120)}, "MXM117", "first (120 s) is above most (60 s)"),
        ({"retry_delay_s": backoff(1, factor=0.5)}, "MXM117", "factor must be a number of at"),
        ({"retry_delay_s": backoff(1, jitter=1.5)}, "MXM117", "jitter must be a number from 0 to"),
    ],
)
def test_wrong_retries_are_problems_of_the_flow(
    options: dict[str, Any], code: str, told: str
) -> None:
    tasks = [TaskSpec("t", refuse, **{"retries": 1, **options}), TaskSpec("u", refuse, retries=-2)]
    first, second = find_problems(FlowSpec("f", tasks))
    assert (first.code, first.task, second.code) == (code, "t", "MXM113")
    assert told in str(first)


def test_a_generator_as_predicate_is_a_problem() -> None:
    def yields(error: Exception) -> Any:
        yield error

    (problem,) = find_problems(FlowSpec("f", [TaskSpec("t", refuse, retries=1, retry_on=yields)]))
    assert problem.code == "MXM116"
    assert "is a generator" in problem.message


@pytest.mark.parametrize(
    "options",
    [{"retry_delay_s": 1}, {"retry_delay_s": backoff(1)}, {"retry_on": ValueError}],
)
def test_retry_options_without_retries_are_a_note(options: dict[str, Any]) -> None:
    (note,) = find_problems(FlowSpec("f", [TaskSpec("t", refuse, **options)]))
    assert (note.code, note.severity) == ("MXM118", "note")
    assert find_problems(FlowSpec("f", [TaskSpec("t", refuse, retries=1, **options)])) == []


@pytest.mark.parametrize(
    "options",
    [
        {"retries": 2, "retry_delay_s": backoff(1, factor=3), "retry_on": is_passing},
        {"retries": 2, "retry_delay_s": growing, "retry_on": (ValueError, OSError)},
        {"retries": 2, "retry_delay_s": [1, 2.5]},
    ],
)
def test_the_options_survive_dict_form_and_pickle(options: dict[str, Any]) -> None:
    spec = FlowSpec("f", [TaskSpec("t", refuse, **options)])
    for again in (flow_from_dict(flow_to_dict(spec)), pickle.loads(pickle.dumps(spec))):
        assert again == spec
        assert again.tasks[0].retry_delay_s == spec.tasks[0].retry_delay_s
        assert again.tasks[0].retry_on == spec.tasks[0].retry_on
    assert isinstance(pickle.loads(pickle.dumps(backoff(1))), Backoff)


def test_retry_after_pickles_and_says_what_it_asks_for() -> None:
    again = pickle.loads(pickle.dumps(RetryAfter(1.5)))
    assert (again.seconds, str(again)) == (1.5, "asks to be tried again after 1.5 s")


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"retries": 2}, "retries 2"),
        ({"retries": 2, "retry_delay_s": [1, 5]}, "retries 2, 1 5 s apart"),
        ({"retries": 2, "retry_delay_s": growing}, "retries 2, after growing()"),
        (
            {"retries": 2, "retry_delay_s": backoff(1)},
            "retries 2, backoff(1, factor=2, most=60, jitter=0.2)",
        ),
        ({"retries": "many", "retry_delay_s": "x", "timeout_s": "y"}, "retries many, 'x' s apart"),
    ],
)
def test_show_has_the_delays_of_a_flow_also_with_problems(
    options: dict[str, Any], shown: str
) -> None:
    from mxm.pipeline.cli.describe import task_rows

    (row,) = task_rows(FlowSpec("f", [TaskSpec("t", refuse, **options)]))
    assert row[2].startswith(shown)


@pytest.mark.parametrize("waits", ["task", "map"])
def test_a_retry_that_waits_is_not_made_once_the_run_is_cancelled(waits: str, backend: str) -> None:
    calls: list[float] = []

    def fail(_: int = 0) -> None:
        calls.append(time.monotonic())
        raise RetryAfter(0.3)

    def interrupt() -> None:
        while not calls:
            time.sleep(0.01)
        raise KeyboardInterrupt

    spec = flow_of(waits, fail, 1, retries=3)
    flow = FlowSpec("f", [spec.tasks[0], TaskSpec("b", interrupt)])
    options: dict[str, Any] = {"runner": "threads", "workers": 4, "backend": backend}
    before = len(calls)
    with pytest.raises(KeyboardInterrupt):
        compile_flow(flow, **options).run()
    made = len(calls)
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        time.sleep(0.05)
    assert before < made <= 2
    assert len(calls) == made


def test_json_of_show_names_a_function_without_its_address() -> None:
    from mxm.pipeline.cli.describe import _task_document  # pyright: ignore[reportPrivateUsage]

    def shown(delay: Any) -> Any:
        task = TaskSpec("a", refuse, retries=1, retry_delay_s=delay)
        return _task_document(task)["retry_delay_s"]

    assert shown(growing) == "growing()"
    assert shown(backoff(1)) == {"first": 1, "factor": 2, "most": 60, "jitter": 0.2}


def test_many_items_of_which_some_ask_to_be_tried_again(backend: str) -> None:
    calls: dict[int, int] = {}

    def load(item: int) -> int:
        calls[item] = calls.get(item, 0) + 1
        if item % 10 == 0 and calls[item] < 3:
            raise RetryAfter(0.001)
        return item

    task = TaskSpec("a", load, bindings=Bindings((Each(Const(list(range(500)))),)), retries=2)
    run, _ = run_of(FlowSpec("f", [task]), backend=backend, runner="threads")
    assert run.tasks["a"].value == list(range(500))
    items = run.tasks["a"].items
    assert items is not None
    assert [one.attempts for one in items.values()] == [1 + 2 * (i % 10 == 0) for i in range(500)]
