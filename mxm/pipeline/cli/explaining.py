"""`explain`: the page of a problem's code, from docs/errors."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mxm.pipeline.errors import PipelineError, did_you_mean
from mxm.pipeline.scanning import read

__all__ = ["codes", "page", "title"]

# In an installed package, and in a checkout that is installed as editable.
_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_FOLDERS = (
    os.path.join(_HERE, "docs", "errors"),
    os.path.join(os.path.dirname(os.path.dirname(_HERE)), "docs", "errors"),
)


def _folder() -> str:
    return next(filter(os.path.isdir, _FOLDERS), _FOLDERS[0])


def codes() -> Sequence[str]:
    """Every code that has a page, in order."""
    folder = _folder()
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(name.removesuffix(".md") for name in names if name.startswith("MXM"))


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
    return read(os.path.join(_folder(), f"{code.upper()}.md")).decode("utf-8")


def title(text: str) -> str:
    """What stands in the heading of a page behind its code."""
    return text.partition("\n")[0].partition(": ")[2]
