"""The catalogue of a store: which assets were written, when, by what, and where they are."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mxm.pipeline.assets.files import description_path, hash_of, read_description
from mxm.pipeline.assets.formats import format_named
from mxm.pipeline.assets.reading import ReadAsset, flow_file, note_read
from mxm.pipeline.assets.remote import content_at, is_url, object_of, read_at, remove_at
from mxm.pipeline.assets.templates import read_template
from mxm.pipeline.errors import AssetError, PipelineError, StoreError, described
from mxm.pipeline.problems import Source, did_you_mean, shown_path
from mxm.pipeline.process.logs import current_task
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.store.database import Database
from mxm.pipeline.store.places import has_store, store_of, store_of_file
from mxm.pipeline.taskruns import iso_time

__all__ = [
    "Asset",
    "Materialisation",
    "asset",
    "content_of",
    "declarations",
    "history",
    "is_there",
    "last_rows",
    "load_asset",
    "load_value",
    "published_of",
    "remove_file",
    "require_asset",
    "writes_of",
]


@dataclass(frozen=True, slots=True)
class Materialisation:
    """One write of an asset.

    Parameters
    ----------
    number
        Counts up over all assets of the store.
    asset, partition
        The asset, and ``key:value``, if it has partitions.
    at
        When, in UTC.
    run, flow, task, item
        What wrote it.
    path
        The file, or the object at a URL that holds the content; None if the declaration has no
        path.
    relative
        The file relative to the project's root, or the URL.
    format, digest, size, rows, columns, index, library, by, upstream, reads
        As in `WrittenAsset`.
    modified
        When the file was last changed, in nanoseconds; it tells a file that is still the same.
    code
        A digest of the task's code.
    """

    number: int
    asset: str
    partition: str | None
    at: datetime
    run: str
    flow: str
    task: str
    item: str | None
    path: str | None
    relative: str | None
    format: str | None
    digest: str | None
    size: int | None
    rows: int | None
    columns: Mapping[str, str]
    index: tuple[tuple[str | None, ...], ...]
    library: str
    by: str
    upstream: tuple[str, ...]
    reads: tuple[ReadAsset, ...]
    modified: int | None
    code: str | None

    def to_dict(self) -> dict[str, Any]:
        """The write as plain data."""
        return {
            "asset": self.asset,
            "partition": self.partition,
            "at": iso_time(self.at),
            "run": self.run,
            "flow": self.flow,
            "task": self.task,
            "item": self.item,
            "path": self.relative,
            "format": self.format,
            "digest": self.digest,
            "size": self.size,
            "rows": self.rows,
            "columns": dict(self.columns),
            "library": self.library,
            "by": self.by,
            "upstream": list(self.upstream),
            "reads": [read.to_dict() for read in self.reads],
        }

    def change(self) -> str | None:
        """How the file has changed since it was written, in words; None if it has not."""
        if self.path is None or self.relative is None:
            return None
        if is_url(self.relative):
            return self._change_at(self.relative)
        try:
            stat = os.stat(self.path)
        except OSError:
            return f"missing: {self.relative} is not there"
        if (stat.st_size, stat.st_mtime_ns) == (self.size, self.modified):
            return None
        try:
            same = hash_of(self.path).digest == self.digest
        except OSError as error:
            return f"missing: {self.relative} cannot be read: {error.strerror}"
        return None if same else f"changed outside: {self.relative} is not what was written"

    def _change_at(self, url: str) -> str | None:
        try:
            content = content_at(url)
        except (AssetError, OSError) as error:
            return f"missing: {url} cannot be read: {described(error)}"
        if content is None:
            return f"missing: {url} is not there"
        if content.digest == self.digest:
            return None
        return f"changed outside: {url} is not what was written"


def published_of(made: Materialisation, writes: Sequence[Materialisation]) -> Materialisation:
    """The write among *writes* whose content the file of *made* has now; *made* if there is none.

    If two runs write one file at once, either may be recorded last.
    """
    if made.path is None or is_url(made.relative or "") or made.change() is None:
        return made
    there = read_description(made.path) or {}
    wanted = made.partition, made.relative, there.get("run"), there.get("digest")
    for each in reversed(writes):
        if (each.partition, each.relative, each.run, each.digest) == wanted:
            return each
    return made


def is_there(made: Materialisation) -> bool:
    """Whether the file of *made* exists, whatever it contains; True if it has no file."""
    if made.path is None or made.relative is None:
        return True
    if is_url(made.relative):
        return not (made.change() or "").startswith("missing")
    return os.path.exists(made.path)


def remove_file(made: Materialisation) -> None:
    """Remove the file of *made*, and its description."""
    if made.relative is not None and is_url(made.relative):
        remove_at(made.relative, made.digest)
    elif made.path is not None:
        os.unlink(made.path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(description_path(made.path))


def _read(made: Materialisation) -> Any:
    facts = {"library": made.library, "columns": made.columns, "index": made.index}
    chosen = format_named(made.format or "")
    if made.relative is None or not is_url(made.relative):
        return chosen.read(made.path or "", facts)
    there = content_at(made.relative)
    digest = there.digest if there else made.digest
    return read_at(made.relative, digest, lambda path: chosen.read(path, facts))


def _root(database: Database, row: Mapping[str, Any]) -> str:
    return str(row["root"] or _parent(database.store))


def _made(database: Database, row: Mapping[str, Any]) -> Materialisation:
    relative: str | None = row["path"]
    path = None if relative is None else os.path.join(_root(database, row), *relative.split("/"))
    if relative is not None and is_url(relative):
        path = object_of(relative, row["digest"])
    return Materialisation(
        row["number"],
        row["asset"],
        row["partition"],
        datetime.fromisoformat(row["at"]),
        row["run"],
        row["flow"],
        row["task"],
        row["item"],
        path,
        relative,
        row["format"],
        row["digest"],
        row["size"],
        row["rows"],
        _read_json(row["columns"] or "{}"),
        _levels(row["levels"] or "[]"),
        row["library"] or "",
        row["by"] or "",
        tuple(_read_json(row["upstream"] or "[]")),
        _reads(row["reads"] or "[]"),
        row["modified"],
        row["code"],
    )


# Thousands of partitions have the same columns and the same root.

_parent = functools.lru_cache(maxsize=16)(os.path.dirname)


@functools.lru_cache(maxsize=256)
def _read_json(text: str) -> Any:
    return json.loads(text)


@functools.lru_cache(maxsize=256)
def _levels(text: str) -> tuple[tuple[str | None, ...], ...]:
    return tuple(map(tuple, json.loads(text)))


@functools.lru_cache(maxsize=256)
def _reads(text: str) -> tuple[ReadAsset, ...]:
    return tuple(ReadAsset(**each) for each in json.loads(text))


def history(
    database: Database,
    asset: str | None = None,
    partition: str | None = None,
    *,
    latest: bool = False,
) -> list[Materialisation]:
    """The writes of assets, the oldest first.

    Parameters
    ----------
    database
        The store.
    asset
        Only this one.
    partition
        Only this one: ``key:value``, or the value.
    latest
        Whether only the newest of each partition and file.
    """
    where: list[str] = []
    values: list[Any] = []
    if asset is not None:
        where.append("asset = ?")
        values.append(asset)
    if partition is not None:
        forms = _forms(partition)
        marks = ", ".join("?" * len(forms))
        where.append(
            f"(partition = ? OR substr(partition, instr(partition, ':') + 1) IN ({marks}))"
        )
        values += [partition, *forms]
    sql = "SELECT * FROM materialisation"
    if latest:
        newest = "SELECT max(number) FROM materialisation GROUP BY asset, partition, path"
        where.append(f"number IN ({newest})")
    if where:
        sql += f" WHERE {' AND '.join(where)}"
    rows = database.read(f"{sql} ORDER BY number", values)
    return [_made(database, row) for row in rows]


def _forms(value: str) -> list[str]:
    """*value* of a partition, and, if it is a time, its other form: ``T`` or a space."""
    if len(value) <= len("2026-01-02") or value[len("2026-01-02")] not in " T":
        return [value]
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return [value]
    return list(dict.fromkeys([value, moment.isoformat(), str(moment)]))


def content_of(database: Database, read: ReadAsset) -> str | None:
    """The content now of the asset that *read* was a read of; None if it is not known.

    Raises
    ------
    StoreError
        The store cannot be read.
    """
    if read.what == "history":
        sql = "SELECT max(number) AS newest FROM materialisation WHERE asset = ?"
        return str(database.read(sql, (read.id,))[0]["newest"])
    if read.what == "value":
        try:
            return _content(_chosen(database, read.id, read.partition, read.run))
        except StoreError:
            raise
        except PipelineError:  # nothing is recorded of it any more, or there are several
            return None
    rows = history(database, read.id, latest=True)
    contents = [_content(row) for row in sorted(rows, key=_place)]
    if not contents or None in contents:
        return None
    joined = "\n".join(map(str, contents))
    return f"sha256-{hashlib.sha256(joined.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _place(row: Materialisation) -> tuple[str, str]:
    return row.partition or "", row.path or ""


def _content(made: Materialisation) -> str | None:
    """Partition, file and content of what *made* wrote, as they are now; None if it is gone."""
    if made.path is None:
        return None
    change = made.change()
    if change is None:
        digest = made.digest
    elif change.startswith("missing"):
        digest = "missing"
    else:
        try:
            there = (
                content_at(made.relative)
                if made.relative is not None and is_url(made.relative)
                else hash_of(made.path)
            )
            digest = there.digest if there else "missing"
        except (AssetError, OSError):
            digest = "missing"
    return f"{made.partition} {made.relative} {digest}"


def declarations(database: Database) -> dict[str, dict[str, Any]]:
    """The last recorded declaration of each asset."""
    return {str(row["id"]): row for row in database.read("SELECT * FROM asset ORDER BY id")}


def require_asset(database: Database, asset: str) -> None:
    """Check that *asset* is recorded.

    Raises
    ------
    PipelineError
        Nothing is recorded of it.
    """
    if database.read("SELECT 1 FROM materialisation WHERE asset = ? LIMIT 1", (asset,)):
        return
    rows = database.read("SELECT DISTINCT asset FROM materialisation")
    names = [str(row["asset"]) for row in rows]
    hint = did_you_mean(asset, names) if names else "a recorded run of its flow writes it"
    raise PipelineError(f"nothing is recorded of asset {asset!r}", hint=hint)


def writes_of(
    database: Database, asset: str, partition: str | None = None, *, latest: bool = False
) -> list[Materialisation]:
    """The writes of *asset*, or of a *partition* of it; see `history`.

    Raises
    ------
    PipelineError
        It was not.
    """
    require_asset(database, asset)
    rows = history(database, asset, partition, latest=latest)
    if not rows:
        others = {row.partition for row in history(database, asset, latest=True)}
        values = [each.partition(":")[2] for each in others if each is not None]
        hint = did_you_mean(str(partition), values) if values else "it has no partitions"
        raise PipelineError(
            f"nothing is recorded of partition {partition!r} of asset {asset!r}", hint=hint
        )
    return rows


def last_rows(spec: FlowSpec, asset: str, partition: str | None, path: str | None) -> int | None:
    """The rows of the last write of *partition* at *path*, or else of any write of *asset*."""
    store = store_of(spec)
    if not has_store(store):
        return None
    with Database(store) as database:
        sql = "SELECT rows FROM materialisation WHERE asset = ? AND rows IS NOT NULL"
        newest = "ORDER BY number DESC LIMIT 1"
        same = database.read(
            f"{sql} AND partition IS ? AND path IS ? {newest}", (asset, partition, path)
        )
        rows = same or database.read(f"{sql} {newest}", (asset,))
    return None if not rows else int(rows[0]["rows"])


class Asset:
    """The record of an asset.

    Parameters
    ----------
    id
        Its name.
    store
        The folder of the store.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline import AssetDecl, asset
    >>> RATES = AssetDecl(
    ...     "rates", partition_key="day", format="json", path_template="rates-{day}.json"
    ... )
    >>> @mxm.task(produces=RATES)
    ... def load(day: str) -> list[float]:
    ...     return [1.0, 1.1]
    >>> @mxm.flow
    ... def rates(day: str):
    ...     return load(day)
    >>> run = rates.with_options(backend="inline", record=True).run(day="2026-01-02")
    >>> asset("rates").partitions()
    ['2026-01-02']
    """

    def __init__(self, id: str, store: str) -> None:  # noqa: A002 - what it is called everywhere
        self.id: str = id
        self._store = store

    def __repr__(self) -> str:
        return f"<asset {self.id!r} in {shown_path(self._store)}>"

    def partitions(self) -> list[str]:
        """The values of the partitions that were written, in order."""
        with Database(self._store) as database:
            _note_history(database, self.id)
            rows = database.read(
                "SELECT DISTINCT partition FROM materialisation "
                "WHERE asset = ? AND partition IS NOT NULL ORDER BY partition",
                (self.id,),
            )
        return [str(row["partition"]).partition(":")[2] for row in rows]

    def history(self, partition: object = None) -> list[Materialisation]:
        """Its writes, the oldest first.

        Parameters
        ----------
        partition
            Only this one.
        """
        with Database(self._store) as database:
            _note_history(database, self.id)
            return history(database, self.id, None if partition is None else str(partition))

    def latest(self, partition: object = None) -> Materialisation:
        """The newest write of it, or of *partition*.

        Raises
        ------
        PipelineError
            It was not.
        """
        with Database(self._store) as database:
            _note_history(database, self.id)
            require_asset(database, self.id)
            return _chosen(database, self.id, partition, None)

    def path(self, partition: object = None) -> str:
        """The file of it, or of *partition*.

        Raises
        ------
        PipelineError
            There is none.
        """
        made = self.latest(partition)
        if made.path is None:
            raise PipelineError(f"asset {self.id!r} has no path_template: its task writes it")
        return made.path

    def load(self, partition: object = None) -> Any:
        """The value of it, or of *partition*; see `load_asset`."""
        with Database(self._store) as database:
            require_asset(database, self.id)
            made = _chosen(database, self.id, partition, None)
        return load_value(made, asked=(partition, None))


def _note_history(database: Database, asset: str) -> None:
    read = ReadAsset(asset, "history")
    note_read(replace(read, content=content_of(database, read)))


def asset(id: str) -> Asset:  # noqa: A002 - what it is called everywhere
    """The record of the asset *id* in this project.

    Parameters
    ----------
    id
        The asset's name.

    Raises
    ------
    PipelineError
        Nothing is recorded of it.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline import AssetDecl, asset
    >>> @mxm.task(produces=AssetDecl("rates", format="json", path_template="rates.json"))
    ... def load() -> list[float]:
    ...     return [1.0, 1.1]
    >>> @mxm.flow
    ... def rates():
    ...     return load()
    >>> run = rates.with_options(backend="inline", record=True).run()
    >>> [write.run == run.id for write in asset("rates").history()]
    [True]
    """
    store = _store_here()
    with Database(store) as database:
        require_asset(database, id)
    return Asset(id, store)


def load_asset(
    id: str,  # noqa: A002 - what it is called everywhere
    partition: object = None,
    run: str | None = None,
    *,
    changed: bool = False,
) -> Any:
    """Load the value of an asset, as it was written.

    Parameters
    ----------
    id
        The asset.
    partition
        The value of its partition key; required if the asset has more than one partition.
    run
        Load only what this run wrote.
    changed
        Whether to read a file that was changed since it was written.

    Raises
    ------
    PipelineError
        Nothing is recorded of the asset, or the partition must be named.
    AssetError
        The file is missing, was changed since it was written, or cannot be read.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline import AssetDecl, load_asset
    >>> @mxm.task(produces=AssetDecl("rates", format="json", path_template="rates.json"))
    ... def load() -> list[float]:
    ...     return [1.0, 1.1]
    >>> @mxm.flow
    ... def rates():
    ...     return load()
    >>> run = rates.with_options(backend="inline", record=True).run()
    >>> load_asset("rates")
    [1.0, 1.1]
    """
    with Database(_store_here()) as database:
        require_asset(database, id)
        every = f"; all of them: [load_asset({id!r}, each) for each in asset({id!r}).partitions()]"
        made = _chosen(database, id, partition, run, every)
    return load_value(made, changed=changed, asked=(partition, run))


def load_value(
    made: Materialisation,
    *,
    changed: bool = False,
    asked: tuple[object, str | None] | None = None,
) -> Any:
    """The value that *made* wrote.

    Parameters
    ----------
    made
        A write.
    changed
        As in `load_asset`.
    asked
        The partition and the run that were asked for, if this is an input of a task.

    Raises
    ------
    AssetError
        The file is missing, was changed outside, or cannot be read.
    """
    name = _title(made)
    if made.path is None or made.format is None:
        raise AssetError(f"{name} has no path_template: its task writes it, and reads it by itself")
    change = made.change()
    if change is not None and not (changed and change.startswith("changed")):
        raise AssetError(
            f"{name} cannot be loaded: {change}",
            hint="run its flow again, or read it as it is with load_asset(..., changed=True)"
            if change.startswith("changed")
            else "run its flow again",
        )
    if asked is not None:
        partition, run = asked
        shown = None if partition is None else str(partition)
        note_read(ReadAsset(made.asset, "value", shown, run, _content(made)))
    try:
        value = _read(made)
    except AssetError:
        raise
    except Exception as error:
        raise AssetError(f"{name} cannot be read: {described(error)}") from error
    return value


def _title(made: Materialisation) -> str:
    where = f", partition {made.partition}," if made.partition else ""
    return f"asset {made.asset!r}{where}"


def _chosen(
    database: Database, asset: str, partition: object, run: str | None, every: str = ""
) -> Materialisation:
    """The newest write of *partition* of *asset*, by *run*.

    Raises
    ------
    PipelineError
        There is none, or the partition has to be named.
    """
    named = None if partition is None else str(partition)
    writes = writes_of(database, asset, named)
    if run is not None:
        from mxm.pipeline.store.history import find_run

        whole = find_run(database, run)
        writes = [each for each in writes if each.run == whole]
    if not writes:
        what = f"partition {named!r} of " if named else ""
        raise PipelineError(f"run {run} wrote nothing of {what}asset {asset!r}")
    partitions = {each.partition for each in writes}
    if named is None and len(partitions) > 1:
        raise PipelineError(
            f"asset {asset!r} has {len(partitions):,} partitions: name one",
            hint=f"the newest is {str(writes[-1].partition).partition(':')[2]!r}{every}",
        )
    template = declarations(database).get(asset, {}).get("path_template")
    if template is not None:  # an earlier one's file is another file of the same thing
        shape = read_template(template).pattern({})
        writes = [each for each in writes if shape.fullmatch(each.relative or "")] or writes
    places = {each.relative for each in writes if each.relative is not None}
    if len(places) > 1:
        shown = ", ".join(sorted(places)[:3])
        raise PipelineError(
            f"{_title(writes[-1]).rstrip(',')} is {len(places):,} files: {shown}",
            hint="read them by their paths: asset(...).history(...) has them; or let "
            "partition_key be what distinguishes them",
        )
    return published_of(writes[-1], writes)


def _store_here() -> str:
    """The project's store: that of the running flow, or else of the working directory."""
    running = flow_file()
    if running is not None:
        return store_of_file(*running)
    # In a worker process only the task is known.
    place = Source.of_caller() if current_task() is not None else None
    return store_of_file(place.file if place else None)
