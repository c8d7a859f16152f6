"""One step's function and its inputs: called as often as the engine asks, whatever it does."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TypeAlias

from mxm.pipeline.errors import Skip, TaskTimeoutError, described
from mxm.pipeline.execution.plan import Step
from mxm.pipeline.logs import logger, within_task
from mxm.pipeline.runs import State, TaskRun

__all__ = ["Call", "FatalError", "Invoke", "call_function", "invoke_with", "invoking"]


class FatalError(Exception):
    """Carries an error through an engine that is not worth another attempt.

    What a task raised beyond `Exception`, `SystemExit` for one, and what would fail each time.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(described(error))
        self.error = error


class Call:
    """A step's function with its inputs; the value stays here, out of the engine's sight.

    Parameters
    ----------
    flow
        Name of the flow.
    step
        The step.
    args, kwargs
        Inputs, by reference.
    """

    def __init__(
        self, flow: str, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.flow = flow
        self.step = step
        self.args = args
        self.kwargs = kwargs
        self.attempts: int = 0
        self.value: Any = None
        self.error: BaseException | None = None
        self._fatal = False
        self.skipped: Skip | None = None
        self.started: datetime = datetime.now(UTC)

    def attempt(self) -> None:
        """Call the function once.

        Raises
        ------
        Exception
            The function's own, for the engine to count and to retry.
        TaskTimeoutError
            It took longer than the task's ``timeout_s``.
        FatalError
            It raised something that is no `Exception`, or could not be called at all.
        KeyboardInterrupt
            The run is being cancelled.
        """
        self.attempts += 1
        self.error = None
        try:
            self.value = _invoke.get()(self)
        except Skip as skip:
            self.skipped = skip
        except FatalError as fatal:
            self.error, self._fatal = fatal.error, True
            raise
        except Exception as error:
            self.error = error
            raise
        except BaseException as error:
            # The engine's own signals, like Ctrl-C, ask the whole run to end.
            module = type(error).__module__
            if isinstance(error, KeyboardInterrupt) or module.startswith(("prefect.", "mxm.")):
                raise
            self.error = error
            raise FatalError(error) from error

    def retryable(self) -> bool:
        """Whether what the last attempt raised is worth another one."""
        return not self._fatal and isinstance(self.error, self.step.task.retry_on)

    def ended(self, failure: BaseException | None = None) -> TaskRun:
        """What became of the step, once the engine is done with it; logs the asset it wrote.

        Parameters
        ----------
        failure
            The engine's own, where the function did not fail.
        """
        error = self.error or failure
        now = datetime.now(UTC)
        times: dict[str, Any] = {"attempts": self.attempts, "started": self.started, "ended": now}
        name = self.step.name
        if error is not None:
            return TaskRun(name, State.FAILED, error=error, reason=described(error), **times)
        if self.skipped is not None:
            return TaskRun(name, State.SKIPPED, reason=self.skipped.reason or None, **times)
        self._log_asset()
        return TaskRun(name, State.SUCCEEDED, value=self.value, **times)

    def _log_asset(self) -> None:
        asset = self.step.task.produces
        if asset is not None:
            partition = f" partition={self.step.partition}" if self.step.partition else ""
            logger.info("ASSET write %s%s", asset.id, partition)


Invoke: TypeAlias = Callable[[Call], Any]
"""Calls the function of a `Call` once, here or elsewhere; its value."""


def _here(call: Call) -> Any:
    """Call the function in this process; with a timeout, in a thread that can be given up."""
    timeout = call.step.task.timeout_s

    def work() -> Any:
        with within_task(call.flow, call.step.name):
            return call_function(call.step.task.fn, call.args, call.kwargs)

    if timeout is None:
        return work()
    try:
        return _in_thread(work, timeout)
    except _LateError:
        raise TaskTimeoutError(call.step.name, timeout) from None


_invoke: ContextVar[Invoke] = ContextVar("mxm_invoke", default=_here)


def invoke_with(invoke: Invoke) -> None:
    """Let the calls of this context be made by *invoke*."""
    _invoke.set(invoke)


@contextmanager
def invoking(wrap: Callable[[Invoke], Invoke]) -> Generator[None, None, None]:
    """Let *wrap* stand around every call that is made here within this block."""
    token = _invoke.set(wrap(_invoke.get()))
    try:
        yield
    finally:
        _invoke.reset(token)


def call_function(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The value of *fn*, awaited where it is a coroutine, in an event loop of its own."""
    value = fn(*args, **kwargs)
    if not inspect.iscoroutine(value):
        return value
    if not _loop_runs():
        return asyncio.run(value)
    # As in a notebook's cell.
    return _in_thread(lambda: asyncio.run(value), None)


def _loop_runs() -> bool:
    """Whether this thread runs an event loop already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _LateError(Exception):
    """A thread did not end in time."""


def _in_thread(function: Callable[[], Any], timeout: float | None) -> Any:
    """The outcome of *function* in a daemon thread of its own, with this thread's context."""
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
    thread.join(timeout)
    # It may have ended while it kept this thread from looking.
    if thread.is_alive() or late:
        raise _LateError
    if errors:
        raise errors[0]
    return values[0]
