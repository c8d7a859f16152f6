"""Tasks that change an input in place: noticed once, and shown as it was."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mxm.pipeline import FlowRun, FlowSpec, TaskSpec, compile_flow
from mxm.pipeline.bindings import Bindings, Const
from mxm.pipeline.execution.snapshots import Snapshots


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


def test_what_cannot_be_copied_is_left_alone() -> None:
    for value in (Refuses(), iter([1]), itertools.count(), lambda: 1):
        snapshots = Snapshots(whole=True)
        snapshots.take("x", value)
        assert not snapshots.changed("x", value)
