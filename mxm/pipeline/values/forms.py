"""The exact text form of each type, which a union with `str` does not keep as text."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Any
from uuid import UUID

from mxm.pipeline.introspection.annotations import named_type

__all__ = ["is_exactly", "members_of"]

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?")
_DURATION = re.compile(
    r"-?P(?=[0-9T])([0-9]+W)?([0-9]+D)?(T(?=[0-9])([0-9]+H)?([0-9]+M)?([0-9]+(\.[0-9]+)?S)?)?"
)


def _is_datetime(text: str) -> bool:
    day, mark, clock = text.partition("T") if "T" in text else text.partition(" ")
    return bool(mark and _DATE.fullmatch(day) and _TIME.fullmatch(clock))


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


_FORMS: dict[Any, Callable[[str], object]] = {
    bool: lambda text: text in ("true", "false"),
    NoneType: lambda text: text == "null",
    int: _INTEGER.fullmatch,
    float: _NUMBER.fullmatch,
    complex: _NUMBER.fullmatch,
    Decimal: _NUMBER.fullmatch,
    date: _DATE.fullmatch,
    datetime: _is_datetime,
    time: _TIME.fullmatch,
    timedelta: _DURATION.fullmatch,
    UUID: _is_uuid,
}


def is_exactly(text: str, annotation: Any) -> bool:
    """Whether *text* is exactly the form of a value of *annotation*.

    Parameters
    ----------
    text
        The text as typed.
    annotation
        A type other than ``str``.
    """
    annotation = named_type(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is None:
        return text == "null"
    if origin is typing.Annotated:
        return is_exactly(text, args[0])
    if origin is typing.Literal:
        return any(text == str(one.value if isinstance(one, Enum) else one) for one in args)
    if annotation in _FORMS:
        return bool(_FORMS[annotation](text))
    kind: Any = origin or annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return any(text == str(member.value) for member in kind)
    if isinstance(kind, type):
        for parent in kind.__mro__:  # pandas.Timestamp is a datetime, numpy.float64 a float
            if parent in _FORMS:
                return bool(_FORMS[parent](text))
    return _is_document(text, kind)


def _is_document(text: str, kind: Any) -> bool:
    """Whether *text* is a JSON list or object, the form of containers and types with fields."""
    if not isinstance(kind, type) or issubclass(kind, str | bytes):
        return False
    if not text.strip().startswith(("[", "{")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def members_of(annotation: Any) -> Iterator[Any]:
    """The members of a union, nested ones included; for any other annotation, only itself."""
    annotation = named_type(annotation)
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        for member in typing.get_args(annotation):
            yield from members_of(member)
    else:
        yield annotation
