"""Resolves names without running user code."""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import sys
from types import ModuleType
from typing import Any

from mxm.pipeline.values.fingerprint.instructions import Chain, Import
from mxm.pipeline.values.fingerprint.nodes import MISSING, attribute_of

__all__ = [
    "absolute",
    "module_name",
    "names_of",
    "resolved",
    "spec_of",
    "values_of",
    "with_parents",
]


def module_name(value: Any) -> str | None:
    """The name of the module that defines *value* or its type."""
    if isinstance(value, ModuleType):
        return value.__name__
    name = attribute_of(value, "__module__")
    return name if isinstance(name, str) else type(value).__module__


def values_of(chain: Chain, value: Any) -> list[Any]:
    """The values of the names in *chain*, without running user code."""
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


def resolved(names: tuple[str, ...], space: Any) -> Any:
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


def names_of(imported: Import, module: str) -> dict[str, str]:
    """The full names that an import binds."""
    if imported.names:
        return {
            variable: f"{module}.{name}"
            for variable, name in zip(imported.variables, imported.names, strict=False)
        }
    top = module.partition(".")[0]
    return {variable: top if variable == top else module for variable in imported.variables}


def absolute(imported: Import, package: str) -> str:
    """The full name of the module that is imported from within *package*."""
    if not imported.level:
        return imported.module
    parts = package.split(".") if package else []
    parts = parts[: len(parts) - imported.level + 1]
    return ".".join([*parts, *([imported.module] if imported.module else [])])


def with_parents(name: str) -> list[str]:
    """The packages that *name* is in, the outermost first, and itself."""
    parts = name.split(".")
    return [".".join(parts[: number + 1]) for number in range(len(parts))]


def spec_of(name: str) -> importlib.machinery.ModuleSpec | None:
    """Where the module *name* would be imported from; nothing is imported."""
    path: Any = None
    spec: importlib.machinery.ModuleSpec | None = None
    for part in with_parents(name):
        loaded = sys.modules.get(part)
        try:
            if loaded is not None:
                spec = loaded.__spec__
                path = getattr(loaded, "__path__", None)
            else:
                spec = importlib.machinery.PathFinder.find_spec(part, path)
                path = spec.submodule_search_locations if spec is not None else None
        except Exception:  # from a custom finder
            return None
        if spec is None:
            return None
        if part != name and path is None:
            return None
    return spec
