"""The numbers of limits: those of the run, then those of the project, else 1."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, cast

from mxm.pipeline.errors import ParameterError, PipelineError, repr_of
from mxm.pipeline.problems import Problem, closest, did_you_mean, shown_path
from mxm.pipeline.project.pyproject import table_in
from mxm.pipeline.project.roots import nearest_project
from mxm.pipeline.spec import FlowSpec, TaskSpec

__all__ = ["limit_problems", "settle_limits"]

_TABLE = "[tool.mxm.pipeline.limits]"


def settle_limits(spec: FlowSpec, of_run: Mapping[Any, Any]) -> dict[str, int]:
    """How many attempts at once each limit of *spec* allows.

    Parameters
    ----------
    spec
        The flow.
    of_run
        The run's own numbers, by name.

    Raises
    ------
    ParameterError
        A number cannot be used, or no task has that limit; all problems together.
    PipelineError
        The project's file cannot be read.
    """
    first = _first_tasks(spec)
    problems = [_unknown(name, spec, first) for name in of_run if name not in first]
    if first:
        of_project, where = _of_project()
        places = dict.fromkeys(of_run, "") | {n: where for n in of_project if n not in of_run}
        numbers = {**of_project, **of_run}
        problems += _wrong(numbers, places, first, spec)
        if not problems:
            return {name: numbers.get(name, 1) for name in first}
    if problems:
        raise ParameterError(spec.name, problems)
    return {}


def limit_problems(spec: FlowSpec) -> list[Problem]:
    """What is wrong with the project's numbers for *spec*; a note for each limit without one.

    Raises
    ------
    PipelineError
        The project's file cannot be read.
    """
    first = _first_tasks(spec)
    if not first:
        return []
    numbers, where = _of_project()
    problems = list(_wrong(numbers, dict.fromkeys(numbers, where), first, spec))
    for name, task in first.items():
        if name not in numbers:
            near = closest(name, (known for known in numbers if known not in first))
            hint = f"write a number for it below {_TABLE}, or give --limit {name}=2"
            problems.append(
                Problem(
                    "MXM110",
                    f"limit {name!r} of task {task.name!r} has no number, so it is 1",
                    f"did you mean {near!r}?" if near else hint,
                    source=task.source,
                    flow=spec.name,
                    task=task.name,
                    severity="note",
                )
            )
    return problems


def _first_tasks(spec: FlowSpec) -> dict[str, TaskSpec]:
    """By limit, in order, the first task that has it."""
    tasks: dict[str, TaskSpec] = {}
    for task in spec.tasks:
        for name in task.limits:
            tasks.setdefault(name, task)
    return dict(sorted(tasks.items()))


def _of_project() -> tuple[Mapping[str, Any], str]:
    """The table ``[tool.mxm.pipeline.limits]`` of the nearest project, and its file."""
    try:
        file = nearest_project(os.getcwd())
    except OSError:  # the working directory is gone
        file = None
    table: Any = (table_in(file) or {}).get("limits", {}) if file else {}
    where = shown_path(file) if file else ""
    is_table = isinstance(table, dict)
    if not is_table:
        raise PipelineError(
            f"{where}: [tool.mxm.pipeline] limits must be a table of whole numbers",
            hint=f"write {_TABLE} on a line of its own, with its keys below",
        )
    return cast("Mapping[str, Any]", table), where


def _wrong(
    numbers: Mapping[Any, Any],
    places: Mapping[Any, str],
    used: Mapping[str, TaskSpec],
    spec: FlowSpec,
) -> Iterable[Problem]:
    for name, number in numbers.items():
        if name in used and (type(number) is not int or number < 1):
            where = f"{places[name]}: {_TABLE} " if places[name] else ""
            yield Problem(
                "MXM111",
                f"{where}limit {name!r} must be a whole number of at least 1, "
                f"not {repr_of(number)}",
                f"remove it from the limits of task {used[name].name!r} to run without a limit",
                source=used[name].source,
                flow=spec.name,
                task=used[name].name,
            )


def _unknown(name: Any, spec: FlowSpec, used: Mapping[str, TaskSpec]) -> Problem:
    hint: str | None = "none of its tasks has a limit: @mxm.task(limits=[...])"
    if used:
        hint = did_you_mean(name, used) if isinstance(name, str) else "give its name"
    return Problem(
        "MXM112",
        f"no task of flow {spec.name!r} has the limit {name!r}",
        hint,
        source=spec.source,
        flow=spec.name,
    )
