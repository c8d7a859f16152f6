"""What every adapter offers, and the table of backends by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeAlias

from mxm.pipeline.errors import UnknownBackendError
from mxm.pipeline.execution.options import RunOptions, backend_names, backend_target
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.spec import FlowSpec

__all__ = ["Compile", "load_backend"]

Compile: TypeAlias = Callable[[FlowSpec, RunOptions], Any]
"""What a backend's entry is: a checked spec and options in, an ``MXMFlow`` out."""


def load_backend(name: str) -> Compile:
    """The function that compiles a flow for the backend *name*.

    Raises
    ------
    UnknownBackendError
        There is no backend of that name.
    EngineMissingError
        Its engine is not installed.
    """
    target = backend_target(name)
    if target is None:
        names = backend_names()
        raise UnknownBackendError(f"unknown backend {name!r}", hint=did_you_mean(name, names))
    module, _, attribute = target.partition(":")
    compile_with: Compile = getattr(importlib.import_module(module), attribute)
    return compile_with
