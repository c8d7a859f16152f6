"""Functions and results that a run is given in place of its own, and what then need not run."""

from __future__ import annotations

import functools
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bodies import the_problem
from modules import line_of, module_of

import mxm
from mxm.pipeline import FlowRun, FlowSpec, TaskSpec, compile_flow, execute_flow
from mxm.pipeline.authoring import Flow, Task
from mxm.pipeline.bindings import Bindings, Param, Upstream
from mxm.pipeline.errors import BackendError
from mxm.pipeline.execution.events import AssetWritten, Event, StepEnded
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.spec import AssetDecl
from mxm.pipeline.testing import collecting

RAN: list[str] = []


def ran(name: str) -> None:
    RAN.append(name)


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()


@mxm.task
def connect() -> str:
    ran("connect")
    return "connection"


@mxm.task
def load(connection: str, symbol: str = "SPY") -> list[float]:
    ran("load")
    return [1.0, 2.0]


@mxm.task
def total(prices: list[float], scale: float = 1) -> float:
    ran("total")
    return sum(prices) * scale


# By calls, by declared upstreams, and by hand: the same flow.

with collecting():

    @mxm.flow
    def traced(symbol: str = "SPY") -> float:
        return total(load(connect(), symbol))


def hand_made() -> FlowSpec:
    return FlowSpec(
        "traced",
        [
            TaskSpec("connect", connect.fn),
            TaskSpec("load", load.fn, bindings=Bindings((Upstream("connect"), Param("symbol")))),
            TaskSpec("total", total.fn, upstream="load"),
        ],
        params={"symbol": "SPY"},
    )


@mxm.task(name="load", upstream=connect)
def load_declared(connection: str, symbol: str = "SPY") -> list[float]:
    ran("load")
    return [1.0, 2.0]


@mxm.task(name="total", upstream=load_declared)
def total_declared(prices: list[float], scale: float = 1) -> float:
    ran("total")
    return sum(prices) * scale


with collecting():

    @mxm.flow
    def declared(symbol: str = "SPY") -> Task[..., float]:
        return total_declared


FLOWS: dict[str, tuple[Callable[[], FlowSpec], Task[..., object]]] = {
    "traced": (lambda: traced.spec, load),
    "declared": (lambda: declared.spec, load_declared),
    "by hand": (hand_made, load),
}


def fake_load(connection: str, symbol: str) -> list[float]:
    return [float(len(connection)), float(len(symbol))]


RUNS: dict[str, dict[str, str]] = {
    "sequential": {"backend": "inline"},
    "threads": {"backend": "inline", "runner": "threads"},
    "processes": {"backend": "inline", "runner": "processes"},
    "prefect": {"backend": "prefect"},
}
EVERYWHERE = pytest.mark.parametrize("options", RUNS.values(), ids=list(RUNS))
EACH_FORM = pytest.mark.parametrize(("make", "task"), FLOWS.values(), ids=list(FLOWS))


def run_of(spec: FlowSpec, overrides: Mapping[Any, object], **options: Any) -> FlowRun:
    options.setdefault("backend", "inline")
    return compile_flow(spec, overrides=overrides, **options).run()


def states(run: FlowRun) -> dict[str, str]:
    return {name: task.state.value for name, task in run.tasks.items()}


@EVERYWHERE
@EACH_FORM
@pytest.mark.parametrize("by", ["task", "name"])
def test_a_result_is_given_and_what_only_it_needs_is_skipped(
    make: Callable[[], FlowSpec], task: Any, by: str, options: dict[str, str]
) -> None:
    given = [5.0, 6.0]
    run = run_of(make(), {task if by == "task" else "load": given}, **options)
    assert states(run) == {"connect": "skipped", "load": "overridden", "total": "succeeded"}
    assert run.tasks["connect"].reason == "only for overridden 'load'"
    assert (run.state, run.value(), run.results) == (
        "succeeded",
        11.0,
        {"load": [5.0, 6.0], "total": 11.0},
    )
    assert run.values["load"] is given
    assert (run.tasks["load"].attempts, run.tasks["load"].history) == (0, ())
    assert not {"connect", "load"} & set(RAN)


@EVERYWHERE
@EACH_FORM
def test_a_callable_replaces_the_function_and_gets_its_inputs(
    make: Callable[[], FlowSpec], task: Any, options: dict[str, str]
) -> None:
    run = run_of(make(), {task: fake_load}, **options)
    assert states(run) == {"connect": "succeeded", "load": "overridden", "total": "succeeded"}
    assert run.value() == 13.0
    assert run.tasks["load"].attempts == 1
    assert "load" not in RAN


# Who is meant.

with collecting():

    @mxm.flow
    def inner(symbol: str) -> float:
        return total(load("c", symbol))

    @mxm.flow
    def many(symbol: str = "SPY") -> list[float]:
        spy = load.named("spy")("c", symbol)
        slow = load.with_options(retries=2)("c", symbol)
        return [total(load("c", "a")), total(spy), total(slow), inner(symbol)]


def many_with(overrides: Mapping[Any, object]) -> Any:
    return many.with_options(backend="inline", overrides=overrides).run().value()


def test_a_task_means_each_step_made_from_its_function_wherever_it_is() -> None:
    assert many_with({load: [1.0]}) == [1.0] * 4
    assert many_with({load.named("other"): [1.0]}) == [1.0] * 4
    assert many_with({load.with_options(retries=1): [1.0]}) == [1.0] * 4
    assert RAN.count("load") == 0


def test_a_name_means_one_step_and_wins() -> None:
    assert many_with({"spy": [7.0]}) == [3.0, 7.0, 3.0, 3.0]
    assert many_with({"load": [7.0]}) == [3.0, 3.0, 7.0, 3.0]
    assert many_with({"load_2": [7.0]}) == [7.0, 3.0, 3.0, 3.0]
    assert many_with({"inner.load": [7.0]}) == [3.0, 3.0, 3.0, 7.0]
    assert many_with({load: [1.0], "spy": [7.0]}) == [1.0, 7.0, 1.0, 1.0]
    assert many_with({"spy": [7.0], load: [1.0]}) == [1.0, 7.0, 1.0, 1.0]


UNKNOWN: dict[str, tuple[Mapping[Any, object], str]] = {
    "a misspelt name": ({"lod": 1}, "no step is named 'lod'\n  hint: did you mean 'load'?"),
    "a task of another flow": (
        {total_declared: 1},
        "no step is made from task 'total'\n  hint: did you mean 'total'?",
    ),
    "a function": ({fake_load: 1}, "must be a task or the name of a step, not <function fake_load"),
    "a flow": ({inner: 1}, "must be a task or the name of a step, not "),
    "a number": ({3: 1}, "must be a task or the name of a step, not 3"),
    "two tasks of one function": (
        {load: 1, load.named("x"): 2},
        "two keys name step 'load'\n  hint: name the step: overrides={'load': ...}",
    ),
}


@pytest.mark.parametrize(("overrides", "told"), UNKNOWN.values(), ids=list(UNKNOWN))
def test_a_key_that_means_no_step_is_an_error_before_anything_runs(
    overrides: Mapping[Any, object], told: str
) -> None:
    with pytest.raises(BackendError) as caught:
        run_of(traced.spec, overrides)
    assert str(caught.value).startswith("overrides of flow 'traced': ")
    assert told in str(caught.value)
    assert RAN == []


@pytest.mark.parametrize("overrides", [3, ["load"], load, "load"])
def test_overrides_are_a_mapping(overrides: Any) -> None:
    with pytest.raises(BackendError, match="overrides must map tasks or names of steps"):
        traced.with_options(overrides=overrides)
    with pytest.raises(BackendError, match="overrides must map"):
        RunOptions(overrides=overrides)


# What is a function and what a result.


class Model:
    """A fitted model that can be called."""

    def __call__(self, *args: Any) -> float:
        return 1.0


def fit_model() -> Model:
    return Model()


def fit_anything():
    return Model()


def fit_any() -> Any:
    return Model()


def fit_object() -> object:
    return Model()


def fit_missing() -> Missing:  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
    return Model()


def fit_function() -> Callable[[], float]:
    return lambda: 1.0


def fit_class() -> type[Model]:
    return Model


async def fit_later() -> Model:
    return Model()


@mxm.task
def fake_model() -> Model:
    return Model()


OPEN = (fit_anything, fit_any, fit_object, fit_missing)
REPLACING = {
    "a function": lambda: 1,
    "a method": Model().__call__,
    "a builtin": max,
    "a partial": functools.partial(max, 1),
    "a task": fake_model,
}


@pytest.mark.parametrize("fn", OPEN, ids=lambda fn: fn.__name__)
@pytest.mark.parametrize("value", REPLACING.values(), ids=list(REPLACING))
def test_without_an_annotation_functions_of_any_kind_replace_the_function(
    fn: Callable[..., Any], value: Any
) -> None:
    spec = FlowSpec("f", [TaskSpec("m", fn)])
    run = run_of(spec, {"m": value})
    assert run.tasks["m"].attempts == 1


@pytest.mark.parametrize("fn", OPEN, ids=lambda fn: fn.__name__)
@pytest.mark.parametrize(
    "value",
    [Model(), Model, np.poly1d([1, 2]), inner],
    ids=["object", "class", "polynomial", "flow"],
)
def test_without_an_annotation_any_other_callable_is_refused(
    fn: Callable[..., Any], value: Any
) -> None:
    spec = FlowSpec("f", [TaskSpec("m", fn)])
    with pytest.raises(BackendError, match="override of step 'm' is .* which is callable") as e:
        run_of(spec, {"m": value})
    assert "put @mxm.task above a function" in str(e.value)


@pytest.mark.parametrize(
    ("fn", "value", "clear"),
    [
        (fit_model, Model(), False),
        (fit_later, Model(), False),
        (fit_function, lambda: 2.0, False),
        (fit_class, Model, False),
        (fit_model, lambda: Model(), True),
        (fit_model, Model, True),  # a class, which makes one
        (fit_later, fit_model, True),
        (fit_function, Model(), False),
    ],
)
def test_a_callable_that_fits_the_annotation_is_ambiguous_and_refused(
    fn: Callable[..., Any], value: Any, clear: bool
) -> None:
    spec = FlowSpec("f", [TaskSpec("m", fn)])
    if clear:
        assert isinstance(run_of(spec, {"m": value}).values["m"], Model)
        return
    with pytest.raises(BackendError, match="it could be the result or return it; the task returns"):
        run_of(spec, {"m": value})

    @mxm.task
    def fake() -> Any:
        return value

    assert run_of(spec, {"m": fake}).values["m"] is value


RESULTS = {
    "None": None,
    "a frame": pd.DataFrame({"a": [1]}),
    "an array": np.arange(3),
    "a dict": {"a": 1},
    "of another type": "text",
}


@pytest.mark.parametrize("value", RESULTS.values(), ids=list(RESULTS))
@pytest.mark.parametrize("fn", [fit_anything, fit_model], ids=["open", "annotated"])
def test_what_cannot_be_called_is_the_result(value: Any, fn: Callable[..., Any]) -> None:
    run = run_of(FlowSpec("f", [TaskSpec("m", fn)]), {"m": value})
    assert run.values["m"] is value
    assert states(run) == {"m": "overridden"}


def test_a_result_that_can_be_read_once_is_refused() -> None:
    with pytest.raises(BackendError, match="generator, which can be read only once"):
        run_of(traced.spec, {load: (x for x in [1.0])})


@pytest.mark.parametrize(
    ("fake", "told"),
    [
        (
            lambda: [1.0],
            "too many positional arguments\n  hint: the task gets 2 arguments by position",
        ),
        (lambda a, b, c: [1.0], "missing a required argument: 'c'"),
    ],
)
def test_a_function_that_cannot_take_the_inputs_is_an_error_before_anything_runs(
    fake: Any, told: str
) -> None:
    with pytest.raises(BackendError) as caught:
        run_of(traced.spec, {load: fake})
    assert "override of step 'load' cannot be called like the task: " + told in str(caught.value)
    assert RAN == []


def test_inputs_by_name_are_named_in_the_error() -> None:
    with pytest.raises(BackendError, match="hint: the task gets connection=, symbol="):
        spec = FlowSpec(
            "f",
            [TaskSpec("load", load.fn, bindings=Bindings(kwargs={"connection": Param("c")}))],
            params={"c": "x", "symbol": "SPY"},
        )
        run_of(spec, {"load": lambda x: [1.0]})


def test_a_replaced_function_is_awaited_tried_again_and_checked_as_the_tasks_is() -> None:
    calls: list[int] = []

    async def fake(x: int) -> tuple[int, int]:
        calls.append(x)
        if len(calls) == 1:
            raise ConnectionError
        return (1, 2) if x == 1 else (1, 2, 3)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    @mxm.task(retries=1)
    async def split(x: int) -> tuple[int, int]:
        return 0, 0

    @mxm.flow
    async def f(x: int = 1) -> list[int]:
        a, b = await split(x)
        return [b, a]

    faked = f.with_options(backend="inline", overrides={split: fake})
    run = faked.run()
    assert (run.value(), run.tasks["split"].attempts) == ([2, 1], 2)
    assert faked.run(x=2).tasks["split"].state == "failed"
    with pytest.raises(BackendError, match="the override of step 'split' has 3 parts"):
        f.with_options(backend="inline", overrides={split: (1, 2, 3)}).run()
    assert f.with_options(backend="inline", overrides={split: (3, 4)}).run().value() == [4, 3]


def test_parameters_are_made_to_fit_the_tasks_own_annotations() -> None:
    @mxm.task
    def scaled(x: int) -> int:
        return x

    @mxm.flow
    def f(x: int = 1) -> int:
        return scaled(x)

    run = f.with_options(backend="inline", overrides={scaled: lambda x: repr(x)}).run(x="4")
    assert run.value() == "4"


def test_a_replaced_function_that_fails_fails_its_task() -> None:
    def fails(*args: Any) -> list[float]:
        raise KeyError("fake")

    run = run_of(traced.spec, {load: fails})
    assert states(run) == {"connect": "succeeded", "load": "failed", "total": "skipped"}


# What need not run.


def step(name: str, upstream: Any = (), after: Any = ()) -> TaskSpec:
    def fn(*args: Any) -> str:
        ran(name)
        return name

    return TaskSpec(name, fn, upstream=upstream, after=after)


CUT: dict[str, tuple[list[TaskSpec], list[str], dict[str, str]]] = {
    "a chain": (
        [step("a"), step("b", "a"), step("c", "b"), step("d", "c")],
        ["c"],
        {"a": "c", "b": "c"},
    ),
    "one of two": (
        [step("a"), step("b"), step("c", ["a"]), step("d", ["b", "c"])],
        ["c"],
        {"a": "c"},
    ),
    "used elsewhere": ([step("a"), step("b", "a"), step("c", "a")], ["b"], {}),
    "used by two that are overridden": (
        [step("a"), step("b", "a"), step("c", "a"), step("d", ["b", "c"])],
        ["b", "c"],
        {"a": "b"},
    ),
    "above another": ([step("a"), step("b", "a"), step("c", "b")], ["b", "c"], {"a": "b"}),
    "alone": ([step("a"), step("b")], ["b"], {}),
    "a last task": ([step("a"), step("b", "a")], ["b"], {"a": "b"}),
    "an order after it": (
        [step("a"), step("b", "a"), step("c", after="a"), step("d", ["b", "c"])],
        ["b"],
        {"a": "b"},
    ),
    "an order after its end": (
        [step("a"), step("b", "a"), step("c", after="b")],
        ["b"],
        {"a": "b"},
    ),
    "ordered before it": ([step("a"), step("b", after="a"), step("c", "b")], ["b"], {"a": "b"}),
    "ordered before another too": (
        [step("a"), step("b", after="a"), step("c", after="a"), step("d", ["b", "c"])],
        ["b"],
        {},
    ),
    "the order of what is skipped": (
        [step("a"), step("b", "a"), step("c", "b", after="a"), step("d", "c")],
        ["c"],
        {"a": "c", "b": "c"},
    ),
}


@EVERYWHERE
@pytest.mark.parametrize(("tasks", "given", "skipped"), CUT.values(), ids=list(CUT))
def test_what_only_overridden_steps_need_does_not_run(
    tasks: list[TaskSpec], given: list[str], skipped: dict[str, str], options: dict[str, str]
) -> None:
    if options.get("runner") == "processes":  # where functions go by name
        tasks = [TaskSpec(t.name, named_step, bindings=t.bindings, after=t.after) for t in tasks]
    run = run_of(FlowSpec("f", tasks), dict.fromkeys(given, 0), **options)
    assert run.state == "succeeded"
    expected = {
        t.name: "overridden" if t.name in given else "skipped" if t.name in skipped else "succeeded"
        for t in tasks
    }
    assert states(run) == expected
    assert {n: run.tasks[n].reason for n in skipped} == {
        n: f"only for overridden {by!r}" for n, by in skipped.items()
    }
    if options.get("runner") != "processes":
        assert sorted(RAN) == sorted(n for n, state in expected.items() if state == "succeeded")


def named_step(*args: Any) -> int:
    return 1


def test_what_the_flow_returns_runs_whoever_else_needs_it() -> None:
    @mxm.flow
    def f() -> list[Any]:
        connection = connect()
        return [connection, total(load(connection))]

    run = f.with_options(backend="inline", overrides={load: [1.0]}).run()
    assert run.value() == ["connection", 1.0]


def test_an_overridden_task_writes_no_asset_and_is_told_to_observers() -> None:
    events: list[Event] = []

    @mxm.task(produces=AssetDecl("prices"))
    def save(x: int = 1) -> int:
        return x

    @mxm.flow
    def f() -> list[int]:
        return [save(1), save(2)]

    overrides: dict[Any, object] = {"save": 5, "save_2": lambda *args: 6}
    run = f.with_options(backend="inline", overrides=overrides, observers=[events.append]).run()
    assert run.value() == [5, 6]
    assert [t.asset for t in run.tasks.values()] == [None, None]
    assert not any(isinstance(e, AssetWritten) for e in events)
    ended = [(e.task.name, e.task.state) for e in events if isinstance(e, StepEnded)]
    assert ended == [("save", "overridden"), ("save_2", "overridden")]


def test_the_document_of_a_run_says_what_was_overridden() -> None:
    document: Any = run_of(traced.spec, {load: [1.0]}).to_dict()
    found = {t["name"]: (t["state"], t["result"], t["reason"]) for t in document["tasks"]}
    assert found == {
        "connect": ("skipped", None, "only for overridden 'load'"),
        "load": ("overridden", [1.0], None),
        "total": ("succeeded", 1.0, None),
    }


# Where overrides are given.


def test_overrides_are_an_option_wherever_options_are() -> None:
    compiled = compile_flow(traced, backend="inline", overrides={load: [1.0]})
    assert execute_flow(compiled)["total"] == 1.0
    assert execute_flow(compiled, options={"overrides": {load: [2.0]}})["total"] == 2.0
    assert execute_flow(compiled, options={"overrides": {}})["total"] == 3.0
    faked = traced.with_options(backend="inline", overrides={load: [1.0]})
    assert faked.with_options(runner="threads").run().value() == 1.0
    assert faked.with_options(overrides={"total": 9.0}).run().value() == 9.0
    assert traced.with_options(backend="inline").run().value() == 3.0


def test_two_runs_have_the_same_overrides() -> None:
    faked = traced.with_options(backend="inline", overrides={load: [1.0]})
    assert [faked.run().value(), faked.run().value()] == [1.0, 1.0]


def test_a_flow_with_overrides_refuses_a_plain_call() -> None:
    faked = traced.with_options(overrides={load: [1.0]})
    with pytest.raises(TypeError, match=r"flow 'traced' has overrides.*run it with \.run"):
        faked("SPY")
    with pytest.raises(TypeError, match=r"flow 'traced' has overrides.*run it with \.run"):
        faked.map(["SPY"])
    assert RAN == []
    assert faked.with_options(overrides={})("SPY") == 3.0
    assert traced("SPY") == 3.0


@pytest.mark.parametrize("used", ["FAKED(x)", "FAKED.map([x])"])
def test_a_flow_with_overrides_is_no_part_of_another(tmp_path: Path, used: str) -> None:
    text = """
import mxm

@mxm.task
def load(x=1):
    return x

@mxm.flow
def inner(x):
    return load(x)

FAKED = inner.with_options(overrides={load: 1})

@mxm.flow
def outer(x):
    return USED  # here
""".replace("USED", used)
    module = module_of(tmp_path, text)
    problem = the_problem(module.outer)
    assert (problem.code, "has overrides" in problem.message) == ("MXM302", True)
    assert problem.source is not None
    assert problem.source.line == line_of(module, "# here")


def test_a_flow_with_overrides_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
import mxm

@mxm.task
def load():
    return 1

@mxm.flow
def f():
    return load()
"""
    module = module_of(tmp_path, text)
    monkeypatch.setitem(sys.modules, "analyst", module)
    faked: Flow = module.f.with_options(backend="inline", overrides={module.load: 5})
    assert pickle.loads(pickle.dumps(faked)).run().value() == 5


def test_options_with_tables_among_overrides_are_compared_and_shown() -> None:
    frame = pd.DataFrame({"a": [1]})
    options = RunOptions(overrides={load: frame})
    assert options == RunOptions(overrides={load: frame.copy()})
    assert "overrides" not in repr(options)


def test_a_lambda_for_worker_processes_is_a_failure_that_names_the_task() -> None:
    run = run_of(traced.spec, {load: lambda *args: [1.0]}, runner="processes")
    assert run.tasks["load"].state == "failed"
    assert "worker process" in str(run.tasks["load"].reason)
