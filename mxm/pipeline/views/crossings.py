"""The order within each layer of a drawing: few crossings of edges.

Barycentre sweeps after Sugiyama, Tagawa and Toda (1981), and swaps of neighbours.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right, insort

from mxm.pipeline.views.layers import Layers

__all__ = ["count_crossings", "reorder"]

_ROUNDS = 12
_PATIENCE = 4  # sweeps without fewer crossings, after which nothing better is expected
_SWAPPED = 1_200  # neighbours swap only up to this number of nodes and bends


def reorder(graph: Layers) -> None:
    """Change the order of the rows of *graph* to the one found with the fewest crossings."""
    rows = graph.rows
    best, fewest = [row[:] for row in rows], count_crossings(graph)
    stale = 0
    for turn in range(_ROUNDS):
        if not fewest or stale == _PATIENCE:
            break
        _sweep(graph, downward=turn % 2 == 0)
        if len(graph.layer) <= _SWAPPED:
            _swap(graph)
        now = count_crossings(graph)
        stale += 1
        if now < fewest:
            best, fewest, stale = [row[:] for row in rows], now, 0
    graph.rows = best


def count_crossings(graph: Layers) -> int:
    """How many pairs of edges cross, between all layers."""
    total = 0
    for row, following in zip(graph.rows, graph.rows[1:], strict=False):
        place = {v: i for i, v in enumerate(following)}
        ends: list[int] = []
        for v in row:
            mine = sorted([place[w] for w in graph.below[v]])
            for at in mine:
                total += len(ends) - bisect_right(ends, at)
            for at in mine:
                insort(ends, at)
    return total


def _sweep(graph: Layers, *, downward: bool) -> None:
    """Sort each row by the mean place of the neighbours in the row just sorted, from 0 to 1."""
    rows = graph.rows if downward else graph.rows[::-1]
    near = graph.above if downward else graph.below
    for fixed, row in itertools.pairwise(rows):
        place = _places(fixed)
        wanted = _places(row)
        for v in row:
            if near[v]:
                wanted[v] = sum([place[u] for u in near[v]]) / len(near[v])
        row.sort(key=wanted.__getitem__)


def _places(row: list[int]) -> dict[int, float]:
    last = max(1, len(row) - 1)
    return {v: i / last for i, v in enumerate(row)}


def _swap(graph: Layers) -> None:
    """Swap neighbours in a row if that leaves fewer crossings."""
    rows = graph.rows
    for at, row in enumerate(rows):
        sides: list[dict[int, list[int]]] = []
        if at:
            sides.append(_ends(row, rows[at - 1], graph.above))
        if at + 1 < len(rows):
            sides.append(_ends(row, rows[at + 1], graph.below))
        for i in range(len(row) - 1):
            one, two = row[i], row[i + 1]
            if sum([_gain(side[one], side[two]) for side in sides]) > 0:
                row[i], row[i + 1] = two, one


def _ends(row: list[int], other: list[int], near: list[list[int]]) -> dict[int, list[int]]:
    """For each node of *row*, the sorted places of its neighbours in the row *other*."""
    place = {v: i for i, v in enumerate(other)}
    return {v: sorted([place[u] for u in near[v]]) for v in row}


def _gain(left: list[int], right: list[int]) -> int:
    """How many crossings a swap of two neighbours saves."""
    if not left or not right or left[-1] < right[0]:
        return -len(left) * len(right)
    gain = 0
    for end in left:
        not_after = bisect_right(right, end)
        same = bool(not_after) and right[not_after - 1] == end
        gain += not_after - same - (len(right) - not_after)
    return gain
