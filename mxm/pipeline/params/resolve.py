"""Resolves the parameters of one run: precedence, types and problems."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, cast

from mxm.pipeline.assets.declared import AssetDecl
from mxm.pipeline.assets.templates import fields_of
from mxm.pipeline.bindings import (
    Binding,
    Param,
    by_parameter,
    free_parameters,
    keys_taken,
    upstreams_in,
)
from mxm.pipeline.errors import ParameterError, repr_of, text_of
from mxm.pipeline.introspection.annotations import Unresolved, type_text
from mxm.pipeline.introspection.signatures import shape_of, signature_of
from mxm.pipeline.introspection.uses import uses_of
from mxm.pipeline.params.declared import annotation_of, own_parameters, secret_names
from mxm.pipeline.problems import Problem, Source, closest, did_you_mean
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.values.conversion import Sourced, Text
from mxm.pipeline.values.examples import example_of
from mxm.pipeline.values.membership import unknown_keys
from mxm.pipeline.values.parts import (
    MISSING,
    Fields,
    Members,
    PartError,
    assemble,
    origins_in,
    plain_parts,
)
from mxm.pipeline.values.secrets import is_secret, mask, secret_parameters

__all__ = ["Resolved", "resolve"]

__tracebackhide__ = True  # pytest shows the lines of the test and of its tasks, not these

_empty = inspect.Parameter.empty


@dataclass
class Resolved:
    """The parameters of one run, with all values assigned.

    Attributes
    ----------
    flow
        Values for the whole flow: its own and the run's.
    tasks
        By task: the values of parameters that neither an edge nor a default fills, and text that a
        body passes on, converted as the task's annotation says.
    secrets
        Names in `flow` whose values must not be shown: they are masked there, but not in `tasks`.
    warnings
        Warnings, such as keys that no task takes.
    """

    flow: dict[str, Any] = field(default_factory=dict[str, Any])
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]], repr=False)
    secrets: frozenset[str] = frozenset()
    warnings: list[Problem] = field(default_factory=list[Problem])


def resolve(spec: FlowSpec, params: Mapping[str, Any], *, strict: bool = False) -> Resolved:
    """Assign a value to every parameter: runtime > flow > task > the function's default.

    Parameters
    ----------
    spec
        The flow.
    params
        The run's own values; `Text` for those typed on the command line.
    strict
        Whether a key that nothing takes is an error instead of a warning.

    Raises
    ------
    ParameterError
        Values are missing or do not fit; it lists all of them.
    TypeError
        *params* are not values by name.
    """
    _check_names(spec.name, params)
    reading = _Reading(spec, params)
    tasks = {task.name: reading.task_values(task) for task in spec.tasks}
    unused = list(reading.unused())
    # Where a value is missing, a key that nothing takes may be its name, misspelt.
    missing = any(problem.code == "MXM401" for problem in reading.problems)
    problems = reading.problems + (unused if strict or missing else [])
    if problems:
        raise ParameterError(spec.name, problems)
    warnings = [*([] if strict else unused), *reading.noted, *reading.overridden()]
    values = {k: reading.shown(k, v) for k, v in {**spec.params, **reading.runtime}.items()}
    secrets = reading.secrets
    # A misspelt secret is still a secret.
    secrets |= {k for k in values if k not in reading.taken and closest(k, secrets)}
    flow = {k: mask(v) if k in secrets else v for k, v in values.items()}
    return Resolved(flow, tasks, secrets, warnings)


def _check_names(flow: str, params: object) -> None:
    """Check that *params* are values by name, as a type checker would."""
    if not isinstance(params, Mapping):
        raise TypeError(
            f"parameters of flow {flow!r} must be a mapping of names to values, "
            f"{{'window': 5}}, not {type(params).__name__}"
        )
    for name in cast("Mapping[object, object]", params):
        if not isinstance(name, str):
            raise TypeError(
                f"names of parameters of flow {flow!r} must be text, not {repr_of(name)}"
            )


class _Reading:
    """Reads the values of one run for the flow and its tasks, and collects problems."""

    def __init__(self, spec: FlowSpec, params: Mapping[str, Any]) -> None:
        self.spec = spec
        self.own = own_parameters(spec)
        self.problems: list[Problem] = []
        self.noted: list[Problem] = []
        self._reported: set[str] = set()  # keys that are missing or unreadable for the flow
        self.secrets = secret_names(spec, params)
        self.origins = {k: o for name, v in params.items() for k, o in origins_in(name, v)}
        self._assembled: dict[str, Any] = {}  # what tasks first made of values given in parts
        values = {k: v.value if isinstance(v, Sourced) else v for k, v in params.items()}
        # If the flow does not annotate a parameter, its tasks convert the text.
        self.runtime: dict[str, Any] = {
            k: self.fit(v, k, self.own[k], None, base=spec.params.get(k, MISSING))
            if self._says(k) or (k in self.own and isinstance(v, Fields))
            else v
            for k, v in values.items()
        }
        for name, parameter in self.own.items():
            if name not in spec.params and name not in params:
                self._miss(name, parameter, None)
        self.taken = set(self.own)
        # In a traced flow, a parameter of its signature reaches a task only if the body passes it,
        # and an argument that the body omits does not come from the flow.
        open_to = {k: v for k, v in self.runtime.items() if not (spec.traced and k in self.own)}
        flow: Mapping[str, Any] = {} if spec.traced else spec.params
        self.layers: tuple[Mapping[str, Any], ...] = (open_to, flow)

    def _says(self, name: str) -> bool:
        annotation = annotation_of(self.spec.fn, self.own[name]) if name in self.own else _empty
        return annotation is not _empty and not isinstance(annotation, Unresolved)

    def _is_default(self, name: str) -> bool:
        """Whether the flow's value of *name* is the default in its signature."""
        return name in self.own and self.spec.params[name] is self.own[name].default

    def shown(self, name: str, value: Any) -> Any:
        """*value* for the run's own parameters, without an annotation."""
        return self._assembled[name] if name in self._assembled else plain_parts(value)

    def task_values(self, task: TaskSpec) -> dict[str, Any]:
        """By parameter, the values for *task* from the run, the flow and its own ``params``."""
        values = dict(self._read_here(task))
        layers = (*self.layers, task.params)
        if task.produces:
            self._read_fields(task, task.produces)
        for parameter in free_parameters(task.fn, task.bindings):
            name = parameter.name
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                extra = {k: v for layer in reversed(layers) for k, v in layer.items()}
                names = keys_taken(task.fn, task.bindings, extra)
                self.taken.update(names)
                values |= {
                    k: self.fit(extra[k], k, parameter, task, base=_second(layers, k, MISSING))
                    for k in names
                    if k not in values
                }
                continue
            self.taken.add(name)
            layer = next((layer for layer in layers if name in layer), None)
            if layer is not None:
                base = _second(layers, name, parameter.default)
                # A plain call passes the default unconverted, so a run does, too.
                default = layer is self.layers[1] and self._is_default(name)
                if default and name not in secret_parameters(task.fn):
                    values[name] = layer[name]
                else:
                    values[name] = self.fit(layer[name], name, parameter, task, base=base)
            elif parameter.default is _empty:
                self._miss(name, parameter, task)
        return values

    def _read_fields(self, task: TaskSpec, asset: AssetDecl) -> None:
        """Ask for what the path of *asset* needs and no function takes."""
        if asset.partition_key:
            self.taken.add(asset.partition_key)
        fields = fields_of(asset.path_template)
        if not fields:
            return
        self.taken.update(fields)
        shape = shape_of(task.fn)
        own = {*shape.positional, *shape.keyword_only} if shape else set[str]()
        known = {*own, *self.own, *self.runtime, *self.spec.params, *task.params}
        for name in fields:
            if name not in known and name not in self._reported:
                self._reported.add(name)
                self.problems.append(_missing_field(name, asset, self.spec, task))

    def _read_here(self, task: TaskSpec) -> Iterator[tuple[str, Any]]:
        """Values passed on by a body that *task* converts by its annotation: text and secrets."""
        own = task.bindings
        if Param not in map(type, own.args) and Param not in map(type, own.kwargs.values()):
            return
        bound = by_parameter(task.fn, own)
        passed = [(k, b) for k, b in bound.items() if isinstance(b, Param) and not b.path]
        signature = signature_of(task.fn) if passed else None
        if signature is None:
            return
        secrets = secret_parameters(task.fn)
        known = {**self.spec.params, **self.runtime}
        for name, binding in passed:
            value = known.get(binding.name)
            reads = isinstance(value, Text | Members | Fields) or (
                name in secrets and isinstance(value, str | bytes)
            )
            if reads and name in signature.parameters:
                base = self.spec.params.get(binding.name, MISSING)
                parameter = signature.parameters[name]
                yield name, self.fit(value, name, parameter, task, binding.name, base=base)

    def _miss(self, name: str, parameter: inspect.Parameter, task: TaskSpec | None) -> None:
        if name not in self._reported:
            self._reported.add(name)
            self.problems.append(_missing(name, parameter, self.spec, task))

    def fit(
        self,
        value: Any,
        name: str,
        parameter: inspect.Parameter,
        task: TaskSpec | None,
        key: str | None = None,
        *,
        base: Any = MISSING,
    ) -> Any:
        """Convert *value* to the annotation of *parameter*; a failure becomes a problem.

        *key* is the run's name for it, if it differs from the parameter's own; *base* is the value
        without the run's.
        """
        key = key or name
        fn = task.fn if task else self.spec.fn
        annotation = annotation_of(fn, parameter)
        secret = is_secret(annotation)
        # "window: int = None" is common and takes None.
        takes = _optional(annotation) if parameter.default is None else annotation
        closed = isinstance(value, Text | Members | Fields) or key in self.origins
        try:
            fitting = assemble(value, takes, base, closed=closed)
            if isinstance(value, Members | Fields):
                self._assembled.setdefault(key, fitting)
            if not closed:
                self._note_unknown(fitting, annotation, name, task)
            return fitting
        except ValueError as error:
            if key in self._reported:
                return value
            if task is None:
                self._reported.add(key)
            owner = f"task {task.name!r}" if task else f"flow {self.spec.name!r}"
            place, hint = "", None
            typed = isinstance(value, Text | Members | Fields)
            hidden = secret or bool({name, key} & self.secrets)
            if isinstance(error, PartError):
                place, hint, value = error.place, error.hint, error.value
                if error.annotation is not takes:
                    takes = annotation = error.annotation
            expected = type_text(annotation)
            if not typed and expected == type_text(type(value)):
                expected = type_text(annotation, modules=True)
            message = f"takes {expected}, not "
            if isinstance(error, PartError) and annotation is MISSING:
                message = text_of(error)
            elif hidden:
                message += "the value given (a secret, not shown)"
            else:
                message += repr_of(str(value) if isinstance(value, Text) else value)[:200]
                message += f": {text_of(error)}" if text_of(error) else ""
                hint = example_of(takes, key + _dotted(place), value, typed=typed)
            self.problems.append(
                Problem(
                    "MXM402",
                    f"parameter {name + place!r}{self._from(key + place)} of {owner} {message}",
                    hint,
                    source=(Source.of_function(fn) if fn else None) or (task or self.spec).source,
                    flow=self.spec.name,
                    task=task.name if task else None,
                )
            )
            return value

    def _note_unknown(self, value: Any, annotation: Any, name: str, task: TaskSpec | None) -> None:
        """Report unknown keys of a typed dict from Python: type-correct, but perhaps misspelt."""
        for place, key, missing in unknown_keys(value, annotation):
            near = closest(text_of(key), missing)
            owner = task or self.spec
            problem = Problem(
                "MXM405",
                f"parameter {name + place!r}: {type_text(annotation)} has no key {repr_of(key)}",
                f"did you mean {near!r}?" if near else "the key is passed on unchanged",
                source=owner.source,
                flow=self.spec.name,
                task=task.name if task else None,
                severity="error" if near else "warning",
            )
            (self.problems if near else self.noted).append(problem)

    def _from(self, key: str) -> str:
        return f" (from {self.origins[key]})" if key in self.origins else ""

    def unused(self) -> Iterator[Problem]:
        """The run's keys that nothing takes, with reasons."""
        spec = self.spec
        for name in self.runtime:
            if name in self.taken:
                continue
            inputs = [(t, by_parameter(t.fn, t.bindings).get(name)) for t in spec.tasks]
            filled = [(t, binding) for t, binding in inputs if binding is not None]
            task = filled[0][0].name if filled else None
            source = filled[0][0].source if filled else spec.source
            if any(_has_edge(binding) for _, binding in filled):
                why = f"task {task!r} gets that input from an edge of the graph"
                hint = "a parameter never overrides an edge"
            elif filled:
                why = f"the body of flow {spec.name!r} passes that input to task {task!r}"
                hint = f"it is set at {source}: make it a parameter of the flow"
            elif any(name in uses_of(each.fn) for each in spec.tasks):
                user = next(each for each in spec.tasks if name in uses_of(each.fn))
                task, source = user.name, user.source
                why = f"task {task!r} takes {uses_of(user.fn)[name]!r} there"
                hint = "the run opens a resource; another goes into with_options(resources={...})"
            else:
                why = f"no task of flow {spec.name!r} takes it"
                near = did_you_mean(name, self.taken) if closest(name, self.taken) else None
                known = ", ".join(sorted(self.taken))
                hint = near or (f"known: {known}" if known else "no task takes parameters")
            yield Problem(
                "MXM403",
                f"parameter {name!r}{self._from(name)} is not used: {why}",
                hint,
                source=source,
                flow=spec.name,
                task=task,
                severity="warning",
            )

    def overridden(self) -> Iterator[Problem]:
        """The run's keys that one task takes, while another gets that input from an edge."""
        for task in self.spec.tasks:
            for name in self.layers[0]:
                if name not in self.taken:
                    continue
                binding = by_parameter(task.fn, task.bindings).get(name)
                use = uses_of(task.fn).get(name)
                if use is not None or (binding is not None and _has_edge(binding)):
                    what = "an edge" if use is None else "a resource"
                    has = f"gets that input from {what}" + " of the graph" * (use is None)
                    yield Problem(
                        "MXM403",
                        f"parameter {name!r} does not reach task {task.name!r}, which {has}",
                        f"a parameter never overrides {what}",
                        source=task.source,
                        flow=self.spec.name,
                        task=task.name,
                        severity="warning",
                    )


def _second(layers: Sequence[Mapping[str, Any]], name: str, default: Any) -> Any:
    """The value of *name* without the first of *layers*."""
    return next((layer[name] for layer in layers[1:] if name in layer), default)


def _optional(annotation: Any) -> Any:
    """*annotation* or None."""
    if annotation in (_empty, Any) or isinstance(annotation, Unresolved):
        return annotation
    return Optional[annotation]  # noqa: UP045 - `|` is not defined for every annotation


def _dotted(place: str) -> str:
    """*place* as on the command line, where members of a list have only the list's name."""
    return place.partition("[")[0]


def _has_edge(binding: Binding) -> bool:
    return next(upstreams_in([binding]), None) is not None


def _missing(
    name: str, parameter: inspect.Parameter, spec: FlowSpec, task: TaskSpec | None
) -> Problem:
    fn = task.fn if task else spec.fn
    needs = f"task {task.name!r}" if task else f"flow {spec.name!r}"
    kind = "" if fn is None else _expected(annotation_of(fn, parameter))
    value = "@env:NAME" if name in secret_parameters(fn) else "VALUE"
    hint = (
        f"pass it with -p {name}={value}, or .run({name}=...) from Python; "
        "or give it a default in the signature"
    )
    return Problem(
        "MXM401",
        f"missing parameter {name!r}: {needs} needs it{kind}, but it has no value",
        hint,
        source=(Source.of_function(fn) if fn else None) or (task or spec).source,
        flow=spec.name,
        task=task.name if task else None,
    )


def _missing_field(name: str, asset: AssetDecl, spec: FlowSpec, task: TaskSpec) -> Problem:
    return Problem(
        "MXM401",
        f"missing parameter {name!r}: the path of asset {asset.id!r}, {asset.path_template}, "
        "needs it, but it has no value",
        f"pass it with -p {name}=VALUE, or .run({name}=...) from Python",
        source=task.source,
        flow=spec.name,
        task=task.name,
    )


def _expected(annotation: Any) -> str:
    return "" if annotation is _empty else f" ({type_text(annotation)})"
