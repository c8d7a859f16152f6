"""Runs a flow with the standard library alone: the reference of what a run means."""

from __future__ import annotations

import time

from mxm.pipeline.execution.call import Call
from mxm.pipeline.execution.cancellation import CompiledFlow, Course
from mxm.pipeline.runs import FlowRun, TaskRun

__all__ = ["InlineFlow"]


class InlineFlow(CompiledFlow):
    """A flow compiled for this process and no engine; an ``MXMFlow``."""

    backend = "inline"

    def _run(self, course: Course) -> FlowRun:
        return course.drive(perform)


def perform(call: Call) -> TaskRun:
    """Attempt *call* until it succeeds or its retries are used up."""
    while True:
        try:
            call.attempt()
        except Exception:  # kept by the call
            delay = call.retry_in()
            if delay is not None:
                time.sleep(delay)
                continue
        return call.ended()
