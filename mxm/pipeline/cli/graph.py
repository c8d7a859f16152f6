"""`graph`: one flow in the format asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any

import typer

from mxm.pipeline.checks.declarations import require_valid
from mxm.pipeline.cli.command import AsJson, Modules, Target, Verb, verb_app
from mxm.pipeline.cli.describe import json_form
from mxm.pipeline.cli.output import (
    ExitCode,
    line_width,
    print_error,
    print_json,
    print_warning,
    say,
    stdout_has,
)
from mxm.pipeline.discovery.search import find_flow
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.graph import FlowGraph
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.views.calls import constants_of
from mxm.pipeline.views.diagram import draw_dot, draw_mermaid
from mxm.pipeline.views.tree import ASCII, BOXES, WIDTH, draw_tree

__all__ = ["app"]

app: typer.Typer = verb_app()


_FORMATS = {"tree": draw_tree, "mermaid": draw_mermaid, "dot": draw_dot}


def _drawing(format: str, *, width: int, plain: bool = False) -> Callable[[FlowSpec], str]:  # noqa: A002 - the option's name
    """What draws a flow in *format*; it raises `GraphError` where the graph is wrong.

    Parameters
    ----------
    format
        As the option has it.
    width
        Characters in a line of a tree.
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
    if draw is draw_tree:
        draw = functools.partial(draw_tree, branches=ASCII if plain else BOXES, width=width)
    return lambda spec: draw(require_valid(spec))


def _graph_document(spec: FlowSpec) -> dict[str, Any]:
    """The graph as one JSON document: nodes in order, edges with their kind."""
    graph = FlowGraph(require_valid(spec))
    order = graph.order()
    return {
        "schema": "mxm.graph/1",
        "flow": spec.name,
        "nodes": order,
        "constants": {
            name: {key: json_form(value) for key, value in constants.items()}
            for name in order
            if (constants := constants_of(graph.tasks[name]))
        },
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


@app.command(cls=Verb)
def graph(
    name: Target,
    format: Annotated[  # noqa: A002 - the option's name
        str,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            show_default=False,
            help="tree, mermaid or dot; default: tree.",
        ),
    ] = "tree",
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="FILE", help="Write to this file.")
    ] = None,
    module: Modules = None,
    as_json: AsJson = False,
) -> None:
    """Draw the graph of one flow; the graph is checked, and nothing runs."""
    draw = _drawing(
        format,
        width=line_width() if out is None else WIDTH,
        plain=out is None and not stdout_has("└"),
    )
    spec = find_flow(name, module or (), warn=print_warning).spec()
    if as_json:
        print_json(_graph_document(spec))
        return
    text = draw(spec)
    if out is None:
        say(text)
        return
    try:
        with open(out, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        print_error(f"cannot write {out!r}: {error.strerror}")
        raise typer.Exit(ExitCode.USAGE) from None
