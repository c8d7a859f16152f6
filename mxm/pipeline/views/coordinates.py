"""Positions of nodes and bends across the layers: under their neighbours, long edges straight.

Weights of long edges after Brandes and Köpf (2001). Each row takes the nearest positions that keep
its order and its gaps: isotonic regression by pooling adjacent violators, exact and linear.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from mxm.pipeline.views.layers import Layers

__all__ = ["LANE", "isotonic", "place_across"]

LANE = 12  # px for a long edge between nodes

_NUDGE = 72  # px that neighbours move for a straight long edge
_NEAR = 60  # px: from this distance, a node moves straight under its only neighbour
_JOG = 60  # the cost of a bend that is not straight, in px
_SWEEPS = 12
_BOTH_SIDES = 4  # in the last sweeps, both sides of a node count
_PULL = (1.0, 2.0, 8.0)  # for an edge with none, one, two bends at its ends

_INFINITE = float("inf")


def isotonic(
    goals: Sequence[float], weights: Sequence[float], gaps: Sequence[float]
) -> list[float]:
    """The positions nearest to *goals* that keep their order and *gaps* between neighbours."""
    offsets: list[float] = []
    offset = 0.0
    values: list[float] = []
    masses: list[float] = []
    counts: list[int] = []
    for i, goal in enumerate(goals):
        if i:
            offset += gaps[i - 1]
        offsets.append(offset)
        value, mass, count = goal - offset, weights[i], 1
        while values and values[-1] > value:
            before, heavy = values.pop(), masses.pop()
            value = (before * heavy + value * mass) / (heavy + mass)
            mass += heavy
            count += counts.pop()
        values.append(value)
        masses.append(mass)
        counts.append(count)
    pooled = [value for value, n in zip(values, counts, strict=True) for _ in range(n)]
    return [value + offset for value, offset in zip(pooled, offsets, strict=True)]


def place_across(graph: Layers, breadth: Sequence[float], apart: float) -> list[float]:
    """The middle of each node and bend across the layers, in px from the leftmost edge.

    Parameters
    ----------
    graph
        The graph, its rows in their final order.
    breadth
        The extent of each node across, in px.
    apart
        The smallest distance between two nodes of a row, in px.
    """
    placing = _Placing(graph, breadth, apart)
    placing.sweep()
    placing.line_up()
    placing.straighten()
    return placing.finished()


class _Placing:
    def __init__(self, graph: Layers, breadth: Sequence[float], apart: float) -> None:
        self.graph = graph
        self.count = count = len(graph.names)
        self.half = [*(wide / 2 for wide in breadth), *[0.0] * (len(graph.layer) - count)]
        self.gaps = [
            [
                self.half[a] + self.half[b] + (apart if a < count and b < count else LANE)
                for a, b in itertools.pairwise(row)
            ]
            for row in graph.rows
        ]
        self.index = {v: i for row in graph.rows for i, v in enumerate(row)}
        self.at = [0.0] * len(graph.layer)
        for row, gaps in zip(graph.rows, self.gaps, strict=True):
            x = -sum(gaps) / 2
            for v, gap in zip(row, [*gaps, 0.0], strict=True):
                self.at[v] = x
                x += gap

    def finished(self) -> list[float]:
        least = min(x - half for x, half in zip(self.at, self.half, strict=True))
        return [round(x - least, 1) for x in self.at]

    def sweep(self) -> None:
        """Move each node towards the weighted mean of its neighbours, row by row."""
        above, below = self._pulls(self.graph.above), self._pulls(self.graph.below)
        both = [one + two for one, two in zip(above, below, strict=True)]
        rows = range(len(self.graph.rows))
        for turn in range(_SWEEPS):
            first, second = (above, below) if turn % 2 == 0 else (below, above)
            last = turn >= _SWEEPS - _BOTH_SIDES
            near = both if last else [a or b for a, b in zip(first, second, strict=True)]
            moved = max([self._settle(i, near) for i in (rows if turn % 2 == 0 else rows[::-1])])
            if last and moved < 0.5:
                break

    def _pulls(self, near: list[list[int]]) -> list[list[tuple[int, float]]]:
        count = self.count
        return [
            [(u, _PULL[(v >= count) + (u >= count)]) for u in others]
            for v, others in enumerate(near)
        ]

    def _settle(self, row: int, near: list[list[tuple[int, float]]]) -> float:
        """Move the nodes of a row to their goals from *near*; return the largest move."""
        at = self.at
        members = self.graph.rows[row]
        goals: list[float] = []
        weights: list[float] = []
        for v in members:
            pull = goal = 0.0
            for u, weight in near[v]:
                pull += weight
                goal += weight * at[u]
            goals.append(goal / pull if pull else at[v])
            weights.append(pull or 0.1)
        moved = 0.0
        for v, x in zip(members, isotonic(goals, weights, self.gaps[row]), strict=True):
            moved = max(moved, abs(at[v] - x))
            at[v] = x
        return moved

    def line_up(self) -> None:
        """Put a node with one neighbour on a side straight under it, if there is room."""
        for downward in (True, False, True):
            near = self.graph.above if downward else self.graph.below
            for row in self.graph.rows if downward else self.graph.rows[::-1]:
                for v in row:
                    if len(near[v]) == 1 and abs(self.at[near[v][0]] - self.at[v]) <= _NEAR:
                        low, high = self._room(v)
                        self.at[v] = min(max(self.at[near[v][0]], low), high)

    def _room(self, v: int) -> tuple[float, float]:
        """The range in which *v* may lie while its neighbours in the row stay."""
        layer, i = self.graph.layer[v], self.index[v]
        row, gaps = self.graph.rows[layer], self.gaps[layer]
        low = self.at[row[i - 1]] + gaps[i - 1] if i else -_INFINITE
        high = self.at[row[i + 1]] - gaps[i] if i + 1 < len(row) else _INFINITE
        return low, high

    def straighten(self) -> None:
        """Make long edges straight, under the source or over the target, if rows have room."""
        below, above, count = self.graph.below, self.graph.above, self.count
        for _ in range(3):
            for bends in self.graph.trunk:
                run: list[int] = []
                for v in bends[1:]:
                    run.append(v)
                    # At its end, or where an edge leaves the trunk, the run may turn.
                    if v == bends[-1] or any(w < count for w in below[v]):
                        source = self.at[above[run[0]][0]]
                        self._align(run, source, [self.at[w] for w in below[v]])
                        run = []

    def _align(self, run: list[int], source: float, targets: list[float]) -> None:
        """One line for the bends of *run*, or as few parts as fit."""
        part: list[int] = []
        low, high = -_INFINITE, _INFINITE
        for v in run:
            least, most = self._room(v)
            if part and max(low, least) - min(high, most) > _NUDGE:
                self._lay(part, low, high, [source, *targets])
                source = self.at[part[-1]]
                part, low, high = [], -_INFINITE, _INFINITE
            part.append(v)
            low, high = max(low, least), min(high, most)
        self._lay(part, low, high, [source, *targets])

    def _lay(self, part: list[int], low: float, high: float, ends: list[float]) -> None:
        """Put *part* on one line between *low* and *high*, near *ends*: its source and targets."""
        if low > high:
            if len(part) > 1:  # slightly too narrow: the neighbours move aside
                self._push(part, (low + high) / 2)
            return
        middle = sum(ends[1:]) / (len(ends) - 1)
        spots = [min(max(x, low), high) for x in (*ends, middle)]

        def cost(x: float) -> float:
            return sum([abs(x - end) + (_JOG if abs(x - end) > 8 else 0) for end in ends])

        best = min(spots, key=cost)
        for v in part:
            self.at[v] = best

    def _push(self, part: list[int], x: float) -> None:
        """Put *part* at *x*; its neighbours move aside only as far as they must."""
        at = self.at
        for bend in part:
            layer, i = self.graph.layer[bend], self.index[bend]
            row, gaps = self.graph.rows[layer], self.gaps[layer]
            at[bend] = x
            for j in range(i, 0, -1):
                most = at[row[j]] - gaps[j - 1]
                if at[row[j - 1]] <= most:
                    break
                at[row[j - 1]] = most
            for j in range(i, len(row) - 1):
                least = at[row[j]] + gaps[j]
                if at[row[j + 1]] >= least:
                    break
                at[row[j + 1]] = least
