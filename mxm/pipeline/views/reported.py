"""The data of a run's report: read from its document, with times in seconds from its start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias, cast

from mxm.pipeline.bindings import Collection, Const, Param, by_parameter, upstreams_in
from mxm.pipeline.execution.masking import Secrets
from mxm.pipeline.execution.tracebacks import lines_around, users_place, users_traceback
from mxm.pipeline.introspection.annotations import result_hint, type_text
from mxm.pipeline.params.declared import parameters_of
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.spec import TaskSpec
from mxm.pipeline.taskruns import State
from mxm.pipeline.values.jsonvalue import to_json
from mxm.pipeline.values.secrets import MASK, secret_parameters, signature_text

__all__ = ["Document", "Failed", "Report", "Tried", "TaskReport", "report_of", "report_of_document"]

Document: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt of a task: when it started and ended, how, and its error in one line."""

    started: float
    ended: float
    state: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """An exception of a task, with the source lines around it as they were."""

    type: str
    message: str
    place: str
    lines: Sequence[tuple[int, str]]
    traceback: str

    @property
    def line(self) -> int | None:
        """The line that raised, if it is known."""
        number = self.place.rpartition(":")[2]
        return int(number) if number.isdecimal() else None


@dataclass(frozen=True, slots=True)
class TaskReport:
    """One task of a run.

    Parameters
    ----------
    name, state, allowed, reason, cause
        As in `TaskRun`.
    upstream, after
        The tasks that it takes results of, and that it only follows.
    returns, signature, doc, source
        Facts about its function, as text; empty if not recorded.
    arguments
        Where each argument comes from, as the record of a run has it.
    ready, started, ended
        Seconds from the run's start; None if it never was. A task that runs has no end.
    attempts
        Its calls, in order.
    result, has_result
        What it returned, as JSON.
    declares
        The asset that it writes.
    asset
        The asset that it has written, as in the run's document.
    error, output
        As in the record.
    items
        As in the run's document, if it is mapped.
    waited
        Seconds that it waited for limits.
    slot
        The worker, counted from 1; 0 for a mapped task.
    """

    name: str
    state: str
    allowed: bool = False
    reason: str = ""
    cause: str = ""
    upstream: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    returns: str = ""
    signature: str = ""
    doc: str = ""
    source: str = ""
    arguments: Document = field(default_factory=dict[str, Any])
    ready: float | None = None
    started: float | None = None
    ended: float | None = None
    attempts: tuple[Tried, ...] = ()
    result: Any = None
    has_result: bool = False
    declares: str = ""
    asset: Document | None = None
    error: Failed | None = None
    output: str = ""
    items: Document | None = None
    waited: float = 0.0
    slot: int | None = None
    mapped: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """The tasks that had to end first."""
        return (*self.upstream, *self.after)

    @property
    def took(self) -> float | None:
        """Seconds from its start to its end; None unless it has both."""
        if self.started is None or self.ended is None:
            return None
        return self.ended - self.started


@dataclass(frozen=True, slots=True)
class Report:
    """One run.

    Parameters
    ----------
    seconds
        How long it took; for a run that has not ended, until the last known time.
    started
        When it started.
    params
        As the record of a run has them.
    workers
        How many tasks ran at once; None if that is not known.
    resume
        The command that resumes the run after a failure; empty for none.
    """

    id: str
    flow: str
    state: str
    started: datetime | None
    seconds: float
    backend: str
    runner: str
    workers: int | None
    tasks: Mapping[str, TaskReport]
    params: Sequence[Document] = ()
    warnings: Sequence[Document] = ()
    doc: str = ""
    source: str = ""
    command: str = ""
    host: str = ""
    user: str = ""
    git: Document | None = None
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    overridden: bool = False
    resume: str = ""


def report_of(run: FlowRun) -> Report:
    """The report of *run*, recorded or just ended; it contains no secrets."""
    document = cast("dict[str, Any]", run.to_dict())
    if "record" in document:
        return report_of_document(document)
    secrets = Secrets.of_run(run)
    document["record"] = _record(run)
    specs = {task.name: task for task in run.flow.tasks}
    for task in document["tasks"]:
        task["record"] = _task_record(run, specs[task["name"]])
    return report_of_document(secrets.masked_document(document))


def _record(run: FlowRun) -> dict[str, Any]:
    declared = {parameter.name: parameter for parameter in parameters_of(run.flow)}
    rows: list[dict[str, Any]] = []
    for name, value in run.params.items():
        parameter = declared.get(name)
        annotation = parameter.annotation if parameter else None
        rows.append(
            {
                "name": name,
                "value": MASK if hasattr(value, "get_secret_value") else to_json(value).value,
                "type": type_text(annotation) if annotation is not None else None,
                "origin": "flow" if name in run.flow.params else "run",
                "from": None,
            }
        )
    return {
        "doc": run.flow.doc,
        "place": str(run.flow.source) if run.flow.source else None,
        "params": rows,
    }


def _task_record(run: FlowRun, task: TaskSpec) -> dict[str, Any]:
    error = run.tasks[task.name].error
    place = users_place(error) if error is not None else None
    try:
        signature = signature_text(task.fn)
    except (TypeError, ValueError):
        signature = None
    return {
        "arguments": _arguments(task),
        "traceback": users_traceback(error) if error is not None else None,
        "place": str(place) if place else None,
        "lines": lines_around(place) if place else [],
        "upstream": list(task.upstream),
        "after": list(task.after),
        "function": getattr(task.fn, "__name__", None),
        "signature": signature,
        "doc": getattr(task.fn, "__doc__", None) if hasattr(task.fn, "__code__") else None,
        "source": str(task.source) if task.source else None,
        "returns": type_text(result_hint(task.fn)),
        "mapped": task.mapped,
        "asset": task.produces.id if task.produces else None,
    }


def _arguments(task: TaskSpec) -> dict[str, Any]:
    hidden = secret_parameters(task.fn)
    arguments: dict[str, Any] = {}
    for name, binding in by_parameter(task.fn, task.bindings).items():
        if isinstance(binding, Const):
            arguments[name] = {"value": MASK if name in hidden else to_json(binding.value).value}
        elif isinstance(binding, Param):
            arguments[name] = {"parameter": binding.name}
        elif isinstance(binding, Collection):
            arguments[name] = {"upstream": [part.name for part in upstreams_in([binding])]}
        else:
            arguments[name] = {"upstream": str(binding)}
    return arguments


def report_of_document(document: Document) -> Report:
    """The run of a document of the schema ``mxm.flowrun/2`` with its ``record``."""
    record: Document = document.get("record") or {}
    times = _Times(document)
    tasks = {task["name"]: _task(task, times) for task in document["tasks"]}
    known = [t for task in tasks.values() for t in (task.started, task.ended) if t is not None]
    latest = max([*known, times.of(record.get("seen")) or 0.0, 0.0])
    ended = document["seconds"]
    workers = record.get("workers")
    if workers is None:
        workers = 1 if document["runner"] == "sequential" else None
    return Report(
        id=document["id"],
        flow=document["flow"],
        state=document["state"],
        started=times.start,
        seconds=latest if ended is None else ended,
        backend=document["backend"],
        runner=document["runner"],
        workers=workers,
        tasks=_running_to(tasks, latest),
        params=record.get("params") or (),
        warnings=document["warnings"],
        doc=record.get("doc") or "",
        source=record.get("place") or "",
        command=" ".join(record.get("command") or ()),
        host=record.get("host") or "",
        user=record.get("user") or "",
        git=record.get("git"),
        versions=record.get("versions") or {},
        overridden=bool(record.get("overridden")),
    )


class _Times:
    """Seconds from a run's start."""

    def __init__(self, document: Document) -> None:
        text = document["started"]
        self.start = datetime.fromisoformat(text) if text else None

    def of(self, text: str | None) -> float | None:
        if text is None or self.start is None:
            return None
        # A clock that was set back during the run must not give a time before its start.
        return max(0.0, (datetime.fromisoformat(text) - self.start).total_seconds())


def _task(task: Document, times: _Times) -> TaskReport:
    record: Document = task.get("record") or {}
    started, ended = times.of(task["started"]), times.of(task["ended"])
    if task["state"] == State.RUNNING:
        ended = None
    elif started is not None and task["seconds"] is not None:
        ended = started + task["seconds"]
    elif started is None and task["state"] not in (State.CACHED, State.OVERRIDDEN):
        ended = None  # it was skipped or cancelled then, and took no time
    upstream: Sequence[str] | None = record.get("upstream")
    after: Sequence[str] = record.get("after") or ()
    if upstream is None:
        upstream = _upstreams(record.get("arguments") or {})
    asset = task["asset"]
    return TaskReport(
        name=task["name"],
        state=task["state"],
        allowed=task["allowed"],
        reason=task["reason"] or "",
        cause=task["cause"] or "",
        upstream=tuple(upstream),
        after=tuple(name for name in after if name not in upstream),
        returns=_returns(record),
        signature=_signature(task["name"], record),
        doc=record.get("doc") or "",
        source=record.get("source") or "",
        arguments=record.get("arguments") or {},
        ready=times.of(task["ready"]),
        started=started,
        ended=ended,
        attempts=tuple(_attempts(task, times, started)),
        result=task["result"],
        has_result=task["state"] in (State.SUCCEEDED, State.CACHED, State.OVERRIDDEN),
        declares=record.get("asset") or (asset["id"] if asset else ""),
        asset=asset,
        error=_failed(task, record),
        output=task["output"],
        items=task["items"],
        waited=task["waited"] or 0.0,
        slot=task["slot"],
        mapped=bool(record.get("mapped")) or task["items"] is not None,
    )


def _signature(name: str, record: Document) -> str:
    signature = record.get("signature")
    return f"{record.get('function') or name}{signature}" if signature else ""


def _returns(record: Document) -> str:
    text = record.get("returns") or ""
    text = "" if text == "Any" else text
    return f"list[{text or 'Any'}]" if record.get("mapped") else text


def _upstreams(arguments: Document) -> list[str]:
    """The names in *arguments*, of a run that ended before its edges were recorded."""
    upstreams: list[str] = []
    for argument in arguments.values():
        names = argument.get("upstream") or ()
        if isinstance(names, str):  # `load`, a part of it, or each item of either
            names = [names.rpartition(" of ")[2].partition("[")[0]]
        upstreams += names
    return list(dict.fromkeys(upstreams))


def _attempts(task: Document, times: _Times, started: float | None) -> Iterable[Tried]:
    last = started
    for attempt in task["history"]:
        start = times.of(attempt["started"])
        end = times.of(attempt["ended"])
        start = last if start is None else start
        if start is not None and end is not None:
            yield Tried(start, max(start, end), attempt["state"], attempt["error"] or "")
            last = end


def _failed(task: Document, record: Document) -> Failed | None:
    if task["error"] is None:
        return None
    kind, _, message = task["error"].partition(": ")
    return Failed(
        kind,
        message,
        record.get("place") or "",
        [(number, text) for number, text in record.get("lines") or ()],
        record.get("traceback") or "",
    )


def _running_to(tasks: Mapping[str, TaskReport], latest: float) -> dict[str, TaskReport]:
    """*tasks*; those that are running get an attempt that lasts until the *latest* known time."""
    shown = dict(tasks)
    for name, task in tasks.items():
        if task.state == State.RUNNING and task.started is not None:
            begun = task.attempts[-1].ended if task.attempts else task.started
            running = Tried(begun, max(begun, latest), State.RUNNING.value)
            shown[name] = replace(task, attempts=(*task.attempts, running))
    return shown
