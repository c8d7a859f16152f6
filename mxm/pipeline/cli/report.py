"""`report`: one recorded run as a page, a drawing or a trace."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import typer

from mxm.pipeline.cli.command import AsJson, OutFile, ToOpen, Verb, verb_app
from mxm.pipeline.cli.output import print_json, say, stdout_is_terminal
from mxm.pipeline.cli.recorded import resume_command
from mxm.pipeline.cli.written import written
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.store.history import load_run
from mxm.pipeline.views.drawn import run_svg
from mxm.pipeline.views.report import draw_report
from mxm.pipeline.views.reported import Report, report_of
from mxm.pipeline.views.trace import draw_trace

__all__ = ["app", "format_of", "report_text"]

app: typer.Typer = verb_app()

_FORMATS: dict[str, Callable[[Report], str]] = {
    "html": draw_report,
    "svg": run_svg,
    "trace": draw_trace,
}
_ENDINGS = {".html": "html", ".htm": "html", ".svg": "svg", ".json": "trace"}


def format_of(asked: str | None, out: str | None) -> str:
    """The format of a report: the *asked* one, or else that of the file's extension.

    Raises
    ------
    PipelineError
        The format is unknown.
    """
    ending = os.path.splitext(out or "")[1].lower()
    kind = asked or _ENDINGS.get(ending, "html")
    if kind not in _FORMATS:
        raise PipelineError(f"unknown format {kind!r}", hint=did_you_mean(kind, _FORMATS))
    return kind


def report_text(run: FlowRun, kind: str) -> str:
    """The recorded *run* in the format *kind*."""
    return _FORMATS[kind](replace(report_of(run), resume=resume_command(run.id, run.state)))


@app.command(cls=Verb)
def report(
    run: Annotated[
        str,
        typer.Argument(
            metavar="[RUN]", help="A run: its id, or an unambiguous part of it; default: last."
        ),
    ] = "last",
    format: Annotated[  # noqa: A002 - the option's name
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            show_default=False,
            help="html, svg or trace (for Perfetto); default: by the extension of FILE, or html.",
        ),
    ] = None,
    out: OutFile = None,
    to_open: ToOpen = False,
    as_json: AsJson = False,
) -> None:
    """Show a recorded run as a page."""
    kind = format_of(format, out)
    if to_open and kind == "trace":
        raise PipelineError(
            "--open cannot open a trace", hint="write it with --out, and open it in ui.perfetto.dev"
        )
    to_stdout = out is None and not to_open
    if to_stdout and (as_json or stdout_is_terminal()):
        raise PipelineError(
            "where should the report go?", hint="--open shows it, --out FILE writes it"
        )
    recorded = load_run(run)
    text = report_text(recorded, kind)
    if to_stdout:
        say(text.removesuffix("\n"))
        return
    ending = "json" if kind == "trace" else kind
    file = written(text, out, "mxm-report-", f".{ending}", private=True, to_open=to_open)
    if as_json:
        print_json({"schema": "mxm.report/1", "run": recorded.id, "format": kind, "file": file})
