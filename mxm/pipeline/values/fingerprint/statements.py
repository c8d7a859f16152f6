"""Reads what the statements of modules do at import."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib
import importlib.machinery
import os
import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

from mxm.pipeline.values.fingerprint.chains import absolute, module_name, resolved, with_parents
from mxm.pipeline.values.fingerprint.items import Reason, hash_of
from mxm.pipeline.values.fingerprint.nodes import Graphed, Node
from mxm.pipeline.values.fingerprint.places import Origin
from mxm.pipeline.values.fingerprint.sources import FileFacts

__all__ = ["Statements"]


# Their decorators change only what they decorate.
_PURE = {
    "functools", "contextlib", "dataclasses", "typing", "typing_extensions", "abc", "enum",
    "builtins", "types", "collections", "_functools", "staticmethod",
}  # fmt: skip
# By the namespace of a module, its file when it was first seen: the statements of a module are gone
# once they have run.
_first_seen: dict[int, tuple[Any, Any, str]] = {}
atexit.register(_first_seen.clear)  # so that the user's objects end as if nothing held them


class Statements:
    """Links nodes with the statements of their module.

    Parameters
    ----------
    graph
        What asks it.
    """

    def __init__(self, graph: Graphed) -> None:
        self._graph = graph

    def of(self, node: Node, space: Any, path: str) -> None:
        """Make *node* depend on what importing its module does in addition to binding names."""
        if not path:
            return
        key = ("statements", id(space))
        target = self._graph.known(key)
        if target is None:
            made = Node("", "")
            target = self._graph.add(
                key, space, made, lambda: self._fill_statements(made, space, path)
            )
        node.edges["statements of its module"] = target

    def _fill_statements(self, node: Node, space: Any, path: str) -> None:
        if path.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)):
            node.edges["file"] = self._content_of(path)
            return
        file = self._graph.file(path)
        if file is None:
            if not os.path.isdir(path):
                node.edges["file"] = self._content_of(path)
            return
        where, label = self._graph.places.relative(path), self._graph.places.label(path)
        now = space.get("__spec__"), file.ran_once()
        first = _first_seen.get(id(space))
        if first is None or first[0] is not space or first[1] is not now[0]:  # or loaded again
            _first_seen[id(space)] = (space, *now)
        elif first[2] != now[1]:
            node.edited.append(
                Reason("edited", "the file was edited after it was imported", where, None)
            )
        for number, each in enumerate(file.effects):
            root = self._graph.origin_of(resolved(each.root[:1], space))
            if root is Origin.OWN or (each.guarded and space.get("__name__") != "__main__"):
                continue
            name = ".".join(each.root) or "statement"
            made = Node(f"{label}: {name}", "statement", where, each.line)
            made.content = each.digest
            self._graph.follow(made, each.facts, space)
            made.forget_reasons()
            node.edges[f"effect {number:06}"] = made
        for name, definitions in file.decorated.items():
            if self._is_registered(file, name, space):
                made = Node(f"{label}: @{name}", "statement", where, definitions[0].line)
                made.content = hash_of(*(each.digest for each in definitions))
                for each in definitions:
                    self._graph.follow(made, each.facts, space)
                made.forget_reasons()
                node.edges[f"definition {name}"] = made
        for target, target_path in self._imports_of(file, space):
            if target is not space:
                inner = Node("", "")
                self.of(inner, target, target_path)
                node.edges[f"import {self._graph.places.label(target_path)}"] = inner

    def _content_of(self, path: str) -> Node:
        key = ("file", path)
        target = self._graph.known(key)
        if target is None:
            target = Node(
                self._graph.places.relative(path), "file", self._graph.places.relative(path)
            )
            with contextlib.suppress(OSError), open(path, "rb") as file:
                target.content = hashlib.file_digest(file, "sha256").hexdigest()
            self._graph.add(key, path, target)
        return target

    def _is_registered(self, file: FileFacts, name: str, space: Any) -> bool:
        """Whether a decorator of a library has taken the definition *name*."""
        for each in file.decorators.get(name, ()):
            root = resolved(each.root, space)
            origin = self._graph.origin_of(
                root if root is not None else resolved(each.root[:1], space)
            )
            module = module_name(root) or ""
            if origin is Origin.INSTALLED and module.partition(".")[0] not in _PURE:
                return True
            if origin is Origin.STANDARD and module.partition(".")[0] not in _PURE:
                return True
        return False

    def _imports_of(self, file: FileFacts, space: Any) -> Iterator[tuple[Any, str]]:
        """Namespace and file of each module of the project that a module imports."""
        package = space.get("__package__") or ""
        modules: dict[int, tuple[Any, str]] = {}
        names: list[str] = [package] if package else []
        for each in file.imports:
            for variable in each.variables:
                value = space.get(variable)
                if isinstance(value, ModuleType):
                    self._add_module(modules, value)
                elif isinstance(value, FunctionType):
                    origin, path = self._graph.places.of_file(value.__globals__.get("__file__"))
                    if origin is Origin.PROJECT:
                        modules[id(value.__globals__)] = value.__globals__, path
            name = absolute(each, package)
            if name:
                names += [name, *(f"{name}.{part}" for part in each.names)]
        # A package's __init__ runs before its modules.
        for name in dict.fromkeys(part for each in names for part in with_parents(each)[::-1]):
            module = sys.modules.get(name)
            if module is not None:
                self._add_module(modules, module)
        yield from modules.values()

    def _add_module(self, modules: dict[int, tuple[Any, str]], module: Any) -> None:
        if isinstance(module, ModuleType):
            origin, path = self._graph.places.of_module(module)
            if origin is Origin.PROJECT and not os.path.isdir(path):
                modules[id(vars(module))] = vars(module), path

    # Imports inside functions.
