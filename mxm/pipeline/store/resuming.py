"""What a run records so that it can be resumed: parameters, options and flow."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mxm.pipeline.errors import PipelineError, StoreError, described
from mxm.pipeline.execution.masking import Secrets
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.execution.plans.plan import Plan
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.runs import NOT_SELECTED
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.store import kept
from mxm.pipeline.store.database import Database
from mxm.pipeline.store.history import find_run, read_run
from mxm.pipeline.store.places import root_of
from mxm.pipeline.taskruns import HAVE_VALUES, State
from mxm.pipeline.values.conversion import Sourced, Text
from mxm.pipeline.values.parts import Members

__all__ = ["Earlier", "read_earlier", "resumable"]

_OPTIONS = ("address", "fail_fast", "strict_params", "strict_json", "guard")
_DIGEST = 64  # characters in front of the signed bytes


def resumable(
    plan: Plan, params: Mapping[str, Any], options: RunOptions, secrets: Secrets, key: bytes
) -> dict[str, Any]:
    """The columns of a run's row that a resume reads, without secrets."""
    values = {name: value for name, value in plan.params.items() if name not in plan.secrets}
    # As typed: its tasks convert it.
    values |= {
        name: value
        for name, value in params.items()
        if name not in plan.secrets and isinstance(value, Text | Sourced | Members)
    }
    packed: dict[str, bytes] = {}
    unkept: list[str] = []
    for name, value in values.items():
        try:
            packed[name] = b"".join(kept.pack(value, secrets).parts)
        except kept.UnkeptError:
            unkept.append(name)
    body = pickle.dumps(packed, 5)
    digest = kept.digest_of(kept.Kept([body]), key)
    chosen = {name: getattr(options, name) for name in _OPTIONS}
    left_out = {s.name for s in plan.steps if s.outcome and s.outcome.reason == NOT_SELECTED}
    if left_out:  # by their names: what `state:` means changes
        chosen["select"] = [s.name for s in plan.steps if s.name not in left_out]
    return {
        "given": digest.encode() + body,
        "ungiven": json.dumps(unkept),
        "options": json.dumps(
            secrets.masked_json({**chosen, "limits": dict(options.limits)}), default=str
        ),
        "resumes": json.dumps(list(options.resumes)),
    }


@dataclass(frozen=True, slots=True)
class Earlier:
    """A recorded run that can be resumed.

    Parameters
    ----------
    run, flow
        Its id, and the name of its flow.
    target
        The target that finds this flow, as for `run`.
    started
        When it started.
    state
        How it ended.
    is_done
        Whether nothing is left to run.
    chain
        This run and the runs that it resumed, the newest first.
    params
        The parameters, as bytes by name.
    ungiven
        Names of the parameters that could not be recorded.
    secrets
        For each secret parameter of the run, where it came from, if that can be read again.
    options
        Options of the run.
    tasks
        How many it has.
    """

    run: str
    flow: str
    target: str
    started: datetime
    state: str
    is_done: bool
    chain: tuple[str, ...]
    params: Mapping[str, bytes]
    ungiven: tuple[str, ...]
    secrets: Mapping[str, str | None]
    options: Mapping[str, Any]
    tasks: int
    store: str

    def parameters(self, spec: FlowSpec) -> dict[str, Any]:
        """The parameters that differ from the flow's defaults.

        Raises
        ------
        PipelineError
            One cannot be loaded.
        """
        parameters: dict[str, Any] = {}
        for name, data in self.params.items():
            try:
                value = kept.unpack(data)
            except BaseException as error:  # code of users
                let_signals_pass(error)
                raise PipelineError(
                    f"run {self.run} cannot be resumed: its parameter {name!r} cannot be loaded: "
                    f"{described(error)}",
                    hint=f"give it: -p {name}=...",
                ) from None
            if name not in spec.params or not _is_same(spec.params[name], data):
                parameters[name] = value
        return parameters


def _is_same(value: Any, data: bytes) -> bool:
    try:
        return b"".join(kept.pack(value, None).parts) == data
    except kept.UnkeptError:
        return False


def read_earlier(store: str, part: str) -> Earlier:
    """The run whose id contains *part*, or the last one for ``last``.

    Raises
    ------
    PipelineError
        There is none, it is still running, or it cannot be resumed.
    """
    with Database(store) as database:
        row = read_run(database, find_run(database, part))
        run, state = row["id"], row["state"]
        if state == State.RUNNING:
            raise PipelineError(
                f"run {run} is still running, as process {row['pid']} on {row['host']}",
                hint="wait for it to end, or stop it first",
            )
        if row["overridden"]:
            raise PipelineError(
                f"run {run} cannot be resumed: it had overrides or other resources than its flow",
                hint="run it again",
            )
        stored = row["given"]
        if stored is None:
            raise PipelineError(
                f"run {run} cannot be resumed: an older mxm-pipeline recorded it",
                hint=f"mxm-pipeline run {row['flow']}",
            )
        _trust(store, stored)
        secrets = {
            p["name"]: _variable(p["from"])
            for p in json.loads(row["params"] or "[]")
            if p["secret"] and p["origin"] == "run" and p["value"] is not None
        }
        chain = (run, *json.loads(row["resumes"] or "[]"))
        options = {**json.loads(row["options"] or "{}"), "runner": row["runner"],
                   "workers": row["workers"], "backend": row["backend"]}  # fmt: skip
        return Earlier(
            run,
            row["flow"],
            _target(store, row),
            datetime.fromisoformat(row["started"]),
            state,
            state == State.SUCCEEDED and not _unfinished(database, run),
            chain,
            pickle.loads(stored[_DIGEST:]),  # noqa: S301 - ours alone, and checked
            tuple(json.loads(row["ungiven"] or "[]")),
            secrets,
            options,
            len(json.loads(row["steps"] or "[]")),
            store,
        )


def _variable(origin: str | None) -> str | None:
    """``@env:NAME`` if *origin* says that the value came from that variable."""
    before, said, name = (origin or "").partition("environment variable ")
    return f"@env:{name}" if said and not before else None


def _trust(store: str, stored: bytes) -> None:
    """Check that *stored* is what was written, by its owner.

    Raises
    ------
    StoreError
        It is not.
    """
    kept.require_trust(store)
    digest, body = stored[:_DIGEST], stored[_DIGEST:]
    if kept.digest_of(kept.Kept([body]), kept.store_key(store)).encode() != digest:
        raise StoreError("what is recorded of the run's parameters is damaged", store=store)


def _target(store: str, row: Mapping[str, Any]) -> str:
    """The flow's file and name."""
    file = str(row["place"] or "").rpartition(":")[0]
    if not file.endswith(".py"):
        return str(row["flow"])
    return f"{os.path.join(root_of(store, None), file)}:{row['flow']}"


def _unfinished(database: Database, run: str) -> bool:
    """Whether a task or an item failed in a run that succeeded."""
    states = ", ".join(repr(state.value) for state in HAVE_VALUES)
    rows = database.read(
        f"SELECT 1 FROM task WHERE run = ? AND state NOT IN ({states}, 'skipped') LIMIT 1",  # noqa: S608
        (run,),
    )
    return bool(rows)
