"""Values passed in parts: members of a list one by one, and single fields of a value."""

from __future__ import annotations

import contextlib
import inspect
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, NoReturn

from mxm.pipeline.introspection.annotations import Unresolved, named_type
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.values.conversion import Sourced, Text, as_json, coerce, plain, read_digits
from mxm.pipeline.values.fields import decides_itself, fields_of, key_of, takes_more, with_field

__all__ = ["MISSING", "Fields", "Members", "PartError", "assemble", "origins_in", "plain_parts"]

_empty = inspect.Parameter.empty
MISSING = _empty
"""Stands for no value."""


@dataclass(frozen=True, slots=True)
class Members:
    """The members of a list, tuple or set, passed one by one.

    Parameters
    ----------
    items
        `Text`, or values from files, in order.
    """

    items: tuple[Any, ...] = field(repr=False)  # one may be a secret


@dataclass(frozen=True, slots=True)
class Fields:
    """New values for single fields of a value; the other fields stay.

    Parameters
    ----------
    changes
        `Text`, `Sourced` or `Members` by the path to the field: ``("lookback",)``.
    base
        The whole value, if the run also passes one.
    """

    changes: Mapping[tuple[str, ...], Any] = field(repr=False)
    base: Any = field(default=MISSING, repr=False)


class PartError(ValueError):
    """A part does not fit, or has no place.

    Parameters
    ----------
    message
        Why it does not fit; the full message if there is no *annotation*.
    place
        The place in the value: ``.lookback``, ``[1]``, or empty for the whole.
    annotation, value
        The type of the part, and the value passed.
    hint
        What to write instead, or None.
    """

    def __init__(
        self,
        message: str,
        place: str,
        annotation: Any = MISSING,
        value: Any = MISSING,
        *,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.place = place
        self.annotation = annotation
        self.value = value
        self.hint = hint


def assemble(
    value: Any, annotation: Any, base: Any = MISSING, *, closed: bool | None = None
) -> Any:
    """Put the parts of *value* together and convert it to *annotation*, like `coerce`.

    Parameters
    ----------
    value
        Anything; `Members` and `Fields` become the values that they describe.
    annotation
        The type to convert it to.
    base
        The value without the run's.
    closed
        As for `coerce`.

    Raises
    ------
    PartError
        A part does not fit.
    ValueError
        The whole does not.
    """
    if isinstance(value, Members):
        return _with_members(value, annotation)
    if isinstance(value, Fields):
        whole = _bare(value.base)
        if whole is MISSING:
            return _with_fields(value, annotation, base, closed=False)
        return _with_fields(value, annotation, whole, closed=True)
    return coerce(value, annotation, closed=closed)


def plain_parts(value: Any) -> Any:
    """*value* without an annotation, converted like `plain`."""
    if isinstance(value, Members):
        return [plain(_bare(item)) for item in value.items]
    if isinstance(value, Fields):
        try:
            return assemble(value, Any)
        except ValueError:  # no task takes it, or this would have been reported before
            value = value.base
    return plain(read_digits(_bare(value)))


def origins_in(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """The origins of the parts of *value*, by the place in a `PartError`."""
    if isinstance(value, Sourced):
        yield name, value.origin
    elif isinstance(value, Members):
        for number, item in enumerate(value.items):
            yield from origins_in(f"{name}[{number}]", item)
    elif isinstance(value, Fields):
        yield from origins_in(name, value.base)
        for path, part in value.changes.items():
            yield from origins_in(".".join((name, *path)), part)


def _bare(value: Any) -> Any:
    return value.value if isinstance(value, Sourced) else value


# Members


def _with_members(members: Members, annotation: Any) -> Any:
    items = [_bare(item) for item in members.items]
    kinds = [kind for kind in _alternatives(annotation) if _is_collection(kind)]
    if not kinds:
        message = f"is given {len(items)} times, but takes one value"
        raise PartError(message, "", hint="give it once")
    error: PartError | None = None
    for kind in kinds:
        try:
            return _fit(_each(items, kind), annotation)
        except PartError as failed:
            error = error or failed
    raise error or ValueError


def _fit(value: Any, annotation: Any, place: str = "", *, closed: bool = True) -> Any:
    try:
        return coerce(value, annotation, closed=closed)
    except ValueError as error:
        raise PartError(str(error), place, annotation, value) from None


def _each(items: list[Any], kind: Any) -> list[Any]:
    args = typing.get_args(kind)
    hints = [*args, *[_empty] * len(items)]
    if not args or len(args) == 1 or args[-1] is ...:
        hints = [args[0] if args else _empty] * len(items)
    read: list[Any] = []
    for number, (item, hint) in enumerate(zip(items, hints, strict=False)):
        place = f"[{number}]"
        if isinstance(item, Text) and hint is str and _is_list(item):
            way_out = "pass one list, or its members one by one"
            raise PartError("must be one member, not a list", place, hint=way_out)
        read.append(_fit(item, hint, place))
    return read


def _is_list(text: Text) -> bool:
    """Whether *text* is a JSON list: the whole list, where a member is expected."""
    return text.lstrip().startswith("[") and isinstance(plain(text), list)


def _is_collection(kind: Any) -> bool:
    made: Any = typing.get_origin(kind) or kind
    if not isinstance(made, type) or issubclass(made, str | bytes | bytearray | Mapping):
        return False
    # Not a named tuple, an array or a table.
    return made.__module__ in _MODULES and issubclass(made, Iterable)


_MODULES = ("builtins", "collections", "collections.abc", "typing")


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The types that *annotation* allows: the members of a union, the type in Annotated."""
    annotation = named_type(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _alternatives(typing.get_args(annotation)[0])
    elif origin in (typing.Union, UnionType):
        for member in typing.get_args(annotation):
            yield from _alternatives(member)
    else:
        yield annotation


# Fields


def _with_fields(fields: Fields, annotation: Any, base: Any, *, closed: bool) -> Any:
    value = _whole(base, annotation, closed=closed)
    # A field is set before the fields within it, whatever their order on the command line.
    for path in sorted(fields.changes, key=len):
        value = _set(value, annotation, path, fields.changes[path], "")
    return _fit(value, annotation, closed=closed)


def _whole(base: Any, annotation: Any, *, closed: bool) -> Any:
    """*base* as an instance of *annotation*, or plain data if fields must be set first."""
    if base is MISSING or base is None:
        return None
    try:
        return _fit(base, annotation, closed=closed)
    except PartError:
        with contextlib.suppress(ValueError):
            data: Any = as_json(base, annotation) if isinstance(base, Text) else base
            if _is_mapping(data):
                return data
        raise


def _set(value: Any, annotation: Any, path: tuple[str, ...], part: Any, place: str) -> Any:
    """A copy of *value* with *part* at *path*."""
    name, *rest = path
    place = f"{place}.{name}"
    if value is None:
        value = {}
    key: Any = name
    if _is_mapping(value):
        key, hint, kind = _entry(value, annotation, name, place)
        old = value.get(key)
    else:
        kind = _class_of(value)
        hints = fields_of(kind)
        if not hints:
            raise PartError(f"cannot be set: {kind.__name__} has no fields", place)
        if name not in hints and not takes_more(kind):
            _refuse(name, hints, place)
        hint, old = hints.get(name, _empty), getattr(value, name, None)
    if rest:
        new = _set(old, hint, tuple(rest), part, place)
    else:
        new = _leaf(_bare(part), hint, place, lenient=decides_itself(kind, name))
    if _is_mapping(value):
        return {**value, key: new}
    try:
        return with_field(value, name, new)
    except ValueError as error:
        raise PartError(str(error), place, hint, new if rest else _bare(part)) from None


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _class_of(value: object) -> Any:
    return type(value)


def _leaf(part: Any, hint: Any, place: str, *, lenient: bool) -> Any:
    """*part* converted to *hint*; *lenient* leaves text that a validator may accept."""
    try:
        return _fit(part, hint, place) if not isinstance(part, Members) else assemble(part, hint)
    except PartError as error:
        if lenient and isinstance(part, Text):
            return str(part)
        if isinstance(part, Members):
            error.place = place + error.place
        raise


def _entry(
    value: Mapping[Any, Any], annotation: Any, name: str, place: str
) -> tuple[Any, Any, Any]:
    """The key of *value* for *name*, its type, and the type that has this field."""
    known: set[str] = set()
    hints: list[Any] = []
    key: Any = name
    owner: Any = dict
    kinds = list(_alternatives(annotation))
    for kind in kinds:
        origin = typing.get_origin(kind) or kind
        fields = fields_of(kind)
        if name in fields:
            hints.append(fields[name])
            key, owner = key_of(origin, name, value), origin
        elif fields and not takes_more(origin):
            known |= fields.keys()
        elif kind in (Any, object, _empty) or isinstance(kind, Unresolved) or fields:
            hints.append(_empty)
        elif isinstance(origin, type) and issubclass(origin, Mapping):
            args = typing.get_args(kind)
            key = _fit(Text(name), args[0], place) if args else name
            hints.append(args[1] if len(args) == 2 else _empty)
    if hints:
        return key, hints[0] if len(hints) == 1 else _union(hints), owner
    if known:
        _refuse(name, known, place)
    names = " | ".join(str(getattr(kind, "__name__", kind)) for kind in kinds)
    raise PartError(f"cannot be set: {names} has no fields", place)


def _union(hints: list[Any]) -> Any:
    return _empty if _empty in hints else typing.Union[tuple(hints)]  # noqa: UP007 - made of a list


def _refuse(name: str, known: Iterable[str], place: str) -> NoReturn:
    raise PartError("is not a field", place, hint=did_you_mean(name, known))
