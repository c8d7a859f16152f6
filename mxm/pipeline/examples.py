"""What to write for a parameter of some type: the values it allows, or one it would take."""

from __future__ import annotations

import dataclasses
import json
import shlex
import types
import typing
from collections.abc import Collection, Mapping
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any

from mxm.pipeline.errors import closest
from mxm.pipeline.hints import named_type

__all__ = ["example_of"]


def example_of(annotation: Any, name: str, wrong: object, *, typed: bool) -> str | None:
    """The way out where *wrong* does not fit *annotation*; None where its name says enough.

    Parameters
    ----------
    annotation
        The parameter's.
    name
        The parameter's.
    wrong
        What was given.
    typed
        Whether it was typed at the command, and would be again.
    """
    allowed = _choices(annotation)
    if allowed:
        near = closest(str(wrong), allowed)
        return f"{f'did you mean {near!r}? ' if near else ''}allowed: {', '.join(allowed)}"
    value = _example(annotation, 0)
    if value is None or (type(value) in (int, float, str) and named_type(annotation) in _PLAIN):
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"write -p {name}={shlex.quote(text)}" if typed else f"for example {text}"


_EXAMPLES: dict[Any, tuple[Any, ...]] = {
    str: ("a", "b"),
    int: (1, 2),
    float: (1.5, 2.5),
    bool: (True, False),
    date: ("2024-01-31", "2024-02-29"),
    datetime: ("2024-01-31T09:30", "2024-02-29T09:30"),
    time: ("09:30", "16:00"),
    timedelta: ("PT1H30M", "P1D"),
}
_PLAIN = (str, int, float)
_DEEPEST = 3


def _members(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """What *annotation* is, and what it is made of; a union of one and None is that one."""
    annotation = named_type(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _members(args[0])
    if origin in (typing.Union, types.UnionType):
        return typing.Union, tuple(a for a in args if a is not type(None))
    return origin or annotation, args


def _choices(annotation: Any) -> list[str]:
    """The values that *annotation* allows, as they are typed; none where they are not a list."""
    kind, args = _members(annotation)
    if kind is typing.Literal:
        values = list(args)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        values = [member.value for member in kind]
    elif kind is typing.Union and len(args) == 1:
        return _choices(args[0])
    else:
        return []
    return [v if isinstance(v, str) else str(_example_value(v)) for v in values]


def _example_value(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _example(annotation: Any, nth: int, depth: int = 0) -> Any:
    """A value as JSON that *annotation* would take, the first or the second; None for none."""
    kind, args = _members(annotation)
    if kind in _EXAMPLES:
        return _EXAMPLES[kind][nth]
    allowed = _choices(annotation)
    if allowed:
        return allowed[nth % len(allowed)]
    if kind is typing.Union:
        return next((e for a in args if (e := _example(a, nth, depth)) is not None), None)
    if depth > _DEEPEST or not isinstance(kind, type):
        return None
    fields = _fields(kind)
    if fields:
        return {name: _inside(part, 0, depth) for name, part in fields.items()}
    if issubclass(kind, tuple) and args and args[-1] is not ...:
        return [_inside(part, 0, depth) for part in args]
    if issubclass(kind, Mapping):
        return {"a": _inside(args[1] if len(args) == 2 else int, 0, depth)}
    if issubclass(kind, Collection) and not issubclass(kind, str | bytes | bytearray):
        if kind.__module__ not in ("builtins", "collections.abc", "collections"):
            return None  # an array, a table: nothing that could be typed
        return [_inside(args[0] if args else str, i, depth) for i in (0, 1)]
    return None


def _inside(annotation: Any, nth: int, depth: int) -> Any:
    found = _example(annotation, nth, depth + 1)
    return "..." if found is None else found


def _fields(kind: Any) -> dict[str, Any]:
    """Names and types of the fields of a dataclass, a model, or a typed dict."""
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind) if field.init]
    elif hasattr(kind, "model_fields"):
        names = list(kind.model_fields)
    elif typing.is_typeddict(kind):
        names = list(kind.__annotations__)
    else:
        return {}
    try:
        hints = typing.get_type_hints(kind)
    except Exception:  # an annotation may run any code, and fail in any way
        hints = {}
    return {name: hints.get(name) for name in names}
