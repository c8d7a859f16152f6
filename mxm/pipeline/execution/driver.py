"""Drives a plan: which step runs and when, what a failure skips, how the run ends."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from mxm.pipeline.errors import described
from mxm.pipeline.execution.attempts.call import Call
from mxm.pipeline.execution.attempts.carriers import Waits
from mxm.pipeline.execution.calls import Calls, unread
from mxm.pipeline.execution.cleanup import Cleanup, Perform
from mxm.pipeline.execution.items.mapped import MappedStep
from mxm.pipeline.execution.items.mapped_call import MappedCall
from mxm.pipeline.execution.items.maps import Maps
from mxm.pipeline.execution.items.outcomes import left_out
from mxm.pipeline.execution.ledger import Ledger
from mxm.pipeline.execution.limits import Hold
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.execution.output import captured
from mxm.pipeline.execution.plans.plan import Plan, Step
from mxm.pipeline.execution.ready import Ready
from mxm.pipeline.execution.resources.opening import active_resources
from mxm.pipeline.execution.rules import Verdict, decide
from mxm.pipeline.execution.runners import ItemsEnded, Runner, make_runner, worker_count
from mxm.pipeline.execution.watch import Watch
from mxm.pipeline.process.interrupts import ends_the_run, let_signals_pass
from mxm.pipeline.process.logs import logger
from mxm.pipeline.runs import FlowRun, attach_run
from mxm.pipeline.taskruns import State, TaskRun

if TYPE_CHECKING:
    from mxm.pipeline.execution.cache.step_cache import StepCache

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
        self.ready = Ready(self.ledger)
        self.slots = list(range(1, self.workers + 1))  # the free ones, a heap
        self.running: dict[str, Call] = {}
        self.at_work = 0  # items
        # Workers have copies: a change that one task makes reaches no other.
        is_shared = not options.is_elsewhere
        self.watch = Watch(plan, whole=options.guard) if is_shared else None
        self.holds: dict[int, Hold] = {}  # by worker, the limits of its items
        # When everything that a step needs had ended.
        self.ready_at = dict.fromkeys(self.index, self.ledger.started)
        self.calls = Calls(self.ledger, self.maps, self.watch, self.ready_at)
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
            self.ready.prepare(runner)
            if self.ready.awaits:  # as many again, which hold no worker
                self.slots = list(range(1, 2 * self.workers + 1))
            try:
                self.ledger.announce()
                self.calls.cache = self._opened_cache()
                if self.calls.cache is not None:
                    self.calls.cache.run_again = self._run_again
                self._place(runner)
                self.calls.fetch_value()
                runner.close()
                self._close_resources()
                return self.ledger.finished()
            except BaseException as error:
                if self.ready.limits is not None:
                    self.ready.limits.close()
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
        from mxm.pipeline.execution.cache.step_cache import open_cache

        return open_cache(self.ledger)

    def _close_resources(self) -> None:
        if self.calls.cache is not None:
            self.calls.heed()
            self.calls.cache.close()
        resources = active_resources()
        for problem in resources.close() if resources else ():
            self.ledger.warn(replace(problem, flow=self.plan.flow.name))

    def _place(self, runner: Runner) -> None:
        """Give every step that may start to *runner*, until all have ended."""
        for first, count in zip(self.plan.steps, self.missing, strict=True):
            if count == 0:
                self._decided(first)
        self._check()
        while self.running or self.at_work or self.ready:
            while self.ready and self._start_one(runner):
                pass
            if self.running or self.at_work:
                ended = runner.next()
                if isinstance(ended, ItemsEnded):
                    self._took(ended)
                elif ended is not None:
                    self._took_step(ended)
                if self.maps.checks:
                    self._check()
                if self.ready.limits is not None:
                    self.ready.readmit()

    def _start_one(self, runner: Runner) -> bool:
        """Give a step that may start to *runner*; whether there is one, and room for it."""
        step, hold = self.ready.next(runner)
        if step is None:  # all that are left wait for a limit
            return False
        if step.name in self.maps.open:
            self._hand_out(self.maps.open[step.name], runner, hold)
        else:
            self._start(step, runner, hold)
        if self.maps.checks:
            self._check()
        return True

    def _start(self, step: Step, runner: Runner, hold: Hold | None) -> None:
        stopped = self.ledger.stopped_by is not None and self._is_stopped(step)
        call = None if stopped else self._call(step, hold)
        if call is not None:
            self.running[step.name] = call
            if self.ready.awaits and self.index[step.name] in self.ready.awaits:
                awaited = self.perform_awaited if call.probe is None else self._cached_awaited
                runner.start(functools.partial(awaited, call), awaits=True)
                return
            perform = self.perform if call.probe is None else self._perform_cached
            runner.start(functools.partial(perform, call))
        elif hold is not None:
            hold.end()

    def _perform_cached(self, call: Call) -> TaskRun:
        task = self.perform(call)
        if self.calls.cache is not None:
            self.calls.cache.made(task)
        return task

    def _cached_awaited(self, call: Call) -> Waits[TaskRun]:
        made = self.perform_awaited(call)
        task = made if isinstance(made, TaskRun) else (yield from made)
        if self.calls.cache is not None:
            self.calls.cache.made(task)
        return task

    def _took_step(self, task: TaskRun) -> None:
        """Record a step that ended."""
        call = self.running.pop(task.name)
        call.give_back()
        heapq.heappush(self.slots, call.slot)
        if self.watch:
            self._changes(call.step)
        if call.probe is not None:
            self.calls.heed()
        self._settle(task)

    def _changes(self, step: Step) -> None:
        if self.watch:
            for problem in self.watch.changes(step, self.running):
                self.ledger.warn(problem)

    def _decided(self, step: Step) -> None:
        """Let *step* start, which runs: everything that it waits for has ended."""
        if step.task.mapped and step.outcome is None:
            self.maps.checks.append(step)
        else:
            self.ready.add(self.index[step.name])

    def _call(
        self, step: Step, hold: Hold | None = None, *, is_cleanup: bool = False
    ) -> Call | None:
        """The call of *step*; None if it ends here without one."""
        made = self.calls.made(
            step, (lambda: 1) if is_cleanup else self._slot, hold, is_cleanup=is_cleanup
        )
        if isinstance(made, TaskRun):
            self._settle(made)
            return None
        return made

    def _slot(self) -> int:
        return heapq.heappop(self.slots)

    def _run_again(self, step: Step) -> TaskRun:
        """Run *step* on this thread: its kept result, which a task needs, cannot be loaded."""
        made = self.calls.again(step)
        if isinstance(made, TaskRun):
            return made
        task = self.perform(made) if made.probe is None else self._perform_cached(made)
        self.ledger.end(task)
        return task

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
            is_cached = self.calls.cache is not None and self.calls.cache.serves(step)
            mapped = self.maps.made(step, is_cached=is_cached)
        except BaseException as error:  # also what the user's item_key raised
            let_signals_pass(error)
            self._settle(unread(step, error, "while reading the items"))
            return
        if self.watch:
            self.watch.starts(step, self.ledger.values)
        mapped.cache = self.calls.cache if is_cached else None
        self.maps.add(mapped)

    def _offer(self, mapped: MappedStep) -> None:
        """Record that *mapped* has items that may start."""
        if mapped.ready and not mapped.offered:
            mapped.offered = True
            number = self.index[mapped.step.name]
            # Side by side, what lies further down goes first: an item passes through the chain.
            chosen = number if self.options.runner == "sequential" else -number - 1
            self.ready.add(chosen)

    def _hand_out(self, mapped: MappedStep, runner: Runner, hold: Hold | None) -> None:
        """Give items of *mapped* that may start to *runner*, with the limits of an attempt."""
        mapped.offered = False
        step = mapped.step
        if self.ledger.stops(step):
            mapped.stop(f"task {self.ledger.stopped_by!r} failed, and fail_fast stops the run")
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

        if self.index[step.name] in self.ready.awaits:
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
        """Record items that ended, and let the items after them start."""
        mapped = self.maps.open[ended.step]
        heapq.heappush(self.slots, ended.slot)
        hold = self.holds.pop(ended.slot, None)
        if hold is not None:
            hold.end()
        done = mapped.settle(ended.places)
        if mapped.cache is not None:
            self.calls.heed()
        self.at_work -= len(ended.places)
        mapped.at_work -= len(ended.places)
        self._offer(mapped)  # those that were not begun
        if self.options.fail_fast and mapped.fails(done) and not mapped.step.task.allow_failure:
            self.ledger.stopped_by = self.ledger.stopped_by or ended.step
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
        warning = left_out(mapped, self.plan.flow.name)
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

    def _is_stopped(self, step: Step) -> bool:
        """Skip *step* if a failure has stopped the run, unless it is there for failures."""
        if not self.ledger.stops(step):
            return False
        reason = f"task {self.ledger.stopped_by!r} failed, and fail_fast stops the run"
        skipped = TaskRun(step.name, State.SKIPPED, reason=reason, cause=self.ledger.stopped_by)
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
                self.ledger.stopped_by = self.ledger.stopped_by or task.name
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
