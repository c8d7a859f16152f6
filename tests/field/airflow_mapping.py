"""A map and its sum; a map of a map."""

import mxm


@mxm.task
def add_one(x: int) -> int:
    return x + 1


@mxm.task
def sum_it(values: list[int]) -> int:
    return sum(values)


@mxm.flow
def added(xs: list[int] = [1, 2, 3]) -> int:
    return sum_it(add_one.map(xs))


@mxm.task
def numbers(last: int) -> list[int]:
    return list(range(1, last + 1))


@mxm.task
def times_2(number: int) -> int:
    return number * 2


@mxm.task
def add_10(number: int) -> int:
    return number + 10


@mxm.flow
def second_order(last: int = 3) -> list[int]:
    return add_10.map(times_2.map(numbers(last)))
