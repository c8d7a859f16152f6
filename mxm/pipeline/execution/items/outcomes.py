"""How a mapped step ended, by how its items did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from mxm.pipeline.errors import AssetClashError, add_note, described
from mxm.pipeline.execution.items.places import ItemPlaces, PlaceState
from mxm.pipeline.execution.plans.plan import Step
from mxm.pipeline.problems import Problem
from mxm.pipeline.taskruns import ItemRun, State

__all__ = ["Outcome", "clashes_in", "left_out", "note_failed", "outcome_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a mapped step; the parameters as in `TaskRun`."""

    state: State
    error: BaseException | None = None
    reason: str | None = None
    cause: str | None = None


def outcome_of(mapped: ItemPlaces) -> Outcome:
    """The outcome of *mapped*, now that every place has ended."""
    runs = [run for run in mapped.runs if run is not None]
    failed = [run for run in runs if run.state is State.FAILED]
    cut = next(
        (
            (name, source.failed() or source.places.count(PlaceState.FAILED))
            for name, source in mapped.sources.items()
            if PlaceState.FAILED in source.places
        ),
        None,
    )
    task = mapped.step.task
    called = [run for run in runs if run.attempts or run.has_value]
    good = sum(run.has_value for run in runs)
    if task.outcomes:
        failed = []
    fails = failed and (task.on_item_error == "fail" or not good)
    clashes = clashes_in(runs)
    if clashes:
        failed, fails = clashes, clashes
    if fails:
        error = cast("BaseException", failed[0].error)
        note_failed(mapped.step, error, failed, len(called))
        return Outcome(state=State.FAILED, error=error, reason=described(error))
    if cut is not None:
        name, count = cut
        total = mapped.sources[name].count
        reason = f"{count:,} of {total:,} item{'s' * (total != 1)} failed in {name!r}"
        return Outcome(state=State.SKIPPED, reason=reason, cause=name)
    if called and not task.outcomes and all(run.state is State.SKIPPED for run in called):
        return Outcome(state=State.SKIPPED, reason=called[0].reason)
    if mapped.count and not called:
        return Outcome(state=State.SKIPPED, reason="no items are left: all were left out upstream")
    return Outcome(state=State.SUCCEEDED)


def clashes_in(runs: Sequence[ItemRun]) -> list[ItemRun]:
    """The items of *runs* that write the file of another one.

    They fail their step under every rule: it is unknown which of the two the file belongs to.
    """
    return [run for run in runs if isinstance(run.error, AssetClashError)]


def note_failed(step: Step, error: BaseException, failed: Sequence[ItemRun], count: int) -> None:
    """Note on *error* which items *failed*, of how many that were called."""
    others = [run.key for run in failed[1 : 1 + _MOST_NAMED]]
    more = len(failed) - 1 - len(others)
    note = f"item {failed[0].key!r} of task {step.name!r} failed"
    if others:
        note += f", and so did {', '.join(others)}" + (f" and {more:,} more" if more else "")
        note += f" ({len(failed):,} of {count:,} items)"
    add_note(error, note)


def left_out(mapped: ItemPlaces, flow: str) -> Problem | None:
    """A warning about items of *mapped* that failed and are left out of the result."""
    task = mapped.step.task
    failed = [r for r in mapped.runs if r is not None and r.state is State.FAILED]
    if not failed or task.outcomes or task.on_item_error == "fail":
        return None
    names = ", ".join(run.key for run in failed[:_MOST_NAMED])
    more = len(failed) - _MOST_NAMED
    names += f" and {more:,} more" if more > 0 else ""
    return Problem(
        "MXM506",
        f"{len(failed):,} of {mapped.count:,} items of task {task.name!r} failed and are left "
        f"out of its result: {names}; the first: {failed[0].reason}",
        source=task.source,
        flow=flow,
        task=task.name,
        severity="warning",
    )


_MOST_NAMED = 10
