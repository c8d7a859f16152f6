"""Drawings of flows and runs: trees, Mermaid, DOT, SVG, HTML pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mxm.pipeline.views.drawn import html, mermaid, svg
else:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Only now: the command's other verbs draw nothing.
        from mxm.pipeline.views import drawn

        return getattr(drawn, name)


__all__ = ["html", "mermaid", "svg"]
