"""One call of an async task's function, on no thread while it waits."""

from __future__ import annotations

import contextlib
import functools
import inspect
import time
from collections.abc import Mapping
from typing import Any

from mxm.pipeline.errors import TaskTimeoutError
from mxm.pipeline.execution.attempts.carriers import Wait, Waits
from mxm.pipeline.execution.attempts.deadline import LateError, within_seconds
from mxm.pipeline.execution.attempts.invocation import Invocation, call_here, invoke, is_watched
from mxm.pipeline.execution.loop import Started
from mxm.pipeline.execution.resources.opening import active_resources
from mxm.pipeline.introspection.uses import uses_of
from mxm.pipeline.process.logs import within_task

__all__ = ["awaited"]

__tracebackhide__ = True  # pytest shows the lines of the test and of its tasks, not these


def awaited(call: Invocation) -> Waits[Any]:
    """Call an async function in this process; its value, on no thread while it waits.

    Raises
    ------
    TaskTimeoutError
        It took longer than the task's ``timeout_s``.
    BaseException
        What it raised.
    """
    if is_watched.get():  # from outside, and as a whole
        return invoke(call)
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
                args, kwargs = fill() if timeout is None else within_seconds(fill, timeout)
            with contextlib.nullcontext() if probe is None else probe.around(fn):
                value = fn(*args, **kwargs)
                if inspect.isawaitable(value):
                    value = yield from _result(loop.begin_awaited(value), deadline)
    except LateError:
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
        raise LateError
    if deadline is not None and started.ended > deadline:  # it kept others from noticing
        raise LateError
    return started.outcome.result()
