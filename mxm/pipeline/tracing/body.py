"""Reads a flow's body: its tasks, what it returns, and the FlowSpec of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any, cast

from mxm.pipeline.bindings import Binding, Collection, Const, Param, Unpacked, Upstream
from mxm.pipeline.errors import repr_of
from mxm.pipeline.introspection.decorated import FlowBase, TaskBase
from mxm.pipeline.introspection.signatures import signature_of
from mxm.pipeline.problems import Problem, Source
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.task_options import Wrong
from mxm.pipeline.tracing.assembly import assemble, current
from mxm.pipeline.tracing.placeholders import (
    CONTAINERS,
    Ready,
    StandIn,
    hidden_in,
    parts_of,
    to_binding,
)
from mxm.pipeline.tracing.recorder import Trace
from mxm.pipeline.values.iterators import read_once

__all__ = ["Body"]

_RETURNED = "return tasks, their results, constants, or lists, tuples and dicts of these"
_LISTING = "list what @mxm.task made: tasks=[load, report]"


class Body:
    """One reading of a flow: the body runs once on stand-ins, unless its tasks are listed.

    Parameters
    ----------
    fn
        The function.
    name, source
        The flow's name, and where it is declared.
    tasks
        Those that are listed; the body is then not run.
    params, cache
        As the decorator has them.
    wrong
        Options of the flow with values that they do not take.
    schedule
        Its ``schedule_cron`` and ``timezone``.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str,
        source: Source | None,
        tasks: list[Any] | None,
        params: Mapping[str, Any],
        schedule: tuple[str | None, str | None],
        cache: bool | None,
        wrong: Sequence[Wrong] = (),
    ) -> None:
        self._fn = fn
        self._name = name
        self._source = source
        self._listed = tasks
        self._params = params
        self._schedule = schedule
        self._cache = cache
        self._wrong = [option.problem("flow", name, source) for option in wrong]
        self._spec: FlowSpec | None = None
        self._trace = Trace(name)
        if tasks is None:
            self._trace.run(fn)
        called = [node.task for node in self._trace.nodes]
        self._called = [current(task) for task in called if isinstance(task, TaskBase)]
        self._uncalled: list[TaskBase] = []

    @property
    def declared(self) -> bool:
        """Whether the body only names tasks, so that it cannot be called."""
        return not self._trace.nodes and not self._trace.problems

    def outdated(self, flow: object) -> bool:
        """Whether a task or flow that *flow* was made from has been redefined."""
        if any(current(task) is not task for task in (*self._called, *self._uncalled)):
            return True
        called = [(current(other), spec) for other, spec in self._trace.flows]
        return any(other is flow or other.spec is not spec for other, spec in called)

    def spec(self) -> FlowSpec:
        """The flow as data; rebuilt as long as the name of an upstream is unknown."""
        if self._spec is not None:
            return self._spec
        spec, pending = self._assemble()
        if not pending:
            self._spec = spec
        return spec

    def _assemble(self) -> tuple[FlowSpec, bool]:
        trace, listed = self._trace, self._listed
        problems = list(trace.problems)
        targets: list[TaskBase] = []
        if listed is not None:
            targets = self._listed_tasks(listed, problems)
        elif not trace.problems:
            targets = self._returned_tasks(trace.returned, problems)
        built = assemble(trace.nodes, targets)
        self._uncalled = built.uncalled
        output: Binding | None = None
        if listed is None and not problems and (trace.nodes or targets):
            output = _output(trace.returned, built.names)
        signature = signature_of(self._fn)
        parameters = signature.parameters.values() if signature else ()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        spec = FlowSpec(
            self._name,
            built.tasks,
            {**defaults, **self._params},
            self._schedule[0],
            timezone=self._schedule[1],
            cache=self._cache,
            fn=self._fn,
            output=output,
            traced=bool(trace.nodes),
            unpacked=dict.fromkeys(
                Unpacked(taken, count)
                for stand_in, count in trace.unpacked
                if isinstance(taken := to_binding(stand_in), Upstream | Param)
            ),
            source=self._source,
            problems=[*problems, *self._wrong],
        )
        return spec, built.pending

    def _listed_tasks(self, listed: list[Any], problems: list[Problem]) -> list[TaskBase]:
        """The tasks in *listed*; anything else in it becomes a problem."""
        tasks: list[TaskBase] = []
        stack: list[Any] = [listed]
        while stack:
            item = stack.pop()
            if isinstance(item, TaskBase):
                tasks.append(item)
            elif type(item) in (list, tuple):
                stack.extend(reversed(cast("Sequence[Any]", item)))
            elif item is not None:
                problems.append(self._not_a_task(item, "tasks=[...]", _LISTING))
        return tasks

    def _returned_tasks(self, returned: Any, problems: list[Problem]) -> list[TaskBase]:
        """The tasks in the value that the body *returned*; what may not be there is a problem."""
        tasks: list[TaskBase] = []
        constants: list[Any] = []
        stand_ins = 0
        refused = len(problems)
        stack: list[Any] = [returned]
        seen: set[int] = set()  # a list may contain itself
        while stack:
            item = stack.pop()
            if isinstance(item, TaskBase):
                tasks.append(item)
            elif isinstance(item, StandIn):
                stand_ins += 1
            elif type(item) in CONTAINERS:
                if id(item) not in seen:
                    seen.add(id(item))
                    stack.extend(reversed(_members(item)))
            elif item is not None:
                constants.append(item)
        for item in constants:
            if not self._is_constant(item, problems):
                problems.append(self._not_a_task(item, "the return value", _RETURNED))
        if constants and not tasks and not stand_ins and len(problems) == refused:
            problems.append(self._not_a_task(constants[0], "the return value", _RETURNED))
        return tasks

    def _is_constant(self, item: Any, problems: list[Problem]) -> bool:
        """Whether *item* may be returned beside tasks; if not, keep a problem."""
        once = read_once(item)
        hidden = hidden_in(item) or hidden_in(item, TaskBase)
        if once is not None:
            message = f"the return value of flow {self._name!r} contains {once}"
            problems.append(
                Problem("MXM306", message, once.hint, source=self._source, flow=self._name)
            )
            return True
        return not (hidden or callable(item) or isinstance(item, FlowBase | Ready))

    def _not_a_task(self, item: Any, where: str, hint: str) -> Problem:
        if isinstance(item, FlowBase):
            what = f"flow {item.name!r}"
            hint = f"call it in the body: {item.fn.__name__}(...)"
        elif isinstance(item, FunctionType):
            what = f"{item.__name__!r}, a plain function"
            hint = f"put @mxm.task above {item.__name__!r}"
        elif isinstance(item, Ready):
            what, hint = "the result of an async flow", "await the call"
        else:
            what = f"{repr_of(item):.120}"
        message = f"{where} of flow {self._name!r} contains {what}, which is not a task"
        return Problem("MXM106", message, hint, source=self._source, flow=self._name)


def _output(returned: Any, names: Mapping[TaskBase, str]) -> Binding:
    """The value that a body returned, as a binding."""
    if isinstance(returned, TaskBase):
        return Upstream(names[returned])
    if isinstance(returned, StandIn):
        return to_binding(returned)
    kind = cast("Any", type(returned))
    if kind not in CONTAINERS or not _holds_results(returned):
        return Const(returned)
    keys = tuple(returned) if kind is dict else ()
    return Collection(kind, tuple(_output(member, names) for member in _members(returned)), keys)


def _members(container: Any) -> list[Any]:
    if type(container) is dict:
        return list(cast("Mapping[Any, Any]", container).values())
    return list(container)


def _holds_results(returned: Any) -> bool:
    return any(isinstance(part, StandIn | TaskBase) for part in parts_of(returned))
