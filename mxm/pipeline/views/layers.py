"""Layers of a drawing: which node lies in which, and the bends of edges that cross several.

Longest path, then short edges after Gansner, Koutsofios, North and Vo (1993).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Edge", "Layers", "TooLargeError", "in_layers"]

_LARGEST = 20_000  # nodes and bends; with more, a drawing does not help
_ROUNDS = 4


class TooLargeError(ValueError):
    """The graph has more nodes and bends than a drawing can show."""


class Edge(NamedTuple):
    """An edge of a drawing; *order* if it passes no value."""

    source: str
    target: str
    order: bool = False


@dataclass
class Layers:
    """The nodes and bends of one connected graph, layer by layer.

    Attributes
    ----------
    names
        The nodes by number.
    layer
        The layer of each node and bend; numbers from ``len(names)`` on are bends.
    above, below
        Neighbours of each in the layer before and after its own.
    trunk
        By source, itself and its bends, one a layer: the edges of a source share them.
    rows
        The numbers of each layer, in their order across.
    """

    names: list[str]
    layer: list[int]
    above: list[list[int]]
    below: list[list[int]]
    trunk: list[list[int]]
    rows: list[list[int]]


def in_layers(names: Sequence[str], edges: Sequence[Edge]) -> Layers:
    """Put a graph in layers; within one, depth-first from the sources in their order.

    Parameters
    ----------
    names
        The nodes, every one after its upstreams.
    edges
        Each pair of nodes once.

    Raises
    ------
    TooLargeError
        There are too many nodes and bends to draw.
    """
    number = {name: i for i, name in enumerate(names)}
    ups: list[set[int]] = [set() for _ in names]
    downs: list[set[int]] = [set() for _ in names]
    for edge in edges:
        ups[number[edge.target]].add(number[edge.source])
        downs[number[edge.source]].add(number[edge.target])
    layer = _short_edges(ups, downs)
    _require_drawable(layer, downs)
    above: list[list[int]] = [[] for _ in names]
    below: list[list[int]] = [[] for _ in names]
    trunk: list[list[int]] = []
    for source in range(len(names)):
        bends = [source]
        last = max((layer[target] for target in downs[source]), default=0)
        for at in range(layer[source] + 1, last):
            bend = len(layer)
            layer.append(at)
            above.append([bends[-1]])
            below.append([])
            below[bends[-1]].append(bend)
            bends.append(bend)
        trunk.append(bends)
        for target in sorted(downs[source]):
            before = bends[layer[target] - layer[source] - 1]
            below[before].append(target)
            above[target].append(before)
    return Layers(list(names), layer, above, below, trunk, _depth_first(layer, above, below))


def _short_edges(ups: list[set[int]], downs: list[set[int]]) -> list[int]:
    """The layer of each node: longest path, then each moves to where its edges are short."""
    count = len(ups)
    layer = [0] * count
    for v in range(count):
        layer[v] = max((layer[u] + 1 for u in ups[v]), default=0)
    for _ in range(_ROUNDS):
        before = layer[:]
        for v in reversed(range(count)):
            if len(downs[v]) > len(ups[v]):
                layer[v] = min(layer[w] for w in downs[v]) - 1
        for v in range(count):
            if len(ups[v]) > len(downs[v]):
                layer[v] = max(layer[u] for u in ups[v]) + 1
        if layer == before:
            break
    least = min(layer)
    return [at - least for at in layer]


def _require_drawable(layer: list[int], downs: list[set[int]]) -> None:
    """Count the bends before making any.

    Raises
    ------
    TooLargeError
        There are too many.
    """
    bends = sum(
        max(layer[target] for target in targets) - layer[source] - 1
        for source, targets in enumerate(downs)
        if targets
    )
    if len(layer) + bends > _LARGEST:
        raise TooLargeError(
            f"{len(layer):,} tasks in {max(layer) + 1:,} layers are too many to draw"
        )


def _depth_first(
    layer: list[int], above: list[list[int]], below: list[list[int]]
) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in range(max(layer) + 1)]
    seen = [False] * len(layer)
    for start, upstreams in enumerate(above):
        stack = [] if upstreams else [start]
        while stack:
            v = stack.pop()
            if not seen[v]:
                seen[v] = True
                rows[layer[v]].append(v)
                stack.extend(reversed(below[v]))
    return rows
