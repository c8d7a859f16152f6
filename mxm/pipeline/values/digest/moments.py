"""Digests of the standard library's times, numbers, UUIDs and paths."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from mxm.pipeline.values.digest.stream import Walk, joined_texts, part

__all__ = ["kinds_of"]


def kinds_of(walk: Walk) -> dict[type, tuple[str, Callable[[Any], bytes]]]:
    """Like `plain_kinds`, for types of standard modules that are loaded.

    Parameters
    ----------
    walk
        The reader of their parts.
    """

    def moments(items: Sequence[datetime | time]) -> bytes:
        return _moments(walk, items)

    def paths(items: Sequence[Any]) -> bytes:
        return walk.texts(list(map(str, items)))

    kinds: dict[type, tuple[str, Callable[[Any], bytes]]] = {
        date: ("date", _dates),
        timedelta: ("timedelta", _spans),
        datetime: ("datetime", moments),
        time: ("time", moments),
        range: ("range", _ranges),
        str: ("str", walk.texts),
    }
    if "decimal" in sys.modules:
        kinds[sys.modules["decimal"].Decimal] = ("Decimal", _decimals)
    if "uuid" in sys.modules:
        kinds[sys.modules["uuid"].UUID] = ("UUID", _uuids)
    if "fractions" in sys.modules:
        kinds[sys.modules["fractions"].Fraction] = ("Fraction", _fractions)
    if "pathlib" in sys.modules:
        for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"):
            kinds[getattr(sys.modules["pathlib"], name)] = (name, paths)
    return kinds


def _dates(items: Sequence[date]) -> bytes:
    return array("l", map(date.toordinal, items)).tobytes()


def _spans(items: Sequence[timedelta]) -> bytes:
    return array("q", [n for s in items for n in (s.days, s.seconds, s.microseconds)]).tobytes()


def _moments(walk: Walk, items: Sequence[datetime | time]) -> bytes:
    """Times with their fold, and each zone once."""
    texts = joined_texts([item.replace(tzinfo=None).isoformat() for item in items])
    folds = bytes([item.fold for item in items])
    zones = [item.tzinfo for item in items]
    if not any(zone is not None for zone in zones):
        return texts + folds
    read = {id(zone): walk.value(zone, ".tzinfo") for zone in zones}
    places = {zone: place for place, zone in enumerate(dict.fromkeys(read.values()))}
    numbers = array("I", [places[read[id(zone)]] for zone in zones]).tobytes()
    return part("zones", *places) + texts + folds + numbers


def _ranges(items: Sequence[range]) -> bytes:
    # Hexadecimal: long integers have no decimal text.
    return joined_texts([f"{r.start:x}:{r.stop:x}:{r.step:x}" for r in items])


def _fractions(items: Sequence[Any]) -> bytes:
    return joined_texts([f"{item.numerator:x}/{item.denominator:x}" for item in items])


def _decimals(items: Sequence[Any]) -> bytes:
    # Whether it is written with "E" or "e" is a setting of the context.
    return joined_texts([str(item).upper() for item in items])


def _uuids(items: Sequence[Any]) -> bytes:
    return b"".join([item.bytes for item in items])
