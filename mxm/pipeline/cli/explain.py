"""`explain`: the page of a problem's code, from docs/errors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from mxm.pipeline.cli.command import AsJson, Verb, verb_app
from mxm.pipeline.cli.output import print_json, print_table, say
from mxm.pipeline.discovery.scan import read
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.problems import did_you_mean

__all__ = ["app"]

app: typer.Typer = verb_app()


# The pages are part of the package, to be installed with it; docs/errors links here.
_PAGES = os.path.join(os.path.dirname(os.path.dirname(__file__)), "docs", "errors")


def _codes() -> Sequence[str]:
    """Every code that has a page, in order."""
    names = [name for name in os.listdir(_PAGES) if name.startswith("MXM")]
    return sorted(name.removesuffix(".md") for name in names)


def _page(code: str) -> str:
    """The page of *code*, as Markdown.

    Raises
    ------
    PipelineError
        The code is unknown.
    """
    known = _codes()
    if code.upper() not in known:
        hint = did_you_mean(code.upper(), known) or "`mxm-pipeline explain` lists them all"
        raise PipelineError(f"unknown code {code!r}", hint=hint)
    return read(os.path.join(_PAGES, f"{code.upper()}.md")).decode("utf-8")


def _title(text: str) -> str:
    """The title of a page, without the code."""
    return text.partition("\n")[0].partition(": ")[2]


@app.command(cls=Verb)
def explain(
    codes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CODE]...", help="A code, such as MXM103. Default: list all codes."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain a problem by its code: the smallest program that causes it, and the fix."""
    pages = {c.upper(): _page(c) for c in codes or _codes()}
    if as_json:
        listed = [{"code": c, "title": _title(text), "text": text} for c, text in pages.items()]
        print_json({"schema": "mxm.explain/1", "pages": listed})
    elif codes:
        say("\n".join(pages.values()).removesuffix("\n"))
    else:
        rows = [(code, _title(text)) for code, text in pages.items()]
        print_table(("CODE", "PROBLEM"), rows)
