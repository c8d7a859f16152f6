"""Run rules: decide whether a step runs, once everything upstream has ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["RUNS", "Fate", "Verdict", "decide"]


@dataclass(frozen=True, slots=True)
class Fate:
    """How a step ended, as far as the rules of downstream steps need to know.

    Parameters
    ----------
    name
        The step.
    has_value
        Whether it succeeded, was cached or was overridden.
    failed
        Whether it failed, allowed or not.
    broken
        Whether it failed without being allowed to, or was skipped because of such a failure.
    failure_above
        Whether it or anything upstream failed without being allowed to.
    cause
        The step that a reason names: this one, or the one that caused its skip.
    because
        The reason of steps that are skipped because of this one.
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
    """The decision of a rule.

    Parameters
    ----------
    runs
        Whether the step runs.
    broken
        Whether it is skipped because of a failure, which passes on downstream.
    cause
        The step that caused the skip.
    reason
        The reason, as text.
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
        Direct upstreams that pass a value, in order.
    ordering
        Order-only upstreams.
    """
    passing = list(passing)
    direct = [*passing, *ordering]
    if run_if == "always" or not direct:
        return RUNS
    if run_if == "failed":
        if any(other.failed or other.failure_above for other in direct):
            return RUNS
        return Verdict(False, reason='nothing upstream failed (run_if="failed")')
    # A failure takes precedence over a skip.
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
