"""Fingerprints of functions: everything that their results depend on, before and at a call."""

from __future__ import annotations

import hashlib
import hmac
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import CellType, FunctionType, ModuleType
from typing import Any

from mxm.pipeline.introspection.decorated import FlowBase, TaskBase
from mxm.pipeline.values.fingerprint.constants import content_of, is_fixed
from mxm.pipeline.values.fingerprint.graph import Graph
from mxm.pipeline.values.fingerprint.items import Item, Reason, hash_of
from mxm.pipeline.values.fingerprint.memory import FileMemory
from mxm.pipeline.values.fingerprint.nodes import MISSING, NAMES, Node, reachable, value_in

__all__ = ["Fingerprint", "Fingerprints"]

_shared = FileMemory()
_SCHEME = "mxm.fingerprint/1"


class Fingerprint:
    """Everything that a function's result depends on, as far as the code shows.

    Attributes
    ----------
    items
        Each thing with its digest, in the order of their labels.
    digest
        Of everything that stays as it is during a run.
    dynamic
        Why it is not known what the function reaches: not to be stored without a version.
    impure
        Where clock, random, network, databases or other programs are reached.
    edited
        Where the code that runs is not what its file says; nothing of it may be stored.
    environment
        The environment variables that are read, by constant names.
    """

    def __init__(self, owner: Fingerprints, value: Any, root: Node) -> None:
        self._owner: Fingerprints | None = owner
        self._value = value
        self._root = root
        nodes = list(reachable(root))
        self._nodes = nodes
        self._held = [node for node in nodes if node.held is not None]
        self._loose = [node for node in nodes if node.kind == "constant" and node.held is None]
        reads = any(node.reads_annotations for node in nodes)
        texts: dict[str, str] = {}
        if any(node.reads_text for node in nodes):
            paths = sorted({node.path for node in nodes if node.path})
            texts = {path: _bytes_digest(path) or "" for path in paths}
        self.items: tuple[Item, ...] = _items(nodes, owner.keyed, texts, annotated=reads)
        self.digest: str = _digest(nodes, owner.key, texts, annotated=reads)
        reasons = dict.fromkeys(reason for node in nodes for reason in node.reasons)
        # What an import read to its end is no matter; what a call reads is.
        used_up = {reason for reason in reasons if reason.kind == "used up"}
        if used_up:
            called = reachable(root, without="statement")
            used_up &= {reason for node in called for reason in node.reasons}
        self.dynamic: tuple[Reason, ...] = tuple(
            r for r in reasons if r.kind == "dynamic" or r in used_up
        )
        self.impure: tuple[Reason, ...] = tuple(
            r for r in reasons if r.kind not in ("dynamic", "used up")
        )
        self.edited: tuple[Reason, ...] = tuple(
            dict.fromkeys(reason for node in nodes for reason in node.edited)
        )
        self.environment: tuple[str, ...] = tuple(
            sorted({name for node in nodes for name in node.environment})
        )
        self._unloaded = dict(owner.graph.unloaded)
        bindings = {
            (id(b.scope), b.name): b for node in nodes for b in node.bindings if b.scope is not None
        }
        self._bindings = list(bindings.values())
        self._names = {
            (id(node.held[0]), node.held[1]): node
            for node in self._held
            if node.held[0] is not None
        }

    def __getstate__(self) -> dict[str, Any]:
        names = ("items", "digest", "dynamic", "impure", "edited", "environment")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._owner = None

    def at_call(self) -> str:
        """The digest of what can change during a run, as it is now.

        Raises
        ------
        RuntimeError
            It comes from another process, whose objects are not here.
        """
        return hash_of(*(f"{item.kind} {item.label} {item.digest}" for item in self.call_items()))

    def call_items(self) -> tuple[Item, ...]:
        """What can change during a run, in its current state: constants, and rebound names.

        Raises
        ------
        RuntimeError
            It comes from another process, whose objects are not here.
        """
        owner = self._owner
        if owner is None:
            raise RuntimeError("a fingerprint of another process; make it anew in this one")
        with owner.lock:
            return self._call_items(owner)

    def _call_items(self, owner: Fingerprints) -> tuple[Item, ...]:
        items: list[Item] = []
        fresh = False
        rebound: set[int] = set()
        for binding in self._bindings:
            now = value_in(binding.scope, binding.name)
            if now is binding.value or (binding.name == NAMES and now == binding.value):
                continue
            if binding.foreign:
                fresh = fresh or owner.graph.is_of_project(now) or owner.graph.is_of_project(
                    binding.value
                )  # fmt: skip
            elif (
                isinstance(binding.scope, FunctionType)
                or _is_code(now)
                or _is_code(binding.value)
                or now is MISSING
            ):
                fresh = True
            else:
                digest = owner.digest_now(now, owner.graph.places.root)
                if digest is None:
                    digest = f"{type(now).__qualname__} {id(now)}"
                items.append(Item(f"{binding.name} (bound anew)", digest, "constant"))
                node = self._names.get((id(binding.scope), binding.name))
                if node is not None:
                    rebound.add(id(node))
                fresh = fresh or not is_fixed(now)
        for node in self._held:
            if id(node) not in rebound:
                digest = owner.digest_now(node.value, node.held[2]) or node.content
                items.append(Item(node.label, digest, "constant", node.file, node.line))
        if fresh:
            again = owner.anew().of(self._value)
            items += [item._replace(label=f"{item.label} (now)") for item in again.items]
            items.append(Item("code that was bound anew", again.digest, "function"))
        return tuple(sorted(items, key=lambda item: item[:3]))

    def functions(self) -> Iterator[FunctionType]:
        """The functions that a call may lead to; only in this process."""
        for _, kept in self._kept():
            if isinstance(kept, FunctionType):
                yield kept

    def looked_up(self) -> Iterator[tuple[Any, tuple[str, ...]]]:
        """The namespaces of modules that a call looks into, and the names there; of classes too.

        Names that the project's code put into an installed module are included.
        """
        for node, kept in self._kept():
            for binding in node.bindings:
                scope = binding.scope
                if binding.foreign:
                    owner = self._owner
                    if owner is None or not owner.graph.is_of_project(
                        value_in(scope, binding.name)
                    ):
                        continue
                if isinstance(scope, dict):
                    yield scope, (binding.name,)
                elif isinstance(kept, type) and not isinstance(scope, FunctionType | CellType):
                    space = vars(sys.modules[kept.__module__]) if (
                        kept.__module__ in sys.modules
                    ) else {}  # fmt: skip
                    yield space, (*kept.__qualname__.split("."), binding.name)

    def _kept(self) -> Iterator[tuple[Node, Any]]:
        """The nodes that a call, not an import, leads to, each with its source."""
        owner = self._owner
        if owner is None:
            raise RuntimeError("a fingerprint of another process; make it anew in this one")
        kept = {id(node): keep for keep, node in owner.graph.nodes.values()}
        for node in reachable(self._root, without="statement"):
            yield node, kept.get(id(node))

    def recheck(self) -> tuple[Reason, ...]:
        """Modules that were not imported when the function was read, and have changed since."""
        return tuple(
            Reason("edited", f"{name} was edited before it was imported", path)
            for name, (path, digest) in sorted(self._unloaded.items())
            if _bytes_digest(path) != digest
        )


def _bytes_digest(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _is_code(value: Any) -> bool:
    return isinstance(value, FunctionType | type | ModuleType | TaskBase | FlowBase) or (
        callable(value)
    )


def _items(
    nodes: list[Node],
    keyed: Callable[[str], str],
    texts: Mapping[str, str],
    *,
    annotated: bool,
) -> tuple[Item, ...]:
    by_label: dict[str, Item] = {}
    for node in nodes:
        if not node.kind:
            continue
        label, number = node.label, 1
        while label in by_label:
            number += 1
            label = f"{node.label} #{number}"
        content = node.content
        if annotated and node.annotations:
            content = hash_of(content, node.annotations)
        if node.path in texts:
            content = hash_of(content, texts[node.path])
        if node.kind in _OF_CODE:  # which may contain a password
            content = keyed(content)
        by_label[label] = Item(label, content, node.kind, node.file, node.line)
    return tuple(sorted(by_label.values(), key=lambda item: item[:3]))


_OF_CODE = ("function", "class", "statement")


def _keyed(digest: str, key: bytes | None) -> str:
    return digest if key is None else hmac.digest(key, digest.encode(), "sha256").hex()[:40]


def _digest(
    nodes: list[Node], key: bytes | None, texts: Mapping[str, str], *, annotated: bool
) -> str:
    """The digest of a graph: each node's content, and where its names lead."""
    numbers = {id(node): number for number, node in enumerate(nodes)}
    lines = [_SCHEME]
    for node in nodes:
        content = "" if node.held is not None else node.content
        if annotated:
            content = f"{content} {node.annotations}"
        if node.path in texts:
            content = f"{content} {texts[node.path]}"
        edges = " ".join(f"{name!r}={numbers[id(node.edges[name])]}" for name in sorted(node.edges))
        lines.append(f"{node.kind} {content} {edges}")
    return f"{'sha256' if key is None else 'hmac-sha256'}-{_keyed(hash_of(*lines), key)}"


class Fingerprints:
    """Makes the fingerprints of one run; each definition of the project is read once.

    Parameters
    ----------
    root
        The project's folder: paths below it count relative to it.
    memory
        What earlier runs know of files; None for this process only.
    key
        Of the store: constants go in with it, so that nobody can find them out.
    also
        What counts for every function: the flow, whose module may set options of libraries.
    """

    def __init__(
        self,
        root: str,
        memory: FileMemory | None = None,
        *,
        key: bytes | None = None,
        also: Iterable[object] = (),
    ) -> None:
        self._root = root
        self._memory = _shared if memory is None else memory
        self.key = key
        self._also = tuple(also)
        self.lock: AbstractContextManager[object] = threading.RLock()
        self.graph: Graph = Graph(root, self._memory, key)
        self._made: dict[int, tuple[Any, Fingerprint]] = {}
        self._keyed: dict[str, str] = {}

    def of(self, value: Any) -> Fingerprint:
        """The fingerprint of a function, a task, a flow, a resource, a class or a module."""
        with self.lock:
            known = self._made.get(id(value))
            if known is not None:
                return known[1]
            root = self.graph.root(value)
            for number, each in enumerate(self._also):
                self.graph.link_statements(root, f"also {number}", each)
            self.graph.drain()
            made = Fingerprint(self, value, root)
            self._made[id(value)] = value, made
            return made

    def keyed(self, digest: str) -> str:
        """*digest* with the key of the store; many functions share most of them."""
        made = self._keyed.get(digest)
        if made is None:
            made = self._keyed[digest] = _keyed(digest, self.key)
        return made

    def of_types(self, types: Iterable[type]) -> tuple[Item, ...]:
        """What values of *types* depend on: classes of the project, distributions."""
        items: dict[Item, None] = {}
        for each in types:
            items.update(dict.fromkeys(self.of(each).items))
        return tuple(sorted(items, key=lambda item: item[:3]))

    def anew(self) -> Fingerprints:
        """Fingerprints of the objects as they are now."""
        return Fingerprints(self._root, self._memory, key=self.key, also=self._also)

    def digest_now(self, value: Any, root: str) -> str | None:
        """The digest of a constant as it is now; None if it has no content."""

        def code(thing: object) -> str:
            return self.of(thing).digest

        return content_of(value, code, self.key, root).digest

    def save(self) -> None:
        """Write what is known about files for later runs, if the memory has a path."""
        self._memory.save()
