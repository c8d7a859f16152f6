"""The code that the tasks of a run depend on, stored once for all tasks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mxm.pipeline.execution.plans.plan import Plan
from mxm.pipeline.execution.publishing.lineage import tasks_behind
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.store.places import distrust
from mxm.pipeline.values.fingerprint import (
    FileMemory,
    Fingerprints,
    Item,
    differences,
)
from mxm.pipeline.values.fingerprint.items import hash_of

__all__ = ["asset_code", "changes_between", "code_of", "fingerprints_in", "memory_in"]

_MOST = 5
_MEMORY = "fingerprints.json"


def fingerprints_in(store: str, root: str, key: bytes, flow: Any) -> Fingerprints:
    """The fingerprints of a run.

    Parameters
    ----------
    store
        Its folder; what it knows of files is used if nobody else can write to it.
    root
        The project's folder.
    key
        Of the store.
    flow
        The function of the flow; None for one without.
    """
    trusted = os.path.isdir(store) and distrust(store) is None
    memory = memory_in(store) if trusted else None
    return Fingerprints(root, memory, key=key, also=() if flow is None else (flow,))


_memories: dict[str, FileMemory] = {}


def memory_in(store: str) -> FileMemory:
    """What *store*, which nobody else can write to, knows of files; one object per process."""
    path = os.path.realpath(os.path.join(store, _MEMORY))
    return _memories.setdefault(path, FileMemory(path))


def code_of(plan: Plan, prints: Fingerprints) -> tuple[list[dict[str, Any]], list[list[Any]]]:
    """For each task of *plan*, the digest of its code and the indices of its items in a list.

    Returns
    -------
    tuple
        One dict per task (``code``, ``items``); the list of items: label, digest, kind, file, line.
    """
    places: dict[Item, int] = {}
    codes: list[dict[str, Any]] = []
    for task in plan.flow.tasks:
        code = prints.of(task.fn)
        items = [places.setdefault(item, len(places)) for item in code.items]
        codes.append({"code": code.digest, "items": items})
    prints.save()
    return codes, [list(item) for item in places]


def asset_code(spec: FlowSpec, task: TaskSpec, prints: Fingerprints) -> str:
    """The digest of all the code that the asset of *task* depends on, up to other assets.

    That is the code that *task* reaches, helpers, constants and packages included, and that of the
    tasks upstream which write no asset themselves.
    """
    parts: list[str] = []
    for each in tasks_behind(task, {one.name: one for one in spec.tasks}):
        code = prints.of(each.fn)
        parts += [each.name, code.digest, code.at_call()]
    return hash_of(*parts)


def changes_between(
    before: Mapping[str, Any], one: Mapping[str, Any],
    after: Mapping[str, Any], other: Mapping[str, Any],
) -> list[str]:  # fmt: skip
    """How the code of a task changed, in words, without packages, which are recorded separately.

    Parameters
    ----------
    before, after
        The definitions of two flows.
    one, other
        The task in each.
    """
    if "items" not in one or "items" not in other:  # of a version that kept only a digest
        return []
    changed = differences(_items(before, one), _items(after, other))
    said = [str(each) for each in changed if each.kind != "package"]
    if len(said) > _MOST:
        said[_MOST - 1 :] = [f"and {len(said) - _MOST + 1:,} more"]
    return said or [str(each) for each in changed[:_MOST]]


def _items(definition: Mapping[str, Any], task: Mapping[str, Any]) -> list[Item]:
    listed: list[list[Any]] = definition["items"]
    return [Item(*listed[place]) for place in task["items"]]
