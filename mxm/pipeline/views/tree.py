"""Draws a flow as an indented tree for the terminal: each task once, under its first upstream.

Repeats with the same shape, such as ``load`` and ``load_2`` with all tasks below, are drawn once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mxm.pipeline.graph import FlowGraph
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.views.calls import call_text, inputs_text, rules_of
from mxm.pipeline.views.names import follows, grouped, stem, wrapped

__all__ = ["ASCII", "BOXES", "WIDTH", "draw_tree", "tree_lines"]

# In front of a task, in front of the last child, and below a child that is not the last.
BOXES = ("├── ", "└── ", "│   ")
ASCII = ("+-- ", "\\-- ", "|   ")

WIDTH = 100
_DEEPEST = 80  # the most characters of indentation
_REPEATS = 5  # from this number on, tasks of one shape are drawn once
_CHAIN = 8  # from this number on, consecutive tasks are drawn in one line
_MOST_NAMES = 6


def draw_tree(spec: FlowSpec, branches: tuple[str, str, str] = BOXES, *, width: int = WIDTH) -> str:
    """*spec* as text, downstream tasks indented below; ``<-`` names a task's other upstreams.

    Brackets say when a task runs, or that it may fail, if that is not the default.
    """
    return "\n".join([in_one_line(spec.name), *tree_lines(spec, branches, width=width)])


def tree_lines(
    spec: FlowSpec, branches: tuple[str, str, str] = BOXES, *, width: int = WIDTH
) -> Iterator[str]:
    """The lines of `draw_tree` under the flow's name."""
    return _Tree(spec, branches, width).lines()


class _Tree:
    def __init__(self, spec: FlowSpec, branches: tuple[str, str, str], width: int) -> None:
        self.graph = graph = FlowGraph(spec)
        self.branches = branches
        self.width = width
        self.order = graph.order()
        self.index = {name: i for i, name in enumerate(self.order)}
        self.children: dict[str, list[str]] = {name: [] for name in self.order}
        self.roots: list[str] = []
        for name in self.order:
            upstreams = graph.upstreams[name]
            (self.children[upstreams[0]] if upstreams else self.roots).append(name)
        self.shapes: dict[str, int] = {}
        known: dict[object, int] = {}
        for name in reversed(self.order):  # tasks below get their shapes first
            below = tuple(self.shapes[child] for child in self.children[name])
            key = (stem(name), self._stems(name), below)
            self.shapes[name] = known.setdefault(key, len(known))

    def _stems(self, name: str) -> object:
        task = self.graph.tasks[name]
        asset = stem(task.produces.id) if task.produces else None
        rules = tuple(rules_of(task))
        return tuple(map(stem, task.upstream)), tuple(map(stem, task.after)), asset, rules

    def lines(self) -> Iterator[str]:
        """One line per task or group of tasks; more if it is too long."""
        branch, end, line = self.branches
        # An explicit stack can draw a chain of 10,000 tasks.
        roots = self._grouped(self.roots, among=1)
        stack = [(names, "", i == 0) for i, names in enumerate(reversed(roots))]
        while stack:
            names, prefix, last = stack.pop()
            chain = self._chain(names[0]) if len(names) == 1 else names
            ends = chain[-1:] if len(names) == 1 else names
            children = [child for name in ends for child in self.children[name]]
            below = self._grouped(children, among=len(ends))
            inner = prefix + ("    " if last else line)
            rest = inner + (line if below else "    ")
            first = prefix + (end if last else branch)
            drawn = self._drawn(names, chain, max(self.width - len(first), 30))
            for i, text in enumerate(drawn):
                yield (rest if i else first) + text
            inner = inner if len(prefix) < _DEEPEST else prefix
            stack.extend((each, inner, i == 0) for i, each in enumerate(reversed(below)))

    def _grouped(self, names: Sequence[str], *, among: int) -> list[list[str]]:
        """*names*, below *among* tasks drawn as one, grouped by shape if they repeat."""
        by_shape: dict[int, list[str]] = {}
        for name in names:
            by_shape.setdefault(self.shapes[name], []).append(name)
        groups: list[list[str]] = []
        for alike in by_shape.values():
            if among > 1 or len(alike) >= _REPEATS:
                groups.append(sorted(alike, key=self.index.__getitem__))
            else:
                groups += [[name] for name in alike]
        return sorted(groups, key=lambda group: self.index[group[0]])

    def _chain(self, name: str) -> list[str]:
        """*name* and the consecutive tasks in a chain below it."""
        chain = [name]
        while len(self.children[chain[-1]]) == 1:
            [child] = self.children[chain[-1]]
            task = self.graph.tasks[child]
            plain = len(self.graph.upstreams[child]) == 1 and not task.after and not task.produces
            plain = plain and not rules_of(task)
            if not plain or follows(chain[-1], child) is None or inputs_text(task):
                break
            chain.append(child)
        return chain if len(chain) >= _CHAIN else [name]

    def _drawn(self, names: list[str], chain: list[str], width: int) -> Iterator[str]:
        """The text of one task, or of several drawn as one, in lines of at most *width*."""
        if len(names) > 1:
            text = f"{_few(grouped(names))}  ({len(names):,} tasks)"
        else:
            text = call_text(self.graph.tasks[names[0]])
            if len(chain) > 1:
                second, last = in_one_line(chain[1]), in_one_line(chain[-1])
                text += f" -> {second} ... {last}  ({len(chain):,} tasks)"
        tasks = [self.graph.tasks[name] for name in names]
        rules = rules_of(tasks[0])  # tasks of one shape have the same
        text += f" [{'; '.join(rules)}]" if rules else ""
        others = [name for task in tasks for name in self._others(task.name)]
        after = [name for task in tasks for name in self._after(task.name)]
        assets = [task.produces.id for task in tasks if task.produces]
        yielded = [text]
        for mark, marked, close in ((" <- ", others, ""), (" (after ", after, ")")):
            if marked:
                pieces = grouped(sorted(dict.fromkeys(marked), key=self.index.__getitem__))
                lines = wrapped(pieces, width - 4)
                if len(lines) > 1 or len(yielded[-1]) + len(mark + lines[0]) > width:
                    yielded += [f"{mark.lstrip()}{lines[0]}", *(f"   {each}" for each in lines[1:])]
                else:
                    yielded[-1] += mark + lines[0]
                yielded[-1] += close
        if assets:
            yielded[-1] += f" => {_few(grouped(dict.fromkeys(assets)))}"
        return iter(yielded)

    def _others(self, name: str) -> Iterable[str]:
        """The upstreams of *name* other than the task above it in the tree."""
        data = self.graph.tasks[name].upstream
        return (other for other in self.graph.upstreams[name][1:] if other in data)

    def _after(self, name: str) -> Iterable[str]:
        data = self.graph.tasks[name].upstream
        return (other for other in self.graph.upstreams[name] if other not in data)


def _few(pieces: list[str]) -> str:
    if len(pieces) <= _MOST_NAMES:
        return ", ".join(pieces)
    return f"{', '.join(pieces[:3])} ... {pieces[-1].rpartition(' ... ')[2]}"
