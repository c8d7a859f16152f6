"""What differs between two recorded runs: parameters, code, versions, results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mxm.pipeline.store.code import changes_between
from mxm.pipeline.store.database import Database
from mxm.pipeline.store.history import read_document, tasks_of
from mxm.pipeline.values.jsonvalue import JSONValue

__all__ = ["Difference", "differences"]

_MOST_PATHS = 5


class Difference(NamedTuple):
    """One thing that differs.

    Parameters
    ----------
    kind
        ``run``, ``parameter``, ``code``, ``version``, ``task`` or ``result``.
    name
        What differs.
    before, after
        As JSON; None if there is none.
    note
        In words, if there is more to say.
    """

    kind: str
    name: str
    before: Any
    after: Any
    note: str | None = None


def differences(
    database: Database, one: Mapping[str, Any], other: Mapping[str, Any]
) -> list[Difference]:
    """The differences between two runs, the most important first."""
    if one["id"] == other["id"]:
        return []
    changes = [
        Difference("run", name, one[name], other[name])
        for name in ("flow", "state", "backend", "runner", "workers", "host", "overridden")
        if one[name] != other[name]
    ]
    changes += _parameters(_rows(one["params"]), _rows(other["params"]))
    changes += _code(database, one, other)
    before, after = _object(one["versions"]), _object(other["versions"])
    changes += [Difference("version", name, a, b) for name, a, b in _changed(before, after)]
    changes += _tasks(tasks_of(database, one), tasks_of(database, other))
    return changes


def _rows(text: str | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(text or "[]")
    return rows


def _object(text: str | None) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(text or "{}")
    return parsed


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in {**before, **after}:
        if before.get(name) != after.get(name) or (name in before) != (name in after):
            yield name, before.get(name), after.get(name)


def _parameters(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> Iterator[Difference]:
    one, other = ({p["name"]: p for p in rows} for rows in (before, after))
    for name in {**one, **other}:
        first, second = one.get(name), other.get(name)
        if first is None or second is None or first["value"] != second["value"]:
            old, new = (None if p is None else p["value"] for p in (first, second))
            missing = "missing" if first is None else "gone" if second is None else None
            yield Difference("parameter", name, old, new, missing)
        elif first["secret"] and first["value"] is not None:  # masked: both were set
            yield Difference(
                "parameter", name, first["value"], second["value"], "a secret: it may differ"
            )


def _code(
    database: Database, one: Mapping[str, Any], other: Mapping[str, Any]
) -> Iterator[Difference]:
    first, second = _object(one["git"]), _object(other["git"])
    if first.get("commit") != second.get("commit"):
        yield Difference("code", "git commit", first.get("commit"), second.get("commit"))
    if first.get("dirty") or second.get("dirty"):
        note = "files differed from the commit"
        yield Difference("code", "git", _dirty(first), _dirty(second), note)
    defined = [_definition(database, row) for row in (one, other)]
    before, after = ({t["name"]: t for t in _tasks_in(each)} for each in defined)
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if not before or not after:  # not recorded
            break
        if old is None or new is None:
            yield Difference(
                "code", name, old and old["source"], new and new["source"],
                "a new task" if old is None else "a task that no longer exists",
            )  # fmt: skip
            continue
        parts = (("signature", "signature"), ("upstream", "upstreams"), ("after", "order"))
        what = [f"its {words}" for key, words in parts if old[key] != new[key]]
        changes: list[str] = []
        if old["code"] != new["code"]:
            changes = changes_between(defined[0], old, defined[1], new)
            if not changes and "items" in old and "items" in new:
                what.insert(0, "its function")
        if what:
            changes.append(f"changed: {', '.join(what)}")
        if changes:
            yield Difference("code", name, old["source"], new["source"], "; ".join(changes))
    files = [read_document(database, row["sources"]) for row in (one, other)]
    if all(isinstance(each, dict) for each in files):
        for name, old, new in _changed(*files):
            words = "changed" if old and new else "only in the second run" if new else (
                "only in the first run"
            )  # fmt: skip
            yield Difference("code", name, old, new, f"file {words}")


def _definition(database: Database, row: Mapping[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = read_document(database, row["definition"]) or {}
    return document


def _tasks_in(definition: Mapping[str, Any]) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = definition.get("tasks", [])
    return tasks


def _dirty(git: Mapping[str, Any]) -> str:
    dirty = git.get("dirty")
    return "not known" if dirty is None else "changed" if dirty else "clean"


def _tasks(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> Iterator[Difference]:
    one, other = ({t["name"]: t for t in rows} for rows in (before, after))
    for name in {**one, **other}:
        first, second = one.get(name), other.get(name)
        states = [None if t is None else t["state"] for t in (first, second)]
        if states[0] != states[1]:
            yield Difference("task", name, states[0], states[1], _why(first, second))
        elif first is not None and second is not None:
            yield from _results(name, first, second)


def _why(*tasks: Mapping[str, Any] | None) -> str | None:
    """Why a task failed or was skipped, in the run in which it did."""
    for task in tasks:
        if task is not None and task["error"]:
            return f"{task['error']['type']}: {task['error']['message']}".partition("\n")[0]
        if task is not None and task["reason"]:
            return str(task["reason"])
    return None


def _results(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Difference]:
    if one["error"] and other["error"]:
        if one["error"]["message"] != other["error"]["message"]:
            yield Difference("task", name, one["error"]["message"], other["error"]["message"])
        return
    if one["value"] is not None and one["value"] == other["value"]:
        return
    paths = list(_unequal(one["result"], other["result"], ""))
    for path, old, new in paths[:_MOST_PATHS]:
        more = len(paths) - _MOST_PATHS
        last = path == paths[_MOST_PATHS - 1][0] if more > 0 else False
        yield Difference(
            "result", name + path, old, new, f"and {more:,} more places" if last else None
        )
    if not paths and (one["lost"] != other["lost"] or not _is_whole(one["result"])):
        note = "shown the same, but its bytes differ: it may differ beyond what is shown"
        if one["value"] is None or other["value"] is None:
            note = "shown the same; a value that was not kept may differ beyond what is shown"
        yield Difference("result", name, one["result"], other["result"], note)


def _unequal(one: JSONValue, other: JSONValue, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ, with the values there."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            yield from _unequal(one.get(key), other.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            yield f"{path} (length)", len(one), len(other)
        for index, (a, b) in enumerate(zip(one, other, strict=False)):
            yield from _unequal(a, b, f"{path}[{index}]")
    elif one != other or type(one) is not type(other):
        yield path, one, other


def _is_whole(result: JSONValue) -> bool:
    """Whether a result in JSON shows the whole value: no part of it is only described."""
    if isinstance(result, dict):
        described = "type" in result and bool({"repr", "shape", "columns"} & result.keys())
        return not described and all(map(_is_whole, result.values()))
    return not isinstance(result, list) or all(map(_is_whole, result))
