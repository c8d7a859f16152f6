"""Numbers from Python and NumPy: converted without loss, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from typing import Any, Literal, TypedDict

import numpy as np
import pandas as pd
import pytest
from ids import stable_id
from pydantic import BaseModel

from mxm.pipeline.values.conversion import Text, coerce

BIG = 2**53 + 1  # the first whole number that a float does not hold


@dataclass
class Price:
    value: float | complex


class Quote(BaseModel):
    value: float | complex


class Row(TypedDict):
    value: float | complex


HUGE = [Decimal("1e400"), Decimal("-1e400"), Fraction(10**400), np.longdouble("1e400")]


@pytest.mark.parametrize("value", HUGE, ids=stable_id)
@pytest.mark.parametrize(
    "annotation",
    [
        *(float, complex, float | complex, int | complex | None, float | bool, float | bytes),
        *(list[float | complex], dict[str, float | bool], Price, Quote, Row),
    ],
    ids=stable_id,
)
def test_no_number_becomes_infinite(annotation: Any, value: Any) -> None:
    if annotation == int | complex | None and value == int(value):
        annotation = complex | None  # an int takes it
    inside = {list[float | complex]: [value], float: value}.get(annotation, value)
    if annotation in (Price, Quote, Row):
        inside = {"value": value}
    elif annotation == dict[str, float | bool]:
        inside = {"k": value}
    with pytest.raises(ValueError):
        coerce(inside, annotation)


@pytest.mark.parametrize(
    ("annotation", "value", "read"),
    [
        (int, np.int64(BIG), BIG),
        (int | None, np.uint64(2**64 - 1), 2**64 - 1),
        (list[int], [np.int64(BIG)], [BIG]),
        (int | float, np.int64(BIG), BIG),
        (int | str, np.int64(BIG), BIG),
        (int | float, Decimal(BIG), BIG),
        (float | int, Decimal(BIG), BIG),
        (int, np.array(BIG), BIG),
        (Decimal, np.int64(BIG), Decimal(BIG)),
        (bool | float, np.True_, True),
        (int | bool, np.False_, False),
        (float | complex, np.complex64(1 + 2j), 1 + 2j),
        (np.int64, Decimal(BIG), np.int64(BIG)),
        (float, Decimal("inf"), float("inf")),
        (float | bool, np.longdouble("-inf"), float("-inf")),
        (timedelta, np.timedelta64(5, "D"), timedelta(days=5)),
        (timedelta | int, np.timedelta64(5_000, "ns"), timedelta(microseconds=5)),
        (datetime, np.datetime64("2024-01-31T09:30", "ns"), datetime(2024, 1, 31, 9, 30)),
        (date, np.datetime64("2024-01-31"), date(2024, 1, 31)),
        (np.datetime64, pd.Timestamp(1), np.datetime64(1, "ns")),
        (np.timedelta64, pd.Timedelta(1), np.timedelta64(1, "ns")),
    ],
    ids=stable_id,
)
def test_a_scalar_of_another_library_keeps_its_value(
    annotation: Any, value: Any, read: Any
) -> None:
    converted = coerce(value, annotation)
    assert (converted, type(converted)) == (read, type(read))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        *((kind, np.complex128(1 + 2j)) for kind in (int, float, bool, float | bool, Decimal)),
        (list[float], [np.complex64(1j)]),
        *((kind, np.timedelta64(5, "ns")) for kind in (int, float, timedelta, datetime, time)),
        *((kind, np.datetime64(5, "ns")) for kind in (int, float, datetime, date, date | float)),
        *((kind, np.array(5)) for kind in (datetime, timedelta, time, date | datetime)),
        *((kind, np.float32(2.5)) for kind in (int, datetime, timedelta, time)),
        (timedelta | date, np.int64(20240131)),
        (datetime, Fraction(5)),
        (datetime, np.timedelta64("NaT", "ns")),
        (np.int64, Decimal("2.5")),
        (np.int8 | None, Decimal("0.1")),
    ],
    ids=stable_id,
)
def test_a_scalar_that_would_lose_its_meaning_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(ValueError):
        coerce(value, annotation)


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Switch(Enum):
    ON = True
    OFF = False


@pytest.mark.parametrize(
    ("annotation", "text", "why"),
    [
        (Level, "true", "true is not 1 or 2"),
        (Literal[1, 2], "true", "true is not 1 or 2"),
        (list[Literal[0, 1]], "[false]", "false is not 0 or 1"),
        (dict[str, Level], '{"a": true}', "true is not 1 or 2"),
        (list[int], "[9007199254740993.0]", "may have lost digits"),
        (datetime, "2024-01-31T09:30:00.123456789", "finer than a microsecond"),
        (time, "09:30:00.0000001Z", "finer than a microsecond"),
        (list[timedelta], '["PT0.0000001S"]', "finer than a microsecond"),
        (timedelta, "P1M", "years and months differ in length"),
        (timedelta | None, "P1Y2DT3H", "years and months differ in length"),
        (np.datetime64, "2024-01-31T00:00+02:00", "has an offset"),
        (dict[str, int], '{"a": 1, "a": 2}', "duplicate key 'a'"),
        (Any, '[{"a": 1, "a": 2}]', "duplicate key 'a'"),
        (dict[str, int] | str, '{"a": 1, "a": 2}', "duplicate key 'a'"),
        (dict[int, int], '{"1": 1, "01": 2}', "two of its keys are the same key"),
        (dict[date, int], '{"2024-01-31": 1, "20240131": 2}', "two of its keys"),
    ],
    ids=stable_id,
)
def test_no_text_is_read_as_something_near_it(annotation: Any, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        coerce(Text(text), annotation)


@pytest.mark.parametrize(
    ("annotation", "text", "read"),
    [
        (Switch, "true", Switch.ON),
        (Literal[True, 2], "true", True),
        (Level, "1", Level.LOW),
        (datetime, "2024-01-31T09:30:00.123456000", datetime(2024, 1, 31, 9, 30, 0, 123456)),
        (timedelta, "PT1M", timedelta(minutes=1)),
        (timedelta, "P1DT30M", timedelta(days=1, minutes=30)),
        (pd.Timestamp, "2024-01-31T09:30:00.123456789", pd.Timestamp(1706693400123456789)),
        (list[int], "[9007199254740993]", [BIG]),
    ],
    ids=stable_id,
)
def test_exact_text_is_still_read(annotation: Any, text: str, read: Any) -> None:
    assert coerce(Text(text), annotation) == read


def test_a_set_is_not_put_into_an_order_that_differs_from_run_to_run() -> None:
    for annotation in (list[str], tuple[str, ...], list[str] | None, dict[str, list[str]]):
        value: Any = {"a", "b"}
        with pytest.raises(ValueError, match="a set has no order"):
            coerce({"x": value} if annotation == dict[str, list[str]] else value, annotation)
    assert coerce({"a"}, list[str]) == ["a"]
