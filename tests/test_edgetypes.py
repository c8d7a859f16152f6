from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal, NewType, Protocol, TypedDict, TypeVar

import pytest

from mxm.pipeline.bindings import Bindings, Collection, Upstream
from mxm.pipeline.edgetypes import Fit, edge_problems, fit
from mxm.pipeline.hints import Unresolved
from mxm.pipeline.spec import FlowSpec, TaskSpec

T = TypeVar("T")
Price = NewType("Price", float)


class Base: ...


class Derived(Base): ...


class Other: ...


class Sized(Protocol):
    def size(self) -> int: ...


class Row(TypedDict):
    day: date
    price: float


@pytest.mark.parametrize(
    ("made", "wanted", "expected"),
    [
        (str, int, Fit.NEVER),
        (int, int, Fit.ALWAYS),
        (int, float, Fit.ALWAYS),
        (float, complex, Fit.ALWAYS),
        (bool, int, Fit.ALWAYS),
        (float, int, Fit.NEVER),
        (list[int], list[float], Fit.ALWAYS),
        (list[int], Sequence[float], Fit.ALWAYS),
        (list[str], list[int], Fit.NEVER),
        (list, list[int], Fit.MAYBE),
        (list[int], list, Fit.ALWAYS),
        (dict[str, int], Mapping[str, float], Fit.ALWAYS),
        (dict[str, int], dict[int, int], Fit.NEVER),
        (dict[str, int], Iterable[str], Fit.MAYBE),
        (tuple[int, str], tuple[float, str], Fit.ALWAYS),
        (tuple[int, str], tuple[int], Fit.NEVER),
        (tuple[int, ...], tuple[float, ...], Fit.ALWAYS),
        (tuple[int, int], Sequence[float], Fit.ALWAYS),
        (tuple[int, ...], tuple[str, str], Fit.NEVER),
        (list[int], tuple[int, ...], Fit.NEVER),
        (int | str, str | bytes, Fit.MAYBE),
        (int | str, bytes, Fit.NEVER),
        (int | None, int, Fit.MAYBE),
        (int, int | None, Fit.ALWAYS),
        (None, int, Fit.NEVER),
        (None, int | None, Fit.ALWAYS),
        (object, int, Fit.MAYBE),
        (int, object, Fit.ALWAYS),
        (Any, int, Fit.MAYBE),
        (int, Any, Fit.ALWAYS),
        (Base, Derived, Fit.MAYBE),
        (Derived, Base, Fit.ALWAYS),
        (Base, Other, Fit.NEVER),
        (datetime, date, Fit.ALWAYS),
        (date, datetime, Fit.MAYBE),
        (str, Mapping, Fit.NEVER),
        (Base, Mapping, Fit.MAYBE),
        (Literal["a"], str, Fit.ALWAYS),
        (Literal["a"], int, Fit.NEVER),
        (Literal["a"], Literal["b"], Fit.NEVER),
        (Literal["a", "b"], Literal["b"], Fit.MAYBE),
        (str, Literal["a"], Fit.MAYBE),
        (int, Literal["a"], Fit.NEVER),
        (Annotated[int, "x"], float, Fit.ALWAYS),
        (Price, float, Fit.ALWAYS),
        (Price, str, Fit.NEVER),
        (T, int, Fit.MAYBE),
        (int, Sized, Fit.MAYBE),
        (Row, dict[str, Any], Fit.MAYBE),
        (Row, int, Fit.NEVER),
        (Unresolved("DataFrame"), float, Fit.MAYBE),
    ],
)
def test_fit(made: Any, wanted: Any, expected: Fit) -> None:
    assert fit(made, wanted) is expected


def text() -> str:
    return ""


def rows() -> list[Row]:
    return []


def number(x: float) -> float:
    return x


def numbers(xs: list[float]) -> None: ...


def each(*xs: int) -> None: ...


def codes(task: TaskSpec, *others: TaskSpec, strict: bool = False) -> list[str]:
    return [p.code for p in edge_problems(FlowSpec("f", [*others, task]), strict=strict)]


def test_an_edge_that_cannot_fit_names_both_ends() -> None:
    spec = FlowSpec("f", [TaskSpec("text", text), TaskSpec("n", number, upstream=["text"])])
    (problem,) = edge_problems(spec)
    assert problem.code == "MXM201"
    assert "the result of task 'text' is str at " in problem.message
    assert "parameter 'x' of task 'n' takes float: no value is both" in problem.message
    assert (problem.flow, problem.task, problem.severity) == ("f", "n", "error")


def test_projections_collections_and_varargs_are_followed() -> None:
    made = TaskSpec("rows", rows)
    price, day = Upstream("rows", (0, "price")), Upstream("rows", (0, "day"))
    assert codes(TaskSpec("n", number, bindings=Bindings((price,))), made) == []
    assert codes(TaskSpec("n", number, bindings=Bindings((day,))), made) == ["MXM201"]
    both = Collection(list, (price, day))
    assert codes(TaskSpec("n", numbers, bindings=Bindings((both,))), made) == ["MXM201"]
    assert codes(TaskSpec("n", each, upstream=["t", "t"]), TaskSpec("t", text)) == ["MXM201"] * 2


def test_what_may_not_fit_is_told_when_it_is_asked_for() -> None:
    def anything() -> Any: ...

    task = TaskSpec("n", number, upstream=["a"])
    assert codes(task, TaskSpec("a", anything)) == []
    assert codes(task, TaskSpec("a", anything), strict=True) == ["MXM202"]
