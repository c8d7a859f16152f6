"""Whether a value is an instance of an annotation already: `isinstance`, members included."""

from __future__ import annotations

import typing
from collections.abc import Collection, Iterable, Mapping
from types import NoneType, UnionType
from typing import Any, cast

from mxm.pipeline.introspection.annotations import entries_of, is_typed_dict, named_type

__all__ = ["is_instance"]


def is_instance(value: Any, annotation: Any) -> bool:
    """Whether *value* is an instance of *annotation*, and its members of what that holds.

    As for a type checker, an ``int`` is a ``float`` too. Text is no sequence of its letters. False
    also where it cannot be told, and conditions in Annotated are not looked at.
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
    """The classes whose instances are those of *annotation*; None where that is not all."""
    origin = typing.get_origin(annotation)
    if annotation is Any:
        return (object,)
    if annotation is None:
        return (NoneType,)
    if origin in (typing.Union, UnionType):
        found = [_classes(named_type(member)) for member in typing.get_args(annotation)]
        return None if None in found else tuple(c for classes in found for c in classes or ())
    if isinstance(origin, type) and not hasattr(annotation, "__args__"):
        return (origin,)  # typing.List, without what it holds
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
    return isinstance(value, Iterable)  # what can be read once only is not looked into


def _all(members: Collection[Any], annotation: Any) -> bool:
    classes = _classes(named_type(annotation))
    if classes is None:
        return all(is_instance(member, annotation) for member in members)
    # Long lists have few types.
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
