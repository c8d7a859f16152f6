"""Links with modules: the names used, their distribution, and patches to them."""

from __future__ import annotations

import sys
from types import FunctionType, ModuleType
from typing import Any

from mxm.pipeline.values.fingerprint.classes import accessors_of
from mxm.pipeline.values.fingerprint.instructions import CodeFacts
from mxm.pipeline.values.fingerprint.items import hash_of
from mxm.pipeline.values.fingerprint.memory import FileMemory
from mxm.pipeline.values.fingerprint.nodes import MISSING, Graphed, Node, attribute_of
from mxm.pipeline.values.fingerprint.packages import Package, Packages
from mxm.pipeline.values.fingerprint.places import OF_PROJECT, Origin

__all__ = ["Modules"]

_BUILT = frozenset(
    {str, int, bool, tuple, frozenset, dict, list, type(None), type(len), type(str.join)}
    | {type(str.__len__), type(FunctionType.__code__), type(FunctionType.__closure__)}
)


class Modules:
    """Links nodes with modules.

    Parameters
    ----------
    graph
        What asks it.
    memory
        What is known about files.
    """

    def __init__(self, graph: Graphed, memory: FileMemory) -> None:
        self._graph = graph
        self._packages = Packages(memory)
        self._class_patches: dict[int, list[tuple[str, Any, Any, str]]] = {}
        self._others: set[str] = set()  # files that are not the project's
        self._patches: dict[int, list[tuple[str, Any, Any, str]]] = {}
        self._package_nodes: dict[str, Node] = {}
        self._foreign: dict[str, str | None] = {}  # by name, the file of an installed module

    def module(
        self,
        node: Node,
        name: str,
        module: ModuleType,
        facts: CodeFacts | None,
        bare: ModuleType | None = None,
    ) -> None:
        """Make *node* depend on the names of *module* that it uses, or on all if unknown."""
        stack = [(name, module)]
        seen: set[int] = set()
        while stack:
            name, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            origin, path = self._graph.places.of_module(module)
            space = vars(module)
            if origin is Origin.OWN:
                continue
            project = origin in OF_PROJECT
            if project:
                if facts is None or module is bare:
                    self.widen(node, name, space)
                    continue
                self._graph.statements_of(node, space, path)
            else:
                self.foreign_module(node, module.__name__)
                for label, value, scope, attribute in self._patched(module):
                    self._graph.bind(node, scope, attribute, value, foreign=True)
                    self._graph.link(node, label, value)
            for attribute in (*(facts.attributes if facts else ()), "__getattr__"):
                value = space.get(attribute, MISSING)
                if value is MISSING:
                    if project:
                        self._graph.bind(node, space, attribute, value)
                elif isinstance(value, ModuleType):
                    if project:
                        self._graph.bind(node, space, attribute, value)
                    stack.append((f"{name}.{attribute}", value))
                elif project:
                    self._graph.bind(node, space, attribute, value)
                    self._graph.link(node, f"{name}.{attribute}", value, space)
                elif callable(value):
                    self._graph.bind(node, space, attribute, value, foreign=True)

    def _patched(self, module: ModuleType) -> list[tuple[str, Any, Any, str]]:
        """Functions of the project that were put into an installed module or one of its classes."""
        if id(module) not in self._patches:
            patches: list[tuple[str, Any, Any, str]] = []
            for name, value in list(vars(module).items()):
                if isinstance(value, type):
                    patches += self._patches_of(value)
                elif type(value) is FunctionType and self._is_patch(value):
                    patches.append((f"{module.__name__}.{name}", value, vars(module), name))
            self._patches[id(module)] = patches
        return self._patches[id(module)]

    def foreign_class(self, node: Node, cls: type) -> None:
        """Make *node* depend on a class of an installed module, and on patches to it."""
        self.foreign_module(node, cls.__module__)
        for base in cls.__mro__:
            for label, value, scope, attribute in self._patches_of(base):
                self._graph.bind(node, scope, attribute, value, foreign=True)
                self._graph.link(node, label, value)

    def _patches_of(self, cls: type) -> list[tuple[str, Any, Any, str]]:
        known = self._class_patches.get(id(cls))
        if known is None:
            home = f"{cls.__module__}.{cls.__qualname__}"
            known = [
                (f"{home}.{name}", value, vars(cls), name)
                for name, value in list(vars(cls).items())
                if type(value) not in _BUILT and self._is_patch(value)
            ]
            self._class_patches[id(cls)] = known
        return known

    def _is_patch(self, value: Any) -> bool:
        """Whether a function, or the one behind a property or accessor, is the project's."""
        if type(value) is not FunctionType:
            inner = [each for _, each in accessors_of(value)]
            if not inner and not isinstance(value, type):
                state: dict[str, Any] = attribute_of(value, "__dict__") or {}
                return any(
                    isinstance(each, FunctionType | type) and self._graph.is_of_project(each)
                    for each in state.values()
                )
            return any(self._is_patch(each) for each in inner)
        file = value.__code__.co_filename
        if file not in self._others:
            if self._graph.is_of_project(value):
                return True
            self._others.add(file)
        return False

    def widen(self, node: Node, name: str, space: Any) -> None:
        """Make *node* depend on every name of a module."""
        key = ("module", id(space))
        target = self._graph.known(key)
        if target is None:
            origin, path = self._graph.places.of_file(space.get("__file__"))
            path = path if origin is Origin.PROJECT else ""
            made = Node(self._graph.label_of(space, path), "module", self._graph.relative(path))
            target = self._graph.add(key, space, made, lambda: self._fill_module(made, space, path))
        node.edges[name] = target

    def _fill_module(self, node: Node, space: Any, path: str) -> None:
        names = sorted(name for name in space if not name.startswith("__"))
        node.content, node.path = hash_of(*names), path
        self._graph.statements_of(node, space, path)
        for name in [*names, "__getattr__"]:
            value = space.get(name, MISSING)
            if value is not MISSING:
                self._graph.bind(node, space, name, value)
                self._graph.link(node, name, value, space)

    def foreign_module(self, node: Node, name: str) -> None:
        """Make *node* depend on the distribution of an installed module."""
        if name not in self._foreign:
            module = sys.modules.get(name) or sys.modules.get(name.partition(".")[0])
            origin, path = self._graph.places.of_module(module) if module else (None, "")
            if origin is Origin.PROJECT and module is not None:  # an extension in C
                self._graph.statements_of(node, vars(module), path)
                return
            self._foreign[name] = path if origin is Origin.INSTALLED else None
        file = self._foreign[name]
        if file is not None:
            self.foreign_file(node, file)

    def distribution(self, name: str) -> Package | None:
        """The installed distribution *name*; None if there is none."""
        return self._packages.named(name)

    def foreign_file(self, node: Node, path: str) -> None:
        """Make *node* depend on the distribution that the installed file *path* belongs to."""
        package = self._packages.of_file(path)
        if package is not None:
            node.edges[f"package {package.name}"] = self._package(package)

    def _package(self, package: Package) -> Node:
        target = self._package_nodes.get(package.name)
        if target is None:
            for each in self._packages.with_required(package):
                if each.name not in self._package_nodes:
                    made = Node(each.name, "package")
                    made.content = each.digest
                    self._package_nodes[each.name] = made
            target = self._package_nodes[package.name]
            for each in self._packages.with_required(package):
                if each.name != package.name:
                    target.edges[f"package {each.name}"] = self._package_nodes[each.name]
        return target

    # Statements of modules.
