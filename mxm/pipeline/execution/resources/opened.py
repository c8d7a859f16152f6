"""One resource of a run: opened once, and closed in the same context."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import warnings
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any

from mxm.pipeline.errors import ResourceError, described
from mxm.pipeline.execution.loop import EventLoop, result_of
from mxm.pipeline.introspection.uses import ResourceBase
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.process.logs import outside_tasks

__all__ = ["OpenedResource", "ServedResource", "not_closed", "noting", "warn_of"]

_ABSENT = object()


class OpenedResource:
    """One resource, open or not."""

    def __init__(self, resource: ResourceBase) -> None:
        self.resource = resource
        self.pending: Future[None] | None = None  # while it is opened
        self.reset()

    def reset(self) -> None:
        """Forget what was opened."""
        self.is_open: bool = False
        self.value: Any = None
        self.served: ServedResource | None = None
        self._generator: Generator[Any, None, None] | None = None
        self._context: contextvars.Context | None = None

    def open(self, args: Any, kwargs: Any) -> None:
        """Run its generator up to the ``yield``, on this thread."""
        # One context for both halves: what the first sets, the second may reset.
        context = contextvars.copy_context()
        generator = context.run(self.resource.fn, *args, **kwargs)
        value = context.run(next, generator, _ABSENT)
        if value is _ABSENT:
            raise _yields_never(self.resource)
        self._generator, self._context = generator, context
        self.value = value
        self.is_open = True

    def close(self, loop: EventLoop | None) -> None:
        """Run its generator to the end; an async one in *loop*."""
        served, context, generator = self.served, self._context, self._generator
        self.is_open, self.value = False, None
        if served is not None and served.closed.done():  # with the loop of a plain call
            result_of(served.closed)
        elif served is not None:
            if loop is None or not loop.answers():
                raise ResourceError("its event loop is held by a task that does not await")
            served.close()
        elif context is not None and generator is not None:
            context.run(self._finish, generator)

    def _finish(self, generator: Generator[Any, None, None]) -> None:
        with outside_tasks():
            if next(generator, _ABSENT) is not _ABSENT:
                generator.close()
                raise _yields_twice(self.resource)


class ServedResource:
    """An async resource: one task of the loop opens it, waits, and closes it.

    Some libraries want that of what they open: anyio's task groups, for one.
    """

    def __init__(self, resource: ResourceBase, args: Any, kwargs: Any) -> None:
        self.opened: Future[Any] = Future()
        self.closed: Future[None] = Future()
        self._resource = resource
        self._call = functools.partial(resource.fn, *args, **kwargs)
        self._closing: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self) -> None:
        """Open it, wait for `close`, and close it."""
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        try:
            generator = self._call()
            value = await anext(generator, _ABSENT)
            if value is _ABSENT:
                raise _yields_never(self._resource)
        except BaseException as error:
            self.opened.set_exception(error)
            return
        self.opened.set_result(value)
        del value
        with contextlib.suppress(asyncio.CancelledError):  # nothing is thrown into it
            await self._closing.wait()
        with outside_tasks():
            try:
                if await anext(generator, _ABSENT) is not _ABSENT:
                    await generator.aclose()
                    raise _yields_twice(self._resource)
            except BaseException as error:
                self.closed.set_exception(error)
            else:
                self.closed.set_result(None)

    def close(self) -> None:
        """Close it from a thread other than the loop's."""
        if self._loop is not None and self._closing is not None:
            self._loop.call_soon_threadsafe(self._closing.set)
            result_of(self.closed)

    async def aclose(self) -> None:
        """Close it, in its loop."""
        if self._closing is not None:
            self._closing.set()
            await asyncio.shield(asyncio.wrap_future(self.closed))


@contextlib.contextmanager
def noting(resource: ResourceBase, problems: list[Problem]) -> Generator[None, None, None]:
    """Turn errors on closing *resource* into problems, except the KeyboardInterrupt of a signal."""
    try:
        yield
    except BaseException as error:
        let_signals_pass(error)
        if isinstance(error, ResourceError) and error.hint:
            message = error.message
            problems.append(_problem("MXM610", resource, message, error.hint))
        else:
            why = error.message if isinstance(error, ResourceError) else described(error)
            problems.append(not_closed(resource, why))


def not_closed(resource: ResourceBase, why: str) -> Problem:
    """The warning that *resource* could not be closed."""
    message = f"resource {resource.name!r} could not be closed: {why}"
    return _problem("MXM611", resource, message, None)


def _problem(code: str, resource: ResourceBase, message: str, hint: str | None) -> Problem:
    return Problem(code, message, hint, source=resource.source, severity="warning")


def _yields_never(resource: ResourceBase) -> ResourceError:
    return ResourceError(
        f"MXM610 resource {resource.name!r} yields nothing",
        hint="yield what it opens, once",
        source=resource.source,
    )


def _yields_twice(resource: ResourceBase) -> ResourceError:
    return ResourceError(
        f"resource {resource.name!r} yields twice: the code after its second yield did not run",
        hint="yield once, and close it after that yield",
        source=resource.source,
    )


def warn_of(problems: list[Problem]) -> None:
    """Emit *problems* as Python warnings, where nothing collects them."""
    for problem in problems:
        warnings.warn(f"{problem.code} {problem.message}", RuntimeWarning, stacklevel=2)
