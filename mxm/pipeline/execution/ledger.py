"""How the steps of a run have ended so far, and what that means downstream."""

from __future__ import annotations

import logging
import time
from collections import ChainMap
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from typing import Any

from mxm.pipeline.bindings import Absent
from mxm.pipeline.errors import TaskCancelledError
from mxm.pipeline.execution.attempts.written import announce, asset_warnings
from mxm.pipeline.execution.events import (
    Observers,
    RunEnded,
    RunStarted,
    StepEnded,
    StepWaits,
    Warned,
)
from mxm.pipeline.execution.kept.later import Results
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.execution.plans.plan import Plan, Step
from mxm.pipeline.execution.rules import RUNS, Fate, Verdict, decide
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.logs import logger
from mxm.pipeline.runs import FlowRun, new_run_id
from mxm.pipeline.taskruns import State, TaskRun
from mxm.pipeline.values.failure import Failure

__all__ = ["Ledger"]


class Ledger:
    """The record of one run: which steps ended, with which values, and what follows.

    Parameters
    ----------
    plan, options
        As in `mxm.pipeline.execution.driver.drive`.
    backend
        Name of the backend.
    workers
        How many steps run at once.

    Attributes
    ----------
    index
        By step, its number in the plan.
    ended
        By step, how it ended.
    values
        By step, its result, of those that have one.
    fates
        By step, what its end means downstream, since a step was first left without a value; what
        ended before had nothing missing upstream.
    started
        When the run began.
    observers
        They are called with each event.
    stopped_by
        The step whose failure stops the run, where one does.
    """

    def __init__(self, plan: Plan, options: RunOptions, backend: str, workers: int) -> None:
        self.plan: Plan = plan
        self.options: RunOptions = options
        self.index: dict[str, int] = {step.name: i for i, step in enumerate(plan.steps)}
        self.ended: dict[str, TaskRun] = {}
        self.values: Results = Results()
        self.fates: dict[str, Fate] = {}
        self.started: datetime = datetime.now(UTC)
        self.observers: Observers = Observers(new_run_id(self.started), options.observers)
        self._backend = backend
        self.workers = workers
        self.stopped_by: str | None = None
        self._warnings = list(plan.warnings)
        self._clock = time.perf_counter()

    def step(self, name: str) -> Step:
        """The step of that name."""
        return self.plan.steps[self.index[name]]

    def open(self) -> list[Step]:
        """The steps that have not ended, in order."""
        return [step for step in self.plan.steps if step.name not in self.ended]

    def stops(self, step: Step) -> bool:
        """Whether a failure has stopped the run, and *step* is not there for failures."""
        if self.stopped_by is None or step.task.run_if in ("failed", "always"):
            return False
        return step.outcome is None or step.outcome.state is not State.SKIPPED

    def announce(self) -> None:
        """Report that the run starts."""
        if self.observers:
            event = RunStarted(
                self.observers.run,
                self.started,
                self.plan.flow,
                self.plan.params,
                tuple(self.index),
                self._backend,
                self.options.runner,
                self.workers,
                self.plan.warnings,
            )
            self.observers.notify(event)

    def waits(self, step: Step, limit: str, most: int) -> None:
        """Report that *step* waits for *limit*, which at most *most* attempts hold at once."""
        if self.observers:
            now = datetime.now(UTC)
            self.observers.notify(StepWaits(self.observers.run, now, step.name, limit, most))

    def warn(self, problem: Problem) -> None:
        """Add *problem* to the warnings of the run, and report it."""
        self._warnings.append(problem)
        logger.warning("%s", problem, extra=_EVENT)
        if self.observers:
            self.observers.notify(Warned(self.observers.run, datetime.now(UTC), problem))

    def add(self, task: TaskRun) -> None:
        """Record how *task* ended, with its value, and report it."""
        self.end(task)
        if task.has_value:
            self.values.keep(task)

    def end(self, task: TaskRun) -> None:
        """Record how *task* ended, and report it."""
        self.ended[task.name] = task
        at = task.ended or datetime.now(UTC)
        if task.asset is not None and task.has_value:
            announce(self.observers, task.name, task.asset, at)
        if self.step(task.name).target is not None:
            for problem in asset_warnings(task):
                self.warn(problem)
        # Thousands may not have started, all because of a single reported failure.
        level = logging.DEBUG if task.started is None else logging.INFO
        if task.state is State.FAILED:
            level = logging.WARNING if task.allowed else logging.ERROR
        if logger.isEnabledFor(level):
            logger.log(level, "%s", _line(task), extra={**_EVENT, "mxm_task": task.name})
        if self.observers:
            self.observers.notify(StepEnded(self.observers.run, at, task))

    def values_for(self, step: Step, by_item: Container[str] = ()) -> Mapping[str, Any]:
        """The results by step, with substitutes for those that *step* lacks.

        Parameters
        ----------
        step
            The step.
        by_item
            Upstreams from which it takes one item after another, not the whole result.
        """
        missing = [n for n in step.task.upstream if n not in self.values and n not in by_item]
        if not missing:
            return self.values
        takes_failures = step.task.run_if in ("failed", "always")
        instead = {
            name: Absent(_failure(self.ended[name]) if takes_failures else None) for name in missing
        }
        return ChainMap(instead, self.values)

    def verdict(self, step: Step) -> Verdict:
        """Whether *step* runs by its rule, now that everything that it waits for has ended."""
        if step.outcome is not None or (not self.fates and step.task.run_if != "failed"):
            return RUNS
        if step.task.over is not None:  # each item decides
            return RUNS
        takes, needs = step.task.upstream, step.needs
        if step.task.mapped:  # the rule is about its inputs beside the lists that it maps
            lists = step.listed
            needs = tuple(name for name in needs if name not in lists)
        return decide(
            step.task.run_if,
            [self.fate_of(name) for name in needs if name in takes],
            [self.fate_of(name) for name in needs if name not in takes],
        )

    def fate_of(self, name: str) -> Fate:
        """How the end of the step *name* affects steps downstream."""
        return self.fates.get(name) or Fate(name, True, False, False, False, name, "")

    def add_fate(self, task: TaskRun, *, broken: bool) -> None:
        """Record how the end of *task* affects steps downstream.

        Parameters
        ----------
        task
            How it ended.
        broken
            Whether it was skipped because of a failure.
        """
        failed = task.state is State.FAILED
        breaks = failed and not task.allowed
        needs = self.step(task.name).needs
        above = breaks or any(self.fate_of(name).failure_above for name in needs)
        cause, because = task.cause, task.reason or ""
        if cause is None:  # the chain of reasons begins here
            cause = task.name
            verb = "failed" if failed else "was skipped"
            why = f": {task.reason}" if task.state is State.SKIPPED and task.reason else ""
            because = f"upstream {task.name!r} {verb}{why}"
        self.fates[task.name] = Fate(
            task.name, task.has_value, failed, broken or breaks, above, cause, because
        )

    def finished(self) -> FlowRun:
        """The run, now that every step has ended."""
        failed = any(t.state is State.FAILED and not t.allowed for t in self.ended.values())
        return self.flow_run(State.FAILED if failed else State.SUCCEEDED)

    def flow_run(self, state: State) -> FlowRun:
        """The run, which ends now, in *state*."""
        now = datetime.now(UTC)
        run = FlowRun(
            self.plan.flow,
            self.plan.params,
            {s.name: self.ended[s.name] for s in self.plan.steps if s.name in self.ended},
            state,
            tuple(self._warnings),
            self.started,
            now,
            self.options.strict_json,
            id=self.observers.run,
            backend=self._backend,
            runner=self.options.runner,
            seconds=time.perf_counter() - self._clock,
        )
        if self.observers:
            self.observers.notify(RunEnded(self.observers.run, now, run))
            self.observers.close()
        return run


# Marks the log records that observers get as events.
_EVENT = {"mxm_event": True}


def _failure(task: TaskRun) -> Failure | None:
    """The value passed on in place of the missing result of *task*."""
    if task.state is State.SKIPPED:
        return None
    error = task.error
    if error is None:
        error = TaskCancelledError(f"task {task.name!r} was cancelled")
    return Failure(task.name, error, task.attempts)


def _line(task: TaskRun) -> str:
    seconds = task.seconds
    took = f" in {seconds:.2f} s" if seconds is not None else ""
    tries = f" after {task.attempts} attempts" if task.attempts > 1 else ""
    why = f": {task.reason}" if task.reason else ""
    return f"{task.name} {task.outcome}{took}{tries}{why}"
