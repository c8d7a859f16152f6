"""Checks whether a value is an instance of an annotation: `isinstance`, members included."""

from __future__ import annotations

import itertools
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, NamedTuple, cast

from mxm.pipeline.introspection.annotations import (
    entries_of,
    is_typed_dict,
    named_type,
    parts_of,
)

__all__ = ["UnknownKey", "is_instance", "is_no_instance", "members_with_hints", "unknown_keys"]


def is_instance(value: Any, annotation: Any) -> bool:
    """Whether *value* is an instance of *annotation*, including its members.

    As for a type checker, an ``int`` is a ``float``, too. Text is not a sequence of its letters.
    False also if it is unknown. Conditions in Annotated are ignored.
    """
    annotation = named_type(annotation)
    classes = _classes(annotation)
    if classes is not None:
        return _is_one_of(value, classes)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return is_instance(value, args[0])
    if origin in (typing.Union, UnionType):
        return any(is_instance(value, member) for member in args)
    if origin is typing.Literal:
        return any(type(value) is type(one) and value == one for one in args)
    if is_typed_dict(annotation):
        return _is_typed_dict(value, annotation)
    if not isinstance(origin, type) or origin.__module__ not in _CONTAINERS:
        return False
    return isinstance(value, origin) and _holds(value, origin, args)


_CONTAINERS = ("builtins", "collections", "collections.abc")
_NUMBERS: dict[type, tuple[type, ...]] = {float: (float, int), complex: (complex, float, int)}


def _classes(annotation: Any) -> tuple[type, ...] | None:
    """The classes whose instances are exactly those of *annotation*, or None."""
    origin = typing.get_origin(annotation)
    if annotation is Any:
        return (object,)
    if annotation is None:
        return (NoneType,)
    if origin in (typing.Union, UnionType):
        classes_of = [_classes(named_type(member)) for member in typing.get_args(annotation)]
        return (
            None
            if None in classes_of
            else tuple(c for classes in classes_of for c in classes or ())
        )
    if isinstance(origin, type) and not hasattr(annotation, "__args__"):
        return (origin,)  # typing.List without arguments
    if origin is not None or not isinstance(annotation, type) or is_typed_dict(annotation):
        return None
    return _NUMBERS.get(annotation, (annotation,))


def _is_one_of(value: object, classes: tuple[type, ...]) -> bool:
    try:
        return isinstance(value, classes)
    except TypeError:  # a protocol that cannot be asked
        return False


def _holds(value: Any, origin: type, args: tuple[Any, ...]) -> bool:
    """Whether the members of the container *value* are instances of *args*."""
    if isinstance(value, str | bytes | bytearray):
        return False
    if origin is tuple and args[1:] != (...,):
        return len(value) == len(args) and all(map(is_instance, value, args))
    if isinstance(value, Mapping):
        table = cast("Any", value)
        return _all(table, args[0]) and (len(args) == 1 or _all(table.values(), args[1]))
    if isinstance(value, Collection):
        return _all(cast("Any", value), args[0])
    return isinstance(value, Iterable)  # values that can be read only once are not opened


def _all(members: Collection[Any], annotation: Any) -> bool:
    classes = _classes(named_type(annotation))
    if classes is None:
        return all(is_instance(member, annotation) for member in members)
    # Long lists contain few types.
    return all(_is_subclass(kind, classes) for kind in set(map(type, members)))


def _is_subclass(kind: type, classes: tuple[type, ...]) -> bool:
    try:
        return issubclass(kind, classes)
    except TypeError:  # a protocol that cannot be asked
        return False


def _is_typed_dict(value: Any, kind: Any) -> bool:
    if not isinstance(value, dict) or hasattr(kind, "__pydantic_config__"):
        return False
    table = cast("Any", value)
    return all(
        is_instance(table[key], hint) if key in table else not required
        for key, (hint, required) in entries_of(kind).items()
    )


def is_no_instance(value: Any, annotation: Any) -> bool:
    """Whether *value* is certainly not an instance of *annotation*.

    False also if it is unknown: for a protocol, a type variable, what only pydantic knows.
    """
    annotation = named_type(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return is_no_instance(value, args[0])
    if origin in (typing.Union, UnionType):
        return all(is_no_instance(value, member) for member in args)
    classes = _classes(annotation)
    if classes is not None:
        return all(_can_be_asked(kind) for kind in classes) and not _is_one_of(value, classes)
    if origin is typing.Literal:
        return not is_instance(value, annotation)
    if is_typed_dict(annotation):
        return not isinstance(value, dict)
    if not isinstance(origin, type) or origin.__module__ not in _CONTAINERS:
        return False
    return not isinstance(value, origin)


_MOST_MEMBERS = 1_000  # of one container that are looked at


def members_with_hints(value: Any, annotation: Any) -> list[list[tuple[Any, Any]]]:
    """The members of the container *value*, each with its annotation.

    One list for each member of a union that *value* may be; empty if none has annotated members.
    """
    annotation = named_type(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return members_with_hints(value, args[0])
    if origin in (typing.Union, UnionType):
        there = [one for one in args if not is_no_instance(value, one)]
        readings = [members_with_hints(value, one) for one in there]
        return [one for reading in readings for one in reading] if all(readings) else []
    if is_typed_dict(origin or annotation):
        hints = {key: hint for key, (hint, _) in entries_of(annotation).items()}
        return [[(part, hints[key]) for key, part in value.items() if key in hints]]
    if not args or not isinstance(origin, type) or origin.__module__ not in _CONTAINERS:
        return []
    if isinstance(value, str | bytes) or not isinstance(value, Collection):
        return []
    table = cast("Any", value)
    some: list[Any] = [*itertools.islice(table, _MOST_MEMBERS)]
    if isinstance(table, Mapping):
        values: list[tuple[Any, Any]] = (
            [(table[key], args[1]) for key in some] if len(args) == _ENTRIES else []
        )
        return [[*((key, args[0]) for key in some), *values]]
    if origin is tuple and args[-1] is not ...:
        return [[*zip(some, args, strict=False)]]
    return [[(member, args[0]) for member in some]]


_ENTRIES = 2  # arguments of a mapping


def _can_be_asked(kind: type) -> bool:
    return not getattr(kind, "_is_protocol", False)


class UnknownKey(NamedTuple):
    """A key in a value that its typed dict does not have.

    Parameters
    ----------
    place
        The typed dict's place in the value, such as ``[0]``.
    key
        The key.
    missing
        Keys of the typed dict that are missing in the value.
    """

    place: str
    key: Any
    missing: tuple[str, ...]


def unknown_keys(value: Any, annotation: Any, place: str = "") -> list[UnknownKey]:
    """The keys in *value*, an instance of *annotation*, that its typed dicts do not have."""
    annotation = named_type(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return unknown_keys(value, args[0], place)
    if origin in (typing.Union, UnionType):
        members = [member for member in args if is_instance(value, member)]
        unknown = [unknown_keys(value, member, place) for member in members]
        return min(unknown, key=len) if unknown else []
    if is_typed_dict(origin or annotation):
        return _keys_beside(value, annotation, place)
    if not args or not isinstance(origin, type) or origin.__module__ not in _CONTAINERS:
        return []
    if isinstance(value, Mapping):
        table = cast("Any", value)
        inside = [(f"{place}[{k!r}]", v, args[-1]) for k, v in table.items() if len(args) == 2]
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        row = cast("Any", value)
        hints = args if origin is tuple and args[-1] is not ... else (args[0],) * len(row)
        inside = [(f"{place}[{i}]", v, h) for i, (v, h) in enumerate(zip(row, hints, strict=False))]
    else:
        return []
    if not any(_has_typed_dict(hint) for hint in args):
        return []
    return [one for where, member, hint in inside for one in unknown_keys(member, hint, where)]


def _keys_beside(value: Any, kind: Any, place: str) -> list[UnknownKey]:
    if not isinstance(value, dict) or _takes_more(typing.get_origin(kind) or kind):
        return []
    table, entries = cast("Any", value), entries_of(kind)
    missing = tuple(name for name in entries if name not in table)
    own = [UnknownKey(place, key, missing) for key in table if key not in entries]
    inner = [
        one
        for name, (hint, _) in entries.items()
        if name in table
        for one in unknown_keys(table[name], hint, f"{place}[{name!r}]")
    ]
    return own + inner


def _takes_more(kind: Any) -> bool:
    config: Mapping[str, Any] = getattr(kind, "__pydantic_config__", None) or {}
    extra = getattr(kind, "__extra_items__", None)
    has_items = extra is not None and getattr(extra, "__name__", "") != "NoExtraItems"
    return "extra" in config or has_items or getattr(kind, "__closed__", None) is True


def _has_typed_dict(annotation: Any) -> bool:
    return any(is_typed_dict(typing.get_origin(part) or part) for part in parts_of(annotation))
