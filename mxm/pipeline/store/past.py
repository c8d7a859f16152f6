"""How the tasks of a flow ended before."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mxm.pipeline.runs import NOT_SELECTED
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.store.database import Database
from mxm.pipeline.store.history import list_runs
from mxm.pipeline.store.places import has_store, store_of
from mxm.pipeline.taskruns import State

__all__ = ["last_states"]

_RUNS = 20  # that are looked at; more are seldom kept


def last_states(spec: FlowSpec) -> Mapping[str, str]:
    """By task, how it ended in the newest recorded run that it was selected in."""
    store = store_of(spec)
    if not has_store(store):
        return {}
    found: dict[str, str] = {}
    wanted = {task.name for task in spec.tasks}
    with Database(store) as database:
        for run in list_runs(database, spec.name, last=_RUNS):
            if run["state"] == State.RUNNING:
                continue
            rows = database.read(
                "SELECT seq, state, reason FROM task WHERE run = ? AND place = -1", (run["id"],)
            )
            ended = {row["seq"]: row for row in rows}
            for seq, (name, _) in enumerate(json.loads(run["steps"] or "[]")):
                row = ended.get(seq)
                if row is None or row["state"] == State.RUNNING:  # its process ended before it did
                    found.setdefault(name, State.CANCELLED.value)
                elif row["reason"] != NOT_SELECTED:
                    found.setdefault(name, row["state"])
            if wanted <= found.keys():
                break
    return found
