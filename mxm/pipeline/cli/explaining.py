"""`explain`: the page of a problem's code, from docs/errors."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mxm.pipeline.errors import PipelineError, did_you_mean
from mxm.pipeline.scanning import read

__all__ = ["codes", "page", "title"]

# They stand in the package, to be installed with it; docs/errors of a checkout leads here.
_PAGES = os.path.join(os.path.dirname(os.path.dirname(__file__)), "docs", "errors")


def codes() -> Sequence[str]:
    """Every code that has a page, in order."""
    names = [name for name in os.listdir(_PAGES) if name.startswith("MXM")]
    return sorted(name.removesuffix(".md") for name in names)


def page(code: str) -> str:
    """The page of *code*, as Markdown.

    Raises
    ------
    PipelineError
        There is no such code.
    """
    known = codes()
    if code.upper() not in known:
        hint = did_you_mean(code.upper(), known) or "`mxm-pipeline explain` lists them all"
        raise PipelineError(f"unknown code {code!r}", hint=hint)
    return read(os.path.join(_PAGES, f"{code.upper()}.md")).decode("utf-8")


def title(text: str) -> str:
    """What stands in the heading of a page behind its code."""
    return text.partition("\n")[0].partition(": ")[2]
