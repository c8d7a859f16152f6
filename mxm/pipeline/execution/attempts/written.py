"""Assets that a step wrote, or was to write: as data, log lines, events and warnings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from mxm.pipeline.errors import AssetCheckError
from mxm.pipeline.execution.events import AssetWritten, Observers
from mxm.pipeline.execution.plans.plan import Step
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.logs import logger
from mxm.pipeline.taskruns import TaskRun, WrittenAsset

__all__ = ["announce", "asset_warnings", "declared_only", "rejected_asset"]

# Marks the records that observers get as events.
_EVENT = {"mxm_event": True}


def announce(
    observers: Observers,
    step: str,
    asset: WrittenAsset,
    at: datetime | None,
    item: str | None = None,
) -> None:
    """Log that *step*, or its *item*, wrote *asset*, and tell the observers."""
    partition = f" partition={asset.partition}" if asset.partition else ""
    logger.info("ASSET write %s%s", asset.id, partition, extra=_EVENT)
    if observers:
        observers.notify(AssetWritten(observers.run, at or datetime.now(UTC), step, asset, item))


def asset_warnings(task: TaskRun) -> Iterator[Problem]:
    """The warnings about assets that *task* and its items wrote, each once."""
    items = task.items.values() if task.items is not None else ()
    assets = [task.asset, *(item.asset for item in items)]
    problems = [problem for asset in assets if asset for problem in asset.problems]
    yield from {problem.message: problem for problem in problems}.values()


def declared_only(step: Step) -> WrittenAsset | None:
    """The asset of *step* that its function writes by itself, if at all: it has no path."""
    declared = step.task.produces
    if declared is None or declared.path_template is not None:
        return None
    return WrittenAsset(declared.id, step.partition)


def rejected_asset(step: Step, error: BaseException) -> WrittenAsset | None:
    """What the checks of the asset of *step* said, if they raised *error*: nothing is written."""
    declared = step.task.produces
    if declared is None or not isinstance(error, AssetCheckError):
        return None
    return WrittenAsset(declared.id, error.partition, checks=error.results)
