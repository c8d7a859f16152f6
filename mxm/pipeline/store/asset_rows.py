"""Rows for the assets that a run writes and for their checks, without secrets."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mxm.pipeline.assets.remote import is_url
from mxm.pipeline.errors import AssetCheckError
from mxm.pipeline.execution.events import AssetWritten
from mxm.pipeline.execution.masking import Secrets
from mxm.pipeline.execution.plans.plan import Plan
from mxm.pipeline.spec import TaskSpec
from mxm.pipeline.store.database import Statement
from mxm.pipeline.taskruns import ItemRun, TaskRun, iso_time
from mxm.pipeline.values.assets import WrittenAsset

__all__ = ["AssetRows", "code_known"]


class AssetRows:
    """The rows of the assets of one run.

    Parameters
    ----------
    run
        Its id.
    plan
        Its plan.
    secrets
        What no row may contain.
    root
        The project's root.
    store
        The folder of the store.
    code
        Returns the digest of the code behind the asset of a task; None while it is not known.
    """

    def __init__(
        self,
        run: str,
        plan: Plan,
        secrets: Secrets,
        root: str,
        store: str,
        code: Callable[[str], str | None],
    ) -> None:
        self._run = run
        self._flow = plan.flow.name
        self._tasks = {task.name: task for task in plan.flow.tasks}
        self._secrets = secrets
        self._root = root
        self._store = store
        self._code = code

    def written(self, event: AssetWritten) -> list[Statement]:
        """An asset that a step or an item wrote."""
        task = self._tasks[event.step]
        return _statements(
            self._run,
            self._flow,
            task,
            self._masked(event.asset),
            item=self._key(event.item),
            at=event.at,
            root=self._root,
            store=self._store,
            code=self._code(task.name),
        )

    def rejected(self, step: str, ended: TaskRun | ItemRun, item: str | None) -> list[Statement]:
        """The failed checks that prevented an asset from being written."""
        error, declared = ended.error, self._tasks[step].produces
        if not isinstance(error, AssetCheckError) or declared is None:
            return []
        asset = WrittenAsset(declared.id, error.partition, checks=error.results)
        at = ended.ended or datetime.now(UTC)
        return _checks(self._run, self._masked(asset), step, self._key(item), at)

    def _masked(self, asset: WrittenAsset) -> WrittenAsset:
        checks = [replace(each, message=self._text(each.message)) for each in asset.checks]
        reads = [
            replace(each, partition=self._text(each.partition), content=self._text(each.content))
            for each in asset.reads
        ]
        partition = self._text(asset.partition)
        return replace(asset, partition=partition, checks=tuple(checks), reads=tuple(reads))

    def _text(self, text: str | None) -> str | None:
        return self._secrets.masked(text) if text else text

    def _key(self, item: str | None) -> str | None:
        return self._secrets.masked_key(item) if item else item


def code_known(run: str, codes: Mapping[str, str]) -> list[Statement]:
    """Set the *codes* behind assets, by task, in rows that *run* wrote before they were known."""
    sql = "UPDATE materialisation SET code = ? WHERE run = ? AND task = ? AND code IS NULL"
    return [(sql, (code, run, task)) for task, code in codes.items()]


def _statements(
    run: str,
    flow: str,
    task: TaskSpec,
    asset: WrittenAsset,
    *,
    item: str | None,
    at: datetime,
    root: str,
    store: str,
    code: str | None,
) -> list[Statement]:
    """The rows of *asset*, which *task* wrote."""
    declared = task.produces
    modified: int | None = None
    if asset.path is not None and not is_url(asset.path):
        try:
            modified = os.stat(os.path.join(root, *asset.path.split("/"))).st_mtime_ns
        except OSError:  # it is gone already
            modified = None
    own = "" if os.path.dirname(store) == root else root
    when = iso_time(at)
    row: dict[str, Any] = {
        "asset": asset.id,
        "partition": asset.partition,
        "at": when,
        "run": run,
        "flow": flow,
        "task": task.name,
        "item": item,
        "path": asset.path,
        "root": own,
        "format": asset.format,
        "digest": asset.digest,
        "size": asset.size,
        "rows": asset.rows,
        "columns": json.dumps(dict(asset.columns)),
        "levels": json.dumps([list(level) for level in asset.index]),
        "library": asset.library,
        "by": asset.by,
        "upstream": json.dumps(asset.upstream),
        "reads": json.dumps([read.to_dict() for read in asset.reads]),
        "modified": modified,
        "code": code,
    }
    names, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
    made: list[Statement] = [
        (f"INSERT INTO materialisation ({names}) VALUES ({marks})", tuple(row.values()))  # noqa: S608
    ]
    if declared is not None:
        made.append(
            (
                _DECLARED,
                (
                    *(asset.id, flow, task.name, declared.partition_key, declared.format),
                    *(declared.path_template, declared.freshness_s, declared.description),
                    *(json.dumps(asset.upstream), when),
                ),
            )
        )
    return made + _checks(run, asset, task.name, item, at)


_DECLARED = """
INSERT OR REPLACE INTO asset
    (id, flow, task, partition_key, format, path_template, freshness_s, description, upstream, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def _checks(
    run: str, asset: WrittenAsset, task: str, item: str | None, at: datetime
) -> list[Statement]:
    """The rows of the checks of *asset*."""
    return [
        (
            _CHECKED,
            (
                *(asset.id, asset.partition, run, task, item, iso_time(at)),
                *(each.name, each.severity, each.passed, each.message),
            ),
        )
        for each in asset.checks
    ]


_CHECKED = """
INSERT INTO "check"
    (asset, partition, run, task, item, at, name, severity, passed, message)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
