"""Decorated tasks and flows, as the layers beneath the decorators see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mxm.pipeline.introspection.signatures import unwrapped
from mxm.pipeline.problems import Source

__all__ = ["FlowBase", "TaskBase", "scope_of", "tasks_beside", "tasks_in"]


_NOTHING: Mapping[str, Any] = {}


class TaskBase:
    """What the layers beneath need to know of a decorated task; `authoring.Task` is one."""

    fn: Callable[..., Any]
    name: str
    options: Mapping[str, Any]
    origin: Any  # the task that this one is, with other options
    changed: Mapping[str, Any]  # and those options
    upstream: Any
    after: Any
    source: Source | None

    @property
    def chosen(self) -> bool:
        """Whether its name was chosen for one use, so that it is not counted."""
        task: Any = self
        while task.origin is not None:
            if "name" in task.changed:
                return True
            task = task.origin
        return False


class FlowBase:
    """What the layers beneath need to know of a decorated flow; `authoring.Flow` is one."""

    fn: Callable[..., Any]
    name: str
    source: Source | None
    origin: Any = None  # a flow with other options is still that flow


def scope_of(fn: Callable[..., Any]) -> Mapping[str, Any]:
    """The names of the module that *fn* is defined in; empty for what has none."""
    return getattr(unwrapped(fn), "__globals__", _NOTHING)


def tasks_in(scope: Mapping[str, Any]) -> dict[str, TaskBase]:
    """The decorated tasks in *scope*, by the names that stand for them there."""
    return {name: value for name, value in scope.items() if isinstance(value, TaskBase)}


def tasks_beside(fn: Callable[..., Any]) -> dict[str, TaskBase]:
    """The decorated tasks in the module of *fn*, by the names that stand for them there."""
    return tasks_in(scope_of(fn))
