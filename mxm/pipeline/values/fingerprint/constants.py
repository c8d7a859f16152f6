"""Constants: their content, whether it can change, and the names in it."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import io
import logging
import pathlib
import re
import sys
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.values.digest import UndigestibleError, digest_of
from mxm.pipeline.values.fingerprint.instructions import WORD

__all__ = ["Content", "content_of", "is_fixed", "is_used_up", "without_content", "words_of"]

_FIXED = (
    int, float, complex, str, bytes, bool, type(None), type(...), type(NotImplemented), range,
    dt.date, dt.time, dt.timedelta, dt.tzinfo, decimal.Decimal,
    fractions.Fraction, pathlib.PurePath, uuid.UUID, re.Pattern, zoneinfo.ZoneInfo, enum.Enum,
    type, types.FunctionType, types.BuiltinFunctionType, types.CodeType, types.GenericAlias,
    types.UnionType,
)  # fmt: skip
_SOME = 1_000
_MOST = 20_000  # objects with parts
_TEXT = 10_000


def is_fixed(value: Any) -> bool:
    """Whether the content of *value* can never change."""
    if isinstance(value, tuple | frozenset):
        members = cast("tuple[Any, ...]", value)
        return not getattr(value, "__dict__", None) and all(map(is_fixed, members))  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, _FIXED):
        return not _has_state(value)
    return type(value).__module__ == "numpy" and hasattr(value, "dtype") and (
        type(value).__name__ != "ndarray"
    )  # fmt: skip


def _has_state(value: Any) -> bool:
    """Whether its class adds attributes to a plain type."""
    own: Any = getattr(value, "__dict__", None)
    plain = isinstance(value, type | types.FunctionType | enum.Enum)
    return bool(own) and not plain


def without_content(value: Any) -> bool:
    """Whether *value* never changes what a function returns: a logger."""
    return isinstance(value, logging.Logger | logging.LoggerAdapter)


def is_used_up(value: Any) -> bool:
    """Whether reading *value* changes what it gives, and nothing says where it is.

    An iterator, a file or stream that can be read, a memory map, a simple queue.
    """
    kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]
    if f"{kind.__module__}.{kind.__qualname__}" in ("_queue.SimpleQueue", "mmap.mmap"):
        return True
    if not hasattr(kind, "__next__") or value is sys.stdout or value is sys.stderr:
        return False
    try:
        return not isinstance(value, io.IOBase) or value.readable()
    except ValueError:  # it is closed
        return False


def words_of(value: Any) -> Iterator[str]:
    """The words in a string, or in the strings of a container, that may be names."""
    texts: list[Any] = [value]
    if isinstance(value, list | tuple | set | frozenset):
        texts = list(cast("list[Any]", value))[:_SOME]
    elif isinstance(value, dict):
        pairs: dict[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
        texts = list(pairs.values())[:_SOME]
    for text in texts:
        if type(text) is str:
            yield from WORD.findall(text[:_TEXT])


class Content(NamedTuple):
    """What is known about the content of a value.

    Parameters
    ----------
    digest
        None if it has no content.
    kinds
        The types in it.
    is_large
        Whether it contains too many objects to read them all.
    """

    digest: str | None
    kinds: tuple[type, ...]
    is_large: bool = False


def content_of(value: Any, code: Callable[[object], str], key: bytes | None, root: str) -> Content:
    """The content of *value*; *code* is asked for the digests of functions and classes in it."""
    kinds: set[type] = set()
    try:
        digest = digest_of(value, code=code, key=key, root=root, types=kinds, limit=_MOST)
    except UndigestibleError as error:
        return Content(None, (type(value),), "too many" in error.reason)
    except BaseException as error:  # user and library code
        let_signals_pass(error)
        return Content(None, (type(value),))
    kinds.add(type(value))  # pyright: ignore[reportUnknownArgumentType]
    return Content(digest, tuple(sorted(kinds, key=lambda k: (k.__module__, k.__qualname__))))
