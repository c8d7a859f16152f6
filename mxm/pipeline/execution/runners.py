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
from typing import Protocol, TypeAlias

from mxm.pipeline.execution.call import invoke_with
from mxm.pipeline.execution.items import many_with
from mxm.pipeline.execution.options import RunOptions, place_target
from mxm.pipeline.execution.places.base import Place
from mxm.pipeline.interrupts import AT_ONCE_S
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
Work: TypeAlias = Callable[[], Ended]


class Runner(Protocol):
    """Starts work, one piece per step, and returns pieces in the order in which they end.

    Attributes
    ----------
    workers
        How many pieces run at once.
    """

    workers: int

    def free(self) -> bool:
        """Whether one more piece would start at once."""
        ...

    def start(self, work: Work) -> None:
        """Start *work*; it raises only to end the whole run."""
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

    def __init__(self) -> None:
        self._ended: list[Ended] = []

    def free(self) -> bool:
        return not self._ended

    def start(self, work: Work) -> None:
        self._ended.append(work())

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

    Not `concurrent.futures`: it joins its threads when the interpreter exits, so one sleeping task
    would block the whole command.
    """

    def __init__(self, workers: int) -> None:
        self.workers: int = workers
        self._busy = 0
        self._threads: list[threading.Thread] = []
        self._work: queue.SimpleQueue[tuple[contextvars.Context, Work] | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[Ended | BaseException | None] = queue.SimpleQueue()

    def free(self) -> bool:
        return self._busy < self.workers

    def start(self, work: Work) -> None:
        self._busy += 1
        if len(self._threads) < self._busy:
            name = f"mxm-worker-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        self._work.put((contextvars.copy_context(), work))

    def _serve(self) -> None:
        while (item := self._work.get()) is not None:
            context, work = item
            try:
                self._ended.put(context.run(work))
            except BaseException as error:  # goes to the waiting thread, which ends the run
                self._ended.put(error)
            del item, context, work  # an idle worker must not keep a step's values alive

    def next(self) -> Ended | None:
        while True:
            try:
                ended = self._ended.get(timeout=AT_ONCE_S)
                break
            except queue.Empty:  # a signal that came before the wait is handled here
                continue
        if ended is None:
            return None
        self._busy -= 1
        if isinstance(ended, BaseException):
            raise ended
        return ended

    def wake(self) -> None:
        self._ended.put(None)

    def stop(self) -> None:
        pass

    def drain(self, seconds: float) -> Iterator[Ended]:
        deadline = time.monotonic() + seconds
        while self._busy:
            try:
                ended = self._ended.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                return
            if ended is None:
                continue
            self._busy -= 1
            if not isinstance(ended, BaseException):
                yield ended

    def idle(self) -> bool:
        return not self._busy

    def close(self) -> None:
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

    def __init__(self, place: Place, workers: int) -> None:
        super().__init__(workers)
        self._place = place

    def start(self, work: Work) -> None:
        def elsewhere() -> Ended:
            invoke_with(self._place.invoke)
            many_with(self._place.invoke_many)
            return work()

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
