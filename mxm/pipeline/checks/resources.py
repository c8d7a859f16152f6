"""Resources: what tasks ask for must be one, and nothing else may fill its place."""

from __future__ import annotations

import inspect
import typing
from collections import abc
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mxm.pipeline.bindings import Const, by_parameter, free_parameters, parts_in
from mxm.pipeline.checks.defaults import defaults_in
from mxm.pipeline.errors import repr_of
from mxm.pipeline.introspection.annotations import hints_of, texts_apart
from mxm.pipeline.introspection.decorated import FlowBase, TaskBase
from mxm.pipeline.introspection.signatures import (
    VARIADIC,
    defaults_of,
    shape_of,
    source_of,
    unwrapped,
)
from mxm.pipeline.introspection.uses import (
    ResourceBase,
    Use,
    asks_async,
    resources_of,
    used_by,
    uses_in,
    uses_of,
)
from mxm.pipeline.problems import Problem, Source
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.values.compatibility import Fit, fit

__all__ = ["async_problems", "resource_problems"]

_DEFAULT = "make it the default of a parameter: engine: Engine = mxm.use(db)"


def resource_problems(spec: FlowSpec) -> Iterator[Problem]:
    """What is wrong with the resources of *spec*, and with where they are asked for."""
    yield from _misplaced_in_flow(spec)
    asking: dict[int, bool] = {}  # by function, which may have no hash
    first: list[TaskSpec] = []
    for task in spec.tasks:
        yield from _misplaced_in_task(spec, task)
        if id(task.fn) not in asking:
            asking[id(task.fn)] = _has_any(task.fn)
            if asking[id(task.fn)]:
                first.append(task)
        if asking[id(task.fn)]:
            yield from _filled(spec, task)
    for task in first:
        yield from _asked(task.fn, f"task {task.name!r}", spec, task.name)
        yield from _unfit(task.fn, f"task {task.name!r}", task.source, spec, task.name)
    resources = used_by(task.fn for task in first)
    for resource in resources:
        owner = f"resource {resource.name!r}"
        yield from _asked(resource.fn, owner, spec, None)
        yield from _unfit(resource.fn, owner, resource.source, spec, None)
        yield from defaults_in(resource.fn, owner, resource.source, spec.name, None)
    yield from _cycles(spec, resources)
    yield from _duplicates(spec, resources)
    yield from async_problems(spec, first)


def _unfit(
    fn: Callable[..., Any], owner: str, source: Source | None, spec: FlowSpec, task: str | None
) -> Iterator[Problem]:
    """Parameters of *fn* that cannot be what their resource yields."""
    hints = hints_of(fn)
    for name, resource in resources_of(fn).items():
        made, wanted = _yielded(resource), hints.get(name, Any)
        if fit(made, wanted) is Fit.NEVER:
            texts = texts_apart(made, wanted)
            place = source_of(resource.fn) or resource.source
            yield Problem(
                "MXM201",
                f"resource {resource.name!r} yields {texts[0]}"
                + (f" at {place}" if place else "")
                + f", and parameter {name!r} of {owner} takes {texts[1]}: no value can be both",
                "change one of the two annotations",
                source=source,
                flow=spec.name,
                task=task,
            )


def _yielded(resource: ResourceBase) -> Any:
    """What *resource* yields, by its return annotation."""
    returned = hints_of(unwrapped(resource.fn)).get("return", Any)
    args = typing.get_args(returned)
    return args[0] if typing.get_origin(returned) in _GENERATORS and args else Any


_GENERATORS = (
    *(abc.Iterator, abc.Generator, abc.Iterable),
    *(abc.AsyncIterator, abc.AsyncGenerator, abc.AsyncIterable),
)


def _has_any(fn: Callable[..., Any]) -> bool:
    return any(True for default in defaults_of(fn).values() for _ in uses_in(default)) or (
        _may_be_annotated(fn)
    )


def _may_be_annotated(fn: Callable[..., Any]) -> bool:
    """Whether an annotation of *fn* may hold a `Use`; without evaluating those that cannot."""
    raw: Mapping[str, Any] = getattr(fn, "__annotations__", {})
    return any(
        "use(" in hint if isinstance(hint, str) else hasattr(hint, "__metadata__")
        for hint in raw.values()
    )


def _misplaced_in_flow(spec: FlowSpec) -> Iterator[Problem]:
    where = f"flow {spec.name!r}"
    for name, value in spec.params.items():
        for use in uses_in(value):
            yield _misplaced(use, f"parameter {name!r} of {where}", spec.source, spec.name)
    for part in parts_in([spec.output] if spec.output is not None else []):
        if isinstance(part, Const):
            for use in uses_in(part.value):
                yield _misplaced(use, f"what {where} returns", spec.source, spec.name)


def _misplaced_in_task(spec: FlowSpec, task: TaskSpec) -> Iterator[Problem]:
    where = f"task {task.name!r}"
    own = uses_of(task.fn)
    bound = by_parameter(task.fn, task.bindings) if own else {}
    filled = [bound[name] for name in own if name in bound]  # reported separately
    for part in parts_in(binding for binding in task.bindings if binding not in filled):
        if isinstance(part, Const):
            for use in uses_in(part.value):
                yield _misplaced(use, f"an input of {where}", task.source, spec.name, task.name)
    for name, value in task.params.items():
        if name not in own:
            for use in uses_in(value):
                message = f"parameter {name!r} in the params of {where}"
                yield _misplaced(use, message, task.source, spec.name, task.name)


def _misplaced(
    use: Use, where: str, source: Source | None, flow: str, task: str | None = None
) -> Problem:
    return Problem(
        "MXM602",
        f"{where} is given {use!r}, which must be the default of a parameter of a task or a "
        "resource",
        _DEFAULT,
        source=source,
        flow=flow,
        task=task,
    )


def _asked(
    fn: Callable[..., Any], owner: str, spec: FlowSpec, task: str | None
) -> Iterator[Problem]:
    """What is wrong with what *fn*, of a task or a resource, asks for."""
    source = source_of(fn)
    for name, default in defaults_of(fn).items():
        if type(default) is not Use:
            for use in uses_in(default):
                message = f"the default of parameter {name!r} of {owner} contains {use!r}"
                hint = "give each resource a parameter of its own"
                yield _problem("MXM602", message, hint, source, spec, task)
        elif not isinstance(default.resource, ResourceBase):
            what, hint = _no_resource(default.resource)
            message = f"parameter {name!r} of {owner} asks for {what}, which is not a resource"
            yield _problem("MXM601", message, hint, source, spec, task)
    for name, hint in hints_of(fn).items() if _may_be_annotated(fn) else ():
        for use in (x for part in _metadata(hint) for x in uses_in(part)):
            message = f"the annotation of parameter {name!r} of {owner} contains {use!r}"
            yield _problem("MXM602", message, _DEFAULT, source, spec, task)


def _metadata(hint: Any) -> Iterator[Any]:
    if typing.get_origin(hint) is typing.Annotated:
        yield from hint.__metadata__


def _no_resource(value: Any) -> tuple[str, str]:
    """What *value* is, and what to write instead."""
    name = getattr(value, "__name__", None)
    if isinstance(value, TaskBase):
        return f"task {value.name!r}", f"take its result: upstream={value.fn.__name__}"
    if isinstance(value, FlowBase):
        return f"flow {value.name!r}", "call it in the body of a flow"
    if callable(value) and isinstance(name, str):
        return f"{name!r}", f"put @mxm.resource above {name!r}, a generator that yields once"
    return repr_of(value)[:120], "pass what @mxm.resource made from a generator function"


def _filled(spec: FlowSpec, task: TaskSpec) -> Iterator[Problem]:
    """Inputs, keys of ``params`` among them, in the place of a resource."""
    bound = by_parameter(task.fn, task.bindings)
    for name, use in uses_of(task.fn).items():
        if name in bound:
            giver = "the body of the flow" if spec.traced else "an upstream or a binding"
            hint = "leave it out: the run opens the resource; in a test, use a plain call"
        elif name in task.params:
            giver, hint = "its params", "leave it out of params: the run opens the resource"
        elif name in spec.params and not _takes(spec, name):
            giver = f"params of flow {spec.name!r}"
            hint = "leave it out of params: the run opens the resource"
        else:
            continue
        message = (
            f"parameter {name!r} of task {task.name!r} takes {use!r}, and {giver} gives it a value"
        )
        yield _problem("MXM603", message, hint, task.source, spec, task.name)


def _takes(spec: FlowSpec, name: str) -> bool:
    """Whether the flow itself, or one of its tasks, takes a parameter *name*."""
    own = shape_of(spec.fn) if spec.fn else None
    return (own is not None and name in (*own.positional, *own.keyword_only)) or any(
        parameter.name == name or parameter.kind in VARIADIC
        for task in spec.tasks
        for parameter in free_parameters(task.fn, task.bindings)
    )


def _cycles(spec: FlowSpec, resources: list[ResourceBase]) -> Iterator[Problem]:
    done: set[ResourceBase] = set()
    for first in resources:
        path: dict[ResourceBase, Iterator[ResourceBase]] = {}
        if first not in done:
            path[first] = iter(resources_of(first.fn).values())
        while path:
            last = next(reversed(path))
            below = next(path[last], None)
            if below is None:
                done.add(last)
                del path[last]
            elif below in path:
                members = list(path)
                circle = members[members.index(below) :]
                names = [resource.name for resource in (*circle, below)]
                yield Problem(
                    "MXM604",
                    f"cycle of resources: {' -> '.join(names)}",
                    "a resource cannot need itself: remove one of these use(...)",
                    source=below.source,
                    flow=spec.name,
                    places=tuple((resource.name, resource.source) for resource in circle),
                )
            elif below not in done:
                path[below] = iter(resources_of(below.fn).values())


def _duplicates(spec: FlowSpec, resources: list[ResourceBase]) -> Iterator[Problem]:
    first: dict[str, ResourceBase] = {}
    for resource in resources:
        known = first.setdefault(resource.name, resource)
        if known is not resource and _place(known) != _place(resource):
            yield Problem(
                "MXM605",
                f"two resources are named {resource.name!r}, so that settings could mean both",
                "give one of them another name: @mxm.resource(name=...)",
                source=resource.source,
                flow=spec.name,
                places=tuple((one.fn.__name__, one.source) for one in (known, resource)),
            )


def _place(resource: ResourceBase) -> tuple[str, str]:
    # In a notebook, a resource that is defined again is the same one.
    return resource.source.file if resource.source else "", resource.fn.__qualname__


def async_problems(
    spec: FlowSpec,
    tasks: Iterable[TaskSpec],
    meant: Callable[[ResourceBase], Any] = lambda resource: resource,
) -> Iterator[Problem]:
    """The sync ones of *tasks*, and of the resources they need, that ask for an async resource.

    Parameters
    ----------
    spec
        The flow.
    tasks
        Tasks of it, one for each function.
    meant
        What is opened instead of each resource.
    """
    tasks = list(tasks)
    for task in tasks:
        if inspect.iscoroutinefunction(unwrapped(task.fn)):
            continue
        for name, resource in asks_async(task.fn, meant):
            yield _not_async(f"task {task.name!r}", task.fn, name, resource, spec, task.name)
    for owner in used_by((task.fn for task in tasks), meant):
        for name, resource in () if owner.is_async else asks_async(owner.fn, meant):
            yield _not_async(f"resource {owner.name!r}", owner.fn, name, resource, spec, None)


def _not_async(
    owner: str,
    fn: Callable[..., Any],
    name: str,
    resource: ResourceBase,
    spec: FlowSpec,
    task: str | None,
) -> Problem:
    message = (
        f"{owner} is not async, and its parameter {name!r} takes async resource {resource.name!r}"
    )
    return _problem("MXM606", message, "define it with async def", source_of(fn), spec, task)


def _problem(
    code: str, message: str, hint: str, source: Source | None, spec: FlowSpec, task: str | None
) -> Problem:
    return Problem(code, message, hint, source=source, flow=spec.name, task=task)
