"""Values as types: text from the command, and what a Python value becomes, by the annotation."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, NoReturn, cast

from mxm.pipeline.introspection.annotations import Unresolved, named_type, parts_of
from mxm.pipeline.values.membership import is_instance

__all__ = ["Given", "Text", "as_json", "coerce", "plain"]

_empty = inspect.Parameter.empty


class Text(str):
    """A value as it was typed at the command: its parameter's annotation says what it means."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Given:
    """A value that was not typed itself, but says where it stands.

    Parameters
    ----------
    value
        `Text`, or a Python value that a file holds.
    origin
        The file, or the environment's variable, in words.
    """

    value: Any = field(repr=False)  # it may be a secret
    origin: str


def plain(value: Any) -> Any:
    """*value* without the mark of the command: where no annotation speaks, JSON if it parses."""
    return _json_or_text(value) if isinstance(value, Text) else value


def _json_or_text(value: str) -> Any:
    try:
        return _json(value)
    except ValueError:
        return str(value)


def _json(text: str, annotation: Any = None) -> Any:
    """*text* as JSON; where *annotation* has a Decimal in it, numbers with all their digits."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")  # Python reads NaN and Infinity by itself

    number = Decimal if any(part is Decimal for part in parts_of(annotation)) else float
    try:
        return json.loads(text, parse_constant=refuse, parse_float=number)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ArithmeticError as error:
        raise ValueError("a number beyond a Decimal") from error


def coerce(value: Any, annotation: Any) -> Any:
    """*value* as an instance of *annotation*.

    What is one already passes by identity, a container whose members are too. Text from the command
    is taken verbatim for ``str``, as JSON if it parses where there is no annotation, and otherwise
    read by pydantic in lax mode, as JSON first where the type is a container or a union. What
    pydantic cannot check passes.

    Raises
    ------
    ValueError
        It does not fit; the message says why.
    """
    annotation = named_type(annotation)
    if annotation in (_empty, Any, object) or isinstance(annotation, Unresolved):
        return plain(value)
    if isinstance(value, Text) and annotation is str:
        return str(value)
    fits = not isinstance(value, Text) and is_instance(value, annotation)
    if fits and not _has_conditions(annotation):
        return value
    # Loaded only where a value must be read: pydantic is most of the command's start.
    from mxm.pipeline.values.validation import NoSchemaError, read

    try:
        if isinstance(value, Text):
            return _from_text(value, annotation, read)
        dated = isinstance(value, str) and _is_date(annotation, but=str)
        found = read(_with_dashes(value) if dated else value, annotation)
    except NoSchemaError:
        return plain(value)
    return value if fits and _equal(found, value) else found


def _has_conditions(annotation: Any) -> bool:
    """Whether Annotated says more than a type, which pydantic alone knows: ``Gt(0)``."""
    return any(typing.get_origin(part) is typing.Annotated for part in parts_of(annotation))


def _equal(one: object, other: object) -> bool:
    try:
        return bool(one == other)
    except Exception:  # tables and arrays compare by element
        return one is other


def _from_text(typed: Text, annotation: Any, read: Callable[[Any, Any], Any]) -> Any:
    text = _with_dashes(typed) if _is_date(annotation) else str(typed)
    if not _reads_json(annotation):
        return read(text, annotation)
    try:
        parsed = _json(text, annotation)
    except ValueError:
        return read(text, annotation)
    try:
        found = read(parsed, annotation)
    except ValueError as error:
        try:
            return read(text, annotation)
        except ValueError:
            raise error from None
    return read(text, annotation) if _is_another_number(parsed, found) else found


def _is_another_number(parsed: object, found: object) -> bool:
    """Whether pydantic made a truth a number, or a number with a point an ``int``."""
    if isinstance(parsed, bool):
        return isinstance(found, int | float | Decimal) and not isinstance(found, bool)
    return isinstance(parsed, float | Decimal) and isinstance(found, int)


def _is_date(annotation: Any, *, but: Any = None) -> bool:
    members = (annotation, *typing.get_args(annotation))
    return but not in members and any(t in (date, datetime) for t in members)


def _with_dashes(text: str) -> str:
    """``20240131`` as the ISO date it is; pydantic takes digits for seconds since 1970."""
    if len(text) == 8 and text.isdecimal():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return str(text)


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
    """*text* as JSON, numbers with all their digits where *annotation* has a Decimal in it.

    Raises
    ------
    ValueError
        It is not JSON.
    """
    return _json(text, annotation)
