"""The graph of a FlowSpec: order, neighbours, cycles."""

from __future__ import annotations

import heapq

from mxm.pipeline.spec import FlowSpec, TaskSpec

__all__ = ["FlowGraph"]


class FlowGraph:
    """Tasks as nodes, upstreams as edges; ignores unknown names and later duplicates.

    Parameters
    ----------
    spec
        The flow; it may have any problems.

    Attributes
    ----------
    tasks
        The tasks by name, in order of declaration.
    upstreams, downstreams
        Names of the direct neighbours, order-only edges included.
    """

    def __init__(self, spec: FlowSpec) -> None:
        self.tasks: dict[str, TaskSpec] = {}
        for task in spec.tasks:
            self.tasks.setdefault(task.name, task)
        self.upstreams: dict[str, tuple[str, ...]] = {
            name: tuple(
                other
                for other in dict.fromkeys((*task.upstream, *task.after))
                if other in self.tasks
            )
            for name, task in self.tasks.items()
        }
        self.downstreams: dict[str, list[str]] = {name: [] for name in self.tasks}
        for name, others in self.upstreams.items():
            for other in others:
                self.downstreams[other].append(name)

    def order(self) -> list[str]:
        """Names in topological, then declaration order, without tasks on or after a cycle."""
        index = {name: i for i, name in enumerate(self.tasks)}
        names = list(self.tasks)
        missing = {name: len(others) for name, others in self.upstreams.items()}
        ready = [index[name] for name, count in missing.items() if count == 0]
        heapq.heapify(ready)
        ordered: list[str] = []
        while ready:
            name = names[heapq.heappop(ready)]
            ordered.append(name)
            for other in self.downstreams[name]:
                missing[other] -= 1
                if missing[other] == 0:
                    heapq.heappush(ready, index[other])
        return ordered

    def cycle(self) -> tuple[str, ...] | None:
        """One cycle as a path from a task back to itself, in the direction of the data, or None."""
        ordered = set(self.order())
        rest = [name for name in self.tasks if name not in ordered]
        if not rest:
            return None
        # Every remaining task has a remaining upstream, so walking up must come back.
        seen: dict[str, int] = {}
        path: list[str] = []
        name = rest[0]
        while name not in seen:
            seen[name] = len(path)
            path.append(name)
            name = next(other for other in self.upstreams[name] if other not in ordered)
        loop = path[seen[name] :][::-1]
        index = {name: i for i, name in enumerate(self.tasks)}
        start = loop.index(min(loop, key=index.__getitem__))
        loop = loop[start:] + loop[:start]
        return (*loop, loop[0])
