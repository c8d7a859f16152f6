"""A function by its name, ``module:qualname``, and back: for dict forms and other processes."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from mxm.pipeline.errors import SpecError, described
from mxm.pipeline.introspection.uses import ResourceBase
from mxm.pipeline.process.interrupts import let_signals_pass

__all__ = ["entrypoint", "module_from_file", "resolve_entrypoint"]


def entrypoint(fn: Callable[..., Any]) -> str | None:
    """``module:qualname`` of *fn*, or None for a lambda, a nested function or a bound method."""
    if inspect.ismethod(fn):
        return None
    module = getattr(fn, "__module__", None)
    qualname = getattr(fn, "__qualname__", None)
    if not module or not qualname or "<" in qualname:
        return None
    return f"{module}:{qualname}"


def resolve_entrypoint(name: str) -> Callable[..., Any]:
    """The plain function at ``module:qualname``; for a decorated task, its function.

    Raises
    ------
    SpecError
        The module cannot be imported, or lacks the name.
    """
    module, _, qualname = name.partition(":")
    try:
        target: Any = importlib.import_module(module)
        for part in qualname.split("."):
            target = getattr(target, part)
    except BaseException as error:  # a module may raise anything during import
        let_signals_pass(error)
        raise SpecError(f"{name!r} cannot be imported: {described(error)}") from error
    inner: Any = inspect.unwrap(target, stop=_is_decorated)
    plain: Callable[..., Any] = inner.fn if _is_decorated(inner) else target
    return plain


def _is_decorated(fn: object) -> bool:
    """Whether *fn* is a task, a flow or a resource; other wrappers belong to what they return."""
    return isinstance(fn, ResourceBase) or (hasattr(type(fn), "spec") and hasattr(fn, "fn"))


def module_from_file(name: str, file: str) -> ModuleType:
    """Import *file* as *name*, wherever it is.

    Raises
    ------
    ImportError
        It is not a file that Python can import.
    """
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{name!r} cannot be imported from {file!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
