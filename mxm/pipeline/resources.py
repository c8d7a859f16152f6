"""@mxm.resource: something that tasks share and a run opens once, such as a connection."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from types import FunctionType, TracebackType
from typing import Any, Generic, Protocol, TypeVar, cast, overload

from mxm.pipeline.introspection.signatures import VARIADIC, signature_of, source_of, unwrapped
from mxm.pipeline.introspection.uses import ResourceBase
from mxm.pipeline.problems import Source

__all__ = ["Opening", "Resource", "resource"]

# By name, because a resource lies beneath what opens it.
_MODULE, _CLASS = "mxm.pipeline.execution.resources.plain", "ByHand"

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Resource(ResourceBase, Generic[T_co]):
    """Something that tasks share and that must be closed, such as a connection or a client.

    Attributes
    ----------
    fn
        The generator function: it opens, yields once, and closes.
    name
        What settings call it.
    is_async
        Whether it is opened and closed in an event loop.

    Examples
    --------
    >>> import mxm
    >>> @mxm.resource
    ... def rates(source: str = "ECB"):
    ...     yield {"EUR": 1.1}
    >>> rates.name, rates.is_async
    ('rates', False)
    >>> with rates.open() as opened:
    ...     opened["EUR"]
    1.1
    """

    def __init__(self, fn: Callable[..., Any], name: str | None = None) -> None:
        functools.update_wrapper(cast("Any", self), fn)
        self.fn: Callable[..., Any] = fn
        self.name: str = name or fn.__name__
        self.source: Source | None = source_of(fn)
        self.is_async: bool = inspect.isasyncgenfunction(unwrapped(fn))

    def open(self) -> Opening[T_co]:
        """Open it by hand, with its settings, for a ``with`` block, which gets the object.

        An async resource needs ``async with``.

        Raises
        ------
        ParameterError
            A setting is missing or does not fit.
        """
        return Opening(self)

    def __repr__(self) -> str:
        return f"<resource {self.name!r} at {self.source}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return self.fn.__qualname__  # like a function: by its name in its module


class Opening(Generic[T_co]):
    """A resource that is opened by hand: a context manager, async for an async resource."""

    def __init__(self, resource: Resource[T_co]) -> None:
        self._resource = resource
        self._by_hand: Any = None

    def _begin(self, *, is_async: bool) -> Any:
        if self._by_hand is not None:
            raise RuntimeError(f"resource {self._resource.name!r}: call open() for each block")
        by_hand = getattr(importlib.import_module(_MODULE), _CLASS)
        self._by_hand = by_hand(self._resource, is_async=is_async)
        return self._by_hand

    def __enter__(self) -> T_co:
        opened: T_co = self._begin(is_async=False).open()
        return opened

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._by_hand is not None:
            self._by_hand.close(error)

    async def __aenter__(self) -> T_co:
        opened: T_co = await self._begin(is_async=True).aopen()
        return opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._by_hand is not None:
            await self._by_hand.aclose(error)


class _Decorator(Protocol):
    @overload
    def __call__(self, fn: Callable[..., AsyncIterator[T]], /) -> Resource[T]: ...
    @overload
    def __call__(self, fn: Callable[..., Iterator[T]], /) -> Resource[T]: ...


@overload
def resource(fn: Callable[..., AsyncIterator[T]], /) -> Resource[T]: ...
@overload
def resource(fn: Callable[..., Iterator[T]], /) -> Resource[T]: ...
@overload
def resource(*, name: str | None = None) -> _Decorator: ...
def resource(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a generator function a resource; ``@resource`` and ``@resource(name=...)`` both work.

    The function opens something, yields it once, and closes it after the yield. A run opens the
    resource when a task first needs it, once in each process, and closes it when the run ends, even
    after a failure. Tasks in several threads share it, so it must be thread-safe. An exception in a
    task is not thrown into it.

    Its parameters are settings, from ``[tool.mxm.pipeline.resources.NAME]`` and ``--resource
    NAME.KEY=VALUE``, or other resources: ``engine: Engine = mxm.use(db)``.

    Parameters
    ----------
    name
        What settings call it; by default the function's name.

    Raises
    ------
    TypeError
        The decorated object is not a generator function, or an option is unknown or has the wrong
        type.

    Examples
    --------
    >>> import sqlite3
    >>> import mxm
    >>> @mxm.resource
    ... def db(path: str = ":memory:"):
    ...     connection = sqlite3.connect(path, check_same_thread=False)
    ...     yield connection
    ...     connection.close()
    >>> @mxm.task
    ... def count(table: str, connection: sqlite3.Connection = mxm.use(db)) -> int: ...
    """
    for option in options:
        if option != "name":
            raise TypeError(f"@mxm.resource has no option {option!r}: it takes name alone")
    name = options.get("name")
    if name is not None and (not isinstance(name, str) or not name or "." in name):
        # A dot in `--resource NAME.KEY=VALUE` ends the name.
        raise TypeError(f"@mxm.resource: name is a non-empty string without dots, not {name!r}")

    def decorate(fn: Callable[..., Any]) -> Resource[Any]:
        _check_generator(fn)
        return Resource(fn, name)

    return decorate if fn is None else decorate(fn)


def _check_generator(fn: object) -> None:
    function: Any = fn
    if isinstance(fn, str):
        raise TypeError(f"@mxm.resource({fn!r}): options are given by name, name={fn!r}")
    if not isinstance(fn, FunctionType):
        what = f"class {function.__qualname__!r}" if isinstance(fn, type) else repr(function)
        raise TypeError(f"@mxm.resource decorates generator functions, not {what}")
    inner = unwrapped(function)
    at = f"@mxm.resource at {Source.of_function(inner)}:"
    owner = function.__qualname__.rpartition(".")[0]
    if owner and not owner.endswith("<locals>"):
        raise TypeError(f"{at} {function.__qualname__!r} is a method; move it out of its class")
    if not (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)):
        manager = inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner)
        hint = (
            "leave out the decorator between them, such as contextmanager"
            if manager
            else "write `yield` where it returns what it opens, and close it below"
        )
        raise TypeError(f"{at} {function.__name__!r} is not a generator function; {hint}")
    signature = signature_of(function)
    for parameter in signature.parameters.values() if signature else ():
        if parameter.kind in VARIADIC:
            raise TypeError(f"{at} {function.__name__!r} takes {parameter}; a setting needs a name")
