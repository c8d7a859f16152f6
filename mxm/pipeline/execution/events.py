"""Events: what happens in a run, as data, passed to observers as it happens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from types import FunctionType, MethodType
from typing import Any, Protocol, TypeAlias

from mxm.pipeline.errors import described
from mxm.pipeline.execution.tracebacks import users_traceback
from mxm.pipeline.interrupts import let_signals_pass
from mxm.pipeline.logs import logger, outside_tasks
from mxm.pipeline.problems import Problem
from mxm.pipeline.runs import FlowRun, State, TaskRun, WrittenAsset
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.taskruns import ItemRun

__all__ = [
    "AssetWritten",
    "AttemptEnded",
    "AttemptStarted",
    "Event",
    "ItemEnded",
    "Observer",
    "Observers",
    "OutputLine",
    "Progressed",
    "RunEnded",
    "RunStarted",
    "StepEnded",
    "StepLooked",
    "StepStarted",
    "StepWaits",
    "Warned",
]


@dataclass(frozen=True, slots=True, eq=False)
class RunStarted:
    """A run starts; the first event.

    Parameters
    ----------
    run
        Id of the run.
    at
        When it happened, in UTC.
    flow, params
        The flow that runs, and its parameters; secrets are masked.
    steps
        Names of the steps, in topological, then declaration order.
    backend, runner, workers
        What runs it, and how many tasks run at once.
    warnings
        Warnings about parameters.
    """

    run: str
    at: datetime
    flow: FlowSpec
    params: Mapping[str, Any]
    steps: tuple[str, ...]
    backend: str
    runner: str
    workers: int
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, eq=False)
class StepWaits:
    """A step could start, or go on with its next items, but for a limit; given once a step.

    Parameters
    ----------
    limit
        The limit that has reached its number.
    most
        That number: how many attempts it lets at work at once.
    """

    run: str
    at: datetime
    step: str
    limit: str
    most: int


@dataclass(frozen=True, slots=True, eq=False)
class StepLooked:
    """The cache was asked for the result of a step, or of one of its items.

    Parameters
    ----------
    used
        Id of the run whose result is used; None where it runs.
    reasons
        Gives why it runs, in words; only while the event is handled.
    item
        Key of the item, where the step is mapped.
    """

    run: str
    at: datetime
    step: str
    used: str | None
    reasons: Callable[[], list[str]]
    item: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StepStarted:
    """A step starts on a worker.

    Parameters
    ----------
    slot
        The worker, counted from 1; 0 for a mapped step, whose items run on workers.
    ready
        When everything upstream had ended.
    items
        The number of items; None if it is not mapped.
    """

    run: str
    at: datetime
    step: str
    slot: int
    ready: datetime
    items: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AttemptStarted:
    """A step's function is about to be called.

    Parameters
    ----------
    attempt
        The number of the call, from 1.
    item
        Key of the item, where the step is mapped.
    """

    run: str
    at: datetime
    step: str
    attempt: int
    item: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AttemptEnded:
    """A step's function returned or raised.

    Parameters
    ----------
    state
        ``succeeded``, ``failed``, ``skipped`` or ``cancelled``.
    error
        What it raised, if it failed.
    attempts
        The most calls there may be.
    retry_in
        Seconds until the next call; None if there is none.
    item
        Key of the item, where the step is mapped.
    """

    run: str
    at: datetime
    step: str
    attempt: int
    state: State
    error: BaseException | None
    attempts: int
    retry_in: float | None = None
    item: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ItemEnded:
    """An item of a mapped step ended.

    Parameters
    ----------
    place
        Its index in the list.
    item
        The outcome of it.
    """

    run: str
    at: datetime
    step: str
    place: int
    item: ItemRun


@dataclass(frozen=True, slots=True, eq=False)
class OutputLine:
    """A task printed or logged a line.

    Parameters
    ----------
    text
        The line without its end.
    stream
        ``stdout``, ``stderr`` or ``log``.
    level
        The level of a log record, as in `logging`; None for printed text.
    item
        Key of the item, where the step is mapped.
    is_bar
        Whether the next line is written over it: it ended with a carriage return.
    """

    run: str
    at: datetime
    step: str
    text: str
    stream: str
    level: int | None = None
    item: str | None = None
    is_bar: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Progressed:
    """A task says how far it is, by `mxm.pipeline.progress`.

    Parameters
    ----------
    done, total
        How many are done, and of how many; the second is None if it is not known.
    """

    run: str
    at: datetime
    step: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True, eq=False)
class AssetWritten:
    """A step that declares an asset, or its *item*, succeeded; sent before that it ended."""

    run: str
    at: datetime
    step: str
    asset: WrittenAsset
    item: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Warned:
    """A warning, which does not fail the run."""

    run: str
    at: datetime
    problem: Problem


@dataclass(frozen=True, slots=True, eq=False)
class StepEnded:
    """A step ended, or was skipped or cancelled before it started.

    Parameters
    ----------
    task
        Its outcome. Its value is the object that other tasks get, and may change.
    """

    run: str
    at: datetime
    task: TaskRun


@dataclass(frozen=True, slots=True, eq=False)
class RunEnded:
    """A run is over; the last event."""

    run: str
    at: datetime
    flow_run: FlowRun


Event: TypeAlias = (
    RunStarted
    | StepWaits
    | StepLooked
    | StepStarted
    | AttemptStarted
    | AttemptEnded
    | OutputLine
    | Progressed
    | ItemEnded
    | AssetWritten
    | Warned
    | StepEnded
    | RunEnded
)


class Observer(Protocol):
    """Called with each event of a run: a function, or an object with ``__call__``.

    It is called in the process that runs the flow, one event at a time and in order, on the thread
    where the event happened; the run waits for it. If it raises, the error is logged once and
    changes nothing. Later versions may add kinds of events: ignore those you do not know.

    Examples
    --------
    >>> def on_failure(event: Event) -> None:
    ...     if isinstance(event, StepEnded) and event.task.error:
    ...         send_mail(f"{event.task.name} failed: {event.task.error}")
    """

    def __call__(self, event: Event, /) -> object:
        """Handle *event*."""
        ...


class Observers:
    """The observers of one run, called one event at a time.

    Parameters
    ----------
    run
        Id of the run.
    observers
        Called in this order.

    Attributes
    ----------
    lock
        Held while observers are called. Its holder may notify; other threads wait.
    """

    def __init__(self, run: str, observers: Sequence[Observer]) -> None:
        self.run: str = run
        self.lock: AbstractContextManager[object] = threading.RLock()
        self._observers: tuple[Observer, ...] = tuple(observers)
        self._failed: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._observers)

    def notify(self, event: Event) -> None:
        """Pass *event* to each observer."""
        with self.lock, outside_tasks():
            for number, observer in enumerate(self._observers):
                try:
                    observer(event)
                except BaseException as error:
                    let_signals_pass(error)
                    self._report(number, observer, event, error)

    def close(self) -> None:
        """Pass no more events: the run is over, even if threads still work."""
        with self.lock:
            self._observers = ()

    def _report(self, number: int, observer: Observer, event: Event, error: BaseException) -> None:
        if number not in self._failed:
            self._failed.add(number)
            logger.warning(
                "observer %s failed at %s: %s\n%s",
                _name(observer),
                type(event).__name__,
                described(error),
                users_traceback(error),
            )


def _name(observer: Observer) -> str:
    """The name of a function, or of the class of an object."""
    owner = observer if isinstance(observer, FunctionType | MethodType) else type(observer)
    return owner.__qualname__
