"""Failure: a failed task as a value for tasks downstream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, final

from mxm.pipeline.errors import PipelineError, described

__all__ = ["Failure", "FailureUsedError"]


class FailureUsedError(PipelineError, TypeError, AttributeError):
    """A `Failure` was used like a value of the task."""


@final
class Failure:
    """Takes the place of the result of a failed task.

    A task with ``run_if="failed"`` or ``"always"`` gets it, and a list of `outcomes` may contain
    it. It is false, so ``a or b`` falls back to *b*. It is equal only to itself, and `repr`
    describes it. Any other use, as a number, a string, a list or a table, raises: it is not a
    value.

    Parameters
    ----------
    task
        The task that failed.
    error
        What it raised.
    attempts
        The number of calls.
    item
        Key of the failed item, if the task is mapped.

    Examples
    --------
    >>> from mxm.pipeline import Failure
    >>> failure = Failure("load", ValueError("no data"), attempts=3)
    >>> bool(failure)
    False
    >>> failure
    <Failure of task 'load': ValueError: no data>
    """

    __slots__ = ("__weakref__", "attempts", "error", "item", "task")

    task: str
    error: BaseException
    attempts: int
    item: str | None

    def __init__(
        self, task: str, error: BaseException, attempts: int = 1, item: str | None = None
    ) -> None:
        for name, value in (("task", task), ("error", error), ("attempts", attempts)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "item", item)

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __repr__(self) -> str:
        step = self.task if self.item is None else f"{self.task}[{self.item}]"
        return f"<Failure of task {step!r}: {described(self.error)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Failure, (self.task, self.error, self.attempts, self.item)

    def __getattr__(self, name: str) -> NoReturn:
        _refuse(self, f"its attribute {name!r}")


def _refuse(failure: Failure, use: str) -> NoReturn:
    error = FailureUsedError(
        f"{failure!r} is not a value, and {use} was used",
        hint="check it first with isinstance(x, Failure); its exception is x.error",
    )
    raise error from failure.error


_ARITHMETIC = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow"),
    *("lshift", "rshift", "and", "or", "xor"),
)
# Python looks these up on the class, not through __getattr__. Without them, an f-string would put
# the failure into a report, and NumPy would make an array of objects.
_REFUSED: dict[str, tuple[str, ...]] = {
    "a comparison": ("__lt__", "__le__", "__gt__", "__ge__"),
    "its text": ("__str__", "__format__", "__bytes__"),
    "its length": ("__len__", "__length_hint__"),
    "iteration": ("__iter__", "__next__", "__reversed__", "__contains__", "__aiter__"),
    "a part of it": ("__getitem__", "__setitem__", "__delitem__"),
    "assignment to it": ("__setattr__", "__delattr__"),
    "arithmetic": (
        *(f"__{prefix}{name}__" for name in _ARITHMETIC for prefix in ("", "r", "i")),
        *("__neg__", "__pos__", "__abs__", "__invert__", "__round__"),
        *("__trunc__", "__floor__", "__ceil__"),
    ),
    "its value as a number": ("__int__", "__float__", "__complex__", "__index__"),
    "its value as an array": ("__array__", "__array_ufunc__", "__array_function__"),
    "its value as a table": ("__dataframe__", "__arrow_array__", "__arrow_c_stream__"),
    "its value as a path": ("__fspath__",),
    "a call": ("__call__",),
    "with": ("__enter__", "__exit__", "__aenter__", "__aexit__"),
    "await": ("__await__",),
}


def _refusal(use: str) -> Callable[..., NoReturn]:
    def refuse(self: Failure, *_: object, **__: object) -> NoReturn:
        _refuse(self, use)

    return refuse


for _use, _names in _REFUSED.items():
    for _name in _names:
        setattr(Failure, _name, _refusal(_use))
