import glob

import lib
import ratelib
from work import called


def prices() -> list:
    called("prices")
    with open("data/prices.csv") as file:
        return [int(line) for line in file]


def rates() -> list:
    called("rates")
    found = []
    for path in sorted(glob.glob("data/rates/*.csv")):
        with open(path) as file:
            found += [int(line) for line in file]
    return found


def grown(prices: list) -> list:
    called("grown")
    return [lib.grow(x) for x in prices]


def limited(grown: list) -> list:
    called("limited")
    return [min(x, lib.LIMIT) for x in grown]


def total(limited: list) -> int:
    called("total")
    return sum(limited)


def converted(total: int) -> int:
    called("converted")
    return lib.adjusted(lib.convert(total))


def curve(rates: list) -> int:
    called("curve")
    made = lib.Curve()
    return made.lift(made.value()) + sum(rates)


def powered(curve: int) -> int:
    called("powered")
    return lib.raised(lib.shift(curve))


def adjusted(powered: int) -> int:
    called("adjusted")
    return ratelib.adjust(powered) + lib.desk()


def report(converted: int, adjusted: int) -> dict:
    called("report")
    return {"sum": converted, "risk": adjusted}
