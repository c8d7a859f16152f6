"""Shows names of tasks as text: groups repeats, wraps long rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mxm.pipeline.process.printable import in_one_line

__all__ = ["follows", "grouped", "stem", "wrapped"]

_NUMBER = re.compile("([0-9]+)")
_REPEAT = re.compile(r"_2(?=\.|$)")
_COUNT = re.compile("_?[0-9]+")
_SHORTEST = 4  # repeats in a row that are shown as one


def stem(name: str) -> str:
    """*name* without its numbers, which is the same for all repeats of a task or a flow."""
    return _COUNT.sub("", name)


def follows(name: str, other: str) -> int | None:
    """The number in *other* if it continues *name*, as ``load_3`` continues ``load_2``."""
    one, two = _NUMBER.split(name), _NUMBER.split(other)
    if len(one) == len(two):
        places = [i for i, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
        if len(places) == 1 and places[0] % 2 and int(one[places[0]]) + 1 == int(two[places[0]]):
            return places[0]
        return None
    for match in _REPEAT.finditer(other):  # the second one; the first has no number
        if other[: match.start()] + other[match.end() :] == name:
            return 2 * len(_NUMBER.findall(other[: match.start()])) + 1
    return None


def grouped(names: Iterable[str]) -> list[str]:
    """*names*, with consecutive numbers grouped: ``load, load_2 ... load_300``."""
    rows: list[str] = []
    row: list[str] = []
    place: int | None = None
    for name in map(in_one_line, names):
        where = follows(row[-1], name) if row else None
        if where is not None and (place is None or where == place):
            row.append(name)
            place = where
            continue
        rows += _row(row)
        row, place = [name], None
    return rows + _row(row)


def _row(names: list[str]) -> list[str]:
    if len(names) < _SHORTEST:
        return names
    # The first of `load, load_2 ... load_300` has no number.
    first = names[:2] if _NUMBER.sub("", names[0]) != _NUMBER.sub("", names[1]) else names[:1]
    return [f"{', '.join(first)} ... {names[-1]}"]


def wrapped(pieces: Sequence[str], width: int) -> list[str]:
    """*pieces* separated by commas, in lines of at most *width* if they fit."""
    lines: list[str] = []
    for i, piece in enumerate(pieces):
        text = piece + "," * (i < len(pieces) - 1)
        if lines and len(lines[-1]) + 1 + len(text) <= width:
            lines[-1] += f" {text}"
        else:
            lines.append(text)
    return lines
