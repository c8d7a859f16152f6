"""Resources: opened once per run and process, closed at its end, and never filled otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pytest
from command import invoke
from modules import module_of

import mxm
from mxm.pipeline import FlowSpec, Skip, State, TaskSpec, compile_flow
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.errors import (
    BackendError,
    GraphError,
    ParameterError,
    PipelineError,
    ResourceError,
    TaskTimeoutError,
    UseError,
)
from mxm.pipeline.execution.loop import EventLoop
from mxm.pipeline.testing import replaced

events: list[str] = []


@pytest.fixture(autouse=True)
def no_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """None recorded, in a folder without a project."""
    monkeypatch.chdir(tmp_path)
    events.clear()
    yield
    events.clear()


@pytest.fixture(params=["sequential", "threads"])
def runner(request: pytest.FixtureRequest) -> str:
    return request.param


class Engine:
    def __init__(self, url: str) -> None:
        self.url = url
        self.used = 0


@mxm.resource
def db(url: str = "sqlite://") -> Iterator[Engine]:
    events.append(f"open db {url}")
    yield Engine(url)
    events.append("close db")


@mxm.resource
def session(size: int = 3, engine: Engine = mxm.use(db)) -> Iterator[tuple[Engine, int]]:
    events.append("open session")
    yield engine, size
    events.append("close session")


@mxm.resource
async def client(base: str = "http://x") -> AsyncIterator[dict[str, Any]]:
    events.append("open client")
    yield {"base": base, "loop": asyncio.get_running_loop()}
    events.append("close client")


@mxm.task
def load(symbol: str, engine: Engine = mxm.use(db)) -> list[str]:
    engine.used += 1
    return [symbol, engine.url]


@mxm.task
def save(rows: list[str], opened: tuple[Engine, int] = mxm.use(session)) -> int:
    return len(rows) + opened[1]


@mxm.task
async def fetch(
    x: int, http: dict[str, Any] = mxm.use(client), engine: Engine = mxm.use(db)
) -> int:
    await asyncio.sleep(0)
    assert http["loop"] is asyncio.get_running_loop()
    return x + len(engine.url)


@mxm.flow
async def risk(symbol: str = "SPY") -> int:
    return await fetch(await fetch(save(load(symbol))))


@mxm.flow
def plain(symbol: str = "SPY") -> int:
    return save(load(symbol))


def run(flow: Any, params: dict[str, Any] | None = None, **options: Any) -> Any:
    return compile_flow(flow, **{"backend": "inline", **options}).run(params or {})


def value(flow: Any, params: dict[str, Any] | None = None, **options: Any) -> Any:
    return run(flow, params, **options).value()


def codes(flow: Any) -> list[str]:
    return [problem.code for problem in find_problems(getattr(flow, "spec", flow))]


# --- opened once, closed in order


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_each_is_opened_once_and_the_last_opened_is_closed_first(runner: str, backend: str) -> None:
    assert value(risk, runner=runner, backend=backend) == 5 + 2 * len("sqlite://")
    assert events == [
        *("open db sqlite://", "open session", "open client"),
        *("close client", "close session", "close db"),
    ]


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_workers_open_their_own(backend: str) -> None:
    assert value(risk, runner="processes", workers=2, backend=backend) == 5 + 2 * 9
    assert events == []


def noted(folder: str, text: str) -> None:
    with open(Path(folder) / "notes.txt", "a") as file:
        file.write(f"{text}\n")


@mxm.resource
def noting(folder: str, fails: bool = False) -> Iterator[str]:
    noted(folder, f"open {os.getpid()}")
    yield folder
    noted(folder, f"close {os.getpid()}")
    if fails:
        raise OSError("gone")


@mxm.task
def note(x: int, folder: str = mxm.use(noting)) -> int:
    time.sleep(0.02)
    return x


@mxm.task(retries=1)
def dies_once(folder: str = mxm.use(noting)) -> int:
    marker = Path(folder) / "died"
    if not marker.exists():
        marker.write_text("")
        os._exit(3)
    return 1


@mxm.flow
def notes() -> Any:
    return [note(i) for i in range(6)]


@mxm.flow
def dying() -> Any:
    return dies_once()


def test_a_worker_opens_once_and_closes_at_its_end(tmp_path: Path) -> None:
    settings = {"noting": {"folder": str(tmp_path)}}
    ran = run(notes, runner="processes", workers=2, resource_settings=settings)
    assert ran.value() == list(range(6))
    lines = (tmp_path / "notes.txt").read_text().split("\n")[:-1]
    opened = [line.split()[1] for line in lines if line.startswith("open")]
    closed = [line.split()[1] for line in lines if line.startswith("close")]
    assert len(set(opened)) == len(opened)
    assert sorted(opened) == sorted(closed)
    assert str(os.getpid()) not in opened


def test_what_closing_raises_in_a_worker_is_a_warning_of_the_run(tmp_path: Path) -> None:
    settings = {"noting": {"folder": str(tmp_path), "fails": True}}
    ran = run(notes, runner="processes", workers=2, resource_settings=settings)
    assert ran.state is State.SUCCEEDED
    assert [warning.code for warning in ran.warnings] == ["MXM611"]


def test_after_a_worker_died_another_one_opens_it_anew(tmp_path: Path) -> None:
    settings = {"noting": {"folder": str(tmp_path)}}
    ran = run(dying, runner="processes", workers=1, resource_settings=settings)
    assert ran.value() == 1
    kinds = [line.split()[0] for line in (tmp_path / "notes.txt").read_text().splitlines()]
    assert kinds == ["open", "open", "close"]


def test_a_plain_call_gives_what_a_run_gives() -> None:
    assert plain("SPY") == value(plain)
    assert asyncio.run(risk("SPY")) == value(risk)


def test_a_plain_call_of_a_flow_opens_each_once() -> None:
    asyncio.run(risk("SPY"))
    assert events == [
        *("open db sqlite://", "open session", "open client"),
        *("close client", "close session", "close db"),
    ]


def test_a_plain_call_of_a_task_opens_what_it_asks_for_alone() -> None:
    assert load("SPY") == ["SPY", "sqlite://"]
    assert events == ["open db sqlite://", "close db"]


def test_a_plain_call_may_pass_a_value_by_place_and_by_name() -> None:
    assert load("SPY", Engine("a")) == ["SPY", "a"]
    assert load("SPY", engine=Engine("b")) == ["SPY", "b"]
    assert events == []


def test_a_plain_call_within_a_task_of_a_run_uses_what_the_run_opened(runner: str) -> None:
    @mxm.task
    def outer(engine: Engine = mxm.use(db)) -> int:
        load("SPY")
        return engine.used

    @mxm.flow
    def nested() -> int:
        return outer()

    assert value(nested, runner=runner) == 1
    assert events == ["open db sqlite://", "close db"]


def test_what_no_task_asks_for_is_not_opened() -> None:
    @mxm.task
    def nothing() -> int:
        return 1

    @mxm.flow
    def quiet() -> int:
        return nothing()

    assert value(quiet) == 1
    assert events == []


def test_eight_threads_that_ask_at_once_open_it_once() -> None:
    gate = threading.Barrier(8)

    @mxm.resource
    def slow() -> Iterator[object]:
        events.append("open")
        time.sleep(0.05)
        yield object()
        events.append("close")

    @mxm.task
    def wait() -> int:
        gate.wait(20)
        return 1

    @mxm.task
    def ask(x: int, opened: object = mxm.use(slow)) -> int:
        return id(opened)

    @mxm.task
    def same(*ids: int) -> int:
        return len(set(ids))

    @mxm.flow
    def many() -> int:
        return same(*[ask(wait()) for _ in range(8)])

    assert value(many, runner="threads", workers=8) == 1
    assert events == ["open", "close"]


def test_eight_threads_that_ask_at_once_open_an_async_one_once() -> None:
    gate = threading.Barrier(8)

    @mxm.resource
    async def slow() -> AsyncIterator[object]:
        events.append("open")
        await asyncio.sleep(0.05)
        yield object()
        events.append("close")

    @mxm.task
    def wait() -> int:
        gate.wait(20)
        return 1

    @mxm.task
    async def ask(x: int, opened: object = mxm.use(slow)) -> int:
        return id(opened)

    @mxm.task
    def same(*ids: int) -> int:
        return len(set(ids))

    @mxm.flow
    async def many() -> int:
        return same(*[await ask(wait()) for _ in range(8)])

    assert value(many, runner="threads", workers=8) == 1
    assert events == ["open", "close"]


# --- maps


@mxm.task
def quote(symbol: str, scale: int = 1, engine: Engine = mxm.use(db)) -> str:
    return f"{symbol} {scale} {engine.url}"


@mxm.task
async def ask_web(x: int, http: dict[str, Any] = mxm.use(client)) -> bool:
    return http["loop"] is asyncio.get_running_loop()


@mxm.flow
def quotes(symbols: list[str]) -> list[str]:
    return quote.map(symbols, scale=2)


@mxm.flow
async def web(xs: list[int]) -> list[bool]:
    return await ask_web.map(xs)


@pytest.mark.parametrize("runner", ["sequential", "threads", "processes"])
def test_every_item_of_a_map_gets_the_same(runner: str) -> None:
    symbols = ["A", "B", "C"]
    expected = quotes(symbols)
    assert expected == [f"{symbol} 2 sqlite://" for symbol in symbols]
    assert events == ["open db sqlite://", "close db"]
    events.clear()
    assert value(quotes, {"symbols": symbols}, runner=runner, workers=2) == expected
    assert events == ["open db sqlite://", "close db"] * (runner != "processes")
    assert value(web, {"xs": [1, 2, 3]}, runner=runner, workers=2) == [True] * 3


def test_a_plain_map_opens_each_once() -> None:
    assert len(quote.map(["A", "B"], scale=3)) == 2
    assert len(quote.outcomes(["A", "B"])) == 2
    assert events == ["open db sqlite://", "close db"] * 2
    events.clear()
    assert asyncio.run(ask_web.map([1, 2])) == asyncio.run(web([1, 2])) == [True, True]
    assert events == ["open client", "close client"] * 2


@mxm.flow
def each_symbol(symbol: str) -> str:
    return quote(symbol)


def test_a_mapped_flow_opens_each_once(runner: str) -> None:
    @mxm.flow
    def book(symbols: list[str]) -> list[str]:
        return each_symbol.map(symbols)

    assert each_symbol.map(["A", "B"]) == book(["A", "B"])
    assert value(book, {"symbols": ["A", "B"]}, runner=runner) == book(["A", "B"])
    assert events == ["open db sqlite://", "close db"] * 4
    events.clear()
    faked = each_symbol.with_options(resources={db: fake_db})
    assert faked.map(["A", "B"]) == ["A 1 fake", "B 1 fake"]
    assert events == ["open fake", "close fake"]


def test_an_item_in_its_place_is_a_problem() -> None:
    @mxm.flow
    def mapped() -> Any:
        return quote.map(["A"], engine=mxm.each([Engine("x")]))

    assert codes(mapped) == ["MXM603"]


# --- failures


def failing(*outcomes: BaseException | None) -> Any:
    """A flow whose task asks for a resource that fails so, one after the other."""
    left = list(outcomes)

    @mxm.resource
    def shaky() -> Iterator[int]:
        events.append("open")
        error = left.pop(0)
        if error is not None:
            raise error
        yield 7
        events.append("close")

    @mxm.task(retries=1)
    def ask(x: int = mxm.use(shaky)) -> int:
        return x

    @mxm.flow
    def asking() -> int:
        return ask()

    return asking


def test_what_opening_raises_counts_as_raised_by_the_task(runner: str) -> None:
    ran = run(failing(OSError("down"), None), runner=runner)
    assert ran.value() == 7
    assert ran.tasks["ask"].attempts == 2
    assert events == ["open", "open", "close"]


def test_a_skip_while_opening_skips_the_task(runner: str) -> None:
    ran = run(failing(Skip("closed today")), runner=runner)
    assert ran.state is State.SUCCEEDED
    assert (ran.tasks["ask"].state, ran.tasks["ask"].reason) == (State.SKIPPED, "closed today")


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit()])
def test_what_is_no_exception_fails_the_task_that_opened_it_alone(
    error: BaseException, runner: str
) -> None:
    ran = run(failing(error), runner=runner)
    assert ran.state is State.FAILED
    assert ran.tasks["ask"].attempts == 1


def test_a_system_exit_while_opening_an_async_one_fails_the_task(runner: str) -> None:
    @mxm.resource
    async def leaving() -> AsyncIterator[int]:
        raise SystemExit(3)
        yield 1

    @mxm.task
    async def ask(x: int = mxm.use(leaving)) -> int:
        return x

    @mxm.task
    async def after() -> int:
        return 5

    @mxm.flow
    async def both() -> tuple[int, int]:
        return await ask(), await after()

    ran = run(both, runner=runner)
    assert isinstance(ran.tasks["ask"].error, SystemExit)
    assert ran.tasks["after"].value == 5


def test_it_is_closed_after_a_failure(runner: str) -> None:
    @mxm.task
    def fail(engine: Engine = mxm.use(db)) -> int:
        raise ZeroDivisionError

    @mxm.flow
    def broken() -> int:
        return fail()

    assert run(broken, runner=runner).state is State.FAILED
    assert events == ["open db sqlite://", "close db"]
    events.clear()
    with pytest.raises(ZeroDivisionError):
        broken()
    assert events == ["open db sqlite://", "close db"]


def test_it_is_closed_after_ctrl_c_and_after_what_always_runs() -> None:
    @mxm.task
    def interrupted(engine: Engine = mxm.use(db)) -> int:
        raise KeyboardInterrupt

    @mxm.task(after=interrupted, run_if="always")
    def clean_up(engine: Engine = mxm.use(db)) -> int:
        events.append(f"clean up {engine.url}")
        return 1

    @mxm.flow(tasks=[clean_up])
    def cancelled() -> None: ...

    with pytest.raises(KeyboardInterrupt):
        run(cancelled)
    assert events == ["open db sqlite://", "clean up sqlite://", "close db"]


def test_after_ctrl_c_async_tasks_end_before_what_they_use_is_closed(runner: str) -> None:
    begun = threading.Event()

    @mxm.task
    async def waits(http: dict[str, Any] = mxm.use(client)) -> int:
        begun.set()
        try:
            await asyncio.sleep(30)
        finally:
            events.append("cancelled")
        return 1

    @mxm.flow
    async def night() -> int:
        return await waits()

    def interrupt() -> None:
        begun.wait(20)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(night, runner=runner)
    thread.join()
    assert events == ["open client", "cancelled", "close client"]


@pytest.mark.parametrize("backend", ["inline", "prefect"])
@pytest.mark.parametrize("mapped", [False, True])
def test_after_ctrl_c_what_always_runs_need_not_wait_for_what_is_awaited(
    mapped: bool, backend: str, runner: str
) -> None:
    begun = threading.Event()

    @mxm.task
    async def waits(x: int, http: dict[str, Any] = mxm.use(client)) -> int:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            events.append("cancelled")
        return x

    @mxm.task(after=waits, run_if="always")
    def tidy(http: int = mxm.use(settled)) -> str:
        events.append("tidy")
        return "tidied"

    @mxm.flow
    async def night() -> Any:
        waited = await (waits.map([1, 2]) if mapped else waits(1))
        return [waited, tidy()]

    def interrupt() -> None:
        begun.wait(20)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    options: dict[str, Any] = {"backend": backend, "runner": runner, "workers": 1}
    with pytest.raises(KeyboardInterrupt) as caught:
        compile_flow(night, **options).run()
    thread.join()
    assert events == ["open client", "cancelled", "tidy", "close client"]
    ran: Any = getattr(caught.value, "mxm_run", None)
    assert ran.tasks["tidy"].value == "tidied"
    assert ran.tasks["waits"].state is State.CANCELLED


@mxm.resource
def settled() -> Iterator[int]:
    yield 1


def test_a_loop_that_is_cancelled_begins_nothing_more() -> None:
    async def late() -> None:
        events.append("late")

    loop = EventLoop()
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run(late())
    loop.close()
    assert events == []


def closing(error: Exception | None = None, *, twice: bool = False, never: bool = False) -> Any:
    @mxm.resource
    def odd() -> Iterator[int]:
        if never:
            return
        yield 1
        if error is not None:
            raise error
        if twice:
            yield 2

    @mxm.task
    def ask(x: int = mxm.use(odd), engine: Engine = mxm.use(db)) -> int:
        return x

    @mxm.flow
    def asking() -> int:
        return ask()

    asking.odd = odd  # type: ignore[attr-defined]
    return asking


def test_what_closing_raises_is_a_warning_and_the_others_are_closed(runner: str) -> None:
    ran = run(closing(OSError("gone")), runner=runner)
    assert ran.state is State.SUCCEEDED
    (warning,) = ran.warnings
    assert (warning.code, warning.flow) == ("MXM611", "asking")
    assert "resource 'odd' could not be closed: OSError: gone" in warning.message
    assert events[-1] == "close db"


def test_what_closing_raises_is_a_warning_of_a_plain_call() -> None:
    with pytest.warns(RuntimeWarning, match="MXM611 resource 'odd' could not be closed: OSError"):
        assert closing(OSError("gone"))() == 1
    assert events[-1] == "close db"


def test_a_second_yield_is_a_warning_that_names_it() -> None:
    (warning,) = run(closing(twice=True)).warnings
    assert warning.code == "MXM610"
    assert "resource 'odd' yields twice" in warning.message


def test_no_yield_fails_the_task(runner: str) -> None:
    error = run(closing(never=True), runner=runner).tasks["ask"].error
    assert isinstance(error, ResourceError)
    assert "MXM610 resource 'odd' yields nothing" in str(error)


@pytest.mark.parametrize("kind", ["twice", "never", "fails"])
def test_an_async_one_is_held_to_the_same(kind: str, runner: str) -> None:
    @mxm.resource
    async def odd() -> AsyncIterator[int]:
        if kind == "never":
            return
        yield 1
        if kind == "fails":
            raise OSError("gone")
        yield 2

    @mxm.task
    async def ask(x: int = mxm.use(odd)) -> int:
        return x

    @mxm.flow
    async def asking() -> int:
        return await ask()

    ran = run(asking, runner=runner)
    if kind == "never":
        assert "MXM610" in str(ran.tasks["ask"].error)
    else:
        assert [w.code for w in ran.warnings] == ["MXM610" if kind == "twice" else "MXM611"]


def test_a_resource_that_asks_for_itself_by_a_plain_call_is_an_error(runner: str) -> None:
    @mxm.resource
    def selfish() -> Iterator[int]:
        yield ask()

    @mxm.task
    def ask(x: int = mxm.use(selfish)) -> int:
        return x

    @mxm.flow
    def asking() -> int:
        return ask()

    assert "needs itself" in str(run(asking, runner=runner).tasks["ask"].error)


def test_an_exception_of_a_task_is_not_thrown_into_it() -> None:
    @mxm.resource
    def watching() -> Iterator[int]:
        try:
            yield 1
        except BaseException:
            events.append("thrown")
            raise
        events.append("resumed")

    @mxm.task
    def fail(x: int = mxm.use(watching)) -> int:
        raise ZeroDivisionError

    @mxm.flow
    def broken() -> int:
        return fail()

    run(broken)
    with pytest.raises(ZeroDivisionError):
        broken()
    assert events == ["resumed", "resumed"]


# --- nothing else fills the parameter


def test_no_key_of_a_run_fills_it(runner: str) -> None:
    ran = run(plain, {"engine": "mine"}, runner=runner)
    assert ran.value() == 5
    (warning,) = ran.warnings
    assert "'load' takes mxm.use(db) there" in warning.message
    with pytest.raises(ParameterError, match="takes mxm.use"):
        run(plain, {"engine": "mine"}, strict_params=True)


def test_no_key_of_a_run_fills_it_where_the_function_takes_any() -> None:
    def any_key(engine: Engine = mxm.use(db), **more: Any) -> list[str]:
        return [engine.url, *more]

    spec = FlowSpec("by-hand", [TaskSpec("any_key", any_key)])
    assert value(spec, {"engine": 1, "other": 2}) == ["sqlite://", "other"]


def test_the_parameter_of_a_flow_does_not_fill_it() -> None:
    @mxm.flow
    def declared(engine: str = "mine") -> Any:
        return load_default

    ran = run(declared, {"engine": "other"})
    assert ran.value() == "sqlite://"
    assert "does not reach task 'load_default', which gets that input from a resource" in str(
        ran.warnings[0]
    )


@mxm.task
def load_default(engine: Engine = mxm.use(db)) -> Any:
    return engine.url


def test_inputs_in_its_place_are_problems() -> None:
    @mxm.flow
    def passes() -> Any:
        return load("SPY", engine=load_default())  # type: ignore[arg-type]

    @mxm.flow
    def passes_by_place() -> Any:
        return load("SPY", Engine("x"))

    @mxm.task(upstream={"engine": load_default})
    def edge(engine: Engine = mxm.use(db)) -> int: ...

    @mxm.task(params={"engine": 1})
    def params(engine: Engine = mxm.use(db)) -> int: ...

    @mxm.flow(tasks=[edge, params])
    def declared() -> None: ...

    @mxm.flow(tasks=[load_default], params={"engine": 1})
    def of_flow() -> None: ...

    by_hand = FlowSpec(
        "by-hand", [TaskSpec("a", lambda: 1), TaskSpec("b", load_default.fn, upstream="a")]
    )
    for flow in (passes, passes_by_place, of_flow, by_hand):
        assert codes(flow) == ["MXM603"], flow
    assert codes(declared) == ["MXM603", "MXM603"]


def test_use_anywhere_else_is_a_problem() -> None:
    @mxm.flow
    def in_body() -> Any:
        return load(mxm.use(db))  # type: ignore[arg-type]

    marker: Any = mxm.use(db)

    @mxm.flow
    def passed() -> Any:
        return load(marker)

    @mxm.flow
    def in_a_list() -> Any:
        return total([marker])

    @mxm.flow
    def returned() -> Any:
        return {"a": load("SPY"), "b": marker}

    @mxm.flow
    def default(engine: Engine = mxm.use(db)) -> Any:
        return load("SPY")

    @mxm.flow(tasks=[total], params={"x": marker})
    def params() -> None: ...

    @mxm.task
    def listed(engines: list[Engine] = [mxm.use(db)]) -> int: ...

    @mxm.flow
    def list_default() -> Any:
        return listed()

    @mxm.flow
    def in_annotation() -> Any:
        return annotated(load_default())

    flows = [in_body, passed, in_a_list, default, params, list_default]
    for flow in flows:
        assert codes(flow) == ["MXM602"], flow.name
    assert codes(in_annotation) == ["MXM602"]
    assert codes(returned) == ["MXM106"]


@mxm.task
def annotated(engine: Annotated[Any, mxm.use(db)]) -> int: ...


@mxm.task
def total(x: Any = 0) -> int: ...


@pytest.mark.parametrize(
    "wrong",
    [
        lambda made: made.url,
        lambda made: made(),
        lambda made: len(made),
        lambda made: bool(made),
        lambda made: list(made),
        lambda made: made["x"],
        lambda made: made.__enter__(),
    ],
)
def test_a_marker_that_nothing_opens_says_so_when_it_is_used(wrong: Callable[[Any], Any]) -> None:
    with pytest.raises(UseError, match="MXM602 mxm.use\\(db\\) is used where nothing opens it"):
        wrong(mxm.use(db))


@pytest.mark.parametrize("thing", [db.fn, load, risk, 3, None, "db"])
def test_use_of_what_is_no_resource_is_a_problem(thing: Any) -> None:
    @mxm.task
    def ask(x: Any = mxm.use(thing)) -> int:
        return 1

    @mxm.flow
    def asking() -> Any:
        return ask()

    assert codes(asking) == ["MXM601"]
    with pytest.raises(ResourceError, match="MXM601"):
        ask()
    with pytest.raises(GraphError):
        run(asking)


def test_a_cycle_and_two_of_one_name_are_problems() -> None:
    @mxm.resource
    def first(x: int = 0) -> Iterator[int]:
        yield x

    @mxm.resource
    def second(x: int = mxm.use(first)) -> Iterator[int]:
        yield x

    first.fn.__defaults__ = (mxm.use(second),)

    @mxm.resource(name="db")
    def other() -> Iterator[int]:
        yield 1

    @mxm.task
    def ask(x: int = mxm.use(first)) -> int: ...

    @mxm.task
    def both(a: Engine = mxm.use(db), b: int = mxm.use(other)) -> int: ...

    @mxm.flow
    def circle() -> Any:
        return ask()

    @mxm.flow
    def twins() -> Any:
        return both()

    (cycle,) = find_problems(circle.spec)
    assert (cycle.code, cycle.message) == (
        "MXM604",
        "cycle of resources: first -> second -> first",
    )
    assert codes(twins) == ["MXM605"]


def test_a_sync_function_cannot_ask_for_an_async_resource() -> None:
    @mxm.task
    def ask(http: Any = mxm.use(client)) -> int:
        return 1

    @mxm.resource
    def wrapper(http: Any = mxm.use(client)) -> Iterator[int]:
        yield 1

    @mxm.task
    async def through(x: int = mxm.use(wrapper)) -> int:
        return x

    @mxm.flow
    def direct() -> Any:
        return ask()

    @mxm.flow
    async def indirect() -> Any:
        return await through()

    assert codes(direct) == codes(indirect) == ["MXM606"]
    with pytest.raises(ResourceError, match="MXM606"):
        ask()
    assert ask({}) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: mxm.resource(lambda: 1),
        lambda: mxm.resource(contextlib.contextmanager(db.fn)),
        lambda: mxm.resource(Engine),  # type: ignore[call-overload]
        lambda: mxm.resource("db"),  # type: ignore[call-overload]
        lambda: mxm.resource(load),  # type: ignore[call-overload]
        lambda: mxm.resource(nmae="db"),  # type: ignore[call-overload]
        lambda: mxm.resource(name=""),
        lambda: mxm.resource(name="a.b"),
        lambda: mxm.resource(variadic),
    ],
)
def test_misuse_of_the_decorator_is_a_type_error(wrong: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match="@mxm.resource"):
        wrong()


def variadic(*urls: str) -> Iterator[int]:
    yield 1


# --- in the place of a resource


@mxm.resource
def fake_db() -> Iterator[Engine]:
    events.append("open fake")
    yield Engine("fake")
    events.append("close fake")


def test_a_value_goes_in_its_place_in_runs_and_plain_calls(runner: str) -> None:
    fake = Engine("fake")
    other = risk.with_options(resources={db: fake}, backend="inline", runner=runner)
    assert other.run().value() == 5 + 2 * len("fake") == asyncio.run(other("SPY"))
    assert "open db sqlite://" not in events
    assert fake.used == 2


@pytest.mark.parametrize("runner", ["sequential", "threads", "processes"])
def test_another_resource_is_opened_in_its_place(runner: str) -> None:
    assert value(risk, resources={db: fake_db}, runner=runner, workers=2) == 5 + 2 * 4
    if runner != "processes":
        assert events[0] == "open fake"
        assert events[-1] == "close fake"


def test_on_processes_it_must_be_a_resource() -> None:
    with pytest.raises(BackendError, match="opens resources in each worker"):
        run(plain, resources={db: Engine("fake")}, runner="processes")


def test_on_processes_what_the_flow_does_not_use_may_be_replaced_by_anything() -> None:
    with replaced({client: threading.Lock()}):
        assert value(plain, runner="processes", workers=1) == 5


def test_replaced_does_so_for_a_block(runner: str) -> None:
    with replaced({db: Engine("outer")}):
        with replaced({db: fake_db}):
            assert load("SPY") == ["SPY", "fake"]
            assert value(plain, runner=runner) == 5
            with db.open() as engine:
                assert engine.url == "fake"
        assert load("SPY") == ["SPY", "outer"]
    assert "open db sqlite://" not in events
    assert load("SPY") == ["SPY", "sqlite://"]


def test_replaced_holds_in_threads_that_the_test_starts() -> None:
    got: list[Any] = []
    with replaced({db: Engine("fake")}):
        thread = threading.Thread(target=lambda: got.append(load("SPY")))
        thread.start()
        thread.join()
    assert got == [["SPY", "fake"]]


@pytest.mark.parametrize(
    "wrong",
    [{load: 1}, {"db": 1}, [db], {client: 1}],
)
def test_what_cannot_be_replaced_is_an_error(wrong: Any) -> None:
    with pytest.raises(BackendError):
        run(plain, resources=wrong)


def test_replacing_with_an_async_one_is_checked() -> None:
    with pytest.raises(GraphError, match="MXM606"):
        run(plain, resources={db: client})


def test_two_that_stand_for_each_other_are_an_error() -> None:
    with pytest.raises(BackendError, match="replace each other"):
        run(plain, resources={db: fake_db, fake_db: db})


def test_a_flow_with_resources_of_its_own_is_refused_in_a_body() -> None:
    inner = plain.with_options(resources={db: Engine("fake")})

    @mxm.flow
    def outer() -> Any:
        return inner("SPY")

    assert codes(outer) == ["MXM302"]


def test_what_is_overridden_asks_for_nothing() -> None:
    assert value(plain, overrides={load: ["a"], save: lambda rows: len(rows)}) == 1
    assert events == []


# --- by hand


def test_open_by_hand_opens_and_closes_what_it_needs() -> None:
    with session.open() as (engine, size):
        assert (engine.url, size) == ("sqlite://", 3)
        assert events == ["open db sqlite://", "open session"]
    assert events[2:] == ["close session", "close db"]


def test_open_by_hand_closes_after_an_exception_and_does_not_take_it() -> None:
    with pytest.raises(ZeroDivisionError), db.open():
        raise ZeroDivisionError
    assert events == ["open db sqlite://", "close db"]


def test_open_an_async_one_by_hand() -> None:
    async def use() -> str:
        async with client.open() as http:
            assert http["loop"] is asyncio.get_running_loop()
            return http["base"]

    assert asyncio.run(use()) == "http://x"
    assert events == ["open client", "close client"]
    with pytest.raises(TypeError, match="async with"), client.open():
        pass


# --- the event loop


def test_async_tasks_of_a_run_share_one_loop(runner: str) -> None:
    loops: list[Any] = []

    @mxm.task
    async def where(x: int = 0) -> int:
        loops.append(asyncio.get_running_loop())
        return x

    @mxm.flow
    async def many() -> Any:
        return [await where(i) for i in range(5)]

    assert value(many, runner=runner, workers=3) == list(range(5))
    assert len(set(map(id, loops))) == 1
    assert loops[0].is_closed()


def test_threads_await_as_many_as_there_are_workers_at_once() -> None:
    here = 0
    met = asyncio.Event()

    @mxm.task
    async def meet(x: int) -> int:
        nonlocal here
        here += 1
        if here == 3:
            met.set()
        await asyncio.wait_for(met.wait(), 20)
        return x

    @mxm.flow
    async def many() -> Any:
        return [await meet(i) for i in range(3)]

    assert value(many, runner="threads", workers=3) == [0, 1, 2]


def test_a_run_within_a_running_loop() -> None:
    async def cell() -> int:
        return value(risk)

    assert asyncio.run(cell()) == value(risk)


def test_a_run_within_an_async_task_has_a_loop_of_its_own(runner: str) -> None:
    @mxm.task
    async def outer(http: dict[str, Any] = mxm.use(client)) -> int:
        return value(risk)

    @mxm.flow
    async def nested() -> int:
        return await outer()

    assert value(nested, runner=runner) == 23
    assert events.count("open client") == events.count("close client") == 2


@pytest.mark.parametrize("cooperates", [True, False])
def test_a_timeout_gives_up_an_async_attempt_and_the_next_one_runs(
    cooperates: bool, runner: str
) -> None:
    attempts: list[int] = []

    @mxm.task(timeout_s=0.5, retries=1)  # enough for the second one on a busy machine
    async def slow() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            if cooperates:
                try:
                    await asyncio.sleep(30)
                except asyncio.CancelledError:
                    events.append("cancelled")
                    raise
            time.sleep(2)  # holds the loop
        return len(attempts)

    @mxm.flow
    async def late() -> int:
        return await slow()

    ran = run(late, runner=runner)
    assert ran.value() == 2
    assert ran.tasks["slow"].history[0].state is State.FAILED
    assert events == ["cancelled"] * cooperates


def test_a_resource_of_a_loop_that_is_held_is_opened_anew_and_the_run_says_so() -> None:
    @mxm.task(timeout_s=0.1)
    async def holds(http: dict[str, Any] = mxm.use(client)) -> int:
        time.sleep(2)
        return 1

    @mxm.task
    async def after(http: dict[str, Any] = mxm.use(client)) -> bool:
        return http["loop"] is asyncio.get_running_loop()

    @mxm.flow
    async def held() -> Any:
        return await holds(), await after()

    ran = run(held)
    assert isinstance(ran.tasks["holds"].error, TaskTimeoutError)
    assert ran.tasks["after"].value is True
    assert [w.code for w in ran.warnings] == ["MXM611"]


def test_a_timeout_bounds_the_opening() -> None:
    gate = threading.Event()

    @mxm.resource
    def hangs() -> Iterator[int]:
        gate.wait(20)
        yield 1
        events.append("closed")

    @mxm.task(timeout_s=0.05)
    def ask(x: int = mxm.use(hangs)) -> int:
        return x

    @mxm.flow
    def asking() -> int:
        return ask()

    assert isinstance(run(asking).tasks["ask"].error, TaskTimeoutError)
    gate.set()
    for _ in range(200):
        if events:
            break
        time.sleep(0.01)
    assert events == ["closed"]  # by the thread that opened it


def test_what_a_resource_prints_and_logs_is_of_the_task_that_opens_it(runner: str) -> None:
    @mxm.resource
    def loud() -> Iterator[int]:
        print("opening")
        yield 1
        print("closing")

    @mxm.resource
    async def loud_too() -> AsyncIterator[int]:
        print("opening async")
        logging.getLogger("mine").warning("logged")
        yield 1
        print("closing async")

    @mxm.task
    async def ask(x: int = mxm.use(loud), y: int = mxm.use(loud_too)) -> int:
        print("task")
        return x

    @mxm.flow
    async def asking() -> int:
        return await ask()

    output = run(asking, runner=runner).tasks["ask"].output
    assert output.splitlines() == ["opening", "opening async", "logged", "task"]


def test_context_variables_reach_async_tasks_and_resources(runner: str) -> None:
    from contextvars import ContextVar

    mark: ContextVar[str] = ContextVar("mark", default="none")

    @mxm.resource
    def sets() -> Iterator[str]:
        token = mark.set("set")
        yield mark.get()
        mark.reset(token)  # in the context that it was set in

    @mxm.task
    async def ask(x: str = mxm.use(sets)) -> tuple[str, str]:
        return x, mark.get()

    @mxm.flow
    async def asking() -> Any:
        return await ask()

    token = mark.set("mine")
    try:
        ran = run(asking, runner=runner)
    finally:
        mark.reset(token)
    assert ran.value() == ("set", "mine")
    assert not ran.warnings


def test_a_system_exit_in_a_task_that_an_async_task_began_fails_it(runner: str) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    @mxm.task
    async def begins() -> int:
        await asyncio.gather(asyncio.create_task(leave()), asyncio.sleep(5))
        return 1

    @mxm.task
    async def after() -> int:
        return 2

    @mxm.flow
    async def leaving() -> Any:
        return await begins(), await after()

    ran = run(leaving, runner=runner)
    assert isinstance(ran.tasks["begins"].error, SystemExit)
    assert ran.tasks["after"].value == 2


# --- settings


def project(text: str) -> None:
    Path("pyproject.toml").write_text(text)


def test_settings_are_read_alike_by_runs_and_plain_calls(runner: str) -> None:
    project('[tool.mxm.pipeline.resources.db]\nurl = "postgres://"\n')
    assert load("SPY")[1] == value(simple, runner=runner)[1] == simple()[1] == "postgres://"
    with db.open() as engine:
        assert engine.url == "postgres://"
    settings = {"db": {"url": "mine"}}
    assert value(simple, resource_settings=settings)[1] == "mine"
    assert value(simple, resource_settings=settings, runner="processes")[1] == "mine"


@mxm.resource
def fee(rate: Decimal = Decimal(0), loose=0) -> Iterator[tuple[Any, ...]]:  # type: ignore[no-untyped-def]
    yield rate, loose


@mxm.task
def charged(of: tuple[Any, ...] = mxm.use(fee)) -> str:
    return f"{of[0]} {of[1]} {type(of[1]).__name__}"


@mxm.flow
def charges() -> str:
    return charged()


def test_a_decimal_setting_has_all_its_digits(runner: str) -> None:
    project("[tool.mxm.pipeline.resources.fee]\nrate = 0.1234567890123456789\nloose = 0.10\n")
    assert value(charges, runner=runner) == charges() == "0.1234567890123456789 0.1 float"
    project("[tool.mxm.pipeline.resources.fee]\nrate = 1e400\n")
    with pytest.raises(PipelineError, match="cannot be read: a number is too large for a float"):
        charges()


@mxm.flow
def simple() -> list[str]:
    return load("SPY")


@mxm.resource
def strict(url: str, pool: int = 1, token: str | None = None) -> Iterator[list[Any]]:
    yield [url, pool, token]


@mxm.task
def ask_strict(x: list[Any] = mxm.use(strict)) -> list[Any]:
    return x


@mxm.flow
def strictly() -> list[Any]:
    return ask_strict()


def test_a_setting_without_a_default_is_asked_for_before_anything_runs() -> None:
    with pytest.raises(ParameterError, match="MXM607 missing setting 'url' of resource 'strict'"):
        run(strictly)
    with pytest.raises(ParameterError, match="MXM607"):
        strictly()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('url = "a"\npool = "many"', "MXM608"),
        ('url = "a"\npol = 3', "MXM609"),
        ('url = "@env:NOT_SET_ANYWHERE"', "MXM608"),
        ('url = "@file.txt"', "MXM608"),
    ],
)
def test_settings_that_cannot_be_used_are_problems(text: str, code: str) -> None:
    project(f"[tool.mxm.pipeline.resources.strict]\n{text}\n")
    with pytest.raises(ParameterError) as raised:
        run(strictly)
    assert [problem.code for problem in raised.value.problems] == [code]


def test_settings_read_the_environment_and_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL", "5")
    project(
        '[tool.mxm.pipeline.resources.strict]\nurl = "@@a"\npool = "@env:POOL"\ntoken = "@env:POOL"'
    )
    assert value(strictly) == ["@a", 5, "5"]


def test_settings_of_a_resource_that_the_flow_does_not_use_are_an_error() -> None:
    with pytest.raises(ParameterError, match="MXM609 flow 'simple' uses no resource 'dbb'"):
        run(simple, resource_settings={"dbb": {"url": "x"}})


def test_settings_of_the_project_for_other_flows_are_left_alone() -> None:
    project('[tool.mxm.pipeline.resources.other]\nurl = "x"\n')
    assert value(simple)[1] == "sqlite://"


def test_a_module_of_a_notebook_may_define_it_again(tmp_path: Path) -> None:
    module = module_of(
        tmp_path,
        """
        import mxm

        @mxm.resource
        def db():
            yield 1

        @mxm.task
        def ask(x: int = mxm.use(db)) -> int:
            return x

        @mxm.flow
        def asking() -> int:
            return ask()
        """,
    )
    assert value(module.asking) == 1


# --- the command


COMMAND = """
import mxm
from pydantic import SecretStr

@mxm.resource
def db(url: str = "sqlite://", token: SecretStr = SecretStr("canary")):
    print("opening")
    yield [url, token.get_secret_value()]
    print("closing")

@mxm.task
def load(symbol: str, connection: list = mxm.use(db)) -> str:
    return f"{symbol} {connection[0]} {len(connection[1])}"

@mxm.flow
def prices(symbol: str = "SPY"):
    return load(symbol)
"""


def test_the_command_reads_settings_and_prints_one_document(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("flows.py").write_text(COMMAND)
    Path("url.txt").write_text("of a file\n")
    monkeypatch.setenv("TOKEN", "hidden")
    project('[tool.mxm.pipeline.resources.db]\nurl = "of the project"\n')
    run = ["run", "prices", "--backend", "inline", "--value"]
    assert invoke(*run).out == '"SPY of the project 6"\n'
    ran = invoke(*run, "--resource", "db.url=@url.txt", "--resource", "db.token=@env:TOKEN")
    assert (ran.code, ran.out) == (0, '"SPY of a file 6"\n')
    assert "hidden" not in ran.err
    assert "[prices/load] opening" in ran.err


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("db", "--resource needs RESOURCE.KEY=VALUE"),
        ("db=x", "--resource needs RESOURCE.KEY=VALUE"),
        ("db.url", "--resource db.url has no value"),
        ("db.=x", "a name is empty"),
        ("db.ulr=x", "resource 'db' has no setting 'ulr'"),
        ("bd.url=x", "uses no resource 'bd'"),
        ("db.url=@env:NOT_SET_HERE", "environment variable 'NOT_SET_HERE' is not set"),
    ],
)
def test_a_setting_that_cannot_be_read_is_a_usage_error(setting: str, told: str) -> None:
    Path("flows.py").write_text(COMMAND)
    ran = invoke("run", "prices", "--backend", "inline", "--resource", setting)
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err


def test_views_say_what_a_task_uses() -> None:
    Path("flows.py").write_text(COMMAND)
    for verb in (["show"], ["graph"], ["graph", "-f", "mermaid"], ["graph", "-f", "dot"]):
        assert "load(connection=use(db))" in invoke(*verb, "prices").out, verb
    shown = invoke("show", "prices").out
    assert "db.url" in shown
    assert "canary" not in shown + invoke("show", "prices", "--json").out
    assert "--resource db.url=" in invoke("run", "prices", "--help").out
    document = json.loads(invoke("show", "prices", "--json").out)
    assert document["resources"][0]["name"] == "db"
    assert document["tasks"][0]["resources"] == {"connection": "db"}
    graph = json.loads(invoke("graph", "prices", "--json").out)
    assert graph["resources"] == {"load": {"connection": "db"}}
