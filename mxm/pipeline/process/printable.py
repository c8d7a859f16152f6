"""Makes text safe for a terminal: control characters become escapes."""

from __future__ import annotations

__all__ = ["in_json", "in_one_line", "printable", "without_sequences"]

_UNSAFE = [
    *range(0x20),
    *range(0x7F, 0xA0),
    *(0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),  # text direction
    *(0x2028, 0x2029, 0xFEFF),  # rare line ends; the byte order mark
]
_IN_ONE_LINE = {c: chr(c).encode("unicode_escape").decode("ascii") for c in _UNSAFE}
_IN_LINES = {c: text for c, text in _IN_ONE_LINE.items() if chr(c) not in "\n\t"}
_IN_JSON = {c: f"\\u{c:04x}" for c in _IN_LINES}


def printable(text: str) -> str:
    """*text*, of one or more lines, with Python escapes for control characters."""
    return text if text.isprintable() else text.translate(_IN_LINES)


def in_one_line(text: str) -> str:
    """*text* with escapes for line ends and tabs, too, for a name in a table or a drawing."""
    return text if text.isprintable() else text.translate(_IN_ONE_LINE)


def in_json(document: str) -> str:
    """The JSON *document* with JSON escapes for control characters; its meaning is unchanged."""
    return document.translate(_IN_JSON)


def without_sequences(text: str) -> str:
    """*text* without sequences that move the cursor, or set colours or the title."""
    if "\x1b" not in text:
        return text
    import re

    return re.sub("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)", "", text)
