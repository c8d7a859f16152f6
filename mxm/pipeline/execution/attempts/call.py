"""A step during a run: its attempts, as many as the engine makes, and how they ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from contextvars import Token
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from mxm.pipeline.assets.reading import ReadAsset, noting_reads
from mxm.pipeline.errors import Skip, TaskCancelledError, described
from mxm.pipeline.execution.attempts.awaiting import awaited
from mxm.pipeline.execution.attempts.carriers import Waits
from mxm.pipeline.execution.attempts.fatal import FatalError, attempt_error
from mxm.pipeline.execution.attempts.invocation import Noting, invoke, require_counts
from mxm.pipeline.execution.attempts.retrying import NO_RETRY, Retry, decide_retry
from mxm.pipeline.execution.attempts.written import declared_only, rejected_asset
from mxm.pipeline.execution.events import (
    AttemptEnded,
    AttemptStarted,
    Observers,
    OutputLine,
    Progressed,
    StepStarted,
)
from mxm.pipeline.execution.limits import Hold
from mxm.pipeline.execution.output import Output, output_to, restore_output
from mxm.pipeline.execution.plans.plan import Step
from mxm.pipeline.taskruns import Attempt, State, TaskRun, WrittenAsset
from mxm.pipeline.values.remote import RemoteValue
from mxm.pipeline.values.snapshot import Snapshot

if TYPE_CHECKING:
    from mxm.pipeline.execution.publishing.writing import Aim
    from mxm.pipeline.execution.staying import Stay

__all__ = ["Call"]

__tracebackhide__ = True  # pytest shows the lines of the test and of its tasks, not these


class Call:
    """A step's function with its inputs; the value stays here, hidden from the engine.

    Parameters
    ----------
    flow
        Name of the flow.
    step
        The step.
    args, kwargs
        Inputs, by reference.
    observers
        The observers of the run.
    slot, ready
        As in `TaskRun`.
    guard
        Whether to take snapshots of large values, too.
    is_cleanup
        Whether it runs although its run was cancelled.
    items
        The number of items, if the step is mapped.
    hold
        The limits of the step, taken for its first attempt.
    probe
        Notes what its attempts do, where the result may be kept for later runs.
    stays
        When the result stays on the cluster where it was made; None where this process needs it.

    Attributes
    ----------
    attempts
        The number of calls of the function.
    value, error, skipped
        The outcome of the last attempt.
    """

    def __init__(
        self,
        flow: str,
        step: Step,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        observers: Observers,
        slot: int,
        ready: datetime,
        guard: bool = False,
        is_cleanup: bool = False,
        items: int | None = None,
        hold: Hold | None = None,
        probe: Noting | None = None,
        stays: Stay | None = None,
    ) -> None:
        self.flow = flow
        self.step = step
        self.args = args
        self.kwargs = kwargs
        self.attempts: int = 0
        self.value: Any = None
        self.error: BaseException | None = None
        self.skipped: Skip | None = None
        self.started: datetime = datetime.now(UTC)
        self._clock = time.perf_counter()
        self._retry: Retry = NO_RETRY  # what follows the last attempt
        self._is_over = False
        self._aim: Aim | None = None
        self._asset: WrittenAsset | None = None
        self._observers = observers
        self.slot: int = slot
        self._ready = ready
        self._guard = guard
        self.is_cleanup: bool = is_cleanup
        self._hold = hold
        self.probe: Noting | None = probe
        self.stays: Stay | None = stays
        self.reads: list[ReadAsset] = []
        self._history: list[Attempt] = []
        self._open: datetime | None = None  # start of the current attempt
        self._output = Output(self._line, self._progress) if observers else Output()
        self._token: Token[Output | None] | None = None
        if observers:
            observers.notify(
                StepStarted(observers.run, self.started, step.name, slot, ready, items)
            )

    def attempt(self) -> None:
        """Call the function once.

        Raises
        ------
        Exception
            The function's own error, for the engine to count and retry.
        TaskTimeoutError
            It took longer than the task's ``timeout_s``.
        FatalError
            It raised something that is not an `Exception`, or could not be called at all.
        KeyboardInterrupt
            The run is being cancelled.
        """
        self._open_attempt()
        try:
            if self.step.target is None:
                self.value = invoke(self)
            else:
                with self._noting():
                    self.value = invoke(self)
            self._took()
        except BaseException as raised:  # the user's function may raise anything
            if not self._close_attempt(raised):
                raise
        else:
            self._close_attempt(None)

    def attempt_awaited(self) -> Waits[None]:
        """Do what `attempt` does, on no thread while the function waits."""
        self._open_attempt()
        try:
            with self._noting():
                self.value = yield from awaited(self)
            self._took()
        except BaseException as raised:  # as in `attempt`
            if not self._close_attempt(raised):
                raise
        else:
            self._close_attempt(None)

    def _noting(self) -> contextlib.AbstractContextManager[object]:
        """The block in which the function is called; finds the file that it writes, if any."""
        target = self.step.target
        if target is None:
            return _NOTHING_NOTED
        self.reads.clear()
        # Loaded by runs that write assets.
        from mxm.pipeline.execution.publishing.writing import aim_of

        self._aim = aim_of(target, self.args, self.kwargs)
        return noting_reads(self.reads)

    def _took(self) -> None:
        """Check what the function returned, and write its asset."""
        if type(self.value) is not RemoteValue:  # else its worker has looked
            require_counts(self.step.unpacked, self.value)
        if self._aim is not None:
            run = self._observers.run
            self._asset = self._aim.publish(self.value, self.flow, run, reads=self.reads)

    def _open_attempt(self) -> None:
        """Record that an attempt begins, once its limits are free.

        Raises
        ------
        FatalError
            The run was cancelled meanwhile.
        """
        self._retry = NO_RETRY
        if self._is_over:  # the run was cancelled while an engine waited to try again
            self._stop(TaskCancelledError(f"task {self.step.name!r} was cancelled"))
        if self._hold is not None:
            self._take_limits(self._hold)
        self._begin()
        self._token = output_to(self._output)

    def _close_attempt(self, raised: BaseException | None) -> bool:
        """Record how an attempt ended; return whether what it *raised* is not an error.

        Raises
        ------
        FatalError
            It raised something that is not an `Exception`.
        BaseException
            *raised* itself, where it asks the run to end.
        """
        state = State.CANCELLED
        try:
            if raised is None:
                state = State.SUCCEEDED
            elif isinstance(raised, Skip):
                self.skipped, state = raised, State.SKIPPED
            else:
                self.error, is_fatal = attempt_error(raised)  # raises what cancels the run
                state = State.FAILED
                if not is_fatal:
                    self._retry = decide_retry(self, self.attempts, self.error)
        finally:
            if self._token is not None:
                restore_output(self._token)
            self._end(state)
            # After its end is recorded: others may begin at once.
            if self._hold is not None and self._retry.delay is not None:
                self._hold.pause()
        if raised is None or state is State.SKIPPED:
            return True
        if not isinstance(raised, Exception):
            raise FatalError(raised) from raised
        return False

    def _take_limits(self, hold: Hold) -> None:
        try:
            hold.take()
        except TaskCancelledError as error:
            self._stop(error)

    def _stop(self, error: BaseException) -> NoReturn:
        """End the step with *error*: another attempt is pointless."""
        self.error = error
        raise FatalError(error) from error

    def give_back(self) -> None:
        """Give the limits of the step back, which has ended."""
        if self._hold is not None:
            self._hold.end()

    def _became(self, error: BaseException | None, skipped: Skip | None) -> None:
        """Record the outcome of the only attempt of a step whose items are called elsewhere."""
        self.error, self.skipped = error, skipped
        if isinstance(error, Exception):
            raise error
        if error is not None:
            self._stop(error)

    def _count_one(self) -> None:
        self.attempts = 1

    @property
    def message(self) -> str | None:
        """The message that an engine may show after success."""
        return None

    def retry_in(self) -> float | None:
        """Seconds until the next attempt; None if there should be no other."""
        return self._retry.delay

    def ended(self, failure: BaseException | None = None) -> TaskRun:
        """The outcome of the step, once the engine is done with it.

        Parameters
        ----------
        failure
            The engine's own error, if the function did not fail.
        """
        error = self.error or failure
        if error is not None:
            allowed = self.step.task.allow_failure
            reason = described(error)
            if self._retry.why_not:
                reason += f" ({self._retry.why_not})"
            asset = rejected_asset(self.step, error)
            return self._task(
                State.FAILED, error=error, reason=reason, allowed=allowed, asset=asset
            )
        if self.skipped is not None:
            return self._task(State.SKIPPED, reason=self.skipped.reason or None)
        if self.step.overridden:  # the replacement function writes no asset
            return self._task(State.OVERRIDDEN, value=self.value)
        asset = self._asset or declared_only(self.step)
        is_here = type(self.value) is not RemoteValue
        snapshot = Snapshot.of(self.value, whole=self._guard) if is_here else None
        return self._task(State.SUCCEEDED, value=self.value, asset=asset, snapshot=snapshot)

    def cancelled(self, reason: str) -> TaskRun:
        """The outcome of a step that was still running when the run ended."""
        self._is_over = True
        self._end(State.CANCELLED)
        return self._task(State.CANCELLED, reason=reason)

    def _task(
        self, state: State, make: Callable[..., TaskRun] = TaskRun, **outcome: Any
    ) -> TaskRun:
        self._output.close()
        return make(
            name=self.step.name,
            state=state,
            attempts=self.attempts,
            started=self.started,
            ended=datetime.now(UTC),
            seconds=time.perf_counter() - self._clock,
            history=tuple(self._history),
            ready=self._ready,
            slot=self.slot or None,
            output=self._output.text(),
            waited=None if self._hold is None else self._hold.waited,
            **outcome,
        )

    def _begin(self) -> None:
        self.attempts += 1
        self.error = None
        self._open = now = datetime.now(UTC)
        if self._observers:
            run, name = self._observers.run, self.step.name
            self._observers.notify(AttemptStarted(run, now, name, self.attempts))

    def _end(self, state: State) -> None:
        with self._observers.lock:  # the run may be cancelled while another thread gets here
            started, self._open = self._open, None
            if started is None:
                return
            now = datetime.now(UTC)
            error = self.error
            self._history.append(
                Attempt(started, now, state, None if error is None else described(error))
            )
        if self._observers:
            self._output.end_lines()
            name, most = self.step.name, self.step.task.retries + 1
            delay = self._retry.delay
            self._observers.notify(
                AttemptEnded(
                    self._observers.run, now, name, self.attempts, state, error, most, delay
                )
            )

    def _line(self, text: str, stream: str, level: int | None, is_bar: bool) -> None:
        run, name = self._observers.run, self.step.name
        self._observers.notify(
            OutputLine(run, datetime.now(UTC), name, text, stream, level, is_bar=is_bar)
        )

    def _progress(self, done: int, total: int | None) -> None:
        run, name = self._observers.run, self.step.name
        self._observers.notify(Progressed(run, datetime.now(UTC), name, done, total))


_NOTHING_NOTED = contextlib.nullcontext()
