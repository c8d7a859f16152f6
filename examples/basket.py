"""Risk of every currency at the end of a day, and of all together: mxm-pipeline run basket

The index is a basket of all currencies for which the European Central Bank publishes a rate, with
equal weights. It is seen from the euro, and its rates of 2018 are in `data/`. The tasks are mapped
over the currencies; `mxm-pipeline schedule` says when the flow runs, and `-p day=2018-08-13` runs
it for another day. It needs only the standard library.
"""

from __future__ import annotations

import csv
import statistics
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TypedDict

import mxm

RATES = Path(__file__).parent / "data" / "ecb-2018.csv"
DAYS = 255  # on which the ECB publishes, in a year


class Risk(TypedDict):
    volatility: float  # yearly
    worst_day: float
    value_at_risk_95: float


class Report(TypedDict):
    day: date
    index: Risk
    riskiest: list[str]
    currencies: dict[str, Risk]


def _published() -> dict[date, dict[str, float]]:
    """Units of each currency for one euro, by day, the oldest first."""
    with RATES.open(encoding="utf-8", newline="") as file:
        rows = [{**row} for row in csv.DictReader(file)]
    rates = {date.fromisoformat(row.pop("Date")): row for row in reversed(rows)}
    return {
        day: {name: float(rate) for name, rate in row.items() if rate != "N/A"}
        for day, row in rates.items()
    }


@mxm.task
def days_until(day: date | None, window: int) -> list[date]:
    """The last days with rates up to *day*, one more than the changes that are looked at."""
    days = [published for published in _published() if day is None or published <= day]
    if len(days) <= window:
        raise ValueError(f"{len(days)} days with rates up to {day}; {window + 1} are needed")
    return days[-window - 1 :]


@mxm.task
def currencies(days: list[date]) -> list[str]:
    """Those with a rate on each of the days."""
    first, *others = (_published()[day] for day in days)
    return sorted(set(first).intersection(*others))


@mxm.task
def changes(currency: str, days: list[date]) -> list[float]:
    """What holding the currency earned each day, in euros."""
    rates = _published()
    # The rate is the price of a euro: what a unit of the currency is worth is its reciprocal.
    return [
        rates[before][currency] / rates[after][currency] - 1 for before, after in pairwise(days)
    ]


@mxm.task
def together(each: list[list[float]]) -> list[float]:
    """What the index earned each day, if equal weights were restored every evening."""
    return [statistics.fmean(day) for day in zip(*each, strict=True)]


@mxm.task
def risk(earned: list[float]) -> Risk:
    return {
        "volatility": statistics.stdev(earned) * DAYS**0.5,
        "worst_day": min(earned),
        "value_at_risk_95": 0 - statistics.quantiles(earned, n=20, method="inclusive")[0],
    }


@mxm.task
def report(days: list[date], names: list[str], each: list[Risk], index: Risk) -> Report:
    by_name = dict(zip(names, each, strict=True))
    order = sorted(names, key=lambda name: by_name[name]["volatility"], reverse=True)
    return {"day": days[-1], "index": index, "riskiest": order[:3], "currencies": by_name}


@mxm.flow(schedule_cron="30 16 * * mon-fri", timezone="Europe/Berlin")  # published at about 16:00
def basket(day: date | None = None, window: int = 60) -> Report:
    """Risk of each currency and of the index, over the last `window` changes; the newest day."""
    days = days_until(day, window)
    names = currencies(days)
    earned = changes.map(names, days=days)
    return report(days, names, risk.map(earned), risk.named("index")(together(earned)))
