"""Which assets a task has read: noted while its function runs."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["ReadAsset", "flow_file", "note_read", "noting_reads", "of_flow"]


@dataclass(frozen=True, slots=True)
class ReadAsset:
    """An asset that was read: an input of the task, known by its content.

    Parameters
    ----------
    id
        Its name.
    partition
        ``key:value``, if it has partitions.
    digest
        ``sha256-`` and the digest of the file.
    """

    id: str
    partition: str | None
    digest: str | None


_reads: ContextVar[list[ReadAsset] | None] = ContextVar("mxm_reads", default=None)


def note_read(id: str, partition: str | None, digest: str | None) -> None:  # noqa: A002
    """Note that the task that runs in this context has read an asset."""
    noted = _reads.get()
    if noted is not None:
        noted.append(ReadAsset(id, partition, digest))


_file: ContextVar[tuple[str | None] | None] = ContextVar("mxm_flow_file", default=None)


@contextlib.contextmanager
def of_flow(file: str | None) -> Generator[None]:
    """A block in which a flow of *file* runs: its tasks read the assets of its project."""
    token = _file.set((file,))
    try:
        yield
    finally:
        _file.reset(token)


def flow_file() -> tuple[str | None] | None:
    """The file of the flow that runs in this context, which may be None; None where none runs."""
    return _file.get()


@contextlib.contextmanager
def noting_reads(noted: list[ReadAsset]) -> Generator[None]:
    """A block whose reads are added to *noted*, and to those of blocks around it."""
    outer = _reads.get()
    token = _reads.set(noted)
    try:
        yield
    finally:
        _reads.reset(token)
        if outer is not None:
            outer.extend(noted)
