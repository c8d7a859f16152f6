"""The settings of resources: the run's, the project's, the defaults in their signatures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from mxm.pipeline.errors import ParameterError, PipelineError, repr_of
from mxm.pipeline.introspection.annotations import Unresolved, type_text
from mxm.pipeline.introspection.uses import ResourceBase, settings_of
from mxm.pipeline.params.declared import annotation_of
from mxm.pipeline.problems import Problem, closest, did_you_mean, shown_path
from mxm.pipeline.project.pyproject import table_in
from mxm.pipeline.project.roots import nearest_project
from mxm.pipeline.values.conversion import Sourced, Text, Written
from mxm.pipeline.values.parts import (
    MISSING,
    Fields,
    Members,
    PartError,
    assemble,
    origins_in,
)
from mxm.pipeline.values.secrets import is_secret

__all__ = ["project_settings", "settle"]


_NONE: Mapping[str, Mapping[str, Any]] = {}


def settle(
    resources: Iterable[ResourceBase], settings: Mapping[str, Mapping[str, Any]], flow: str
) -> dict[ResourceBase, dict[str, Any]]:
    """The arguments of each of *resources*, its defaults left out: the run's, then the project's.

    Parameters
    ----------
    resources
        Those that are opened.
    settings
        The run's own, by name of a resource; `Text` for what was typed at the command.
    flow
        Who asks, for the message.

    Raises
    ------
    ParameterError
        Settings are unknown, missing or do not fit; all of them at once.
    PipelineError
        The pyproject.toml cannot be read.
    """
    asked = list(resources)
    problems: list[Problem] = list(_unknown_resources(asked, settings, flow))
    settled: dict[ResourceBase, dict[str, Any]] = {}
    tables, where = project_settings() if asked else (_NONE, "")
    for resource in asked:
        table = tables.get(resource.name, {})
        own: Mapping[str, Any] = settings.get(resource.name, {})
        settled[resource] = _settled(resource, own, table, where, flow, problems)
    if problems:
        raise ParameterError(flow, problems)
    return settled


def project_settings() -> tuple[Mapping[str, Mapping[str, Any]], str]:
    """The tables ``[tool.mxm.pipeline.resources.NAME]`` of the nearest project, and their file.

    Raises
    ------
    PipelineError
        The file is not TOML, or has something else in that place.
    """
    try:
        file = nearest_project(os.getcwd())
    except OSError:  # the working directory is gone
        file = None
    tables: Any = (table_in(file, Written) or {}).get("resources", {}) if file else {}
    where = shown_path(file) if file else ""
    if not isinstance(tables, dict) or not all(
        isinstance(table, dict) for table in cast("dict[str, Any]", tables).values()
    ):
        raise PipelineError(
            f"{where}: [tool.mxm.pipeline] resources must be a table for each resource",
            hint="write [tool.mxm.pipeline.resources.NAME] on its own line, with its keys below",
        )
    return cast("Mapping[str, Mapping[str, Any]]", tables), where


def _unknown_resources(
    resources: list[ResourceBase], settings: Mapping[str, Any], flow: str
) -> Iterator[Problem]:
    names = [resource.name for resource in resources]
    for name in settings:
        if name not in names:
            yield Problem(
                "MXM609",
                f"flow {flow!r} uses no resource {name!r}",
                did_you_mean(name, names) or "none of its tasks uses a resource",
                flow=flow,
            )


def _settled(
    resource: ResourceBase,
    own: Mapping[str, Any],
    table: Mapping[str, Any],
    where: str,
    flow: str,
    problems: list[Problem],
) -> dict[str, Any]:
    settings = settings_of(resource)
    problems += [
        _unknown(resource, name, None if name in own else where, flow)
        for name in {**table, **own}
        if name not in settings
    ]
    values: dict[str, Any] = {}
    for name, parameter in settings.items():
        annotation = annotation_of(resource.fn, parameter)
        base: Any = parameter.default
        try:
            if name in table:
                entry = _read(table[name], where, resource, name)
                base = _fit(entry, annotation, base)
                values[name] = base
            if name in own:
                values[name] = _fit(own[name], annotation, base)
        except ValueError as error:
            value, origin = (own[name], None) if name in own else (table[name], where)
            problems.append(_misfit(resource, name, annotation, value, error, origin, flow))
        except PipelineError as error:
            problems.append(_problem(resource, "MXM608", error.message, error.hint, flow))
        if name not in own and name not in table and parameter.default is MISSING:
            problems.append(_missing(resource, name, annotation, flow))
    return values


def _fit(value: Any, annotation: Any, base: Any) -> Any:
    # "pool: int = None" is common, and takes None.
    if value is None and base is None:
        return None
    closed = isinstance(value, Text | Members | Fields | Sourced)
    return assemble(
        value.value if isinstance(value, Sourced) else value, annotation, base, closed=closed
    )


def _read(value: Any, where: str, resource: ResourceBase, name: str) -> Sourced:
    """*value* from pyproject.toml, with ``@env:`` references replaced."""
    if isinstance(value, str) and value.startswith("@env:"):
        # Text: a variable has no types of its own.
        return Sourced(Text(_expanded(value, resource, name)), f"{where} and the environment")
    return Sourced(_expanded(value, resource, name), where)


def _expanded(value: Any, resource: ResourceBase, name: str) -> Any:
    is_list, is_table = isinstance(value, list), isinstance(value, dict)
    if is_list:
        return [_expanded(item, resource, name) for item in value]
    if is_table:
        return {key: _expanded(item, resource, name) for key, item in value.items()}
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    if value.startswith("@@"):
        return value[1:]
    what = f"setting {name!r} of resource {resource.name!r}"
    variable = value.removeprefix("@env:")
    if variable == value:
        raise PipelineError(
            f"{what}: pyproject.toml takes @env:VARIABLE, and no files",
            hint=f"for the text itself write @@...; pass a file with --resource "
            f"{resource.name}.{name}=@FILE",
        )
    if variable not in os.environ:
        near = closest(variable, os.environ)  # names only, never a value
        raise PipelineError(
            f"{what}: environment variable {variable!r} is not set",
            hint=f"did you mean {near!r}?" if near else f"export {variable}",
        )
    return os.environ[variable]


def _problem(
    resource: ResourceBase, code: str, message: str, hint: str | None, flow: str
) -> Problem:
    return Problem(code, message, hint, source=resource.source, flow=flow)


def _unknown(resource: ResourceBase, name: str, where: str | None, flow: str) -> Problem:
    settings = settings_of(resource)
    origin = f" ({where})" if where else ""
    message = f"resource {resource.name!r} has no setting {name!r}{origin}"
    hint = did_you_mean(name, settings) or "it has none"
    return _problem(resource, "MXM609", message, hint, flow)


def _missing(resource: ResourceBase, name: str, annotation: Any, flow: str) -> Problem:
    kind = "" if annotation is MISSING else f" ({type_text(annotation)})"
    value = "@env:NAME" if is_secret(annotation) else "VALUE"
    return _problem(
        resource,
        "MXM607",
        f"missing setting {name!r} of resource {resource.name!r}{kind}: nothing gives it a value",
        f"give it to the project: [tool.mxm.pipeline.resources.{resource.name}] {name} = ..., or "
        f"to the run: --resource {resource.name}.{name}={value}",
        flow,
    )


def _misfit(
    resource: ResourceBase,
    name: str,
    annotation: Any,
    value: Any,
    error: ValueError,
    where: str | None,
    flow: str,
) -> Problem:
    place, hint = "", None
    origin = next((each for _, each in origins_in(name, value)), where)
    secret = is_secret(annotation)
    if isinstance(error, PartError):
        place, hint, value = error.place, error.hint, error.value
        annotation = annotation if error.annotation is MISSING else error.annotation
    bare = value.value if isinstance(value, Sourced) else value
    if secret:
        got = "the value set (a secret, not shown)"
    else:
        got = f"{repr_of(str(bare) if isinstance(bare, Text) else bare)[:200]}: {error}"
    if isinstance(annotation, Unresolved):
        annotation = MISSING
    wanted = "takes " + type_text(annotation) if annotation is not MISSING else "cannot be read"
    origin = f" (from {origin})" if origin else ""
    message = f"setting {name + place!r}{origin} of resource {resource.name!r} {wanted}, not {got}"
    return _problem(resource, "MXM608", message, hint, flow)
