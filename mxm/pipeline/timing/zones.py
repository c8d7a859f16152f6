"""Time zones by their IANA names, and the zone of this machine."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from mxm.pipeline.errors import PipelineError, repr_of
from mxm.pipeline.problems import closest

__all__ = ["alike", "doubt", "local_zone", "zone_named"]


def zone_named(name: object) -> ZoneInfo:
    """The time zone *name*.

    Raises
    ------
    PipelineError
        It is not the IANA name of a zone.
    """
    if not isinstance(name, str):
        raise PipelineError(f"{repr_of(name):.80} is not a time zone", hint=_EXAMPLE)
    try:
        if name.partition("/")[0] not in _NOT_ZONES:
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of them is an OSError
        pass
    raise PipelineError(f"unknown time zone {name!r}", hint=_meant(name))


_EXAMPLE = "give its IANA name, such as 'Europe/London' or 'UTC'"
# Files beside the zones: other counts of seconds, and this machine's zone, whatever it is.
_NOT_ZONES = ("posix", "right", "posixrules", "localtime", "Factory", "")
_WELL_KNOWN = {
    **dict.fromkeys(("ET", "EDT", "EASTERN"), "America/New_York"),
    **dict.fromkeys(("CT", "CDT", "CST", "CENTRAL"), "America/Chicago"),
    **dict.fromkeys(("PT", "PDT", "PST", "PACIFIC"), "America/Los_Angeles"),
    **dict.fromkeys(("BST", "LONDON TIME"), "Europe/London"),
    **dict.fromkeys(("CEST", "CENTRAL EUROPEAN TIME"), "Europe/Berlin"),
    **dict.fromkeys(("JST",), "Asia/Tokyo"),
    **dict.fromkeys(("HKT",), "Asia/Hong_Kong"),
    **dict.fromkeys(("SGT",), "Asia/Singapore"),
    **dict.fromkeys(("IST",), "Asia/Kolkata"),
    **dict.fromkeys(("Z", "UTC+0", "ZULU TIME"), "UTC"),
}


def _meant(name: str) -> str:
    known = _WELL_KNOWN.get(name.strip().upper())
    if known is None:
        zones = {z for z in available_timezones() if z.partition("/")[0] not in _NOT_ZONES}
        if not zones:
            return "this Python has no time zones: pip install tzdata"
        wanted = name.strip().replace(" ", "_").casefold()
        by_city = {zone.rpartition("/")[2].casefold(): zone for zone in sorted(zones)}
        known = by_city.get(wanted) or closest(wanted, zones)
        city = None if known or "/" in wanted else closest(wanted, by_city)
        known = known or (by_city[city] if city else None)
    return f"did you mean {known!r}?" if known else _EXAMPLE


def doubt(name: str) -> tuple[str, str] | None:
    """What is odd about the zone *name*, and what may be meant; None if nothing is."""
    if name in ("EST", "MST"):
        city = {"EST": "America/New_York", "MST": "America/Denver"}[name]
        return f"{name} has no daylight saving time", f"{city} has it"
    at, sign, hours = name.removeprefix("Etc/").partition("GMT")
    offset = hours.lstrip("+-0")
    if not at and sign and offset:
        where = "behind" if hours[0] == "+" else "ahead of"
        return (
            f"{name} is {offset} hours {where} UTC: its sign is the reverse of the usual one",
            "name a city, as in 'America/New_York'",
        )
    return None


def local_zone() -> str | None:
    """The IANA name of this machine's time zone; None if it has no name here."""
    set_to = os.environ.get("TZ")
    if set_to is not None:
        names: list[str | None] = [set_to.removeprefix(":") or "UTC"]
    else:
        names = [_linked("/etc/localtime"), _line_of("/etc/timezone")]
        if not os.path.exists("/etc/localtime"):
            names.append("UTC")  # as the C library has it
    for name in names:
        try:
            return zone_named(name).key
        except PipelineError:
            continue
    return None


def _linked(path: str) -> str | None:
    _, folder, name = os.path.realpath(path).partition("zoneinfo" + os.sep)
    return name if folder else None


def _line_of(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().strip()
    except (OSError, ValueError):
        return None


_PERIOD = 3  # years in which two zones are compared


def alike(one: str, other: str) -> bool:
    """Whether the clocks of two zones show the same, from now on for some years."""
    first, second = zone_named(one), zone_named(other)
    now = datetime.now(UTC)
    hours = range(24 * 366 * _PERIOD)
    return one == other or all(
        (now + timedelta(hours=hour)).astimezone(first).utcoffset()
        == (now + timedelta(hours=hour)).astimezone(second).utcoffset()
        for hour in hours
    )
