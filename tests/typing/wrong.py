"""What type checkers must reject; checked, never run.

Each wrong line carries mypy's code and pyright's rule for it, and for both a comment that hides no
error is an error itself: so each line is rejected by both, for that reason, and no other line is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date

import mxm
from mxm.pipeline import RetryAfter, backoff


@mxm.task
def load(day: date, limit: int = 10) -> list[float]:
    return [float(limit)]


@mxm.task(retries=1)
def total(prices: list[float]) -> float:
    return sum(prices)


@mxm.task
async def fetch(day: date) -> list[float]:
    return []


@mxm.task(name="later")
async def later(prices: list[float]) -> float:
    return 0


def text_of_attempt(attempt: int) -> str:
    return str(attempt)


def two_arguments(error: Exception, attempt: int) -> bool:
    return attempt < 2


TODAY = date(2024, 1, 2)

# A misspelt name of the front door.
mxm.tsk  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
mxm.flows  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

# Wrong arguments, bare and called forms, sync and async.
load("2024-01-02")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
load()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
load(TODAY, "3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
load(TODAY, limt=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
load(TODAY, retries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
total(TODAY)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
total([1.0], 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
coroutine = fetch("2024-01-02")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
other = later(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
load.named(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
load.with_options(retrys=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
load.with_options(retries="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
load.with_options(limits=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
load.with_options(limits=[3])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
load.with_options(retry_delay_s="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
load.with_options(retry_delay_s=TODAY)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
load.with_options(retry_delay_s=text_of_attempt)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
load.with_options(retry_on=int)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
load.with_options(retry_on=[ValueError, KeyboardInterrupt])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
load.with_options(retry_on=two_arguments)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
backoff("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
backoff()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
RetryAfter("30")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
load.with_options(upstream=len)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
load.with_options(retries=3)("2024-01-02")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
load.with_options(backend="inline")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
load.submit(TODAY)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
ordered = load >> total  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnknownVariableType]
load.nmae  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


@mxm.flow
def sync_flow(day: date) -> float:
    total(load)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return total(total(load(day)))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@mxm.flow
async def async_flow(day: date) -> float:
    total(fetch(day))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await later(fetch(day))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await load(day)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    return later(await fetch(day))  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


@mxm.task
def split(day: date) -> tuple[float, list[float]]:
    return 1.0, [2.0]


@mxm.flow
def unpacking(day: date) -> float:
    (_, _, _) = split(day)  # type: ignore[misc]  # pyright: ignore[reportAssignmentType, reportUnknownVariableType]
    first, _ = split(day)
    return total(first)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# A flow's own signature.
sync_flow("2024-01-02")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
sync_flow()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
sync_flow(TODAY, 1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
sync_flow.with_options(overrides=[load])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
sync_flow.with_options(override={load: 1})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
wrong_result: str = sync_flow(TODAY)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
wrong_function: Callable[[str], list[float]] = load  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


# Misuse of the decorators.
mxm.task("name")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
mxm.task(3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
mxm.flow("name")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


@mxm.task(retires=3)  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportCallIssue, reportUntypedFunctionDecorator]
def misspelt() -> None: ...


@mxm.task(upstream=len)  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
def builtin_upstream() -> None: ...


@mxm.task(upstream=3)  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
def number_upstream() -> None: ...


@mxm.task(upstream={"x": len})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
def builtin_in_mapping() -> None: ...


@mxm.task(after=[len])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
def builtin_after() -> None: ...


@mxm.task(retries="3")  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
def text_retries() -> None: ...


@mxm.task(produces="prices")  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
def text_asset() -> None: ...


@mxm.flow(tasks=["load"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
def text_tasks() -> None: ...


@mxm.flow(tasks=load)  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
def one_task() -> None: ...


@mxm.flow(retries=3)  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportCallIssue, reportUntypedFunctionDecorator]
def retried() -> None: ...


# Wrong items, names, types and places of a map.
@mxm.task
def convert(price: float, rate: float, *, label: str = "") -> float:
    return price * rate


convert.map(["a"], rate=1.0)  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
convert.map([1.0], rate="a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
convert.map([1.0], rate=[0.5])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
convert.map([1.0], rate=mxm.each(["a"]))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
convert.map([1.0], 0.5, label=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
convert.map([1.0], rate=0.5, lable="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
convert.map(3, rate=0.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
names: list[str] = convert.map([1.0], rate=0.5)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
values: list[float] = convert.outcomes([1.0], rate=0.5)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
listed: list[list[float]] = fetch.map([TODAY])  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


# Resources.
class Engine: ...


@mxm.resource
def db(url: str = "sqlite://") -> Iterator[Engine]:
    yield Engine()


@mxm.resource
async def client() -> AsyncIterator[int]:
    yield 1


@mxm.resource  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType, reportUntypedFunctionDecorator]
def returns() -> Engine:
    return Engine()


@mxm.resource(nmae="db")  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportCallIssue, reportUntypedFunctionDecorator]
def misnamed() -> Iterator[Engine]:
    yield Engine()


@mxm.task
def rows(symbol: str, engine: Engine = mxm.use(client)) -> float:  # type: ignore[assignment]  # pyright: ignore[reportArgumentType]
    return 0


@mxm.task
def used(symbol: str, engine: Engine = mxm.use(Engine)) -> float:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return 0


rows("SPY", engine=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
sync_flow.with_options(resources={"db": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
sync_flow.run("SPY")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
sync_flow.with_options(resource={db: 1})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
load.with_options(cache="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
