"""The generators of random numbers that a process shares: whether a call moved one."""

from __future__ import annotations

import contextlib
import ctypes
import random
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["moved_since", "states_now"]

_WORDS = 624 * 4  # bytes of the state of a Mersenne twister, which both are
_SIZE = _WORDS + 4  # with the place in it
_FRESH = 623  # the least place of one that has given nothing


def states_now() -> dict[str, Any]:
    """The state of each generator that is loaded, by name.

    `random.getstate` and NumPy's `get_state` build hundreds of numbers, which took more time than
    all else that is noted around a call. Where the state is in memory as CPython and NumPy have
    it, its bytes are copied instead.
    """
    states: dict[str, Any] = {"random": _of_random()}
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        with contextlib.suppress(Exception):  # a generator of the user's own, in its place
            states["np.random"] = _of_numpy(numpy)
    return states


def moved_since(before: Mapping[str, Any]) -> list[str]:
    """The generators that are not as they were *before*.

    One that was loaded since then has moved if it has given numbers: it begins anywhere.
    """
    return [
        name
        for name, state in states_now().items()
        if (before[name] != state if name in before else not _is_fresh(state))
    ]


def _of_random() -> Any:
    own: Any = getattr(random, "_inst", None)
    if sys.implementation.name != "cpython" or type(own) is not random.Random:
        return random.getstate()
    # An object's head, the place, the words; and what `gauss` keeps for its next call.
    head: int = object.__basicsize__
    return ctypes.string_at(id(own) + head, _SIZE), vars(own).get("gauss_next")


def _of_numpy(module: Any) -> Any:
    bits = module.mtrand._rand._bit_generator
    if type(bits).__name__ == "MT19937":
        return ctypes.string_at(bits.ctypes.state_address, _SIZE)
    import pickle

    return pickle.dumps(module.get_state(legacy=False))


def _is_fresh(state: Any) -> bool:
    """Whether nothing was taken of NumPy's generator, whose *state* is new."""
    if not isinstance(state, bytes) or len(state) != _SIZE:
        return False
    return int.from_bytes(state[_WORDS:], sys.byteorder) >= _FRESH
