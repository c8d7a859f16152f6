"""Opens each resource on first use, once per run and process, and closes it at the end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

from mxm.pipeline.bindings import with_named
from mxm.pipeline.errors import ResourceError, repr_of
from mxm.pipeline.execution.loop import EventLoop, Started, result_of
from mxm.pipeline.execution.resources.opened import (
    OpenedResource,
    ServedResource,
    not_closed,
    noting,
    warn_of,
)
from mxm.pipeline.execution.resources.replacements import meant_by
from mxm.pipeline.introspection.signatures import shape_of
from mxm.pipeline.introspection.uses import (
    ResourceBase,
    Use,
    resources_of,
    uses_of,
)
from mxm.pipeline.params.resources import settle
from mxm.pipeline.problems import Problem

__all__ = ["Resources", "active_resources", "unfilled", "using"]

_NOTHING: Mapping[Any, Any] = {}


class Resources:
    """The open resources of one run, or one plain call, in this process.

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
        settings: Mapping[str, Mapping[str, Any]] = _NOTHING,
        settled: Mapping[ResourceBase, dict[str, Any]] | None = None,
        loop: EventLoop | None = None,
    ) -> None:
        self.owner: str = owner
        self.replaced: Mapping[ResourceBase, Any] = replaced
        self.settings: Mapping[str, Mapping[str, Any]] = settings
        self.settled: dict[ResourceBase, dict[str, Any]] = dict(settled or {})
        self.loop: EventLoop | None = loop
        self._home: asyncio.AbstractEventLoop | None = None  # of a plain call
        self._lock = threading.Lock()
        self._entries: dict[ResourceBase, OpenedResource] = {}
        self._opened: list[OpenedResource] = []  # in the order in which they were opened
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
        asked = unfilled(fn, args, kwargs)
        if not asked:
            return args, kwargs
        opened = {name: self.get(resource) for name, resource in asked.items()}
        return _placed(fn, args, kwargs, opened)

    async def afilled(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Like `filled`, for use inside an event loop, which it does not block."""
        asked = unfilled(fn, args, kwargs)
        opened = {name: await self.aget(resource) for name, resource in asked.items()}
        return _placed(fn, args, kwargs, opened)

    def get(self, resource: ResourceBase) -> Any:
        """The value that *resource* yields; opens it first if needed.

        Raises
        ------
        Exception
            Whatever opening it raised.
        """
        entry = self._entry(resource)
        if not isinstance(entry, OpenedResource):
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
        """Like `get`, for use inside an event loop, which it does not block."""
        entry = self._entry(resource)
        if not isinstance(entry, OpenedResource):
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
        """Close all open resources, the last opened first; return the problems.

        Raises
        ------
        KeyboardInterrupt
            A signal came.
        """
        problems: list[Problem] = []
        if self.loop is not None:
            self.loop.cancel()  # of a run that is cancelled: it may use what is open
        for entry in self._closing():
            with noting(entry.resource, problems):
                entry.close(self.loop)
        if self.loop is not None:
            self.loop.close()
        lost, self._lost = self._lost, []
        return problems + lost

    async def aclose(self) -> list[Problem]:
        """Like `close`, in the event loop of a plain call."""
        problems: list[Problem] = []
        for entry in self._closing():
            with noting(entry.resource, problems):
                if entry.served is not None:
                    await entry.served.aclose()
                else:
                    entry.close(None)
        return problems

    def shared(self) -> tuple[Any, ...] | None:
        """What another process needs to open the same resources; None if no task uses one."""
        if not self.settled:
            return None
        replaced = {k: v for k, v in self.replaced.items() if isinstance(v, ResourceBase)}
        return self.owner, replaced, _plain(self.settings), self.settled

    def share(self, shared: tuple[Any, ...] | None) -> None:
        """Use the same resources as another process, which returned *shared*."""
        if shared is not None and not self.settled:
            self.owner, self.replaced, self.settings, self.settled = shared

    def close_plainly(self) -> None:
        """Close the resources of a plain call; problems become Python warnings."""
        warn_of(self.close())

    async def aclose_plainly(self) -> None:
        """Close the resources of an async plain call."""
        warn_of(await self.aclose())

    def serves(self, *, is_async: bool) -> bool:
        """Whether a function called here may use these resources.

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

    def _forget(self) -> list[OpenedResource]:
        """Drop the resources that are open in an event loop; return them."""
        with self._lock:
            served = [entry for entry in self._opened if entry.served is not None]
            self._opened = [entry for entry in self._opened if entry.served is None]
            for entry in served:
                entry.reset()
        return served

    def note(self, problems: Iterable[Problem]) -> None:
        """Add problems that workers had on closing; `close` returns them with its own."""
        for problem in problems:  # each worker may say the same
            if problem not in self._lost:
                self._lost.append(problem)

    def lose(self) -> None:
        """Drop the resources of an event loop that is blocked for good."""
        lost = self._forget()
        why = "its event loop is held by a task that does not await"
        self._lost += [not_closed(entry.resource, why) for entry in lost]

    def _entry(self, resource: ResourceBase) -> Any:
        """The entry of *resource*, or the value that replaces it."""
        chosen = meant_by(self.replaced, resource)
        if not isinstance(chosen, ResourceBase):
            return chosen
        with self._lock:
            return self._entries.setdefault(chosen, OpenedResource(chosen))

    def _claim(self, entry: OpenedResource) -> Future[None] | None:
        """What to wait for while another thread opens *entry*; None if the caller need not wait.

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

    def _free(self, entry: OpenedResource) -> None:
        with self._lock:
            pending, entry.pending = entry.pending, None
        if pending is not None:
            pending.set_result(None)

    def _arguments(self, entry: OpenedResource, needs: Mapping[str, Any]) -> tuple[Any, Any]:
        resource = entry.resource
        if resource not in self.settled:
            settings = {k: v for k, v in self.settings.items() if k == resource.name}
            self.settled |= settle([resource], settings, self.owner)
        return _placed(resource.fn, (), {}, {**self.settled[resource], **needs})

    def _open(self, entry: OpenedResource, needs: Mapping[str, Any]) -> None:
        args, kwargs = self._arguments(entry, needs)
        if not entry.resource.is_async:
            entry.open(args, kwargs)
        elif self.loop is None:
            raise ResourceError(
                f"resource {entry.resource.name!r} is async, and nothing awaits it here",
                hint="make the task or resource that uses it async",
            )
        else:
            entry.served = served = ServedResource(entry.resource, args, kwargs)
            started = self.loop.begin(served.serve(), contextvars.copy_context())
            try:
                entry.value = result_of(served.opened)
            except BaseException:
                started.cancel()
                entry.served = None
                raise
            entry.is_open = True
        self._keep(entry)

    async def _aopen(self, entry: OpenedResource, needs: Mapping[str, Any]) -> None:
        args, kwargs = self._arguments(entry, needs)
        entry.served = served = ServedResource(entry.resource, args, kwargs)
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

    def _keep(self, entry: OpenedResource) -> None:
        with self._lock:
            if not self._closed:
                self._opened.append(entry)
                return
        # It took longer than the run.
        problems: list[Problem] = []
        with noting(entry.resource, problems):
            entry.close(self.loop)
        raise ResourceError(f"resource {entry.resource.name!r}: {self.owner} has ended")

    def _closing(self) -> Iterator[OpenedResource]:
        with self._lock:
            self._closed = True
        while self._opened:
            yield self._opened.pop()


def _plain(by_name: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: dict(settings) for name, settings in by_name.items()}  # views do not pickle


_active: ContextVar[Resources | None] = ContextVar("mxm_resources", default=None)
_chain: ContextVar[tuple[ResourceBase, ...]] = ContextVar("mxm_opening", default=())


def active_resources() -> Resources | None:
    """The resources of the run in this context, or None."""
    return _active.get()


@contextlib.contextmanager
def using(resources: Resources) -> Generator[None, None, None]:
    """Use *resources* for calls within this block."""
    token = _active.set(resources)
    try:
        yield
    finally:
        _active.reset(token)


def unfilled(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, ResourceBase]:
    """The resources that *fn* uses, by parameter, without those that the call passes."""
    uses = uses_of(fn)
    if not uses:
        return {}
    shape = shape_of(fn)
    names = shape.positional if shape else ()
    arguments = {**dict(zip(names, args, strict=False)), **kwargs}
    resources: dict[str, ResourceBase] = {}
    for name, use in uses.items():
        if type(arguments.get(name, use)) is Use:
            if not isinstance(use.resource, ResourceBase):
                raise ResourceError(
                    f"MXM601 parameter {name!r} of {fn.__name__!r} asks for "
                    f"{repr_of(use.resource):.80}, which is not a resource",
                    hint="put @mxm.resource above the generator that opens it",
                )
            resources[name] = use.resource
    return resources


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
