"""Makes pydantic schemas strict where lax mode would silently change a value.

A number is not a date, true in a file is not a number, a misspelt field is not dropped, and a
number too large for a float is not infinite. Loaded only with pydantic.
"""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from numbers import Number
from typing import Any, NoReturn, cast
from uuid import UUID

from pydantic_core import PydanticCustomError, SchemaValidator

from mxm.pipeline.errors import repr_of, text_of
from mxm.pipeline.interrupts import let_signals_pass
from mxm.pipeline.values.forms import is_exactly

__all__ = ["strict_schema"]

Schema = dict[str, Any]

# Parts of a schema that contain values, not schemas.
_VALUES = ("default", "expected", "members", "metadata", "serialization", "config", "function")
_NUMBERS = ("int", "float", "decimal", "complex")
_RAW = ("function-before", "function-wrap", "function-plain")  # these see the original value


def strict_schema(schema: Mapping[str, Any], *, closed: bool) -> Schema:
    """*schema* with the checks that make it strict.

    Parameters
    ----------
    schema
        A pydantic core schema; it is not changed.
    closed
        Whether an unknown key of a typed dict is an error; otherwise it is kept.
    """
    return _Strict(closed).made(dict(schema), free=False, beside_number=False)


class _Strict:
    def __init__(self, closed: bool) -> None:
        self.closed = closed

    def made(self, schema: Schema, *, free: bool, beside_number: bool) -> Schema:
        """*schema* made strict, unless a user's validator is *free* to read the value."""
        kind = schema.get("type")
        config: Mapping[str, Any] = schema.get("config") or {}
        free = free or "val_temporal_unit" in config or (kind in _RAW and _is_users(schema))
        numbers = kind == "union" and any(_kind_of(c) in _NUMBERS for c in schema["choices"])
        strict: Schema = {}
        for key, part in schema.items():
            beside = numbers or (beside_number and kind in ("nullable", "default"))
            strict[key] = part if key in _VALUES else self._walk(part, free, beside)
        if kind in ("model", "dataclass") and "extra_fields_behavior" not in config:
            strict["config"] = {**config, "extra_fields_behavior": "forbid"}
        if kind == "typed-dict" and strict.get("extra_behavior", "ignore") == "ignore":
            explicit = config.get("extra_fields_behavior") == "ignore"
            if not explicit:
                strict["extra_behavior"] = "forbid" if self.closed else "allow"
        if kind == "union" and self.closed and not free:
            return _with_forms(schema, strict)
        if kind == "dict":
            function = {"type": "no-info", "function": _same_keys}
            return {"type": "function-wrap", "function": function, "schema": strict}
        check = None if free else _check_of(strict, beside_number, self.closed)
        return strict if check is None else _before(strict, check)

    def _walk(self, part: Any, free: bool, beside: bool) -> Any:
        if isinstance(part, dict):
            table = cast("Schema", part)
            if isinstance(table.get("type"), str):
                return self.made(table, free=free, beside_number=beside)
            return {key: self._walk(value, free, beside) for key, value in table.items()}
        if isinstance(part, list | tuple):  # a union choice may come with its label
            members = [self._walk(m, free, beside) for m in cast("list[Any]", part)]
            return members if isinstance(part, list) else tuple(members)
        return part


def _kind_of(choice: Any) -> str:
    return str(_bare(choice)["type"])


def _with_forms(union: Schema, strict: Schema) -> Schema:
    """*strict*, made of *union*, which reads text that is exactly another member's form as that.

    So that a member of a JSON list is what the same text is as a word after ``-p``. What JSON has a
    form of its own for, numbers, true and null, is text in quotes.
    """
    if not any(_kind_of(choice) == "str" for choice in union["choices"]):
        return strict
    pairs = zip(map(_bare, union["choices"]), map(_bare, strict["choices"]), strict=True)
    forms = [(form, made) for choice, made in pairs if (form := _form_of(choice)) is not None]
    if not forms:
        return strict
    members = [(form, SchemaValidator(cast("Any", made))) for form, made in forms]

    def read(value: Any) -> Any:
        if isinstance(value, str):
            for form, member in members:
                if is_exactly(value, form):
                    return member.validate_python(str(value))
        return value

    return _checked(strict, read)


def _form_of(schema: Schema) -> Any:
    """The type of *schema* if JSON has only text for it; otherwise None."""
    kind = schema["type"]
    if kind in ("enum", "is-instance"):
        cls = schema["cls"]
        return cls if kind == "enum" or issubclass(cls, datetime | timedelta) else None
    return _TEXT_ONLY.get(kind)


_TEXT_ONLY = {
    "date": date,
    "datetime": datetime,
    "time": time,
    "timedelta": timedelta,
    "uuid": UUID,
}


def _bare(choice: Any) -> Schema:
    return cast("Schema", choice[0] if isinstance(choice, tuple) else choice)


def _is_users(schema: Schema) -> bool:
    """Whether the function of *schema* is the user's; pydantic has some for its own types."""
    function: Any = schema["function"]["function"]
    while isinstance(function, functools.partial):
        function = function.func
    module = getattr(function, "__module__", None) or type(function).__module__
    return not module.partition(".")[0].startswith("pydantic")


def _before(schema: Schema, check: Callable[[Any], Any]) -> Schema:
    # A union first looks for a member that the value already is: nothing is converted there. It
    # tries the strict schema even in lax mode, so that has to be strict by itself.
    kind = schema["type"]
    strict = {**schema, "strict": True} if kind != "is-instance" else schema
    if kind in _EXACT:
        strict = _checked(strict, functools.partial(_exact, kind))
    return {
        "type": "lax-or-strict",
        "strict_schema": strict,
        "lax_schema": _checked(schema, check),
    }


def _checked(schema: Schema, check: Callable[[Any], Any]) -> Schema:
    function = {"type": "no-info", "function": check}
    return {"type": "function-before", "function": function, "schema": schema}


def _check_of(schema: Schema, beside_number: bool, closed: bool) -> Callable[[Any], Any] | None:
    """The function that checks a value before *schema* converts it."""
    kind: str = schema["type"]
    if kind in _TEMPORAL:
        return functools.partial(_exact_temporal, kind, beside_number)
    if kind in _NUMBERS:
        return functools.partial(_number, kind, closed)
    if kind == "bool":
        return _of_numpy
    if kind == "enum" and issubclass(schema["cls"], Flag):
        return functools.partial(_flags, schema["cls"])
    if kind in ("enum", "literal") and closed:
        members = schema["members"] if kind == "enum" else schema["expected"]
        values = [one.value if isinstance(one, Enum) else one for one in members]
        return functools.partial(_choice, values)
    if kind in ("list", "tuple"):
        return functools.partial(_ordered, kind)
    if kind == "is-instance":
        return _other_library(schema["cls"])
    return None


def _refuse(why: str) -> NoReturn:
    raise PydanticCustomError("mxm", "{why}", {"why": why})


def _same_keys(value: Any, read: Callable[[Any], Any]) -> Any:
    """What *read* makes of the dict *value*, unless two of its keys become one."""
    made = read(value)
    if isinstance(value, Mapping) and len(made) != len(cast("Any", value)):
        _refuse("two of its keys are the same key: the second would replace the first")
    return made


# Dates and times

_TEMPORAL: dict[Any, str] = {
    "date": "2024-01-31",
    "datetime": "2024-01-31T09:30",
    "time": "09:30",
    "timedelta": "PT1H30M",
}
_DIGITS = re.compile(r"\s*[+-]?[0-9_]*\.?[0-9_]+\.?([eE][+-]?[0-9]+)?\s*")


def _temporal(kind: str, beside_number: bool, value: Any) -> Any:
    """*value*, unless it is a number, which pydantic would read as seconds since 1970."""
    value = _of_numpy(value)
    text = bytes(value).decode("utf-8", "replace") if isinstance(value, bytes) else value
    if isinstance(text, str):
        if not _DIGITS.fullmatch(text):
            return value
        day = _day(text) if kind in ("date", "datetime") and not beside_number else None
        if day is not None:
            return day
        _refuse(f"{text.strip()!r} is a number, not a {kind}; write {_literal(kind, text)}")
    if isinstance(value, Number):
        _refuse(f"{value!r} is a number, not a {kind}; write {_literal(kind, str(value))}")
    return value


_FINER = re.compile(r"[.,][0-9]{6}0*[1-9][0-9]*(?=$|[Zz+-]|[Ss])")
_CALENDAR = re.compile(r"[+-]?P[^T]*[YM]", re.IGNORECASE)


def _exact_temporal(kind: str, beside_number: bool, value: Any) -> Any:
    """As `_temporal`; and text that only a rounded value could stand for is refused."""
    value = _temporal(kind, beside_number, value)
    text = value.strip() if isinstance(value, str) else ""
    if _FINER.search(text):
        _refuse(f"{text!r} is finer than a microsecond, which no {kind} is")
    if kind == "timedelta" and _CALENDAR.match(text):
        _refuse(f"{text!r}: years and months differ in length; write days, 'P30D'")
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
    return f"'{_TEMPORAL[kind]}'"


# Numbers and enums


# pydantic's strict float takes whatever has __float__: a Decimal, a complex number of NumPy.
_EXACT: Mapping[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "complex": (complex, float, int),
}


def _exact(kind: str, value: Any) -> Any:
    """*value*, if it is a number of *kind* before any conversion."""
    value = _of_numpy(value)
    if not isinstance(value, _EXACT[kind]):
        _refuse(f"{repr_of(value)} is not of type {kind}")
    return value


def _number(kind: str, closed: bool, value: Any) -> Any:
    """*value*, unless it is true or false in a file, or too large."""
    value = _of_numpy(value)
    if closed and isinstance(value, bool):
        _refuse(f"{str(value).lower()} is not a number")
    if closed and kind == "int" and isinstance(value, float) and abs(value) >= _FIRST_INEXACT:
        _refuse(f"{value!r} may have lost digits; write it without a point or an exponent")
    return _finite(kind, value) if kind in ("float", "complex") else value


_FIRST_INEXACT = 2**53  # from there on a float skips whole numbers


def _finite(kind: str, value: Any) -> Any:
    """*value*, unless it is the text of a number too large for a *kind*, float or complex."""
    if isinstance(value, str) and not re.search("[iI][nN][fF]", value):
        try:
            number = complex(value)
        except ValueError:
            return value
        if math.isinf(number.real) or math.isinf(number.imag):
            _refuse(f"{value!r} is too large for a {kind}")
    # A Decimal, a Fraction or a longer float of NumPy; what is infinite itself passes.
    if isinstance(value, Number) and not isinstance(value, complex | float):
        try:
            number = float(cast("Any", value))
        except (OverflowError, ValueError):
            return value
        if math.isinf(number) and number != cast("Any", value):
            _refuse(f"{value} is too large for a {kind}")
    return value


def _choice(values: list[Any], value: Any) -> Any:
    """*value*, unless it is true or false and the *values* are numbers: True equals 1."""
    if isinstance(value, bool) and not any(isinstance(one, bool) for one in values):
        _refuse(f"{str(value).lower()} is not {' or '.join(map(repr_of, values))}")
    return value


def _ordered(kind: str, value: Any) -> Any:
    """*value*, unless it is a set: the order of its members differs from run to run."""
    members = value
    if isinstance(value, set | frozenset) and len(members) > 1:
        _refuse(f"a {type(members).__name__} has no order, and a {kind} has; give sorted(...)")
    return members


def _flags(kind: Any, value: Any) -> Any:
    """The members named in ``A|B``."""
    if isinstance(value, str):
        names = [name.strip() for name in value.split("|")]
        if all(name in kind.__members__ for name in names):
            return functools.reduce(lambda one, other: one | other, (kind[name] for name in names))
        _refuse(f"{value!r} is not a flag; write names, {'|'.join(list(kind.__members__)[:2])}")
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return kind(value)
        except ValueError:
            return value
    return value


# Types of pandas and NumPy, which pydantic does not know


def _of_numpy(value: Any) -> Any:
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
        _refuse(f"{repr_of(value)} is finer than a microsecond, or NaT")
    return exact.item()


def _other_library(kind: Any) -> Callable[[Any], Any] | None:
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
        _refuse(f"{repr_of(value)} does not fit {kind.__name__}: {text_of(error)}")


def _numpy_time(kind: Any, name: str, value: Any) -> Any:
    pandas = sys.modules.get("pandas")
    if name == "timedelta" and isinstance(value, str) and pandas is not None:
        return _converted(pandas.Timedelta, name, (str,), value).to_timedelta64()
    aware = isinstance(value, datetime) and value.utcoffset()
    if aware or (isinstance(value, str) and _OFFSET.search(value)):
        _refuse(f"{repr_of(value)} has an offset, and a {kind.__name__} has none; give it in UTC")
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
        _refuse(f"{repr_of(value)} does not fit {kind.__name__}: {text_of(error)}")
    infinite = math.isinf(float(made.real)) or math.isinf(float(made.imag))
    if infinite and "inf" not in str(value).lower():
        _refuse(f"{value!r} is out of the range of {kind.__name__}")
    whole = issubclass(kind, sys.modules["numpy"].integer)
    if whole and not isinstance(value, str) and made != value:
        _refuse(f"{value!r} does not fit {kind.__name__}")
    return made
