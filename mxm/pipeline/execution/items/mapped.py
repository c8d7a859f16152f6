"""A mapped step during a run: its lists, its items, and the calls that a worker makes of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mxm.pipeline.bindings import Binding, Each, Upstream
from mxm.pipeline.errors import described
from mxm.pipeline.execution.attempts.carriers import Wait, Waits
from mxm.pipeline.execution.attempts.written import announce
from mxm.pipeline.execution.events import ItemEnded, Observers
from mxm.pipeline.execution.items.calling import Item, ItemCall, await_items, run_items
from mxm.pipeline.execution.items.inputs import ItemList, Same, SameLater, described_list
from mxm.pipeline.execution.items.outcomes import Outcome, outcome_of
from mxm.pipeline.execution.items.places import ItemPlaces, PlaceState
from mxm.pipeline.execution.kept.later import CachedItem, Later, LaterTask
from mxm.pipeline.execution.limits import Hold
from mxm.pipeline.execution.output import Output
from mxm.pipeline.execution.plans.plan import Step, chained_to
from mxm.pipeline.introspection.signatures import shape_of
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.taskruns import ItemRun, ItemRuns, State, TaskRun
from mxm.pipeline.values.items import item_keys, items_of, require_pairs
from mxm.pipeline.values.jsonvalue import Written, to_json

if TYPE_CHECKING:
    from mxm.pipeline.execution.cache.asked import Asked
    from mxm.pipeline.execution.cache.step_cache import StepCache
    from mxm.pipeline.execution.kept.contents import Content

__all__ = ["MappedStep"]


class MappedStep(ItemPlaces):
    """A mapped step whose lists are known.

    Parameters
    ----------
    step
        The step.
    sources
        By upstream, the mapped steps whose places this one goes on with.
    take
        Returns the value of a binding.
    flow
        Name of the flow.
    is_later
        Whether the value of a binding is only loaded when an item is called.

    Attributes
    ----------
    cache
        Gives results of items that earlier runs kept.

    Raises
    ------
    Exception
        The lists are none, or differ in length; ``item_key`` raised.
    """

    def __init__(
        self,
        flow: str,
        step: Step,
        sources: Mapping[str, ItemPlaces],
        take: Callable[[Binding], Any],
        is_later: Callable[[Binding], bool] | None = None,
    ) -> None:
        super().__init__(step, sources)
        self.flow = flow
        self.cache: StepCache | None = None
        self._take = take
        self._is_later = is_later
        self._each: dict[int, ItemList] = {}  # by the id of the binding
        self._prepare()
        lists = self._lists()
        require_pairs({name: each.count for name, each in lists.items()})
        inputs = (step.task.over, *step.args, *step.kwargs.values())
        over = described_list(next(b for b in inputs if isinstance(b, Each)))
        self._open(self._named(lists, step.task.item_key), over)

    def _prepare(self) -> None:
        """Take the inputs, and the lists among them."""
        self._args = [self._input(b) for b in self.step.args]
        self._kwargs = {k: self._input(b) for k, b in self.step.kwargs.items()}

    def _list(self, binding: Each) -> ItemList:
        source = self.sources.get(chained_to(binding))
        items = None if source is not None else items_of(self._take(binding.items))
        self._each[id(binding)] = made = ItemList(source, items)
        return made

    def _input(self, binding: Binding) -> Same | ItemList:
        if isinstance(binding, Each):
            return self._list(binding)
        if self._is_later is not None and self._is_later(binding):
            return SameLater(functools.partial(self._take, binding))
        return Same(self._take(binding))

    def _inputs(self) -> list[tuple[str, Same | ItemList]]:
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

    def item(self, place: int) -> Item:
        """The item at *place*, with its inputs."""
        args = tuple([each.at(place) for each in self._args])
        kwargs = {k: each.at(place) for k, each in self._kwargs.items()}
        return Item(
            place, self.keys[place], ItemCall(self.flow, self.step, args, kwargs), self.begun
        )

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

    def from_cache(self, items: ItemRuns) -> tuple[Later, Written, State] | None:
        """The results and the state, where an earlier run kept some of them; else None."""
        if self.cache is None:
            return None
        if not any(isinstance(run, CachedItem) for run in items.values()):
            return None
        # One that ran and failed, or raised `Skip`, ran as well.
        ran = any(run.attempts and not isinstance(run, CachedItem) for run in items.values())
        state = State.SUCCEEDED if ran else State.CACHED
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
        return outcome_of(self)
