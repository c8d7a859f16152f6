"""A step's function and its inputs, called as often as the engine asks, whatever it raises."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias

from mxm.pipeline.assets.reading import ReadAsset, noting_reads
from mxm.pipeline.bindings import Unpacked, require_count, value_of
from mxm.pipeline.errors import (
    AssetCheckError,
    Skip,
    TaskCancelledError,
    TaskTimeoutError,
    described,
)
from mxm.pipeline.execution.carriers import Wait, Waits
from mxm.pipeline.execution.events import (
    AttemptEnded,
    AttemptStarted,
    Observers,
    OutputLine,
    Progressed,
    StepStarted,
)
from mxm.pipeline.execution.limits import Hold
from mxm.pipeline.execution.loop import EventLoop, Started
from mxm.pipeline.execution.output import Output, output_to, restore_output
from mxm.pipeline.execution.plan import Step
from mxm.pipeline.execution.resources import Resources, active_resources, using
from mxm.pipeline.execution.retrying import NO_RETRY, Retry, decide_retry
from mxm.pipeline.interrupts import ends_the_run, wait
from mxm.pipeline.introspection.uses import uses_of
from mxm.pipeline.logs import within_task
from mxm.pipeline.taskruns import Attempt, State, TaskRun, WrittenAsset
from mxm.pipeline.values.remote import RemoteValue
from mxm.pipeline.values.snapshot import Snapshot

if TYPE_CHECKING:
    from mxm.pipeline.execution.publishing import Aim

__all__ = [
    "Call",
    "FatalError",
    "Invocation",
    "Noting",
    "Invoke",
    "attempt_error",
    "awaited",
    "call_here",
    "call_function",
    "declared_only",
    "invoke",
    "invoke_now",
    "invoke_with",
    "invoking",
    "rejected_asset",
    "require_counts",
]

__tracebackhide__ = True  # pytest shows the lines of the test and of its tasks, not these


def attempt_error(raised: BaseException) -> tuple[BaseException, bool]:
    """The error of an attempt that *raised*, and whether another attempt is pointless.

    Raises
    ------
    BaseException
        *raised* itself, if it asks the whole run to end.
    """
    if isinstance(raised, FatalError):
        return raised.error, True
    if isinstance(raised, Exception):
        return raised, False
    # Ctrl-C, and exceptions raised by other signal handlers, ask the whole run to end. Whatever a
    # task raises by itself is its failure, even an exception class of the engine.
    if isinstance(raised, KeyboardInterrupt) or ends_the_run(raised):
        raise raised
    return raised, True


class FatalError(Exception):
    """Carries an error that is not worth another attempt through an engine.

    For errors other than `Exception`, such as `SystemExit`, and those that would fail every time.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(described(error))
        self.error = error


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
        The size in bytes from which on the result may stay on the cluster where it was made; None
        where this process needs it.

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
        stays: int | None = None,
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
        self.stays: int | None = stays
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
                self.value = _invoke.get()(self)
            else:
                with self._noting():
                    self.value = _invoke.get()(self)
            self._took()
        except BaseException as raised:
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
        except BaseException as raised:
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
        self._aim = target.aim(self.args, self.kwargs)
        return noting_reads(self.reads)

    def _took(self) -> None:
        """Check what the function returned, and write its asset."""
        if type(self.value) is not RemoteValue:  # else its worker has looked
            require_counts(self.step.unpacked, self.value)
        if self._aim is not None:
            run = self._observers.run
            self._asset = self._aim.publish(self.value, self.flow, run, reads=self.reads)

    def _open_attempt(self) -> None:
        """Take note that an attempt begins, once its limits are free.

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
        """Take note how an attempt ended; whether what it *raised* is no error.

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


def declared_only(step: Step) -> WrittenAsset | None:
    """The asset of *step* that its function writes by itself, if at all: it has no path."""
    declared = step.task.produces
    if declared is None or declared.path_template is not None:
        return None
    return WrittenAsset(declared.id, step.partition)


def rejected_asset(step: Step, error: BaseException) -> WrittenAsset | None:
    """What the checks of the asset of *step* said, if they raised *error*: nothing is written."""
    declared = step.task.produces
    if declared is None or not isinstance(error, AssetCheckError):
        return None
    return WrittenAsset(declared.id, error.partition, checks=error.results)


class Noting(Protocol):
    """Notes what the attempts of a call do, where its result may be kept for later runs."""

    is_lost: bool
    notes: list[Any]

    def sent(self) -> Noting:
        """A copy without notes, for another process."""
        ...

    def take(self, notes: Iterable[Any], /) -> None:
        """Add *notes* of attempts in another process."""
        ...

    def around(self, fn: Callable[..., Any], /) -> contextlib.AbstractContextManager[object]:
        """A block in which one attempt of *fn* is made."""
        ...

    def check(self, fn: Callable[..., Any], args: Any, kwargs: Mapping[str, Any], /) -> None:
        """Note what the last attempt, which returned, changed."""
        ...


class Invocation(Protocol):
    """One call of a function with its inputs: for a step, or for one of its items."""

    flow: str
    step: Step
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    probe: Noting | None
    reads: list[ReadAsset]
    stays: int | None


Invoke: TypeAlias = Callable[[Invocation], Any]
"""Calls the function of an `Invocation` once, here or elsewhere; its value."""


def call_here(call: Invocation) -> Any:
    """Call the function in this process, and note what it did where its result may be kept."""
    value = _timed(call)
    if call.probe is not None:
        call.probe.check(call.step.task.fn, call.args, call.kwargs)
    return value


def require_counts(unpacked: Iterable[Unpacked], value: Any) -> None:
    """Check that the parts of the result *value* that a flow's body unpacks can be.

    Raises
    ------
    ValueError, TypeError
        As in `mxm.pipeline.bindings.require_count`.
    """
    for one in unpacked:
        part = value_of(one.binding, lambda _: value)
        require_count(part, one.count, f"the result of task {str(one.binding)!r}")


def _timed(call: Invocation) -> Any:
    """Call the function; with a timeout, in a thread that can be abandoned."""
    timeout = call.step.task.timeout_s

    resources = active_resources()
    if resources is None:  # of no run: an engine's own test of a step
        resources = Resources.of_process(call.flow)
        with using(resources), contextlib.closing(resources):
            return _timed(call)
    loop = resources.loop or EventLoop()
    if timeout is None:
        return _work(call, resources, loop)
    begun: list[Started] = []
    try:
        return _in_thread(lambda: _work(call, resources, loop, begun.append), timeout)
    except _LateError:
        if call.probe is not None:
            call.probe.is_lost = True
        for started in begun:
            started.cancel()
            loop.answers()  # else it is held, and others get a new one
        raise TaskTimeoutError(call.step.name, timeout) from None


def _work(
    call: Invocation,
    resources: Resources,
    loop: EventLoop,
    on_start: Callable[[Started], object] | None = None,
) -> Any:
    fn = call.step.task.fn
    with within_task(call.flow, call.step.name):
        args: tuple[Any, ...] = call.args
        kwargs: Mapping[str, Any] = call.kwargs
        if uses_of(fn):
            args, kwargs = resources.filled(fn, args, kwargs)
        if call.probe is None:
            return call_function(fn, args, kwargs, loop, on_start)
        with call.probe.around(fn):
            return call_function(fn, args, kwargs, loop, on_start)


def awaited(call: Invocation) -> Waits[Any]:
    """Call an async function in this process; its value, on no thread while it waits.

    Raises
    ------
    TaskTimeoutError
        It took longer than the task's ``timeout_s``.
    BaseException
        What it raised.
    """
    if _is_watched.get():  # from outside, and as a whole
        return _invoke.get()(call)
    fn, timeout = call.step.task.fn, call.step.task.timeout_s
    resources = active_resources()
    if resources is None or resources.loop is None:
        return call_here(call)
    loop, probe = resources.loop, call.probe
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        with within_task(call.flow, call.step.name):
            args: tuple[Any, ...] = call.args
            kwargs: Mapping[str, Any] = call.kwargs
            if uses_of(fn):
                fill = functools.partial(resources.filled, fn, args, kwargs)
                args, kwargs = fill() if timeout is None else _in_thread(fill, timeout)
            with _NOTHING_NOTED if probe is None else probe.around(fn):
                value = fn(*args, **kwargs)
                if inspect.isawaitable(value):
                    value = yield from _result(loop.begin_awaited(value), deadline)
    except _LateError:
        if probe is not None:
            probe.is_lost = True
        loop.answers()  # else it is held, and others get a new one
        raise TaskTimeoutError(call.step.name, timeout or 0) from None
    if probe is not None:
        probe.check(fn, call.args, call.kwargs)
    return value


def _result(started: Started, deadline: float | None) -> Waits[Any]:
    """The result of *started*, by the *deadline*."""
    yield Wait(started.outcome, deadline)
    if not started.outcome.done():
        started.cancel()
        raise _LateError
    if deadline is not None and started.ended > deadline:  # it kept others from noticing
        raise _LateError
    return started.outcome.result()


_invoke: ContextVar[Invoke] = ContextVar("mxm_invoke", default=call_here)
_is_watched: ContextVar[bool] = ContextVar("mxm_is_watched", default=False)


def invoke(call: Invocation) -> Any:
    """Call the function of *call* once, in the place that this context sets; return its value."""
    return _invoke.get()(call)


def invoke_now() -> Invoke:
    """The function that makes the calls in this context."""
    return _invoke.get()


def invoke_with(invoke: Invoke) -> None:
    """Let *invoke* make the calls in this context."""
    _invoke.set(invoke)


@contextmanager
def invoking(
    wrap: Callable[[Invoke], Invoke], *, watches: bool = True
) -> Generator[None, None, None]:
    """Wrap every call within this block in *wrap*.

    Parameters
    ----------
    wrap
        Makes the function that calls from the one so far.
    watches
        Whether a call must go through it whole; else those that are awaited do without it.
    """
    token = _invoke.set(wrap(_invoke.get()))
    watched = _is_watched.set(watches or _is_watched.get())
    try:
        yield
    finally:
        _is_watched.reset(watched)
        _invoke.reset(token)


def call_function(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    loop: EventLoop,
    on_start: Callable[[Started], object] | None = None,
) -> Any:
    """The value of *fn*, awaited where it can be.

    Parameters
    ----------
    fn, args, kwargs
        What is called.
    loop
        Where it is awaited.
    on_start
        As for `EventLoop.run`.
    """
    value = fn(*args, **kwargs)
    if type(value) in _NOT_AWAITABLE or not inspect.isawaitable(value):
        return value
    return loop.run(value, on_start)


_NOT_AWAITABLE = frozenset([type(None), bool, int, float, str, bytes, list, tuple, dict, set])


def _has_ended(thread: threading.Thread, seconds: float) -> bool:
    thread.join(seconds)
    return not thread.is_alive()


class _LateError(Exception):
    """A thread did not finish in time."""


def _in_thread(function: Callable[[], Any], timeout: float | None) -> Any:
    """Run *function* in its own daemon thread with this thread's context; return its outcome."""
    values: list[Any] = []
    errors: list[BaseException] = []
    late = False

    def work() -> None:
        nonlocal late
        try:
            values.append(function())
        except BaseException as error:
            errors.append(error)
        late = timeout is not None and time.monotonic() - started > timeout

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), daemon=True)
    started = time.monotonic()
    thread.start()
    wait(lambda seconds: _has_ended(thread, seconds), timeout)
    # It may have ended while it kept this thread from running.
    if thread.is_alive() or late:
        raise _LateError
    if errors:
        raise errors[0]
    return values[0]
