"""Names of test cases that are the same in every process, as pytest-xdist needs them."""

from __future__ import annotations

import re

__all__ = ["stable_id"]


def stable_id(value: object) -> str:
    """*value* as text, without addresses, and a set in order."""
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({', '.join(sorted(map(repr, value)))})"
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))
