"""`graph`: draws flows in the requested format."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeAlias

import typer

from mxm.pipeline.checks.declarations import find_errors, require_valid
from mxm.pipeline.cli.command import AsJson, Modules, OutFile, ToOpen, Verb, verb_app
from mxm.pipeline.cli.describe import counted, json_form, print_search
from mxm.pipeline.cli.output import (
    ExitCode,
    line_width,
    print_error,
    print_json,
    print_warning,
    say,
    stdout_has,
)
from mxm.pipeline.cli.written import written
from mxm.pipeline.discovery.search import discover, find_flow, find_flows
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.graph import FlowGraph
from mxm.pipeline.introspection.uses import resources_of
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.views.calls import constants_of
from mxm.pipeline.views.tree import ASCII, BOXES, WIDTH, draw_tree

__all__ = ["app"]

app: typer.Typer = verb_app()

# The functions that draw flows, as text.
Drawer: TypeAlias = Callable[[Sequence[FlowSpec]], str]

_ENDINGS = {
    ".txt": "tree",
    ".mmd": "mermaid",
    ".mermaid": "mermaid",
    ".dot": "dot",
    ".gv": "dot",
    ".svg": "svg",
    ".html": "html",
    ".htm": "html",
}
_PICTURES = ("html", "svg")


def _draw_trees(
    specs: Sequence[FlowSpec], *, branches: tuple[str, str, str] = BOXES, width: int = WIDTH
) -> str:
    return "\n\n".join(draw_tree(spec, branches, width=width) for spec in specs)


# A tree needs none of the modules of the other formats.


def _draw_mermaid(specs: Sequence[FlowSpec]) -> str:
    from mxm.pipeline.views.drawn import mermaid

    return mermaid(specs)


def _draw_dot(specs: Sequence[FlowSpec]) -> str:
    from mxm.pipeline.views.diagram import draw_dot

    return draw_dot(*specs)


def _draw_svg(specs: Sequence[FlowSpec]) -> str:
    from mxm.pipeline.views.drawn import svg

    return svg(specs)


def _draw_html(specs: Sequence[FlowSpec]) -> str:
    from mxm.pipeline.views.drawn import html

    return html(specs)


_FORMATS: dict[str, Drawer] = {
    "tree": _draw_trees,
    "mermaid": _draw_mermaid,
    "dot": _draw_dot,
    "svg": _draw_svg,
    "html": _draw_html,
}


def _format_of(asked: str | None, out: str | None, *, to_open: bool) -> str:
    """The format to draw: the *asked* one, or else that of the file's extension.

    Raises
    ------
    PipelineError
        The format is unknown, or it cannot be opened.
    """
    ending = os.path.splitext(out or "")[1].lower()
    kind = asked or _ENDINGS.get(ending) or ("html" if to_open else "tree")
    if kind not in _FORMATS:
        raise PipelineError(f"unknown format {kind!r}", hint=did_you_mean(kind, _FORMATS))
    if to_open and kind not in _PICTURES:
        raise PipelineError(f"--open cannot open {kind}", hint="use --format html or svg")
    return kind


def _drawer(kind: str, out: str | None) -> Drawer:
    if kind != "tree" or out is not None:
        return _FORMATS[kind]
    branches = BOXES if stdout_has("└") else ASCII
    return functools.partial(_draw_trees, branches=branches, width=line_width())


def _graph_document(spec: FlowSpec) -> dict[str, Any]:
    """The graph as one JSON document: nodes in order, edges with their kind."""
    graph = FlowGraph(spec)
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
        "mapped": [name for name in order if graph.tasks[name].mapped],
        "run_if": {
            name: rule for name in order if (rule := graph.tasks[name].run_if) != "succeeded"
        },
        "allow_failure": [name for name in order if graph.tasks[name].allow_failure],
        "resources": {
            name: {key: one.name for key, one in used.items()}
            for name in order
            if (used := resources_of(graph.tasks[name].fn))
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


def _named_flows(names: Sequence[str], modules: Sequence[str]) -> list[FlowSpec]:
    """The flows *names*, each once, in their order; one name alone means one flow.

    Raises
    ------
    PipelineError
        One of them cannot be found.
    GraphError
        One of them is not valid.
    """
    if len(names) == 1:
        return [require_valid(find_flow(names[0], modules, warn=print_warning).spec())]
    registered = [entry for n in names for entry in find_flows(n, modules, warn=print_warning)]
    entries = {(entry.name, entry.place): entry for entry in registered}
    return [require_valid(entry.spec()) for entry in entries.values()]


def _every_flow(modules: Sequence[str]) -> tuple[list[FlowSpec], ExitCode]:
    """All valid flows that can be found, and the exit code if something is wrong."""
    search = discover(modules)
    print_search(search)
    for failure in search.failures:
        print_error(str(failure))
    code = ExitCode.IMPORT_FAILED if search.failures else ExitCode.OK
    specs: list[FlowSpec] = []
    for entry in search.flows:
        wrong = find_errors(entry.spec())
        if wrong:
            problems = counted(len(wrong), "problem")
            print_warning(
                f"flow {entry.name!r} is not drawn: {problems}\n"
                f"  hint: mxm-pipeline check {in_one_line(entry.name)}"
            )
            code = ExitCode.INVALID_GRAPH
        else:
            specs.append(entry.spec())
    return specs, code if specs else code or ExitCode.USAGE


@app.command(cls=Verb)
def graph(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Flows, as `run` takes them; default: all that can be found.",
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            show_default=False,
            help="tree, mermaid, dot, svg or html; default: by the extension of FILE, or tree.",
        ),
    ] = None,
    out: OutFile = None,
    to_open: ToOpen = False,
    module: Modules = None,
    as_json: AsJson = False,
) -> None:
    """Check flows and draw their graphs. Nothing runs."""
    kind = _format_of(format, out, to_open=to_open)
    code = ExitCode.OK
    if names:
        specs = _named_flows(names, module or ())
    else:
        specs, code = _every_flow(module or ())
    if as_json:
        documents = [_graph_document(spec) for spec in specs]
        several = {"schema": "mxm.graphs/1", "graphs": documents}
        print_json(documents[0] if names and len(documents) == 1 else several)
    elif specs:
        text = _drawer(kind, out)(specs)
        if out is None and not to_open:
            say(text.removesuffix("\n"))
        else:
            written(text, out, "mxm-graph-", f".{kind}", to_open=to_open)
    if code:
        raise typer.Exit(code)
