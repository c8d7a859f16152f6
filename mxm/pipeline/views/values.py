"""Shows the results and parameters of a run, which are JSON, in a page."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.values.secrets import MASK
from mxm.pipeline.views.fragments import TIMES
from mxm.pipeline.views.markup import escaped, shortened

__all__ = [
    "brief",
    "in_short",
    "item_text",
    "parameter_text",
    "quoted",
    "result_html",
    "shape_of",
]

_LONGEST = 2_000
_MOST_COLUMNS = 4
_MOST_ROWS = 3


def in_short(value: Any, most: int = 200) -> str:
    """*value* in one line of at most *most* characters, before it says how long it is."""
    text = value if isinstance(value, str) else _text(value)
    return shortened(in_one_line(text), most)


def brief(value: Any, most: int) -> str:
    """A result in one line: its type and shape if it is described, or else its beginning."""
    return in_short(_described(value) or value, most)


def item_text(value: Any, most: int = 40) -> str:
    """The value of an item in one line; if it is described, its type without the module."""
    shape = shape_of(value)
    return in_short(f"{value['type'].rpartition('.')[2]} {shape}" if shape else value, most)


def quoted(value: Any, most: int = 200) -> str:
    """A constant in one line: text in quotes, since it may look like a number, or be empty."""
    return in_short(repr(value) if isinstance(value, str) and value != MASK else value, most)


def parameter_text(parameter: Mapping[str, Any], most: int = 200) -> str:
    """The value of a parameter in one line; in quotes if it is declared as text, not as a date."""
    value = parameter["value"]
    is_text = re.search(r"\bstr\b", str(parameter.get("type") or "str")) is not None
    return quoted(value, most) if is_text else in_short(value, most)


def shape_of(value: Any) -> str:
    """``1,250 x 500``, the shape of a table or an array that JSON describes; empty for others."""
    parts = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    shape = parts.get("shape")
    if "type" not in parts or not isinstance(shape, list):
        return ""
    sizes = cast("list[object]", shape)
    return f" {TIMES} ".join(f"{n:,}" if isinstance(n, int) else str(n) for n in sizes)


def _text(value: Any) -> str:
    """*value* as JSON; parts that are described show their type and shape."""
    try:
        return _named(value)
    except RecursionError:
        return json.dumps(value, ensure_ascii=False)


def _named(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_named, cast('Sequence[Any]', value)))}]"
    if not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    parts = cast("dict[str, Any]", value)
    inner = (f"{json.dumps(k, ensure_ascii=False)}: {_named(v)}" for k, v in parts.items())
    return _described(parts) or f"{{{', '.join(inner)}}}"


def _described(value: Any) -> str:
    """``pandas.DataFrame 1,250 x 500`` for a table or an array; empty for others."""
    shape = shape_of(value)
    return f"{value['type']} {shape}" if shape else ""


def result_html(value: Any, returns: str) -> str:
    """A result as HTML: its type, its shape, and the beginning of its content.

    Parameters
    ----------
    value
        As JSON.
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
        f"<th>{escaped(in_short(n, 40))}<small>{escaped(in_short(columns[n], 20))}</small>"
        for n in names
    )
    rows: list[str] = []
    for each in head[:_MOST_ROWS]:
        cells = cast("dict[str, Any]", each) if isinstance(each, dict) else {}
        rows.append("".join(f"<td>{escaped(in_short(cells.get(name), 24))}" for name in names))
    body = "".join(f"<tr>{cells}" for cells in rows)
    more = len(columns) - len(names)
    said = f'<p class="mut">and {more:,} more column{"s" * (more != 1)}</p>' if more else ""
    return (
        f'<div class="scroll" tabindex="0"><table class="head"><thead><tr>{top}<tbody>'
        f"{body}</table></div>{said}"
    )
