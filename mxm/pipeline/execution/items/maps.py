"""The mapped steps of a run: when their lists are known, and which of their items may start."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mxm.pipeline.bindings import Binding, Each, upstreams_in
from mxm.pipeline.execution.items.flows import FlowItems
from mxm.pipeline.execution.items.mapped import MappedStep
from mxm.pipeline.execution.items.mapped_call import MappedCall
from mxm.pipeline.execution.ledger import Ledger
from mxm.pipeline.execution.plans.plan import Step, chained_to
from mxm.pipeline.execution.rules import Verdict, decide
from mxm.pipeline.runs import gather

__all__ = ["Maps"]


class Maps:
    """The mapped steps of a run.

    A mapped step whose items continue those of a mapped step upstream, a *chain*, does not wait
    for all of it.

    Parameters
    ----------
    ledger
        What has ended.
    offer
        Called with a step of which items may start.

    Attributes
    ----------
    open
        By step, its items, once its lists are known.
    calls
        By step, its call, which an engine carries out, once it has begun.
    chains
        By step, the mapped steps whose items it continues.
    checks
        Steps to look at again: their lists may be known, or all of their items may have ended.
    """

    def __init__(self, ledger: Ledger, offer: Callable[[MappedStep], None]) -> None:
        self._ledger = ledger
        self._offer = offer
        self.open: dict[str, MappedStep] = {}
        self.calls: dict[str, MappedCall] = {}
        self.chains: dict[str, list[str]] = {}
        self.checks: deque[Step] = deque()
        self._followers: dict[str, list[Step]] = {}
        self._waited_for: dict[str, frozenset[str]] = {}  # of steps with chains
        for step in ledger.plan.steps:
            chained = [n for n in step.chained if ledger.step(n).outcome is None]
            if chained and step.outcome is None:
                self.chains[step.name] = chained
                self._waited_for[step.name] = _waited_for(step, chained)
                for name in chained:
                    self._followers.setdefault(name, []).append(step)

    def waited_for(self, step: Step) -> Sequence[str] | frozenset[str]:
        """The steps that must have ended before it is decided whether *step* runs."""
        return self._waited_for.get(step.name, step.needs)

    def waits_for(self, name: str, other: str) -> bool:
        """Whether the step *name* waits until the upstream step *other* has ended."""
        return name not in self.chains or other in self._waited_for[name]

    def ended(self, name: str) -> None:
        """Record that the whole step *name* has ended."""
        self.checks.extend(self._followers.get(name, ()))

    def are_known(self, step: Step) -> Verdict | bool:
        """Whether the lists of *step* are known, or the verdict that skips it without them."""
        ledger = self._ledger
        chained = self.chains.get(step.name, [])
        for name in chained:
            ended = name in ledger.ended
            if name not in self.open and ended:  # it ended without items
                fates = [ledger.fate_of(n) for n in chained if n in ledger.ended]
                return decide("succeeded", fates, ())
            if name not in self.open or (step.task.item_key is not None and not ended):
                return False
        missing = self.missing_lists(step)
        if missing:  # without items it is skipped, whatever its rule
            return decide("succeeded", map(ledger.fate_of, missing), ())
        return True

    def add(self, mapped: MappedStep) -> None:
        """Decide on the items of *mapped*, and look at the steps that continue them."""
        self.open[mapped.step.name] = mapped
        self._look(mapped, range(mapped.count))
        self.checks.append(mapped.step)
        self.ended(mapped.step.name)

    def missing_lists(self, step: Step) -> list[str]:
        """The upstreams without a value whose lists *step* maps."""
        if any(name in self.chains.get(step.name, ()) for name in step.listed):
            return []
        inputs = (step.task.over, *step.args, *step.kwargs.values())
        lists = [b for b in inputs if isinstance(b, Each)]
        return [u.name for u in upstreams_in(lists) if u.name not in self._ledger.values]

    def made(self, step: Step, *, is_cached: bool = False) -> MappedStep:
        """*step* with its items.

        Parameters
        ----------
        step
            A mapped step.
        is_cached
            Whether earlier runs may have kept results of its items.

        Raises
        ------
        Exception
            As in `MappedStep`.
        """
        ledger = self._ledger
        chained = self.chains.get(step.name, [])
        values = ledger.values_for(step, chained)
        sources = {name: self.open[name] for name in chained}

        def take(binding: Binding) -> Any:
            return gather(binding, values, ledger.plan.params)

        flow = ledger.plan.flow.name
        if step.task.over is None:

            def is_later(binding: Binding) -> bool:
                return not all(ledger.values.is_loaded(u.name) for u in upstreams_in([binding]))

            return MappedStep(flow, step, sources, take, is_later if is_cached else None)
        outside = [n for n in step.needs if n not in chained and n not in step.listed]
        fates = {name: ledger.fate_of(name) for name in outside}
        return FlowItems(flow, step, sources, take, fates)

    def look_below(self, mapped: MappedStep, places: Iterable[int]) -> None:
        """Decide the items downstream of those at *places* of *mapped*, which have ended."""
        places = list(places)
        for follower in self._following(mapped):
            self._look(follower, places)

    def _look(self, mapped: MappedStep, places: Iterable[int]) -> None:
        """Decide *places* of *mapped* and of the steps downstream in its chain."""
        looks = deque((mapped, place) for place in places)
        seen: dict[MappedStep, None] = {mapped: None}
        while looks:
            follower, place = looks.popleft()
            if follower.look_at(place):
                following = self._following(follower)
                looks.extend((each, place) for each in following)
                seen |= dict.fromkeys(following)
        for each in seen:
            self._offer(each)
            self.checks.append(each.step)

    def _following(self, mapped: MappedStep) -> list[MappedStep]:
        followers = self._followers.get(mapped.step.name, ())
        return [self.open[step.name] for step in followers if step.name in self.open]


def _waited_for(step: Step, chained: Sequence[str]) -> frozenset[str]:
    inputs = (*step.args, *step.kwargs.values())
    whole = {u.name for b in inputs if chained_to(b) not in chained for u in upstreams_in([b])}
    whole.update(name for name in step.task.after if name not in step.task.by_item)
    whole.difference_update(step.task.by_item)
    return frozenset(n for n in step.needs if n not in chained or n in whole)
