"""Limits: how many attempts of one name may run at once in a whole run."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from mxm.pipeline.errors import TaskCancelledError

__all__ = ["Hold", "Limits"]


class Limits:
    """The free places of each limit in a run, and the steps that wait for one.

    An attempt takes all of its limits at once or none, so that no two can wait for each other. The
    driver takes them for a first attempt, before it gives that to a worker; the worker takes them
    for the next ones.

    Parameters
    ----------
    most
        By limit, how many attempts may hold it at once.
    freed
        Called on a worker's thread when an attempt gave its limits back until the next one.
    """

    def __init__(self, most: Mapping[str, int], freed: Callable[[], None]) -> None:
        self.most: Mapping[str, int] = most
        self._left = dict(most)
        # How many attempts wait for it on a worker: they go before steps without a worker.
        self._claims = dict.fromkeys(most, 0)
        self._freed = freed
        self._changed = threading.Condition()
        self._closed = False
        self._aside: dict[str, list[int]] = {}  # by limit, numbers of steps that wait, a heap

    def take(self, names: tuple[str, ...]) -> Hold | str:
        """Take all of *names* for a new attempt, or return the first that is used up."""
        with self._changed:
            for name in names:
                if self._left[name] <= self._claims[name]:
                    return name
            self._count(names, -1)
        return Hold(self, names)

    def set_aside(self, name: str, number: int) -> None:
        """Let the step *number* wait for the limit *name*."""
        heapq.heappush(self._aside.setdefault(name, []), number)

    def back(self, *, everything: bool = False) -> Iterator[int]:
        """The waiting steps that may start now, per limit; with *everything*, all of them."""
        for name in [name for name, steps in self._aside.items() if steps]:
            steps = self._aside[name]
            with self._changed:
                free = self._left[name] - self._claims[name]
            for _ in range(len(steps) if everything else min(free, len(steps))):
                yield heapq.heappop(steps)

    def close(self) -> None:
        """Let no more attempts start: the run is cancelled."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self, names: tuple[str, ...]) -> None:
        """Wait on a worker until all of *names* are free, and take them.

        Raises
        ------
        TaskCancelledError
            The run was cancelled meanwhile.
        """
        with self._changed:
            for name in names:
                self._claims[name] += 1
            try:
                while not self._closed and not all(self._left[name] for name in names):
                    self._changed.wait()
                if self._closed:
                    raise TaskCancelledError("the run was cancelled while the task waited")
                self._count(names, -1)
            finally:
                for name in names:
                    self._claims[name] -= 1

    def give(self, names: tuple[str, ...]) -> None:
        """Release *names*."""
        with self._changed:
            self._count(names, +1)
            self._changed.notify_all()

    def tell(self) -> None:
        """Notify the driver that waiting steps may start."""
        self._freed()

    def _count(self, names: Iterable[str], change: int) -> None:
        for name in names:
            self._left[name] += change


class Hold:
    """The limits of one step, or of the items on one worker; held during an attempt.

    Parameters
    ----------
    limits
        Those of the run; *names* are taken already.
    names
        Which.

    Attributes
    ----------
    waited
        Seconds for which attempts waited.
    """

    __slots__ = ("_held", "_limits", "_names", "waited")

    def __init__(self, limits: Limits, names: tuple[str, ...]) -> None:
        self._limits = limits
        self._names = names
        self._held = True
        self.waited: float = 0.0

    def take(self) -> None:
        """Wait for the limits of the next attempt, unless they are held already.

        Raises
        ------
        TaskCancelledError
            The run was cancelled meanwhile.
        """
        if self._held:
            return
        began = time.perf_counter()
        self._limits.wait(self._names)
        self.waited += time.perf_counter() - began
        self._held = True

    def pause(self) -> None:
        """Release the limits until the next attempt; called on the worker."""
        self.end()
        self._limits.tell()

    def end(self) -> None:
        """Release the limits, if they are held."""
        if self._held:
            self._held = False
            self._limits.give(self._names)
