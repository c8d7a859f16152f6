"""Files of assets: written whole or not at all, hashed, and described in a file next to them."""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import json
import os
import platform
import re
import stat
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["FileState", "Hashed", "hash_of", "last_description", "locked", "published",
           "read_description", "rejected_path", "write_whole", "description_path",
           "describe"]  # fmt: skip

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class FileState:
    """What shows, without reading it, that a file is still the same."""

    inode: int
    size: int
    modified: int  # ns
    changed: int  # ns

    @classmethod
    def of(cls, path: str) -> FileState | None:
        """The state of *path*; None if there is no file."""
        try:
            info = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return cls(info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Hashed:
    """The content of a file.

    Parameters
    ----------
    digest
        ``sha256-`` and the digest of its bytes.
    size
        In bytes.
    """

    digest: str
    size: int


def hash_of(path: str) -> Hashed:
    """The content of the file *path*.

    Raises
    ------
    OSError
        It cannot be read, or is not a regular file.
    """
    with open(path, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise IsADirectoryError(f"{path} is not a regular file")
        return _hash(file.fileno())


def _hash(descriptor: int) -> Hashed:
    made, size = hashlib.sha256(), 0
    while chunk := os.read(descriptor, _CHUNK):
        made.update(chunk)
        size += len(chunk)
    return Hashed(f"sha256-{made.hexdigest()}", size)


def _settled(path: str) -> Hashed:
    """The content of *path*, once it is on disk; hashing and syncing run at the same time."""
    failed: list[OSError] = []

    def sync() -> None:
        try:
            descriptor = os.open(path, os.O_RDWR)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            failed.append(error)

    # In the context of this task: in one of its own, it would seem to be a thread of them all.
    here = contextvars.copy_context()
    syncing = threading.Thread(target=here.run, args=(sync,), name="mxm-fsync", daemon=True)
    syncing.start()
    try:
        content = hash_of(path)
    finally:
        syncing.join()
    if failed:
        raise failed[0]
    return content


@contextlib.contextmanager
def locked(folder: str) -> Generator[None]:
    """A block in which no other process or thread publishes a file in *folder*."""
    if sys.platform == "win32":  # no such locks: the last write wins, and each file is still whole
        yield
        return
    import fcntl

    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _part_of(path: str) -> str:
    name = f".mxm-{_HOST}-{os.getpid()}-{os.urandom(6).hex()}.part"
    return os.path.join(os.path.dirname(path), name)


_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_PART = re.compile(r"\.mxm-([0-9a-f]{8})-(\d+)-[0-9a-f]{12}\.part")
_LEFT_S = 7 * 86_400  # an older part of another host is a leftover
_swept: set[str] = set()  # folders that this process has already cleaned


def _sweep(folder: str) -> None:
    """Remove the parts in *folder* that killed processes left; once per process."""
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            named = _PART.fullmatch(entry.name)
            if named is not None and _is_left(named[1], int(named[2]), entry):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _is_left(host: str, pid: int, entry: os.DirEntry[str]) -> bool:
    if host == _HOST and os.name == "posix":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # it is another user's
            return False
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _LEFT_S


def published(
    path: str, write: Callable[[str], Any], describe_it: Callable[[Hashed], Mapping[str, Any]]
) -> Hashed:
    """Write the file *path* so that a reader sees the old one or the new one.

    Parameters
    ----------
    path
        The file.
    write
        Writes a new file at the path that it gets.
    describe_it
        Makes the description, which is written next to the file, from its content.

    Raises
    ------
    Exception
        *write* raised, or the disk did; what was at *path* is still there.
    """
    folder = os.path.dirname(path)
    made = _make_folders(folder)
    _sweep(folder)
    part, note = _part_of(path), _part_of(path)
    try:
        write(part)
        content = _settled(part)
        with locked(folder):
            _write_description(note, describe_it(content), part)
            # Until its file is there, too, no reader takes it as the description of the old file.
            os.replace(note, description_path(path))
            os.replace(part, path)
    except BaseException:
        for each in (part, note):
            with contextlib.suppress(OSError):
                os.unlink(each)
        raise
    for each in (folder, *made):
        _sync_folder(each)
    return content


def write_whole(path: str, write: Callable[[str], Any]) -> None:
    """Write the file *path* without a description."""
    _make_folders(os.path.dirname(path))
    part = _part_of(path)
    try:
        write(part)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def _make_folders(folder: str) -> list[str]:
    """Create *folder*; return the folders in which a new one was created."""
    missing: list[str] = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    if missing:
        os.makedirs(missing[0], exist_ok=True)
    return [os.path.dirname(each) for each in missing]


def _sync_folder(folder: str) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system that cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def description_path(path: str) -> str:
    """Where the description of the file *path* is."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f"_{name}_asset.json")


def rejected_path(path: str) -> str:
    """Where a value is kept that was not written to *path* because a check failed."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f"_rejected_{name}")


def describe(path: str, description: Mapping[str, Any]) -> None:
    """Write the description of the file *path* next to it; the caller holds the folder's lock."""
    part = _part_of(path)
    try:
        _write_description(part, description, path)
        os.replace(part, description_path(path))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def _write_description(path: str, description: Mapping[str, Any], of: str) -> None:
    """Write the *description* of the file *of* to the new file *path*."""
    state = FileState.of(of)
    own = {"inode": state.inode, "modified": state.modified} if state else {}
    with open(path, "x", encoding="utf-8") as file:
        json.dump({**description, "file": own}, file, ensure_ascii=False, indent=1)
        file.write("\n")


def read_description(path: str) -> dict[str, Any] | None:
    """The description of the file *path* as it is now; None if there is none for it."""
    known, state = last_description(path), FileState.of(path)
    if known is None or state is None:
        return None
    same = known.get("file") == {"inode": state.inode, "modified": state.modified}
    return known if same else None


def last_description(path: str) -> dict[str, Any] | None:
    """The last description of the file *path*, whatever is there now; None if there is none."""
    try:
        with open(description_path(path), encoding="utf-8") as file:
            document: Any = json.load(file)
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None  # pyright: ignore[reportUnknownVariableType]
