"""The examples run, and what they say about the data is true."""

from __future__ import annotations

import asyncio
import csv
import gzip
import hashlib
import http.server
import importlib.util
import json
import logging
import os
import statistics
import struct
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from importlib.metadata import distributions
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command import call

from mxm.pipeline.api import compile_flow, execute_flow
from mxm.pipeline.errors import ParameterError
from mxm.pipeline.registry import collecting, get_flow
from mxm.pipeline.runs import State

EXAMPLES = Path(__file__).parents[1] / "examples"
BACKENDS = ["inline", "prefect"]
RUNNERS = ["sequential", "threads", "processes"]


def load_example(name: str) -> types.ModuleType:
    """The example as a new module, so that it registers with the registry of the test."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_listing_the_examples_loads_nothing_heavy() -> None:
    # In a process of its own, as this one has loaded them for other tests.
    code = (
        "import sys, basket, book, by_hand, fixings, ledger, market, notify, operations, quotes, rates;"
        "from mxm.pipeline.registry import list_flows;"
        "print(list_flows(), {'arch', 'httpx', 'matplotlib', 'pandas', 'prefect', 'sqlalchemy'} & set(sys.modules))"
    )
    path = os.pathsep.join([str(EXAMPLES), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    names = ["basket", "book", "example", "fixings", "index", "ledger", "market", "operations"]
    names += ["quotes", "rates", "reconcile"]
    assert done.stdout.strip() == f"{names} set()"


# --- by hand


@pytest.mark.parametrize("backend", BACKENDS)
def test_by_hand_on_the_parameters_of_the_runbook(backend: str) -> None:
    load_example("by_hand")
    flow = compile_flow(get_flow("example"), backend=backend)
    results = execute_flow(flow, {"limit": 100, "mode": "fast"})
    assert list(results) == ["load", "transform", "summarise"]
    total = 0.0
    for number in range(1, 101):
        total += number + 0.99
    assert results["summarise"] == {"count": 100, "total": total}
    assert total != 5149  # the point of the example: floats miss it
    assert total == pytest.approx(5149)


def test_by_hand_is_exact_by_the_task_and_ten_by_the_flow() -> None:
    module = load_example("by_hand")
    run = compile_flow(module.spec, backend="inline").run()
    assert run.value() == {"count": 10, "total": Decimal("64.90")}
    assert run.results["summarise"] == {"count": 10, "total": "64.90"}


def test_by_hand_refuses_another_mode_before_anything_runs() -> None:
    module = load_example("by_hand")
    with pytest.raises(ParameterError, match="mode"):
        compile_flow(module.spec, backend="inline").run({"mode": "slow"})


# --- operations


@pytest.mark.parametrize("backend", BACKENDS)
def test_operations_builds_what_it_diagnoses(backend: str, tmp_path: Path) -> None:
    module = load_example("operations")
    folder = tmp_path / "new" / "out"
    flow = compile_flow(module.operations, backend=backend)
    run = flow.run({"folder": str(folder), "free_mb": 1})
    run.raise_for_failure()
    assert list(run.tasks) == ["preflight", "build", "diagnose"]
    manifest = folder / "environment.json"
    content = json.loads(manifest.read_bytes())
    assert content["packages"] == {found.name: found.version for found in distributions()}
    assert content["packages"]["mxm-pipeline"]
    assert run.results["build"] == str(manifest)
    assert run.results["diagnose"] == {
        "packages": len(content["packages"]),
        "bytes": manifest.stat().st_size,
        "sha256": hashlib.sha256(manifest.read_bytes()).hexdigest(),
    }
    assert [path.name for path in folder.iterdir()] == ["environment.json"]  # no unfinished file


def test_operations_stops_before_it_writes(tmp_path: Path) -> None:
    module = load_example("operations")
    flow = compile_flow(module.operations, backend="inline")
    run = flow.run({"folder": tmp_path, "free_mb": 10**12})
    assert [task.state for task in run.tasks.values()] == [
        State.FAILED,
        State.SKIPPED,
        State.SKIPPED,
    ]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError, match=r"1000000000000 MB are asked for"):
        run.value()


def test_tasks_of_operations_are_still_functions(tmp_path: Path) -> None:
    module = load_example("operations")
    assert module.build(folder=tmp_path) == tmp_path / "environment.json"
    assert module.diagnose(folder=tmp_path)["packages"] > 0


# --- market: every number again from the raw file, without pandas


def need_arch() -> types.ModuleType:
    module: types.ModuleType = pytest.importorskip(
        "arch", reason="the prices come with arch: pip install '.[prefect,examples]'"
    )
    return module


def raw_closes(name: str) -> list[tuple[date, float]]:
    arch = need_arch()
    file = Path(arch.__file__).parent / "data" / name / f"{name}.csv.gz"
    with gzip.open(file, "rt", newline="") as lines:
        return [
            (datetime.strptime(row["Date"], "%m/%d/%Y").date(), float(row["Adj Close"]))
            for row in csv.DictReader(lines)
        ]


def expected(name: str, riskless: float = 0.0175) -> dict[str, Any]:
    history = raw_closes(name)
    closes = [close for _, close in history]
    daily = [after / before - 1 for before, after in pairwise(closes)]
    depth = [close / top - 1 for close, top in zip(closes, accumulate(closes, max), strict=True)]
    deviation = statistics.stdev(daily) * 252**0.5
    return {
        "annual_return": (closes[-1] / closes[0]) ** (252 / len(daily)) - 1,
        "annual_volatility": deviation,
        "sharpe": (statistics.fmean(daily) * 252 - riskless) / deviation,
        "max_drawdown": min(depth),
        "worst_day": min(daily),
        "value_at_risk_95": -statistics.quantiles(daily, n=20, method="inclusive")[0],
        "lowest_on": history[depth.index(min(depth))][0].isoformat(),
    }


class Ran:
    """One run of the whole market example, and what it logged."""

    def __init__(self, backend: str, folder: Path) -> None:
        self.table = folder / "tables" / "market.csv"
        self.figure = folder / "figures" / "market.png"
        logged: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
        logger = logging.getLogger("mxm.pipeline")
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            with collecting():
                self.module = load_example("market")
                flow = compile_flow(self.module.market, backend=backend)
                self.run = flow.run({"table": str(self.table), "figure": str(self.figure)})
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
        self.logged = logged
        self.run.raise_for_failure()


@pytest.fixture(scope="module", params=BACKENDS)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    need_arch()
    return Ran(request.param, tmp_path_factory.mktemp(request.param))


def test_market_loads_the_prices_as_they_are(ran: Ran) -> None:
    for task, name, last in (
        ("load_sp500", "sp500", 2506.850098),
        ("load_nasdaq", "nasdaq", 6635.279785),
    ):
        closes = ran.run.values[task]
        assert [(day.date(), close) for day, close in closes.items()] == raw_closes(name)
        assert closes.index[-1].date() == date(2018, 12, 31)
        assert closes.iloc[-1] == last


def test_market_summary_agrees_with_plain_python(ran: Ran) -> None:
    summary = ran.run.results["summary"]
    assert isinstance(summary, dict)
    assert summary["shape"] == [2, 8]
    rows = {row.pop("index"): row for row in json.loads(json.dumps(summary["head"]))}
    assert list(rows) == ["S&P 500", "NASDAQ"]
    for index, name in (("S&P 500", "sp500"), ("NASDAQ", "nasdaq")):
        wanted = expected(name)
        assert rows[index].pop("lowest_on") == wanted.pop("lowest_on")
        assert rows[index] == pytest.approx(wanted, rel=1e-9)
    # What the books say of these crashes: 56.8 % to March 2009, 77.9 % to October 2002.
    assert round(rows["S&P 500"]["max_drawdown"], 3) == -0.568
    assert round(rows["NASDAQ"]["max_drawdown"], 3) == -0.779


def test_market_volatility_and_correlation(ran: Ran) -> None:
    closes = {name: [close for _, close in raw_closes(name)] for name in ("sp500", "nasdaq")}
    daily = {name: [b / a - 1 for a, b in pairwise(path)] for name, path in closes.items()}
    rolling = ran.run.values["volatility"]
    assert rolling.shape == (5030 - 62, 2)
    for end, row in ((63, 0), (5030, -1)):
        assert rolling["NASDAQ"].iloc[row] == pytest.approx(
            statistics.stdev(daily["nasdaq"][end - 63 : end]) * 252**0.5
        )
    correlation = ran.run.values["correlation"]
    assert correlation.loc["S&P 500", "NASDAQ"] == pytest.approx(
        statistics.correlation(daily["sp500"], daily["nasdaq"])
    )


def test_market_writes_its_asset_and_says_so(ran: Ran) -> None:
    assert ran.run.results["save"] == str(ran.table)
    with ran.table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["index"] for row in rows] == ["S&P 500", "NASDAQ"]
    assert rows[0]["lowest_on"] == "2009-03-09"
    assert float(rows[1]["sharpe"]) == pytest.approx(expected("nasdaq")["sharpe"])
    written = [line for line in ran.logged if line.startswith("ASSET")]
    assert written == ["ASSET write market/summary partition=end:2018-12-31"]


def test_market_draws_a_figure(ran: Ran) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    assert ran.run.results["plot"] == str(ran.figure)
    content = ran.figure.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(content) > 50_000
    width, height = struct.unpack(">II", content[16:24])
    assert width > 1_000
    assert height > 1_000
    pixels = imread(ran.figure)[:, :, :3]
    for colour in ran.module.COLOURS.values():
        drawn = abs(pixels - to_rgb(colour)).max(axis=2) < 0.01
        # Each panel has this line: its colour stands in many columns, more than a label fills.
        for top, bottom in ((0, 0.4), (0.45, 0.68), (0.73, 0.95)):
            panel = drawn[int(height * top) : int(height * bottom)]
            assert panel.any(axis=0).sum() > 300


def test_market_takes_a_shorter_period_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_arch()
    from mxm.pipeline.values.conversion import Text

    monkeypatch.chdir(tmp_path)  # the defaults write below the working directory
    market = load_example("market").market
    given = {"start": Text("2018-01-01"), "end": Text("2018-06-30"), "window": Text("20")}
    run = compile_flow(market, backend="inline").run(given)
    closes = run.raise_for_failure().values["prices"]
    wanted = [day for day, _ in raw_closes("sp500") if date(2018, 1, 1) <= day <= date(2018, 6, 30)]
    assert [day.date() for day in closes.index] == wanted
    assert len(run.values["volatility"]) == len(wanted) - 20
    assert (tmp_path / "out" / "market.png").stat().st_size > 20_000
    assert (tmp_path / "out" / "market.csv").exists()


def test_market_names_a_period_without_prices() -> None:
    need_arch()
    load: Callable[..., Any] = load_example("market").load_sp500
    with pytest.raises(ValueError, match="no prices of the S&P 500 from 2030-01-01 to 2030-12-31"):
        load(date(2030, 1, 1), date(2030, 12, 31))


# --- book: the law, by its example


class Risked(NamedTuple):
    volatility: float
    worst_day: float


def risked(daily: list[float]) -> Risked:
    return Risked(statistics.stdev(daily) * 252**0.5, min(daily))


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_book_called_is_book_run(backend: str, runner: str) -> None:
    need_arch()
    book = load_example("book").book
    run = book.with_options(backend=backend, runner=runner).run(tech=0.2)
    assert run.value() == book(tech=0.2)
    assert list(run.results["report"]["crises"]) == ["dotcom", "subprime", "autumn_2018"]


def test_book_agrees_with_plain_python() -> None:
    need_arch()
    run = load_example("book").book.with_options(backend="inline").run(tech=0.2)
    closes = {name: raw_closes(name) for name in ("sp500", "nasdaq")}
    alone = {
        name: [after / before - 1 for (_, before), (_, after) in pairwise(history)]
        for name, history in closes.items()
    }
    days = [day for day, _ in closes["sp500"]][1:]
    mixed = [0.8 * a + 0.2 * b for a, b in zip(alone["sp500"], alone["nasdaq"], strict=True)]
    report = run.value()
    wanted = {name: risked(daily).volatility for name, daily in alone.items()}
    assert report["volatility"] == pytest.approx({**wanted, "book": risked(mixed).volatility})
    assert report["worst_day"] == pytest.approx(min(mixed))
    parts = 0.8 * wanted["sp500"] + 0.2 * wanted["nasdaq"]
    assert report["diversification"] == pytest.approx(parts - risked(mixed).volatility)
    growth = 1.0
    for day, change in zip(days, mixed, strict=True):
        if date(2007, 10, 9) < day <= date(2009, 3, 9):
            growth *= 1 + change
    assert report["crises"]["subprime"] == pytest.approx(growth - 1)


def test_book_all_in_one_index_loses_what_the_index_lost() -> None:
    need_arch()
    run = load_example("book").book.with_options(backend="inline").run(tech=0)
    history = dict(raw_closes("sp500"))
    assert run.values["subprime"] == pytest.approx(
        history[date(2009, 3, 9)] / history[date(2007, 10, 9)] - 1
    )
    assert run.value()["diversification"] == pytest.approx(0)


def test_book_names_its_steps_as_the_file_says() -> None:
    spec = load_example("book").book.spec
    assert {task.name for task in spec.tasks} == {
        *("index.load", "index.returns", "index.risk"),
        *("index_2.load", "index_2.returns", "index_2.risk"),
        *("mix", "dotcom", "subprime", "autumn_2018", "risk", "report"),
    }


def test_index_of_the_book_is_a_flow_of_its_own() -> None:
    need_arch()
    index = load_example("book").index.with_options(backend="inline")
    value = index.run(symbol="nasdaq").value()
    daily = [b / a - 1 for (_, a), (_, b) in pairwise(raw_closes("nasdaq"))]
    assert list(value["daily"]) == pytest.approx(daily)
    assert value["risk"] == pytest.approx(risked(daily)._asdict())
    failed = index.run(symbol="dax")
    assert failed.tasks["load"].reason == "ValueError: no prices of 'dax'; there are sp500, nasdaq"


# --- notify


class Hook(NamedTuple):
    """A webhook on this machine, and what was posted to it."""

    url: str
    posted: list[dict[str, str]]


@pytest.fixture
def hook() -> Iterator[Hook]:
    posted: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append(json.loads(body))
            self.send_response(204 if self.path == "/hook" else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Hook(f"http://127.0.0.1:{server.server_port}/hook", posted)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_notify_posts_a_failure_once_and_no_success(backend: str, runner: str, hook: Hook) -> None:
    module = load_example("notify")
    flow = module.reconcile.with_options(
        backend=backend, runner=runner, observers=[module.Webhook(hook.url)]
    )
    assert flow.run().value() == 2
    assert hook.posted == []
    run = flow.run(missing=5)
    text = "flow reconcile failed\ncompare: ValueError: positions differ: {'AAPL': (100, 95)}"
    assert hook.posted == [{"text": text, "run": run.id}]


def test_notify_that_cannot_post_fails_nothing(
    hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    module = load_example("notify")
    broken = module.Webhook(hook.url + "/elsewhere")
    run = module.reconcile.with_options(backend="inline", observers=[broken]).run(missing=5)
    assert run.state is State.FAILED
    assert isinstance(run.tasks["compare"].error, ValueError)
    [record] = [r for r in caplog.records if "observer" in r.getMessage()]
    assert "observer Webhook failed at RunEnded: HTTPError: HTTP Error 500" in record.getMessage()


def test_notify_as_a_program_ends_with_the_runs_outcome(hook: Hook) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "notify.py"), hook.url],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert (done.returncode, len(hook.posted)) == (1, 1)
    assert done.stdout.startswith("FAILED: <FlowRun 'reconcile'")


# --- quotes


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_quotes_asks_for_several_at_once(backend: str, runner: str) -> None:
    need_arch()
    quotes = load_example("quotes").quotes.with_options(backend=backend, runner=runner)
    run = quotes.run(symbols=("sp500", "nasdaq"))
    assert run.value() == [
        {"symbol": "sp500", "before": 2913.97998, "after": 2506.850098, "change": -0.1397},
        {"symbol": "nasdaq", "before": 8046.350098, "after": 6635.279785, "change": -0.1754},
    ]
    history = dict(raw_closes("sp500"))
    assert run.value()[0]["before"] == history[date(2018, 9, 28)]
    assert run.value()[0]["after"] == history[date(2018, 12, 31)]


def test_quotes_waits_for_answers_together(monkeypatch: pytest.MonkeyPatch) -> None:
    need_arch()
    module = load_example("quotes")
    # No answer leaves before another question has come: one after the other, they never would.
    two = threading.Barrier(2)
    monkeypatch.setattr(module, "sleep", lambda _: two.wait(timeout=60))
    run = module.quotes.with_options(backend="inline").run(symbols=("sp500",))
    assert run.raise_for_failure().values["fetch"]["at_once"] == 2


def test_quotes_called_is_quotes_run() -> None:
    need_arch()
    quotes = load_example("quotes").quotes
    start = date(2018, 11, 30)
    called = asyncio.run(quotes(start=start))
    assert called == quotes.with_options(backend="inline").run(start=start).value()
    assert [row["symbol"] for row in called] == sorted(
        ("sp500", "nasdaq", "vix", "wti"),
        key=lambda symbol: next(-row["change"] for row in called if row["symbol"] == symbol),
    )


def test_quotes_takes_the_last_close_before_a_day_without_one() -> None:
    need_arch()
    quotes = load_example("quotes").quotes.with_options(backend="inline")
    run = quotes.run(symbols=("sp500",), end=date(2018, 12, 30))  # a Sunday
    assert run.values["fetch"]["after"] == [
        {
            "symbol": "sp500",
            "day": "2018-12-28",
            "close": dict(raw_closes("sp500"))[date(2018, 12, 28)],
        }
    ]


@pytest.mark.parametrize(
    ("symbols", "start", "days"),
    [
        (("sp500", "dax"), "2018-09-28", ["2018-09-28", "2018-12-31"]),  # whichever is told first
        (("sp500",), "1990-01-01", ["1990-01-01"]),
    ],
)
def test_quotes_names_what_the_vendor_has_not_and_leaves_nothing_open(
    symbols: tuple[str, ...], start: str, days: list[str]
) -> None:
    need_arch()
    before = set(threading.enumerate())
    # A recorded run has a thread of the store's, which other runs of the process share.
    quotes = load_example("quotes").quotes.with_options(backend="inline", record=False)
    run = quotes.run(symbols=symbols, start=date.fromisoformat(start))
    assert run.tasks["fetch"].reason in [
        f"LookupError: no quote of {symbols[-1]!r} on {day}: the vendor has none" for day in days
    ]
    assert set(threading.enumerate()) == before


# --- resources


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("runner", ["sequential", "threads"])
def test_rates_are_asked_for_by_one_client(backend: str, runner: str) -> None:
    module = load_example("rates")
    flow = module.in_currencies.with_options(backend=backend, runner=runner)
    assert flow.run(amount=200).value() == {
        "USD": 229.0,
        "JPY": 25170.0,
        "GBP": 178.91,
        "CHF": 225.38,
    }
    assert asyncio.run(module.in_currencies()) == flow.run().value()


def test_a_currency_without_a_rate_fails_its_item_alone() -> None:
    run = load_example("rates").in_currencies.with_options(backend="inline")
    items = run.run(currencies=("USD", "XXX")).tasks["rate"].items
    assert {key: item.state for key, item in items.items()} == {
        "USD": State.SUCCEEDED,
        "XXX": State.FAILED,
    }


@pytest.mark.parametrize("runner", ["sequential", "threads"])
def test_the_ledger_writes_and_reads_by_one_engine(
    runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = load_example("ledger")
    flow = module.ledger.with_options(backend="inline", runner=runner)
    expected = {"orders": 9, "positions": {"QQQ": 15, "SPY": 18}, "paid": 6780.0}
    assert flow.run().value() == expected == module.ledger()
    assert (tmp_path / "out" / "ledger.db").exists()
    elsewhere = {"ledger_db": {"url": f"sqlite:///{tmp_path}/other.db"}}
    assert flow.with_options(resource_settings=elsewhere).run(days=1).value()["orders"] == 3
    assert (tmp_path / "other.db").exists()


# --- the rates of the European Central Bank


def ecb() -> dict[date, dict[str, float]]:
    text = (EXAMPLES / "data" / "ecb-2018.csv").read_text("utf-8").splitlines()
    names, *rows = [line.split(",") for line in text]
    return {
        date.fromisoformat(row[0]): {
            name: float(rate) for name, rate in zip(names[1:], row[1:]) if rate != "N/A"
        }
        for row in rows
    }


def test_the_rates_are_those_of_the_example_over_http() -> None:
    assert load_example("rates").PUBLISHED.items() <= ecb()[date(2018, 12, 31)].items()
    assert len(ecb()) == 255
    held = sum(file.stat().st_size for file in (EXAMPLES / "data").iterdir())
    assert held < 300_000


@pytest.mark.parametrize("runner", ["sequential", "threads"])
def test_basket_agrees_with_plain_python(runner: str) -> None:
    module = load_example("basket")
    day, window = date(2018, 8, 13), 20  # the Turkish lira fell by a fifth in a week
    run = module.basket.with_options(backend="inline", runner=runner).run(day=day, window=window)
    rates = {published: row for published, row in sorted(ecb().items()) if published <= day}
    days = list(rates)[-window - 1 :]
    worth = {name: [1 / rates[one][name] for one in days] for name in rates[day]}
    earned = {
        name: [after / before - 1 for before, after in pairwise(values)]
        for name, values in worth.items()
    }
    index = [sum(on_a_day) / len(earned) for on_a_day in zip(*earned.values())]
    report = run.value()
    assert report["day"] == day
    assert report["riskiest"][0] == "TRY"
    assert list(report["currencies"]) == sorted(earned)
    assert report["currencies"]["TRY"]["worst_day"] == pytest.approx(min(earned["TRY"]))
    for risk, of in [(report["index"], index), (report["currencies"]["USD"], earned["USD"])]:
        assert risk["volatility"] == pytest.approx(statistics.stdev(of) * 255**0.5)
        assert risk["worst_day"] == pytest.approx(min(of))
        # Of 20 changes a twentieth lies between the worst and the second, close to the second.
        first, second, *_ = sorted(of)
        assert risk["value_at_risk_95"] == pytest.approx(-(first + 0.95 * (second - first)))
    assert module.basket(day, window) == report


def test_basket_leaves_out_a_currency_that_lacks_a_day() -> None:
    module = load_example("basket")
    days = sorted(ecb())[:30]
    assert set(ecb()[days[-1]]) - set(module.currencies(days)) == {"ISK"}


def test_basket_says_how_many_days_there_are() -> None:
    module = load_example("basket")
    with pytest.raises(ValueError, match="2 days with rates up to 2018-01-03; 61 are needed"):
        module.days_until(date(2018, 1, 3), 60)


def test_basket_is_scheduled_after_the_rates_are_published() -> None:
    spec = load_example("basket").basket.spec
    assert (spec.schedule_cron, spec.timezone) == ("30 16 * * mon-fri", "Europe/Berlin")


def test_fixings_fill_the_days_that_have_rates(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="the example makes tables with pandas")
    (tmp_path / "pyproject.toml").write_text("[tool.mxm.pipeline]\nmodules = ['fixings']\n")
    (tmp_path / "data").symlink_to(EXAMPLES / "data")
    (tmp_path / "fixings.py").write_text((EXAMPLES / "fixings.py").read_text("utf-8"), "utf-8")
    command = ["run", "fixings", "--for", "day=2018-12-24..2018-12-28", "--every", "weekday"]
    ran = call(*command, "--missing-only", "--backend", "inline", cwd=tmp_path)
    assert ran.code == 0, ran.err
    written = sorted(file.stem for file in (tmp_path / "out" / "fixings").glob("*.csv"))
    assert written == [f"2018-12-{day}" for day in (24, 27, 28)]  # Christmas has no rates
    table = (tmp_path / "out" / "fixings" / "2018-12-27.csv").read_text("utf-8").split()
    published = ecb()[date(2018, 12, 27)]
    assert table == ["currency,rate", *(f"{name},{published[name]}" for name in sorted(published))]


def test_fixings_refuse_a_rate_that_is_none() -> None:
    pytest.importorskip("pandas", reason="the example makes tables with pandas")
    module = load_example("fixings")
    assert module.positive(module.table({"USD": 1.145}))
    assert not module.positive(module.table({"USD": 1.145, "JPY": 0.0}))
    assert {check.name for check in module.FIXINGS.checks} >= {"positive", "not_empty"}


def test_one_task_at_a_time_asks_the_database_of_the_ledger() -> None:
    spec = load_example("ledger").ledger.spec
    assert [task.name for task in spec.tasks if task.limits == ("ledger_db",)] == [
        "book",
        "positions",
        "paid",
    ]
