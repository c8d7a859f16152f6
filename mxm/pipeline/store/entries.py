"""Results kept for later runs, by the key of the call that made them."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from mxm.pipeline.assets.reading import ReadAsset
from mxm.pipeline.errors import StoreError
from mxm.pipeline.execution.files.observing import FileNote
from mxm.pipeline.execution.kept.entries import Entry, NewEntry, UnkeptError
from mxm.pipeline.execution.masking import Secrets
from mxm.pipeline.execution.plans.plan import Plan
from mxm.pipeline.process.logs import logger
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.store import kept
from mxm.pipeline.store.code import memory_in
from mxm.pipeline.store.database import Database, Statement
from mxm.pipeline.store.elsewhere import SharedStore, holds
from mxm.pipeline.store.places import distrust, root_of, store_of
from mxm.pipeline.store.recorder import recording_of
from mxm.pipeline.store.rows import Document, document
from mxm.pipeline.taskruns import iso_time
from mxm.pipeline.values.fingerprint import FileMemory, Item
from mxm.pipeline.values.jsonvalue import Written
from mxm.pipeline.values.remote import KeptElsewhere

__all__ = ["open_entries"]

_WAIT_S = 5.0  # for a lock that another process holds
_LONGEST = 200_000  # characters of JSON; longer results are loaded to be shown
_LARGEST = 1 << 50  # bytes: a result of a cached task is kept, whatever its size


def open_entries(
    plan: Plan, *, is_quiet: bool = False, most_mb: float = 16.0
) -> StoredEntries | None:
    """The results kept in the store of the flow of *plan*; None if it cannot be used.

    Parameters
    ----------
    plan
        What runs.
    is_quiet
        Whether to give no warning if it cannot be used, because the recorder does.
    most_mb
        Megabytes up to which the result of a task that is not cached is kept.
    """
    store = store_of(plan.flow)
    try:
        why = distrust(store)
        if why:
            raise StoreError(why, hint="only its owner may write to a store; MXM_HOME moves it")
        return StoredEntries(store, plan, is_quiet=is_quiet, most=kept.bytes_of(most_mb))
    except (StoreError, OSError) as error:
        if not is_quiet:
            _warn(f"the run uses and keeps no cached results: {error}")
        return None


class StoredEntries:
    """The kept results of one store, for one run.

    Parameters
    ----------
    store
        The folder.
    plan
        What runs: nothing that contains one of its secrets is kept.
    is_quiet
        Whether to give no warnings about the store.
    most
        Bytes up to which the result of a task that is not cached is kept.

    Raises
    ------
    StoreError
        The store cannot be used.
    OSError
        Its key cannot be read or made.
    """

    def __init__(
        self, store: str, plan: Plan, *, is_quiet: bool = False, most: int = kept.LARGEST
    ) -> None:
        file = plan.flow.source.file if plan.flow.source else None
        self.root: str = os.path.realpath(root_of(store, file))
        self._store = store
        self._recording = recording_of(plan, store)
        self._secrets = Secrets(plan) if self._recording is None else self._recording.secrets
        self._database = Database(store, create=True, wait_s=_WAIT_S)
        self.key: bytes = kept.store_key(store)
        self.memory: FileMemory = memory_in(store)
        self._folder = os.path.realpath(os.getcwd())
        self._lock = threading.RLock()
        self._used: list[str] = []
        self._is_over = False
        self._packed = threading.local()
        self._code: dict[str, Document] = {}  # by step: it does not change during a run
        self._is_quiet = is_quiet
        self._most = most
        self._shared: SharedStore | None = None

    def masked(self, text: str) -> str:
        """*text* without the secrets of the run."""
        return self._secrets.masked(text)

    def find(self, key: str, run: str | None = None) -> Entry | None:
        """The intact result kept under *key*; with *run*, that of a task that is not cached."""
        key = key if run is None else _of_run(key, run)
        return self._sound(self._read("SELECT * FROM entry WHERE key = ?", (key,)))

    def find_any(self, key: str) -> Entry | None:
        """A result kept under *key* by any run, whether or not its task is cached."""
        sql = "SELECT * FROM entry WHERE key = ? OR (key > ? AND key < ?) ORDER BY made DESC"
        rows = self._read(sql, (key, key + _AT, key + chr(ord(_AT) + 1)))
        return next(filter(None, (self._sound([row]) for row in rows)), None)

    def _sound(self, rows: list[dict[str, Any]]) -> Entry | None:
        """The first of *rows* as a result, if it is intact."""
        # A result that contains the path of a folder is valid only in that folder.
        if not rows or any(p not in (self.root, self._folder) for p in json.loads(rows[0]["root"])):
            return None
        row = rows[0]
        if not self._is_sound(row):
            named = row["key"], row["value"]
            self._write([("DELETE FROM entry WHERE key = ? AND value = ?", named)])
            return None
        with self._lock:
            self._used.append(row["key"])
        return self._entry(row, {})

    def latest(self, flow: str, step: str, item: str | None) -> tuple[Entry, list[Item]] | None:
        """The newest result of a step, whatever its key, and the code that made it."""
        masked = self._secrets.masked
        names = (
            masked(flow),
            masked(step),
            None if item is None else self._secrets.masked_key(item),
        )
        rows = self._read(_LATEST, names)
        if not rows:
            return None
        items = [Item(*one) for one in json.loads(rows[0]["items"] or "[]")]
        return self._entry(rows[0], json.loads(rows[0]["made_of"])), items

    def code(self, flow: str, step: str) -> list[Item] | None:
        """The code that made the newest result of a step or an item of it."""
        rows = self._read(_CODE, (self._secrets.masked(flow), self._secrets.masked(step)))
        return [Item(*one) for one in json.loads(rows[0]["text"])] if rows else None

    def keep(self, entry: NewEntry, value: Any, same: Callable[[Any], bool]) -> None:
        """Keep *value*; see `mxm.pipeline.execution.kept.entries.Entries`."""
        try:
            limit = _LARGEST if entry.is_cached else self._most
            packed = self._taken(value) or kept.pack(value, self._secrets, limit)
        except kept.UnkeptError as error:
            raise UnkeptError(str(error)) from None
        observed = json.dumps([asdict(note) for note in entry.observed])
        if self._secrets.masked(observed) != observed:
            raise UnkeptError("the path of a file that it opens contains a secret")
        noted = json.dumps([[asdict(read) for read in entry.reads], entry.asset])
        if self._secrets.masked(noted) != noted:
            raise UnkeptError("what is noted of its assets contains a secret")
        digest = kept.digest_of(packed, self.key)
        data = packed.joined()
        try:
            statement = kept.keep(self._store, packed, digest)
        except OSError as error:
            self._give_up(f"its file cannot be written: {error.strerror or error}")
            return
        if not entry.is_plain:
            self._read_back(digest, data, same)
        folders = tuple(path for path in (self.root, self._folder) if holds(packed, path))
        made = self._rows(entry, packed.size, digest, data, folders)
        rows = [*([statement] if statement else []), *made]
        if self._recording is None or not self._recording.add(rows, value, packed, digest):
            self._write(rows)

    def writer(self) -> SharedStore | None:
        """Keeps values from another process that has the same folder; None where none may."""
        with self._lock:
            if self._is_over or self._secrets:  # which are not sent to look for them in a value
                return None
            if self._shared is None:
                folders = self.root, self._folder
                with contextlib.suppress(OSError):  # of one that cannot be written: `keep` says so
                    self._shared = SharedStore.opened(self._store, folders, _LARGEST)
            return self._shared

    def keep_written(self, entry: NewEntry, written: KeptElsewhere) -> Callable[[], Any]:
        """Keep a value that a worker has written; what loads it."""
        path = kept.path_of(self._store, written.name)
        try:
            if os.path.getsize(path) != written.size:
                raise UnkeptError("the file that its worker wrote is not whole")
        except OSError:
            raise UnkeptError("the file that its worker wrote is not in the store") from None
        rows = [
            kept.named(written.name, written.size),
            *self._rows(entry, written.size, written.name, None, written.folders),
        ]
        self._write(rows)
        return functools.partial(kept.load, self._store, written.name, None)

    def content(self, read: ReadAsset) -> str | None:
        """The content now of the asset that *read* was a read of; None if it is not known."""
        # Loaded by tasks that read assets.
        from mxm.pipeline.store.catalogue import content_of

        try:
            with self._lock:
                return None if self._is_over else content_of(self._database, read)
        except StoreError as error:
            self._give_up(str(error))
            return None

    def fits(self, value: Any) -> bool:
        """Whether *value* is small enough to be kept for a resume."""
        try:
            self._packed.last = value, kept.pack(value, self._secrets, self._most)
        except kept.UnkeptError:
            return False
        return True

    def _taken(self, value: Any) -> kept.Kept | None:
        """The bytes that `fits` has just made on this thread, if they are those of *value*."""
        last, self._packed.last = getattr(self._packed, "last", None), None
        return last[1] if last is not None and last[0] is value else None

    def _read_back(self, digest: str, data: bytes | None, same: Callable[[Any], bool]) -> None:
        """Check that a copy equals what was kept: the pickle of some types leaves out a part.

        Raises
        ------
        UnkeptError
            It is not.
        """
        try:
            copy = kept.load(self._store, digest, data)
        except StoreError as error:
            raise UnkeptError(error.message) from None
        if not same(copy):
            raise UnkeptError("its pickle leaves out a part of it")

    def _rows(
        self,
        entry: NewEntry,
        size: int,
        digest: str,
        data: bytes | None,
        folders: Sequence[str],
    ) -> list[Statement]:
        masked = self._secrets.masked
        known = self._code.get(entry.step)
        if known is None:
            code = json.dumps([[i.label, i.digest, i.kind, i.file, i.line] for i in entry.code])
            known = document(json.loads(masked(code)), self.key)
        items, is_new = known, entry.step not in self._code
        self._code[entry.step] = known
        written = json.dumps(self._secrets.masked_json(list(entry.written or ())))
        row: dict[str, Any] = {
            "key": entry.key.digest if entry.is_cached else _of_run(entry.key.digest, entry.run),
            "flow": masked(entry.flow),
            "step": masked(entry.step),
            "item": None if entry.item is None else self._secrets.masked_key(entry.item),
            "run": entry.run,
            "started": iso_time(entry.started),
            "made": time.time(),
            "used": time.time(),
            "content": entry.content,
            "parts": json.dumps(entry.parts),
            "packages": json.dumps(entry.packages),
            "made_of": json.dumps(
                self._secrets.masked_json({**entry.key.parts, "shown": dict(entry.shown)})
            ),
            "code": items.digest,
            "observed": json.dumps([asdict(note) for note in entry.observed]),
            "reads": json.dumps([asdict(read) for read in entry.reads]),
            "asset": None if entry.asset is None else json.dumps(entry.asset),
            "written": written if len(written) <= _LONGEST else "[]",
            "plain": entry.is_plain,
            "value": digest,
            "data": data,
            "size": size,
            "stat": None if data is not None else _stat(kept.path_of(self._store, digest)),
            "root": json.dumps(folders),
        }
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        sql = f"INSERT OR REPLACE INTO entry ({names}) VALUES ({marks})"  # noqa: S608
        statement = (sql, tuple(row.values()))
        return [items.statement, statement] if is_new else [statement]

    def _is_sound(self, row: Mapping[str, Any]) -> bool:
        """Whether the bytes of a value are those that were kept."""
        if row["data"] is not None:
            return kept.is_whole(self._store, row["value"], row["data"])
        stat = _stat(kept.path_of(self._store, row["value"]))
        if stat is not None and stat == row["stat"]:
            return True
        if stat is None or not kept.is_whole(self._store, row["value"], None):
            return False
        self._write([("UPDATE entry SET stat = ? WHERE value = ?", (stat, row["value"]))])
        return True

    def _entry(self, row: Mapping[str, Any], made_of: Mapping[str, Any]) -> Entry:
        digest, data = row["value"], row["data"]
        written = json.loads(row["written"])
        return Entry(
            row["key"].partition(_AT)[0],
            row["run"],
            datetime.fromisoformat(row["started"]),
            row["content"],
            json.loads(row["parts"]),
            json.loads(row["packages"]),
            made_of,
            [FileNote(**note) for note in json.loads(row["observed"])],
            [ReadAsset(**read) for read in json.loads(row["reads"] or "[]")],
            None if row["asset"] is None else json.loads(row["asset"]),
            Written(written[0], written[1], tuple(written[2])) if written else None,
            bool(row["plain"]),
            lambda: self._load(row["key"], digest, data),
            (digest, data),
        )

    def _load(self, key: str, digest: str, data: bytes | None) -> Any:
        try:
            return kept.load(self._store, digest, data)
        except StoreError as error:
            self._write([("DELETE FROM entry WHERE key = ?", (key,))])
            raise StoreError(
                f"a result that an earlier run kept cannot be loaded: {error.message}",
                store=self._store,
                hint="run the flow again: the task that made it then runs",
            ) from error

    def _read(self, sql: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        if self._is_over:
            return []
        if self._recording is not None:
            self._recording.flush()
        try:
            with self._lock:
                return self._database.read(sql, parameters)
        except StoreError as error:
            self._give_up(str(error))
            return []

    def _write(self, statements: list[Statement]) -> None:
        if self._is_over:
            return
        try:
            with self._lock:
                self._database.write(statements)
        except StoreError as error:
            self._give_up(str(error))

    def _give_up(self, why: str) -> None:
        """Warn once that the rest of the run does not use the store."""
        with self._lock:
            if not self._is_over:
                self._is_over = True
                if not self._is_quiet:
                    _warn(f"from now on the run uses and keeps no cached results: {why}")

    def close(self) -> None:
        """Record which results were used, and close the database."""
        with self._lock:
            if self._used:
                now = time.time()
                sql = "UPDATE entry SET used = ? WHERE key = ?"
                self._write([(sql, (now, key)) for key in self._used])
            self._is_over = True
            if self._shared is not None:
                self._shared.close()
            self._database.close()


_AT = "@"


def _of_run(key: str, run: str) -> str:
    """The key of a result that only a resume of *run* may use."""
    return f"{key}{_AT}{run}"


_LATEST = """
SELECT entry.*, document.text AS items FROM entry LEFT JOIN document ON document.digest = entry.code
WHERE flow = ? AND step = ? AND item IS ? ORDER BY made DESC LIMIT 1
"""


_CODE = """
SELECT document.text FROM entry JOIN document ON document.digest = entry.code
WHERE flow = ? AND step = ? ORDER BY made DESC LIMIT 1
"""


def _stat(path: str) -> str | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    parts = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev)
    return " ".join(map(str, parts))


def _warn(text: str) -> None:
    message, *hint = text.split("\n  hint: ")
    logger.warning("%s%s", in_one_line(message), f" ({hint[0]})" if hint else "")
