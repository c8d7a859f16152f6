"""What a run would do with each task, why, and how long it may take; nothing runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from mxm.pipeline.execution.cache.reasons import Reason
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.execution.plans.partial import Past
from mxm.pipeline.execution.plans.plan import Plan, Step
from mxm.pipeline.execution.runners import worker_count
from mxm.pipeline.execution.staying import outlook_of
from mxm.pipeline.params.caching import cached_tasks
from mxm.pipeline.problems import Problem
from mxm.pipeline.taskruns import State

if TYPE_CHECKING:
    from mxm.pipeline.execution.forecast import Looked

__all__ = ["Outlook", "Planned", "Verdict", "outlook"]

Verdict: TypeAlias = Literal["RUN", "CACHED", "SKIP", "MAYBE"]


@dataclass(frozen=True, slots=True)
class Planned:
    """What a run would do with one task.

    Parameters
    ----------
    name
        The task.
    verdict
        ``RUN``, ``CACHED`` if a kept result is used, ``SKIP``, or ``MAYBE`` if that depends on the
        run.
    reasons
        Why.
    seconds
        How long it took before; None if it will not run, or never ran.
    items
        By verdict, how many items, if they are known before the run.
    """

    name: str
    verdict: Verdict
    reasons: tuple[Reason, ...]
    seconds: float | None = None
    items: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a run would do.

    Parameters
    ----------
    plan
        The steps.
    tasks
        What it would do with each, in order.
    seconds
        How long the tasks that run may take, and those that may run; None if one of them never
        ran before.
    warnings
        Warnings about the parameters and the cache.
    """

    plan: Plan
    tasks: tuple[Planned, ...]
    seconds: tuple[float, float] | None
    warnings: tuple[Problem, ...] = ()


def outlook(plan: Plan, options: RunOptions, past: Past) -> Outlook:
    """What a run of *plan* with *options* would do."""
    looked: dict[str, Looked] = {}
    problems: list[Problem] = []
    cached: frozenset[str] = frozenset()
    if options.keeps_results(plan):
        # Loaded only if there may be results.
        from mxm.pipeline.execution.forecast import forecast

        steps, problems = forecast(plan, options)
        looked = {one.name: one for one in steps}
        cached = cached_tasks(plan.flow, options.cache)
    tasks = tuple(_planned(plan, step, past, looked.get(step.name)) for step in plan.steps)
    runs = [task.name for task in tasks if task.name in cached and task.verdict in ("RUN", "MAYBE")]
    if runs and options.runner in ("dask", "ray"):
        problems.append(outlook_of(plan, options.runner, runs))
    workers = 1 if options.runner == "sequential" else worker_count(options)
    return Outlook(plan, tasks, _time(plan, tasks, workers), (*plan.warnings, *problems))


def _planned(plan: Plan, step: Step, past: Past, looked: Looked | None) -> Planned:
    outcome, rule = step.outcome, step.task.run_if
    if outcome is not None:
        if outcome.state is State.OVERRIDDEN:
            return Planned(step.name, "SKIP", (Reason("override", "its result is replaced"),))
        return Planned(step.name, "SKIP", (Reason("unselected", outcome.reason or ""),))
    seconds = past.seconds.get(step.name)
    if rule == "failed":
        why = Reason("rule", 'runs only after a failure (run_if="failed")')
        return Planned(step.name, "MAYBE", (why,), seconds)
    if looked is None or (looked.verdict == "RUN" and not looked.items):
        kinds = [] if looked is None else looked.reasons
        known = [one for one in kinds if one.kind not in ("uncached", "new", "forced")]
        own = _reasons(step, past, step.name in plan.forced)
        return Planned(step.name, "RUN", tuple(known) or tuple(own), seconds)
    reasons = tuple(looked.reasons)
    if looked.verdict == "CACHED":
        return Planned(step.name, "CACHED", (Reason("kept", looked.why),), None, looked.items)
    return Planned(step.name, looked.verdict, reasons, seconds, looked.items)


def _reasons(step: Step, past: Past, is_forced: bool) -> Iterator[Reason]:
    if is_forced:
        yield Reason("forced", "forced")
    if step.overridden:
        yield Reason("override", "its function is replaced")
    elif step.name not in past.states:
        yield Reason("new", "never run")
    elif past.states[step.name] in (State.FAILED, State.CANCELLED):
        state = past.states[step.name]
        yield Reason(state, f"it {'failed' if state == State.FAILED else 'was cancelled'} before")
    elif not is_forced:
        yield Reason("uncached", "it is not cached")


def _time(plan: Plan, tasks: Sequence[Planned], workers: int) -> tuple[float, float] | None:
    """How long the tasks that run, and those that may run, take on so many *workers*."""
    runs = {t.name: t.seconds for t in tasks if t.verdict == "RUN"}
    may = {t.name: t.seconds for t in tasks if t.verdict == "MAYBE"}
    if None in runs.values():
        return None
    known = {name: seconds or 0.0 for name, seconds in runs.items()}
    more = {**known, **{name: seconds or 0.0 for name, seconds in may.items()}}
    return _longest(plan, known, workers), _longest(plan, more, workers)


def _longest(plan: Plan, seconds: Mapping[str, float], workers: int) -> float:
    """The longest chain, or the whole work shared by the *workers*, whichever takes longer."""
    ends: dict[str, float] = {}
    for step in plan.steps:
        before = max((ends[name] for name in step.needs), default=0.0)
        ends[step.name] = before + seconds.get(step.name, 0.0)
    return max([sum(seconds.values()) / workers, *ends.values()])
