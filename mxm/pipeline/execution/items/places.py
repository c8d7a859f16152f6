"""The places of a mapped step during a run: which may start, and how the items there ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import IntEnum
from typing import Any, cast

from mxm.pipeline.errors import Skip
from mxm.pipeline.execution.plans.plan import Step
from mxm.pipeline.execution.rules import Fate
from mxm.pipeline.taskruns import ItemRun, ItemRuns, State
from mxm.pipeline.values.failure import Failure

__all__ = ["ItemPlaces", "PlaceState"]


class PlaceState(IntEnum):
    """The state of a place of a mapped step."""

    OPEN = 0  # it waits for what is upstream
    VALUE = 1
    EMPTY = 2  # skipped, or failed and left out: a gap for the maps that follow
    FAILED = 3  # failed, or not called because of a failure: what follows cannot be called
    READY = 4  # it may start, or is at work

    @property
    def has_ended(self) -> bool:
        """Whether this state is final."""
        return self not in (PlaceState.OPEN, PlaceState.READY)


class ItemPlaces:
    """The places of a mapped step, one for each item of its list.

    Parameters
    ----------
    step
        The step.
    sources
        By upstream, the mapped steps whose places this one goes on with.

    Attributes
    ----------
    keys
        The name of each item.
    over
        Where the items come from, in words.
    ready
        Places that may start.
    left
        How many places are open.
    at_work
        How many items are at work.
    begun
        Places whose function was called, and which have not ended.
    offered
        Whether the driver knows that some may start.
    is_over
        Whether the run was cancelled.
    """

    def __init__(self, step: Step, sources: Mapping[str, ItemPlaces]) -> None:
        self.step: Step = step
        self.sources: Mapping[str, ItemPlaces] = sources
        self.at_work: int = 0
        self.begun: set[int] = set()
        self.offered: bool = False
        self.is_over: bool = False
        self._mean: float = 0.0  # seconds that an item takes
        self._ended = 0

    def _open(self, keys: Sequence[str], over: str) -> None:
        """Make the places: the lists are known, and so is the name of each item."""
        self.count: int = len(keys)
        self.keys: Sequence[str] = keys
        self.over: str = over
        self.places: list[PlaceState] = [PlaceState.OPEN] * self.count
        self.runs: list[ItemRun | None] = [None] * self.count
        self.ready: deque[int] = deque()
        self.left: int = self.count

    def fate_at(self, place: int) -> Fate:
        """How the item at *place* ended."""
        run, what = self.runs[place], self.places[place]
        name = self.step.name
        failed = run is not None and run.state is State.FAILED
        broken = what is PlaceState.FAILED and not self.step.task.allow_failure
        cancelled = run is not None and run.state is State.CANCELLED
        verb = "failed" if failed else "was cancelled" if cancelled else "was left out"
        because = f"the item of {name!r} {verb}"
        return Fate(name, what is PlaceState.VALUE, failed, broken, broken, name, because)

    def value_at(self, place: int) -> Any:
        """The item that a following map gets from *place*, which has a value."""
        run = cast("ItemRun", self.runs[place])
        if run.has_value:
            return run.value
        return self._failure(run)  # of `outcomes`

    def _failure(self, run: ItemRun) -> Failure:
        error = run.error if run.error is not None else Skip(run.reason or "")
        return Failure(self.step.name, error, run.attempts, run.key)

    def look_at(self, place: int) -> bool:
        """Decide *place* from what is upstream of it; return whether it ended without a call."""
        above = [source.places[place] for source in self.sources.values()]
        if self.places[place] is not PlaceState.OPEN or not all(each.has_ended for each in above):
            return False
        if PlaceState.FAILED in above:
            names = [n for n, s in self.sources.items() if s.places[place] is PlaceState.FAILED]
            self._leave(place, PlaceState.FAILED, f"the item of {names[0]!r} failed")
            return True
        if PlaceState.EMPTY in above:
            names = [n for n, s in self.sources.items() if s.places[place] is PlaceState.EMPTY]
            self._leave(place, PlaceState.EMPTY, f"the item of {names[0]!r} was left out")
            return True
        self.start(place)
        return False

    def start(self, place: int) -> None:
        """Note that the item at *place* may start."""
        self.places[place] = PlaceState.READY
        self.ready.append(place)

    def _leave(self, place: int, what: PlaceState, reason: str) -> None:
        self.runs[place] = ItemRun(self.keys[place], State.SKIPPED, reason=reason)
        self.places[place] = what
        self.left -= 1

    def failed(self) -> int:
        """How many items failed."""
        return sum(run is not None and run.state is State.FAILED for run in self.runs)

    def fails(self, places: Iterable[int]) -> bool:
        """Whether one of the ended items at *places* failed and so fails the step."""
        for place in places:
            run = self.runs[place]
            failed = run is not None and run.state is State.FAILED
            if failed and self.places[place] is PlaceState.FAILED:
                return True
        return False

    def take(self, runner: str, workers: int) -> list[int]:
        """Some places that may start, for one worker: few if items take long, many if not.

        The last ones go in smaller chunks, so that no worker waits long for another.
        """
        aim, most = _CHUNKS.get(runner, _ELSEWHERE)
        count = most if not aim else 1 if not self._ended else int(aim / max(self._mean, 1e-9))
        if aim:
            count = min(count, len(self.ready) // (2 * workers))
        count = max(1, min(count, most, len(self.ready)))
        return [self.ready.popleft() for _ in range(count)]

    def settle(self, places: Sequence[int]) -> list[int]:
        """Record the items at *places* and return those that ended; the others may start again."""
        done: list[int] = []
        for place in places:
            run = self.runs[place]
            if run is None:
                self.ready.append(place)
                continue
            self.begun.discard(place)
            self._ended += 1
            self._mean += ((run.seconds or 0.0) - self._mean) / min(self._ended, 100)
            self.ended(place, run)
            done.append(place)
        return done

    def ended(self, place: int, run: ItemRun) -> None:
        """Record that the item at *place* ended."""
        self.left -= 1
        if run.has_value or self.step.task.outcomes:
            self.places[place] = PlaceState.VALUE
        elif run.state is State.FAILED and self.step.task.on_item_error == "fail":
            self.places[place] = PlaceState.FAILED
        else:
            self.places[place] = PlaceState.EMPTY

    def stop(self, reason: str) -> None:
        """Call none of the items that may start."""
        for place in self.ready:
            self._leave(place, PlaceState.FAILED, reason)
        self.ready.clear()

    def cancel(self, reason: str) -> None:
        """Call no more items: the run was cancelled."""
        self.is_over = True
        ended = [
            p for p, what in enumerate(self.places) if what is PlaceState.READY and self.runs[p]
        ]
        self.settle(ended)
        for place, what in enumerate(self.places):
            if not what.has_ended:
                self.runs[place] = ItemRun(self.keys[place], State.CANCELLED, reason=reason)
                self.places[place] = PlaceState.FAILED
        self.ready.clear()
        self.left = 0

    def resume(self) -> None:
        """Let the items start after all that were handed out and not begun, once no one works.

        They are called once, without retries. One that was begun and cut short is not called again.
        """
        self.step = replace(self.step, task=replace(self.step.task, retries=0))
        waiting = set(self.ready)
        out = [
            place
            for place, what in enumerate(self.places)
            if what is PlaceState.READY and place not in waiting
        ]
        self.settle([p for p in out if self.runs[p] is not None or p not in self.begun])
        for place in range(self.count):
            self.look_at(place)

    def items(self) -> ItemRuns:
        """The items so far."""
        runs = [
            run or ItemRun(self.keys[i], State.CANCELLED, reason="the run was cancelled")
            for i, run in enumerate(self.runs)
        ]
        return ItemRuns(self.over, runs)

    def values(self) -> list[Any]:
        """The results in the order of their places, without gaps."""
        return [self.value_at(i) for i, what in enumerate(self.places) if what is PlaceState.VALUE]


# By runner, how many seconds of work a worker is given at once, and how many items at most.
_CHUNKS = {"sequential": (0.0, 200), "threads": (0.002, 50)}
_ELSEWHERE = (0.1, 1000)
