"""Flows as text and as documents, for `list` and `show`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mxm.pipeline.checks.declarations import find_errors, find_problems
from mxm.pipeline.cli.output import few, print_warning, tell
from mxm.pipeline.discovery.search import WAY_OUT, Discovery, Failure
from mxm.pipeline.errors import PipelineError, ResultError, described, repr_of
from mxm.pipeline.introspection.annotations import type_text
from mxm.pipeline.introspection.uses import ResourceBase, resources_of, settings_of, used_by
from mxm.pipeline.params.declared import Parameter, annotation_of, parameters_of
from mxm.pipeline.problems import Problem, shown_path
from mxm.pipeline.registry import Registration
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.timing.retries import Backoff
from mxm.pipeline.values.jsonvalue import to_json
from mxm.pipeline.values.secrets import mask, secret_parameters
from mxm.pipeline.views.calls import call_text, constants_of, delays_of, rules_of, seconds_text
from mxm.pipeline.views.names import grouped

__all__ = [
    "failure_document",
    "flow_document",
    "json_form",
    "counted",
    "list_document",
    "list_rows",
    "parameter_rows",
    "print_left_out",
    "print_search",
    "problem_document",
    "resource_rows",
    "task_rows",
]


def _summary(spec: FlowSpec) -> str:
    return spec.doc.partition("\n")[0]


def _source(entry: Registration) -> str:
    return str(entry.source) if entry.source else shown_path(entry.place.file)


def _errors(entry: Registration, clashes: Mapping[str, Problem]) -> list[Problem]:
    """The problems that prevent running *entry* by its name."""
    clash = [clashes[entry.name]] if entry.name in clashes else []
    return clash + find_errors(entry.spec())


def print_search(discovery: Discovery) -> None:
    """Print on stderr where the search stopped early, and where it looked if it found nothing."""
    for warning in discovery.warnings:
        print_warning(warning)
    if not discovery.flows:
        hints = [f"hint: {WAY_OUT}"]
        if discovery.left_out:
            hints.append("hint: `mxm-pipeline list -v` lists the files that were left out")
        tell("\n  ".join(("no flows found; looked at:", *discovery.looked_at, *hints)))


def print_left_out(discovery: Discovery) -> None:
    """Print on stderr what was not imported, and why."""
    left_out = discovery.left_out
    if left_out:
        lines = [f"{shown_path(each.path)}: {each.why}" for each in left_out]
        tell("\n  ".join(("not imported:", *lines)))


def _place(entry: Registration, discovery: Discovery) -> str:
    """The place of *entry*, one of several with its name, with the line if its file has others."""
    same = [e for e in discovery.flows if (e.name, e.place.file) == (entry.name, entry.place.file)]
    return _source(entry) if len(same) > 1 else shown_path(entry.place.file)


def list_rows(discovery: Discovery) -> list[tuple[str, str, str, str]]:
    """One row per flow: name, tasks, source, and the first line of its docstring or its problem.

    Flows of several projects are grouped by project folder.
    """
    clashes = discovery.registry.clashes()
    rows: dict[str | None, list[tuple[str, str, str, str]]] = {}
    for entry in discovery.flows:
        spec = entry.spec()
        wrong = len(_errors(entry, clashes))
        file = f" ({_place(entry, discovery)})" if entry.name in clashes else ""
        about = f"INVALID: {counted(wrong, 'problem')}" if wrong else _summary(spec)
        row = (entry.name + file, str(len(spec.tasks)), _source(entry), about)
        rows.setdefault(discovery.project_of(entry), []).append(row)
    if len(rows) < 2:
        return [row for each in rows.values() for row in each]
    table: list[tuple[str, str, str, str]] = []
    for project, each in sorted(rows.items(), key=lambda item: item[0] or ""):
        table.append((f"{shown_path(project)}/" if project else "installed", "", "", ""))
        table += [(f"  {row[0]}", *row[1:]) for row in each]
    return table


def _project(entry: Registration, discovery: Discovery) -> str | None:
    project = discovery.project_of(entry)
    return shown_path(project) if project else None


def list_document(discovery: Discovery) -> dict[str, Any]:
    """The same as one JSON document."""
    clashes = discovery.registry.clashes()
    flows: list[dict[str, Any]] = []
    for entry in discovery.flows:
        spec = entry.spec()
        problems = _errors(entry, clashes)
        flows.append(
            {
                "name": entry.name,
                "tasks": len(spec.tasks),
                "source": _source(entry),
                "project": _project(entry, discovery),
                "doc": _summary(spec),
                "schedule_cron": spec.schedule_cron,
                "timezone": spec.timezone,
                "valid": not problems,
                "problems": [problem_document(p) for p in problems],
            }
        )
    return {
        "schema": "mxm.flows/1",
        "flows": flows,
        "failures": [failure_document(f) for f in discovery.failures],
        "left_out": [{"path": shown_path(o.path), "why": o.why} for o in discovery.left_out],
    }


def problem_document(problem: Problem) -> dict[str, Any]:
    """*problem* as data."""
    source = problem.source
    return {
        "code": problem.code,
        "severity": problem.severity,
        "message": problem.message,
        "hint": problem.hint,
        "flow": problem.flow,
        "task": problem.task,
        "file": shown_path(source.file) if source else None,
        "line": source.line if source else None,
        "column": source.column if source else None,
        "places": [
            {"name": name, "source": str(place) if place else None}
            for name, place in problem.places
        ],
    }


def failure_document(failure: Failure) -> dict[str, Any]:
    """*failure* as data."""
    return {
        "module": failure.module,
        "error": described(failure.error),
        "source": str(failure.source) if failure.source else None,
        "origin": failure.origin,
    }


def _default(parameter: Parameter) -> str:
    """The default as typed on the command line."""
    text = _whole_default(parameter)
    return text if len(text) <= 60 else text[:57] + "..."


def _whole_default(parameter: Parameter) -> str:
    if parameter.required:
        return "(required)"
    plain = json_form(parameter.default)
    return plain if isinstance(plain, str) and plain else json.dumps(plain, ensure_ascii=False)


def parameter_rows(spec: FlowSpec) -> list[tuple[str, str, str, str]]:
    """One row per parameter: name, type, default, and the source of the default.

    If tasks differ in type or default, there is a row for each; only the first has the name.
    """
    rows: list[tuple[str, str, str, str]] = []
    for parameter in parameters_of(spec):
        for i, each in enumerate(_by_default(parameter)):
            name = "" if i else parameter.name
            rows.append((name, type_text(each.annotation), _default(each), _origin(each)))
    return rows


def _by_default(parameter: Parameter) -> list[Parameter]:
    """*parameter* as its tasks declare it: once, or once for each type and default."""
    groups: dict[tuple[str, str, str], list[Parameter]] = {}
    for taker in parameter.takers:
        key = (type_text(taker.annotation), _whole_default(taker), taker.origin)
        groups.setdefault(key, []).append(taker)
    if len(groups) < 2:
        return [parameter]
    return [
        replace(takers[0], tasks=tuple(task for taker in takers for task in taker.tasks))
        for takers in groups.values()
    ]


def _origin(parameter: Parameter) -> str:
    tasks = few(grouped(parameter.tasks))
    if parameter.origin == "flow":
        return "flow"
    if parameter.origin == "required":
        return f"required by {tasks}" if tasks else "required"
    return f"task {tasks}" if parameter.origin == "task" else f"default of {tasks}"


def resource_rows(spec: FlowSpec) -> list[tuple[str, str, str, str]]:
    """One row per resource and setting: ``db.url``, type, default and where it is declared."""
    rows: list[tuple[str, str, str, str]] = []
    for resource in used_by(task.fn for task in spec.tasks):
        source = str(resource.source or "")
        settings = settings_of(resource)
        for name, parameter in settings.items():
            one = _setting(resource, parameter)
            rows.append(
                (f"{resource.name}.{name}", type_text(one.annotation), _default(one), source)
            )
        if not settings:
            rows.append((resource.name, "-", "-", source))
    return rows


def _setting(resource: ResourceBase, parameter: inspect.Parameter) -> Parameter:
    """*parameter* as the command shows one; the default of a secret is masked."""
    annotation = annotation_of(resource.fn, parameter)
    default, required = parameter.default, parameter.default is parameter.empty
    if parameter.name in secret_parameters(resource.fn) and not required:
        default = mask(default)
    return Parameter(parameter.name, annotation, default, "required" if required else "default")


def _resource_document(resource: ResourceBase) -> dict[str, Any]:
    settings = [_setting(resource, each) for each in settings_of(resource).values()]
    return {
        "name": resource.name,
        "async": resource.is_async,
        "resources": {name: one.name for name, one in resources_of(resource.fn).items()},
        "settings": [
            {
                "name": each.name,
                "type": type_text(each.annotation),
                "required": each.required,
                "default": None if each.required else json_form(each.default),
            }
            for each in settings
        ],
        "source": str(resource.source) if resource.source else None,
    }


def task_rows(spec: FlowSpec) -> list[tuple[str, str, str, str]]:
    """One row per task: name with the constants of its call, inputs, options, source."""
    return [
        (call_text(task), _inputs(task), _options(task), str(task.source or ""))
        for task in spec.tasks
    ]


def _inputs(task: TaskSpec) -> str:
    after = f"after {few(grouped(task.after))}" if task.after else ""
    return "; ".join(filter(None, (few(grouped(task.upstream)), after))) or "-"


def _options(task: TaskSpec) -> str:
    options: list[str] = []
    if task.retries:
        options.append(f"retries {task.retries}{delays_of(task)}")
    if task.timeout_s is not None:
        options.append(f"timeout {seconds_text(task.timeout_s)}")
    options += rules_of(task)
    if task.limits:
        options.append("limits " + few(task.limits))
    options += _cache_options(task)
    if task.tags:
        options.append("tags " + few(task.tags))
    if task.produces:
        options.append(f"produces {task.produces.id}")
    return "; ".join(options) or "-"


def _cache_options(task: TaskSpec) -> list[str]:
    """The cache options of *task*, in words."""
    if task.cache is None and task.flow_cache is None:
        return []
    if not (task.flow_cache if task.cache is None else task.cache):
        return ["not cached"]
    said = [] if task.cache_ttl_s is None else [f"for {task.cache_ttl_s:g} s"]
    said += [f"inputs {few(task.inputs)}"] if task.inputs else []
    said += [] if task.cache_version is None else [f"version {task.cache_version}"]
    return [" ".join(("cached", *said))]


def flow_document(entry: Registration) -> dict[str, Any]:
    """One flow as a JSON document."""
    spec = entry.spec()
    return {
        "schema": "mxm.flow/1",
        "name": spec.name,
        "doc": spec.doc,
        "source": _source(entry),
        "schedule_cron": spec.schedule_cron,
        "timezone": spec.timezone,
        "next_runs": _next_runs(spec),
        "cache": spec.cache,
        "params": [_parameter_document(p) for p in parameters_of(spec)],
        "tasks": [_task_document(task) for task in spec.tasks],
        "resources": [_resource_document(one) for one in used_by(t.fn for t in spec.tasks)],
        "problems": [problem_document(p) for p in find_problems(spec)],
    }


def _next_runs(spec: FlowSpec) -> list[str]:
    if spec.schedule_cron is None:
        return []
    from mxm.pipeline.cli.scheduled import schedule_of  # few flows have one

    try:
        when = schedule_of(spec)
    except PipelineError:  # one of its problems
        return []
    return [time.isoformat() for time in when.next_times()] if when else []


def _parameter_document(parameter: Parameter) -> dict[str, Any]:
    groups = _by_default(parameter)
    return {
        **_default_document(parameter),
        # The type and default in each task, if they differ.
        "differing": [_default_document(each) for each in groups] if len(groups) > 1 else [],
    }


def _default_document(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "type": type_text(parameter.annotation),
        "required": parameter.required,
        "default": None if parameter.required else json_form(parameter.default),
        "origin": parameter.origin,
        "tasks": list(parameter.tasks),
    }


def json_form(value: object) -> Any:
    """*value* as JSON, or as text; its own code may fail."""
    try:
        return to_json(value, strict=True).value
    except ResultError:
        return repr_of(value)


def _delay_form(delay: object) -> Any:
    if callable(delay) and not isinstance(delay, Backoff):
        return f"{getattr(delay, '__qualname__', None) or type(delay).__qualname__}()"
    return json_form(delay)


def _task_document(task: TaskSpec) -> dict[str, Any]:
    produces = task.produces
    doc = inspect.getdoc(task.fn) or ""
    return {
        "name": task.name,
        "upstream": list(task.upstream),
        "constants": {name: json_form(value) for name, value in constants_of(task).items()},
        "resources": {name: one.name for name, one in resources_of(task.fn).items()},
        "after": list(task.after),
        "retries": task.retries,
        "retry_delay_s": _delay_form(task.retry_delay_s),
        "timeout_s": task.timeout_s,
        "limits": list(task.limits),
        "cache": task.flow_cache if task.cache is None else task.cache,
        "cache_ttl_s": task.cache_ttl_s,
        "inputs": list(task.inputs),
        "cache_version": task.cache_version,
        "tags": list(task.tags),
        "run_if": task.run_if,
        "allow_failure": task.allow_failure,
        "produces": produces.id if produces else None,
        "doc": doc.partition("\n")[0],
        "source": str(task.source) if task.source else None,
    }


def counted(count: int, noun: str) -> str:
    """``1 flow``, ``2 flows``."""
    return f"{count} {noun}{'s' * (count != 1)}"
