"""Flows with large values, for workers: pytest rewrites the modules of tests, and not this one."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import mxm

N = 300_000  # floats: 2.4 MB


@mxm.task
def make(n: int) -> dict[str, Any]:
    import numpy as np

    return {"a": np.arange(n, dtype=float), "tag": "x"}


@mxm.task
def change(data: dict[str, Any]) -> dict[str, Any]:
    data["a"][:] = -1.0
    return data


@mxm.task
def total(data: dict[str, Any], changed: dict[str, Any]) -> float:
    return float(data["a"].sum() + changed["a"].sum())


@mxm.task
def last(part: Any, data: dict[str, Any]) -> float:
    assert part is data["a"]
    return float(part[-1])


@mxm.flow
def chain(n: int = N) -> Any:
    data = make(n)
    changed = change(data)
    return [total(data, changed), last(data["a"], data), data]


@mxm.task
def noted(pids: str) -> dict[str, Any]:
    with open(pids, "a") as file:
        file.write(f"{os.getpid()} ")
    return make(N)


@mxm.task(retries=2)
def size(data: dict[str, Any]) -> int:
    return len(data["a"])


@mxm.flow
def lossy(pids: str) -> int:
    return size(noted(pids))


@mxm.task
def pair(n: int) -> tuple[Any, Any]:
    data = make(n)["a"]
    return data, data + 1


@mxm.task
def triple(n: int) -> tuple[Any, Any]:
    return (*pair(n), make(n))  # type: ignore[return-value]


@mxm.task
def difference(left: Any, right: Any) -> float:
    return float((right - left).sum())


@mxm.flow
def unpacks(n: int = N) -> float:
    left, right = pair(n)
    return difference(left, right)


@mxm.flow
def unpacks_too_many(n: int = N) -> float:
    left, right = triple(n)
    return difference(left, right)


@mxm.flow
def no_such_part(n: int = N) -> Any:
    return total(make(n), {"a": make(n)["none"]})


@mxm.task
def rows(n: int) -> list[dict[str, Any]]:
    return [make(n) | {"k": i} for i in range(3)]


@mxm.task
def one(row: dict[str, Any], data: dict[str, Any]) -> float:
    return float(row["a"].sum() + data["a"].sum() + row["k"])


@mxm.flow
def maps(n: int = N) -> Any:
    return one.map(rows(n), data=make(n))


@mxm.flow
def shows_a_part(n: int = N) -> Any:
    return make(n)["a"]


@mxm.task
def sleeps(data: dict[str, Any]) -> None:
    time.sleep(20)


@mxm.task(run_if="always")
def reports(data: Any, slept: Any) -> float:
    return float(data["a"].sum())


@mxm.flow
def interrupted(n: int = N) -> float:
    data = make(n)
    return reports(data, sleeps(data))


class Row:
    """A value of a class of the project."""


@mxm.task(cache=True)
def cached(n: int) -> dict[str, Any]:
    return {**make(n), "row": Row()}


@mxm.task(cache=True)
def summed(data: dict[str, Any], part: Any, both: list[Any]) -> float:
    return float(data["a"].sum() + part[3] + both[0][1] + len(both[1]["a"]))


@mxm.task(cache=True)
def shifted(data: dict[str, Any]) -> Any:
    return data["a"] + 1.0


@mxm.flow
def caches(n: int = N) -> Any:
    plain, kept = make(n), cached(n)
    return summed(plain, kept["a"], [kept["a"], plain]), shifted(kept), kept


@mxm.task(cache=True)
def has_rows(data: dict[str, Any]) -> int:
    return len(data["a"])


@mxm.task(retries=1)
def looked_up(x: int, table: dict[str, Any], tries: str) -> float:
    table["a"][0] += 1.0  # each item has its own
    with open(tries, "a") as file:
        file.write(f"{x} ")
    time.sleep(0.01)
    if x == 40 and Path(tries).read_text().split().count("40") == 1:
        os.kill(os.getpid(), 9)
    return float(table["a"][x] + table["a"][0])


@mxm.flow
def looks_up(tries: str, n: int = N) -> Any:
    return looked_up.map([*range(1, 81)], table=make(n), tries=tries)
