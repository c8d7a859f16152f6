"""Reads functions: their code, closure, defaults, decorators, and those that wrap them."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from mxm.pipeline.values.fingerprint.chains import resolved
from mxm.pipeline.values.fingerprint.classes import accessors_of
from mxm.pipeline.values.fingerprint.instructions import CodeFacts, facts_of, raw_digest
from mxm.pipeline.values.fingerprint.items import Reason, hash_of
from mxm.pipeline.values.fingerprint.nodes import Graphed, Node, attribute_of
from mxm.pipeline.values.fingerprint.places import OF_PROJECT, Origin
from mxm.pipeline.values.fingerprint.sources import FileFacts, Statement

__all__ = ["Functions"]


class Functions:
    """Makes nodes of functions.

    Parameters
    ----------
    graph
        What asks it.
    """

    def __init__(self, graph: Graphed) -> None:
        self._graph = graph

    def function(self, node: Node, name: str, fn: FunctionType) -> str:
        """Make *node* depend on *fn* under *name*; return what it counts as in a digest."""
        target = self._graph.known(id(fn))
        if target is None:
            space = fn.__globals__
            origin, path = self._graph.places.of_code(fn.__code__, space)
            if origin is Origin.OWN:
                return fn.__qualname__
            if origin not in OF_PROJECT:
                return self._foreign_function(node, name, fn)
            label = f"{self._graph.label_of(space, path)}.{fn.__qualname__}"
            file = self._graph.places.relative(path) if path else None
            made = Node(label, "function", file, fn.__code__.co_firstlineno)
            target = self._graph.add(id(fn), fn, made, lambda: self._fill_function(made, fn, path))
        node.edges[name] = target
        return target.label

    def _fill_function(self, node: Node, fn: FunctionType, path: str) -> None:
        code, space = fn.__code__, fn.__globals__
        facts, file = self._facts_of(node, code, path)
        node.content, node.path = facts.digest, path
        cells = dict(zip(code.co_freevars, fn.__closure__ or (), strict=False))
        self._graph.follow(node, facts, space, code, cells=cells)
        for name, cell in cells.items():
            with contextlib.suppress(ValueError):  # not bound yet
                value = cell.cell_contents
                self._graph.bind(node, cell, name, value)
                if isinstance(value, ModuleType):
                    self._graph.module(node, f"cell {name}", value, facts)
                else:
                    self._graph.link(node, f"cell {name}", value, cell)
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            self._graph.bind(node, fn, name, getattr(fn, name))
        defaults = fn.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
        for name, value in [*zip(names, defaults, strict=True), *(fn.__kwdefaults__ or {}).items()]:
            self._graph.link(node, f"default {name}", value)
        for name, value in list(fn.__dict__.items()):
            if name == "__wrapped__":
                self._graph.link(node, name, value)
            elif not name.startswith("__"):
                self._graph.bind(node, fn.__dict__, name, value)
                self._graph.link(node, f"attribute {name}", value, fn.__dict__)
        node.annotations = hash_of(repr(sorted(_annotations(fn).items())))
        if file is not None:
            for number, each in enumerate(file.decorators.get(fn.__qualname__, [])):
                self._decorator(node, number, each, space)
        self._graph.statements_of(node, space, path)

    def _facts_of(
        self, node: Node, code: CodeType, path: str
    ) -> tuple[CodeFacts, FileFacts | None]:
        """The facts about loaded *code*, and its file, if the file still compiles to it."""
        if not path:
            return facts_of(code), None
        file = self._graph.file(path)
        known = file.codes.get(raw_digest(code)) if file is not None else None
        if known is not None and code.co_qualname in known[0]:
            return known[1], file
        facts = facts_of(code)
        if file is not None:
            for names, other in file.codes.values():
                if code.co_qualname in names and other.digest == facts.digest:
                    return facts, file  # only a docstring differs
        where = self._graph.places.relative(path)
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
        root = resolved(statement.root, space)
        origin = self._graph.origin_of(root)
        if origin is Origin.OWN:
            return
        node.content = hash_of(node.content, f"decorator {number}", statement.digest)
        if origin is Origin.INSTALLED:
            node.content = hash_of(node.content, node.annotations)
        inner = Node("", "")
        self._graph.follow(inner, statement.facts, space)
        inner.forget_reasons()
        node.edges[f"decorator {number}"] = inner

    def _foreign_function(self, node: Node, name: str, fn: FunctionType) -> str:
        """A function of an installed module: its distribution, and project code that it wraps."""
        self._graph.foreign_module(node, str(fn.__globals__.get("__name__", fn.__module__)))
        for number, inner in enumerate(self._wrapped(fn, 0)):
            self._graph.link(node, f"{name} wraps {number}", inner)
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
            part: Any = value  # pyright: ignore[reportUnknownVariableType]
            inside += [part.func, *part.args, *part.keywords.values()]
        elif isinstance(value, MethodType):
            inside += [value.__func__]
        elif not isinstance(value, type):
            inside += [attribute_of(value, "__wrapped__")]
        for each in inside:
            if each is None or isinstance(each, ModuleType):
                continue
            if self._graph.is_of_project(each):
                yield each
            elif depth < _DEPTH and isinstance(each, FunctionType | MethodType | functools.partial):
                yield from self._wrapped(each, depth + 1)


_DEPTH = 4
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def _annotations(fn: FunctionType) -> dict[str, str]:
    try:
        return {n: _ADDRESS.sub("", repr(value)) for n, value in fn.__annotations__.items()}
    except Exception:  # since Python 3.14 they are evaluated here, and may name what is missing
        return {}
