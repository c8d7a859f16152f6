"""Tasks for benchmarks/clusters.py, in a module that workers can import."""

from __future__ import annotations

import mxm


def numbers() -> int:
    return 1


def increment(value: int) -> int:
    return value + 1


@mxm.task
def plus_one(value: int) -> int:
    return value + 1


@mxm.task
def listed(n: int) -> list[int]:
    return list(range(n))


@mxm.flow
def spread(n: int):
    return plus_one.map(listed(n))
