"""`check`: reports the problems of some or all flows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import typer

from mxm.pipeline.checks.assets import differing_assets
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.cli.command import AsJson, Modules, Verb, verb_app
from mxm.pipeline.cli.describe import (
    counted,
    failure_document,
    print_search,
    problem_document,
)
from mxm.pipeline.cli.output import (
    ExitCode,
    print_error,
    print_json,
    print_problems,
    print_warning,
    say,
)
from mxm.pipeline.discovery.search import Failure, discover, find_flows
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.params.caching import cache_notes
from mxm.pipeline.params.limits import limit_problems
from mxm.pipeline.problems import Problem, Source, did_you_mean, drawn_places, shown_path
from mxm.pipeline.registry import Registration, clashes

__all__ = ["app"]

app: typer.Typer = verb_app()


@dataclass
class Checked:
    """The result of a check."""

    flows: Sequence[Registration]
    problems: list[Problem] = field(default_factory=list[Problem])
    failures: list[Failure] = field(default_factory=list[Failure])


def _check_flows(
    names: Sequence[str],
    modules: Sequence[str],
    *,
    strict_types: bool,
    report: Callable[[Checked], None],
) -> ExitCode:
    """Check the flows *names*, or all flows found, and report their problems."""
    if names:
        targets = [find_flows(name, modules, warn=print_warning) for name in names]
        flows = list({id(entry): entry for entries in targets for entry in entries}.values())
        checked = Checked(flows, [p for each in targets for p in clashes(each).values()])
    else:
        discovery = discover(modules)
        print_search(discovery)
        shared = [*discovery.registry.clashes().values()]
        checked = Checked(discovery.flows, shared, discovery.failures)
    for entry in checked.flows:
        spec = entry.spec()
        checked.problems.extend(find_problems(spec, strict_types=strict_types))
        checked.problems.extend(limit_problems(spec))
        checked.problems.extend(cache_notes(spec))
    checked.problems.extend(differing_assets(entry.spec() for entry in checked.flows))
    report(checked)
    if any(problem.severity == "error" for problem in checked.problems):
        return ExitCode.INVALID_GRAPH
    if checked.failures:
        return ExitCode.IMPORT_FAILED
    return ExitCode.OK if checked.flows else ExitCode.USAGE


def _printer(name: str) -> Callable[[Checked], None]:
    """The function that prints the format *name*.

    Raises
    ------
    PipelineError
        The format is unknown.
    """
    if name not in _FORMATS:
        raise PipelineError(f"unknown format {name!r}", hint=did_you_mean(name, _FORMATS))
    return _FORMATS[name]


def _as_text(checked: Checked) -> None:
    for failure in checked.failures:
        print_error(str(failure))
    several = len(checked.flows) > 1
    print_problems([_of_flow(p) if several else p for p in checked.problems])
    errors = sum(problem.severity == "error" for problem in checked.problems)
    if checked.flows:
        result = counted(errors, "problem") if errors else "no problems"
        say(f"{counted(len(checked.flows), 'flow')} checked: {result}")


def _of_flow(problem: Problem) -> Problem:
    """*problem* with its flow in its message, because a task may be in several flows."""
    if problem.flow is None or repr(problem.flow) in problem.message:
        return problem
    return replace(problem, message=f"flow {problem.flow!r}: {problem.message}")


def _as_json(checked: Checked) -> None:
    print_json(
        {
            "schema": "mxm.check/1",
            "flows": [entry.name for entry in checked.flows],
            "problems": [problem_document(p) for p in checked.problems],
            "failures": [failure_document(f) for f in checked.failures],
        }
    )


def _as_github(checked: Checked) -> None:
    """Print workflow commands, which GitHub shows next to the lines of a pull request."""
    for failure in checked.failures:
        say(_command("error", "import failed", str(failure), failure.source))
    for problem in checked.problems:
        kind = "notice" if problem.severity == "note" else problem.severity
        hint = f"\nhint: {problem.hint}" if problem.hint else ""
        text = problem.message + drawn_places(problem.places) + hint
        say(_command(kind, problem.code, text, problem.source))


def _command(kind: str, title: str, message: str, source: Source | None) -> str:
    properties: dict[str, object] = {}
    if source is not None:
        properties = {
            "file": shown_path(source.file),
            "line": source.line,
            "col": source.column,
        }
    properties["title"] = title
    fields = ",".join(
        f"{key}={_escaped(str(value)).replace(':', '%3A').replace(',', '%2C')}"
        for key, value in properties.items()
        if value is not None
    )
    return f"::{kind} {fields}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


_FORMATS = {"text": _as_text, "json": _as_json, "github": _as_github}


@app.command(cls=Verb)
def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Flows, or files with flows. Default: all flows."),
    ] = None,
    strict_types: Annotated[
        bool,
        typer.Option(
            "--strict-types", help="Also warn about edges whose types may not fit (exit code 0)."
        ),
    ] = False,
    format: Annotated[  # noqa: A002 - the option's name
        str,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            show_default=False,
            help="text, json or github; default: text.",
        ),
    ] = "text",
    module: Modules = None,
    as_json: AsJson = False,
) -> None:
    """Check the graphs of flows: names, upstreams, cycles, signatures. Nothing runs."""
    report = _printer("json" if as_json else format)
    raise typer.Exit(
        _check_flows(names or [], module or [], strict_types=strict_types, report=report)
    )
