"""Parses source text although other threads do the same.

Before Python 3.13, an interpreter counts the depth of the tree that it makes in one place for all
threads. Where two of them make trees at once, the one that was interrupted gets a SystemError
(https://github.com/python/cpython/issues/106905), and its next attempt is right.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable
from types import CodeType
from typing import TypeVar

__all__ = ["compiled", "parsed"]

T = TypeVar("T")
_ATTEMPTS = 5


def parsed(source: bytes | str, file: str = "<unknown>") -> ast.Module:
    """The tree of *source*, without warnings, which Python gives when the module is imported.

    Raises
    ------
    SyntaxError, ValueError, RecursionError, MemoryError
        As `ast.parse`.
    """
    return _again(lambda: ast.parse(source, file))


def compiled(tree: ast.Module | ast.Expression, file: str) -> CodeType:
    """The code of *tree*, without warnings."""
    mode = "eval" if isinstance(tree, ast.Expression) else "exec"
    return _again(lambda: compile(tree, file, mode, dont_inherit=True))


def _again(make: Callable[[], T]) -> T:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(_ATTEMPTS - 1):
            try:
                return make()
            except SystemError:
                continue
        return make()
