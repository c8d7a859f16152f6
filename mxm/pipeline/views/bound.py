"""What bound the duration of a run: a chain of tasks, or the number of workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mxm.pipeline.views.times import lasted

__all__ = ["Bound", "Span", "bound_of", "shown_steps"]

_MOST_STEPS = 7
_LEAST = 0.02  # of the run; shorter steps of the chain are not named
_CHAIN = 0.7  # of the run: from this share on, the chain bound it
_WAITED = 0.05  # of the run: below this share, no ready task waited for a worker


class Span(NamedTuple):
    """When a task ran, in seconds from the start of its run.

    Parameters
    ----------
    needs
        The tasks that had to end first.
    ready, started, ended
        None if it never was.
    limited
        Seconds that it waited for limits.
    """

    needs: Sequence[str]
    ready: float | None
    started: float | None
    ended: float | None
    limited: float = 0.0

    @property
    def took(self) -> float:
        """How long it ran; 0 for a task that did not."""
        if self.started is None or self.ended is None:
            return 0.0
        return self.ended - self.started


class Bound(NamedTuple):
    """What bound a run.

    Parameters
    ----------
    chain
        The tasks of the chain, in order.
    steps
        Those among them that are long enough to name.
    spent, total
        Seconds of the chain, and of the run.
    by
        ``chain``, ``workers``, or ``one``: a single worker.
    waited
        Seconds that ready tasks waited for a worker, all together.
    """

    chain: tuple[str, ...]
    steps: tuple[str, ...]
    spent: float
    total: float
    by: str
    waited: float

    @property
    def share(self) -> str:
        """``40.1 s of 40.3 s``."""
        return f"{lasted(self.spent)} of {lasted(self.total)}"


def bound_of(spans: Mapping[str, Span], total: float, workers: int | None) -> Bound | None:
    """What bound a run of *total* seconds on *workers*; None if no task ended.

    Parameters
    ----------
    spans
        The tasks, each after its upstreams.
    total
        Seconds.
    workers
        None if the number is not known.
    """
    chain = _last_to_end(spans)
    if not chain or not total:
        return None
    waited = sum(
        max(0.0, span.started - span.ready - span.limited)
        for span in spans.values()
        if span.started is not None and span.ready is not None
    )
    by = "chain"
    if _spent(spans, chain) < _CHAIN * total:
        if workers == 1:
            by = "one"
        elif workers is not None and waited >= _WAITED * total:
            by = "workers"
    if by != "chain":  # the last task was late for lack of a worker
        chain = _longest(spans)
    spent = _spent(spans, chain)
    steps = tuple(name for name in chain if spans[name].took >= _LEAST * total) or tuple(chain)
    return Bound(tuple(chain), steps, min(spent, total), total, by, waited)


def shown_steps(bound: Bound, most: int = _MOST_STEPS) -> tuple[Sequence[str], Sequence[str]]:
    """The steps to name before and after an ellipsis, *most* of them; the second may be empty."""
    if len(bound.steps) <= most:
        return bound.steps, ()
    return bound.steps[: most // 2], bound.steps[-((most + 1) // 2) :]


def _spent(spans: Mapping[str, Span], chain: Sequence[str]) -> float:
    return sum(spans[name].took for name in chain)


def _last_to_end(spans: Mapping[str, Span]) -> list[str]:
    """From the task that ended last, back to the upstream that ended last."""
    ends = {name: span.ended for name, span in spans.items() if span.ended is not None}
    if not ends:
        return []
    at: str | None = max(ends, key=ends.__getitem__)
    chain: list[str] = []
    while at is not None:
        chain.append(at)
        near = [name for name in spans[at].needs if name in ends]
        at = max(near, key=ends.__getitem__, default=None)
    return chain[::-1]


def _longest(spans: Mapping[str, Span]) -> list[str]:
    """The chain of upstreams that takes longest, had each task started when it was ready."""
    lengths: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for name, span in spans.items():
        if span.ended is not None:
            near = [other for other in span.needs if other in lengths]
            last = before[name] = max(near, key=lengths.__getitem__, default=None)
            lengths[name] = span.took + (0.0 if last is None else lengths[last])
    at: str | None = max(lengths, key=lengths.__getitem__)
    chain: list[str] = []
    while at is not None:
        chain.append(at)
        at = before[at]
    return chain[::-1]
