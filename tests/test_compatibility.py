# ruff: noqa: UP006, UP044 - Tuple and Unpack are what users write

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Never,
    NewType,
    Protocol,
    TypedDict,
    TypeVar,
    TypeVarTuple,
    Unpack,
)

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from typed_values import annotated_values, annotations

from mxm.pipeline.introspection.annotations import Unresolved
from mxm.pipeline.values.compatibility import Fit, fit, part_of
from mxm.pipeline.values.membership import is_instance

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Price = NewType("Price", float)


class Base: ...


class Derived(Base): ...


class Other: ...


class Sized(Protocol):
    def size(self) -> int: ...


class Level(enum.IntEnum):
    LOW = 1


class Pair(NamedTuple):
    a: int
    b: str


class Linked(NamedTuple):
    value: int
    more: Linked | None = None


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
        (int, bool, Fit.MAYBE),
        (bool, complex, Fit.ALWAYS),
        (Level, float, Fit.ALWAYS),
        (np.float64, complex, Fit.ALWAYS),
        (np.float64, int, Fit.NEVER),
        (int, Level, Fit.MAYBE),
        (tuple[int, *tuple[str, ...]], tuple[int, str], Fit.MAYBE),
        (tuple[int, *tuple[str, ...]], tuple[bytes, bytes], Fit.NEVER),
        (tuple[int, *tuple[str, ...]], tuple[int | str, ...], Fit.ALWAYS),
        (tuple[int, str], tuple[int, *tuple[str, ...]], Fit.ALWAYS),
        (tuple[int, Unpack[tuple[str, str]]], tuple[int, str], Fit.NEVER),
        (tuple[int, Unpack[tuple[str, str]]], tuple[int, str, str], Fit.ALWAYS),
        (tuple[int, Unpack[Ts]], tuple[int, str], Fit.MAYBE),
        (tuple[()], tuple[int], Fit.NEVER),
        (tuple[int, ...], tuple[()], Fit.MAYBE),
        (tuple[()], tuple[int, ...], Fit.ALWAYS),
        (tuple, tuple[int], Fit.MAYBE),
        (Pair, tuple[int, str], Fit.ALWAYS),
        (Pair, tuple[str, str], Fit.NEVER),
        (tuple[int, str, str], Pair, Fit.NEVER),
        (Pair, list[int], Fit.NEVER),
        (Linked, tuple[int, Any], Fit.ALWAYS),
        (Linked, Linked, Fit.ALWAYS),
        (dict[str, Any], Row, Fit.MAYBE),
        (Row, Row, Fit.ALWAYS),
        (list[int], list[int] | None, Fit.ALWAYS),
        (list[str], list[int] | None, Fit.NEVER),
    ],
)
def test_fit(made: Any, wanted: Any, expected: Fit) -> None:
    assert fit(made, wanted) is expected


@pytest.mark.parametrize(
    ("made", "key", "part"),
    [
        (list[int], 0, int),
        (list[int], "a", Never),
        (list, 0, Any),
        (list, "a", Never),
        (Sequence[int], -1, int),
        (tuple[int, str], 1, str),
        (tuple[int, str], -2, int),
        (tuple[int, str], 7, Never),
        (tuple[int, str], "a", Never),
        (tuple[int, ...], 7, int),
        (tuple[int, *tuple[str, ...]], 7, int | str),
        (tuple[()], 0, Never),
        (Pair, 1, str),
        (Pair, 2, Never),
        (Pair, "a", Never),
        (Row, "price", float),
        (Row, "prise", Never),
        (Row, 0, Never),
        (dict[str, int], "a", int),
        (dict[str, int], 0, Never),
        (dict[int, str], 0, str),
        (dict[int, str], "a", Never),
        (dict[Decimal, str], 1, str),
        (dict[Literal["a", "b"], int], "c", Never),
        (dict, "a", Any),
        (str, 0, str),
        (str, "a", Never),
        (int, 0, Never),
        (None, 0, Never),
        (set[int], 0, Never),
        (date, 0, Never),
        (Base, "a", Never),
        (list[int] | None, 0, int),
        (list[int] | dict[str, str], 0, int),
        (int | None, 0, Never),
        (Literal["a"], 0, str),
        (Literal[1], 0, Never),
        (Any, "a", Any),
        (object, "a", Any),
        (T, 0, Any),
        (Sized, 0, Any),
        (Mapping, "a", Any),
        (Iterable[int], 0, int),
        (pd.DataFrame, "close", Any),
        (Annotated[list[int], "x"], 0, int),
    ],
)
def test_parts(made: Any, key: Any, part: Any) -> None:
    assert part_of(made, key) == part


def test_a_part_of_what_is_unresolved_is_unresolved_too() -> None:
    made = Unresolved("Frame")
    assert part_of(made, "close") is made


def filled(value: Any) -> bool:
    """Whether no container in *value* is empty: those are of every type of item."""
    if not isinstance(value, list | tuple | dict):
        return True
    return bool(value) and all(map(filled, value.values() if isinstance(value, dict) else value))


@given(annotated_values, annotations)
def test_law_what_has_a_value_in_common_fits(pair: tuple[Any, Any], wanted: Any) -> None:
    made, value = pair
    assume(filled(value))
    found = fit(made, wanted)
    if is_instance(value, wanted):
        assert found is not Fit.NEVER
    else:
        assert found is not Fit.ALWAYS
