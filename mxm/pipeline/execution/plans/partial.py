"""Plans of which only the selected tasks run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from mxm.pipeline.errors import NothingSelectedError, SelectionError
from mxm.pipeline.execution.plans.plan import Plan, Step
from mxm.pipeline.execution.plans.selection import selected
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.runs import NOT_SELECTED
from mxm.pipeline.taskruns import State, TaskRun

__all__ = ["Changed", "Past", "forced_steps", "with_selection"]


Changed: TypeAlias = Callable[[], Collection[str]]
"""Returns the tasks whose code has changed since a result of theirs was last kept."""


@dataclass(frozen=True, slots=True)
class Past:
    """What recorded runs say about the tasks of a flow.

    Parameters
    ----------
    states
        By task, how it ended in the newest run that selected it.
    seconds
        By task, how long it took when it succeeded.
    """

    states: Mapping[str, str]
    seconds: Mapping[str, float]


# How a task can end.
_STATES = [s.value for s in State if s not in (State.PENDING, State.RUNNING, State.CRASHED)]


def with_selection(
    plan: Plan,
    select: Sequence[str] | None,
    exclude: Sequence[str],
    past: Past | None = None,
    changed: Changed | None = None,
) -> Plan:
    """*plan* with the steps skipped that are not selected.

    Steps whose results selected steps take stay, but only their kept results are used.

    Parameters
    ----------
    plan
        The plan; steps whose outcome is known, of overrides, stay as they are.
    select, exclude
        As in `mxm.pipeline.execution.plans.selection.selected`.
    past
        What ``state:`` goes by.
    changed
        What ``changed:`` means.

    Raises
    ------
    NothingSelectedError
        No step is selected.
    SelectionError
        An expression cannot be used; a selected step takes the result of one that is not, and that
        depends on a selected one.
    """
    chosen = _selected(plan, select, exclude, past, changed)
    if not chosen:
        asked = [f"{what} {text!r}" for what, texts in (("select", select), ("exclude", exclude))
                 for text in texts or ()]  # fmt: skip
        raise NothingSelectedError(
            f"flow {plan.flow.name!r}: no task is selected by {', '.join(asked)}"
        )
    lacking = _lacking(plan, chosen)
    kept_only = _upstream_of(plan, {name for _, names in lacking for name in names})
    if kept_only & chosen:
        step, missing = lacking[0]
        more = f" ({len(lacking):,} such tasks)" if len(lacking) > 1 else ""
        names = " and ".join(map(repr, missing))
        raise SelectionError(
            f"task {step.name!r} takes the result of {names}, which "
            f"{'is' if len(missing) == 1 else 'are'} not selected, and depends on what is{more}",
            hint=f"also select what it needs: {_needing(select, lacking)}",
        )
    stay = chosen | kept_only
    steps = tuple(_left_out(s) if s.name not in stay else _kept(s, stay) for s in plan.steps)
    downstreams: dict[str, list[str]] = {step.name: [] for step in steps}
    for step in steps:
        for name in step.needs:
            downstreams[name].append(step.name)
    kept = frozenset(kept_only)
    return replace(plan, steps=steps, downstreams=downstreams, kept_only=kept)


def _upstream_of(plan: Plan, names: set[str]) -> set[str]:
    """The steps *names*, and everything upstream of them."""
    steps = set(names)
    for step in reversed(plan.steps):
        if step.name in steps:
            steps.update(step.needs)
    return steps


def forced_steps(
    plan: Plan,
    force: bool | Sequence[str],
    past: Past | None = None,
    changed: Changed | None = None,
) -> set[str]:
    """The names of the steps that run even if an earlier run kept their results.

    Raises
    ------
    SelectionError
        An expression cannot be used.
    """
    if isinstance(force, bool):
        return {step.name for step in plan.steps} if force else set()
    return _selected(plan, force, (), past, changed, "force")


def _selected(
    plan: Plan,
    select: Sequence[str] | None,
    exclude: Sequence[str],
    past: Past | None,
    changed: Changed | None,
    option: str = "select",
) -> set[str]:
    """The names of the steps that are selected; the parameters as in `with_selection`."""

    def in_state(value: str) -> Collection[str]:
        if value not in _STATES:
            raise SelectionError(f"unknown state {value!r}", hint=did_you_mean(value, _STATES))
        last: Mapping[str, str] = past.states if past else {}
        return [name for name, state in last.items() if state == value]

    def tagged(value: str) -> Collection[str]:
        steps = [step.name for step in plan.steps if value in step.task.tags]
        if not steps:
            tags = {tag for step in plan.steps for tag in step.task.tags}
            hint = did_you_mean(value, tags) if tags else "no task of the flow has a tag"
            raise SelectionError(f"no task has the tag {value!r}", hint=hint)
        return steps

    def edited(value: str) -> Collection[str]:
        if value:
            raise SelectionError(f"'changed:' takes no value: remove {value!r}")
        return changed() if changed else ()

    graph = {
        step.name: tuple(dict.fromkeys((*step.task.upstream, *step.task.after)))
        for step in plan.steps
    }
    return selected(
        graph, select, exclude, {"tag": tagged, "state": in_state, "changed": edited}, option
    )


def _lacking(plan: Plan, chosen: set[str]) -> list[tuple[Step, list[str]]]:
    """The selected steps that take results which no step of the run makes, and those results."""
    by_name = {step.name: step for step in plan.steps}
    lacking: list[tuple[Step, list[str]]] = []
    for step in plan.steps:
        # What runs after a failure alone runs for none of what is left out.
        if step.name not in chosen or step.outcome is not None or step.task.run_if == "failed":
            continue
        missing = [n for n in step.task.upstream if n not in chosen and by_name[n].outcome is None]
        if missing:
            lacking.append((step, missing))
    return lacking


def _needing(select: Sequence[str] | None, lacking: Sequence[tuple[Step, list[str]]]) -> str:
    """What to select so that the steps in *lacking* get their inputs."""
    if select is None:
        return "leave out --exclude"
    needing = [f"+{step.name}" for step, _ in lacking[:_MOST_NAMED]]
    return f"--select {' '.join([*select, *needing])!r}"


_MOST_NAMED = 3


def _left_out(step: Step) -> Step:
    if step.outcome is not None:
        return step
    outcome = TaskRun(step.name, State.SKIPPED, reason=NOT_SELECTED)
    return replace(step, needs=(), chained=(), outcome=outcome)


def _kept(step: Step, chosen: set[str]) -> Step:
    """*step*, without waiting for steps that are left out."""
    if step.task.run_if == "failed":  # nothing that is left out has failed
        return step
    takes = step.task.upstream
    return replace(step, needs=tuple(n for n in step.needs if n in chosen or n in takes))
