"""Results and parameters of a run, which are JSON, as they are shown in a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from mxm.pipeline.printable import in_one_line
from mxm.pipeline.views.fragments import TIMES
from mxm.pipeline.views.markup import escaped, shortened

__all__ = ["brief", "in_short", "result_html", "shape_of"]

_LONGEST = 2_000
_MOST_COLUMNS = 4
_MOST_ROWS = 3


def in_short(value: Any, most: int = 200) -> str:
    """*value* in one line of at most *most* characters, before it says how long it is."""
    text = value if isinstance(value, str) else _text(value)
    return shortened(in_one_line(text), most)


def brief(value: Any, most: int) -> str:
    """A result in one line: what is described by its type and shape, else its beginning."""
    shape = shape_of(value)
    return in_short(f"{value['type']} {shape}" if shape else value, most)


def shape_of(value: Any) -> str:
    """``1,250 x 500``, the shape of a table or an array that JSON describes; empty for others."""
    parts = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    shape = parts.get("shape")
    if "type" not in parts or not isinstance(shape, list):
        return ""
    sizes = cast("list[object]", shape)
    return f" {TIMES} ".join(f"{n:,}" if isinstance(n, int) else str(n) for n in sizes)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def result_html(value: Any, returns: str) -> str:
    """A result as HTML: its type, its shape, and the beginning of its content.

    Parameters
    ----------
    value
        As JSON has it.
    returns
        The declared type, for what the JSON does not say.
    """
    parts = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if isinstance(parts.get("columns"), dict) and isinstance(parts.get("head"), list):
        return _head(parts.get("type"), shape_of(value)) + _table(parts["columns"], parts["head"])
    if parts.keys() == {"type", "shape", "dtype"}:
        return _head(parts["type"], shape_of(value), str(parts["dtype"]))
    if parts.keys() == {"type", "repr"}:
        return _head(parts["type"]) + _block(str(parts["repr"]))
    return _head(returns) + _block(value if isinstance(value, str) else _text(value))


def _head(kind: object, *more: str) -> str:
    facts = [f'<span class="ty">{escaped(shortened(str(kind), 120))}</span>'] if kind else []
    facts += [f'<span class="dot">{escaped(fact)}</span>' for fact in more if fact]
    return f'<p class="vh">{"".join(facts)}</p>' if facts else ""


def _block(text: str) -> str:
    return f'<pre class="val" tabindex="0">{escaped(shortened(text, _LONGEST))}</pre>'


def _table(columns: Mapping[str, Any], head: Sequence[Any]) -> str:
    names = list(columns)[:_MOST_COLUMNS]
    top = "".join(
        f"<th>{escaped(in_short(n, 40))}<small>{escaped(in_short(columns[n], 20))}</small></th>"
        for n in names
    )
    rows: list[str] = []
    for each in head[:_MOST_ROWS]:
        cells = cast("dict[str, Any]", each) if isinstance(each, dict) else {}
        rows.append("".join(f"<td>{escaped(in_short(cells.get(name), 24))}</td>" for name in names))
    body = "".join(f"<tr>{cells}</tr>" for cells in rows)
    more = len(columns) - len(names)
    said = f'<p class="mut">and {more:,} more column{"s" * (more != 1)}</p>' if more else ""
    return (
        f'<div class="scroll" tabindex="0"><table class="head"><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{said}"
    )
