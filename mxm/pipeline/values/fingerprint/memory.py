"""Remembers facts about files, so that a file is read again only if it changed."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["FileMemory", "stamp_of"]

_SCHEME = 2
_SETTLED_NS = 2_000_000_000  # a younger file may change again within one tick of its clock
_MOST = 20_000

Stamp = list[int]


def stamp_of(path: str) -> Stamp | None:
    """The stat that shows a change of a file: times, size, inode; None if there is no file."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    return [stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino]


class FileMemory:
    """What is known about files, in this process and, with a path, for later ones.

    Parameters
    ----------
    path
        A JSON file; None to keep it in this process only. One that cannot be read is ignored:
        everything is computed again.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = None if path is None else os.fspath(path)
        self._lock = threading.RLock()
        self._written: dict[str, list[Any]] | None = None
        self._live: dict[str, tuple[Stamp, Any]] = {}
        self._new: dict[str, list[Any]] = {}

    def recall(
        self,
        kind: str,
        path: str,
        compute: Callable[[], Any],
        to_json: Callable[[Any], Any],
        from_json: Callable[[Any], Any],
    ) -> Any:
        """The result of *compute* for a file; it is called only if the file changed.

        Parameters
        ----------
        kind
            What is computed.
        path
            Of the file.
        compute
            Reads it.
        to_json, from_json
            Write and read what it returns.
        """
        name = f"{kind}:{path}"
        stamp = stamp_of(path)
        if stamp is None:
            return compute()
        with self._lock:
            live = self._live.get(name)
            if live is not None and live[0] == stamp:
                return live[1]
            kept = self._load().get(name)
        if kept is not None and kept[0] == stamp:
            with contextlib.suppress(Exception):  # of a file that something else wrote
                value = from_json(kept[1])
                with self._lock:
                    self._live[name] = stamp, value
                    self._new[name] = kept
                return value
        now = time.time_ns()
        value = compute()
        settled = max(stamp[0], stamp[1]) < now - _SETTLED_NS
        if settled and stamp_of(path) == stamp:
            with self._lock:
                self._live[name] = stamp, value
                self._new[name] = [stamp, to_json(value)]
        return value

    def _load(self) -> dict[str, list[Any]]:
        if self._written is None:
            self._written = {}
            if self._path is not None:
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    with open(self._path, encoding="utf-8") as file:
                        data = json.load(file)
                    if data["scheme"] == _scheme():
                        self._written = dict(data["files"])
        return self._written

    def save(self) -> None:
        """Write new facts for later processes; if that fails, they compute them again."""
        with self._lock:
            written = self._load()
            if self._path is None or all(written.get(n) is k for n, k in self._new.items()):
                return
            files = {**written, **self._new}
            for name in list(files)[: max(0, len(files) - _MOST)]:
                del files[name]
            self._written = files
            data = {"scheme": _scheme(), "files": files}
        temporary = f"{self._path}.{os.getpid()}.{threading.get_ident()}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(data, file, separators=(",", ":"))
            os.replace(temporary, self._path)
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _scheme() -> str:
    return f"{_SCHEME} {sys.implementation.cache_tag} {sys.version} {sys.flags.optimize}"
