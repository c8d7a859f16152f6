# ruff: noqa: ARG001, B008 - pytask reads what a task needs from its defaults
import json
from pathlib import Path
from typing import Annotated

import work
from pytask import Product

OUT = Path("out")


def _read(path):
    return json.loads(path.read_text())


def _write(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def task_prices(data: Path = Path("data/prices.csv"),
                made: Annotated[Path, Product] = OUT / "prices.json"):  # fmt: skip
    _write(made, work.prices())


def task_rates(data: list[Path] = sorted(Path("data/rates").glob("*.csv")),
               made: Annotated[Path, Product] = OUT / "rates.json"):  # fmt: skip
    _write(made, work.rates())


def task_grown(x: Path = OUT / "prices.json", made: Annotated[Path, Product] = OUT / "grown.json"):
    _write(made, work.grown(_read(x)))


def task_limited(x: Path = OUT / "grown.json",
                 made: Annotated[Path, Product] = OUT / "limited.json"):  # fmt: skip
    _write(made, work.limited(_read(x)))


def task_total(x: Path = OUT / "limited.json",
               made: Annotated[Path, Product] = OUT / "total.json"):  # fmt: skip
    _write(made, work.total(_read(x)))


def task_converted(x: Path = OUT / "total.json",
                   made: Annotated[Path, Product] = OUT / "converted.json"):  # fmt: skip
    _write(made, work.converted(_read(x)))


def task_curve(x: Path = OUT / "rates.json", made: Annotated[Path, Product] = OUT / "curve.json"):
    _write(made, work.curve(_read(x)))


def task_powered(x: Path = OUT / "curve.json",
                 made: Annotated[Path, Product] = OUT / "powered.json"):  # fmt: skip
    _write(made, work.powered(_read(x)))


def task_adjusted(x: Path = OUT / "powered.json",
                  made: Annotated[Path, Product] = OUT / "adjusted.json"):  # fmt: skip
    _write(made, work.adjusted(_read(x)))


def task_report(x: Path = OUT / "converted.json", y: Path = OUT / "adjusted.json",
                made: Annotated[Path, Product] = OUT / "report.json"):  # fmt: skip
    _write(made, work.report(_read(x), _read(y)))
