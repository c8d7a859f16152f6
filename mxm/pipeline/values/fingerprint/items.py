"""The items of a fingerprint, and how two fingerprints differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Difference", "Item", "Reason", "differences", "hash_of"]


class Item(NamedTuple):
    """One thing that a function's result depends on.

    Parameters
    ----------
    label
        Its name: ``lib.rates.rate``, ``pandas``.
    digest
        Of its content.
    kind
        ``function``, ``class``, ``constant``, ``statement``, ``module``, ``package`` or ``file``.
    file
        Relative to its project; None if it has none.
    line
        In that file, from 1; it does not count.
    """

    label: str
    digest: str
    kind: str
    file: str | None = None
    line: int | None = None


class Reason(NamedTuple):
    """Something in the code that the user must know about.

    Parameters
    ----------
    kind
        ``dynamic``, ``used up`` (an iterator), ``edited``, or of what is impure ``clock``,
        ``random``, ``network``, ``database``, ``process`` (other programs, the command line),
        ``files`` (that compiled code opens) or ``pickle``.
    text
        What the code does: ``reads time.time``.
    file, line
        The line; None if it is not known.
    """

    kind: str
    text: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.text}{_place(self)}"


class Difference(NamedTuple):
    """One item that differs.

    Parameters
    ----------
    label
        Its name.
    kind
        Of the item.
    before, after
        The items; None if there is none.
    """

    label: str
    kind: str
    before: Item | None
    after: Item | None

    @property
    def what(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"

    def __str__(self) -> str:
        if self.kind == "package" and self.before and self.after:
            old, new = (item.digest.partition(" ")[0] for item in (self.before, self.after))
            return f"{self.label} {f'{old} -> {new}' if old != new else f'{new}: built again'}"
        item = self.after or self.before
        words = {"added": "new", "removed": "gone"}.get(self.what, "changed")
        return f"{self.kind} {self.label} {words}{_place(item) if item else ''}"


def differences(before: Iterable[Item], after: Iterable[Item]) -> list[Difference]:
    """The items that differ: first changed ones, then new ones, then removed ones."""
    one, other = ({(i.kind, i.label): i for i in items} for items in (before, after))
    differing = [
        Difference(label, kind, one.get((kind, label)), other.get((kind, label)))
        for kind, label in {**one, **other}
        if _digest(one.get((kind, label))) != _digest(other.get((kind, label)))
    ]
    return sorted(differing, key=lambda d: 2 if d.after is None else 1 if d.before is None else 0)


def _place(thing: Item | Reason) -> str:
    """Where it is, in words."""
    if thing.file is None:
        return ""
    return f" at {thing.file}:{thing.line}" if thing.line else f" in {thing.file}"


def _digest(item: Item | None) -> str | None:
    return None if item is None else item.digest


def hash_of(*parts: str) -> str:
    """The digest of strings, in their order."""
    stream = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        stream.update(b"%d:" % len(data) + data)
    return stream.hexdigest()[:40]
