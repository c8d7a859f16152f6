"""The items of a mapped step: called in turn, each with attempts and an outcome of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from mxm.pipeline.assets.reading import ReadAsset, noting_reads
from mxm.pipeline.bindings import require_count, value_of
from mxm.pipeline.errors import AssetError, Skip, described
from mxm.pipeline.execution.attempts.awaiting import awaited
from mxm.pipeline.execution.attempts.carriers import Wait, Waits
from mxm.pipeline.execution.attempts.fatal import attempt_error
from mxm.pipeline.execution.attempts.invocation import Invocation, invoke
from mxm.pipeline.execution.attempts.retrying import NO_RETRY, decide_retry
from mxm.pipeline.execution.attempts.written import announce, rejected_asset
from mxm.pipeline.execution.events import (
    AttemptEnded,
    AttemptStarted,
    ItemEnded,
    Observers,
    OutputLine,
)
from mxm.pipeline.execution.limits import Hold
from mxm.pipeline.execution.output import OnLine, Output, output_to, restore_output
from mxm.pipeline.execution.places.base import Begun, Done
from mxm.pipeline.execution.plans.plan import Step
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.taskruns import Attempt, ItemRun, State

if TYPE_CHECKING:
    from mxm.pipeline.execution.attempts.invocation import Noting
    from mxm.pipeline.execution.publishing.writing import Aim
    from mxm.pipeline.execution.staying import Stay

__all__ = ["Item", "ItemCall", "await_items", "many_now", "many_with", "run_items"]


@dataclass(slots=True)
class ItemCall:
    """One call of a mapped step's function, as the places that functions run in take it."""

    flow: str
    step: Step
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    probe: Noting | None = None
    reads: list[ReadAsset] = field(default_factory=list[ReadAsset])
    stays: Stay | None = None


@dataclass(slots=True)
class Item:
    """One item that may start: its place in the list, its name and its inputs.

    *begun* gets the places of the items that were begun.
    """

    place: int
    key: str
    call: ItemCall
    begun: set[int]


InvokeMany: TypeAlias = Callable[[Sequence[Invocation]], Iterator[Begun | Done]]
"""Calls the functions of several items in turn, elsewhere."""

_many: ContextVar[InvokeMany | None] = ContextVar("mxm_invoke_many", default=None)


def many_with(invoke_many: InvokeMany | None) -> None:
    """Let the items of this context be called by *invoke_many*; None for one by one."""
    _many.set(invoke_many)


def many_now() -> InvokeMany | None:
    """What calls the items of this context, where they go in chunks."""
    return _many.get()


def run_items(
    items: Iterable[Item],
    observers: Observers,
    output: Output,
    slot: int,
    hold: Hold | None = None,
    is_over: Callable[[], bool] = lambda: False,
    made: Callable[[int, ItemRun], object] = lambda _, __: None,
) -> Iterator[tuple[int, ItemRun]]:
    """Call each of *items* until it succeeds or its retries are used up; place and run of each.

    Parameters
    ----------
    items
        The items.
    observers
        Those of the run.
    output
        What the step prints and logs, which items add to.
    slot
        The worker, counted from 1.
    hold
        The limits of the step, given back while the worker waits to try again.
    is_over
        Whether the run was cancelled: nothing more is called.
    made
        Called with place and run of each before others see that it has ended.

    Raises
    ------
    BaseException
        What asked the run to end, `KeyboardInterrupt` above all.
    """
    trials = (_Trial(item, observers, output, slot) for item in items)
    invoke_many = _many.get()
    if invoke_many is None:
        for trial in trials:
            while not is_over() and (delay := trial.attempt()) is not None:
                _pause(delay, hold)
            if is_over():
                return
            made(trial.item.place, trial.run)
            yield trial.item.place, trial.finished()
        return
    for trial in _in_chunks(list(trials), invoke_many, hold, is_over):
        made(trial.item.place, trial.run)
        yield trial.item.place, trial.finished()


def await_items(
    items: Iterable[Item],
    observers: Observers,
    output: Output,
    slot: int,
    hold: Hold | None = None,
    is_over: Callable[[], bool] = lambda: False,
    made: Callable[[int, ItemRun], object] = lambda _, __: None,
) -> Generator[Wait | tuple[int, ItemRun], None, None]:
    """Do what `run_items` does for an async function, on no thread while an item waits.

    Yields
    ------
    Wait or tuple of int and ItemRun
        What to wait for, and the place and run of each item.
    """
    for item in items:
        trial = _Trial(item, observers, output, slot)
        while not is_over() and (delay := (yield from trial.attempt_awaited())) is not None:
            if hold is not None:
                hold.pause()
            yield Wait.of(delay)
            if hold is not None:
                hold.take()
        if is_over():
            return
        made(trial.item.place, trial.run)
        yield trial.item.place, trial.finished()


def _pause(seconds: float, hold: Hold | None) -> None:
    """Wait to try again, without the limits meanwhile."""
    if hold is not None:
        hold.pause()
    time.sleep(seconds)
    if hold is not None:
        hold.take()


def _in_chunks(
    trials: list[_Trial], invoke_many: InvokeMany, hold: Hold | None, is_over: Callable[[], bool]
) -> Iterator[_Trial]:
    """Each of *trials* once it is over; those to be tried again wait until the others are done."""
    waiting: list[tuple[float, _Trial]] = []
    while trials or waiting:
        if not trials:
            due = min(when for when, _ in waiting)
            _pause(max(0.0, due - time.monotonic()), hold)
            if is_over():
                return
            trials = [trial for when, trial in waiting if when <= due]
            waiting = [(when, trial) for when, trial in waiting if when > due]
        left = dict(enumerate(trials))
        for trial in trials:
            trial.take_aim()
        for event in invoke_many([trial.item.call for trial in trials]):
            trial = left[event.number]
            if isinstance(event, Begun):
                trial.begin(event.ago)
                continue
            del left[event.number]
            delay = trial.end(event.value, event.error, event.ago)
            if delay is None:
                yield trial
            else:
                waiting.append((time.monotonic() + delay, trial))
        trials = list(left.values())


class _Trial:
    """The attempts of one item."""

    __slots__ = (
        *("_ago", "_aim", "_began", "_clock", "_history", "_observers", "_output", "_token"),
        *("item", "run"),
    )

    def __init__(self, item: Item, observers: Observers, output: Output, slot: int) -> None:
        self.item = item
        self.run = ItemRun(item.key, State.CANCELLED, slot=slot)
        self._observers = observers
        self._clock = 0.0
        self._ago = 0.0
        self._history: list[Attempt] | None = None
        self._began: datetime | None = None
        self._aim: Aim | BaseException | None = None
        self._token: Token[Output | None] | None = None
        self._output = Output(
            _line(observers, item.call.step.name, item.key) if observers else None, around=output
        )

    def attempt(self) -> float | None:
        """Call the function once, here; seconds until the next attempt, None for none."""
        self.begin()
        self.take_aim()
        if isinstance(self._aim, BaseException):
            return self.end(None, self._aim)
        try:
            if self._aim is None:
                value = invoke(self.item.call)
            else:
                with self._noting():
                    value = invoke(self.item.call)
        except BaseException as error:
            return self.end(None, error)
        return self.end(value, None)

    def attempt_awaited(self) -> Waits[float | None]:
        """Do what `attempt` does, on no thread while the function waits."""
        self.begin()
        self.take_aim()
        if isinstance(self._aim, BaseException):
            return self.end(None, self._aim)
        try:
            with self._noting():
                value = yield from awaited(self.item.call)
        except BaseException as error:
            return self.end(None, error)
        return self.end(value, None)

    def _noting(self) -> contextlib.AbstractContextManager[object]:
        reads = self.item.call.reads
        reads.clear()
        return noting_reads(reads) if self._aim else contextlib.nullcontext()

    def take_aim(self) -> None:
        """Find the file that the item writes, before its function may write it."""
        call = self.item.call
        if call.step.target is None:
            return
        # Loaded by runs that write assets.
        from mxm.pipeline.execution.publishing.writing import aim_of

        try:
            self._aim = aim_of(call.step.target, call.args, call.kwargs, self.item.key)
        except AssetError as error:
            self._aim = error

    def begin(self, ago: float = 0.0) -> None:
        """Record that the function is about to be called, or was so many seconds ago."""
        run, self._began = self.run, datetime.now(UTC) - timedelta(seconds=ago)
        self.item.begun.add(self.item.place)
        run.attempts += 1
        if run.started is None:
            run.started, self._clock = self._began, time.perf_counter() - ago
        if self._observers:
            name = self.item.call.step.name
            event = AttemptStarted(
                self._observers.run, self._began, name, run.attempts, self.item.key
            )
            self._observers.notify(event)
        self._token = output_to(self._output)

    def end(self, value: Any, raised: BaseException | None, ago: float = 0.0) -> float | None:
        """Record how the call ended; return the seconds until the next attempt, or None.

        Raises
        ------
        BaseException
            *raised* itself, where it asks the whole run to end.
        """
        if self._began is None:  # its worker died before it could begin
            self.begin()
        run, task = self.run, self.item.call.step.task
        if raised is None and self.item.call.step.unpacked:
            raised = _wrong_count(self.item.call.step, value)
        if raised is None and self._aim is not None:
            raised = self._publish(value)
        retry = NO_RETRY
        run.value, run.error, run.reason, run.state = value, None, None, State.SUCCEEDED
        try:
            if isinstance(raised, Skip):
                run.state, run.reason = State.SKIPPED, raised.reason or None
            elif raised is not None:
                run.error, is_fatal = attempt_error(raised)
                run.state, run.reason = State.FAILED, described(run.error)
                run.asset = rejected_asset(self.item.call.step, run.error)
                if not is_fatal:
                    retry = decide_retry(self.item.call, run.attempts, run.error)
        finally:
            if self._token is not None:
                restore_output(self._token)
        run.ended = datetime.now(UTC) - timedelta(seconds=ago)
        self._ago = ago
        if self._observers:
            self._output.end_lines()
            self._observers.notify(
                AttemptEnded(
                    self._observers.run,
                    run.ended,
                    self.item.call.step.name,
                    run.attempts,
                    run.state,
                    run.error,
                    task.retries + 1,
                    retry.delay,
                    self.item.key,
                )
            )
        attempt = Attempt(self._began or run.ended, run.ended, run.state, run.reason)
        self._began = None
        if self._history is None and retry.delay is None:
            run.history = (attempt,)
        else:
            self._history = [*(self._history or ()), attempt]
            run.history = tuple(self._history)
        if retry.why_not:
            run.reason = f"{run.reason} ({retry.why_not})"
        return retry.delay

    def _publish(self, value: Any) -> BaseException | None:
        """Write the item's asset; why that is not possible, or None."""
        aim, call = self._aim, self.item.call
        if aim is None or isinstance(aim, BaseException):
            return aim
        try:
            self.run.asset = aim.publish(
                value, call.flow, self._observers.run, self.item.key, call.reads
            )
        except BaseException as error:
            return error
        return None

    def finished(self) -> ItemRun:
        """The item's run, which is over."""
        run = self.run
        run.seconds = time.perf_counter() - self._ago - self._clock
        run.output = _last_lines(self._output.text())
        if run.asset is not None and run.asset.path is not None:
            announce(self._observers, self.item.call.step.name, run.asset, run.ended, run.key)
        if self._observers:
            name = self.item.call.step.name
            at = run.ended or datetime.now(UTC)
            self._observers.notify(ItemEnded(self._observers.run, at, name, self.item.place, run))
        return run


_MOST_OUTPUT = 4_096  # characters; there may be 100,000 items


def _last_lines(text: str) -> str:
    """The last lines of *text*, whole ones: half of a secret would not be masked."""
    if len(text) <= _MOST_OUTPUT:
        return text
    return text[-_MOST_OUTPUT:].partition("\n")[2]


def _wrong_count(step: Step, value: Any) -> BaseException | None:
    """What is wrong with *value*, which the body of a mapped flow unpacks; None if it fits."""
    try:
        for one in step.unpacked:
            part = value_of(one.binding, lambda _: value)
            require_count(part, one.count, f"the result of task {str(one.binding)!r}")
    except BaseException as error:  # a projection: any type may fail in its own way
        let_signals_pass(error)
        return error
    return None


def _line(observers: Observers, step: str, key: str) -> OnLine:
    def pass_on(text: str, stream: str, level: int | None, is_bar: bool) -> None:
        observers.notify(
            OutputLine(observers.run, datetime.now(UTC), step, text, stream, level, key, is_bar)
        )

    return pass_on
