"""`graph`: one flow in the format asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from mxm.pipeline.errors import PipelineError, did_you_mean
from mxm.pipeline.graph import FlowGraph, require_valid
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.views.diagram import draw_dot, draw_mermaid
from mxm.pipeline.views.tree import ASCII, draw_tree

__all__ = ["drawing", "graph_document"]

_FORMATS = {"tree": draw_tree, "mermaid": draw_mermaid, "dot": draw_dot}


def drawing(format: str, *, plain: bool = False) -> Callable[[FlowSpec], str]:  # noqa: A002 - the option's name
    """What draws a flow in *format*; it raises `GraphError` where the graph is wrong.

    Parameters
    ----------
    format
        As the option has it.
    plain
        Whether the lines of a tree are drawn in ASCII.

    Raises
    ------
    PipelineError
        There is no such format.
    """
    if format not in _FORMATS:
        raise PipelineError(f"unknown format {format!r}", hint=did_you_mean(format, _FORMATS))
    draw = _FORMATS[format]
    if plain and draw is draw_tree:
        draw = functools.partial(draw_tree, branches=ASCII)
    return lambda spec: draw(require_valid(spec))


def graph_document(spec: FlowSpec) -> dict[str, Any]:
    """The graph as one JSON document: nodes in order, edges with their kind."""
    graph = FlowGraph(require_valid(spec))
    order = graph.order()
    return {
        "schema": "mxm.graph/1",
        "flow": spec.name,
        "nodes": order,
        "edges": [
            {
                "from": other,
                "to": name,
                "kind": "data" if other in graph.tasks[name].upstream else "order",
            }
            for name in order
            for other in graph.upstreams[name]
        ],
    }
