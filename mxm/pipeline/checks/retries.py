"""Checks the retries and timeouts of tasks: numbers that cannot be waited for, wrong functions."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, TypeAlias, cast

from mxm.pipeline.errors import repr_of
from mxm.pipeline.introspection.signatures import signature_of, unwrapped
from mxm.pipeline.problems import Problem
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.task_options import ANY_EXCEPTION
from mxm.pipeline.timing.retries import Backoff, backoff
from mxm.pipeline.timing.seconds import wrong_seconds

__all__ = ["retry_problems"]


def retry_problems(spec: FlowSpec) -> Iterator[Problem]:
    """What is wrong with the retries and timeouts of the tasks of *spec*."""
    for task in spec.tasks:
        timed: tuple[Any, ...] = (task.retries, task.retry_delay_s)
        is_plain = task.retry_on is ANY_EXCEPTION and task.timeout_s is None
        if is_plain and type(timed[0]) is type(timed[1]) is int and timed == (0, 0):
            continue
        for code, what, hint in _faults(task):
            yield Problem(
                code,
                f"task {task.name!r}: {what}",
                hint,
                source=task.source,
                flow=spec.name,
                task=task.name,
                severity="note" if code == "MXM118" else "error",
            )


_Faults: TypeAlias = Iterator[tuple[str, str, str]]
"""Code, message and hint of each problem."""


def _faults(task: TaskSpec) -> _Faults:
    retries: Any = task.retries
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        what = f"retries must be a whole number of at least 0, not {repr_of(retries):.80}"
        yield "MXM113", what, "it is the number of further attempts: 3 makes four in all"
    delay: Any = task.retry_delay_s
    if isinstance(delay, Backoff):
        wrong = delay.wrong()
        if wrong is not None:
            yield "MXM117", f"{repr_of(delay):.80}: {wrong}", _BACKOFF
    elif delay is backoff:
        yield "MXM117", "retry_delay_s=backoff is the function itself", "call it: backoff(1)"
    elif callable(delay):
        yield from _function("retry_delay_s", delay, "the number of the attempt that failed")
    else:
        yield from _delays(delay)
    on: Any = task.retry_on
    if not isinstance(on, tuple) and callable(on):
        yield from _function("retry_on", on, "the exception")
    else:
        yield from _types(on)
    wrong = None if task.timeout_s is None else wrong_seconds(task.timeout_s, positive=True)
    if wrong is not None:
        yield "MXM114", f"timeout_s {wrong}", "leave it out for no timeout"
    if type(retries) is int and retries == 0:
        unused = ["retry_delay_s"] if _waits(delay) else []
        unused += [] if all(one is Exception for one in _members(on)) else ["retry_on"]
        if unused:
            has = "has" if len(unused) == 1 else "have"
            what = f"{' and '.join(unused)} {has} no effect without retries="
            yield "MXM118", what, "add the number of retries: retries=3"


_BACKOFF = "backoff(first, factor=2, most=60, jitter=0.2): no delay is longer than most"


def _delays(delays: Any) -> _Faults:
    for delay in _members(delays):
        wrong = wrong_seconds(delay)
        if wrong is None:
            continue
        in_list = "" if delay is delays else f", in {repr_of(_members(delays)):.80}"
        hint = "give a number, a list with one for each retry, or mxm.pipeline.backoff(1)"
        yield "MXM114", f"retry_delay_s {wrong}{in_list}", hint
        return


def _function(option: str, fn: Any, gets: str) -> _Faults:
    """What keeps *fn* from being called with one argument, for a value at once."""
    called: Any = unwrapped(fn)
    methods = (called, getattr(cast("object", called).__class__, "__call__", None))  # noqa: B004
    if any(map(inspect.iscoroutinefunction, methods)):
        yield "MXM116", f"{option}={_named(fn)} is async", "write it as a plain function"
        return
    if any(map(inspect.isgeneratorfunction, methods)):
        yield "MXM116", f"{option}={_named(fn)} is a generator", "return a value, not yield"
        return
    signature = signature_of(fn)
    try:
        if signature is not None:
            signature.bind(None)
    except TypeError:
        what = f"{option}={_named(fn)} is called with {gets}, and its signature is {signature}"
        yield "MXM116", what, "write it with one parameter"


def _types(types: Any) -> _Faults:
    wrong = [one for one in _members(types) if not _is_exception(one)]
    if not wrong:
        return
    hint = "name what to try again after: retry_on=[TimeoutError, ConnectionError]"
    if any(callable(one) and not isinstance(one, type) for one in wrong):
        hint = "write one function, which also asks isinstance(error, ...)"
    elif all(isinstance(one, type) and issubclass(one, BaseException) for one in wrong):
        hint = "KeyboardInterrupt, SystemExit and the like are never tried again"
    must = "a type of exception, a list of them, or a function of the exception"
    yield "MXM115", f"retry_on must be {must}, not {repr_of(wrong[0]):.80}", hint


def _waits(delay: Any) -> bool:
    return any(
        callable(one) or (isinstance(one, int | float) and one != 0) for one in _members(delay)
    )


def _members(option: Any) -> list[Any]:
    """What an option consists of: a spec has lists as tuples."""
    return list(cast("Any", option)) if isinstance(option, tuple) else [option]


def _named(fn: Any) -> str:
    return getattr(fn, "__qualname__", None) or repr_of(fn)


def _is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)
