"""Runs a flow with the standard library alone: the reference of what a run means."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mxm.pipeline.adapters.base import RunOptions
from mxm.pipeline.adapters.calls import Call
from mxm.pipeline.adapters.execution import drive
from mxm.pipeline.jsonvalue import JSONValue
from mxm.pipeline.plan import make_plan
from mxm.pipeline.runs import FlowRun, TaskRun
from mxm.pipeline.spec import FlowSpec

__all__ = ["InlineFlow"]


class InlineFlow:
    """A flow compiled for this process and no engine; an ``MXMFlow``."""

    backend = "inline"

    def __init__(self, spec: FlowSpec, options: RunOptions | None = None) -> None:
        self.spec = spec
        self.name: str = spec.name
        self.options: RunOptions = options or RunOptions()

    def run(
        self, params: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> FlowRun:
        """Run the flow; a failed task does not raise. See `mxm.pipeline.api.MXMFlow`."""
        chosen = replace(self.options, **(options or {}))
        plan = make_plan(self.spec, params or {}, strict_params=chosen.strict_params)
        return drive(plan, perform, chosen)

    def execute(
        self, params: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> dict[str, JSONValue]:
        """Run the flow and raise for its failure. See `mxm.pipeline.api.MXMFlow`."""
        return self.run(params, options).raise_for_failure().results


def perform(call: Call) -> TaskRun:
    """Attempt *call* until it succeeds or its retries are used up."""
    task = call.step.task
    while True:
        try:
            call.attempt()
        except Exception:  # kept by the call
            if call.attempts <= task.retries and call.retryable():
                time.sleep(task.retry_delay(call.attempts))
                continue
        return call.ended()
