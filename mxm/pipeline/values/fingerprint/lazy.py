"""Reads imports inside functions, and modules that are not imported yet."""

from __future__ import annotations

import builtins
import hashlib
import sys
from types import ModuleType
from typing import Any

from mxm.pipeline.values.fingerprint.chains import (
    absolute,
    names_of,
    spec_of,
    values_of,
    with_parents,
)
from mxm.pipeline.values.fingerprint.instructions import CodeFacts
from mxm.pipeline.values.fingerprint.items import Reason
from mxm.pipeline.values.fingerprint.nodes import MISSING, Graphed, Node, attribute_of
from mxm.pipeline.values.fingerprint.places import OF_PROJECT, Origin
from mxm.pipeline.values.fingerprint.sources import module_facts

__all__ = ["LazyImports", "is_lazy"]

# A module that was not imported when it was first read counts as such for the whole process: a task
# that imports it must not change what counts for the next run.
_lazy: dict[str, str] = {}  # by name, the file


class LazyImports:
    """Links nodes with the imports in functions.

    Parameters
    ----------
    graph
        What asks it.
    """

    def __init__(self, graph: Graphed) -> None:
        self._graph = graph

    def imported(
        self, node: Node, facts: CodeFacts, space: Any
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """What the imports in a function bind; for modules that are not loaded, the full names.

        A project module that is not loaded counts by its file.
        """
        local: dict[str, Any] = {}
        named: dict[str, str] = {}
        package = space.get("__package__") or ""
        for each in facts.imports:
            name = absolute(each, package)
            if not name:
                continue
            for part in with_parents(name):
                module = sys.modules.get(part)
                if module is None or is_lazy(part):
                    self.unloaded(node, part)
            module = sys.modules.get(name)
            if module is None or is_lazy(name):
                for part in each.names:
                    self.unloaded(node, f"{name}.{part}")
                named.update(names_of(each, name))
                continue
            top = sys.modules.get(name.partition(".")[0])
            self._graph.module(node, f"import {name}", module, facts)
            if not each.names:
                whole = len(each.variables) == 1 and each.variables[0] != name.partition(".")[0]
                for variable in each.variables:
                    local[variable] = module if whole or "." not in name else top
                continue
            for number, part in enumerate(each.names):
                value = vars(module).get(part, MISSING)
                if (value is MISSING and f"{name}.{part}" not in sys.modules) or is_lazy(
                    f"{name}.{part}"
                ):
                    self.unloaded(node, f"{name}.{part}")
                    if number < len(each.variables):  # by its module's `__getattr__`, it may be
                        named[each.variables[number]] = f"{name}.{part}"
                elif number < len(each.variables):
                    local[each.variables[number]] = (
                        sys.modules[f"{name}.{part}"] if value is MISSING else value
                    )
                    self._bound_import(node, f"{name}.{part}", value, module)
        return local, named

    def _bound_import(self, node: Node, label: str, value: Any, module: ModuleType) -> None:
        if isinstance(value, ModuleType) or value is MISSING:
            return
        if self._graph.places.of_module(module)[0] in OF_PROJECT:
            self._graph.bind(node, vars(module), label.rpartition(".")[2], value)
            self._graph.link(node, label, value, vars(module))

    def unloaded(self, node: Node, name: str) -> bool:
        """Make *node* depend on a module that is not imported yet; return whether it is found."""
        spec = spec_of(name)
        if spec is None:
            return False
        file = spec.origin
        origin, path = self._graph.places.of_file(file) if file else (Origin.STANDARD, "")
        if origin is Origin.INSTALLED:
            self._graph.foreign_file(node, path)
            return True
        if origin is not Origin.PROJECT:
            return True
        _lazy[name] = path
        key = ("unloaded", name)
        target = self._graph.known(key)
        if target is None:
            where = self._graph.places.relative(path)
            made = Node(self._graph.places.label(path), "file", where)
            target = self._graph.add(key, name, made, lambda: self._fill_unloaded(made, name, path))
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
        self._graph.unloaded[name] = path, digest
        if facts is None:
            node.content = digest
            return
        node.content = facts.digest
        package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
        space: dict[str, Any] = {"__package__": package, "__name__": name, "__file__": path}
        named: dict[str, str] = {}
        for each in facts.imports:
            full = absolute(each, package)
            module = sys.modules.get(full)
            if module is None or is_lazy(full):
                self.unloaded(node, full)
                for part in each.names:
                    self.unloaded(node, f"{full}.{part}")
                named.update(names_of(each, full))
                continue
            if self._graph.places.of_module(module)[0] in OF_PROJECT:
                self._graph.widen(node, f"import {full}", vars(module))
            else:
                self._graph.foreign_module(node, full)
            for number, variable in enumerate(each.variables):
                taken = each.names[number : number + 1]
                space[variable] = attribute_of(module, taken[0]) if taken else module
        for chain in facts.chains:
            if chain.names[0] in named:
                self._graph.note_named(node, chain, named[chain.names[0]], None)
            value = space.get(chain.names[0], vars(builtins).get(chain.names[0], MISSING))
            if value is not MISSING and value is not None and value is not builtins.globals:
                self._graph.note(node, chain, values_of(chain, value), space, None)

    # Constants.


def is_lazy(name: str) -> bool:
    """Whether the module was read before it was imported."""
    file = _lazy.get(name)
    module = sys.modules.get(name)
    return file is not None and (module is None or vars(module).get("__file__") == file)
