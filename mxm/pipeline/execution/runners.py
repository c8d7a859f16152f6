"""Runners: where steps run, and how their ends are returned."""

from __future__ import annotations

import contextvars
import importlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast

from mxm.pipeline.execution.attempts.carriers import Carriers, Waits
from mxm.pipeline.execution.attempts.invocation import invoke_with
from mxm.pipeline.execution.items.calling import many_with
from mxm.pipeline.execution.options import RunOptions, place_target
from mxm.pipeline.execution.places.base import Place
from mxm.pipeline.process.interrupts import AT_ONCE_S
from mxm.pipeline.runs import TaskRun
from mxm.pipeline.spec import FlowSpec

__all__ = ["Ended", "ItemsEnded", "Runner", "make_runner", "worker_count"]


@dataclass(frozen=True, slots=True)
class ItemsEnded:
    """Items of a mapped step that a worker has finished.

    Parameters
    ----------
    step
        The step.
    places
        Their places in its list.
    slot
        The worker, counted from 1.
    """

    step: str
    places: list[int]
    slot: int


Ended: TypeAlias = TaskRun | ItemsEnded
Work: TypeAlias = Callable[[], Ended | Waits[Ended]]
"""A piece of work. One that awaits may return what it does, to hold no thread meanwhile."""


class Runner(Protocol):
    """Starts work, one piece per step, and returns pieces in the order in which they end.

    Attributes
    ----------
    workers
        How many pieces run at once.
    awaits
        Whether as many pieces that await something go on beside these, and hold no worker.
    """

    workers: int
    awaits: bool

    def free(self, *, awaits: bool = False) -> bool:
        """Whether one more piece would start at once; one that *awaits*, if so."""
        ...

    def start(
        self, work: Work, *, awaits: bool = False, context: contextvars.Context | None = None
    ) -> None:
        """Start *work*; it raises only to end the whole run.

        Parameters
        ----------
        work
            The piece.
        awaits
            Whether it goes on beside those that hold a worker, if the runner awaits.
        context
            Where one that awaits runs; None for a copy of the caller's.
        """
        ...

    def next(self) -> Ended | None:
        """Wait for the next piece to end, and return it; None after a call of `wake`."""
        ...

    def wake(self) -> None:
        """Let `next` come back: another piece may start. Called on any thread."""
        ...

    def stop(self) -> None:
        """Stop running work if possible: a thread cannot be stopped."""
        ...

    def drain(self, seconds: float) -> Iterator[Ended]:
        """Yield the pieces that still end within *seconds*, after the last start."""
        ...

    def idle(self) -> bool:
        """Whether no piece is running."""
        ...

    def close(self) -> None:
        """Release the workers, without waiting for busy ones."""
        ...


class Sequential:
    """One step at a time, on the caller's own thread."""

    workers: int = 1
    awaits: bool = False

    def __init__(self) -> None:
        self._ended: list[Ended] = []

    def free(self, *, awaits: bool = False) -> bool:
        del awaits
        return not self._ended

    def start(
        self, work: Work, *, awaits: bool = False, context: contextvars.Context | None = None
    ) -> None:
        del awaits, context
        self._ended.append(cast("Ended", work()))

    def next(self) -> Ended | None:
        return self._ended.pop()

    def wake(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def drain(self, seconds: float) -> Iterator[Ended]:
        del seconds
        return iter(())

    def idle(self) -> bool:
        return True

    def close(self) -> None:
        pass


class Threads:
    """Steps on daemon threads: at most *workers* at once, and none keeps the process alive.

    As many that await something go on beside them, and hold none of these threads.

    Not `concurrent.futures`: it joins its threads when the interpreter exits, so one sleeping task
    would block the whole command.
    """

    awaits: bool = True

    def __init__(self, workers: int) -> None:
        self.workers: int = workers
        self._busy = 0
        self._awaiting = 0
        self._threads: list[threading.Thread] = []
        self._work: queue.SimpleQueue[tuple[contextvars.Context, Work] | None] = queue.SimpleQueue()
        # With each end, whether the piece was one that awaits.
        self._ended: queue.SimpleQueue[tuple[Ended | BaseException, bool] | None]
        self._ended = queue.SimpleQueue()
        self._carriers: Carriers[Ended] = Carriers(
            lambda ended: self._ended.put((ended, True)), self.wake
        )

    def free(self, *, awaits: bool = False) -> bool:
        return (self._awaiting if awaits else self._busy) < self.workers

    def start(
        self, work: Work, *, awaits: bool = False, context: contextvars.Context | None = None
    ) -> None:
        context = context or contextvars.copy_context()
        if awaits:
            self._awaiting += 1
            self._carriers.start(context, work)
            return
        self._busy += 1
        if len(self._threads) < self._busy:
            name = f"mxm-worker-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        self._work.put((context, work))

    def _serve(self) -> None:
        while (item := self._work.get()) is not None:
            context, work = item
            try:
                self._ended.put((cast("Ended", context.run(work)), False))
            except BaseException as error:  # goes to the waiting thread, which ends the run
                self._ended.put((error, False))
            del item, context, work  # an idle worker must not keep a step's values alive

    def _end(self, seconds: float) -> Ended | BaseException | None:
        """The end of a piece, within *seconds*; None after a call of `wake`.

        Raises
        ------
        queue.Empty
            None has ended.
        """
        ended = self._ended.get(timeout=max(0.0, min(seconds, self._carriers.due())))
        if ended is None:
            return None
        if ended[1]:
            self._awaiting -= 1
        else:
            self._busy -= 1
        return ended[0]

    def next(self) -> Ended | None:
        while True:
            try:
                ended = self._end(AT_ONCE_S)
                break
            except queue.Empty:  # a signal that came before the wait is handled here
                continue
        if isinstance(ended, BaseException):
            raise ended
        return ended

    def wake(self) -> None:
        self._ended.put(None)

    def stop(self) -> None:
        pass

    def drain(self, seconds: float) -> Iterator[Ended]:
        deadline = time.monotonic() + seconds
        while not self.idle():
            left = deadline - time.monotonic()
            try:
                ended = self._end(left)
            except queue.Empty:
                if left <= 0:
                    return
                continue
            if ended is not None and not isinstance(ended, BaseException):
                yield ended

    def idle(self) -> bool:
        return not self._busy and not self._awaiting

    def close(self) -> None:
        self._carriers.close()
        for _ in self._threads:
            self._work.put(None)
        if self.idle():
            # A thread reports a step's end a moment before it drops the step. If Python ended in
            # between, the step's module would never be freed, nor its open files written.
            self._join()

    def _join(self) -> None:
        deadline = time.monotonic() + _GRACE_S
        for thread in self._threads:
            thread.join(max(0, deadline - time.monotonic()))


_GRACE_S = 0.5


class Placed(Threads):
    """Steps on threads that hand each attempt's function to a place."""

    awaits: bool = False  # the thread waits for the place

    def __init__(self, place: Place, workers: int) -> None:
        super().__init__(workers)
        self._place = place

    def start(
        self, work: Work, *, awaits: bool = False, context: contextvars.Context | None = None
    ) -> None:
        del awaits, context

        def elsewhere() -> Ended:
            invoke_with(self._place.invoke)
            many_with(self._place.invoke_many)
            return cast("Ended", work())

        super().start(elsewhere)

    def stop(self) -> None:
        self._place.close()

    def close(self) -> None:
        super().close()
        self._place.close()
        # Their workers are gone, so the threads end at once, unless they wait for a retry.
        self._join()


def make_runner(options: RunOptions, flow: FlowSpec) -> Runner:
    """The runner that *options* name, for a run of *flow*.

    Raises
    ------
    BackendError
        Its place cannot be reached.
    """
    if options.runner == "sequential":
        return Sequential()
    workers = worker_count(options)
    if options.runner == "threads":
        return Threads(workers)
    module, _, name = (place_target(options.runner) or "").partition(":")
    place: Place = getattr(importlib.import_module(module), name)(flow, options)
    return Placed(place, place.slots)


def worker_count(options: RunOptions) -> int:
    """The number of tasks that run at once."""
    return 1 if options.runner == "sequential" else options.workers or os.cpu_count() or 1
