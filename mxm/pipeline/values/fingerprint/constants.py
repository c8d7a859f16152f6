"""Constants: what their content is, whether it can change, and which names it holds."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import logging
import pathlib
import re
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from typing import Any, cast

from mxm.pipeline.interrupts import let_signals_pass
from mxm.pipeline.values.digest import UndigestibleError, digest_of
from mxm.pipeline.values.fingerprint.instructions import WORD

__all__ = ["is_fixed", "kinds_in", "try_digest", "without_content", "words_of"]

_FIXED = (
    int, float, complex, str, bytes, bool, type(None), type(...), type(NotImplemented), range,
    dt.date, dt.time, dt.timedelta, dt.tzinfo, decimal.Decimal,
    fractions.Fraction, pathlib.PurePath, uuid.UUID, re.Pattern, zoneinfo.ZoneInfo, enum.Enum,
    type, types.FunctionType, types.BuiltinFunctionType, types.CodeType, types.GenericAlias,
    types.UnionType,
)  # fmt: skip
_SOME = 1_000
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
    """Whether it is of a class that adds attributes to a plain one."""
    own: Any = getattr(value, "__dict__", None)
    plain = isinstance(value, type | types.FunctionType | enum.Enum)
    return bool(own) and not plain


def without_content(value: Any) -> bool:
    """Whether *value* never changes what a function returns: a logger."""
    return isinstance(value, logging.Logger | logging.LoggerAdapter)


def kinds_in(value: Any) -> list[type]:
    """The types of *value* and of what it contains, as far as a quick look tells."""
    found: dict[type, None] = {type(value): None}
    if isinstance(value, dict):
        pairs: dict[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
        for each in list(pairs.values())[:_SOME]:
            found[type(each)] = None
    elif isinstance(value, list | tuple | set | frozenset):
        members = cast("list[Any]", value)
        for each in list(members)[:_SOME]:
            found[type(each)] = None
    return list(found)


def words_of(value: Any) -> Iterator[str]:
    """The words of a text, or of the texts in a container, that may be names."""
    texts: list[Any] = [value]
    if isinstance(value, list | tuple | set | frozenset):
        texts = list(cast("list[Any]", value))[:_SOME]
    elif isinstance(value, dict):
        pairs: dict[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
        texts = list(pairs.values())[:_SOME]
    for text in texts:
        if type(text) is str:
            yield from WORD.findall(text[:_TEXT])


def try_digest(
    value: Any, code: Callable[[object], str], key: bytes | None, root: str
) -> str | None:
    """The digest of *value*; None if it has no content."""
    try:
        return digest_of(value, code=code, key=key, root=root)
    except UndigestibleError:
        return None
    except BaseException as error:  # code of users and libraries
        let_signals_pass(error)
        return None
