"""The typed stream: each part has its type and length, so that no two values look the same."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Callable, Sequence
from typing import Any, Protocol

__all__ = [
    "RefusedError",
    "UndigestibleError",
    "Walk",
    "called",
    "hashed",
    "joined_texts",
    "part",
    "plain_kinds",
]

_INLINE = 512  # bytes of a part that are in the stream themselves


class UndigestibleError(Exception):
    """A value has no digest.

    Attributes
    ----------
    path
        The place in the value: ``value.config.lock``.
    reason
        Why that part has none.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class RefusedError(Exception):
    """A part of a value has no digest; *steps* lead to it, the last one first.

    *number* is its place in the list being read, until the list has a step of its own.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str] = []
        self.number: int | None = None


class Walk(Protocol):
    """The reader of a value; the interface for the readers of single libraries."""

    def value(self, value: Any, step: str = "") -> bytes:
        """The part of the stream for *value*, to which *step* leads."""
        ...

    def attempt(self, owner: Any, name: str, value: Any) -> bytes | None:
        """The part for *value*, the attribute *name* of *owner*; None if it has no content."""
        ...

    def items(self, items: list[Any], step: Callable[[int], str] | None = None) -> bytes:
        """The part for *items*, by their exact types; *step* leads to the one at a place."""
        ...

    def state(self, owner: Any, state: dict[str, Any]) -> bytes:
        """The part for the attributes of *owner*, without cached results."""
        ...

    def named(self, thing: Any) -> bytes:
        """The part for a class or a function."""
        ...

    def secret(self, value: Any) -> bytes:
        """The part for a value that contains a secret."""
        ...

    def texts(self, items: Sequence[str]) -> bytes:
        """The body of a part for *items*; those below the project's root count relative to it."""
        ...


def called(value: Any) -> str:
    """The name of *value* in errors: its type, with an article."""
    kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]
    module = str(kind.__module__)
    name = kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
    return f"{'an' if name[:1] in 'aeiouAEIOU' else 'a'} {name}"


def part(tag: str, *body: bytes) -> bytes:
    """A part of the stream: its type, its length and its bytes, or the hash of long ones."""
    data = body[0] if len(body) == 1 else b"".join(body)
    if len(data) > _INLINE:
        return b"%s#%s" % (tag.encode(), hashlib.sha256(data).digest())
    return b"%s=%d:%s" % (tag.encode(), len(data), data)


def hashed(data: Any) -> bytes:
    """The hash of a buffer."""
    return hashlib.sha256(data).digest()


def joined_texts(items: Sequence[str]) -> bytes:
    """Texts joined into one, with where each ends; their number is recorded by the caller."""
    text = "\0".join(items)
    ends = b"0"
    if text.count("\0") >= len(items):
        text = "".join(items)
        ends = b"n" + array("Q", map(len, items)).tobytes()
    return ends + text.encode("utf-8", "surrogatepass")


def _joined_bytes(items: Sequence[Any]) -> bytes:
    return array("Q", map(len, items)).tobytes() + b"".join(items)


def _integers(items: Sequence[int]) -> bytes:
    try:
        return b"q" + array("q", items).tobytes()
    except OverflowError:
        return b"x" + joined_texts([f"{item:x}" for item in items])


def _floats(items: Sequence[float]) -> bytes:
    total = sum(items)
    if total != total:  # a NaN, or infinities of both signs
        items = [math.nan if item != item else item for item in items]
    return array("d", items).tobytes()


def _complex(items: Sequence[complex]) -> bytes:
    return _floats([half for item in items for half in (item.real, item.imag)])


def _none(_: Sequence[None]) -> bytes:
    return b""


plain_kinds: dict[type, tuple[str, Callable[[Any], bytes]]] = {
    type(None): ("None", _none),
    type(...): ("Ellipsis", _none),
    type(NotImplemented): ("NotImplemented", _none),
    bool: ("bool", bytes),
    int: ("int", _integers),
    float: ("float", _floats),
    complex: ("complex", _complex),
    bytes: ("bytes", _joined_bytes),
    bytearray: ("bytearray", _joined_bytes),
}
"""The tag of a kind of value that has no parts, and the body for a list of such values."""
