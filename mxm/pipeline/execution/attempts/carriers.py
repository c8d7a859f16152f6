"""Carries work that mostly waits: it takes a thread only while it has something to do."""

from __future__ import annotations

import functools
import heapq
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, cast

__all__ = ["Carriers", "Wait", "Waits"]

T = TypeVar("T")

_MOST_IDLE = 4  # to start a thread takes longer than a short piece of work


@dataclass(frozen=True, slots=True)
class Wait:
    """What a piece of work waits for.

    Parameters
    ----------
    until
        A future that is done by then; None to wait for the *deadline* alone.
    deadline
        When it goes on in any case, by the monotonic clock; None for never.
    """

    until: Future[Any] | None = None
    deadline: float | None = None

    @classmethod
    def of(cls, seconds: float) -> Wait:
        """A pause of so many seconds."""
        return cls(None, time.monotonic() + seconds)


Waits: TypeAlias = Generator[Wait, None, T]
"""Work that yields what it waits for, and goes on in the same context, on any thread."""


class Carriers(Generic[T]):
    """The threads of work that mostly waits: as many as have something to do, and a few more.

    Parameters
    ----------
    ended
        Called with what a piece of work returned or raised.
    hurry
        Called when something is due earlier than `due` said.
    """

    def __init__(
        self, ended: Callable[[T | BaseException], object], hurry: Callable[[], object]
    ) -> None:
        self._ended = ended
        self._hurry = hurry
        self._changed = threading.Condition()
        self._jobs: deque[Callable[[], object]] = deque()
        self._idle = 0
        self._count = itertools.count(1)
        self._due: list[tuple[float, int, Callable[[], object]]] = []  # a heap
        self._said = math.inf  # when the next one is due, as far as the caller knows
        self._closed = False

    def start(self, context: Context, work: Callable[[], T | Waits[T]]) -> None:
        """Do *work* in *context*; go on with what it returns, if that is to wait."""

        def begin() -> None:
            try:
                made = context.run(work)
            except BaseException as error:  # goes to the thread that waits for it
                self._ended(error)
                return
            if isinstance(made, Generator):
                self._go_on(context, cast("Waits[T]", made))
            else:
                self._ended(made)

        self._submit(begin)

    def due(self) -> float:
        """Let go on what has waited long enough; in how many seconds the next one has."""
        now = time.monotonic()
        with self._changed:
            ready: list[Callable[[], object]] = []
            while self._due and self._due[0][0] <= now:
                ready.append(heapq.heappop(self._due)[2])
            self._said = self._due[0][0] if self._due else math.inf
            said = self._said
        for go_on in ready:
            go_on()
        return said - now

    def close(self) -> None:
        """Let the threads end that have nothing to do."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _go_on(self, context: Context, work: Waits[T]) -> None:
        try:
            wait = context.run(next, work)
        except StopIteration as end:
            self._ended(end.value)
        except BaseException as error:
            self._ended(error)
        else:
            self._wait(wait, functools.partial(self._go_on, context, work))

    def _wait(self, wait: Wait, go_on: Callable[[], object]) -> None:
        # The future and the clock may come together; and what the clock has for hours must not keep
        # the work and its values alive.
        left = [go_on]

        def once(_: object = None) -> None:
            try:
                job = left.pop()
            except IndexError:
                return
            self._submit(job)

        if wait.deadline is not None:
            with self._changed:
                heapq.heappush(self._due, (wait.deadline, next(self._count), once))
                is_first = wait.deadline < self._said
            if is_first:
                self._hurry()
        if wait.until is not None:
            wait.until.add_done_callback(once)

    def _submit(self, job: Callable[[], object]) -> None:
        with self._changed:
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._changed.notify()
                return
            name = f"mxm-carrier-{next(self._count)}"
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _serve(self) -> None:
        while (job := self._next()) is not None:
            job()
            del job  # an idle thread must not keep a step's values alive

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            self._idle += 1
            try:
                while not self._jobs:
                    if self._closed or self._idle > _MOST_IDLE:
                        return None
                    self._changed.wait()
                return self._jobs.popleft()
            finally:
                self._idle -= 1
