"""What a run would do with each task, why, and how long it may take; nothing runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from mxm.pipeline.execution.forecast import Looked, forecast
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.execution.partial import Past, forced_steps
from mxm.pipeline.execution.plan import Plan, Step
from mxm.pipeline.execution.runners import worker_count
from mxm.pipeline.taskruns import State

__all__ = ["Outlook", "Planned", "Verdict", "Why", "outlook"]

Verdict: TypeAlias = Literal["RUN", "CACHED", "SKIP", "MAYBE"]


class Why(NamedTuple):
    """One reason of a verdict.

    Parameters
    ----------
    kind
        ``new``, ``forced``, ``uncached``, ``rule``, ``unselected``, ``override``, ...
    text
        It, in words.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Planned:
    """What a run would do with one task.

    Parameters
    ----------
    name
        The task.
    verdict
        ``RUN``, ``CACHED`` where a kept result is used, ``SKIP``, or ``MAYBE`` where that depends
        on the run.
    reasons
        Why.
    seconds
        How long it took before; None where it will not run, or never ran.
    items
        By verdict, how many items, where they are known before the run.
    """

    name: str
    verdict: Verdict
    reasons: tuple[Why, ...]
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
        How long the tasks that run may take, and those that may run; None where one of them never
        ran before.
    """

    plan: Plan
    tasks: tuple[Planned, ...]
    seconds: tuple[float, float] | None


def outlook(plan: Plan, options: RunOptions, past: Past) -> Outlook:
    """What a run of *plan* with *options* would do.

    Raises
    ------
    SelectionError
        What is forced names no task.
    """
    forced = forced_steps(plan, options.force, past)
    looked = {one.name: one for one in forecast(plan, options)[0]}
    tasks = tuple(
        _looked_up(step, past, looked[step.name])
        if step.name in looked
        else _planned(step, past, is_forced=step.name in forced)
        for step in plan.steps
    )
    workers = 1 if options.runner == "sequential" else worker_count(options)
    return Outlook(plan, tasks, _time(plan, tasks, workers))


def _looked_up(step: Step, past: Past, looked: Looked) -> Planned:
    """What the cache would do with *step*."""
    reasons = [Why(reason.kind, reason.text) for reason in looked.reasons]
    if looked.used is not None:
        reasons.append(Why("kept", f"kept by run {looked.used}"))
    seconds = None if looked.verdict == "CACHED" else past.seconds.get(step.name)
    return Planned(step.name, looked.verdict, tuple(reasons), seconds, looked.items)


def _planned(step: Step, past: Past, *, is_forced: bool) -> Planned:
    outcome, rule = step.outcome, step.task.run_if
    if outcome is not None:
        if outcome.state is State.OVERRIDDEN:
            return Planned(step.name, "SKIP", (Why("override", "its result is replaced"),))
        return Planned(step.name, "SKIP", (Why("unselected", outcome.reason or ""),))
    seconds = past.seconds.get(step.name)
    if rule == "failed":
        why = Why("rule", 'runs only after a failure (run_if="failed")')
        return Planned(step.name, "MAYBE", (why,), seconds)
    return Planned(step.name, "RUN", tuple(_reasons(step, past, is_forced)), seconds)


def _reasons(step: Step, past: Past, is_forced: bool) -> Iterator[Why]:
    if is_forced:
        yield Why("forced", "forced")
    if step.overridden:
        yield Why("override", "its function is replaced")
    elif step.name not in past.states:
        yield Why("new", "never run")
    elif not is_forced:
        yield Why("uncached", "it is not cached")


def _time(plan: Plan, tasks: Sequence[Planned], workers: int) -> tuple[float, float] | None:
    """How long the tasks take that run, and those that may, by so many *workers*."""
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
