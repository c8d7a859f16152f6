"""Reads a value recursively: containers by their parts, shared parts once."""

from __future__ import annotations

import hashlib
import hmac
import os
import sys
from array import array
from collections.abc import Callable, Sequence
from itertools import chain
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from mxm.pipeline.errors import described, repr_of
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.values.digest import (
    arrow_values,
    numpy_values,
    objects,
    pandas_values,
    polars_values,
)
from mxm.pipeline.values.digest.moments import kinds_of
from mxm.pipeline.values.digest.stream import (
    RefusedError,
    UndigestibleError,
    called,
    hashed,
    joined_texts,
    part,
    plain_kinds,
)

__all__ = ["Code", "digest_of"]

Code = Callable[[object], str]
"""The digest of a function or a class."""

_SCHEME = b"mxm.digest/1"
_CHUNK = 65_536  # items that are read at once
_REPEATS = 200_000  # parts of cycles are read again, because their place counts
_STEPS = 12  # that an error shows


def digest_of(
    value: Any,
    *,
    code: Code | None = None,
    key: bytes | None = None,
    root: str | None = None,
    name: str = "value",
    types: set[type] | None = None,
    limit: int | None = None,
) -> str:
    """The digest of *value*: the same for equal content, in every process.

    Types count, so 1, True and 1.0 differ; so do 0.0 and -0.0, and dicts in another order. Every
    NaN is the same. Objects count by their class and what pickle would read of them.

    Parameters
    ----------
    value
        Anything.
    code
        The digest of a function or a class; without it, only those of the standard library and of
        NumPy, pandas, polars, pyarrow and pydantic have one, by their name.
    key
        The key of the store. Nobody can guess a value from its digest without the key.
        A value that contains a secret has no digest without it.
    root
        The project's folder. Paths below it count relative to it, and so do texts that begin so.
    name
        What errors call the value.
    types
        Gets the type of each object in it that has parts, other than builtin containers.
    limit
        The largest number of objects with parts that are read; None for any number.

    Returns
    -------
    str
        Algorithm and digest in hexadecimal: ``sha256-9f86...``; ``hmac-sha256-...`` with a key.

    Raises
    ------
    UndigestibleError
        A part of it has no content to go by, such as a lock, an iterator or an open file; or it has
        more parts than *limit*.

    Examples
    --------
    >>> digest_of({"a": 1}) == digest_of({"a": 1})
    True
    >>> digest_of({"a": 1}) == digest_of({"a": True})
    False
    """
    plain = plain_kinds.get(type(value))  # pyright: ignore[reportUnknownArgumentType]
    if plain is not None:  # as the reader would
        return _sealed(part(plain[0], plain[1]([value])), key)
    reader = _Reader(code, key, root, limit)
    try:
        read = reader.value(value)
    except RefusedError as refused:
        steps = refused.steps[::-1]
        left = "..." if len(steps) > _STEPS else ""
        raise UndigestibleError(name + "".join(steps[:_STEPS]) + left, refused.reason) from None
    if types is not None:
        types.update(reader.kinds)
    return _sealed(read, key)


def _sealed(read: bytes, key: bytes | None) -> str:
    if key is None:
        return f"sha256-{hashlib.sha256(_SCHEME + read).hexdigest()}"
    return f"hmac-sha256-{hmac.digest(key, _SCHEME + read, 'sha256').hex()}"


_Way = Callable[[Any, Any], bytes]  # the walk, the value


class _Reader:
    """Reads one value; implements `Walk`."""

    def __init__(
        self, code: Code | None, key: bytes | None, root: str | None, limit: int | None
    ) -> None:
        self._code = code
        self._key = key
        self._root = root.rstrip(os.sep) or None if root else None
        self._kinds = {**plain_kinds, **kinds_of(self)}
        self._ways: dict[type, _Way] = dict(_CONTAINERS)
        self.kinds: set[type] = set()  # of the values with parts that were read
        self._done: dict[
            int, tuple[Any, bytes]
        ] = {}  # keeps known objects alive, because ids are reused
        self._names: dict[int, tuple[Any, bytes]] = {}
        # Containers that are being read, with their depth, and the outermost that one inside them
        # refers to: then its part of the stream is valid only in this place.
        self._open: dict[int, int] = {}
        self._outermost = sys.maxsize
        self._repeats = 0
        self._left = sys.maxsize if limit is None else limit

    def value(self, value: Any, step: str = "") -> bytes:
        kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]
        plain = self._kinds.get(kind)
        try:
            if plain is not None:
                return part(plain[0], plain[1]([value]))
            way = self._ways.get(kind) or self._way(kind)
            return self._once(value, way)
        except RefusedError as refused:
            if step:
                refused.steps.append(step)
            raise
        except RecursionError:
            raise RefusedError(f"{called(value)} is nested too deep") from None
        except BaseException as error:  # from code of users and libraries
            let_signals_pass(error)
            why = f"{called(value)} cannot be read: {described(error)}"
            raise RefusedError(why[:500]) from None

    def _way(self, kind: type) -> _Way:
        """How values of *kind* are read."""
        way: _Way | None = None
        self.kinds.add(kind)
        for library in (numpy_values, pandas_values, polars_values, arrow_values):
            way = library.way_of(kind)
            if way is not None:
                break
        self._ways[kind] = chosen = way or objects.read
        return chosen

    def _once(self, value: Any, way: _Way) -> bytes:
        """Read *value* once; a reference to a container being read is its distance outwards."""
        number = id(value)
        done = self._done.get(number)
        if done is not None:
            return done[1]
        depth = len(self._open)
        at = self._open.get(number)
        if at is not None:
            self._outermost = min(self._outermost, at)
            return part("^", b"%d" % (depth - at))
        self._left -= 1
        if self._left < 0:
            raise RefusedError("there are too many objects in it")
        outermost, self._outermost = self._outermost, sys.maxsize
        self._open[number] = depth
        try:
            read = way(self, value)
        finally:
            del self._open[number]
        if self._outermost >= depth:
            self._done[number] = value, read
        else:
            self._repeats += 1
            if self._repeats > _REPEATS:
                raise RefusedError(f"{called(value)} refers to itself in too many ways")
            outermost = min(outermost, self._outermost)
        self._outermost = outermost
        return read

    def attempt(self, owner: Any, name: str, value: Any) -> bytes | None:
        kind: Any = type(owner)  # pyright: ignore[reportUnknownVariableType]
        if _is_derived(kind, name):
            return None
        outermost = self._outermost
        try:
            return self.value(value)
        except RefusedError:
            if self._left < 0:  # otherwise the first one would decide what counts
                raise
            self._outermost = outermost
            return None

    def items(self, items: list[Any], step: Callable[[int], str] | None = None) -> bytes:
        try:
            return self._items(items)
        except RefusedError as refused:
            if refused.number is not None:
                refused.steps.append(step(refused.number) if step else f"[{refused.number}]")
                refused.number = None
            raise

    def _items(self, items: list[Any]) -> bytes:
        count = len(items)
        if count <= _CHUNK:
            return part("items", b"%d;" % count, self._chunk(items))
        stream = hashlib.sha256(b"%d;" % count)
        for start in range(0, count, _CHUNK):
            try:
                stream.update(self._chunk(items[start : start + _CHUNK]))
            except RefusedError as refused:
                if refused.number is not None:
                    refused.number += start
                raise
        return part("items*", stream.digest())

    def _chunk(self, items: list[Any]) -> bytes:
        return self._by_kind(items, list(map(type, items))) if items else b""

    def _by_kind(self, items: list[Any], kinds: list[type]) -> bytes:
        if kinds.count(kinds[0]) == len(kinds):
            return self._alike(kinds[0], items)
        groups: dict[type, list[Any]] = {kind: [] for kind in dict.fromkeys(kinds)}
        places = {kind: place for place, kind in enumerate(groups)}
        for kind, item in zip(kinds, items, strict=True):
            groups[kind].append(item)
        parts = [part("kinds", array("H", map(places.__getitem__, kinds)).tobytes())]
        for kind, members in groups.items():
            try:
                parts.append(self._alike(kind, members))
            except RefusedError as refused:
                if refused.number is not None:
                    mine = [place for place, one in enumerate(kinds) if one is kind]
                    refused.number = mine[refused.number]
                raise
        return b"".join(parts)

    def _alike(self, kind: type, items: list[Any]) -> bytes:
        """Read *items*, all of *kind*; items of one shape are read column by column."""
        plain = self._kinds.get(kind)
        if plain is not None:
            return part(plain[0], plain[1](items))
        if len(items) > 1:
            rows: bytes | None = None
            if kind is dict:
                rows = self._dicts(items)
            elif kind is tuple or kind is list:
                rows = self._rows(kind, items)
            elif (scalars := numpy_values.scalars(self, kind, items)) is not None:
                return scalars
            if rows is not None:
                return rows
        parts: list[bytes] = []
        for item in items:
            try:
                parts.append(self.value(item))
            except RefusedError as refused:
                if refused.number is None:
                    refused.number = len(parts)
                raise
        return part("each", *parts)

    def _dicts(self, dicts: list[dict[Any, Any]]) -> bytes | None:
        """Dicts with the same strings as keys; None for other items."""
        if not set(map(type, chain.from_iterable(dicts))) <= {str}:
            return None  # such as 1 and True, which are equal
        shapes = set(map(tuple, dicts))
        if len(shapes) != 1 or self._is_open(dicts):
            return None
        [keys] = shapes
        columns = [list(map(itemgetter(key), dicts)) for key in keys]
        steps = [f"[{key!r}]" for key in keys]
        return part("dicts", self.items(list(keys)), self._columns(dicts, columns, steps))

    def _rows(self, kind: type, rows: Sequence[Sequence[Any]]) -> bytes | None:
        """Tuples or lists of one length; None for others."""
        lengths = set(map(len, rows))
        if len(lengths) != 1 or self._is_open(rows):
            return None
        columns = list(map(list, zip(*rows, strict=True)))
        steps = [f"[{number}]" for number in range(len(columns))]
        return part(f"{kind.__name__}s", b"%d;" % len(columns), self._columns(rows, columns, steps))

    def _is_open(self, items: Sequence[Any]) -> bool:
        """Whether one of *items* is being read, so that it contains itself."""
        return not self._open.keys().isdisjoint(map(id, items))

    def _columns(self, owners: Sequence[Any], columns: list[list[Any]], steps: list[str]) -> bytes:
        parts: list[bytes] = []
        for column, step in zip(columns, steps, strict=True):
            kinds = list(map(type, column))
            if self._kinds.keys() >= set(kinds):
                parts.append(self._by_kind(column, kinds))
                continue
            for number, (owner, item) in enumerate(zip(owners, column, strict=True)):
                self._open[id(owner)] = len(self._open)
                try:
                    parts.append(self.value(item, step))
                except RefusedError as refused:
                    refused.number = number
                    raise
                finally:
                    del self._open[id(owner)]
        return b"".join(parts)

    def state(self, owner: Any, state: dict[str, Any]) -> bytes:
        kind: Any = type(owner)  # pyright: ignore[reportUnknownVariableType]
        kept = {name: part for name, part in state.items() if not _is_derived(kind, name)}
        return _pairs(self, kept, attributes=True)

    def texts(self, items: Sequence[str]) -> bytes:
        root = self._root
        if root is None or root not in "\0".join(items):
            return joined_texts(items)
        cut = len(root)
        below = [item.startswith(root) and item[cut : cut + 1] in _ENDS for item in items]
        if True not in below:
            return joined_texts(items)
        left = [item[cut:] if low else item for item, low in zip(items, below, strict=True)]
        return b"root" + bytes(below) + joined_texts(left)

    def named(self, thing: Any) -> bytes:
        known = self._names.get(id(thing))
        if known is None:
            known = thing, self._name(thing)
            self._names[id(thing)] = known
        return known[1]

    def _name(self, thing: Any) -> bytes:
        name = objects.installed_name(thing)
        if name is not None:
            return part("name", name.encode())
        if self._code is None:
            what = "class" if isinstance(thing, type) else "function"
            qualname = getattr(thing, "__qualname__", "of no name")
            raise RefusedError(f"the {what} {qualname} counts by its code, which is not known here")
        return part("code", self._code(thing).encode())

    def secret(self, value: Any) -> bytes:
        if self._key is None:
            raise RefusedError(f"{called(value)} has a digest with the key of a store only")
        hidden = self.value(value.get_secret_value())
        return part("secret", self.named(type(value)), hmac.digest(self._key, hidden, "sha256"))


_ENDS = ("", "/", os.sep)


_FLAGS = ("_has_canonical_format", "_has_sorted_indices")


def _is_derived(kind: type, name: str) -> bool:
    """Whether the attribute *name* is a cached value, such as that of a ``cached_property``."""
    if name in _FLAGS and kind.__module__.startswith("scipy.sparse"):
        return True  # what a look at a matrix found out
    return type(getattr(kind, name, None)).__name__ == "cached_property"


def _list(walk: _Reader, value: Any) -> bytes:
    return part(type(value).__name__, walk.items(list(value)))


def _pairs(walk: _Reader, value: dict[Any, Any], *, attributes: bool = False) -> bytes:
    keys = list(value)

    def step(number: int) -> str:
        return f".{keys[number]}" if attributes else f"[{repr_of(keys[number])[:60]}]"

    return part("dict", walk.items(keys, step), walk.items(list(value.values()), step))


def _set(walk: _Reader, value: Any) -> bytes:
    kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]
    if set(map(type, value)) == {int}:
        return part(kind.__name__, walk.items(sorted(value)))
    return part(kind.__name__, *sorted([walk.value(item, "{...}") for item in value]))


def _view(_: _Reader, value: Any) -> bytes:
    shape = array("q", value.shape).tobytes()
    return part("memoryview", value.format.encode(), b";", shape, hashed(value))


def _proxy(walk: _Reader, value: Any) -> bytes:
    return part("mappingproxy", walk.value(dict(value)))


_CONTAINERS: dict[type, Any] = {
    list: _list,
    tuple: _list,
    dict: _pairs,
    set: _set,
    frozenset: _set,
    memoryview: _view,
    MappingProxyType: _proxy,
}
