"""The steps of a run that may start: in which order, and which of them wait for a limit."""

from __future__ import annotations

import heapq
import inspect
import time

from mxm.pipeline.execution.ledger import Ledger
from mxm.pipeline.execution.limits import Hold, Limits
from mxm.pipeline.execution.plans.plan import Step
from mxm.pipeline.execution.runners import Runner
from mxm.pipeline.introspection.signatures import unwrapped

__all__ = ["Ready"]


class Ready:
    """The steps that may start, by number, and the mapped ones that have items which may.

    Parameters
    ----------
    ledger
        That of the run.

    Attributes
    ----------
    awaits
        The numbers of the steps that the runner awaits, and that hold no worker.
    limits
        Those of the run; None if no step has one.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._steps = ledger.plan.steps
        self._numbers: list[int] = []  # a heap, and so is the next one
        self._awaited: list[int] = []  # of those that the runner awaits
        self._since: dict[str, float] = {}  # when a step began to wait for a limit
        self.awaits: frozenset[int] = frozenset()
        self.limits: Limits | None = None

    def __bool__(self) -> bool:
        return bool(self._numbers or self._awaited)

    def prepare(self, runner: Runner) -> None:
        """Record what *runner* awaits, and the limits in the plan."""
        if runner.awaits:
            self.awaits = frozenset(
                i
                for i, step in enumerate(self._steps)
                if inspect.iscoroutinefunction(unwrapped(step.task.fn))
            )
        names = sorted({name for step in self._steps for name in step.task.limits})
        if names:
            most = {name: self._ledger.options.limits.get(name, 1) for name in names}
            self.limits = Limits(most, runner.wake)

    def add(self, number: int) -> None:
        """Let a step start as soon as the runner has room: its number, or -1 less than minus it.

        The negative ones go first, the last of them at once.
        """
        numbers = self._numbers
        if self.awaits and (number if number >= 0 else -number - 1) in self.awaits:
            numbers = self._awaited
        heapq.heappush(numbers, number)

    def next(self, runner: Runner) -> tuple[Step | None, Hold | None]:
        """The first step that *runner* has room for, and its limits, taken; None for none."""
        step: Step | None = None
        hold: Hold | None = None
        if self._awaited and runner.free(awaits=True):
            step, hold = self._first(self._awaited)
        if step is None and self._numbers and runner.free():
            step, hold = self._first(self._numbers)
        return step, hold

    def _first(self, numbers: list[int]) -> tuple[Step | None, Hold | None]:
        """The first of *numbers* that may start, and its limits; one that lacks a limit waits."""
        while numbers:
            number = heapq.heappop(numbers)
            step = self._steps[number if number >= 0 else -number - 1]
            if (
                self.limits is None
                or not step.task.limits
                or step.outcome
                or self._ledger.stops(step)
            ):
                return step, None
            taken = self.limits.take(step.task.limits)
            if isinstance(taken, Hold):
                since = self._since.get(step.name)
                taken.waited = 0.0 if since is None else time.perf_counter() - since
                return step, taken
            self.limits.set_aside(taken, number)
            if step.name not in self._since:
                self._since[step.name] = time.perf_counter()
                self._ledger.waits(step, taken, self.limits.most[taken])
            self.readmit()  # another one that waits for what this one would have taken, too
        return None, None

    def readmit(self) -> None:
        """Let steps that wait for limits start: as many as these have room for.

        All of them once a failure has stopped the run: they need none to be skipped.
        """
        if self.limits is not None:
            everything = self._ledger.stopped_by is not None
            for number in self.limits.back(everything=everything):
                self.add(number)
