"""The digest of one function's own instructions, by which assets show that their task changed."""

from __future__ import annotations

import hmac
import types
from typing import Any

__all__ = ["code_digest"]


def code_digest(fn: Any, key: bytes) -> str | None:
    """A digest of the instructions of *fn* itself: not of what it calls, nor of its place."""
    for _ in range(50):
        wrapped = getattr(fn, "__wrapped__", None) or getattr(fn, "func", None)
        if wrapped is None:
            break
        fn = wrapped
    code = getattr(fn, "__code__", None)
    if not isinstance(code, types.CodeType):
        return None
    text = repr(_instructions(code, getattr(fn, "__doc__", None)))
    return hmac.digest(key, text.encode("utf-8", "replace"), "sha256").hex()[:32]


def _sorted(members: Any) -> list[str]:
    return sorted(map(repr, members))


def _instructions(code: types.CodeType, doc: str | None = None) -> tuple[Any, ...]:
    constants: list[Any] = []
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            constants.append(_instructions(constant))
        elif type(constant) is frozenset:  # has another order in each process
            constants.append(_sorted(constant))
        elif constant is None or constant != doc:
            constants.append(constant)
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars
