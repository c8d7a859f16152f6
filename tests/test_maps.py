"""Maps: which items run, what they get, and what becomes of the step, beside a reference."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from pydantic import SecretStr

import mxm
from mxm.pipeline import Failure, FlowSpec, Skip, TaskSpec
from mxm.pipeline.api import compile_flow
from mxm.pipeline.bindings import Bindings, Const, Each, Upstream
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.runs import FlowRun, State
from mxm.pipeline.specdict import flow_from_dict, flow_to_dict
from mxm.pipeline.tracing.maps import MapError
from mxm.pipeline.tracing.marks import MisplacedEachError
from mxm.pipeline.values.items import item_keys, items_of

# The reference: a chain of maps over one list, place by place, as the rules are written down.


@dataclass
class Link:
    """One map of a chain: what it does at each place, and its options."""

    behaviours: list[str]
    on_item_error: str = "fail"
    outcomes: bool = False


@dataclass
class Made:
    state: str
    value: list[Any] | None = None
    called: list[int] = field(default_factory=list[int])
    failed_because: bool = False


def interpreted(count: int, links: list[Link]) -> list[Made]:
    """What becomes of each map of the chain."""
    places: list[Any] = list(range(count))  # an item, "gap" or "cut"
    made: list[Made] = []
    for number, link in enumerate(links):
        above = made[-1].state if made else "succeeded"
        now: list[Any] = []
        called: list[int] = []
        raised: list[str] = []
        for place, item in enumerate(places):
            if item in ("gap", "cut"):
                now.append(item)
                continue
            called.append(place)
            how = link.behaviours[place]
            raised.append(how)
            if how == "succeeded":
                now.append(f"{number}:{place}")
            elif link.outcomes:
                now.append(f"failure {number}:{place}")
            elif how == "skipped" or link.on_item_error == "skip":
                now.append("gap")
            else:
                now.append("cut")
        failed = "failed" in raised and not link.outcomes
        fails = failed and (link.on_item_error == "fail" or "succeeded" not in raised)
        if fails:
            state = "failed"
        elif "cut" in now or (places and not called):
            state = "skipped"
        elif called and set(raised) == {"skipped"} and not link.outcomes:
            state = "skipped"
        else:
            state = "succeeded"
        if places and not called and above == "succeeded":
            state = "skipped"
        values = [item for item in now if item not in ("gap", "cut")]
        made.append(Made(state, values if state == "succeeded" else None, called))
        places = now
    return made


SEEN: dict[str, list[int]] = {}
LOCK = threading.Lock()


def behaving(number: int, link: Link) -> Any:
    def fn(item: Any) -> str:
        place = int(str(item.item if isinstance(item, Failure) else item).rpartition(":")[2])
        with LOCK:
            SEEN.setdefault(f"m{number}", []).append(place)
        how = link.behaviours[place]
        if how == "failed":
            raise ZeroDivisionError(place)
        if how == "skipped":
            raise Skip(str(place))
        return f"{number}:{place}"

    return fn


@st.composite
def chains(draw: Any) -> tuple[int, list[Link]]:
    count = draw(st.integers(0, 6))
    links: list[Link] = []
    for _ in range(draw(st.integers(1, 4))):
        how = st.sampled_from(["succeeded"] * 4 + ["failed", "skipped"])
        links.append(
            Link(
                [draw(how) for _ in range(count)],
                draw(st.sampled_from(["fail", "skip"])),
                draw(st.integers(0, 4)) == 0,
            )
        )
    return count, links


def spec_of(count: int, links: list[Link]) -> FlowSpec:
    tasks = [TaskSpec("m", lambda: [str(i) for i in range(count)])]
    for number, link in enumerate(links):
        tasks.append(
            TaskSpec(
                f"m{number}",
                behaving(number, link),
                bindings=Bindings((Each(Upstream(tasks[-1].name)),)),
                on_item_error=link.on_item_error,  # type: ignore[arg-type]
                outcomes=link.outcomes,
            )
        )
    return FlowSpec("f", tasks)


def plain(value: Any, number: int) -> Any:
    if isinstance(value, Failure):
        return f"failure {number}:{value.item}"
    return value


@pytest.mark.parametrize("runner", ["sequential", "threads"])
@pytest.mark.parametrize(("backend", "examples"), [("inline", 250), ("prefect", 12)])
def test_chain_is_what_the_reference_makes(backend: str, examples: int, runner: str) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(chains())
    def check(made: tuple[int, list[Link]]) -> None:
        count, links = made
        note(repr(made))
        expected = interpreted(count, links)
        SEEN.clear()
        run = compile_flow(spec_of(count, links), backend=backend, runner=runner, workers=3).run()
        for number, one in enumerate(expected):
            task = run.tasks[f"m{number}"]
            note(f"m{number}: {task.state} {task.reason} {task.items}")
            assert task.state == one.state
            assert sorted(SEEN.get(f"m{number}", [])) == one.called
            if one.value is not None:
                assert [plain(value, number) for value in task.value] == one.value
            if task.items is not None:
                assert [key for key, i in task.items.items() if i.attempts] == [
                    str(place) for place in one.called
                ]
        fails = any(one.state == "failed" for one in expected)
        assert run.state == ("failed" if fails else "succeeded")

    check()


# The user's side.


@mxm.task
def load(symbol: str) -> float:
    return float(len(symbol))


@mxm.task
def gain(price: float, window: int = 1, *, base: float = 0.0) -> float:
    return price * window + base


@mxm.task
def total(values: list[float]) -> float:
    return sum(values)


def run_of(flow: Any, **params: Any) -> FlowRun:
    return flow.with_options(backend="inline").run(**params)


def states(run: FlowRun) -> dict[str, str]:
    return {task.name: task.outcome for task in run.tasks.values()}


def test_map_of_a_parameter_a_result_and_a_constant() -> None:
    @mxm.flow(name="maps-kinds")
    def flow(symbols: list[str]) -> dict[str, Any]:
        prices = load.map(symbols)
        return {
            "gains": gain.map(prices, window=2),
            "paired": gain.map(prices, base=mxm.each([0.5, 0.25])),
            "list": gain.map([load("A"), load("BB")], base=1.0),
            "constant": load.map(("A", "BB")),
            "total": total(prices),
        }

    assert find_problems(flow.spec, strict_types=True) == []
    expected = {
        "gains": [6.0, 2.0],
        "paired": [3.5, 1.25],
        "list": [2.0, 3.0],
        "constant": [1.0, 2.0],
        "total": 4.0,
    }
    assert flow(symbols=["SPY", "Q"]) == expected
    run = run_of(flow, symbols=["SPY", "Q"])
    assert run.value() == expected
    items = run.tasks["gain"].items
    assert items is not None
    assert list(items) == ["SPY", "Q"], "a chain is named at its head"
    assert (items["SPY"].value, items["SPY"].state, items["SPY"].attempts) == (
        *(6.0, State.SUCCEEDED),
        1,
    )
    assert repr(items) == "<2 items of load: 2 succeeded>"


def test_declared_maps() -> None:
    @mxm.task
    def symbols() -> list[str]:
        return ["SPY", "QQQ"]

    @mxm.task
    def prices() -> list[float]:
        return [1.0, 2.0]

    @mxm.task(each=symbols)
    def first(symbol: str) -> str:
        return symbol.lower()

    @mxm.task(each=symbols, upstream=prices)
    def behind(symbol: str, all_prices: list[float]) -> str:
        return f"{symbol} {len(all_prices)}"

    @mxm.task(each={"price": prices, "symbol": "symbols"})
    def pairs(symbol: str, price: float) -> str:
        return f"{symbol} {price}"

    @mxm.flow(name="maps-declared", tasks=[first, behind, pairs, symbols])
    def flow(): ...

    assert find_problems(flow.spec, strict_types=True) == []
    assert run_of(flow).value() == {
        "first": ["spy", "qqq"],
        "behind": ["SPY 2", "QQQ 2"],
        "pairs": ["SPY 1.0", "QQQ 2.0"],
    }

    @mxm.flow(name="maps-declared-traced")
    def traced() -> list[Any]:
        return [behind("TLT"), behind(all_prices=[]), pairs(price=3.0)]

    assert run_of(traced).value() == [
        "TLT 2",
        ["SPY 0", "QQQ 0"],
        ["SPY 3.0", "QQQ 3.0"],
    ], "a given argument wins, one left out is mapped"


def test_failed_item_fails_the_task_with_its_own_exception() -> None:
    @mxm.task
    def strict(x: int) -> int:
        if x % 2:
            raise KeyError(x)
        return x

    @mxm.flow(name="maps-failing")
    def flow() -> list[int]:
        return strict.map(range(5))

    run = run_of(flow)
    assert states(run) == {"strict": "failed"}
    with pytest.raises(KeyError) as caught:
        run.value()
    assert caught.value.args == (1,)
    notes = "\n".join(caught.value.__notes__)
    assert "item '1' of task 'strict' failed, and so did 3 (2 of 5 items)" in notes
    items = run.tasks["strict"].items
    assert items is not None
    assert {key: item.state.value for key, item in items.items()} == {
        **{key: "succeeded" for key in "024"},
        **{key: "failed" for key in "13"},
    }


def test_items_left_out_are_one_warning_and_the_chain_keeps_its_places() -> None:
    @mxm.task(on_item_error="skip")
    def careful(symbol: str) -> float:
        if symbol == "C":
            raise ConnectionError("no route")
        if symbol == "D":
            raise Skip("not listed")
        return float(ord(symbol))

    @mxm.task
    def row(price: float, symbol: str) -> str:
        return f"{symbol} {price:g}"

    @mxm.flow(name="maps-gaps")
    def flow(symbols: list[str] = ["A", "B", "C", "D", "E"]) -> list[Any]:
        prices = careful.map(symbols)
        return [row.map(prices, symbol=mxm.each(symbols)), prices]

    run = run_of(flow)
    assert run.value() == [["A 65", "B 66", "E 69"], [65.0, 66.0, 69.0]]
    (warning,) = run.warnings
    assert (warning.code, warning.task) == ("MXM506", "careful")
    assert "1 of 5 items of task 'careful' failed" in warning.message
    items = run.tasks["row"].items
    assert items is not None
    assert (items["C"].state, items["C"].reason) == (
        State.SKIPPED,
        "the item of 'careful' was left out",
    )


@mxm.task
def listed(symbol: str) -> float:
    if symbol in "CD":
        raise Skip("not listed")
    return float(ord(symbol))


@mxm.task
def same(price: float) -> float:
    return price


@mxm.task
def odd(price: float) -> float:
    if price == 65:
        raise Skip("odd")
    return price


@mxm.task
def pair(names: list[Any], values: list[Any], more: Any = None) -> int:
    return len(names) + len(values)


@mxm.task
def letters() -> list[str]:
    return list("ABCDE")


GAPS: dict[str, tuple[Any, bool]] = {
    "a parameter": (lambda symbols: pair(symbols, listed.map(symbols)), True),
    "the other way round": (lambda symbols: pair(listed.map(symbols), symbols), True),
    "in a dict": (lambda symbols: pair([], [], {"a": listed.map(symbols), "b": symbols}), True),
    "a chain": (lambda symbols: pair(symbols, same.map(listed.map(symbols))), True),
    "two with other gaps": (
        lambda symbols: pair(same.map(listed.map(symbols)), odd.map(listed.map(symbols))),
        True,
    ),
    "two with the same gaps": (
        lambda symbols: pair(listed.map(symbols), listed.named("l").map(symbols)),
        False,
    ),
    "a map and its follower": (lambda symbols: _with_follower(listed.map(symbols)), False),
    "no gaps": (lambda symbols: pair(symbols, load.map(symbols)), False),
    "alone": (lambda symbols: pair([], listed.map(symbols)), False),
    "another list": (lambda symbols: pair(letters(), listed.map(symbols)), False),
}


def _with_follower(prices: Any) -> Any:
    return pair(prices, same.map(prices))


@pytest.mark.parametrize(("body", "warns"), GAPS.values(), ids=list(GAPS))
def test_map_with_gaps_beside_a_list_that_has_none_is_a_warning(body: Any, warns: bool) -> None:
    @mxm.flow(name="maps-unpaired")
    def flow(symbols: list[str] = list("ABCDE")) -> Any:
        return body(symbols)

    run = run_of(flow)
    assert run.error is None
    assert [w.code for w in run.warnings] == ["MXM507"] * warns


def test_no_item_that_succeeds_is_no_empty_report() -> None:
    @mxm.task(on_item_error="skip")
    def down(symbol: str) -> float:
        raise ConnectionError("no route")

    @mxm.task
    def shut(symbol: str) -> float:
        raise Skip("closed")

    @mxm.flow(name="maps-outage")
    def flow() -> list[Any]:
        return [total(down.map(["A", "B"])), total(shut.map(["A"])), load.map([]), down.map([])]

    run = run_of(flow)
    assert states(run) == {
        "down": "failed",
        "total": "skipped",
        "shut": "skipped",
        "total_2": "skipped",
        "load": "succeeded",
        "down_2": "succeeded",
    }
    assert run.tasks["load"].value == []


def test_outcomes_keep_failures_in_their_places() -> None:
    @mxm.task
    def careful(x: int) -> int:
        if x == 1:
            raise KeyError(x)
        if x == 2:
            raise Skip("closed")
        return x

    @mxm.task
    def shown(x: int | Failure) -> str:
        return "failed" if isinstance(x, Failure) else str(x)

    @mxm.flow(name="maps-outcomes")
    def flow() -> list[Any]:
        made = careful.outcomes([0, 1, 2, 3])
        return [shown.map(made), made]

    assert find_problems(flow.spec, strict_types=True) == []
    texts = ["0", "failed", "failed", "3"]
    run = run_of(flow)
    assert run.state is State.SUCCEEDED
    value: Any = run.value()
    called: Any = flow()
    for each in (value, called):
        assert each[0] == texts
        assert isinstance(each[1][1].error, KeyError)
        assert isinstance(each[1][2].error, Skip)
        assert [each[1][i].item for i in (1, 2)] == ["1", "2"]
    written: Any = run.value_json()[0]
    assert written[1][1]["type"] == "Failure"


def test_retries_and_history_are_an_items() -> None:
    calls: dict[int, int] = {}

    @mxm.task(retries=2)
    def flaky(x: int) -> int:
        calls[x] = calls.get(x, 0) + 1
        if x and calls[x] <= x:
            raise ConnectionError(x)
        return x

    @mxm.flow(name="maps-retries")
    def flow() -> list[int]:
        return flaky.map(range(4))

    items = run_of(flow).tasks["flaky"].items
    assert items is not None
    assert [(i.attempts, i.state.value, len(i.history)) for i in items.values()] == [
        (1, "succeeded", 1),
        (2, "succeeded", 2),
        (3, "succeeded", 3),
        (3, "failed", 3),
    ]


def test_map_without_its_items_is_skipped_under_every_rule() -> None:
    @mxm.task
    def symbols() -> list[str]:
        raise Skip("closed")

    @mxm.task(run_if="always")
    def each_of(symbol: str, other: float | Failure | None) -> str:
        return symbol

    @mxm.flow(name="maps-none")
    def flow() -> list[str]:
        return each_of.map(symbols(), other=load("A"))

    run = run_of(flow)
    assert states(run) == {"symbols": "skipped", "load": "succeeded", "each_of": "skipped"}


def test_rule_of_a_map_judges_what_it_takes_beside_its_lists() -> None:
    @mxm.task(allow_failure=True)
    def vendor() -> float:
        raise ConnectionError("no route")

    @mxm.task(run_if="always")
    def each_of(symbol: str, base: float | Failure | None) -> str:
        return f"{symbol} {type(base).__name__}"

    @mxm.flow(name="maps-rule")
    def flow(symbols: list[str] = ["A", "B"]) -> list[str]:
        return each_of.map(symbols, base=vendor())

    assert run_of(flow).value() == ["A Failure", "B Failure"]


def test_one_failed_item_cuts_only_its_own_chain() -> None:
    seen: list[int] = []

    @mxm.task
    def strict(x: int) -> int:
        if x == 1:
            raise KeyError(x)
        return x

    @mxm.task
    def behind(x: int) -> int:
        seen.append(x)
        return x

    @mxm.flow(name="maps-cut")
    def flow() -> int:
        return total(behind.map(strict.map([0, 1, 2])))  # type: ignore[arg-type,return-value]

    for runner in ("sequential", "threads"):
        seen.clear()
        run = flow.with_options(backend="inline", runner=runner, workers=2).run()
        assert states(run) == {"strict": "failed", "behind": "skipped", "total": "skipped"}
        assert run.tasks["behind"].reason == "1 of 3 items failed in 'strict'"
        assert sorted(seen) == [0, 2], "which items run is the same on every runner"


def test_chain_has_no_barrier_beside_sequential() -> None:
    """The second item of the head waits for the first of its follower, or the run would hang."""
    began = threading.Event()

    @mxm.task
    def head(x: int) -> int:
        if x:
            assert began.wait(30)
        return x

    @mxm.task
    def follower(x: int) -> int:
        began.set()
        return x

    @mxm.flow(name="maps-chain")
    def flow() -> list[int]:
        return follower.map(head.map([0, 1]))

    assert flow.with_options(backend="inline", runner="threads", workers=2).run().value() == [0, 1]


@pytest.mark.parametrize("runner", ["threads", "processes"])
@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_open_map_holds_no_worker(backend: str, runner: str) -> None:
    spec = spec_of(5, [Link(["succeeded"] * 5) for _ in range(3)])
    if runner == "processes":
        spec = FlowSpec(
            "f",
            [
                TaskSpec("m", list_of, params={"count": 5}),
                TaskSpec("m0", str, bindings=Bindings((Each(Upstream("m")),))),
                TaskSpec("m1", int, bindings=Bindings((Each(Upstream("m0")),))),
            ],
        )
    run = compile_flow(spec, backend=backend, runner=runner, workers=1).run()
    assert run.error is None, run.error
    assert len(run.tasks["m1"].value) == 5


def list_of(count: int) -> list[int]:
    return list(range(count))


def test_lists_are_paired_strictly() -> None:
    @mxm.flow(name="maps-lengths")
    def flow(symbols: list[float] = [1.0, 2.0]) -> list[float]:
        return gain.map(symbols, base=mxm.each([1.0]))

    with pytest.raises(ValueError, match="'price' has 2, 'base' has 1"):
        flow()
    run = run_of(flow)
    assert states(run) == {"gain": "failed"}
    with pytest.raises(ValueError, match="'price' has 2, 'base' has 1"):
        run.value()


class Cursor:
    """Iterable without being an iterator, and empty when it is read again."""

    def __init__(self, rows: list[int]) -> None:
        self.rows = iter(rows)

    def __iter__(self) -> Iterator[int]:
        return self.rows


NO_ITEMS: dict[str, tuple[Any, str]] = {
    "a cursor": (Cursor([1, 2]), "a Cursor cannot be mapped, because it can be read only once"),
    "a view of bytes": (memoryview(b"SPY"), r"\[x\]"),
    "an ordered mapping": (OrderedDict(a=1), "an OrderedDict cannot be mapped"),
    "a string": ("SPY", r"\[x\]"),
    "bytes": (b"SPY", r"\[x\]"),
    "a mapping": ({"a": 1}, r"list\(d.values\(\)\)"),
    "an iterator": (iter([1]), "only once"),
    "zip": (zip([1], [2], strict=True), "only once"),
    "a number": (3, "give a list"),
    "None": (None, "give a list"),
    "a set that cannot be sorted": ({1, "a"}, "have no order"),
}


@pytest.mark.parametrize(("value", "said"), NO_ITEMS.values(), ids=list(NO_ITEMS))
def test_what_has_no_items_is_refused_in_a_call_as_in_a_run(value: Any, said: str) -> None:
    @mxm.task
    def any_of(x: Any) -> Any:
        return x

    @mxm.task
    def give() -> Any:
        return value

    @mxm.flow(name="maps-refused")
    def flow() -> Any:
        return any_of.map(give())

    with pytest.raises(TypeError, match=said):
        any_of.map(value)
    run = run_of(flow)
    assert states(run) == {"give": "succeeded", "any_of": "failed"}
    with pytest.raises(TypeError, match=said):
        run.value()


def test_tables_are_refused_and_arrays_and_series_are_taken() -> None:
    import numpy as np
    import pandas as pd

    with pytest.raises(TypeError, match="rows, its columns"):
        items_of(pd.DataFrame({"a": [1]}))
    assert items_of(np.array([1.5, 2.5])) == [1.5, 2.5]
    assert items_of(pd.Series([1, 2])) == [1, 2]
    assert items_of({"b": 1, "a": 2}.keys()) == ["b", "a"]
    assert items_of({3, 1, 2}) == [1, 2, 3]


def test_set_with_a_partial_order_is_refused() -> None:
    """Sorting raises nothing there, and the order would differ from run to run."""
    nan = float("nan")
    partial: list[Any] = [
        {frozenset({1}), frozenset({2}), frozenset({1, 2})},
        {1.0, nan, 0.5},
        frozenset({frozenset({"a"}), frozenset({"b"})}),
    ]
    for members in partial:
        with pytest.raises(TypeError, match="have no order: give a list"):
            items_of(members)
    chain = [frozenset[int](), frozenset({1}), frozenset({1, 2})]
    assert items_of(set(chain)) == chain


def test_what_the_code_of_a_list_raises_is_raised_as_it_is() -> None:
    class Odd:
        def __iter__(self) -> Any:
            yield 1
            raise TypeError("of the user's")

    with pytest.raises(TypeError, match="of the user's"):
        items_of(Odd())
    with pytest.raises(TypeError, match="an int cannot be mapped: give a list of items"):
        items_of(3)


def test_keys_name_items() -> None:
    import enum
    from datetime import date
    from decimal import Decimal

    import numpy as np
    import pandas as pd
    from pydantic import SecretStr

    class Side(enum.Enum):
        BUY = 1

    items = ["SPY", 3, 0.5, Decimal("1.50"), date(2024, 1, 2), Side.BUY, ("SPY", 3), np.int64(4)]
    assert item_keys(items) == ["SPY", "3", "0.5", "1.50", "2024-01-02", "BUY", "SPY,3", "4"]
    assert item_keys([None, SecretStr("x"), [1], (None, 1), "", pd.NaT]) == list("012345")
    assert item_keys([pd.Timestamp("2024-01-02")]) == ["2024-01-02T00:00:00"]
    assert item_keys(["A", "A", "A#2", "A"]) == ["A", "A#3", "A#2", "A#4"]
    keys = item_keys(["x" * 100, "x" * 100])
    assert [len(key) for key in keys] == [80, 80]
    assert keys[1].endswith("#2")


def test_keys_can_be_chosen() -> None:
    @mxm.task(item_key=lambda row: row["symbol"])
    def price(row: dict[str, Any]) -> float:
        return 1.0

    @mxm.task(item_key=lambda x: x["nothing"])
    def wrong(row: dict[str, Any]) -> float:
        return 1.0

    rows: list[dict[str, Any]] = [{"symbol": "SPY"}, {"symbol": "QQQ"}]

    @mxm.flow(name="maps-keys")
    def flow() -> list[Any]:
        return [price.map(rows), wrong.map(rows)]

    run = run_of(flow)
    assert list(run.tasks["price"].items or ()) == ["SPY", "QQQ"]
    assert run.tasks["wrong"].state is State.FAILED
    assert isinstance(run.tasks["wrong"].error, KeyError)


# What is wrong with a declaration.


def problems(make: Any) -> list[str]:
    return [f"{p.code} {p.message}" for p in find_problems(make.spec)]


def test_maps_that_cannot_be_made_are_problems_and_errors_of_a_call() -> None:
    @mxm.task
    def nothing() -> int:
        return 1

    @mxm.task
    def named(*, x: int) -> int:
        return x

    @mxm.flow(name="maps-wrong")
    def flow() -> list[Any]:
        gain.map([1.0], [2.0])
        nothing.map([1])
        named.map([1])
        gain.map(price=[1.0])  # type: ignore[call-overload]
        gain.map([1.0], window=3, bese=mxm.each([1.0]))  # type: ignore[call-arg]
        return [load.map(["A"])]

    found = problems(flow)
    assert [text[:6] for text in found] == [
        *("MXM109", "MXM109", "MXM109", "MXM109", "MXM104"),
    ]
    assert "mapped over one positional list, not 2" in found[0]
    assert "no parameter takes an item" in found[1]
    assert "mapped over no list" in found[3]
    for nothing_given in (gain.map, gain.outcomes):
        with pytest.raises(MapError, match="items go first, without a name"):
            nothing_given()  # type: ignore[call-overload]
    with pytest.raises(MapError, match="one positional list"):
        gain.map([1.0], [2.0])
    with pytest.raises(MapError, match="no parameter"):
        nothing.map([1])  # type: ignore[call-overload]
    with pytest.raises(MapError, match="no parameter"):
        named.map([1])  # type: ignore[call-overload]


def test_each_elsewhere_is_an_error() -> None:
    @mxm.flow(name="maps-each")
    def flow() -> list[Any]:
        return [load(mxm.each(["A"]))]

    @mxm.flow(name="maps-each-inner")
    def inner(symbol: str) -> float:
        return load(symbol)

    bodies: list[Any] = [
        lambda: gain.map([1.0], window=[mxm.each([1])]),
        lambda: gain.map([1.0], window=mxm.each([mxm.each([1])])),
        lambda: gain.map(mxm.each([1.0])),
        lambda: gain.map([mxm.each([1.0])]),
        lambda: total([mxm.each([1.0])]),
        lambda: inner(mxm.each(["A"])),
        lambda: inner.map([mxm.each(["A"])]),
        lambda: [load("A"), mxm.each([1.0])],
        lambda: mxm.each([load("A")]),
    ]

    def flow_of(body: Any) -> Any:
        @mxm.flow(name="maps-each-body")
        def misplaced() -> Any:
            return body()

        return misplaced

    for body in bodies:
        assert [text[:6] for text in problems(flow_of(body))] == ["MXM307"]
    assert [text[:6] for text in problems(flow)] == ["MXM307"]
    for use in (
        lambda: load(mxm.each(["A"])),
        lambda: len(mxm.each(["A"])),
        lambda: list(mxm.each(["A"])),
        lambda: mxm.each([1]) + 1,
    ):
        with pytest.raises(MisplacedEachError, match="not an argument of a map"):
            use()


def test_types_of_items_are_checked() -> None:
    @mxm.task
    def symbols() -> list[str]:
        return ["A"]

    @mxm.task
    def text() -> str:
        return "A"

    @mxm.task
    def mapping() -> dict[str, float]:
        return {}

    @mxm.flow(name="maps-types")
    def flow(name: str = "A") -> list[Any]:
        return [
            gain.map(symbols()),  # type: ignore[arg-type]
            load.map(text()),
            load.map(mapping()),
            load.map(name),
            load.map("SPY"),
            load.map({"a": 1}),
            total(load.map(symbols())),
            gain.map(load.map(symbols())),
        ]

    found = problems(flow)
    assert [text[:6] for text in found] == ["MXM201", *5 * ["MXM205"]]


def test_rule_without_anything_beside_the_items_points_to_outcomes() -> None:
    @mxm.task(run_if="always")
    def behind(x: float) -> float:
        return x

    @mxm.flow(name="maps-rules-wrong")
    def flow() -> list[float]:
        return behind.map(load.map(["A"]))

    (problem,) = find_problems(flow.spec)
    assert problem.code == "MXM108"
    assert ".outcomes" in str(problem.hint)


def test_iterator_as_items_in_a_body_is_a_problem() -> None:
    @mxm.flow(name="maps-iterator")
    def flow() -> list[float]:
        return load.map(s for s in ["A"])

    assert [text[:6] for text in problems(flow)] == ["MXM306"]


# Everything else that meets maps.


def test_async_maps() -> None:
    @mxm.task
    async def fetch(url: str) -> str:
        await asyncio.sleep(0)
        if url == "bad":
            raise KeyError(url)
        return url.upper()

    @mxm.flow(name="maps-async")
    async def flow(urls: list[str]) -> list[Any]:
        return [await fetch.map(urls), await fetch.outcomes(urls)]

    assert asyncio.run(flow(["a", "b"])) == [["A", "B"], ["A", "B"]]
    assert run_of(flow, urls=["a", "b"]).value() == [["A", "B"], ["A", "B"]]
    outcomes = asyncio.run(fetch.outcomes(["a", "bad"]))  # type: ignore[var-annotated,arg-type]
    assert outcomes[0] == "A"
    assert isinstance(outcomes[1], Failure)


def test_map_inside_an_inlined_flow_used_twice_and_two_maps_over_one_list() -> None:
    @mxm.flow(name="maps-inner")
    def inner(symbols: list[str], window: int = 2) -> list[float]:
        return gain.map(load.map(symbols), window=window)

    @mxm.flow(name="maps-outer")
    def outer(symbols: list[str] = ["A", "BB"]) -> list[Any]:
        prices = load.map(symbols)
        return [inner(symbols), inner(symbols, 3), gain.map(prices), gain.map(prices, base=1.0)]

    expected = [[2.0, 4.0], [3.0, 6.0], [1.0, 2.0], [2.0, 3.0]]
    assert find_problems(outer.spec) == []
    assert outer() == run_of(outer).value() == expected


def test_overrides_of_maps() -> None:
    @mxm.flow(name="maps-overridden")
    def flow() -> list[Any]:
        return [gain.map(load.map(["A", "BB"]))]

    def with_overrides(given: Any) -> FlowRun:
        return flow.with_options(backend="inline", overrides=given).run()

    assert with_overrides({load: lambda symbol: 10.0 * len(symbol)}).value() == [[10.0, 20.0]]
    assert with_overrides({load: [5.0]}).value() == [[5.0]]


def test_dict_form_and_json() -> None:
    again = flow_from_dict(flow_to_dict(napping.spec))
    assert again.tasks[0].mapped
    assert again.tasks[0].outcomes
    assert again == napping.spec
    (task,) = run_of(napping).to_dict()["tasks"]  # type: ignore[misc]
    assert task["items"] == {  # type: ignore[index,call-overload]
        "over": "a constant",
        "count": {"succeeded": 1, "failed": 1},
        "rows": [
            {
                "key": "A",
                "state": "succeeded",
                "attempts": 1,
                "value": "a",
                "seconds": ANY,
                "error": None,
                "reason": None,
            },
            {
                "key": "B",
                "state": "failed",
                "attempts": 1,
                "value": None,
                "seconds": ANY,
                "error": "KeyError: 'B'",
                "reason": "KeyError: 'B'",
            },
        ],
    }


class _Any:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


ANY = _Any()


@mxm.task
def nap(symbol: str) -> str:
    if symbol == "B":
        raise KeyError(symbol)
    return symbol.lower()


@mxm.flow(name="maps-json")
def napping() -> list[Any]:
    return [nap.outcomes(["A", "B"])]


def test_json_of_many_items_has_those_that_did_not_succeed_at_once() -> None:
    @mxm.task(retries=1)
    def odd(x: int) -> int:
        if x % 500 == 0:
            raise KeyError(x)
        return x

    @mxm.flow(name="maps-many")
    def flow() -> list[Any]:
        return odd.outcomes(range(2000))

    document: Any = run_of(flow).to_dict()
    items = document["tasks"][0]["items"]
    assert items["count"] == {"failed": 4, "succeeded": 1996}
    assert [row["key"] for row in items["rows"]] == ["0", "500", "1000", "1500"]


def test_failing_fast_stops_the_hand_out() -> None:
    seen: list[int] = []

    @mxm.task
    def strict(x: int) -> int:
        seen.append(x)
        if x == 2:
            raise KeyError(x)
        return x

    @mxm.flow(name="maps-fast")
    def flow() -> Any:
        return [strict.map(range(1000)), load("A")]

    run = flow.with_options(backend="inline", fail_fast=True).run()
    assert seen == [0, 1, 2]
    assert states(run) == {"strict": "failed", "load": "skipped"}
    counted = run.tasks["strict"].items
    assert counted is not None
    assert counted.count() == {"succeeded": 2, "failed": 1, "skipped": 997}


@pytest.mark.parametrize("runner", ["sequential", "threads"])
def test_item_that_raises_system_exit_fails_alone(runner: str) -> None:
    @mxm.task(retries=3)
    def leave(x: int) -> int:
        if x == 1:
            raise SystemExit(3)
        return x

    @mxm.flow(name="maps-exit")
    def flow() -> Any:
        return leave.outcomes([0, 1, 2])

    value: Any = flow.with_options(backend="inline", runner=runner).run().value()
    assert [value[0], value[2]] == [0, 2]
    assert (type(value[1].error), value[1].attempts) == (SystemExit, 1)


@pytest.mark.parametrize("backend", ["inline", "prefect"])
@pytest.mark.parametrize("runner", ["sequential", "threads"])
def test_item_that_raises_keyboard_interrupt_cancels_the_run(backend: str, runner: str) -> None:
    @mxm.task
    def interrupt(x: int) -> int:
        if x == 1:
            raise KeyboardInterrupt
        return x

    @mxm.flow(name="maps-interrupt")
    def flow() -> Any:
        return interrupt.map([0, 1, 2])

    with pytest.raises(KeyboardInterrupt) as caught:
        flow.with_options(backend=backend, runner=runner, workers=1).run()
    run: FlowRun = vars(caught.value)["mxm_run"]
    assert run.state is State.CANCELLED
    assert states(run) == {"interrupt": "cancelled"}
    items = run.tasks["interrupt"].items
    assert items is not None
    assert items["0"].state is State.SUCCEEDED
    assert items["2"].state is State.CANCELLED


def test_500_items_of_which_every_tenth_fails_twice_on_threads() -> None:
    calls: dict[int, int] = {}

    @mxm.task(retries=2)
    def flaky(x: int) -> int:
        with LOCK:
            calls[x] = calls.get(x, 0) + 1
        if x % 10 == 0 and calls[x] < 3:
            raise ConnectionError(x)
        return x

    @mxm.flow(name="maps-flaky")
    def flow() -> list[int]:
        return flaky.map(range(500))

    run = flow.with_options(backend="inline", runner="threads", workers=8).run()
    assert run.value() == list(range(500))
    assert sum(calls.values()) == 600


def test_strange_items() -> None:
    class Odd:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no comparison")

    items: list[Any] = [Odd(), "x" * 1_000_000, [1], {"a": 1}, None, ("a",), 1, 1, True]

    @mxm.task
    def same(x: Any) -> Any:
        return x

    @mxm.task
    def give() -> list[Any]:
        return items

    @mxm.flow(name="maps-strange")
    def flow() -> list[Any]:
        return same.map(give())

    value = run_of(flow).value()
    assert all(a is b for a, b in zip(value, items, strict=True))


@pytest.mark.parametrize("runner", ["sequential", "threads", "processes"])
def test_items_that_are_frames_and_secrets(runner: str) -> None:
    def over(items: list[Any]) -> FlowSpec:
        bindings = Bindings((Each(Const(items)),))
        return FlowSpec("maps-kinds", [TaskSpec("f", size_of, bindings=bindings)])

    frames = [pd.DataFrame({"a": range(n)}) for n in (1, 2, 3)]
    secrets = [SecretStr("hunter"), SecretStr("snark")]
    for items, sizes in ((frames, [1, 2, 3]), (secrets, [6, 5])):
        run = compile_flow(over(items), backend="inline", runner=runner, workers=2).run()
        assert run.value() == sizes
        assert list(run.tasks["f"].items or ()) == [str(i) for i in range(len(sizes))]
        assert "snark" not in str(run.to_dict())


def size_of(x: Any) -> int:
    return len(x.get_secret_value() if isinstance(x, SecretStr) else x)


def test_100_000_items() -> None:
    @mxm.task
    def same(x: int) -> int:
        return x

    @mxm.task
    def numbers(count: int) -> list[int]:
        return list(range(count))

    @mxm.flow(name="maps-large")
    def flow(count: int = 100_000) -> list[int]:
        return same.map(numbers(count))

    assert run_of(flow).value() == list(range(100_000))


@pytest.mark.parametrize("runner", ["sequential", "threads"])
def test_reason_counts_the_items_that_failed_not_those_that_were_stopped(runner: str) -> None:
    begun = threading.Event()

    @mxm.task
    def load(x: int) -> int:
        if x == 1:
            begun.wait(10)
            raise ZeroDivisionError(x)
        return x

    @mxm.task
    def gain(x: int) -> int:
        begun.set()
        return x

    @mxm.flow(name="stopped-items")
    def flow() -> list[int]:
        return gain.map(load.map([0, 1, *range(2, 9)]))

    if runner == "sequential":
        begun.set()
    run = flow.with_options(backend="inline", runner=runner, workers=1, fail_fast=True).run()
    assert run.tasks["load"].items is not None
    assert run.tasks["load"].items.count()["failed"] == 1
    expected = {
        "sequential": "upstream 'load' failed",
        "threads": "1 of 9 items failed in 'load'",
    }
    assert run.tasks["gain"].reason == expected[runner]
