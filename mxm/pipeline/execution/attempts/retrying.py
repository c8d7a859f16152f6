"""Decides, once an attempt has failed, whether there is another one and when."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple, Protocol, cast

from mxm.pipeline.errors import described, repr_of
from mxm.pipeline.execution.plans.plan import Step
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.process.logs import within_task
from mxm.pipeline.spec import TaskSpec
from mxm.pipeline.timing.retries import RetryAfter
from mxm.pipeline.timing.seconds import wrong_seconds

__all__ = ["NO_RETRY", "Retry", "decide_retry"]


class Retry(NamedTuple):
    """What happens after a failed attempt.

    Parameters
    ----------
    delay
        Seconds until the next attempt; None for no other.
    why_not
        Why there is no other, where the task's options do not say so themselves; else empty.
    """

    delay: float | None
    why_not: str = ""


NO_RETRY = Retry(None)


class Called(Protocol):
    """What was attempted: a step, or an item of one."""

    flow: str
    step: Step


def decide_retry(call: Called, attempts: int, error: BaseException) -> Retry:
    """What follows the attempt number *attempts* of *call*, which raised *error*.

    A function under ``retry_on`` is called once for each attempt that has a retry left, one under
    ``retry_delay_s`` once for each retry. Where one of them fails, the task does, with *error*; a
    note of that says why.

    Raises
    ------
    BaseException
        What asked the run to end, `KeyboardInterrupt` above all.
    """
    task = call.step.task
    if attempts > task.retries:
        if isinstance(error, RetryAfter) and not task.retries:
            return _none(task, error, "it has no retries")
        return NO_RETRY
    if isinstance(error, RetryAfter):
        return Retry(error.seconds)
    with within_task(call.flow, call.step.name):
        return _by_options(task, attempts, error)


def _by_options(task: TaskSpec, attempts: int, error: BaseException) -> Retry:
    on = task.retry_on
    if isinstance(on, tuple):
        if not isinstance(error, on):
            return NO_RETRY
    else:
        try:
            again = _answer(cast("Any", on)(error))
        except BaseException as broken:
            return _broken(task, error, "retry_on", broken)
        if not again:
            return NO_RETRY
    if not callable(task.retry_delay_s):
        return Retry(task.retry_delay(attempts))
    try:
        delay = _seconds(task.retry_delay(attempts))
    except BaseException as broken:
        return _broken(task, error, "retry_delay_s", broken)
    wrong = wrong_seconds(delay)
    if wrong is not None:
        return _none(task, error, f"what its retry_delay_s gives for attempt {attempts} {wrong}")
    return Retry(delay)


def _answer(value: object) -> bool:
    """The answer of a function given as ``retry_on``.

    Raises
    ------
    Exception
        It cannot be read as yes or no.
    """
    if inspect.isawaitable(value) or inspect.isgenerator(value):
        if inspect.iscoroutine(value):
            value.close()  # else Python warns that nothing awaits it
        raise TypeError(f"it must return True or False, not {repr_of(value):.80}")
    return bool(value)


def _seconds(value: Any) -> Any:
    """*value* as a Python number, if it is a number of another library."""
    if isinstance(value, bool | int) or not hasattr(value, "__float__"):
        return value
    return float(value)


def _broken(task: TaskSpec, error: BaseException, option: str, broken: BaseException) -> Retry:
    """No retry: the user's function under *option* raised *broken*.

    Raises
    ------
    BaseException
        *broken* itself, if it asks the run to end.
    """
    let_signals_pass(broken)
    from mxm.pipeline.execution.tracebacks import users_place  # needed only on errors

    place = users_place(broken)
    where = f" ({place})" if place else ""
    return _none(task, error, f"its {option} raised {described(broken)}{where}")


def _none(task: TaskSpec, error: BaseException, why: str) -> Retry:
    why_not = f"not tried again: {why}"
    note = f"task {task.name!r} was {why_not}"
    try:
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
    except Exception:  # a frozen exception takes no note
        pass
    return Retry(None, why_not)
