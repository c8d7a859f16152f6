"""Names from Prefect and Airflow, and their equivalents."""

from __future__ import annotations

from collections.abc import Container

__all__ = ["argument_hint", "attribute_hint", "option_hint"]

_CACHE = (
    *("cache_policy", "cache_key_fn", "cache_expiration", "refresh_cache", "persist_result"),
    *("result_storage", "result_storage_key", "result_serializer", "cache_result_in_memory"),
)
_LIMITS = (
    *("pool", "pool_slots", "max_active_tis_per_dag", "max_active_tis_per_dagrun"),
    *("concurrency_limit", "concurrency_limits", "task_concurrency", "rate_limit"),
)
_BOTH = {
    "log_prints": "leave it out: what a task prints is shown with the task's name",
    "description": "write it as the docstring",
    "doc": "write it as the docstring",
    "doc_md": "write it as the docstring",
    "version": "leave it out: the code is the version",
}
_AFTER = "in the flow's body pass its result on, or order with after="
_TASK_OPTIONS: dict[str, str] = {
    "task_id": "use name=",
    "task_run_name": "use name=, or task.named('spy')(...) for one use",
    "retry_delay_seconds": "use retry_delay_s=",
    "retry_delay": "use retry_delay_s=, in seconds",
    "retry_jitter_factor": "use retry_delay_s=mxm.pipeline.backoff(1), which has jitter",
    "retry_exponential_backoff": "use retry_delay_s=mxm.pipeline.backoff(1)",
    "max_retry_delay": "use retry_delay_s=mxm.pipeline.backoff(1), which takes the longest delay",
    "backoff": "use retry_delay_s=mxm.pipeline.backoff(1)",
    "retry_policy": "use retries=3, retry_delay_s=mxm.pipeline.backoff(1)",
    "retry_condition_fn": "use retry_on=, types of exceptions or a function of the exception",
    "timeout_seconds": "use timeout_s=",
    "execution_timeout": "use timeout_s=, in seconds",
    "wait_for": "use upstream= to take results, after= for order alone",
    "depends_on": "use upstream= to take results, after= for order alone",
    "deps": "use upstream= to take results, after= for order alone",
    "inlets": "use upstream= to take results, after= for order alone",
    "outlets": "use produces=, with an AssetDecl",
    "concurrency": "use limits=",
    "op_args": "pass arguments in the call, or give params=",
    "op_kwargs": "pass arguments in the call, or give params=",
    "multiple_outputs": "take parts in the flow's body: result['key'], or a, b = split(x)",
    **dict.fromkeys(
        ("on_completion", "on_success_callback", "on_execute_callback", "on_running"),
        "write a task with after=this_task",
    ),
}
_FLOW_OPTIONS: dict[str, str] = {
    "dag_id": "use name=",
    "flow_run_name": "leave it out: a run's name comes from its flow and its start time",
    "schedule": "use schedule_cron=",
    "schedule_interval": "use schedule_cron=",
    "timetable": "use schedule_cron=",
    "time_zone": "use timezone=",
    "tz": "use timezone=",
    "timeout_seconds": "timeouts belong to tasks: @mxm.task(timeout_s=...)",
    "retry_delay_seconds": "retries belong to tasks: @mxm.task(retries=..., retry_delay_s=...)",
    "task_runner": "choose it for a run: with_options(runner='threads'), or --runner threads",
    "default_args": "give options to each task, parameters in the flow's signature",
    "validate_parameters": "leave it out: parameters are always checked",
}
_OF_TASKS = "it is an option of tasks: @mxm.task(...), or task.with_options(...)"
_RUN_OPTIONS: dict[str, str] = {
    "task_runner": "use runner=",
    "executor": "use runner=",
    **dict.fromkeys(("max_workers", "n_jobs", "concurrency", "max_active_tasks"), "use workers="),
    **dict.fromkeys(("retries", "retry_delay_seconds", "timeout_seconds", "tags"), _OF_TASKS),
    "flow_run_name": "leave it out: a run's name comes from its flow and its start time",
    "validate_parameters": "leave it out: parameters are always checked",
    "parameters": "give parameters to run(...)",
    "mocks": "use overrides=",
}
# The option that must exist for the sentence to be true, the words, and the sentence.
_IF_THERE: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("cache", _CACHE, "use cache="),
    ("limits", _LIMITS, "use limits="),
    ("run_if", ("trigger_rule",), "use run_if="),
    (
        "run_if",
        ("on_failure", "on_failure_callback"),
        "write a task with after=this_task and run_if='failed'",
    ),
)


def option_hint(kind: str, word: str, known: Container[str]) -> str | None:
    """What to write instead of *word*, an option in Prefect or Airflow; None if unknown.

    Parameters
    ----------
    kind
        ``task`` or ``flow``; ``run`` for an option of a run.
    word
        The option.
    known
        The options that exist here.
    """
    own = {"task": _TASK_OPTIONS, "flow": _FLOW_OPTIONS, "run": _RUN_OPTIONS}[kind]
    for option, words, hint in _IF_THERE:
        if word in words and option in known:
            return hint
    return own.get(word) or _BOTH.get(word)


_IN_PARALLEL = "tasks run in parallel with --runner threads"
_ATTRIBUTES: dict[str, dict[str, str]] = {
    "task": {
        **dict.fromkeys(
            ("submit", "delay", "apply_async", "apply"),
            f"call it in a flow's body: {{name}}(...); {_IN_PARALLEL}",
        ),
        **dict.fromkeys(
            ("map", "starmap", "expand", "expand_kwargs"),
            "use {name}.map(items): the items may be the result of a task",
        ),
        "partial": "give all arguments in the call",
        "override": "use {name}.with_options(...)(...)",
        "s": "call it in a flow's body: {name}(...)",
        "si": "call it in a flow's body: {name}(...)",
        **dict.fromkeys(("set_upstream", "set_downstream", ">>"), _AFTER),
    },
    "flow": {
        **dict.fromkeys(("submit", "delay", "apply_async", "test", "cli"), "use {name}.run(...)"),
        "visualize": "use `mxm-pipeline graph`",
        "outcomes": "only a task has outcomes; in the flow, a task after the one that may fail "
        'can take its failure: run_if="failed" or "always"',
    },
    "value": {
        **dict.fromkeys(
            ("result", "wait", "output", "get"),
            "pass it on whole, because the task gets the result; or use {word!r} inside a task",
        ),
        **dict.fromkeys(("set_upstream", "set_downstream"), _AFTER),
    },
}


def attribute_hint(kind: str, word: str, name: str = "") -> str | None:
    """What to write instead of *word*, an attribute or operator in Prefect, Airflow or Celery.

    Parameters
    ----------
    kind
        The kind of its owner: ``task``, ``flow``, or ``value`` for a result in a flow's body.
    word
        The attribute or operator.
    name
        The Python name of the task or flow.
    """
    hint = _ATTRIBUTES[kind].get(word)
    return None if hint is None else hint.format(name=name, word=word)


_ARGUMENTS: dict[str, str] = {
    "wait_for": "order it by an option: {name}.with_options(after=...)(...)",
    "return_state": "leave it out: no task raises in a run; the run has the state of each",
}


def argument_hint(word: str, name: str) -> str | None:
    """What to write instead of *word*, an argument in Prefect's calls of the task *name*."""
    hint = _ARGUMENTS.get(word)
    return None if hint is None else hint.format(name=name)
