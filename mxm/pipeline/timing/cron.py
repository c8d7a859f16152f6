"""Cron expressions of five fields: what they mean, and when they come next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

from mxm.pipeline.errors import PipelineError, repr_of

__all__ = ["Cron", "CronError", "parse_cron"]


class CronError(PipelineError, ValueError):
    """An expression that is not a schedule.

    Attributes
    ----------
    code
        Its code in the table of problems.
    """

    def __init__(self, message: str, *, hint: str | None = None, code: str = "MXM930"):
        super().__init__(message, hint=hint)
        self.code = code


@dataclass(frozen=True)
class Cron:
    """When something runs: in each minute whose fields all fit.

    Parameters
    ----------
    text
        The expression, with single spaces.
    minutes, hours, days, months
        The values that fit, in order.
    weekdays
        The same; 0 is Sunday.
    either
        Whether a day fits if its number or its weekday does, as cron has it where both are named.
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    either: bool

    def fits(self, day: date) -> bool:
        """Whether it runs on *day*."""
        if day.month not in self.months:
            return False
        by_number, by_name = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_number or by_name if self.either else by_number and by_name

    def next_times(self, zone: tzinfo, after: datetime, count: int) -> list[datetime]:
        """The next *count* times after *after*, in *zone*, as a Prefect server has them.

        A time that a change of the clock leaves out comes as much later as the clock jumps; one
        that the clock shows twice comes the first time only.

        Parameters
        ----------
        zone
            Where the fields are read.
        after
            An aware time.
        count
            How many times.
        """
        start = after.astimezone(UTC)
        times: dict[datetime, datetime] = {}
        more = _LATER
        day = start.astimezone(zone).date() - timedelta(days=_LATER)
        while more >= 0:
            day += timedelta(days=1)
            for wall in self._on(day):
                instant = wall.replace(tzinfo=zone).astimezone(UTC)
                if instant > start:
                    times.setdefault(instant, instant.astimezone(zone))
            # A jump of the clock may bring one of a later day before one of this day.
            more -= len(times) >= count
        return [times[instant] for instant in sorted(times)[:count]]

    def _on(self, day: date) -> Iterator[datetime]:
        if self.fits(day):
            for hour in self.hours:
                for minute in self.minutes:
                    yield datetime(day.year, day.month, day.day, hour, minute)


_LATER = 2  # days: no clock has jumped further


@dataclass(frozen=True)
class _Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()

    def values(self, text: str) -> tuple[int, ...]:
        """The values that *text* means, in order."""
        numbers: set[int] = set()
        for term in text.split(","):
            numbers.update(self._term(term))
        return tuple(sorted(numbers))

    def _term(self, term: str) -> range:
        span, slash, step_text = term.partition("/")
        step = 1
        if slash:
            if not _NUMBER.fullmatch(step_text) or int(step_text) == 0:
                raise self._wrong(term, "a step is a whole number of at least 1: */15")
            step = int(step_text)
        if span == "*":
            first, last = self.least, min(self.most, 6) if self.name == _WEEKDAY else self.most
        elif "-" in span:
            low, _, high = span.partition("-")
            first, last = self._value(low, term), self._value(high, term)
            if last == first:  # which Prefect reads as all values
                raise self._wrong(term, f"a range has two ends: write {first}")
            if last < first:
                rest = range(first, min(self.most, 6) + 1) if self.name == _WEEKDAY else ()
                listed = [*rest, *range(last + 1)]
                around = f"{low}-{self.most},{self.least}-{high}"
                if rest:
                    around = ",".join(self.names[day] for day in listed)
                raise self._wrong(term, f"a range runs upward: {around}")
        else:
            first = last = self._value(span, term)
            if slash:
                raise self._wrong(term, f"give the range: {first}-{self.most}/{step}")
        # A step past the end means something else than it says: */90 is once an hour.
        if slash and step > last - first:
            raise self._wrong(
                term, f"a step of {step} leaves only {first}: write {first}, or a smaller step"
            )
        return range(first, last + 1, step)

    def _value(self, text: str, term: str) -> int:
        name = text.casefold()
        if name in self.names:
            return self.names.index(name) + self.least
        if not _NUMBER.fullmatch(text):
            raise self._wrong(term, self._form(text))
        value = int(text)
        if not self.least <= value <= self.most:
            raise self._wrong(term, f"it is {self.least} to {self.most}")
        return value

    def _form(self, text: str) -> str:
        if self.names:
            full = next((n for n in self.names if len(text) > 3 and text.casefold()[:3] == n), None)
            if full:
                return f"write {full}"
        named = f", or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return (
            f"it is {self.least} to {self.most}{named}; also *, lists 1,15, ranges 1-5 and "
            "steps */2; no L, W, #, ? or H"
        )

    def _wrong(self, term: str, hint: str) -> CronError:
        return CronError(f"the {self.name} is {term!r}", hint=hint)


_WEEKDAY = "day of the week"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field(_WEEKDAY, 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
_NUMBER = re.compile("[0-9]{1,4}")
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def parse_cron(text: object) -> Cron:
    """Read *text*: minute, hour, day of the month, month, day of the week.

    Only what cron, systemd and a Prefect server read alike is accepted.

    Raises
    ------
    CronError
        It is not such an expression.
    """
    if not isinstance(text, str):
        raise CronError(f"{repr_of(text):.80} is not a string", hint=_EXAMPLE)
    parts = text.split()
    if len(parts) != len(_FIELDS):
        message, hint = _miscounted(text, parts)
        raise CronError(message, hint=hint)
    try:
        values = [field.values(part) for field, part in zip(_FIELDS, parts, strict=True)]
    except CronError as error:
        raise CronError(f"{text!r}: {error.message}", hint=error.hint) from None
    minutes, hours, days, months, weekdays = values
    weekdays = tuple(sorted({day % 7 for day in weekdays}))
    free = parts[2] == "*", parts[4] == "*"
    whole = len(days) == _FIELDS[2].most or len(weekdays) == len(_FIELDS[4].names)
    if not any(free) and (whole or parts[2].startswith("*") or parts[4].startswith("*")):
        raise CronError(
            f"{text!r}: cron and Prefect differ in whether a day must fit both {parts[2]!r} as "
            f"day of the month and {parts[4]!r} as day of the week, or one of them",
            hint="leave one of the two at *, or list the days in place of a step",
            code="MXM933",
        )
    if not any(min(days) <= _LONGEST[month - 1] for month in months) and free[1]:
        raise CronError(
            f"{text!r} never runs: day {min(days)} of month {', '.join(map(str, months))}",
            hint="for the last day of every month, run on day 1 and take the day before",
            code="MXM932",
        )
    return Cron(" ".join(parts), minutes, hours, days, months, weekdays, not any(free))


_EXAMPLE = "five fields, as in '0 18 * * 1-5': at 18:00 from Monday to Friday"
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _miscounted(text: str, parts: list[str]) -> tuple[str, str]:
    """What is wrong with the number of fields, and a way out; as `CronError` takes them."""
    macro = _MACROS.get(text.strip().casefold())
    if macro:
        return f"{text!r} is not five fields", f"write {macro!r}"
    if text.strip().startswith("@"):
        return f"{text!r} is not five fields", _EXAMPLE
    count = f"{len(parts)} field{'s' * (len(parts) != 1)}"
    hint = _EXAMPLE
    if len(parts) == len(_FIELDS) + 1:
        hint = f"there are no seconds: {' '.join(parts[1:])!r}"
    return f"{text!r} has {count}, not five", hint
