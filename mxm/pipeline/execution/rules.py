"""Run rules: whether a step runs, once everything upstream of it has ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["RUNS", "Fate", "Verdict", "decide"]


@dataclass(frozen=True, slots=True)
class Fate:
    """How a step ended, as far as the rules of the steps downstream ask.

    Parameters
    ----------
    name
        The step.
    has_value
        It succeeded, was cached or overridden.
    failed
        It failed, allowed or not.
    broken
        It failed and was not allowed to, or it was skipped because of such a failure.
    failure_above
        It, or anything upstream of it, failed and was not allowed to.
    cause
        The step that a reason names: this one, or the one because of which it was skipped.
    because
        What is said of a step that is skipped because of this one.
    """

    name: str
    has_value: bool
    failed: bool
    broken: bool
    failure_above: bool
    cause: str
    because: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule decides.

    Parameters
    ----------
    runs
        Whether the step runs.
    broken
        Whether it is skipped because of a failure, which passes on to what is downstream.
    cause
        The step because of which it is skipped.
    reason
        Why, in words.
    """

    runs: bool
    broken: bool = False
    cause: str | None = None
    reason: str = ""


RUNS = Verdict(True)


def decide(run_if: str, passing: Iterable[Fate], ordering: Iterable[Fate]) -> Verdict:
    """Whether a step runs.

    Parameters
    ----------
    run_if
        Its rule.
    passing
        Its direct upstreams that pass a value, in order.
    ordering
        Those that only order.
    """
    passing = list(passing)
    direct = [*passing, *ordering]
    if run_if == "always" or not direct:
        return RUNS
    if run_if == "failed":
        if any(other.failed or other.failure_above for other in direct):
            return RUNS
        return Verdict(False, reason='nothing upstream failed (run_if="failed")')
    # A failure wins over a skip.
    for other in direct:
        if other.broken:
            return Verdict(False, True, other.cause, other.because)
    if run_if == "succeeded":
        for other in direct:
            if not other.has_value:
                return Verdict(False, False, other.cause, other.because)
        return RUNS
    if any(other.has_value for other in passing or direct):
        return RUNS
    first = (passing or direct)[0]
    return Verdict(False, False, first.cause, first.because)
