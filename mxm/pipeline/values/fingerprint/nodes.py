"""The nodes of the graph of definitions, and what walks them needs of the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import CellType, ModuleType
from typing import Any, NamedTuple, Protocol

from mxm.pipeline.values.fingerprint.items import Reason
from mxm.pipeline.values.fingerprint.sources import FileFacts

__all__ = ["MISSING", "Binding", "Graphed", "Node", "attribute_of", "reachable", "value_in"]


class _Missing:
    def __repr__(self) -> str:
        return "missing"


MISSING: Any = _Missing()
"""What a name is bound to that has no value."""


class Binding(NamedTuple):
    """A name that was looked up.

    Parameters
    ----------
    scope
        A namespace, or the cell of a closure.
    name
        In the namespace.
    value
        What it was.
    foreign
        Whether the namespace is that of installed code, which binds its own names as it likes.
    """

    scope: Any
    name: str
    value: Any
    foreign: bool = False


def value_in(scope: Any, name: str) -> Any:
    """What *name* is now; `MISSING` for nothing."""
    if isinstance(scope, CellType):
        try:
            return scope.cell_contents
        except ValueError:
            return MISSING
    namespace: Mapping[str, Any] = scope
    return namespace.get(name, MISSING)


def attribute_of(value: Any, name: str) -> Any:
    """The attribute *name* of *value*, or None, without running code that computes attributes."""
    if isinstance(value, ModuleType):
        return vars(value).get(name)
    kind: Any = type(value)
    if hasattr(kind, "__getattr__"):
        own: Any = getattr(value, "__dict__", {}) if "__dict__" in dir(kind) else {}
        return own.get(name) if isinstance(own, dict) else None
    try:
        return getattr(value, name, None)
    except Exception:  # a property of the user's
        return None


class Node:
    """A function, class, constant, module, statement, package or file.

    Attributes
    ----------
    label, kind, file, line
        As of an `Item`; a node without a kind only leads to others.
    content
        The digest of what it is by itself.
    edges
        By the name that leads to it, what it depends on.
    bindings
        The names that it looked up.
    held
        Of a constant that can change: the binding, and the folder of its project.
    """

    __slots__ = (
        "annotations", "bindings", "content", "edges", "edited", "environment", "file", "held",
        "kind", "label", "line", "reads_annotations", "reasons", "value",
    )  # fmt: skip

    def __init__(
        self, label: str, kind: str, file: str | None = None, line: int | None = None
    ) -> None:
        self.label = label
        self.kind = kind
        self.content = ""
        self.file = file
        self.line = line
        self.edges: dict[str, Node] = {}
        self.bindings: list[Binding] = []
        self.held: Any = None
        self.value: Any = MISSING  # of a constant
        self.reasons: list[Reason] = []
        self.edited: list[Reason] = []
        self.environment: dict[str, None] = {}
        self.annotations = ""
        self.reads_annotations = False


def reachable(root: Node) -> Iterator[Node]:
    """*root* and all that it depends on, each once, in an order that only the code decides."""
    seen = {id(root)}
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        for name in sorted(node.edges, reverse=True):
            target = node.edges[name]
            if id(target) not in seen:
                seen.add(id(target))
                stack.append(target)


class Graphed(Protocol):
    """What reads a kind of definition asks of the graph."""

    def link(self, node: Node, name: str, value: Any, scope: Any = None) -> str:
        """Make *node* depend on *value*, which it calls *name*; what it counts as in a digest."""
        ...

    def bind(self, node: Node, scope: Any, name: str, value: Any, *, foreign: bool = False) -> None:
        """Note that *node* looked up *name*."""
        ...

    def follow(self, node: Node, facts: Any, namespace: Any, code: Any = None) -> None:
        """Make *node* depend on all that *facts* reach from *namespace*."""
        ...

    def file(self, path: str) -> FileFacts | None:
        """What a source file holds; None if it cannot be read."""
        ...
