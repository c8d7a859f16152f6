"""Drives a plan: which step runs and when, what a failure skips, how the run ends."""

from __future__ import annotations

import functools
import heapq
import inspect
import time
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from mxm.pipeline.bindings import upstreams_in
from mxm.pipeline.errors import BackendError, add_note, described
from mxm.pipeline.execution.call import Call
from mxm.pipeline.execution.carriers import Waits
from mxm.pipeline.execution.cleanup import Cleanup, Perform
from mxm.pipeline.execution.gaps import gap_problem
from mxm.pipeline.execution.ledger import Ledger
from mxm.pipeline.execution.limits import Hold, Limits
from mxm.pipeline.execution.mapped import MappedStep
from mxm.pipeline.execution.mapped_call import MappedCall
from mxm.pipeline.execution.maps import Maps
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.execution.output import captured
from mxm.pipeline.execution.plan import Plan, Step
from mxm.pipeline.execution.resources import active_resources
from mxm.pipeline.execution.rules import Verdict, decide
from mxm.pipeline.execution.runners import ItemsEnded, Runner, make_runner, worker_count
from mxm.pipeline.execution.watch import Watch
from mxm.pipeline.interrupts import ends_the_run, let_signals_pass
from mxm.pipeline.introspection.signatures import unwrapped
from mxm.pipeline.logs import logger
from mxm.pipeline.runs import FlowRun, attach_run, gather
from mxm.pipeline.spec import last_of
from mxm.pipeline.taskruns import State, TaskRun

if TYPE_CHECKING:
    from mxm.pipeline.execution.invocation import Noting
    from mxm.pipeline.execution.step_cache import StepCache

__all__ = ["Perform", "PerformAwaited", "drive"]

PerformAwaited: TypeAlias = "Callable[[Call], TaskRun | Waits[TaskRun]]"
"""Carries out the call of an async function; it need not hold a thread while that waits."""


def drive(
    plan: Plan,
    perform: Perform,
    options: RunOptions,
    backend: str = "",
    perform_awaited: PerformAwaited | None = None,
) -> FlowRun:
    """Run the steps of *plan*, each by *perform*, and return what happened.

    A step is decided once everything upstream of it has ended, so no step waits while it occupies
    a worker: it starts, or its run rule skips it. What depends on a failed or skipped step is
    skipped, unless its rule says otherwise; the rest goes on, unless ``options.fail_fast``. The
    observers of *options* are called with each event.

    Raises
    ------
    BaseException
        What asked the run to end from outside, `KeyboardInterrupt` above all; its ``mxm_run`` is
        the run so far, in the state ``cancelled``. Tasks that always run have run by then, as far
        as the grace of *options* lets them.
    """
    return _Drive(plan, perform, options, backend, perform_awaited or perform).run()


_STAYS = 1_000_000
"""Bytes from which on a result stays on a cluster."""
_MOST_FETCHED = 1_000_000_000
"""Bytes up to which one is fetched to be kept, or because it is the value of the flow."""


class _Drive:
    def __init__(
        self,
        plan: Plan,
        perform: Perform,
        options: RunOptions,
        backend: str,
        perform_awaited: PerformAwaited,
    ) -> None:
        self.plan = plan
        self.perform = perform
        self.perform_awaited = perform_awaited
        self.options = options
        self.workers = worker_count(options)
        self.ledger = Ledger(plan, options, backend, self.workers)
        self.index = self.ledger.index
        self.ended = self.ledger.ended
        self.observers = self.ledger.observers
        self.maps = Maps(self.ledger, self._offer)
        waited_for = self.maps.waited_for
        chains = self.maps.chains
        self.missing = [len(waited_for(s) if chains else s.needs) for s in plan.steps]
        # By number, the steps that may start, and the maps that have items which may.
        self.ready: list[int] = []
        # The same of those that a runner awaits, and that hold no worker.
        self.ready_to_await: list[int] = []
        self.awaits: frozenset[int] = frozenset()
        self.slots = list(range(1, self.workers + 1))  # the free ones, a heap
        self.running: dict[str, Call] = {}
        self.at_work = 0  # items
        # Workers have copies: a change that one task makes reaches no other.
        is_shared = not options.is_elsewhere
        self.watch = Watch(plan, whole=options.guard) if is_shared else None
        self.stopped_by: str | None = None
        self.limits: Limits | None = None
        self.cache: StepCache | None = None
        self.waits: dict[str, float] = {}  # since when a step has waited for a limit
        self.holds: dict[int, Hold] = {}  # by worker, the limits of its items
        # When everything that a step needs had ended.
        self.ready_at = dict.fromkeys(self.index, self.ledger.started)
        self.cleanup = Cleanup(
            self.ledger,
            self.maps,
            self.running,
            perform,
            functools.partial(self._call, is_cleanup=True),
            functools.partial(self._begin, is_cleanup=True),
        )

    def run(self) -> FlowRun:
        with captured():
            runner = make_runner(self.options, self.plan.flow)
            if runner.workers != self.workers:  # a cluster says how many it has
                self.workers = self.ledger.workers = runner.workers
                self.slots = list(range(1, self.workers + 1))
            if runner.awaits:
                self.awaits = frozenset(
                    i
                    for i, step in enumerate(self.plan.steps)
                    if inspect.iscoroutinefunction(unwrapped(step.task.fn))
                )
            if self.awaits:
                self.slots = list(range(1, 2 * self.workers + 1))
            names = sorted({name for step in self.plan.steps for name in step.task.limits})
            if names:
                most = {name: self.options.limits.get(name, 1) for name in names}
                self.limits = Limits(most, runner.wake)
            try:
                self.ledger.announce()
                self.cache = self._opened_cache()
                if self.cache is not None:
                    self.cache.run_again = self._run_again
                self._place(runner)
                self._fetch_value()
                runner.close()
                self._close_resources()
                return self.ledger.finished()
            except BaseException as error:
                if self.limits is not None:
                    self.limits.close()
                try:
                    self.cleanup.run(runner)
                    runner.stop()
                    self._close_resources()
                except BaseException as broken:
                    if not ends_the_run(broken):  # else a second signal
                        logger.error("the cancelled run was not cleaned up: %s", described(broken))
                attach_run(error, self.cleanup.cancelled())
                runner.close()  # completely, if that was interrupted before
                raise

    def _opened_cache(self) -> StepCache | None:
        """What earlier runs kept of the steps; None if nothing is kept, and nothing used."""
        if not self.options.keeps_results(self.plan):
            return None
        # Loaded by runs that are recorded, or have cached tasks.
        from mxm.pipeline.execution.step_cache import open_cache

        return open_cache(self.ledger)

    def _heed_cache(self) -> None:
        for problem in self.cache.heed() if self.cache else ():
            self.ledger.warn(problem)

    def _close_resources(self) -> None:
        if self.cache is not None:
            self._heed_cache()
            self.cache.close()
        resources = active_resources()
        for problem in resources.close() if resources else ():
            self.ledger.warn(replace(problem, flow=self.plan.flow.name))

    def _place(self, runner: Runner) -> None:
        """Give every step that may start to *runner*, until all have ended."""
        for first, count in zip(self.plan.steps, self.missing, strict=True):
            if count == 0:
                self._decided(first)
        self._check()
        while self.running or self.at_work or self.ready or self.ready_to_await:
            while self._start_one(runner):
                pass
            if self.running or self.at_work:
                ended = runner.next()
                if isinstance(ended, ItemsEnded):
                    self._took(ended)
                elif ended is not None:
                    self._took_step(ended)
                if self.maps.checks:
                    self._check()
                if self.limits is not None:
                    self._readmit()

    def _start_one(self, runner: Runner) -> bool:
        """Give a step that may start to *runner*; whether there is one, and room for it."""
        step: Step | None = None
        hold: Hold | None = None
        if self.ready_to_await and runner.free(awaits=True):
            step, hold = self._next(self.ready_to_await)
        if step is None and self.ready and runner.free():
            step, hold = self._next(self.ready)
        if step is None:  # all that are left wait for a limit
            return False
        if step.name in self.maps.open:
            self._hand_out(self.maps.open[step.name], runner, hold)
        else:
            self._start(step, runner, hold)
        if self.maps.checks:
            self._check()
        return True

    def _queue(self, number: int) -> None:
        """Let a step start as soon as the runner has room: by its number, or -1 less than minus it.

        The negative ones go first, the last of them at once.
        """
        ready = self.ready
        if self.awaits and (number if number >= 0 else -number - 1) in self.awaits:
            ready = self.ready_to_await
        heapq.heappush(ready, number)

    def _start(self, step: Step, runner: Runner, hold: Hold | None) -> None:
        stopped = self.stopped_by is not None and self._is_stopped(step)
        call = None if stopped else self._call(step, hold)
        if call is not None:
            self.running[step.name] = call
            if self.awaits and self.index[step.name] in self.awaits:
                awaited = self.perform_awaited if call.probe is None else self._cached_awaited
                runner.start(functools.partial(awaited, call), awaits=True)
                return
            perform = self.perform if call.probe is None else self._perform_cached
            runner.start(functools.partial(perform, call))
        elif hold is not None:
            hold.end()

    def _perform_cached(self, call: Call) -> TaskRun:
        task = self.perform(call)
        if self.cache is not None:
            self.cache.made(task)
        return task

    def _cached_awaited(self, call: Call) -> Waits[TaskRun]:
        made = self.perform_awaited(call)
        task = made if isinstance(made, TaskRun) else (yield from made)
        if self.cache is not None:
            self.cache.made(task)
        return task

    def _took_step(self, task: TaskRun) -> None:
        """Take note of a step that ended."""
        call = self.running.pop(task.name)
        call.give_back()
        heapq.heappush(self.slots, call.slot)
        if self.watch:
            self._changes(call.step)
        if call.probe is not None:
            self._heed_cache()
        self._settle(task)

    def _next(self, ready: list[int]) -> tuple[Step | None, Hold | None]:
        """The first of *ready* that may start, and its limits; one that lacks a limit waits."""
        while ready:
            number = heapq.heappop(ready)
            step = self.plan.steps[number if number >= 0 else -number - 1]
            if self.limits is None or not step.task.limits or step.outcome or self._stops(step):
                return step, None
            taken = self.limits.take(step.task.limits)
            if isinstance(taken, Hold):
                since = self.waits.get(step.name)
                taken.waited = 0.0 if since is None else time.perf_counter() - since
                return step, taken
            self.limits.set_aside(taken, number)
            if step.name not in self.waits:
                self.waits[step.name] = time.perf_counter()
                self.ledger.waits(step, taken, self.limits.most[taken])
            self._readmit()  # another one that waits for what this one would have taken, too
        return None, None

    def _readmit(self) -> None:
        """Let steps that wait for limits start, as many as these have room for."""
        if self.limits is not None:
            for number in self.limits.back(everything=self.stopped_by is not None):
                self._queue(number)

    def _changes(self, step: Step) -> None:
        if self.watch:
            for problem in self.watch.changes(step, self.running):
                self.ledger.warn(problem)

    def _decided(self, step: Step) -> None:
        """Let *step* start, which runs: everything that it waits for has ended."""
        if step.task.mapped and step.outcome is None:
            self.maps.checks.append(step)
        else:
            self._queue(self.index[step.name])

    def _call(
        self, step: Step, hold: Hold | None = None, *, is_cleanup: bool = False
    ) -> Call | None:
        """The call of *step*; None if it ends here without one."""
        if step.outcome is not None:
            self._settle(step.outcome)
            return None
        probe: Noting | None = None
        if self.cache is not None and self.cache.serves(step) and not is_cleanup:
            answer = self.cache.find(step, self.ready_at[step.name])
            self._heed_cache()
            if isinstance(answer, TaskRun):
                self._settle(answer)
                return None
            probe = answer
        values = self._values_for(step)
        held = self.ledger.values.held
        if held and not is_cleanup and step.target is None:
            values = ChainMap(held, cast("Any", values))
        try:
            args = tuple(gather(b, values, self.plan.params) for b in step.args)
            kwargs = {k: gather(b, values, self.plan.params) for k, b in step.kwargs.items()}
        except BaseException as error:  # a projection of a result: any type may fail in its own way
            let_signals_pass(error)
            self._settle(self._refused(step, error, "while reading the inputs"))
            return None
        if self.watch:
            self.watch.starts(step, self.ledger.values)
        if self.maps.open:
            problem = gap_problem(self.plan.flow.name, step, self.maps.open)
            if problem is not None:
                self.ledger.warn(problem)
        return Call(
            self.plan.flow.name,
            step,
            args,
            kwargs,
            observers=self.observers,
            slot=1 if is_cleanup else heapq.heappop(self.slots),
            ready=self.ready_at[step.name],
            guard=self.options.guard,
            is_cleanup=is_cleanup,
            hold=hold,
            probe=probe,
            stays=self._stays(step),
        )

    def _stays(self, step: Step) -> int | None:
        """The size in bytes from which on the result of *step* may stay on a cluster."""
        if not self.options.is_elsewhere or step.name in self._needed_here:
            return None
        if self.cache is not None and self.cache.is_cached(step):
            return _MOST_FETCHED
        if self.options.is_recorded or self.options.resumes:
            return max(_STAYS, int(self.options.keep_results * 1e6))
        return _STAYS

    @functools.cached_property
    def _needed_here(self) -> set[str]:
        """The steps whose whole results this process needs: lists, assets, parts that it shows."""
        steps = self.plan.steps
        if self.options.strict_json:
            return {step.name for step in steps}
        needed = {step.name for step in steps if step.target is not None or step.task.mapped}
        for step in steps:
            needed.update(step.listed)
        if self.plan.flow.output is not None:
            needed.update(part.name for part in upstreams_in([self.plan.flow.output]) if part.path)
        return needed

    def _fetch_value(self) -> None:
        """Fetch the value of the flow, as far as it stayed on a cluster that ends with the run."""
        held = self.ledger.values.held
        if not held or not self.options.fetches:
            return
        output = self.plan.flow.output
        names = {*last_of(self.plan.flow.tasks)}
        if output is not None:
            names = {part.name for part in upstreams_in([output])}
        for name in held.keys() & names:
            value = self.ended[name].value
            if value.nbytes > _MOST_FETCHED or held[name].outlives_run:
                continue
            try:
                value.get()
            except BackendError as error:
                logger.warning("%s", error)

    def _run_again(self, step: Step) -> TaskRun:
        """Run *step* on this thread: its kept result, which a task needs, cannot be loaded."""
        cache = self.cache
        assert cache is not None  # noqa: S101 - it asks for it
        answer = cache.find(step, self.ready_at[step.name])
        if isinstance(answer, TaskRun):  # another run kept one, too
            return answer
        values = self._values_for(step)
        call = Call(
            self.plan.flow.name,
            step,
            tuple(gather(b, values, self.plan.params) for b in step.args),
            {k: gather(b, values, self.plan.params) for k, b in step.kwargs.items()},
            observers=self.observers,
            slot=1,
            ready=self.ready_at[step.name],
            guard=self.options.guard,
            probe=answer,
        )
        task = self.perform(call) if answer is None else self._perform_cached(call)
        self.ledger.end(task)
        return task

    def _values_for(self, step: Step) -> Mapping[str, Any]:
        chains = self.maps.chains
        if not chains and len(self.ledger.values) == len(self.ended):  # nothing is missing
            return self.ledger.values
        return self.ledger.values_for(step, chains.get(step.name, ()))

    def _refused(self, step: Step, error: BaseException, when: str) -> TaskRun:
        """The outcome of *step*, whose inputs could not be read."""
        add_note(error, f"{when} of task {step.name!r} from its upstreams")
        reason = f"its inputs could not be read: {described(error)}"
        allowed = step.task.allow_failure
        return TaskRun(step.name, State.FAILED, error=error, reason=reason, allowed=allowed)

    # Mapped steps

    def _check(self) -> None:
        """Open the maps whose lists are known by now, and end those that are done."""
        checks = self.maps.checks
        while checks:
            step = checks.popleft()
            if step.name in self.ended:
                continue
            if step.name in self.maps.open:
                self._end_map(self.maps.open[step.name])
            elif self.missing[self.index[step.name]] == 0:
                self._open_map(step)

    def _open_map(self, step: Step) -> None:
        """Take the lists of *step*, once all are known."""
        known = self.maps.are_known(step)
        if isinstance(known, Verdict):
            self._skip(step, known)
            return
        if not known or self._is_stopped(step):
            return
        try:
            is_cached = self.cache is not None and self.cache.serves(step)
            mapped = self.maps.made(step, is_cached=is_cached)
        except BaseException as error:  # also what the user's item_key raised
            let_signals_pass(error)
            self._settle(self._refused(step, error, "while reading the items"))
            return
        if self.watch:
            self.watch.starts(step, self.ledger.values)
        mapped.cache = self.cache if is_cached else None
        self.maps.add(mapped)

    def _offer(self, mapped: MappedStep) -> None:
        """Take note that *mapped* has items which may start."""
        if mapped.ready and not mapped.offered:
            mapped.offered = True
            number = self.index[mapped.step.name]
            # Side by side, what lies further down goes first: an item passes through the chain.
            chosen = number if self.options.runner == "sequential" else -number - 1
            self._queue(chosen)

    def _hand_out(self, mapped: MappedStep, runner: Runner, hold: Hold | None) -> None:
        """Give items of *mapped* that may start to *runner*, with the limits of an attempt."""
        mapped.offered = False
        step = mapped.step
        if self._stops(step):
            mapped.stop(f"task {self.stopped_by!r} failed, and fail_fast stops the run")
            self.maps.checks.append(step)
            self.maps.look_below(mapped, range(mapped.count))
            return
        call = self._begin(mapped)
        places = mapped.take(self.options.runner, self.workers)
        self._offer(mapped)
        slot = heapq.heappop(self.slots)
        if hold is not None:
            self.holds[slot] = hold
        self.at_work += len(places)
        mapped.at_work += len(places)
        fast = self.options.fail_fast and not step.task.allow_failure

        def work() -> ItemsEnded:
            call.within(
                lambda: mapped.run(places, call.output, self.observers, slot, stops=fast, hold=hold)
            )
            return ItemsEnded(step.name, places, slot)

        def awaited() -> Waits[ItemsEnded]:
            yield from mapped.run_awaited(
                places, call.output, self.observers, slot, stops=fast, hold=hold
            )
            return ItemsEnded(step.name, places, slot)

        if self.index[step.name] in self.awaits:
            runner.start(awaited, awaits=True, context=call.context())
        else:
            runner.start(work)

    def _begin(self, mapped: MappedStep, *, is_cleanup: bool = False) -> MappedCall:
        name = mapped.step.name
        call = self.maps.calls.get(name)
        if call is None:
            call = self.maps.calls[name] = MappedCall(
                mapped,
                observers=self.observers,
                ready=self.ready_at[name],
                guard=self.options.guard,
                items=mapped.count,
                is_cleanup=is_cleanup,
            )
            call.begin(self.perform)
        return call

    def _took(self, ended: ItemsEnded) -> None:
        """Take note of items that ended, and let what continues them start."""
        mapped = self.maps.open[ended.step]
        heapq.heappush(self.slots, ended.slot)
        hold = self.holds.pop(ended.slot, None)
        if hold is not None:
            hold.end()
        done = mapped.settle(ended.places)
        if mapped.cache is not None:
            self._heed_cache()
        self.at_work -= len(ended.places)
        mapped.at_work -= len(ended.places)
        self._offer(mapped)  # those that were not begun
        if self.options.fail_fast and mapped.fails(done) and not mapped.step.task.allow_failure:
            self.stopped_by = self.stopped_by or ended.step
        self.maps.look_below(mapped, done)
        self.maps.checks.append(mapped.step)

    def _end_map(self, mapped: MappedStep) -> None:
        """End *mapped*, once all of its places have, and the maps that it continues."""
        if mapped.left or mapped.at_work or any(name not in self.ended for name in mapped.sources):
            return
        step = mapped.step
        outcome = mapped.outcome()
        if mapped.count and step.name not in self.maps.calls:  # none was called
            verdict = decide("succeeded", map(self.ledger.fate_of, mapped.sources), ())
            if verdict.runs:
                verdict = Verdict(False, reason=outcome.reason or "")
            self._skip(step, verdict, mapped)
            return
        call = self._begin(mapped)
        call.finish(outcome)
        task = call.result()
        warning = mapped.left_out(self.plan.flow.name)
        if warning is not None and task.has_value:
            self.ledger.warn(warning)
        self._changes(step)
        cause = task.cause
        self._settle(task, broken=cause is not None and self.ledger.fate_of(cause).broken)

    # Ends

    def _skip(self, step: Step, verdict: Verdict, mapped: MappedStep | None = None) -> None:
        items = mapped.items() if mapped else None
        task = TaskRun(
            step.name, State.SKIPPED, reason=verdict.reason, cause=verdict.cause, items=items
        )
        self._settle(task, broken=verdict.broken)

    def _stops(self, step: Step) -> bool:
        """Whether a failure has stopped the run, and *step* is not there for failures."""
        if self.stopped_by is None or step.task.run_if in ("failed", "always"):
            return False
        return step.outcome is None or step.outcome.state is not State.SKIPPED

    def _is_stopped(self, step: Step) -> bool:
        """Skip *step* if a failure has stopped the run, unless it is there for failures."""
        if not self._stops(step):
            return False
        reason = f"task {self.stopped_by!r} failed, and fail_fast stops the run"
        skipped = TaskRun(step.name, State.SKIPPED, reason=reason, cause=self.stopped_by)
        self._settle(skipped, broken=True)
        return True

    def _settle(self, task: TaskRun, *, broken: bool = False) -> None:
        """Record how *task* ended, and decide on what is downstream of it.

        Parameters
        ----------
        task
            How it ended.
        broken
            Whether it was skipped because of a failure.
        """
        ledger, maps = self.ledger, self.maps
        settled = [(task, broken)]
        while settled:
            task, broken = settled.pop()
            ledger.add(task)
            if task.has_value:
                if self.watch:
                    self.watch.ended(task)
            elif task.state is State.FAILED and self.options.fail_fast and not task.allowed:
                self.stopped_by = self.stopped_by or task.name
            if ledger.fates or not task.has_value:
                ledger.add_fate(task, broken=broken)
            if maps.chains:
                maps.ended(task.name)
            for name in self.plan.downstreams[task.name]:
                if maps.chains and not maps.waits_for(name, task.name):
                    continue
                i = self.index[name]
                self.missing[i] -= 1
                if self.missing[i] == 0 and name not in self.ended:  # else it was cancelled
                    self.ready_at[name] = task.ended or ledger.started
                    step = self.plan.steps[i]
                    verdict = ledger.verdict(step)
                    if verdict.runs:
                        self._decided(step)
                        continue
                    skipped = TaskRun(
                        name, State.SKIPPED, reason=verdict.reason, cause=verdict.cause
                    )
                    settled.append((skipped, verdict.broken))
