"""The graph of a project's definitions, found through the objects that are loaded."""

from __future__ import annotations

import builtins
import contextlib
import functools
import hashlib
import importlib
import importlib.machinery
import os
import runpy
import sys
from collections import deque
from collections.abc import Callable, Iterator
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

from mxm.pipeline.errors import described
from mxm.pipeline.interrupts import let_signals_pass
from mxm.pipeline.introspection.decorated import FlowBase, TaskBase
from mxm.pipeline.introspection.uses import ResourceBase, Use
from mxm.pipeline.values.fingerprint import impure
from mxm.pipeline.values.fingerprint.classes import accessors_of, fill_class, home_of_class
from mxm.pipeline.values.fingerprint.constants import (
    is_fixed,
    kinds_in,
    try_digest,
    without_content,
    words_of,
)
from mxm.pipeline.values.fingerprint.instructions import (
    Chain,
    CodeFacts,
    Import,
    facts_of,
    line_of,
    raw_digest,
)
from mxm.pipeline.values.fingerprint.items import Reason, hash_of
from mxm.pipeline.values.fingerprint.memory import FileMemory
from mxm.pipeline.values.fingerprint.nodes import MISSING, Binding, Node, attribute_of
from mxm.pipeline.values.fingerprint.packages import Package, Packages
from mxm.pipeline.values.fingerprint.places import Origin, Places
from mxm.pipeline.values.fingerprint.sources import (
    FileFacts,
    Statement,
    binding,
    module_facts,
    read_source,
)

__all__ = ["Graph"]

_BUILTIN = (BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType, MethodWrapperType)
_OF_PROJECT = (Origin.PROJECT, Origin.TYPED)
# Their decorators change nothing but what they decorate.
_PURE = {
    "functools", "contextlib", "dataclasses", "typing", "typing_extensions", "abc", "enum",
    "builtins", "types", "collections", "_functools", "staticmethod",
}  # fmt: skip
_READS_ANNOTATIONS = {
    "__annotations__", "get_type_hints", "get_annotations", "signature", "getfullargspec",
    "__signature__", "__annotate__",
}  # fmt: skip
_FRAMES = {"__globals__", "f_globals", "f_locals", "_getframe", "currentframe", "f_back"}
_UNKNOWABLE: dict[int, str] = {
    id(runpy.run_path): "runpy.run_path",
    id(runpy.run_module): "runpy.run_module",
}

# By the file and the namespace of a module, what its file was when it was seen first: the statements
# of a module are gone once they ran.
_first_seen: dict[int, tuple[Any, Any, str]] = {}
# Modules that were not imported when they were read first stay so for the process: a task that
# imports them must not change what counts for the next run.
_lazy: dict[str, str] = {}  # by name, the file


class Graph:
    """The definitions that functions depend on, each read once.

    Parameters
    ----------
    root
        The project's folder.
    memory
        What is known of files.
    key
        Of the store: constants are digested with it.
    """

    def __init__(self, root: str, memory: FileMemory, key: bytes | None) -> None:
        self.places = Places(root)
        self.key = key
        self._memory = memory
        self._packages = Packages(memory)
        self._nodes: dict[Any, tuple[Any, Node]] = {}
        self._todo: deque[tuple[Node, Callable[[], None]]] = deque()
        self._files: dict[str, FileFacts | None] = {}
        self._patches: dict[int, list[tuple[str, Any, Any, str]]] = {}
        self._package_nodes: dict[str, Node] = {}
        self.unloaded: dict[str, tuple[str, str]] = {}  # by name: file, digest of its bytes

    # What is asked of it.

    def root(self, value: Any) -> Node:
        """The node that depends on *value* alone."""
        node = Node("", "")
        if isinstance(value, ModuleType) and self.places.of_module(value)[0] in _OF_PROJECT:
            self._widen(node, "module", value)
        else:
            self.link(node, "it", value)
        self.drain()
        return node

    def drain(self) -> None:
        """Read what was found and not yet read."""
        while self._todo:
            node, fill = self._todo.popleft()
            try:
                fill()
            except BaseException as error:  # of objects of users and libraries
                let_signals_pass(error)
                text = f"{node.label or 'code'} cannot be read: {described(error)}"
                node.reasons.append(Reason("dynamic", text[:300], node.file, node.line))

    def file(self, path: str) -> FileFacts | None:
        """What a source file holds; None if it cannot be read or is not Python."""
        if path not in self._files:

            def read() -> FileFacts | None:
                with contextlib.suppress(OSError, SyntaxError, ValueError, RecursionError):
                    with open(path, "rb") as file:
                        return read_source(file.read(), path)
                return None

            self._files[path] = self._memory.recall("source", path, read, _to_json, _from_json)
        return self._files[path]

    def link_statements(self, node: Node, name: str, value: Any) -> None:
        """Make *node* depend on what importing the module of a function does, not on the function."""
        fn = getattr(value, "fn", value)
        if isinstance(fn, FunctionType):
            origin, path = self.places.of_file(fn.__globals__.get("__file__"))
            if origin is Origin.PROJECT:
                inner = Node("", "")
                self._statements_of(inner, fn.__globals__, path)
                node.edges[name] = inner

    # Links.

    def link(self, node: Node, name: str, value: Any, scope: Any = None) -> str:
        """Make *node* depend on *value*, which it calls *name*.

        Returns
        -------
        str
            What it counts as where a value contains it.
        """
        if isinstance(value, TaskBase | FlowBase | ResourceBase):
            return self.link(node, name, value.fn, scope)
        if isinstance(value, Use):
            return self.link(node, name, value.resource, scope)
        if isinstance(value, ModuleType):
            self._module(node, name, value, None)
            return value.__name__
        if isinstance(value, FunctionType):
            return self._function(node, name, value, scope)
        if isinstance(value, type):
            return self._class(node, name, value, scope)  # pyright: ignore[reportUnknownArgumentType]
        if isinstance(value, MethodType):
            own: Any = value.__self__
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
                self._foreign_module(node, module)
            elif bound is not None and not isinstance(bound, ModuleType | type):
                self.link(node, f"{name} of", bound)
            return f"{module}.{getattr(value, '__qualname__', name)}"
        self._constant(node, name, value, scope)
        return name

    def bind(self, node: Node, scope: Any, name: str, value: Any, *, foreign: bool = False) -> None:
        """Note that *node* looked up *name* in *scope*."""
        node.bindings.append(Binding(scope, name, value, foreign))

    def _add(self, key: Any, keep: Any, node: Node, fill: Callable[[], None] | None = None) -> Node:
        self._nodes[key] = keep, node
        if fill is not None:
            self._todo.append((node, fill))
        return node

    def _known(self, key: Any) -> Node | None:
        known = self._nodes.get(key)
        return None if known is None else known[1]

    # Functions.

    def _function(self, node: Node, name: str, fn: FunctionType, scope: Any) -> str:
        target = self._known(id(fn))
        if target is None:
            space = fn.__globals__
            origin, path = self.places.of_code(fn.__code__, space)
            if origin is Origin.OWN:
                return fn.__qualname__
            if origin not in _OF_PROJECT:
                return self._foreign_function(node, name, fn)
            label = f"{self._label_of(space, path)}.{fn.__qualname__}"
            file = self.places.relative(path) if path else None
            made = Node(label, "function", file, fn.__code__.co_firstlineno)
            target = self._add(id(fn), fn, made, lambda: self._fill_function(made, fn, path))
        node.edges[name] = target
        return target.label

    def _label_of(self, space: Any, path: str) -> str:
        return self.places.label(path) if path else str(space.get("__name__", "typed"))

    def _fill_function(self, node: Node, fn: FunctionType, path: str) -> None:
        code, space = fn.__code__, fn.__globals__
        facts, file = self._facts_of(node, code, path)
        node.content = facts.digest
        cells = dict(zip(code.co_freevars, fn.__closure__ or (), strict=False))
        self.follow(node, facts, space, code, cells=cells)
        for name, cell in cells.items():
            with contextlib.suppress(ValueError):  # not bound yet
                value = cell.cell_contents
                self.bind(node, cell, name, value)
                if isinstance(value, ModuleType):
                    self._module(node, f"cell {name}", value, facts)
                else:
                    self.link(node, f"cell {name}", value, cell)
        defaults = fn.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
        for name, value in [*zip(names, defaults, strict=True), *(fn.__kwdefaults__ or {}).items()]:
            self.link(node, f"default {name}", value)
        for name, value in list(fn.__dict__.items()):
            if name == "__wrapped__":
                self.link(node, name, value)
            elif not name.startswith("__"):
                self.bind(node, fn.__dict__, name, value)
                self.link(node, f"attribute {name}", value, fn.__dict__)
        node.annotations = hash_of(repr(sorted(_annotations(fn).items())))
        if file is not None:
            for number, each in enumerate(file.decorators.get(fn.__qualname__, [])):
                self._decorator(node, number, each, space)
        self._statements_of(node, space, path)

    def _facts_of(
        self, node: Node, code: CodeType, path: str
    ) -> tuple[CodeFacts, FileFacts | None]:
        """The facts of loaded *code*, and its file, if that still compiles to it."""
        if not path:
            return facts_of(code), None
        file = self.file(path)
        known = file.codes.get(raw_digest(code)) if file is not None else None
        if known is not None:
            return known[1], file
        facts = facts_of(code)
        if file is not None:
            for name, other in file.codes.values():
                if name == code.co_qualname and other.digest == facts.digest:
                    return facts, file  # only a docstring differs
        where = self.places.relative(path)
        node.edited.append(
            Reason(
                "edited",
                f"{code.co_qualname} is not what its file says: edited after it was imported?",
                where,
                code.co_firstlineno,
            )
        )
        return facts, file

    def _decorator(self, node: Node, number: int, statement: Statement, space: Any) -> None:
        root = _resolved(statement.root, space)
        origin = self._origin_of(root)
        if origin is Origin.OWN:
            return
        node.content = hash_of(node.content, f"decorator {number}", statement.digest)
        if origin is Origin.INSTALLED:
            node.content = hash_of(node.content, node.annotations)
        inner = Node("", "")
        self.follow(inner, statement.facts, space)
        node.edges[f"decorator {number}"] = inner

    def _foreign_function(self, node: Node, name: str, fn: FunctionType) -> str:
        """A function of an installed module: its distribution, and what of the project it wraps."""
        self._foreign_module(node, str(fn.__globals__.get("__name__", fn.__module__)))
        for number, inner in enumerate(self._wrapped(fn, 0)):
            self.link(node, f"{name} wraps {number}", inner)
        return f"{fn.__module__}.{fn.__qualname__}"

    def _wrapped(self, value: Any, depth: int) -> Iterator[Any]:
        """Functions and classes of the project inside a foreign function."""
        inside: list[Any] = []
        if isinstance(value, FunctionType):
            inside += [vars(value).get("__wrapped__"), *(each for _, each in accessors_of(value))]
            for cell in value.__closure__ or ():
                with contextlib.suppress(ValueError):
                    inside.append(cell.cell_contents)
        elif isinstance(value, functools.partial):
            part: functools.partial[Any] = value
            inside += [part.func, *part.args, *part.keywords.values()]
        elif isinstance(value, MethodType):
            inside += [value.__func__]
        elif not isinstance(value, type):
            inside += [attribute_of(value, "__wrapped__")]
        for each in inside:
            if each is None or isinstance(each, ModuleType):
                continue
            if self.is_of_project(each):
                yield each
            elif depth < _DEPTH and isinstance(each, FunctionType | MethodType | functools.partial):
                yield from self._wrapped(each, depth + 1)

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
        target = self._known(id(cls))
        if target is None:
            origin, path, space = home_of_class(cls, scope, self.places)
            if origin is Origin.OWN:
                return cls.__qualname__
            if origin not in _OF_PROJECT:
                self._foreign_module(node, cls.__module__)
                return f"{cls.__module__}.{cls.__qualname__}"
            label = f"{self._label_of(space, path)}.{cls.__qualname__}"
            made = Node(label, "class", self.places.relative(path) if path else None)

            def fill() -> None:
                fill_class(self, made, cls, path, space)
                self._statements_of(made, space, path)

            target = self._add(id(cls), cls, made, fill)
        node.edges[name] = target
        return target.label

    # Names.

    def follow(
        self, node: Node, facts: CodeFacts, namespace: Any, code: Any = None, *, cells: Any = None
    ) -> None:
        """Make *node* depend on all that *facts* reach from *namespace*."""
        local, named = self._imported(node, facts, namespace)
        for name, cell in (cells or {}).items():
            with contextlib.suppress(ValueError):
                local[name] = cell.cell_contents
        for chain in facts.chains:
            root = chain.names[0]
            if chain.scope == "l":
                value = local.get(root, MISSING)
                if root in named:
                    self._note_named(node, chain, named[root], code)
                elif value is not MISSING:
                    self._reach(node, chain, value, facts, namespace, code)
                continue
            value = namespace.get(root, MISSING)
            self.bind(node, namespace, root, value)
            if value is MISSING:
                value = vars(builtins).get(root, MISSING)
                if value is MISSING:
                    continue
            self._reach(node, chain, value, facts, namespace, code)
        for name in facts.stored:
            self.bind(node, namespace, name, namespace.get(name, MISSING))
        for word in facts.words:
            value = namespace.get(word, MISSING)
            if value is not MISSING and not (word.startswith("__") and word.endswith("__")):
                self._word(node, word, value, namespace)
        names = {*facts.attributes, *(chain.names[0] for chain in facts.chains)}
        node.reads_annotations |= bool(names & _READS_ANNOTATIONS)
        for name in sorted(names & _FRAMES):
            self._dynamic(node, f"reads {name}", code, name)
        if "__subclasses__" in names:
            self._subclasses(node)

    def _word(self, node: Node, word: str, value: Any, namespace: Any) -> None:
        self.bind(node, namespace, word, value)
        if isinstance(value, ModuleType):
            self._module(node, word, value, None)
        else:
            self.link(node, word, value, namespace)

    def _reach(
        self, node: Node, chain: Chain, value: Any, facts: CodeFacts, space: Any, code: Any
    ) -> None:
        """Follow one name and its attributes."""
        values = _values_of(chain, value)
        last = len(values) == len(chain.names)
        self._note(node, chain, values, space, code)
        root = chain.names[0]
        if root in ("__builtins__", "__spec__", "__loader__") and value is space.get(root):
            self._dynamic(node, f"reads {root}", code, root)
            return
        if isinstance(value, ModuleType):
            end = values[-1]
            bare = last and isinstance(end, ModuleType)
            self._module(node, root, value, facts, end if bare else None)
            return
        scope = space if chain.scope == "g" and root in space else None
        self.link(node, root, value, scope)
        for text in words_of(value):
            other = space.get(text, MISSING)
            if other is not MISSING and other is not value:
                self._word(node, text, other, space)

    def _note(self, node: Node, chain: Chain, values: list[Any], space: Any, code: Any) -> None:
        """What the names of *chain* are that is not a plain dependency."""
        read = impure.environment_of(chain, values)
        if read is not None:
            self._environment(node, read, space, code, chain)
        owner: Any = None
        modules: list[str] = []
        for number, value in enumerate(values):
            name = chain.names[number]
            at_end = number == len(chain.names) - 1
            found = impure.kind_of(owner, name, value, chain if at_end else None)
            if found is not None:
                self._reason(node, found[0], f"reads {found[1]}", code, name)
            what = impure.is_dynamic(value) or _UNKNOWABLE.get(id(value))
            if what is not None:
                self._dynamic(node, f"calls {what}", code, name)
            elif value is builtins.globals or value is sys.modules:
                self._own_module(node, chain, value, space, code, name)
            elif value is importlib.import_module or value is builtins.__import__:
                self._import_by_text(node, chain, space, code, name)
            if not number or isinstance(owner, ModuleType):
                modules.append(_module_name(value) or "")
            owner = value
        kinds = {impure.kind_of_package(name): name.partition(".")[0] for name in modules}
        for kind, name in kinds.items():
            if kind is not None and self._origin_of(values[0]) not in _OF_PROJECT:
                self._reason(node, kind, f"uses {name}", code, chain.names[0])

    def _note_named(self, node: Node, chain: Chain, name: str, code: Any) -> None:
        """What *chain* is, of a module that is not loaded yet."""
        found = impure.kind_of_name(".".join((name, *chain.names[1:])), chain)
        if found is not None:
            self._reason(node, found[0], found[1], code, chain.names[-1])

    def _reason(self, node: Node, kind: str, text: str, code: Any, name: str) -> None:
        line = line_of(code, name) if isinstance(code, CodeType) else node.line
        node.reasons.append(Reason(kind, text, node.file, line))

    def _dynamic(self, node: Node, text: str, code: Any, name: str) -> None:
        self._reason(node, "dynamic", text, code, name)

    def _environment(self, node: Node, read: str, space: Any, code: Any, chain: Chain) -> None:
        kind, _, name = read.partition(":")
        if kind == "g":
            value = space.get(name)
            name = value if isinstance(value, str) else ""
        if kind == "?" or not name:
            text = "reads the environment by a name that is not constant"
            self._dynamic(node, text, code, chain.names[-1])
        else:
            node.environment[name] = None

    def _own_module(
        self, node: Node, chain: Chain, value: Any, space: Any, code: Any, name: str
    ) -> None:
        """``globals()`` or ``sys.modules[...]``."""
        if value is sys.modules and chain.after != ("g", "__name__"):
            if chain.after[:1] == ("c",):
                self._module_by_name(node, chain.after[1], code, name)
            else:
                self._dynamic(node, "reads sys.modules by a name that is not constant", code, name)
            return
        self._widen_namespace(node, "globals()", space)

    def _import_by_text(self, node: Node, chain: Chain, space: Any, code: Any, name: str) -> None:
        text = chain.after[1] if len(chain.after) == 2 else None
        if text is not None and chain.after[0] == "g":
            value = space.get(text)
            text = value if isinstance(value, str) else None
        if text is None or text.startswith("."):
            self._dynamic(node, "imports a module whose name is not constant", code, name)
        else:
            self._module_by_name(node, text, code, name)

    def _module_by_name(self, node: Node, name: str, code: Any, at: str) -> None:
        module = sys.modules.get(name)
        if module is not None and not _is_lazy(name):
            if self.places.of_module(module)[0] in _OF_PROJECT:
                self._widen(node, f"module {name}", module)
            else:
                self._foreign_module(node, name)
        elif not self._unloaded(node, name):
            self._dynamic(node, f"imports {name}, which is not found", code, at)

    def _subclasses(self, node: Node) -> None:
        """Every class below those that *node* is or names."""
        stack = [kept for kept, known in list(self._nodes.values())
                 if isinstance(kept, type) and (known is node or known in node.edges.values())]  # fmt: skip
        while stack:
            cls = stack.pop()
            for each in type.__subclasses__(cls):
                key = f"subclass {each.__module__}.{each.__qualname__}"
                if key not in node.edges:
                    self.link(node, key, each)
                    stack.append(each)

    # Modules.

    def _module(
        self,
        node: Node,
        name: str,
        module: ModuleType,
        facts: CodeFacts | None,
        bare: ModuleType | None = None,
    ) -> None:
        """Make *node* depend on what it takes of *module*: all, if it is not known what."""
        stack = [(name, module)]
        seen: set[int] = set()
        while stack:
            name, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            origin, path = self.places.of_module(module)
            space = vars(module)
            if origin is Origin.OWN:
                continue
            project = origin in _OF_PROJECT
            if project:
                if facts is None or module is bare:
                    self._widen(node, name, module)
                    continue
                self._statements_of(node, space, path)
            else:
                self._foreign_module(node, module.__name__)
                for label, value, scope, attribute in self._patched(module):
                    self.bind(node, scope, attribute, value, foreign=True)
                    self.link(node, label, value)
            for attribute in (*(facts.attributes if facts else ()), "__getattr__"):
                value = space.get(attribute, MISSING)
                if value is MISSING:
                    if project:
                        self.bind(node, space, attribute, value)
                elif isinstance(value, ModuleType):
                    if project:
                        self.bind(node, space, attribute, value)
                    stack.append((f"{name}.{attribute}", value))
                elif project:
                    self.bind(node, space, attribute, value)
                    self.link(node, f"{name}.{attribute}", value, space)
                elif callable(value):
                    self.bind(node, space, attribute, value, foreign=True)

    def _patched(self, module: ModuleType) -> list[tuple[str, Any, Any, str]]:
        """What code of the project put into an installed module, or into a class of it."""
        if id(module) not in self._patches:
            found: list[tuple[str, Any, Any, str]] = []
            for name, value in list(vars(module).items()):
                if isinstance(value, FunctionType):
                    if self.is_of_project(value):
                        found.append((f"{module.__name__}.{name}", value, vars(module), name))
                elif isinstance(value, type):
                    cls: type = value  # pyright: ignore[reportUnknownVariableType]
                    for inner, each in list(vars(cls).items()):
                        functions = [each, *(one for _, one in accessors_of(each))]
                        if any(
                            isinstance(one, FunctionType) and self.is_of_project(one)
                            for one in functions
                        ):
                            label = f"{module.__name__}.{name}.{inner}"
                            found.append((label, each, vars(cls), inner))
            self._patches[id(module)] = found
        return self._patches[id(module)]

    def _widen(self, node: Node, name: str, module: ModuleType) -> None:
        self._widen_namespace(node, name, vars(module))

    def _widen_namespace(self, node: Node, name: str, space: Any) -> None:
        """Make *node* depend on every name of a module."""
        key = ("module", id(space))
        target = self._known(key)
        if target is None:
            origin, path = self.places.of_file(space.get("__file__"))
            path = path if origin is Origin.PROJECT else ""
            made = Node(self._label_of(space, path), "module", self._relative(path))
            target = self._add(key, space, made, lambda: self._fill_module(made, space, path))
        node.edges[name] = target

    def _relative(self, path: str) -> str | None:
        return self.places.relative(path) if path else None

    def _fill_module(self, node: Node, space: Any, path: str) -> None:
        names = sorted(name for name in space if not name.startswith("__"))
        node.content = hash_of(*names)
        self._statements_of(node, space, path)
        for name in [*names, "__getattr__"]:
            value = space.get(name, MISSING)
            if value is not MISSING:
                self.bind(node, space, name, value)
                self.link(node, name, value, space)

    def _foreign_module(self, node: Node, name: str) -> None:
        """Make *node* depend on the distribution of an installed module."""
        module = sys.modules.get(name) or sys.modules.get(name.partition(".")[0])
        if module is None:
            return
        origin, path = self.places.of_module(module)
        if origin is not Origin.INSTALLED:
            return
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

    def _statements_of(self, node: Node, space: Any, path: str) -> None:
        """Make *node* depend on what importing its module does beside binding names."""
        if not path:
            return
        key = ("statements", id(space))
        target = self._known(key)
        if target is None:
            made = Node("", "")
            target = self._add(key, space, made, lambda: self._fill_statements(made, space, path))
        node.edges["statements of its module"] = target

    def _fill_statements(self, node: Node, space: Any, path: str) -> None:
        if path.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)):
            node.edges["file"] = self._content_of(path)
            return
        file = self.file(path)
        if file is None:
            if not os.path.isdir(path):
                node.edges["file"] = self._content_of(path)
            return
        where, label = self.places.relative(path), self.places.label(path)
        now = space.get("__spec__"), file.ran_once()
        first = _first_seen.get(id(space))
        if first is None or first[0] is not space or first[1] is not now[0]:  # or loaded again
            _first_seen[id(space)] = (space, *now)
        elif first[2] != now[1]:
            node.edited.append(
                Reason("edited", "the file was edited after it was imported", where, None)
            )
        for number, each in enumerate(file.effects):
            root = self._origin_of(_resolved(each.root[:1], space))
            if root is Origin.OWN or (each.guarded and space.get("__name__") != "__main__"):
                continue
            name = ".".join(each.root) or "statement"
            made = Node(f"{label}: {name}", "statement", where, each.line)
            made.content = each.digest
            self.follow(made, each.facts, space)
            node.edges[f"effect {number:06}"] = made
        for name, definitions in file.decorated.items():
            if self._is_registered(file, name, space):
                made = Node(f"{label}: @{name}", "statement", where, definitions[0].line)
                made.content = hash_of(*(each.digest for each in definitions))
                for each in definitions:
                    self.follow(made, each.facts, space)
                node.edges[f"definition {name}"] = made
        for target, target_path in self._imports_of(file, space):
            if target is not space:
                inner = Node("", "")
                self._statements_of(inner, target, target_path)
                node.edges[f"import {self.places.label(target_path)}"] = inner

    def _content_of(self, path: str) -> Node:
        key = ("file", path)
        target = self._known(key)
        if target is None:
            target = Node(self.places.relative(path), "file", self.places.relative(path))
            with contextlib.suppress(OSError), open(path, "rb") as file:
                target.content = hashlib.file_digest(file, "sha256").hexdigest()
            self._add(key, path, target)
        return target

    def _is_registered(self, file: FileFacts, name: str, space: Any) -> bool:
        """Whether a decorator of a library has taken the definition *name*."""
        for each in file.decorators.get(name, ()):
            root = _resolved(each.root, space)
            origin = self._origin_of(root if root is not None else _resolved(each.root[:1], space))
            module = _module_name(root) or ""
            if origin is Origin.INSTALLED and module.partition(".")[0] not in _PURE:
                return True
            if origin is Origin.STANDARD and module.partition(".")[0] not in _PURE:
                return True
        return False

    def _origin_of(self, value: Any) -> Origin | None:
        if value is None:
            return None
        if isinstance(value, TaskBase | FlowBase | ResourceBase | Use):
            return Origin.OWN
        if isinstance(value, ModuleType):
            return self.places.of_module(value)[0]
        if isinstance(value, FunctionType):
            return self.places.of_code(value.__code__, value.__globals__)[0]
        if isinstance(value, MethodType):
            return self._origin_of(value.__func__)
        if isinstance(value, type):
            return home_of_class(value, None, self.places)[0]
        name = _module_name(value)
        module = sys.modules.get(name or "")
        return None if module is None else self.places.of_module(module)[0]

    def _imports_of(self, file: FileFacts, space: Any) -> Iterator[tuple[Any, str]]:
        """Namespace and file of each module of the project that a module imports."""
        package = space.get("__package__") or ""
        found: dict[int, tuple[Any, str]] = {}
        names: list[str] = [package] if package else []
        for each in file.imports:
            for variable in each.variables:
                value = space.get(variable)
                if isinstance(value, ModuleType):
                    self._add_module(found, value)
                elif isinstance(value, FunctionType):
                    origin, path = self.places.of_file(value.__globals__.get("__file__"))
                    if origin is Origin.PROJECT:
                        found[id(value.__globals__)] = value.__globals__, path
            name = _absolute(each, package)
            if name:
                names += [name, *(f"{name}.{part}" for part in each.names)]
        for name in names:
            while name:  # a package's __init__ runs before its modules
                module = sys.modules.get(name)
                if module is not None:
                    self._add_module(found, module)
                name = name.rpartition(".")[0]
        yield from found.values()

    def _add_module(self, found: dict[int, tuple[Any, str]], module: Any) -> None:
        if isinstance(module, ModuleType):
            origin, path = self.places.of_module(module)
            if origin is Origin.PROJECT and not os.path.isdir(path):
                found[id(vars(module))] = vars(module), path

    # Imports inside functions.

    def _imported(
        self, node: Node, facts: CodeFacts, space: Any
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """What the imports in a function bind; of modules that are not loaded, the full names.

        Such a module of the project counts by its file.
        """
        local: dict[str, Any] = {}
        named: dict[str, str] = {}
        package = space.get("__package__") or ""
        for each in facts.imports:
            name = _absolute(each, package)
            if not name:
                continue
            for part in _with_parents(name):
                module = sys.modules.get(part)
                if module is None or _is_lazy(part):
                    self._unloaded(node, part)
            module = sys.modules.get(name)
            if module is None or _is_lazy(name):
                for part in each.names:
                    self._unloaded(node, f"{name}.{part}")
                named.update(_names_of(each, name))
                continue
            top = sys.modules.get(name.partition(".")[0])
            self._module(node, f"import {name}", module, facts)
            if not each.names:
                whole = len(each.variables) == 1 and each.variables[0] != name.partition(".")[0]
                for variable in each.variables:
                    local[variable] = module if whole or "." not in name else top
                continue
            for number, part in enumerate(each.names):
                value = vars(module).get(part, MISSING)
                if value is MISSING and f"{name}.{part}" not in sys.modules:
                    self._unloaded(node, f"{name}.{part}")
                elif _is_lazy(f"{name}.{part}"):
                    self._unloaded(node, f"{name}.{part}")
                elif number < len(each.variables):
                    local[each.variables[number]] = (
                        sys.modules[f"{name}.{part}"] if value is MISSING else value
                    )
                    self._bound_import(node, f"{name}.{part}", value, module)
        return local, named

    def _bound_import(self, node: Node, label: str, value: Any, module: ModuleType) -> None:
        if isinstance(value, ModuleType) or value is MISSING:
            return
        if self.places.of_module(module)[0] in _OF_PROJECT:
            self.bind(node, vars(module), label.rpartition(".")[2], value)
            self.link(node, label, value, vars(module))

    def _unloaded(self, node: Node, name: str) -> bool:
        """Make *node* depend on a module that is not imported yet; whether it is found."""
        spec = _spec_of(name)
        if spec is None:
            return False
        file = spec.origin
        origin, path = self.places.of_file(file) if file else (Origin.STANDARD, "")
        if origin is Origin.INSTALLED:
            package = self._packages.of_file(path)
            if package is not None:
                node.edges[f"package {package.name}"] = self._package(package)
            return True
        if origin is not Origin.PROJECT:
            return True
        _lazy[name] = path
        key = ("unloaded", name)
        target = self._known(key)
        if target is None:
            where = self.places.relative(path)
            made = Node(self.places.label(path), "file", where)
            target = self._add(key, name, made, lambda: self._fill_unloaded(made, name, path))
        node.edges[f"import {name}"] = target
        return True

    def _fill_unloaded(self, node: Node, name: str, path: str) -> None:
        try:
            with open(path, "rb") as file:
                source = file.read()
            digest = hashlib.sha256(source).hexdigest()
            facts = None if not path.endswith(".py") else module_facts(source, path)
        except (OSError, SyntaxError, ValueError, RecursionError):
            node.reasons.append(
                Reason("dynamic", f"imports {name}, which cannot be read", node.file)
            )
            return
        self.unloaded[name] = path, digest
        if facts is None:
            node.content = digest
            return
        node.content = facts.digest
        package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
        space: dict[str, Any] = {"__package__": package, "__name__": name, "__file__": path}
        named: dict[str, str] = {}
        for each in facts.imports:
            full = _absolute(each, package)
            module = sys.modules.get(full)
            if module is None or _is_lazy(full):
                self._unloaded(node, full)
                for part in each.names:
                    self._unloaded(node, f"{full}.{part}")
                named.update(_names_of(each, full))
                continue
            if self.places.of_module(module)[0] in _OF_PROJECT:
                self._widen(node, f"import {full}", module)
            else:
                self._foreign_module(node, full)
            for variable, part in zip(each.variables, each.names or (None,), strict=False):
                space[variable] = module if part is None else getattr(module, part, None)
        for chain in facts.chains:
            if chain.names[0] in named:
                self._note_named(node, chain, named[chain.names[0]], None)
            value = space.get(chain.names[0], vars(builtins).get(chain.names[0], MISSING))
            if value is not MISSING and value is not None and value is not builtins.globals:
                self._note(node, chain, _values_of(chain, value), space, None)

    # Constants.

    def _constant(self, node: Node, name: str, value: Any, scope: Any) -> None:
        key = ("constant", id(scope), name) if scope is not None else ("constant", id(node), name)
        target = self._known(key)
        if target is not None and target.value is not value:
            key, target = (*key, id(value)), self._known((*key, id(value)))
        if target is None:
            space: Any = scope if isinstance(scope, dict) and "__name__" in scope else {}
            origin, path = self.places.of_file(space.get("__file__"))
            path = path if origin is Origin.PROJECT else ""
            if space:
                label = f"{self._label_of(space, path)}.{name}"
            else:
                label = f"{node.label}{'' if name.startswith('.') else ' '}{name}"
            made = Node(label, "constant", self._relative(path) or node.file, None)
            made.value = value
            target = self._add(
                key,
                (scope, node),
                made,
                lambda: self._fill_constant(made, name, scope, path),
            )
        node.edges[name] = target

    def _fill_constant(self, node: Node, name: str, scope: Any, path: str) -> None:
        value = node.value
        if without_content(value):
            node.content = type(value).__qualname__
            return
        for kind in kinds_in(value):
            self._class(node, f"type {kind.__module__}.{kind.__qualname__}", kind, scope)
        wrapped = attribute_of(value, "__wrapped__")
        if wrapped is not None:
            self.link(node, "__wrapped__", wrapped)
        root = self.places.root_of(path) if path else self.places.root

        def code(thing: object) -> str:
            label = self.link(
                node, f"in {getattr(thing, '__qualname__', '')} {len(node.edges)}", thing
            )
            return label

        digest = try_digest(value, code, self.key, root)
        if digest is not None:
            node.content = digest
            if not is_fixed(value):
                node.held = (scope, name, root)
            return
        node.content = f"{type(value).__module__}.{type(value).__qualname__}"
        if isinstance(scope, dict):
            self._by_statements(node, name, scope, path, 0)

    def _by_statements(self, node: Node, name: str, space: Any, path: str, depth: int) -> None:
        """Make the value of *name*, which has no content, count by what binds it."""
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
            self.follow(inner, each.facts, space)
            inner.edges = {key: to for key, to in inner.edges.items() if to is not node}
            node.edges[f"bound by {number}"] = inner
        for each in imports:
            module = sys.modules.get(_absolute(each, space.get("__package__") or ""))
            if isinstance(module, ModuleType) and each.names:
                at = each.variables.index(name)
                origin, other = self.places.of_module(module)
                if origin is Origin.PROJECT:
                    self._by_statements(node, each.names[at], vars(module), other, depth + 1)


_DEPTH = 4


def _is_lazy(name: str) -> bool:
    """Whether the module was read before it was imported."""
    file = _lazy.get(name)
    module = sys.modules.get(name)
    return file is not None and (module is None or vars(module).get("__file__") == file)


def _to_json(facts: FileFacts | None) -> Any:
    return None if facts is None else facts.to_json()


def _from_json(data: Any) -> FileFacts | None:
    return None if data is None else FileFacts.from_json(data)


def _annotations(fn: FunctionType) -> dict[str, str]:
    try:
        return {name: repr(value) for name, value in fn.__annotations__.items()}
    except Exception:  # since Python 3.14 they are evaluated here, and may name what is missing
        return {}


def _module_name(value: Any) -> str | None:
    """The module that *value* or its type is of."""
    if isinstance(value, ModuleType):
        return value.__name__
    name = attribute_of(value, "__module__")
    if not isinstance(name, str):
        name = type(value).__module__
    return name if isinstance(name, str) else None


def _values_of(chain: Chain, value: Any) -> list[Any]:
    """What the names of *chain* are, as far as no code of users runs to find out."""
    values = [value]
    for name in chain.names[1:]:
        if isinstance(value, ModuleType):
            value = vars(value).get(name, MISSING)
        elif isinstance(value, type):
            value = next((vars(c)[name] for c in value.__mro__ if name in vars(c)), MISSING)
            value = None if value is MISSING else value
        else:
            break
        if value is MISSING:
            break
        values.append(value)
    return values


def _resolved(names: tuple[str, ...], space: Any) -> Any:
    """The object that *names* lead to in a module; None if there is none."""
    if not names:
        return None
    value = space.get(names[0], vars(builtins).get(names[0]))
    for name in names[1:]:
        if isinstance(value, ModuleType):
            value = vars(value).get(name)
        elif isinstance(value, type):
            value = next((vars(c)[name] for c in value.__mro__ if name in vars(c)), None)
        else:
            break
    return value


def _names_of(imported: Import, module: str) -> dict[str, str]:
    """The full names of what an import binds."""
    if imported.names:
        return {
            variable: f"{module}.{name}"
            for variable, name in zip(imported.variables, imported.names, strict=False)
        }
    top = module.partition(".")[0]
    return {variable: top if variable == top else module for variable in imported.variables}


def _absolute(imported: Import, package: str) -> str:
    """The full name of the module that is imported from within *package*."""
    if not imported.level:
        return imported.module
    parts = package.split(".") if package else []
    parts = parts[: len(parts) - imported.level + 1]
    return ".".join([*parts, *([imported.module] if imported.module else [])])


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: number + 1]) for number in range(len(parts))]


def _spec_of(name: str) -> importlib.machinery.ModuleSpec | None:
    """Where the module *name* would be imported from; nothing is imported."""
    path: Any = None
    spec: importlib.machinery.ModuleSpec | None = None
    for part in _with_parents(name):
        loaded = sys.modules.get(part)
        try:
            if loaded is not None:
                spec = loaded.__spec__
                path = getattr(loaded, "__path__", None)
            else:
                spec = importlib.machinery.PathFinder.find_spec(part, path)
                path = spec.submodule_search_locations if spec is not None else None
        except Exception:  # of somebody's finder
            return None
        if spec is None:
            return None
        if part != name and path is None:
            return None
    return spec
