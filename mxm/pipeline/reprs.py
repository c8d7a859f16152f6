"""How our objects show themselves: one function of `views`, loaded when something is shown."""

from __future__ import annotations

import importlib
from typing import Any

from mxm.pipeline.interrupts import let_signals_pass

__all__ = ["bundle", "drawn"]

# By name, because what is shown lies beneath what draws it.
_MODULE, _FUNCTION = "mxm.pipeline.views.shown", "text_of"


def drawn(thing: object, short: str) -> str:
    """*thing*, a flow or its spec, in lines of text; *short* where it cannot be drawn."""
    try:
        text: str = getattr(importlib.import_module(_MODULE), _FUNCTION)(thing)
    except BaseException as error:  # a repr never raises: the user's own code may
        let_signals_pass(error)
        return short
    return text


def bundle(thing: object, short: str) -> dict[str, Any]:
    """What a notebook shows of *thing*, by MIME type."""
    return {"text/plain": drawn(thing, short)}
