"""Maps as plain Python: `.map` and `.outcomes` outside a flow's body."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from mxm.pipeline.errors import PipelineError
from mxm.pipeline.introspection.decorated import TaskBase
from mxm.pipeline.introspection.signatures import shape_of, unwrapped
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.tracing.marks import NO_ITEMS, Mark
from mxm.pipeline.values.failure import Failure
from mxm.pipeline.values.items import item_keys, items_of, require_pairs

__all__ = [
    "MapError",
    "calls_of",
    "first_parameter",
    "outcomes_of",
    "require_mappable",
    "values_of",
]


class MapError(PipelineError, TypeError):
    """A task or flow cannot be mapped this way."""

    code = "MXM109"


def first_parameter(fn: Callable[..., Any]) -> str | None:
    """The parameter of *fn* that a map fills: its first, if it has a place; else None."""
    shape = shape_of(fn)
    return None if shape is None else shape.name_at(0)


def require_mappable(kind: str, name: str, fn: Callable[..., Any], items: Any, more: int) -> None:
    """Check that *fn* has a parameter to map, and that just one list is positional.

    Parameters
    ----------
    kind, name
        What it is, ``task`` or ``flow``, and its name.
    fn
        Its function.
    items
        The positional list.
    more
        How many positional arguments there are besides the items.

    Raises
    ------
    MapError
        It cannot be mapped like this.
    """
    if shape_of(fn) is not None and first_parameter(fn) is None:
        raise MapError(
            f"{kind} {name!r} cannot be mapped: no parameter takes an item by position",
            hint="make the item its first parameter",
        )
    if items is NO_ITEMS:
        raise MapError(
            f"{kind} {name!r} is mapped over no list",
            hint=f"the items go first, without a name: {fn.__name__}.map(items)",
        )
    if more:
        raise MapError(
            f"{kind} {name!r} is mapped over one positional list, not {more + 1}",
            hint="pass the rest by name: another list as mxm.each(list), a value for all items "
            "as it is",
        )


def calls_of(
    name: str, fn: Callable[..., Any], items: Any, kwargs: Mapping[str, Any]
) -> list[tuple[Any, dict[str, Any]]]:
    """The item and the named arguments of each call that a map of *fn* makes.

    Raises
    ------
    TypeError
        What is mapped has no items, or can be read only once.
    ValueError
        The lists have different lengths.
    """
    first = first_parameter(fn) or name
    lists = {first: _items(name, first, items)}
    same: dict[str, Any] = {}
    for key, value in kwargs.items():
        if type(value) is Mark:
            lists[key] = _items(name, key, value.value)
        else:
            same[key] = value
    require_pairs({key: len(each) for key, each in lists.items()})
    return [
        (row[0], {**same, **dict(zip(list(lists)[1:], row[1:], strict=True))})
        for row in zip(*lists.values(), strict=True)
    ]


def _items(task: str, parameter: str, value: Any) -> list[Any]:
    try:
        return items_of(value)
    except TypeError as error:
        raise TypeError(f"parameter {parameter!r} of task {task!r}: {error}") from None


def values_of(
    fn: Callable[..., Any], call: Callable[..., Any], calls: list[tuple[Any, dict[str, Any]]]
) -> list[Any] | Coroutine[Any, Any, list[Any]]:
    """The value of each of *calls* of *fn*, made by *call*; awaitable for async functions."""
    values = [call(item, **kwargs) for item, kwargs in calls]
    return _gathered(values) if inspect.iscoroutinefunction(unwrapped(fn)) else values


async def _gathered(coroutines: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Await *coroutines* concurrently; return their values."""
    import asyncio  # takes as long to load as all of this package

    return await asyncio.gather(*coroutines)


def outcomes_of(
    task: TaskBase, call: Callable[..., Any], calls: list[tuple[Any, dict[str, Any]]]
) -> list[Any] | Coroutine[Any, Any, list[Any]]:
    """The value of each of *calls*, or a `Failure` in its place; awaitable for async tasks."""
    keys = item_keys([item for item, _ in calls], task.options.get("item_key"))

    def failed(key: str, error: BaseException) -> Failure:
        return Failure(task.name, error, 1, key)

    if inspect.iscoroutinefunction(unwrapped(task.fn)):
        import asyncio

        async def one(key: str, item: Any, kwargs: dict[str, Any]) -> Any:
            try:
                return await call(item, **kwargs)
            except (KeyboardInterrupt, asyncio.CancelledError, GeneratorExit):
                raise
            except BaseException as error:  # as in a run, where SystemExit is a failure, too
                let_signals_pass(error)
                return failed(key, error)

        return _gathered(one(key, *each) for key, each in zip(keys, calls, strict=True))
    values: list[Any] = []
    for key, (item, kwargs) in zip(keys, calls, strict=True):
        try:
            values.append(call(item, **kwargs))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # as in a run, where SystemExit is a failure, too
            let_signals_pass(error)
            values.append(failed(key, error))
    return values
