"""Words of Prefect and Airflow: each names what does the same here, which is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from bodies import HEAD, the_problem
from modules import module_of

import mxm
from mxm.pipeline.authoring.tasks import TaskOptions
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.introspection import other_engines


@mxm.task
def load(symbol: str = "SPY") -> str:
    return symbol


@mxm.flow
def risk(symbol: str = "SPY") -> str:
    return load(symbol)


# Of Prefect's @task and @flow, and of Airflow's operators and DAG.
OF_TASKS = {
    "retry_delay_seconds": "retry_delay_s=",
    "retry_delay": "retry_delay_s=",
    "retry_jitter_factor": "retry_delay_s=",
    "retry_condition_fn": "retry_on=",
    "retry_exponential_backoff": r"backoff\(1\)",
    "backoff": r"backoff\(1\)",
    "timeout_seconds": "timeout_s=",
    "execution_timeout": "timeout_s=",
    "task_run_name": r"named\('spy'\)",
    "task_id": "name=",
    "wait_for": "after=",
    "depends_on": "upstream=",
    "op_kwargs": "params=",
    "outlets": "produces=",
    "pool": "limits=",
    "max_active_tis_per_dag": "limits=",
    "concurrency": "limits=",
    "rate_limit": "limits=",
    "multiple_outputs": r"result\['key'\]",
    "log_prints": "is shown",
    "on_completion": "after=",
    "description": "docstring",
    "doc_md": "docstring",
    "tasks": r"option of flows: @mxm\.flow\(tasks=",
    "schedule_cron": r"option of flows: @mxm\.flow\(schedule_cron=",
}
OF_FLOWS = {
    "dag_id": "name=",
    "schedule": "schedule_cron=",
    "schedule_interval": "schedule_cron=",
    "task_runner": "--runner threads",
    "retries": r"option of tasks: @mxm\.task\(retries=",
    "timeout_s": r"option of tasks: @mxm\.task\(timeout_s=",
    "retry_delay_seconds": r"@mxm\.task\(retries=",
    "timeout_seconds": r"@mxm\.task\(timeout_s=",
    "default_args": "each task",
    "log_prints": "is shown",
    "description": "docstring",
    "validate_parameters": "always",
}


@pytest.mark.parametrize(
    ("decorator", "option", "instead"),
    [
        *((mxm.task, option, instead) for option, instead in OF_TASKS.items()),
        *((mxm.flow, option, instead) for option, instead in OF_FLOWS.items()),
    ],
)
def test_an_option_of_another_engine_names_what_does_it_here(
    decorator: Any, option: str, instead: str
) -> None:
    with pytest.raises(TypeError, match=instead) as caught:
        decorator(**{option: None})
    assert f"@mxm.{decorator.__name__} has no option {option!r}: " in str(caught.value)
    assert str(caught.value).count("did you mean") == 0


def test_an_option_for_one_use_knows_the_words_too() -> None:
    with pytest.raises(TypeError, match="use retry_delay_s="):
        load.with_options(retry_delay_seconds=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("task_runner", "use runner="),
        ("max_workers", "use workers="),
        ("retries", "an option of tasks"),
        ("log_prints", "is shown"),
        ("runer", "did you mean 'runner'"),
    ],
)
def test_an_option_of_a_run_knows_the_words_too(option: str, instead: str) -> None:
    with pytest.raises(TypeError, match=f"a run has no option {option!r}: .*{instead}"):
        risk.with_options(**{option: 1})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("word", ["cache_policy", "persist_result"])
def test_an_option_that_is_not_there_is_never_named(word: str) -> None:
    assert other_engines.option_hint("task", word, ["name"]) is None
    assert other_engines.option_hint("task", word, ["name", "cache"]) == "use cache="


def test_every_option_that_a_hint_names_is_one() -> None:
    known = [*TaskOptions.__annotations__, "schedule_cron", "timezone", *RunOptions.__slots__]
    text = Path(other_engines.__file__).read_text("utf-8")
    hints = [*other_engines._TASK_OPTIONS.values(), *other_engines._FLOW_OPTIONS.values()]
    hints += other_engines._RUN_OPTIONS.values()
    hints += [h for table in other_engines._ATTRIBUTES.values() for h in table.values()]
    named = {name for hint in hints for name in re.findall(r"\b(\w+)=", hint)}
    assert {"retry_delay_s", "after", "runner"} <= named <= set(known)
    # What comes with an option stands in the one table that asks whether it is there.
    assert "run_if=" not in text.partition("_IF_THERE")[0]


@pytest.mark.parametrize(
    ("use", "told"),
    [
        ("load.submit", r"task 'load' has no attribute 'submit': call it .*load\(\.\.\.\)"),
        ("load.delay", "has no attribute 'delay': call it"),
        ("load.expand", r"use load\.map\(items\)"),
        ("load.partial", "all arguments in the call"),
        ("load.override", r"load\.with_options\(\.\.\.\)\(\.\.\.\)"),
        ("load.set_upstream", "after="),
        ("risk.submit", r"flow 'risk' has no attribute 'submit': use risk\.run\(\.\.\.\)"),
        ("risk.visualize", "mxm-pipeline graph"),
    ],
)
def test_an_attribute_of_another_engine_names_what_does_it_here(use: str, told: str) -> None:
    with pytest.raises(AttributeError, match=told):
        eval(use)


@pytest.mark.parametrize(
    "use", ["load >> risk", "load << load", "[load] >> load", "load >> [load]"]
)
def test_tasks_are_not_ordered_by_operators(use: str) -> None:
    with pytest.raises(TypeError, match=r"does not support >> and <<: .* after="):
        eval(use)


def test_any_other_attribute_is_answered_as_pythons_are() -> None:
    for made in (load, risk):
        with pytest.raises(
            AttributeError, match=f"'{made.name}' has no attribute 'nmae'$"
        ) as caught:
            made.nmae
        assert caught.value.name == "nmae"  # by which Python looks for the nearest
        assert not hasattr(made, "_repr_html_")
        assert not hasattr(made, "__array__")


@pytest.mark.parametrize(
    ("use", "code", "hint"),
    [
        ("load(x).result()", "MXM301", "pass it on whole"),
        ("load(x).output", "MXM301", "pass it on whole"),
        ("load(x) >> load(1)", "MXM301", "order tasks with after="),
        ("[load(x)] >> load(1)", "MXM301", "order tasks with after="),
        ("load.submit(x)", "MXM302", None),
        ("named(x, wait_for=[load(x)])", "MXM104", "named.with_options(after=...)(...)"),
        ("named(x, return_state=True)", "MXM104", "leave it out"),
    ],
)
def test_words_of_another_engine_in_a_body_are_problems_with_a_way_out(
    use: str, code: str, hint: str | None, tmp_path: Path
) -> None:
    text = f"""{HEAD}
@mxm.task
def named(x):
    return x

@mxm.flow
def risk(x):
    {use}
    return load(x)
"""
    problem = the_problem(module_of(tmp_path, text).risk)
    assert problem.code == code
    assert hint is None or hint in (problem.hint or "")
    if hint is None:
        assert "call it in a flow's body: load(...)" in problem.message


@pytest.mark.parametrize("decorator", [mxm.task, mxm.flow, mxm.resource])
def test_an_option_like_no_other_is_named_without_advice(decorator: Any) -> None:
    with pytest.raises(TypeError, match="has no option 'zzz'") as caught:
        decorator(zzz=1)
    assert "None" not in str(caught.value)


def test_a_run_names_an_option_like_no_other_without_advice() -> None:
    options: Any = risk.with_options
    with pytest.raises(TypeError, match="^a run has no option 'zzz'$"):
        options(zzz=1)
