"""Decorated tasks and recorded calls to the tasks of one FlowSpec: who belongs, in which order."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mxm.pipeline.spec import Bindings, TaskSpec, Upstream, as_sequence
from mxm.pipeline.tracing import Node, TaskBase, stand_ins_in, to_binding

__all__ = ["Assembled", "assemble"]

MakeSpec = Callable[[TaskBase | TaskSpec, str, Bindings, tuple[Any, ...]], TaskSpec]


@dataclass
class Assembled:
    """The tasks of a flow; *pending* is True while a name among their upstreams is unknown."""

    tasks: list[TaskSpec]
    names: Mapping[int, str]
    pending: bool


@dataclass(eq=False)
class _Member:
    """One task of the flow in the making."""

    task: TaskBase | TaskSpec
    name: str
    node: Node | None = None
    fed_by: list[_Member] = field(default_factory=list["_Member"])
    resolved: dict[int, _Member] = field(default_factory=dict[int, "_Member"])

    def references(self) -> list[Any]:
        """What its decorator names, in upstream= and after=."""
        if not isinstance(self.task, TaskBase):
            return []
        upstream = self.task.upstream
        named = upstream.values() if isinstance(upstream, Mapping) else as_sequence(upstream)
        return [*named, *as_sequence(self.task.after)]


def assemble(
    nodes: Iterable[Node],
    targets: Iterable[TaskBase],
    make_spec: Callable[..., TaskSpec],
) -> Assembled:
    """The tasks called in a body, those returned or listed, and everything upstream of them.

    An upstream given by name is first looked for in the flow, then among the tasks of the module
    of the task that names it. One that is found nowhere stays a name, for the graph to report.

    Parameters
    ----------
    nodes
        Calls, in the order of the body.
    targets
        Tasks, in the order given.
    make_spec
        ``(task, name, bindings, after) -> TaskSpec``.
    """
    flow = _Assembly()
    for node in nodes:
        flow.add_node(node)
    for task in targets:
        flow.member(task)
    flow.close()
    tasks = [flow.spec(member, make_spec) for member in flow.ordered()]
    return Assembled(tasks, {k: m.name for k, m in flow.by_task.items()}, flow.pending)


class _Assembly:
    def __init__(self) -> None:
        self.members: list[_Member] = []
        self.by_task: dict[int, _Member] = {}
        self.by_node: dict[int, _Member] = {}
        self.pending = False

    def add_node(self, node: Node) -> None:
        member = _Member(node.task, node.final, node)
        self.members.append(member)
        self.by_node[id(node)] = member
        self.by_task.setdefault(id(node.task), member)

    def member(self, task: TaskBase) -> _Member:
        found = self.by_task.get(id(task))
        if found is None:
            found = self.by_task[id(task)] = _Member(task, task.name)
            self.members.append(found)
        return found

    def close(self) -> None:
        """Follow every reference, until none leads to a task that is not a member yet."""
        unread = 0
        names: list[tuple[_Member, str]] = []
        while True:
            while unread < len(self.members):
                member = self.members[unread]
                unread += 1
                for reference in member.references():
                    if isinstance(reference, TaskBase):
                        member.resolved[id(reference)] = self.member(reference)
                    elif isinstance(reference, str):
                        names.append((member, reference))
            # Names in the flow go before names in the module, so modules are asked last.
            known = {m.name: m for m in self.members}
            absent = [(m, n) for m, n in names if n not in known]
            found = [(m, n, _in_module(m, n)) for m, n in absent]
            new = [task for _, _, task in found if task is not None]
            if not new:
                self.pending = bool(absent)
                for member, name in names:
                    if name in known:
                        member.resolved[id(name)] = known[name]
                return
            for task in new:
                self.member(task)

    def ordered(self) -> list[_Member]:
        """Members with their upstreams before them, else in the order in which they were found."""
        done: set[int] = set()
        entered: set[int] = set()
        ordered: list[_Member] = []
        for root in self.members:
            stack = [root]
            while stack:
                member = stack[-1]
                key = id(member)
                if key not in entered:
                    entered.add(key)
                    stack.extend(
                        m for m in reversed(self._upstreams(member)) if id(m) not in entered
                    )
                else:
                    stack.pop()
                    if key not in done:
                        done.add(key)
                        ordered.append(member)
        return ordered

    def _upstreams(self, member: _Member) -> list[_Member]:
        found = [member.resolved[id(r)] for r in member.references() if id(r) in member.resolved]
        if member.node is not None:
            given = [*member.node.args, *member.node.kwargs.values()]
            origins = [s._origin for value in given for s in stand_ins_in(value)]  # pyright: ignore[reportPrivateUsage]
            nodes = [*(o for o in origins if isinstance(o, Node)), *member.node.after]
            found += [self.by_node[id(node)] for node in nodes if id(node) in self.by_node]
        return found

    def spec(self, member: _Member, make_spec: Callable[..., TaskSpec]) -> TaskSpec:
        """The TaskSpec of *member*, its references as names."""

        def name(reference: Any) -> Any:
            found = member.resolved.get(id(reference))
            return found.name if found else reference

        task, node = member.task, member.node
        after: tuple[Any, ...] = tuple(n.final for n in node.after) if node else ()
        if isinstance(task, TaskSpec):
            bindings = _called(node) if node else task.bindings
            return make_spec(task, member.name, bindings, after)
        after = (*after, *(name(r) for r in as_sequence(task.after)))
        upstream: Any
        if isinstance(task.upstream, Mapping):
            upstream = {k: name(v) for k, v in task.upstream.items()}
        else:
            upstream = [name(r) for r in as_sequence(task.upstream)]
        if node is None:
            return make_spec(task, member.name, upstream, after)
        return make_spec(task, member.name, _merged(task, upstream, _called(node)), after)


def _in_module(member: _Member, name: str) -> TaskBase | None:
    """The task called *name* among those of the module that *member*'s function stands in."""
    scope: Mapping[str, Any] = getattr(member.task.fn, "__globals__", {})
    found = scope.get(name)
    if isinstance(found, TaskBase) and found.name == name:
        return found
    return next((v for v in scope.values() if isinstance(v, TaskBase) and v.name == name), None)


def _called(node: Node) -> Bindings:
    return Bindings(
        tuple(map(to_binding, node.args)), {k: to_binding(v) for k, v in node.kwargs.items()}
    )


def _merged(task: TaskBase, upstream: Any, called: Bindings) -> Bindings | Any:
    """What a call passes goes before what the decorator's upstream= would fill."""
    if not upstream:
        return called
    if not called.args and not called.kwargs:
        return upstream
    names = list(inspect.signature(task.fn).parameters)
    declared = (
        dict(upstream)
        if isinstance(upstream, Mapping)
        else dict(zip(names, upstream, strict=False))
    )
    given = dict(zip(names, called.args, strict=False)) | dict(called.kwargs)
    filled = {k: Upstream(v) for k, v in declared.items() if k not in given and isinstance(v, str)}
    return Bindings(called.args, {**filled, **called.kwargs})
