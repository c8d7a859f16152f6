"""The items of a mapped task: taken from its list, and named."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.values.arrays import is_table
from mxm.pipeline.values.iterators import read_once

__all__ = ["LONGEST_KEY", "item_keys", "items_of", "require_pairs"]

LONGEST_KEY = 80
"""Characters of the key of an item."""


def items_of(value: Any) -> list[Any]:
    """The items of *value*: a list, a tuple, a range, an array, a set, or the like.

    A set is taken in sorted order, so that each run has the same places.

    Raises
    ------
    TypeError
        *value* is text, a mapping, a table, an iterator, or has no items.
    """
    if type(value) in (list, tuple, range):
        return list(value)
    kind = type(value).__name__
    refused = _refusal(value)
    if refused is not None:
        raise TypeError(refused)
    iterable: Any = value  # isinstance would make it a type of unknown members
    if isinstance(value, Set) and not _keeps_order(kind):
        return _in_order(iterable, kind)
    try:
        items = iter(iterable)
    except TypeError as error:
        raise TypeError(
            f"{_article(kind)} {kind} cannot be mapped: give a list of items"
        ) from error
    if type(iterable).__module__ != "builtins" and iter(iterable) is items:  # a cursor, for one
        raise TypeError(
            f"{_article(kind)} {kind} cannot be mapped, because it can be read only once: "
            "make it a list: list(...)"
        )
    return list(items)  # exceptions of its own code are raised unchanged


def _keeps_order(kind: str) -> bool:
    return kind in ("dict_keys", "dict_items", "odict_keys", "odict_items")


def _refusal(value: Any) -> str | None:
    """Why *value* cannot be mapped, and what to write instead; None if it can."""
    kind = type(value).__name__
    if isinstance(value, str | bytes | bytearray | memoryview):
        return f"a {kind} cannot be mapped: for one item, write a list, [x]"
    if isinstance(value, Mapping):
        instead = "give list(d), list(d.values()) or list(d.items())"
        return f"{_article(kind)} {kind} cannot be mapped: {instead}"
    once = read_once(value)
    if once is not None:
        return f"{once.kind} cannot be mapped, because it can be read only once: {once.hint}"
    if is_table(value):
        return f"a {kind} cannot be mapped: give a list of its rows, its columns or its groups"
    return None


def _in_order(members: Any, kind: str) -> list[Any]:
    """The *members* of a set, sorted.

    Members with only a partial order, such as frozensets or a NaN, are sorted without an error, but
    in an order that differs between runs.
    """
    try:
        items = sorted(members)
        ordered = all(a < b for a, b in itertools.pairwise(items))
    except BaseException as error:  # the user's types compare as they like
        let_signals_pass(error)
        raise TypeError(_UNSORTED.format(kind)) from error
    if not ordered:
        raise TypeError(_UNSORTED.format(kind))
    return items


_UNSORTED = "a {} cannot be mapped, because its members have no order: give a list"


def _article(kind: str) -> str:
    return "an" if kind[:1].lower() in "aeiou" else "a"


def require_pairs(lengths: Mapping[str, int]) -> None:
    """Check that lists which are taken in pairs have one length.

    Parameters
    ----------
    lengths
        By parameter, how many items it has.

    Raises
    ------
    ValueError
        They differ.
    """
    if len({*lengths.values()}) > 1:
        sizes = ", ".join(f"{name!r} has {count:,}" for name, count in lengths.items())
        raise ValueError(f"the lists of a map must have the same length: {sizes}")


def item_keys(items: Sequence[Any], choose: Callable[[Any], object] | None = None) -> list[str]:
    """A name for each item, for people to read: it does not identify the item's content.

    Text, numbers, dates, enums and tuples of these get their text, at most 80 characters of it;
    everything else, including secrets, gets its index. A second item with a name is ``SPY#2``.

    Parameters
    ----------
    items
        What is named.
    choose
        The function under ``item_key``, which returns the key of an item.

    Raises
    ------
    Exception
        What *choose* raised.
    """
    keys: list[str] = []
    for i, item in enumerate(items):
        text = _text(item if choose is None else choose(item))
        keys.append(text[:LONGEST_KEY] if text else str(i))
    if len({*keys}) == len(keys):
        return keys
    taken: set[str] = {*keys}
    seen: set[str] = set()
    counts: dict[str, int] = {}
    for i, key in enumerate(keys):
        if key not in seen:
            seen.add(key)
            continue
        count = counts.get(key, 1) + 1
        while (name := _numbered(key, count)) in taken:
            count += 1
        counts[key] = count
        taken.add(name)
        keys[i] = name
    return keys


def _numbered(key: str, count: int) -> str:
    suffix = f"#{count}"
    return key[: LONGEST_KEY - len(suffix)] + suffix


def _text(item: Any) -> str | None:
    """The text of an item that has one."""
    if isinstance(item, Enum):
        return item.name
    if isinstance(item, str):
        return str(item)
    if isinstance(item, tuple):
        parts = [_text(part) for part in cast("Iterable[Any]", item)]
        return None if None in parts else ",".join(cast("list[str]", parts))
    if isinstance(item, datetime | date | time):
        return item.isoformat() if item == item else None  # pandas.NaT is a datetime
    if isinstance(item, bool | int | float | complex | Decimal | timedelta | UUID):
        return str(item)
    if type(item).__module__ == "numpy" and hasattr(item, "item") and not getattr(item, "shape", 1):
        plain = item.item()
        return str(item) if type(plain) is type(item) else _text(plain)
    return None
