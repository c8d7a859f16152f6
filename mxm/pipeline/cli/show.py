"""`show`: one flow, its parameters and its tasks."""

from __future__ import annotations

import typer

from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.cli.command import AsJson, Modules, Target, Verb, verb_app
from mxm.pipeline.cli.describe import flow_document, parameter_rows, resource_rows, task_rows
from mxm.pipeline.cli.output import (
    ExitCode,
    print_json,
    print_problems,
    print_table,
    print_warning,
    say,
)
from mxm.pipeline.discovery.search import find_flow
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.spec import FlowSpec

__all__ = ["app"]

app: typer.Typer = verb_app()


@app.command(cls=Verb)
def show(name: Target, module: Modules = None, as_json: AsJson = False) -> None:
    """Show one flow: its parameters and its tasks."""
    entry = find_flow(name, module or (), warn=print_warning)
    spec = entry.spec()
    problems = find_problems(spec)
    if as_json:
        print_json(flow_document(entry))
    else:
        say(in_one_line(f"{spec.name}  {entry.source}"))
        if spec.doc:
            say("\n" + spec.doc)
        _say_schedule(spec)
        parameters = parameter_rows(spec)
        if parameters:
            say()
            print_table(("PARAMETER", "TYPE", "DEFAULT", "FROM"), parameters)
        resources = resource_rows(spec)
        if resources:
            say()
            print_table(("RESOURCE", "TYPE", "DEFAULT", "SOURCE"), resources)
        say()
        print_table(("TASK", "TAKES", "OPTIONS", "SOURCE"), task_rows(spec))
        print_problems(problems)
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(ExitCode.INVALID_GRAPH)


def _say_schedule(spec: FlowSpec) -> None:
    if spec.schedule_cron is None:
        return
    from mxm.pipeline.cli.scheduled import moment_text, schedule_of  # few flows have one

    try:
        when = schedule_of(spec)
    except PipelineError:  # printed with the other problems
        when = None
    say()
    say(in_one_line(f"schedule: {when or spec.schedule_cron}"))
    for time in when.next_times() if when else ():
        say(f"    {moment_text(time)}")
