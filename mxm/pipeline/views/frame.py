"""The frame of every page: its head, its tools, the box with drawings, its style and script."""

from __future__ import annotations

from collections.abc import Sequence

from mxm.pipeline.views.cards import View
from mxm.pipeline.views.colours import scheme_css
from mxm.pipeline.views.layers import TooLargeError
from mxm.pipeline.views.markup import escaped, shortened
from mxm.pipeline.views.picture import SYMBOLS, draw, icon, stylesheet

__all__ = ["graph_box", "keys_panel", "page_text", "top_of"]

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
_THEME = (
    '<button type="button" id="theme" aria-label="light or dark">'
    '<svg class="i" viewBox="0 0 14 14">'
    '<circle cx="7" cy="7" r="5.4" class="st"/><path d="M7 1.6a5.4 5.4 0 0 1 0 10.8z" class="fl"/>'
    "</svg></button>"
)
_FIND = (
    '<div class="find"><input id="q" type="search" placeholder="Find a task" '
    'aria-label="Find a task" autocomplete="off" spellcheck="false"><kbd>/</kbd>'
    '<ul id="hits" role="listbox" aria-label="Tasks found" hidden></ul></div>'
)
_ZOOM = (
    '<div class="zoom"><button type="button" data-zoom="-" aria-label="smaller">'
    "\N{MINUS SIGN}</button>"
    '<button type="button" data-zoom="0" aria-label="fit">Fit</button>'
    '<button type="button" data-zoom="+" aria-label="larger">+</button></div>'
)
_LINE = '<span><svg width="22" height="8"><path class="{}" d="M1 4H22"/></svg>{}</span>'
_KEYS = (
    ("← → ↑ ↓", "move in the graph"),
    ("n", "next {}"),
    ("/", "find a task"),
    ("o", "overview"),
    ("Esc", "back"),
)


def page_text(title: str, *, top: str, main: str, panel: str, details: str, footer: str) -> str:
    """The text of a page that loads nothing from elsewhere.

    Parameters
    ----------
    title
        The title of the browser's tab; the rest is HTML.
    top
        The head.
    main
        The column of boxes.
    panel
        What is next to it while no task is selected.
    details
        A template for each task.
    footer
        The last line.
    """
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{escaped(title)}</title>"
        f"<style>{scheme_css(':root')}{stylesheet('graph.css')}{stylesheet('style.css')}</style>"
    )
    aside = (
        '<aside id="panel" aria-live="polite" aria-label="Details">'
        f'<div id="flow">{panel}</div><div id="task" hidden></div></aside>'
    )
    return (
        f'<!doctype html><html lang="en"><head>{head}</head><body>'
        f'<svg class="defs" aria-hidden="true"><defs>{SYMBOLS}</defs></svg>'
        f'{top}<div class="cols"><main>{main}</main>{aside}</div>'
        f"<footer>{footer}</footer>{details}"
        f"<script>{stylesheet('script.js')}</script></body></html>\n"
    )


def top_of(title: str, facts: Sequence[str], chips: str, more: str = "") -> str:
    """The head of a page: its *title*, then *facts* in a line, *chips*, and *more*, all HTML."""
    spans = "".join(f"<span>{fact}</span>" for fact in facts)
    chips = f'<p class="chips">{chips}</p>' if chips else ""
    return (
        f'<header class="top"><div class="who">{title}</div>'
        f'<div class="tools">{_FIND}{_THEME}</div><p class="facts">{spans}</p>{chips}{more}'
        "</header>"
    )


def keys_panel(then: str) -> str:
    """The keys of the page; *then* is where ``n`` goes."""
    rows = "".join(
        f"<dt>{''.join(f'<kbd>{key}</kbd>' for key in keys.split())}</dt>"
        f"<dd>{what.format(then)}</dd>"
        for keys, what in _KEYS
    )
    return f'<section class="keys"><h4>Keys</h4><dl>{rows}</dl></section>'


def graph_box(views: Sequence[tuple[View, str]], *, ran: bool = False) -> str:
    """The box with the drawings, one of them shown.

    Parameters
    ----------
    views
        Each with its key in the page's address.
    ran
        Whether they show a run.
    """
    shown = "".join(
        f'<div class="view" data-view="{key}"{" hidden" if i else ""}>{_drawing(view)}</div>'
        for i, (view, key) in enumerate(views)
    )
    pick = ""
    if len(views) > 1:
        options = "".join(
            f'<option value="{key}">{escaped(shortened(view.title, 60))}</option>'
            for view, key in views
        )
        pick = (
            '<label class="pick"><span class="sr">Drawing</span>'
            f'<select id="view">{options}</select></label>'
        )
    legend = (
        f'<p class="legend">{_LINE.format("e", "data")}{_LINE.format("e ord", "order")}'
        f"{_LINE.format('e hot', 'critical chain') if ran else ''}"
        f"<span>{icon('asset')}asset</span></p>"
    )
    return (
        f'<section class="box" id="graph"><header class="bh"><h2>Graph</h2>{pick}{legend}{_ZOOM}'
        f'</header><div class="canvas" tabindex="-1">{shown}</div></section>'
    )


def _drawing(view: View) -> str:
    try:
        return draw(view.cards, view.edges, critical=view.critical).svg(view.title)
    except TooLargeError as error:
        return (
            f'<p class="note">Not drawn: {escaped(str(error))}. The table below has every task.</p>'
            '<svg class="graph TB" viewBox="0 0 1 1" width="1" height="1"></svg>'
        )
