"""A run as a trace that Perfetto and Chrome's ``about:tracing`` show."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.views.reported import Report, TaskReport, Tried
from mxm.pipeline.views.run_cards import bound_of_run

__all__ = ["draw_trace"]

_MICRO = 1_000_000


def draw_trace(run: Report) -> str:
    """The attempts of *run* on their workers, as JSON of the Trace Event Format.

    The edges of the critical chain are flows, drawn as arrows.
    """
    events = [*_names(run), *_attempts(run), *_arrows(run)]
    about = {
        "run": run.id,
        "flow": run.flow,
        "state": run.state,
        "started": run.started.isoformat() if run.started else None,
    }
    document = {"traceEvents": events, "displayTimeUnit": "ms", "otherData": about}
    return json.dumps(document, separators=(",", ":")) + "\n"


def _names(run: Report) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "pid": 1, "name": "process_name", "args": {"name": in_one_line(run.flow)}}
    for slot in sorted({task.slot or 0 for task in run.tasks.values() if _calls(task)}):
        name = f"worker {slot}" if slot else "mapped tasks"
        yield {"ph": "M", "pid": 1, "tid": slot, "name": "thread_name", "args": {"name": name}}


def _at(task: TaskReport, seconds: float) -> dict[str, Any]:
    return {"pid": 1, "tid": task.slot or 0, "ts": round(seconds * _MICRO)}


def _calls(task: TaskReport) -> Sequence[Tried]:
    """The attempts of *task*; for a mapped task, whose items have the attempts, the whole."""
    if not task.attempts and task.started is not None and task.ended is not None:
        return [Tried(task.started, task.ended, task.state)]
    return task.attempts


def _attempts(run: Report) -> Iterator[dict[str, Any]]:
    for task in run.tasks.values():
        for number, attempt in enumerate(_calls(task), start=1):
            more = {"error": attempt.error} if attempt.error else {}
            yield {
                "ph": "X",
                "name": in_one_line(task.name),
                "cat": "task",
                **_at(task, attempt.started),
                "dur": round((attempt.ended - attempt.started) * _MICRO),
                "args": {"attempt": number, "state": attempt.state, **more},
            }


def _arrows(run: Report) -> Iterator[dict[str, Any]]:
    bound = bound_of_run(run)
    chain = bound.chain if bound else ()
    for number, (source, target) in enumerate(itertools.pairwise(chain)):
        one, other = run.tasks[source], run.tasks[target]
        if _calls(one) and _calls(other):
            arrow = {"id": number, "name": "critical chain", "cat": "chain"}
            # An arrow leaves from within the last attempt, and ends in the first of the next task.
            last, first = _calls(one)[-1], _calls(other)[0]
            yield {"ph": "s", **arrow, **_at(one, max(last.started, last.ended - 1 / _MICRO))}
            yield {"ph": "f", "bp": "e", **arrow, **_at(other, first.started)}
