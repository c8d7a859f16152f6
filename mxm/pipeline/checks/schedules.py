"""Checks a flow's schedule: its five fields, and the time zone they are read in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mxm.pipeline.errors import PipelineError
from mxm.pipeline.problems import Problem
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.timing.cron import CronError, parse_cron
from mxm.pipeline.timing.zones import doubt, zone_named

__all__ = ["schedule_problems"]


def schedule_problems(spec: FlowSpec) -> Iterator[Problem]:
    """What is wrong with the schedule of *spec*."""

    def problem(code: str, what: str, hint: str | None) -> Problem:
        said = f"flow {spec.name!r}: {what}"
        return Problem(code, said, hint, source=spec.source, flow=spec.name)

    if spec.schedule_cron is not None:
        try:
            parse_cron(spec.schedule_cron)
        except CronError as error:
            yield problem(error.code, f"schedule_cron {error.message}", error.hint)
    if spec.timezone is not None:
        try:
            zone_named(spec.timezone)
        except PipelineError as error:
            yield problem("MXM931", error.message, error.hint)
            return
        odd = doubt(spec.timezone)
        if odd is not None:
            yield replace(problem("MXM934", f"timezone {odd[0]}", odd[1]), severity="warning")
