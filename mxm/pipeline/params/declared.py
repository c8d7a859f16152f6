"""The parameters of a flow: types, defaults, the tasks that take them, and which are secret."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from mxm.pipeline.assets.templates import fields_of
from mxm.pipeline.bindings import Param, by_parameter, free_parameters, parts_in
from mxm.pipeline.introspection.annotations import hints_of
from mxm.pipeline.introspection.signatures import VARIADIC, shape_of, signature_of
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.values.secrets import mask, secret_parameters

__all__ = [
    "Origin",
    "Parameter",
    "annotation_of",
    "own_parameters",
    "parameters_of",
    "secret_names",
]

Origin: TypeAlias = Literal["run", "flow", "task", "default", "required"]

_empty = inspect.Parameter.empty


@dataclass(frozen=True)
class Parameter:
    """One parameter that a run of a flow takes.

    Parameters
    ----------
    name
        As in ``-p name=value``.
    annotation
        Type, or ``inspect.Parameter.empty``.
    default
        Value if the run gives none, or ``inspect.Parameter.empty`` if it is required.
    origin
        Source of the default: the flow, a task's ``params``, or the function.
    tasks
        Names of the tasks that take it.
    takers
        What each of these would get without a value from the flow or the run; empty for the flow's
        own parameters, and those to which it gives a value.
    """

    name: str
    annotation: Any
    default: Any
    origin: Origin
    tasks: tuple[str, ...] = ()
    takers: tuple[Parameter, ...] = ()

    @property
    def required(self) -> bool:
        """Whether a run must pass it."""
        return self.default is _empty


def own_parameters(spec: FlowSpec) -> Mapping[str, inspect.Parameter]:
    """The parameters in the flow's own signature; empty for a flow made by hand."""
    signature = signature_of(spec.fn) if spec.fn else None
    if signature is None:
        return {}
    return {n: p for n, p in signature.parameters.items() if p.kind not in VARIADIC}


def secret_names(spec: FlowSpec, keys: Iterable[str] = ()) -> frozenset[str]:
    """Keys whose values are never shown: those that the flow or any of its tasks declares secret.

    Parameters
    ----------
    spec
        The flow.
    keys
        The run's keys, for functions that take any: ``**tokens: SecretStr``.
    """
    names = set(secret_parameters(spec.fn))
    by_function: dict[
        int, frozenset[str]
    ] = {}  # by the id of the function, which many tasks may share
    for task in spec.tasks:
        secrets = by_function.get(id(task.fn))
        if secrets is None:
            secrets = by_function[id(task.fn)] = secret_parameters(task.fn)
        if not secrets:
            continue
        names |= secrets
        bound = by_parameter(task.fn, task.bindings)
        parts = parts_in(bound[name] for name in secrets if name in bound)
        names.update(part.name for part in parts if isinstance(part, Param))
        signature = signature_of(task.fn)
        named: Mapping[str, inspect.Parameter] = signature.parameters if signature else {}
        if any(named[n].kind is inspect.Parameter.VAR_KEYWORD for n in secrets if n in named):
            names |= {*keys, *spec.params, *task.params} - set(named)
    return frozenset(names)


def parameters_of(spec: FlowSpec) -> list[Parameter]:
    """Every parameter that a run of *spec* takes: the flow's own first, then the tasks'.

    The default of a secret is masked.
    """
    secrets = secret_names(spec)
    return [_masked(p) if p.name in secrets else p for p in _parameters_of(spec)]


def _masked(parameter: Parameter) -> Parameter:
    default = parameter.default if parameter.required else mask(parameter.default)
    return replace(parameter, default=default, takers=tuple(map(_masked, parameter.takers)))


def _parameters_of(spec: FlowSpec) -> list[Parameter]:
    own = own_parameters(spec)
    takers: dict[str, list[tuple[TaskSpec, inspect.Parameter]]] = {}
    for task in spec.tasks:
        for parameter in free_parameters(task.fn, task.bindings):
            if parameter.kind not in VARIADIC:
                takers.setdefault(parameter.name, []).append((task, parameter))
    parameters: list[Parameter] = []
    for name, parameter in own.items():
        default = spec.params.get(name, _empty)
        origin: Origin = "required" if default is _empty else "flow"
        names = () if spec.traced else tuple(task.name for task, _ in takers.get(name, ()))
        annotation = annotation_of(spec.fn, parameter)
        parameters.append(Parameter(name, annotation, default, origin, names))
    for name, taking in takers.items():
        if name not in own:
            parameters.append(_task_parameter(spec, name, taking))
    return parameters + _path_parameters(spec, {each.name for each in parameters})


def _path_parameters(spec: FlowSpec, known: set[str]) -> list[Parameter]:
    """What the paths of assets need and no function takes."""
    taken: dict[str, Parameter] = {}
    for task in spec.tasks:
        asset = task.produces
        if asset is None or asset.partition_key is None or asset.partition_key in known:
            continue
        name, shape = asset.partition_key, shape_of(task.fn)
        if name not in fields_of(asset.path_template):
            continue
        if shape and name in (*shape.positional, *shape.keyword_only):
            continue  # filled by an edge, or by the body
        values = {**task.params, **spec.params}
        origin: Origin = "task" if name in task.params else "flow"
        if name not in values:
            origin = "required"
        tasks = (*(taken[name].tasks if name in taken else ()), task.name)
        taken[name] = Parameter(name, _empty, values.get(name, _empty), origin, tasks)
    return list(taken.values())


def _task_parameter(
    spec: FlowSpec, name: str, taking: list[tuple[TaskSpec, inspect.Parameter]]
) -> Parameter:
    names = tuple(task.name for task, _ in taking)
    annotation = next(
        (a for task, p in taking if (a := annotation_of(task.fn, p)) is not _empty), _empty
    )
    if name in spec.params and not spec.traced:
        return Parameter(name, annotation, spec.params[name], "flow", names)
    # Required if any task has no value for it; otherwise the first task's value counts.
    takers = tuple(_taker(name, task, parameter) for task, parameter in taking)
    decisive = next((taker for taker in takers if taker.required), takers[0])
    return Parameter(name, annotation, decisive.default, decisive.origin, names, takers)


def _taker(name: str, task: TaskSpec, parameter: inspect.Parameter) -> Parameter:
    """*parameter* as *task* alone declares it."""
    annotation = annotation_of(task.fn, parameter)
    if name in task.params:
        return Parameter(name, annotation, task.params[name], "task", (task.name,))
    required = parameter.default is _empty
    origin: Origin = "required" if required else "default"
    return Parameter(name, annotation, parameter.default, origin, (task.name,))


def annotation_of(fn: Callable[..., Any] | None, parameter: inspect.Parameter) -> Any:
    """The resolved annotation of *parameter* of *fn*, or ``inspect.Parameter.empty``."""
    if fn is None or parameter.annotation is _empty:
        return _empty
    annotation = hints_of(fn).get(parameter.name, _empty)
    # **options: Unpack[Options] annotates all keys together, not each one.
    return _empty if typing.get_origin(annotation) is typing.Unpack else annotation
