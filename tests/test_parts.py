"""Values given in parts: one field of a value that holds otherwise, the members of a list."""

from __future__ import annotations

import json
import shlex
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, Optional, TypedDict

import pytest
from command import invoke, write
from hypothesis import assume, given
from hypothesis import strategies as st
from ids import stable_id
from pydantic import BaseModel, ConfigDict, Field, field_validator

import mxm
from mxm.pipeline import FlowSpec, TaskSpec
from mxm.pipeline.cli.parameters import given_params
from mxm.pipeline.errors import ParameterError
from mxm.pipeline.params.resolve import resolve
from mxm.pipeline.values.conversion import Text
from mxm.pipeline.values.parts import Fields


@dataclass(frozen=True)
class Costs:
    bps: Decimal = Decimal("1.5")
    fixed: float = 0.0


@dataclass
class Config:
    lookback: int = 20
    halflife: int = 60
    symbols: list[str] = field(default_factory=lambda: ["SPY"])
    costs: Costs = Costs()
    note: Optional[str] = None


class Options(TypedDict):
    lookback: int
    costs: NotRequired[Costs]


class Pair(NamedTuple):
    a: int
    b: int = 2


class Model(BaseModel):
    lookback: int = Field(20, gt=0, alias="lookBack")
    halflife: int = 60
    costs: Costs = Costs()

    @field_validator("halflife", mode="before")
    @classmethod
    def days(cls, value: Any) -> Any:
        return int(value[:-1]) if isinstance(value, str) and value.endswith("d") else value


class Frozen(Model):
    model_config = ConfigDict(frozen=True)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int = 1


@dataclass
class Checked:
    low: int = 1
    high: int = 2

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


def read(
    annotation: Any, *typed: str, default: Any = None, base: Mapping[str, Any] | None = None
) -> Any:
    """What a task gets whose parameter ``x`` is annotated so."""

    def task(x: Any = default) -> None: ...

    task.__annotations__ = {"x": annotation}
    spec = FlowSpec("f", [TaskSpec("t", task)], params=base)
    return resolve(spec, given_params(typed, None, spec)).tasks["t"]["x"]


def refused(annotation: Any, *typed: str, default: Any = None) -> str:
    with pytest.raises(ParameterError) as caught:
        read(annotation, *typed, default=default)
    return str(caught.value)


# One field


@pytest.mark.parametrize(
    ("annotation", "default", "item", "expected"),
    [
        (Config, Config(), "x.lookback=3", Config(3)),
        (Config, Config(1, 2, ["A"]), "x.halflife=3", Config(1, 3, ["A"])),
        (Config, Config(), "x.costs.bps=0.10", Config(costs=Costs(Decimal("0.10")))),
        (Config, Config(), 'x.symbols=["A", "B"]', Config(symbols=["A", "B"])),
        (Config, Config(), "x.note=3", Config(note="3")),
        (Config | None, None, "x.lookback=3", Config(3)),
        (Optional[Config], Config(1), "x.halflife=3", Config(1, 3)),
        (Options, {"lookback": 1}, "x.lookback=3", {"lookback": 3}),
        (Options, {"lookback": 1}, "x.costs.fixed=2", {"lookback": 1, "costs": Costs(fixed=2.0)}),
        (dict[str, int], {"a": 1, "b": 2}, "x.b=3", {"a": 1, "b": 3}),
        (dict[str, int], {"a": 1}, "x.c=3", {"a": 1, "c": 3}),
        (dict[int, Config], {1: Config()}, "x.1.lookback=3", {1: Config(3)}),
        (dict, {"a": {"b": 1, "c": 2}}, "x.a.b=[1]", {"a": {"b": [1], "c": 2}}),
        (Any, {"a": "t"}, "x.a=u", {"a": "u"}),
        (Any, Config(), "x.lookback=3", Config(3)),
        (Pair, Pair(1), "x.b=3", Pair(1, 3)),
        (Model, Model(), "x.lookback=3", Model(lookBack=3)),
        (Model, Model(lookBack=5), "x.halflife=3", Model(lookBack=5, halflife=3)),
        (Model, Model(), "x.halflife=7d", Model(halflife=7)),
        (Model, Model(), "x.costs.fixed=2", Model(costs=Costs(fixed=2.0))),
        (Frozen, Frozen(lookBack=5), "x.halflife=3", Frozen(lookBack=5, halflife=3)),
        (Open, Open(), "x.b=[1]", Open(b=[1])),
        (Checked, Checked(), "x.high=9", Checked(high=9)),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
def test_one_field_is_changed_of_the_value_that_would_hold(
    annotation: Any, default: Any, item: str, expected: Any
) -> None:
    before = repr(default)
    found = read(annotation, item, default=default)
    assert found == expected
    assert type(found) is type(expected)
    assert repr(default) == before, "the default itself was changed"


@pytest.mark.parametrize("whole", ['x={"lookback": 5}', "x=@x.json", "x=@x.toml"])
@pytest.mark.parametrize("first", [True, False], ids=["whole first", "field first"])
@pytest.mark.parametrize("annotation", [Config, Options, dict[str, int], Any, Config | None])
def test_a_field_goes_before_the_whole_whatever_the_order(
    annotation: Any, whole: str, first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"x.json": '{"lookback": 5}', "x.toml": "lookback = 5\n"})
    monkeypatch.chdir(tmp_path)
    items = [whole, "x.lookback=3"] if first else ["x.lookback=3", whole]
    found = read(annotation, *items, default={"lookback": 1})
    assert (found["lookback"] if isinstance(found, dict) else found.lookback) == 3


def test_a_field_within_a_field_goes_before_it_whatever_the_order() -> None:
    costs = 'x.costs={"bps": 9, "fixed": 9}'
    for items in ([costs, "x.costs.fixed=1"], ["x.costs.fixed=1", costs]):
        assert read(Config, *items, default=Config()).costs == Costs(Decimal(9), 1.0)


def test_fields_that_only_together_make_the_value() -> None:
    @dataclass
    class Needs:
        a: int
        b: int

    assert read(Needs, "x.a=1", "x.b=2", default=None) == Needs(1, 2)
    assert read(Needs, 'x={"a": 1}', "x.b=2") == Needs(1, 2)
    assert "['b'] Field required" in refused(Needs, "x.a=1")
    assert read(Model, 'x={"lookBack": 0}', "x.lookback=2") == Model(lookBack=2)


def test_the_value_that_would_hold_is_the_runs_then_the_flows_then_the_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first(x: Config = Config()) -> None: ...

    def second(x: Config = Config(halflife=7)) -> None: ...

    def values(spec: FlowSpec, file: str | None = None) -> list[Config]:
        found = resolve(spec, given_params(["x.lookback=3"], file, spec))
        return [task["x"] for task in found.tasks.values()]

    tasks = [TaskSpec("a", first, params={"x": {"halflife": 5}}), TaskSpec("b", second)]
    assert values(FlowSpec("f", tasks)) == [Config(3, 5), Config(3, 7)]
    flow = FlowSpec("f", tasks, params={"x": {"halflife": 4}})
    assert values(flow) == [Config(3, 4), Config(3, 4)]
    write(tmp_path, {"p.toml": "[x]\nhalflife = 9\n"})
    monkeypatch.chdir(tmp_path)
    assert values(flow, "p.toml") == [Config(3, 9), Config(3, 9)]


def test_one_field_in_a_traced_flow() -> None:
    @mxm.task
    def use(config: Config) -> Any:
        return config

    @mxm.flow
    def annotated(config: Config = Config(halflife=5)) -> Any:
        return use(config)

    @mxm.flow
    def bare(config=Config(halflife=6)) -> Any:  # type: ignore[no-untyped-def]
        return use(config)

    for flow, halflife in ((annotated, 5), (bare, 6)):
        given = given_params(["config.lookback=3"], None, flow.spec)
        run = flow.with_options(backend="inline").run(**given)
        assert run.value() == Config(3, halflife)
        assert run.params["config"] == Config(3, halflife)


@pytest.mark.parametrize(
    ("annotation", "default", "item", "parts"),
    [
        (Config, Config(), "x.lookback=ten", ["'x.lookback' of task 't' takes int, not 'ten'"]),
        (Config, Config(), "x.lookbak=3", ["'x.lookbak' of", "is not a field", "mean 'lookback'?"]),
        (Config, Config(), "x.costs.bsp=3", ["'x.costs.bsp' of", "did you mean 'bps'?"]),
        (Config, Config(), "x.lookback.days=3", ["'x.lookback.days'", "int has no fields"]),
        (Config, Config(), "x.symbols=A,B", ["write -p x.symbols=A -p x.symbols=B, or "]),
        (Config | None, None, "x.lookbak=3", ["'x.lookbak' of", "did you mean 'lookback'?"]),
        (Options, {"lookback": 1}, "x.lokback=3", ["'x.lokback'", "did you mean 'lookback'?"]),
        (dict[int, int], {1: 2}, "x.one=3", ["'x.one' of task 't' takes int, not 'one'"]),
        (dict[str, int], {}, "x.a=one", ["'x.a' of task 't' takes int, not 'one'"]),
        (int, 3, "x.a=one", ["'x.a' of task 't' cannot be set: int has no fields"]),
        (list[int], [3], "x.0=1", ["'x.0' of task 't' cannot be set: list has no fields"]),
        (Model, Model(), "x.lookback=0", ["'x.lookback' of", "greater than 0"]),
        (Frozen, Frozen(), "x.lookback=0", ["'x.lookback' of", "greater than 0"]),
        (Model, Model(), "x.halflife=9w", ["'x.halflife' of", "valid integer"]),
        (Checked, Checked(), "x.low=9", ["'x.low' of", "not '9': low is above high"]),
        (Pair, Pair(1), "x.c=3", ["'x.c' of task 't' is not a field"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_field_that_cannot_be_set_is_named(
    annotation: Any, default: Any, item: str, parts: list[str]
) -> None:
    told = refused(annotation, item, default=default)
    for part in parts:
        assert part in told, told


def test_an_unknown_key_in_a_part_or_in_the_whole_is_refused(tmp_path: Path) -> None:
    class Outer(TypedDict):
        inner: Options

    write(tmp_path, {"o.json": '{"lookback": 1, "lokback": 2}'})
    file = tmp_path / "o.json"
    default = {"inner": {"lookback": 5}}
    assert "lokback" in refused(Outer, f"x.inner=@{file}", default=default)
    assert "lokback" in refused(list[Options], f"x=@{file}", f"x=@{file}", default=[])
    assert "lokback" in refused(Options, f"x=@{file}", "x.lookback=3")
    extra = {"inner": {"lookback": 5, "more": 6}}  # from Python it passes
    assert read(Outer, "x.inner.lookback=3", default=extra)["inner"] == {"lookback": 3, "more": 6}


def test_a_field_of_what_no_task_takes_is_a_warning_that_names_the_parameter() -> None:
    def task(config: Config = Config()) -> None: ...

    spec = FlowSpec("f", [TaskSpec("t", task)])
    found = resolve(spec, {"confg": Fields({("lookback",): Text("3")})})
    assert "parameter 'confg' is not used" in str(found.warnings[0])
    assert "did you mean 'config'?" in str(found.warnings[0])


def test_a_table_of_a_file_replaces_the_whole(tmp_path: Path) -> None:
    write(tmp_path, {"p.toml": "x.lookback = 3\n"})

    def task(x: Config = Config(halflife=5)) -> None: ...

    spec = FlowSpec("f", [TaskSpec("t", task)])
    given = given_params([], str(tmp_path / "p.toml"), spec)
    assert resolve(spec, given).tasks["t"]["x"] == Config(3)


# Members


@pytest.mark.parametrize(
    ("annotation", "typed", "expected"),
    [
        (list[str], ["A", "B", "A"], ["A", "B", "A"]),
        (list[str], ["1", "null"], ["1", "null"]),
        (list[int], ["1", "2"], [1, 2]),
        (list[list[int]], ["[1]", "[2, 3]"], [[1], [2, 3]]),
        (list[Decimal], ["0.10", "0.2"], [Decimal("0.10"), Decimal("0.2")]),
        (list[Costs], ['{"bps": 1}', '{"bps": 2}'], [Costs(Decimal(1)), Costs(Decimal(2))]),
        (list, ["1", "b"], [1, "b"]),
        (tuple[int, ...], ["1", "2"], (1, 2)),
        (tuple[int, str], ["1", "2"], (1, "2")),
        (set[str], ["A", "B", "A"], {"A", "B"}),
        (frozenset[int], ["1", "2"], frozenset({1, 2})),
        (deque[int], ["1", "2"], deque([1, 2])),
        (Sequence[str], ["A", "B"], ["A", "B"]),
        (Collection[str], ["A", "B"], ["A", "B"]),
        (Iterable[str], ["A", "B"], ["A", "B"]),
        (list[str] | None, ["A", "B"], ["A", "B"]),
        (str | list[str], ["A", "B"], ["A", "B"]),
        (list[int] | list[str], ["1", "B"], ["1", "B"]),
    ],
    ids=stable_id,
)
def test_what_is_given_several_times_is_the_members_in_order(
    annotation: Any, typed: list[str], expected: Any
) -> None:
    found = read(annotation, *(f"x={text}" for text in typed))
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "typed", "parts"),
    [
        (
            int,
            ["1", "1"],
            ["'x' of task 't' is given 2 times, but takes one value", "give it once"],
        ),
        (str, ["a", "b", "c"], ["'x' of task 't' is given 3 times"]),
        (Any, ["a", "b"], ["is given 2 times"]),
        (dict[str, int], ["{}", "{}"], ["is given 2 times"]),
        (Config, ["{}", "{}"], ["is given 2 times"]),
        (Pair, ["1", "2"], ["is given 2 times"]),
        (list[int], ["1", "two"], ["'x[1]' of task 't' takes int, not 'two'"]),
        (list[str], ['["A"]', "B"], ["'x[0]' of task 't' must be one member, not a list"]),
        (
            tuple[int, str],
            ["1", "2", "3"],
            ["'x' of task 't' takes tuple[int, str], not [1, '2', 3]"],
        ),
    ],
    ids=stable_id,
)
def test_what_is_given_several_times_and_is_no_list_is_refused(
    annotation: Any, typed: list[str], parts: list[str]
) -> None:
    told = refused(annotation, *(f"x={text}" for text in typed))
    for part in parts:
        assert part in told, told


def test_members_of_a_field() -> None:
    found = read(Config, "x.symbols=A", "x.symbols=B", default=Config(3))
    assert found == Config(3, symbols=["A", "B"])
    told = refused(Config, "x.lookback=1", "x.lookback=1", default=Config())
    assert "'x.lookback' of task 't' is given 2 times" in told
    told = refused(dict[str, list[int]], "x.a=1", "x.a=b", default={})
    assert "'x.a[1]' of task 't' takes int, not 'b'" in told


def test_members_replace_the_list_of_a_file(tmp_path: Path) -> None:
    write(tmp_path, {"p.json": '{"x": ["C", "D"]}'})

    def task(x: list[str]) -> None: ...

    spec = FlowSpec("f", [TaskSpec("t", task)])
    given = given_params(["x=A", "x=B"], str(tmp_path / "p.json"), spec)
    assert resolve(spec, given).tasks["t"]["x"] == ["A", "B"]


def test_members_in_a_traced_flow_that_leaves_the_type_to_its_tasks() -> None:
    @mxm.task
    def use(symbols: list[str]) -> list[str]:
        return symbols

    @mxm.flow
    def bare(symbols) -> list[str]:  # type: ignore[no-untyped-def]
        return use(symbols)

    given = given_params(["symbols=1", "symbols=B"], None, bare.spec)
    run = bare.with_options(backend="inline").run(**given)
    assert run.value() == ["1", "B"]
    assert run.params["symbols"] == ["1", "B"]


def test_parts_from_the_command_with_the_place_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        from dataclasses import dataclass
        import mxm

        @dataclass
        class Config:
            lookback: int = 20
            halflife: int = 60

        @mxm.task
        def use(config: Config, symbols: list[str]) -> str:
            return f"{config} {symbols}"

        @mxm.flow
        def risk(config: Config = Config(), symbols: list[str] = ["SPY"]) -> str:
            return use(config, symbols)
        """
    write(tmp_path, {"risk.py": text, "three": "3\n", "ten": "ten\n"})
    monkeypatch.chdir(tmp_path)
    line = "run risk --backend inline -q -p symbols=A -p config.lookback=@three -p symbols=B"
    ran = invoke(*shlex.split(line))
    expected = {"use": "Config(lookback=3, halflife=60) ['A', 'B']"}
    assert (ran.code, json.loads(ran.out), ran.err) == (0, expected, "")
    ran = invoke(*shlex.split(line.replace("@three", "@ten")))
    told = "parameter 'config.lookback' (from ten) of flow 'risk' takes int, not 'ten'"
    assert (ran.code, told in ran.err) == (2, True), ran.err


names = st.sampled_from(["a", "b", "c"])
tables = st.dictionaries(names, st.dictionaries(names, st.integers() | st.text()))


@given(
    base=tables, outer=names, inner=names, value=st.integers(), default=tables, whole=st.booleans()
)
def test_one_field_is_the_whole_with_that_field_in_it(
    base: dict[str, Any], outer: str, inner: str, value: int, default: dict[str, Any], whole: bool
) -> None:
    held = base if whole else default
    merged = {**held, outer: {**held.get(outer, {}), inner: value}}
    given_whole = [f"x={json.dumps(base)}"] if whole else []
    found = read(
        dict[str, dict[str, Any]], f"x.{outer}.{inner}={value}", *given_whole, default=default
    )
    assert found == merged
    assert found == read(dict[str, dict[str, Any]], f"x={json.dumps(merged)}")


@given(st.lists(st.text(), min_size=2))
def test_members_one_by_one_are_the_list(texts: list[str]) -> None:
    assume(not any(isinstance(_json(text), list) for text in texts))
    assert (
        read(list[str], *(f"x=@@{text[1:]}" if text[:1] == "@" else f"x={text}" for text in texts))
        == texts
    )


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
