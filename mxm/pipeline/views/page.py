"""One page of HTML that shows flows: drawings, tasks, details; it loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mxm.pipeline.graph import FlowGraph
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.version import __version__
from mxm.pipeline.views.bodies import band_name, bodies_of
from mxm.pipeline.views.cards import (
    FOLD,
    View,
    edges_of,
    group_of,
    groups_of,
    overview,
    result_text,
    views_of,
)
from mxm.pipeline.views.details import (
    chips_of,
    doc_of,
    flow_panel,
    source_of,
    task_panel,
)
from mxm.pipeline.views.fragments import counted
from mxm.pipeline.views.frame import graph_box, keys_panel, page_text, top_of
from mxm.pipeline.views.markup import Keys, escaped, shortened
from mxm.pipeline.views.picture import icon

__all__ = ["draw_page"]


def draw_page(specs: Sequence[FlowSpec]) -> str:
    """The page of *specs*, valid flows, at least one.

    For one flow it has a drawing, and for a large one also a drawing of each sub-flow. For several
    flows it has one of each, and one of all flows with the assets that they write.
    """
    page = _Page(specs)
    return page.text()


class _Page:
    def __init__(self, specs: Sequence[FlowSpec]) -> None:
        self.specs = specs
        self.keys = Keys()
        self.graphs = [FlowGraph(spec) for spec in specs]
        self.paths = _paths(specs)

    def text(self) -> str:
        views = self._views()
        return page_text(
            f"{shortened(self._name(), 80)} · graph",
            top=self._top(),
            main=graph_box(views) + self._tables(),
            panel=self._panel(),
            details=self._details(),
            footer=f"mxm-pipeline {escaped(__version__)}",
        )

    def _name(self) -> str:
        if len(self.specs) == 1:
            return in_one_line(self.specs[0].name)
        return f"{len(self.specs):,} flows"

    def _views(self) -> list[tuple[View, str]]:
        """Every drawing with its key in the page's address."""
        # First the tasks, because links from elsewhere contain their keys.
        drawn = [
            views_of(spec, self.keys, path)
            for spec, path in zip(self.specs, self.paths, strict=True)
        ]
        if len(self.specs) == 1:
            return [(view, view.key) for view in drawn[0]]
        keyed = [(overview(self.specs, self.paths, self.keys), "")]
        for views, path in zip(drawn, self.paths, strict=True):
            key = self.keys.of("", *path)
            for view in views:
                title = in_one_line(path[0]) if not view.key else f"{path[0]}: {view.title}"
                named = View(view.key, title, view.cards, view.edges)
                keyed.append((named, {"": key, "*": f"{key}*"}.get(view.key, view.key)))
        return keyed

    def _top(self) -> str:
        tasks = sum(len(graph.tasks) for graph in self.graphs)
        edges = sum(len(others) for graph in self.graphs for others in graph.upstreams.values())
        every = [task for graph in self.graphs for task in graph.tasks.values()]
        assets = len({task.produces.id for task in every if task.produces})
        facts = [f"<b>{counted(tasks, 'task')}</b>", counted(edges, "edge")]
        if len(self.specs) == 1:
            groups = len({group_of(task.name) for task in every} - {""})
            facts += [counted(groups, "sub-flow")] if groups else []
        facts += [counted(assets, "asset")] if assets else []
        chips = ""
        if len(self.specs) == 1:
            source = source_of(self.specs[0])
            facts += [f"<code>{escaped(source)}</code>"] if source else []
            chips = chips_of(self.specs[0])
        name = escaped(shortened(self._name(), 120))
        title = f"<code>{name}</code>" if len(self.specs) == 1 else name
        return top_of(f"<h1>{title}</h1>", facts, chips)

    def _tables(self) -> str:
        boxes: list[str] = []
        for spec, graph, path in zip(self.specs, self.graphs, self.paths, strict=True):
            order = graph.order()
            folded = groups_of(order, edges_of(graph)) if len(order) > FOLD else {}
            rows = "".join(bodies_of(order, folded, self._rows(graph, path), _band))
            title = "Tasks" if len(self.specs) == 1 else f"<code>{escaped(spec.name)}</code>"
            boxes.append(
                f'<section class="box tasks-of"><header class="bh"><h2>{title} '
                f'<span class="mut">{len(order):,}</span></h2></header>'
                '<div class="wide" tabindex="0">'
                '<table class="tasks plain"><thead><tr><th>Task</th><th>Returns</th>'
                '<th class="num">Needs</th><th>What it does</th><th>Asset</th><th>Source</th></tr>'
                f"</thead>{rows}</table></div></section>"
            )
        return "".join(boxes)

    def _rows(self, graph: FlowGraph, path: tuple[str, ...]) -> Callable[[str], str]:
        return lambda name: self._row(graph.tasks[name], graph, path)

    def _row(self, task: TaskSpec, graph: FlowGraph, path: tuple[str, ...]) -> str:
        key = self.keys.of(*path, task.name)
        needs = len(graph.upstreams[task.name])
        doc = doc_of(task).partition("\n\n")[0].replace("\n", " ")
        asset = ""
        if task.produces:
            name = escaped(shortened(in_one_line(task.produces.id), 60))
            asset = f'<span class="asset">{icon("asset")}<code>{name}</code></span>'
        name = escaped(shortened(in_one_line(task.name), 120))
        return (
            f'<tr id="r-{key}"><td class="tn"><a href="#{key}"><code>{name}</code></a></td>'
            f'<td><code class="mut">{escaped(shortened(result_text(task), 60))}</code></td>'
            f'<td class="num">{needs or ""}</td><td>{escaped(shortened(doc, 140))}</td>'
            f'<td>{asset}</td><td><code class="mut">{escaped(source_of(task))}</code></td></tr>'
        )

    def _panel(self) -> str:
        if len(self.specs) == 1:
            return flow_panel(self.specs[0], self.graphs[0], self.keys, ()) + keys_panel("task")
        rows = "".join(
            f'<tr><td><a class="ref" href="#/{self.keys.of("", *path)}">'
            f"<code>{escaped(shortened(in_one_line(spec.name), 60))}</code></a></td>"
            f"<td>{escaped(shortened(spec.doc.partition(chr(10))[0], 140))}</td></tr>"
            for spec, path in zip(self.specs, self.paths, strict=True)
        )
        table = f'<table class="kv flows">{rows}</table>'
        return f"<section><h4>Flows</h4>{table}</section>{keys_panel('task')}"

    def _details(self) -> str:
        return "".join(
            f'<template id="d-{self.keys.of(*path, task.name)}">'
            f"{task_panel(task, graph, self.keys, path)}</template>"
            for graph, path in zip(self.graphs, self.paths, strict=True)
            for task in graph.tasks.values()
        )


def _band(title: str, names: Sequence[str]) -> str:
    return f'<tr class="band">{band_name(title, len(names))}<td colspan="5"></td></tr>'


def _paths(specs: Sequence[FlowSpec]) -> list[tuple[str, ...]]:
    """The part before the names of each flow's tasks: empty for one flow, else its name."""
    if len(specs) == 1:
        return [()]
    names = [spec.name for spec in specs]
    return [
        (name,) if name not in names[:i] else (name, str(i + 1)) for i, name in enumerate(names)
    ]
