"""Reads constants: by their content, or by the statements that bind them."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from types import CellType, FunctionType, ModuleType
from typing import Any

from mxm.pipeline.values.fingerprint.chains import absolute
from mxm.pipeline.values.fingerprint.constants import (
    content_of,
    is_fixed,
    is_used_up,
    without_content,
)
from mxm.pipeline.values.fingerprint.items import Reason, hash_of
from mxm.pipeline.values.fingerprint.nodes import (
    MISSING,
    NAMES,
    Graphed,
    Node,
    attribute_of,
    slots_of,
    value_in,
)
from mxm.pipeline.values.fingerprint.places import Origin
from mxm.pipeline.values.fingerprint.sources import binding

__all__ = ["Contents"]


def _bound_name(scope: Any, name: str) -> str:
    """The name that *scope* binds, if it was read as its attribute: `lib.LIMIT`."""
    is_attribute = (type(scope) is dict and name not in scope) or not isinstance(
        scope, Mapping | FunctionType | CellType | None
    )
    return name.rpartition(".")[2] if is_attribute else name


class Contents:
    """Makes nodes of constants.

    Parameters
    ----------
    graph
        What asks it.
    """

    def __init__(self, graph: Graphed) -> None:
        self._graph = graph
        self._divided = 0  # values that count by their parts

    def constant(self, node: Node, name: str, value: Any, scope: Any) -> None:
        """Make *node* depend on a value, which *scope* binds to *name*."""
        edge, name = name, _bound_name(scope, name)
        key: Any = (
            ("constant", id(scope), name) if scope is not None else ("constant", id(node), name)
        )
        target = self._graph.known(key)
        if target is not None and target.value is not value:
            key = (*key, id(value))
            target = self._graph.known(key)
        if target is None:
            space: Any = scope
            if not (isinstance(scope, dict) and "__name__" in space):
                space = {}
            origin, path = self._graph.places.of_file(space.get("__file__"))
            path = path if origin is Origin.PROJECT else ""
            if space:
                label = f"{self._graph.label_of(space, path)}.{name}"
            else:
                label = f"{node.label}{'' if name.startswith('.') else ' '}{name}"
            made = Node(label, "constant", self._graph.relative(path) or node.file, None)
            made.value = value
            target = self._graph.add(
                key,
                (scope, node),
                made,
                lambda: self._fill_constant(made, name, scope, path),
            )
        node.edges[edge] = target

    def _fill_constant(self, node: Node, name: str, scope: Any, path: str) -> None:
        value = node.value
        if without_content(value):
            node.content = type(value).__qualname__
            return
        wrapped = attribute_of(value, "__wrapped__")
        if wrapped is not None:
            self._graph.link(node, "__wrapped__", wrapped)
        root = self._graph.places.root_of(path) if path else self._graph.places.root

        def code(thing: object) -> str:
            return self._inside(node, thing)

        content = content_of(value, code, self._graph.key, root)
        for kind in content.kinds:
            self._graph.link(node, f"type {kind.__module__}.{kind.__qualname__}", kind, scope)
        if content.digest is not None:
            node.content = content.digest
            if not is_fixed(value):
                node.held = (scope, name, root)
            return
        node.content = f"{type(value).__module__}.{type(value).__qualname__}"
        if content.is_large or self._divided > _DIVIDED:
            text = f"reads {node.label}, which holds too many objects to compare them"
            node.reasons.append(Reason("dynamic", text, node.file, node.line))
            return
        self._divided += 1
        self._parts(node, value)
        if isinstance(scope, dict):
            self._by_statements(node, name, scope, path, 0)
        if is_used_up(value) and not self._graph.is_of_project(type(value)):
            text = f"reads {node.label}, which does not say what it will give next"
            node.reasons.append(Reason("used up", text, node.file, node.line))

    def _parts(self, node: Node, value: Any) -> None:
        """Make a value without content count by its parts with content."""
        if type(value) is partial:
            for name in ("func", "args", "keywords"):
                self._graph.link(node, f".{name}", getattr(value, name))  # pyright: ignore[reportUnknownArgumentType]
        for own in self._spaces(value):
            names = value_in(own, NAMES)
            node.content = hash_of(node.content, *names)
            self._graph.bind(node, own, NAMES, names)
            for name in names[:_PARTS]:
                part = value_in(own, name)
                self._graph.bind(node, own, name, part)
                if part is not MISSING:
                    self._graph.link(node, f".{name}", part, own)

    def _spaces(self, value: Any) -> Iterator[Any]:
        """The namespaces with the parts of *value*; none for a library's object."""
        if isinstance(value, dict | list | tuple | deque):
            yield value
            return
        kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]
        if f"{kind.__module__}.{kind.__qualname__}" in _HOLDERS or self._graph.is_of_project(kind):
            attributes = attribute_of(value, "__dict__")
            if isinstance(attributes, dict):
                yield attributes
            if slots_of(kind):
                yield value

    def _inside(self, node: Node, thing: object) -> str:
        """Make *node* depend on a function or a class that its value contains."""
        alone = Node("", "")
        label = self._graph.link(alone, "it", thing)
        for target in alone.edges.values():
            name, number = f"in {label}", 1
            while node.edges.get(name, target) is not target:
                number += 1
                name = f"in {label} {number}"
            node.edges[name] = target
        return label

    def _by_statements(self, node: Node, name: str, space: Any, path: str, depth: int) -> None:
        """Make *name*, whose value has no content, count by the statements that bind it."""
        if not path or depth > _DEPTH:
            return
        try:
            with open(path, "rb") as file:
                statements, imports = binding(file.read(), path, name)
        except (OSError, SyntaxError, ValueError, RecursionError):
            return
        for number, each in enumerate(statements):
            node.line = node.line or each.line
            node.content = hash_of(node.content, each.digest)
            inner = Node("", "")
            self._graph.follow(inner, each.facts, space)
            inner.forget_reasons()
            inner.edges = {key: to for key, to in inner.edges.items() if to is not node}
            node.edges[f"bound by {number}"] = inner
        for taken in imports:
            module = sys.modules.get(absolute(taken, space.get("__package__") or ""))
            if isinstance(module, ModuleType) and taken.names:
                at = taken.variables.index(name)
                origin, other = self._graph.places.of_module(module)
                if origin is Origin.PROJECT:
                    self._by_statements(node, taken.names[at], vars(module), other, depth + 1)


# Objects of Python that hold what tasks put into them.
_HOLDERS = {
    *("argparse.Namespace", "collections.ChainMap", "collections.UserDict", "collections.UserList"),
    *("functools.partial", "types.SimpleNamespace"),
    *("queue.LifoQueue", "queue.PriorityQueue", "queue.Queue"),
    *("threading.BoundedSemaphore", "threading.Event", "threading.Semaphore"),
}
_DEPTH = 4
_PARTS = 1_000
_DIVIDED = 500
