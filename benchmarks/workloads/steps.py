"""The functions of a chain: in a module of their own, as those of a project are."""

from __future__ import annotations


def first() -> int:
    return 1


def step(x: int) -> int:
    return x + 1
