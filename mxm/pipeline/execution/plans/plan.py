"""Turns a spec and parameters into the steps of one run, in the order in which they may start."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from inspect import Parameter
from typing import TYPE_CHECKING, Any, TypeAlias

from mxm.pipeline.bindings import (
    Binding,
    Bindings,
    Const,
    Each,
    Param,
    Unpacked,
    Upstream,
    by_parameter,
    upstreams_in,
    with_named,
)
from mxm.pipeline.errors import ParameterError
from mxm.pipeline.graph import FlowGraph
from mxm.pipeline.introspection.signatures import signature_of
from mxm.pipeline.params.resolve import Resolved, resolve
from mxm.pipeline.problems import Problem
from mxm.pipeline.runs import gather
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.taskruns import TaskRun
from mxm.pipeline.values.secrets import mask

if TYPE_CHECKING:
    from mxm.pipeline.execution.publishing.targets import Target

LastRows: TypeAlias = Callable[[FlowSpec, str, str | None, str | None], int | None]
"""The rows of the last recorded write of an asset's partition, for flows of a project."""

__all__ = [
    "LastRows",
    "Plan",
    "Step",
    "chained_to",
    "make_plan",
    "with_history",
    "with_root",
    "without_assets",
]

__tracebackhide__ = True  # pytest shows the lines of the test and of its tasks, not these


@dataclass(frozen=True, slots=True)
class Step:
    """A task in a plan, with all inputs known except the results of other steps.

    Parameters
    ----------
    task
        The task.
    args, kwargs
        The arguments of its function.
    needs
        Names of the steps that must end first.
    partition
        ``key:value`` of the asset that it writes, if it has a partition.
    unpacked
        The parts of its result that the flow's body unpacks, and into how many values.
    overridden
        Whether the run replaces the task's function.
    chained
        Mapped upstream steps whose items this step continues, one by one.
    outcome
        The outcome, if it is known before the run; then the step does not run.
    target
        Where its asset is written; None if nothing is written.
    """

    task: TaskSpec
    args: tuple[Binding, ...]
    kwargs: Mapping[str, Binding]
    needs: tuple[str, ...]
    partition: str | None = None
    unpacked: tuple[Unpacked, ...] = ()
    overridden: bool = False
    outcome: TaskRun | None = None
    chained: tuple[str, ...] = ()
    target: Target | None = None

    @property
    def listed(self) -> set[str]:
        """The upstream steps from which it takes only the lists that it maps."""
        inputs = (*self.args, *self.kwargs.values())
        if self.task.over is not None:
            inputs = (*inputs, self.task.over)
        lists = {u.name for u in upstreams_in(b for b in inputs if isinstance(b, Each))}
        rest = {u.name for u in upstreams_in(b for b in inputs if not isinstance(b, Each))}
        return lists - rest - {*self.task.after}

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of one run in topological, then declaration order.

    Parameters
    ----------
    flow
        The spec.
    params
        The flow's parameters; `secrets` has the names of masked ones.
    steps
        The steps, with unmasked inputs.
    downstreams
        For each step, the steps that need it.
    secrets
        Keys whose values are never shown.
    warnings
        Warnings about parameters.
    forced
        The steps that run although an earlier run kept their results.
    kept_only
        The steps that are not selected, and whose kept results others take.
    """

    flow: FlowSpec
    params: Mapping[str, Any]
    steps: tuple[Step, ...]
    downstreams: Mapping[str, list[str]]
    secrets: frozenset[str] = frozenset()
    warnings: tuple[Problem, ...] = ()
    forced: frozenset[str] = frozenset()
    kept_only: frozenset[str] = frozenset()


def make_plan(spec: FlowSpec, params: Mapping[str, Any], *, strict_params: bool = False) -> Plan:
    """The plan of one run of *spec*, whose graph has been checked.

    Parameters
    ----------
    spec
        The flow.
    params
        The run's parameters.
    strict_params
        Whether a key that no task takes is an error.

    Raises
    ------
    ParameterError
        A parameter is missing or does not fit.
    """
    resolved = resolve(spec, params, strict=strict_params)
    graph = FlowGraph(spec)
    unpacked: dict[str, list[Unpacked]] = {}
    for one in spec.unpacked:
        if isinstance(one.binding, Upstream):  # parameters are converted already
            unpacked.setdefault(one.binding.name, []).append(one)
    mapped = {task.name for task in spec.tasks if task.mapped}
    steps = tuple(
        _step(graph.tasks[name], graph.upstreams[name], resolved, unpacked.get(name, ()), mapped)
        for name in graph.order()
    )
    if any(t.produces is not None and t.produces.is_handled for t in spec.tasks):
        steps = _with_targets(spec, steps, resolved)
    warnings = tuple(resolved.warnings)
    return Plan(spec, resolved.flow, steps, graph.downstreams, resolved.secrets, warnings)


def _with_targets(spec: FlowSpec, steps: tuple[Step, ...], resolved: Resolved) -> tuple[Step, ...]:
    """*steps* with the files that they write.

    Raises
    ------
    ParameterError
        A value cannot be part of a path.
    """
    # Loaded only where something is written.
    from mxm.pipeline.execution.publishing.targets import targets_of

    targets, problems = targets_of(
        spec, {step.name: (step.args, step.kwargs) for step in steps}, resolved.flow
    )
    if problems:
        raise ParameterError(spec.name, problems)
    return tuple(replace(step, target=targets.get(step.name)) for step in steps)


def with_history(plan: Plan, last_rows: LastRows) -> Plan:
    """*plan* with what gives checks the number of rows of the last time."""

    def find(asset: str, partition: str | None, path: str | None) -> int | None:
        return last_rows(plan.flow, asset, partition, path)

    steps = [
        replace(step, target=replace(step.target, last_rows=find)) if step.target else step
        for step in plan.steps
    ]
    return replace(plan, steps=tuple(steps))


def with_root(plan: Plan, root: str) -> Plan:
    """*plan* that writes its files under *root*, not in the project, and nothing to a URL."""
    steps: list[Step] = []
    for step in plan.steps:
        target = step.target
        if target is not None and target.is_remote:
            target = None
        elif target is not None:
            target = replace(target, root=root)
        steps.append(replace(step, target=target))
    return replace(plan, steps=tuple(steps))


def without_assets(plan: Plan) -> Plan:
    """*plan* without the files that it writes: functions, results or resources are replaced."""
    steps = [replace(step, target=None) if step.target else step for step in plan.steps]
    return replace(plan, steps=tuple(steps))


def _step(
    task: TaskSpec,
    needs: tuple[str, ...],
    resolved: Resolved,
    unpacked: Iterable[Unpacked],
    mapped: Container[str],
) -> Step:
    values = {name: Const(value) for name, value in resolved.tasks[task.name].items()}
    own = task.bindings
    args, kwargs = with_named(task.fn, own.args, own.kwargs, values, Const)
    if kwargs and not args and hasattr(task.fn, "dispatch") and hasattr(task.fn, "registry"):
        # functools.singledispatch dispatches on the first positional argument.
        signature = signature_of(task.fn)
        first = next(iter(signature.parameters), None) if signature else None
        if first in kwargs:
            args, kwargs = [kwargs[first]], {k: v for k, v in kwargs.items() if k != first}
    partition = None
    key = task.produces.partition_key if task.produces else None
    if key is not None:
        inputs = by_parameter(task.fn, Bindings(tuple(args), kwargs))
        value = _merged(key, task, inputs, resolved.flow)
        bound = inputs.get(key)
        secret = {key, bound.name} if isinstance(bound, Param) else {key}
        value = mask(value) if secret & resolved.secrets else value
        partition = None if value is None else f"{key}:{value}"
    chained: tuple[str, ...] = ()
    if task.mapped:
        taken = (*args, *kwargs.values(), *([task.over] if task.over else []))
        heads = (*task.by_item, *map(chained_to, taken))
        chained = tuple(name for name in dict.fromkeys(heads) if name in mapped)
    return Step(task, tuple(args), kwargs, needs, partition, tuple(unpacked), chained=chained)


def chained_to(binding: Binding) -> str:
    """The mapped upstream step whose items *binding* continues one by one; empty for none."""
    items = binding.items if isinstance(binding, Each) else None
    return items.name if isinstance(items, Upstream) and not items.path else ""


def _merged(
    key: str, task: TaskSpec, inputs: Mapping[str, Binding], flow: Mapping[str, Any]
) -> Any:
    """The task's value of the parameter *key*, whether it takes it or not; None for none."""
    bound = inputs.get(key)
    if isinstance(bound, Const):
        return bound.value
    if isinstance(bound, Param):
        return gather(bound, {}, flow)
    merged = {**task.params, **flow}
    if key in merged:
        return merged[key]
    signature = signature_of(task.fn)
    parameter = signature.parameters.get(key) if signature else None
    return None if parameter is None or parameter.default is Parameter.empty else parameter.default
