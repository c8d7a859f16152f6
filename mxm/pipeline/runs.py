"""FlowRun, TaskRun and states: what happened in a run, as data."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from mxm.pipeline.bindings import Binding, Param, Upstream, value_of
from mxm.pipeline.errors import PipelineError, ResultError, described
from mxm.pipeline.logs import logger
from mxm.pipeline.problems import Problem
from mxm.pipeline.spec import FlowSpec, last_of
from mxm.pipeline.values.jsonvalue import JSONValue, Written, to_json
from mxm.pipeline.values.secrets import unmask

__all__ = ["FlowRun", "State", "TaskRun", "gather"]


class State(StrEnum):
    """What became of a task, or of a run."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


@dataclass(frozen=True, eq=False)
class TaskRun:
    """One task in one run; like a `FlowRun`, equal to itself alone.

    Parameters
    ----------
    name
        The task.
    state
        How it ended.
    value
        What it returned, where it succeeded.
    error
        What it raised, where it failed.
    reason
        Why it was skipped, cancelled or failed, in words.
    attempts
        How often its function was called.
    started, ended
        Aware times in UTC; None where it never began.
    """

    name: str
    state: State
    value: Any = None
    error: BaseException | None = None
    reason: str | None = None
    attempts: int = 0
    started: datetime | None = None
    ended: datetime | None = None

    @property
    def seconds(self) -> float | None:
        """Wall time between start and end."""
        if self.started is None or self.ended is None:
            return None
        return (self.ended - self.started).total_seconds()

    def to_json(self, *, strict: bool = False) -> tuple[JSONValue, list[Problem]]:
        """The value as JSON, and a warning for each kind of thing that JSON could not hold of it.

        Parameters
        ----------
        strict
            Whether what JSON has no form for is an error; otherwise it is described.

        Raises
        ------
        ResultError
            With *strict*: the message names this task and the path inside the value.
        """
        try:
            written = to_json(self.value, strict=strict)
        except ResultError as error:
            raise ResultError(
                f"result of task {self.name!r}: {error.message}",
                path=error.path,
                task=self.name,
                hint=error.hint,
            ) from None
        return written.value, _lost(self.name, written)


@dataclass(frozen=True, repr=False, eq=False)
class FlowRun:
    """One run of a flow; it never raises for a failed task until it is asked for the outcome.

    Two runs are never equal, whatever they returned.

    Parameters
    ----------
    flow
        The spec that ran.
    params
        The run's parameters, as the flow knows them; secrets show as ``**********``, and have
        `get_secret_value`.
    tasks
        A `TaskRun` for each task, in topological, then declaration order.
    state
        ``succeeded`` (skips included), ``failed`` or ``cancelled``.
    warnings
        What was noticed about parameters.
    strict_json
        Whether a result that JSON has no form for is an error where JSON is asked for.
    """

    flow: FlowSpec
    params: Mapping[str, Any]
    tasks: Mapping[str, TaskRun]
    state: State
    warnings: tuple[Problem, ...] = ()
    started: datetime | None = None
    ended: datetime | None = None
    strict_json: bool = False

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for task in self.tasks.values():
            counts[task.state] = counts.get(task.state, 0) + 1
        told = ", ".join(f"{n} {state}" for state, n in counts.items())
        head = "" if self.state is State.SUCCEEDED else f"{self.state.upper()}: "
        error = self.error
        why = f": task {error[0]!r} raised {described(error[1]).splitlines()[0]}" if error else ""
        return f"{head}<FlowRun {self.flow.name!r}: {told}{why}>"

    @property
    def error(self) -> tuple[str, BaseException] | None:
        """The first failed task in topological order, and what it raised."""
        for task in self.tasks.values():
            if task.error is not None:
                return task.name, task.error
        return None

    @property
    def values(self) -> dict[str, Any]:
        """What each task that succeeded returned, by reference."""
        return {t.name: t.value for t in self.tasks.values() if t.state is State.SUCCEEDED}

    @functools.cached_property
    def results(self) -> dict[str, JSONValue]:
        """`values` as strict JSON; what JSON cannot hold of one is logged as a warning.

        Raises
        ------
        ResultError
            With the option ``strict_json``: a value has no JSON form; task and path inside it are
            named.
        """
        written: dict[str, JSONValue] = {}
        for task in self.tasks.values():
            if task.state is State.SUCCEEDED:
                written[task.name], warnings = task.to_json(strict=self.strict_json)
                for warning in warnings:
                    logger.warning("%s", warning)
        return written

    def value(self) -> Any:
        """What the flow's body returned, in the same shape; without one, the last task's value.

        Where several tasks are last, a dict of their values.

        Raises
        ------
        BaseException
            The first failed task's own exception.
        PipelineError
            A task that it needs was skipped, or is not part of this run.
        """
        self.raise_for_failure()
        values = self.values
        output = self.flow.output
        if output is None:
            last = last_of(task for task in self.flow.tasks if task.name in self.tasks)
            if len(last) != 1:
                return {name: values[name] for name in self.tasks if name in {*last} & {*values}}
            output = Upstream(last[0])
        try:
            return gather(output, values, self.params)
        except _NoValue as missing:
            task = self.tasks.get(missing.name)
            why = f"was {task.state}: {task.reason}" if task else "was not part of this run"
            raise PipelineError(
                f"flow {self.flow.name!r} has no value: task {missing.name!r} {why}"
            ) from None

    def raise_for_failure(self) -> FlowRun:
        """Return this run, if no task failed.

        Raises
        ------
        BaseException
            The first failed task's own exception, its type unchanged, with a note that names flow,
            task and attempts, and this run as its ``mxm_run``.
        """
        found = self.error
        if found is None:
            return self
        name, error = found
        others = [t.name for t in self.tasks.values() if t.error is not None and t.name != name]
        attempts = self.tasks[name].attempts
        note = f"task {name!r} of flow {self.flow.name!r} failed after {attempts} attempt"
        note += "s" * (attempts != 1)
        if others:
            note += "; failed too: " + ", ".join(map(repr, others))
        try:
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
            error.mxm_run = self  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        except Exception:  # a frozen one, say, keeps its type and goes without
            pass
        raise error

    def to_dict(self) -> dict[str, JSONValue]:
        """The run as one JSON document, schema ``mxm.flowrun/1``.

        With ``strict_json``, values without a JSON form are null and named in the task's ``error``.
        """
        params = {k: _shown(v) for k, v in self.params.items()}
        return {
            "schema": "mxm.flowrun/1",
            "flow": self.flow.name,
            "state": self.state.value,
            "params": params,
            "tasks": [_task_dict(task, self.strict_json) for task in self.tasks.values()],
        }


_MOST_NAMED = 3


def _lost(task: str, written: Written) -> list[Problem]:
    """A warning each for the numbers and the parts of a result that JSON could not hold."""
    found: list[Problem] = []
    count = written.nonfinite
    if count:
        found.append(
            Problem(
                "MXM501",
                f"result of task {task!r}: {count} NaN or infinite number{'s' * (count != 1)} "
                "became null",
                severity="warning",
            )
        )
    parts = written.described
    if parts:
        more = len(parts) - _MOST_NAMED
        named = ", ".join(parts[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        found.append(
            Problem(
                "MXM505",
                f"result of task {task!r}: JSON has no form for {named}: described instead",
                severity="warning",
            )
        )
    return found


def _task_dict(task: TaskRun, strict: bool) -> JSONValue:
    result: JSONValue = None
    error = None if task.error is None else described(task.error)
    if task.state is State.SUCCEEDED:
        try:
            result, _ = task.to_json(strict=strict)
        except ResultError as unwritable:
            error = unwritable.message
    return {
        "name": task.name,
        "state": task.state.value,
        "attempts": task.attempts,
        "started": task.started.isoformat() if task.started else None,
        "ended": task.ended.isoformat() if task.ended else None,
        "result": result,
        "error": error,
        "reason": task.reason,
    }


def _shown(value: Any) -> JSONValue:
    """*value* as JSON, or its repr: a parameter that JSON cannot hold must not hide a run."""
    try:
        return to_json(value, strict=True).value
    except ResultError:
        return repr(value)


class _NoValue(LookupError):  # noqa: N818 - never leaves this module
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def gather(binding: Binding, values: Mapping[str, Any], params: Mapping[str, Any]) -> Any:
    """The value that *binding* stands for, by reference.

    Parameters
    ----------
    binding
        Where the value comes from.
    values
        Results by task name.
    params
        The flow's parameters.
    """

    def look_up(origin: Upstream | Param) -> Any:
        if isinstance(origin, Param):
            return unmask(params[origin.name])
        if origin.name not in values:
            raise _NoValue(origin.name)
        return values[origin.name]

    return value_of(binding, look_up)
