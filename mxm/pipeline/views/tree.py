"""A flow as an indented tree for the terminal: each task once, under the first that it needs."""

from __future__ import annotations

from collections.abc import Iterator

from mxm.pipeline.graph import FlowGraph
from mxm.pipeline.printable import in_one_line
from mxm.pipeline.spec import FlowSpec

__all__ = ["ASCII", "BOXES", "draw_tree"]

# Before a task, before the last of its parent's, and below one that is not the last.
BOXES = ("├── ", "└── ", "│   ")
ASCII = ("+-- ", "\\-- ", "|   ")


def draw_tree(spec: FlowSpec, branches: tuple[str, str, str] = BOXES) -> str:
    """*spec* as text, downstream tasks indented below; ``<-`` names what else a task takes."""
    graph = FlowGraph(spec)
    order = graph.order()
    parent = {name: graph.upstreams[name][0] for name in order if graph.upstreams[name]}
    children: dict[str, list[str]] = {name: [] for name in order}
    for name in order:
        if name in parent:
            children[parent[name]].append(name)
    roots = [name for name in order if name not in parent]
    lines = [spec.name, *_lines(graph, roots, children, branches)]
    return "\n".join(map(in_one_line, lines))


def _lines(
    graph: FlowGraph,
    roots: list[str],
    children: dict[str, list[str]],
    branches: tuple[str, str, str],
) -> Iterator[str]:
    branch, end, line = branches
    # This stack draws a chain of 10,000 tasks; past _DEEPEST it is indented no further.
    stack = [(name, "", i == 0) for i, name in enumerate(reversed(roots))]
    while stack:
        name, prefix, last = stack.pop()
        task = graph.tasks[name]
        data, others = task.upstream, graph.upstreams[name]
        marks = "".join(f" <- {o}" for o in others[1:] if o in data)
        after = [o for o in others if o not in data]
        if after:
            marks += f" (after {', '.join(after)})"
        if task.produces:
            marks += f" => {task.produces.id}"
        yield f"{prefix}{end if last else branch}{name}{marks}"
        below = prefix + ("    " if last else line) if len(prefix) < _DEEPEST else prefix
        stack.extend((n, below, i == 0) for i, n in enumerate(reversed(children[name])))


_DEEPEST = 160
