"""Two maps in a chain, one with an argument that is the same for every item, and a sum."""

import mxm


@mxm.task
def get_numbers(n: int) -> list[int]:
    return list(range(1, n + 1))


@mxm.task
def inc(x: int) -> int:
    return x + 1


@mxm.task
def add(x: int, y: int) -> int:
    return x + y


@mxm.task
def compute_sum(numbers: list[int]) -> int:
    return sum(numbers)


@mxm.flow
def mapping(n: int = 3) -> int:
    return compute_sum(add.map(inc.map(get_numbers(n)), y=2))
