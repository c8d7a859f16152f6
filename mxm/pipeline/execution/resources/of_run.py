"""The resources of one run; all problems with them are found before it starts."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from mxm.pipeline.checks.resources import async_problems
from mxm.pipeline.errors import BackendError, GraphError, repr_of
from mxm.pipeline.execution.resources.opening import Resources
from mxm.pipeline.execution.resources.replacements import meant_by, replaced_now
from mxm.pipeline.introspection.uses import ResourceBase, resources_of, used_by, uses_of
from mxm.pipeline.params.resources import settle
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.tracing.assembly import current

__all__ = ["resources_for"]


def resources_for(
    flow: FlowSpec,
    tasks: Iterable[TaskSpec],
    instead: Mapping[Any, object],
    settings: Mapping[str, Mapping[str, Any]],
    *,
    crossing: bool = False,
) -> Resources:
    """The resources of one run of *flow*, checked and not yet open.

    Parameters
    ----------
    flow
        The flow.
    tasks
        Those that may run.
    instead
        What goes in place of resources, by the options of the run.
    settings
        Settings, by the options of the run.
    crossing
        Whether they are opened in other processes.

    Raises
    ------
    ParameterError
        Settings are unknown, missing or do not fit.
    BackendError
        What goes in place of a resource cannot be used.
    """
    standing = replaced_now(instead)
    asking = [task for task in tasks if uses_of(task.fn)]
    _require_known(flow, instead)
    if not asking:
        if settings:
            settle([], settings, flow.name)
        return Resources.of_process(f"flow {flow.name!r}", replaced=standing)
    meant = functools.partial(meant_by, standing)
    problems = list(async_problems(flow, asking, meant)) if standing else []
    if problems:
        raise GraphError(flow.name, problems)
    needed = used_by((task.fn for task in asking), meant)
    if crossing:
        functions = [*(task.fn for task in asking), *(resource.fn for resource in needed)]
        asked = {r: meant(r) for fn in functions for r in resources_of(fn).values()}
        _require_resources(asked)
    return Resources.of_process(
        f"flow {flow.name!r}",
        replaced=standing,
        settings=settings,
        settled=settle(needed, settings, flow.name),
    )


def _require_resources(opened: Mapping[ResourceBase, Any]) -> None:
    """Check that the replacement of each resource can be opened in another process."""
    for resource, value in opened.items():
        if not isinstance(value, ResourceBase):
            raise BackendError(
                f"resource {resource.name!r} is replaced by {repr_of(value):.80}, and runner "
                "'processes' opens resources in each worker",
                hint="replace it with another resource: put @mxm.resource above a generator",
            )


def _require_known(flow: FlowSpec, instead: Mapping[Any, object]) -> None:
    if not instead:
        return
    used = used_by(task.fn for task in flow.tasks)
    standing = [value for value in instead.values() if isinstance(value, ResourceBase)]
    known = {current(one): one.name for one in (*used, *standing)}
    for key in instead:
        if current(key) not in known:
            raise BackendError(
                f"flow {flow.name!r} uses no resource {key.name!r}, so it cannot be replaced",
                hint=did_you_mean(key.name, known.values()) or "none of its tasks uses a resource",
            )
