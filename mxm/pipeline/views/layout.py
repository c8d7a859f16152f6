"""A graph to coordinates and paths: pure, deterministic, by the standard library alone.

Connected parts are placed apart, each layer by layer, and packed; of the two directions the one is
taken that fits a page better.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mxm.pipeline.views.blocks import BESIDE, Block, Box, Direction, Sizes, grid_of, place
from mxm.pipeline.views.crossings import reorder
from mxm.pipeline.views.layers import Edge, in_layers
from mxm.pipeline.views.paths import path_data

__all__ = ["PAGE", "Layout", "fold", "lay_out"]

PAGE = (1110, 1100)  # px that a drawing should fit into

_APART = 40  # px between connected parts
_BOTH = 600  # nodes; above it only top-down is tried
_FEW = 8  # up to this number, nodes without edges may go into a corner
_CLEAR = 28  # px around them there


@dataclass(frozen=True)
class Layout:
    """The positions of everything in a drawing, in px.

    Attributes
    ----------
    width, height
        Of the whole, without a margin.
    direction
        ``TB``, from top to bottom, or ``LR``, from left to right.
    boxes
        Of each node.
    paths
        Of each edge, as SVG path data.
    """

    width: float
    height: float
    direction: Direction
    boxes: Mapping[str, Box]
    paths: Sequence[tuple[Edge, str]]


def lay_out(
    names: Sequence[str],
    edges: Sequence[Edge],
    sizes: Sizes,
    *,
    page: tuple[float, float] = PAGE,
    direction: Direction | None = None,
) -> Layout:
    """Lay out a graph.

    Parameters
    ----------
    names
        The nodes, every one after its upstreams; of several orders that of their declaration.
    edges
        Each pair of nodes once.
    sizes
        Width and height of each node, in px.
    page
        Width and height that the drawing should fit, in px.
    direction
        Where it should go; None for what fits *page* better, from left to right if both do.

    Raises
    ------
    TooLargeError
        There is too much to draw.
    """
    parts = _connected(names, edges)
    graphs = [(in_layers(part, inner), inner) for part, inner in parts if len(part) > 1]
    lone = [part[0] for part, _ in parts if len(part) == 1]
    for graph, _ in graphs:
        reorder(graph)
    ways: tuple[Direction, ...] = ("LR", "TB") if len(names) <= _BOTH else ("TB",)
    drawn: list[tuple[Block, Direction]] = []
    for way in (direction,) if direction else ways:
        blocks = [place(graph, inner, sizes, way) for graph, inner in graphs]
        drawn.append((_packed(*_with_lone(blocks, lone, sizes, page[0]), page), way))
    best, way = max(drawn, key=lambda each: round(_scale(each[0], page), 2))
    boxes = {
        n: Box(round(x, 1), round(y, 1), round(wide, 1)) for n, (x, y, wide) in best.boxes.items()
    }
    paths = [(edge, path_data(points)) for edge, points in best.lines]
    return Layout(round(best.width, 1), round(best.height, 1), way, boxes, paths)


def _scale(block: Block, page: tuple[float, float]) -> float:
    return min(1.0, page[0] / max(block.width, 1), page[1] / max(block.height, 1))


def _connected(names: Sequence[str], edges: Sequence[Edge]) -> list[tuple[list[str], list[Edge]]]:
    """The connected parts in the order of their first node, each with its edges."""
    root = {name: name for name in names}

    def find(name: str) -> str:
        while root[name] != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    for edge in edges:
        root[find(edge.target)] = find(edge.source)
    parts: dict[str, tuple[list[str], list[Edge]]] = {}
    for name in names:
        parts.setdefault(find(name), ([], []))[0].append(name)
    for edge in edges:
        parts[find(edge.source)][1].append(edge)
    return list(parts.values())


def _with_lone(
    blocks: list[Block], lone: list[str], sizes: Sizes, room: float
) -> tuple[list[Block], bool]:
    """*blocks* with the nodes without edges, and whether the last goes beneath all others."""
    if not lone:
        return blocks, False
    if len(blocks) == 1 and len(lone) <= _FEW:
        cornered = _cornered(blocks[0], lone, sizes)
        if cornered:
            return [cornered], False
    return [*blocks, grid_of(lone, sizes, max([room, *(b.width for b in blocks)]))], True


def _cornered(block: Block, lone: list[str], sizes: Sizes) -> Block | None:
    """*block* with the nodes without edges in a free corner of it, if it has one."""
    taken = [(x, y, x + wide, y + sizes[name][1]) for name, (x, y, wide) in block.boxes.items()]
    for _, points in block.lines:
        for (a, b), (c, d) in itertools.pairwise(points):
            taken.append((min(a, c), min(b, d), max(a, c), max(b, d)))
    step = max(sizes[name][0] for name in lone) + BESIDE["LR"] + 1
    for columns in range(len(lone), 0, -1):
        grid = grid_of(lone, sizes, columns * step)
        right, low = block.width - grid.width, block.height - grid.height
        if right < 0 or low < 0:
            continue
        for x, y in ((0.0, 0.0), (right, 0.0), (0.0, low), (right, low)):
            ends = (x + grid.width + _CLEAR, y + grid.height + _CLEAR)
            if not any(
                a < ends[0] and x - _CLEAR < c and b < ends[1] and y - _CLEAR < d
                for a, b, c, d in taken
            ):
                moved = {n: Box(a + x, b + y, wide) for n, (a, b, wide) in grid.boxes.items()}
                return Block(block.width, block.height, {**block.boxes, **moved}, block.lines)
    return None


def _packed(blocks: list[Block], last_beneath: bool, page: tuple[float, float]) -> Block:
    """Blocks on shelves, one after the other, as one."""
    area = sum((b.width + _APART) * (b.height + _APART) for b in blocks)
    limit = max([page[0], (area * page[0] / page[1]) ** 0.5, *(b.width for b in blocks)])
    whole = Block(0.0, 0.0, {}, [])
    x = y = shelf = 0.0
    for i, block in enumerate(blocks):
        if x and (x + block.width > limit or (last_beneath and i == len(blocks) - 1)):
            x, y, shelf = 0.0, y + shelf + _APART, 0.0
        for name, (left, top, wide) in block.boxes.items():
            whole.boxes[name] = Box(left + x, top + y, wide)
        whole.lines += [(e, [(a + x, b + y) for a, b in points]) for e, points in block.lines]
        whole.width = max(whole.width, x + block.width)
        whole.height = max(whole.height, y + block.height)
        x, shelf = x + block.width + _APART, max(shelf, block.height)
    return whole


def fold(
    names: Sequence[str], edges: Sequence[Edge], group: Mapping[str, str]
) -> tuple[list[str], list[Edge]]:
    """The graph with each group of nodes as one node: inner edges disappear, others are merged.

    Groups may form a cycle, which is cut: edges back to an earlier node are left out.

    Parameters
    ----------
    names, edges
        As in `lay_out`.
    group
        By node, the name of its group; others stay themselves.
    """
    only_order: dict[tuple[str, str], bool] = {}
    for edge in edges:
        pair = group.get(edge.source, edge.source), group.get(edge.target, edge.target)
        if pair[0] != pair[1]:
            only_order[pair] = only_order.get(pair, True) and edge.order
    left = list(dict.fromkeys(group.get(name, name) for name in names))
    needs: dict[str, set[str]] = {name: set() for name in left}
    downs: dict[str, list[str]] = {name: [] for name in left}
    for source, target in only_order:
        needs[target].add(source)
        downs[source].append(target)
    order: dict[str, int] = {}
    place = {name: i for i, name in enumerate(left)}
    ready = [place[name] for name in left if not needs[name]]
    waiting = iter(left)
    while len(order) < len(left):
        if ready:
            name = left[heapq.heappop(ready)]
        else:
            name = next(n for n in waiting if n not in order)
        if name in order:
            continue
        order[name] = len(order)
        for down in downs[name]:
            needs[down].discard(name)
            if not needs[down] and down not in order:
                heapq.heappush(ready, place[down])
    folded = [Edge(a, b, alone) for (a, b), alone in only_order.items() if order[a] < order[b]]
    return list(order), folded
