"""Digests of what goes into a call: of values, and of kept results without loading them."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

from mxm.pipeline.bindings import (
    Binding,
    Collection,
    Const,
    Each,
    Param,
    PerItem,
    Upstream,
    projected,
)
from mxm.pipeline.execution.kept.later import CachedItem, LaterTask
from mxm.pipeline.introspection.signatures import shape_of
from mxm.pipeline.taskruns import ItemRun, TaskRun
from mxm.pipeline.values.digest import UndigestibleError, digest_of
from mxm.pipeline.values.failure import Failure
from mxm.pipeline.values.remote import RemoteValue, fetched

__all__ = [
    "Content",
    "Digested",
    "Fresh",
    "ListOf",
    "OnCluster",
    "Looks",
    "Sealer",
    "Shape",
    "Stored",
    "content_of_item",
    "content_of_task",
    "digested",
    "named",
    "part_of",
    "redigested",
]

Shape: TypeAlias = "str | tuple[Any, ...] | None"
"""How the digest of an argument was made: at once, item by item (``items``), or of its parts."""


_TO_JSON = json.JSONEncoder(sort_keys=True).encode


class Sealer:
    """Makes digests; without the store's key, nobody can guess a value from them.

    Parameters
    ----------
    key
        The store's.
    root
        The project's folder.
    code
        The digest of a function or a class.
    """

    def __init__(self, key: bytes, root: str, code: Callable[[object], str]) -> None:
        self._key = key
        self._root = root
        self._code = code
        self._of_items: dict[str, str] = {}

    def seal(self, digest: str) -> str:
        """*digest* in the form in which it may be stored."""
        return hmac.digest(self._key, digest.encode("utf-8", "surrogatepass"), "sha256").hex()[:40]

    def seal_item(self, digest: str) -> str:
        """What `seal` makes of the digest of a piece of code, which many tasks may share."""
        made = self._of_items.get(digest)
        if made is None:
            made = self._of_items[digest] = self.seal(digest)
        return made

    def join(self, kind: str, parts: object) -> str:
        """One digest for several values, as JSON."""
        return self.seal(kind + _TO_JSON(parts))

    def value(self, value: Any, types: set[type] | None = None) -> str:
        """The digest of the content of *value*.

        Parameters
        ----------
        value
            Anything.
        types
            Gets the type of everything in it.

        Raises
        ------
        UndigestibleError
            Something in it has no content.
        """
        if isinstance(value, Failure):
            raise UndigestibleError("value", "a failure has no content")
        digest = digest_of(value, code=self._code, key=self._key, root=self._root, types=types)
        return self.seal(digest)


class Content(Protocol):
    """The content of a value, known by digests."""

    def digest(self, path: tuple[str | int, ...], sealer: Sealer, types: set[type]) -> Digested:
        """The digest of the part at *path*."""
        ...


class Digested(NamedTuple):
    """The digest of an argument.

    Parameters
    ----------
    digest
        It.
    shape
        How it was made.
    packages
        Versions of what values that are not here are made of, by distribution.
    """

    digest: str
    shape: Shape = None
    packages: Mapping[str, str] = {}


@dataclass(slots=True)
class Fresh:
    """A value in this process."""

    value: Any

    def digest(self, path: tuple[str | int, ...], sealer: Sealer, types: set[type]) -> Digested:
        """The digest of the part at *path*, from the value itself."""
        return Digested(sealer.value(projected(self.value, path), types))


@dataclass(slots=True)
class Stored:
    """A kept result that is not loaded; once loaded, it may change like any other value.

    Parameters
    ----------
    content
        The digest of the whole.
    parts
        The digests of the parts that flows take, by their paths as JSON.
    packages
        Versions of what it is made of.
    load
        Returns the value.
    """

    content: str
    parts: Mapping[str, str]
    packages: Mapping[str, str]
    load: Callable[[], Any]

    def digest(self, path: tuple[str | int, ...], sealer: Sealer, types: set[type]) -> Digested:
        """The digest of the part at *path*, as it is known."""
        if not path:
            return Digested(self.content, None, self.packages)
        known = self.parts.get(part_of(path))
        if known is not None:
            return Digested(known, None, self.packages)
        return Fresh(self.load()).digest(path, sealer, types)


@dataclass(slots=True)
class OnCluster:
    """A result that stays on a cluster, of which its worker has said the digests."""

    value: RemoteValue

    def digest(self, path: tuple[str | int, ...], sealer: Sealer, types: set[type]) -> Digested:
        """The digest of the part at *path*; one that was not asked for is fetched."""
        facts = self.value.facts
        part = None if facts is None else facts.parts.get(part_of(path))
        if part is None:
            return Fresh(self.value.get()).digest(path, sealer, types)
        if part.refused is not None:
            raise UndigestibleError(*part.refused)
        return Digested(part.digest, None, part.packages)


@dataclass(slots=True)
class ListOf:
    """The list that a mapped step returns, known item by item."""

    items: Sequence[Content]

    def digest(self, path: tuple[str | int, ...], sealer: Sealer, types: set[type]) -> Digested:
        """The digest of the part at *path*: of the whole list, or of one item."""
        if not path:
            each = [item.digest((), sealer, types) for item in self.items]
            packages: dict[str, str] = {}
            for one in each:
                packages.update(one.packages)
            return Digested(sealer.join("items", [one.digest for one in each]), "items", packages)
        place, *rest = path
        return self.items[cast("int", place)].digest(tuple(rest), sealer, types)


def part_of(path: tuple[str | int, ...]) -> str:
    """*path* as the name of a part."""
    return json.dumps(list(path))


def content_of_task(task: TaskRun, *, mapped: bool) -> Content:
    """The content of the result of *task*.

    Parameters
    ----------
    task
        A step that ended with a value.
    mapped
        Whether it is the list that a mapped step returned.
    """
    if isinstance(task, LaterTask) and not task.later.is_loaded:
        if task.entry is not None:
            return stored(task.entry, lambda: task.value)
        runs: list[ItemRun] = list(task.items.values()) if task.items is not None else []
        return ListOf([content_of_item(run) for run in runs if run.has_value])
    value: Any = task.value
    if type(value) is RemoteValue and not value.is_here:
        return OnCluster(value)
    value = fetched(value)
    if mapped and type(value) is list:
        return ListOf([Fresh(item) for item in cast("Any", value)])
    return Fresh(value)


def content_of_item(run: ItemRun) -> Content:
    """The content of the result of an item."""
    if isinstance(run, CachedItem) and not run.later.is_loaded:
        return stored(run.entry, lambda: run.value)
    return Fresh(run.value)


def stored(entry: Any, load: Callable[[], Any]) -> Stored:
    """The content of a kept result."""
    return Stored(entry.content, entry.parts, entry.packages, load)


@dataclass(slots=True)
class Looks:
    """The sources of the contents of one call's inputs.

    Parameters
    ----------
    whole
        The content of a step's result or of a parameter.
    item
        That of an item of a list that is mapped.
    """

    whole: Callable[[Upstream | Param], Content]
    item: Callable[[Each], Content]
    types: set[type] = field(default_factory=set[type])


def digested(binding: Binding, looks: Looks, sealer: Sealer) -> Digested:
    """The digest of the value that *binding* passes to a call.

    Raises
    ------
    UndigestibleError
        Something in it has no content.
    Exception
        A part of a value cannot be read.
    """
    if isinstance(binding, PerItem):
        return digested(binding.binding, looks, sealer)
    if isinstance(binding, Const):
        return Digested(sealer.value(binding.value, looks.types))
    if isinstance(binding, Each):
        return looks.item(binding).digest(binding.path, sealer, looks.types)
    if isinstance(binding, Collection):
        parts = [digested(part, looks, sealer) for part in binding.items]
        keys = [sealer.value(key, looks.types) for key in binding.keys]
        kind = f"{binding.kind.__module__}.{binding.kind.__qualname__}"
        digest = sealer.join(kind, [keys, [part.digest for part in parts]])
        packages = {name: v for part in parts for name, v in part.packages.items()}
        return Digested(digest, (kind, tuple(keys), tuple(p.shape for p in parts)), packages)
    return looks.whole(binding).digest(binding.path, sealer, looks.types)


def redigested(shape: Shape, value: Any, sealer: Sealer) -> str:
    """The digest of the argument *value*, made as `digested` made it.

    Raises
    ------
    UndigestibleError
        Something in it has no content.
    """
    if shape is None:
        return sealer.value(value)
    if isinstance(shape, str):
        return sealer.join(shape, [sealer.value(item) for item in value])
    kind, keys, shapes = shape
    if isinstance(value, dict):
        mapping = cast("Any", value)
        keys = [sealer.value(key) for key in mapping]
        members = list(mapping.values())
    else:
        members = list(value)
    if len(members) != len(shapes):
        return ""
    digests = [redigested(s, member, sealer) for s, member in zip(shapes, members, strict=True)]
    return sealer.join(kind, [list(keys), digests])


def named(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """*args* and *kwargs* of a call of *fn* by parameter; those in ``*args`` by their place."""
    shape = shape_of(fn) if args else None
    names = shape.positional if shape else ()
    by_name = {names[i] if i < len(names) else f"*{i}": value for i, value in enumerate(args)}
    return {**by_name, **kwargs}
