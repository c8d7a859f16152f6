"""What `deploy` and `serve` share: options of runs, parameters, secrets by reference."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from mxm.pipeline.adapters.deployment_names import OPTIONS
from mxm.pipeline.checks.declarations import require_valid
from mxm.pipeline.cli.output import print_warning
from mxm.pipeline.cli.parameters import given_limits, given_params
from mxm.pipeline.discovery.search import find_flow
from mxm.pipeline.discovery.settings import read_settings, working_directory
from mxm.pipeline.errors import ParameterError, PipelineError
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.params.declared import parameters_of, secret_names
from mxm.pipeline.params.resolve import resolve
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.values.jsonvalue import to_json
from mxm.pipeline.values.secrets import Masked

__all__ = [
    "CronText",
    "Flows",
    "Zone",
    "environment",
    "flows_of",
    "folder_step",
    "git_step",
    "parameters_for",
    "run_options",
]

Flows = Annotated[
    list[str],
    typer.Argument(metavar="NAME...", help="Flows: names, pkg.module:flow, path/file.py:flow."),
]
CronText = Annotated[
    str | None,
    typer.Option(
        "--cron", metavar="CRON", help="Five cron fields, instead of the flow's schedule."
    ),
]
Zone = Annotated[
    str | None,
    typer.Option(
        "--timezone", metavar="ZONE", help="An IANA name, instead of the flow's time zone."
    ),
]

_REFERENCE = re.compile(r"@(env:[A-Za-z_][A-Za-z0-9_]*|block:[a-z0-9][a-z0-9-]*)")


def flows_of(names: Sequence[str], modules: Sequence[str]) -> list[tuple[str, FlowSpec]]:
    """Each of *names* with its flow, which has no errors.

    Raises
    ------
    PipelineError
        One is unknown or invalid, or a flow is named twice.
    """
    by_name: dict[str, tuple[str, FlowSpec]] = {}
    for name in names:
        spec = require_valid(find_flow(name, modules, warn=print_warning).spec())
        if spec.name in by_name:
            raise PipelineError(f"flow {spec.name!r} is named twice", hint="name it once")
        by_name[spec.name] = name, spec
    return list(by_name.values())


def run_options(
    runner: str | None,
    workers: int | None,
    limits: Sequence[str],
    address: str | None = None,
) -> dict[str, str]:
    """The variable that carries these options into the runs; empty without any.

    Parameters
    ----------
    runner, workers, address
        As for a run; an address without a runner belongs to the project's runner.
    limits
        What follows each ``--limit``.

    Raises
    ------
    PipelineError
        One is invalid.
    """
    options: dict[str, Any] = {"runner": runner, "workers": workers, "address": address}
    options = {name: value for name, value in options.items() if value is not None}
    if limits:
        options["limits"] = given_limits(limits)
    own: str | None = None
    if address and not runner:
        own = read_settings(working_directory()).options.get("runner")
    RunOptions().changed({"runner": own or "sequential", **options})
    return {OPTIONS: json.dumps(options)} if options else {}


def parameters_for(spec: FlowSpec, typed: Sequence[str], *, scheduled: bool) -> dict[str, Any]:
    """The parameters of a deployment of *spec*, as JSON; secrets by reference.

    Parameters
    ----------
    spec
        The flow.
    typed
        What follows each ``-p``.
    scheduled
        Whether it runs on a schedule, so that no parameter may be missing.

    Raises
    ------
    PipelineError
        A value does not fit, a secret is in plain text, or one is missing.
    """
    secrets = secret_names(spec)
    references: dict[str, Any] = {}
    plain: list[str] = []
    for item in typed:
        name, _, value = item.partition("=")
        if name.partition(".")[0].strip() not in secrets:
            plain.append(item)
        elif _REFERENCE.fullmatch(value):
            references[name.strip()] = value
        else:
            raise PipelineError(
                f"parameter {name.strip()!r} is a secret, and a server would show it",
                hint=f"give where it is: -p {name.strip()}=@env:NAME, a variable of the worker; or "
                "@block:NAME, a Secret block of Prefect",
            )
    params = given_params(plain, None, spec)
    missing = [
        p.name
        for p in parameters_of(spec)
        if p.required and p.name not in params and p.name not in references
    ]
    if missing and scheduled:
        names = ", ".join(map(repr, missing))
        raise PipelineError(
            f"flow {spec.name!r} needs {names}, and a schedule gives no parameters",
            hint=f"pass it here: -p {missing[0]}=VALUE; or give it a default in the flow",
        )
    if not params:
        return references
    stand_ins = {name: Masked("reference") for name in references}
    try:
        values = resolve(spec, {**params, **stand_ins}, strict=True).flow
    except ParameterError as error:
        others = [p for p in error.problems if p.code != "MXM401" or not missing]
        if others:
            raise ParameterError(spec.name, others) from None
        raise PipelineError(
            f"flow {spec.name!r} also needs {', '.join(map(repr, missing))}",
            hint="give all parameters here, or all of them with each run",
        ) from None
    plain_values = {name: to_json(values[name], strict=True).value for name in params}
    return {**plain_values, **references}


_SECRET = re.compile(
    r"passw|secret|token|api_?key|access_?key|private_?key|credential|auth", re.IGNORECASE
)


def environment(typed: Sequence[str]) -> dict[str, str]:
    """The variables of ``--env NAME=VALUE``, with Prefect's form of ``@block:NAME``.

    Raises
    ------
    PipelineError
        One has no name or no value, or a secret is in plain text.
    """
    chosen: dict[str, str] = {}
    for item in typed:
        name, equals, value = item.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or not equals:
            shown = f"{name}=..." if equals else name
            raise PipelineError(f"--env takes NAME=VALUE, not {shown!r}", hint="--env DESK=rates")
        if value.startswith("@block:"):
            value = f"{{{{ prefect.blocks.secret.{value.removeprefix('@block:')} }}}}"
        elif _SECRET.search(name) or _has_password(value):
            raise PipelineError(
                f"--env {name}: a secret in plain text would be visible on the server",
                hint=f"--env {name}=@block:NAME, a Secret block of Prefect; or set {name} where "
                "the worker is",
            )
        chosen[name] = value
    return chosen


def _has_password(value: str) -> bool:
    return re.search(r"://[^/@\s:]*:[^/@\s]+@", value) is not None


def git_step(repository: str, branch: str | None, token: str | None) -> dict[str, Any]:
    """The pull step that clones *repository*.

    Raises
    ------
    PipelineError
        Its address has a secret in plain text.
    """
    if re.search(r"://[^/\s]+@", repository):
        raise PipelineError(
            "--git: the server would show the user or the token in the address",
            hint="--git https://host/repo.git --git-token NAME, a Secret block of Prefect",
        )
    step: dict[str, Any] = {"repository": repository}
    if branch is not None:
        step["branch"] = branch
    if token is not None:
        step["access_token"] = f"{{{{ prefect.blocks.secret.{token} }}}}"
    return {"prefect.deployments.steps.git_clone": step}


def folder_step(folder: str) -> dict[str, Any]:
    """The pull step that changes to *folder* on the worker's machine."""
    return {
        "prefect.deployments.steps.set_working_directory": {"directory": os.path.abspath(folder)}
    }
