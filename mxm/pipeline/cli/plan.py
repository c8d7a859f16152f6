"""`plan`: what a run would do with each task, and why; nothing runs, no engine is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mxm.pipeline.cli.command import AsJson, Modules, RunVerb, Target, verb_app
from mxm.pipeline.cli.lines import duration
from mxm.pipeline.cli.output import print_error, print_json, print_table, print_warning, say
from mxm.pipeline.cli.parameters import given_params, given_settings
from mxm.pipeline.discovery.search import find_flow
from mxm.pipeline.discovery.settings import read_settings, working_directory
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.store.places import store_of
from mxm.pipeline.taskruns import rounded

if TYPE_CHECKING:
    from mxm.pipeline.execution.outlook import Outlook, Planned

__all__ = ["app"]

app: typer.Typer = verb_app()


@app.command(cls=RunVerb)
def plan(
    name: Target,
    param: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", metavar="NAME=VALUE", help="A parameter, as for `run`."),
    ] = None,
    params_file: Annotated[
        str | None,
        typer.Option("--params-file", metavar="FILE", help="Parameters from a file."),
    ] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option("--resource", metavar="RESOURCE.KEY=VALUE", help="A setting of a resource."),
    ] = None,
    strict_params: Annotated[
        bool | None,
        typer.Option(
            "--strict-params/--no-strict-params", help="Fail on a parameter that no task takes."
        ),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option("--select", metavar="TASKS", help="Plan to run only these tasks."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="TASKS", help="Plan not to run these tasks."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Plan to run every task, even if its result was kept.")
    ] = False,
    force_task: Annotated[
        list[str] | None,
        typer.Option("--force-task", metavar="TASKS", help="Like --force, for these tasks."),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", help="Plan to resume this run: its id, or last."),
    ] = None,
    runner: Annotated[
        str | None,
        typer.Option("--runner", metavar="NAME", help="As for `run`, to estimate the time."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", help="As for `run`, to estimate the time."),
    ] = None,
    module: Modules = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run would do with each task, and why. Nothing runs."""
    spec = find_flow(name, module or (), warn=print_warning).spec()
    params = given_params(param or [], params_file, spec)
    from mxm.pipeline.api import plan_flow

    typed = {
        "strict_params": strict_params,
        "select": select,
        "exclude": exclude,
        "force": force or force_task,
        "runner": runner,
        "workers": workers,
    }
    options: dict[str, Any] = dict(read_settings(working_directory()).options)
    options |= {key: value for key, value in typed.items() if value is not None}
    options["resource_settings"] = given_settings(resource or [], spec)
    if resume is not None:
        params, options = _continued(resume, spec, params, options)
    outlook = plan_flow(spec, params, **options)
    if as_json:
        print_json(_document(outlook))
        return
    for problem in outlook.warnings:
        print_error(problem)
    rows = [_row(task) for task in outlook.tasks]
    print_table(("TASK", "VERDICT", "TIME", "WHY"), rows)
    say()
    say(_summary(outlook))


def _continued(
    run: str, spec: FlowSpec, params: dict[str, Any], options: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the options of a run that resumes *run*."""
    from mxm.pipeline.cli.resume import continued
    from mxm.pipeline.store.resuming import read_earlier

    earlier = read_earlier(store_of(spec), run)
    if earlier.flow != spec.name:
        raise PipelineError(
            f"run {earlier.run} is one of flow {earlier.flow!r}, not of {spec.name!r}",
            hint=f"mxm-pipeline plan {earlier.flow} --resume {earlier.run}",
        )
    return continued(earlier, ())(spec, params, options)


def _document(outlook: Outlook) -> dict[str, Any]:
    """The outlook in the schema ``mxm.plan/1``; fields are only added."""
    least, most = outlook.seconds or (None, None)
    return {
        "schema": "mxm.plan/1",
        "flow": outlook.plan.flow.name,
        "seconds": rounded(least),
        "seconds_at_most": rounded(most),
        "tasks": [
            {
                "name": task.name,
                "verdict": task.verdict,
                "reasons": [{"kind": one.kind, "text": one.text} for one in task.reasons],
                "seconds": rounded(task.seconds),
                "items": None if task.items is None else dict(task.items),
            }
            for task in outlook.tasks
        ],
    }


def _row(task: Planned) -> Sequence[str]:
    why = "; ".join(in_one_line(reason.text) for reason in task.reasons)
    if task.items:
        counts = ", ".join(f"{count:,} {verdict}" for verdict, count in task.items.items())
        why = f"items: {counts}" + (f"; {why}" if why else "")
    took = "" if task.seconds is None else duration(task.seconds)
    return task.name, task.verdict, took, why


def _summary(outlook: Outlook) -> str:
    counts: dict[str, int] = {}
    for task in outlook.tasks:
        counts[task.verdict] = counts.get(task.verdict, 0) + 1
    text = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items())
    if outlook.seconds is None:
        return f"{text}; the time is unknown: some never ran"
    least, most = outlook.seconds
    upto = f" to {duration(most)}" if duration(most) != duration(least) else ""
    return f"{text}; about {duration(least)}{upto}"
