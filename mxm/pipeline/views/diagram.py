"""A flow as the text of a diagram: Mermaid for a README, DOT for Graphviz."""

from __future__ import annotations

from collections.abc import Iterator

from mxm.pipeline.graph import FlowGraph
from mxm.pipeline.printable import printable
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.views.calls import inputs_text

__all__ = ["draw_dot", "draw_mermaid"]


def draw_mermaid(spec: FlowSpec) -> str:
    """*spec* as a Mermaid flowchart; order-only edges are dotted, assets are cylinders."""
    graph = FlowGraph(spec)
    ids = {name: f"t{i}" for i, name in enumerate(graph.order())}
    lines = ["flowchart LR"]
    for name, key in ids.items():
        lines.append(f'    {key}["{_mermaid(name + inputs_text(graph.tasks[name]))}"]')
    for source, target, data in _edges(graph):
        lines.append(f"    {ids[source]} {'-->' if data else '-.->'} {ids[target]}")
    for name, key in ids.items():
        asset = graph.tasks[name].produces
        if asset:
            lines.append(f'    {key} ==> {key}a[("{_mermaid(asset.id)}")]')
    return "\n".join(lines)


def draw_dot(spec: FlowSpec) -> str:
    """*spec* in the DOT language; order-only edges are dashed."""
    graph = FlowGraph(spec)
    lines = [f"digraph {_quoted(spec.name)} {{", "    rankdir=LR;", "    node [shape=box];"]
    for name in graph.order():
        inputs = inputs_text(graph.tasks[name])
        label = f" [label={_quoted(name + inputs)}]" if inputs else ""
        lines.append(f"    {_quoted(name)}{label};")
    for source, target, data in _edges(graph):
        style = "" if data else " [style=dashed]"
        lines.append(f"    {_quoted(source)} -> {_quoted(target)}{style};")
    for name in graph.order():
        asset = graph.tasks[name].produces
        if asset:
            key = _quoted(f"asset:{asset.id}")
            lines.append(f"    {key} [shape=cylinder, label={_quoted(asset.id)}];")
            lines.append(f"    {_quoted(name)} -> {key} [style=bold];")
    return "\n".join([*lines, "}"])


def _edges(graph: FlowGraph) -> Iterator[tuple[str, str, bool]]:
    for name in graph.order():
        data = graph.tasks[name].upstream
        for other in graph.upstreams[name]:
            yield other, name, other in data


def _mermaid(text: str) -> str:
    """*text* inside a quoted Mermaid label, whose escapes are HTML's."""
    escaped = "".join(_MERMAID.get(character, character) for character in printable(text))
    return " ".join(escaped.split()) or " "


# A backtick would open Mermaid's Markdown, and "#" an escape.
_MERMAID = {"&": "#amp;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "#": "#35;", "`": "#96;"}


def _quoted(text: str) -> str:
    escaped = printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
