"""Decorated tasks and recorded calls to the tasks of one FlowSpec: who belongs, in which order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, cast

from mxm.pipeline.bindings import Bindings, Upstream
from mxm.pipeline.functions import shape_of, unwrapped
from mxm.pipeline.spec import TaskBase, TaskSpec, as_sequence
from mxm.pipeline.tracing import Node, stand_ins_in, to_binding

__all__ = ["Assembled", "assemble", "current"]

T = TypeVar("T")


@dataclass
class Assembled:
    """The tasks of a flow; *pending* is True while a name among their upstreams is unknown."""

    tasks: list[TaskSpec]
    names: Mapping[int, str]
    decorated: list[TaskBase]
    pending: bool


@dataclass(eq=False)
class _Member:
    """One task of the flow in the making."""

    task: TaskBase | TaskSpec
    name: str
    node: Node | None = None
    resolved: dict[int, _Member] = field(default_factory=dict[int, "_Member"])

    @cached_property
    def declared(self) -> tuple[list[Any], dict[str, Any]]:
        """What upstream= fills of the inputs that no call does: by position, and by name."""
        if not isinstance(self.task, TaskBase):
            return [], {}
        upstream = self.task.upstream
        args = self.node.args if self.node else ()
        kwargs: Mapping[str, Any] = self.node.kwargs if self.node else {}
        if not args and not kwargs and not isinstance(upstream, Mapping):
            return list(as_sequence(upstream)), {}
        shape = shape_of(self.task.fn)
        names = shape.positional if shape else ()
        if isinstance(upstream, Mapping):
            given = {*names[: len(args)], *kwargs}
            declared = cast("Mapping[str, Any]", upstream)
            return [], {k: ref for k, ref in declared.items() if k not in given}
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for i, reference in enumerate(as_sequence(upstream)[len(args) :], len(args)):
            if i < len(names) and names[i] in kwargs:
                continue
            if i == len(args) + len(positional) or i >= len(names):
                positional.append(reference)
            else:  # behind an input that the call gives by name
                named[names[i]] = reference
        return positional, named

    @cached_property
    def references(self) -> list[Any]:
        """What its decorator names, in upstream= and after=, as far as it holds for this use."""
        if not isinstance(self.task, TaskBase):
            return []
        positional, named = self.declared
        return [*positional, *named.values(), *as_sequence(self.task.after)]


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
    names = {k: m.name for k, m in flow.by_task.items()}
    decorated = [m.task for m in flow.members if isinstance(m.task, TaskBase)]
    return Assembled(tasks, names, decorated, flow.pending)


def current(thing: T) -> T:
    """What the name of *thing*, a task or a flow, means now.

    In a notebook or at a prompt it may be defined again: who refers to it then means the new one.
    """
    given = cast("Any", thing)
    origin = getattr(given, "origin", None)
    if origin is not None:
        now = current(origin)
        return thing if now is origin else now.named(given.name)
    fn = unwrapped(given.fn)
    found: Any = getattr(fn, "__globals__", {}).get(fn.__qualname__)
    if found is given or type(found) is not type(given) or found.name != given.name:
        return thing
    old, new = fn.__code__, unwrapped(found.fn).__code__
    # Two of one name in one cell, or made in a loop, are two; so are those of a file.
    in_one_text = old.co_filename == new.co_filename and old.co_firstlineno != new.co_firstlineno
    if old is new or in_one_text or os.path.exists(new.co_filename):
        return thing
    again: T = found
    return again


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
            now = current(task)
            found = self.by_task.get(id(now)) or _Member(now, now.name)
            if id(now) not in self.by_task:
                self.members.append(found)
            self.by_task[id(task)] = self.by_task[id(now)] = found
        return found

    def close(self) -> None:
        """Follow every reference, until none leads to a task that is not a member yet."""
        unread = 0
        names: list[tuple[_Member, str]] = []
        while True:
            while unread < len(self.members):
                member = self.members[unread]
                unread += 1
                for reference in member.references:
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
        found = [member.resolved[id(r)] for r in member.references if id(r) in member.resolved]
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
        declared = member.declared
        positional = [name(r) for r in declared[0]]
        named = {k: name(r) for k, r in declared[1].items()}
        if node is None or not (node.args or node.kwargs):
            return make_spec(task, member.name, named or positional, after)
        called = _called(node)
        # What is no task is a problem of the decorator's line, which make_spec tells.
        args = [Upstream(r) for r in positional if isinstance(r, str)]
        kwargs = {k: Upstream(r) for k, r in named.items() if isinstance(r, str)}
        bindings = Bindings((*called.args, *args), {**kwargs, **called.kwargs})
        return make_spec(task, member.name, bindings, after)


def _in_module(member: _Member, name: str) -> TaskBase | None:
    """The task called *name* among those of the module that *member*'s function stands in."""
    scope: Mapping[str, Any] = getattr(unwrapped(member.task.fn), "__globals__", {})
    found = scope.get(name)
    if isinstance(found, TaskBase) and found.name == name:
        return found
    return next((v for v in scope.values() if isinstance(v, TaskBase) and v.name == name), None)


def _called(node: Node) -> Bindings:
    return Bindings(
        tuple(map(to_binding, node.args)), {k: to_binding(v) for k, v in node.kwargs.items()}
    )
