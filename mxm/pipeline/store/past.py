"""How the tasks of a flow ended in its recorded runs, and how long they took."""

from __future__ import annotations

import json
import statistics

from mxm.pipeline.execution.plans.partial import Past
from mxm.pipeline.runs import NOT_SELECTED
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.store.database import Database
from mxm.pipeline.store.history import list_runs
from mxm.pipeline.store.places import has_store, store_of
from mxm.pipeline.taskruns import State

__all__ = ["past_of"]

_RUNS = 20  # runs to look at; more are seldom kept
_TIMES = 5  # durations of a task; their median is the estimate


def past_of(spec: FlowSpec) -> Past:
    """What the newest runs of *spec* say about its tasks; empty if none is recorded."""
    store = store_of(spec)
    states: dict[str, str] = {}
    times: dict[str, list[float]] = {}
    if has_store(store):
        with Database(store) as database:
            for run in list_runs(database, spec.name, last=_RUNS):
                if run["state"] != State.RUNNING:
                    rows = database.read(_TASKS, (run["id"],))
                    _add({row["seq"]: row for row in rows}, run["steps"], states, times)
    seconds = {name: statistics.median(taken[:_TIMES]) for name, taken in times.items()}
    return Past(states, seconds)


_TASKS = "SELECT seq, state, reason, seconds FROM task WHERE run = ? AND place = -1"


def _add(
    ended: dict[int, dict[str, object]],
    steps: str | None,
    states: dict[str, str],
    times: dict[str, list[float]],
) -> None:
    for seq, (name, _) in enumerate(json.loads(steps or "[]")):
        row = ended.get(seq)
        if row is None or row["state"] == State.RUNNING:  # its process ended before it did
            states.setdefault(name, State.CANCELLED.value)
        elif row["reason"] != NOT_SELECTED:
            states.setdefault(name, str(row["state"]))
            seconds = row["seconds"]
            if row["state"] == State.SUCCEEDED and isinstance(seconds, float):
                times.setdefault(name, []).append(seconds)
