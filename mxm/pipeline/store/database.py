"""The database of a store: schema, locks and error messages."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from mxm.pipeline.errors import StoreError
from mxm.pipeline.problems import shown_path
from mxm.pipeline.store.places import DATABASE, has_store, make_store

if TYPE_CHECKING:
    import sqlite3

__all__ = ["MIGRATIONS", "Database", "Statement"]

Statement: TypeAlias = tuple[str, Sequence[Any]]
"""SQL and its parameters."""

_APPLICATION = 0x6D786D70  # "mxmp": marks the database as ours

# Each migrates a store from the version before it. Released ones must not change.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE run (
        id TEXT PRIMARY KEY, flow TEXT NOT NULL, parent TEXT, place TEXT, state TEXT NOT NULL,
        started TEXT NOT NULL, ended TEXT, seconds REAL,
        backend TEXT, runner TEXT, workers INTEGER,
        host TEXT, user TEXT, pid INTEGER, process TEXT, heartbeat REAL,
        command TEXT, params TEXT, steps TEXT, warnings TEXT, value TEXT,
        definition TEXT, sources TEXT, git TEXT, versions TEXT,
        overridden INTEGER NOT NULL DEFAULT 0, pinned INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX run_flow ON run (flow, started);
    CREATE INDEX run_started ON run (started);
    CREATE INDEX run_state ON run (state);
    CREATE TABLE task (
        run TEXT NOT NULL, seq INTEGER NOT NULL, place INTEGER NOT NULL DEFAULT -1,
        name TEXT NOT NULL, item TEXT,
        state TEXT NOT NULL, allowed INTEGER NOT NULL DEFAULT 0, reason TEXT, cause TEXT,
        ready TEXT, started TEXT, ended TEXT, seconds REAL, slot INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0, history TEXT, asset TEXT, items TEXT,
        result TEXT, lost TEXT, value TEXT, unkept TEXT, error TEXT, output TEXT, data BLOB,
        PRIMARY KEY (run, seq, place)
    ) WITHOUT ROWID;
    CREATE INDEX task_file ON task (value) WHERE value IS NOT NULL AND data IS NULL;
    CREATE TABLE value (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, made REAL NOT NULL);
    CREATE TABLE document (digest TEXT PRIMARY KEY, text TEXT NOT NULL);
    """,
    "ALTER TABLE task ADD COLUMN waited REAL;",
    """
    CREATE TABLE entry (
        key TEXT PRIMARY KEY, flow TEXT NOT NULL, step TEXT NOT NULL, item TEXT,
        run TEXT NOT NULL, started TEXT NOT NULL, made REAL NOT NULL, used REAL NOT NULL,
        content TEXT NOT NULL, parts TEXT NOT NULL, packages TEXT NOT NULL,
        made_of TEXT NOT NULL, code TEXT NOT NULL, observed TEXT NOT NULL,
        written TEXT NOT NULL, plain INTEGER NOT NULL,
        value TEXT NOT NULL, data BLOB, size INTEGER NOT NULL, stat TEXT, root TEXT
    );
    CREATE INDEX entry_step ON entry (flow, step, item, made);
    CREATE INDEX entry_file ON entry (value) WHERE data IS NULL;
    """,
    """
    CREATE TABLE asset (
        id TEXT PRIMARY KEY, flow TEXT NOT NULL, task TEXT NOT NULL, partition_key TEXT,
        format TEXT, path_template TEXT, freshness_s REAL, description TEXT, upstream TEXT,
        at TEXT NOT NULL
    );
    CREATE TABLE materialisation (
        number INTEGER PRIMARY KEY, asset TEXT NOT NULL, partition TEXT, at TEXT NOT NULL,
        run TEXT NOT NULL, flow TEXT NOT NULL, task TEXT NOT NULL, item TEXT,
        path TEXT, root TEXT, format TEXT, digest TEXT, size INTEGER, modified INTEGER,
        rows INTEGER, columns TEXT, levels TEXT, library TEXT, "by" TEXT, upstream TEXT, code TEXT
    );
    CREATE INDEX materialisation_asset ON materialisation (asset, partition, number);
    CREATE TABLE "check" (
        number INTEGER PRIMARY KEY, asset TEXT NOT NULL, partition TEXT, run TEXT NOT NULL,
        task TEXT NOT NULL, item TEXT, at TEXT NOT NULL, name TEXT NOT NULL,
        severity TEXT NOT NULL, passed INTEGER NOT NULL, message TEXT
    );
    CREATE INDEX check_asset ON "check" (asset, partition, number);
    """,
    """
    ALTER TABLE run ADD COLUMN given BLOB;
    ALTER TABLE run ADD COLUMN ungiven TEXT;
    ALTER TABLE run ADD COLUMN options TEXT;
    ALTER TABLE run ADD COLUMN resumes TEXT;
    """,
    """
    ALTER TABLE entry ADD COLUMN reads TEXT;
    ALTER TABLE entry ADD COLUMN asset TEXT;
    """,
    "ALTER TABLE materialisation ADD COLUMN reads TEXT;",
)


class Database:
    """An open store.

    Parameters
    ----------
    store
        The folder.
    create
        Whether to create it if there is none.
    wait_s
        How long to wait for a lock that another process holds.

    Raises
    ------
    StoreError
        There is none, it cannot be used, or a newer version created it.
    """

    def __init__(self, store: str, *, create: bool = False, wait_s: float = 10.0) -> None:
        self.store: str = store
        self.journal: str = ""
        self._wait_s = wait_s
        try:
            import sqlite3
        except ImportError as error:
            raise StoreError(f"this Python has no sqlite3: {error}", store=store) from None
        self._error = sqlite3.Error
        if not create and not has_store(store):
            raise StoreError(
                f"nothing is recorded in {shown_path(store)}",
                store=store,
                hint="`mxm-pipeline run` records each run; MXM_HOME names another store",
            )
        connection: sqlite3.Connection | None = None
        try:
            if create:
                make_store(store)
            connection = sqlite3.connect(
                os.path.join(store, DATABASE),
                timeout=wait_s,
                isolation_level=None,
                check_same_thread=False,  # callers with several threads have their own lock
            )
            self._connection: sqlite3.Connection = connection
            self._set_up(create)
        except (sqlite3.Error, OSError) as error:
            if connection is not None:
                connection.close()
            raise _refusal(store, error) from error
        except BaseException:
            if connection is not None:
                connection.close()
            raise

    def _set_up(self, create: bool) -> None:
        version = self._version()
        if create:
            with contextlib.suppress(OSError):  # no group may read it, whatever the umask
                os.chmod(os.path.join(self.store, DATABASE), 0o600)
            self._choose_journal()
        if version < len(MIGRATIONS):
            self._migrate()
        # The log is written back at the end of a run anyway: sooner, the run would wait for it.
        self._connection.execute("PRAGMA wal_autocheckpoint=4000")
        self._connection.execute(
            "PRAGMA synchronous=NORMAL" if self.journal == "wal" else "PRAGMA synchronous=FULL"
        )

    def _version(self) -> int:
        version: int = self._pragma("user_version")
        if version and self._pragma("application_id") != _APPLICATION:
            raise StoreError(
                f"{shown_path(os.path.join(self.store, DATABASE))} is not a store of mxm-pipeline",
                store=self.store,
                hint="move it away, or set MXM_HOME to another folder",
            )
        if version > len(MIGRATIONS):
            raise StoreError(
                f"the store {shown_path(self.store)} was made by a newer mxm-pipeline "
                f"(its schema is {version}, this version knows {len(MIGRATIONS)})",
                store=self.store,
                hint="upgrade mxm-pipeline, or set MXM_HOME to another folder",
            )
        return version

    def _pragma(self, name: str) -> Any:
        return self._connection.execute(f"PRAGMA {name}").fetchone()[0]

    def _choose_journal(self) -> None:
        """Use WAL if the file system supports it, so that readers do not wait for a writer."""
        end = time.monotonic() + self._wait_s
        while True:
            try:
                self.journal = self._pragma("journal_mode")
                if self.journal != "wal":
                    self.journal = self._pragma("journal_mode=WAL")
                if self.journal != "wal":
                    self.journal = self._pragma("journal_mode=DELETE")
                return
            except self._error as error:
                # Another process is changing it: SQLite does not wait for that by itself.
                if not _is_locked(error) or time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def _migrate(self) -> None:
        execute = self._connection.execute
        with self._transaction():
            for number, script in enumerate(MIGRATIONS, start=1):
                if number > self._version():  # another process may have been first
                    for statement in filter(str.strip, script.split(";")):
                        execute(statement)
                    execute(f"PRAGMA user_version={number}")
                    execute(f"PRAGMA application_id={_APPLICATION}")

    @contextlib.contextmanager
    def _transaction(self) -> Any:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                with contextlib.suppress(self._error):
                    self._connection.execute("ROLLBACK")
            raise

    def write(self, statements: Iterable[Statement], *, wait_s: float | None = None) -> None:
        """Execute *statements* in one transaction.

        Raises
        ------
        StoreError
            They cannot be executed; `StoreError.passing` says whether a later try may succeed.
        """
        if wait_s is not None and wait_s != self._wait_s:
            self._wait_s = wait_s
            self._connection.execute(f"PRAGMA busy_timeout={int(wait_s * 1000)}")
        execute = self._connection.execute
        try:
            with self._transaction():
                for sql, parameters in statements:
                    execute(sql, parameters)
        except (self._error, OSError) as error:
            raise _refusal(self.store, error) from error

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The rows that *sql* finds.

        Raises
        ------
        StoreError
            They cannot be read.
        """
        try:
            cursor = self._connection.execute(sql, parameters)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]
        except (self._error, OSError) as error:
            raise _refusal(self.store, error) from error

    def close(self) -> None:
        """Close it."""
        with contextlib.suppress(self._error):
            self._connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_locked(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")
_UNWRITABLE = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")


def _refusal(store: str, error: BaseException) -> StoreError:
    """*error* as a message for the user."""
    name: str = getattr(error, "sqlite_errorname", "")
    where = shown_path(store)
    other = "or set MXM_HOME to another folder"
    if _is_locked(error):
        hint = f"end the program that uses it, {other}"
        return StoreError(
            f"the store {where} is locked by another process", store=store, hint=hint, passing=True
        )
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        full = "its disk is full" if name == "SQLITE_FULL" else f"its disk fails ({error})"
        return StoreError(
            f"the store {where} cannot be written: {full}",
            store=store,
            hint=f"`mxm-pipeline runs prune` frees space, {other}",
            passing=True,
        )
    if name.startswith(_UNWRITABLE) or isinstance(error, OSError):
        why = getattr(error, "strerror", None) or str(error)
        return StoreError(
            f"the store {where} cannot be written: {why}",
            store=store,
            hint=f"make it writable, {other}",
        )
    said = "is damaged" if name.startswith(_DAMAGED) else "cannot be used"
    return StoreError(
        f"the store {where} {said}: {error}", store=store, hint=f"move it away, {other}"
    )
