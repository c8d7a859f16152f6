"""Lines are scattered over parts, worked on, and gathered."""

import mxm
from mxm.pipeline import Skip


@mxm.task
def split(lines: list[str], parts: int) -> list[list[str]]:
    return [lines[part::parts] for part in range(parts)]


@mxm.task
def intermediate(part: list[str]) -> list[float]:
    if not part:
        raise Skip("nothing in this part")
    return [float(line) for line in part]


@mxm.task
def gather(parts: list[list[float]]) -> list[float]:
    return sorted(number for part in parts for number in part)


@mxm.flow
def scattered(lines: list[str] = ["3", "1", "2"], parts: int = 2) -> list[float]:
    return gather(intermediate.map(split(lines, parts)))
