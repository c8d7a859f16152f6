"""What one attempt has opened so far, and which of it counts at its end."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from mxm.pipeline.execution.files.kept_reads import Origins, is_below, is_left_out
from mxm.pipeline.execution.files.notes import FileNote, Stat, is_at_rest, stat_of, state_of
from mxm.pipeline.values.digest import digest_of_names

__all__ = ["FileLog", "Observed", "Reaches"]

Reaches: TypeAlias = Callable[[str], bool]
"""Whether the code of a task reaches code in a file."""

_LOG = "-wal"  # of a SQLite database
_EARLY = 64_000_000  # bytes: smaller files are read when opened, if their stat may be wrong


@dataclass(slots=True)
class Observed:
    """What one attempt opened.

    Parameters
    ----------
    reads, writes
        What it read, and what it wrote.
    torn
        Paths of files that changed between being read and the end of the attempt.
    unseen
        Where it may have opened more: in events that could not be read, or in other processes.
    connects
        Whether it opened a connection to another computer, or to a server on this one.
    """

    reads: list[FileNote] = field(default_factory=list[FileNote])
    writes: list[FileNote] = field(default_factory=list[FileNote])
    torn: list[str] = field(default_factory=list[str])
    unseen: list[str] = field(default_factory=list[str])
    connects: bool = False


@dataclass(slots=True)
class _Read:
    """Something that was opened to be read: its path and base, and what it was then."""

    note: tuple[str, str]
    stat: Stat | None
    now: tuple[str, str] | None = None  # kind and digest, if the stat is not enough
    is_fixed: bool = (
        False  # names, patterns, links: what counts is what they gave when they were read
    )


class FileLog:
    """What one attempt has opened so far."""

    def __init__(self, root: str, reaches: Reaches | None, outer: FileLog | None) -> None:
        self.outer = outer
        self._root = os.path.abspath(root)
        self._roots = tuple(dict.fromkeys((self._root, os.path.realpath(root))))
        self._folder = os.getcwd()
        self._reaches = reaches
        self._reads: dict[str, _Read] = {}
        self._writes: dict[str, tuple[str, str]] = {}
        self._made: set[str] = set()  # that was not there before
        self._cleared: set[str] = set()  # folders that were removed
        self._also: list[FileNote] = []
        self.lost: set[str] = set()  # where it may have missed something
        self.connects = False
        self._lock = threading.Lock()

    def read(self, path: str, *, names: bool, origins: Origins) -> None:
        """Record that *path* is read, or the *names* in it."""
        full = _absolute(path)
        key = f"{full}{os.sep}" if names else full
        with self._lock:
            if self._is_own(full) or is_left_out(full, self._root):
                return
            if names and os.path.exists(full) and not os.path.isdir(full):
                return  # as `glob` tries every file
            if key not in self._reads:
                self._reads[key] = self._first(path, full, names)
            _keep(key, self._reads[key], origins)

    def _first(self, path: str, full: str, names: bool) -> _Read:
        read = _Read(self._noted(path, full), stat_of(full), is_fixed=names)
        if names:
            with contextlib.suppress(OSError):
                read.now = "folder", digest_of_names(full)
        elif full.endswith(_LOG):
            read.now, read.stat = state_of(full), None  # which a reader gives other rights
        elif read.stat and not is_at_rest(read.stat, time.time_ns()) and read.stat[0] < _EARLY:
            read.now = state_of(full)
        return read

    def pattern(self, text: str, origins: Origins) -> None:
        """Record what the pattern *text* matches."""
        full = _absolute(text)
        key = f"glob:{full}"
        with self._lock:
            if is_left_out(full, self._root):
                return
            if key not in self._reads:
                now = state_of(full, "glob")
                self._reads[key] = _Read(self._noted(text, full), None, now, is_fixed=True)
            _keep(key, self._reads[key], origins)

    def link(self, path: str, origins: Origins) -> None:
        """Record the target of the link *path*, which its reader may open by that name."""
        full = _absolute(path)
        key = f"link:{full}"
        with self._lock:
            # A link to the project itself only says where the project is: that does not count.
            if self._is_own(full) or is_left_out(full, self._root) or is_below(self._root, full):
                return
            if key not in self._reads:
                now = state_of(full, "link")
                self._reads[key] = _Read(self._noted(path, full), None, now, is_fixed=True)
            _keep(key, self._reads[key], origins)

    def write(self, path: str, *, anew: bool) -> None:
        """Record that *path* is written; *anew* if nothing of its old content stays."""
        full = _absolute(path)
        with self._lock:
            if is_left_out(full, self._root):
                return
            if full not in self._writes and full not in self._reads:
                if self._is_own(full) or not os.path.lexists(full):
                    self._made.add(full)
                elif not anew:
                    self._reads[full] = _Read(self._noted(path, full), stat_of(full))
            self._writes.setdefault(full, self._noted(path, full))

    def make(self, folder: str) -> None:
        """Record that *folder* is created: what is in it belongs to this attempt."""
        full = _absolute(folder)
        with self._lock:
            if not os.path.lexists(full):
                self._made.add(full)

    def clear(self, folder: str) -> None:
        """Record that *folder* is removed with everything in it."""
        full = _absolute(folder)
        with self._lock:
            if not self._is_own(full) and not is_left_out(full, self._root):
                self._writes[full] = self._noted(folder, full)
                self._cleared.add(full)

    def also(self, notes: Iterable[FileNote]) -> None:
        """Count *notes*, too."""
        with self._lock:
            self._also += notes
        if self.outer is not None:
            self.outer.also(notes)

    def _is_own(self, full: str) -> bool:
        """Whether this attempt created or overwrote *full*, or a folder that contains it."""
        if full in self._writes:
            return full not in self._reads
        own = self._made or self._cleared
        return bool(own) and any(is_below(full, one) for one in (*self._made, *self._cleared))

    def _noted(self, path: str, full: str) -> tuple[str, str]:
        if not os.path.isabs(path) and os.getcwd() == self._folder:
            return path if ".." in path else os.path.normpath(path), "folder"
        for root in self._roots:
            if is_below(full, root):
                return full[len(root) :].lstrip(os.sep) or ".", "root"
        return full, ""

    def finish(self, observed: Observed) -> None:
        """Put what was recorded into *observed*, with digests."""
        with self._lock:
            reads, writes = dict(self._reads), dict(self._writes)
        with _kept_lock:
            # If a file was read again, the first read counts: its result is still in use.
            reads |= {key: read for key, (read, by) in _kept.items() if self._uses(by)}
        sources = _Sources()
        for key, read in reads.items():
            if key not in writes and key in sources:
                continue
            path, base = read.note
            if read.is_fixed:
                observed.reads.append(FileNote(path, *(read.now or ("missing", "")), base))
                continue
            state, now = state_of(key), None if key.endswith(_LOG) else stat_of(key)
            if (now, state) != (read.stat, read.now or state):
                observed.torn.append(path)
            observed.reads.append(FileNote(path, *state, base))
        observed.unseen += sorted(self.lost)
        observed.connects = self.connects
        observed.reads += [note for note in self._also if note not in observed.reads]
        for key, (path, base) in writes.items():
            state = state_of(key)
            if state[0] != "missing" or key not in self._made:  # else nothing is left of it
                observed.writes.append(FileNote(path, *state, base))

    def _uses(self, origins: Origins) -> bool:
        return self._reaches is None or any(map(self._reaches, origins))


class _Sources:
    """The files of loaded modules: their code counts by itself."""

    def __init__(self) -> None:
        self._files: set[str] | None = None

    def __contains__(self, path: str) -> bool:
        if not path.endswith(".py"):
            return False
        if self._files is None:
            files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
            self._files = {os.path.abspath(file) for file in files if isinstance(file, str)}
        return path in self._files


_kept: dict[str, tuple[_Read, Origins]] = {}
_kept_lock = threading.Lock()


def _keep(key: str, read: _Read, origins: Origins) -> None:
    """Count *read* for later attempts, too, where code of *origins* keeps what it gave."""
    if origins:
        with _kept_lock:
            first, before = _kept.get(key, (read, ()))
            _kept[key] = first, tuple(dict.fromkeys((*before, *origins)))


def _absolute(path: str) -> str:
    """*path* from the root; ``..`` stays, because it may follow a link."""
    return os.path.join(os.getcwd(), path) if ".." in path else os.path.abspath(path)
