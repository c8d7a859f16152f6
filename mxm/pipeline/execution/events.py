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
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.process.logs import logger, outside_tasks
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

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.execution.events import RunStarted
    >>> def show(event):
    ...     if isinstance(event, RunStarted):
    ...         print(event.flow.name, event.steps, event.runner)
    >>> spec = FlowSpec("risk", [TaskSpec("load", dict)])
    >>> run = compile_flow(spec, backend="inline", observers=[show]).run()
    risk ('load',) sequential
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
    """A step, or its next items, must wait for a limit; sent once per step.

    Parameters
    ----------
    limit
        The limit that is reached.
    most
        How many attempts it allows at once.

    Examples
    --------
    >>> import threading
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.execution.events import StepWaits
    >>> waiting = threading.Event()
    >>> def show(event):
    ...     if isinstance(event, StepWaits):
    ...         print(event.step, event.limit, event.most)
    ...         waiting.set()
    >>> tasks = [TaskSpec(name, waiting.wait, limits=["vendor"]) for name in ("a", "b")]
    >>> flow = compile_flow(FlowSpec("risk", tasks), backend="inline", runner="threads", workers=2)
    >>> run = flow.run(options={"observers": [show]})
    b vendor 1
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
        Id of the run whose result is used; None if the step runs.
    reasons
        Returns why it runs, in words; call it only while you handle the event.
    item
        Key of the item, if the step is mapped.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.execution.events import StepLooked
    >>> def show(event):
    ...     if isinstance(event, StepLooked):
    ...         print(event.step, event.used, event.reasons())
    >>> spec = FlowSpec("risk", [TaskSpec("load", dict, cache=True)])
    >>> run = compile_flow(spec, backend="inline", observers=[show]).run()
    load None ['no earlier result']
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

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.execution.events import StepStarted
    >>> def show(event):
    ...     if isinstance(event, StepStarted):
    ...         print(event.step, event.slot, event.items)
    >>> spec = FlowSpec("risk", [TaskSpec("load", dict)])
    >>> run = compile_flow(spec, backend="inline", observers=[show]).run()
    load 1 None
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
        Key of the item, if the step is mapped.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.execution.events import AttemptStarted
    >>> def show(event):
    ...     if isinstance(event, AttemptStarted):
    ...         print(event.step, event.attempt)
    >>> spec = FlowSpec("risk", [TaskSpec("load", lambda: 1 / 0, retries=1)])
    >>> run = compile_flow(spec, backend="inline", observers=[show]).run()
    load 1
    load 2
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
        The number of calls that there may be at most.
    retry_in
        Seconds until the next call; None if there is none.
    item
        Key of the item, if the step is mapped.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.execution.events import AttemptEnded
    >>> def show(event):
    ...     if isinstance(event, AttemptEnded):
    ...         print(event.attempt, event.state, event.error, event.retry_in)
    >>> spec = FlowSpec("risk", [TaskSpec("load", lambda: 1 / 0, retries=1)])
    >>> run = compile_flow(spec, backend="inline", observers=[show]).run()
    1 failed division by zero 0
    2 failed division by zero None
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
        Its outcome.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.execution.events import ItemEnded
    >>> from mxm.pipeline.bindings import Bindings, Each, Param
    >>> task = TaskSpec("lengths", len, bindings=Bindings((Each(Param("symbols")),)))
    >>> def show(event):
    ...     if isinstance(event, ItemEnded):
    ...         print(event.place, event.item.key, event.item.value)
    >>> spec = FlowSpec("risk", [task], params={"symbols": ["SPY", "GOOGL"]})
    >>> run = compile_flow(spec, backend="inline", observers=[show]).run()
    0 SPY 3
    1 GOOGL 5
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
        Key of the item, if the step is mapped.
    is_bar
        Whether the task writes the next line over it: the line ended with a carriage return.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.execution.events import OutputLine
    >>> def show(event):
    ...     if isinstance(event, OutputLine):
    ...         print(event.step, event.stream, event.text)
    >>> spec = FlowSpec("risk", [TaskSpec("load", lambda: print("asking"))])
    >>> run = compile_flow(spec, backend="inline", observers=[show]).run()
    asking
    load stdout asking
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
    """A task reports its progress, by `mxm.pipeline.progress`.

    Parameters
    ----------
    done, total
        How many are done, and of how many; *total* is None if it is not known.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow, progress
    >>> from mxm.pipeline.execution.events import Progressed
    >>> def show(event):
    ...     if isinstance(event, Progressed):
    ...         print(event.step, event.done, event.total)
    >>> spec = FlowSpec("risk", [TaskSpec("load", lambda: list(progress(range(3))))])
    >>> run = compile_flow(spec, backend="inline", observers=[show]).run()
    load 0 3
    load 3 3
    """

    run: str
    at: datetime
    step: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True, eq=False)
class AssetWritten:
    """A step that declares an asset, or an item of it, succeeded; sent before `StepEnded`.

    Parameters
    ----------
    asset
        What was written.
    item
        Key of the item, if the step is mapped.

    Examples
    --------
    >>> from mxm.pipeline import AssetDecl, FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.execution.events import AssetWritten
    >>> def show(event):
    ...     if isinstance(event, AssetWritten):
    ...         print(event.step, event.asset.id)
    >>> spec = FlowSpec("risk", [TaskSpec("load", dict, produces=AssetDecl("prices"))])
    >>> run = compile_flow(spec, backend="inline", observers=[show]).run()
    load prices
    """

    run: str
    at: datetime
    step: str
    asset: WrittenAsset
    item: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Warned:
    """The run has a warning, which does not fail it.

    Parameters
    ----------
    problem
        The warning.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.execution.events import Warned
    >>> def show(event):
    ...     if isinstance(event, Warned):
    ...         print(event.problem.code, event.problem.message)
    >>> spec = FlowSpec("risk", [TaskSpec("load", lambda: float("nan"))])
    >>> run = compile_flow(spec, backend="inline", observers=[show]).execute()
    """

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

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.execution.events import StepEnded
    >>> def show(event):
    ...     if isinstance(event, StepEnded):
    ...         print(event.task.name, event.task.state, event.task.value)
    >>> spec = FlowSpec("risk", [TaskSpec("load", dict)])
    >>> run = compile_flow(spec, backend="inline", observers=[show]).run()
    load succeeded {}
    """

    run: str
    at: datetime
    task: TaskRun


@dataclass(frozen=True, slots=True, eq=False)
class RunEnded:
    """A run is over; the last event.

    Parameters
    ----------
    flow_run
        The run, with the outcome of each step.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.execution.events import RunEnded
    >>> def show(event):
    ...     if isinstance(event, RunEnded):
    ...         print(event.flow_run.state, event.flow_run.value())
    >>> spec = FlowSpec("risk", [TaskSpec("load", dict)])
    >>> run = compile_flow(spec, backend="inline", observers=[show]).run()
    succeeded {}
    """

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
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.execution.events import Event, StepEnded
    >>> def on_failure(event: Event) -> None:
    ...     if isinstance(event, StepEnded) and event.task.error:
    ...         print(f"{event.task.name} failed: {event.task.error}")
    >>> spec = FlowSpec("risk", [TaskSpec("load", lambda: 1 / 0)])
    >>> run = compile_flow(spec, backend="inline", observers=[on_failure]).run()
    load failed: division by zero
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
