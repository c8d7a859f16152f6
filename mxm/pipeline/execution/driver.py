"""Drives a plan: which step runs and when, what a failure skips, how the run ends."""

from __future__ import annotations

import contextlib
import functools
import heapq
import logging
import time
from collections import ChainMap, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from mxm.pipeline.bindings import Absent, Binding, Each, upstreams_in
from mxm.pipeline.errors import TaskCancelledError, described
from mxm.pipeline.execution.call import Call
from mxm.pipeline.execution.events import (
    AssetWritten,
    Observers,
    RunEnded,
    RunStarted,
    StepEnded,
    StepWaits,
    Warned,
)
from mxm.pipeline.execution.flow_items import FlowItems
from mxm.pipeline.execution.gaps import gap_problem
from mxm.pipeline.execution.limits import Hold, Limits
from mxm.pipeline.execution.mapped import MappedCall, MappedStep
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.execution.output import captured
from mxm.pipeline.execution.plan import Plan, Step, chained_to
from mxm.pipeline.execution.resources import active_resources
from mxm.pipeline.execution.rules import RUNS, Fate, Verdict, decide
from mxm.pipeline.execution.runners import ItemsEnded, Runner, make_runner, worker_count
from mxm.pipeline.execution.watch import Watch
from mxm.pipeline.failure import Failure
from mxm.pipeline.interrupts import ends_the_run, let_signals_pass
from mxm.pipeline.logs import logger
from mxm.pipeline.problems import Problem
from mxm.pipeline.runs import FlowRun, gather, new_run_id
from mxm.pipeline.taskruns import State, TaskRun

__all__ = ["Perform", "drive"]

Perform: TypeAlias = Callable[[Call], TaskRun]
"""How an engine carries out one call: attempts, delays, and what became of it."""


def drive(plan: Plan, perform: Perform, options: RunOptions, backend: str = "") -> FlowRun:
    """Run the steps of *plan*, each by *perform*, and say what happened.

    A step is decided once everything upstream of it has ended, so no step waits while it occupies
    a worker: it starts, or its run rule skips it. What depends on a failed or skipped step is
    skipped, unless its rule has it otherwise; the rest goes on, unless ``options.fail_fast``. The
    observers of *options* are called with each event.

    Raises
    ------
    BaseException
        What asked the run to end from outside, `KeyboardInterrupt` above all; its ``mxm_run`` is
        the run so far, in the state ``cancelled``. Tasks that always run have run by then, as far
        as the grace of *options* lets them.
    """
    return _Drive(plan, perform, options, backend).run()


class _Drive:
    def __init__(self, plan: Plan, perform: Perform, options: RunOptions, backend: str) -> None:
        self.plan = plan
        self.perform = perform
        self.options = options
        self.backend = backend
        self.index = {step.name: i for i, step in enumerate(plan.steps)}
        self.missing = [len(step.needs) for step in plan.steps]
        # By number, the steps that may start, and the maps that have items which may.
        self.ready: list[int] = []
        self.workers = worker_count(options)
        self.slots = list(range(1, self.workers + 1))  # those that are free, a heap
        self.running: dict[str, Call] = {}
        self.ended: dict[str, TaskRun] = {}
        self.values: dict[str, Any] = {}
        # Of the steps that ended since one was left without a value; what ended before them did
        # so with nothing missing above it.
        self.fates: dict[str, Fate] = {}
        self.warnings = list(plan.warnings)
        # Workers have copies: what a task does to them no other one sees.
        shared = options.runner != "processes"
        self.at_work = 0  # items
        self.watch = Watch(plan, whole=options.guard) if shared else None
        # A mapped step whose items go on with those of a mapped step upstream does not wait for
        # the whole of it.
        self.chains: dict[str, list[str]] = {}
        self.followers: dict[str, list[Step]] = {}
        self.waited_for: dict[str, frozenset[str]] = {}  # of steps with chains
        self._find_chains()
        self.maps: dict[str, MappedStep] = {}
        self.checks: deque[Step] = deque()
        self.stopped_by: str | None = None
        self.limits: Limits | None = None
        # Since when a step has waited for a limit.
        self.waits: dict[str, float] = {}
        # By worker, what its items hold.
        self.holds: dict[int, Hold] = {}
        self.started = datetime.now(UTC)
        self.clock = time.perf_counter()
        self.observers = Observers(new_run_id(self.started), options.observers)
        # When everything that a step needs had ended.
        self.ready_at = dict.fromkeys(self.index, self.started)

    def _find_chains(self) -> None:
        for i, step in enumerate(self.plan.steps):
            chained = [n for n in step.chained if self._step(n).outcome is None]
            if chained and step.outcome is None:
                self.chains[step.name] = chained
                self.waited_for[step.name] = self._waited_for(step, chained)
                self.missing[i] = len(self.waited_for[step.name])
                for name in chained:
                    self.followers.setdefault(name, []).append(step)

    @staticmethod
    def _waited_for(step: Step, chained: Sequence[str]) -> frozenset[str]:
        """The steps that must have ended before *step*, with its chains, is decided on."""
        inputs = (*step.args, *step.kwargs.values())
        whole = {u.name for b in inputs if chained_to(b) not in chained for u in upstreams_in([b])}
        whole.update(name for name in step.task.after if name not in step.task.by_item)
        whole.difference_update(step.task.by_item)
        return frozenset(n for n in step.needs if n not in chained or n in whole)

    def _step(self, name: str) -> Step:
        return self.plan.steps[self.index[name]]

    def run(self) -> FlowRun:
        with captured():
            runner = make_runner(self.options)
            names = sorted({name for step in self.plan.steps for name in step.task.limits})
            if names:
                most = {name: self.options.limits.get(name, 1) for name in names}
                self.limits = Limits(most, runner.wake)
            try:
                self._announce()
                self._place(runner)
                runner.close()
                self._close_resources()
                return self._finished()
            except BaseException as error:
                if self.limits is not None:
                    self.limits.close()
                try:
                    self._clean_up(runner)
                    runner.stop()
                    self._close_resources()
                except BaseException as broken:
                    if not ends_the_run(broken):  # else a second signal
                        logger.error("the cancelled run was not cleaned up: %s", described(broken))
                with contextlib.suppress(Exception):  # a frozen exception keeps its type
                    error.mxm_run = self._cancelled()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
                runner.close()  # to its end, where that was cut short
                raise

    def _close_resources(self) -> None:
        resources = active_resources()
        for problem in resources.close() if resources else ():
            self._warn(replace(problem, flow=self.plan.flow.name))

    def _announce(self) -> None:
        if self.observers:
            plan, runner = self.plan, self.options.runner
            event = RunStarted(
                self.observers.run,
                self.started,
                plan.flow,
                plan.params,
                tuple(self.index),
                self.backend,
                runner,
                self.workers,
                plan.warnings,
            )
            self.observers.notify(event)

    def _place(self, runner: Runner) -> None:
        """Give every step that may start to *runner*, until all have ended."""
        for step, count in zip(self.plan.steps, self.missing, strict=True):
            if count == 0:
                self._decided(step)
        self._check()
        while self.running or self.at_work or self.ready:
            while self.ready and runner.free():
                found, hold = self._next()
                if found is None:  # all that are left wait for a limit
                    break
                step = found
                if step.name in self.maps:
                    self._hand_out(self.maps[step.name], runner, hold)
                else:
                    stopped = self.stopped_by is not None and self._is_stopped(step)
                    call = None if stopped else self._call(step, hold)
                    if call is not None:
                        self.running[step.name] = call
                        runner.start(functools.partial(self.perform, call))
                    elif hold is not None:
                        hold.end()
                if self.checks:
                    self._check()
            if self.running or self.at_work:
                ended = runner.next()
                if isinstance(ended, ItemsEnded):
                    self._took(ended)
                elif ended is not None:
                    call = self.running.pop(ended.name)
                    call.give_back()
                    heapq.heappush(self.slots, call.slot)
                    if self.watch:
                        self._changes(self._step(ended.name))
                    self._settle(ended)
                if self.checks:
                    self._check()
                if self.limits is not None:
                    self._readmit()

    def _next(self) -> tuple[Step | None, Hold | None]:
        """The first step in order that may start, and its limits; one that lacks a limit waits."""
        while self.ready:
            number = heapq.heappop(self.ready)
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
                self._tell_of_wait(step, taken, self.limits.most[taken])
            self._readmit()  # another one that waits for what this one would have taken, too
        return None, None

    def _readmit(self) -> None:
        """Let steps that wait for limits start, as many as these have room for."""
        if self.limits is not None:
            for number in self.limits.back(everything=self.stopped_by is not None):
                heapq.heappush(self.ready, number)

    def _tell_of_wait(self, step: Step, limit: str, most: int) -> None:
        if self.observers:
            now = datetime.now(UTC)
            self.observers.notify(StepWaits(self.observers.run, now, step.name, limit, most))

    def _changes(self, step: Step) -> None:
        if self.watch:
            for problem in self.watch.changes(step, self.running):
                self._warn(problem)

    def _decided(self, step: Step) -> None:
        """Let *step* start, which runs: everything that it waits for has ended."""
        if step.task.mapped and step.outcome is None:
            self.checks.append(step)
        else:
            heapq.heappush(self.ready, self.index[step.name])

    def _check(self) -> None:
        """Open the maps whose lists are known by now, and end those that are done."""
        while self.checks:
            step = self.checks.popleft()
            if step.name in self.ended:
                continue
            if step.name in self.maps:
                self._end_map(self.maps[step.name])
            elif self.missing[self.index[step.name]] == 0:
                self._open_map(step)

    def _open_map(self, step: Step) -> None:
        """Take the lists of *step*, once all are known."""
        chained = self.chains.get(step.name, [])
        for name in chained:
            ended = name in self.ended
            if name not in self.maps and ended:  # without items
                verdict = decide(
                    "succeeded", [self._fate_of(n) for n in chained if n in self.ended], ()
                )
                self._skip(step, verdict)
                return
            if name not in self.maps or (step.task.item_key is not None and not ended):
                return
        if self._is_stopped(step):
            return
        missing = self._missing_lists(step)
        if missing:  # without its items it is skipped under every rule
            self._skip(step, decide("succeeded", map(self._fate_of, missing), ()))
            return
        try:
            mapped = self._made_map(step)
        except BaseException as error:  # also what the user's item_key raised
            let_signals_pass(error)
            self._settle(self._refused(step, error, "while reading the items"))
            return
        if self.watch:
            self.watch.starts(step, self.values)
        self.maps[step.name] = mapped
        places = range(mapped.count)
        self._look(mapped, places)
        self.checks.append(step)
        self.checks.extend(self.followers.get(step.name, ()))

    def _missing_lists(self, step: Step) -> list[str]:
        """The upstreams without a value whose lists *step* maps."""
        if any(name in self.chains.get(step.name, ()) for name in step.listed):
            return []
        inputs = (step.task.over, *step.args, *step.kwargs.values())
        lists = [b for b in inputs if isinstance(b, Each)]
        return [u.name for u in upstreams_in(lists) if u.name not in self.values]

    def _made_map(self, step: Step) -> MappedStep:
        """*step* with its items.

        Raises
        ------
        Exception
            As in `MappedStep`.
        """
        chained = self.chains.get(step.name, [])
        values = self._values_for(step)
        sources = {name: self.maps[name] for name in chained}

        def take(binding: Binding) -> Any:
            return gather(binding, values, self.plan.params)

        flow = self.plan.flow.name
        if step.task.over is None:
            return MappedStep(flow, step, sources, take)
        outside = [n for n in step.needs if n not in chained and n not in step.listed]
        fates = {name: self._fate_of(name) for name in outside}
        return FlowItems(flow, step, sources, take, fates)

    def _offer(self, mapped: MappedStep) -> None:
        """Note that *mapped* has items which may start."""
        if mapped.ready and not mapped.offered:
            mapped.offered = True
            number = self.index[mapped.step.name]
            # Side by side, what lies further down goes first: an item passes through the chain.
            chosen = number if self.options.runner == "sequential" else -number - 1
            heapq.heappush(self.ready, chosen)

    def _look(self, mapped: MappedStep, places: Iterable[int]) -> None:
        """Decide on *places* of *mapped*, and on those of the maps that go on with it."""
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
        followers = self.followers.get(mapped.step.name, ())
        return [self.maps[step.name] for step in followers if step.name in self.maps]

    def _hand_out(self, mapped: MappedStep, runner: Runner, hold: Hold | None) -> None:
        """Give items of *mapped* that may start to *runner*, with the limits of an attempt."""
        mapped.offered = False
        step = mapped.step
        if self._stops(step):
            mapped.stop(f"task {self.stopped_by!r} failed, and fail_fast stops the run")
            self.checks.append(step)
            self._look_below(mapped, range(mapped.count))
            return
        call = self._begun(mapped)
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
                lambda: mapped.run(places, call, self.observers, slot, stops=fast, hold=hold)
            )
            return ItemsEnded(step.name, places, slot)

        runner.start(work)

    def _begun(self, mapped: MappedStep, *, is_cleanup: bool = False) -> MappedCall:
        if mapped.call is None:
            mapped.call = MappedCall(
                mapped,
                observers=self.observers,
                ready=self.ready_at[mapped.step.name],
                guard=self.options.guard,
                items=mapped.count,
                is_cleanup=is_cleanup,
            )
            mapped.call.begin(self.perform)
        return mapped.call

    def _took(self, ended: ItemsEnded) -> None:
        """Take note of items that ended, and let what goes on with them start."""
        mapped = self.maps[ended.step]
        heapq.heappush(self.slots, ended.slot)
        hold = self.holds.pop(ended.slot, None)
        if hold is not None:
            hold.end()
        done = mapped.settle(ended.places)
        self.at_work -= len(ended.places)
        mapped.at_work -= len(ended.places)
        self._offer(mapped)  # those that were not begun
        if self.options.fail_fast and mapped.fails(done) and not mapped.step.task.allow_failure:
            self.stopped_by = self.stopped_by or ended.step
        self._look_below(mapped, done)
        self.checks.append(mapped.step)

    def _look_below(self, mapped: MappedStep, places: Iterable[int]) -> None:
        places = list(places)
        for follower in self._following(mapped):
            self._look(follower, places)

    def _end_map(self, mapped: MappedStep) -> None:
        """End *mapped*, once all of its places have, and the maps that it goes on with."""
        if mapped.left or mapped.at_work or any(name not in self.ended for name in mapped.sources):
            return
        step = mapped.step
        outcome = mapped.outcome()
        if mapped.call is None and mapped.count:  # none was called
            verdict = decide("succeeded", map(self._fate_of, mapped.sources), ())
            if verdict.runs:
                verdict = Verdict(False, reason=outcome.reason or "")
            self._skip(step, verdict, mapped)
            return
        call = self._begun(mapped)
        call.finish(outcome)
        task = call.result()
        warning = mapped.left_out(self.plan.flow.name)
        if warning is not None and task.has_value:
            self._warn(warning)
        self._changes(step)
        cause = task.cause
        self._settle(task, broken=cause is not None and self._fate_of(cause).broken)

    def _skip(self, step: Step, verdict: Verdict, mapped: MappedStep | None = None) -> None:
        items = mapped.items() if mapped else None
        task = TaskRun(
            step.name, State.SKIPPED, reason=verdict.reason, cause=verdict.cause, items=items
        )
        self._settle(task, broken=verdict.broken)

    def _refused(self, step: Step, error: BaseException, when: str) -> TaskRun:
        """The outcome of *step*, whose inputs could not be read."""
        with contextlib.suppress(Exception):  # a frozen one goes without
            error.add_note(f"{when} of task {step.name!r} from its upstreams")
        reason = f"its inputs could not be read: {described(error)}"
        allowed = step.task.allow_failure
        return TaskRun(step.name, State.FAILED, error=error, reason=reason, allowed=allowed)

    def _stops(self, step: Step) -> bool:
        """Whether a failure has stopped the run, and *step* is not there for failures."""
        return self.stopped_by is not None and step.task.run_if not in ("failed", "always")

    def _is_stopped(self, step: Step) -> bool:
        """Skip *step* where a failure has stopped the run, unless it is there for failures."""
        if not self._stops(step):
            return False
        reason = f"task {self.stopped_by!r} failed, and fail_fast stops the run"
        skipped = TaskRun(step.name, State.SKIPPED, reason=reason, cause=self.stopped_by)
        self._settle(skipped, broken=True)
        return True

    def _finished(self) -> FlowRun:
        failed = any(t.state is State.FAILED and not t.allowed for t in self.ended.values())
        return self._flow_run(State.FAILED if failed else State.SUCCEEDED)

    def _clean_up(self, runner: Runner) -> None:
        """Run what always runs, once the run is cancelled, within the grace of its options."""
        open_steps = [s for s in self._open() if s.task.run_if == "always"]
        if not open_steps or not self.options.grace_s:
            return
        deadline = time.monotonic() + self.options.grace_s
        always = {step.name for step in open_steps}
        with self.observers.lock:
            self._cancel([step for step in self._open() if step.name not in always])
        # None of them may run beside a task upstream of it.
        runner.stop()
        for task in runner.drain(self.options.grace_s):
            if isinstance(task, TaskRun) and task.name in always:
                self._keep(task)
        if not runner.idle():
            return
        # Not on this thread, which a second signal must reach.
        kind = "processes" if self.options.runner == "processes" else "threads"
        place = make_runner(replace(self.options, runner=kind, workers=1))
        try:
            for step in open_steps:
                if step.name in self.ended:
                    continue
                if step.name in self.running:  # it has begun, and was cut short
                    self._cancel([step])
                    continue
                if step.task.mapped and step.outcome is None:
                    self._clean_items(step, place, kind, deadline)
                    if not place.idle():
                        return
                    continue
                once = replace(step, task=replace(step.task, retries=0))
                call = self._call(once, is_cleanup=True)
                if call is None:
                    continue
                self.running[step.name] = call
                place.start(functools.partial(self.perform, call))
                for task in place.drain(deadline - time.monotonic()):
                    if isinstance(task, TaskRun):
                        self._keep(task)
                if not place.idle():
                    return
        finally:
            place.close()

    def _clean_items(self, step: Step, place: Runner, kind: str, deadline: float) -> None:
        """Call the items of *step*, which always runs, that were not begun."""
        mapped = self._late_map(step)
        if mapped is not None:
            mapped.resume()
        if mapped is None or (mapped.count and not mapped.ready and mapped.call is None):
            self._cancel([step])
            return
        call = self._begun(mapped, is_cleanup=True)
        while mapped.ready:
            places = mapped.take(kind, 1)

            def work(places: list[int] = places) -> ItemsEnded:
                call.within(lambda: mapped.run(places, call, self.observers, 1, stops=False))
                return ItemsEnded(step.name, places, 1)

            place.start(work)
            for ended in place.drain(deadline - time.monotonic()):
                if isinstance(ended, ItemsEnded):
                    mapped.settle(ended.places)
            if not place.idle():
                return
        if mapped.left:  # one was cut short
            self._cancel([step])
            return
        call.finish(mapped.outcome())
        self._keep(call.result())

    def _late_map(self, step: Step) -> MappedStep | None:
        """*step* with its items, once the run is cancelled; None where they are not known."""
        if step.name in self.maps:
            return self.maps[step.name]
        chained = self.chains.get(step.name, [])
        if any(self._late_map(self._step(name)) is None for name in chained):
            return None
        if self._missing_lists(step):
            return None
        try:
            mapped = self._made_map(step)
        except Exception:  # also what the user's item_key raised
            return None
        self.maps[step.name] = mapped
        if step.name in self.ended:
            mapped.cancel(_CANCELLED)
        return mapped

    def _cancelled(self) -> FlowRun:
        with self.observers.lock:  # what threads still do comes before it, or not at all
            self._cancel(self._open())
            return self._flow_run(State.CANCELLED)

    def _cancel(self, steps: list[Step]) -> None:
        for step in steps:
            mapped = self.maps.get(step.name)
            call = self.running.get(step.name) or (mapped and mapped.call)
            cancelled = TaskRun(step.name, State.CANCELLED, reason=_CANCELLED)
            if mapped is not None:
                mapped.cancel(_CANCELLED)
            self._end(call.cancelled(_CANCELLED) if call else cancelled)

    def _open(self) -> list[Step]:
        return [step for step in self.plan.steps if step.name not in self.ended]

    def _call(
        self, step: Step, hold: Hold | None = None, *, is_cleanup: bool = False
    ) -> Call | None:
        """The call of *step*; None where there is none: it ends here."""
        if step.outcome is not None:
            self._settle(step.outcome)
            return None
        values = self._values_for(step)
        try:
            args = tuple(gather(b, values, self.plan.params) for b in step.args)
            kwargs = {k: gather(b, values, self.plan.params) for k, b in step.kwargs.items()}
        except BaseException as error:  # a projection of a result: any type may fail in its own way
            let_signals_pass(error)
            self._settle(self._refused(step, error, "while reading the inputs"))
            return None
        if self.watch:
            self.watch.starts(step, self.values)
        problem = gap_problem(self.plan.flow.name, step, self.maps) if self.maps else None
        if problem is not None:
            self._warn(problem)
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
        )

    def _values_for(self, step: Step) -> Mapping[str, Any]:
        """The results by step, and what *step* takes in place of those that are missing."""
        if len(self.values) == len(self.ended) and not self.chains:  # nothing is missing yet
            return self.values
        chained = self.chains.get(step.name, ())  # whose items it takes one by one
        missing = [n for n in step.task.upstream if n not in self.values and n not in chained]
        if not missing:
            return self.values
        takes_failures = step.task.run_if in ("failed", "always")
        instead = {
            name: Absent(_failure(self.ended[name]) if takes_failures else None) for name in missing
        }
        return ChainMap(instead, self.values)

    def _warn(self, problem: Problem) -> None:
        self.warnings.append(problem)
        logger.warning("%s", problem, extra=_EVENT)
        if self.observers:
            self.observers.notify(Warned(self.observers.run, datetime.now(UTC), problem))

    def _settle(self, task: TaskRun, *, broken: bool = False) -> None:
        """Record how *task* ended, and decide on what is downstream of it.

        Parameters
        ----------
        task
            How it ended.
        broken
            Whether it was skipped because of a failure.
        """
        ended = [(task, broken)]
        while ended:
            task, broken = ended.pop()
            self._keep(task)
            if task.has_value:
                if self.watch:
                    self.watch.ended(task)
            elif task.state is State.FAILED and self.options.fail_fast and not task.allowed:
                self.stopped_by = self.stopped_by or task.name
            if self.fates or not task.has_value:
                self.fates[task.name] = self._fate(task, broken)
            if self.chains:
                self.checks.extend(self.followers.get(task.name, ()))
            for name in self.plan.downstreams[task.name]:
                if name in self.chains and task.name not in self.waited_for[name]:
                    continue
                i = self.index[name]
                self.missing[i] -= 1
                if self.missing[i] == 0 and name not in self.ended:  # cancelled, else
                    self.ready_at[name] = task.ended or self.started
                    step = self.plan.steps[i]
                    verdict = self._verdict(step)
                    if verdict.runs:
                        self._decided(step)
                        continue
                    skipped = TaskRun(
                        name, State.SKIPPED, reason=verdict.reason, cause=verdict.cause
                    )
                    ended.append((skipped, verdict.broken))

    def _verdict(self, step: Step) -> Verdict:
        if step.outcome is not None or (not self.fates and step.task.run_if != "failed"):
            return RUNS
        if step.task.over is not None:  # decided item by item
            return RUNS
        takes, needs = step.task.upstream, step.needs
        if step.task.mapped:  # its rule is for what it takes beside the lists that it maps
            lists = step.listed
            needs = tuple(name for name in needs if name not in lists)
        return decide(
            step.task.run_if,
            [self._fate_of(name) for name in needs if name in takes],
            [self._fate_of(name) for name in needs if name not in takes],
        )

    def _fate_of(self, name: str) -> Fate:
        return self.fates.get(name) or Fate(name, True, False, False, False, name, "")

    def _fate(self, task: TaskRun, broken: bool) -> Fate:
        failed = task.state is State.FAILED
        breaks = failed and not task.allowed
        needs = self.plan.steps[self.index[task.name]].needs
        above = breaks or any(self._fate_of(name).failure_above for name in needs)
        cause, because = task.cause, task.reason or ""
        if cause is None:  # it ends here, and passes on what it says itself
            cause = task.name
            verb = "failed" if failed else "was skipped"
            why = f": {task.reason}" if task.state is State.SKIPPED and task.reason else ""
            because = f"upstream {task.name!r} {verb}{why}"
        return Fate(task.name, task.has_value, failed, broken or breaks, above, cause, because)

    def _keep(self, task: TaskRun) -> None:
        self._end(task)
        if task.has_value:
            self.values[task.name] = task.value

    def _end(self, task: TaskRun) -> None:
        self.ended[task.name] = task
        at = task.ended or datetime.now(UTC)
        if task.asset is not None:
            partition = f" partition={task.asset.partition}" if task.asset.partition else ""
            logger.info("ASSET write %s%s", task.asset.id, partition, extra=_EVENT)
            if self.observers:
                event = AssetWritten(self.observers.run, at, task.name, task.asset)
                self.observers.notify(event)
        # Of those that never began there may be thousands, all for one that is reported.
        level = logging.DEBUG if task.started is None else logging.INFO
        if task.state is State.FAILED:
            level = logging.WARNING if task.allowed else logging.ERROR
        if logger.isEnabledFor(level):
            logger.log(level, "%s", _line(task), extra={**_EVENT, "mxm_task": task.name})
        if self.observers:
            self.observers.notify(StepEnded(self.observers.run, at, task))

    def _flow_run(self, state: State) -> FlowRun:
        now = datetime.now(UTC)
        run = FlowRun(
            self.plan.flow,
            self.plan.params,
            {s.name: self.ended[s.name] for s in self.plan.steps if s.name in self.ended},
            state,
            tuple(self.warnings),
            self.started,
            now,
            self.options.strict_json,
            id=self.observers.run,
            backend=self.backend,
            runner=self.options.runner,
            seconds=time.perf_counter() - self.clock,
        )
        if self.observers:
            self.observers.notify(RunEnded(self.observers.run, now, run))
            self.observers.close()
        return run


def _failure(task: TaskRun) -> Failure | None:
    """The value passed on in place of the missing result of *task*."""
    if task.state is State.SKIPPED:
        return None
    error = task.error
    if error is None:
        error = TaskCancelledError(f"task {task.name!r} was cancelled")
    return Failure(task.name, error, task.attempts)


_CANCELLED = "the run was cancelled"
# Marks the records that observers get as events.
_EVENT = {"mxm_event": True}


def _line(task: TaskRun) -> str:
    seconds = task.seconds
    took = f" in {seconds:.2f} s" if seconds is not None else ""
    tries = f" after {task.attempts} attempts" if task.attempts > 1 else ""
    why = f": {task.reason}" if task.reason else ""
    return f"{task.name} {task.outcome}{took}{tries}{why}"
