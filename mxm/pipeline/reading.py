"""Values as types: text from the command, and what a Python value becomes, by the annotation."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum
from typing import Any, NoReturn, cast

from mxm.pipeline.hints import Unresolved, named_type
from mxm.pipeline.masking import is_secret

__all__ = ["Given", "Text", "coerce", "plain"]

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


def _json(text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")  # Python reads NaN and Infinity by itself

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def coerce(value: Any, annotation: Any) -> Any:
    """*value* as an instance of *annotation*.

    What is one already passes by identity. Text from the command is taken verbatim for ``str``,
    as JSON if it parses where there is no annotation, and otherwise read by pydantic in lax mode,
    as JSON first where the type is a container or a union. What pydantic cannot check passes.

    Raises
    ------
    ValueError
        It does not fit; the message says why.
    """
    annotation = named_type(annotation)
    typed = isinstance(value, Text)
    if annotation in (_empty, Any, object) or isinstance(annotation, Unresolved):
        return plain(value)
    if typed and annotation is str:
        return str(value)
    if not typed and _is_instance(value, annotation):
        return value
    # Loaded only where a value must be read: pydantic is most of the command's start.
    from mxm.pipeline.coercion import NoSchemaError, read, validate

    try:
        if not typed:
            if isinstance(value, str) and _is_date(annotation, but=str):
                value = _with_dashes(value)
            # Strict mode has plain text fit a secret, but the task is to get a secret.
            return (read if is_secret(annotation) else validate)(value, annotation)
        text = _with_dashes(value) if _is_date(annotation) else str(value)
        if _reads_json(annotation):
            try:
                parsed = _json(text)
            except ValueError:
                return read(text, annotation)
            try:
                return read(parsed, annotation)
            except ValueError as error:
                try:
                    return read(text, annotation)
                except ValueError:
                    raise error from None
        return read(text, annotation)
    except NoSchemaError:
        return plain(value)


def _is_instance(value: Any, annotation: Any) -> bool:
    try:
        return isinstance(annotation, type) and isinstance(value, annotation)
    except TypeError:  # a protocol that cannot be asked
        return False


def _is_date(annotation: Any, *, but: Any = None) -> bool:
    members = (annotation, *typing.get_args(annotation))
    return but not in members and any(t in (date, datetime) for t in members)


def _with_dashes(text: str) -> str:
    """``20240131`` as the ISO date it is; pydantic takes digits for seconds since 1970."""
    if len(text) == 8 and text.isdecimal():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return str(text)


def _reads_json(annotation: Any) -> bool:
    """Whether text for *annotation* is tried as JSON first: containers, unions, models, enums."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _reads_json(named_type(typing.get_args(annotation)[0]))
    if origin is not None:
        return True
    if not isinstance(annotation, type) or issubclass(annotation, str | bytes | bytearray):
        return False
    kind = cast("Any", annotation)
    return (
        issubclass(kind, Collection | Enum)
        or hasattr(kind, "__dataclass_fields__")
        or hasattr(kind, "model_fields")
    )
