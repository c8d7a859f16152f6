"""The key of a call: everything that its result depends on, part by part, and their digest."""

from __future__ import annotations

import functools
import glob
import hashlib
import os
import platform
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mxm.pipeline.execution.kept.contents import Sealer
from mxm.pipeline.values.digest import digest_of_file, digest_of_names

__all__ = ["SCHEME", "Files", "Key", "installed", "make_key", "surroundings"]

SCHEME = 2
"""Increased whenever keys are made differently, so that no older result is used."""

_SETTLED_NS = 2_000_000_000
_MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Key:
    """The key of one call.

    Parameters
    ----------
    digest
        The name of its entry.
    parts
        What it was made from, by kind; nobody can guess a value from these digests.
    """

    digest: str
    parts: Mapping[str, Any]


def make_key(parts: Mapping[str, Any], sealer: Sealer) -> Key:
    """The key of these *parts*."""
    whole = {**parts, "scheme": SCHEME, "surroundings": surroundings()}
    return Key(sealer.join("key", whole), whole)


@functools.cache
def surroundings() -> Mapping[str, str]:
    """The Python and the machine, on which a result depends."""
    flags = sys.flags
    return {
        "python": f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}",
        "flags": f"optimize={flags.optimize} utf8_mode={flags.utf8_mode}",
        "machine": f"{sys.platform} {platform.machine()}",
    }


@functools.cache
def installed(name: str) -> str:
    """The version and the content of the distribution *name*, as it is installed now."""
    import importlib.metadata  # rarely needed, and slow to load

    try:
        distribution = importlib.metadata.distribution(name)
        listed = distribution.read_text("RECORD") or ""
    except importlib.metadata.PackageNotFoundError:
        return "missing"
    return f"{distribution.version} {hashlib.sha256(listed.encode()).hexdigest()[:40]}"


class Files:
    """Digests of files; each file is read only once while it does not change.

    Parameters
    ----------
    root
        The folder for relative paths.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: dict[str, tuple[tuple[int, ...], int, str]] = {}
        self._lock = threading.Lock()

    def declared(self, inputs: Iterable[str], sealer: Sealer) -> dict[str, str]:
        """The files and variables that ``inputs`` of a task names, each with its digest.

        Raises
        ------
        OSError
            A file cannot be read.
        """
        digests: dict[str, str] = {}
        for text in inputs:
            if text.startswith("env:"):
                value = os.environ.get(text[4:])
                digests[text] = "unset" if value is None else sealer.seal(f"env:{value}")
            elif _MAGIC.intersection(text):
                paths = sorted(glob.glob(os.path.join(self._root, text), recursive=True))
                names = [os.path.relpath(path, self._root) for path in paths]
                digests[text] = sealer.join("names", names)
                for name, path in zip(names, paths, strict=True):
                    digests[name] = self._digest(path)
            else:
                digests[text] = self._digest(os.path.join(self._root, text))
        return digests

    def _digest(self, path: str) -> str:
        try:
            stat = _stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return "missing"
        if os.path.isdir(path):
            return self._folder(path)
        with self._lock:
            known = self._known.get(path)
        if known is not None and known[0] == stat and max(stat[1:3]) < known[1] - _SETTLED_NS:
            return known[2]
        now = time.time_ns()
        digest = digest_of_file(path)
        if _stat(path) != stat:
            return f"changed while it was read, at {time.time_ns()}"
        with self._lock:
            self._known[path] = (stat, now, digest)
        return digest

    def _folder(self, path: str) -> str:
        """The names in a folder, and the content of everything below it."""
        lines = [digest_of_names(path)]
        for folder, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                file = os.path.join(folder, name)
                lines.append(f"{os.path.relpath(file, path)} {self._digest(file)}")
            lines += [f"{os.path.relpath(os.path.join(folder, name), path)}/" for name in folders]
        return "\n".join(lines) if len(lines) == 1 else _joined(lines)


def _joined(lines: list[str]) -> str:
    return (
        "sha256-" + hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    )


def _stat(path: str) -> tuple[int, ...]:
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev
