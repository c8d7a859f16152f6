"""The partitions of a backfill: ranges of days, hours and numbers, lists, files, calendars."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from mxm.pipeline.errors import PipelineError, described
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.process.interrupts import let_signals_pass

__all__ = ["partitions_of"]

_EVERY = ("day", "weekday", "week", "month", "hour")
_ZONE = re.compile(r"(.*)\[([^\]]+)\]")


def partitions_of(text: str, every: str | None) -> tuple[str, list[str]]:
    """The name of the parameter in ``--for``, and its values in order.

    Parameters
    ----------
    text
        ``NAME=FROM..TO``, ``NAME=a,b,c`` or ``NAME=@FILE``, one value per line.
    every
        The value of ``--every``; None for each day, or each number.

    Raises
    ------
    PipelineError
        It cannot be read, or there is no value.
    """
    name, equals, wanted = text.partition("=")
    name, wanted = name.strip(), wanted.strip()
    if not equals or not name or not wanted:
        raise PipelineError(f"--for needs NAME=VALUES, not {text!r}", hint=_HINT)
    first, dots, last = wanted.partition("..")
    if wanted.startswith("@"):
        values = _lines(wanted[1:])
    elif dots:
        values = list(_range(first.strip(), last.strip(), every))
    else:
        values = [value.strip() for value in wanted.split(",") if value.strip()]
    if every is not None and not dots:
        raise PipelineError("--every needs a range: --for day=2026-01-02..2026-03-31")
    if not values:
        raise PipelineError(f"--for {text}: it contains no values", hint=_HINT)
    return name, list(dict.fromkeys(values))


_HINT = "write day=2026-01-02..2026-03-31, day=2026-01-02,2026-01-05 or day=@days.txt"


def _lines(file: str) -> list[str]:
    try:
        with open(file, encoding="utf-8") as opened:
            lines = [line.strip() for line in opened]
    except (OSError, ValueError) as error:
        raise PipelineError(f"--for: {file} cannot be read: {described(error)}") from None
    values = [line for line in lines if line and not line.startswith("#")]
    for value in values:
        if "," in value or ".." in value or value.startswith("@"):
            hint = "write one value per line, without commas, '..' or '@'"
            raise PipelineError(f"--for: {file} has the line {value!r}", hint=hint)
    return values


def _range(first: str, last: str, every: str | None) -> Iterator[str]:
    if every is None and _is_number(first) and _is_number(last):
        if _is_day(first) and _is_day(last):
            raise PipelineError(
                f"--for: {first}..{last} may be days or numbers",
                hint=f"write days as {_day(first)}..{_day(last)}, and numbers one by one",
            )
        width = len(first) if first.startswith("0") else 0
        yield from (f"{number:0{width}}" for number in range(int(first), int(last) + 1))
        return
    if every == "hour" or "T" in first:
        yield from _hours(first, last, every)
        return
    start, end = _day(first), _day(last)
    for day in _days(start, end, every):
        yield day.isoformat()


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,9}", text) is not None


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise PipelineError(f"--for: {text!r} is not a day", hint=_HINT) from None


def _days(start: date, end: date, every: str | None) -> Iterable[date]:
    if every is not None and ":" in every:
        return _of_calendar(every, start, end)
    if every not in (None, *_EVERY):
        hint = did_you_mean(every, [*_EVERY, "module:function"])
        raise PipelineError(f"--every: unknown {every!r}", hint=hint)
    return _stepped(start, end, every)


def _stepped(start: date, end: date, every: str | None) -> Iterator[date]:
    day, months = start, 0
    while day <= end:
        if every != "weekday" or day.weekday() < 5:
            yield day
        if every == "month":
            months += 1
            year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
            day = _in_month(year, month + 1, start.day)
        else:
            day += timedelta(days=7 if every == "week" else 1)


def _in_month(year: int, month: int, day: int) -> date:
    """The *day* of a month, or its last day if the month is shorter."""
    while True:
        try:
            return date(year, month, day)
        except ValueError:
            day -= 1


def _of_calendar(name: str, start: date, end: date) -> list[date]:
    """The days that the user's function ``module:function`` returns for a range."""
    module, _, function = name.partition(":")
    try:
        calendar: Callable[[date, date], Iterable[Any]] = getattr(
            importlib.import_module(module), function
        )
        days = list(calendar(start, end))
    except BaseException as error:  # also from the user's own code
        let_signals_pass(error)
        raise PipelineError(
            f"--every {name}: {described(error)}",
            hint="it is called with the first and the last day, and must return days",
        ) from error
    made = sorted(_as_day(name, day) for day in days)
    outside = [day for day in made if not start <= day <= end]
    if outside:
        raise PipelineError(
            f"--every {name}: it returned {outside[0]}, which is not from {start} to {end}",
            hint="it is called with the first and the last day, and must return days between them",
        )
    return made


def _as_day(name: str, day: Any) -> date:
    if isinstance(day, datetime):  # pandas' Timestamp, too
        return day.date()
    if not isinstance(day, date):
        raise PipelineError(f"--every {name}: it returned {day!r}, which is not a day")
    return day


def _hours(first: str, last: str, every: str | None) -> Iterator[str]:
    """Each hour of a range; with a zone, the hours that its clocks show, with offsets."""
    zoned = _ZONE.fullmatch(last)
    zone: ZoneInfo | None = None
    if zoned:
        last = zoned[1]
        try:
            zone = ZoneInfo(zoned[2])
        except Exception as error:
            raise PipelineError(f"--for: unknown time zone {zoned[2]!r}") from error
    if every not in (None, "hour"):
        raise PipelineError(f"--every {every} needs days, not times")
    start, end = _time(first, zone), _time(last, zone)
    if len(last) == _DAY:  # all of that day
        end = (end.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=end.tzinfo)
    elif end.tzinfo is zone and zone is not None:
        end = end.replace(fold=1)  # if an hour comes twice, the second one counts, too
    if (start.tzinfo is None) != (end.tzinfo is None):
        raise PipelineError("--for: both times of a range need an offset, or none")
    own = zone or start.tzinfo
    if own is not None:  # one hour later on any clock
        start, end = start.astimezone(UTC), end.astimezone(UTC)
    while start < end or (start == end and len(last) != _DAY):
        yield start.isoformat() if own is None else start.astimezone(own).isoformat()
        start += timedelta(hours=1)


_DAY = len("2026-01-02")


def _time(text: str, zone: ZoneInfo | None) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        hint = "write hour=2026-03-28T00..2026-03-29T23[Europe/Berlin]"
        raise PipelineError(f"--for: {text!r} is not a time", hint=hint) from None
    return moment.replace(tzinfo=zone) if zone is not None and moment.tzinfo is None else moment
