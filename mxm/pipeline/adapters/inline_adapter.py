"""Runs a flow with only the standard library: the reference for how a run behaves."""

from __future__ import annotations

import time

from mxm.pipeline.execution.attempts.call import Call
from mxm.pipeline.execution.attempts.carriers import Wait, Waits
from mxm.pipeline.execution.cancellation import CompiledFlow, Course
from mxm.pipeline.runs import FlowRun, TaskRun

__all__ = ["InlineFlow"]

__tracebackhide__ = True  # pytest shows the lines of the test and of its tasks, not these


class InlineFlow(CompiledFlow):
    """A flow compiled to run in this process without an engine; an ``MXMFlow``."""

    backend = "inline"

    def _run(self, course: Course) -> FlowRun:
        return course.drive(perform, perform_awaited)


def perform(call: Call) -> TaskRun:
    """Call *call* until it succeeds or has no retries left."""
    while True:
        try:
            call.attempt()
        except Exception:  # kept by the call
            delay = call.retry_in()
            if delay is not None:
                time.sleep(delay)
                continue
        return call.ended()


def perform_awaited(call: Call) -> Waits[TaskRun]:
    """Do what `perform` does, on no thread while an attempt or a delay is awaited."""
    while True:
        try:
            yield from call.attempt_awaited()
        except Exception:  # kept by the call
            delay = call.retry_in()
            if delay is not None:
                yield Wait.of(delay)
                continue
        return call.ended()
