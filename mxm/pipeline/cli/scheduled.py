"""A flow's schedule for the verbs that show it or pass it on: fields, zone, next times."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime

from mxm.pipeline.errors import PipelineError
from mxm.pipeline.params.declared import parameters_of
from mxm.pipeline.problems import Problem
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.timing.cron import Cron, CronError, parse_cron
from mxm.pipeline.timing.zones import local_zone, zone_named

__all__ = ["Schedule", "command_line", "moment_text", "require_complete", "schedule_of"]


@dataclass(frozen=True)
class Schedule:
    """When a flow runs.

    Parameters
    ----------
    cron
        The fields.
    timezone
        The IANA name of the zone they are read in.
    of_machine
        Whether it is this machine's, because nothing names a zone.
    """

    cron: Cron
    timezone: str
    of_machine: bool = False

    def next_times(self, count: int = 5) -> list[datetime]:
        """The next *count* times from now, in the schedule's zone."""
        return self.cron.next_times(zone_named(self.timezone), datetime.now(UTC), count)

    def __str__(self) -> str:
        whose = ", this machine's zone" if self.of_machine else ""
        return f"{self.cron.text} in {self.timezone}{whose}"


def schedule_of(
    spec: FlowSpec, cron: str | None = None, timezone: str | None = None
) -> Schedule | None:
    """The schedule of *spec*, or None if it has none.

    Parameters
    ----------
    spec
        The flow.
    cron, timezone
        Values from the command line, which replace the flow's.

    Raises
    ------
    PipelineError
        It is invalid.
    """
    text = spec.schedule_cron if cron is None else cron
    if text is None:
        return None
    try:
        fields = parse_cron(text)
    except CronError as error:
        problem = Problem(error.code, f"schedule {error.message}", error.hint, source=spec.source)
        raise PipelineError(str(problem)) from None
    name = spec.timezone if timezone is None else timezone
    if name is not None:
        return Schedule(fields, zone_named(name).key)
    name = local_zone()
    if name is None:
        raise PipelineError(
            "this machine's time zone has no name, and the schedule names none",
            hint="@mxm.flow(timezone='Europe/London')",
        )
    return Schedule(fields, name, of_machine=True)


def moment_text(time: datetime) -> str:
    """*time* in the form that `show` prints: ``Mon 30 Nov 2026 18:00 GMT``."""
    return time.strftime("%a %d %b %Y %H:%M %Z")


def require_complete(spec: FlowSpec, params: frozenset[str] = frozenset()) -> None:
    """Reject a flow that needs parameters, because a schedule gives none.

    Raises
    ------
    PipelineError
        A parameter has no value.
    """
    missing = [p.name for p in parameters_of(spec) if p.required and p.name not in params]
    if missing:
        names = ", ".join(map(repr, missing))
        raise PipelineError(
            f"flow {spec.name!r} needs {names}, and a schedule gives no parameters",
            hint="give defaults in the flow's signature",
        )


def command_line() -> list[str]:
    """The words that start this command from anywhere: those of its script, or of Python."""
    beside = os.path.join(os.path.dirname(sys.executable), "mxm-pipeline")
    if os.access(beside, os.X_OK):
        return [beside]
    return [sys.executable, "-m", "mxm.pipeline.cli.main"]
