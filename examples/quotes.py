"""Quotes over HTTP, all requested at once: mxm-pipeline run quotes -p end=2018-11-30

What four markets did between two days. The quotes are real and come with the package `arch`; the
vendor is a server that the example starts on this machine, so nothing is downloaded.
"""

# pandas brings no type stubs; what it returns is named here.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import date
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from time import sleep
from typing import TYPE_CHECKING, TypedDict, cast

import mxm

if TYPE_CHECKING:
    import pandas as pd

DELAY_S = 0.05  # what the vendor takes for an answer


class Quote(TypedDict):
    """The last close of a market up to a day."""

    symbol: str
    day: str
    close: float


class Fetched(TypedDict):
    before: list[Quote]
    after: list[Quote]
    at_once: int  # the most questions that the vendor had before it at one time


class Change(TypedDict):
    symbol: str
    before: float
    after: float
    change: float


@mxm.task
async def fetch(symbols: tuple[str, ...], start: date, end: date) -> Fetched:
    """Every quote of both days; they are waited for together, not one after the other."""
    wanted = [(symbol, day) for day in (start, end) for symbol in symbols]
    with vendor() as served:
        quotes = await asyncio.gather(*(ask(served.server_port, *each) for each in wanted))
    middle = len(symbols)
    return {"before": quotes[:middle], "after": quotes[middle:], "at_once": served.at_once}


async def ask(port: int, symbol: str, day: date) -> Quote:
    # A thread waits for the answer; an async HTTP client, where there is one, needs none.
    return await asyncio.to_thread(read, port, symbol, day)


def read(port: int, symbol: str, day: date) -> Quote:
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", f"/{symbol}/{day}")
        with connection.getresponse() as answer:
            if answer.status != 200:
                raise LookupError(f"no quote of {symbol!r} on {day}: {answer.reason}")
            return cast(Quote, json.load(answer))


@mxm.task
def changes(before: list[Quote], after: list[Quote]) -> list[Change]:
    """One row for each market, the largest gain first."""
    rows: list[Change] = [
        {
            "symbol": old["symbol"],
            "before": old["close"],
            "after": new["close"],
            "change": round(new["close"] / old["close"] - 1, 4),
        }
        for old, new in zip(before, after, strict=True)
    ]
    return sorted(rows, key=lambda row: row["change"], reverse=True)


@mxm.flow
async def quotes(
    symbols: tuple[str, ...] = ("sp500", "nasdaq", "vix", "wti"),
    start: date = date(2018, 9, 28),
    end: date = date(2018, 12, 31),
) -> list[Change]:
    """How markets changed between two days, by the quotes of a vendor."""
    fetched = await fetch(symbols, start, end)
    return changes(fetched["before"], fetched["after"])


# --- the vendor


class Vendor(ThreadingHTTPServer):
    """Answers /SYMBOL/DAY with a quote, and counts how many answers are under way."""

    daemon_threads = False  # closing it waits for answers under way

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.history = history()
        self.under_way = self.at_once = 0
        self.lock = Lock()

    def quote(self, symbol: str, day: str) -> Quote | None:
        with self.lock:
            self.under_way += 1
            self.at_once = max(self.at_once, self.under_way)
        sleep(DELAY_S)
        try:
            known = cast("pd.Series", self.history[symbol].loc[:day])
            return {"symbol": symbol, "day": f"{known.index[-1]:%F}", "close": known.iloc[-1]}
        except LookupError:  # no such market, or no close so early
            return None
        finally:
            with self.lock:
                self.under_way -= 1


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        _, symbol, day = self.path.split("/")
        found = cast(Vendor, self.server).quote(symbol, day)
        if found is None:
            self.send_error(404, "the vendor has none")
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nothing: the default writes a line for each answer."""


@contextmanager
def vendor() -> Generator[Vendor]:
    with Vendor() as served:
        thread = Thread(target=served.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            served.shutdown()
            thread.join()


def history() -> dict[str, pd.Series]:
    """Daily closes by symbol: two stock indices, their volatility, and a barrel of oil."""
    from arch.data import nasdaq, sp500, vix, wti

    return {
        "sp500": closes(sp500.load(), "Adj Close"),
        "nasdaq": closes(nasdaq.load(), "Adj Close"),
        "vix": closes(vix.load(), "vix"),
        "wti": closes(wti.load(), "DCOILWTICO"),
    }


def closes(table: pd.DataFrame, column: str) -> pd.Series:
    return cast("pd.Series", table[column]).dropna()
