"""Tasks that say they are cached, and cannot be."""

from __future__ import annotations

from collections.abc import Iterator

from mxm.pipeline.introspection.uses import resources_of
from mxm.pipeline.problems import Problem
from mxm.pipeline.spec import FlowSpec

__all__ = ["cache_problems"]


def cache_problems(spec: FlowSpec) -> Iterator[Problem]:
    """The tasks of *spec* with ``cache=True`` whose results could not be used again."""
    for task in spec.tasks:
        if task.cache is not True:
            continue
        says = task.cache_ttl_s is not None or task.inputs or task.cache_version is not None
        asked = resources_of(task.fn)
        if asked and not says:
            name = next(iter(asked.values())).name
            what = (
                f"task {task.name!r} is cached and asks for resource {name!r}, which "
                "no cache key can describe"
            )
            hint = "say how long its result is valid, cache_ttl_s=3600, or name inputs= or "
            hint += "cache_version="
        elif task.run_if != "succeeded":
            what = f'task {task.name!r} is cached and has run_if="{task.run_if}"'
            hint = "a task that runs after failures runs each time: remove cache=True"
        else:
            continue
        yield Problem("MXM701", what, hint, source=task.source, flow=spec.name, task=task.name)
