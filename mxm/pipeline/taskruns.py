"""TaskRun and its parts: the outcome of a task in a run, as data."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from mxm.pipeline.errors import ResultError, described
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.values.assets import WrittenAsset
from mxm.pipeline.values.jsonvalue import JSONValue, Written, to_json
from mxm.pipeline.values.remote import RemoteValue, fetched
from mxm.pipeline.values.snapshot import Snapshot

__all__ = [
    "HAVE_VALUES",
    "Attempt",
    "ItemRun",
    "ItemRuns",
    "State",
    "TaskRun",
    "WrittenAsset",
    "iso_time",
    "lost",
    "rounded",
]


class State(StrEnum):
    """The state of a task or a run.

    Examples
    --------
    >>> from mxm.pipeline import State
    >>> State("failed") is State.FAILED, State.FAILED == "failed"
    (True, True)
    """

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CACHED = "cached"  # only a task: its value comes from an earlier run
    OVERRIDDEN = "overridden"  # only a task: the run replaced its value
    CANCELLED = "cancelled"
    CRASHED = "crashed"  # only a run: its process ended before it did


HAVE_VALUES = frozenset({State.SUCCEEDED, State.CACHED, State.OVERRIDDEN})
"""The states of tasks that have a value."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of a task's function.

    Parameters
    ----------
    started, ended
        Aware times in UTC.
    state
        How it ended: ``succeeded``, ``failed``, ``skipped`` or ``cancelled``.
    error
        Type and text of the error, if it failed.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> spec = FlowSpec("risk", [TaskSpec("load", lambda: 1 / 0, retries=1)])
    >>> run = compile_flow(spec, backend="inline").run()
    >>> [attempt.error for attempt in run.tasks["load"].history]
    ['ZeroDivisionError: division by zero', 'ZeroDivisionError: division by zero']
    """

    started: datetime
    ended: datetime
    state: State
    error: str | None = None

    def to_dict(self) -> dict[str, JSONValue]:
        """The attempt in the form of its run's document."""
        return {
            "started": iso_time(self.started),
            "ended": iso_time(self.ended),
            "state": self.state.value,
            "error": self.error,
        }


@dataclass(slots=True, eq=False)
class ItemRun:
    """One item of a mapped task in one run.

    Parameters
    ----------
    key
        Its name.
    state
        How it ended. It is also ``skipped`` if it was not called because an upstream item is
        missing or failed.
    value, error, reason, attempts, started, ended, seconds, history, slot, asset
        As in `TaskRun`.
    output
        What it printed and logged: the last lines, up to 4,096 characters. The output of its task
        has them, too.

    Examples
    --------
    >>> import mxm
    >>> @mxm.task
    ... def load(symbol: str) -> int:
    ...     return len(symbol)
    >>> @mxm.flow
    ... def prices():
    ...     return load.map(["SPY", "GOOGL"])
    >>> item = prices.with_options(backend="inline").run().tasks["load"].items["SPY"]
    >>> item.state, item.value, item.attempts
    (<State.SUCCEEDED: 'succeeded'>, 3, 1)
    """

    key: str
    state: State
    value: Any = None
    error: BaseException | None = None
    reason: str | None = None
    attempts: int = 0
    started: datetime | None = None
    ended: datetime | None = None
    seconds: float | None = None
    history: tuple[Attempt, ...] = ()
    slot: int | None = None
    asset: WrittenAsset | None = None
    output: str = ""

    @property
    def has_value(self) -> bool:
        """Whether there is a value: it succeeded, or its value came from an earlier run."""
        return self.state is State.SUCCEEDED or self.state is State.CACHED

    def to_written(self) -> Written:
        """The value as JSON."""
        return to_json(self.value)

    def to_dict(self) -> dict[str, JSONValue]:
        """The item in the form of its run's document."""
        value: JSONValue = None
        error = None if self.error is None else described(self.error)
        if self.has_value:
            value = self.to_written().value
        return {
            "key": self.key,
            "state": self.state.value,
            "attempts": self.attempts,
            "seconds": rounded(self.seconds),
            "value": value,
            "error": error,
            "reason": self.reason,
            **({"output": self.output} if self.output else {}),
            **({} if self.asset is None else {"asset": self.asset.to_dict()}),
        }


_MOST_ROWS = 1000


class ItemRuns(Mapping[str, ItemRun]):
    """The items of a mapped task by key, in list order.

    Parameters
    ----------
    over
        Where the list comes from, as text.
    runs
        The items in order.

    Examples
    --------
    >>> import mxm
    >>> @mxm.task
    ... def load(symbol: str) -> int:
    ...     return len(symbol)
    >>> @mxm.flow
    ... def prices():
    ...     return load.map(["SPY", "GOOGL"])
    >>> items = prices.with_options(backend="inline").run().tasks["load"].items
    >>> list(items), items.count()
    (['SPY', 'GOOGL'], {'succeeded': 2})
    """

    def __init__(self, over: str, runs: Sequence[ItemRun]) -> None:
        self.over = over
        self._runs = runs

    @functools.cached_property
    def _by_key(self) -> dict[str, ItemRun]:
        return {run.key: run for run in self._runs}

    def __getitem__(self, key: str) -> ItemRun:
        return self._by_key[key]

    def __iter__(self) -> Iterator[str]:
        return (run.key for run in self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {state}" for state, count in self.count().items())
        return f"<{len(self)} items of {self.over}: {counts}>"

    def count(self) -> dict[str, int]:
        """The number of items in each state."""
        counts: dict[str, int] = {}
        for run in self._runs:
            counts[run.state.value] = counts.get(run.state.value, 0) + 1
        return counts

    def to_dict(self) -> dict[str, JSONValue]:
        """The items in the form of their run's document.

        With more than 1,000 items, only those that did not succeed at the first attempt, up to
        1,000.
        """
        shown = self._runs
        if len(shown) > _MOST_ROWS:
            odd = (r for r in shown if not r.has_value or r.attempts > 1)
            shown = list(itertools.islice(odd, _MOST_ROWS))
        count: dict[str, JSONValue] = {**self.count()}
        return {"over": self.over, "count": count, "rows": [run.to_dict() for run in shown]}


@dataclass(frozen=True, eq=False, init=False)
class TaskRun:
    """One task in one run; equal only to itself, whatever it returned.

    Parameters
    ----------
    name
        The task.
    state
        How it ended.
    value
        What it returned, if it succeeded; a `RemoteValue` where that stayed on a cluster.
    error
        What it raised, if it failed.
    reason
        Why it was skipped, cancelled or failed, as text.
    attempts
        The number of calls of its function.
    started, ended
        Aware times in UTC; None if it never started.
    seconds
        Time between the two by the monotonic clock; None if it never started.
    history
        The attempts, in order.
    ready
        When everything upstream had ended; None if that never happened.
    slot
        The worker it ran on, counted from 1; numbers above that of the workers are of async
        tasks, which `threads` awaits beside them.
    output
        What it printed and logged; only the last 64 KB.
    cause
        The task that caused its skip.
    asset
        What it wrote, if it declares an asset and succeeded.
    allowed
        Whether its failure is allowed: the run still succeeds.
    items
        The items by key, in list order, if the task is mapped.
    waited
        Seconds that its attempts waited for limits; None if it has none, or is mapped.
    snapshot
        The value as it was when the task ended, if it can change; JSON shows this one.

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
    >>> task = risk.with_options(backend="inline").run().tasks["load"]
    >>> task.state, task.value, task.error
    (<State.SUCCEEDED: 'succeeded'>, [100.0, 110.0], None)
    """

    name: str
    state: State
    value: Any = None
    error: BaseException | None = None
    reason: str | None = None
    attempts: int = 0
    started: datetime | None = None
    ended: datetime | None = None
    seconds: float | None = None
    history: tuple[Attempt, ...] = ()
    ready: datetime | None = None
    slot: int | None = None
    output: str = ""
    cause: str | None = None
    asset: WrittenAsset | None = None
    allowed: bool = False
    items: ItemRuns | None = None
    waited: float | None = None
    snapshot: Snapshot | None = field(default=None, repr=False)

    def __init__(
        self,
        name: str,
        state: State,
        value: Any = None,
        error: BaseException | None = None,
        reason: str | None = None,
        attempts: int = 0,
        started: datetime | None = None,
        ended: datetime | None = None,
        seconds: float | None = None,
        history: tuple[Attempt, ...] = (),
        ready: datetime | None = None,
        slot: int | None = None,
        output: str = "",
        cause: str | None = None,
        asset: WrittenAsset | None = None,
        allowed: bool = False,
        items: ItemRuns | None = None,
        waited: float | None = None,
        snapshot: Snapshot | None = None,
    ) -> None:
        # A frozen dataclass sets its fields one by one, which takes three times as long; a run
        # makes one of these for each step.
        vars(self).update(
            name=name,
            state=state,
            value=value,
            error=error,
            reason=reason,
            attempts=attempts,
            started=started,
            ended=ended,
            seconds=seconds,
            history=history,
            ready=ready,
            slot=slot,
            output=output,
            cause=cause,
            asset=asset,
            allowed=allowed,
            items=items,
            waited=waited,
            snapshot=snapshot,
        )

    @property
    def has_value(self) -> bool:
        """Whether there is a value: the task succeeded, or its value came from elsewhere."""
        return self.state in HAVE_VALUES

    @property
    def outcome(self) -> str:
        """The state as text: ``failed (allowed)`` if the task may fail."""
        return f"{self.state} (allowed)" if self.allowed else str(self.state)

    @functools.cached_property
    def written(self) -> Written:
        """The value as JSON, made once; parts that JSON has no form for are described."""
        value = self.value
        if type(value) is RemoteValue:
            return value.written
        return to_json(self.as_ended())

    def as_ended(self) -> Any:
        """The value as it was when the task ended, if there is a snapshot: a copy if it changed.

        Raises
        ------
        BackendError
            It stayed on a cluster, and cannot be fetched any more.
        """
        if self.snapshot is not None and self.snapshot.changed(self.value):
            try:
                return self.snapshot.restored()
            except BaseException as error:  # a type can refuse to be unpickled
                let_signals_pass(error)
        return fetched(self.value)

    def to_json(self, *, strict: bool = False) -> tuple[JSONValue, list[Problem]]:
        """The value as JSON, and a warning for each kind of content that JSON could not hold.

        It is made once: if the value may change, ask as soon as the task has ended.

        Parameters
        ----------
        strict
            Whether content without a JSON form is an error; otherwise it is described.

        Raises
        ------
        ResultError
            With *strict*: the message names this task and the path inside the value.
        """
        written = self.written
        try:
            if strict and written.described:
                written = to_json(self.as_ended(), strict=True)
        except ResultError as error:
            raise ResultError(
                f"result of task {self.name!r}: {error.message}",
                path=error.path,
                task=self.name,
                hint=error.hint,
            ) from None
        return written.value, lost(f"result of task {self.name!r}", written)

    def to_dict(self, *, strict: bool = False) -> dict[str, JSONValue]:
        """The task in the form of its run's document; see `FlowRun.to_dict`."""
        result: JSONValue = None
        error = None if self.error is None else described(self.error)
        if self.has_value:
            try:
                result, _ = self.to_json(strict=strict)
            except ResultError as unwritable:
                error = unwritable.message
        history: list[JSONValue] = [attempt.to_dict() for attempt in self.history]
        asset = self.asset
        return {
            "name": self.name,
            "state": self.state.value,
            "allowed": self.allowed,
            "attempts": self.attempts,
            "history": history,
            "ready": iso_time(self.ready),
            "started": iso_time(self.started),
            "ended": iso_time(self.ended),
            "seconds": rounded(self.seconds),
            "slot": self.slot,
            "waited": rounded(self.waited),
            "result": result,
            "error": error,
            "reason": self.reason,
            "cause": self.cause,
            "output": self.output,
            "asset": None if asset is None else asset.to_dict(),
            "items": None if self.items is None else self.items.to_dict(),
        }


_MOST_NAMED = 3


def lost(what: str, written: Written) -> list[Problem]:
    """Warnings for the numbers and the parts of *what* that JSON could not hold."""
    problems: list[Problem] = []
    count = written.nonfinite
    if count:
        problems.append(
            Problem(
                "MXM501",
                f"{what}: {count} NaN or infinite number{'s' * (count != 1)} became null",
                severity="warning",
            )
        )
    parts = written.described
    if parts:
        more = len(parts) - _MOST_NAMED
        named = ", ".join(parts[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        problems.append(
            Problem(
                "MXM505",
                f"{what}: JSON has no form for {named}: described instead",
                severity="warning",
            )
        )
    return problems


def iso_time(time: datetime | None) -> str | None:
    """*time* in UTC with microseconds, as in every run document."""
    if time is None:
        return None
    in_utc = time if time.tzinfo is UTC else time.astimezone(UTC)
    return in_utc.isoformat(timespec="microseconds")


def rounded(seconds: float | None) -> float | None:
    """*seconds* to the microsecond."""
    return None if seconds is None else round(seconds, 6)
