# ruff: noqa: UP045 - Optional is what users write

from __future__ import annotations

import enum
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    TypedDict,
    Unpack,
)
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ids import stable_id
from pydantic import BaseModel, Field, SecretStr

import mxm
from mxm.pipeline.api import compile_flow
from mxm.pipeline.bindings import Bindings, Const, Param, Upstream
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.errors import ParameterError
from mxm.pipeline.execution.plans.plan import make_plan
from mxm.pipeline.introspection.annotations import Unresolved
from mxm.pipeline.params.declared import parameters_of
from mxm.pipeline.params.resolve import Resolved, resolve
from mxm.pipeline.problems import Problem
from mxm.pipeline.registry import collecting
from mxm.pipeline.spec import AssetDecl, FlowSpec, TaskSpec
from mxm.pipeline.values.conversion import Text, coerce

if TYPE_CHECKING:
    from somewhere import Elsewhere


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Window:
    days: int
    unit: str = "d"


class Model(BaseModel):
    name: str
    size: int = 1


class Pair(NamedTuple):
    a: int
    b: int


class Options(TypedDict):
    a: int


@dataclass
class Fussy:
    days: int

    def __post_init__(self) -> None:
        raise KeyError("fussy")


Ticker = NewType("Ticker", str)
Sizes = NewType("Sizes", list[int])
EMPTY = inspect.Parameter.empty


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (str, "123", "123"),
        (str, '"fast"', '"fast"'),
        (str, " null ", " null "),
        (Ticker, "007", "007"),
        (Annotated[str, "symbol"], '"fast"', '"fast"'),
        (EMPTY, "100", 100),
        (EMPTY, "fast", "fast"),
        (EMPTY, '{"a": [1.5, null, true]}', {"a": [1.5, None, True]}),
        (EMPTY, "NaN", "NaN"),
        (EMPTY, "[" * 100_000, "[" * 100_000),
        (Any, "1.5", 1.5),
        (object, "x=y", "x=y"),
        (Unresolved("Elsewhere"), "3", 3),
        (5, "3", 3),
        (Options, '{"a": 1}', {"a": 1}),
        (int, "20", 20),
        (float, "2", 2.0),
        (bool, "yes", True),
        (bool, "false", False),
        (Decimal, "0.10", Decimal("0.10")),
        (date, "2024-01-31", date(2024, 1, 31)),
        (date, "20240131", date(2024, 1, 31)),
        (datetime, "20240131", datetime(2024, 1, 31)),
        (datetime, "2024-01-31T10:00", datetime(2024, 1, 31, 10)),
        (Optional[date], "20240131", date(2024, 1, 31)),
        (Optional[datetime], "20240131", datetime(2024, 1, 31)),
        (Optional[date], "null", None),
        (time, "09:30", time(9, 30)),
        (timedelta, "PT1H30M", timedelta(minutes=90)),
        (Path, "/data/x.csv", Path("/data/x.csv")),
        (UUID, "12345678123456781234567812345678", UUID("12345678123456781234567812345678")),
        (Side, "buy", Side.BUY),
        (Level, "2", Level.HIGH),
        (Literal["fast", "slow"], "fast", "fast"),
        (Literal["1", "2"], "1", "1"),
        (Literal["a", 1], "1", 1),
        (Literal["a", 1], "a", "a"),
        (list, "[1, 2]", [1, 2]),
        (list[int], '[1, "2"]', [1, 2]),
        (Sizes, "[1]", [1]),
        (Sequence, "[1]", [1]),
        (Sequence[float], "[1]", [1.0]),
        (set[str], '["a", "a"]', {"a"}),
        (tuple[int, str], '[1, "a"]', (1, "a")),
        (dict[str, date], '{"a": "2024-01-31"}', {"a": date(2024, 1, 31)}),
        (Mapping[str, int], '{"a": 1}', {"a": 1}),
        (Window, '{"days": 3}', Window(3)),
        (Model, '{"name": "x", "size": "2"}', Model(name="x", size=2)),
        (Pair, "[1, 2]", Pair(1, 2)),
        (Optional[str], "null", None),
        (Optional[str], "SPY", "SPY"),
        (Optional[str], "123", "123"),
        (Optional[int], "5", 5),
        (int | str, "5", 5),
        (int | str, "five", "five"),
        (list[int] | int, "5", 5),
        (str | list[str], '["a"]', ["a"]),
    ],
    ids=stable_id,
)
def test_text_from_the_command_is_read_as_the_annotation_says(
    annotation: Any, text: str, value: Any
) -> None:
    found = coerce(Text(text), annotation)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("annotation", "value", "told"),
    [
        (int, Text("twenty"), "valid integer"),
        (int, Text("1.5"), "unable to parse"),
        (date, Text("31.1.2024"), "valid date"),
        (date, Text("20241399"), "month value"),
        (Side, Text("hold"), "'buy' or 'sell'"),
        (Literal["fast", "slow"], Text("medium"), "'fast' or 'slow'"),
        (list[int], Text('[1, "x"]'), r"\[1\] .*valid integer"),
        (list[int], Text("1, 2"), "valid list"),
        (Window, Text('{"unit": "d"}'), r"\['days'\] .*required"),
        (Fussy, Text('{"days": 1}'), "KeyError: 'fussy'"),
        (Annotated[int, Field(gt=0)], Text("0"), "greater than 0"),
        (pd.DataFrame, Text("x"), "instance of DataFrame"),
        (str, 3, "valid string"),
        (int, None, "valid integer"),
        (list[int], ["a"], "valid integer"),
        (pd.DataFrame, [1], "instance of DataFrame"),
    ],
    ids=stable_id,
)
def test_what_does_not_fit_says_why(annotation: Any, value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        coerce(value, annotation)


class Stamped(datetime): ...


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, "x"),
        (int, True),
        (float, 3),
        (float, np.float64(2.5)),
        (date, datetime(2024, 1, 31, 9)),
        (datetime, pd.Timestamp("2024-01-31")),
        (datetime, Stamped(2024, 1, 31)),
        (list, [1]),
        (list[int], [1, 2]),
        (list[float], [1, 2.5]),
        (dict[str, list[int]], {"a": [1]}),
        (Optional[Side], Side.BUY),
        (Optional[str], None),
        (str | None, "x"),
        (int | str, "5"),
        (Literal["a", 1], "a"),
        (Window, Window(3)),
        (list[Window], [Window(3)]),
        (Model, Model(name="x")),
        (pd.DataFrame, pd.DataFrame({"a": [1]})),
        (np.ndarray, np.array([1])),
        (Callable[[], int], len),
        (SecretStr, SecretStr("x")),
        (Any, object()),
        (EMPTY, object()),
        (5, object()),
        (Unresolved("Elsewhere"), object()),
    ],
    ids=lambda v: stable_id(v)[:40],
)
def test_what_fits_already_passes_by_identity(annotation: Any, value: Any) -> None:
    assert coerce(value, annotation) is value


@pytest.mark.parametrize(
    ("annotation", "value", "read"),
    [
        (date, "2024-01-31", date(2024, 1, 31)),
        (int, np.int64(5), 5),
        (list[int], ("1", 2), [1, 2]),
        (Window, {"days": "3"}, Window(3)),
        (Side, "sell", Side.SELL),
    ],
    ids=stable_id,
)
def test_python_values_that_do_not_fit_are_read_leniently(
    annotation: Any, value: Any, read: Any
) -> None:
    found = coerce(value, annotation)
    assert found == read
    assert type(found) is type(read)


# Where values come from


def required(a: Any, b: Any, c: Any) -> Any:
    return {"a": a, "b": b, "c": c}


def defaulted(a: Any = "default", b: Any = "default", c: Any = "default") -> Any:
    return {"a": a, "b": b, "c": c}


def keyword_only(*, a: Any = "default", b: Any = "default", c: Any = "default") -> Any:
    return {"a": a, "b": b, "c": c}


def positional_only(a: Any = "default", b: Any = "default", c: Any = "default", /) -> Any:
    return {"a": a, "b": b, "c": c}


FUNCTIONS = [required, defaulted, keyword_only, positional_only]
some_keys = st.sets(st.sampled_from("abcd"))


def called(spec: FlowSpec, given: Mapping[str, Any] | None = None) -> list[Any]:
    """What each function of *spec*, whose inputs are all parameters, returns in a run."""
    found: list[Any] = []
    for step in make_plan(spec, given or {}).steps:
        args = [b.value for b in step.args if isinstance(b, Const)]
        kwargs = {k: b.value for k, b in step.kwargs.items() if isinstance(b, Const)}
        found.append(step.task.fn(*args, **kwargs))
    return found


def warned(resolved: Resolved) -> list[str]:
    return [problem.message for problem in resolved.warnings]


def refused(spec: FlowSpec, given: Mapping[str, Any], strict: bool = False) -> list[Problem]:
    with pytest.raises(ParameterError) as caught:
        resolve(spec, given, strict=strict)
    return list(caught.value.problems)


@given(st.sampled_from(FUNCTIONS), some_keys, some_keys, some_keys)
def test_run_before_flow_before_task_before_default(
    fn: Callable[..., Any], run: set[str], flow: set[str], task: set[str]
) -> None:
    layers = {"run": run, "flow": flow, "task": task}
    expected: dict[str, Any] = {}
    for key in "abc":
        given_by = [layer for layer, keys in layers.items() if key in keys]
        expected[key] = (given_by or ["default"])[0]
    spec = FlowSpec(
        "f", [TaskSpec("t", fn, params=dict.fromkeys(task, "task"))], dict.fromkeys(flow, "flow")
    )
    runtime = dict.fromkeys(run, "run")
    if fn is required and "default" in expected.values():
        problems = refused(spec, runtime)
        missing = [p.message.split("'")[1] for p in problems if p.code == "MXM401"]
        assert missing == [key for key in "abc" if expected[key] == "default"]
    else:
        assert called(spec, runtime) == [expected]
    last = "required" if fn is required else "default"
    assert {p.name: p.origin for p in parameters_of(spec)} == {
        key: "flow" if key in flow else "task" if key in task else last for key in "abc"
    }


def test_a_key_reaches_each_function_that_takes_it_and_no_other() -> None:
    spec = FlowSpec("f", [TaskSpec("x", lambda a=0: a), TaskSpec("y", lambda b=0: b)])
    resolved = resolve(spec, {"a": 1})
    assert resolved.tasks == {"x": {"a": 1}, "y": {}}
    assert warned(resolved) == []


def test_each_task_reads_the_text_by_its_own_annotation() -> None:
    def day(d: date) -> date:
        return d

    def text(d: str) -> str:
        return d

    def bare(d):  # type: ignore[no-untyped-def]
        return d

    spec = FlowSpec("f", [TaskSpec(f.__name__, f) for f in (day, text, bare)])
    assert called(spec, {"d": Text("2024-01-31")}) == [
        date(2024, 1, 31),
        "2024-01-31",
        "2024-01-31",
    ]
    assert [type(v) for v in called(spec, {"d": Text("20240131")})] == [date, str, int]
    assert type(resolve(spec, {"d": Text("2024-01-31")}).flow["d"]) is str


def test_the_annotation_of_the_flow_is_applied_before_the_tasks() -> None:
    def flow(d: date) -> None: ...

    def moment(d: datetime) -> datetime:
        return d

    spec = FlowSpec("f", [TaskSpec("t", moment)], fn=flow)
    assert called(spec, {"d": Text("2024-01-31")}) == [datetime(2024, 1, 31)]
    assert resolve(spec, {"d": Text("2024-01-31")}).flow == {"d": date(2024, 1, 31)}


def test_where_the_flow_has_no_annotation_the_tasks_read_the_text() -> None:
    def flow(account, day) -> None: ...  # type: ignore[no-untyped-def]

    def load(account: str, day: date) -> Any:
        return account, day

    given = {"account": Text("007"), "day": Text("20240131")}
    declared = FlowSpec("f", [TaskSpec("t", load)], fn=flow)
    assert called(declared, given) == [("007", date(2024, 1, 31))]
    bound = Bindings((Param("account"),), {"day": Param("day")})
    traced = FlowSpec("f", [TaskSpec("t", load, bindings=bound)], fn=flow, traced=True)
    assert called(traced, given) == [("007", date(2024, 1, 31))]
    assert resolve(traced, given).flow == {"account": "007", "day": 20240131}


def test_python_values_that_a_body_passes_are_never_changed() -> None:
    def flow(day) -> None: ...  # type: ignore[no-untyped-def]

    def load(day: date) -> None: ...

    spec = FlowSpec(
        "f", [TaskSpec("t", load, bindings=Bindings((Param("day"),)))], fn=flow, traced=True
    )
    assert resolve(spec, {"day": "2024-01-31"}).tasks == {"t": {}}


def test_functions_with_kwargs_take_every_key_typed_as_annotated() -> None:
    def tags(a: int, /, **kwargs: str) -> Any:
        return a, kwargs

    def loose(x=0, **kwargs):  # type: ignore[no-untyped-def]
        return x, kwargs

    spec = FlowSpec(
        "f", [TaskSpec("t", tags, params={"c": "task"}), TaskSpec("u", loose)], {"b": "flow"}
    )
    resolved = resolve(spec, {"a": Text("1"), "x": Text("2"), "z": "3"}, strict=True)
    assert warned(resolved) == []
    assert called(spec, {"a": Text("1"), "x": Text("2")}) == [
        (1, {"b": "flow", "c": "task", "x": "2"}),
        (2, {"b": "flow", "a": 1}),
    ]


def test_the_type_of_all_kwargs_together_is_not_that_of_each() -> None:
    def fn(**kwargs: Unpack[Options]) -> Any:
        return kwargs

    assert called(FlowSpec("f", [TaskSpec("t", fn)]), {"a": Text("1")}) == [{"a": 1}]


def test_a_positional_only_parameter_left_out_keeps_the_places_of_the_others() -> None:
    def fn(a: int = 1, b: int = 2, c: int = 3, /, d: int = 4) -> Any:
        return a, b, c, d

    assert called(FlowSpec("f", [TaskSpec("t", fn)]), {"b": 20, "d": 40}) == [(1, 20, 3, 40)]


def test_everything_missing_or_unfit_is_told_at_once_with_its_place() -> None:
    def fn(limit: int, day: date, size, mode) -> None: ...  # type: ignore[no-untyped-def]

    spec = FlowSpec("f", [TaskSpec("t", fn), TaskSpec("u", fn)], {"mode": 1})
    assert refused(spec, {"limit": "lots"})[0].message.endswith(
        "takes int, not 'lots': Input should be a valid integer, "
        "unable to parse string as an integer"
    )
    limit, *others = refused(spec, {"limit": Text("lots")})
    assert limit.code == "MXM402"
    assert limit.message.startswith("parameter 'limit' of task 't' takes int, not 'lots': ")
    assert limit.source is not None
    assert limit.source.file == __file__
    assert limit.source.line == fn.__code__.co_firstlineno
    missing = [p for p in others if p.code == "MXM401"]
    assert [p.message for p in missing] == [
        "missing parameter 'day': task 't' needs it (date), but it has no value",
        "missing parameter 'size': task 't' needs it, but it has no value",
    ]
    assert missing[0].hint == (
        "pass it with -p day=VALUE, or .run(day=...) from Python; "
        "or give it a default in the signature"
    )
    assert (missing[0].flow, missing[0].task) == ("f", "t")
    assert missing[0].source == limit.source


def test_a_parameter_of_a_callable_without_code_is_placed_at_its_task() -> None:
    task = TaskSpec("t", functools.partial(required, 1))
    missing = refused(FlowSpec("f", [task]), {})
    assert [p.source for p in missing] == [task.source] * 2


def test_what_does_not_fit_the_flow_is_not_told_again_for_its_tasks() -> None:
    def flow(limit: int) -> None: ...

    def fn(limit: int) -> None: ...

    (problem,) = refused(FlowSpec("f", [TaskSpec("t", fn)], fn=flow), {"limit": Text("lots")})
    assert problem.message.startswith("parameter 'limit' of flow 'f' takes int, not 'lots'")


def test_a_flow_parameter_without_a_default_is_required() -> None:
    def flow(symbol: str) -> None: ...

    spec = FlowSpec("f", [TaskSpec("t", lambda: 1)], fn=flow)
    (problem,) = refused(spec, {})
    assert problem.message.startswith("missing parameter 'symbol': flow 'f' needs it (str)")
    (parameter,) = parameters_of(spec)
    assert (parameter.required, parameter.origin, parameter.annotation) == (True, "required", str)


def test_a_default_that_its_annotation_forbids_is_taken() -> None:
    def fn(window: int = None) -> Any:  # type: ignore[assignment]
        return window

    assert called(FlowSpec("f", [TaskSpec("t", fn)], {"window": None})) == [None]


def test_annotations_that_exist_for_type_checkers_only_do_not_hinder() -> None:
    def fn(frame: Elsewhere, limit: int = 1) -> Any:
        return frame, limit

    spec = FlowSpec("f", [TaskSpec("t", fn)])
    assert called(spec, {"frame": Text("[1]"), "limit": Text("2")}) == [([1], 2)]


# Keys that do not arrive


def two(series: Any, window: int = 1) -> Any: ...


LOAD = TaskSpec("load", lambda limit=1: limit)


@pytest.mark.parametrize("upstream", [["load"], {"series": "load"}], ids=["by position", "by name"])
def test_an_input_that_an_edge_fills_is_never_overridden_and_a_warning_says_so(
    upstream: Any,
) -> None:
    spec = FlowSpec("f", [LOAD, TaskSpec("t", two, upstream=upstream)])
    resolved = resolve(spec, {"series": 3, "window": 2})
    assert resolved.tasks["t"] == {"window": 2}
    assert warned(resolved) == [
        "parameter 'series' is not used: task 't' gets that input from an edge of the graph"
    ]
    (problem,) = refused(spec, {"series": 3}, strict=True)
    assert problem.code == "MXM403"


def test_a_key_that_another_task_takes_warns_of_the_edge_and_is_no_error() -> None:
    spec = FlowSpec("f", [TaskSpec("load", two), TaskSpec("t", two, upstream=["load"])])
    resolved = resolve(spec, {"series": 3}, strict=True)
    assert resolved.tasks == {"load": {"series": 3}, "t": {}}
    assert warned(resolved) == [
        "parameter 'series' does not reach task 't', which gets that input from an edge of the graph"
    ]


def test_a_parameter_after_star_args_is_not_taken_for_one_of_the_edges() -> None:
    def fn(*parts: Any, sep: str = "-") -> None: ...

    spec = FlowSpec("f", [LOAD, TaskSpec("t", fn, upstream=["load", "load"])])
    resolved = resolve(spec, {"sep": "+"}, strict=True)
    assert resolved.tasks["t"] == {"sep": "+"}


@pytest.mark.parametrize(
    ("key", "hint"),
    [("limmit", "did you mean 'limit'?"), ("zzz", "known: limit, window")],
)
def test_a_key_that_nothing_takes_is_ignored_with_a_hint_unless_strict(key: str, hint: str) -> None:
    spec = FlowSpec("f", [LOAD, TaskSpec("t", two, upstream=["load"])])
    resolved = resolve(spec, {key: 3})
    (problem,) = resolved.warnings
    assert (problem.severity, problem.source, problem.task) == ("warning", spec.source, None)
    assert problem.message == f"parameter {key!r} is not used: no task of flow 'f' takes it"
    assert problem.hint == hint
    assert [p.message for p in refused(spec, {key: 3}, strict=True)] == [problem.message]


def test_the_key_of_a_partition_counts_as_taken() -> None:
    task = TaskSpec("t", lambda: 1, produces=AssetDecl("prices", partition_key="day"))
    resolved = resolve(FlowSpec("f", [task]), {"day": "2024-01-31"}, strict=True)
    assert resolved.warnings == []


def traced(bound: Bindings, fn: Callable[..., Any] = two, **options: Any) -> FlowSpec:
    def body(window: int = 5, spare: int = 0) -> None: ...

    tasks = [LOAD, TaskSpec("t", fn, bindings=bound, **options)]
    return FlowSpec("f", tasks, {"window": 5, "spare": 0}, fn=body, traced=True)


def test_in_a_traced_flow_a_parameter_arrives_only_where_the_body_passes_it() -> None:
    spec = traced(Bindings((Upstream("load"),)))
    assert resolve(spec, {"window": 9}, strict=True).tasks["t"] == {}


def test_an_argument_that_a_body_omits_takes_a_free_key_then_the_task_then_the_default() -> None:
    def fn(series: Any, window: int = 1, extra: int = 1) -> None: ...

    spec = traced(Bindings((Upstream("load"),)), fn, params={"window": 2, "extra": 2})
    assert resolve(spec, {"window": 9, "extra": 9}).tasks["t"] == {"window": 2, "extra": 9}
    assert resolve(spec, {}).tasks["t"] == {"window": 2, "extra": 2}


def test_a_key_that_a_body_binds_says_where() -> None:
    spec = traced(Bindings((Upstream("load"), Const(3))), lambda series, length: None)
    (problem,) = resolve(spec, {"length": 9}).warnings
    assert "the body of flow 'f' passes that input to task 't'" in problem.message
    assert str(spec.tasks[1].source) in (problem.hint or "")
    assert [p.code for p in refused(spec, {"length": 9}, strict=True)] == ["MXM403"]


def test_an_argument_that_a_body_forgets_is_asked_for_in_the_body() -> None:
    spec = traced(Bindings((Upstream("load"),)), lambda series, window: None)
    (problem,) = find_problems(spec)
    assert problem.code == "MXM401"
    assert "the body of flow 'f' does not pass it" in problem.message
    assert problem.hint == "pass it in the call: window=window"


# What a run takes


def test_parameters_are_listed_with_type_default_origin_and_takers() -> None:
    def flow(symbol: str, window: int = 20) -> None: ...

    def load(symbol: str, limit: int = 250) -> None: ...

    def fit(series: Any, window: int, alpha, mode="fast", **more: Any) -> None: ...  # type: ignore[no-untyped-def]

    tasks = [
        TaskSpec("load", load),
        TaskSpec("fit", fit, upstream=["load"], params={"mode": "slow"}),
    ]
    spec = FlowSpec("f", tasks, {"window": 20}, fn=flow)
    assert [(p.name, p.annotation, p.default, p.origin, p.tasks) for p in parameters_of(spec)] == [
        ("symbol", str, EMPTY, "required", ("load",)),
        ("window", int, 20, "flow", ("fit",)),
        ("limit", int, 250, "default", ("load",)),
        ("alpha", EMPTY, EMPTY, "required", ("fit",)),
        ("mode", EMPTY, "slow", "task", ("fit",)),
    ]


def test_a_parameter_of_a_traced_flow_has_no_takers_by_name() -> None:
    spec = traced(Bindings((Upstream("load"),)))
    assert [(p.name, p.tasks) for p in parameters_of(spec)] == [
        ("window", ()),
        ("spare", ()),
        ("limit", ("load",)),
    ]


# Secrets


def keyed(key: SecretStr) -> str:
    return key.get_secret_value()


@pytest.mark.parametrize("bindings", [None, Bindings((Param("token"),))], ids=["by hand", "traced"])
def test_a_secret_is_masked_in_what_the_run_knows(bindings: Bindings | None) -> None:
    def body(token) -> None: ...  # type: ignore[no-untyped-def]

    if bindings is None:
        spec, name = FlowSpec("f", [TaskSpec("t", keyed)]), "key"
    else:
        spec = FlowSpec("f", [TaskSpec("t", keyed, bindings=bindings)], fn=body, traced=True)
        name = "token"
    assert called(spec, {name: Text("s3cret")}) == ["s3cret"]
    assert "s3cret" not in repr(resolve(spec, {name: Text("s3cret")}).flow)


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[SecretStr, Field(min_length=9)],
        Optional[Annotated[SecretStr, Field(min_length=9)]],
    ],
    ids=stable_id,
)
def test_a_secret_that_does_not_fit_is_not_shown(annotation: Any) -> None:
    def fn(key: Any) -> None: ...

    fn.__annotations__ = {"key": annotation}
    (problem,) = refused(FlowSpec("f", [TaskSpec("t", fn)]), {"key": Text("s3cret")})
    assert "s3cret" not in str(problem)


def test_not_a_number_from_python_passes() -> None:
    value = math.nan
    assert coerce(value, float) is value


# Defaults in signatures


def declared_day(day: date = "2024-01-31") -> object:  # type: ignore[assignment]
    return day


def takes_day(day: date) -> object:
    return day


def optional_day(day: date = None) -> object:  # type: ignore[assignment]
    return day


def test_a_default_in_a_signature_is_never_converted_and_a_value_of_the_run_always_is() -> None:
    flow = FlowSpec("f", [TaskSpec("t", takes_day)], {"day": "2024-01-31"}, fn=declared_day)
    default = inspect.signature(declared_day).parameters["day"].default
    flow = FlowSpec("f", [TaskSpec("t", takes_day)], {"day": default}, fn=declared_day)
    assert resolve(flow, {}).tasks["t"]["day"] == "2024-01-31"
    for given_day in (default, "2024-01-31", Text("2024-01-31")):
        assert resolve(flow, {"day": given_day}).tasks["t"]["day"] == date(2024, 1, 31)


def test_values_that_somebody_gave_are_converted() -> None:
    by_hand = FlowSpec("f", [TaskSpec("t", takes_day)], {"day": "2024-01-31"})
    own = FlowSpec("f", [TaskSpec("t", takes_day, params={"day": "2024-01-31"})])
    for flow in (by_hand, own):
        assert resolve(flow, {}).tasks["t"]["day"] == date(2024, 1, 31)


def test_a_default_of_none_allows_none() -> None:
    flow = FlowSpec("f", [TaskSpec("t", optional_day)])
    for none in (None, Text("null")):
        assert resolve(flow, {"day": none}).tasks["t"]["day"] is None
    assert resolve(flow, {"day": Text("2024-01-31")}).tasks["t"]["day"] == date(2024, 1, 31)


MARKER = object()


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (date, "2024-01-31"),
        (int, "twenty"),
        (int, 1.0),
        (bool, 1),
        (Decimal, 0),
        (Decimal, 1.5),
        (Path, "data"),
        (Side, "buy"),
        (list[int], ()),
        (dict[str, int], []),
        (Window, {"days": 1}),
        (Optional[int], "x"),
        (int | date, "x"),
        (Literal["a", "b"], "c"),
        (Annotated[int, Field(gt=0)], "x"),
    ],
    ids=stable_id,
)
def test_a_default_that_is_no_instance_of_its_annotation_is_a_problem(
    annotation: Any, default: Any
) -> None:
    def fn(value: Any = default) -> None: ...

    fn.__annotations__["value"] = annotation
    for spec in (FlowSpec("f", [TaskSpec("t", fn)]), FlowSpec("f", [TaskSpec("t", min)], fn=fn)):
        problems = [p for p in find_problems(spec) if p.code == "MXM404"]
        assert len(problems) == 1
        assert problems[0].hint
        assert repr(default) in problems[0].message


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (int, None),
        (float, 1),
        (complex, 1.5),
        (int, True),
        (int, ...),
        (int, MARKER),
        (int, Field(5)),
        (int, inspect.Parameter.empty),
        (Sequence[str], "SPY"),
        (Sequence[int], ()),
        (Any, "x"),
        (object, "x"),
        (Callable[[int], int], MARKER),
        (SecretStr, "x"),
        ("Elsewhere", "x"),
        (type[int], bool),
    ],
    ids=stable_id,
)
def test_defaults_that_are_no_problem(annotation: Any, default: Any) -> None:
    def fn(value: Any = default) -> None: ...

    fn.__annotations__["value"] = annotation
    assert not [p for p in find_problems(FlowSpec("f", [TaskSpec("t", fn)])) if p.code == "MXM404"]


class Choice(TypedDict, total=False):
    window: int


def choose(choice: Choice) -> object:
    return choice


def test_an_unknown_key_from_python_warns_and_is_an_error_where_it_is_near_a_missing_one() -> None:
    flow = FlowSpec("f", [TaskSpec("t", choose)])
    found = resolve(flow, {"choice": {"other": 1, "window": 2}})
    assert found.tasks["t"]["choice"] == {"other": 1, "window": 2}
    assert [w.code for w in found.warnings] == ["MXM405"]
    for near in ({"windw": 1}, Text('{"windw": 1}')):
        with pytest.raises(ParameterError, match="did you mean 'window'"):
            resolve(flow, {"choice": near})


# Values without names


def test_parameters_go_by_name() -> None:
    with collecting():

        @mxm.task
        def load(symbol: str) -> str:
            return symbol

        @mxm.flow
        def risk(symbol: str = "SPY", window: int = 5) -> str:
            return load(symbol)

    run: Any = risk.run
    with pytest.raises(TypeError, match=r"go by name: risk.run\(symbol=...\); risk\(...\) calls"):
        run("QQQ")
    with pytest.raises(TypeError, match=r"risk.run\(symbol=..., window=...\)"):
        run("QQQ", 5, 6)
    compiled: Any = compile_flow(risk, backend="inline")
    for params in ("QQQ", ["QQQ"], [("symbol", "QQQ")]):
        for start in (compiled.run, compiled.execute):
            with pytest.raises(TypeError, match="'risk' must be a mapping of names to values"):
                start(params)
    with pytest.raises(TypeError, match="names of parameters of flow 'risk' must be text, not 1"):
        compiled.run({1: "QQQ"})


def test_a_misspelt_name_of_a_missing_parameter_is_named() -> None:
    def load(symbol: str, window: int = 20) -> str:
        return symbol * window

    spec = FlowSpec("f", [TaskSpec("load", load)])
    missing, unused = refused(spec, {"symbl": "SPY"})
    assert (missing.code, unused.code, unused.hint) == (
        "MXM401",
        "MXM403",
        "did you mean 'symbol'?",
    )
