"""`docs`: the pages of the documentation, as installed with the package."""

from __future__ import annotations

from typing import Annotated

import typer

from mxm.pipeline.cli.command import AsJson, Verb, verb_app
from mxm.pipeline.cli.output import print_json, print_table, say
from mxm.pipeline.cli.pages import pages
from mxm.pipeline.discovery.scan import read
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.problems import did_you_mean

__all__ = ["app"]

app: typer.Typer = verb_app()


def _title(text: str) -> str:
    return text.partition("\n")[0].lstrip("# ")


@app.command(cls=Verb)
def docs(
    page: Annotated[
        str | None,
        typer.Argument(metavar="[PAGE]", help="A page, such as cache. Default: list all pages."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a page of the documentation, as Markdown."""
    known = pages()
    if page is not None and page.lower() not in known:
        hint = did_you_mean(page.lower(), known) or "`mxm-pipeline docs` lists them all"
        raise PipelineError(f"unknown page {page!r}", hint=hint)
    names = known if page is None else [page.lower()]
    texts = {name: read(known[name]).decode("utf-8") for name in names}
    if as_json:
        listed = [{"name": n, "title": _title(text), "text": text} for n, text in texts.items()]
        print_json({"schema": "mxm.docs/1", "pages": listed})
    elif page is None:
        print_table(("PAGE", "TITLE"), [(n, _title(text)) for n, text in texts.items()])
    else:
        say(texts[page.lower()].removesuffix("\n"))
