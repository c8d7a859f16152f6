"""Tasks that always run, once a run is cancelled: once, in time, and never beside a live branch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command import SCRIPT

from mxm.pipeline.execution.options import BACKENDS

MODULE = """
import os, pathlib, time
import mxm
from mxm.pipeline import Failure

HERE = pathlib.Path(__file__).parent
LOG = HERE / "log.txt"


def log(text):
    with LOG.open("a") as file:
        file.write(text + chr(10))


@mxm.task
def connect() -> str:
    return "connection"


@mxm.task
def work(connection: str, seconds: float) -> str:
    log("working")
    time.sleep(seconds)
    log("worked")
    return "done"


@mxm.task
def later(x: str) -> str:
    log("later")
    return x


@mxm.task(run_if="always", retries=3)
def close(connection: str | Failure | None, work: str | Failure | None, slow: float = 0) -> str:
    log(f"closing {connection!r} {work!r}")
    time.sleep(slow)
    log("closed")
    return "closed"


@mxm.task(run_if="always")
def tell(closed: str | Failure | None) -> None:
    log(f"told {closed!r}")


@mxm.task(after=work, run_if="failed")
def mail() -> None:
    log("mailed")


@mxm.flow
def guarded(seconds: float = 60, slow: float = 0):
    connection = connect()
    done = work(connection, seconds)
    mail()
    return later(done), tell(close(connection, done, slow))
"""


MAPS = (
    MODULE
    + """

@mxm.task
def price(symbol: str) -> str:
    log(f"pricing {symbol}")
    time.sleep(2 if symbol == "B" else 0)
    return symbol


@mxm.task(run_if="always")
def release(symbol: str, price: str | Failure | None) -> str:
    log(f"releasing {symbol} {price!r}")
    return symbol


@mxm.task(after=price, run_if="always")
def drop(table: str) -> str:
    log(f"dropping {table}")
    return table


@mxm.task
def slow_rate() -> int:
    log("pricing B")
    time.sleep(2)
    return 1


@mxm.task
def convert(symbol: str, rate: int) -> str:
    return symbol


@mxm.flow
def quote(symbol: str):
    return release(symbol, price(symbol))


@mxm.flow
def quote_at(symbol: str, rate: int):
    return release(symbol, convert(symbol, rate))


@mxm.flow
def mapped(seconds: float = 0):
    prices = price.map(["A", "B", "C"])
    return prices, drop.map(["t1", "t2"]), quote.map(["D", "E"])


@mxm.flow
def items(seconds: float = 0):
    return quote.map(["A", "B", "C"])


@mxm.flow
def waiting(seconds: float = 0):
    return quote_at.map(["A", "C"], rate=slow_rate())
"""
)


def start(
    folder: Path, *arguments: str, flow: str = "flows.py", **params: float
) -> subprocess.Popen[str]:
    (folder / "flows.py").write_text(MODULE)
    given = [part for name, value in params.items() for part in ("-p", f"{name}={value}")]
    return subprocess.Popen(
        [sys.executable, SCRIPT, "run", flow, "--json", *given, *arguments],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "DO_NOT_TRACK": "1"},
    )


def lines(folder: Path) -> list[str]:
    log = folder / "log.txt"
    return log.read_text().splitlines() if log.exists() else []


def wait_for(folder: Path, line: str) -> None:
    deadline = time.monotonic() + 60
    while not any(text.startswith(line) for text in lines(folder)):
        assert time.monotonic() < deadline, lines(folder)
        time.sleep(0.02)


def ended(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    out, err = process.communicate(timeout=60)
    return {task["name"]: task for task in json.loads(out)["tasks"]}, err


RUNNERS = ("sequential", "threads", "processes")
RUNS = [(backend, runner) for backend in BACKENDS for runner in RUNNERS]


@pytest.mark.parametrize(("backend", "runner"), RUNS, ids=["-".join(run) for run in RUNS])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_cleanup_runs_once_when_the_run_is_cancelled(
    tmp_path: Path, backend: str, runner: str, number: signal.Signals
) -> None:
    seconds = 2 if runner == "threads" else 60  # a thread cannot be stopped
    process = start(tmp_path, "--backend", backend, "--runner", runner, seconds=seconds)
    wait_for(tmp_path, "working")
    process.send_signal(number)
    tasks, err = ended(process)
    assert process.returncode == 128 + number
    assert "the run was cancelled" in err
    assert {name: task["state"] for name, task in tasks.items()} == {
        "connect": "succeeded",
        "work": "cancelled",
        "mail": "cancelled",
        "later": "cancelled",
        "close": "succeeded",
        "tell": "succeeded",
    }
    failure = "<Failure of task 'work': TaskCancelledError: task 'work' was cancelled>"
    worked = ["worked"] if runner == "threads" else []
    assert lines(tmp_path) == [
        *("working", *worked, f"closing 'connection' {failure}", "closed"),
        "told 'closed'",
    ]


def test_cleanup_that_takes_too_long_is_cancelled(tmp_path: Path) -> None:
    process = start(tmp_path, "--backend", "inline", "--grace", "0.5", slow=60)
    wait_for(tmp_path, "working")
    process.send_signal(signal.SIGINT)
    tasks, _ = ended(process)
    assert process.returncode == 130
    assert (tasks["close"]["state"], tasks["tell"]["state"]) == ("cancelled", "cancelled")
    assert "told" not in " ".join(lines(tmp_path)), "never beside a live branch"


def test_cleanup_waits_for_no_thread_longer_than_the_grace(tmp_path: Path) -> None:
    process = start(tmp_path, "--backend", "inline", "--runner", "threads", "--grace", "0.3")
    wait_for(tmp_path, "working")
    process.send_signal(signal.SIGINT)
    tasks, _ = ended(process)
    assert process.returncode == 130
    assert tasks["close"]["state"] == "cancelled"
    assert lines(tmp_path) == ["working"]


def test_second_signal_ends_the_cleanup(tmp_path: Path) -> None:
    process = start(tmp_path, "--backend", "inline", slow=60)
    wait_for(tmp_path, "working")
    process.send_signal(signal.SIGINT)
    wait_for(tmp_path, "closing")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert lines(tmp_path)[-1].startswith("closing")


def test_grace_of_no_seconds_runs_no_cleanup(tmp_path: Path) -> None:
    process = start(tmp_path, "--backend", "inline", "--grace", "0")
    wait_for(tmp_path, "working")
    process.send_signal(signal.SIGINT)
    tasks, _ = ended(process)
    assert tasks["close"]["state"] == "cancelled"
    assert lines(tmp_path) == ["working"]


def test_grace_must_be_a_number_of_seconds() -> None:
    from mxm.pipeline.errors import BackendError
    from mxm.pipeline.execution.options import RunOptions

    for wrong in (-1, float("nan"), float("inf"), "10", True):
        with pytest.raises(BackendError, match="grace_s must be a number of seconds"):
            RunOptions(grace_s=wrong)  # type: ignore[arg-type]


def test_in_process_the_run_tells_what_the_cleanup_became(tmp_path: Path) -> None:
    """From Python, as in a notebook: the exception carries the run."""
    program = (
        MODULE
        + """
import signal, threading

def interrupt():
    while not LOG.exists() or "working" not in LOG.read_text():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
try:
    guarded.with_options(backend="inline").run()
except KeyboardInterrupt as error:
    print({task.name: task.state.value for task in error.mxm_run.tasks.values()}["close"])
"""
    )
    (tmp_path / "program.py").write_text(program)
    ran = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout == "succeeded\n", ran.stderr


def interrupted(folder: Path, flow: str, *arguments: str) -> dict[str, Any]:
    (folder / "maps.py").write_text(MAPS)
    process = start(folder, *arguments, flow=f"maps.py:{flow}")
    wait_for(folder, "pricing B")
    process.send_signal(signal.SIGINT)
    tasks, _ = ended(process)
    assert process.returncode == 130
    return tasks


@pytest.mark.parametrize(("backend", "runner"), RUNS, ids=["-".join(run) for run in RUNS])
def test_items_that_always_run_are_called_once_when_the_run_is_cancelled(
    tmp_path: Path, backend: str, runner: str
) -> None:
    tasks = interrupted(
        tmp_path, "items", "--backend", backend, "--runner", runner, "--workers", "1"
    )
    assert {name: task["state"] for name, task in tasks.items()} == {
        "quote.price": "cancelled",
        "quote.release": "succeeded",
    }
    released = [line.split(" ", 2)[1:] for line in lines(tmp_path) if "releasing" in line]
    assert sorted(name for name, _ in released) == ["A", "B", "C"], "each once"
    given = dict(released)
    assert given["A"] == "'A'"
    for name in "BC":
        assert given[name].startswith(f"<Failure of task 'quote.price[{name}]': TaskCancelledError")


@pytest.mark.parametrize("runner", RUNNERS)
def test_map_that_always_runs_is_called_when_the_run_is_cancelled(
    tmp_path: Path, runner: str
) -> None:
    tasks = interrupted(
        tmp_path, "mapped", "--backend", "inline", "--runner", runner, "--workers", "1"
    )
    assert tasks["price"]["state"] == "cancelled"
    assert (tasks["drop"]["state"], tasks["quote.release"]["state"]) == ("succeeded",) * 2
    dropped = sorted(line for line in lines(tmp_path) if line.startswith("dropping"))
    assert dropped == ["dropping t1", "dropping t2"]


def test_items_are_known_although_what_is_beside_them_was_cancelled(tmp_path: Path) -> None:
    tasks = interrupted(tmp_path, "waiting", "--backend", "inline")
    assert tasks["quote_at.convert"]["state"] == "cancelled"
    assert tasks["quote_at.release"]["state"] == "succeeded"
    released = sorted(line.split()[1] for line in lines(tmp_path) if "releasing" in line)
    assert released == ["A", "C"]


CUT = """
import mxm
from mxm.pipeline import Failure


@mxm.task(run_if="always")
def first() -> None:
    raise KeyboardInterrupt


@mxm.task(run_if="always")
def second(first: None | Failure) -> None:
    print("SECOND", type(first).__name__)


@mxm.flow
def cut():
    return second(first())
"""


def test_cleanup_that_was_cut_short_does_not_keep_the_next_one_from_running(
    tmp_path: Path,
) -> None:
    (tmp_path / "cut.py").write_text(CUT)
    process = start(tmp_path, "--backend", "inline", flow="cut.py:cut")
    tasks, err = ended(process)
    assert process.returncode == 130
    assert "SECOND Failure" in err
    assert (tasks["first"]["state"], tasks["second"]["state"]) == ("cancelled", "succeeded")
