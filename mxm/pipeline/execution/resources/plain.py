"""Resources outside runs: in a plain call of a task, and opened by hand for a block."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from mxm.pipeline.errors import ResourceError
from mxm.pipeline.execution.resources.opened import warn_of
from mxm.pipeline.execution.resources.opening import Resources, active_resources, unfilled
from mxm.pipeline.execution.resources.plaincalls import PlainCall, active_plain_call, outermost
from mxm.pipeline.execution.resources.replacements import meant_by, replaced_now
from mxm.pipeline.introspection.signatures import unwrapped
from mxm.pipeline.introspection.uses import ResourceBase, asks_async
from mxm.pipeline.problems import Problem

__all__ = ["ByHand", "call_plainly"]

_Called: TypeAlias = Callable[[tuple[Any, ...], Mapping[str, Any]], Any]


class ByHand:
    """One resource that the user opens for a block, with those that it needs.

    Parameters
    ----------
    resource
        The resource.
    is_async
        Whether the block is ``async with``.
    """

    def __init__(self, resource: ResourceBase, *, is_async: bool) -> None:
        self._resource = resource
        self._resources = Resources(f"resource {resource.name!r}", replaced=replaced_now())
        opened = meant_by(self._resources.replaced, resource)
        if not is_async and isinstance(opened, ResourceBase) and opened.is_async:
            raise TypeError(
                f"resource {opened.name!r} is async: write `async with {resource.name}.open()`"
            )

    def open(self) -> Any:
        """Open it; return what it yields."""
        try:
            return self._resources.get(self._resource)
        except BaseException as error:
            self.close(error)
            raise

    def close(self, error: BaseException | None = None) -> None:
        """Close it, after a block that raised *error*."""
        _raise(self._resources.close(), error)

    async def aopen(self) -> Any:
        """Open it in the running loop; return what it yields."""
        try:
            return await self._resources.aget(self._resource)
        except BaseException as error:
            await self.aclose(error)
            raise

    async def aclose(self, error: BaseException | None = None) -> None:
        """Close it in the loop that opened it."""
        _raise(await self._resources.aclose(), error)


def _raise(problems: list[Problem], error: BaseException | None) -> None:
    if not problems:
        return
    if error is None:
        raise ResourceError("\n".join(f"{p.code} {p.message}" for p in problems))
    warn_of(problems)


def call_plainly(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], called: _Called
) -> Any:
    """Call *called* with the resources that *fn* uses among its arguments; return its result.

    Parameters
    ----------
    fn
        The function of a task.
    args, kwargs
        As the plain call has them; what they give is not opened.
    called
        Calls the function, with all its arguments.
    """
    call = _acall if inspect.iscoroutinefunction(unwrapped(fn)) else _call
    return outermost(functools.partial(call, fn, args, kwargs, called))


def _call(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], called: _Called
) -> Any:
    resources = _for_plain_call(fn, is_async=False)
    meant = functools.partial(meant_by, resources.replaced)
    needed = unfilled(fn, args, kwargs)
    for name, resource in asks_async(fn, meant):
        if name in needed:
            raise ResourceError(
                f"MXM606 {fn.__name__!r} is not async, and its parameter {name!r} takes async "
                f"resource {resource.name!r}",
                hint="define it with async def",
            )
    return called(*resources.filled(fn, args, kwargs))


async def _acall(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], called: _Called
) -> Any:
    resources = _for_plain_call(fn, is_async=True)
    return await called(*await resources.afilled(fn, args, kwargs))


def _for_plain_call(fn: Callable[..., Any], *, is_async: bool) -> Resources:
    """The resources of the run, for a call inside one of its tasks; else of the plain call."""
    of_run = active_resources()
    if of_run is not None and of_run.serves(is_async=is_async):
        return of_run
    here = active_plain_call() or PlainCall()
    if here.resources is None:
        here.resources = Resources(repr(fn.__name__), replaced=replaced_now(here.replaced))
    resources: Resources = here.resources
    if not resources.serves(is_async=is_async):
        raise ResourceError(
            f"{fn.__name__!r} asks for resources in another event loop than the call around it",
            hint="await it, or use one asyncio.run for both",
        )
    return resources
