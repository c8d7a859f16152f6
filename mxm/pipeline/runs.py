"""FlowRun: the record of a run as data, and the value of its flow."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mxm.pipeline.bindings import (
    Absent,
    Binding,
    Collection,
    Const,
    Each,
    Param,
    PerItem,
    Upstream,
    upstreams_in,
    value_of,
)
from mxm.pipeline.errors import PipelineError, ResultError, add_note, described, repr_of
from mxm.pipeline.introspection.reprs import bundle
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.process.logs import logger
from mxm.pipeline.spec import FlowSpec, last_of
from mxm.pipeline.taskruns import (
    Attempt,
    State,
    TaskRun,
    WrittenAsset,
    iso_time,
    lost,
    rounded,
)
from mxm.pipeline.values.jsonvalue import JSONValue, to_json
from mxm.pipeline.values.remote import fetched
from mxm.pipeline.values.secrets import unmask

if TYPE_CHECKING:
    from uuid import UUID

__all__ = [
    "NOT_SELECTED",
    "Attempt",
    "FlowRun",
    "State",
    "TaskRun",
    "WrittenAsset",
    "attach_run",
    "gather",
    "new_run_id",
]

__tracebackhide__ = True  # pytest shows the lines of the test and of its tasks, not these


NOT_SELECTED = "not selected"
"""The reason of a task that a run was asked to leave out."""


@dataclass(frozen=True, repr=False, eq=False)
class FlowRun:
    """One run of a flow; a failed task raises only when you ask for the outcome.

    It is equal to itself and to its copies and pickles, which have its id. Two runs are never
    equal, whatever they returned. Its mappings are read-only.

    Parameters
    ----------
    flow
        The spec that ran.
    params
        The run's parameters, as the flow gets them; secrets show as ``**********``, and have
        `get_secret_value`.
    tasks
        A `TaskRun` for each task, in topological, then declaration order.
    state
        ``succeeded`` (skips and allowed failures included), ``failed`` or ``cancelled``.
    warnings
        Warnings about parameters, and from the run.
    started, ended
        Aware times in UTC.
    strict_json
        Whether asking for JSON of a result without a JSON form is an error.
    id
        ``YYYYMMDD-HHMMSS-xxxxxxxx``: when it started, in UTC, and 32 random bits; it sorts by time.
    backend, runner
        Names of the backend and the runner.
    seconds
        Time from start to end by the monotonic clock.

    Examples
    --------
    >>> import mxm
    >>> @mxm.task
    ... def load(symbol: str = "SPY") -> list[float]:
    ...     return [100.0, 110.0]
    >>> @mxm.task
    ... def gain(prices: list[float]) -> float:
    ...     return prices[-1] - prices[0]
    >>> @mxm.flow
    ... def risk(symbol: str = "SPY") -> float:
    ...     return gain(load(symbol))
    >>> run = risk.with_options(backend="inline").run()
    >>> run.state, run.value(), run.values["load"], run.tasks["gain"].attempts
    (<State.SUCCEEDED: 'succeeded'>, 10.0, [100.0, 110.0], 1)
    """

    flow: FlowSpec
    params: Mapping[str, Any]
    tasks: Mapping[str, TaskRun]
    state: State
    warnings: tuple[Problem, ...] = ()
    started: datetime | None = None
    ended: datetime | None = None
    strict_json: bool = False
    id: str = ""
    backend: str = ""
    runner: str = ""
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("params", "tasks"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FlowRun):
            return NotImplemented
        return self is other or (self.id != "" and self.id == other.id)

    def __hash__(self) -> int:
        return hash(self.id) if self.id else object.__hash__(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "params": dict(self.params), "tasks": dict(self.tasks)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)  # it is frozen
        self.__post_init__()

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for task in self.tasks.values():
            counts[task.outcome] = counts.get(task.outcome, 0) + 1
        summary = ", ".join(f"{n} {state}" for state, n in counts.items())
        head = "" if self.state is State.SUCCEEDED else f"{self.state.upper()}: "
        error = self.error
        why = f": task {error[0]!r} raised {described(error[1]).splitlines()[0]}" if error else ""
        return f"{head}<FlowRun {self.flow.name!r}: {summary}{why}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        del include, exclude  # a notebook chooses among them
        return bundle(self, repr(self))

    @property
    def uuid(self) -> UUID | None:
        """A UUIDv7 of the start time and the random bits in `id`."""
        return None if self.started is None else _uuid(self.id, self.started)

    @property
    def error(self) -> tuple[str, BaseException] | None:
        """The first failed task in topological order, and its error, without allowed failures."""
        for task in self.tasks.values():
            if task.error is not None and not task.allowed:
                return task.name, task.error
        return None

    @property
    def values(self) -> dict[str, Any]:
        """The value of each task that has one, by reference.

        For a large result that stayed on a Dask or Ray cluster, a `RemoteValue`.
        """
        return {t.name: t.value for t in self.tasks.values() if t.has_value}

    @functools.cached_property
    def results(self) -> dict[str, JSONValue]:
        """`values` as strict JSON; parts that JSON cannot hold are logged as warnings.

        Raises
        ------
        ResultError
            With the option ``strict_json``: a value has no JSON form; the error names the task and
            the path inside the value.
        """
        written: dict[str, JSONValue] = {}
        for task in self.tasks.values():
            if task.has_value:
                written[task.name], warnings = task.to_json(strict=self.strict_json)
                for warning in warnings:
                    logger.warning("%s", warning)
        return written

    def value(self) -> Any:
        """The body's return value, in the same shape; without a body, the last task's value.

        If there are several last tasks, a dict of their values. In a container, a part whose task
        was skipped or was allowed to fail is None, and a warning that names the task is logged.

        Raises
        ------
        BaseException
            The first failed task's own exception.
        PipelineError
            All tasks that it needs were skipped or failed, or one of them is not part of this run;
            or its value stayed on a cluster, and cannot be fetched any more.
        """
        self.raise_for_failure()
        output, warnings = self._output()
        for warning in warnings:
            logger.warning("%s", warning)
        names = [part.name for part in upstreams_in([output])]
        values = {name: fetched(self.tasks[name].value) for name in names}
        try:
            return gather(output, values, self.params)
        except Exception as error:
            add_note(error, f"while taking the value of flow {self.flow.name!r} from its tasks")
            raise

    def _output(self) -> tuple[Binding, list[Problem]]:
        """The binding of the flow's value, and a warning for each missing part."""
        output = self.flow.output
        if output is None:
            last = {*last_of(task for task in self.flow.tasks if task.name in self.tasks)}
            names = tuple(name for name in self.tasks if name in last)
            parts = tuple(map(Upstream, names))
            output = parts[0] if len(parts) == 1 else Collection(dict, parts, names)
        names = tuple(dict.fromkeys(part.name for part in upstreams_in([output])))
        valueless = [n for n in names if n not in self.tasks or not self.tasks[n].has_value]
        for name in valueless:
            task = self.tasks.get(name)
            missing = task is not None and (task.state is State.SKIPPED or task.allowed)
            if not missing or len(valueless) == len(names):
                verb = "failed" if task and task.allowed else f"was {task.state if task else ''}"
                why = f"{verb}: {task.reason}" if task else "was not part of this run"
                raise PipelineError(f"flow {self.flow.name!r} has no value: task {name!r} {why}")
        if valueless:
            output = _replaced(
                output,
                lambda part: (
                    Const(None) if isinstance(part, Upstream) and part.name in valueless else part
                ),
            )
        became = [self.tasks[name] for name in valueless]
        return output, [
            _became_none(self.flow.name, task) for task in became if task.reason != NOT_SELECTED
        ]

    def value_json(self) -> tuple[JSONValue, list[Problem]]:
        """`value` as JSON, and warnings for parts that are missing or that JSON cannot hold.

        None if there is no value: a task failed, all were skipped, or a part cannot be taken.
        """

        def as_json(part: Upstream | Param | Const) -> Const:
            if isinstance(part, Upstream) and not part.path:  # it has its own warnings
                return Const(self.tasks[part.name].to_json(strict=self.strict_json)[0])
            if isinstance(part, Param) and hasattr(self.params[part.name], "get_secret_value"):
                return Const(self.params[part.name])  # stays masked
            if isinstance(part, Upstream):
                return Const(gather(part, {part.name: self.tasks[part.name].as_ended()}, {}))
            return Const(gather(part, {}, self.params))

        if self.error is not None:
            return None, []
        try:
            output, warnings = self._output()
            value = gather(_replaced(output, as_json), {}, {})
            written = to_json(value, strict=self.strict_json)
        except PipelineError:  # skipped, or without a JSON form: its task reports that
            return None, []
        except BaseException as error:  # a projection: any type may fail in its own way
            let_signals_pass(error)
            return None, [_not_taken(self.flow, error)]
        return written.value, [*warnings, *lost(f"value of flow {self.flow.name!r}", written)]

    def raise_for_failure(self) -> FlowRun:
        """Return this run, if no task failed.

        Raises
        ------
        BaseException
            The first failed task's own exception, its type unchanged, with a note that names flow,
            task and attempts, and this run as its ``mxm_run``.
        """
        failed_task = self.error
        if failed_task is None:
            return self
        name, error = failed_task
        failed = [t.name for t in self.tasks.values() if t.error is not None and not t.allowed]
        others = [other for other in failed if other != name]
        attempts = self.tasks[name].attempts
        note = f"task {name!r} of flow {self.flow.name!r} failed after {attempts} attempt"
        note += "s" * (attempts != 1)
        if others:
            note += "; failed too: " + ", ".join(map(repr, others))
        add_note(error, note)
        attach_run(error, self)
        raise error

    def to_dict(self) -> dict[str, JSONValue]:
        """The run as one JSON document, schema ``mxm.flowrun/2``.

        Times are ISO 8601 in UTC with microseconds. Later versions may add fields, but never change
        the meaning of one. With ``strict_json``, values without a JSON form are null, and the
        task's ``error`` names them.
        """
        value, more = self.value_json()
        return {
            "schema": "mxm.flowrun/2",
            "id": self.id,
            "flow": self.flow.name,
            "state": self.state.value,
            "backend": self.backend,
            "runner": self.runner,
            "started": iso_time(self.started),
            "ended": iso_time(self.ended),
            "seconds": rounded(self.seconds),
            "params": {k: _shown(v) for k, v in self.params.items()},
            "value": value,
            "warnings": [
                {"code": problem.code, "message": problem.message, "task": problem.task}
                for problem in (*self.warnings, *more)
            ],
            "tasks": [task.to_dict(strict=self.strict_json) for task in self.tasks.values()],
        }


_MOST_NAMED = 3


def attach_run(error: BaseException, run: FlowRun) -> None:
    """Set *run* as the ``mxm_run`` of *error*, unless it takes no attributes."""
    try:
        error.mxm_run = run  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    except BaseException as refused:  # a frozen one, or one with code of its own
        let_signals_pass(refused)


def _became_none(flow: str, task: TaskRun) -> Problem:
    why = f": {task.reason}" if task.reason else ""
    return Problem(
        "MXM503",
        f"in the value of flow {flow!r}, the part of task {task.name!r} is None: "
        f"it {'failed, as it may' if task.allowed else 'was skipped'}{why}",
        flow=flow,
        task=task.name,
        severity="warning",
    )


def _not_taken(flow: FlowSpec, error: BaseException) -> Problem:
    return Problem(
        "MXM120",
        f"the value of flow {flow.name!r} cannot be made from the results of its tasks: "
        f"{described(error)}",
        "the body returns a part, such as result[0], that is not there in this run",
        source=flow.source,
        flow=flow.name,
    )


def _replaced(binding: Binding, change: Callable[[Upstream | Param | Const], Binding]) -> Binding:
    """*binding* with *change* applied to each of its parts, in the same shape."""
    if isinstance(binding, Each | PerItem):  # a flow returns none
        return binding
    if isinstance(binding, Collection):
        return replace(binding, items=tuple(_replaced(item, change) for item in binding.items))
    return change(binding)


def _shown(value: Any) -> JSONValue:
    """*value* as JSON, or its repr: a parameter without a JSON form must not hide a run."""
    try:
        return to_json(value, strict=True).value
    except ResultError:
        return repr_of(value)


def gather(binding: Binding, values: Mapping[str, Any], params: Mapping[str, Any]) -> Any:
    """The value of *binding*, by reference.

    Parameters
    ----------
    binding
        The source of the value.
    values
        Results by task name.
    params
        The flow's parameters.
    """
    if type(binding) is Upstream and not binding.path:  # nearly all
        value = values[binding.name]
        return value.instead if type(value) is Absent else value

    def look_up(origin: Upstream | Param) -> Any:
        if isinstance(origin, Param):
            return unmask(params[origin.name])
        return values[origin.name]

    return value_of(binding, look_up)


def new_run_id(started: datetime) -> str:
    """An id for a run that started at this time: the UTC time and 32 random bits."""
    return f"{started:%Y%m%d-%H%M%S}-{os.urandom(4).hex()}"


def _uuid(run: str, started: datetime) -> UUID:
    """The UUIDv7 made from the run's start, to the microsecond, and the random bits of its id."""
    from uuid import UUID  # rarely used, and slow to load

    microseconds = (started - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    milliseconds, rest = divmod(microseconds, 1000)
    bits = int(run.rpartition("-")[2], 16)
    return UUID(int=milliseconds << 80 | 7 << 76 | (rest * 4096 // 1000) << 64 | 2 << 62 | bits)
