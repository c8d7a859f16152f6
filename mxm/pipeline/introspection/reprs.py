"""How our objects show themselves: by functions of `views`, loaded when something is shown."""

from __future__ import annotations

import importlib
from typing import Any

from mxm.pipeline.process.interrupts import let_signals_pass

__all__ = ["bundle", "drawn"]

# By name, because the shown objects are in a lower layer than the drawing.
_MODULE, _TEXT, _HTML = "mxm.pipeline.views.shown", "text_of", "html_of"


def drawn(thing: object, short: str) -> str:
    """*thing*, a flow or its spec, as lines of text; *short* if it cannot be drawn."""
    return _made(_TEXT, thing) or short


def bundle(thing: object, short: str) -> dict[str, Any]:
    """What a notebook shows of *thing*, a flow or a task, by MIME type."""
    html = _made(_HTML, thing)
    text = {"text/plain": drawn(thing, short)}
    return {**text, "text/html": html} if html else text


def _made(function: str, thing: object) -> str | None:
    """The result of *function* for *thing*; None if it has none."""
    try:
        text: str | None = getattr(importlib.import_module(_MODULE), function)(thing)
    except BaseException as error:  # a repr never raises, although the user's code may
        let_signals_pass(error)
        return None
    return text
