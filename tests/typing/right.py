"""What type checkers must accept, with the types they must see; checked, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from datetime import date
from typing import Any, NamedTuple, assert_type

import mxm
from mxm.pipeline import (
    AssetDecl,
    Failure,
    Flow,
    FlowRun,
    FlowSpec,
    MXMFlow,
    Resource,
    RetryAfter,
    Task,
    TaskSpec,
    backoff,
    compile_flow,
    execute_flow,
    flow,
    register_flow,
    task,
)
from mxm.pipeline.testing import replaced


@mxm.task
def load(day: date, limit: int = 10) -> list[float]:
    return [float(limit)]


@mxm.task()
def nothing() -> None: ...


@mxm.task(name="total", upstream=load, after=[nothing, "load"], retries=3, retry_delay_s=0.5)
def total(prices: list[float], *, scale: float = 1) -> float:
    return sum(prices) * scale


@mxm.task(upstream={"prices": load, "other": "total"}, params={"k": 1}, produces=AssetDecl("fit"))
async def fit(prices: list[float], other: float) -> float:
    return other


@mxm.task
async def fetch(day: date) -> dict[str, float]:
    return {}


def is_passing(error: Exception) -> bool:
    return isinstance(error, TimeoutError)


def growing(attempt: int) -> float:
    return 2.0 * attempt


# Delays and conditions of retries in every form; limits.
@task(retries=3, retry_delay_s=backoff(1, factor=3, most=600), retry_on=is_passing)
def backed_off() -> int:
    raise RetryAfter(30)


@task(cache=True, cache_ttl_s=60, inputs=["a.csv"], code_deps=[growing], cache_version="2")
def kept(n: int) -> int:
    return n


assert_type(kept.with_options(cache=False, cache_ttl_s=None)(1), int)


@task(retries=3, retry_delay_s=growing, retry_on=[TimeoutError, OSError], limits=["bloomberg"])
def grown() -> int:
    return 1


@task(
    retries=3, retry_delay_s=lambda attempt: attempt * 2, retry_on=lambda error: "x" in str(error)
)
def by_lambdas() -> int:
    return 1


TaskSpec("a", grown.fn, retries=2, retry_delay_s=backoff(1), retry_on=is_passing, limits={"x"})
assert_type(grown.with_options(retry_delay_s=[1, 2.5], retry_on=TimeoutError)(), int)
assert_type(by_lambdas.with_options(retry_delay_s=backoff(1)(2), limits=("x", "y"))(), int)
assert_type(backed_off(), int)
assert_type(RetryAfter(3).seconds, float)

# The signature survives bare and called forms, sync and async.
assert_type(load(date(2024, 1, 2)), list[float])
assert_type(load(day=date(2024, 1, 2), limit=3), list[float])
assert_type(total([1.0], scale=2), float)
assert_type(load.named("spy")(date(2024, 1, 2)), list[float])
assert_type(load.with_options(retries=3, name=None)(date(2024, 1, 2), limit=3), list[float])
assert_type(load.with_options(after=[nothing, "x"], timeout_s=None).named("spy").name, str)
assert_type(load.fn(date(2024, 1, 2)), list[float])
assert_type(load.name, str)
assert_type(load.spec, TaskSpec)

# A task goes where its function goes.
function: Callable[[date], list[float]] = load
keyword: Callable[[list[float]], float] = total
awaiting: Callable[[date], Awaitable[dict[str, float]]] = fetch
later: Callable[[date], Awaitable[dict[str, float]]] = fetch.with_options(tags=["slow"])
coroutines: Callable[[date], Coroutine[Any, Any, dict[str, float]]] = fetch
any_task: Task[..., object] = load
many: list[Task[..., object]] = [load, total, fit, nothing]
mapped: list[list[float]] = list(map(load, [date(2024, 1, 2)]))


@mxm.flow
def risk(day: date, scale: float = 1) -> float:
    """Calls: the checker sees every edge."""
    return total(load(day), scale=scale)


@mxm.flow(name="nightly", params={"limit": 3}, schedule_cron="0 6 * * *")
async def nightly(day: date) -> tuple[float, float]:
    prices = load(day)
    found = await fetch(day)
    value = await fit(prices, other=found["x"])
    assert_type(found, dict[str, float])
    assert_type(value, float)
    return value, risk(day, scale=2)


class Quote(NamedTuple):
    bid: float
    ask: float


@mxm.task
def quote(day: date) -> Quote:
    return Quote(1.0, 2.0)


@mxm.task
async def split(day: date) -> tuple[float, list[float]]:
    return 1.0, [2.0]


@mxm.flow
async def parts(day: date) -> dict[str, object]:
    """Parts, and constants in what is returned."""
    bid, ask = quote(day)
    first, rest = await split(day)
    assert_type(ask, float)
    assert_type(rest, list[float])
    return {"total": total(rest, scale=bid), "first": first, "currency": "USD"}


@mxm.flow
def declared(symbol: str = "SPY") -> Task[..., float]:
    """A target: this task and everything upstream of it."""
    return total


@mxm.flow(tasks=[total, fit, load.named("spare")])
def listed() -> None: ...


@flow
def unannotated(symbol="SPY"):  # type: ignore[no-untyped-def]  # pyright: ignore[reportMissingParameterType]
    return total


@task
def also() -> int:
    return 1


assert_type(risk(date(2024, 1, 2)), float)
assert_type(risk.run(day="2024-01-02"), FlowRun)
assert_type(risk.spec, FlowSpec)
assert_type(risk.with_options(backend="inline", runner="threads")(date(2024, 1, 2)), float)
assert_type(risk.with_options(overrides={load: [1.0], "total": total.fn}).run(), FlowRun)
compile_flow(risk, overrides={"load": [1.0], total: 1.0}).run({}, {"overrides": {load: [2.0]}})
assert_type(also(), int)
any_flow: Flow[..., object] = risk
compiled: MXMFlow = compile_flow(risk, backend="inline")
execute_flow(compiled, {"day": "2024-01-02"})
register_flow(FlowSpec("by-hand", [TaskSpec("load", load.fn), total.spec], params={"k": 1}))


async def plainly() -> None:
    assert_type(await fetch(date(2024, 1, 2)), dict[str, float])
    assert_type(await nightly(date(2024, 1, 2)), tuple[float, float])


# A map gives a list of what the task returns; items, names and further lists are checked.
@mxm.task
def convert(price: float, rate: float, *, label: str = "") -> float:
    return price * rate


@mxm.task
def untyped(x: int) -> Any:
    return x


assert_type(convert.map([1.0, 2.0], rate=0.5), list[float])
assert_type(convert.map([1.0], rate=mxm.each([0.5]), label="x"), list[float])
assert_type(convert.map(range(3), rate=0.5), list[float])
assert_type(untyped.map([1]), list[Any])
assert_type(convert.outcomes([1.0], rate=0.5), list[float | Failure])


async def fetch_all(days: list[date]) -> None:
    assert_type(await fetch.map(days), list[dict[str, float]])
    assert_type(await fetch.outcomes(days), list[dict[str, float] | Failure])


assert_type(convert.with_options(retries=1).map([1.0], rate=2.0), list[float])


# Resources: the marker is typed as what is opened.
class Engine: ...


class Client: ...


@mxm.resource
def db(url: str = "sqlite://") -> Iterator[Engine]:
    yield Engine()


@mxm.resource(name="web")
async def client(engine: Engine = mxm.use(db)) -> AsyncIterator[Client]:
    yield Client()


@mxm.task
def rows(symbol: str, engine: Engine = mxm.use(db)) -> list[float]:
    return []


@mxm.task
async def asked(symbol: str, *, http: Client = mxm.use(client)) -> float:
    return 0.0


@mxm.flow
async def shared(symbol: str) -> float:
    return total(rows(symbol), scale=await asked(symbol))


assert_type(db, Resource[Engine])
assert_type(client, Resource[Client])
assert_type(rows("SPY"), list[float])
assert_type(rows("SPY", engine=Engine()), list[float])
with db.open() as opened:
    assert_type(opened, Engine)
fakes = {db: Engine()}
shared.with_options(resources=fakes, resource_settings={"db": {"url": "sqlite://"}})
with replaced({client: Client(), db: Engine()}):
    pass


async def by_hand() -> None:
    async with client.open() as opened:
        assert_type(opened, Client)
