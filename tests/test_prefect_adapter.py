from __future__ import annotations

import inspect
import logging
import os
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import mxm
from mxm.pipeline import FlowSpec, TaskSpec, compile_flow, execute_flow
from mxm.pipeline.adapters import prefect_api
from mxm.pipeline.adapters.prefect_adapter import build_prefect_flow, execute_prefect_flow
from mxm.pipeline.errors import BackendError


def load(day: date, limit: int = 3) -> list[int]:
    return list(range(limit))


def total(rows: list[int]) -> int:
    return sum(rows)


def spec() -> FlowSpec:
    tasks = [TaskSpec("load", load), TaskSpec("total", total, upstream=["load"])]
    return FlowSpec("prices / daily", tasks, params={"limit": 4})


def test_the_prefect_flow_has_the_flows_parameters_and_returns_json() -> None:
    import prefect

    flow = build_prefect_flow(spec())
    assert isinstance(flow, prefect.Flow)
    signature = inspect.signature(flow.fn)
    assert signature.parameters["day"].annotation is date
    assert signature.parameters["day"].default is inspect.Parameter.empty
    assert signature.parameters["limit"].default == 4
    assert signature.parameters["extra"].kind is inspect.Parameter.VAR_KEYWORD
    assert flow(day="2026-01-02") == {"load": [0, 1, 2, 3], "total": 6}
    assert execute_prefect_flow(flow, {"day": "2026-01-02", "limit": 2})["total"] == 1


def test_a_default_shown_is_not_a_value_given() -> None:
    def fast(limit: int = 1) -> int:
        return limit

    def slow(limit: int = 2) -> int:
        return limit

    flow = build_prefect_flow(FlowSpec("f", [TaskSpec("fast", fast), TaskSpec("slow", slow)]))
    assert flow() == {"fast": 1, "slow": 2}


def test_prefects_own_ways_to_run_a_flow() -> None:
    flow = build_prefect_flow(spec())
    expected = {"load": [0, 1, 2, 3], "total": 6}
    other = flow.with_options(name="other")
    assert type(other) is type(flow)
    assert other.name == "other"
    assert other(day="2026-01-02") == expected
    assert flow.fn(day="2026-01-02") == expected
    state = flow(day="2026-01-02", return_state=True)
    assert (state.is_completed(), state.result()) == (True, expected)
    with pytest.raises(TypeError, match="wait_for"):
        flow(day="2026-01-02", wait_for=[1])


def test_prefects_engine_runs_it_and_its_shown_defaults_are_not_given() -> None:
    from prefect.flow_engine import run_flow

    def fast(limit: int = 1) -> int:
        return limit

    def slow(limit: int = 2) -> int:
        return limit

    def fail() -> None:
        raise LookupError("gone")

    flow = build_prefect_flow(FlowSpec("f", [TaskSpec("fast", fast), TaskSpec("slow", slow)]))
    broken = build_prefect_flow(FlowSpec("g", [TaskSpec("a", fail)]))
    with prefect_api.session():
        assert run_flow(flow, parameters={"limit": 1}) == {"fast": 1, "slow": 2}
        assert run_flow(flow, parameters={"limit": 5}) == {"fast": 5, "slow": 5}
        state: Any = run_flow(broken, parameters={}, return_type="state")
    assert state.is_failed()
    assert "LookupError: gone" in state.message


def test_a_direct_call_raises_the_tasks_own_error() -> None:
    def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        execute_prefect_flow(build_prefect_flow(FlowSpec("f", [TaskSpec("a", fail)])), {})


def test_nothing_of_prefect_is_in_results_or_errors() -> None:
    run = compile_flow(spec()).run({"day": "2026-01-02"})
    assert all(type(v).__module__ == "builtins" for v in run.values.values())
    assert not any("prefect" in repr(vars(task)) for task in run.tasks.values())


def test_values_travel_by_reference() -> None:
    marker = object()
    seen: list[object] = []

    def make() -> object:
        return marker

    def take(it: object) -> object:
        seen.append(it)
        return it

    tasks = [TaskSpec("make", make), TaskSpec("take", take, upstream=["make"])]
    run = compile_flow(FlowSpec("f", tasks)).run()
    assert seen == [marker]
    assert run.values["take"] is marker


def test_a_task_may_run_another_flow_and_flows_may_run_in_threads() -> None:
    inner = compile_flow(FlowSpec("inner", [TaskSpec("a", total, params={"rows": [1, 2]})]))

    def outer() -> Any:
        return inner.execute()

    flow = compile_flow(FlowSpec("outer", [TaskSpec("outer", outer)]))
    assert flow.execute() == {"outer": {"a": 3}}
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(flow.execute())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [{"outer": {"a": 3}}] * 4


def test_a_run_inside_a_prefect_flow_of_the_users_stands_alone() -> None:
    import prefect
    from prefect.context import FlowRunContext

    compiled = compile_flow(FlowSpec("inner", [TaskSpec("a", total, params={"rows": [1, 2]})]))

    @prefect.flow
    def users() -> Any:
        before = FlowRunContext.get()
        result = compiled.execute()
        assert FlowRunContext.get() is before
        return result

    with prefect_api.in_process():
        assert users() == {"a": 3}


def test_settings_and_logging_are_as_before() -> None:
    from prefect.settings import get_current_settings

    engine = logging.getLogger("prefect")
    before = (
        get_current_settings().model_dump(mode="json"),
        engine.level,
        engine.propagate,
        list(engine.handlers),
        list(logging.getLogger().handlers),
        dict(os.environ),
    )
    compile_flow(spec()).run({"day": "2026-01-02"})
    after = (
        get_current_settings().model_dump(mode="json"),
        engine.level,
        engine.propagate,
        list(engine.handlers),
        list(logging.getLogger().handlers),
        dict(os.environ),
    )
    assert after == before


def publish() -> None:
    from prefect.artifacts import create_markdown_artifact

    create_markdown_artifact("text")


def limited() -> None:
    from prefect.concurrency.sync import concurrency

    with concurrency("x"):
        pass


def rated() -> None:
    from prefect.concurrency.sync import rate_limit

    rate_limit("x")


def tagged() -> None:
    import prefect

    prefect.task(tags=["a"])(one)()


def tagged_outside() -> None:
    import prefect

    with prefect.tags("a"):
        prefect.task(one)()


def paused() -> None:
    from prefect.flow_runs import pause_flow_run

    pause_flow_run(timeout=60)


def subflow() -> None:
    import prefect

    prefect.flow(one)()


async def asking() -> None:
    from prefect import get_client

    async with get_client() as client:
        await client.read_flows()
    async with get_client() as client:
        await client.read_flows()


async def variable() -> None:
    from prefect.variables import Variable

    await Variable.aget("x")


def one() -> int:
    return 1


@pytest.mark.parametrize(
    ("task", "asked"),
    [
        (publish, "POST /artifacts/"),
        (limited, "POST /v2/concurrency_limits/"),
        (rated, "POST /v2/concurrency_limits/"),
        (tagged, "POST /v2/concurrency_limits/"),
        (tagged_outside, "POST /v2/concurrency_limits/"),
        (paused, "POST /flow_runs/"),
        (subflow, "POST /task_runs/"),
        (asking, "POST /flows/filter"),
        (variable, "GET /variables/name/x"),
    ],
)
def test_a_call_that_is_not_answered_names_itself_and_the_way_out(
    task: Any, asked: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = time.monotonic()
    run = compile_flow(FlowSpec("f", [TaskSpec("asks", task)])).run()
    error = run.tasks["asks"].error
    assert type(error) is BackendError
    assert asked in str(error)
    assert "PREFECT_API_URL" in str(error)
    assert time.monotonic() - before < 20
    assert capfd.readouterr().err == ""


def test_the_api_is_not_answered_in_worker_processes_and_no_server_starts(home: Path) -> None:
    environment = dict(os.environ)
    tasks = [TaskSpec("publish", publish), TaskSpec("limited", limited), TaskSpec("one", one)]
    run = compile_flow(FlowSpec("f", tasks), runner="processes", workers=1).run()
    for name in ("publish", "limited"):
        error = run.tasks[name].error
        assert type(error) is BackendError
        assert "worker process" in str(error)
        assert "PREFECT_API_URL" in str(error)
    assert run.values == {"one": 1}
    assert dict(os.environ) == environment
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_a_host_that_logs_sees_no_request_that_was_not_sent() -> None:
    code = (
        "import logging\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "from mxm.pipeline import FlowSpec, TaskSpec, compile_flow\n"
        "def one(): return 1\n"
        "compile_flow(FlowSpec('f', [TaskSpec('a', one)])).run()\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    lines = told.stderr.splitlines()
    assert [line for line in lines if not line.startswith("INFO:mxm.pipeline:a succeeded")] == []


PREFECTS_LOGGER = """
from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
from mxm.pipeline.cli.progress import logged

def one(): return 1

def says() -> None:
    import prefect

    prefect.task(one)()
    prefect.get_run_logger().info("hello")

with logged(0):
    compile_flow(FlowSpec("f", [TaskSpec("a", says)]), record=False).run()
"""


def test_what_a_task_logs_by_prefects_logger_is_shown_as_the_tasks() -> None:
    # In a process of its own: what pytest and other tests do to loggers is not looked at here.
    ran = subprocess.run(
        [sys.executable, "-c", PREFECTS_LOGGER],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = ran.stderr.splitlines()
    assert [line.partition(" ")[2] for line in lines][:1] == ["[f/a] hello"]
    assert len(lines) == 1  # how the task ended is an event


def test_engine_logs_on_request(capfd: pytest.CaptureFixture[str]) -> None:
    compile_flow(spec()).run({"day": "2026-01-02"})
    assert "Finished in state" not in capfd.readouterr().err
    code = (
        "from mxm.pipeline import FlowSpec, TaskSpec, compile_flow\n"
        "def one(): return 1\n"
        "compile_flow(FlowSpec('f', [TaskSpec('a', one)]), engine_logs=True).run()\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Finished in state Completed()" in told.stderr


def test_importing_it_leaves_the_hosts_logging_and_home_alone(home: Path) -> None:
    code = (
        "import logging, sys\n"
        "handler = logging.StreamHandler(sys.stdout)\n"
        "logging.getLogger().addHandler(handler)\n"
        "from mxm.pipeline import FlowSpec, TaskSpec, compile_flow\n"
        "def one(): return 1\n"
        "compile_flow(FlowSpec('f', [TaskSpec('a', one)])).run()\n"
        "assert logging.getLogger().handlers == [handler], logging.getLogger().handlers\n"
        "assert logging.getLogger().level == logging.WARNING\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    assert list(home.iterdir()) == []


def test_the_result_of_execute_is_a_dict_of_json() -> None:
    assert execute_flow(compile_flow(spec()), {"day": date(2026, 1, 2)}) == {
        "load": [0, 1, 2, 3],
        "total": 6,
    }


def test_a_decorated_flow_runs() -> None:
    @mxm.task
    def double(x: int) -> int:
        return 2 * x

    @mxm.flow
    def twice(x: int = 2) -> int:
        return double(double(x))

    run = twice.run(x=5)
    assert (run.value(), list(run.values)) == (20, ["double", "double_2"])


@pytest.mark.parametrize("text", [None, "level: ${PREFECT_LOGGING_LEVEL}\nhome: ${PREFECT_HOME}\n"])
def test_logging_is_set_up_with_the_settings_that_prefect_would_write_itself(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.logging import configuration

    monkeypatch.setenv("PREFECT_LOGGING_SERVER_LEVEL", "ERROR")
    path = configuration.DEFAULT_LOGGING_SETTINGS_PATH
    if text is not None:
        path = tmp_path / "logging.yml"
        path.write_text(text)
    plain = configuration.load_logging_config(path)
    with prefect_api._few_settings_written():
        assert configuration.load_logging_config(path) == plain


def test_a_setting_of_no_name_is_told_by_prefect_as_ever(tmp_path: Path) -> None:
    from prefect.logging import configuration

    path = tmp_path / "logging.yml"
    path.write_text("level: ${PREFECT_NONSENSE}\n")
    with prefect_api._few_settings_written(), pytest.raises(KeyError, match="PREFECT_NONSENSE"):
        configuration.load_logging_config(path)


RUN = """
from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
from mxm.pipeline.errors import BackendError, EngineMissingError
def one(): return 1
try:
    compile_flow(FlowSpec("f", [TaskSpec("a", one)])).run()
except BackendError as error:
    print(error)
"""


def told_by(**environment: str) -> str:
    told = subprocess.run(
        [sys.executable, "-c", RUN],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert told.stderr == ""
    return told.stdout


@pytest.mark.parametrize(
    "variable",
    ["PREFECT_LOGGING_LEVEL", "PREFECT_TASKS_DEFAULT_RETRIES", "PREFECT_SERVER_API_PORT"],
)
def test_a_setting_that_prefect_cannot_use_is_named(variable: str) -> None:
    told = told_by(**{variable: "nonsense"})
    assert told.startswith(f"Prefect cannot be configured: {variable} is '")
    assert told.endswith("\n  hint: fix it, or run with --backend inline\n")


def test_a_file_that_prefect_cannot_read_is_named(home: Path) -> None:
    profiles = home / ".prefect" / "profiles.toml"
    profiles.parent.mkdir()
    profiles.write_text("][")
    assert told_by().startswith(f"Prefect cannot be configured: {profiles}: ")
    profiles.unlink()
    profiles.mkdir()
    assert told_by().startswith(f"Prefect cannot be configured: {profiles}: Is a directory")


def test_a_server_that_does_not_answer_is_said_to_be_of_the_environment_or_a_profile(
    home: Path,
) -> None:
    url = "http://127.0.0.1:9/api"
    told = told_by(PREFECT_API_URL=url)
    assert f"hint: {url} comes from PREFECT_API_URL: start that server, or unset it" in told
    profiles = home / ".prefect" / "profiles.toml"
    profiles.parent.mkdir()
    profiles.write_text(f'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{url}"\n')
    assert "comes from PREFECT_API_URL of Prefect's profile 'mine'" in told_by()


def test_shared_changes_are_made_anew_after_one_of_them_failed() -> None:
    made: list[str] = []

    def change(undo: Any) -> None:
        undo.callback(made.append, "undone")
        made.append("changed")
        if len(made) == 1:
            raise RuntimeError("the first time")

    shared = prefect_api._Shared(change)
    with pytest.raises(RuntimeError, match="the first time"), shared():
        pass
    assert made == ["changed", "undone"]
    with shared():
        assert made == ["changed", "undone", "changed"]
    assert made[-1] == "undone"
