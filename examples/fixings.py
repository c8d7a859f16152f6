"""A table of exchange rates for every day, checked and written: mxm-pipeline run fixings

The days that are missing are filled by

    mxm-pipeline run fixings --for day=2018-12-03..2018-12-31 --every weekday --missing-only

The rates are those of the European Central Bank, in `data/`. On a holiday there are none: the day
is skipped, and the others are written. `mxm-pipeline assets show fixings` shows what is there.
"""

# pandas brings no type stubs; what it returns is named in the signatures here.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import mxm
from mxm.pipeline import AssetDecl, Check, Skip, no_nulls, not_empty, rows_within, unique

if TYPE_CHECKING:
    import pandas as pd

RATES = Path(__file__).parent / "data" / "ecb-2018.csv"


def positive(rates: pd.DataFrame) -> bool:
    return len(rates.query("rate > 0")) == len(rates)


FIXINGS = AssetDecl(
    "fixings",
    partition_key="day",
    format="csv",
    path_template="out/fixings/{day}.csv",
    # A day with fewer than nine tenths of the currencies of the day before is not a whole one.
    checks=[not_empty, unique("currency"), no_nulls("rate"), Check(positive), rows_within(0.1)],
)


@mxm.task
def published(day: date) -> dict[str, float]:
    """Units of each currency for one euro; skips a day on which the ECB published nothing."""
    with RATES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row.pop("Date") == day.isoformat():
                return {name: float(rate) for name, rate in row.items() if rate != "N/A"}
    raise Skip(f"no rates were published on {day}")


@mxm.task(produces=FIXINGS)
def table(rates: dict[str, float]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(sorted(rates.items()), columns=["currency", "rate"])


@mxm.flow
def fixings(day: date = date(2018, 12, 31)) -> pd.DataFrame:
    """The reference rates of one day, as a table in a file."""
    return table(published(day))
