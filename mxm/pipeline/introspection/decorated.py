"""Base classes of decorated tasks and flows, for the layers below the decorators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mxm.pipeline.introspection.signatures import unwrapped
from mxm.pipeline.problems import Source

__all__ = ["FlowBase", "TaskBase", "scope_of", "tasks_beside", "tasks_in"]


_NOTHING: Mapping[str, Any] = {}


class TaskBase:
    """What lower layers need to know about a decorated task; `authoring.Task` is one."""

    fn: Callable[..., Any]
    name: str
    options: Mapping[str, Any]
    wrong: Sequence[Any]  # options with values that they do not take, as task_options has them
    origin: Any  # the original task, if this is one with other options
    changed: Mapping[str, Any]  # and those options
    upstream: Any
    after: Any
    source: Source | None

    @property
    def chosen(self) -> bool:
        """Whether its name was chosen for one use, so it gets no number."""
        task: Any = self
        while task.origin is not None:
            if "name" in task.changed:
                return True
            task = task.origin
        return False


class FlowBase:
    """What lower layers need to know about a decorated flow; `authoring.Flow` is one."""

    fn: Callable[..., Any]
    name: str
    source: Source | None
    origin: Any = None  # a flow with other options is still the same flow


def scope_of(fn: Callable[..., Any]) -> Mapping[str, Any]:
    """The globals of the module that defines *fn*; empty if it has none."""
    return getattr(unwrapped(fn), "__globals__", _NOTHING)


def tasks_in(scope: Mapping[str, Any]) -> dict[str, TaskBase]:
    """The decorated tasks in *scope*, by their names there."""
    return {name: value for name, value in scope.items() if isinstance(value, TaskBase)}


def tasks_beside(fn: Callable[..., Any]) -> dict[str, TaskBase]:
    """The decorated tasks in the module of *fn*, by their names there."""
    return tasks_in(scope_of(fn))
