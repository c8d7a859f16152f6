"""The outermost plain call of a flow or task: what it opens is closed when it ends."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

__all__ = ["PlainCall", "active_plain_call", "outermost"]

_NOTHING: Mapping[Any, Any] = {}
_ABSENT = object()


class PlainCall:
    """One plain call that no other one is around.

    Attributes
    ----------
    replaced
        What is opened, or passed, in place of resources.
    resources
        Those that were opened, once there are any; of `mxm.pipeline.execution.resources.opening`.
    """

    __slots__ = ("replaced", "resources")

    def __init__(self, replaced: Mapping[Any, Any] = _NOTHING) -> None:
        self.replaced: Mapping[Any, Any] = replaced
        self.resources: Any = None


_active: ContextVar[PlainCall | None] = ContextVar("mxm_plain_call", default=None)


def active_plain_call() -> PlainCall | None:
    """The outermost plain call that goes on here, or None."""
    return _active.get()


def outermost(call: Callable[[], Any], replaced: Mapping[Any, Any] | None = None) -> Any:
    """What *call* returns, a plain call; a coroutine is carried on as one.

    Parameters
    ----------
    call
        Calls a function of the user's.
    replaced
        What goes in place of resources; with others than around it, it is one of its own.
    """
    around, more = _active.get(), replaced or _NOTHING
    if around is not None and all(around.replaced.get(k, _ABSENT) is v for k, v in more.items()):
        return call()
    here = PlainCall({**(around.replaced if around else _NOTHING), **more})
    token = _active.set(here)
    value: Any = None
    try:
        value = call()
    finally:
        _active.reset(token)
        if not inspect.iscoroutine(value) and here.resources is not None:
            here.resources.close_plainly()
    if not inspect.iscoroutine(value):
        return value
    coroutine: Any = value
    later: Any = _awaited(coroutine, here)
    later.__name__, later.__qualname__ = coroutine.__name__, coroutine.__qualname__
    return later


async def _awaited(coroutine: Any, here: PlainCall) -> Any:
    token = _active.set(here)
    try:
        return await coroutine
    finally:
        _active.reset(token)
        if here.resources is not None:
            await here.resources.aclose_plainly()
