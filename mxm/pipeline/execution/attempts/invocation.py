"""One call of a task's function with its inputs, in this process or where the context says."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from mxm.pipeline.assets.reading import ReadAsset
from mxm.pipeline.bindings import Unpacked, require_count, value_of
from mxm.pipeline.errors import TaskTimeoutError
from mxm.pipeline.execution.attempts.deadline import LateError, within_seconds
from mxm.pipeline.execution.loop import EventLoop, Started
from mxm.pipeline.execution.plans.plan import Step
from mxm.pipeline.execution.resources.opening import Resources, active_resources, using
from mxm.pipeline.introspection.uses import uses_of
from mxm.pipeline.process.logs import within_task

if TYPE_CHECKING:
    from mxm.pipeline.execution.staying import Stay

__all__ = [
    "Invocation",
    "Invoke",
    "Noting",
    "call_function",
    "call_here",
    "invoke",
    "invoke_now",
    "invoke_with",
    "invoking",
    "is_watched",
    "require_counts",
]

__tracebackhide__ = True  # pytest shows the lines of the test and of its tasks, not these


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
    stays: Stay | None


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
        return within_seconds(lambda: _work(call, resources, loop, begun.append), timeout)
    except LateError:
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


_invoke: ContextVar[Invoke] = ContextVar("mxm_invoke", default=call_here)
is_watched: ContextVar[bool] = ContextVar("mxm_is_watched", default=False)


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
    watched = is_watched.set(watches or is_watched.get())
    try:
        yield
    finally:
        is_watched.reset(watched)
        _invoke.reset(token)
