"""`undeploy`: removes deployments that `deploy` or `serve` made at the Prefect server."""

from __future__ import annotations

from typing import Annotated

import typer

from mxm.pipeline.cli.command import AsJson, Modules, Verb, verb_app
from mxm.pipeline.cli.output import print_json, print_warning, say
from mxm.pipeline.discovery.search import find_flow

__all__ = ["app"]

app: typer.Typer = verb_app()


@app.command(cls=Verb)
def undeploy(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...", help="Names of flows; they need not exist in the project any more."
        ),
    ],
    name: Annotated[
        str,
        typer.Option(
            "--name",
            metavar="NAME",
            show_default=False,
            help="The deployment's name; default: mxm.",
        ),
    ] = "mxm",
    module: Modules = None,
    as_json: AsJson = False,
) -> None:
    """Remove deployments of flows from the Prefect server. Active runs continue."""
    from mxm.pipeline.adapters import prefect_deployments as deployments
    from mxm.pipeline.adapters.prefect_adapter import prefect_name

    flows = [
        find_flow(each, module or (), warn=print_warning).spec().name if ":" in each else each
        for each in names
    ]
    deployments.require_server()
    removed: list[dict[str, str]] = []
    for flow in flows:
        full_name = f"{prefect_name(flow)}/{name}"
        removed.append({"name": full_name, "id": deployments.undeploy(full_name)})
        if not as_json:
            say(f"removed {full_name}")
    if as_json:
        print_json({"schema": "mxm.undeploy/1", "deployments": removed})
