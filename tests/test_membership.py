"""Values that are not instances; those that are pass by identity in test_conversion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NotRequired, Protocol, TypedDict, TypeVar

import pytest
from ids import stable_id

from mxm.pipeline.values.membership import is_instance

T = TypeVar("T")


class Row(TypedDict):
    a: int
    b: NotRequired[str]


class Sized(Protocol):
    def size(self) -> int: ...


class Box(Generic[T]): ...


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        ("1", int),
        (Decimal(1), float),
        (1.0, int),
        (None, int),
        (1, None),
        (1, Literal[True]),
        (True, Literal[1]),
        ("c", Literal["a", "b"]),
        ([1, "a"], list[int]),
        ([1], list[str | None]),
        ((1,), list[int]),
        ([[1], ["a"]], list[list[int]]),
        ({"a": "b"}, Mapping[str, int]),
        ({1: 2}, dict[str, int]),
        ((1,), tuple[int, int]),
        ((1,), tuple[()]),
        ((1, "a"), tuple[int, ...]),
        ("ab", Sequence[str]),
        ("ab", Iterable[str]),
        ({}, Row),
        ({"a": "x"}, Row),
        ({"a": 1, "b": None}, Row),
        ([("a", 1)], Row),
        ("x", Annotated[int, "n"]),
        ("x", int | float),
    ],
    ids=stable_id,
)
def test_what_is_no_instance(value: Any, annotation: Any) -> None:
    assert not is_instance(value, annotation)


@pytest.mark.parametrize("annotation", [Box[int], Callable[[], int], type[int], Sized, T, 5, "int"])
def test_what_cannot_be_told_is_none(annotation: Any) -> None:
    assert not is_instance(int if annotation == type[int] else Box(), annotation)
