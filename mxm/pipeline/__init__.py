"""Decorator-first data pipelines: declare with @task and @flow, check, run through an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mxm.pipeline.version import __version__ as __version__

__all__ = [
    "Asset",
    "AssetDecl",
    "Check",
    "Failure",
    "Flow",
    "FlowRun",
    "FlowSpec",
    "MXMFlow",
    "PipelineError",
    "RemoteValue",
    "Resource",
    "RetryAfter",
    "Skip",
    "State",
    "Task",
    "TaskRun",
    "TaskSpec",
    "asset",
    "backoff",
    "collecting",
    "compile_flow",
    "each",
    "execute_flow",
    "flow",
    "get_flow",
    "list_flows",
    "load_asset",
    "load_run",
    "no_nulls",
    "not_empty",
    "progress",
    "register_flow",
    "resource",
    "rows_between",
    "rows_within",
    "runs_of",
    "task",
    "unique",
    "use",
]

if TYPE_CHECKING:
    from mxm.pipeline.api import MXMFlow, compile_flow, execute_flow
    from mxm.pipeline.assets.declared import AssetDecl, Check
    from mxm.pipeline.assets.ready import (
        no_nulls,
        not_empty,
        rows_between,
        rows_within,
        unique,
    )
    from mxm.pipeline.authoring import Flow, Task, each, flow, task, use
    from mxm.pipeline.errors import PipelineError, Skip
    from mxm.pipeline.execution.progressing import progress
    from mxm.pipeline.registry import collecting, get_flow, list_flows, register_flow
    from mxm.pipeline.resources import Resource, resource
    from mxm.pipeline.runs import FlowRun, State, TaskRun
    from mxm.pipeline.spec import FlowSpec, TaskSpec
    from mxm.pipeline.store.catalogue import Asset, asset, load_asset
    from mxm.pipeline.store.history import load_run, runs_of
    from mxm.pipeline.timing.retries import RetryAfter, backoff
    from mxm.pipeline.values.failure import Failure
    from mxm.pipeline.values.remote import RemoteValue
else:
    _HOMES = {
        "api": ("MXMFlow", "compile_flow", "execute_flow"),
        "assets.declared": ("AssetDecl", "Check"),
        "assets.ready": ("no_nulls", "not_empty", "rows_between", "rows_within", "unique"),
        "authoring": ("Flow", "Task", "each", "flow", "task", "use"),
        "errors": ("PipelineError", "Skip"),
        "execution.progressing": ("progress",),
        "registry": ("collecting", "get_flow", "list_flows", "register_flow"),
        "resources": ("Resource", "resource"),
        "runs": ("FlowRun", "State", "TaskRun"),
        "spec": ("FlowSpec", "TaskSpec"),
        "store.catalogue": ("Asset", "asset", "load_asset"),
        "store.history": ("load_run", "runs_of"),
        "timing.retries": ("RetryAfter", "backoff"),
        "values.failure": ("Failure",),
        "values.remote": ("RemoteValue",),
    }

    def __getattr__(name):
        for module, names in _HOMES.items():
            if name in names:
                from importlib import import_module

                value = getattr(import_module(f"mxm.pipeline.{module}"), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})
