"""`progress`: a task reports how far it is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from mxm.pipeline.execution.output import pass_on_progress

__all__ = ["progress"]

T = TypeVar("T")

_EVERY_S = 0.1


def progress(items: Iterable[T], total: int | None = None) -> Iterator[T]:
    """Iterate over *items*, and show observers and the terminal how many have been taken.

    It reports at most ten times a second. Outside a run, and in an item of a mapped task, it only
    iterates.

    Parameters
    ----------
    items
        Any iterable.
    total
        How many items there are; by default the length of *items*, if it has one.

    Examples
    --------
    >>> from mxm.pipeline import progress
    >>> [2 * day for day in progress(range(3))]
    [0, 2, 4]
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    return _counted(items, total)


def _counted(items: Iterable[T], total: int | None) -> Iterator[T]:
    done = 0
    last = time.monotonic()
    pass_on_progress(done, total)
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= _EVERY_S:
            last = now
            pass_on_progress(done, total)
    pass_on_progress(done, total)
