"""Converts text from the command line and Python values to the annotated type."""

from __future__ import annotations

import inspect
import json
import math
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Any, NoReturn, cast
from uuid import UUID

from mxm.pipeline.introspection.annotations import Unresolved, named_type, parts_of
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.values.forms import is_exactly, members_of
from mxm.pipeline.values.membership import is_instance, unknown_keys

__all__ = [
    "Sourced",
    "Text",
    "Written",
    "as_json",
    "coerce",
    "finite_float",
    "plain",
    "read_digits",
]

_empty = inspect.Parameter.empty


class Text(str):
    """A value typed on the command line: the annotation of its parameter decides its meaning."""

    __slots__ = ()


class Written(float):
    """A number in a file, with its digits: a Decimal keeps all of them.

    Parameters
    ----------
    digits
        As in the file.
    """

    __slots__ = ("digits",)

    def __new__(cls, digits: str) -> Written:
        """Keep *digits*; `finite_float` says which are refused."""
        made = super().__new__(cls, finite_float(digits))
        made.digits = digits
        return made

    digits: str


@dataclass(frozen=True, slots=True)
class Sourced:
    """A value that was not typed directly, with its origin.

    Parameters
    ----------
    value
        `Text`, or a Python value from a file.
    origin
        The file or the environment variable, as text.
    """

    value: Any = field(repr=False)  # it may be a secret
    origin: str


def plain(value: Any) -> Any:
    """*value* without `Text`, for a parameter without an annotation: JSON if it parses.

    Raises
    ------
    ValueError
        It contains a number that is too large for a float.
    """
    return _json_or_text(value) if isinstance(value, Text) else value


def _json_or_text(value: str) -> Any:
    try:
        return _json(value)
    except _MeantError as error:
        raise ValueError(str(error)) from None
    except ValueError:
        return str(value)


class _MeantError(Exception):
    """JSON that cannot be kept as it is: it must be neither changed nor read as mere text."""


def _json(text: str, annotation: Any = None) -> Any:
    """*text* as JSON; numbers keep all digits if *annotation* contains a Decimal.

    Raises
    ------
    _MeantError
        It is JSON, but Python's reader would change it silently.
    ValueError
        It is not JSON.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")  # Python accepts NaN and Infinity

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise _MeantError(f"duplicate key {twice!r}")
        return table

    number = Decimal if any(part is Decimal for part in parts_of(annotation)) else finite_float
    try:
        return json.loads(
            text, parse_constant=refuse, parse_float=number, object_pairs_hook=without_repeats
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except OverflowError as error:
        raise _MeantError(str(error)) from error
    except ArithmeticError as error:
        raise ValueError("a number beyond a Decimal") from error


def finite_float(digits: str) -> float:
    """The float that *digits* mean in JSON and TOML.

    Raises
    ------
    OverflowError
        It is too large for a float: Python would make it infinite.
    """
    number = float(digits)
    if math.isinf(number) and "inf" not in digits.lower():
        raise OverflowError(f"{digits!r} is too large for a float")
    return number


def coerce(value: Any, annotation: Any, *, closed: bool | None = None) -> Any:
    """*value* as an instance of *annotation*.

    An instance, including its members, passes unchanged, by identity. Text from the command stays
    as it is for ``str``; without an annotation it is JSON if it parses; otherwise pydantic reads it
    in lax mode, as JSON first if the type is a container or a union. A union with ``str`` keeps
    text that is not exactly in another member's own form. Values that pydantic cannot check pass.

    Parameters
    ----------
    value, annotation
        The value, and the type to convert it to.
    closed
        Whether an unknown key of a typed dict is an error; by default only if *value* is `Text`.

    Raises
    ------
    ValueError
        It does not fit; the message says why.
    """
    annotation = named_type(annotation)
    if closed:
        value = read_digits(value, annotation)
    if annotation in (_empty, Any, object) or isinstance(annotation, Unresolved):
        return plain(value)
    typed = isinstance(value, Text)
    if typed and annotation is str:
        return str(value)
    closed = typed if closed is None else closed
    fits = not typed and is_instance(value, annotation)
    has_forms = closed and not isinstance(value, _NO_TEXT) and _has_text_forms(annotation)
    if (
        fits
        and not has_forms
        and not _has_conditions(annotation)
        and not (closed and unknown_keys(value, annotation))
        and not (closed and type(value) not in _EXACT and _takes_fewer(annotation))
    ):
        return value
    # Loaded only if a value must be converted: pydantic takes most of the command's start.
    from mxm.pipeline.values.validation import NoSchemaError, read

    try:
        if typed:
            return _from_text(value, annotation, read)
        converted = read(value, annotation, closed=closed)
    except NoSchemaError:
        return plain(value)
    # A str Enum is equal to its text.
    return value if fits and not has_forms and _equal(converted, value) else converted


_EXACT = (int, float, str, type(None))  # which are neither true nor a time


_NO_TEXT = (int, float, date, type(None))


def _has_text_forms(annotation: Any) -> bool:
    """Whether text may be meant as another member of a union with ``str``: a date, an Enum."""
    parts = list(parts_of(annotation))
    return any(part is str for part in parts) and any(
        isinstance(part, type) and issubclass(part, _TEXT_ONLY) for part in parts
    )


_TEXT_ONLY = (date, time, timedelta, UUID, Enum)


def read_digits(value: Any, annotation: Any = None) -> Any:
    """*value* with a Decimal or a plain float in place of each `Written`, as *annotation* asks.

    A value without any passes by identity.
    """
    exact = any(part is Decimal for part in parts_of(annotation))

    def read(one: Any) -> Any:
        if type(one) is Written:
            return Decimal(one.digits) if exact and math.isfinite(one) else float(one)
        if type(one) is list:
            items: list[Any] = one  # pyright: ignore[reportUnknownVariableType]
            others = [*map(read, items)]
            same = all(a is b for a, b in zip(items, others, strict=True))
            return items if same else others
        if type(one) is dict:
            parts: dict[Any, Any] = one  # pyright: ignore[reportUnknownVariableType]
            fields = {key: read(part) for key, part in parts.items()}
            return parts if all(fields[key] is parts[key] for key in parts) else fields
        return one

    return read(value)


def _takes_fewer(annotation: Any) -> bool:
    """Whether a file must not give some instances of *annotation*: times as dates, true as 1."""
    parts = set(map(id, parts_of(annotation)))
    has_number = any(id(kind) in parts for kind in (int, float, complex))
    return (id(date) in parts and id(datetime) not in parts) or (
        has_number and id(bool) not in parts
    )


def _has_conditions(annotation: Any) -> bool:
    """Whether Annotated has conditions that only pydantic can check, such as ``Gt(0)``."""
    return any(typing.get_origin(part) is typing.Annotated for part in parts_of(annotation))


def _equal(one: object, other: object) -> bool:
    try:
        return bool(one == other)
    except BaseException as error:  # tables and arrays compare by element
        let_signals_pass(error)
        return one is other


def _from_text(typed: Text, annotation: Any, read: Callable[[Any, Any], Any]) -> Any:
    text = str(typed)
    others = _beside_str(annotation)
    if others is not None:
        for member in others:
            if is_exactly(text, member):
                return _from_text(typed, member, read)
        return read(text, annotation)
    if not _reads_json(annotation):
        return read(text, annotation)
    try:
        parsed = _json(text, annotation)
    except _MeantError as error:
        raise ValueError(str(error)) from None
    except ValueError:
        return read(text, annotation)
    try:
        converted = read(parsed, annotation)
    except ValueError as error:
        try:
            return read(text, annotation)
        except ValueError:
            raise error from None
    return read(text, annotation) if _is_another_number(parsed, converted) else converted


def _beside_str(annotation: Any) -> list[Any] | None:
    """The other members of a union that contains ``str``; None for any other annotation."""
    annotation = named_type(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _beside_str(args[0])
    if origin not in (typing.Union, UnionType):
        return None
    members = list(members_of(annotation))
    others = [member for member in members if _bare(member) is not str]
    return others if len(others) < len(members) else None


def _bare(annotation: Any) -> Any:
    annotation = named_type(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        return _bare(typing.get_args(annotation)[0])
    return annotation


def _is_another_number(parsed: object, converted: object) -> bool:
    """Whether pydantic turned a bool into a number, or a decimal fraction into an ``int``."""
    if isinstance(parsed, bool):
        return isinstance(converted, int | float | Decimal) and not isinstance(converted, bool)
    return isinstance(parsed, float | Decimal) and isinstance(converted, int)


def _reads_json(annotation: Any) -> bool:
    """Whether text for *annotation* is JSON first: containers, unions, models, enums, None."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _reads_json(named_type(typing.get_args(annotation)[0]))
    if origin is not None or annotation is None:
        return True
    if not isinstance(annotation, type) or issubclass(annotation, str | bytes | bytearray):
        return False
    kind = cast("Any", annotation)
    return (
        issubclass(kind, Iterable | Enum | NoneType)
        or hasattr(kind, "__dataclass_fields__")
        or hasattr(kind, "model_fields")
    )


def as_json(text: Text, annotation: Any) -> Any:
    """*text* as JSON; numbers keep all digits if *annotation* contains a Decimal.

    Raises
    ------
    ValueError
        It is not JSON, or contains a number that is too large for a float.
    """
    try:
        return _json(text, annotation)
    except _MeantError as error:
        raise ValueError(str(error)) from None
