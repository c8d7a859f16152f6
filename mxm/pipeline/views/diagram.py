"""Flows and runs as the text of a diagram: Mermaid for a README, DOT for Graphviz."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mxm.pipeline.graph import FlowGraph
from mxm.pipeline.process.printable import printable
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.taskruns import State
from mxm.pipeline.views.calls import inputs_text, rules_of
from mxm.pipeline.views.cards import View, edges_of, group_of, views_of
from mxm.pipeline.views.colours import LIGHT
from mxm.pipeline.views.layers import Edge
from mxm.pipeline.views.markup import Keys
from mxm.pipeline.views.states import ORDER

if TYPE_CHECKING:
    from mxm.pipeline.views.reported import Report

__all__ = ["draw_dot", "draw_mermaid", "draw_run_mermaid"]

_MOST_EDGES = 400  # above it a flow is folded: Mermaid draws no more than 500


@dataclass
class _Node:
    """A node of either kind of diagram; *remarks* say when a task runs."""

    label: str
    remarks: Sequence[str] = ()
    many: bool = False
    group: str = ""
    state: str = ""


@dataclass
class _Diagram:
    """One flow, before it is written."""

    name: str
    nodes: dict[str, _Node] = field(default_factory=dict[str, _Node])
    edges: Sequence[Edge] = ()
    assets: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])  # task, asset

    def by_group(self) -> dict[str, list[str]]:
        """The nodes by sub-flow; those in none under the empty name."""
        groups: dict[str, list[str]] = {}
        for name, node in self.nodes.items():
            groups.setdefault(node.group, []).append(name)
        return groups


def _diagram(spec: FlowSpec, most_edges: int | None) -> _Diagram:
    graph = FlowGraph(spec)
    order = graph.order()
    made = _Diagram(spec.name)
    made.assets = [
        (name, produces.id) for name in order if (produces := graph.tasks[name].produces)
    ]
    place = {name: i for i, name in enumerate(order)}
    made.edges = sorted(
        edges_of(graph), key=lambda edge: (place[edge.target], edge.order, place[edge.source])
    )
    if most_edges is not None and len(made.edges) > most_edges:
        view = views_of(spec, Keys())[0]
        if len(view.cards) < len(order):
            made.edges = view.edges
            for card in view.cards:
                # A folded card says how many tasks it stands for.
                remarks = [card.text] if card.name not in graph.tasks else []
                made.nodes[card.name] = _Node(card.label, remarks, card.many)
            made.assets = [each for each in made.assets if each[0] in made.nodes]
            return made
    made.nodes = {name: _node(graph.tasks[name]) for name in order}
    return made


def _node(task: TaskSpec) -> _Node:
    return _Node(task.name + inputs_text(task), rules_of(task), task.mapped, group_of(task.name))


def draw_run_mermaid(run: Report, view: View) -> str:
    """The drawing *view* of *run* as a Mermaid flowchart: each state has a look of its own."""
    made = _Diagram(run.flow, edges=view.edges)
    for card in view.cards:
        group = group_of(card.name) if card.name in run.tasks else ""
        remarks = [card.text] if card.text else []
        made.nodes[card.name] = _Node(card.label, remarks, card.many, group, card.state)
    made.assets = [
        (name, task.declares)
        for name, task in run.tasks.items()
        if task.declares and name in made.nodes
    ]
    return _flowchart([made])


def draw_mermaid(*specs: FlowSpec) -> str:
    """*specs* as one Mermaid flowchart.

    Order-only edges are dotted, assets are cylinders, a mapped task has double sides; a sub-flow,
    and each of several flows, is a box around its tasks.
    """
    return _flowchart([_diagram(spec, _MOST_EDGES) for spec in specs])


def _flowchart(diagrams: Sequence[_Diagram]) -> str:
    lines = ["flowchart TD"]
    assets: dict[str, str] = {}
    arrows: list[str] = []
    by_state: dict[str, list[str]] = {}
    count = boxes = 0
    for diagram in diagrams:
        ids: dict[str, str] = {}
        for name in diagram.nodes:
            ids[name] = f"t{count}"
            count += 1
        for name, node in diagram.nodes.items():
            by_state.setdefault(node.state, []).append(ids[name])
        indent = "    "
        if len(diagrams) > 1:
            lines.append(f'{indent}subgraph f{boxes}["{_mermaid(diagram.name)}"]')
            boxes += 1
            indent += "    "
        for group, names in diagram.by_group().items():
            inner = indent
            if group:
                lines.append(f'{indent}subgraph g{boxes}["{_mermaid(group)}"]')
                boxes += 1
                inner += "    "
            lines += [f"{inner}{ids[name]}{_shape(diagram.nodes[name])}" for name in names]
            if group:
                lines.append(f"{indent}end")
        if len(diagrams) > 1:
            lines.append("    end")
        for source, target, order in diagram.edges:
            arrows.append(f"    {ids[source]} {'-.->' if order else '-->'} {ids[target]}")
        for name, asset in diagram.assets:
            if asset not in assets:
                assets[asset] = f"a{len(assets)}"
                arrows.append(f'    {ids[name]} ==> {assets[asset]}[("{_mermaid(asset)}")]')
            else:
                arrows.append(f"    {ids[name]} ==> {assets[asset]}")
    classes = [
        f"    {line}"
        for state in ORDER
        if state in by_state
        for line in (
            f"classDef {state} {_look_of(state)}",
            f"class {','.join(by_state[state])} {state}",
        )
    ]
    return "\n".join([*lines, *arrows, *classes])


def _look_of(state: State) -> str:
    """The style of a node in *state*; Mermaid has one scheme of colours, ours is the light one."""
    fill, stroke, ink, dash = "panel", "line-2", "ink", ""
    if state in (State.FAILED, State.CRASHED):
        fill, stroke = "failed-bg", "failed"
    elif state in (State.RUNNING, State.CACHED):
        stroke = state.value
    elif state in (State.SKIPPED, State.PENDING, State.CANCELLED):
        fill, ink, dash = "bg", "ink-2", ",stroke-dasharray:3 3"
    return f"fill:{LIGHT[fill]},stroke:{LIGHT[stroke]},color:{LIGHT[ink]}{dash}"


def _shape(node: _Node) -> str:
    label = "<br>".join(map(_mermaid, [node.label, *node.remarks]))
    return f'[["{label}"]]' if node.many else f'["{label}"]'


def draw_dot(*specs: FlowSpec) -> str:
    """*specs* in the DOT language.

    Order-only edges are dotted, assets are cylinders, a mapped task has a double line; a sub-flow,
    and each of several flows, is a cluster.
    """
    title = specs[0].name if len(specs) == 1 else "flows"
    lines = [
        f"digraph {_quoted(title)} {{",
        "    rankdir=TB;",
        "    node [shape=box, style=rounded];",
    ]
    assets: dict[str, str] = {}
    arrows: list[str] = []
    clusters = 0
    for spec in specs:
        diagram = _diagram(spec, None)
        # One name may be in several flows.
        prefix = f"{spec.name}/" if len(specs) > 1 else ""
        indent = "    "
        if len(specs) > 1:
            lines.append(f"    subgraph cluster_{clusters} {{")
            lines.append(f"        label={_quoted(spec.name)};")
            clusters += 1
            indent += "    "
        for group, names in diagram.by_group().items():
            inner = indent
            if group:
                lines.append(f"{indent}subgraph cluster_{clusters} {{")
                inner += "    "
                lines.append(f"{inner}label={_quoted(group)};")
                clusters += 1
            lines += [
                f"{inner}{_quoted(prefix + name)}{_attributes(name, diagram, prefix)};"
                for name in names
            ]
            if group:
                lines.append(f"{indent}}}")
        if len(specs) > 1:
            lines.append("    }")
        for source, target, order in diagram.edges:
            style = " [style=dotted]" if order else ""
            arrows.append(f"    {_quoted(prefix + source)} -> {_quoted(prefix + target)}{style};")
        for name, asset in diagram.assets:
            if asset not in assets:
                assets[asset] = _quoted(f"asset:{asset}")
                arrows.append(f"    {assets[asset]} [shape=cylinder, label={_quoted(asset)}];")
            arrows.append(f"    {_quoted(prefix + name)} -> {assets[asset]} [style=bold];")
    return "\n".join([*lines, *arrows, "}"])


def _attributes(name: str, diagram: _Diagram, prefix: str) -> str:
    node = diagram.nodes[name]
    label = "\n".join([node.label, *node.remarks])
    attributes = [f"label={_quoted(label)}"] if label != prefix + name else []
    attributes += ["peripheries=2"] if node.many else []
    return f" [{', '.join(attributes)}]" if attributes else ""


def _mermaid(text: str) -> str:
    """*text* for a quoted Mermaid label, which uses HTML escapes."""
    escaped = "".join(_MERMAID.get(character, character) for character in printable(text))
    return " ".join(escaped.split()) or " "


# A backtick would start Markdown in Mermaid, and "#" an escape.
_MERMAID = {"&": "#amp;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "#": "#35;", "`": "#96;"}


def _quoted(text: str) -> str:
    escaped = printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
