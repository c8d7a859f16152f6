"""Which assets are stale, and why: missing, old, changed, or made by other code or inputs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mxm.pipeline.assets.declared import AssetDecl
from mxm.pipeline.assets.reading import ReadAsset
from mxm.pipeline.assets.templates import TemplateError, read_template
from mxm.pipeline.execution.publishing.lineage import made_from
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.store import kept
from mxm.pipeline.store.catalogue import (
    Materialisation,
    declarations,
    history,
    is_there,
    published_of,
)
from mxm.pipeline.store.code import asset_code, fingerprints_in
from mxm.pipeline.store.database import Database
from mxm.pipeline.store.places import root_of
from mxm.pipeline.values.fingerprint import Fingerprints

__all__ = [
    "Declared",
    "Stale",
    "current",
    "declared_in",
    "lacking_in",
    "lineage_of",
    "same_value",
    "stale_in",
]


@dataclass(frozen=True, slots=True)
class Declared:
    """An asset as a flow of the project now declares it.

    Parameters
    ----------
    flow, task
        What writes it.
    upstream
        The assets that it is made from.
    """

    flow: FlowSpec
    task: TaskSpec
    upstream: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stale:
    """An asset, or one partition of it, that is stale.

    Parameters
    ----------
    asset, partition
        What is stale.
    reason
        ``missing``, ``old``, ``code changed``, ``upstream newer`` or ``changed outside``.
    detail
        The reason in words.
    flow
        The flow that writes it.
    """

    asset: str
    partition: str | None
    reason: str
    detail: str
    flow: str

    def to_dict(self) -> dict[str, Any]:
        """The stale asset as plain data."""
        return {
            "asset": self.asset,
            "partition": self.partition,
            "reason": self.reason,
            "detail": self.detail,
            "flow": self.flow,
        }


def declared_in(flows: Iterable[FlowSpec]) -> dict[str, Declared]:
    """The assets that *flows* write, by name; if two flows write one, the first counts."""
    declared: dict[str, Declared] = {}
    for spec in flows:
        tasks = {task.name: task for task in spec.tasks}
        for task in spec.tasks:
            if task.produces is not None:
                upstream = tuple(made_from(task, tasks))
                declared.setdefault(task.produces.id, Declared(spec, task, upstream))
    return declared


def stale_in(
    database: Database | None,
    declared: Mapping[str, Declared],
    *,
    only: str | None = None,
    now: datetime | None = None,
) -> list[Stale]:
    """What is stale, each with the first reason that applies.

    Parameters
    ----------
    database
        The store; None if nothing is recorded.
    declared
        The assets as flows declare them now.
    only
        Only this asset.
    now
        The time; by default now.
    """
    rows = history(database) if database is not None else []
    by_asset: dict[str, list[Materialisation]] = {}
    for row in rows:
        by_asset.setdefault(row.asset, []).append(row)
    codes = None if database is None else _Codes(database.store)
    recorded = declarations(database) if database is not None else {}
    contents = _Contents(by_asset)
    moment = now or datetime.now(UTC)
    stale: list[Stale] = []
    for asset in sorted({*by_asset, *declared}):
        if only is not None and asset != only:
            continue
        made = by_asset.get(asset, [])
        known = declared.get(asset)
        produces = known.task.produces if known else None
        newest = current(made, produces)
        if not newest:
            if known is not None and produces is not None and produces.path_template is not None:
                detail = "it was never written"
                detail += f" to {produces.path_template}" if made else ""
                stale.append(Stale(asset, None, "missing", detail, known.flow.name))
            continue
        code = codes.of(known) if codes is not None and known is not None else None
        freshness = recorded.get(asset, {}).get("freshness_s") if produces is None else None
        if produces is not None:
            freshness = produces.freshness_s
        last = max(newest, key=lambda row: row.number)  # of a partition: its files must be fresh
        owners = {row.relative: row for row in sorted(newest, key=lambda row: row.number)}
        for row in newest:
            must_be_fresh = freshness if row.partition == last.partition else None
            owner = owners[row.relative]
            why = _why(row, made, owner, must_be_fresh, code, contents, moment)
            if why is not None:
                stale.append(Stale(asset, row.partition, *why, row.flow))
    return stale


def current(made: Iterable[Materialisation], asset: AssetDecl | None) -> list[Materialisation]:
    """The newest write of each file in *made*, without files of an earlier ``path_template``.

    Parameters
    ----------
    made
        The writes of an asset, the oldest first.
    asset
        Its declaration now; None if no flow has one.
    """
    newest = {(row.partition, row.path): row for row in made}
    if asset is None:
        return list(newest.values())
    try:
        shape = asset.path_template and read_template(asset.path_template).pattern({})
    except TemplateError:  # which `check` reports
        return list(newest.values())
    return [
        row
        for row in newest.values()
        if bool(row.relative) == bool(shape) and (not shape or shape.fullmatch(row.relative or ""))
    ]


class _Contents:
    """The writes of the assets that others are made from."""

    def __init__(self, by_asset: Mapping[str, list[Materialisation]]) -> None:
        self._by_asset = by_asset
        self._by_partition: dict[tuple[str, str | None], list[Materialisation]] = {}
        for rows in by_asset.values():
            for row in rows:
                place = row.asset, _one_form(row.partition)
                self._by_partition.setdefault(place, []).append(row)

    def newer(self, row: Materialisation, upstream: str) -> Materialisation | None:
        """A write of *upstream* after *row*, with different content.

        Of the partitions that its task loaded, else of the same partition, else of any.
        """
        loaded = [each for each in row.reads if each.id == upstream]
        if loaded and all(each.what == "value" for each in loaded):
            later = [self._since(row, each) for each in loaded]
            return next(filter(None, later), None)
        if loaded:
            return self._after(row, self._by_asset.get(upstream, []))
        same = self._by_partition.get((upstream, _one_form(row.partition)))
        return self._after(row, same or self._by_asset.get(upstream, []))

    def _since(self, row: Materialisation, loaded: ReadAsset) -> Materialisation | None:
        """A later write, with different content, of what the task of *row* loaded."""
        rows = self._asked(loaded.id, loaded.partition)
        digest = (loaded.content or "").rpartition(" ")[2]
        # Another run may have written it after it was loaded, and before *row* was written.
        if any(each.digest == digest for each in rows):
            return rows[-1] if rows[-1].digest != digest else None
        return self._after(row, rows)

    def _asked(self, asset: str, partition: str | None) -> list[Materialisation]:
        rows = self._by_asset.get(asset, [])
        if partition is None or not rows:
            return rows
        key = next((row.partition.partition(":")[0] for row in rows if row.partition), "")
        same = self._by_partition.get((asset, _one_form(f"{key}:{partition}")))
        return same or [
            row
            for row in rows
            if row.partition and partition in (row.partition, row.partition.partition(":")[2])
        ]

    @staticmethod
    def _after(row: Materialisation, upstream: list[Materialisation]) -> Materialisation | None:
        # Within a run, an asset is written after what it is made from. What another run wrote in
        # between is newer than what this one was made from.
        before: dict[tuple[str | None, str | None], Materialisation] = {}
        own: dict[tuple[str | None, str | None], Materialisation] = {}
        for each in upstream:
            if each.number < row.number:
                before[each.partition, each.path] = each
                if each.run == row.run:
                    own[each.partition, each.path] = each
        before.update(own)
        after: dict[tuple[str | None, str | None], Materialisation] = {}
        for each in upstream:
            old = before.get((each.partition, each.path))
            if each.number > (row.number if old is None else old.number):
                after[each.partition, each.path] = each
        for place, each in after.items():
            old = before.get(place)
            if old is None or old.digest is None or old.digest != each.digest:
                return each
        return None


class _Codes:
    """The code behind assets as it is now; each flow is read once."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._key = kept.store_key(store)
        self._prints: dict[str, Fingerprints] = {}

    def of(self, known: Declared) -> str:
        """The digest of the code behind the asset *known*."""
        flow = known.flow
        prints = self._prints.get(flow.name)
        if prints is None:
            root = root_of(self._store, flow.source.file if flow.source else None)
            prints = fingerprints_in(self._store, root, self._key, flow.fn)
            self._prints[flow.name] = prints
        return asset_code(flow, known.task, prints)


def _why(
    row: Materialisation,
    made: Sequence[Materialisation],
    owner: Materialisation,
    freshness: float | None,
    code: str | None,
    contents: _Contents,
    now: datetime,
) -> tuple[str, str] | None:
    """Why *row* is stale: the reason and a sentence; None if it is not."""
    change = row.change()
    if change is not None and (published := published_of(row, made)) is not row:
        row, change = published, None
    if change is not None:
        reason, _, detail = change.partition(": ")
        if reason == "changed outside" and owner.partition != row.partition:
            detail = f"{row.relative} now has {owner.partition}, by run {owner.run}"
        return reason, detail
    if code is not None and code != row.code:
        which = f"task {row.task!r}, or of one upstream of it,"
        if row.code is None:  # the process was killed before it was known
            return "code changed", f"it is not known which code of {which} run {row.run} had"
        return "code changed", f"the code of {which} differs from that of run {row.run}"
    for upstream in row.upstream:
        newer = contents.newer(row, upstream)
        if newer is not None:
            which = f" {newer.partition}" if newer.partition else ""
            return "upstream newer", f"{upstream}{which} was written since, in run {newer.run}"
    age = (now - row.at).total_seconds()
    if freshness is not None and age > freshness:
        return "old", f"it is {_span(age)} old, and fresh for {_span(freshness)}"
    if freshness is not None and age < 0:
        return "old", f"it is dated {_span(-age)} in the future: a clock was wrong"
    return None


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def lacking_in(
    rows: Iterable[Materialisation], values: Iterable[str], shape: re.Pattern[str] | None = None
) -> list[str]:
    """The partitions among *values* that were never written, or whose file is lost.

    A file is lost if it is missing, or if another partition was written to it.

    Parameters
    ----------
    rows
        The newest write of each file of an asset.
    values
        The partitions.
    shape
        Only files of this shape count.
    """
    there: dict[str, bool] = {}
    rows = list(rows)
    last: dict[str | None, int] = {}
    for row in rows:
        last[row.relative] = max(row.number, last.get(row.relative, 0))
    for row in rows:
        if shape is None or (row.relative is not None and shape.fullmatch(row.relative)):
            value = same_value(str(row.partition).partition(":")[2])
            # Another partition may have been written to the same file since.
            is_its_own = row.relative is None or last[row.relative] == row.number
            there[value] = is_its_own and is_there(row) and there.get(value, True)
    return [value for value in values if not there.get(same_value(value))]


def same_value(text: str) -> str:
    """The *text* of a partition in one form: a time can be written in several ways."""
    if len(text) > _DAY and text[_DAY] in " T":
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(text).isoformat()
    return text


_DAY = len("2026-01-02")


def _one_form(partition: str | None) -> str | None:
    """*partition*, ``key:value``, with its value in one form."""
    key, colon, value = (partition or "").partition(":")
    return f"{key}:{same_value(value)}" if colon else partition


def lineage_of(
    database: Database | None, declared: Mapping[str, Declared]
) -> dict[str, tuple[str, ...]]:
    """For each asset, those that it is made from, as last written, or else as declared."""
    edges: dict[str, list[str]] = {name: list(each.upstream) for name, each in declared.items()}
    for row in history(database, latest=True) if database is not None else []:
        known = edges.setdefault(row.asset, [])
        known += [name for name in row.upstream if name not in known]
    return {name: tuple(upstream) for name, upstream in edges.items()}
