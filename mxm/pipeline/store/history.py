"""Recorded runs: found by part of an id, listed, and read back as data."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from mxm.pipeline.errors import PipelineError, StoreError
from mxm.pipeline.problems import Problem, did_you_mean, shown_path
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.store import kept
from mxm.pipeline.store.about import is_running
from mxm.pipeline.store.database import Database
from mxm.pipeline.store.places import has_store, store_of, store_of_file
from mxm.pipeline.taskruns import (
    HAVE_VALUES,
    Attempt,
    ItemRun,
    ItemRuns,
    State,
    TaskRun,
    iso_time,
    rounded,
)
from mxm.pipeline.values.assets import CheckResult, ReadAsset, WrittenAsset
from mxm.pipeline.values.jsonvalue import JSONValue, Written
from mxm.pipeline.values.secrets import MASK, Masked

__all__ = [
    "RecordedError",
    "RecordedRun",
    "RecordedTask",
    "counts_of",
    "document_of",
    "find_run",
    "list_runs",
    "load_run",
    "read_document",
    "read_run",
    "runs_of",
    "state_of",
    "tasks_of",
    "usual_seconds",
]

_GONE_S = 60.0


class RecordedError(Exception):
    """The exception of a recorded task; only the name of its type is known."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback: str = traceback


def _error(recorded: Mapping[str, Any]) -> RecordedError:
    kind = type(str(recorded["type"]), (RecordedError,), {"__module__": __name__})
    error: RecordedError = kind(recorded["message"], recorded["traceback"])
    return error


class RecordedTask(TaskRun):
    """A task of a recorded run; its value is loaded on first use."""

    def __init__(
        self, load: Callable[[], Any], result: Written | None, *, is_kept: bool, **fields: Any
    ) -> None:
        self.__dict__["_load"] = load
        self.__dict__["is_kept"] = is_kept
        super().__init__(**fields)
        if result is not None:
            self.__dict__["written"] = result

    @property
    def value(self) -> Any:
        """A copy of what the task returned, loaded once.

        Raises
        ------
        StoreError
            It was not kept, or cannot be loaded.
        """
        if "_value" not in self.__dict__:
            self.__dict__["_value"] = self.__dict__["_load"]()
        return self.__dict__["_value"]

    @value.setter
    def value(self, value: Any) -> None:
        del value  # the dataclass has None


class RecordedRun(FlowRun):
    """A run read back from the store; of its flow, only the name and the tasks are known."""

    @property
    def values(self) -> dict[str, Any]:
        """The kept values, loaded; a value that cannot be loaded is an error of its task."""
        values: dict[str, Any] = {}
        for task in self.tasks.values():
            if task.has_value and vars(task)["is_kept"]:
                values[task.name] = task.value
        return values

    def value(self) -> Any:
        """The flow's value as JSON: its object is not kept.

        Raises
        ------
        BaseException
            The first failed task's error, as it was recorded.
        StoreError
            The flow had no value, or it was too long to keep.
        """
        self.raise_for_failure()
        missing: str | None = self.__dict__["no_value"]
        if missing is not None:
            raise StoreError(f"run {self.id} of flow {self.flow.name!r} has no value: {missing}")
        return self.to_dict()["value"]

    def to_dict(self) -> dict[str, JSONValue]:
        """The run as one JSON document, as it was printed when it ended."""
        document: dict[str, JSONValue] = self.__dict__["document"]
        return document


def state_of(row: Mapping[str, Any]) -> str:
    """The state of a run; crashed if its process is gone and its end is not recorded."""
    if row["state"] != State.RUNNING:
        return str(row["state"])
    if row["host"] == platform.node():
        alive = is_running(row["pid"], row["process"])
    else:
        alive = time.time() - (row["heartbeat"] or 0) < _GONE_S
    return State.RUNNING if alive else State.CRASHED


def _with_state(row: dict[str, Any]) -> dict[str, Any]:
    row["state"] = state_of(row)
    return row


def list_runs(
    database: Database,
    flow: str | None = None,
    *,
    state: str | None = None,
    since: datetime | None = None,
    last: int | None = None,
) -> list[dict[str, Any]]:
    """Rows of runs, the newest first.

    Parameters
    ----------
    database
        The store.
    flow, state, since
        Only runs of it, in it, and that started then or later.
    last
        How many at most.
    """
    where, values = ["1"], list[Any]()
    if flow is not None:
        where.append("flow = ?")
        values.append(flow)
    if since is not None:
        where.append("started >= ?")
        values.append(iso_time(since))
    crashed = state in (State.RUNNING, State.CRASHED)
    if state is not None:
        where.append("state = ?")
        values.append("running" if crashed else state)
    limit = "" if last is None or crashed else f" LIMIT {int(last)}"
    rows = database.read(
        f"SELECT * FROM run WHERE {' AND '.join(where)} ORDER BY started DESC, id DESC{limit}",  # noqa: S608
        values,
    )
    rows = [_with_state(row) for row in rows]
    if crashed:
        rows = [row for row in rows if row["state"] == state][:last]
    return rows


def counts_of(database: Database, runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """By run, how many of its tasks are in each state."""
    by_run: dict[str, dict[str, int]] = {}
    for run in runs:
        rows = database.read(
            "SELECT state FROM task WHERE run = ? AND place = -1 ORDER BY seq", (run["id"],)
        )
        states = [str(row["state"]) for row in rows]
        states += ["pending"] * (len(json.loads(run["steps"] or "[]")) - len(states))
        counts = by_run[run["id"]] = dict[str, int]()
        crashed = run["state"] == State.CRASHED
        for each in states:
            state = "cancelled" if crashed and each in ("pending", "running") else each
            counts[state] = counts.get(state, 0) + 1
    return by_run


def find_run(database: Database, part: str) -> str:
    """The id of the run that *part* names: an unambiguous part of it, or ``last``.

    Raises
    ------
    PipelineError
        None is, or several are.
    """
    if part == "last":
        rows = database.read("SELECT id FROM run ORDER BY started DESC, id DESC LIMIT 1")
        if not rows:
            raise PipelineError(f"no run is recorded in {shown_path(database.store)}")
        return str(rows[0]["id"])
    escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    rows = database.read(
        "SELECT id FROM run WHERE id LIKE ? ESCAPE '\\' ORDER BY started DESC LIMIT 4",
        (f"%{escaped}%",),
    )
    ids = [str(row["id"]) for row in rows]
    if part in ids or (len(ids) == 1 and part):
        return part if part in ids else ids[0]
    if ids and part:
        shown = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
        raise PipelineError(f"run {part!r} is ambiguous: {shown}", hint="give more of the id")
    raise PipelineError(
        f"no run {part!r} in {shown_path(database.store)}",
        hint="`mxm-pipeline runs` lists them; `last` is the newest",
    )


def read_run(database: Database, run: str) -> dict[str, Any]:
    """The row of a run by its whole id."""
    rows = database.read("SELECT * FROM run WHERE id = ?", (run,))
    if not rows:
        raise PipelineError(f"no run {run!r} in {shown_path(database.store)}")
    return _with_state(rows[0])


def tasks_of(database: Database, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the tasks of a run, what is JSON in them read; each has its ``items``, too."""
    tasks: list[dict[str, Any]] = []
    items: dict[int, list[dict[str, Any]]] = {}
    by_number: dict[int, dict[str, Any]] = {}
    for each in database.read("SELECT * FROM task WHERE run = ? ORDER BY seq, place", (row["id"],)):
        for name in ("history", "error", "asset", "lost", "items"):
            each[name] = json.loads(each[name]) if each[name] else None
        each["history"] = each["history"] or []
        each["has_result"] = each["result"] is not None
        each["result"] = json.loads(each["result"]) if each["has_result"] else None
        if each["place"] < 0:
            by_number[each["seq"]] = each
        else:
            items.setdefault(each["seq"], []).append(each)
    for seq, (name, arguments) in enumerate(json.loads(row["steps"] or "[]")):
        task = by_number.get(seq)
        if task is None:
            task = {**_NOTHING, "name": name, "state": State.PENDING.value, "seq": seq}
        if row["state"] == State.CRASHED and task["state"] in (State.PENDING, State.RUNNING):
            did = "while it ran" if task["state"] == State.RUNNING else "before it began"
            task["state"] = State.CANCELLED.value
            task["reason"] = f"the process of the run ended {did}"
        task["arguments"] = arguments
        task["item_rows"] = items.get(seq, [])
        tasks.append(task)
    return tasks


_NOTHING: Mapping[str, Any] = MappingProxyType(
    {
        **dict.fromkeys(
            ("reason", "cause", "ready", "started", "ended", "seconds", "slot", "waited", "asset",
             "items", "result", "lost", "value", "unkept", "error", "output", "data")
        ),
        "attempts": 0, "allowed": 0, "history": [], "has_result": False,
    }
)  # fmt: skip


_USUAL = """
SELECT task.name, task.seconds FROM task JOIN (
    SELECT id FROM run WHERE flow = ? AND state = 'succeeded' AND NOT overridden
    ORDER BY started DESC LIMIT ?
) AS latest ON task.run = latest.id
WHERE task.place = -1 AND task.state = 'succeeded' AND task.seconds IS NOT NULL
"""


def usual_seconds(store: str, flow: str, *, last: int = 10) -> dict[str, float]:
    """The median seconds of each task in the *last* runs of *flow* that succeeded; may be empty."""
    if not has_store(store):
        return {}
    by_task: dict[str, list[float]] = {}
    with Database(store) as database:
        for row in database.read(_USUAL, (flow, last)):
            by_task.setdefault(row["name"], []).append(row["seconds"])
    return {name: statistics.median(seconds) for name, seconds in by_task.items()}


def read_document(database: Database, digest: str | None) -> Any:
    """The document that runs name by its digest; None if there is none."""
    rows = database.read("SELECT text FROM document WHERE digest = ?", (digest,)) if digest else []
    return json.loads(rows[0]["text"]) if rows else None


def document_of(
    row: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], definition: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A recorded run in the schema ``mxm.flowrun/2``, with the fields that only records have.

    Parameters
    ----------
    row, tasks
        As they are read.
    definition
        The definition of the flow in its run; None if it was not recorded.
    """
    definition = definition or {}
    defined = {task["name"]: task for task in definition.get("tasks", ())}
    params = json.loads(row["params"] or "[]")
    return {
        "schema": "mxm.flowrun/2",
        "id": row["id"],
        "flow": row["flow"],
        "state": row["state"],
        "backend": row["backend"],
        "runner": row["runner"],
        "started": row["started"],
        "ended": row["ended"],
        "seconds": None if row["seconds"] is None else round(row["seconds"], 6),
        "params": {p["name"]: p["value"] for p in params if p["origin"] in ("run", "flow")},
        "value": json.loads(row["value"]) if row["value"] else None,
        "warnings": json.loads(row["warnings"] or "[]"),
        "tasks": [_task_document(task, defined.get(task["name"], {})) for task in tasks],
        "record": {
            "parent": row["parent"],
            "doc": definition.get("doc"),
            "place": row["place"],
            "workers": row["workers"],
            "host": row["host"],
            "user": row["user"],
            "pid": row["pid"],
            "seen": _seen(row["heartbeat"]),
            "command": json.loads(row["command"] or "[]"),
            "git": json.loads(row["git"]) if row["git"] else None,
            "versions": json.loads(row["versions"] or "{}"),
            "params": params,
            "overridden": bool(row["overridden"]),
            "pinned": bool(row["pinned"]),
        },
    }


def _seen(heartbeat: float | None) -> str | None:
    """The last sign of life of a run."""
    return None if heartbeat is None else iso_time(datetime.fromtimestamp(heartbeat, UTC))


_DEFINED = (
    "upstream",
    "after",
    "function",
    "signature",
    "doc",
    "source",
    "returns",
    "mapped",
    "asset",
)


def _task_document(task: Mapping[str, Any], defined: Mapping[str, Any]) -> dict[str, Any]:
    error, asset = task["error"], task["asset"]
    return {
        "name": task["name"],
        "state": task["state"],
        "allowed": bool(task["allowed"]),
        "attempts": task["attempts"],
        "history": task["history"],
        "ready": task["ready"],
        "started": task["started"],
        "ended": task["ended"],
        "seconds": None if task["seconds"] is None else round(task["seconds"], 6),
        "slot": task["slot"],
        "waited": None if task["waited"] is None else round(task["waited"], 6),
        "result": task["result"],
        "error": error and _said(error),
        "reason": task["reason"],
        "cause": task["cause"],
        "output": task["output"] or "",
        "asset": None if asset is None else _asset_document(asset),
        "items": _items_document(task),
        "record": {
            "arguments": task["arguments"],
            "traceback": error and error["traceback"],
            "place": error and error["place"],
            "lines": error and error["lines"],
            "kept": task["value"] is not None,
            "unkept": task["unkept"],
            **{name: defined.get(name) for name in _DEFINED},
        },
    }


def _asset_document(asset: Sequence[Any]) -> dict[str, Any]:
    """An asset as `WrittenAsset.to_dict` has it."""
    return dict(asset[2]) if len(asset) > 2 else {"id": asset[0], "partition": asset[1]}


def _asset(asset: Sequence[Any]) -> WrittenAsset:
    known = _asset_document(asset)
    checks = tuple(CheckResult(**each) for each in known.pop("checks", ()))
    upstream = tuple(known.pop("upstream", ()))
    reads = tuple(ReadAsset(**each) for each in known.pop("reads", ()))
    return WrittenAsset(**known, upstream=upstream, reads=reads, checks=checks)


def _said(error: Mapping[str, Any]) -> str:
    """As `described` says it."""
    return f"{error['type']}: {error['message']}" if error["message"] else str(error["type"])


def _items_document(task: Mapping[str, Any]) -> dict[str, Any] | None:
    """The items of a task as `ItemRuns.to_dict` has them; while it runs, those that have ended."""
    items = _item_runs(task, "")
    return None if items is None else items.to_dict()


def _item_runs(task: Mapping[str, Any], store: str) -> ItemRuns | None:
    rows = task["item_rows"]
    if task["items"] is None and not rows:
        return None
    over = task["items"]["over"] if task["items"] else "items that have ended so far"
    return ItemRuns(over, [RecordedItem(row, store) for row in rows])


class RecordedItem(ItemRun):
    """An item of a recorded run; its value is loaded when it is asked for."""

    __slots__ = ("_row", "_store")

    def __init__(self, row: Mapping[str, Any], store: str) -> None:
        self._row = row
        self._store = store
        super().__init__(
            row["item"],
            State(row["state"]),
            error=None if row["error"] is None else _error(row["error"]),
            reason=row["reason"],
            attempts=row["attempts"],
            started=_time(row["started"]),
            ended=_time(row["ended"]),
            seconds=row["seconds"],
            history=_history(row),
            slot=row["slot"],
            asset=None if row["asset"] is None else _asset(row["asset"]),
            output=row["output"] or "",
        )

    @property
    def value(self) -> Any:
        """What the item returned: a copy, loaded anew each time."""
        what = f"the value of item {self.key!r} of task {self._row['name']!r}"
        return _load(self._row, self._store, f"{what} in run {self._row['run']}")

    @value.setter
    def value(self, value: Any) -> None:
        del value  # the dataclass has None

    def to_dict(self) -> dict[str, JSONValue]:
        """The item as in the document of its run."""
        error = self._row["error"]
        return {
            "key": self.key,
            "state": self.state.value,
            "attempts": self.attempts,
            "seconds": rounded(self.seconds),
            "value": self._row["result"],
            "error": error and _said(error),
            "reason": self.reason,
            **({"output": self.output} if self.output else {}),
            **({} if self.asset is None else {"asset": self.asset.to_dict()}),
        }


def load_run(run: str = "last", store: str | None = None) -> FlowRun:
    """A recorded run, with the values that were kept; each is loaded when it is asked for.

    Parameters
    ----------
    run
        Its id, an unambiguous part of it, or ``last``.
    store
        The folder of the store; by default that of the working directory's project.

    Raises
    ------
    PipelineError
        There is no such run, or nothing is recorded.

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
    >>> from mxm.pipeline import load_run
    >>> run = risk.with_options(backend="inline", record=True).run()
    >>> load_run("last").tasks["load"].value
    [100.0, 110.0]
    """
    with Database(store or store_of_file()) as database:
        return _loaded(database, read_run(database, find_run(database, run)))


def runs_of(
    flow: str | FlowSpec | Any,
    *,
    last: int | None = 20,
    state: str | None = None,
    since: datetime | None = None,
) -> list[FlowRun]:
    """The recorded runs of a flow, the newest first; empty if none is recorded.

    Parameters
    ----------
    flow
        Its name, or the flow itself.
    last
        How many at most; None for all.
    state, since
        Only runs in this state, and only those that started at this time or later.

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
    >>> from mxm.pipeline import runs_of
    >>> run = risk.with_options(backend="inline", record=True).run()
    >>> [each.id == run.id for each in runs_of("risk")]
    [True]
    """
    spec = getattr(flow, "spec", flow)
    store = store_of(spec) if isinstance(spec, FlowSpec) else store_of_file()
    name = spec.name if isinstance(spec, FlowSpec) else str(flow)
    states = [each.value for each in State]
    if state is not None and state not in states:
        raise PipelineError(f"unknown state {state!r}", hint=did_you_mean(state, states))
    if not has_store(store):
        return []
    with Database(store) as database:
        rows = list_runs(database, name, state=state, since=since, last=last)
        return [_loaded(database, row) for row in rows]


def _loaded(database: Database, row: dict[str, Any]) -> RecordedRun:
    tasks = tasks_of(database, row)
    definition = read_document(database, row["definition"])
    document = document_of(row, tasks, definition)
    secret = {p["name"] for p in document["record"]["params"] if p["secret"]}
    params = {
        k: Masked(MASK) if k in secret and v is not None else v
        for k, v in document["params"].items()
    }
    run = RecordedRun(
        FlowSpec(row["flow"]),
        params,
        {task["name"]: _recorded(database.store, row["id"], task) for task in tasks},
        State(row["state"]),
        tuple(
            Problem(w["code"], w["message"], task=w["task"], severity="warning")
            for w in document["warnings"]
        ),
        _time(row["started"]),
        _time(row["ended"]),
        id=row["id"],
        backend=row["backend"],
        runner=row["runner"],
        seconds=row["seconds"],
    )
    vars(run)["document"] = document
    vars(run)["no_value"] = _no_value(row, run.warnings)
    return run


def _no_value(row: Mapping[str, Any], warnings: Iterable[Problem]) -> str | None:
    """Why the record of a run that ended has no value of its flow; None if it has one."""
    for problem in warnings:
        if problem.code == "MXM120":
            return problem.message
    if row["value"] is None and row["ended"] is not None:
        return "it was too long to keep; `tasks` has the values of the tasks"
    return None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _load(row: Mapping[str, Any], store: str, what: str) -> Any:
    """The value of a task or an item, *what* it is in words."""
    if State(row["state"]) not in HAVE_VALUES:
        return None
    if row["value"] is None:
        why = row["unkept"] or "its run did not record it"
        raise StoreError(f"{what} was not kept: {why}", store=store)
    try:
        return kept.load(store, row["value"], row["data"])
    except StoreError as error:
        message = f"{what}: {error.message}"
        raise StoreError(message, store=store, hint=error.hint) from error.__cause__


def _history(row: Mapping[str, Any]) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(
            _time(a["started"] or a["ended"]) or datetime.min,
            _time(a["ended"]) or datetime.min,
            State(a["state"]),
            a["error"],
        )
        for a in row["history"]
    )


def _recorded(store: str, run: str, task: Mapping[str, Any]) -> RecordedTask:
    asset: Any = task["asset"]
    lost: Any = task["lost"] or [0, []]

    what = f"the value of task {task['name']!r} in run {run}"
    return RecordedTask(
        lambda: _load(task, store, what),
        Written(task["result"], lost[0], tuple(lost[1])) if task["has_result"] else None,
        is_kept=task["value"] is not None,
        name=task["name"],
        state=State(task["state"]),
        error=None if task["error"] is None else _error(task["error"]),
        reason=task["reason"],
        attempts=task["attempts"],
        started=_time(task["started"]),
        ended=_time(task["ended"]),
        seconds=task["seconds"],
        history=_history(task),
        ready=_time(task["ready"]),
        slot=task["slot"],
        waited=task["waited"],
        output=task["output"] or "",
        cause=task["cause"],
        asset=None if asset is None else _asset(asset),
        allowed=bool(task["allowed"]),
        items=_item_runs(task, store),
    )
