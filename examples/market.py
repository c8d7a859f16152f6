"""Risk and return of two stock indices, on real prices: mxm-pipeline run market -p window=126

Daily closes of the S&P 500 and the NASDAQ Composite, 1999 to 2018, come with the package `arch`:
nothing is downloaded. The flow writes a table and a figure into `out/`.
"""

# pandas brings no type stubs; what it returns is named in the signatures here.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, cast

import mxm
from mxm.pipeline.spec import AssetDecl

# The tasks import pandas, arch and matplotlib themselves, so that `mxm-pipeline list` stays fast.
if TYPE_CHECKING:
    import pandas as pd

DAYS = 252  # trading days in a year
COLOURS = {"S&P 500": "#1f4e79", "NASDAQ": "#d9822b"}


@mxm.task
def load_sp500(start: date, end: date) -> pd.Series:
    from arch.data import sp500

    return _closes(sp500.load(), "S&P 500", start, end)


@mxm.task
def load_nasdaq(start: date, end: date) -> pd.Series:
    from arch.data import nasdaq

    return _closes(nasdaq.load(), "NASDAQ", start, end)


def _closes(history: pd.DataFrame, name: str, start: date, end: date) -> pd.Series:
    # The adjusted close is the one that dividends and splits do not break.
    closes = cast("pd.Series", history.loc[f"{start}" : f"{end}", "Adj Close"])
    if closes.empty:
        raise ValueError(f"no prices of the {name} from {start} to {end}")
    return closes.rename(name)


@mxm.task(upstream=[load_sp500, load_nasdaq])
def prices(first: pd.Series, second: pd.Series) -> pd.DataFrame:
    """Both indices side by side, on the days that both traded."""
    import pandas as pd

    return pd.concat([first, second], axis="columns", join="inner")


@mxm.task(upstream=prices)
def returns(closes: pd.DataFrame) -> pd.DataFrame:
    return closes.pct_change().dropna()


@mxm.task(upstream=returns)
def volatility(daily: pd.DataFrame, window: int) -> pd.DataFrame:
    """Standard deviation over the last `window` days, as a yearly figure."""
    return (daily.rolling(window).std() * DAYS**0.5).dropna()


@mxm.task(upstream=prices)
def drawdowns(closes: pd.DataFrame) -> pd.DataFrame:
    """How far each day's close lies below the highest one before it."""
    return closes / closes.cummax() - 1


@mxm.task(upstream=returns)
def correlation(daily: pd.DataFrame) -> pd.DataFrame:
    return daily.corr()


@mxm.task(upstream={"closes": prices, "daily": returns, "depth": drawdowns})
def summary(
    closes: pd.DataFrame, daily: pd.DataFrame, depth: pd.DataFrame, riskless: float
) -> pd.DataFrame:
    """One row for each index; everything yearly is compounded or scaled to 252 days."""
    import pandas as pd

    growth = cast("pd.Series", closes.iloc[-1] / closes.iloc[0])
    deviation = daily.std() * DAYS**0.5
    measures: dict[str, pd.Series] = {
        "annual_return": growth ** (DAYS / len(daily)) - 1,
        "annual_volatility": deviation,
        "sharpe": (daily.mean() * DAYS - riskless) / deviation,
        "max_drawdown": depth.min(),
        "lowest_on": depth.idxmin().dt.date,
        "worst_day": daily.min(),
        "value_at_risk_95": -daily.quantile(0.05),
    }
    return pd.DataFrame(measures).rename_axis("index").reset_index()


@mxm.task(upstream=summary, produces=AssetDecl("market/summary", partition_key="end", format="csv"))
def save(rows: pd.DataFrame, table: str) -> str:
    Path(table).parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(table, index=False)
    return table


@mxm.task(upstream={"closes": prices, "rolling": volatility, "depth": drawdowns})
def plot(
    closes: pd.DataFrame,
    rolling: pd.DataFrame,
    depth: pd.DataFrame,
    window: int,
    figure: str,
) -> str:
    # Figure without pyplot draws by Agg and keeps no global state: safe on servers and in threads.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter, ScalarFormatter

    drawn = Figure(figsize=(10, 9), layout="constrained")
    growth, risk, loss = drawn.subplots(3, 1, sharex=True, height_ratios=[5, 3, 3])
    paths = cast("pd.DataFrame", closes / closes.iloc[0])
    last = cast("pd.Series", paths.iloc[-1])
    for name, colour in COLOURS.items():
        growth.plot(paths.index, paths[name], color=colour, linewidth=1.3)
        # A name stands at the end of its line, the higher one above it and the lower one below,
        # so that the two never touch.
        growth.annotate(
            f"{name}  {last[name]:.2f}",
            (paths.index[-1], last[name]),
            xytext=(6, 0),
            textcoords="offset points",
            va="bottom" if name == last.idxmax() else "top",
            color=colour,
            weight="bold",
            annotation_clip=False,
        )
        risk.plot(rolling.index, rolling[name], color=colour, linewidth=1.1)
        loss.plot(depth.index, depth[name], color=colour, linewidth=0.9)
        loss.fill_between(depth.index, depth[name], color=colour, alpha=0.15, linewidth=0)
    # On a log scale equal steps are equal returns, early and late.
    growth.set_yscale("log")
    growth.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    growth.yaxis.set_major_formatter(ScalarFormatter())
    growth.yaxis.minorticks_off()
    growth.set_title(f"Growth of 1 since {closes.index[0]:%Y-%m-%d}, log scale", loc="left")
    risk.set_title(f"Volatility over {window} trading days, yearly", loc="left")
    loss.set_title("Drawdown from the highest close so far", loc="left")
    risk.set_ylim(bottom=0)
    loss.set_ylim(top=0)
    for axes in (risk, loss):
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    loss.tick_params(axis="x", labelsize="small")
    for axes in (growth, risk, loss):
        axes.grid(color="#dddddd", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0)
    Path(figure).parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(figure, dpi=120, bbox_inches="tight", pad_inches=0.2)
    return figure


@mxm.flow(tasks=[save, plot, correlation])
def market(
    start: date = date(1999, 1, 4),
    end: date = date(2018, 12, 31),
    window: int = 63,
    riskless: float = 0.0175,  # the mean Treasury bill of these years, in arch.data.frenchdata
    table: str = "out/market.csv",
    figure: str = "out/market.png",
) -> None:
    """How the two indices grew, swung and fell, as a table and a figure."""
