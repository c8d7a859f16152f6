"""The nodes of the graph of definitions, and the graph's interface for their readers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import CellType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any, NamedTuple, Protocol, cast

from mxm.pipeline.values.fingerprint.instructions import Chain, CodeFacts
from mxm.pipeline.values.fingerprint.items import Reason
from mxm.pipeline.values.fingerprint.places import Origin, Places
from mxm.pipeline.values.fingerprint.sources import FileFacts

__all__ = [
    "MISSING",
    "NAMES",
    "Binding",
    "Graphed",
    "Node",
    "attribute_of",
    "reachable",
    "slots_of",
    "value_in",
]


class _Missing:
    def __repr__(self) -> str:
        return "missing"


MISSING: Any = _Missing()
"""The value of an unbound name."""


NAMES = ""
"""Stands for all the names in a namespace."""


class Binding(NamedTuple):
    """A lookup of a name.

    Parameters
    ----------
    scope
        A namespace, a function, the cell of a closure, a list, tuple or deque (whose names are the
        numbers of its members), or an object with slots.
    name
        In the namespace.
    value
        What it was.
    foreign
        Whether the namespace belongs to installed code, which may rebind its own names.
    """

    scope: Any
    name: str
    value: Any
    foreign: bool = False


def value_in(scope: Any, name: str) -> Any:
    """The current value of *name*; `MISSING` if it is unbound."""
    if isinstance(scope, FunctionType):
        return getattr(scope, name)
    if isinstance(scope, CellType):
        try:
            return scope.cell_contents
        except ValueError:
            return MISSING
    if isinstance(scope, list | tuple | deque):
        members: list[Any] | tuple[Any, ...] | deque[Any] = scope  # pyright: ignore[reportUnknownVariableType]
        if name == NAMES:
            return tuple(map(str, range(len(members))))
        return members[int(name)] if int(name) < len(members) else MISSING
    if not isinstance(scope, Mapping):
        kind: Any = type(scope)  # pyright: ignore[reportUnknownVariableType]
        slots = slots_of(kind)
        return tuple(slots) if name == NAMES else _in_slot(scope, slots.get(name))
    namespace = cast("Mapping[str, Any]", scope)
    if name == NAMES:
        return tuple(each for each in list(namespace) if type(each) is str)
    return namespace.get(name, MISSING)


def slots_of(kind: type) -> dict[str, MemberDescriptorType]:
    """The slots of a class and its bases."""
    return {
        name: slot
        for each in kind.__mro__
        for name, slot in vars(each).items()
        if isinstance(slot, MemberDescriptorType)
    }


def _in_slot(value: object, slot: MemberDescriptorType | None) -> Any:
    try:
        return MISSING if slot is None else slot.__get__(value)
    except AttributeError:  # nothing is in it
        return MISSING


def attribute_of(value: Any, name: str) -> Any:
    """The attribute *name* of *value*, or None, without running code that computes attributes."""
    if isinstance(value, ModuleType):
        return vars(value).get(name)
    try:
        kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]
        if hasattr(kind, "__getattr__"):
            return cast("dict[str, Any]", object.__getattribute__(value, "__dict__")).get(name)
        return getattr(value, name, None)
    except Exception:  # a user's property
        return None


class Node:
    """A function, class, constant, module, statement, package or file.

    Attributes
    ----------
    label, kind, file, line
        As of an `Item`; a node without a kind only leads to others.
    content
        The digest of what it is by itself.
    path
        The file that it is written in, of a function, a class or a module of the project.
    reads_annotations, reads_text
        Whether its code reads annotations; docstrings, source or line numbers.
    edges
        By the name that leads to it, what it depends on.
    bindings
        The names that it looked up.
    held
        Of a constant that can change: the binding, and the folder of its project.
    """

    __slots__ = (
        "annotations", "bindings", "content", "edges", "edited", "environment", "file", "held",
        "kind", "label", "line", "path", "reads_annotations", "reads_text", "reasons", "value",
    )  # fmt: skip

    def __init__(
        self, label: str, kind: str, file: str | None = None, line: int | None = None
    ) -> None:
        self.label: str = label
        self.kind: str = kind
        self.content: str = ""
        self.file: str | None = file
        self.path: str = ""
        self.line: int | None = line
        self.edges: dict[str, Node] = {}
        self.bindings: list[Binding] = []
        self.held: Any = None
        self.value: Any = MISSING  # of a constant
        self.reasons: list[Reason] = []
        self.edited: list[Reason] = []
        self.environment: dict[str, None] = {}
        self.annotations: str = ""
        self.reads_annotations: bool = False
        self.reads_text: bool = False

    def forget_reasons(self) -> None:
        """Forget reasons: of code that ran at import, only its results count."""
        self.reasons.clear()
        self.environment.clear()


def reachable(root: Node, *, without: str | None = None) -> Iterator[Node]:
    """*root* and everything that it depends on, each once, in an order that only the code decides.

    Nodes of the kind *without*, and what only they lead to, are left out.
    """
    seen = {id(root)}
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        for name in sorted(node.edges, reverse=True):
            target = node.edges[name]
            if id(target) not in seen and (without is None or target.kind != without):
                seen.add(id(target))
                stack.append(target)


class Graphed(Protocol):
    """The graph's interface for the readers of definitions."""

    places: Places
    key: bytes | None
    nodes: dict[Any, tuple[Any, Node]]
    unloaded: dict[str, tuple[str, str]]

    def link(self, node: Node, name: str, value: Any, scope: Any = None) -> str:
        """Make *node* depend on *value* under *name*; return what it counts as in a digest."""
        ...

    def bind(self, node: Node, scope: Any, name: str, value: Any, *, foreign: bool = False) -> None:
        """Note that *node* looked up *name*."""
        ...

    def follow(
        self, node: Node, facts: CodeFacts, namespace: Any, code: Any = None, *, cells: Any = None
    ) -> None:
        """Make *node* depend on everything that *facts* reach from *namespace*."""
        ...

    def note(self, node: Node, chain: Chain, values: list[Any], space: Any, code: Any) -> None:
        """Note impure, dynamic and environment reads among the names of *chain*."""
        ...

    def note_named(self, node: Node, chain: Chain, name: str, code: Any) -> None:
        """Note the same for a name of a module that is not loaded yet."""
        ...

    def file(self, path: str) -> FileFacts | None:
        """The facts about a source file; None if it cannot be read."""
        ...

    def add(self, key: Any, keep: Any, node: Node, fill: Callable[[], None] | None = None) -> Node:
        """Keep *node* under *key* while *keep* lives; *fill* reads it later."""
        ...

    def known(self, key: Any) -> Node | None:
        """The node that was kept under *key*."""
        ...

    def module(
        self,
        node: Node,
        name: str,
        module: ModuleType,
        facts: CodeFacts | None,
        bare: ModuleType | None = None,
    ) -> None:
        """Make *node* depend on what *facts* use of *module*."""
        ...

    def widen(self, node: Node, name: str, space: Any) -> None:
        """Make *node* depend on every name of a module."""
        ...

    def foreign_module(self, node: Node, name: str) -> None:
        """Make *node* depend on the distribution of an installed module."""
        ...

    def foreign_file(self, node: Node, path: str) -> None:
        """Make *node* depend on the distribution that the installed file *path* belongs to."""
        ...

    def statements_of(self, node: Node, space: Any, path: str) -> None:
        """Make *node* depend on what importing its module does."""
        ...

    def imported(
        self, node: Node, facts: CodeFacts, space: Any
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """What the imports in a function bind, and the names of those that are not loaded."""
        ...

    def unloaded_module(self, node: Node, name: str) -> bool:
        """Make *node* depend on a module that is not imported yet; return whether it is found."""
        ...

    def origin_of(self, value: Any) -> Origin | None:
        """Where *value* comes from; None if that is not known."""
        ...

    def is_of_project(self, value: Any) -> bool:
        """Whether *value* is a function or a class of the project."""
        ...

    def label_of(self, space: Any, path: str) -> str:
        """The name of a module."""
        ...

    def relative(self, path: str) -> str | None:
        """*path* relative to its project; None for no path."""
        ...
