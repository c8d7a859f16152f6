"""`deploy`: lets the workers of a Prefect server run flows, on schedule and on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mxm.pipeline.adapters.deployment_names import entrypoint_for
from mxm.pipeline.cli.command import AsJson, Modules, Verb, present, verb_app
from mxm.pipeline.cli.deploying import (
    CronText,
    Flows,
    Zone,
    environment,
    flows_of,
    folder_step,
    git_step,
    parameters_for,
    run_options,
)
from mxm.pipeline.cli.output import print_json, print_warning, say
from mxm.pipeline.cli.scheduled import Schedule, moment_text, schedule_of
from mxm.pipeline.discovery.settings import working_directory
from mxm.pipeline.errors import PipelineError

if TYPE_CHECKING:
    from mxm.pipeline.adapters.prefect_deployments import Deployment, Made

__all__ = ["app"]

app: typer.Typer = verb_app()


@app.command(cls=Verb)
def deploy(
    names: Flows,
    work_pool: Annotated[
        str,
        typer.Option(
            "--work-pool",
            metavar="NAME",
            show_default=False,
            callback=present,
            help="The pool whose workers run the flows; required.",
        ),
    ] = "",
    cron: CronText = None,
    timezone: Zone = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--param", metavar="NAME=VALUE", help="As for `run`; secrets as @env:, @block:."
        ),
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            "--name",
            metavar="NAME",
            show_default=False,
            help="The deployment's name; default: mxm.",
        ),
    ] = "mxm",
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="IMAGE", help="The container image with the project."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env", metavar="NAME=VALUE", help="An environment variable; secrets as @block:NAME."
        ),
    ] = None,
    git: Annotated[
        str | None,
        typer.Option("--git", metavar="URL", help="Clone the project for each run."),
    ] = None,
    branch: Annotated[
        str | None, typer.Option("--branch", metavar="NAME", help="The branch to clone.")
    ] = None,
    git_token: Annotated[
        str | None,
        typer.Option(
            "--git-token", metavar="BLOCK", help="The Secret block with the token for --git."
        ),
    ] = None,
    runner: Annotated[
        str | None, typer.Option("--runner", metavar="NAME", help="For the runs, as in `run`.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", help="For the runs, as in `run`.")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", metavar="URL", help="For the runs, as in `run`.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="NAME=N", help="For the runs, as in `run`."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be sent; contact no server.")
    ] = False,
    module: Modules = None,
    as_json: AsJson = False,
) -> None:
    """Create or update deployments of flows on the configured Prefect server."""
    if git is None and (branch or git_token):
        raise PipelineError("--branch and --git-token are for --git")
    if git is not None and image is not None:
        raise PipelineError(
            "--image and --git both say where the project is", hint="keep one of them"
        )
    if not name or any(sign in name for sign in "/%&<>"):
        raise PipelineError(f"--name {name!r}: the name must not contain / % & < or >")
    variables: dict[str, Any] = {}
    env_of_runs = {**environment(env or []), **run_options(runner, workers, limit or [], address)}
    if env_of_runs:
        variables["env"] = env_of_runs
    if image is not None:
        variables["image"] = image
    steps: list[dict[str, Any]] = []
    if git is not None:
        steps = [git_step(git, branch, git_token)]
    elif image is None:
        steps = [folder_step(working_directory())]
    wanted: list[Deployment] = []
    schedules: list[Schedule | None] = []
    flows = flows_of(names, module or ())
    whens = [schedule_of(spec, cron, timezone) for _, spec in flows]
    params_of_each = [
        parameters_for(spec, param or [], scheduled=when is not None)
        for (_, spec), when in zip(flows, whens, strict=True)
    ]
    from mxm.pipeline.adapters import prefect_deployments as deployments

    for (target, spec), when, parameters in zip(flows, whens, params_of_each, strict=True):
        schedules.append(when)
        wanted.append(
            deployments.Deployment(
                spec,
                entrypoint_for(target),
                name,
                cron=when.cron.text if when else None,
                timezone=when.timezone if when else None,
                parameters=parameters,
                pull_steps=steps,
                job_variables=variables,
            )
        )
    if dry_run:
        documents = [deployments.document_of(each, work_pool) for each in wanted]
        print_json({"schema": "mxm.deploy/1", "dry_run": True, "deployments": documents})
        return
    server = deployments.require_server()
    made = deployments.deploy(wanted, work_pool)
    if as_json:
        rows = [_document(each, when) for each, when in zip(made, schedules, strict=True)]
        print_json({"schema": "mxm.deploy/1", "dry_run": False, "deployments": rows})
    else:
        for each, when in zip(made, schedules, strict=True):
            _say(each, when)
        say(f"run one: prefect deployment run {made[0].name!r}, at {server}")
    if made and not made[0].has_worker:
        print_warning(
            f"no worker polls work pool {work_pool!r}\n  hint: prefect worker start --pool "
            f"{work_pool}"
        )


def _say(made: Made, when: Schedule | None) -> None:
    say(f"{'made' if made.is_new else 'updated'} {made.name}: {when or 'no schedule'}")
    if made.replaced is not None:
        print_warning(f"{made.name} was a deployment of {made.replaced!r} before")
    if made.is_paused:
        print_warning(f"{made.name} is paused at the server, and stays paused")
    elif when is not None:
        say(f"    next: {moment_text(when.next_times(1)[0])}")


def _document(made: Made, when: Schedule | None) -> dict[str, Any]:
    return {
        "name": made.name,
        "id": made.id,
        "new": made.is_new,
        "paused": made.is_paused,
        "schedule_cron": when.cron.text if when else None,
        "timezone": when.timezone if when else None,
    }
