"""Parameters: who takes which, whose value wins, and text into the types that functions declare."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from mxm.pipeline.errors import ParameterError, Problem, Source, closest, did_you_mean
from mxm.pipeline.examples import example_of
from mxm.pipeline.functions import signature_of
from mxm.pipeline.hints import Unresolved, hints_of, type_text
from mxm.pipeline.masking import is_secret, mask, secret_parameters
from mxm.pipeline.reading import Given, Text, coerce, plain
from mxm.pipeline.spec import Binding, Collection, FlowSpec, Param, TaskSpec, upstreams_in

__all__ = [
    "Given",
    "Origin",
    "Parameter",
    "Resolved",
    "Text",
    "coerce",
    "parameters_of",
    "resolve",
    "secret_names",
]

Origin: TypeAlias = Literal["run", "flow", "task", "default", "required"]

_empty = inspect.Parameter.empty
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


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
        By task, the values for those parameters that no edge fills and no default is left to;
        and for those to which a body hands on text, the text as the task reads it.
    secrets
        Names in `flow` whose values are not to be shown: they are masked there, and not in `tasks`.
    warnings
        Keys that nothing takes, and the like.
    """

    flow: dict[str, Any] = field(default_factory=dict[str, Any])
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]], repr=False)
    secrets: frozenset[str] = frozenset()
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


def secret_names(spec: FlowSpec, given: Iterable[str] = ()) -> frozenset[str]:
    """Keys whose values are shown nowhere: those that the flow, or any of its tasks, calls secret.

    Parameters
    ----------
    spec
        The flow.
    given
        The run's keys, for functions that take any: ``**tokens: SecretStr``.
    """
    found = set(secret_parameters(spec.fn))
    for task in spec.tasks:
        secrets = secret_parameters(task.fn)
        if not secrets:
            continue
        found |= secrets
        bound = _bound(task)
        found.update(*(_params_in(bound[name]) for name in secrets if name in bound))
        signature = signature_of(task.fn)
        named: Mapping[str, inspect.Parameter] = signature.parameters if signature else {}
        if any(named[n].kind is inspect.Parameter.VAR_KEYWORD for n in secrets if n in named):
            found |= {*given, *spec.params, *task.params} - set(named)
    return frozenset(found)


def _params_in(binding: Binding) -> set[str]:
    """The parameters of the flow from which *binding* is made."""
    if isinstance(binding, Collection):
        return {name for item in binding.items for name in _params_in(item)}
    return {binding.name} if isinstance(binding, Param) else set()


def parameters_of(spec: FlowSpec) -> list[Parameter]:
    """Every parameter that a run of *spec* takes: the flow's own first, then the tasks'.

    The default of a secret is masked.
    """
    secrets = secret_names(spec)
    return [
        replace(p, default=mask(p.default)) if p.name in secrets and not p.required else p
        for p in _parameters_of(spec)
    ]


def _parameters_of(spec: FlowSpec) -> list[Parameter]:
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
    reading = _Reading(spec, given)
    tasks = {task.name: reading.task_values(task) for task in spec.tasks}
    unused = list(reading.unused())
    problems = reading.problems + (unused if strict else [])
    if problems:
        raise ParameterError(spec.name, problems)
    warnings = [*([] if strict else unused), *reading.overridden()]
    values = {k: plain(v) for k, v in {**spec.params, **reading.runtime}.items()}
    secrets = reading.secrets
    # One that is misspelt is a secret all the same.
    secrets |= {k for k in values if k not in reading.taken and closest(k, secrets)}
    flow = {k: mask(v) if k in secrets else v for k, v in values.items()}
    return Resolved(flow, tasks, secrets, warnings)


class _Reading:
    """The values of one run on their way to the flow and its tasks, and what is wrong with them."""

    def __init__(self, spec: FlowSpec, given: Mapping[str, Any]) -> None:
        self.spec = spec
        self.own = own_parameters(spec)
        self.problems: list[Problem] = []
        self.secrets = secret_names(spec, given)
        self.origins = {k: v.origin for k, v in given.items() if isinstance(v, Given)}
        values = {k: v.value if isinstance(v, Given) else v for k, v in given.items()}
        # Where the flow does not say what its parameter is, text is left for the tasks to read.
        self.runtime: dict[str, Any] = {
            k: self.fit(v, k, self.own[k], None) if self._says(k) else v for k, v in values.items()
        }
        for name, parameter in self.own.items():
            if name not in spec.params and name not in given:
                self.problems.append(_missing(name, parameter, spec, None))
        self.taken = set(self.own)
        # In a traced flow a parameter of its signature reaches a task only where the body passes
        # it, and an argument that the body omits does not ask the flow.
        open_to = {k: v for k, v in self.runtime.items() if not (spec.traced and k in self.own)}
        flow: Mapping[str, Any] = {} if spec.traced else spec.params
        self.layers: tuple[Mapping[str, Any], ...] = (open_to, flow)

    def _says(self, name: str) -> bool:
        annotation = _annotation(self.spec.fn, self.own[name]) if name in self.own else _empty
        return annotation is not _empty and not isinstance(annotation, Unresolved)

    def task_values(self, task: TaskSpec) -> dict[str, Any]:
        """By parameter, what *task* takes from the run, the flow and its own ``params``."""
        values = dict(self._read_here(task))
        free = list(free_parameters(task))
        layers = (*self.layers, task.params)
        if task.produces and task.produces.partition_key:
            self.taken.add(task.produces.partition_key)
        for parameter in free:
            name = parameter.name
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                named = {p.name for p in free} | set(_bound(task))
                extra = {k: v for layer in reversed(layers) for k, v in layer.items()}
                self.taken.update(layers[0])
                names = [k for k in extra if k not in named]
                values |= {k: self.fit(extra[k], k, parameter, task) for k in names}
                continue
            self.taken.add(name)
            layer = next((layer for layer in layers if name in layer), None)
            if layer is not None:
                values[name] = self.fit(layer[name], name, parameter, task)
            elif parameter.default is _empty and not self._told(f"missing parameter {name!r}:"):
                self.problems.append(_missing(name, parameter, self.spec, task))
        return values

    def _read_here(self, task: TaskSpec) -> Iterator[tuple[str, Any]]:
        """What a body hands on and *task* reads as it annotates it: typed text, and secrets."""
        signature = signature_of(task.fn)
        secrets = secret_parameters(task.fn)
        known = {**self.spec.params, **self.runtime}
        for name, binding in _bound(task).items():
            if not isinstance(binding, Param) or binding.path or not signature:
                continue
            value = known.get(binding.name)
            reads = isinstance(value, Text) or (name in secrets and isinstance(value, str | bytes))
            if reads and name in signature.parameters:
                yield name, self.fit(value, name, signature.parameters[name], task, binding.name)

    def _told(self, opening: str) -> bool:
        return any(problem.message.startswith(opening) for problem in self.problems)

    def fit(
        self,
        value: Any,
        name: str,
        parameter: inspect.Parameter,
        task: TaskSpec | None,
        key: str | None = None,
    ) -> Any:
        """*value* as *parameter*'s annotation wants it; one that cannot be so becomes a problem.

        *key* is the name that the run gives it by, where that is not the parameter's own.
        """
        key = key or name
        fn = task.fn if task else self.spec.fn
        annotation = _annotation(fn, parameter)
        secret = is_secret(annotation)
        # "window: int = None" is common, and takes None; a secret's default may be plain text.
        if value is parameter.default and (value is None or not secret):
            return value
        try:
            return coerce(value, annotation)
        except ValueError as error:
            if self._told(f"parameter {name!r}{self._from(key)} of flow"):
                return value
            owner = f"task {task.name!r}" if task else f"flow {self.spec.name!r}"
            told = f"takes {type_text(annotation)}, not "
            hint: str | None = None
            if secret or {name, key} & self.secrets:
                told += "what was given, which is a secret and not shown"
            else:
                typed = isinstance(value, Text)
                told += (str(value) if typed else repr(value))[:200]
                told += f": {error}" if str(error) else ""
                hint = example_of(annotation, key, value, typed=typed)
            self.problems.append(
                Problem(
                    "MXM402",
                    f"parameter {name!r}{self._from(key)} of {owner} {told}",
                    hint,
                    (Source.of_function(fn) if fn else None) or (task or self.spec).source,
                    self.spec.name,
                    task.name if task else None,
                )
            )
            return value

    def _from(self, key: str) -> str:
        return f" (from {self.origins[key]})" if key in self.origins else ""

    def unused(self) -> Iterator[Problem]:
        """The run's keys that nothing takes, each with the reason."""
        spec = self.spec
        for name in self.runtime:
            if name in self.taken:
                continue
            filled = [t for t in spec.tasks if name in _bound(t)]
            task = filled[0].name if filled else None
            source = filled[0].source if filled else spec.source
            if filled and any(_has_edge(t, name) for t in filled):
                why = f"task {task!r} has that input from an edge of the graph"
                hint = "an edge is never overridden by a parameter"
            elif filled:
                why = f"the body of flow {spec.name!r} gives task {task!r} that input"
                hint = f"it is bound at {spec.source}: make it a parameter of the flow"
            else:
                why = f"no task of flow {spec.name!r} takes it"
                near = did_you_mean(name, self.taken) if closest(name, self.taken) else None
                known = ", ".join(sorted(self.taken))
                hint = near or (f"known: {known}" if known else "no task takes any")
            yield Problem(
                "MXM403",
                f"parameter {name!r}{self._from(name)} is not used: {why}",
                hint,
                source,
                spec.name,
                task,
                "warning",
            )

    def overridden(self) -> Iterator[Problem]:
        """The run's keys that some task takes, and another has from an edge."""
        for task in self.spec.tasks:
            for name in self.layers[0]:
                if name in self.taken and name in _bound(task) and _has_edge(task, name):
                    yield Problem(
                        "MXM403",
                        f"parameter {name!r} does not reach task {task.name!r}, "
                        "which has that input from an edge of the graph",
                        "an edge is never overridden by a parameter",
                        task.source,
                        self.spec.name,
                        task.name,
                        "warning",
                    )


def _bound(task: TaskSpec) -> dict[str, Binding]:
    """The bindings of *task* by the parameter that each fills."""
    names: list[str] = []
    if task.bindings.args and (signature := signature_of(task.fn)):
        names = [n for n, p in signature.parameters.items() if p.kind in _POSITIONAL]
    return {**dict(zip(names, task.bindings.args, strict=False)), **task.bindings.kwargs}


def _has_edge(task: TaskSpec, name: str) -> bool:
    return next(upstreams_in([_bound(task)[name]]), None) is not None


def _missing(
    name: str, parameter: inspect.Parameter, spec: FlowSpec, task: TaskSpec | None
) -> Problem:
    fn = task.fn if task else spec.fn
    needs = f"task {task.name!r}" if task else f"flow {spec.name!r}"
    kind = "" if fn is None else _expected(_annotation(fn, parameter))
    if task and spec.traced and name in own_parameters(spec):
        why = f"the body of flow {spec.name!r} does not pass it"
        hint = f"pass it in the call: {name}={name}"
    else:
        why = "nothing gives it a value"
        value = "@env:NAME" if name in secret_parameters(fn) else "VALUE"
        hint = (
            f"give it at the run: -p {name}={value}, from Python .run({name}=...); "
            "or give it a default in the signature"
        )
    return Problem(
        "MXM401",
        f"missing parameter {name!r}: {needs} needs it{kind} and {why}",
        hint,
        (Source.of_function(fn) if fn else None) or (task or spec).source,
        spec.name,
        task.name if task else None,
    )


def _expected(annotation: Any) -> str:
    return "" if annotation is _empty else f" ({type_text(annotation)})"


def _annotation(fn: Callable[..., Any] | None, parameter: inspect.Parameter) -> Any:
    if fn is None or parameter.annotation is _empty:
        return _empty
    annotation = hints_of(fn).get(parameter.name, _empty)
    # **options: Unpack[Options] speaks of all the keys, not of each.
    return _empty if typing.get_origin(annotation) is typing.Unpack else annotation
