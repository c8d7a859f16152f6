"""What the runbook says, one test a fact; runs go through Prefect."""

from __future__ import annotations

import functools
import json
import logging
import operator
import os
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import SCRIPT, call, invoke, write

from mxm.pipeline.adapters.prefect_adapter import build_prefect_flow, execute_prefect_flow
from mxm.pipeline.api import MXMFlow, compile_flow, execute_flow
from mxm.pipeline.registry import get_flow, register_flow
from mxm.pipeline.spec import AssetDecl, FlowSpec, TaskSpec

ROOT = Path(__file__).parent.parent

EXAMPLE = """
    from mxm.pipeline.registry import register_flow
    from mxm.pipeline.spec import FlowSpec, TaskSpec

    def load_data(limit):
        return list(range(limit))

    def transform(rows, mode):
        return {"mode": mode, "rows": len(rows)}

    def report(result):
        return f"{result['rows']} rows, {result['mode']}"

    register_flow(FlowSpec(name="example", tasks=[
        TaskSpec("load", load_data),
        TaskSpec("transform", transform, upstream=["load"]),
        TaskSpec("report", report, upstream=["transform"]),
    ]))
    """


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, {"example.py": EXAMPLE})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def execute(spec: FlowSpec, **params: Any) -> dict[str, Any]:
    return execute_flow(compile_flow(spec), params)


def one(fn: Callable[..., Any], flow_params: dict[str, Any] | None = None, **options: Any) -> Any:
    """A flow of the task ``t`` alone."""
    return FlowSpec("one", [TaskSpec("t", fn, **options)], params=flow_params)


# Layout


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("spec", ["FlowSpec", "TaskSpec", "AssetDecl"]),
        ("api", ["compile_flow", "execute_flow", "MXMFlow"]),
        ("registry", ["register_flow", "get_flow"]),
        ("adapters.prefect_adapter", ["build_prefect_flow", "execute_prefect_flow"]),
        ("cli.main", ["app"]),
    ],
)
def test_layout(module: str, names: list[str]) -> None:
    import importlib

    home = importlib.import_module(f"mxm.pipeline.{module}")
    assert set(names) <= set(home.__all__)
    assert all(hasattr(home, name) for name in names)


# Task functions


class Callable_:
    def __call__(self, x: int) -> int:
        return x + 1


@pytest.mark.parametrize(
    "fn",
    [lambda x: x + 1, functools.partial(operator.add, 1), Callable_(), (1).__add__],
    ids=["lambda", "partial", "object", "bound method"],
)
def test_task_functions_are_ordinary_callables(fn: Callable[..., Any]) -> None:
    spec = FlowSpec("f", [TaskSpec("two", lambda: 2), TaskSpec("three", fn, upstream=["two"])])
    assert execute(spec) == {"two": 2, "three": 3}


def test_results_are_json_or_convertible() -> None:
    from datetime import date
    from decimal import Decimal

    value = {"day": date(2024, 1, 2), "sum": Decimal("1.10"), "parts": (1, 2.5, None, True)}
    results = execute(one(lambda: value))
    assert results == {"t": {"day": "2024-01-02", "sum": "1.10", "parts": [1, 2.5, None, True]}}
    assert json.loads(json.dumps(results)) == results


# Flows by hand


def test_results_of_upstream_arrive_as_positional_arguments_in_that_order() -> None:
    spec = FlowSpec(
        name="example",
        tasks=[
            TaskSpec("a", lambda: "a"),
            TaskSpec("b", lambda: "b"),
            TaskSpec("ab", lambda *args: list(args), upstream=["a", "b"]),
            TaskSpec("ba", lambda *args: list(args), upstream=["b", "a"]),
        ],
    )
    assert execute(spec) == {"a": "a", "b": "b", "ab": ["a", "b"], "ba": ["b", "a"]}


def test_upstreams_are_explicit() -> None:
    def second(first: str = "default") -> str:
        return first

    spec = FlowSpec("f", [TaskSpec("first", lambda: "value"), TaskSpec("second", second)])
    assert execute(spec)["second"] == "default"


def test_upstreams_may_be_declared_after_the_tasks_that_take_them() -> None:
    spec = FlowSpec("f", [TaskSpec("b", lambda x: x, upstream=["a"]), TaskSpec("a", lambda: 1)])
    assert execute(spec) == {"a": 1, "b": 1}


# Registering


def test_registered_flow_is_returned_by_get_flow() -> None:
    spec = one(lambda: 1)
    register_flow(spec)
    assert get_flow("one") is spec


def test_registered_flow_is_shown_by_list(example: Path) -> None:
    ran = invoke("list")
    assert ran.code == 0
    assert ran.out.splitlines()[1].split() == ["example", "3", "example.py:13"]


def test_unknown_flow_is_a_key_error() -> None:
    register_flow(one(lambda: 1))
    with pytest.raises(KeyError, match="unknown flow 'onne'"):
        get_flow("onne")


# Command


def test_command_graph(example: Path) -> None:
    ran = invoke("graph", "example")
    assert ran.code == 0
    assert [line.split()[-1] for line in ran.out.splitlines()] == [
        "example",
        "load",
        "transform",
        "report",
    ]


def test_command_run_prints_results_as_json(example: Path) -> None:
    line = ("run", "example", "--param", "limit=100", "--param", "mode=fast")
    ran = call(*line, cwd=example)
    assert ran.code == 0
    document = json.loads(ran.out)
    assert document == {
        "load": list(range(100)),
        "transform": {"mode": "fast", "rows": 100},
        "report": "100 rows, fast",
    }


def test_shells_quotes_around_a_value_are_not_part_of_it(example: Path) -> None:
    line = '"$0" "$1" run example --param limit=1 --param mode="fast" --quiet --backend inline'
    ran = subprocess.run(
        ["bash", "-c", line, sys.executable, SCRIPT], capture_output=True, text=True, timeout=100
    )
    assert json.loads(ran.stdout)["report"] == "1 rows, fast"


# API


def test_execute_flow_returns_task_names_to_results() -> None:
    compiled = compile_flow(one(lambda limit: limit * 2))
    assert execute_flow(compiled, {"limit": 100}) == {"t": 200}


def test_compiled_flow_is_an_mxm_flow() -> None:
    compiled = compile_flow(one(lambda: 1))
    assert isinstance(compiled, MXMFlow)
    assert (compiled.name, compiled.backend) == ("one", "prefect")


def test_compiled_flow_runs_more_than_once() -> None:
    compiled = compile_flow(one(lambda n=0: n))
    assert [execute_flow(compiled, {"n": n})["t"] for n in (1, 2, 3)] == [1, 2, 3]


# Parameters


@pytest.mark.parametrize(
    ("runtime", "flow", "task", "expected"),
    [
        ({"x": "run"}, {"x": "flow"}, {"x": "task"}, "run"),
        ({"x": "run"}, {}, {"x": "task"}, "run"),
        ({"x": "run"}, {"x": "flow"}, {}, "run"),
        ({}, {"x": "flow"}, {"x": "task"}, "flow"),
        ({}, {"x": "flow"}, {}, "flow"),
        ({}, {}, {"x": "task"}, "task"),
        ({}, {}, {}, "default"),
        ({"x": None}, {"x": "flow"}, {"x": "task"}, None),
    ],
)
def test_parameters_of_the_run_go_before_the_flows_and_these_before_the_tasks(
    runtime: dict[str, Any], flow: dict[str, Any], task: dict[str, Any], expected: str | None
) -> None:
    def fn(x: Any = "default") -> Any:
        return x

    assert execute(one(fn, flow, params=task), **runtime) == {"t": expected}


def test_one_parameter_reaches_every_task_that_takes_it() -> None:
    spec = FlowSpec(
        "f",
        [TaskSpec("a", lambda n: n), TaskSpec("b", lambda n: -n), TaskSpec("c", lambda: 0)],
        params={"n": 3},
    )
    assert execute(spec) == {"a": 3, "b": -3, "c": 0}


@pytest.mark.parametrize("level", ["run", "flow", "task"])
def test_key_that_a_signature_does_not_take_is_ignored_for_that_function(level: str) -> None:
    keys = {"mine": 1, "nobodys": 2}
    spec = FlowSpec(
        "f",
        [
            TaskSpec("takes", lambda mine=0: mine, params=keys if level == "task" else None),
            TaskSpec("takes_not", lambda: "ran", params=keys if level == "task" else None),
        ],
        params=keys if level == "flow" else None,
    )
    results = execute(spec, **(keys if level == "run" else {}))
    assert results == {"takes": 1, "takes_not": "ran"}


def test_function_with_keyword_arguments_takes_every_key() -> None:
    spec = one(lambda **kwargs: kwargs, {"flow": 2}, params={"task": 3})
    assert execute(spec, run=1) == {"t": {"run": 1, "flow": 2, "task": 3}}


# Engine


def test_prefect_is_an_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not any(d.startswith("prefect") for d in project["dependencies"])
    assert any(d.startswith("prefect") for d in project["optional-dependencies"]["prefect"])


def test_runs_are_local_and_synchronous() -> None:
    seen: list[Any] = []
    execute(one(lambda: seen.append((os.getpid(), threading.get_ident()))))
    assert seen == [(os.getpid(), threading.get_ident())]


def test_no_server_or_agent_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"a run must not do this: {args} {kwargs}")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket.socket, "bind", refused)
    monkeypatch.setattr(subprocess.Popen, "__init__", refused)
    assert execute(one(lambda: 1)) == {"t": 1}


def test_adapter_uses_prefect_flows_and_tasks() -> None:
    from prefect.context import FlowRunContext, TaskRunContext

    seen: list[str] = []

    def look() -> None:
        flow, task = FlowRunContext.get(), TaskRunContext.get()
        assert flow is not None
        assert flow.flow is not None
        assert task is not None
        seen.extend([flow.flow.name, task.task.name])

    execute(one(look))
    assert seen == ["one", "t"]


def test_adapter_hides_every_prefect_type() -> None:
    compiled = compile_flow(one(lambda: {"n": 1}))
    run = compiled.run()
    seen: list[object] = [compiled, run, *run.tasks.values(), *run.values.values()]
    seen += [run.results, compiled.execute()]
    for value in seen:
        for kind in type(value).__mro__:
            assert not kind.__module__.startswith("prefect")


def test_error_of_a_task_is_no_prefect_type() -> None:
    def fails() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError) as caught:
        execute(one(fails))
    assert type(caught.value) is LookupError


# Retries


def failing_first(times: int) -> Callable[[], str]:
    calls: list[int] = []

    def fn() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise ConnectionError(f"attempt {len(calls)}")
        return f"attempt {len(calls)}"

    return fn


def test_retries_try_a_failing_task_again() -> None:
    run = compile_flow(one(failing_first(2), retries=2)).run()
    assert run.results == {"t": "attempt 3"}
    assert run.tasks["t"].attempts == 3


def test_retries_that_do_not_suffice_surface_the_last_error() -> None:
    with pytest.raises(ConnectionError, match="attempt 2"):
        execute(one(failing_first(9), retries=1))


def test_without_retries_a_task_is_tried_once() -> None:
    with pytest.raises(ConnectionError, match="attempt 1"):
        execute(one(failing_first(1)))


def test_retries_are_prefects_own() -> None:
    from prefect.context import TaskRunContext

    seen: list[Any] = []

    def look() -> None:
        context = TaskRunContext.get()
        assert context is not None
        seen.append((context.task.retries, context.task_run.run_count))
        if len(seen) < 3:
            raise ConnectionError

    execute(one(look, retries=4, retry_delay_s=0.001))
    assert seen == [(4, 1), (4, 2), (4, 3)]


def test_retry_delay_is_prefects_own() -> None:
    from prefect.context import TaskRunContext

    seen: list[Any] = []

    def look() -> None:
        context = TaskRunContext.get()
        assert context is not None
        seen.append(context.task.retry_delay_seconds)

    execute(one(look, retries=1, retry_delay_s=7))
    assert seen in ([7], [[7]], [[7.0]])


# Assets


def asset_lines(caplog: pytest.LogCaptureFixture, spec: FlowSpec, **params: Any) -> list[str]:
    with caplog.at_level(logging.INFO, logger="mxm.pipeline"):
        compile_flow(spec).run(params)
    return [m for m in caplog.messages if m.startswith("ASSET")]


def test_asset_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    spec = one(lambda: 1, produces=AssetDecl("prices/daily"))
    assert asset_lines(caplog, spec) == ["ASSET write prices/daily"]


@pytest.mark.parametrize(
    ("runtime", "flow", "task", "expected"),
    [
        ({"day": "run"}, {"day": "flow"}, {"day": "task"}, "run"),
        ({}, {"day": "flow"}, {"day": "task"}, "flow"),
        ({}, {}, {"day": "task"}, "task"),
        ({}, {}, {}, "default"),
    ],
)
def test_asset_line_names_the_partition_by_the_merged_parameter(
    caplog: pytest.LogCaptureFixture,
    runtime: dict[str, Any],
    flow: dict[str, Any],
    task: dict[str, Any],
    expected: str,
) -> None:
    def fn(day: str = "default") -> str:
        return day

    asset = AssetDecl("prices/daily", partition_key="day")
    lines = asset_lines(caplog, one(fn, flow, params=task, produces=asset), **runtime)
    assert lines == [f"ASSET write prices/daily partition=day:{expected}"]


def test_asset_line_names_the_partition_also_where_no_function_takes_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asset = AssetDecl("prices/daily", partition_key="day")
    lines = asset_lines(caplog, one(lambda: 1, produces=asset), day="2024-01-02")
    assert lines == ["ASSET write prices/daily partition=day:2024-01-02"]


def test_asset_line_names_the_partition_by_what_a_flows_body_passes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    import mxm

    @mxm.task(produces=AssetDecl("prices/daily", partition_key="day"))
    def load(day: str) -> str:
        return day

    @mxm.flow
    def daily(date: str = "2024-01-02"):
        return load(date)

    expected = ["ASSET write prices/daily partition=day:2024-01-02"]
    assert asset_lines(caplog, daily.spec) == expected


def test_asset_line_has_no_partition_where_nothing_gives_it_a_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asset = AssetDecl("prices/daily", partition_key="day")
    assert asset_lines(caplog, one(lambda: 1, produces=asset)) == ["ASSET write prices/daily"]


def test_asset_of_a_failed_task_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    spec = one(failing_first(9), produces=AssetDecl("prices/daily"))
    assert asset_lines(caplog, spec) == []


def test_asset_is_logged_once_after_retries(caplog: pytest.LogCaptureFixture) -> None:
    spec = one(failing_first(2), retries=2, produces=AssetDecl("prices/daily"))
    assert asset_lines(caplog, spec) == ["ASSET write prices/daily"]


def test_asset_declaration_has_the_runbooks_defaults() -> None:
    asset = AssetDecl("prices/daily")
    assert (asset.partition_key, asset.format, asset.path_template) == (None, "parquet", None)


def test_flow_has_no_schedule_unless_given() -> None:
    assert FlowSpec("f").schedule_cron is None
    assert FlowSpec("f", schedule_cron="0 18 * * 1-5").schedule_cron == "0 18 * * 1-5"


# Compilation validates


def refused(*tasks: TaskSpec) -> str:
    with pytest.raises(ValueError) as caught:
        compile_flow(FlowSpec("f", tasks))
    return str(caught.value)


def test_compilation_finds_duplicate_task_names() -> None:
    told = refused(TaskSpec("same", lambda: 1), TaskSpec("same", lambda: 2))
    assert "duplicate task name 'same'" in told


def test_compilation_finds_unknown_upstreams() -> None:
    told = refused(TaskSpec("load", lambda: 1), TaskSpec("b", lambda x: x, upstream=["laod"]))
    assert "unknown upstream 'laod' of task 'b'" in told
    assert "did you mean 'load'?" in told


def test_compilation_finds_cycles() -> None:
    told = refused(
        TaskSpec("a", lambda x: x, upstream=["b"]), TaskSpec("b", lambda x: x, upstream=["a"])
    )
    assert "cycle: a -> b -> a" in told


def test_compilation_finds_incompatible_signatures() -> None:
    told = refused(TaskSpec("a", lambda: 1), TaskSpec("b", lambda: 2, upstream=["a"]))
    assert "task 'b'" in told
    assert "signature" in told


def test_compilation_runs_nothing() -> None:
    ran: list[int] = []
    compile_flow(one(lambda: ran.append(1)))
    assert ran == []


# Failures


def test_failing_task_surfaces_from_execute_flow_with_partial_results() -> None:
    def fails(rows: int) -> None:
        raise ValueError("bad row")

    spec = FlowSpec(
        "f",
        [
            TaskSpec("load", lambda: 1),
            TaskSpec("check", fails, upstream=["load"]),
            TaskSpec("report", lambda x: x, upstream=["check"]),
            TaskSpec("beside", lambda: 2),
        ],
    )
    with pytest.raises(ValueError, match="bad row") as caught:
        execute(spec)
    run = caught.value.mxm_run  # type: ignore[attr-defined]
    assert run.results == {"load": 1, "beside": 2}
    assert {name: str(task.state) for name, task in run.tasks.items()} == {
        "load": "succeeded",
        "check": "failed",
        "report": "skipped",
        "beside": "succeeded",
    }
    assert any("task 'check' of flow 'f'" in note for note in caught.value.__notes__)


def test_logging_in_task_functions_is_seen(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="analyst"):
        execute(one(lambda: logging.getLogger("analyst").info("100 rows")))
    assert "100 rows" in caplog.messages


def test_prefects_logging_is_shown_on_request_only(example: Path) -> None:
    line = ("run", "example", "-p", "limit=1", "-p", "mode=fast")
    assert "prefect" not in call(*line, cwd=example).err.lower()
    asked = call(*line, "-vv", cwd=example)
    assert "prefect" in asked.err.lower() or "flow run" in asked.err.lower()
    assert json.loads(asked.out)["report"] == "1 rows, fast"


def test_build_prefect_flow_gives_a_prefect_flow_to_look_at() -> None:
    import prefect

    flow = build_prefect_flow(one(lambda limit=3: limit))
    assert isinstance(flow, prefect.Flow)
    assert flow.name == "one"
    assert "limit" in flow.parameters.properties


def test_execute_prefect_flow_runs_what_was_built() -> None:
    flow = build_prefect_flow(one(lambda limit=3: limit))
    assert execute_prefect_flow(flow, {"limit": 100}) == {"t": 100}
    assert execute_prefect_flow(flow, {}) == {"t": 3}


# A new backend


def test_backend_of_another_distribution_compiles_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        from mxm.pipeline.adapters.inline_adapter import InlineFlow

        class Mine(InlineFlow):
            backend = "mine"
        """
    write(
        tmp_path,
        {
            "my_backend.py": text,
            "mine-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n",
            "mine-1.0.dist-info/entry_points.txt": "[mxm.backends]\nmine = my_backend:Mine\n",
        },
    )
    monkeypatch.syspath_prepend(tmp_path)
    compiled = compile_flow(one(lambda: 1), backend="mine")
    assert isinstance(compiled, MXMFlow)
    assert (compiled.backend, execute_flow(compiled)) == ("mine", {"t": 1})


def test_unknown_backend_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="unknown backend 'prefct'"):
        compile_flow(one(lambda: 1), backend="prefct")


# Development


def test_no_extra_names_the_project_itself() -> None:
    # Poetry takes no package that depends on itself: `poetry install -E prefect` would fail.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [name for extra in project["optional-dependencies"].values() for name in extra]
    assert wanted
    assert not [name for name in wanted if name.startswith(project["name"])]


def test_make_check_is_lint_type_and_test() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    [check] = [line for line in lines if line.startswith("check:")]
    assert set(check.removeprefix("check:").split()) == {"lint", "type", "test"}
    text = "\n".join(lines)
    for tool in ("ruff check", "pyright", "pytest"):
        assert tool in text
