"""Flows in words and as documents: what `list` and `show` print."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from mxm.pipeline.checks.declarations import find_errors, find_problems
from mxm.pipeline.cli.output import few, print_warning, tell
from mxm.pipeline.discovery.search import WAY_OUT, Failure, Found
from mxm.pipeline.introspection.annotations import type_text
from mxm.pipeline.params.declared import Parameter, parameters_of
from mxm.pipeline.problems import Problem, shown_path
from mxm.pipeline.registry import Registration
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.values.jsonvalue import to_json

__all__ = [
    "failure_document",
    "flow_document",
    "counted",
    "list_document",
    "list_rows",
    "parameter_rows",
    "print_left_out",
    "print_search",
    "problem_document",
    "task_rows",
]


def _summary(spec: FlowSpec) -> str:
    return spec.doc.partition("\n")[0]


def _source(entry: Registration) -> str:
    return str(entry.source) if entry.source else shown_path(entry.place.file)


def _errors(entry: Registration, clashes: Mapping[str, Problem]) -> list[Problem]:
    """What keeps *entry* from being run by its name."""
    clash = [clashes[entry.name]] if entry.name in clashes else []
    return clash + find_errors(entry.spec())


def print_search(found: Found) -> None:
    """On stderr, where the search was cut short, and where it was made if nothing was found."""
    for warning in found.warnings:
        print_warning(warning)
    if not found.flows:
        hints = [f"hint: {WAY_OUT}"]
        if found.left_out:
            hints.append("hint: `mxm-pipeline list -v` names the files that were left out")
        tell("\n  ".join(("no flows were found; looked at:", *found.looked_at, *hints)))


def print_left_out(found: Found) -> None:
    """On stderr, what was not imported, and why."""
    left_out = found.left_out
    if left_out:
        lines = [f"{shown_path(each.path)}: {each.why}" for each in left_out]
        tell("\n  ".join(("not imported:", *lines)))


def _place(entry: Registration, found: Found) -> str:
    """Where *entry*, one of several of its name, is: the line, where its file has others."""
    same = [e for e in found.flows if (e.name, e.place.file) == (entry.name, entry.place.file)]
    return _source(entry) if len(same) > 1 else shown_path(entry.place.file)


def list_rows(found: Found) -> list[tuple[str, str, str, str]]:
    """A row a flow: name, tasks, source, and the first line of its docstring or what is wrong."""
    clashes = found.registry.clashes()
    rows: list[tuple[str, str, str, str]] = []
    for entry in found.flows:
        spec = entry.spec()
        wrong = len(_errors(entry, clashes))
        file = f" ({_place(entry, found)})" if entry.name in clashes else ""
        told = f"INVALID: {counted(wrong, 'problem')}" if wrong else _summary(spec)
        rows.append((entry.name + file, str(len(spec.tasks)), _source(entry), told))
    return rows


def list_document(found: Found) -> dict[str, Any]:
    """The same as one JSON document."""
    clashes = found.registry.clashes()
    flows: list[dict[str, Any]] = []
    for entry in found.flows:
        spec = entry.spec()
        problems = _errors(entry, clashes)
        flows.append(
            {
                "name": entry.name,
                "tasks": len(spec.tasks),
                "source": _source(entry),
                "doc": _summary(spec),
                "schedule_cron": spec.schedule_cron,
                "valid": not problems,
                "problems": [problem_document(p) for p in problems],
            }
        )
    return {
        "schema": "mxm.flows/1",
        "flows": flows,
        "failures": [failure_document(f) for f in found.failures],
        "left_out": [{"path": shown_path(o.path), "why": o.why} for o in found.left_out],
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
        "error": f"{type(failure.error).__name__}: {failure.error}",
        "source": str(failure.source) if failure.source else None,
        "origin": failure.origin,
    }


def _default(parameter: Parameter) -> str:
    """The default as it would be typed at the command."""
    if parameter.required:
        return "(required)"
    plain = _plain(parameter.default)
    text = plain if isinstance(plain, str) and plain else json.dumps(plain, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def parameter_rows(spec: FlowSpec) -> list[tuple[str, str, str, str]]:
    """A row a parameter: name, type, default, and where the default comes from."""
    return [(p.name, type_text(p.annotation), _default(p), _origin(p)) for p in parameters_of(spec)]


def _origin(parameter: Parameter) -> str:
    if parameter.origin in ("flow", "required"):
        return (
            parameter.origin
            if parameter.origin == "flow" or not parameter.tasks
            else (f"required by {few(parameter.tasks)}")
        )
    where = "task" if parameter.origin == "task" else "default of"
    return f"{where} {few(parameter.tasks)}"


def task_rows(spec: FlowSpec) -> list[tuple[str, str, str, str]]:
    """A row a task: name, what it takes, options, source."""
    return [
        (task.name, _inputs(task), _options(task), str(task.source or "")) for task in spec.tasks
    ]


def _inputs(task: TaskSpec) -> str:
    after = f"after {few(task.after)}" if task.after else ""
    return "; ".join(filter(None, (few(task.upstream), after))) or "-"


def _options(task: TaskSpec) -> str:
    told: list[str] = []
    if task.retries:
        delays = (
            task.retry_delay_s if isinstance(task.retry_delay_s, tuple) else (task.retry_delay_s,)
        )
        delay = f", {' '.join(f'{d:g}' for d in delays)} s apart" if any(delays) else ""
        told.append(f"retries {task.retries}{delay}")
    if task.timeout_s:
        told.append(f"timeout {task.timeout_s:g} s")
    if task.tags:
        told.append("tags " + few(task.tags))
    if task.produces:
        told.append(f"produces {task.produces.id}")
    return "; ".join(told) or "-"


def flow_document(entry: Registration) -> dict[str, Any]:
    """Everything about one flow, as one JSON document."""
    spec = entry.spec()
    return {
        "schema": "mxm.flow/1",
        "name": spec.name,
        "doc": spec.doc,
        "source": _source(entry),
        "schedule_cron": spec.schedule_cron,
        "params": [_parameter_document(p) for p in parameters_of(spec)],
        "tasks": [_task_document(task) for task in spec.tasks],
        "problems": [problem_document(p) for p in find_problems(spec)],
    }


def _parameter_document(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "type": type_text(parameter.annotation),
        "required": parameter.required,
        "default": None if parameter.required else _plain(parameter.default),
        "origin": parameter.origin,
        "tasks": list(parameter.tasks),
    }


def _plain(value: object) -> Any:
    try:
        return to_json(value, strict=True).value
    except TypeError:  # a default without a JSON form is shown, not lost
        return repr(value)


def _task_document(task: TaskSpec) -> dict[str, Any]:
    produces = task.produces
    doc = inspect.getdoc(task.fn) or ""
    return {
        "name": task.name,
        "upstream": list(task.upstream),
        "after": list(task.after),
        "retries": task.retries,
        "retry_delay_s": _plain(task.retry_delay_s),
        "timeout_s": task.timeout_s,
        "tags": list(task.tags),
        "produces": produces.id if produces else None,
        "doc": doc.partition("\n")[0],
        "source": str(task.source) if task.source else None,
    }


def counted(count: int, noun: str) -> str:
    """``1 flow``, ``2 flows``."""
    return f"{count} {noun}{'s' * (count != 1)}"
