"""Decorated tasks, as the layers beneath the decorators see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mxm.pipeline.introspection.signatures import unwrapped
from mxm.pipeline.problems import Source

__all__ = ["TaskBase", "tasks_beside"]


class TaskBase:
    """What the layers beneath need to know of a decorated task; `authoring.Task` is one."""

    fn: Callable[..., Any]
    name: str
    options: Mapping[str, Any]
    origin: Any  # the task that this one is, under another name
    upstream: Any
    after: Any
    source: Source | None


def tasks_beside(fn: Callable[..., Any]) -> dict[str, TaskBase]:
    """The decorated tasks in the module of *fn*, by the names that stand for them there."""
    scope: Mapping[str, Any] = getattr(unwrapped(fn), "__globals__", {})
    return {name: value for name, value in scope.items() if isinstance(value, TaskBase)}
