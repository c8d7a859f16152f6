"""A step of a mapped flow: run rules and missing inputs are decided item by item."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from mxm.pipeline.bindings import Absent, Binding, Each, Param, PerItem, Upstream, value_of
from mxm.pipeline.errors import TaskCancelledError, described
from mxm.pipeline.execution.items.calling import Item, ItemCall
from mxm.pipeline.execution.items.inputs import ItemList
from mxm.pipeline.execution.items.mapped import MappedStep
from mxm.pipeline.execution.items.outcomes import Outcome, clashes_in, note_failed
from mxm.pipeline.execution.items.places import ItemPlaces, PlaceState
from mxm.pipeline.execution.plans.plan import Step
from mxm.pipeline.execution.rules import Fate, decide
from mxm.pipeline.taskruns import ItemRun, State
from mxm.pipeline.values.failure import Failure
from mxm.pipeline.values.items import items_of

if TYPE_CHECKING:
    from mxm.pipeline.execution.kept.contents import Content

__all__ = ["FlowItems"]


class FlowItems(MappedStep):
    """A step of a mapped flow: each item behaves as if it ran the flow alone.

    Parameters
    ----------
    flow, step, sources, take
        As in `MappedStep`.
    whole
        How the steps outside of the mapped flow ended, by name.
    """

    def __init__(
        self,
        flow: str,
        step: Step,
        sources: Mapping[str, ItemPlaces],
        take: Callable[[Binding], Any],
        whole: Mapping[str, Fate],
    ) -> None:
        self._whole = whole
        self._fates: dict[int, Fate] = {}  # of places that did not just succeed
        # The results of steps of the flow that the run was given as lists.
        self._as_lists: dict[str, ItemList] = {}
        super().__init__(flow, step, sources, take)

    def _prepare(self) -> None:
        task = self.step.task
        for name in task.by_item:
            if name not in self.sources:
                self._as_lists[name] = ItemList(None, items_of(self._take(Upstream(name))))
        inputs = (*self.step.args, *self.step.kwargs.values())
        leaves = [leaf for b in inputs if isinstance(b, PerItem) for leaf in _leaves(b.binding)]
        for leaf in leaves:
            if isinstance(leaf, Each):
                self._list(leaf)
        self._over = self._list(cast("Each", task.over))
        outside = {
            leaf.name
            for leaf in leaves
            if isinstance(leaf, Upstream) and leaf.name not in task.by_item
        }
        self._outside = {name: self._take(Upstream(name)) for name in outside}
        self._plain: dict[int, Any] = {
            id(b): self._take(b) for b in inputs if not isinstance(b, PerItem)
        }

    def _lists(self) -> dict[str, ItemList]:
        lists = {"its flow's items": self._over}
        each = [self._each[key] for key in self._each if key != id(self.step.task.over)]
        lists |= {f"list {i + 1}": one for i, one in enumerate(each)}
        lists |= self._as_lists
        lists |= {
            name: ItemList(self.sources[name], None)
            for name in self.step.task.by_item
            if name in self.sources
        }
        return lists

    def look_at(self, place: int) -> bool:
        """Decide *place* from what is upstream of it; return whether it ended without a call."""
        above = [source.places[place] for source in self.sources.values()]
        if self.places[place] is not PlaceState.OPEN or not all(each.has_ended for each in above):
            return False
        task, by_item = self.step.task, self.step.task.by_item
        for name, source in self.sources.items():  # those that the items come from
            if name not in by_item and source.places[place] is not PlaceState.VALUE:
                failed = source.places[place] is PlaceState.FAILED
                self._settle_without(place, source.fate_at(place), broken=failed)
                return True
        direct = [self._fate_of(name, place) for name in self.step.needs if self._counts(name)]
        takes = [fate for fate in direct if fate.name in task.upstream]
        orders = [fate for fate in direct if fate.name not in task.upstream]
        verdict = decide(task.run_if, takes, orders)
        if verdict.runs:
            self.start(place)
            return False
        cause = next((f for f in direct if f.cause == verdict.cause), None)
        fate = Fate(
            self.step.name,
            False,
            False,
            verdict.broken,
            any(f.failure_above for f in direct),
            verdict.cause or self.step.name,
            verdict.reason if cause is None else cause.because,
        )
        self._fates[place] = fate
        self._leave(
            place, PlaceState.FAILED if verdict.broken else PlaceState.EMPTY, verdict.reason
        )
        return True

    def _settle_without(self, place: int, fate: Fate, *, broken: bool) -> None:
        self._fates[place] = Fate(
            self.step.name, False, False, broken, broken, fate.cause, fate.because
        )
        self._leave(place, PlaceState.FAILED if broken else PlaceState.EMPTY, fate.because)

    def _counts(self, name: str) -> bool:
        return name in self.step.task.by_item or name in self._whole

    def _fate_of(self, name: str, place: int) -> Fate:
        source = self.sources.get(name)
        if source is not None and name in self.step.task.by_item:
            return source.fate_at(place)
        return self._whole.get(name) or Fate(name, True, False, False, False, name, "")

    def fate_at(self, place: int) -> Fate:
        """How the item at *place* ended."""
        return self._fates.get(place) or super().fate_at(place)

    def item(self, place: int) -> Item:
        """The item at *place*, with its inputs."""
        args = tuple([self._input_at(b, place) for b in self.step.args])
        kwargs = {k: self._input_at(b, place) for k, b in self.step.kwargs.items()}
        return Item(
            place, self.keys[place], ItemCall(self.flow, self.step, args, kwargs), self.begun
        )

    def _input_at(self, binding: Binding, place: int) -> Any:
        if not isinstance(binding, PerItem):
            return self._plain[id(binding)]

        def look_up(origin: Upstream | Param) -> Any:
            if isinstance(origin, Param):
                return self._take(Param(origin.name))
            name = origin.name
            if name in self._as_lists:
                return self._as_lists[name].at(place)
            if name not in self.sources:
                return self._outside[name]
            source = self.sources[name]
            if source.places[place] is PlaceState.VALUE:
                return source.value_at(place)
            return Absent(self._instead(source, place))

        return value_of(binding, look_up, lambda each: self._each[id(each)].at(place))

    def content_at(self, origin: Upstream, place: int) -> Content | None:
        """The content of a result for the item at *place*; None if the whole result counts."""
        # Loaded by runs that have cached tasks.
        from mxm.pipeline.execution.kept.contents import Fresh, content_of_item

        if origin.name in self._as_lists:
            return Fresh(self._as_lists[origin.name].at(place))
        if origin.name not in self.sources:
            return None
        run = self.sources[origin.name].runs[place]
        return content_of_item(run) if run and run.has_value else Fresh(Absent(None))

    def order_at(self, name: str, place: int) -> ItemRun | None:
        """The item of the step *name* that the item at *place* runs after, if there is one."""
        source = self.sources.get(name)
        return None if source is None else source.runs[place]

    def _instead(self, source: ItemPlaces, place: int) -> Failure | None:
        run = source.runs[place]
        takes_failures = self.step.task.run_if in ("failed", "always")
        if not takes_failures or run is None or run.state is State.SKIPPED:
            return None
        name = source.step.name
        error = run.error or TaskCancelledError(f"task {name!r} was cancelled")
        return Failure(name, error, run.attempts, run.key)

    def ended(self, place: int, run: ItemRun) -> None:
        """Record that the item at *place* ended."""
        super().ended(place, run)
        task, name = self.step.task, self.step.name
        failed = run.state is State.FAILED
        breaks = failed and not task.allow_failure and task.on_item_error == "fail"
        direct = [self._fate_of(n, place) for n in self.step.needs if self._counts(n)]
        above = breaks or any(fate.failure_above for fate in direct)
        if run.has_value and not above:
            return
        verb = "failed" if failed else "was skipped"
        why = f": {run.reason}" if run.state is State.SKIPPED and run.reason else ""
        because = f"upstream {name!r} {verb}{why}"
        self._fates[place] = Fate(name, run.has_value, failed, breaks, above, name, because)
        if failed and task.allow_failure:
            self.places[place] = PlaceState.EMPTY  # downstream it counts as a skip

    def outcome(self) -> Outcome:
        """The outcome of the step, now that every place has ended."""
        runs = [run for run in self.runs if run is not None]
        failed = [run for run in runs if run.state is State.FAILED]
        called = [run for run in runs if run.attempts or run.has_value]
        good = any(run.has_value for run in called)
        clashes = clashes_in(runs)
        if clashes or (failed and (self.step.task.on_item_error == "fail" or not good)):
            failed = clashes or failed
            error = cast("BaseException", failed[0].error)
            note_failed(self.step, error, failed, len(called))
            return Outcome(state=State.FAILED, error=error, reason=described(error))
        broken = [fate for fate in self._fates.values() if fate.broken]
        if broken:
            count, first = len(broken), broken[0]
            reason = f"{count:,} of {self.count:,} items did not reach this step: {first.because}"
            return Outcome(state=State.SKIPPED, reason=reason, cause=first.cause)
        if self.count and not good:
            return Outcome(state=State.SKIPPED, reason=self._why_none(runs))
        return Outcome(state=State.SUCCEEDED)

    def _why_none(self, runs: Sequence[ItemRun]) -> str | None:
        return next((run.reason for run in runs if run.reason), None)


def _leaves(binding: Binding) -> Iterable[Binding]:
    """The parts of *binding* that are not collections."""
    items = getattr(binding, "items", None)
    if isinstance(binding, Each) or not isinstance(items, tuple):
        return [binding]
    return [leaf for item in cast("tuple[Binding, ...]", items) for leaf in _leaves(item)]
