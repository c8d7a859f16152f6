"""One event loop on a thread of its own: it carries what is async in a run, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from collections.abc import Awaitable, Callable, Container, Coroutine
from concurrent.futures import Future, wait
from contextvars import Context
from typing import Any

from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.process.interrupts import wait as until
from mxm.pipeline.process.logs import current_task

__all__ = ["EventLoop", "Started", "result_of"]

# How long a loop may take to answer before what it carries counts as holding it, and how long
# its end may take: something may hold it for good, `time.sleep` in an async task for one.
_PATIENCE_S = 1.0
_SECONDS_TO_CANCEL = 5.0  # for what a coroutine awaits once it is cancelled


class Started:
    """A coroutine that was given to a loop.

    Attributes
    ----------
    outcome
        What became of it; set once it has ended.
    ended
        When it ended, by the monotonic clock.
    task
        The task that began it; None outside of one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.outcome: Future[Any] = Future()
        self.ended: float = 0.0
        running = current_task()
        self.task: str | None = None if running is None else running[1]
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False

    def begin(self, awaitable: Awaitable[Any], context: Context) -> None:
        """Run *awaitable*; in the loop's own thread."""
        if self._cancelled:
            if isinstance(awaitable, Coroutine):
                awaitable.close()  # or Python warns that it was never awaited
            self._set(None, asyncio.CancelledError())
            return
        self._task = self._loop.create_task(self._carry(awaitable), context=context)
        # Cancelled before its first step, the coroutine would set no outcome.
        self._task.add_done_callback(lambda _: self._set(None, asyncio.CancelledError()))

    async def _carry(self, awaitable: Awaitable[Any]) -> None:
        # No exception goes on to the loop: it would end with SystemExit, and it is another's.
        try:
            value = await awaitable
        except BaseException as error:
            self._set(None, error)
        else:
            self._set(value, None)

    def _set(self, value: Any, error: BaseException | None) -> None:
        if self.outcome.done():
            return
        self.ended = time.monotonic()
        if error is None:
            self.outcome.set_result(value)
        else:
            self.outcome.set_exception(error)

    def escaped(self, error: BaseException) -> None:
        """Take *error*, which ended the loop: a task that the coroutine began raised it."""
        self._set(None, error)
        if self._task is not None:
            self._task.cancel()

    def cancel(self) -> None:
        """Cancel it, from any thread."""
        self._cancelled = True
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


def result_of(future: Future[Any]) -> Any:
    """The result of *future*, waited for such that a signal comes through.

    Raises
    ------
    BaseException
        What it raised, or a signal handler here.
    """
    until(lambda seconds: wait([future], seconds).done)
    return future.result()


class EventLoop:
    """The loop of one run; its thread starts with the first coroutine.

    One that is held for good by what it carries is given up, and the next coroutine gets a new one.

    Attributes
    ----------
    on_loss
        Is called when a loop is given up: what was opened in it is gone.
    """

    def __init__(self) -> None:
        self.on_loss: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._thread: _LoopThread | None = None
        self._waited_for: set[Started] = set()
        self._over = False

    @property
    def is_here(self) -> bool:
        """Whether this thread is that of the loop."""
        return self._thread is not None and self._thread.thread is threading.current_thread()

    def run(
        self, awaitable: Awaitable[Any], on_start: Callable[[Started], object] | None = None
    ) -> Any:
        """Wait for *awaitable*, in this thread's context; its value.

        Parameters
        ----------
        awaitable
            A coroutine, or anything else that can be awaited.
        on_start
            Gets what can be cancelled.

        Raises
        ------
        BaseException
            What it raised; what a signal raised here, once it has been cancelled and has ended.
        """
        started = self.begin_awaited(awaitable)
        if on_start is not None:
            on_start(started)
        try:
            return result_of(started.outcome)
        except BaseException:
            if not started.outcome.done():  # a signal came
                started.cancel()
                if self.answers():
                    try:
                        started.outcome.result()
                    except BaseException as error:  # what it raised as it was cancelled
                        let_signals_pass(error)
            raise

    def begin_awaited(self, awaitable: Awaitable[Any]) -> Started:
        """Run *awaitable* in this thread's context; someone waits for it until `cancel`."""
        thread = self._current()
        started = thread.carry()
        with self._lock:  # `cancel` finds it, or it does not begin
            if self._over:
                started.cancel()
            self._waited_for.add(started)
        started.outcome.add_done_callback(lambda _: self._waited_for.discard(started))
        thread.start(started, awaitable, contextvars.copy_context())
        return started

    def begin(self, coroutine: Coroutine[Any, Any, Any], context: Context) -> Started:
        """Run *coroutine* beside the others, in *context*; wait for nothing."""
        thread = self._current()
        started = thread.carry()
        thread.start(started, coroutine, context)
        return started

    def answers(self) -> bool:
        """Whether the loop still goes round; one that does not is given up."""
        thread = self._thread
        if thread is None or thread.answers():
            return True
        with self._lock:
            lost = self._thread is thread
            if lost:
                self._thread = None
        if lost:
            self.on_loss()
        return False

    def cancel(self) -> None:
        """Cancel what threads wait for, as nobody wants it any more; wait a moment for its end."""
        with self._lock:
            self._over = True
        self.interrupt()

    def interrupt(self, spared: Container[str] = ()) -> None:
        """Cancel what is waited for now, and wait a moment for its end.

        Parameters
        ----------
        spared
            Tasks whose coroutines go on.
        """
        with self._lock:
            left = [s for s in self._waited_for if s.task is None or s.task not in spared]
        for started in left:
            started.cancel()
        if left and self.answers():
            wait([started.outcome for started in left], _SECONDS_TO_CANCEL)

    def close(self) -> None:
        """Cancel what still runs, and end the thread, if nothing holds it."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()

    def _current(self) -> _LoopThread:
        with self._lock:
            if self._thread is None:
                self._thread = _LoopThread()
            return self._thread


class _LoopThread:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._closing = False
        self._carried: set[Started] = set()
        # A context of its own: threads of a run have none of the caller's.
        self.thread = threading.Thread(target=self._serve, name="mxm-event-loop", daemon=True)
        self.thread.start()

    def carry(self) -> Started:
        """What a coroutine becomes that this thread is going to run."""
        started = Started(self._loop)
        self._carried.add(started)
        started.outcome.add_done_callback(lambda _: self._carried.discard(started))
        return started

    def start(self, started: Started, awaitable: Awaitable[Any], context: Context) -> None:
        self._loop.call_soon_threadsafe(started.begin, awaitable, context)

    def answers(self) -> bool:
        answered = threading.Event()
        try:
            self._loop.call_soon_threadsafe(answered.set)
        except RuntimeError:  # it is closed
            return False
        return answered.wait(_PATIENCE_S)

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self.thread:
            self.thread.join(_PATIENCE_S)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._closing:
            try:
                self._loop.run_forever()
            except BaseException as error:
                # SystemExit or KeyboardInterrupt of a task that another began. Whose it was is
                # known where there is only one.
                carried = list(self._carried)
                if len(carried) == 1:
                    carried[0].escaped(error)
        try:
            self._end()
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()

    def _end(self) -> None:
        rest = asyncio.all_tasks(self._loop)
        for task in rest:
            task.cancel()
        for step in (
            _gathered(rest),
            self._loop.shutdown_asyncgens(),
            self._loop.shutdown_default_executor(),
        ):
            with contextlib.suppress(BaseException):  # they are left over, and were cancelled
                self._loop.run_until_complete(step)


async def _gathered(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
