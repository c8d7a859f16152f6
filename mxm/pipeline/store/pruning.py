"""Removes old runs, and values that no run uses."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mxm.pipeline.store.database import Database, Statement
from mxm.pipeline.store.history import state_of
from mxm.pipeline.taskruns import State, iso_time

__all__ = ["RUNS", "VALUES", "Pruned", "prune"]

RUNS = 20
"""Runs of each flow that are kept."""

VALUES = 5_000_000_000
"""Bytes of values that are kept."""

_UNUSED_S = 90 * 24 * 3600.0  # for results of cached tasks
_YOUNG_S = 3600.0  # another run may be writing them, or about to use them


@dataclass(frozen=True)
class Pruned:
    """What was removed, or would be.

    Parameters
    ----------
    runs
        Ids.
    values
        How many values.
    freed
        Bytes of them.
    """

    runs: tuple[str, ...]
    values: int
    freed: int


def prune(
    database: Database, *, runs: int = RUNS, size: int = VALUES, dry_run: bool = False
) -> Pruned:
    """Keep the newest runs of each flow, and *size* bytes of values; the oldest go first.

    Pinned runs, runs that have not ended, and anything younger than an hour stay. A run whose
    values are gone is still recorded.

    Parameters
    ----------
    database
        The store.
    runs
        How many of each flow.
    size
        Bytes.
    dry_run
        Whether nothing is removed.

    Raises
    ------
    StoreError
        The store cannot be read or written.
    """
    young = iso_time(datetime.now(UTC) - timedelta(seconds=_YOUNG_S))
    gone = [
        str(row["id"])
        for row in database.read(
            "SELECT * FROM (SELECT *, row_number() OVER "
            "(PARTITION BY flow ORDER BY started DESC, id DESC) AS number FROM run) "
            "WHERE number > ? AND pinned = 0 AND started < ?",
            (runs, young),
        )
        if state_of(row) != State.RUNNING
    ]
    surplus = list(_surplus(database, set(gone), size))
    pruned = Pruned(tuple(gone), len(surplus), sum(size for _, size in surplus))
    if dry_run:
        return pruned
    statements: list[Statement] = []
    for run in gone:
        statements.append(("DELETE FROM task WHERE run = ?", (run,)))
        statements.append(("DELETE FROM run WHERE id = ? AND pinned = 0", (run,)))
        statements.append(("DELETE FROM entry WHERE run = ? AND key LIKE '%@%'", (run,)))
    old = time.time() - _YOUNG_S
    statements += [
        ("DELETE FROM value WHERE digest = ? AND made < ?", (digest, old)) for digest, _ in surplus
    ]
    statements += [
        ("DELETE FROM entry WHERE value = ? AND data IS NULL AND made < ?", (digest, old))
        for digest, _ in surplus
    ]
    statements.append(("DELETE FROM entry WHERE used < ?", (time.time() - _UNUSED_S,)))
    statements.append((_DROP_DOCUMENTS, ()))
    database.write(statements)
    _remove_files(database)
    return pruned


_DROP_DOCUMENTS = """
DELETE FROM document WHERE digest NOT IN (
    SELECT definition FROM run WHERE definition IS NOT NULL
    UNION SELECT sources FROM run WHERE sources IS NOT NULL
    UNION SELECT code FROM entry
)
"""


def _surplus(database: Database, gone: set[str], size: int) -> Iterator[tuple[str, int]]:
    """Values to remove, with sizes: unused ones first, then the oldest."""
    pinned: set[str] = set()
    used: set[str] = set()
    for row in database.read(
        "SELECT task.value, task.run, run.pinned FROM task JOIN run ON run.id = task.run "
        "WHERE task.value IS NOT NULL AND task.data IS NULL"
    ):
        if row["run"] not in gone:
            used.add(row["value"])
            if row["pinned"]:
                pinned.add(row["value"])
    for row in database.read("SELECT value, run, key FROM entry WHERE data IS NULL"):
        if row["run"] not in gone or "@" not in row["key"]:  # those of a single run go with it
            used.add(row["value"])
    old = time.time() - _YOUNG_S
    rows = database.read("SELECT digest, size, made FROM value ORDER BY made")
    total = sum(row["size"] for row in rows)
    for row in rows:
        if row["made"] < old and row["digest"] not in used:
            total -= row["size"]
            yield row["digest"], row["size"]
    for row in rows:
        if total <= size:
            break
        if row["made"] < old and row["digest"] in used and row["digest"] not in pinned:
            total -= row["size"]
            yield row["digest"], row["size"]


def _remove_files(database: Database) -> None:
    """Remove files of unknown values, and leftovers of killed runs."""
    known = {row["digest"] for row in database.read("SELECT digest FROM value")}
    old = time.time() - _YOUNG_S
    for folder, _, names in os.walk(os.path.join(database.store, "values")):
        for name in names:
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                if name not in known and os.path.getmtime(path) < old:
                    os.unlink(path)
