"""Checks single values before pydantic converts them: times, and scalars of pandas and NumPy.

Loaded only with pydantic.
"""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from numbers import Number
from typing import Any, NoReturn

from pydantic_core import PydanticCustomError

from mxm.pipeline.errors import repr_of, text_of
from mxm.pipeline.process.interrupts import let_signals_pass

__all__ = ["TEMPORAL", "exact_temporal", "of_numpy", "other_library", "refuse"]


def refuse(why: str) -> NoReturn:
    """Fail the conversion of a value with the reason *why*."""
    raise PydanticCustomError("mxm", "{why}", {"why": why})


# Dates and times

TEMPORAL: dict[Any, str] = {  # an example of each
    "date": "2024-01-31",
    "datetime": "2024-01-31T09:30",
    "time": "09:30",
    "timedelta": "PT1H30M",
}
_DIGITS = re.compile(r"\s*[+-]?[0-9_]*\.?[0-9_]+\.?([eE][+-]?[0-9]+)?\s*")


def _temporal(kind: str, beside_number: bool, value: Any) -> Any:
    """*value*, unless it is a number, which pydantic would read as seconds since 1970."""
    value = of_numpy(value)
    text = bytes(value).decode("utf-8", "replace") if isinstance(value, bytes) else value
    if isinstance(text, str):
        if not _DIGITS.fullmatch(text):
            return value
        day = _day(text) if kind in ("date", "datetime") and not beside_number else None
        if day is not None:
            return day
        refuse(f"{text.strip()!r} is a number, not a {kind}; write {_literal(kind, text)}")
    if isinstance(value, Number):
        refuse(f"{value!r} is a number, not a {kind}; write {_literal(kind, str(value))}")
    return value


_FINER = re.compile(r"[.,][0-9]{6}0*[1-9][0-9]*(?=$|[Zz+-]|[Ss])")
_CALENDAR = re.compile(r"[+-]?P[^T]*[YM]", re.IGNORECASE)


def exact_temporal(kind: str, beside_number: bool, value: Any) -> Any:
    """As `_temporal`; and text that only a rounded value could stand for is refused."""
    value = _temporal(kind, beside_number, value)
    text = value.strip() if isinstance(value, str) else ""
    if _FINER.search(text):
        refuse(f"{text!r} is finer than a microsecond, which no {kind} is")
    if kind == "timedelta" and _CALENDAR.match(text):
        refuse(f"{text!r}: years and months differ in length; write days, 'P30D'")
    return value


def _day(text: str) -> str | None:
    """Eight digits, read as an ISO date."""
    if len(text) == 8 and text.isascii() and text.isdecimal():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return None


def _literal(kind: str, number: str) -> str:
    """What to write instead of *number* for a *kind*."""
    if kind == "timedelta":
        seconds = number.strip().rstrip(".")
        plain = re.fullmatch(r"[0-9]+(\.[0-9]+)?", seconds)
        return f"'PT{seconds}S'" if plain else "'PT30S'"
    day = _day(number.strip())
    with_time = {"date": "", "datetime": "T00:00"}
    if day is not None and kind in with_time:
        try:
            date.fromisoformat(day)
        except ValueError:
            pass
        else:
            return f"'{day}{with_time[kind]}'"
    return f"'{TEMPORAL[kind]}'"


# Types of pandas and NumPy, which pydantic does not know


def of_numpy(value: Any) -> Any:
    """*value* of Python's own type, if it is a single one of NumPy: pydantic converts by float().

    That loses digits of an ``int64`` and the imaginary part of a ``complex128``, and gives the
    count in a ``timedelta64`` without its unit.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.generic | numpy.ndarray):
        return value
    one: Any = value
    if isinstance(one, str | bytes) or one.ndim:
        return value
    if one.dtype.kind not in "mM":
        return one.item()
    exact = one.astype(f"{one.dtype.kind}8[us]")
    if exact != one:  # also NaT
        refuse(f"{repr_of(value)} is finer than a microsecond, or NaT")
    return exact.item()


def other_library(kind: Any) -> Callable[[Any], Any] | None:
    """The function that converts text and plain numbers to *kind*; None if there is none."""
    root = kind.__module__.partition(".")[0]
    pandas, numpy = sys.modules.get("pandas"), sys.modules.get("numpy")
    if root in ("pandas", "numpy") and numpy is not None:
        if pandas is not None and issubclass(kind, pandas.Timestamp | pandas.Timedelta):
            name = "datetime" if issubclass(kind, pandas.Timestamp) else "timedelta"
            return functools.partial(_converted, kind, name, (str, date, datetime, timedelta))
        if issubclass(kind, numpy.datetime64 | numpy.timedelta64):
            name = "datetime" if issubclass(kind, numpy.datetime64) else "timedelta"
            return functools.partial(_numpy_time, kind, name)
        if issubclass(kind, numpy.bool_):
            return functools.partial(_numpy_bool, kind)
        if issubclass(kind, numpy.number):
            return functools.partial(_numpy_number, kind)
    return None


def _converted(kind: Any, name: str, sources: tuple[type, ...], value: Any) -> Any:
    value = _temporal(name, False, value)
    if not isinstance(value, sources) or isinstance(value, kind):
        return value
    to_numpy = f"to_{kind.__name__}"  # datetime64, timedelta64: pandas has nanoseconds
    if hasattr(value, to_numpy):
        return getattr(value, to_numpy)()
    try:
        return kind(value)
    except BaseException as error:  # the user's own class of that kind
        let_signals_pass(error)
        refuse(f"{repr_of(value)} does not fit {kind.__name__}: {text_of(error)}")


def _numpy_time(kind: Any, name: str, value: Any) -> Any:
    pandas = sys.modules.get("pandas")
    if name == "timedelta" and isinstance(value, str) and pandas is not None:
        return _converted(pandas.Timedelta, name, (str,), value).to_timedelta64()
    aware = isinstance(value, datetime) and value.utcoffset()
    if aware or (isinstance(value, str) and _OFFSET.search(value)):
        refuse(f"{repr_of(value)} has an offset, and a {kind.__name__} has none; give it in UTC")
    return _converted(kind, name, (str, date, datetime, timedelta), value)


_OFFSET = re.compile(r"[T ].*[+-](?!00:?(00)?$)[0-9]{2}")


def _numpy_bool(kind: Any, value: Any) -> Any:
    words = {"true": True, "false": False}
    if isinstance(value, str) and value.lower() in words:
        return kind(words[value.lower()])
    return kind(value) if isinstance(value, bool) else value


def _numpy_number(kind: Any, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return value
    try:
        with sys.modules["numpy"].errstate(all="ignore"):
            made = kind(value)
    except BaseException as error:  # the user's own class of that kind
        let_signals_pass(error)
        refuse(f"{repr_of(value)} does not fit {kind.__name__}: {text_of(error)}")
    infinite = math.isinf(float(made.real)) or math.isinf(float(made.imag))
    if infinite and "inf" not in str(value).lower():
        refuse(f"{value!r} is out of the range of {kind.__name__}")
    whole = issubclass(kind, sys.modules["numpy"].integer)
    if whole and not isinstance(value, str) and made != value:
        refuse(f"{value!r} does not fit {kind.__name__}")
    return made
