"""What Prefect knows in a worker process of `processes`: the run and the task run it is in."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from mxm.pipeline import FlowRun, FlowSpec, State, TaskSpec, compile_flow
from mxm.pipeline.bindings import Bindings, Each, Upstream
from mxm.pipeline.execution.places.engine_state import EngineState, known_to_engine


def run(*tasks: TaskSpec, backend: str = "prefect") -> FlowRun:
    flow = FlowSpec("f", list(tasks))
    return compile_flow(flow, backend=backend, runner="processes", workers=1, record=False).run()


def lines(caplog: pytest.LogCaptureFixture, *loggers: str) -> list[tuple[str, str]]:
    return [
        (getattr(record, "mxm_task", ""), record.getMessage())
        for record in caplog.records
        if record.name in loggers
    ]


def loads() -> list[int]:
    from prefect import get_run_logger

    get_run_logger().info("loads")
    logging.getLogger("own").info("after Prefect set up its logging")
    return [1, 2]


def gains(x: int) -> int:
    from prefect import get_run_logger

    get_run_logger().info("item %s", x)
    return x


async def sums(xs: list[int]) -> int:
    from prefect import get_run_logger

    await asyncio.sleep(0)
    get_run_logger().info("awaits")
    return sum(xs)


def test_what_a_task_logs_by_prefects_logger_in_a_worker_is_shown_as_the_tasks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        ended = run(
            TaskSpec("loads", loads),
            TaskSpec("gains", gains, bindings=Bindings((Each(Upstream("loads")),))),
            TaskSpec("sums", sums, upstream=["gains"]),
        )
    assert ended.state is State.SUCCEEDED, ended
    assert lines(caplog, "prefect.task_runs", "prefect.flow_runs") == [
        ("loads", "loads"),
        ("gains", "item 1"),
        ("gains", "item 2"),
        ("sums", "awaits"),
    ]
    # Its task is in the record only if the process has a handler that asks for it.
    assert [text for _, text in lines(caplog, "own")] == ["after Prefect set up its logging"]


def knows() -> list[Any]:
    from prefect.runtime import flow_run, task_run

    return [task_run.task_name, task_run.run_count, flow_run.name, flow_run.flow_name]


def test_each_task_in_a_worker_is_in_its_own_task_run() -> None:
    ended = run(TaskSpec("a", knows), TaskSpec("b", knows, after=["a"]))
    (a, *first), (b, *second) = ended.values["a"], ended.values["b"]
    assert (a, b) == ("a", "b")
    assert first == second
    assert (first[0], first[2]) == (1, "f")


def flaky(folder: str) -> int:
    from prefect.runtime import task_run

    seen = Path(folder, "seen")
    if not seen.exists():
        seen.touch()
        raise ValueError("not yet")
    count: int = task_run.run_count
    return count


def test_an_attempt_in_a_worker_knows_its_number(tmp_path: Path) -> None:
    ended = run(TaskSpec("flaky", flaky, params={"folder": str(tmp_path)}, retries=1))
    assert ended.values == {"flaky": 2}


@pytest.mark.parametrize("runner", ["sequential", "processes"])
def test_without_prefects_engine_its_own_error_stays(runner: str) -> None:
    flow = FlowSpec("f", [TaskSpec("loads", loads)])
    ended = compile_flow(flow, backend="inline", runner=runner, record=False).run()
    assert "There is no active flow or task run context" in str(ended.tasks["loads"].reason)


def loaded() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "prefect"]


def test_a_worker_whose_task_does_not_import_prefect_does_not_load_it() -> None:
    assert run(TaskSpec("loaded", loaded)).values == {"loaded": []}


def finders() -> list[str]:
    return [type(finder).__module__ for finder in sys.meta_path]


def test_nothing_stays_in_a_worker_after_an_attempt() -> None:
    ended = run(TaskSpec("a", finders), TaskSpec("b", finders, after=["a"]))
    assert ended.values["a"] == ended.values["b"]


def test_a_module_that_fails_as_it_is_imported_sets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_engine.py").write_text("raise ValueError('broken')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    calls: list[str] = []
    before = list(sys.meta_path)
    state = EngineState(("broken_engine",), "nowhere:nothing", b"")
    with known_to_engine(state, then=lambda: calls.append("then")):
        with pytest.raises(ValueError, match="broken"):
            importlib.import_module("broken_engine")
    assert calls == []
    assert sys.meta_path == before
