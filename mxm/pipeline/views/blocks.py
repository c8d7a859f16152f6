"""One connected graph as a block: nodes with positions, edges as lines of points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from mxm.pipeline.views.coordinates import place_across
from mxm.pipeline.views.layers import Edge, Layers
from mxm.pipeline.views.paths import Point
from mxm.pipeline.views.routing import Net, Ports, enter, leave, meet_ports, share_tracks

__all__ = ["BESIDE", "Block", "Box", "Direction", "Sizes", "grid_of", "place"]

Direction: TypeAlias = Literal["TB", "LR"]
Sizes: TypeAlias = "Mapping[str, tuple[float, float]]"

BESIDE: Mapping[Direction, int] = {"TB": 24, "LR": 14}  # px between two nodes of a layer
_BETWEEN: Mapping[Direction, int] = {"TB": 34, "LR": 44}  # px between two layers, at least
# px of straight line after a node, and before one, for the arrow
_ENDS: Mapping[Direction, tuple[int, int]] = {"TB": (13, 18), "LR": (16, 22)}
_PORTS: Mapping[Direction, tuple[int, float]] = {"TB": (18, 14.0), "LR": (10, 7.0)}
_TRACK = 8  # px between parallel lines of a gap
_WIDE = 14  # tracks; with more, lines are closer
_CLOSEST = 3.0  # px


class Box(NamedTuple):
    """The position of a node: its upper left corner and its width, in px."""

    x: float
    y: float
    width: float


@dataclass
class Block:
    """A part of a drawing, in px from its own upper left corner."""

    width: float
    height: float
    boxes: dict[str, Box]
    lines: list[tuple[Edge, list[Point]]]


def place(graph: Layers, edges: Sequence[Edge], sizes: Sizes, direction: Direction) -> Block:
    """Place the nodes of *graph*, its rows in order, along *direction*, and draw its *edges*."""
    down = direction == "TB"
    breadth = [sizes[name][0 if down else 1] for name in graph.names]
    extent = [sizes[name][1 if down else 0] for name in graph.names]
    depth = [max([extent[v] for v in row if v < len(extent)], default=0) for row in graph.rows]
    if not down:  # one width per column
        extent = [depth[graph.layer[v]] for v in range(len(extent))]
    at = place_across(graph, breadth, BESIDE[direction])
    corner, step = _PORTS[direction]
    ports = enter(graph, at, breadth, corner=corner, step=step)
    meet_ports(graph, at, ports, breadth)
    starts = leave(graph, at, breadth, ports)
    begins, turns = _along(graph, depth, starts, ports, direction)
    lines = _lines(graph, edges, extent, begins, turns, starts, ports)
    boxes = {
        name: Box(begins[graph.layer[v]], at[v] - breadth[v] / 2, extent[v])
        for v, name in enumerate(graph.names)
    }
    across = max([x + (breadth[v] / 2 if v < len(breadth) else 0) for v, x in enumerate(at)])
    along = begins[-1] + depth[-1]
    if not down:
        return Block(along, across, boxes, lines)
    upright = {name: Box(y, x, sizes[name][0]) for name, (x, y, _) in boxes.items()}
    return Block(across, along, upright, [(e, [(y, x) for x, y in line]) for e, line in lines])


def _along(
    graph: Layers,
    depth: Sequence[float],
    starts: Sequence[float],
    ports: Ports,
    direction: Direction,
) -> tuple[list[float], dict[int, float]]:
    """Where each layer begins, and where edges turn at each node and bend."""
    after, before = _ENDS[direction]
    begins: list[float] = []
    turns: dict[int, float] = {}
    x = 0.0
    for row, deep in zip(graph.rows, depth, strict=True):
        begins.append(x)
        x += deep
        sources = [v for v in row if graph.below[v]]
        nets = [Net(starts[v], tuple([ports[v, w] for w in graph.below[v]])) for v in sources]
        tracks, used = share_tracks(nets)
        pitch = _TRACK if used <= _WIDE else max(_CLOSEST, _WIDE * _TRACK / used)
        room = max(0, used - 1) * pitch
        gap = max(_BETWEEN[direction], after + before + room)
        first = x + (gap - before - after - room) / 2 + after
        turns.update({v: first + track * pitch for v, track in zip(sources, tracks, strict=True)})
        x += gap
    return begins, turns


def _lines(
    graph: Layers,
    edges: Sequence[Edge],
    extent: Sequence[float],
    begins: Sequence[float],
    turns: Mapping[int, float],
    starts: Sequence[float],
    ports: Ports,
) -> list[tuple[Edge, list[Point]]]:
    """Each edge as points (along, across), from the side of its source to that of its target."""
    number = {name: i for i, name in enumerate(graph.names)}
    lines: list[tuple[Edge, list[Point]]] = []
    for edge in edges:
        source, target = number[edge.source], number[edge.target]
        bends = graph.trunk[source][: graph.layer[target] - graph.layer[source]]
        points = [(begins[graph.layer[source]] + extent[source], starts[source])]
        for v, following in zip(bends, [*bends[1:], target], strict=True):
            port = ports[v, following]
            points += [(turns[v], points[-1][1]), (turns[v], port)]
        points.append((begins[graph.layer[target]], points[-1][1]))
        lines.append((edge, points))
    return lines


def grid_of(names: Sequence[str], sizes: Sizes, room: float) -> Block:
    """Nodes without edges, in rows no wider than *room*."""
    wide = max(sizes[name][0] for name in names)
    high = max(sizes[name][1] for name in names)
    step_x, step_y = wide + BESIDE["LR"], high + BESIDE["LR"]
    columns = max(1, min(len(names), int((room + BESIDE["LR"]) // step_x)))
    rows = -(-len(names) // columns)
    columns = -(-len(names) // rows)
    boxes = {
        name: Box(i % columns * step_x, i // columns * step_y, wide) for i, name in enumerate(names)
    }
    return Block(columns * step_x - BESIDE["LR"], rows * step_y - BESIDE["LR"], boxes, [])
