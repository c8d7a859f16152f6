"""Finds tasks that change a shared input in place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mxm.pipeline.bindings import Binding, Const, Param, Upstream, parts_in
from mxm.pipeline.execution.kept.later import Results
from mxm.pipeline.execution.plans.plan import Plan, Step
from mxm.pipeline.introspection.signatures import shape_of
from mxm.pipeline.problems import Problem
from mxm.pipeline.taskruns import TaskRun
from mxm.pipeline.values.secrets import unmask
from mxm.pipeline.values.snapshot import Snapshot

__all__ = ["Watch"]


class Watch:
    """Compares the inputs of each step before and after it runs.

    Parameters
    ----------
    plan
        The plan that runs.
    whole
        Whether to compare large values, too; otherwise only values of up to 64 KB.
    """

    def __init__(self, plan: Plan, *, whole: bool) -> None:
        self._plan = plan
        self._whole = whole
        # For each value that may change, by id: the value, and its last snapshot.
        self._seen: dict[int, tuple[Any, Snapshot | None]] = {}
        self._inputs: dict[str, list[_Input]] = {}

    def ended(self, task: TaskRun) -> None:
        """Remember the value of *task*, which other tasks may take."""
        if task.snapshot is not None:
            self._seen.setdefault(id(task.value), (task.value, task.snapshot))

    def starts(self, step: Step, values: Results) -> None:
        """Remember the inputs of *step* before it starts.

        Parameters
        ----------
        step
            The step.
        values
            The results of steps, by name.
        """
        if not self._seen and not step.kwargs and {*map(type, step.args)} <= _RESULTS:
            return  # nearly all: results of others, none of which can change
        inputs: list[_Input] = []
        places: Iterable[tuple[int | str, Binding]] = (*enumerate(step.args), *step.kwargs.items())
        for place, binding in places:
            if type(binding) is Upstream and not self._seen:  # such as when all results are numbers
                continue
            for part in parts_in((binding,)):
                if isinstance(part, Upstream):
                    # Missing, because a run rule allows it, or not loaded: no one can change it.
                    if part.name not in values or not values.is_loaded(part.name):
                        continue
                    value = values[part.name]
                    key = id(value) if id(value) in self._seen else None
                else:
                    value = part.value if isinstance(part, Const) else self._param(part)
                    key = self._key(value)
                if key is not None:
                    inputs.append((place, part, key))
        if inputs:
            self._inputs[step.name] = inputs

    def changes(self, step: Step, running: Iterable[str]) -> list[Problem]:
        """A warning for each input that changed while *step* ran.

        Parameters
        ----------
        step
            The step.
        running
            Names of the steps that are still running.
        """
        changed: list[_Input] = []
        for place, part, key in self._inputs.pop(step.name, ()):
            value, was = self._seen[key]
            if was is not None and all(key != k for *_, k in changed) and was.changed(value):
                changed.append((place, part, key))
        if not changed:
            return []
        others = [(name, {key for *_, key in self._inputs.get(name, ())}) for name in running]
        # Objects may contain each other: take all snapshots again, so the next step is not blamed.
        for key, (value, was) in list(self._seen.items()):
            if was is not None and was.changed(value):
                self._seen[key] = value, Snapshot.of(value, whole=self._whole)
        return [
            self._problem(step, place, part, [name for name, keys in others if key in keys])
            for place, part, key in changed
        ]

    def _param(self, param: Param) -> Any:
        return unmask(self._plan.params[param.name])

    def _key(self, value: Any) -> int | None:
        """The key of the *value* of a parameter or constant; None if it is not watched."""
        key = id(value)
        if key not in self._seen:
            snapshot = Snapshot.of(value, whole=self._whole)
            if snapshot is None:
                return None
            self._seen[key] = value, snapshot
        return key

    def _problem(
        self, step: Step, place: int | str, part: object, beside: Iterable[str]
    ) -> Problem:
        if isinstance(place, int):
            shape = shape_of(step.task.fn)
            name = shape.name_at(place) if shape else None
            parameter = f"parameter {name!r}" if name else f"argument {place + 1}"
        else:
            parameter = f"parameter {place!r}"
        tasks = " or ".join(f"task {name!r}" for name in (step.name, *beside))
        if isinstance(part, Upstream):
            what = f"the result of task {part.name!r} in place, by {parameter}"
        else:
            what = f"its {parameter} in place"
        return Problem(
            "MXM504",
            f"{tasks} changed {what}",
            "work on a copy: other tasks share the value",
            source=step.task.source,
            flow=self._plan.flow.name,
            task=step.name,
            severity="warning",
        )


_RESULTS = {Upstream}

# The argument, its binding, and the key of the value.
_Input = tuple[int | str, Upstream | Param | Const, int]
