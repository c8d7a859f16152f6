"""A function that is given a number of seconds, on a thread that can be abandoned."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

from mxm.pipeline.process.interrupts import wait

__all__ = ["LateError", "within_seconds"]

__tracebackhide__ = True  # pytest shows the lines of the test and of its tasks, not these


class LateError(Exception):
    """A function did not end in time."""


def within_seconds(function: Callable[[], Any], seconds: float) -> Any:
    """Run *function* in its own daemon thread with this thread's context; return its outcome.

    Raises
    ------
    LateError
        It has not ended after so many *seconds*; its thread is abandoned, and may still work.
    BaseException
        What it raised.
    """
    values: list[Any] = []
    errors: list[BaseException] = []
    late = False

    def work() -> None:
        nonlocal late
        try:
            values.append(function())
        except BaseException as error:
            errors.append(error)
        late = time.monotonic() - started > seconds

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), daemon=True)
    started = time.monotonic()
    thread.start()
    wait(lambda most: _has_ended(thread, most), seconds)
    # It may have ended while it kept this thread from running.
    if thread.is_alive() or late:
        raise LateError
    if errors:
        raise errors[0]
    return values[0]


def _has_ended(thread: threading.Thread, seconds: float) -> bool:
    thread.join(seconds)
    return not thread.is_alive()
