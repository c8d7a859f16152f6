"""Cards and the edges between them as SVG: for files, pages and notebooks alike."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from mxm.pipeline.views.blocks import Box, Direction
from mxm.pipeline.views.colours import scheme_css
from mxm.pipeline.views.layers import Edge
from mxm.pipeline.views.layout import PAGE, lay_out
from mxm.pipeline.views.markup import columns, escaped, middle_out
from mxm.pipeline.views.paths import number_text

__all__ = [
    "MARGIN",
    "SYMBOLS",
    "Card",
    "Picture",
    "draw",
    "icon",
    "stylesheet",
    "svg_file",
    "unlinked",
]

MARGIN = 20  # px around a drawing
_HEIGHT = 44  # px of a card
_RADIUS = 8
_NAME_PX = 7.55  # px of a character of the name, in the fixed-width font
_TEXT_PX = 6.0  # px of one in the second line, on average
# px of one in DejaVu Sans, the widest font that a system may have as its own; and of all others.
_WIDE_FONT: Mapping[str, float] = {
    **dict.fromkeys(" !'()*,-./:;I[\\]fijlrt|·", 4.7),
    **dict.fromkeys("&DGHNOQUw~<>=+#\N{MULTIPLICATION SIGN}", 9.2),
    **dict.fromkeys("%@MWm…", 11.2),
}
_PLAIN_PX = 7.3
_EM_PX = 12.5  # of a letter of a script that fonts for code do not have
_SPARE = 10  # px of the padding after the text, which the widest font may take
_LEFT, _LEFT_OF_ICON = 14, 33  # px before the text
_RIGHT = 14
_TIMES = "\N{MULTIPLICATION SIGN}"
_BADGE = 26  # px that the number of attempts takes
_LONGEST_NAME, _LONGEST_TEXT = 24, 30  # columns
_NARROWEST = 96  # px
_STEP = 8  # px, by which widths differ

_TWINS = 10  # from this number on, cards between the same neighbours share a frame
_FRAME, _FRAME_GAP = 12, 10  # px inside a frame, and between its cards
_FRAME_RATIO = 2.2  # columns to rows, squared

# 14 x 14, in the colour of the text.
_ICONS: Mapping[str, str] = {
    "succeeded": '<path d="M2.8 7.4l2.9 2.9 5.5-6.2" class="st2"/>',
    "failed": '<circle cx="7" cy="7" r="6.25" class="fl"/>'
    '<path d="M4.8 4.8l4.4 4.4M9.2 4.8l-4.4 4.4" class="kn"/>',
    "running": '<circle cx="7" cy="7" r="5.4" class="st" opacity=".28"/>'
    '<path d="M7 1.6a5.4 5.4 0 0 1 5.4 5.4" class="st2"/>',
    "skipped": '<circle cx="7" cy="7" r="5.4" class="st"/><path d="M3.4 10.6l7.2-7.2" class="st"/>',
    "cached": '<path d="M7 1.4l5.6 5.6L7 12.6 1.4 7z" class="fl"/>',
    "overridden": '<rect x="2.6" y="2.6" width="8.8" height="8.8" rx="1.6" class="fl"/>',
    "pending": '<circle cx="7" cy="7" r="5.2" class="st" stroke-dasharray="1.6 2.4"/>',
    "cancelled": '<rect x="2.4" y="2.4" width="9.2" height="9.2" rx="2" class="st"/>'
    '<path d="M4.8 7h4.4" class="st2"/>',
    "crashed": '<path d="M7 1.2l6 11H1z" class="fl"/><path d="M7 5v3.4M7 10.2v.3" class="kn"/>',
    "asset": '<ellipse cx="7" cy="3.4" rx="4.6" ry="1.9" class="st"/><path d="M2.4 3.4v7.2c0 1.05 '
    '2.06 1.9 4.6 1.9s4.6-.85 4.6-1.9V3.4" class="st"/>',
    "open": '<path d="M5 3.5L9 7 5 10.5" class="st"/>',
}
_ARROW = (
    '<marker id="{}" viewBox="0 0 6 6" refX="5.6" refY="3" markerWidth="{}" markerHeight="{}" '
    'orient="auto" markerUnits="userSpaceOnUse"><path d="M0 .4L5.6 3 0 5.6z"/></marker>'
)

# Definitions that drawings refer to, once per file.
SYMBOLS = "".join(
    [
        *(f'<symbol id="i-{n}" viewBox="0 0 14 14">{body}</symbol>' for n, body in _ICONS.items()),
        _ARROW.format("tip", 6, 6),
        _ARROW.format("tip-hot", 7, 7),
        _ARROW.format("tip-lit", 7, 7),
    ]
)


@dataclass(frozen=True)
class Card:
    """One node of a drawing.

    Parameters
    ----------
    name
        What edges call it.
    label
        Its first line.
    text
        Its second line.
    title
        Its full description, for tooltips and screen readers.
    link
        Its link, such as ``#load``; empty for none.
    writes
        Whether it produces an asset.
    many
        Whether it stands for several: a mapped task, a sub-flow.
    is_asset
        Whether it is an asset itself.
    state
        The state of the task in a run; empty without a run.
    attempts
        How many calls it took.
    counts
        How many of what it stands for are in each state.
    is_critical
        Whether the end of the run waited for it.
    """

    name: str
    label: str
    text: str = ""
    title: str = ""
    link: str = ""
    writes: bool = False
    many: bool = False
    is_asset: bool = False
    state: str = ""
    attempts: int = 1
    counts: tuple[tuple[str, int], ...] = ()
    is_critical: bool = False

    @property
    def has_icon(self) -> bool:
        """Whether there is one before its name."""
        return self.is_asset or bool(self.state)


@dataclass(frozen=True)
class Picture:
    """A drawing: the inside of an SVG element, and its size in px."""

    body: str
    width: float
    height: float
    direction: Direction = "TB"

    def svg(self, label: str, *, head: str = "", namespace: str = "") -> str:
        """The SVG element, named *label*."""
        wide, high = number_text(self.width), number_text(self.height)
        return (
            f'<svg class="graph {self.direction}"{namespace} width="{wide}" height="{high}" '
            f'viewBox="0 0 {wide} {high}" role="group" aria-label="{escaped(label)}">'
            f"{head}{self.body}</svg>"
        )


@cache
def stylesheet(name: str) -> str:
    """The text of a file next to this module."""
    return files("mxm.pipeline.views").joinpath(name).read_text(encoding="utf-8")


def svg_file(picture: Picture, label: str) -> str:
    """*picture* as a file of its own, with both schemes of colours."""
    style = f"{scheme_css(':root')}{stylesheet('graph.css')}svg{{background:var(--bg)}}"
    head = f"<style>{style}</style><defs>{SYMBOLS}</defs>"
    return picture.svg(label, head=head, namespace=' xmlns="http://www.w3.org/2000/svg"')


def unlinked(card: Card) -> Card:
    """*card* without its link, which only works inside a page."""
    return replace(card, link="")


def icon(name: str) -> str:
    """An icon in a line of text."""
    return f'<svg class="i"><use href="#i-{name}"/></svg>'


def draw(
    cards: Sequence[Card],
    edges: Sequence[Edge],
    *,
    page: tuple[float, float] = PAGE,
    direction: Direction | None = None,
    critical: Collection[tuple[str, str]] = (),
) -> Picture:
    """Draw a graph.

    Parameters
    ----------
    cards
        The nodes, every one after its upstreams; of several orders that of their declaration.
    edges
        Each pair of nodes once.
    page, direction
        As `lay_out` takes them.
    critical
        The edges, by their ends, that the end of a run waited for.

    Raises
    ------
    TooLargeError
        There is too much to draw.
    """
    sizes = {card.name: (_width(card), float(_HEIGHT)) for card in cards}
    number = {card.name: i for i, card in enumerate(cards)}
    frames = _frames(cards, edges)
    frame_of = {name: frame for frame, members in frames.items() for name in members}
    columns_of: dict[str, int] = {}
    for frame, members in frames.items():
        number[frame] = len(number)
        wide = max(sizes[name][0] for name in members)
        sizes.update({name: (wide, float(_HEIGHT)) for name in members})
        columns_of[frame], sizes[frame] = _frame_size(len(members), wide, page[0])
    names = list(dict.fromkeys(frame_of.get(card.name, card.name) for card in cards))
    layout = lay_out(names, _framed(edges, frame_of), sizes, page=page, direction=direction)
    body = _paths(layout.paths, number, _Look(cards, frame_of, critical))
    drawn = [f'<g transform="translate({MARGIN} {MARGIN})">{"".join(body)}</g>']
    boxes = dict(layout.boxes)
    for frame, members in frames.items():
        drawn.append(_frame(boxes[frame], sizes[frame][1]))
        boxes.update(_inside(boxes[frame], members, columns_of[frame], sizes[members[0]][0]))
    drawn += [
        _card(card, boxes[card.name], number.get(frame_of.get(card.name, ""))) for card in cards
    ]
    width, height = layout.width + 2 * MARGIN, layout.height + 2 * MARGIN
    return Picture("".join(drawn), width, height, layout.direction)


def _width(card: Card) -> float:
    name = sum(_px(c, _NAME_PX) for c in middle_out(card.label, _LONGEST_NAME))
    name += _BADGE if card.attempts > 1 else 0
    text = _text_width(middle_out(card.text, _LONGEST_TEXT)) + (20 if card.writes else 0)
    left = _LEFT_OF_ICON if card.has_icon else _LEFT
    wide = left + max(name, text) + _RIGHT
    return max(_NARROWEST, -(-wide // _STEP) * _STEP)


def _text_width(text: str) -> float:
    """The room for *text* in the second line: on average, and at least what a wide font needs."""
    widest = sum(_WIDE_FONT.get(c) or _px(c, _PLAIN_PX) for c in text)
    return max(columns(text) * _TEXT_PX, widest - _SPARE)


def _px(character: str, column: float) -> float:
    """The room for *character*: a *column*, or as much as one of another script may need."""
    wide = columns(character)
    if wide == 1 and "\u0530" <= character < "\u2000":
        return max(column, _EM_PX)
    return wide * column


def _frames(cards: Sequence[Card], edges: Sequence[Edge]) -> dict[str, list[str]]:
    """Many cards between the same neighbours, by the name of the frame that they share."""
    near: dict[str, list[tuple[str, bool, bool]]] = {card.name: [] for card in cards}
    for edge in edges:
        near[edge.source].append((edge.target, edge.order, False))
        near[edge.target].append((edge.source, edge.order, True))
    alike: dict[tuple[tuple[str, bool, bool], ...], list[str]] = {}
    for name, neighbours in near.items():
        if neighbours:
            alike.setdefault(tuple(sorted(neighbours)), []).append(name)
    # No name of a task has this character before it: names come from `draw` alone.
    return {f"\0{names[0]}": names for names in alike.values() if len(names) >= _TWINS}


def _frame_size(count: int, wide: float, room: float) -> tuple[int, tuple[float, float]]:
    """How many columns a frame of *count* cards has, and its width and height."""
    most = int((room - 60) // (wide + _FRAME_GAP))
    across = max(1, min(most, round((count * _FRAME_RATIO) ** 0.5)))
    rows = -(-count // across)
    return across, (
        across * (wide + _FRAME_GAP) - _FRAME_GAP + 2 * _FRAME,
        rows * (_HEIGHT + _FRAME_GAP) - _FRAME_GAP + 2 * _FRAME,
    )


def _framed(edges: Sequence[Edge], frame_of: Mapping[str, str]) -> list[Edge]:
    """*edges* with frames in the place of what is in them."""
    joined: dict[tuple[str, str], Edge] = {}
    for source, target, order in edges:
        pair = frame_of.get(source, source), frame_of.get(target, target)
        joined.setdefault(pair, Edge(*pair, order))
    return list(joined.values())


def _inside(frame: Box, names: Sequence[str], across: int, wide: float) -> dict[str, Box]:
    return {
        name: Box(
            frame.x + _FRAME + i % across * (wide + _FRAME_GAP),
            frame.y + _FRAME + i // across * (_HEIGHT + _FRAME_GAP),
            wide,
        )
        for i, name in enumerate(names)
    }


def _frame(box: Box, height: float) -> str:
    x, y, wide, high = map(number_text, (box.x + MARGIN, box.y + MARGIN, box.width, height))
    return f'<rect class="frame" x="{x}" y="{y}" width="{wide}" height="{high}" rx="12"/>'


class _Look:
    """The look of edges, by the states of their ends."""

    def __init__(
        self,
        cards: Sequence[Card],
        frame_of: Mapping[str, str],
        critical: Collection[tuple[str, str]],
    ) -> None:
        self._states: dict[str, set[str]] = {}
        for card in cards:
            self._states.setdefault(frame_of.get(card.name, card.name), set()).add(card.state)
        self._critical = {(frame_of.get(a, a), frame_of.get(b, b)) for a, b in critical}

    def of(self, edge: Edge) -> str:
        """Its classes."""
        kind = "e ord" if edge.order else "e"
        if edge[:2] in self._critical:
            return f"{kind} hot"
        lost = self._states[edge.source] & {"failed", "skipped"}
        return f"{kind} bad" if lost and "skipped" in self._states[edge.target] else kind


def _paths(paths: Sequence[tuple[Edge, str]], number: Mapping[str, int], look: _Look) -> list[str]:
    """Every edge as a path, the critical ones above the others."""
    drawn: dict[bool, list[str]] = {False: [], True: []}
    for edge, data in paths:
        kind = look.of(edge)
        ends = f"{number[edge.source]} {number[edge.target]}"
        path = f'<path class="{kind}" data-e="{ends}" d="{data}"/>'
        drawn[kind.endswith("hot")].append(path)
    return drawn[False] + drawn[True]


def _card(card: Card, box: Box, frame: int | None) -> str:
    left = _LEFT_OF_ICON if card.has_icon else _LEFT
    wide = number_text(box.width)
    parts = [f"<title>{escaped(card.title or card.label)}</title>"]
    if card.many:
        inset = number_text(box.width - 10)
        parts.append(
            f'<rect class="stack" x="5" y="5" width="{inset}" height="{_HEIGHT}" rx="{_RADIUS}"/>'
        )
    parts.append(f'<rect class="card" width="{wide}" height="{_HEIGHT}" rx="{_RADIUS}"/>')
    if card.has_icon:
        name, css = ("asset", "as") if card.is_asset else (card.state, "ic")
        parts.append(f'<use class="{css}" href="#i-{name}" x="11" y="7.5" width="14" height="14"/>')
    name = escaped(middle_out(card.label, _LONGEST_NAME))
    text = escaped(middle_out(card.text, _LONGEST_TEXT))
    parts.append(f'<text class="nm" x="{left}" y="19">{name}</text>')
    parts.append(f'<text class="sb" x="{left}" y="34">{text}</text>')
    if card.attempts > 1:
        x = number_text(box.width - 33)
        parts.append(
            f'<g class="att" transform="translate({x} 7)"><rect width="24" height="15" rx="7.5"/>'
            f'<text x="12" y="11">{_TIMES}{card.attempts}</text></g>'
        )
    if card.writes:
        x = number_text(box.width - 23)
        parts.append(f'<use class="as" href="#i-asset" x="{x}" y="23.5" width="13" height="13"/>')
    parts += _segments(card, box.width - 20)
    link = f' href="{escaped(card.link)}"' if card.link else ""
    framed = "" if frame is None else f' data-f="{frame}"'
    x, y = number_text(box.x + MARGIN), number_text(box.y + MARGIN)
    tag = "a" if card.link else "g"
    kind = f"n s-{card.state}" if card.state else "n"
    kind += " crit" if card.is_critical else ""
    return (
        f'<{tag} class="{kind}"{link}{framed} transform="translate({x} {y})">'
        f"{''.join(parts)}</{tag}>"
    )


def _segments(card: Card, room: float) -> Iterator[str]:
    """The bar that shows how many are in each state."""
    total = sum(count for _, count in card.counts)
    at = 10.0
    for state, count in card.counts:
        wide = room * count / total
        shown = number_text(max(1.5, wide - 1))
        yield (
            f'<rect class="seg s-{state}" x="{number_text(at)}" y="{_HEIGHT - 5}" '
            f'width="{shown}" height="2" rx="1"/>'
        )
        at += wide
