"""Decides whether a value of one annotation can be one of another, and gives the types of parts.

The question is not whether one type is a subtype of the other: an edge is wrong only if no value of
the one can ever be a value of the other (docs/adr/0005-edge-types.md).
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Iterable
from enum import IntEnum
from typing import Any

from mxm.pipeline.introspection.annotations import (
    Unresolved,
    entries_of,
    field_hints,
    is_typed_dict,
    named_type,
)
from mxm.pipeline.values.arrays import is_table_type

__all__ = ["Fit", "count_of", "element_of", "fit", "part_of", "union_of"]


class Fit(IntEnum):
    """Whether a value of one type is a value of another."""

    NEVER = 0
    MAYBE = 1
    ALWAYS = 2


_NUMBERS: tuple[type, ...] = (int, float, complex)  # each fits the later ones
_ITEMS = 1  # generic types with one argument, for their members
_ENTRIES = 2  # and with two
_FINAL = (bool, *_NUMBERS, str, bytes, bytearray, list, dict, tuple, set, frozenset, type(None))


def fit(made: Any, wanted: Any) -> Fit:
    """Whether a value annotated as *made* is one of *wanted*.

    ``int`` fits ``float`` fits ``complex``, also inside containers; a missing type argument is
    ``Any``; a union fits if any of its members does; a supertype may fit.
    """
    try:
        return _fit(made, wanted)
    except RecursionError:  # two recursive types
        return Fit.MAYBE


def _fit(made: Any, wanted: Any) -> Fit:
    made, wanted = _bare(made), _bare(wanted)
    if wanted is Any or wanted is object or wanted is inspect.Parameter.empty:
        return Fit.ALWAYS
    if made is Any or made is inspect.Parameter.empty or made is object:
        return Fit.MAYBE
    if made is typing.NoReturn or made is typing.Never:
        return Fit.ALWAYS
    if _open(made) or _open(wanted):
        return Fit.MAYBE
    if made is wanted:
        return Fit.ALWAYS
    if _is_union(made):
        fits = [_fit(member, wanted) for member in typing.get_args(made)]
        return min(fits) if min(fits) == max(fits) else Fit.MAYBE
    if _is_union(wanted):
        return max(_fit(made, member) for member in typing.get_args(wanted))
    if typing.get_origin(made) is typing.Literal:
        fits = [_literal(value, wanted) for value in typing.get_args(made)]
        return min(fits) if min(fits) == max(fits) else Fit.MAYBE
    if typing.get_origin(wanted) is typing.Literal:
        kinds = [_fit(type(value), made) for value in typing.get_args(wanted)]
        return Fit.MAYBE if max(kinds) else Fit.NEVER
    return _classes(made, wanted)


def _bare(annotation: Any) -> Any:
    """*annotation* without Annotated, NewType, type aliases and the like."""
    while True:
        if annotation is None:
            return type(None)
        if typing.get_origin(annotation) in (typing.Annotated, typing.Final, typing.ClassVar):
            annotation = typing.get_args(annotation)[0]
        else:
            named = named_type(annotation)
            if named is annotation:
                return annotation
            annotation = named


def _open(annotation: Any) -> bool:
    """Whether nothing is known about *annotation*."""
    if isinstance(annotation, Unresolved | str | typing.TypeVar | typing.ForwardRef):
        return True
    origin = typing.get_origin(annotation) or annotation
    if not isinstance(origin, type) or getattr(annotation, "__unpacked__", False):
        return origin is not typing.Literal and not _is_union(annotation)
    return bool(getattr(origin, "_is_protocol", False)) or origin is type


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _literal(value: Any, wanted: Any) -> Fit:
    if typing.get_origin(wanted) is typing.Literal:
        return Fit.ALWAYS if value in typing.get_args(wanted) else Fit.NEVER
    return _fit(type(value), wanted)


def _classes(made: Any, wanted: Any) -> Fit:
    have = _class(made)
    need = _class(wanted)
    try:
        below, above = issubclass(have, need), issubclass(need, have)
        if need in _NUMBERS and issubclass(have, _NUMBERS[: _NUMBERS.index(need)]):
            return Fit.ALWAYS
    except TypeError:
        return Fit.MAYBE
    if below:
        return _arguments(made, wanted, Fit.MAYBE if is_typed_dict(wanted) else Fit.ALWAYS)
    if above:
        return _arguments(made, wanted, Fit.MAYBE)
    # A subclass of the first class may also be a `wanted`, if that is abstract.
    if inspect.isabstract(need) and have not in _FINAL:
        return Fit.MAYBE
    return Fit.NEVER


def _class(annotation: Any) -> type:
    origin = typing.get_origin(annotation) or annotation
    return dict if is_typed_dict(origin) else origin


def _arguments(made: Any, wanted: Any, outer: Fit) -> Fit:
    """How the members of two related types fit."""
    have, need = _held(made), _held(wanted)
    if need == ():
        return outer
    if have == ():
        return min(outer, Fit.MAYBE)
    if isinstance(need, list):
        if not isinstance(have, list):
            return min(outer, Fit.MAYBE) if all(_fit(have[0], n) for n in need) else Fit.NEVER
        if len(have) != len(need):
            return Fit.NEVER
    elif isinstance(have, list):
        need = need * len(have) if len(need) == _ITEMS else ()
    if len(have) != len(need):
        return min(outer, Fit.MAYBE)
    return min([outer, *map(_fit, have, need)])


def _held(annotation: Any) -> tuple[Any, ...] | list[Any]:
    """The member types of a container: a tuple for uniform ones, a list with one type per item."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if _is_named_tuple(origin or annotation):
        hints = field_hints(annotation)
        return [hints.get(name, Any) for name in (origin or annotation)._fields]
    if not isinstance(origin, type) or not hasattr(annotation, "__args__"):
        return ()
    if origin is tuple:
        return _items(args)
    if issubclass(origin, collections.abc.Mapping):
        return args if len(args) == _ENTRIES else ()
    if issubclass(origin, collections.abc.Iterable):
        return args if len(args) == _ITEMS else ()
    return ()


def _is_named_tuple(annotation: Any) -> bool:
    return (
        isinstance(annotation, type)
        and hasattr(annotation, "_fields")
        and issubclass(annotation, tuple)
    )


def _items(args: tuple[Any, ...]) -> tuple[Any, ...] | list[Any]:
    """The member types of a tuple; of ``tuple[int, *tuple[str, ...]]``, the union for all items."""
    if len(args) == 2 and args[1] is Ellipsis:
        return args[:1]
    parts = [_unpacked(arg) for arg in args]
    items = [item for part in parts for item in part]
    return items if all(isinstance(part, list) for part in parts) else (union_of(items),)


def _unpacked(arg: Any) -> tuple[Any, ...] | list[Any]:
    if getattr(typing.get_origin(arg), "_name", "") == "Unpack":  # typing_extensions has its own
        return _held(typing.get_args(arg)[0]) or (Any,)
    return _items(typing.get_args(arg)) if getattr(arg, "__unpacked__", False) else [arg]


def union_of(kinds: Iterable[Any]) -> Any:
    """The union of *kinds*; Any if there are none, or if one is not a type."""
    try:
        return typing.Union[tuple(kinds)]  # noqa: UP007 - there may be any number
    except TypeError:
        return Any


def count_of(annotation: Any) -> int | None:
    """The number of items of *annotation*, if it is a tuple of fixed length; otherwise None."""
    bare = _bare(annotation)
    if _is_union(bare):
        counts = {count_of(member) for member in typing.get_args(bare)}
        return counts.pop() if len(counts) == 1 else None
    held = _held(bare)
    return len(held) if isinstance(held, list) else None


def part_of(made: Any, key: str | int) -> Any:
    """The type of ``value[key]`` for a value of type *made*.

    Never if there is no such part; Any, or the unresolved annotation itself, if it is unknown.
    """
    made = _bare(made)
    if isinstance(made, Unresolved):
        return made
    if _is_union(made):
        parts = [part_of(member, key) for member in typing.get_args(made)]
        there = [part for part in parts if part is not typing.Never]
        return union_of(there) if there else typing.Never
    if typing.get_origin(made) is typing.Literal:
        return part_of(union_of(map(type, typing.get_args(made))), key)
    if made is Any or made is object or made is typing.Never or _open(made):
        return Any
    if is_typed_dict(made):
        return entries_of(made).get(str(key), (typing.Never,))[0]
    return _part_of_class(made, key)


def element_of(made: Any) -> Any:
    """The type of the items when mapping over a value of type *made*; Never if it has none.

    Any, or the unresolved annotation itself, if it is unknown.
    """
    made = _bare(made)
    if isinstance(made, Unresolved):
        return made
    if _is_union(made):
        parts: list[Any] = [element_of(member) for member in typing.get_args(made)]
        there = [part for part in parts if part is not typing.Never]
        return union_of(there) if there else typing.Never
    if typing.get_origin(made) is typing.Literal:
        return element_of(union_of(map(type, typing.get_args(made))))
    if made is Any or made is object or made is typing.Never or _open(made):
        return Any
    kind: Any = _class(made)
    if issubclass(kind, _NOT_LISTS) or is_table_type(kind):
        return typing.Never
    held = _held(made)
    if held:
        return union_of(held) if isinstance(held, list) or len(held) == _ITEMS else Any
    apart = not hasattr(kind, "__iter__") and not hasattr(kind, "__getitem__")
    return typing.Never if apart and not inspect.isabstract(kind) else Any


_NOT_LISTS = (str, bytes, bytearray, collections.abc.Mapping, collections.abc.Iterator)


def _part_of_class(made: Any, key: str | int) -> Any:
    kind = _class(made)
    by_place = issubclass(kind, collections.abc.Sequence)
    # As with two unrelated classes: subclasses that have parts do not count.
    apart = not hasattr(kind, "__getitem__") and not inspect.isabstract(kind)
    if apart or (by_place and isinstance(key, str)):
        return typing.Never
    held = _held(made)
    if isinstance(held, list):
        inside = isinstance(key, int) and -len(held) <= key < len(held)
        return held[int(key)] if inside else typing.Never
    if len(held) == _ENTRIES and (isinstance(key, str) or held[0] is str):
        # Keys of other types may equal a number: 1 == Decimal(1).
        return held[-1] if _fit(typing.Literal[key], held[0]) else typing.Never
    if issubclass(kind, str):
        return str
    return held[-1] if held else Any
