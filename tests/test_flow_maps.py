"""Mapped flows: each item goes its way as if it ran the flow by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

import mxm
from mxm.pipeline import Failure, Skip
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.runs import FlowRun, State
from mxm.pipeline.specdict import flow_from_dict, flow_to_dict
from mxm.pipeline.task_options import RUN_RULES
from mxm.pipeline.testing import collecting


@st.composite
def flows(draw: Any) -> tuple[list[dict[str, Any]], int]:
    """The tasks of a flow: what each takes and waits for, its options, what it does to each item."""
    count = draw(st.integers(0, 4))
    tasks: list[dict[str, Any]] = []
    for i in range(draw(st.integers(1, 5))):
        before = [task["name"] for task in tasks]
        upstream = draw(st.lists(st.sampled_from(before), unique=True, max_size=2)) if i else []
        left = [name for name in before if name not in upstream]
        after = draw(st.lists(st.sampled_from(left), unique=True, max_size=1)) if left else []
        rules = RUN_RULES if upstream or after else ("succeeded", "always")
        how = st.sampled_from(["succeeded", "succeeded", "failed", "skipped"])
        tasks.append(
            {
                "name": f"t{i}",
                "upstream": upstream,
                "after": after,
                "run_if": draw(st.sampled_from(rules)),
                "allow_failure": draw(st.booleans()),
                "takes_item": draw(st.integers(0, 3)) > 0,
                "how": [draw(how) for _ in range(count)],
            }
        )
    return tasks, count


def shown(value: Any) -> str:
    if isinstance(value, Failure):
        return f"failure of {value.task.rpartition('.')[2]}"
    return str(value)


def made(tasks: list[dict[str, Any]]) -> Any:
    """The decorated flow; what its tasks do to the item that they do not get is the first's."""
    decorated: dict[str, Any] = {}

    def task_of(one: dict[str, Any]) -> Any:
        def fn(item: Any, *inputs: Any) -> str:
            how = one["how"][item or 0]
            if how == "failed":
                raise ZeroDivisionError(f"{one['name']} {item}")
            if how == "skipped":
                raise Skip(one["name"])
            return f"{one['name']}({item}, {', '.join(map(shown, inputs))})"

        fn.__name__ = fn.__qualname__ = one["name"]
        return mxm.task(
            after=[decorated[name] for name in one["after"]],
            run_if=one["run_if"],
            allow_failure=one["allow_failure"],
        )(fn)

    for one in tasks:
        decorated[one["name"]] = task_of(one)

    @mxm.flow(name="inner")
    def inner(item: int) -> Any:
        results: dict[str, Any] = {}
        for one in tasks:
            upstream = [results[name] for name in one["upstream"]]
            results[one["name"]] = decorated[one["name"]](
                item if one["takes_item"] else None, *upstream
            )
        return results[tasks[-1]["name"]]

    return inner


@pytest.mark.parametrize("runner", ["sequential", "threads"])
@pytest.mark.parametrize(("backend", "examples"), [("inline", 250), ("prefect", 10)])
def test_each_item_runs_the_flow_by_itself(backend: str, examples: int, runner: str) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(flows())
    def check(drawn: tuple[list[dict[str, Any]], int]) -> None:
        tasks, count = drawn
        note(repr(tasks))
        with collecting():
            inner = made(tasks)

            @mxm.flow(name="outer")
            def outer(items: list[int]) -> Any:
                return inner.map(items)

            assert [p.code for p in find_problems(outer.spec)] == []
            options: Any = {"backend": backend, "runner": runner, "workers": 3}
            run = outer.with_options(**options).run(items=list(range(count)))
            alone = [inner.with_options(backend="inline").run(item=i) for i in range(count)]
        for one in tasks:
            task = run.tasks[f"inner.{one['name']}"]
            note(f"{task.name} {task.outcome} {task.reason} {task.items}")
            each = [run_.tasks[one["name"]] for run_ in alone]
            if task.items is None:
                assert count == 0
                continue
            assert [i.state for i in task.items.values()] == [t.state for t in each]
            assert [i.value for i in task.items.values()] == [t.value for t in each]
        fails = any(alone_.state is State.FAILED for alone_ in alone)
        assert run.state is (State.FAILED if fails else State.SUCCEEDED)
        last = [alone_.tasks[tasks[-1]["name"]] for alone_ in alone]
        if not fails and (not count or any(t.has_value for t in last)):
            if not any(t.allowed for t in last):
                assert run.value() == [t.value for t in last if t.has_value]

    check()


# The user's side.


@mxm.task
def load(symbol: str, day: str = "today") -> float:
    return float(len(symbol))


@mxm.task
def calendar() -> int:
    return 2


@mxm.task
def scaled(price: float, days: int) -> float:
    return price * days


@mxm.task
def pair(rows: list[float], weights: dict[str, float]) -> str:
    return f"{rows} {weights}"


@mxm.task
def total(values: list[float]) -> float:
    return sum(values)


@mxm.flow(name="flow-maps-gain")
def gain(symbol: str, base: float = 1.0) -> float:
    return scaled(load(symbol), calendar())


def run_of(flow: Any, **params: Any) -> FlowRun:
    return flow.with_options(backend="inline").run(**params)


def test_mapped_flow_is_a_list_of_what_it_returns() -> None:
    @mxm.flow(name="flow-maps")
    def flow(symbols: list[str] = ["A", "BB"]) -> dict[str, Any]:
        gains = gain.map(symbols, base=mxm.each([0.0, 1.0]))
        return {"gains": gains, "total": total(gains), "again": scaled.map(gains, days=2)}

    assert find_problems(flow.spec, strict_types=True) == []
    expected = {"gains": [2.0, 4.0], "total": 6.0, "again": [4.0, 8.0]}
    assert flow() == run_of(flow).value() == expected
    run = run_of(flow)
    assert list(run.tasks) == [
        *("flow-maps-gain.load", "flow-maps-gain.calendar", "flow-maps-gain.scaled"),
        *("total", "scaled"),
    ]
    calls = run.tasks["flow-maps-gain.calendar"].items
    assert calls is not None
    assert [i.value for i in calls.values()] == [2, 2], "every task runs for every item"
    assert list(calls) == ["A", "BB"]
    spec = flow_from_dict(flow_to_dict(quotes_spec()))
    assert spec == quotes_spec()


@mxm.flow(name="flow-maps-quotes")
def quotes(symbols: list[str] = ["A"]) -> list[float]:
    return gain.map(symbols)


def quotes_spec() -> Any:
    return quotes.spec


def test_parts_of_items_and_collections() -> None:
    @mxm.flow(name="flow-maps-rows")
    def row(item: dict[str, Any], other: float) -> str:
        prices = [load(item["symbol"]), other]
        return pair(prices, {"w": item["weight"], "c": 1.0})

    items = [{"symbol": "A", "weight": 0.5}, {"symbol": "BB", "weight": 0.25}]

    @mxm.flow(name="flow-maps-parts", item_key=lambda x: x)
    def flow(items: list[dict[str, Any]]) -> list[str]:
        return row.map(items, other=calendar())

    assert find_problems(flow.spec) == []
    assert flow(items) == run_of(flow, items=items).value()
    assert flow(items) == ["[1.0, 2] {'w': 0.5, 'c': 1.0}", "[2.0, 2] {'w': 0.25, 'c': 1.0}"]


def test_items_can_be_named() -> None:
    @mxm.flow(name="flow-maps-keyed", item_key=lambda item: item["symbol"])
    def keyed(item: dict[str, str]) -> float:
        return load(item["symbol"])

    @mxm.flow(name="flow-maps-keys")
    def flow() -> list[float]:
        return keyed.map([{"symbol": "A"}, {"symbol": "BB"}])

    items = run_of(flow).tasks["flow-maps-keyed.load"].items
    assert items is not None
    assert list(items) == ["A", "BB"]


def test_unpacked_parts_are_checked_for_each_item() -> None:
    @mxm.task
    def split(x: int) -> tuple[int, int]:
        return (x,) * x  # type: ignore[return-value]

    @mxm.flow(name="flow-maps-split")
    def inner(x: int) -> float:
        first, second = split(x)
        return scaled(first, second)

    @mxm.flow(name="flow-maps-splits")
    def flow() -> list[float]:
        return inner.map([2, 3])

    items = run_of(flow).tasks["flow-maps-split.split"].items
    assert items is not None
    assert [i.state.value for i in items.values()] == ["succeeded", "failed"]
    assert "has 3 parts and is unpacked into 2" in str(items["3"].error)


def test_part_of_an_item_that_cannot_be_taken_fails_that_item_alone() -> None:
    class Leaving(tuple[Any, ...]):
        def __getitem__(self, key: Any) -> Any:
            raise SystemExit(3)

    @mxm.task
    def split(x: int) -> tuple[tuple[tuple[int, int], int], int]:
        inside = ((x, x), x)
        return (inside if x == 1 else Leaving(inside), x)  # type: ignore[return-value]

    @mxm.flow(name="flow-maps-leaving")
    def inner(x: int) -> float:
        ((first, second), _), _ = split(x)
        return scaled(first, second)

    @mxm.flow(name="flow-maps-leavings")
    def flow() -> list[float]:
        return inner.map([1, 2])

    run = run_of(flow)
    items = run.tasks["flow-maps-leaving.split"].items
    assert items is not None
    assert [i.state.value for i in items.values()] == ["succeeded", "failed"]
    assert isinstance(items["2"].error, SystemExit)


def test_mapped_flow_over_a_map_with_gaps() -> None:
    @mxm.task
    def listed(symbol: str) -> str:
        if symbol == "X":
            raise Skip("not listed")
        return symbol

    @mxm.flow(name="flow-maps-gaps")
    def flow(symbols: list[str] = ["A", "X", "BB"]) -> list[float]:
        return gain.map(listed.map(symbols))

    assert run_of(flow).value() == [2.0, 4.0]


def test_mapped_flow_inside_an_inlined_flow() -> None:
    @mxm.flow(name="flow-maps-outer")
    def outer() -> list[Any]:
        return [quotes(["A", "BB"]), quotes(["CCC"])]

    assert find_problems(outer.spec) == []
    assert outer() == run_of(outer).value() == [[2.0, 4.0], [6.0]]


def test_async_flows_are_mapped() -> None:
    @mxm.flow(name="flow-maps-async-inner")
    async def inner(symbol: str) -> float:
        return load(symbol)

    @mxm.flow(name="flow-maps-async")
    async def flow() -> list[float]:
        return await inner.map(["A", "BB"])

    assert asyncio.run(flow()) == [1.0, 2.0]
    assert run_of(flow).value() == [1.0, 2.0]


def test_flow_maps_that_cannot_be_made() -> None:
    @mxm.flow(name="flow-maps-nested")
    def nested(symbols: list[str]) -> list[float]:
        return load.map(symbols)

    @mxm.flow(name="flow-maps-container")
    def container(symbol: str) -> dict[str, float]:
        return {"price": load(symbol)}

    @mxm.flow(name="flow-maps-wrong")
    def flow() -> list[Any]:
        return [
            nested.map([["A"]]),
            container.map(["A"]),
            gain.map(["A"], [1.0]),
            load("A"),
        ]

    found = [f"{p.code} {p.message} {p.hint}" for p in find_problems(flow.spec)]
    assert [text[:6] for text in found] == 3 * ["MXM109"]
    assert "has a map in its body and is mapped itself" in found[0]
    assert "does not return the whole result of one task" in found[1]
    assert "one positional list" in found[2]
    assert not hasattr(gain, "outcomes")


def test_lists_of_different_lengths() -> None:
    @mxm.flow(name="flow-maps-lengths")
    def flow() -> list[float]:
        return gain.map(["A", "BB"], base=mxm.each([1.0]))

    with pytest.raises(ValueError, match="same length"):
        flow()


def test_types_inside_a_mapped_flow_are_checked() -> None:
    @mxm.flow(name="flow-maps-types")
    def wrong(symbol: str) -> float:
        return scaled(load(symbol), load(symbol))  # type: ignore[arg-type]

    @mxm.flow(name="flow-maps-types-outer")
    def flow() -> list[float]:
        return wrong.map(["A"])

    assert [p.code for p in find_problems(flow.spec)] == ["MXM201"]
