"""Drives a plan: which step may start, what a failure skips, what a run becomes."""

from __future__ import annotations

import contextlib
import functools
import heapq
import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeAlias

from mxm.pipeline.errors import described
from mxm.pipeline.execution.call import Call
from mxm.pipeline.execution.events import (
    AssetWritten,
    Observers,
    RunEnded,
    RunStarted,
    StepEnded,
    Warned,
)
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.execution.output import captured
from mxm.pipeline.execution.plan import Plan, Step
from mxm.pipeline.execution.runners import Runner, make_runner, worker_count
from mxm.pipeline.execution.watch import Watch
from mxm.pipeline.logs import logger
from mxm.pipeline.problems import Problem
from mxm.pipeline.runs import FlowRun, gather, new_run_id
from mxm.pipeline.taskruns import State, TaskRun

__all__ = ["Perform", "drive"]

Perform: TypeAlias = Callable[[Call], TaskRun]
"""How an engine carries out one call: attempts, delays, and what became of it."""


def drive(plan: Plan, perform: Perform, options: RunOptions, backend: str = "") -> FlowRun:
    """Run the steps of *plan*, each by *perform*, and say what happened.

    A step starts once everything it needs has succeeded, so that none waits while it holds a
    worker. What depends on a failed or skipped step is skipped; the rest goes on, unless
    ``options.fail_fast``. The observers of *options* are called with each event.

    Raises
    ------
    BaseException
        What asked the run to end from outside, `KeyboardInterrupt` above all; its ``mxm_run`` is
        the run so far, in the state ``cancelled``.
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
        self.ready = [i for i, count in enumerate(self.missing) if count == 0]
        heapq.heapify(self.ready)
        self.slots = list(range(1, worker_count(options) + 1))  # those that are free, a heap
        self.running: dict[str, Call] = {}
        self.ended: dict[str, TaskRun] = {}
        self.values: dict[str, Any] = {}
        self.warnings = list(plan.warnings)
        # Workers have copies: what a task does to them no other one sees.
        shared = options.runner != "processes"
        self.watch = Watch(plan, whole=options.guard) if shared else None
        self.stopped_by: str | None = None
        self.started = datetime.now(UTC)
        self.clock = time.perf_counter()
        self.observers = Observers(new_run_id(self.started), options.observers)
        # When everything that a step needs had ended.
        self.ready_at = dict.fromkeys(self.index, self.started)

    def run(self) -> FlowRun:
        with captured():
            runner = make_runner(self.options)
            try:
                self._announce()
                self._place(runner)
                runner.close()
                return self._finished()
            except BaseException as error:
                with contextlib.suppress(Exception):  # a frozen exception keeps its type
                    error.mxm_run = self._cancelled()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
                runner.close()  # to its end, where that was cut short
                raise

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
                len(self.slots),
                plan.warnings,
            )
            self.observers.notify(event)

    def _place(self, runner: Runner) -> None:
        """Give every step that may start to *runner*, until all have ended."""
        while self.running or self._may_start():
            while self._may_start() and runner.free():
                call = self._call(self.plan.steps[heapq.heappop(self.ready)])
                if call is not None:
                    runner.start(functools.partial(self.perform, call))
            if self.running:
                task = runner.next()
                heapq.heappush(self.slots, self.running.pop(task.name).slot)
                if self.watch:
                    step = self.plan.steps[self.index[task.name]]
                    for problem in self.watch.changes(step, self.running):
                        self._warn(problem)
                self._settle(task)

    def _finished(self) -> FlowRun:
        for step in self._open():
            reason = f"task {self.stopped_by!r} failed, and fail_fast stops the run"
            skipped = TaskRun(step.name, State.SKIPPED, reason=reason, cause=self.stopped_by)
            self._end(skipped)
        failed = any(task.state is State.FAILED for task in self.ended.values())
        return self._flow_run(State.FAILED if failed else State.SUCCEEDED)

    def _cancelled(self) -> FlowRun:
        reason = "the run was cancelled"
        with self.observers.lock:  # what threads still do comes before it, or not at all
            for step in self._open():
                call = self.running.get(step.name)
                cancelled = TaskRun(step.name, State.CANCELLED, reason=reason)
                self._end(call.cancelled(reason) if call else cancelled)
            return self._flow_run(State.CANCELLED)

    def _open(self) -> list[Step]:
        return [step for step in self.plan.steps if step.name not in self.ended]

    def _may_start(self) -> bool:
        return bool(self.ready) and self.stopped_by is None

    def _call(self, step: Step) -> Call | None:
        """The call of *step*; None where there is none: it ends here."""
        if step.outcome is not None:
            self._settle(step.outcome)
            return None
        try:
            args = tuple(gather(b, self.values, self.plan.params) for b in step.args)
            kwargs = {k: gather(b, self.values, self.plan.params) for k, b in step.kwargs.items()}
        except Exception as error:  # a projection of a result: any type may fail in its own way
            with contextlib.suppress(Exception):  # a frozen one goes without
                error.add_note(f"while taking the inputs of task {step.name!r} from its upstreams")
            reason = f"its inputs could not be taken: {described(error)}"
            self._settle(TaskRun(step.name, State.FAILED, error=error, reason=reason))
            return None
        if self.watch:
            self.watch.starts(step, self.values)
        call = self.running[step.name] = Call(
            self.plan.flow.name,
            step,
            args,
            kwargs,
            observers=self.observers,
            slot=heapq.heappop(self.slots),
            ready=self.ready_at[step.name],
            guard=self.options.guard,
        )
        return call

    def _warn(self, problem: Problem) -> None:
        self.warnings.append(problem)
        logger.warning("%s", problem, extra=_EVENT)
        if self.observers:
            self.observers.notify(Warned(self.observers.run, datetime.now(UTC), problem))

    def _settle(self, task: TaskRun) -> None:
        """Record how *task* ended, and free or skip what is downstream of it."""
        self._end(task)
        if task.has_value:
            self.values[task.name] = task.value
            if self.watch:
                self.watch.ended(task)
            for name in self.plan.downstreams[task.name]:
                i = self.index[name]
                self.missing[i] -= 1
                if self.missing[i] == 0:
                    self.ready_at[name] = task.ended or self.started
                    heapq.heappush(self.ready, i)
            return
        if task.state is State.FAILED and self.options.fail_fast:
            self.stopped_by = self.stopped_by or task.name
        self._skip(self.plan.downstreams[task.name], task)

    def _skip(self, names: Iterable[str], cause: TaskRun) -> None:
        verb = "failed" if cause.state is State.FAILED else "was skipped"
        why = f": {cause.reason}" if cause.state is State.SKIPPED and cause.reason else ""
        reason = f"upstream {cause.name!r} {verb}{why}"
        stack = list(names)
        while stack:
            name = stack.pop()
            if name not in self.ended:
                self._end(TaskRun(name, State.SKIPPED, reason=reason, cause=cause.name))
                stack.extend(self.plan.downstreams[name])

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
        level = logging.ERROR if task.state is State.FAILED else level
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


# Marks the records that observers get as events.
_EVENT = {"mxm_event": True}


def _line(task: TaskRun) -> str:
    seconds = task.seconds
    took = f" in {seconds:.2f} s" if seconds is not None else ""
    tries = f" after {task.attempts} attempts" if task.attempts > 1 else ""
    why = f": {task.reason}" if task.reason else ""
    return f"{task.name} {task.state.value}{took}{tries}{why}"
