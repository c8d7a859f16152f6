"""Tasks for benchmarks/clusters.py, in a module that workers can import."""

from __future__ import annotations

import time
from typing import Any

import mxm


def numbers() -> int:
    return 1


def increment(value: int) -> int:
    return value + 1


def busy() -> float:
    """Work for 50 ms of CPU."""
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    return until


@mxm.task
def plus_one(value: int) -> int:
    return value + 1


@mxm.task
def listed(n: int) -> list[int]:
    return list(range(n))


@mxm.flow
def spread(n: int):
    return plus_one.map(listed(n))


def frame(size: int) -> Any:
    """An array of *size* bytes."""
    import numpy as np

    return np.ones(size // 8)


def doubled(array: Any) -> Any:
    return array * 2


def first_of(array: Any) -> float:
    return float(array[0])
