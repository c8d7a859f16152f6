"""The graph of a project's definitions, found through the loaded objects."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from types import (
    BuiltinFunctionType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

from mxm.pipeline.errors import described
from mxm.pipeline.introspection.decorated import FlowBase, TaskBase
from mxm.pipeline.introspection.uses import ResourceBase, Use
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.values.fingerprint import impure
from mxm.pipeline.values.fingerprint.chains import module_name
from mxm.pipeline.values.fingerprint.classes import accessors_of, fill_class, home_of_class
from mxm.pipeline.values.fingerprint.contents import Contents
from mxm.pipeline.values.fingerprint.functions import Functions
from mxm.pipeline.values.fingerprint.items import Reason
from mxm.pipeline.values.fingerprint.lazy import LazyImports
from mxm.pipeline.values.fingerprint.memory import FileMemory
from mxm.pipeline.values.fingerprint.modules import Modules
from mxm.pipeline.values.fingerprint.names import Names
from mxm.pipeline.values.fingerprint.nodes import Binding, Node
from mxm.pipeline.values.fingerprint.places import OF_PROJECT, Origin, Places
from mxm.pipeline.values.fingerprint.sources import FileFacts, read_source
from mxm.pipeline.values.fingerprint.statements import Statements

__all__ = ["Graph"]

_BUILTIN = (BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType, MethodWrapperType)


class Graph:
    """The definitions that functions depend on, each read once.

    Parameters
    ----------
    root
        The project's folder.
    memory
        What is known about files.
    key
        The key of the store, used in digests of constants.
    """

    def __init__(self, root: str, memory: FileMemory, key: bytes | None) -> None:
        self.places: Places = Places(root)
        self.key: bytes | None = key
        self._memory = memory
        self.nodes: dict[Any, tuple[Any, Node]] = {}
        self._todo: deque[tuple[Node, Callable[[], None]]] = deque()
        self._foreign: dict[int, tuple[type, str]] = {}  # classes of others
        self._files: dict[str, FileFacts | None] = {}
        self.unloaded: dict[str, tuple[str, str]] = {}  # by name: file, digest of its bytes
        self._functions = Functions(self)
        self._contents = Contents(self)
        names, modules, lazy = Names(self), Modules(self, memory), LazyImports(self)
        self.follow: Callable[..., Any] = names.follow
        self.note: Callable[..., Any] = names.note
        self.note_named: Callable[..., Any] = names.note_named
        self.module: Callable[..., Any] = modules.module
        self.widen: Callable[..., Any] = modules.widen
        self.foreign_class: Callable[..., Any] = modules.foreign_class
        self.distribution: Callable[..., Any] = modules.distribution
        self.foreign_module: Callable[..., Any] = modules.foreign_module
        self.foreign_file: Callable[..., Any] = modules.foreign_file
        self.statements_of: Callable[..., Any] = Statements(self).of
        self.imported: Callable[..., Any] = lazy.imported
        self.unloaded_module: Callable[..., Any] = lazy.unloaded

    # Its interface.

    def root(self, value: Any) -> Node:
        """The node that depends on *value* alone."""
        node = Node("", "")
        if isinstance(value, ModuleType) and self.places.of_module(value)[0] in OF_PROJECT:
            self.widen(node, "module", vars(value))
        else:
            self.link(node, "it", value)
        self.drain()
        return node

    def drain(self) -> None:
        """Read the nodes that are not read yet."""
        while self._todo:
            node, fill = self._todo.popleft()
            try:
                fill()
            except BaseException as error:  # from objects of users and libraries
                let_signals_pass(error)
                text = f"{node.label or 'code'} cannot be read: {described(error)}"
                node.reasons.append(Reason("dynamic", text[:300], node.file, node.line))

    def file(self, path: str) -> FileFacts | None:
        """The facts about a source file; None if it cannot be read or is not Python."""
        if path not in self._files:

            def read() -> FileFacts | None:
                try:
                    with open(path, "rb") as file:
                        return read_source(file.read(), path)
                except (OSError, SyntaxError, ValueError, RecursionError):
                    return None

            self._files[path] = self._memory.recall("source", path, read, _to_json, _from_json)
        return self._files[path]

    def link_statements(self, node: Node, name: str, value: Any) -> None:
        """Make *node* depend on what importing the module of a function does."""
        fn = getattr(value, "fn", value)
        if isinstance(fn, FunctionType):
            origin, path = self.places.of_file(fn.__globals__.get("__file__"))
            if origin is Origin.PROJECT:
                inner = Node("", "")
                self.statements_of(inner, fn.__globals__, path)
                node.edges[name] = inner

    # Links.

    def link(self, node: Node, name: str, value: Any, scope: Any = None) -> str:
        """Make *node* depend on *value* under *name*.

        Returns
        -------
        str
            What it counts as inside a value.
        """
        if isinstance(
            value, FlowBase
        ):  # a flow that runs in a task, with the tasks that it declares
            for task in getattr(getattr(value, "spec", None), "tasks", ()):
                self.link(node, f"{name} {task.name}", task.fn)
        if isinstance(value, TaskBase | FlowBase | ResourceBase):
            return self.link(node, name, value.fn, scope)
        if isinstance(value, Use):
            return self.link(node, name, value.resource, scope)
        if isinstance(value, ModuleType):
            self.module(node, name, value, None)
            return value.__name__
        if isinstance(value, FunctionType):
            return self._functions.function(node, name, value)
        if isinstance(value, type):
            return self._class(node, name, value, scope)
        if isinstance(value, MethodType):
            own: Any = value.__self__
            if not impure.is_shared(own):
                self.link(node, f"{name} of", own, scope if isinstance(own, type) else None)
            return self.link(node, name, value.__func__, scope)
        parts = accessors_of(value)
        for part, inner in parts:
            self.link(node, f"{name} {part}", inner)
        if parts:
            return type(value).__name__
        if isinstance(value, _BUILTIN):
            module = getattr(value, "__module__", None)
            bound: Any = getattr(value, "__self__", None)
            if isinstance(module, str):
                self.foreign_module(node, module)
            elif not (bound is None or isinstance(bound, ModuleType | type) or (
                impure.is_shared(bound)
            )):  # fmt: skip
                self.link(node, f"{name} of", bound)
            return f"{module}.{getattr(value, '__qualname__', name)}"
        self._contents.constant(node, name, value, scope)
        return name

    def bind(self, node: Node, scope: Any, name: str, value: Any, *, foreign: bool = False) -> None:
        """Note that *node* looked up *name* in *scope*."""
        node.bindings.append(Binding(scope, name, value, foreign))

    # The interface for the readers of definitions.

    def add(self, key: Any, keep: Any, node: Node, fill: Callable[[], None] | None = None) -> Node:
        """Keep *node* under *key* while *keep* lives; *fill* reads it later."""
        self.nodes[key] = keep, node
        if fill is not None:
            self._todo.append((node, fill))
        return node

    def known(self, key: Any) -> Node | None:
        """The node that was kept under *key*."""
        known = self.nodes.get(key)
        return None if known is None else known[1]

    def label_of(self, space: Any, path: str) -> str:
        """The name of a module."""
        return self.places.label(path) if path else str(space.get("__name__", "typed"))

    def is_of_project(self, value: Any) -> bool:
        """Whether *value* is a function or a class of the project."""
        if isinstance(value, TaskBase | FlowBase | ResourceBase):
            return True
        if isinstance(value, FunctionType):
            return self.places.of_code(value.__code__, value.__globals__)[0] is Origin.PROJECT
        if isinstance(value, type):
            return home_of_class(value, None, self.places)[0] is Origin.PROJECT
        return False

    # Classes.

    def _class(self, node: Node, name: str, cls: type, scope: Any) -> str:
        target = self.known(id(cls))
        if target is None:
            foreign = self._foreign.get(id(cls))
            if foreign is not None:
                self.foreign_class(node, cls)
                return foreign[1]
            origin, path, space = home_of_class(cls, scope, self.places)
            if origin not in OF_PROJECT:
                self._foreign[id(cls)] = cls, f"{cls.__module__}.{cls.__qualname__}"
            if origin is Origin.OWN:
                return cls.__qualname__
            if origin not in OF_PROJECT:
                self.foreign_class(node, cls)
                return f"{cls.__module__}.{cls.__qualname__}"
            label = f"{self.label_of(space, path)}.{cls.__qualname__}"
            made = Node(label, "class", self.places.relative(path) if path else None)

            def fill() -> None:
                fill_class(self, made, cls, path, space)
                self.statements_of(made, space, path)

            target = self.add(id(cls), cls, made, fill)
        node.edges[name] = target
        return target.label

    def relative(self, path: str) -> str | None:
        """*path* relative to its project; None for no path."""
        return self.places.relative(path) if path else None

    def origin_of(self, value: Any) -> Origin | None:
        """Where *value* comes from; None if that is not known."""
        if value is None:
            return None
        if isinstance(value, TaskBase | FlowBase | ResourceBase | Use):
            return Origin.OWN
        if isinstance(value, ModuleType):
            return self.places.of_module(value)[0]
        if isinstance(value, FunctionType):
            return self.places.of_code(value.__code__, value.__globals__)[0]
        if isinstance(value, MethodType):
            return self.origin_of(value.__func__)
        if isinstance(value, type):
            return home_of_class(value, None, self.places)[0]
        name = module_name(value)
        module = sys.modules.get(name or "")
        return None if module is None else self.places.of_module(module)[0]


def _to_json(facts: FileFacts | None) -> Any:
    return None if facts is None else facts.to_json()


def _from_json(data: Any) -> FileFacts | None:
    return None if data is None else FileFacts.from_json(data)
