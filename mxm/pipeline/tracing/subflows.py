"""A flow called in the body of another: its tasks become steps of that one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from mxm.pipeline.bindings import (
    Binding,
    Each,
    Param,
    PerItem,
    Unpacked,
    Upstream,
    by_parameter,
    keys_taken,
    parts_in,
    require_count,
    value_of,
    with_named,
)
from mxm.pipeline.errors import repr_of
from mxm.pipeline.introspection.signatures import unwrapped
from mxm.pipeline.problems import Problem, Source
from mxm.pipeline.spec import FlowSpec, last_of
from mxm.pipeline.tracing.marks import ItemMark, Mark
from mxm.pipeline.tracing.placeholders import Ready, StandIn, body_source, stand_ins_in
from mxm.pipeline.tracing.recorder import Group, Node, Trace, refuse_marks

__all__ = ["inline", "inline_map"]


def inline(trace: Trace, spec: FlowSpec, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Record the tasks of *spec* as steps of another flow; return its value as stand-ins.

    Parameters
    ----------
    trace
        The pass over the body of that other flow.
    spec
        The flow that was called.
    args, kwargs
        As given.
    """
    source = body_source()
    refuse_marks((*args, *kwargs.values()), in_map=False)
    _begin(trace, spec)
    params = _parameters(trace, spec, args, kwargs, source)
    look_up = _record(trace, spec, params, source)
    if spec.output is not None:
        returned = value_of(spec.output, look_up)
    else:
        last = {name: look_up(Upstream(name)) for name in last_of(spec.tasks)}
        returned = next(iter(last.values())) if len(last) == 1 else last
    awaited = inspect.iscoroutinefunction(unwrapped(cast("Any", spec.fn)))
    return Ready(returned) if awaited and not isinstance(returned, StandIn) else returned


def inline_map(
    trace: Trace,
    spec: FlowSpec,
    items: Any,
    more: int,
    kwargs: Mapping[str, Any],
    item_key: Callable[[Any], object] | None,
) -> StandIn:
    """Record the tasks of *spec* as steps of another flow, each called for every item.

    Parameters
    ----------
    trace
        The pass over the body of that other flow.
    spec
        The flow that is mapped.
    items
        What it is mapped over.
    more
        How many arguments are given by place beside that.
    kwargs
        Its other arguments, further lists marked.
    item_key
        Names the items.
    """
    from mxm.pipeline.tracing.maps import MapError, require_mappable

    source = body_source()
    refuse_marks((items,), in_map=False)
    refuse_marks(kwargs.values(), in_map=True)
    _begin(trace, spec)
    fn = cast("Callable[..., Any]", spec.fn)
    output = spec.output
    if output is None:
        last = last_of(spec.tasks)
        output = Upstream(last[0]) if len(last) == 1 else None
    try:
        require_mappable("flow", spec.name, fn, items, more)
        if any(task.mapped for task in spec.tasks):
            raise MapError(
                f"flow {spec.name!r} has a map in its body and is mapped itself",
                hint=f"write a constant outer list out, [{spec.name}(x) for x in (...)]; else map "
                "once over pairs, and group them in a task",
            )
        if not isinstance(output, Upstream) or output.path:
            raise MapError(
                f"flow {spec.name!r} is mapped, and does not return the whole result of one task",
                hint="return the result of a task that makes what is wanted",
            )
    except MapError as error:
        trace.keep_map(error)
        return StandIn(spec.name)
    marked = {
        k: ItemMark(value.value) if isinstance(value, Mark) else value
        for k, value in kwargs.items()
    }
    params = _parameters(trace, spec, (ItemMark(items),), marked, source)
    look_up = _record(trace, spec, params, source, Mark(items), item_key)
    return cast("StandIn", look_up(output))


def _begin(trace: Trace, spec: FlowSpec) -> None:
    # Loaded when a flow calls another: declaring tasks and flows takes no checks.
    from mxm.pipeline.checks.declarations import find_problems

    trace.used(f"flow {spec.name!r} is called")
    declared = [*spec.problems, *(problem for task in spec.tasks for problem in task.problems)]
    for problem in find_problems(spec):
        # The others are found again among this flow's own steps.
        lost = problem in declared or problem.code in ("MXM102", "MXM103", "MXM105")
        if lost and problem not in trace.problems:
            trace.problems.append(problem)


def _record(
    trace: Trace,
    spec: FlowSpec,
    params: Mapping[str, Any],
    source: Source | None,
    over: Mark | None = None,
    item_key: Callable[[Any], object] | None = None,
) -> Callable[[Upstream | Param], Any]:
    """Record the tasks of *spec*; return a lookup of its results and parameters.

    Parameters
    ----------
    trace, spec, source
        The pass, the flow, and the line that calls it.
    params
        The flow's parameters.
    over, item_key
        The list that the flow is mapped over, marked, and what names its items.
    """
    group = Group(spec.name)
    trace.groups.append(group)
    nodes: dict[str, Node] = {}

    def look_up(origin: Upstream | Param) -> Any:
        if isinstance(origin, Param):
            return params[origin.name]
        # One that is unknown is a problem, kept above.
        return StandIn(nodes.get(origin.name, origin.name))

    for task in spec.tasks:  # in topological order: see assembly
        own = task.bindings
        filled = [_recorded(b, look_up) for b in own.args]
        named = {k: _recorded(b, look_up) for k, b in own.kwargs.items()}
        taken = [] if spec.traced else keys_taken(task.fn, own, params)
        filled, named = with_named(
            task.fn, filled, named, {k: params[k] for k in taken}, lambda default: default
        )
        after = tuple(nodes[name] for name in task.after if name in nodes)
        placed = task
        if task.flow_cache is None and spec.cache is not None:
            placed = replace(task, flow_cache=spec.cache)
        node = Node(placed, tuple(filled), named, source, after, group, task.outcomes)
        if over is not None:
            node.over, node.item_key = over, item_key
            inputs = [s for value in (*filled, *named.values()) for s in stand_ins_in(value)]
            origins = [stand_in._origin for stand_in in inputs]  # pyright: ignore[reportPrivateUsage]
            inside = [n for n in (*origins, *after) if isinstance(n, Node) and n.group is group]
            node.by_item = tuple(dict.fromkeys(inside))
        elif task.over is not None:
            node.over = cast("Mark", _recorded(task.over, look_up))
            node.by_item = tuple(nodes[name] for name in task.by_item if name in nodes)
            node.item_key = task.item_key
        nodes[task.name] = node
        trace.nodes.append(node)
    for one in spec.unpacked:
        _unpack(trace, spec.name, value_of(one.binding, look_up), one, source)
    return look_up


def _recorded(binding: Binding, look_up: Callable[[Upstream | Param], Any]) -> Any:
    """The value of *binding* in the body of another flow; a mapped list stays marked."""
    if isinstance(binding, PerItem):

        def item(each: Each) -> ItemMark:
            return ItemMark(value_of(each.items, look_up))

        return value_of(binding, look_up, item)
    value = value_of(binding, look_up)
    return Mark(value) if isinstance(binding, Each) else value


def _unpack(trace: Trace, flow: str, value: Any, unpacked: Unpacked, source: Source | None) -> None:
    """Record how many parts *value* must have: the body of the inlined *flow* unpacks it."""
    if isinstance(value, StandIn):
        trace.unpacked.append((value, unpacked.count))
        return
    try:
        require_count(
            value, unpacked.count, f"parameter {str(unpacked.binding)!r} of flow {flow!r}"
        )
    except (TypeError, ValueError) as error:
        trace.problems.append(
            Problem(
                "MXM402",
                str(error),
                "pass as many parts as its annotation has",
                source=source,
                flow=trace.flow,
            )
        )


def _parameters(
    trace: Trace,
    spec: FlowSpec,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    source: Source | None,
) -> dict[str, Any]:
    """The parameters of a flow that a body calls, with its own defaults."""
    signature = inspect.signature(cast("Callable[..., Any]", spec.fn))
    try:
        bound = signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        from mxm.pipeline.values.secrets import signature_text

        trace.problems.append(
            Problem(
                "MXM104",
                f"flow {spec.name!r} cannot be called like this: {error}",
                f"signature {spec.name}{signature_text(cast('Any', spec.fn))}",
                source=source,
                flow=trace.flow,
            )
        )
        return {name: StandIn(name) for name in signature.parameters}
    trace.problems.extend(_misfits(trace, spec, bound, source))
    what = f"an argument of flow {spec.name!r}"
    return trace.checked({**spec.params, **bound}, source, what)


def _is_mapped(value: StandIn) -> bool:
    node = value._origin  # pyright: ignore[reportPrivateUsage]
    if not isinstance(node, Node):
        return False
    inputs = (*node.args, *node.kwargs.values())
    return node.over is not None or any(isinstance(one, Mark) for one in inputs)


def _all_wrap(spec: FlowSpec, name: str) -> bool:
    """Whether every task of *spec* that gets parameter *name* makes a secret of its text."""
    from mxm.pipeline.values.secrets import secret_parameters

    for task in spec.tasks:
        secrets = secret_parameters(task.fn)
        for parameter, binding in by_parameter(task.fn, task.bindings).items():
            parts = [one for one in parts_in([binding]) if isinstance(one, Param)]
            whole = binding == Param(name) and parameter in secrets
            if any(one.name == name for one in parts) and not whole:
                return False
    return True


def _misfits(
    trace: Trace, spec: FlowSpec, bound: Mapping[str, Any], source: Source | None
) -> Iterator[Problem]:
    """Arguments that cannot be what the called flow's own signature says: nothing converts them."""
    from mxm.pipeline.checks.defaults import misfits
    from mxm.pipeline.introspection.annotations import hints_of, type_text
    from mxm.pipeline.values.compatibility import Fit, element_of, fit
    from mxm.pipeline.values.secrets import is_secret

    hints = hints_of(cast("Any", spec.fn))
    for name, value in bound.items():
        wanted = hints.get(name, Any)
        if is_secret(wanted) and _all_wrap(spec, name):
            continue
        per_item = isinstance(value, ItemMark)
        passed: Any = value.value if isinstance(value, ItemMark) else value
        if isinstance(passed, StandIn):
            made = Any if _is_mapped(passed) else trace.type_of(passed)
            wrong = fit(element_of(made) if per_item else made, wanted) is Fit.NEVER
            what = f"{passed!r} is {type_text(made)}"
        else:
            some: list[Any] = [passed]
            if per_item:
                some = [*passed] if type(passed) in (list, tuple) else []
            bad = [one for one in some if misfits(one, wanted)][:1]
            wrong = bool(bad)
            shown = "the value given" if is_secret(wanted) else "".join(map(repr_of, bad))[:200]
            what = f"flow {trace.flow!r} passes {shown}"
        if wrong:
            yield Problem(
                "MXM201",
                f"{what}, and parameter {name!r} of flow {spec.name!r} takes {type_text(wanted)}"
                + " for each item" * per_item,
                "change one of the two: arguments of a flow that a body calls are not converted",
                source=source,
                flow=trace.flow,
            )
