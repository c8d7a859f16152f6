"""`serve`: a process that runs flows for a Prefect server, on schedule and on request."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from mxm.pipeline.adapters.deployment_names import entrypoint_for
from mxm.pipeline.cli.command import Modules, Verb, at_least, verb_app
from mxm.pipeline.cli.deploying import CronText, Flows, Zone, flows_of, run_options
from mxm.pipeline.cli.output import tell
from mxm.pipeline.cli.scheduled import Schedule, moment_text, require_complete, schedule_of
from mxm.pipeline.errors import PipelineError

__all__ = ["app"]

app: typer.Typer = verb_app()


@app.command(cls=Verb)
def serve(
    names: Flows,
    cron: CronText = None,
    timezone: Zone = None,
    interval: Annotated[
        float | None,
        typer.Option(
            "--interval", metavar="SECONDS", help="Run the flows at this interval instead."
        ),
    ] = None,
    runs_at_once: Annotated[
        int,
        typer.Option(
            "--runs-at-once",
            metavar="N",
            show_default=False,
            callback=at_least(1),
            help="At most N runs at a time; default: 1.",
        ),
    ] = 1,
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
    module: Modules = None,
) -> None:
    """Run flows for the configured Prefect server, until Ctrl-C."""
    if interval is not None and (cron is not None or timezone is not None):
        raise PipelineError(
            "--interval cannot be used with --cron or --timezone", hint="keep one of them"
        )
    if interval is not None and not 1 <= interval < 10**9:
        raise PipelineError("--interval must be at least 1 second, and finite")
    options = run_options(runner, workers, limit or [], address)
    flows = flows_of(names, module or ())
    whens = [None if interval else schedule_of(spec, cron, timezone) for _, spec in flows]
    for (_, spec), when in zip(flows, whens, strict=True):
        if when is not None or interval is not None:
            require_complete(spec)
    from mxm.pipeline.adapters import prefect_deployments as deployments

    server = deployments.require_server()
    wanted = [
        deployments.Deployment(
            spec,
            entrypoint_for(target),
            "served",
            cron=when.cron.text if when else None,
            timezone=when.timezone if when else None,
            interval_s=interval,
        )
        for (target, spec), when in zip(flows, whens, strict=True)
    ]
    os.environ.update(options)  # of the processes of its runs
    for each, when in zip(wanted, whens, strict=True):
        tell(f"serving {each.full_name}: {_when(when, interval)}")
    many = "one run at a time" if runs_at_once == 1 else f"{runs_at_once} runs at a time"
    tell(f"at {server}, {many}; Ctrl-C ends it and pauses the schedules")
    raise typer.Exit(128 + deployments.serve(wanted, at_once=runs_at_once))


def _when(when: Schedule | None, interval: float | None) -> str:
    if interval is not None:
        return f"every {interval:g} s"
    if when is None:
        return "on request"
    return f"{when}, next {moment_text(when.next_times(1)[0])}"
