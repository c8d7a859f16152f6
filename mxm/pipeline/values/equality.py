"""Compares values, even if ``==`` does not give a bool, as for tables and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mxm.pipeline.process.interrupts import let_signals_pass

__all__ = ["alike", "alike_mappings"]

_BOOLS = ("bool", "bool_")  # the second is NumPy's name before 2.0


def alike(one: Any, other: Any) -> bool:
    """Whether *one* equals *other*; without a bool from ``==``, whether they are the same object.

    Comparing lists of tables raises, and so do objects of some libraries: these, too, are equal
    only to themselves.
    """
    if one is other:
        return True
    try:
        equal: Any = one == other
    except BaseException as error:
        let_signals_pass(error)
        return False
    return bool(equal) if type(equal).__name__ in _BOOLS else False


def alike_mappings(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    """Whether two mappings have the same keys, and values that are `alike`."""
    return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
