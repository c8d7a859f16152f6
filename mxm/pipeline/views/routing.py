"""Edges between placed nodes: where they enter, and which track of a gap they use.

Tracks by the left-edge rule of channel routing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from mxm.pipeline.views.coordinates import LANE, isotonic
from mxm.pipeline.views.layers import Layers

__all__ = ["Net", "Ports", "enter", "leave", "meet_ports", "share_tracks"]

_JOG = 24  # px, within which a long edge moves to its port
_STEP = 10  # px, within which two parts of a long edge become one
_BESIDE = 16  # px: how far from its middle a node's edges may leave
_CLEAR = 6  # px between two edges of one track
_SORTED = 80  # neighbours swap only up to this number of edges in a gap
_ROUNDS = 6

# Where the edge from one node or bend to the next enters it, across the layers in px.
Ports = dict[tuple[int, int], float]


def enter(
    graph: Layers, at: Sequence[float], breadth: Sequence[float], *, corner: float, step: float
) -> Ports:
    """Where each edge enters its target: straight under its source if near, else spread.

    Parameters
    ----------
    graph, at, breadth
        The placed nodes and bends, as `place_across` has them.
    corner
        The space to leave free at both ends of a node's side, in px.
    step
        The distance of two edges that enter one node, in px.
    """
    ports: Ports = {}
    for v, above in enumerate(graph.above):
        if v >= len(graph.names):
            ports.update({(u, v): at[v] for u in above})
        elif above:
            sources = sorted(above, key=at.__getitem__)
            places = _spread([at[u] for u in sources], at[v], breadth[v] / 2 - corner, step)
            ports.update({(u, v): x for u, x in zip(sources, places, strict=True)})
    return ports


def _spread(sources: list[float], middle: float, reach: float, step: float) -> list[float]:
    """Places beside *middle* for edges that come from *sources*, which are sorted."""
    count = len(sources)
    near = step if count == 1 else min(reach, step * count)
    tight = min(step, 2 * near / max(1, count - 1))
    goals: list[float] = []
    for i, source in enumerate(sources):
        goal = min(max(source, middle - near), middle + near)
        if abs(source - middle) > near:
            goal = (goal + 2 * (middle + (i - (count - 1) / 2) * tight)) / 3
        goals.append(goal)
    places = isotonic(goals, [1.0] * count, [tight] * (count - 1))
    off = max(0.0, middle - near - places[0]) or min(0.0, middle + near - places[-1])
    return [round(x + off, 1) for x in places]


def meet_ports(graph: Layers, at: list[float], ports: Ports, breadth: Sequence[float]) -> None:
    """Move long edges that nearly meet their port to it, in *at* and *ports*: no small jogs.

    The same for two parts of one edge, if there is room.
    """
    count = len(graph.names)
    for bends in graph.trunk:
        last = bends[-1]
        if last < count or len(graph.below[last]) != 1:
            continue
        run = [last]
        for v in reversed(bends[1:-1]):
            if len(graph.below[v]) != 1 or abs(at[v] - at[last]) > 0.5:
                break
            run.append(v)
        goal = ports[last, graph.below[last][0]]
        if 0.5 < abs(goal - at[last]) <= _JOG and _is_free(graph, at, breadth, run, goal):
            _move(graph, at, ports, run, goal)
    for bends in graph.trunk:
        parts: list[list[int]] = []
        for v in bends[1:]:
            if parts and abs(at[v] - at[parts[-1][-1]]) <= 0.5:
                parts[-1].append(v)
            else:
                parts.append([v])
        for before, after in itertools.pairwise(parts):
            x = at[after[0]]
            if abs(at[before[-1]] - x) <= _STEP and _is_free(graph, at, breadth, before, x):
                _move(graph, at, ports, before, x)


def _move(graph: Layers, at: list[float], ports: Ports, run: Sequence[int], x: float) -> None:
    for v in run:
        at[v] = x
        ports.update({(u, v): x for u in graph.above[v]})


def _is_free(
    graph: Layers, at: Sequence[float], breadth: Sequence[float], run: list[int], x: float
) -> bool:
    """Whether the bends of *run* may lie at *x* without touching their neighbours."""
    for v in run:
        row = graph.rows[graph.layer[v]]
        i = row.index(v)
        for other in row[max(0, i - 1) : i + 2]:
            half = breadth[other] / 2 if other < len(graph.names) else 0.0
            if other != v and abs(x - at[other]) < LANE - 3 + half:
                return False
    return True


def leave(
    graph: Layers, at: Sequence[float], breadth: Sequence[float], ports: Ports
) -> list[float]:
    """Where edges leave: a node's middle, or a little beside if that makes one straight."""
    places = list(at)
    for v in range(len(graph.names)):
        reach = min(_BESIDE, breadth[v] / 2 - 12)
        near = [x for w in graph.below[v] if abs((x := ports[v, w]) - at[v]) <= reach]
        if near:
            places[v] = min(near, key=lambda x: abs(x - at[v]))
    return places


class Net(NamedTuple):
    """The edges of one source in a gap: where they leave, and where each enters."""

    start: float
    ends: tuple[float, ...]

    @property
    def span(self) -> tuple[float, float]:
        """The leftmost and the rightmost place."""
        return min(self.start, *self.ends), max(self.start, *self.ends)

    @property
    def goes_right(self) -> bool:
        """Whether it goes right on the whole."""
        return sum(self.ends) / len(self.ends) >= self.start


def share_tracks(nets: Sequence[Net]) -> tuple[list[int], int]:
    """The track of each net in the gap, such that few cross; and how many tracks there are."""
    spans = [net.span for net in nets]
    bent = [i for i, (low, high) in enumerate(spans) if high - low > 0.5]
    right = sorted((i for i in bent if nets[i].goes_right), key=lambda i: -nets[i].start)
    left = sorted((i for i in bent if not nets[i].goes_right), key=lambda i: nets[i].start)
    queue = [*right, *left]
    if len(queue) <= _SORTED:
        _swap(queue, nets, spans)
    track = [0] * len(nets)
    used: list[list[tuple[float, float]]] = []
    for i in queue:
        low, high = spans[i]
        free = 0
        for number in range(len(used) - 1, -1, -1):
            if any(a < high + _CLEAR and low < b + _CLEAR for a, b in used[number]):
                free = number + 1
                break
        if free == len(used):
            used.append([])
        used[free].append(spans[i])
        track[i] = free
    return track, len(used)


def _swap(queue: list[int], nets: Sequence[Net], spans: Sequence[tuple[float, float]]) -> None:
    """Swap neighbours in the queue while that saves crossings."""

    def crossings(near: int, far: int) -> int:
        """The crossings of two nets, with *near* on the track nearer to the sources."""
        (low, high), (least, most) = spans[near], spans[far]
        if high < least or most < low:
            return 0
        return (low <= nets[far].start <= high) + sum(
            [least <= end <= most for end in nets[near].ends]
        )

    for _ in range(_ROUNDS):
        moved = False
        for i in range(len(queue) - 1):
            one, two = queue[i], queue[i + 1]
            if crossings(two, one) < crossings(one, two):
                queue[i], queue[i + 1] = two, one
                moved = True
        if not moved:
            break
