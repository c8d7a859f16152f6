"""`list`: prints the flows found."""

from __future__ import annotations

from typing import Annotated

import typer

from mxm.pipeline.cli.command import AsJson, Modules, Verb, verb_app
from mxm.pipeline.cli.describe import (
    list_document,
    list_rows,
    print_left_out,
    print_search,
)
from mxm.pipeline.cli.output import ExitCode, print_error, print_json, print_table
from mxm.pipeline.discovery.search import discover

__all__ = ["app"]

app: typer.Typer = verb_app()


@app.command("list", cls=Verb)
def list_command(
    module: Modules = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also name the files that were not imported.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the flows that can be found."""
    search = discover(module or ())
    if as_json:
        print_json(list_document(search))
    elif search.flows:
        print_table(("NAME", "TASKS", "SOURCE", ""), list_rows(search))
    print_search(search)
    if verbose and not as_json:
        print_left_out(search)
    for failure in search.failures:
        print_error(str(failure))
    if search.failures:
        raise typer.Exit(ExitCode.IMPORT_FAILED)
