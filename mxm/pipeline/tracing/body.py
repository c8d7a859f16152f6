"""What a flow's body is read as: its tasks, what it returns, and the FlowSpec of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any, cast

from mxm.pipeline.bindings import Binding, Collection, Const, Upstream
from mxm.pipeline.errors import repr_of
from mxm.pipeline.introspection.decorated import TaskBase
from mxm.pipeline.introspection.signatures import signature_of
from mxm.pipeline.problems import Problem, Source
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.tracing.assembly import assemble, current
from mxm.pipeline.tracing.placeholders import StandIn, to_binding
from mxm.pipeline.tracing.recorder import Trace

__all__ = ["Body"]

_RETURNED = "a body returns tasks, what they return, or lists, tuples and dicts of them"
_LISTING = "list what @mxm.task made: tasks=[load, report]"


class Body:
    """One reading of a flow: its body run once on stand-ins, unless its tasks are listed.

    Parameters
    ----------
    fn
        The function.
    name, source
        The flow's name, and where it is declared.
    tasks
        Those that are listed; the body is then not run.
    params, schedule_cron
        As the decorator has them.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str,
        source: Source | None,
        tasks: list[Any] | None,
        params: Mapping[str, Any],
        schedule_cron: str | None,
    ) -> None:
        self._fn = fn
        self._name = name
        self._source = source
        self._listed = tasks
        self._params = params
        self._schedule_cron = schedule_cron
        self._spec: FlowSpec | None = None
        self._trace = Trace(name)
        if tasks is None:
            self._trace.run(fn)
        called = [node.task for node in self._trace.nodes]
        self._called = [current(task) for task in called if isinstance(task, TaskBase)]
        self._found: list[TaskBase] = []

    @property
    def declared(self) -> bool:
        """Whether the body only names tasks, so that there is nothing in it to call."""
        return not self._trace.nodes and not self._trace.problems

    def outdated(self, flow: object) -> bool:
        """Whether something that *flow*, whose body this is, is made of is not what it was."""
        if any(current(task) is not task for task in (*self._called, *self._found)):
            return True
        called = [(current(other), spec) for other, spec in self._trace.flows]
        return any(other is flow or other.spec is not spec for other, spec in called)

    def spec(self) -> FlowSpec:
        """The flow as data; made anew while a name among its upstreams is unknown."""
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
            targets = self._targets(listed, problems)
        elif not trace.problems:
            targets = self._targets(trace.returned, problems)
        built = assemble(trace.nodes, targets)
        self._found = built.found
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
            self._schedule_cron,
            fn=self._fn,
            output=output,
            traced=bool(trace.nodes),
            source=self._source,
            problems=problems,
        )
        return spec, built.pending

    def _targets(self, given: Any, problems: list[Problem]) -> list[TaskBase]:
        """The tasks in *given*; anything else but stand-ins in it becomes a problem."""
        listed = self._listed is not None
        found: list[TaskBase] = []
        stack: list[Any] = [given]
        while stack:
            item = stack.pop()
            if isinstance(item, TaskBase):
                found.append(item)
            elif type(item) in (list, tuple):
                stack.extend(reversed(cast("Sequence[Any]", item)))
            elif type(item) is dict and not listed:
                stack.extend(reversed(cast("Any", item).values()))
            elif not isinstance(item, StandIn | None):
                hint = _LISTING if listed else _RETURNED
                if isinstance(getattr(cast("object", item), "spec", None), FlowSpec):
                    what = f"flow {cast('Any', item).name!r}"
                    hint = f"call it in the body: {cast('Any', item).fn.__name__}(...)"
                elif isinstance(item, FunctionType):
                    what = f"{item.__name__!r}, a plain function"
                    hint = f"put @mxm.task above {item.__name__!r}"
                else:
                    what = repr_of(cast("object", item))
                where = "tasks=[...]" if listed else "the body's return value"
                told = f"{where} of flow {self._name!r} holds {what:.120}, which is not a task"
                problems.append(Problem("MXM106", told, hint, source=self._source, flow=self._name))
        return found


def _output(returned: Any, names: Mapping[TaskBase, str]) -> Binding:
    """What a body returned, as a binding."""
    if isinstance(returned, TaskBase):
        return Upstream(names[returned])
    kind = cast("Any", type(returned))
    if kind in (list, tuple):
        return Collection(kind, tuple(_output(item, names) for item in returned))
    if kind is dict:
        return Collection(
            dict, tuple(_output(v, names) for v in returned.values()), tuple(returned)
        )
    return to_binding(returned) if isinstance(returned, StandIn) else Const(returned)
