"""`mxm.each`: marks an argument of a map as a list, one item of which goes to each call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar, cast

from mxm.pipeline.errors import PipelineError

__all__ = ["NO_ITEMS", "ItemMark", "Mark", "MisplacedEachError", "each", "refuse_each"]

T = TypeVar("T")

NO_ITEMS: Any = object()
"""The default of the items, to recognise a map that is called without them."""


class MisplacedEachError(PipelineError, TypeError):
    """`each` was used outside the named arguments of a map."""

    code = "MXM307"


class Mark:
    """An argument of a map that is a list of items; any other use of it raises."""

    __slots__ = ("value",)

    value: Any

    def __init__(self, value: Any) -> None:
        object.__setattr__(self, "value", value)

    def __repr__(self) -> str:
        return "mxm.each(...)"

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        refuse_each()


class ItemMark:
    """An item of the list that a flow is mapped over, or the part of it that *path* leads to.

    Stands for it where the flow's tasks are recorded.
    """

    __slots__ = ("path", "value")

    def __init__(self, value: Any, path: tuple[str | int, ...] = ()) -> None:
        self.value: Any = value
        self.path: tuple[str | int, ...] = path

    def __getitem__(self, key: str | int) -> ItemMark:
        return ItemMark(self.value, (*self.path, key))


def refuse_each() -> NoReturn:
    """Raise for a misplaced mark."""
    raise MisplacedEachError(
        "mxm.each(...) is not an argument of a map",
        hint="pass it by name to .map or .outcomes: row.map(symbols, price=mxm.each(prices))",
    )


def _refusal(*_: object, **__: object) -> NoReturn:
    refuse_each()


for _name in (
    *("__bool__", "__len__", "__iter__", "__next__", "__getitem__", "__contains__", "__call__"),
    *("__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__str__", "__format__"),
    *(f"__{p}{op}__" for op in ("add", "sub", "mul", "truediv") for p in ("", "r")),
    *("__float__", "__int__", "__index__", "__array__", "__fspath__", "__setattr__"),
):
    setattr(Mark, _name, cast("Callable[..., Any]", _refusal))


def each(items: Iterable[T], /) -> T:
    """Mark a further list of a map: each call gets one item of it, beside its own.

    The lists are paired strictly: they must have the same length.

    Parameters
    ----------
    items
        The list: a task's result, a parameter, a constant, or a list of these.

    Examples
    --------
    >>> import mxm
    >>> @mxm.task
    ... def row(symbol: str, price: float) -> str:
    ...     return f"{symbol} {price}"
    >>> row.map(["SPY", "QQQ"], price=mxm.each([500.0, 400.0]))
    ['SPY 500.0', 'QQQ 400.0']
    """
    return cast("T", Mark(items))
