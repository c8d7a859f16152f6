"""Async tasks on threads: as many as there are workers, beside the workers, on no thread."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
import weakref
from concurrent.futures import Future
from typing import Any

import pytest

import mxm
from mxm.pipeline import State, compile_flow
from mxm.pipeline.errors import TaskTimeoutError
from mxm.pipeline.execution.attempts.carriers import Carriers, Wait, Waits
from mxm.pipeline.testing import guarded_inputs

_SOON_S = 20.0  # far more than anything here takes


@pytest.fixture(params=["inline", "prefect"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


def run(flow: Any, backend: str = "inline", workers: int = 1, **options: Any) -> Any:
    runner = compile_flow(flow, backend=backend, runner="threads", workers=workers, **options)
    return runner.run()


async def met(event: threading.Event) -> bool:
    """Wait for *event* in an event loop."""
    for _ in range(int(_SOON_S * 100)):
        if event.is_set():
            return True
        await asyncio.sleep(0.01)
    return False


def ours() -> int:
    """How many threads there are beside the main thread and those of other runs."""
    return sum(thread.name.startswith("mxm-") for thread in threading.enumerate())


def test_sync_tasks_go_on_while_as_many_as_workers_are_awaited(backend: str) -> None:
    passed = threading.Event()

    @mxm.task
    async def waits(x: int) -> bool:
        return await met(passed)

    @mxm.task
    def passes() -> int:
        passed.set()
        return 1

    @mxm.flow
    async def both() -> Any:
        return [await waits(0), await waits(1), passes()]

    @mxm.flow
    async def items() -> Any:
        return [await waits.map([0, 1]), passes()]

    assert run(both, backend, workers=2).value() == [True, True, 1]
    passed.clear()
    assert run(items, backend, workers=2).value() == [[True, True], 1]


def test_async_tasks_go_on_while_every_worker_is_busy(backend: str) -> None:
    passed = threading.Event()

    @mxm.task
    async def first(x: int) -> int:
        await asyncio.sleep(0.01)
        return x

    @mxm.task
    async def passes(x: int) -> int:
        passed.set()
        return x

    @mxm.task
    def holds() -> bool:
        return passed.wait(_SOON_S)

    @mxm.flow
    async def both() -> Any:
        return [await passes(await first(1)), holds()]

    @mxm.flow
    async def items() -> Any:
        return [await passes.map(await first.map([1, 2])), holds()]

    assert run(both, backend).value() == [1, True]
    passed.clear()
    assert run(items, backend).value() == [[1, 2], True]


@pytest.mark.parametrize("mapped", [False, True])
def test_an_attempt_that_is_awaited_holds_no_thread(mapped: bool) -> None:
    count = 40
    begun: list[int] = []
    all_begun = threading.Event()
    before = ours()
    threads: list[int] = []

    @mxm.task(retries=1)
    async def waits(x: int) -> int:
        begun.append(x)
        if len(begun) == 1:
            raise ValueError("again")  # in its pause it holds none, either
        if len(begun) == count + 1:
            all_begun.set()
        assert await met(all_begun)
        await asyncio.sleep(0.2)  # the threads that began the others end
        threads.append(ours() - before)
        return x

    @mxm.flow
    async def many() -> Any:
        if mapped:
            return await waits.map(list(range(count)))
        return [await waits(i) for i in range(count)]

    assert run(many, workers=count).value() == list(range(count))
    assert min(threads) < 10


def test_items_that_are_awaited_hold_no_thread_of_an_engine() -> None:
    count = 40
    begun: list[int] = []
    all_begun = threading.Event()
    before = threading.active_count()
    threads: list[int] = []

    @mxm.task
    async def waits(x: int) -> int:
        begun.append(x)
        if len(begun) == count:
            all_begun.set()
        assert await met(all_begun)
        await asyncio.sleep(0.2)
        threads.append(threading.active_count() - before)
        return x

    @mxm.flow
    async def many() -> Any:
        return await waits.map(list(range(count)))

    assert run(many, "prefect", workers=count).value() == list(range(count))
    assert min(threads) < 15


@pytest.mark.parametrize("mapped", [False, True])
def test_no_more_are_awaited_at_once_than_there_are_workers(mapped: bool, backend: str) -> None:
    here: list[int] = []
    most: list[int] = []

    @mxm.task
    async def waits(x: int) -> int:
        here.append(x)
        most.append(len(here))
        await asyncio.sleep(0.01)
        here.remove(x)
        return x

    @mxm.flow
    async def many() -> Any:
        if mapped:
            return await waits.map(list(range(9)))
        return [await waits(i) for i in range(9)]

    ran = run(many, backend, workers=3)
    assert ran.value() == list(range(9))
    assert max(most) <= 3


@pytest.mark.parametrize("mapped", [False, True])
def test_a_limit_holds_for_what_is_awaited_and_what_is_not(mapped: bool, backend: str) -> None:
    here: list[int] = []
    most: list[int] = []
    failed: set[int] = set()

    @mxm.task(limits=["vendor"], retries=2, retry_delay_s=0.01)
    async def asks(x: int) -> int:
        here.append(x)
        most.append(len(here))
        await asyncio.sleep(0.005)
        here.remove(x)
        if x % 3 == 0 and x not in failed:
            failed.add(x)
            raise ValueError(x)
        return x

    @mxm.task(limits=["vendor"])
    def asks_too() -> int:
        here.append(-1)
        most.append(len(here))
        here.remove(-1)
        return -1

    @mxm.flow
    async def many() -> Any:
        if mapped:
            return await asks.map(list(range(7))), asks_too()
        return [await asks(i) for i in range(7)], asks_too()

    ran = run(many, backend, workers=4, limits={"vendor": 1})
    assert ran.value() == (list(range(7)), -1)
    assert max(most) == 1
    assert failed == {0, 3, 6}


def test_attempts_that_are_awaited_are_cancelled_at_their_timeout() -> None:
    ends: list[str] = []

    @mxm.task(timeout_s=0.05)
    async def late(x: int) -> int:
        try:
            await asyncio.sleep(_SOON_S)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        return x

    @mxm.flow
    async def one() -> Any:
        return await late(1)

    @mxm.flow
    async def items() -> Any:
        return await late.map([1, 2])

    for flow, count in ((one, 1), (items, 2)):
        ends.clear()
        ran = run(flow, workers=2)
        assert isinstance(ran.tasks["late"].error, TaskTimeoutError)
        assert ends == ["cancelled"] * count


def test_what_items_that_are_awaited_print_is_kept_with_each_of_them() -> None:
    @mxm.task
    async def says(x: int) -> int:
        print(f"{x} begins")
        await asyncio.sleep(0.01)
        print(f"{x} ends")
        return x

    @mxm.flow
    async def items() -> Any:
        return await says.map([1, 2, 3])

    ran = run(items, workers=3)
    kept = {key: item.output for key, item in ran.tasks["says"].items.items()}
    assert kept == {str(x): f"{x} begins\n{x} ends\n" for x in (1, 2, 3)}
    assert sorted(ran.tasks["says"].output.splitlines()) == sorted(
        f"{x} {word}" for x in (1, 2, 3) for word in ("begins", "ends")
    )


def test_what_watches_a_call_as_a_whole_watches_those_that_are_awaited() -> None:
    @mxm.task
    def load() -> list[int]:
        return [3, 1]

    @mxm.task
    async def sorts(prices: list[int]) -> list[int]:
        await asyncio.sleep(0)
        prices.sort()
        return prices

    @mxm.flow
    async def changes() -> Any:
        return await sorts(load())

    with guarded_inputs():
        ran = run(changes)
    assert ran.tasks["sorts"].state is State.FAILED


def test_fail_fast_begins_no_item_after_one_that_failed() -> None:
    begun: list[int] = []

    @mxm.task
    async def fails(x: int) -> int:
        begun.append(x)
        raise ValueError(x)

    @mxm.flow
    async def items() -> Any:
        return await fails.map(list(range(50)))

    ran = run(items, workers=2, fail_fast=True)
    assert isinstance(ran.tasks["fails"].error, ValueError)
    assert len(begun) < 50


def test_work_that_ended_is_not_kept_until_its_deadline() -> None:
    class Value:
        pass

    ended, freed = threading.Event(), threading.Event()
    carriers = Carriers[None](lambda _: ended.set(), lambda: None)

    def work() -> Waits[None]:
        value = Value()
        weakref.finalize(value, freed.set)
        until: Future[None] = Future()
        threading.Timer(0.01, until.set_result, [None]).start()
        yield Wait(until, time.monotonic() + 3600)

    context = contextvars.Context()
    holder = Value()
    kept = contextvars.ContextVar[Value]("kept")
    context.run(kept.set, holder)
    dropped = threading.Event()
    weakref.finalize(holder, dropped.set)
    del holder
    carriers.start(context, work)
    del context
    assert ended.wait(30) and freed.wait(30) and dropped.wait(30)
    assert carriers.due() > 3000
    carriers.close()
