"""The most played artists of some days; a day whose file is missing is made up."""

from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import mxm


@mxm.task
def days(first: date, count: int) -> list[date]:
    return [first + timedelta(days=i) for i in range(count)]


@mxm.task(allow_failure=True)
def recorded(day: date, folder: str) -> str:
    return Path(folder, f"streams_{day}.tsv").read_text(encoding="utf-8")


@mxm.task(after=recorded, run_if="failed")
def faked(day: date) -> str:
    return "".join(f"{user} artist_{user % day.day} track\n" for user in range(6))


@mxm.task(run_if="not_failed")
def artists(recorded: str | None, faked: str | None) -> list[str]:
    return [artist for _, artist, _ in map(str.split, (recorded or faked or "").splitlines())]


@mxm.flow
def streams(day: date, folder: str) -> list[str]:
    return artists(recorded(day, folder), faked(day))


@mxm.task
def top(streams: list[list[str]], size: int) -> list[tuple[str, int]]:
    counted = Counter(artist for day in streams for artist in day)
    return sorted(counted.items(), key=lambda entry: (-entry[1], entry[0]))[:size]


@mxm.flow
def toplist(folder: str, first: date, count: int = 3, size: int = 10) -> list[tuple[str, int]]:
    return top(streams.map(days(first, count), folder=folder), size)
