"""Parameters: who takes which, whose value wins, and text into the types that functions declare."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, TypeAlias

from mxm.pipeline.errors import ParameterError, Problem, Source, closest, did_you_mean
from mxm.pipeline.graph import signature_of
from mxm.pipeline.hints import Unresolved, hints_of, type_text
from mxm.pipeline.spec import FlowSpec, TaskSpec

__all__ = ["Origin", "Parameter", "Resolved", "Text", "parameters_of", "resolve"]

Origin: TypeAlias = Literal["run", "flow", "task", "default", "required"]

_empty = inspect.Parameter.empty
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Text(str):
    """A value as it was typed at the command: the annotation of its parameter says what it means."""

    __slots__ = ()


@dataclass(frozen=True)
class Parameter:
    """One parameter that a run of a flow takes.

    Parameters
    ----------
    name
        As given with ``-p name=value``.
    annotation
        Type, or ``inspect.Parameter.empty``.
    default
        Value without one given at the run, or ``inspect.Parameter.empty`` where it is required.
    origin
        Who says so: the flow, a task's ``params``, the function's default.
    tasks
        Names of the tasks that take it.
    """

    name: str
    annotation: Any
    default: Any
    origin: Origin
    tasks: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        """Whether a run must give it."""
        return self.default is _empty


@dataclass
class Resolved:
    """The parameters of one run, every value in its place.

    Attributes
    ----------
    flow
        Values known to the flow as a whole: its own, and the run's.
    tasks
        By task, the values for those parameters that no edge fills and no default is left to.
    warnings
        Keys that nothing takes, and the like.
    """

    flow: dict[str, Any] = field(default_factory=dict[str, Any])
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    warnings: list[Problem] = field(default_factory=list[Problem])


def own_parameters(spec: FlowSpec) -> Mapping[str, inspect.Parameter]:
    """The parameters of the flow's own signature; empty for a flow by hand."""
    signature = signature_of(spec.fn) if spec.fn else None
    if signature is None:
        return {}
    return {n: p for n, p in signature.parameters.items() if p.kind not in _VARIADIC}


def free_parameters(task: TaskSpec) -> Iterator[inspect.Parameter]:
    """The parameters of *task*'s function that no binding fills; ``**kwargs`` is one of them."""
    signature = signature_of(task.fn)
    if signature is None:
        return
    filled = len(task.bindings.args)
    for index, parameter in enumerate(signature.parameters.values()):
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            continue
        positional = parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        if positional and index < filled and parameter.kind not in _VARIADIC:
            continue
        if parameter.name not in task.bindings.kwargs:
            yield parameter


def parameters_of(spec: FlowSpec) -> list[Parameter]:
    """Every parameter that a run of *spec* takes: the flow's own first, then the tasks'."""
    own = own_parameters(spec)
    takers: dict[str, list[tuple[TaskSpec, inspect.Parameter]]] = {}
    for task in spec.tasks:
        for parameter in free_parameters(task):
            if parameter.kind not in _VARIADIC:
                takers.setdefault(parameter.name, []).append((task, parameter))
    found: list[Parameter] = []
    for name, parameter in own.items():
        default = spec.params.get(name, _empty)
        origin: Origin = "required" if default is _empty else "flow"
        names = () if spec.traced else tuple(task.name for task, _ in takers.get(name, ()))
        annotation = _annotation(spec.fn, parameter)
        found.append(Parameter(name, annotation, default, origin, names))
    for name, taking in takers.items():
        if name not in own:
            found.append(_task_parameter(spec, name, taking))
    return found


def _task_parameter(
    spec: FlowSpec, name: str, taking: list[tuple[TaskSpec, inspect.Parameter]]
) -> Parameter:
    names = tuple(task.name for task, _ in taking)
    annotation = next(
        (a for task, p in taking if (a := _annotation(task.fn, p)) is not _empty), _empty
    )
    if name in spec.params and not spec.traced:
        return Parameter(name, annotation, spec.params[name], "flow", names)
    # Required where one task has no value for it; else the first task's value is shown.
    values: list[tuple[Any, Origin]] = []
    for task, parameter in taking:
        if name in task.params:
            values.append((task.params[name], "task"))
        elif parameter.default is not _empty:
            values.append((parameter.default, "default"))
        else:
            return Parameter(name, annotation, _empty, "required", names)
    return Parameter(name, annotation, *values[0], names)


def resolve(spec: FlowSpec, given: Mapping[str, Any], *, strict: bool = False) -> Resolved:
    """Put every parameter's value in its place: runtime > flow > task > the function's default.

    Parameters
    ----------
    spec
        The flow.
    given
        The run's own values; `Text` for what was typed at the command.
    strict
        Whether a key that nothing takes is an error rather than a warning.

    Raises
    ------
    ParameterError
        Values are missing or do not fit; all of them at once.
    """
    own = own_parameters(spec)
    problems: list[Problem] = []
    resolved = Resolved(flow=dict(spec.params))
    runtime: dict[str, Any] = {}
    for name, value in given.items():
        if name in own and spec.fn is not None:
            annotation = _annotation(spec.fn, own[name])
            value = _fit(value, annotation, name, spec, None, spec.fn, problems)
        runtime[name] = value
    resolved.flow.update(runtime)
    for name in own:
        if name not in resolved.flow:
            problems.append(_missing(name, own[name], spec, None))
    taken = set(own)
    for task in spec.tasks:
        resolved.tasks[task.name] = _task_values(spec, task, runtime, own, taken, problems)
        if task.produces and task.produces.partition_key:
            taken.add(task.produces.partition_key)
    unused = list(_unused(spec, runtime, taken))
    if strict:
        problems.extend(unused)
    else:
        resolved.warnings.extend(unused)
    if problems:
        raise ParameterError(spec.name, problems)
    resolved.flow = {k: _plain(v) for k, v in resolved.flow.items()}
    return resolved


def _task_values(
    spec: FlowSpec,
    task: TaskSpec,
    runtime: Mapping[str, Any],
    own: Mapping[str, inspect.Parameter],
    taken: set[str],
    problems: list[Problem],
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    free = list(free_parameters(task))
    # In a traced flow a parameter of its signature reaches a task only where the body passes it.
    open_to = {k: v for k, v in runtime.items() if k not in own} if spec.traced else runtime
    flow = {} if spec.traced else spec.params
    layers = (open_to, flow, task.params)
    for parameter in free:
        name = parameter.name
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            named = {p.name for p in free} | set(task.bindings.kwargs) | set(_filled(task))
            for layer in reversed(layers):
                values |= {k: _plain(v) for k, v in layer.items() if k not in named}
            taken.update(open_to)
            continue
        taken.add(name)
        layer = next((layer for layer in layers if name in layer), None)
        if layer is not None:
            annotation = _annotation(task.fn, parameter)
            values[name] = _fit(layer[name], annotation, name, spec, task, task.fn, problems)
        elif parameter.default is _empty and not (name in own and name in spec.params):
            if not any(p.message.startswith(f"missing parameter {name!r}") for p in problems):
                problems.append(_missing(name, parameter, spec, task))
    return values


def _filled(task: TaskSpec) -> list[str]:
    signature = signature_of(task.fn)
    return list(signature.parameters)[: len(task.bindings.args)] if signature else []


def _missing(
    name: str, parameter: inspect.Parameter, spec: FlowSpec, task: TaskSpec | None
) -> Problem:
    fn = task.fn if task else spec.fn
    needs = f"task {task.name!r}" if task else f"flow {spec.name!r}"
    kind = "" if fn is None else _expected(_annotation(fn, parameter))
    return Problem(
        "MXM401",
        f"missing parameter {name!r}: {needs} needs it{kind} and nothing gives it a value",
        f"give it at the run: -p {name}=..., or a default in the signature",
        (Source.of_function(fn) if fn else None) or (task or spec).source,
        spec.name,
        task.name if task else None,
    )


def _expected(annotation: Any) -> str:
    return "" if annotation is _empty else f" ({type_text(annotation)})"


def _unused(spec: FlowSpec, runtime: Mapping[str, Any], taken: set[str]) -> Iterator[Problem]:
    for name in runtime:
        filled = [t for t in spec.tasks if name in t.bindings.kwargs or name in _filled(t)]
        if filled and (name not in own_parameters(spec)):
            yield Problem(
                "MXM403",
                f"parameter {name!r} is not used: task {filled[0].name!r} has that input "
                "from an edge of the graph",
                "an edge is never overridden by a parameter",
                filled[0].source,
                spec.name,
                filled[0].name,
                "warning",
            )
        elif name not in taken:
            hint = did_you_mean(name, taken) if closest(name, taken) else None
            yield Problem(
                "MXM403",
                f"parameter {name!r} is not used: no task of flow {spec.name!r} takes it",
                hint or (f"known: {', '.join(sorted(taken))}" if taken else "no task takes any"),
                spec.source,
                spec.name,
                severity="warning",
            )


def _annotation(fn: Callable[..., Any] | None, parameter: inspect.Parameter) -> Any:
    if fn is None or parameter.annotation is _empty:
        return _empty
    return hints_of(fn).get(parameter.name, _empty)


def _plain(value: Any) -> Any:
    """*value* without the mark of the command: where no annotation speaks, JSON if it parses."""
    return _json_or_text(value) if isinstance(value, Text) else value


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return str(value)


def _fit(
    value: Any,
    annotation: Any,
    name: str,
    spec: FlowSpec,
    task: TaskSpec | None,
    fn: Callable[..., Any],
    problems: list[Problem],
) -> Any:
    """*value* as *annotation* wants it; one that cannot be so becomes a problem."""
    try:
        return coerce(value, annotation)
    except ValueError as error:
        owner = f"task {task.name!r}" if task else f"flow {spec.name!r}"
        detail = f": {error}" if str(error) else ""
        problems.append(
            Problem(
                "MXM402",
                f"parameter {name!r} of {owner} takes {type_text(annotation)}, "
                f"not {str(value) if isinstance(value, Text) else value!r:.200}{detail}",
                None,
                Source.of_function(fn),
                spec.name,
                task.name if task else None,
            )
        )
        return value


def coerce(value: Any, annotation: Any) -> Any:
    """*value* as an instance of *annotation*.

    What is one already passes by identity. Text from the command is taken verbatim for ``str``,
    as JSON if it parses where there is no annotation, and otherwise read by pydantic in lax mode,
    as JSON first where the type is a container or a union.

    Raises
    ------
    ValueError
        It does not fit; the message says why.
    """
    typed = isinstance(value, Text)
    if annotation in (_empty, Any, object) or isinstance(annotation, Unresolved):
        return _json_or_text(value) if typed else value
    if annotation is str and isinstance(value, str):
        return str(value) if typed else value
    if not typed and type(value) is annotation:
        return value
    # Loaded only where a value must be read: pydantic is most of the command's start.
    from mxm.pipeline.coercion import validate

    candidates: list[Any] = [value]
    if typed:
        candidates = [str(value)]
        if _reads_json(annotation):
            try:
                candidates.insert(0, json.loads(value))
            except ValueError:
                pass
    failure: ValueError | None = None
    for candidate in candidates:
        try:
            return validate(candidate, annotation)
        except ValueError as error:
            failure = error
    raise failure if failure is not None else ValueError


def _reads_json(annotation: Any) -> bool:
    """Whether text for *annotation* is tried as JSON first: containers, unions, models, enums."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _reads_json(typing.get_args(annotation)[0])
    if origin is typing.Literal:
        return any(not isinstance(arg, str) for arg in typing.get_args(annotation))
    if origin is not None:
        return True
    return isinstance(annotation, type) and (
        issubclass(annotation, list | tuple | dict | set | frozenset | Enum)
        or hasattr(annotation, "__dataclass_fields__")
        or hasattr(annotation, "model_fields")
    )
