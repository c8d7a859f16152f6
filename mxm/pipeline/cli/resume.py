"""`resume`: continues a run that failed or was interrupted; finished tasks are not run again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from mxm.pipeline.cli.command import AsJson, Verb, verb_app
from mxm.pipeline.cli.output import tell
from mxm.pipeline.cli.parameters import given_params
from mxm.pipeline.cli.recorded import ago
from mxm.pipeline.cli.run import Adjust, run_flow
from mxm.pipeline.errors import PipelineError, SelectionError
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.store.places import store_of_file
from mxm.pipeline.store.resuming import Earlier, read_earlier

__all__ = ["app", "continued"]

app: typer.Typer = verb_app()


@app.command(cls=Verb)
def resume(
    run: Annotated[
        str,
        typer.Argument(
            metavar="[RUN]",
            help="A run: its id, an unambiguous part of it, or last; default: last.",
        ),
    ] = "last",
    param: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--param", metavar="NAME=VALUE", help="Another value for a parameter of the run."
        ),
    ] = None,
    again: Annotated[
        list[str] | None,
        typer.Option(
            "--from", metavar="TASK", help="Run this task and all downstream of it again."
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Say why each task runs, or whose result is reused."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.")
    ] = False,
    verbose: Annotated[
        int,
        typer.Option("--verbose", "-v", count=True, show_default=False, help="Print more."),
    ] = 0,
    as_json: AsJson = False,
    value: Annotated[
        bool, typer.Option("--value", help="Print only the flow's value: what its body returned.")
    ] = False,
) -> None:
    """Continue a run that failed or was interrupted. Finished tasks are not run again."""
    earlier = read_earlier(store_of_file(), run)
    if earlier.is_done and not (param or again):
        tell(f"run {earlier.run} {earlier.state}: there is nothing left to run")
        return
    code = run_flow(
        earlier.target,
        [],
        param or [],
        params_file=None,
        settings=[],
        limits=[],
        options={"engine_logs": verbose > 1, "record": True},
        explain=explain,
        verbosity=-1 if quiet else verbose,
        document="value" if value else "run" if as_json else "results",
        report_file=None,
        adjust=continued(earlier, again or [], is_quiet=quiet),
    )
    raise typer.Exit(code)


def continued(earlier: Earlier, again: Sequence[str], *, is_quiet: bool = True) -> Adjust:
    """Return a function that gives a run the parameters and options to resume *earlier*.

    Parameters
    ----------
    earlier
        The run.
    again
        The tasks to run again, with everything downstream of them.
    is_quiet
        Whether the line that says how many tasks are reused is left out.
    """

    def adjust(
        spec: FlowSpec, parameters: dict[str, Any], asked: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        for name in earlier.ungiven:
            if name not in parameters:
                raise PipelineError(
                    f"run {earlier.run} cannot be resumed: its parameter {name!r} could not be "
                    "recorded",
                    hint=f"pass it again: -p {name}=...",
                )
        params = {**earlier.parameters(spec), **_secrets(earlier, spec, parameters), **parameters}
        options = {**asked, **earlier.options, "resumes": earlier.chain}
        if again:
            _require_tasks(spec, again)
            options["force"] = [f"{name}+" for name in again]
        if not is_quiet:
            tell(_first_line(earlier, spec, params, options))
        return params, options

    return adjust


def _require_tasks(spec: FlowSpec, names: Sequence[str]) -> None:
    known = [task.name for task in spec.tasks]
    for name in names:
        if name not in known:
            raise SelectionError(f"--from: no task {name!r}", hint=did_you_mean(name, known))


def _secrets(earlier: Earlier, spec: FlowSpec, parameters: dict[str, Any]) -> dict[str, Any]:
    """The secret parameters, which are not recorded: read again from where the run got them."""
    secrets: dict[str, Any] = {}
    for name, origin in earlier.secrets.items():
        if name in parameters:
            continue
        if origin is None:
            raise PipelineError(
                f"run {earlier.run} cannot be resumed: its secret parameter {name!r} is not "
                "recorded",
                hint=f"pass it again: -p {name}=@env:VARIABLE",
            )
        secrets |= given_params([f"{name}={origin}"], None, spec)
    return secrets


def _first_line(
    earlier: Earlier, spec: FlowSpec, params: dict[str, Any], options: dict[str, Any]
) -> str:
    from mxm.pipeline.api import plan_flow

    tasks = plan_flow(spec, params, **options).tasks
    taken = sum(task.verdict == "CACHED" for task in tasks)
    least = "at least " if any(task.verdict == "MAYBE" for task in tasks) else ""
    when = earlier.started.astimezone().strftime("%a %d %b %H:%M")
    first = next((task.name for task in tasks if task.verdict == "CACHED"), None)
    hint = f"; add --from {first} to run them again" if first else ""
    return (
        f"resuming run {earlier.run} of {when} ({ago(earlier.started)}): reusing "
        f"{least}{taken:,} of {len(tasks):,} tasks{hint}"
    )
