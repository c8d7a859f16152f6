"""Records a run in its project's store. An observer: its faults never stop the run."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mxm.pipeline.errors import StoreError
from mxm.pipeline.execution.events import (
    AssetWritten,
    AttemptEnded,
    Event,
    ItemEnded,
    Observer,
    RunEnded,
    RunStarted,
    StepEnded,
    StepStarted,
    Warned,
)
from mxm.pipeline.execution.files.observing import unobserved
from mxm.pipeline.execution.masking import Secrets, masked_command
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.execution.plans.plan import Plan
from mxm.pipeline.execution.resources.opening import active_resources
from mxm.pipeline.params.caching import cached_tasks
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.process.logs import current_task, logger
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.store import kept
from mxm.pipeline.store.about import About, process_start, sources_of, user_name, versions_of
from mxm.pipeline.store.code import asset_code, fingerprints_in
from mxm.pipeline.store.database import Database, Statement
from mxm.pipeline.store.places import has_store, root_of, store_of
from mxm.pipeline.store.resuming import resumable
from mxm.pipeline.store.rows import (
    KeptValue,
    RowWriter,
    arguments_of,
    definition_of,
    parameters_shown,
)
from mxm.pipeline.taskruns import State, iso_time
from mxm.pipeline.values.remote import RemoteValue

if TYPE_CHECKING:
    from mxm.pipeline.store.asset_rows import AssetRows

__all__ = ["HEARTBEAT_S", "Recording", "RunRecorder", "recording_of"]

HEARTBEAT_S = 20.0
"""Seconds between two heartbeats of a run; after three times as long without one, it is dead."""

_WAIT_S = 5.0  # for a lock that another process holds
_LATEST_S = 0.1  # what ended is written by then, even if nothing starts after it
_ABOUT_S = 2.0
_JOIN_S = 1.0  # for its thread, which only ends
_FRESH_S = 10.0
_MOST_PACKED = 64

_living: dict[str, Recording] = {}  # by id, the runs of this process that are being recorded


def recording_of(plan: Plan, store: str) -> Recording | None:
    """The recording of the run of *plan* in *store*; None if it is not recorded."""
    for recording in list(_living.values()):
        if recording.plan is plan and recording.store == store:
            return recording
    return None


class RunRecorder:
    """Decides for each run of a flow whether and where it is recorded.

    Parameters
    ----------
    spec
        The flow.
    expected
        Whether it will be: then slow work starts while the engine loads.
    store
        The folder of the store; None for the project's.

    Attributes
    ----------
    in_project
        Whether it uses the project's store.
    """

    def __init__(self, spec: FlowSpec, *, expected: bool = False, store: str | None = None) -> None:
        self._spec = spec
        self._own_store = store
        self.in_project: bool = store is None
        self._about: About | None = None
        self._since = 0.0
        if expected:
            self._look(store_of(spec) if store is None else store)

    def _look(self, store: str) -> About:
        file = self._spec.source.file if self._spec.source else None
        self._about = About(root_of(store, file))
        self._since = time.monotonic()
        return self._about

    def __call__(
        self, plan: Plan, params: Mapping[str, Any], options: RunOptions, /
    ) -> Observer | None:
        """The recording of a run of *plan*, or None if the project records none."""
        store = store_of(self._spec) if self._own_store is None else self._own_store
        cached = options.cache is not False and cached_tasks(self._spec, options.cache)
        if not (options.record or cached or has_store(store)):
            return None
        about, self._about = self._about, None  # for one run: the next one may have other code
        if about is None or time.monotonic() - self._since > _FRESH_S:
            about, self._about = self._look(store), None
        return Recording(store, about, plan, params, options)


class Recording:
    """The observer of one run.

    What the cache keeps is written with the rows of the run: one commit per task, not two.

    Attributes
    ----------
    plan, store
        What runs, and the folder of the store.
    secrets
        What no row may contain.
    """

    def __init__(
        self, store: str, about: About, plan: Plan, params: Mapping[str, Any], options: RunOptions
    ) -> None:
        self.store: str = store
        self._about = about
        self.plan: Plan = plan
        self._options = options
        self.secrets: Secrets = Secrets(plan)
        self._parameters = parameters_shown(plan, params, self.secrets)
        self._params = params
        self._command = _command(self.secrets)
        self._rows: RowWriter | None = None
        self._assets: AssetRows | None = None
        self._database: Database | None = None
        self._run = ""
        self._flow = plan.flow.name
        self._steps: set[str] = set()  # that are running
        self._pending: list[Statement] = []
        self._has_ended = False  # something ran whose row is pending
        self._packed: dict[int, tuple[Any, kept.Kept, str]] = {}  # by id of the value
        self._paused = False
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._defined = threading.Event()
        self._wake = threading.Event()
        self._definition: list[Statement] = []
        self._codes: dict[str, str] = {}  # by task, the code behind its asset
        self._parent = _parent()
        self._thread: threading.Thread | None = None

    def __call__(self, event: Event, /) -> None:
        """Record *event*."""
        if type(event) not in _RECORDED or (self._rows is None and type(event) is not RunStarted):
            return
        try:
            with self._lock:
                self._take(event)
        except StoreError as error:
            self._give_up(error)
        except BaseException as error:  # user code runs here, too, such as a `__str__`
            let_signals_pass(error)
            self._give_up(StoreError(f"unexpected {type(error).__name__}: {error}"))
        if self._over.is_set() and self._thread is not None:
            # It refers to the plan, and so to the modules of the tasks: as Python ends, they would
            # not be freed, nor their open files written.
            self._thread.join(_JOIN_S)

    def _take(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._start(event)
            return
        rows = self._rows
        assert rows is not None  # noqa: S101 - `__call__` has asked
        match event:
            case StepStarted():
                self._steps.add(event.step)
                self._pending.append(rows.started(event))
                self._commit()  # what has ended, too: nothing downstream of it begins before
            case AttemptEnded():
                if event.retry_in is not None and event.item is None:  # else it comes with the end
                    self._pending.append(rows.attempt(event))
            case AssetWritten():
                self._pending += self._assets.written(event) if self._assets else []
                self._commit()  # so that the next reader finds it
            case ItemEnded():
                self._has_ended |= event.item.state is not State.CACHED
                self._pending += rows.item(event, self._keep)
                if event.item.error is not None and self._assets is not None:
                    self._pending += self._assets.rejected(event.step, event.item, event.item.key)
            case StepEnded():
                if event.task.error is not None and event.task.items is None and self._assets:
                    self._pending += self._assets.rejected(event.task.name, event.task, None)
                self._steps.discard(event.task.name)
                self._has_ended |= event.task.state is not State.CACHED
                self._pending += rows.ended(event.task, self._keep)
            case Warned():
                self._pending.append(rows.warned(event.problem))
            case RunEnded():
                self._end(event)
            case _:
                pass
        if self._pending:
            self._wake.set()

    def _start(self, event: RunStarted) -> None:
        self._run = event.run
        database = Database(self.store, create=True, wait_s=_WAIT_S)
        self._database = database
        try:
            key = kept.store_key(self.store)
        except OSError as error:
            raise StoreError(f"the store's key cannot be used: {error}") from error
        self._rows = RowWriter(event.run, event.steps, key, self.secrets)
        if any(task.produces is not None for task in self.plan.flow.tasks):
            # Loaded only if there is something to note.
            from mxm.pipeline.store.asset_rows import AssetRows

            self._assets = AssetRows(
                event.run,
                self.plan,
                self.secrets,
                self._options.root or self._about.root,
                self.store,
                self._codes.get,
            )
        place = self.plan.flow.source
        about: dict[str, Any] = {
            "id": event.run,
            "flow": self.secrets.masked(self._flow),
            "parent": self._parent,
            "place": None if place is None else self._rows.place(place, self._about.root),
            "state": State.RUNNING.value,
            "started": iso_time(event.at),
            "backend": event.backend,
            "runner": event.runner,
            "workers": event.workers,
            "host": platform.node(),
            "user": user_name(),
            "pid": os.getpid(),
            "process": process_start(os.getpid()),
            "heartbeat": time.time(),
            "command": json.dumps(self._command),
            "params": json.dumps(self._parameters),
            "steps": arguments_of(self.plan, self.secrets),
            "overridden": self._is_changed(),
            **resumable(self.plan, self._params, self._options, self.secrets, key),
        }
        names, marks = ", ".join(about), ", ".join("?" * len(about))
        self._pending.append(
            (f"INSERT OR IGNORE INTO run ({names}) VALUES ({marks})", tuple(about.values()))  # noqa: S608
        )
        self._pending += [self._rows.warned(problem) for problem in event.warnings]
        _living[event.run] = self
        self._commit()
        self._thread = threading.Thread(target=self._background, name="mxm-store", daemon=True)
        self._thread.start()

    def _is_changed(self) -> bool:
        """Whether the run has replaced results or resources."""
        resources = active_resources()
        return bool(self._options.overrides or (resources is not None and resources.replaced))

    def _background(self) -> None:
        """Write pending rows, and update the heartbeat."""
        try:
            with unobserved():  # tasks run meanwhile: what is read here is not an input of theirs
                self._definition = self._defined_as()
        except BaseException as error:  # user code must not disturb a run
            let_signals_pass(error)
        self._defined.set()
        while not self._over.is_set():
            waits = self._wake.wait(HEARTBEAT_S)
            if waits:
                self._wake.clear()
                self._over.wait(_LATEST_S)
            with contextlib.suppress(StoreError), self._lock:
                if not self._over.is_set():
                    sql = "UPDATE run SET heartbeat = ? WHERE id = ?"
                    if not waits:
                        self._pending.append((sql, (time.time(), self._run)))
                    self._commit()

    def _defined_as(self) -> list[Statement]:
        rows, root = self._rows, self._about.root
        if rows is None:
            return []
        prints = fingerprints_in(self.store, root, rows.key, self.plan.flow.fn)
        made = definition_of(self.plan, rows, root, prints)
        spec = self.plan.flow
        writing = [task for task in spec.tasks if task.produces is not None]
        self._codes |= {task.name: asset_code(spec, task, prints) for task in writing}
        return made

    def _end(self, event: RunEnded) -> None:
        self._over.set()
        self._wake.set()
        rows, run = self._rows, event.flow_run
        assert rows is not None  # noqa: S101 - `__call__` has asked
        self._defined.wait(_ABOUT_S)
        self._about.wait(_ABOUT_S)
        sources = sources_of(self._about.root, self._about.sources)
        made = rows.document(sources)
        self._pending.append(made.statement)
        if self._codes:
            from mxm.pipeline.store.asset_rows import code_known

            self._pending += code_known(self._run, self._codes)
        versions = versions_of(self._about.root, run.backend)
        self._pending.append(
            (
                _ENDED,
                (
                    run.state.value,
                    iso_time(run.ended),
                    run.seconds,
                    *rows.outcome(run),
                    made.digest,
                    self._about.git_text(),
                    json.dumps(versions),
                    self._run,
                ),
            )
        )
        self._paused = False
        self._commit(last=True)
        self._close()

    def _keep(self, value: Any, state: State) -> KeptValue:
        """Keep *value*, if that is allowed and possible."""
        rows = self._rows
        assert rows is not None  # noqa: S101 - `__call__` has asked
        if self._paused:
            return KeptValue(unkept="the store could not be written")
        if state is State.OVERRIDDEN or self._options.overrides:
            return KeptValue(unkept="the run has overrides")
        if type(value) is RemoteValue:
            own = None if value.facts is None else value.facts.kept
            if own is not None and own.size <= kept.bytes_of(self._options.keep_results):
                return KeptValue(own.name, None, None, (kept.named(own.name, own.size),))
            return KeptValue(unkept=f"its {value.nbytes / 1e6:,.0f} MB stayed on the cluster")
        try:
            most = kept.bytes_of(self._options.keep_results)
            known = self._packed.pop(id(value), None)
            if known is not None and known[0] is value and known[1].size <= most:
                packed, digest = known[1:]
            else:
                packed = kept.pack(value, self.secrets, most)
                digest = kept.digest_of(packed, rows.key)
            statement = kept.keep(self.store, packed, digest)
            return KeptValue(digest, packed.joined(), None, (statement,) if statement else ())
        except kept.UnkeptError as error:
            return KeptValue(unkept=self.secrets.masked(str(error)))
        except OSError as error:
            return KeptValue(unkept=f"its file could not be written: {error.strerror or error}")

    def _commit(self, *, last: bool = False) -> None:
        """Write pending rows, or retry later if the database is locked."""
        if self._database is None:
            return
        if self._definition and self._defined.is_set():
            self._pending += self._definition
            self._definition = []
        statements = list(self._pending)
        if not statements:
            return
        try:
            self._database.write(statements, wait_s=0.0 if self._paused else _WAIT_S)
        except StoreError as error:
            if last or not error.passing:
                raise
            if not self._paused:
                self._paused = True
                _warn(f"run {self._run} continues, but is not recorded for now: {error}")
            return
        del self._pending[: len(statements)]
        self._paused = self._has_ended = False

    def _give_up(self, error: StoreError) -> None:
        with self._lock:
            begun = bool(self._rows) and self._run in _living
            self._close()
            self._rows = None
        words = "is recorded only in part" if begun else "is not recorded"
        _warn(f"run {self._run} {words}: {error}")

    def _close(self) -> None:
        self._over.set()
        self._wake.set()
        _living.pop(self._run, None)
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def add(
        self, statements: Sequence[Statement], value: Any, packed: kept.Kept, name: str
    ) -> bool:
        """Write *statements* with the rows of the run; return whether that is possible.

        Parameters
        ----------
        statements
            The rows of the cache for a call.
        value, packed, name
            Its result, the bytes of the result, and their name, so that its row need not make them.
        """
        with self._lock:
            if self._database is None or self._paused:
                return False
            if len(self._packed) >= _MOST_PACKED:  # of results that were not recorded
                self._packed.clear()
            if packed.size <= kept.IN_THE_ROW:
                self._packed[id(value)] = value, packed, name
            self._pending += statements
            self._has_ended = True
            self._wake.set()
            return True

    def flush(self) -> None:
        """Write pending rows before a read."""
        try:
            with self._lock:
                if self._has_ended:
                    self._commit()
        except StoreError as error:
            self._give_up(error)

    def runs(self, flow: str, step: str) -> bool:
        """Whether the task *step* of a flow of this name is running here."""
        return self._flow == flow and step in self._steps


_ENDED = """
UPDATE run SET state = ?, ended = ?, seconds = ?, value = ?, warnings = ?, sources = ?, git = ?,
    versions = ?
WHERE id = ?
"""
_RECORDED = (
    RunStarted,
    StepStarted,
    AttemptEnded,
    AssetWritten,
    ItemEnded,
    StepEnded,
    Warned,
    RunEnded,
)


def _command(secrets: Secrets) -> list[str]:
    program, *rest = masked_command(sys.argv or [""], secrets)
    return [os.path.basename(program), *rest]


def _parent() -> str | None:
    """The run whose task started this one; None if that is not certain."""
    task = current_task()
    if task is None:
        return None
    parents = [run for run, recording in list(_living.items()) if recording.runs(*task)]
    return parents[0] if len(parents) == 1 else None


def _warn(text: str) -> None:
    message, *hint = text.split("\n  hint: ")
    logger.warning("%s%s", in_one_line(message), f" ({hint[0]})" if hint else "")
