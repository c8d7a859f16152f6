"""Suggests values for a parameter: the values that its type allows, or an example."""

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

from mxm.pipeline.introspection.annotations import is_typed_dict, named_type
from mxm.pipeline.problems import closest
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.values.conversion import Text, coerce, plain

__all__ = ["choices_of", "example_of"]


def example_of(annotation: Any, name: str, wrong: object, *, typed: bool) -> str | None:
    """A hint if *wrong* does not fit *annotation*; None if the name of the type says enough.

    Parameters
    ----------
    annotation
        The parameter's.
    name
        The parameter's.
    wrong
        The value.
    typed
        Whether it was typed on the command line.
    """
    if typed and wrong == "" and type(None) in typing.get_args(named_type(annotation)):
        return f"for None write -p {name}=null"
    choices = choices_of(annotation)
    if choices:
        return _allowed(choices, wrong, typed=typed)
    members = _members_meant(annotation, wrong) if typed else []
    if members:
        return _listed(members, name)
    value = _example(annotation, 0)
    if value is None or (type(value) in (int, float, str) and named_type(annotation) in _PLAIN):
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"write -p {name}={shlex.quote(text)}" if typed else f"for example {text}"


def _allowed(choices: list[Any], wrong: object, *, typed: bool) -> str:
    """*choices*, and the one probably meant: as text if they are typed, else as values."""
    by_text = {str(choice): choice for choice in choices}
    near = closest(str(wrong), by_text)
    hint = ""
    if near is not None:
        meant = near if typed else by_text[near]
        kind = type(meant).__name__
        # '3' and 3 look different.
        given_kind = f" ({'an' if kind[0] in 'aeiou' else 'a'} {kind})" if meant != near else ""
        hint = f"did you mean {meant!r}{given_kind}? "
    shown = [str(choice) if typed else repr(choice) for choice in choices]
    return f"{hint}allowed: {', '.join(shown)}"


def _members_meant(annotation: Any, wrong: object) -> list[Any]:
    """The members in *wrong*, separated by commas, if *annotation* is a list of them."""
    kind, args = _members(annotation)
    if kind is typing.Union and len(args) == 1:
        return _members_meant(args[0], wrong)
    if not isinstance(wrong, str) or not _is_list(kind) or not (len(args) < 2 or args[1] is ...):
        return []
    members = [member.strip() for member in wrong.split(",")]
    kind = args[0] if args else str
    try:
        for member in members:
            coerce(Text(member), kind)
    except ValueError:
        return []
    if not all(members) or wrong[0] in "[{":  # a JSON list with a mistake
        return []
    return [plain(Text(m)) if kind is not str and _is_number(m) else m for m in members]


def _listed(members: list[Any], name: str) -> str:
    """*members* as typed on the command line: one by one, or as a JSON list."""
    whole = f"-p {name}={shlex.quote(json.dumps(members, ensure_ascii=False))}"
    if not 1 < len(members) < 6:
        return f"write {whole}"
    return f"write {' '.join(f'-p {name}={shlex.quote(str(m))}' for m in members)}, or {whole}"


def _is_number(text: str) -> bool:
    return isinstance(plain(Text(text)), int | float)


def _is_list(kind: Any) -> bool:
    return (
        isinstance(kind, type)
        and issubclass(kind, Collection)
        and not issubclass(kind, str | bytes | bytearray | Mapping)
        and kind.__module__ in _LISTS  # not an array, nor a table
    )


_LISTS = ("builtins", "collections.abc", "collections")
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
    """The origin and arguments of *annotation*; a union of a type and None counts as the type."""
    annotation = named_type(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _members(args[0])
    if origin in (typing.Union, types.UnionType):
        return typing.Union, tuple(a for a in args if a is not type(None))
    return origin or annotation, args


def choices_of(annotation: Any) -> list[Any]:
    """The values that *annotation* allows; empty if they cannot be listed."""
    kind, args = _members(annotation)
    if kind is typing.Literal:
        return [one.value if isinstance(one, Enum) else one for one in args]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [member.value for member in kind]
    if kind is typing.Union and len(args) == 1:
        return choices_of(args[0])
    return []


def _example(annotation: Any, nth: int, depth: int = 0) -> Any:
    """An example value for *annotation* as JSON, the first or second one; None if there is none."""
    kind, args = _members(annotation)
    if kind in _EXAMPLES:
        return _EXAMPLES[kind][nth]
    choices = choices_of(annotation)
    if choices:
        choice = choices[nth % len(choices)]
        return choice if isinstance(choice, str | int | float) else str(choice)
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
    if _is_list(kind):
        return [_inside(args[0] if args else str, i, depth) for i in (0, 1)]
    return None


def _inside(annotation: Any, nth: int, depth: int) -> Any:
    example = _example(annotation, nth, depth + 1)
    return "..." if example is None else example


def _fields(kind: Any) -> dict[str, Any]:
    """Names and types of the fields of a dataclass, a model, or a typed dict."""
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind) if field.init]
    elif hasattr(kind, "model_fields"):
        names = list(kind.model_fields)
    elif is_typed_dict(kind):
        names = list(kind.__annotations__)
    else:
        return {}
    try:
        hints = typing.get_type_hints(kind)
    except BaseException as error:  # an annotation may run any code and raise anything
        let_signals_pass(error)
        hints = {}
    return {name: hints.get(name) for name in names}
