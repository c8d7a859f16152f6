"""A mapped step during a run: its places, which of them may start, and its outcome."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Any, cast

from mxm.pipeline.bindings import Binding, Const, Each, Param, Upstream
from mxm.pipeline.errors import AssetClashError, Skip, add_note, described
from mxm.pipeline.execution.carriers import Wait, Waits
from mxm.pipeline.execution.events import ItemEnded, Observers
from mxm.pipeline.execution.items import Item, ItemCall, await_items, run_items
from mxm.pipeline.execution.later import CachedItem, Later, LaterTask
from mxm.pipeline.execution.limits import Hold
from mxm.pipeline.execution.output import Output
from mxm.pipeline.execution.plan import Step, chained_to
from mxm.pipeline.execution.rules import Fate
from mxm.pipeline.execution.written import announce
from mxm.pipeline.failure import Failure
from mxm.pipeline.interrupts import let_signals_pass
from mxm.pipeline.introspection.signatures import shape_of
from mxm.pipeline.problems import Problem
from mxm.pipeline.taskruns import ItemRun, ItemRuns, State, TaskRun
from mxm.pipeline.values.items import item_keys, items_of, require_pairs
from mxm.pipeline.values.jsonvalue import Written, to_json

if TYPE_CHECKING:
    from mxm.pipeline.execution.asked import Asked
    from mxm.pipeline.execution.contents import Content
    from mxm.pipeline.execution.step_cache import StepCache

__all__ = ["ItemList", "MappedStep", "Outcome", "PlaceState"]


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


class MappedStep:
    """A mapped step whose lists are known.

    Parameters
    ----------
    step
        The step.
    sources
        By upstream, the mapped steps whose places this one goes on with.
    take
        Gives the value of a binding.
    flow
        Name of the flow.
    is_later
        Whether the value of a binding is only loaded when an item is called.

    Attributes
    ----------
    cache
        Gives results of items that earlier runs kept.
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

    Raises
    ------
    Exception
        The lists are none, or differ in length; ``item_key`` raised.
    """

    def __init__(
        self,
        flow: str,
        step: Step,
        sources: Mapping[str, MappedStep],
        take: Callable[[Binding], Any],
        is_later: Callable[[Binding], bool] | None = None,
    ) -> None:
        self.step: Step = step
        self.sources = sources
        self.flow = flow
        self.cache: StepCache | None = None
        self._take = take
        self._is_later = is_later
        self._each: dict[int, ItemList] = {}  # by the id of the binding
        self._prepare()
        lists = self._lists()
        require_pairs({name: each.count for name, each in lists.items()})
        first = next(iter(lists.values()))
        self.count: int = first.count
        self.keys: Sequence[str] = self._named(lists, step.task.item_key)
        inputs = (step.task.over, *step.args, *step.kwargs.values())
        self.over: str = _text(next(b for b in inputs if isinstance(b, Each)))
        self.places: list[PlaceState] = [PlaceState.OPEN] * self.count
        self.runs: list[ItemRun | None] = [None] * self.count
        self.ready: deque[int] = deque()
        self.left: int = self.count
        self.at_work: int = 0
        self.begun: set[int] = set()
        self.offered: bool = False
        self.is_over: bool = False
        self._mean: float = 0.0  # seconds that an item takes
        self._ended = 0

    def _prepare(self) -> None:
        """Take the inputs, and the lists among them."""
        self._args = [self._input(b) for b in self.step.args]
        self._kwargs = {k: self._input(b) for k, b in self.step.kwargs.items()}

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

    def _list(self, binding: Each) -> ItemList:
        source = self.sources.get(chained_to(binding))
        items = None if source is not None else items_of(self._take(binding.items))
        self._each[id(binding)] = made = ItemList(source, items)
        return made

    def _input(self, binding: Binding) -> _Same | ItemList:
        if isinstance(binding, Each):
            return self._list(binding)
        if self._is_later is not None and self._is_later(binding):
            return _SameLater(functools.partial(self._take, binding))
        return _Same(self._take(binding))

    def _inputs(self) -> list[tuple[str, _Same | ItemList]]:
        shape = shape_of(self.step.task.fn)
        args = [((shape and shape.name_at(i)) or str(i), each) for i, each in enumerate(self._args)]
        return [*args, *self._kwargs.items()]

    def _lists(self) -> dict[str, ItemList]:
        return {name: each for name, each in self._inputs() if isinstance(each, ItemList)}

    def inputs_at(self, place: int, names: set[str]) -> dict[str, Any]:
        """The arguments of these *names* for the item at *place*."""
        return {name: each.at(place) for name, each in self._inputs() if name in names}

    def _named(
        self, lists: Mapping[str, ItemList], choose: Callable[[Any], object] | None
    ) -> Sequence[str]:
        first = next(iter(lists.values()))
        if choose is None:
            # The places of a chain are named at its head, where they are all known at once.
            chained = next((each.source for each in lists.values() if each.source), None)
            return chained.keys if chained else item_keys(first.items or ())
        if first.source is None:
            return item_keys(first.items or (), choose)
        source = first.source
        full = [i for i, place in enumerate(source.places) if place is PlaceState.VALUE]
        chosen = item_keys([source.value_at(i) for i in full], choose)
        by_place = dict(zip(full, chosen, strict=True))
        return [by_place.get(i, key) for i, key in enumerate(source.keys)]

    def value_at(self, place: int) -> Any:
        """The item that a following map gets from *place*, which has a value."""
        run = cast("ItemRun", self.runs[place])
        if run.has_value:
            return run.value
        return self._failure(run)  # of `outcomes`

    def item_content(self, each: Each, place: int) -> Content:
        """The content of the item of the list *each* at *place*."""
        return self._each[id(each)].content_at(place)

    def content_at(self, origin: Upstream, place: int) -> Content | None:
        """The content of a result for the item at *place*; None if the whole result counts."""
        del origin, place
        return None

    def order_at(self, name: str, place: int) -> ItemRun | None:
        """The item of the step *name* that the item at *place* runs after, if there is one."""
        del name, place
        return None

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

    def item(self, place: int) -> Item:
        """The item at *place*, with its inputs."""
        args = tuple([each.at(place) for each in self._args])
        kwargs = {k: each.at(place) for k, each in self._kwargs.items()}
        return Item(
            place, self.keys[place], ItemCall(self.flow, self.step, args, kwargs), self.begun
        )

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

    def run(
        self,
        places: Sequence[int],
        output: Output,
        observers: Observers,
        slot: int,
        *,
        stops: bool,
        hold: Hold | None = None,
    ) -> None:
        """Call the items at *places*, one after the other, on a worker.

        Parameters
        ----------
        places
            The places.
        output
            The step's: what its items print and log.
        observers
            Those of the run.
        slot
            The worker.
        stops
            Whether none is begun after one that failed.
        hold
            The limits of the step, which its items hold one after the other.
        """
        items, made = self._handed_out(places, observers, slot)
        for place, run in run_items(
            items, observers, output, slot, hold, lambda: self.is_over, made
        ):
            if self._stops_after(place, run, stops=stops):
                break

    def run_awaited(
        self,
        places: Sequence[int],
        output: Output,
        observers: Observers,
        slot: int,
        *,
        stops: bool,
        hold: Hold | None = None,
    ) -> Waits[None]:
        """Like `run` for an async function, but without a thread while an item waits."""
        items, made = self._handed_out(places, observers, slot)
        for one in await_items(items, observers, output, slot, hold, lambda: self.is_over, made):
            if isinstance(one, Wait):
                yield one
            elif self._stops_after(*one, stops=stops):
                break

    def _handed_out(
        self, places: Sequence[int], observers: Observers, slot: int
    ) -> tuple[Iterable[Item], Callable[[int, ItemRun], None]]:
        """The items at *places* to call, and the function that receives the run of each."""
        asked: dict[int, Asked] = {}

        def made(place: int, run: ItemRun) -> None:
            if self.cache is not None and place in asked:
                self.cache.made_item(asked.pop(place), run)

        if self.cache is None:
            return (self.item(place) for place in places), made
        return self._to_call(self.cache, places, asked, observers, slot), made

    def _stops_after(self, place: int, run: ItemRun, *, stops: bool) -> bool:
        self.runs[place] = run
        failed = run.state is State.FAILED
        return stops and failed and self.step.task.on_item_error == "fail"

    def _to_call(
        self,
        cache: StepCache,
        places: Sequence[int],
        asked: dict[int, Asked],
        observers: Observers,
        slot: int,
    ) -> Iterator[Item]:
        """The items at *places* without a result from an earlier run; the others end here."""
        for place in places:
            answer = cache.find_item(self, place, self.keys[place], slot)
            if not isinstance(answer, ItemRun):
                try:
                    item = self.item(place)
                except BaseException as error:  # a value that cannot be loaded
                    let_signals_pass(error)
                    reason = f"its inputs could not be read: {described(error)}"
                    key = self.keys[place]
                    answer = ItemRun(key, State.FAILED, error=error, reason=reason, slot=slot)
                else:
                    item.call.probe = answer.probe
                    asked[place] = answer
                    yield item
                    continue
            self.runs[place] = answer
            if answer.asset is not None and answer.asset.path is not None:
                announce(observers, self.step.name, answer.asset, answer.ended, answer.key)
            if observers:
                now = datetime.now(UTC)
                event = ItemEnded(observers.run, now, self.step.name, place, answer)
                observers.notify(event)

    def call_again(self, place: int, observers: Observers) -> ItemRun:
        """Call the item at *place* on this thread: its kept result cannot be loaded."""
        before = self.runs[place]
        self.run([place], Output(), observers, 1, stops=False)
        self.begun.discard(place)
        run = self.runs[place]
        if run is None or run is before:
            return ItemRun(self.keys[place], State.CANCELLED, reason="the run was cancelled")
        return run

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

    def from_cache(self, items: ItemRuns) -> tuple[Later, Written, State] | None:
        """The results and the state, where an earlier run kept some of them; else None."""
        if self.cache is None:
            return None
        runs = [run for run in items.values() if run.has_value]
        cached = [run for run in runs if isinstance(run, CachedItem)]
        if not cached:
            return None
        state = State.CACHED if len(cached) == len(runs) else State.SUCCEEDED
        return Later(self.values), self.written(), state

    def kept(self, items: ItemRuns) -> TaskRun:
        """The step, if an earlier run kept all of its *items*."""
        later, written = Later(self.values), self.written()
        return LaterTask(later, written, name=self.step.name, state=State.CACHED, items=items)

    def written(self) -> Written:
        """The results as JSON, without loading those that an earlier run kept."""
        parts: list[Written] = []
        for place, what in enumerate(self.places):
            run = self.runs[place]
            if what is PlaceState.VALUE and run is not None:
                made = run.to_written() if run.has_value else to_json(self.value_at(place))
                parts.append(made)
        return Written(
            [one.value for one in parts],
            sum(one.nonfinite for one in parts),
            tuple(
                part.replace(" at $", f" at $[{i}]", 1)
                for i, one in enumerate(parts)
                for part in one.described
            ),
        )

    def outcome(self) -> Outcome:
        """The outcome of the step, now that every place has ended."""
        runs = [run for run in self.runs if run is not None]
        failed = [run for run in runs if run.state is State.FAILED]
        cut = next(
            (
                (name, source.failed() or source.places.count(PlaceState.FAILED))
                for name, source in self.sources.items()
                if PlaceState.FAILED in source.places
            ),
            None,
        )
        task = self.step.task
        called = [run for run in runs if run.attempts or run.has_value]
        good = sum(run.has_value for run in runs)
        if task.outcomes:
            failed = []
        fails = failed and (task.on_item_error == "fail" or not good)
        clashes = [run for run in runs if isinstance(run.error, AssetClashError)]
        if clashes:  # under every rule: it is unknown which of the two the file belongs to
            failed, fails = clashes, clashes
        if fails:
            error = cast("BaseException", failed[0].error)
            self._note(error, failed, len(called))
            return Outcome(state=State.FAILED, error=error, reason=described(error))
        if cut is not None:
            name, count = cut
            total = self.sources[name].count
            reason = f"{count:,} of {total:,} item{'s' * (total != 1)} failed in {name!r}"
            return Outcome(state=State.SKIPPED, reason=reason, cause=name)
        if called and not task.outcomes and all(run.state is State.SKIPPED for run in called):
            return Outcome(state=State.SKIPPED, reason=called[0].reason)
        if self.count and not called:
            return Outcome(
                state=State.SKIPPED, reason="no items are left: all were left out upstream"
            )
        return Outcome(state=State.SUCCEEDED)

    def _note(self, error: BaseException, failed: Sequence[ItemRun], count: int) -> None:
        others = [run.key for run in failed[1 : 1 + _MOST_NAMED]]
        more = len(failed) - 1 - len(others)
        note = f"item {failed[0].key!r} of task {self.step.name!r} failed"
        if others:
            note += f", and so did {', '.join(others)}" + (f" and {more:,} more" if more else "")
            note += f" ({len(failed):,} of {count:,} items)"
        add_note(error, note)

    def left_out(self, flow: str) -> Problem | None:
        """A warning about items that failed and are left out of the result."""
        task = self.step.task
        failed = [r for r in self.runs if r is not None and r.state is State.FAILED]
        if not failed or task.outcomes or task.on_item_error == "fail":
            return None
        names = ", ".join(run.key for run in failed[:_MOST_NAMED])
        more = len(failed) - _MOST_NAMED
        names += f" and {more:,} more" if more > 0 else ""
        return Problem(
            "MXM506",
            f"{len(failed):,} of {self.count:,} items of task {task.name!r} failed and are left "
            f"out of its result: {names}; the first: {failed[0].reason}",
            source=task.source,
            flow=flow,
            task=task.name,
            severity="warning",
        )


_MOST_NAMED = 10
# By runner, how many seconds of work a worker is given at once, and how many items at most.
_CHUNKS = {"sequential": (0.0, 200), "threads": (0.002, 50)}
_ELSEWHERE = (0.1, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a mapped step; the parameters as in `TaskRun`."""

    state: State
    error: BaseException | None = None
    reason: str | None = None
    cause: str | None = None


class _Same:
    """An input that is the same for every item."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def at(self, place: int) -> Any:
        del place
        return self._value


class _SameLater(_Same):
    """An input that is loaded when the first item is called."""

    def __init__(self, load: Callable[[], Any]) -> None:
        super().__init__(Later(load))

    def at(self, place: int) -> Any:
        del place
        return self._value.get()


class ItemList:
    """A list of items: those of an upstream mapped step, or the members of a value."""

    __slots__ = ("items", "source")

    def __init__(self, source: MappedStep | None, items: list[Any] | None) -> None:
        self.source: MappedStep | None = source
        self.items: list[Any] | None = items

    @property
    def count(self) -> int:
        """How many items there are."""
        return self.source.count if self.source else len(self.items or ())

    def at(self, place: int) -> Any:
        """The item at *place*."""
        if self.source is not None:
            return self.source.value_at(place)
        return (self.items or [])[place]

    def content_at(self, place: int) -> Content:
        """The content of the item at *place*."""
        # Loaded by runs that have cached tasks.
        from mxm.pipeline.execution.contents import Fresh, content_of_item

        run = self.source.runs[place] if self.source is not None else None
        return content_of_item(run) if run and run.has_value else Fresh(self.at(place))


def _text(binding: Each) -> str:
    """Where the items of *binding* come from, in words."""
    items = binding.items
    if isinstance(items, Upstream | Param):
        return str(items)
    if isinstance(items, Const):
        return "a constant"
    return f"a {items.kind.__name__}"
