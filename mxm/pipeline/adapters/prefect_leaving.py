"""What a deployed run takes from its server and leaves there: secrets, lines of logs, results."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from prefect.context import FlowRunContext
from prefect.exceptions import FailedRun

from mxm.pipeline.errors import BackendError, described
from mxm.pipeline.execution.events import Event, Observer, OutputLine, Warned
from mxm.pipeline.execution.tracebacks import users_traceback
from mxm.pipeline.params.declared import secret_names
from mxm.pipeline.process.logs import logger
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.values.conversion import Sourced, Text

__all__ = [
    "Carried",
    "REFERENCE",
    "dereferenced",
    "keep_results",
    "lines_to_server",
    "mask_with",
    "masked",
    "speak_plainly",
]

REFERENCE = r"^@(env:[A-Za-z_][A-Za-z0-9_]*|block:[a-z0-9][a-z0-9-]*)$"
"""What replaces a secret on a server: a variable of the worker, or one of Prefect's blocks."""

_MOST = 400_000  # characters of an artifact
_TASKS, _FLOWS = logging.getLogger("prefect.task_runs"), logging.getLogger("prefect.flow_runs")


class Carried(Exception):  # noqa: N818 - wraps another
    """Carries an exception that Prefect itself would fail on, or that has a secret in its text."""

    def __init__(self, error: Exception) -> None:
        super().__init__(masked(described(error)))
        self.error = error


def speak_plainly() -> None:
    """Let Prefect log a failure once, with the user's part of its traceback, and no secret.

    A failed run ends with the state Failed and its message, which Prefect logs. Then it raises what
    stands for this state, and logs that twice more, as a fault of its engine.
    """
    for log in (_TASKS, _FLOWS, logging.getLogger("prefect.engine"), logger):
        log.addFilter(_plain)


def _plain(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, FailedRun):
        return False
    if error is not None:
        raised = error.error if isinstance(error, Carried) else error
        record.exc_info, record.exc_text = None, masked(users_traceback(raised))
    text = record.getMessage()
    if masked(text) != text:
        record.msg, record.args = masked(text), ()
    return True


def masked(text: str) -> str:
    """*text* without the secrets of the run; the process of a deployed run has no other."""
    return _mask(text)


_mask: Callable[[str], str] = str


def mask_with(mask: Callable[[str], str]) -> None:
    """Let `masked` hide what *mask* hides."""
    global _mask
    _mask = mask


def dereferenced(spec: FlowSpec, params: Mapping[str, Any]) -> dict[str, Any]:
    """*params* with the secrets that its references stand for, read where the run is.

    Raises
    ------
    BackendError
        A secret is in plain text, or its reference leads nowhere. The message has no value.
    """
    secrets = secret_names(spec)
    return {k: _secret(k, v) if k in secrets else v for k, v in params.items()}


def _secret(name: str, value: Any) -> Any:
    if value is None or hasattr(value, "get_secret_value"):
        return value
    if not isinstance(value, str) or not re.match(REFERENCE, value):
        raise BackendError(
            f"parameter {name!r} is a secret, and a deployment stores no secret as plain text",
            hint="@env:NAME, a variable of the worker; or @block:NAME, a Secret block of Prefect",
        )
    kind, _, place = value.removeprefix("@").partition(":")
    if kind == "env":
        if place not in os.environ:
            raise BackendError(
                f"parameter {name!r}: environment variable {place} is not set on the worker",
                hint=f"set {place} for the worker, or in the work pool",
            )
        return Sourced(Text(os.environ[place]), f"the variable {place}")
    from prefect.blocks.system import Secret

    blocks: Any = Secret
    try:
        loaded = blocks.load(place)
    except Exception as error:  # the server's, and the block's own
        raise BackendError(
            f"parameter {name!r}: the Secret block {place!r} cannot be read: {described(error)}"
        ) from None
    return Sourced(Text(str(loaded.get())), f"the Secret block {place}")


def lines_to_server(ids: Mapping[str, UUID]) -> Observer:
    """An observer that sends what tasks print and log to the logs of their runs at the server.

    Parameters
    ----------
    ids
        The id of each step's task run.
    """
    context = FlowRunContext.get()
    run: Any = context.flow_run if context else None
    of_flow = {
        "flow_run_id": str(run.id) if run else None,
        "flow_run_name": run.name if run else "",
        "flow_name": context.flow.name if context and context.flow else "",
    }

    def observe(event: Event) -> None:
        if isinstance(event, Warned):
            _FLOWS.warning("%s", event.problem, extra=of_flow)
        elif isinstance(event, OutputLine) and not event.is_bar:
            # Prefect's own loggers send their lines themselves.
            level = logging.INFO if event.level is None else event.level
            item = f"[{event.item}] " if event.item is not None else ""
            of_task = {
                **of_flow,
                "task_run_id": str(ids[event.step]),
                "task_run_name": event.step,
                "task_name": event.step,
            }
            _TASKS.log(level, "%s%s", item, masked(event.text), extra=of_task)

    return observe


def keep_results(flow: str, run: FlowRun) -> None:
    """Show the JSON of *run* as an artifact ``<flow>-results`` at the server.

    It outlives the worker, and none of it is pickled. If it cannot be made, the run continues with
    a warning in its logs.
    """
    from prefect.artifacts import create_markdown_artifact

    key = re.sub(r"[^a-z0-9]+", "-", flow.lower()).strip("-") or "flow"
    shown, left_out, size = dict[str, Any](), list[str](), 0
    for name, result in run.results.items():
        size += len(json.dumps(result, ensure_ascii=False))
        if size > _MOST:
            left_out.append(name)
        else:
            shown[name] = result
    text = f"```json\n{json.dumps(shown, indent=2, ensure_ascii=False)}\n```"
    if left_out:
        text += f"\n\nToo large to be shown: {', '.join(left_out)}"
    try:
        made: Any = create_markdown_artifact
        made(key=f"{key}-results", markdown=text, description=f"results of {flow} by task")
    except Exception as error:  # the server's, or the connection's
        run_of = FlowRunContext.get()
        extra = {"flow_run_id": str(run_of.flow_run.id) if run_of and run_of.flow_run else None}
        extra |= {"flow_run_name": "", "flow_name": flow}
        _FLOWS.warning("the results are not kept at the server: %s", described(error), extra=extra)
