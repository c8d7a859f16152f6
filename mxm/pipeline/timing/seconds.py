"""Numbers of seconds: which values can be waited for."""

from __future__ import annotations

import math

from mxm.pipeline.errors import repr_of

__all__ = ["MOST_S", "wrong_seconds"]

MOST_S = 366 * 24 * 3600.0
"""A year; timers overflow at some point, and take no infinite value."""


def wrong_seconds(value: object, *, positive: bool = False) -> str | None:
    """What is wrong with *value* as a number of seconds: ``must be ..., not ...``; None if nothing.

    Parameters
    ----------
    value
        Any value.
    positive
        Whether 0 is too little.
    """
    must = "must be a number of seconds"
    if isinstance(value, bool) or not isinstance(value, int | float):
        has_seconds = callable(getattr(value, "total_seconds", None))
        return f"{must}, not {repr_of(value):.80}" + (": write .total_seconds()" * has_seconds)
    if value > MOST_S and value != math.inf:
        return f"{must}, at most a year ({MOST_S:.0f}), not {repr_of(value):.80}"
    if -math.inf < value < 0 or (positive and value == 0):
        least = "above 0" if positive else "of at least 0"
        return f"{must} {least}, not {repr_of(value):.80}"
    if not -1 < value <= MOST_S:  # also NaN
        return f"{must}, not {value!r}"
    return None
