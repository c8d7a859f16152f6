"""Finds iterators among the values of a flow: a second run would find them used up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mxm.pipeline.bindings import Const, parts_in
from mxm.pipeline.problems import Problem
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.values.iterators import read_once

__all__ = ["iterator_problems"]


def iterator_problems(spec: FlowSpec) -> Iterator[Problem]:
    """The parameters and constants of *spec* that can be read only once."""
    for name, value in spec.params.items():
        yield from _problem(value, f"parameter {name!r} of flow {spec.name!r}", spec, None)
    for task in spec.tasks:
        for name, value in task.params.items():
            yield from _problem(value, f"parameter {name!r} of task {task.name!r}", spec, task)
        # The calls of a traced flow were checked when they were recorded.
        for part in () if spec.traced else parts_in(task.bindings):
            if isinstance(part, Const):
                yield from _problem(part.value, f"an input of task {task.name!r}", spec, task)


def _problem(value: Any, what: str, spec: FlowSpec, task: TaskSpec | None) -> Iterator[Problem]:
    once = read_once(value)
    if once is not None:
        yield Problem(
            "MXM306",
            f"{what} is {once}",
            once.hint,
            source=task.source if task else spec.source,
            flow=spec.name,
            task=task.name if task else None,
        )
