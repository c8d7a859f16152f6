"""Opens resources when they are first needed, once a run and process; closes them at its end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any, TypeAlias

from mxm.pipeline.bindings import with_named
from mxm.pipeline.checks.resources import async_problems
from mxm.pipeline.errors import BackendError, GraphError, ResourceError, described, repr_of
from mxm.pipeline.execution.loop import EventLoop, Started, result_of
from mxm.pipeline.interrupts import let_signals_pass
from mxm.pipeline.introspection.signatures import shape_of, unwrapped
from mxm.pipeline.introspection.uses import (
    ResourceBase,
    Use,
    asks_async,
    resources_of,
    used_by,
    uses_of,
)
from mxm.pipeline.logs import outside_tasks
from mxm.pipeline.params.resources import settle
from mxm.pipeline.plaincalls import PlainCall, active_plain_call, outermost
from mxm.pipeline.problems import Problem, did_you_mean
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.tracing.assembly import current

__all__ = [
    "ByHand",
    "Resources",
    "active_resources",
    "call_plainly",
    "replaced",
    "resources_for",
    "using",
]

_ABSENT = object()
_NOTHING: Mapping[Any, Any] = {}


class Resources:
    """What is open in one run, or one plain call, of this process.

    Parameters
    ----------
    owner
        The flow or task, for messages.
    replaced
        By resource, another one that is opened in its place, or the value itself.
    given
        Settings by name of a resource, as the run has them.
    settled
        The arguments of resources, as far as they are known already.
    loop
        Carries what is async; None in a plain call, where the loop that runs does.
    """

    def __init__(
        self,
        owner: str,
        *,
        replaced: Mapping[ResourceBase, Any] = _NOTHING,
        given: Mapping[str, Mapping[str, Any]] = _NOTHING,
        settled: Mapping[ResourceBase, dict[str, Any]] | None = None,
        loop: EventLoop | None = None,
    ) -> None:
        self.owner: str = owner
        self.replaced: Mapping[ResourceBase, Any] = replaced
        self.given: Mapping[str, Mapping[str, Any]] = given
        self.settled: dict[ResourceBase, dict[str, Any]] = dict(settled or {})
        self.loop: EventLoop | None = loop
        self._home: asyncio.AbstractEventLoop | None = None  # of a plain call
        self._lock = threading.Lock()
        self._entries: dict[ResourceBase, _Entry] = {}
        self._opened: list[_Entry] = []  # in the order in which they were opened
        self._lost: list[Problem] = []
        self._closed = False

    @classmethod
    def of_process(cls, owner: str, **options: Any) -> Resources:
        """The resources of a run in this process, with an event loop."""
        loop = EventLoop()
        made = cls(owner, loop=loop, **options)
        loop.on_loss = made.lose
        return made

    def filled(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """*args* and *kwargs* of a call of *fn*, with the resources that it asks for.

        Raises
        ------
        Exception
            Whatever opening one of them raised.
        """
        asked = _unfilled(fn, args, kwargs)
        if not asked:
            return args, kwargs
        opened = {name: self.get(resource) for name, resource in asked.items()}
        return _placed(fn, args, kwargs, opened)

    async def afilled(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """What `filled` gives, in an event loop that must not be kept from going on."""
        asked = _unfilled(fn, args, kwargs)
        opened = {name: await self.aget(resource) for name, resource in asked.items()}
        return _placed(fn, args, kwargs, opened)

    def get(self, resource: ResourceBase) -> Any:
        """What *resource* yields; opened now where it is not open yet.

        Raises
        ------
        Exception
            Whatever opening it raised.
        """
        entry = self._entry(resource)
        if not isinstance(entry, _Entry):
            return entry
        while (pending := self._claim(entry)) is not None:
            result_of(pending)
        if entry.is_open:
            return entry.value
        try:
            with _opening(entry.resource):
                asked = resources_of(entry.resource.fn)
                needs = {name: self.get(other) for name, other in asked.items()}
                self._open(entry, needs)
        finally:
            self._free(entry)
        return entry.value

    async def aget(self, resource: ResourceBase) -> Any:
        """What `get` gives, in an event loop that must not be kept from going on."""
        entry = self._entry(resource)
        if not isinstance(entry, _Entry):
            return entry
        while (pending := self._claim(entry)) is not None:
            await asyncio.shield(asyncio.wrap_future(pending))
        if entry.is_open:
            return entry.value
        try:
            with _opening(entry.resource):
                asked = resources_of(entry.resource.fn)
                needs = {name: await self.aget(other) for name, other in asked.items()}
                if entry.resource.is_async:
                    await self._aopen(entry, needs)
                else:
                    self._open(entry, needs)
        finally:
            self._free(entry)
        return entry.value

    def close(self) -> list[Problem]:
        """Close what is open, the last opened first; what went wrong.

        Raises
        ------
        KeyboardInterrupt
            A signal came.
        """
        problems: list[Problem] = []
        if self.loop is not None:
            self.loop.cancel()  # of a run that is cancelled: it may use what is open
        for entry in self._closing():
            with _noting(entry.resource, problems):
                entry.close(self.loop)
        if self.loop is not None:
            self.loop.close()
        lost, self._lost = self._lost, []
        return problems + lost

    async def aclose(self) -> list[Problem]:
        """Do what `close` does, in the event loop that a plain call was made in."""
        problems: list[Problem] = []
        for entry in self._closing():
            with _noting(entry.resource, problems):
                if entry.served is not None:
                    await entry.served.aclose()
                else:
                    entry.close(None)
        return problems

    def shared(self) -> tuple[Any, ...] | None:
        """What another process opens the same by; None where nothing asks for a resource."""
        if not self.settled:
            return None
        replaced = {k: v for k, v in self.replaced.items() if isinstance(v, ResourceBase)}
        return self.owner, replaced, _plain(self.given), self.settled

    def share(self, shared: tuple[Any, ...] | None) -> None:
        """Open the same as those of another process, whose `shared` this is."""
        if shared is not None and not self.settled:
            self.owner, self.replaced, self.given, self.settled = shared

    def close_plainly(self) -> None:
        """Close what a plain call opened; what goes wrong is a warning of Python's."""
        _warn(self.close())

    async def aclose_plainly(self) -> None:
        """Close what an async plain call opened."""
        _warn(await self.aclose())

    def serves(self, *, is_async: bool) -> bool:
        """Whether what is called here may share what is open.

        An async function cannot where that is open in another event loop.
        """
        if self._closed:
            return False
        if not is_async:
            return True
        if self.loop is not None:
            return self.loop.is_here
        running = asyncio.get_running_loop()
        if self._home is not None and self._home.is_closed():
            self._home = None
            self._forget()  # it has closed what was open in it
        self._home = self._home or running
        return self._home is running

    def _forget(self) -> list[_Entry]:
        """Take what is open in an event loop from what is open."""
        with self._lock:
            found = [entry for entry in self._opened if entry.served is not None]
            self._opened = [entry for entry in self._opened if entry.served is None]
            for entry in found:
                entry.reset()
        return found

    def note(self, problems: Iterable[Problem]) -> None:
        """Take what went wrong as workers closed theirs; `close` gives it with its own."""
        for problem in problems:  # each worker may say the same
            if problem not in self._lost:
                self._lost.append(problem)

    def lose(self) -> None:
        """Forget what is open in an event loop that is held for good."""
        lost = self._forget()
        why = "its event loop is held by a task that does not await"
        self._lost += [_not_closed(entry.resource, why) for entry in lost]

    def _entry(self, resource: ResourceBase) -> Any:
        """Where *resource* is kept, or what stands in its place."""
        chosen = meant_by(self.replaced, resource)
        if not isinstance(chosen, ResourceBase):
            return chosen
        with self._lock:
            return self._entries.setdefault(chosen, _Entry(chosen))

    def _claim(self, entry: _Entry) -> Future[None] | None:
        """What to wait for while another opens *entry*; None if it is open, or the caller opens it.

        Raises
        ------
        ResourceError
            It needs itself, or the run has ended.
        """
        chain = _chain.get()
        with self._lock:
            if entry.is_open:
                return None
            if self._closed:
                raise ResourceError(f"resource {entry.resource.name!r}: {self.owner} has ended")
            if entry.pending is None:
                entry.pending = Future()
                return None
            if entry.resource not in chain:
                return entry.pending
        names = " -> ".join(resource.name for resource in (*chain, entry.resource))
        raise ResourceError(
            f"resource {entry.resource.name!r} needs itself while it is opened: {names}"
        )

    def _free(self, entry: _Entry) -> None:
        with self._lock:
            pending, entry.pending = entry.pending, None
        if pending is not None:
            pending.set_result(None)

    def _arguments(self, entry: _Entry, needs: Mapping[str, Any]) -> tuple[Any, Any]:
        resource = entry.resource
        if resource not in self.settled:
            given = {k: v for k, v in self.given.items() if k == resource.name}
            self.settled |= settle([resource], given, self.owner)
        return _placed(resource.fn, (), {}, {**self.settled[resource], **needs})

    def _open(self, entry: _Entry, needs: Mapping[str, Any]) -> None:
        args, kwargs = self._arguments(entry, needs)
        if not entry.resource.is_async:
            entry.open(args, kwargs)
        elif self.loop is None:
            raise ResourceError(
                f"resource {entry.resource.name!r} is async, and nothing awaits it here",
                hint="make what asks for it async",
            )
        else:
            entry.served = served = _Served(entry.resource, args, kwargs)
            started = self.loop.begin(served.serve(), contextvars.copy_context())
            try:
                entry.value = result_of(served.opened)
            except BaseException:
                started.cancel()
                entry.served = None
                raise
            entry.is_open = True
        self._keep(entry)

    async def _aopen(self, entry: _Entry, needs: Mapping[str, Any]) -> None:
        args, kwargs = self._arguments(entry, needs)
        entry.served = served = _Served(entry.resource, args, kwargs)
        context = contextvars.copy_context()
        running: asyncio.Task[None] | Started
        if self.loop is None:
            running = asyncio.get_running_loop().create_task(served.serve(), context=context)
        else:
            running = self.loop.begin(served.serve(), context)
        try:
            entry.value = await asyncio.shield(asyncio.wrap_future(served.opened))
        except BaseException:
            running.cancel()
            entry.served = None
            raise
        entry.is_open = True
        self._keep(entry)

    def _keep(self, entry: _Entry) -> None:
        with self._lock:
            if not self._closed:
                self._opened.append(entry)
                return
        # It took longer than the run.
        problems: list[Problem] = []
        with _noting(entry.resource, problems):
            entry.close(self.loop)
        raise ResourceError(f"resource {entry.resource.name!r}: {self.owner} has ended")

    def _closing(self) -> Iterator[_Entry]:
        with self._lock:
            self._closed = True
        while self._opened:
            yield self._opened.pop()


def _plain(given: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: dict(settings) for name, settings in given.items()}  # views do not pickle


class _Entry:
    """One resource, open or not."""

    def __init__(self, resource: ResourceBase) -> None:
        self.resource = resource
        self.pending: Future[None] | None = None  # while it is opened
        self.reset()

    def reset(self) -> None:
        self.is_open = False
        self.value: Any = None
        self.served: _Served | None = None
        self._generator: Generator[Any, None, None] | None = None
        self._context: contextvars.Context | None = None

    def open(self, args: Any, kwargs: Any) -> None:
        # One context for both its halves: what it sets in the first it may reset in the second.
        context = contextvars.copy_context()
        generator = context.run(self.resource.fn, *args, **kwargs)
        value = context.run(next, generator, _ABSENT)
        if value is _ABSENT:
            raise _yields_never(self.resource)
        self._generator, self._context = generator, context
        self.value = value
        self.is_open = True

    def close(self, loop: EventLoop | None) -> None:
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


class _Served:
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
        """Close it, from another thread than the loop's."""
        if self._loop is not None and self._closing is not None:
            self._loop.call_soon_threadsafe(self._closing.set)
            result_of(self.closed)

    async def aclose(self) -> None:
        """Close it, in its loop."""
        if self._closing is not None:
            self._closing.set()
            await asyncio.shield(asyncio.wrap_future(self.closed))


class ByHand:
    """One resource that the user opens for a block, with what it needs.

    Parameters
    ----------
    resource
        The resource.
    is_async
        Whether the block is ``async with``.
    """

    def __init__(self, resource: ResourceBase, *, is_async: bool) -> None:
        self._resource = resource
        self._resources = Resources(f"resource {resource.name!r}", replaced=_replaced_now())
        opened = meant_by(self._resources.replaced, resource)
        if not is_async and isinstance(opened, ResourceBase) and opened.is_async:
            raise TypeError(
                f"resource {opened.name!r} is async: write `async with {resource.name}.open()`"
            )

    def open(self) -> Any:
        """Open it; what it yields."""
        try:
            return self._resources.get(self._resource)
        except BaseException as error:
            self.close(error)
            raise

    def close(self, error: BaseException | None = None) -> None:
        """Close it, after a block that raised *error*."""
        _raise(self._resources.close(), error)

    async def aopen(self) -> Any:
        """Open it, in the loop that runs; what it yields."""
        try:
            return await self._resources.aget(self._resource)
        except BaseException as error:
            await self.aclose(error)
            raise

    async def aclose(self, error: BaseException | None = None) -> None:
        """Close it, in the loop that it was opened in."""
        _raise(await self._resources.aclose(), error)


def _raise(problems: list[Problem], error: BaseException | None) -> None:
    if not problems:
        return
    if error is None:
        raise ResourceError("\n".join(f"{p.code} {p.message}" for p in problems))
    _warn(problems)


# --- whose resources are used here


_active: ContextVar[Resources | None] = ContextVar("mxm_resources", default=None)
_chain: ContextVar[tuple[ResourceBase, ...]] = ContextVar("mxm_opening", default=())
_replaced: list[Mapping[ResourceBase, Any]] = []  # by blocks, in this process


def active_resources() -> Resources | None:
    """Those of the run that goes on here, or None."""
    return _active.get()


@contextlib.contextmanager
def using(resources: Resources) -> Generator[None, None, None]:
    """Let what is called within this block use *resources*."""
    token = _active.set(resources)
    try:
        yield
    finally:
        _active.reset(token)


@contextlib.contextmanager
def replaced(resources: Mapping[Any, object]) -> Generator[None, None, None]:
    """Within this block, in runs and plain calls of any thread, put others in place of resources.

    Parameters
    ----------
    resources
        By resource, another one that is opened in its place, or the value itself.

    Raises
    ------
    TypeError
        A key is not a resource.
    """
    mapping = _checked(resources)
    _replaced.append(mapping)
    try:
        yield
    finally:
        _replaced.remove(mapping)


def _checked(resources: Mapping[Any, object]) -> Mapping[ResourceBase, Any]:
    for key in resources:
        if not isinstance(key, ResourceBase):
            raise TypeError(f"resources are replaced by resource, and {repr_of(key)} is not one")
    return dict(resources)


def _replaced_now(more: Mapping[Any, Any] = _NOTHING) -> Mapping[ResourceBase, Any]:
    found: dict[ResourceBase, Any] = {}
    for mapping in (*_replaced, _checked(more)):
        found |= {current(key): value for key, value in mapping.items()}
    return found


def meant_by(replaced: Mapping[ResourceBase, Any], resource: ResourceBase) -> Any:
    """What is opened, or passed as it is, where *resource* is asked for.

    Raises
    ------
    BackendError
        They stand for each other.
    """
    seen: list[ResourceBase] = []
    chosen: Any = current(resource)
    while isinstance(chosen, ResourceBase) and chosen in replaced:
        if chosen in seen:
            names = " -> ".join(one.name for one in (*seen, chosen))
            raise BackendError(f"resources that stand for each other: {names}")
        seen.append(chosen)
        value: Any = replaced[chosen]
        chosen = current(value) if isinstance(value, ResourceBase) else value
    return chosen


def resources_for(
    flow: FlowSpec,
    tasks: Iterable[TaskSpec],
    instead: Mapping[Any, object],
    given: Mapping[str, Mapping[str, Any]],
    *,
    crossing: bool = False,
) -> Resources:
    """The resources of one run of *flow*, none of them open; all that can be wrong is found.

    Parameters
    ----------
    flow
        The flow.
    tasks
        Those that may run.
    instead
        What goes in place of resources, by the options of the run.
    given
        Settings, by the options of the run.
    crossing
        Whether they are opened in other processes.

    Raises
    ------
    ParameterError
        Settings are unknown, missing or do not fit.
    BackendError
        What goes in place of a resource cannot be used.
    """
    standing = _replaced_now(instead)
    asking = [task for task in tasks if uses_of(task.fn)]
    _require_known(flow, instead)
    if not asking:
        if given:
            settle([], given, flow.name)
        return Resources.of_process(f"flow {flow.name!r}", replaced=standing)
    meant = functools.partial(meant_by, standing)
    problems = list(async_problems(flow, asking, meant)) if standing else []
    if problems:
        raise GraphError(flow.name, problems)
    needed = used_by((task.fn for task in asking), meant)
    if crossing:
        functions = [*(task.fn for task in asking), *(resource.fn for resource in needed)]
        asked = {r: meant(r) for fn in functions for r in resources_of(fn).values()}
        _require_resources(asked)
    return Resources.of_process(
        f"flow {flow.name!r}",
        replaced=standing,
        given=given,
        settled=settle(needed, given, flow.name),
    )


def _require_resources(opened: Mapping[ResourceBase, Any]) -> None:
    """Check that what goes in place of each resource can be opened in another process."""
    for resource, value in opened.items():
        if not isinstance(value, ResourceBase):
            raise BackendError(
                f"resource {resource.name!r} is replaced by {repr_of(value):.80}, and runner "
                "'processes' opens resources in each worker",
                hint="replace it by another resource: put @mxm.resource above a generator",
            )


def _require_known(flow: FlowSpec, instead: Mapping[Any, object]) -> None:
    if not instead:
        return
    used = used_by(task.fn for task in flow.tasks)
    standing = [value for value in instead.values() if isinstance(value, ResourceBase)]
    known = {current(one): one.name for one in (*used, *standing)}
    for key in instead:
        if current(key) not in known:
            raise BackendError(
                f"flow {flow.name!r} uses no resource {key.name!r}, so it cannot be replaced",
                hint=did_you_mean(key.name, known.values()) or "no task of it uses a resource",
            )


# --- plain calls


_Called: TypeAlias = Callable[[tuple[Any, ...], Mapping[str, Any]], Any]


def call_plainly(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], called: _Called
) -> Any:
    """What *called* returns, with the resources that *fn* asks for among its arguments.

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
    unfilled = _unfilled(fn, args, kwargs)
    for name, resource in asks_async(fn, meant):
        if name in unfilled:
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
    """The run's, where the call is made in one of its tasks; else those of the plain call."""
    of_run = _active.get()
    if of_run is not None and of_run.serves(is_async=is_async):
        return of_run
    here = active_plain_call() or PlainCall()
    if here.resources is None:
        here.resources = Resources(repr(fn.__name__), replaced=_replaced_now(here.replaced))
    resources: Resources = here.resources
    if not resources.serves(is_async=is_async):
        raise ResourceError(
            f"{fn.__name__!r} asks for resources in another event loop than the call around it",
            hint="await it, or use one asyncio.run for both",
        )
    return resources


# --- filling in


def _unfilled(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, ResourceBase]:
    """By parameter, the resources that *fn* asks for, but for those that the call gives."""
    uses = uses_of(fn)
    if not uses:
        return {}
    shape = shape_of(fn)
    names = shape.positional if shape else ()
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    found: dict[str, ResourceBase] = {}
    for name, use in uses.items():
        if type(given.get(name, use)) is Use:
            if not isinstance(use.resource, ResourceBase):
                raise ResourceError(
                    f"MXM601 parameter {name!r} of {fn.__name__!r} asks for "
                    f"{repr_of(use.resource):.80}, which is not a resource",
                    hint="put @mxm.resource above the generator that opens it",
                )
            found[name] = use.resource
    return found


def _placed(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    named: Mapping[str, Any],
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    placed, rest = with_named(fn, args, kwargs, named, lambda default: default)
    return tuple(placed), rest


@contextlib.contextmanager
def _opening(resource: ResourceBase) -> Generator[None, None, None]:
    token = _chain.set((*_chain.get(), resource))
    try:
        yield
    finally:
        _chain.reset(token)


@contextlib.contextmanager
def _noting(resource: ResourceBase, problems: list[Problem]) -> Generator[None, None, None]:
    """Make what closing *resource* raises a problem, but for a signal's KeyboardInterrupt."""
    try:
        yield
    except BaseException as error:
        let_signals_pass(error)
        if isinstance(error, ResourceError) and error.hint:
            message = error.message
            problems.append(_problem("MXM610", resource, message, error.hint))
        else:
            why = error.message if isinstance(error, ResourceError) else described(error)
            problems.append(_not_closed(resource, why))


def _not_closed(resource: ResourceBase, why: str) -> Problem:
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
        f"resource {resource.name!r} yields twice: what stands after the second yield did not run",
        hint="yield once, and close it after that yield",
        source=resource.source,
    )


def _warn(problems: list[Problem]) -> None:
    for problem in problems:
        warnings.warn(f"{problem.code} {problem.message}", RuntimeWarning, stacklevel=2)
