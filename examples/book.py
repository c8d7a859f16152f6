"""A book of two stock indices, by calls: mxm-pipeline run book -p tech=0.2

Tasks are used several times, once from a flow that is called in the body of another. Daily closes
of the S&P 500 and the NASDAQ Composite, 1999 to 2018, come with the package `arch`.
"""

# pandas brings no type stubs; what it returns is named in the signatures here.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, TypedDict, cast

import mxm

if TYPE_CHECKING:
    import pandas as pd

DAYS = 252  # trading days in a year
INDICES = ("sp500", "nasdaq")
CRISES = {  # from the peak of the S&P 500 to its low
    "dotcom": (date(2000, 3, 24), date(2002, 10, 9)),
    "subprime": (date(2007, 10, 9), date(2009, 3, 9)),
    "autumn_2018": (date(2018, 9, 20), date(2018, 12, 24)),
}


class Risk(TypedDict):
    volatility: float
    worst_day: float


class Index(TypedDict):
    daily: pd.Series
    risk: Risk


class Report(TypedDict):
    volatility: dict[str, float]
    diversification: float
    worst_day: float
    crises: dict[str, float]


@mxm.task
def load(symbol: str) -> pd.Series:
    """Adjusted daily closes: those that dividends and splits do not break."""
    from arch.data import nasdaq, sp500

    if symbol not in INDICES:
        raise ValueError(f"no prices of {symbol!r}; there are {', '.join(INDICES)}")
    history = (sp500 if symbol == "sp500" else nasdaq).load()
    return cast("pd.Series", history["Adj Close"]).rename(symbol)


@mxm.task
def returns(closes: pd.Series) -> pd.Series:
    return closes.pct_change().dropna()


@mxm.task
def risk(daily: pd.Series) -> Risk:
    return {"volatility": daily.std() * DAYS**0.5, "worst_day": daily.min()}


@mxm.task
def mix(daily: dict[str, pd.Series], tech: float) -> pd.Series:
    """What the book earned each day, if it was brought back to its shares every evening."""
    return daily["sp500"] * (1 - tech) + daily["nasdaq"] * tech


@mxm.task
def loss(daily: pd.Series, start: date, end: date) -> float:
    """What the days after *start*, up to *end*, came to."""
    growth = cast("pd.Series", 1 + daily.loc[f"{start}" : f"{end}"].iloc[1:])
    return cast(float, growth.prod()) - 1


@mxm.task
def report(alone: dict[str, float], book: Risk, tech: float, crises: dict[str, float]) -> Report:
    """What the book risked, beside what its parts risk alone."""
    parts = alone["sp500"] * (1 - tech) + alone["nasdaq"] * tech
    return {
        "volatility": {**alone, "book": book["volatility"]},
        "diversification": parts - book["volatility"],
        "worst_day": book["worst_day"],
        "crises": crises,
    }


@mxm.flow
def index(symbol: str = "sp500") -> Index:
    """The daily returns of one index, and their risk."""
    daily = returns(load(symbol))
    return {"daily": daily, "risk": risk(daily)}


@mxm.flow
def book(tech: float = 0.4) -> Report:
    """The risk of a book that holds the share `tech` of the NASDAQ, the rest of the S&P 500."""
    # The body runs once, when this file is imported. A loop over constants writes its calls out:
    # these are index.load, index.returns, index.risk, and index_2.load, and so on.
    parts = {symbol: index(symbol) for symbol in INDICES}
    daily = mix({symbol: part["daily"] for symbol, part in parts.items()}, tech)
    crises = {name: loss.named(name)(daily, *days) for name, days in CRISES.items()}
    alone = {symbol: part["risk"]["volatility"] for symbol, part in parts.items()}
    return report(alone, risk(daily), tech, crises)
