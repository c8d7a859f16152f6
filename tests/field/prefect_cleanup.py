"""A chain of maps in which an item fails, and a cleanup that runs all the same."""

import mxm


@mxm.task
def extract() -> list[int]:
    return [1, 2, 3]


@mxm.task
def add_one(x: int, bad: int) -> int:
    if x == bad:
        raise ValueError(f"{x} is bad")
    return x + 1


@mxm.task
def add_two(x: int) -> int:
    return x + 2


@mxm.task(after=add_two, run_if="always")
def cleanup() -> str:
    return "cleaned"


@mxm.flow
def with_cleanup(bad: int = 0) -> dict[str, list[int] | str]:
    return {"added": add_two.map(add_one.map(extract(), bad=bad)), "cleanup": cleanup()}
