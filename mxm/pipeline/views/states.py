"""The states of tasks: their names, order and summaries in drawings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mxm.pipeline.taskruns import State

__all__ = ["ORDER", "count_states", "exceptions", "word", "worst"]

ORDER = (
    *(State.FAILED, State.CRASHED, State.RUNNING, State.SUCCEEDED, State.CACHED),
    *(State.OVERRIDDEN, State.SKIPPED, State.CANCELLED, State.PENDING),
)
"""The states, in the order in which a reader looks for them."""

_LOUD = (State.FAILED, State.CRASHED, State.RUNNING, State.CANCELLED, State.PENDING)
_QUIET = (State.SUCCEEDED, State.CACHED, State.OVERRIDDEN, State.SKIPPED)


def word(state: str) -> str:
    """The word for *state*."""
    return "waiting" if state == State.PENDING else str(state)


def count_states(states: Iterable[str]) -> dict[str, int]:
    """How often each state is in *states*, in `ORDER`."""
    counts: dict[str, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    return {state.value: counts[state] for state in ORDER if state in counts}


def worst(counts: Mapping[str, int]) -> str:
    """The one state that stands for several; a few that were skipped do not."""
    return next(state.value for state in (*_LOUD, *_QUIET) if counts.get(state))


def exceptions(counts: Mapping[str, int]) -> str:
    """``1 of 24 failed``: how many are in the `worst` state, or skipped; empty if all went well."""
    if not any(counts.values()):
        return ""
    state = worst(counts)
    state = state if state in _LOUD else State.SKIPPED
    count = counts.get(state, 0)
    return f"{count:,} of {sum(counts.values()):,} {word(state)}" if count else ""
