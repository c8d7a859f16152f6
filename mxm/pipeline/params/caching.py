"""Which tasks of a flow are cached, and what keeps others from it."""

from __future__ import annotations

from mxm.pipeline.introspection.uses import uses_of
from mxm.pipeline.problems import Problem
from mxm.pipeline.spec import FlowSpec, TaskSpec

__all__ = ["cache_notes", "cached_tasks", "is_cached", "needs_limit"]


def is_cached(task: TaskSpec, flow: FlowSpec, default: bool | None) -> bool:
    """Whether results of *task* may be used again.

    Parameters
    ----------
    task
        A task of *flow*.
    flow
        The flow.
    default
        What holds where neither says, by the run or the project.
    """
    if default is False or task.run_if != "succeeded":
        return False
    asked = task.cache
    for outer in (task.flow_cache, flow.cache, default):
        asked = outer if asked is None else asked
    return bool(asked) and not needs_limit(task)


def needs_limit(task: TaskSpec) -> bool:
    """Whether *task* asks for a resource, and does not say what its result depends on there."""
    says = task.cache_ttl_s is not None or task.inputs or task.cache_version is not None
    return bool(not says and uses_of(task.fn))


def cached_tasks(flow: FlowSpec, default: bool | None) -> frozenset[str]:
    """Names of the tasks of *flow* whose results may be used again; see `is_cached`."""
    return frozenset(task.name for task in flow.tasks if is_cached(task, flow, default))


def cache_notes(flow: FlowSpec) -> list[Problem]:
    """A note for each task that is not cached although its flow is."""
    notes: list[Problem] = []
    for task in flow.tasks:
        asked = flow.cache if task.flow_cache is None else task.flow_cache
        if not asked or task.cache is not None:
            continue
        if needs_limit(task):
            why, hint = "asks for a resource", "say how long its result is valid: cache_ttl_s="
        elif task.run_if != "succeeded":
            why, hint = f'has run_if="{task.run_if}"', "say so: cache=False"
        else:
            continue
        notes.append(
            Problem(
                "MXM701",
                f"task {task.name!r} of the cached flow {flow.name!r} is not cached: it {why}",
                hint,
                source=task.source,
                flow=flow.name,
                task=task.name,
                severity="note",
            )
        )
    return notes
