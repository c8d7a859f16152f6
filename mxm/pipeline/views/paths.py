"""Lines as SVG path data: upright and level pieces with round corners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["Point", "number_text", "path_data"]

Point: TypeAlias = "tuple[float, float]"

_RADIUS = 7  # px, of a corner


def path_data(points: Sequence[Point]) -> str:
    """Path data of the line through *points*; those on a straight piece are left out."""
    kept: list[Point] = []
    for point in points:
        if kept and abs(kept[-1][0] - point[0]) + abs(kept[-1][1] - point[1]) < 0.6:
            continue
        while len(kept) > 1 and _in_line(kept[-2], kept[-1], point):
            kept.pop()
        kept.append(point)
    at = kept[0]
    text = [f"M{number_text(at[0])} {number_text(at[1])}"]
    for before, corner, after in zip(kept, kept[1:], kept[2:], strict=False):
        radius = min(_RADIUS, _distance(before, corner) / 2, _distance(corner, after) / 2)
        start, end = _towards(corner, before, radius), _towards(corner, after, radius)
        text.append(_line(at, start))
        text.append("Q" + " ".join(number_text(x) for x in (*corner, *end)))
        at = end
    return "".join([*text, _line(at, kept[-1])])


def _towards(corner: Point, other: Point, radius: float) -> Point:
    share = radius / _distance(corner, other)
    return (
        corner[0] + (other[0] - corner[0]) * share,
        corner[1] + (other[1] - corner[1]) * share,
    )


def _line(start: Point, end: Point) -> str:
    if abs(start[0] - end[0]) < 0.06:
        return f"V{number_text(end[1])}"
    if abs(start[1] - end[1]) < 0.06:
        return f"H{number_text(end[0])}"
    return f"L{number_text(end[0])} {number_text(end[1])}"


def _in_line(a: Point, b: Point, c: Point) -> bool:
    return abs((b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0])) < 0.5


def _distance(a: Point, b: Point) -> float:
    return max(abs(a[0] - b[0]), abs(a[1] - b[1]), 0.01)


def number_text(x: float) -> str:
    """*x* with at most one decimal."""
    return f"{x:.1f}".removesuffix(".0")
