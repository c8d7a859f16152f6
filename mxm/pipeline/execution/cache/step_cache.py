"""The driver's side of the cache: steps and items that need not run, and those that ran."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from mxm.pipeline.assets.reading import also_read
from mxm.pipeline.bindings import Binding, Each, Param, Upstream, upstreams_in
from mxm.pipeline.errors import AssetError, PipelineError, StoreError, described
from mxm.pipeline.execution.attempts.invocation import Noting
from mxm.pipeline.execution.cache.asked import Asked
from mxm.pipeline.execution.cache.reasons import Reason
from mxm.pipeline.execution.cache.run_cache import Caching
from mxm.pipeline.execution.events import Observers, StepLooked
from mxm.pipeline.execution.files.observing import also_observed, unobserved
from mxm.pipeline.execution.kept.contents import Content, Fresh, Looks, content_of_task, named
from mxm.pipeline.execution.kept.entries import Entry
from mxm.pipeline.execution.kept.later import CachedItem, Later, LaterTask
from mxm.pipeline.execution.ledger import Ledger
from mxm.pipeline.execution.plans.plan import Plan, Step
from mxm.pipeline.execution.resources.opening import active_resources
from mxm.pipeline.execution.staying import Stay
from mxm.pipeline.params.caching import cached_tasks
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.process.logs import logger
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.runs import gather
from mxm.pipeline.taskruns import ItemRun, State, TaskRun
from mxm.pipeline.values.assets import WrittenAsset
from mxm.pipeline.values.digest import UndigestibleError
from mxm.pipeline.values.remote import RemoteValue, fetched

__all__ = ["StepCache", "open_cache"]


def open_cache(ledger: Ledger) -> StepCache | None:
    """The cache of a run; None if there is no store, or nothing to keep.

    A recorded run keeps the results of all steps, for a run that resumes it.

    Parameters
    ----------
    ledger
        That of the run.
    """
    resources = active_resources()
    options, plan = ledger.options, ledger.plan
    if not options.keeps_results(plan) or (resources is not None and resources.replaced):
        return None
    cached = cached_tasks(plan.flow, options.cache)
    steps = cached
    if options.is_recorded or options.resumes:
        steps |= {step.name for step in plan.steps if _may_be_taken_over(step)}
    steps |= plan.kept_only
    if options.entries is None:
        return None
    entries = options.entries(plan, is_quiet=not cached, most_mb=options.keep_results)
    if entries is None:
        return None
    try:
        caching = Caching(
            plan,
            steps,
            cached,
            ledger.observers.run,
            entries,
            resumes=options.resumes,
            strict=options.strict_cache,
            forced=plan.forced,
        )
    except BaseException as error:  # user code, in the user's objects: the run continues
        let_signals_pass(error)
        entries.close()
        if cached or options.resumes:
            text = "the run uses and keeps no cached results: %s"
            logger.warning(text, described(error))
        return None
    return StepCache(caching, plan, ledger.ended, ledger.observers)


def _may_be_taken_over(step: Step) -> bool:
    """Whether `resume` may use a result of *step*."""
    return step.task.run_if == "succeeded"


class Places(Protocol):
    """The inputs of a mapped step, by item."""

    step: Step

    def content_at(self, origin: Upstream, place: int) -> Content | None:
        """The content of a result for the item at *place*; with None, that of the whole step."""
        ...

    def item_content(self, each: Each, place: int) -> Content:
        """The content of the item of a list at *place*."""
        ...

    def inputs_at(self, place: int, names: set[str], /) -> Mapping[str, Any]:
        """The arguments of these *names* for the item at *place*."""
        ...

    def order_at(self, name: str, place: int) -> ItemRun | None:
        """The item of the step *name* that the item at *place* follows, if there is one."""
        ...

    def call_again(self, place: int, observers: Observers) -> ItemRun:
        """Call the item at *place*, whose kept result cannot be loaded."""
        ...


class StepCache:
    """Gives the driver results of earlier runs, and keeps those of this run.

    Parameters
    ----------
    caching
        The cache of the run.
    plan
        What runs.
    ended
        The steps that have ended, by name.
    observers
        Those of the run.

    Attributes
    ----------
    run_again
        Runs a step whose kept result cannot be loaded; None if nothing runs.
    """

    def __init__(
        self, caching: Caching, plan: Plan, ended: Mapping[str, TaskRun], observers: Observers
    ) -> None:
        self.run_again: Callable[[Step], TaskRun] | None = None
        self._caching = caching
        self._plan = plan
        self._ended = ended
        self._observers = observers
        self._mapped = {step.name for step in plan.steps if step.task.mapped}
        self._asked: dict[str, Asked] = {}
        # This context belongs to the driver; each task records what it opens itself.
        self._own = contextlib.ExitStack()
        self._own.enter_context(unobserved())

    def serves(self, step: Step) -> bool:
        """Whether results of *step* may be reused."""
        return step.name in self._caching.steps

    def stay(self, step: Step, above: int, fetched: int) -> Stay:
        """When the result of *step* stays on a cluster, and what its worker does for the cache.

        Parameters
        ----------
        step
            The step.
        above
            Bytes from which on it may.
        fetched
            Bytes up to which a cached one is fetched, where its worker cannot keep it.
        """
        return self._caching.stay(step, above, fetched)

    def is_cached(self, step: Step) -> bool:
        """Whether any run may use them, not only a resume of this one."""
        return step.name in self._caching.cached

    def find(self, step: Step, ready: datetime) -> TaskRun | Noting | None:
        """The outcome of *step*, if an earlier run has one that may be used.

        Otherwise the probe for its attempts; None if its result cannot be kept.
        """
        began, clock = datetime.now(UTC), time.perf_counter()
        looks = Looks(self._whole, _no_item)
        self._note_remote(step)
        after = {name: self._ended.get(name) for name in step.task.after}
        asked = self._caching.ask(step, step.args, step.kwargs, looks, after)
        asset = self._renewed(asked, functools.partial(self._inputs, step))
        self._tell(asked, None)
        if asked.entry is None:
            self._asked[step.name] = asked
            return asked.probe
        entry = asked.entry
        also_observed(entry.observed)  # by the task that this run is inside
        also_read(entry.reads)
        return LaterTask(
            Later(functools.partial(self._loaded, step, entry)),
            entry.written,
            entry,
            name=step.name,
            state=State.CACHED,
            reason=self._caching.reason(entry),
            started=began,
            ended=datetime.now(UTC),
            seconds=time.perf_counter() - clock,
            ready=ready,
            asset=asset,
        )

    def made(self, task: TaskRun) -> None:
        """Keep the result of a step that ran, if it may be."""
        asked = self._asked.pop(task.name, None)
        if asked is not None and task.state is State.SUCCEEDED:
            started = task.history[-1].started if task.history else None
            self._caching.keeper.keep(
                asked, task.value, lambda: task.written, started, task.attempts, task.asset
            )

    def _renewed(
        self, asked: Asked, inputs: Callable[[set[str]], Mapping[str, Any]]
    ) -> WrittenAsset | None:
        """Write the asset of the reused result, unless its file has that content.

        If that is impossible, the result is not used: the task runs, and says why.

        Parameters
        ----------
        asked
            What was asked.
        inputs
            Returns the arguments of these names.
        """
        step, entry = asked.step, asked.entry
        target = step.target
        if entry is None or target is None or step.name in self._plan.kept_only:
            return None
        if self.run_again is None and (entry.asset or {}).get("by") != "task":
            return None  # nothing runs, and nothing is written
        # Loaded by runs that write assets.
        from mxm.pipeline.execution.publishing.writing import aim_of

        flow, run = self._plan.flow.name, self._observers.run
        try:
            if entry.asset is None:
                raise AssetError("it was kept before its asset was declared")
            aim = aim_of(target, (), inputs(target.names), asked.item)
            if self.run_again is None:
                aim.require_same(entry.asset)
                return None
            return aim.renewed(entry.asset, entry.load, flow, run, asked.item, entry.reads)
        except BaseException as error:  # also from checks, which are user code
            let_signals_pass(error)
            why = error.message if isinstance(error, PipelineError) else described(error)
            asked.entry, asked.unused = None, entry
            asked.why.append(Reason("asset", why))
            return None

    def _inputs(self, step: Step, names: set[str]) -> dict[str, Any]:
        bound = named(step.task.fn, step.args, step.kwargs)
        needed = {name: binding for name, binding in bound.items() if name in names}
        values = {
            one.name: fetched(self._ended[one.name].value) for one in upstreams_in(needed.values())
        }
        return {
            name: gather(binding, values, self._plan.params) for name, binding in needed.items()
        }

    def find_item(self, places: Places, place: int, key: str, slot: int) -> ItemRun | Asked:
        """The outcome of an item, if an earlier run has one; otherwise what was asked."""
        began, clock = datetime.now(UTC), time.perf_counter()
        step = places.step
        self._note_remote(step)

        def whole(origin: Upstream | Param) -> Content:
            own = None if isinstance(origin, Param) else places.content_at(origin, place)
            return self._whole(origin) if own is None else own

        looks = Looks(whole, lambda each: places.item_content(each, place))
        after: dict[str, Any] = {
            name: places.order_at(name, place) or self._ended.get(name) for name in step.task.after
        }
        asked = self._caching.ask(step, step.args, step.kwargs, looks, after, item=key, place=place)
        asset = self._renewed(asked, functools.partial(places.inputs_at, place))
        self._tell(asked, key)
        entry = asked.entry
        if entry is None:
            return asked
        also_observed(entry.observed)
        also_read(entry.reads)
        return CachedItem(
            Later(functools.partial(self._loaded_item, places, place, entry)),
            entry.written,
            entry,
            key=key,
            state=State.CACHED,
            reason=self._caching.reason(entry),
            started=began,
            ended=datetime.now(UTC),
            seconds=time.perf_counter() - clock,
            slot=slot,
            asset=asset,
        )

    def made_item(self, asked: Asked, run: ItemRun) -> None:
        """Keep the result of an item that was called, if it may be."""
        if run.state is State.SUCCEEDED:
            started = run.history[-1].started if run.history else None
            self._caching.keeper.keep(
                asked, run.value, run.to_written, started, run.attempts, run.asset
            )

    def _loaded(self, step: Step, entry: Entry) -> Any:
        """The kept result of *step*; if it can no longer be loaded, the step runs again."""
        try:
            return entry.load()
        except StoreError as error:
            if self.run_again is None:
                raise
            logger.warning("task %r runs again: %s", step.name, in_one_line(error.message))
            return _value_of(self.run_again(step), f"task {step.name!r}", error)

    def _loaded_item(self, places: Places, place: int, entry: Entry) -> Any:
        """The same of an item."""
        try:
            return entry.load()
        except StoreError as error:
            if self.run_again is None:
                raise
            name = places.step.name
            logger.warning("an item of task %r runs again: %s", name, in_one_line(error.message))
            return _value_of(
                places.call_again(place, self._observers), f"an item of task {name!r}", error
            )

    def reasons(self, step: Step) -> list[Reason]:
        """Why *step*, which was looked for last, runs."""
        return self.reasons_of(self._asked[step.name])

    def reasons_of(self, asked: Asked) -> list[Reason]:
        """Why a call runs that the cache was asked about."""
        return self._caching.reasons(asked)

    def heed(self) -> Iterator[Problem]:
        """The warnings since the last call of this method."""
        return self._caching.heed()

    def close(self) -> None:
        """Close what is open: the run is over."""
        self.run_again = None
        self._own.close()
        self._caching.close()

    def _note_remote(self, step: Step) -> None:
        """Record which of the results that *step* takes are too large to come here."""
        for name in step.needs:
            task = self._ended.get(name)
            # A kept one is not loaded for this.
            value = None if task is None else vars(task).get("value")
            if type(value) is RemoteValue and (value.facts is None or value.facts.kept is None):
                self._caching.keeper.large.add(name)

    def _whole(self, origin: Upstream | Param) -> Content:
        if isinstance(origin, Param):
            return Fresh(gather(Param(origin.name), {}, self._plan.params))
        task = self._ended.get(origin.name)
        if task is None or not task.has_value:
            raise UndigestibleError("value", f"{origin.name!r} has no result")
        return content_of_task(task, mapped=origin.name in self._mapped)

    def _tell(self, asked: Asked, item: str | None) -> None:
        if self._observers:
            self._observers.notify(
                StepLooked(
                    self._observers.run,
                    datetime.now(UTC),
                    asked.step.name,
                    asked.entry.run if asked.entry else None,
                    lambda: [reason.text for reason in self._caching.reasons(asked)],
                    item,
                )
            )


def _value_of(made: TaskRun | ItemRun, what: str, lost: StoreError) -> Any:
    """The value of a call that was made again because the kept value was *lost*."""
    if made.has_value:
        return made.value
    why = made.reason or made.state.value
    raise StoreError(f"{lost.message}; {what} ran again, and gave none: {why}") from made.error


def _no_item(binding: Binding) -> Content:
    raise UndigestibleError("value", f"{binding} is not the list of a mapped step")
