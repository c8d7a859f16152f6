"""Layout: nothing overlaps, no line crosses a card, edges follow the direction, one graph one drawing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxm.pipeline.views.blocks import Direction
from mxm.pipeline.views.coordinates import isotonic
from mxm.pipeline.views.crossings import count_crossings, reorder
from mxm.pipeline.views.layers import Edge, TooLargeError, in_layers
from mxm.pipeline.views.layout import Layout, fold, lay_out
from mxm.pipeline.views.paths import path_data

HEIGHT = 44.0

Graph = tuple[list[str], list[Edge], dict[str, tuple[float, float]]]


@st.composite
def graphs(draw: st.DrawFn, most: int = 40) -> Graph:
    """Nodes in order, edges from earlier to later ones, a width for each."""
    count = draw(st.integers(1, most))
    names = [f"t{i}" for i in range(count)]
    edges: dict[tuple[int, int], Edge] = {}
    for target in range(1, count):
        near = st.integers(max(0, target - draw(st.sampled_from([2, 10, most]))), target - 1)
        for source in draw(st.lists(near, max_size=3)):
            edges[source, target] = Edge(names[source], names[target], draw(st.booleans()))
    wide = st.sampled_from([96.0, 120.0, 160.0, 208.0])
    return names, list(edges.values()), {name: (draw(wide), HEIGHT) for name in names}


def segments(data: str) -> Iterator[tuple[float, float, float, float]]:
    """The straight pieces of an SVG path, corners cut to their ends."""
    x = y = 0.0
    for command, numbers in re.findall("([MLHVQ])([^MLHVQ]*)", data):
        values = [float(n) for n in numbers.split()]
        before = (x, y)
        if command == "H":
            x = values[0]
        elif command == "V":
            y = values[0]
        else:
            x, y = values[-2:]
        if command != "M":
            yield (*before, x, y)


def boxes(layout: Layout) -> dict[str, tuple[float, float, float, float]]:
    return {n: (b.x, b.y, b.x + b.width, b.y + HEIGHT) for n, b in layout.boxes.items()}


def overlap(a: Sequence[float], b: Sequence[float], by: float) -> bool:
    return a[0] < b[2] - by and b[0] < a[2] - by and a[1] < b[3] - by and b[1] < a[3] - by


@settings(max_examples=60, deadline=None)
@given(graphs(), st.sampled_from(["TB", "LR", None]))
def test_no_two_cards_overlap_and_no_line_crosses_a_card(
    graph: Graph, direction: Direction | None
) -> None:
    names, edges, sizes = graph
    layout = lay_out(names, edges, sizes, direction=direction)
    placed = boxes(layout)
    assert set(placed) == set(names)
    assert sorted(e for e, _ in layout.paths) == sorted(edges)
    for one, two in combinations(placed.values(), 2):
        assert not overlap(one, two, 0.5)
    for edge, data in layout.paths:
        for x, y, to_x, to_y in segments(data):
            line = (min(x, to_x), min(y, to_y), max(x, to_x), max(y, to_y))
            for name, box in placed.items():
                if name not in edge[:2]:
                    grown = (line[0] - 0.1, line[1] - 0.1, line[2] + 0.1, line[3] + 0.1)
                    assert not overlap(grown, box, 1), (edge, name)


@settings(max_examples=40, deadline=None)
@given(graphs(), st.sampled_from(["TB", "LR"]))
def test_every_edge_goes_along_the_direction_from_its_source_to_its_target(
    graph: Graph, direction: Direction
) -> None:
    names, edges, sizes = graph
    layout = lay_out(names, edges, sizes, direction=direction)
    placed = boxes(layout)
    at = 1 if direction == "TB" else 0
    for edge, data in layout.paths:
        pieces = list(segments(data))
        assert placed[edge.source][at + 2] <= placed[edge.target][at] + 0.2
        assert abs(pieces[0][at] - placed[edge.source][at + 2]) < 0.2
        assert abs(pieces[-1][at + 2] - placed[edge.target][at]) < 0.2
        across = pieces[-1][3 - at]
        assert placed[edge.target][1 - at] < across < placed[edge.target][3 - at]


@settings(max_examples=30, deadline=None)
@given(graphs())
def test_everything_is_within_the_width_and_height(graph: Graph) -> None:
    layout = lay_out(*graph)
    for x, y, to_x, to_y in boxes(layout).values():
        assert min(x, y) >= -0.1
        assert to_x <= layout.width + 0.2
        assert to_y <= layout.height + 0.2


def test_one_graph_has_one_layout_whatever_the_hash_seed() -> None:
    code = (
        "from mxm.pipeline.views.layers import Edge\n"
        "from mxm.pipeline.views.layout import lay_out\n"
        "names = [f't{i}' for i in range(60)]\n"
        "edges = [Edge(names[i * 7 % j], names[j]) for j in range(1, 60) for i in (1, 2)]\n"
        "edges = list(dict.fromkeys(edges))\n"
        "print(lay_out(names, edges, {n: (120.0, 44.0) for n in names}))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
    assert "Layout(" in said.pop()


def test_what_fits_the_page_less_well_is_laid_out_the_other_way() -> None:
    names = [f"t{i}" for i in range(30)]
    sizes = {name: (120.0, HEIGHT) for name in names}
    chain = [Edge(a, b) for a, b in pairwise(names)]
    assert lay_out(names, chain, sizes).direction == "TB"
    assert lay_out(names, chain, sizes, page=(9000, 400)).direction == "LR"
    assert lay_out(names[:3], chain[:2], sizes).direction == "LR"


def test_a_chain_is_one_straight_line() -> None:
    names = ["a", "b", "c"]
    sizes = {"a": (96.0, HEIGHT), "b": (200.0, HEIGHT), "c": (120.0, HEIGHT)}
    layout = lay_out(names, [Edge("a", "b"), Edge("b", "c")], sizes, direction="TB")
    assert all(re.fullmatch(r"M[\d.]+ [\d.]+V[\d.]+", data) for _, data in layout.paths)


BOOK = """
universe:calendar load_prices:universe load_fx:universe load_positions:universe
load_fundamentals:universe clean_prices:load_prices clean_fx:load_fx
adjust_splits:clean_prices,load_fundamentals to_base:adjust_splits,clean_fx returns:to_base
vol:returns ewma_vol:returns garch:returns beta:returns covariance:returns shrink:covariance
factor_loads:returns,load_fundamentals gain:load_positions,returns pnl:gain,clean_fx var_hist:pnl
var_param:shrink,garch,load_positions stress:factor_loads,var_param shortfall:pnl,var_hist
limits:var_param,var_hist,shortfall table:limits,stress,vol,beta,ewma_vol report:table
"""


def test_a_long_edge_has_no_small_jogs() -> None:
    needs = dict(entry.split(":") for entry in BOOK.split())
    edges = [Edge(other, name) for name, others in needs.items() for other in others.split(",")]
    names = ["calendar", *needs]
    sizes = {name: (max(96.0, 28 + 8.0 * len(name)), HEIGHT) for name in names}
    layout = lay_out(names, edges, sizes, direction="TB")
    steps = [
        abs(x2 - x1)
        for _, data in layout.paths
        for x1, y1, x2, y2 in segments(data)
        if y1 != y2 and x1 != x2 and abs(x2 - x1) < 3
    ]
    assert steps == []


def test_the_few_without_edges_go_into_a_free_corner() -> None:
    names = ["first", "second", "third", *"abcdef", "alone"]
    edges = [Edge("first", "second"), Edge("second", "third")]
    edges += [Edge("third", name) for name in "abcdef"]
    sizes = {name: (120.0, HEIGHT) for name in names}
    with_one = lay_out(names, edges, sizes, direction="TB")
    without = lay_out(names[:-1], edges, sizes, direction="TB")
    assert (with_one.width, with_one.height) == (without.width, without.height)


@settings(max_examples=40, deadline=None)
@given(graphs(most=25))
def test_reordering_leaves_no_more_crossings(graph: Graph) -> None:
    layers = in_layers(graph[0], graph[1])
    before, members = count_crossings(layers), [sorted(row) for row in layers.rows]
    reorder(layers)
    assert count_crossings(layers) <= before
    assert [sorted(row) for row in layers.rows] == members


def test_crossings_that_can_be_undone_are_undone() -> None:
    names = list("abcxyz")
    layers = in_layers(names, [Edge("a", "z"), Edge("b", "y"), Edge("c", "x"), Edge("a", "y")])
    layers.rows = [[0, 1, 2], [3, 4, 5]]
    assert count_crossings(layers) == 4
    reorder(layers)
    assert count_crossings(layers) == 0


numbers = st.floats(-100, 100)


@given(st.lists(st.tuples(numbers, st.floats(0.1, 10), st.floats(0, 20)), min_size=1, max_size=12))
def test_isotonic_keeps_order_and_gaps_and_leaves_what_fits(
    rows: list[tuple[float, float, float]],
) -> None:
    goals, weights = [r[0] for r in rows], [r[1] for r in rows]
    gaps = [r[2] for r in rows[1:]]
    placed = isotonic(goals, weights, gaps)
    for (a, b), gap in zip(pairwise(placed), gaps, strict=True):
        assert b - a >= gap - 1e-6
    assert isotonic(placed, weights, gaps) == pytest.approx(placed)
    # Together they lie where they want to: the forces are in balance.
    assert sum((p - g) * w for p, g, w in zip(placed, goals, weights, strict=True)) == (
        pytest.approx(0, abs=1e-6)
    )


def test_path_data_is_short() -> None:
    assert path_data([(0, 0), (0, 10), (0, 20)]) == "M0 0V20"
    assert path_data([(0, 0), (0, 20), (30, 20)]) == "M0 0V13Q0 20 7 20H30"
    assert path_data([(0, 0), (0, 4), (30, 4)]) == "M0 0V2Q0 4 2 4H30"
    assert path_data([(0, 0), (0.3, 0), (10, 0)]) == "M0 0H10"


def test_too_many_bends_are_found_before_they_are_made() -> None:
    names = [f"t{i}" for i in range(400)]
    edges = [Edge(a, b) for a, b in pairwise(names)]
    edges += [Edge(name, names[-1]) for name in names[:-2]]
    with pytest.raises(TooLargeError, match="400 tasks in 400 layers"):
        lay_out(names, edges, {name: (96.0, HEIGHT) for name in names})


def test_a_fold_joins_edges_and_drops_those_inside() -> None:
    names = ["a", "x.b", "x.c", "d"]
    edges = [Edge("a", "x.b"), Edge("a", "x.c", True), Edge("x.b", "x.c"), Edge("x.c", "d", True)]
    order, folded = fold(names, edges, {"x.b": "x", "x.c": "x"})
    assert order == ["a", "x", "d"]
    assert folded == [Edge("a", "x"), Edge("x", "d", True)]


@settings(max_examples=60, deadline=None)
@given(graphs(most=25), st.integers(2, 4))
def test_a_fold_has_no_cycle_and_every_group_once(graph: Graph, groups: int) -> None:
    names, edges, _ = graph
    group = {name: f"g{i % groups}" for i, name in enumerate(names) if i % 3}
    order, folded = fold(names, edges, group)
    assert sorted(order) == sorted({group.get(name, name) for name in names})
    place = {name: i for i, name in enumerate(order)}
    assert all(place[edge.source] < place[edge.target] for edge in folded)
