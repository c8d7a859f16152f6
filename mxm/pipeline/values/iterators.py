"""Values that can be read only once: iterators, generators, open files, coroutines."""

from __future__ import annotations

import inspect
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

__all__ = ["ReadOnce", "read_once"]


class ReadOnce(NamedTuple):
    """The kind of a value that can be read only once, and what to write instead."""

    kind: str
    hint: str

    def __str__(self) -> str:
        return f"{self.kind}, which can be read only once: a second run would find it empty"


def read_once(value: Any) -> ReadOnce | None:
    """The kind of *value* if it can be read only once: a second reader would find it empty."""
    kind = type(value).__name__
    if inspect.iscoroutine(value):
        return ReadOnce(f"a {kind}", "await it")
    if isinstance(value, io.IOBase):
        return ReadOnce("an open file", "give the path, and open the file inside the task")
    if isinstance(value, AsyncIterator):
        return ReadOnce(_with_article(kind), "make it a list: [item async for item in ...]")
    if isinstance(value, Iterator):
        return ReadOnce(_with_article(kind), "make it a list: list(...)")
    return None


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
