"""Stored values: pickled, with large buffers out of band, named and verified by a digest."""

from __future__ import annotations

import contextlib
import hmac
import os
import pickle
import struct
import time
from collections.abc import Iterator
from typing import Any

from mxm.pipeline.errors import StoreError, described
from mxm.pipeline.execution.masking import Secrets
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.store.database import Statement
from mxm.pipeline.store.places import distrust

__all__ = ["IN_THE_ROW", "LARGEST", "Kept", "UnkeptError", "bytes_of", "digest_of", "is_whole",
           "keep", "load", "named", "pack", "path_of", "require_trust", "store_key",
           "unpack"]  # fmt: skip

LARGEST = 16_000_000
"""Bytes of a value that is kept."""

IN_THE_ROW = 65_536
"""Bytes up to which a value is in the database itself; larger ones are files."""

_MAGIC = b"mxm1"


def bytes_of(megabytes: float) -> int:
    """*megabytes* in bytes."""
    return int(megabytes * 1_000_000)


_COUNT = struct.Struct("<I")
_PART = struct.Struct("<QB")  # bytes, and whether they may be written to


class UnkeptError(Exception):
    """A value is not kept; the message says why."""


class Kept:
    """The bytes of one value.

    Parameters
    ----------
    parts
        Concatenated, they are what is kept.
    size
        In bytes.
    """

    __slots__ = ("parts", "size")

    def joined(self) -> bytes | None:
        """The bytes, if there are few enough to put them into the row of a task."""
        return b"".join(self.parts) if self.size <= IN_THE_ROW else None

    def __init__(self, parts: list[bytes | memoryview]) -> None:
        self.parts: list[bytes | memoryview] = parts
        self.size: int = sum(map(len, parts))


def pack(value: Any, secrets: Secrets | None, limit: int = LARGEST) -> Kept:
    """*value* as bytes.

    Raises
    ------
    UnkeptError
        It cannot be pickled, is larger than *limit* bytes, or contains a secret.
    """
    buffers: list[memoryview] = []
    stream = _Limited(limit)

    def aside(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous: with the rest
            return True
        stream.count(raw.nbytes)
        buffers.append(raw)
        return False

    try:
        pickle.Pickler(stream, 5, buffer_callback=aside).dump(value)
    except UnkeptError:
        raise
    except BaseException as error:  # user code, which may raise anything
        let_signals_pass(error)
        why = secrets.masked(described(error)) if secrets else described(error)
        raise UnkeptError(f"it cannot be pickled: {why}"[:500]) from None
    body = b"".join(stream.parts)
    if secrets and secrets.is_in([body, *buffers]):
        raise UnkeptError("it contains a secret")
    head = [_MAGIC, _COUNT.pack(len(buffers)), _PART.pack(len(body), 0)]
    head += [_PART.pack(raw.nbytes, not raw.readonly) for raw in buffers]
    return Kept([b"".join(head), body, *buffers])


class _Limited:
    """A file that refuses to grow beyond a number of bytes."""

    def __init__(self, limit: int) -> None:
        self.parts: list[bytes] = []
        self._limit = limit
        self._size = 0

    def count(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            raise UnkeptError(f"it is larger than {self._limit / 1e6:g} MB (keep_results)")

    def write(self, data: Any, /) -> int:
        size = len(data) if isinstance(data, bytes) else memoryview(data).nbytes
        self.count(size)
        self.parts.append(bytes(data))
        return size


def digest_of(kept: Kept, key: bytes) -> str:
    """The name of *kept*; without the store's *key*, nobody can guess a value from it."""
    if kept.size <= IN_THE_ROW:
        return hmac.digest(key, b"".join(kept.parts), "sha256").hex()
    made = hmac.new(key, digestmod="sha256")
    for part in kept.parts:
        made.update(part)
    return made.hexdigest()


def store_key(store: str) -> bytes:
    """The random key of *store*, created if it has none.

    Raises
    ------
    OSError
        It cannot be read or made.
    """
    path = os.path.join(store, "key")
    for _ in range(2):
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            key = file.read()
            if len(key) == 32:
                return key
        own = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
        _write(own, [os.urandom(32)])
        try:
            with contextlib.suppress(FileExistsError):  # another process was first
                os.link(own, path)
        except OSError:  # a file system without links
            os.replace(own, path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(own)
    raise OSError(f"the key in {path} is damaged")


def keep(store: str, kept: Kept, digest: str) -> Statement | None:
    """Keep *kept*, unless it is in the row of its task; return the statement that records it.

    Raises
    ------
    OSError
        It cannot be written.
    """
    if kept.size <= IN_THE_ROW:
        return None
    path = path_of(store, digest)
    try:
        written = os.path.getsize(path) == kept.size and is_whole(store, digest, None)
        os.utime(path)  # as new: nobody prunes it now
    except OSError:
        written = False
    if not written:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        own = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.part"
        try:
            _write(own, kept.parts)
            os.replace(own, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(own)
            raise
    return named(digest, kept.size)


def named(digest: str, size: int) -> Statement:
    """The statement that records a value of *size* bytes, which is a file."""
    return _NAMED, (digest, size, time.time())


_NAMED = """
INSERT INTO value (digest, size, made) VALUES (?, ?, ?)
ON CONFLICT (digest) DO UPDATE SET made = excluded.made
"""


def _write(path: str, parts: list[Any]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.writelines(parts)
        file.flush()
        getattr(os, "fdatasync", os.fsync)(file.fileno())


def path_of(store: str, digest: str) -> str:
    """The file of a value that is not in the database itself."""
    return os.path.join(store, "values", digest[:2], digest)


def _checked(store: str, digest: str, data: bytes | None) -> bytes:
    """The bytes kept under *digest*, in a row or a file, if they are what was written."""
    try:
        if data is None:
            with open(path_of(store, digest), "rb") as file:
                data = file.read()
        key = store_key(store)
    except FileNotFoundError:
        raise StoreError(
            "it was removed, perhaps by `mxm-pipeline runs prune`", store=store
        ) from None
    except OSError as error:
        why = f"its file cannot be read: {error.strerror}"
        raise StoreError(why, store=store) from None
    if not hmac.compare_digest(hmac.digest(key, data, "sha256").hex(), digest):
        raise StoreError("its bytes are damaged", store=store)
    return data


def is_whole(store: str, digest: str, data: bytes | None) -> bool:
    """Whether the bytes kept under *digest* are there, as written; parameters as in `load`."""
    try:
        _checked(store, digest, data)
    except StoreError:
        return False
    return True


def load(store: str, digest: str, data: bytes | None) -> Any:
    """The value kept under *digest*: a copy of what the task returned.

    Parameters
    ----------
    store
        The folder.
    digest
        Its name.
    data
        Its bytes, if they are in the row of its task.

    Raises
    ------
    StoreError
        It is gone or damaged, cannot be unpickled, or others could have written it.
    """
    require_trust(store)
    data = _checked(store, digest, data)
    try:
        return unpack(data)
    except BaseException as error:  # user code
        let_signals_pass(error)
        raise StoreError(f"it cannot be loaded: {described(error)}", store=store) from error


def require_trust(store: str) -> None:
    """Check that nobody but its owner could have written to *store*.

    Raises
    ------
    StoreError
        Others could have.
    """
    why = distrust(store)
    if why:
        raise StoreError(
            f"nothing is loaded from the store: {why}",
            store=store,
            hint="only its owner may write to a store; MXM_HOME names another one",
        )


def unpack(data: bytes) -> Any:
    """The value that `pack` turned into *data*; first check who wrote it."""
    body, *buffers = _parts(data)
    return pickle.loads(body, buffers=buffers)  # noqa: S301 - ours alone, and checked


def _parts(data: bytes) -> Iterator[bytes | bytearray]:
    if data[: len(_MAGIC)] != _MAGIC:
        raise ValueError("not in a form that this version knows")
    offset = len(_MAGIC)
    (count,) = _COUNT.unpack_from(data, offset)
    offset += _COUNT.size
    sizes = [_PART.unpack_from(data, offset + i * _PART.size) for i in range(count + 1)]
    offset += (count + 1) * _PART.size
    for size, writable in sizes:
        part = data[offset : offset + size]
        yield bytearray(part) if writable else part
        offset += size
