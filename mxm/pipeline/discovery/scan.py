"""Finds the Python files under a folder, and by their text those that declare flows."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from mxm.pipeline.discovery.text import code_of, imports_mxm, surely_declares

__all__ = ["MOST_FILES", "LeftOut", "Scan", "read", "scan"]

MOST_FILES = 2_000
_MOST_BYTES = 64_000_000

_SKIPPED = frozenset(
    {"tests", "test", "node_modules", "__pycache__", "site-packages", "build", "dist"}
)
_TESTS = "tests are not scanned"
_NEVER_SHOWN = frozenset({"__pycache__"})


class LeftOut(NamedTuple):
    """A file or folder that is not imported although the user may expect it, and why."""

    path: str
    why: str

    def matters(self) -> bool:
        """Whether the user may miss it; among tests, only those that use mxm."""
        if self.why != _TESTS:
            return True
        with contextlib.suppress(OSError):
            return b"mxm" in read(self.path)
        return False


@dataclass
class Scan:
    """The result of a scan.

    Attributes
    ----------
    files
        The number of files read.
    declaring
        Files that declare flows, in order.
    left_out
        Files that use mxm but are not imported, and folders that were not scanned.
    whole
        Whether all files were read, not only the first ones.
    """

    files: int = 0
    declaring: list[str] = field(default_factory=list[str])
    left_out: list[LeftOut] = field(default_factory=list[LeftOut])
    whole: bool = True


def scan(folder: str) -> Scan:
    """Find the files that declare flows among the first `MOST_FILES` Python files under *folder*.

    A file declares flows if it uses ``flow`` or ``register_flow`` of mxm in any way, under any
    name, or uses something that a module of the project makes from them: a factory, a re-exported
    name.

    Text is matched first, and parsed only if a match does not decide: parsing takes longer than
    everything else in `list`.
    """
    seen = Scan()
    sure: dict[str, bytes] = {}
    others: dict[str, bytes] = {}
    order: list[str] = []
    for path in _python_files(folder, seen.left_out):
        if seen.files == MOST_FILES:
            seen.whole = False
            break
        seen.files += 1
        try:
            data = read(path)
        except OSError as error:
            seen.left_out.append(LeftOut(path, f"cannot be read: {error.strerror}"))
            continue
        order.append(path)
        likely = b"mxm" in data and b"flow" in data
        (sure if likely and surely_declares(code_of(data)) else others)[path] = data
    declare = {*sure}
    if others:
        from mxm.pipeline.discovery.usage import declaring  # only if something must be parsed

        declare |= declaring(sure, others)
    seen.declaring = [path for path in order if path in declare]
    for path, data in others.items():
        if path not in declare and b"mxm" in data and imports_mxm(code_of(data)):
            seen.left_out.append(LeftOut(path, "uses mxm, but neither flow nor register_flow"))
    return seen


def _python_files(folder: str, left_out: list[LeftOut]) -> Iterator[str]:
    """The files under *folder* that may declare flows: no tests, no hidden or installed files."""
    for parent, folders, files in os.walk(folder):
        entered: list[str] = []
        for name in sorted(folders):
            path = os.path.join(parent, name)
            if os.path.exists(os.path.join(path, "pyvenv.cfg")):
                left_out.append(LeftOut(path, "a virtual environment"))
            elif name in _SKIPPED:
                if name not in _NEVER_SHOWN:
                    left_out.append(LeftOut(path, f"folders named {name!r} are not scanned"))
            elif not name.startswith("."):
                entered.append(name)
        folders[:] = entered
        for name in sorted(files):
            if not name.endswith(".py") or name.startswith("."):
                continue
            path = os.path.join(parent, name)
            if name.startswith("test_") or name == "conftest.py":
                left_out.append(LeftOut(path, _TESTS))
            else:
                yield path


def read(path: str) -> bytes:
    """The bytes of the file *path*.

    Raises
    ------
    OSError
        It cannot be read, is larger than 64 MB, or is a pipe or a device, which may never end.
    """
    info = os.stat(path)
    if not stat.S_ISREG(info.st_mode):
        raise OSError(None, "not a regular file")
    if info.st_size > _MOST_BYTES:
        raise OSError(None, "larger than 64 MB")
    with open(path, "rb") as file:
        return file.read()
