"""Drives a plan: which step may start, what a failure skips, what a run becomes."""

from __future__ import annotations

import contextlib
import heapq
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeAlias

from mxm.pipeline.errors import described
from mxm.pipeline.execution.call import Call
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.execution.plan import Plan, Step
from mxm.pipeline.execution.runners import Runner, make_runner
from mxm.pipeline.logs import logger
from mxm.pipeline.runs import FlowRun, State, TaskRun, gather

__all__ = ["Perform", "drive"]

Perform: TypeAlias = Callable[[Call], TaskRun]
"""How an engine carries out one call: attempts, delays, and what became of it."""


def drive(plan: Plan, perform: Perform, options: RunOptions) -> FlowRun:
    """Run the steps of *plan*, each by *perform*, and say what happened.

    A step starts once everything it needs has succeeded, so that none waits while it holds a
    worker. What depends on a failed or skipped step is skipped; the rest goes on, unless
    ``options.fail_fast``.

    Raises
    ------
    BaseException
        What asked the run to end from outside, `KeyboardInterrupt` above all; its ``mxm_run`` is
        the run so far, in the state ``cancelled``.
    """
    return _Drive(plan, perform, options).run()


class _Drive:
    def __init__(self, plan: Plan, perform: Perform, options: RunOptions) -> None:
        self.plan = plan
        self.perform = perform
        self.options = options
        self.index = {step.name: i for i, step in enumerate(plan.steps)}
        self.missing = [len(step.needs) for step in plan.steps]
        self.ready = [i for i, count in enumerate(self.missing) if count == 0]
        heapq.heapify(self.ready)
        self.ended: dict[str, TaskRun] = {}
        self.values: dict[str, Any] = {}
        self.stopped_by: str | None = None
        self.started = datetime.now(UTC)

    def run(self) -> FlowRun:
        runner = make_runner(self.options)
        try:
            self._place(runner)
            runner.close()
            return self._finished()
        except BaseException as error:
            with contextlib.suppress(Exception):  # a frozen exception keeps its type
                error.mxm_run = self._cancelled()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
            runner.close()  # to its end, where that was cut short
            raise

    def _place(self, runner: Runner) -> None:
        """Give every step that may start to *runner*, until all have ended."""
        running = 0
        while running or self._may_start():
            while self._may_start() and runner.free():
                work = self._work(self.plan.steps[heapq.heappop(self.ready)])
                if work is not None:
                    running += 1
                    runner.start(work)
            if running:
                task = runner.next()
                running -= 1
                self._settle(task)

    def _finished(self) -> FlowRun:
        for step in self._open():
            reason = f"task {self.stopped_by!r} failed, and fail_fast stops the run"
            self._end(TaskRun(step.name, State.SKIPPED, reason=reason))
        failed = any(task.state is State.FAILED for task in self.ended.values())
        return self._flow_run(State.FAILED if failed else State.SUCCEEDED)

    def _cancelled(self) -> FlowRun:
        for step in self._open():
            self._end(TaskRun(step.name, State.CANCELLED, reason="the run was cancelled"))
        return self._flow_run(State.CANCELLED)

    def _open(self) -> list[Step]:
        return [step for step in self.plan.steps if step.name not in self.ended]

    def _may_start(self) -> bool:
        return bool(self.ready) and self.stopped_by is None

    def _work(self, step: Step) -> Callable[[], TaskRun] | None:
        """What carries out *step*; None where its inputs cannot be taken from what came before."""
        try:
            args = tuple(gather(b, self.values, self.plan.params) for b in step.args)
            kwargs = {k: gather(b, self.values, self.plan.params) for k, b in step.kwargs.items()}
        except Exception as error:  # a projection of a result: any type may fail in its own way
            with contextlib.suppress(Exception):  # a frozen one goes without
                error.add_note(f"while taking the inputs of task {step.name!r} from its upstreams")
            reason = f"its inputs could not be taken: {described(error)}"
            self._settle(TaskRun(step.name, State.FAILED, error=error, reason=reason))
            return None
        call = Call(self.plan.flow.name, step, args, kwargs)
        return lambda: self.perform(call)

    def _settle(self, task: TaskRun) -> None:
        """Record how *task* ended, and free or skip what is downstream of it."""
        self._end(task)
        if task.state is State.SUCCEEDED:
            self.values[task.name] = task.value
            for name in self.plan.downstreams[task.name]:
                i = self.index[name]
                self.missing[i] -= 1
                if self.missing[i] == 0:
                    heapq.heappush(self.ready, i)
            return
        if task.state is State.FAILED and self.options.fail_fast:
            self.stopped_by = self.stopped_by or task.name
        self._skip(self.plan.downstreams[task.name], task)

    def _skip(self, names: Iterable[str], cause: TaskRun) -> None:
        verb = "failed" if cause.state is State.FAILED else "was skipped"
        told = f": {cause.reason}" if cause.state is State.SKIPPED and cause.reason else ""
        reason = f"upstream {cause.name!r} {verb}{told}"
        stack = list(names)
        while stack:
            name = stack.pop()
            if name not in self.ended:
                self._end(TaskRun(name, State.SKIPPED, reason=reason))
                stack.extend(self.plan.downstreams[name])

    def _end(self, task: TaskRun) -> None:
        self.ended[task.name] = task
        # Of those that never began there may be thousands, all for one that is told.
        level = logging.DEBUG if task.started is None else logging.INFO
        level = logging.ERROR if task.state is State.FAILED else level
        if logger.isEnabledFor(level):
            logger.log(level, "%s", _line(task), extra={"mxm_task": task.name})

    def _flow_run(self, state: State) -> FlowRun:
        tasks = {s.name: self.ended[s.name] for s in self.plan.steps if s.name in self.ended}
        return FlowRun(
            self.plan.flow,
            self.plan.params,
            tasks,
            state,
            self.plan.warnings,
            self.started,
            datetime.now(UTC),
            self.options.strict_json,
        )


def _line(task: TaskRun) -> str:
    seconds = task.seconds
    took = f" in {seconds:.2f} s" if seconds is not None else ""
    tries = f" after {task.attempts} attempts" if task.attempts > 1 else ""
    why = f": {task.reason}" if task.reason else ""
    return f"{task.name} {task.state.value}{took}{tries}{why}"
