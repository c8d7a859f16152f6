"""One step's function and its inputs: called as often as the engine asks, whatever it does."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from mxm.pipeline.errors import Skip
from mxm.pipeline.plan import Step
from mxm.pipeline.runs import State, TaskRun

__all__ = ["Call", "Fatal"]

logger = logging.getLogger("mxm.pipeline")


class Fatal(Exception):
    """Carries what a task raised beyond `Exception`, `SystemExit` for one, through an engine.

    Such an error fails its task like any other, but is never retried.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error


class Call:
    """A step's function with its inputs; the value stays here, out of the engine's sight.

    Parameters
    ----------
    step
        The step.
    args, kwargs
        Inputs, by reference.
    """

    def __init__(self, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.step = step
        self.args = args
        self.kwargs = kwargs
        self.attempts = 0
        self.value: Any = None
        self.error: BaseException | None = None
        self.skipped: Skip | None = None
        self.started = datetime.now(UTC)

    def attempt(self) -> None:
        """Call the function once.

        Raises
        ------
        Exception
            The function's own, for the engine to count and to retry.
        Fatal
            It raised something that is no `Exception`.
        KeyboardInterrupt
            The run is being cancelled.
        """
        self.attempts += 1
        self.error = None
        try:
            value = self.step.task.fn(*self.args, **self.kwargs)
            self.value = _awaited(value) if inspect.iscoroutine(value) else value
        except Skip as skip:
            self.skipped = skip
        except Exception as error:
            self.error = error
            raise
        except BaseException as error:
            # The engine's own signals, like Ctrl-C, ask the whole run to end.
            if isinstance(error, KeyboardInterrupt) or type(error).__module__.startswith(
                "prefect."
            ):
                raise
            self.error = error
            raise Fatal(error) from error

    def ended(self, failure: BaseException | None = None) -> TaskRun:
        """What became of the step, once the engine is done with it; logs the asset it wrote.

        Parameters
        ----------
        failure
            The engine's own, where the function did not fail.
        """
        error = self.error or failure
        now = datetime.now(UTC)
        times = {"attempts": self.attempts, "started": self.started, "ended": now}
        name = self.step.name
        if error is not None:
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return TaskRun(name, State.FAILED, error=error, reason=reason, **times)
        if self.skipped is not None:
            return TaskRun(name, State.SKIPPED, reason=self.skipped.reason or None, **times)
        self._log_asset()
        return TaskRun(name, State.SUCCEEDED, value=self.value, **times)

    def _log_asset(self) -> None:
        asset = self.step.task.produces
        if asset is not None:
            partition = f" partition={self.step.partition}" if self.step.partition else ""
            logger.info("ASSET write %s%s", asset.id, partition)


def _awaited(coroutine: Any) -> Any:
    """The result of *coroutine*, in an event loop of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    # A loop runs in this thread already, as in a notebook's cell.
    return in_thread(lambda: asyncio.run(coroutine))


def in_thread(function: Callable[[], Any]) -> Any:
    """The outcome of *function* in a thread of its own, with this thread's context."""
    box: list[Any] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            box.append(function())
        except BaseException as error:
            failure.append(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return box[0]
