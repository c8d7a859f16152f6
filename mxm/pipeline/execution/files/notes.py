"""Notes of files: what one held when it was opened, and whether it still does."""

from __future__ import annotations

import glob
import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from mxm.pipeline.values.digest import digest_of_file, digest_of_names

__all__ = ["FileNote", "Stat", "is_at_rest", "state_of", "stat_of", "unchanged_note"]

Stat: TypeAlias = "tuple[int, ...]"
"""Size, times of change, inode and device."""


@dataclass(frozen=True, slots=True)
class FileNote:
    """A file, a folder, a pattern, a link or a missing file that an attempt opened.

    Parameters
    ----------
    path
        As it is looked up again.
    kind
        ``file``, ``folder``, ``missing``, ``glob``, ``link`` or ``other``, which is never the same.
    digest
        Of a file's content, of the names in a folder, of what a pattern finds, or of where a link
        leads.
    base
        What *path* is relative to: ``root``, the project's folder; ``folder``, the working
        directory; empty for an absolute path.
    """

    path: str
    kind: str
    digest: str
    base: str = ""


def unchanged_note(notes: Iterable[FileNote], root: str, folder: str) -> FileNote | None:
    """The first of *notes* that has changed; None if none has."""
    bases = {"root": root, "folder": folder}
    for note in notes:
        path = os.path.join(bases.get(note.base, ""), note.path)
        if state_of(path, note.kind) != (note.kind, note.digest):
            return note
    return None


def stat_of(path: str) -> Stat | None:
    """The stat of *path*, links followed; None if there is nothing."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev


_REST_NS = 2_000_000_000  # the coarsest clock of a file system
_known: dict[str, tuple[Stat, int, str]] = {}


def is_at_rest(stat: Stat, now: int) -> bool:
    """Whether a change after *now* would show in *stat*, whatever the clock of the file system."""
    return max(stat[1:3]) < now - _REST_NS


def state_of(path: str, kind: str = "") -> tuple[str, str]:
    """The kind and the digest of *path* as it is now; *kind*: of a pattern (``glob``), a link."""
    if kind == "glob":
        return "glob", _digest_of_matches(path)
    if kind == "link":
        return _state_of_link(path)
    stat = stat_of(path)
    if stat is None or (not stat[0] and path.endswith("-wal")):  # SQLite leaves it empty
        return "missing", ""
    try:
        if os.path.isdir(path):
            return "folder", digest_of_names(path)
        if not os.path.isfile(path):  # a pipe, a socket: its content is gone
            return "other", f"{time.time_ns()}"
        known = _known.get(path)
        if known is not None and known[0] == stat and is_at_rest(stat, known[1]):
            return "file", known[2]
        now = time.time_ns()
        digest = digest_of_file(path)
    except OSError as error:
        return "missing", type(error).__name__
    if stat_of(path) == stat:
        _known[path] = stat, now, digest
    return "file", digest


def _state_of_link(path: str) -> tuple[str, str]:
    try:
        target = os.fsencode(os.readlink(path))
    except (OSError, ValueError):
        return "missing", ""
    return "link", f"sha256-{hashlib.sha256(target).hexdigest()}"


def _digest_of_matches(pattern: str) -> str:
    """The digest of what matches, relative to the folder before the first wildcard of *pattern*."""
    fixed = pattern
    while glob.has_magic(fixed):
        fixed = os.path.dirname(fixed)
    matches = sorted(glob.glob(pattern, recursive=True, include_hidden=True))
    paths = [os.path.relpath(path, fixed) for path in matches]
    names = [os.fsencode(path) for path in paths if ".mxm" not in path.split(os.sep)]
    joined = b"\0".join(names)
    return f"sha256-{hashlib.sha256(joined).hexdigest()}"
