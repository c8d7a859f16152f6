"""Tasks that change an input in place: noticed once, and shown as it was."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mxm.pipeline import FlowRun, FlowSpec, TaskSpec, compile_flow
from mxm.pipeline.bindings import Bindings, Collection, Const, Upstream
from mxm.pipeline.execution.events import Event, Warned
from mxm.pipeline.values.jsonvalue import to_json
from mxm.pipeline.values.snapshot import Snapshot


def makes() -> list[int]:
    return [3, 1, 2]


def sorts(x: list[int]) -> int:
    x.sort()
    return x[0]


def reads(x: list[int]) -> int:
    return x[0]


def run(*tasks: TaskSpec, params: dict[str, Any] | None = None, **options: Any) -> FlowRun:
    options = {"backend": "inline", **options}
    return compile_flow(FlowSpec("f", tasks), **options).run(params)


def codes(ended: FlowRun) -> list[str]:
    return [warning.code for warning in ended.warnings]


@pytest.mark.parametrize("backend", ["inline", "prefect"])
@pytest.mark.parametrize("runner", ["sequential", "threads"])
def test_a_change_is_one_warning_and_json_shows_the_value_as_it_was(
    backend: str, runner: str
) -> None:
    ended = run(
        TaskSpec("a", makes),
        TaskSpec("b", sorts, upstream="a"),
        TaskSpec("c", reads, upstream="a", after="b"),
        backend=backend,
        runner=runner,
    )
    assert codes(ended) == ["MXM504"]
    [warning] = ended.warnings
    assert "task 'b' changed the result of task 'a' in place, by parameter 'x'" in warning.message
    assert ended.results == {"a": [3, 1, 2], "b": 1, "c": 1}
    assert ended.values["a"] == [1, 2, 3]


def test_on_processes_each_task_has_a_copy() -> None:
    ended = run(TaskSpec("a", makes), TaskSpec("b", sorts, upstream="a"), runner="processes")
    assert (codes(ended), ended.results["a"]) == ([], [3, 1, 2])


def test_parameters_and_constants_are_watched_too() -> None:
    one = [2, 1]
    assert codes(run(TaskSpec("b", sorts), params={"x": [2, 1]})) == ["MXM504"]
    assert codes(run(TaskSpec("b", sorts, bindings=Bindings((Const(one),))))) == ["MXM504"]
    assert codes(run(TaskSpec("b", reads), params={"x": [2, 1]})) == []


def test_a_second_change_is_noticed_too() -> None:
    def reverses(x: list[int]) -> None:
        x.reverse()

    ended = run(
        TaskSpec("a", makes),
        TaskSpec("b", sorts, upstream="a"),
        TaskSpec("c", reverses, upstream="a", after="b"),
    )
    assert codes(ended) == ["MXM504", "MXM504"]
    assert ended.results["a"] == [3, 1, 2]


def frame() -> pd.DataFrame:
    made = pd.DataFrame({"a": [1.0, 2.0]})
    made["b"] = [1.0, 2.0]
    made["c"] = [3.0, 4.0]
    return made


def test_a_table_that_is_only_stored_otherwise_has_not_changed() -> None:
    def consolidates(x: pd.DataFrame) -> float:
        x._consolidate_inplace()
        return float(x.to_numpy().sum())

    def adds(x: pd.DataFrame) -> int:
        x["d"] = 1
        return 1

    assert codes(run(TaskSpec("a", frame), TaskSpec("b", consolidates, upstream="a"))) == []
    assert codes(run(TaskSpec("a", frame), TaskSpec("b", adds, upstream="a"))) == ["MXM504"]


def large() -> np.ndarray[Any, Any]:
    return np.zeros(100_000)


def zero(x: Any) -> int:
    x[0] = 1
    return 1


def test_large_values_are_compared_with_guard_alone() -> None:
    tasks = TaskSpec("a", large), TaskSpec("b", zero, upstream="a")
    assert codes(run(*tasks)) == []
    assert codes(run(*tasks, guard=True)) == ["MXM504"]


class Refuses:
    def __reduce_ex__(self, _: object) -> Any:
        raise SystemExit(0)


class Large:
    """Has code of its own for being copied, as a fitted model that writes itself to a file."""

    def __reduce__(self) -> Any:
        raise AssertionError("copied")


class LargeTable:
    """As one of polars': it says how large it is, and is copied as a whole."""

    def estimated_size(self) -> int:
        return 200_000_000

    def __getstate__(self) -> Any:
        raise AssertionError("copied")


LargeTable.__module__ = "polars.dataframe.frame"


class Lazy:
    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers

    @functools.cached_property
    def total(self) -> int:
        return sum(self.numbers)


class Memo:
    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers
        self._memo: dict[int, int] = {}

    def plus(self, number: int) -> int:
        return self._memo.setdefault(number, sum(self.numbers) + number)


def grouped() -> Any:
    return pd.DataFrame({"key": ["a", "b", "a"], "price": [1.0, 2.0, 3.0]}).groupby("key")


@dataclass(slots=True)
class Row:
    prices: Any


@pytest.mark.parametrize("value", [Refuses(), (i for i in [1]), lambda: 1, 1, "a"])
@pytest.mark.parametrize("whole", [False, True])
def test_what_cannot_be_copied_or_changed_is_left_alone(value: Any, whole: bool) -> None:
    assert Snapshot.of(value, whole=whole) is None


@pytest.mark.parametrize(
    "value", [Large(), [Large()], np.zeros(10_000), [np.zeros(10_000)], {"a": "x" * 100_000},
              LargeTable(),
              Row(np.zeros(10_000))],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_what_is_large_or_copies_itself_is_not_copied(value: Any) -> None:
    assert Snapshot.of(value) is None


ROWS: list[tuple[Any, Callable[[Any], object]]] = [
    ([1, [2]], lambda v: v[1].append(3)),
    ({"a": {1}}, lambda v: v["a"].add(2)),
    ([1], lambda v: v.extend(range(100_000))),
    ([1], lambda v: v.append(lambda: 1)),
    (bytearray(b"a"), lambda v: v.extend(b"b")),
    (Lazy([1]), lambda v: v.numbers.append(2)),
    (Row([1.0]), lambda v: v.prices.append(2.0)),
    (Row(np.zeros(3)), lambda v: v.prices.fill(1)),
    ([math.nan], lambda v: v.append(1.0)),
    (iter([1, 2]), next),
    (np.zeros(3), lambda v: v.fill(1)),
    (pd.Series([1.0, 2.0]), lambda v: v.__setitem__(0, 3.0)),
    ([pd.DataFrame({"a": [1]})], lambda v: v[0].insert(0, "b", 2)),
    (Memo([1]), lambda v: v.numbers.append(2)),
    (grouped(), lambda v: (v.sum(), v.obj.insert(0, "other", 1))),
    (grouped(), lambda v: v.obj.__setitem__("price", 0.0)),
]


@pytest.mark.parametrize(("value", "change"), ROWS, ids=lambda v: type(v).__name__)
def test_a_change_is_noticed_and_the_value_restored(
    value: Any, change: Callable[[Any], object]
) -> None:
    snapshot = Snapshot.of(value)
    assert snapshot is not None
    assert not snapshot.changed(value)
    before = to_json(value).value
    change(value)
    assert snapshot.changed(value)
    assert to_json(snapshot.restored()).value == before


def reordered(value: dict[str, int]) -> None:
    value["a"] = value.pop("a")


SAME: list[tuple[Any, Callable[[Any], object]]] = [
    (Lazy([1, 2]), lambda v: v.total),
    ([Lazy([1, 2])], lambda v: v[0].total),
    ({"a": 1, "b": 2}, reordered),
    ([frame()], lambda v: v[0]._consolidate_inplace()),
    (Row(frame()), lambda v: v.prices._consolidate_inplace()),
    ([math.nan], lambda v: v.__setitem__(0, float("nan"))),
    (Memo([1]), lambda v: v.plus(2)),
    (grouped(), lambda v: (v.sum(), list(v), v.groups, v.ngroups)),
    (grouped()["price"], lambda v: (v.mean(), v.indices)),
    (pd.Series([1.0, 2.0]).rolling(2), lambda v: (v.mean(), list(v))),
    (pd.Series([1.0, 2.0]).ewm(span=2), lambda v: v.mean()),
    (pd.Series([1.0], pd.to_datetime(["2024-01-02"])).resample("D"), lambda v: v.mean()),
]


@pytest.mark.parametrize(("value", "change"), SAME, ids=lambda v: type(v).__name__)
def test_a_value_that_is_only_stored_otherwise_has_not_changed(
    value: Any, change: Callable[[Any], object]
) -> None:
    snapshot = Snapshot.of(value)
    assert snapshot is not None
    change(value)
    assert not snapshot.changed(value)


def test_inputs_in_star_args_and_in_containers_are_watched_too() -> None:
    def sorts_all(*lists: list[int]) -> None:
        lists[1].sort()

    def sorts_inner(table: dict[str, list[int]]) -> None:
        table["x"].sort()

    ended = run(
        TaskSpec("a", makes), TaskSpec("b", makes), TaskSpec("c", sorts_all, upstream=["a", "b"])
    )
    assert [w.message for w in ended.warnings] == [
        "task 'c' changed the result of task 'b' in place, by parameter 'lists'"
    ]
    inner = Collection(dict, (Upstream("a"),), ("x",))
    ended = run(TaskSpec("a", makes), TaskSpec("c", sorts_inner, bindings=Bindings((inner,))))
    assert [w.message for w in ended.warnings] == [
        "task 'c' changed the result of task 'a' in place, by parameter 'table'"
    ]


def same(x: list[int]) -> list[int]:
    return x


def test_a_change_by_another_name_is_not_blamed_on_the_next_reader() -> None:
    ended = run(
        TaskSpec("a", makes),
        TaskSpec("b", same, upstream="a"),  # returns the very object
        TaskSpec("holds", lambda x: [x], upstream="a"),  # and this one has it inside
        TaskSpec("c", sorts, upstream="b"),
        TaskSpec("d", reads, upstream="a", after=["c"]),
        TaskSpec("e", lambda x: len(x), upstream="holds", after=["c"]),
    )
    assert [w.task for w in ended.warnings] == ["c"]
    assert ended.results["a"] == ended.results["b"] == [3, 1, 2]
    assert ended.results["holds"] == [[3, 1, 2]]


def test_a_failed_task_that_changed_its_input_is_named() -> None:
    def sorts_and_fails(x: list[int]) -> None:
        x.sort()
        raise ValueError

    ended = run(TaskSpec("a", makes), TaskSpec("b", sorts_and_fails, upstream="a", retries=1))
    assert (codes(ended), ended.results) == (["MXM504"], {"a": [3, 1, 2]})


def test_what_is_changed_once_the_run_is_over_is_shown_as_it_was() -> None:
    ended = run(TaskSpec("a", makes))
    ended.values["a"].clear()
    assert (ended.results, ended.value_json()[0]) == ({"a": [3, 1, 2]}, [3, 1, 2])


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_json_of_large_values_is_made_when_their_task_ends(backend: str) -> None:
    def many() -> list[int]:
        return list(range(50_000, 0, -1))

    tasks = [TaskSpec("a", many), TaskSpec("b", sorts, upstream="a")]
    results = compile_flow(FlowSpec("f", tasks), backend=backend).execute()
    assert results["a"] == many()


def test_the_value_of_a_flow_is_shown_as_it_was_too() -> None:
    tasks = [TaskSpec("a", makes), TaskSpec("b", sorts, upstream="a")]
    whole = Collection(list, (Upstream("a"), Upstream("a", (0,)), Upstream("b")))
    ended = compile_flow(FlowSpec("f", tasks, output=whole), backend="inline").run()
    assert ended.value_json()[0] == [[3, 1, 2], 3, 1]


def test_a_change_is_an_event_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    events: list[Event] = []
    ended = run(TaskSpec("a", makes), TaskSpec("b", sorts, upstream="a"), observers=[events.append])
    [warned] = [event for event in events if isinstance(event, Warned)]
    assert ended.warnings == (warned.problem,)
    assert [r.getMessage() for r in caplog.records] == [str(warned.problem)]


def test_tasks_that_ran_beside_it_are_named_too() -> None:
    started, changed = threading.Event(), threading.Event()

    def waits(x: list[int]) -> int:
        started.set()
        changed.wait(60)
        return len(x)

    def changes(x: list[int]) -> None:
        started.wait(60)
        x.sort()

    def late(event: Event) -> None:
        if isinstance(event, Warned):
            changed.set()

    ended = run(
        TaskSpec("a", makes),
        TaskSpec("b", waits, upstream="a"),
        TaskSpec("c", changes, upstream="a"),
        runner="threads",
        workers=2,
        observers=[late],
    )
    assert [w.message for w in ended.warnings] == [
        "task 'c' or task 'b' changed the result of task 'a' in place, by parameter 'x'"
    ]
