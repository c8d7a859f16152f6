"""Whether two values are equal, also where ``==`` gives no bool, as with tables and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mxm.pipeline.interrupts import let_signals_pass

__all__ = ["alike", "alike_mappings"]

_BOOLS = ("bool", "bool_")  # numpy's has the second name before 2.0


def alike(one: Any, other: Any) -> bool:
    """Whether *one* equals *other*; where ``==`` gives no bool, whether they are one object.

    A list of tables raises as its members are compared, and so do objects of some libraries: they
    too are equal to themselves alone.
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
