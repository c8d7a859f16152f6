"""Makes pydantic schemas strict where lax mode would silently change a value.

A number is not a date, true in a file is not a number, a misspelt field is not dropped, and a
number too large for a float is not infinite. Loaded only with pydantic.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from enum import Enum, Flag
from numbers import Number
from typing import Any, cast
from uuid import UUID

from pydantic_core import SchemaValidator

from mxm.pipeline.errors import repr_of
from mxm.pipeline.values.forms import is_exactly
from mxm.pipeline.values.scalars import (
    TEMPORAL,
    exact_temporal,
    of_numpy,
    other_library,
    refuse,
)

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
    if kind in TEMPORAL:
        return functools.partial(exact_temporal, kind, beside_number)
    if kind in _NUMBERS:
        return functools.partial(_number, kind, closed)
    if kind == "bool":
        return of_numpy
    if kind == "enum" and issubclass(schema["cls"], Flag):
        return functools.partial(_flags, schema["cls"])
    if kind in ("enum", "literal") and closed:
        members = schema["members"] if kind == "enum" else schema["expected"]
        values = [one.value if isinstance(one, Enum) else one for one in members]
        return functools.partial(_choice, values)
    if kind in ("list", "tuple"):
        return functools.partial(_ordered, kind)
    if kind == "is-instance":
        return other_library(schema["cls"])
    return None


def _same_keys(value: Any, read: Callable[[Any], Any]) -> Any:
    """What *read* makes of the dict *value*, unless two of its keys become one."""
    made = read(value)
    if isinstance(value, Mapping) and len(made) != len(cast("Any", value)):
        refuse("two of its keys are the same key: the second would replace the first")
    return made


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
    value = of_numpy(value)
    if not isinstance(value, _EXACT[kind]):
        refuse(f"{repr_of(value)} is not of type {kind}")
    return value


def _number(kind: str, closed: bool, value: Any) -> Any:
    """*value*, unless it is true or false in a file, or too large."""
    value = of_numpy(value)
    if closed and isinstance(value, bool):
        refuse(f"{str(value).lower()} is not a number")
    if closed and kind == "int" and isinstance(value, float) and abs(value) >= _FIRST_INEXACT:
        refuse(f"{value!r} may have lost digits; write it without a point or an exponent")
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
            refuse(f"{value!r} is too large for a {kind}")
    # A Decimal, a Fraction or a longer float of NumPy; what is infinite itself passes.
    if isinstance(value, Number) and not isinstance(value, complex | float):
        try:
            number = float(cast("Any", value))
        except (OverflowError, ValueError):
            return value
        if math.isinf(number) and number != cast("Any", value):
            refuse(f"{value} is too large for a {kind}")
    return value


def _choice(values: list[Any], value: Any) -> Any:
    """*value*, unless it is true or false and the *values* are numbers: True equals 1."""
    if isinstance(value, bool) and not any(isinstance(one, bool) for one in values):
        refuse(f"{str(value).lower()} is not {' or '.join(map(repr_of, values))}")
    return value


def _ordered(kind: str, value: Any) -> Any:
    """*value*, unless it is a set: the order of its members differs from run to run."""
    members = value
    if isinstance(value, set | frozenset) and len(members) > 1:
        refuse(f"a {type(members).__name__} has no order, and a {kind} has; give sorted(...)")
    return members


def _flags(kind: Any, value: Any) -> Any:
    """The members named in ``A|B``."""
    if isinstance(value, str):
        names = [name.strip() for name in value.split("|")]
        if all(name in kind.__members__ for name in names):
            return functools.reduce(lambda one, other: one | other, (kind[name] for name in names))
        refuse(f"{value!r} is not a flag; write names, {'|'.join(list(kind.__members__)[:2])}")
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return kind(value)
        except ValueError:
            return value
    return value
