"""The mxm-pipeline command: parse, call the library, print."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from mxm.pipeline.adapters.base import BACKENDS, RUNNERS
from mxm.pipeline.cli.output import (
    ExitCode,
    leave,
    open_streams,
    print_error,
    print_json,
    print_problems,
    print_table,
    print_warning,
    say,
    stdout_has,
)
from mxm.pipeline.cli.verbs import RunVerb, Verb

__all__ = ["app", "main"]

# Rich help and pretty exceptions double the time of `--help`.
app: typer.Typer = typer.Typer(
    name="mxm-pipeline",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
    help="Find, check, draw and run the flows of a project.",
)

Modules = Annotated[
    list[str] | None,
    typer.Option("-m", "--module", metavar="MODULE", help="Also import this module."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Target = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A flow: its name, pkg.module:flow, path/file.py:flow, or a file."
    ),
]


_SETTING = "default: [tool.mxm.pipeline]"


def _either(names: Iterable[str]) -> str:
    """``a, b or c``."""
    *others, last = names
    return f"{', '.join(others)} or {last}"


def _version(value: bool) -> None:
    if value:
        from mxm.pipeline import __version__

        print(f"mxm-pipeline {__version__}", flush=True)
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the tracebacks of mxm-pipeline itself.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before the command."""
    del debug, version  # `Verb` asks for the first; the second has printed


@app.command("list", cls=Verb)
def list_command(module: Modules = None, as_json: AsJson = False) -> None:
    """List the flows that can be found."""
    from mxm.pipeline.cli.describe import list_document, list_rows, print_search
    from mxm.pipeline.discovery import discover

    found = discover(module or ())
    if as_json:
        print_json(list_document(found))
    elif found.flows:
        print_table(("NAME", "TASKS", "SOURCE", ""), list_rows(found))
    print_search(found)
    for failure in found.failures:
        print_error(str(failure))
    if found.failures:
        raise typer.Exit(ExitCode.IMPORT_FAILED)


@app.command(cls=Verb)
def show(name: Target, module: Modules = None, as_json: AsJson = False) -> None:
    """Show one flow: its parameters and its tasks."""
    from mxm.pipeline.cli.describe import flow_document, parameter_rows, task_rows
    from mxm.pipeline.discovery import find_flow
    from mxm.pipeline.graph import find_problems

    entry = find_flow(name, module or (), warn=print_warning)
    spec = entry.spec()
    problems = find_problems(spec)
    if as_json:
        print_json(flow_document(entry))
    else:
        say(f"{spec.name}  {entry.source}")
        if spec.doc:
            say("\n" + spec.doc)
        if spec.schedule_cron:
            say(f"\nschedule: {spec.schedule_cron}")
        parameters = parameter_rows(spec)
        if parameters:
            say()
            print_table(("PARAMETER", "TYPE", "DEFAULT", "FROM"), parameters)
        say()
        print_table(("TASK", "TAKES", "OPTIONS", "SOURCE"), task_rows(spec))
        print_problems(problems)
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(ExitCode.INVALID_GRAPH)


@app.command(cls=Verb)
def graph(
    name: Target,
    format: Annotated[  # noqa: A002 - the option's name
        str, typer.Option("--format", "-f", help="tree, mermaid or dot.")
    ] = "tree",
    out: Annotated[str | None, typer.Option("--out", "-o", help="Write to this file.")] = None,
    module: Modules = None,
    as_json: AsJson = False,
) -> None:
    """Draw the graph of one flow; the graph is checked, and nothing runs."""
    from mxm.pipeline.cli.drawing import drawing, graph_document
    from mxm.pipeline.discovery import find_flow

    draw = drawing(format, plain=out is None and not stdout_has("└"))
    spec = find_flow(name, module or (), warn=print_warning).spec()
    if as_json:
        print_json(graph_document(spec))
        return
    text = draw(spec)
    if out is None:
        say(text)
        return
    try:
        with open(out, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        print_error(f"cannot write {out!r}: {error.strerror}")
        raise typer.Exit(ExitCode.USAGE) from None


@app.command(cls=Verb)
def check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Flows; all, without any.")
    ] = None,
    strict_types: Annotated[
        bool,
        typer.Option(
            "--strict-types", help="Warn, too, of edges whose types may not fit (exit code 0)."
        ),
    ] = False,
    format: Annotated[  # noqa: A002 - the option's name
        str, typer.Option("--format", "-f", help="text, json or github.")
    ] = "text",
    module: Modules = None,
    as_json: AsJson = False,
) -> None:
    """Check the graphs of flows: names, upstreams, cycles, signatures. Nothing runs."""
    from mxm.pipeline.cli.checking import check_flows, printer

    told = printer("json" if as_json else format)
    raise typer.Exit(check_flows(names or [], module or [], strict_types=strict_types, told=told))


@app.command(cls=Verb)
def explain(
    codes: Annotated[
        list[str] | None, typer.Argument(metavar="[CODE]...", help="As in MXM103; all, without.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain a problem by its code: the smallest program that has it, and its mend."""
    from mxm.pipeline.cli import explaining

    pages = {c.upper(): explaining.page(c) for c in codes or explaining.codes()}
    if as_json:
        listed = [
            {"code": c, "title": explaining.title(text), "text": text} for c, text in pages.items()
        ]
        print_json({"schema": "mxm.explain/1", "pages": listed})
    elif codes:
        say("\n".join(pages.values()).removesuffix("\n"))
    else:
        rows = [(code, explaining.title(text)) for code, text in pages.items()]
        print_table(("CODE", "PROBLEM"), rows)


@app.command(cls=RunVerb, context_settings={"help_option_names": []})
def run(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="A flow: its name, pkg.module:flow, path/file.py:flow, or a file."
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--param",
            metavar="KEY=VALUE",
            help="A parameter; may be repeated. VALUE may be @FILE or @env:VARIABLE.",
        ),
    ] = None,
    params_file: Annotated[
        str | None,
        typer.Option(
            "--params-file", metavar="FILE", help="Parameters from a .toml, .json or .yaml file."
        ),
    ] = None,
    strict_params: Annotated[
        bool, typer.Option("--strict-params", help="A parameter that no task takes is an error.")
    ] = False,
    backend: Annotated[
        str | None, typer.Option("--backend", help=f"{_either(BACKENDS)}; {_SETTING}.")
    ] = None,
    runner: Annotated[
        str | None, typer.Option("--runner", help=f"{_either(RUNNERS)}; {_SETTING}.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", help=f"Tasks at once, for {_either(RUNNERS[1:])}; {_SETTING}."),
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Start nothing more after a failure.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")] = False,
    verbose: Annotated[
        int,
        typer.Option("--verbose", "-v", count=True, help="Say more; -vv: the engine's log too."),
    ] = 0,
    module: Modules = None,
    as_json: AsJson = False,
    help: Annotated[  # noqa: A002 - the option's name
        bool, typer.Option("--help", help="Show this message; with NAME, the flow's parameters.")
    ] = False,
) -> None:
    """Run one flow and print its results as JSON."""
    if name is None and help:
        say(context.get_help())
        return
    if name is None:
        context.fail("which flow? give its NAME; `mxm-pipeline list` shows them")
    from mxm.pipeline.cli.running import print_help, run_flow

    if help:
        print_help(name, module or [], context.get_help())
        return
    code = run_flow(
        name,
        module or [],
        param or [],
        params_file=params_file,
        options={
            "backend": backend,
            "runner": runner,
            "workers": workers,
            "fail_fast": fail_fast,
            "strict_params": strict_params,
            "engine_logs": verbose > 1,
        },
        verbosity=-1 if quiet else verbose,
        as_json=as_json,
    )
    raise typer.Exit(code)


def main() -> None:
    """Run the command."""
    # Modules and specs live as long as the command: looking for garbage among them finds none,
    # and takes a sixth of the time of `list`. `run` takes it up again for the tasks.
    gc.disable()
    open_streams()
    try:
        app(obj="the process")
    except SystemExit as ended:
        leave(ended.code)
    except OSError as error:  # stdout that takes neither `--help` nor `--version`
        if "--debug" in sys.argv:
            raise
        print_error(error)
        leave(ExitCode.USAGE)


if __name__ == "__main__":
    main()
