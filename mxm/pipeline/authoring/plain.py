"""Plain calls of tasks and flows, outside of a run, and whether the body of a flow makes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar, cast

__all__ = ["body_runs", "called_plainly", "nothing"]

R = TypeVar("R")

body_runs: ContextVar[bool] = ContextVar("mxm_in_body", default=False)
"""Whether a flow's body runs here as plain Python, rather than a task that it called."""


def called_plainly(fn: Callable[..., R], args: Any, kwargs: Any, *, in_body: bool) -> R:
    """What *fn* returns; *in_body* says whether it is the body of a flow.

    A coroutine takes the mark along: it may be awaited where another body runs.
    """
    token = body_runs.set(in_body)
    try:
        value = fn(*args, **kwargs)
    finally:
        body_runs.reset(token)
    if not inspect.iscoroutine(value):
        return value
    coroutine: Any = value
    later: Any = _awaited(coroutine, in_body=in_body)
    later.__name__, later.__qualname__ = coroutine.__name__, coroutine.__qualname__
    return cast("R", later)


async def _awaited(coroutine: Coroutine[Any, Any, Any], *, in_body: bool) -> Any:
    token = body_runs.set(in_body)
    try:
        return await coroutine
    finally:
        body_runs.reset(token)


async def nothing() -> None:
    """The value of an async task that does not run."""
