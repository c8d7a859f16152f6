"""Predicts what the cache would do in a run, without running anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from mxm.pipeline.execution.cache.reasons import Reason
from mxm.pipeline.execution.cache.step_cache import StepCache, open_cache
from mxm.pipeline.execution.items.mapped import MappedStep
from mxm.pipeline.execution.items.maps import Maps
from mxm.pipeline.execution.items.places import PlaceState
from mxm.pipeline.execution.ledger import Ledger
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.execution.plans.plan import Plan, Step
from mxm.pipeline.execution.resources.of_run import resources_for
from mxm.pipeline.execution.resources.opening import using
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.taskruns import ItemRun, ItemRuns, State, TaskRun

__all__ = ["Looked", "forecast"]


@dataclass(slots=True)
class Looked:
    """What a run would do with one cached step.

    Parameters
    ----------
    name
        The step.
    verdict
        ``CACHED`` if an earlier run kept its result, ``RUN`` if not, ``MAYBE`` if that depends on
        what a step upstream returns.
    reasons
        Why it runs, or may.
    why
        The origin of the result that is used, in words.
    items
        By verdict, how many items, if it is mapped and its list is known.
    """

    name: str
    verdict: Literal["RUN", "CACHED", "MAYBE"]
    reasons: list[Reason] = field(default_factory=list["Reason"])
    why: str = ""
    items: dict[str, int] | None = None


def forecast(plan: Plan, options: RunOptions) -> tuple[list[Looked], list[Problem]]:
    """What a run of *plan* would do with each cached step, and its warnings.

    Nothing runs. The list of a map is loaded if an earlier run kept it.
    """
    if not options.keeps_results(plan):
        return [], []
    tasks = [step.task for step in plan.steps if step.outcome is None]
    settings = options.resources, options.resource_settings
    with using(resources_for(plan.flow, tasks, *settings)):
        ledger = Ledger(plan, options, "", 1)
        cache = open_cache(ledger)
        if cache is None:
            return [], []
        try:
            return list(_Forecast(ledger, cache).looked()), list(cache.heed())
        finally:
            cache.close()


class _Forecast:
    def __init__(self, ledger: Ledger, cache: StepCache) -> None:
        self._ledger = ledger
        self._cache = cache
        self._maps = Maps(ledger, _start_nothing)

    def looked(self) -> Iterator[Looked]:
        """What a run would do with each cached step, in order."""
        for step in self._ledger.plan.steps:
            if self._cache.serves(step) and step.outcome is None:
                yield self._look_at(step, self._cache)

    def _look_at(self, step: Step, cache: StepCache) -> Looked:
        if step.name in self._ledger.plan.forced:
            return Looked(step.name, "RUN", [Reason("forced", "forced")])
        if step.task.mapped:
            return self._mapped(step, cache)
        running = [name for name in step.needs if name not in self._ledger.ended]
        if running:
            reason = Reason("input", f"{running[0]!r}, upstream of it, runs")
            return Looked(step.name, "MAYBE", [reason])
        answer = cache.find(step, self._ledger.started)
        if isinstance(answer, TaskRun):
            self._keep(answer)
            return Looked(step.name, "CACHED", why=answer.reason or "")
        return Looked(step.name, "RUN", cache.reasons(step))

    def _mapped(self, step: Step, cache: StepCache) -> Looked:
        chained = self._maps.chains.get(step.name, ())
        whole = [n for n in step.needs if n not in chained and n not in self._ledger.ended]
        unknown = [name for name in chained if name not in self._maps.open]
        running = [*whole, *unknown]
        if running or self._maps.are_known(step) is not True:
            name = running[0] if running else next(iter(chained), step.name)
            return Looked(step.name, "MAYBE", [Reason("input", f"{name!r}, upstream of it, runs")])
        try:
            mapped = self._maps.made(step, is_cached=True)
        except BaseException as error:  # user code: the run reports what is wrong
            let_signals_pass(error)
            return Looked(step.name, "RUN", [Reason("input", "its items cannot be read")])
        self._maps.open[step.name] = mapped
        return self._items(mapped, cache)

    def _items(self, mapped: MappedStep, cache: StepCache) -> Looked:
        step = mapped.step
        counts: dict[str, int] = {}
        reasons: dict[Reason, None] = {}
        runs: list[ItemRun] = []
        for place, key in enumerate(mapped.keys):
            above = [source.places[place] for source in mapped.sources.values()]
            verdict = "MAYBE"
            if all(state is PlaceState.VALUE for state in above):
                answer = cache.find_item(mapped, place, key, 0)
                verdict = "CACHED" if isinstance(answer, ItemRun) else "RUN"
                if isinstance(answer, ItemRun):
                    mapped.runs[place] = answer
                    mapped.places[place] = PlaceState.VALUE
                    runs.append(answer)
                else:
                    reasons.update(dict.fromkeys(cache.reasons_of(answer)))
            counts[verdict] = counts.get(verdict, 0) + 1
        if "RUN" in counts:
            return Looked(step.name, "RUN", list(reasons), items=counts)
        if "MAYBE" in counts:
            name = next(iter(mapped.sources), step.name)
            reason = Reason("input", f"items of {name!r}, upstream of it, run")
            return Looked(step.name, "MAYBE", [reason], items=counts)
        self._keep(mapped.kept(ItemRuns(mapped.over, runs)))
        why = max((run.reason or "" for run in runs), default="it has no items")
        return Looked(step.name, "CACHED", why=why, items=counts)

    def _keep(self, task: TaskRun) -> None:
        assert task.state is State.CACHED  # noqa: S101
        self._ledger.ended[task.name] = task
        self._ledger.values.keep(task)


def _start_nothing(mapped: MappedStep) -> None:
    del mapped
