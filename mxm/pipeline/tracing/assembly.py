"""Turns decorated tasks and recorded calls into the tasks of one FlowSpec, in order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from mxm.pipeline.bindings import Binding, Bindings, Const, Each, Param, PerItem, Upstream
from mxm.pipeline.introspection.decorated import TaskBase, scope_of, tasks_in
from mxm.pipeline.introspection.signatures import shape_of, unwrapped
from mxm.pipeline.problems import Source
from mxm.pipeline.spec import TaskSpec
from mxm.pipeline.task_options import CHECKED, as_sequence
from mxm.pipeline.tracing.marks import ItemMark
from mxm.pipeline.tracing.placeholders import parts_of, stand_ins_in, to_binding
from mxm.pipeline.tracing.recorder import Node

__all__ = ["CARRIED", "Assembled", "assemble", "current", "spec_alone"]

T = TypeVar("T")

CARRIED: tuple[str, ...] = ("params", *CHECKED, "produces", "reads")
"""The options of a task that its spec takes unchanged."""


_REFERENCES = (TaskBase, str)


@dataclass
class Assembled:
    """The tasks of a flow.

    Parameters
    ----------
    tasks
        With their upstreams before them.
    names
        By decorated task, the name of its first step.
    uncalled
        Those that no call recorded, as their names mean them now.
    pending
        Whether a name among their upstreams is unknown yet.
    """

    tasks: list[TaskSpec]
    names: Mapping[TaskBase, str]
    uncalled: list[TaskBase]
    pending: bool


class _Member:
    """One task of the flow being assembled.

    Attributes
    ----------
    task, name, node
        The task, its name in the flow, and the call that it was recorded by, if any.
    args, kwargs, after
        What its decorator names, in upstream= and after=: for the inputs that no call fills, by
        place and by name, and for order only.
    each
        The lists that it is mapped over, as a `TaskSpec` takes them.
    resolved
        By reference, in order, the member that it means; None if there is none.
    """

    def __init__(self, task: TaskBase | TaskSpec, name: str, node: Node | None = None) -> None:
        self.task = task
        self.name = name
        self.node = node
        self.args: list[Any] = []
        self.kwargs: dict[str, Any] = {}
        self.each: Any = ()
        self.after: Sequence[Any] = ()
        self.resolved: dict[TaskBase | str, _Member | None] = {}
        if isinstance(task, TaskBase):
            self.args, self.kwargs = _declared(task, node)
            self.each = _declared_each(task, node)
            self.after = as_sequence(task.after)

    def references(self) -> list[Any]:
        """The upstreams that its decorator names."""
        return [*self.args, *self.kwargs.values(), *self.mapped_over(), *self.after]

    def mapped_over(self) -> list[Any]:
        """The lists that its ``each=`` names."""
        each = self.each
        if isinstance(each, Mapping):
            return list(cast("Mapping[str, Any]", each).values())
        return [] if each == () else [each]

    def meant(self, reference: Any) -> Any:
        """The name of the member that *reference* means; unchanged if it means none."""
        known = isinstance(reference, _REFERENCES) and self.resolved.get(reference)
        return known.name if known else reference


def _declared_each(task: TaskBase, node: Node | None) -> Any:
    """The ``each=`` of *task*, without the parameters that its call fills."""
    each = task.options.get("each", ())
    if each == () or node is None:
        return each
    shape = shape_of(task.fn)
    names: tuple[str, ...] = shape.positional if shape else ()
    filled = {*names[: len(node.args)], *node.kwargs}
    if isinstance(each, Mapping):
        lists = cast("Mapping[str, Any]", each)
        return {k: reference for k, reference in lists.items() if k not in filled} or ()
    return () if node.args or filled.intersection(names[:1]) else each


def _declared(task: TaskBase, node: Node | None) -> tuple[list[Any], dict[str, Any]]:
    upstream = task.upstream
    args = node.args if node else ()
    kwargs: Mapping[str, Any] = node.kwargs if node else {}
    if not args and not kwargs and not isinstance(upstream, Mapping):
        return list(as_sequence(upstream)), {}
    shape = shape_of(task.fn)
    names = shape.positional if shape else ()
    if isinstance(upstream, Mapping):
        filled = {*names[: len(args)], *kwargs}
        declared = cast("Mapping[str, Any]", upstream)
        return [], {k: ref for k, ref in declared.items() if k not in filled}
    positional: list[Any] = []
    named: dict[str, Any] = {}
    each = task.options.get("each", ())
    first = 1 if each != () and not isinstance(each, Mapping) else 0  # which the list fills
    for i, reference in enumerate(as_sequence(upstream), first):
        if i < len(args):
            continue
        if i < len(names) and names[i] in kwargs:
            continue
        if i == len(args) + len(positional) or i >= len(names):
            positional.append(reference)
        else:  # behind an input that the call gives by name
            named[names[i]] = reference
    return positional, named


def assemble(nodes: Iterable[Node], targets: Iterable[TaskBase]) -> Assembled:
    """The tasks called in a body, those returned or listed, and everything upstream of them.

    An upstream given by name is first looked for in the flow, then among the tasks of the module
    of the task that names it. One that is found nowhere stays a name, for the graph to report.

    Parameters
    ----------
    nodes
        Calls, in the order of the body.
    targets
        Tasks, in the order given.
    """
    flow = _Assembly()
    for node in nodes:
        flow.add_node(node)
    for task in targets:
        flow.member(task)
    flow.close()
    tasks = [flow.spec(member) for member in flow.ordered()]
    names = {k: m.name for k, m in flow.by_task.items()}
    uncalled = [m.task for m in flow.members if isinstance(m.task, TaskBase) and m.node is None]
    return Assembled(tasks, names, uncalled, flow.pending)


def current(thing: T) -> T:
    """The current object with the name of *thing*, a task or a flow.

    In a notebook or at a prompt it may be defined again: who refers to it then means the new one.
    """
    own = cast("Any", thing)
    origin = getattr(own, "origin", None)
    if origin is not None:
        now = current(origin)
        return thing if now is origin else now.with_options(**own.changed)
    fn = unwrapped(own.fn)
    present: Any = getattr(fn, "__globals__", {}).get(fn.__qualname__)
    if present is own or type(present) is not type(own) or present.name != own.name:
        return thing
    old, new = fn.__code__, unwrapped(present.fn).__code__
    # Two of one name in one cell, or made in a loop, are two; so are those of a file.
    in_one_text = old.co_filename == new.co_filename and old.co_firstlineno != new.co_firstlineno
    if old is new or in_one_text or os.path.exists(new.co_filename):
        return thing
    again: T = present
    return again


def _spec_of(
    task: TaskBase, name: str, after: tuple[Any, ...], source: Source | None = None, **bound: Any
) -> TaskSpec:
    """*task* placed in a flow as *name*, with the edges given: ``upstream`` or ``bindings``."""
    options = {k: v for k, v in task.options.items() if k in CARRIED}
    source = source or task.source
    if task.wrong:
        wrong = [option.problem("task", task.name, source) for option in task.wrong]
        bound["problems"] = (*bound.get("problems", ()), *wrong)
    return TaskSpec(name, task.fn, after=after, **options, **bound, source=source)


class _Assembly:
    def __init__(self) -> None:
        self.members: list[_Member] = []
        self.by_task: dict[TaskBase, _Member] = {}
        self.by_node: dict[Node, _Member] = {}
        self._modules: dict[int, dict[str, TaskBase]] = {}  # their tasks by name, each read once
        self.pending = False
        # Made on demand, once all members are known.
        self._by_use: dict[Any, list[_Member]] | None = None
        self._takers: dict[_Member, list[_Member]] | None = None
        self._called: set[TaskBase] | None = None

    def add_node(self, node: Node) -> None:
        member = _Member(node.task, node.final, node)
        self.members.append(member)
        self.by_node[node] = member
        if isinstance(node.task, TaskBase):
            self.by_task.setdefault(node.task, member)

    def member(self, task: TaskBase) -> _Member:
        member = self.by_task.get(task)
        if member is None:
            now = current(task)
            member = self.by_task.get(now)
            if member is None:
                member = self.by_task[now] = _Member(now, now.name)
                self.members.append(member)
            self.by_task[task] = member
        return member

    def close(self) -> None:
        """Follow every reference, until none leads to a task that is not a member yet."""
        unread = 0
        names: list[tuple[_Member, str]] = []
        asked = 0
        known: dict[str, _Member] = {}
        while True:
            while unread < len(self.members):
                member = self.members[unread]
                unread += 1
                known[member.name] = member
                for reference in member.references():
                    if isinstance(reference, TaskBase):
                        if reference in member.after and self._is_used(reference):
                            continue  # its uses are known once all members are
                        member.resolved[reference] = self.member(reference)
                    elif isinstance(reference, str):
                        member.resolved[reference] = None
                        names.append((member, reference))
            # Names in the flow take precedence, so modules are searched last.
            new = [self._in_module(m, n) for m, n in names[asked:] if n not in known]
            asked = len(names)
            for task in new:
                if task is not None:
                    self.member(task)
            if unread == len(self.members):
                break
        for member, name in names:
            member.resolved[name] = known.get(name)
            self.pending = self.pending or name not in known

    def _names_after(self, member: _Member, reference: Any) -> list[Any]:
        """The names of the steps that *reference*, in the ``after=`` of *member*, means."""
        return [use.name for use in self._uses(member, reference)] or [member.meant(reference)]

    def _uses(self, member: _Member, reference: Any) -> list[_Member]:
        """Every use in the body of a task that *member* names in ``after=``.

        But for those that need the result of *member*: what is left would be a cycle.
        """
        if not isinstance(reference, _REFERENCES):
            return []
        taken = {u for u in self._upstreams(member, passing=True) if u.node is not None}
        uses = [u for u in self._made_from(reference) if u is not member and u not in taken]
        uses = uses or [u for u in self._made_from(reference) if u in taken]
        if len(uses) > 1:
            needing = self._needing(member)
            uses = [use for use in uses if use not in needing] or uses[:1]
        return uses

    def _made_from(self, reference: TaskBase | str) -> list[_Member]:
        if self._by_use is None:
            self._by_use = {}
            for member in self.members:
                task: Any = member.task
                if member.node is not None and isinstance(task, TaskSpec):
                    continue  # of another flow, which this body calls
                keys: dict[Any, None] = {member.name: None}
                while task is not None:
                    keys |= {task: None, task.name: None}
                    task = task.origin
                for key in keys:
                    self._by_use.setdefault(key, []).append(member)
        members = self._by_use.get(reference, [])
        if not members and isinstance(reference, TaskBase):
            members = self._by_use.get(current(reference), [])
        return members

    def _is_used(self, task: TaskBase) -> bool:
        """Whether the body calls *task*, with any options."""
        if self._called is None:
            self._called = set()
            for node in self.by_node:
                called: Any = node.task if isinstance(node.task, TaskBase) else None
                while called is not None:
                    self._called.add(called)
                    called = called.origin
        return task in self._called

    def _needing(self, member: _Member) -> set[_Member]:
        """The members downstream of *member*, by what they take."""
        if self._takers is None:
            self._takers = {}
            for taker in self.members:
                for upstream in self._upstreams(taker, passing=True):
                    self._takers.setdefault(upstream, []).append(taker)
        takers: set[_Member] = set()
        stack = [member]
        while stack:
            for taker in self._takers.get(stack.pop(), ()):
                if taker not in takers:
                    takers.add(taker)
                    stack.append(taker)
        return takers

    def _in_module(self, member: _Member, name: str) -> TaskBase | None:
        """The task called *name* among those of the module that defines *member*'s function."""
        scope = scope_of(member.task.fn)
        tasks = self._modules.get(id(scope))
        if tasks is None:
            beside = tasks_in(scope)
            tasks = {task.name: task for task in reversed(beside.values())}
            # If two have the same name, the variable's name decides, then the order.
            tasks |= {name: task for name, task in beside.items() if task.name == name}
            self._modules[id(scope)] = tasks
        return tasks.get(name)

    def ordered(self) -> list[_Member]:
        """Members after their upstreams, otherwise in the order of discovery."""
        done: dict[_Member, None] = {}
        entered: set[_Member] = set()
        for root in self.members:
            stack = [root]
            while stack:
                member = stack[-1]
                if member not in entered:
                    entered.add(member)
                    upstreams = reversed(self._upstreams(member))
                    stack.extend(m for m in upstreams if m not in entered)
                else:
                    done.setdefault(stack.pop())
        return list(done)

    def _upstreams(self, member: _Member, *, passing: bool = False) -> list[_Member]:
        """The members upstream of *member*; if *passing*, only those that give it a value."""
        passed = [*member.args, *member.kwargs.values(), *member.mapped_over()]
        references = passed if passing else member.references()
        known = [member.resolved.get(r) for r in references if isinstance(r, _REFERENCES)]
        members = [upstream for upstream in dict.fromkeys(known) if upstream is not None]
        if not passing:
            members += [use for r in member.after for use in self._uses(member, r)]
        if member.node is not None:
            values = [*member.node.args, *member.node.kwargs.values(), member.node.over]
            origins = [s._origin for value in values for s in stand_ins_in(value)]  # pyright: ignore[reportPrivateUsage]
            nodes = [*(o for o in origins if isinstance(o, Node)), *member.node.after]
            members += [self.by_node[node] for node in nodes if node in self.by_node]
        return members

    def spec(self, member: _Member) -> TaskSpec:
        """The TaskSpec of *member*, its references as names."""
        task, node = member.task, member.node
        called = _called(node) if node else None
        after: tuple[Any, ...] = tuple(n.final for n in node.after) if node else ()
        if isinstance(task, TaskSpec):  # of a flow that the body calls
            options: dict[str, Any] = {
                k: getattr(task, k) for k in (*CARRIED, "outcomes", "flow_cache")
            }
            if node is not None and node.over is not None:
                options["over"] = to_binding(node.over)
                options["by_item"] = [other.final for other in node.by_item]
                options["item_key"] = node.item_key
            return TaskSpec(
                member.name,
                task.fn,
                bindings=called,
                after=after,
                **options,
                source=task.source,
            )
        after += tuple(name for r in member.after for name in self._names_after(member, r))
        args = [member.meant(r) for r in member.args]
        kwargs = {k: member.meant(r) for k, r in member.kwargs.items()}
        source = node.source if node else None
        each: Any = member.each
        if isinstance(each, Mapping):
            each = {k: member.meant(r) for k, r in cast("Mapping[str, Any]", each).items()}
        elif each != ():
            each = member.meant(each)
        if called is None or not (called.args or called.kwargs):
            return _spec_of(task, member.name, after, source, upstream=kwargs or args, each=each)
        # The decorator's own spec reports a reference that is not a task, at its line.
        alone = spec_alone(task).problems if task.upstream or task.after or each else ()
        problems = [problem for problem in alone if problem.code != "MXM119"]  # reported below
        lists: dict[str, Any] = cast("dict[str, Any]", each) if isinstance(each, dict) else {}
        first = [Each(Upstream(each))] if isinstance(each, str) else []
        bindings = Bindings(
            (*called.args, *first, *(Upstream(r) for r in args if isinstance(r, str))),
            {k: Upstream(r) for k, r in kwargs.items() if isinstance(r, str)}
            | {k: Each(Upstream(r)) for k, r in lists.items() if isinstance(r, str)}
            | dict(called.kwargs),
        )
        named = tuple(name for name in after if isinstance(name, str))
        outcomes = node is not None and node.outcomes
        return _spec_of(
            task,
            member.name,
            named,
            source,
            bindings=bindings,
            problems=problems,
            outcomes=outcomes,
        )


def spec_alone(task: TaskBase) -> TaskSpec:
    """*task* as data, upstreams by the names of the tasks."""
    upstream: Any = task.upstream
    named: Any
    if isinstance(upstream, Mapping):
        named = {k: _name(v) for k, v in cast("Mapping[str, Any]", upstream).items()}
    else:
        named = [_name(reference) for reference in as_sequence(upstream)]
    after = tuple(_name(reference) for reference in as_sequence(task.after))
    each: Any = task.options.get("each", ())
    if isinstance(each, Mapping):
        each = {k: _name(v) for k, v in cast("Mapping[str, Any]", each).items()}
    return _spec_of(task, task.name, after, upstream=named, each=_name(each))


def _name(reference: Any) -> Any:
    return reference.name if isinstance(reference, TaskBase) else reference


def _called(node: Node) -> Bindings:
    return Bindings(
        tuple(_input(node, value) for value in node.args),
        {k: _input(node, value) for k, value in node.kwargs.items()},
    )


def _input(node: Node, value: Any) -> Binding:
    """The binding of the argument *value*; per item if the flow is mapped."""
    binding = to_binding(value)
    if node.over is None or isinstance(binding, Const | Param | PerItem):
        return binding
    origins = {s._origin for s in stand_ins_in(value) if isinstance(s._origin, Node)}  # pyright: ignore[reportPrivateUsage]
    has_items = any(isinstance(part, ItemMark) for part in parts_of(value, into_marks=False))
    return PerItem(binding) if has_items or not origins.isdisjoint(node.by_item) else binding
