"""The user's text in SVG and HTML: escaped, measured, shortened, or in an address."""

from __future__ import annotations

import html
import re
import unicodedata

__all__ = ["Keys", "columns", "escaped", "middle_out", "shortened"]

# Control characters except newline and tab, marks of direction, lone surrogates: text cannot have
# them in XML, or shows as something else.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_SPACE = re.compile(r"\s+")
_PLAIN = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST_KEY = 200


def _clean(text: str) -> str:
    return _UNSAFE.sub("\ufffd", text)


def escaped(text: str) -> str:
    """*text* for SVG or HTML, between tags or in a quoted attribute."""
    return html.escape(_clean(text))


def columns(text: str) -> int:
    """The columns that *text* takes in a font of one width: wide characters take two."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def middle_out(text: str, most: int) -> str:
    """*text* in one line of at most *most* columns; if it is longer, without its middle."""
    text = _SPACE.sub(" ", _clean(text[: 50 * most]))
    if columns(text) <= most:
        return text
    head, room = 0, int((most - 1) * 0.6)
    while columns(text[: head + 1]) <= room:
        head += 1
    tail = len(text)
    room = most - 1 - columns(text[:head])
    while tail > head and columns(text[tail - 1 :]) <= room:
        tail -= 1
    return f"{text[:head]}…{text[tail:]}"


def shortened(text: str, most: int) -> str:
    """*text*; if it is longer than *most*, cut at its end, with its length."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


class Keys:
    """Names as parts of a page's address, each unique."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, ...], str] = {}
        self._taken: set[str] = set()

    def of(self, *names: str) -> str:
        """The key for *names*; a second one that would have the same key gets ``~2``."""
        if names not in self._keys:
            text = _PLAIN.sub(lambda match: f"~{ord(match[0]):x}~", ".".join(filter(None, names)))
            key = text = text[:_LONGEST_KEY]
            count = 1
            while key in self._taken:
                count += 1
                key = f"{text}~{count}"
            self._taken.add(key)
            self._keys[names] = key
        return self._keys[names]
