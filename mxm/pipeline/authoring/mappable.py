"""`map`, which tasks and flows share: called for each item of a list, and typed so."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, final, overload

from mxm.pipeline.tracing.marks import NO_ITEMS

__all__ = ["Mappable", "Untyped"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


@final
class Untyped:
    """A type that only Any fits, so that a task that returns Any maps to ``list[Any]``."""


# `self` is a Callable and not a Task, so that mypy sees wrong items; a Coroutine and not an
# Awaitable, so that a forgotten `await` is reported.
class Mappable(Generic[P, R_co]):
    """Something that can be called for each item of a list: a task or a flow."""

    @overload
    def map(  # type: ignore[misc]
        self: Callable[Concatenate[T, Q], Untyped],
        items: Iterable[T],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> list[Any]: ...
    @overload
    def map(  # type: ignore[misc]
        self: Callable[Concatenate[T, Q], Coroutine[Any, Any, S]],
        items: Iterable[T],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Coroutine[Any, Any, list[S]]: ...
    @overload
    def map(  # type: ignore[misc]
        self: Callable[Concatenate[T, Q], R],
        items: Iterable[T],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> list[R]: ...
    def map(self, items: Iterable[Any] = NO_ITEMS, /, *args: Any, **kwargs: Any) -> Any:
        """Call it for each item of a list, and return the list of results.

        The item fills the first parameter. In the body of a flow this is one step; a runner such
        as ``threads`` runs its items in parallel.

        Parameters
        ----------
        items
            A list, a tuple, a range, an array, a set (in sorted order), a task's result, a
            parameter of the flow, or a list of these.
        **kwargs
            The other arguments, by name; each is the same for every item, unless `mxm.each` marks
            it as another list that gives each call one item.

        Raises
        ------
        TypeError
            More than one list is positional, or the mapped value has no items.
        ValueError
            The lists have different lengths.

        Examples
        --------
        >>> import mxm
        >>> @mxm.task
        ... def double(x: int, times: int = 2) -> int:
        ...     return x * times
        >>> double.map([1, 2, 3], times=10)
        [10, 20, 30]
        """
        made: Any = self
        return made._mapped(items, args, kwargs, outcomes=False)
