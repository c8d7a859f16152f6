"""How long to wait before a task is tried again: `backoff`, and `RetryAfter` to raise in it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mxm.pipeline.errors import repr_of
from mxm.pipeline.timing.seconds import wrong_seconds

if TYPE_CHECKING:
    from random import Random

__all__ = ["Backoff", "RetryAfter", "backoff"]


class RetryAfter(Exception):  # noqa: N818 - not the error itself
    """Raise it in a task to try again after some seconds, whatever ``retry_on`` says.

    The attempt has failed, and counts as one of ``retries``; when these are used up, the task fails
    with this exception. Raise it ``from`` the error that is the cause.

    Parameters
    ----------
    seconds
        How long to wait; it replaces ``retry_delay_s`` once.

    Raises
    ------
    TypeError, ValueError
        *seconds* is not a number, or is negative, infinite or NaN.

    Examples
    --------
    >>> import mxm.pipeline
    >>> raise mxm.pipeline.RetryAfter(30)
    Traceback (most recent call last):
        ...
    mxm.pipeline.timing.retries.RetryAfter: asks to be tried again after 30 s
    """

    def __init__(self, seconds: float) -> None:
        wrong = wrong_seconds(seconds)
        if wrong is not None:
            kind = ValueError if _is_number(seconds) else TypeError
            raise kind(f"RetryAfter: seconds {wrong}")
        super().__init__(seconds)
        self.seconds: float = float(seconds)

    def __str__(self) -> str:
        return f"asks to be tried again after {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class Backoff:
    """A function of the attempt that failed, counted from 1: the seconds until the next one.

    Parameters
    ----------
    first, factor, most, jitter
        As in `backoff`.
    """

    first: float
    factor: float = 2
    most: float = 60
    jitter: float = 0.2

    def __call__(self, attempt: int) -> float:
        """Seconds to wait after the attempt number *attempt* has failed."""
        longest = self.longest(attempt)
        return longest - longest * self.jitter * _random().random()

    def longest(self, attempt: int) -> float:
        """The same without jitter."""
        try:
            return min(self.first * float(self.factor) ** (attempt - 1), self.most)
        except OverflowError:
            return self.most

    def wrong(self) -> str | None:
        """What is wrong with the parameters, or None."""
        for name in ("first", "most"):
            wrong = wrong_seconds(getattr(self, name))
            if wrong is not None:
                return f"{name} {wrong}"
        if self.first > self.most:
            return f"first ({self.first:g} s) is above most ({self.most:g} s)"
        if not _is_number(self.factor) or not 1 <= self.factor < float("inf"):
            return f"factor must be a number of at least 1, not {repr_of(self.factor):.80}"
        if not _is_number(self.jitter) or not 0 <= self.jitter <= 1:
            return f"jitter must be a number from 0 to 1, not {repr_of(self.jitter):.80}"
        return None

    def __repr__(self) -> str:
        return (
            f"backoff({self.first!r}, factor={self.factor!r}, most={self.most!r}, "
            f"jitter={self.jitter!r})"
        )


def backoff(first: float, factor: float = 2, most: float = 60, jitter: float = 0.2) -> Backoff:
    """Delays for ``retry_delay_s`` that grow: *first*, then *factor* times as long, up to *most*.

    Parameters
    ----------
    first
        Seconds before the first retry.
    factor
        At least 1.
    most
        Seconds; no delay is longer. At least *first*.
    jitter
        From 0 to 1: each delay is shortened at random by up to this fraction, so that tasks that
        failed together are not all retried at once. 0 for exact delays.

    Examples
    --------
    >>> import mxm.pipeline
    >>> delay = mxm.pipeline.backoff(1, factor=3, most=20, jitter=0)
    >>> [delay(attempt) for attempt in (1, 2, 3, 4)]
    [1.0, 3.0, 9.0, 20.0]
    """
    return Backoff(first, factor, most, jitter)


@functools.cache
def _random() -> Random:
    # Not the module's own generator: a task may have seeded that one, and counts on its numbers.
    import random

    return random.Random()  # noqa: S311 - nothing is secret


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
