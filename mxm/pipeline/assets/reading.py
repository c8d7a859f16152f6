"""Records which assets a task reads while its function runs."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable
from contextvars import ContextVar

from mxm.pipeline.values.assets import ReadAsset

__all__ = ["ReadAsset", "also_read", "flow_file", "note_read", "noting_reads", "of_flow"]

_reads: ContextVar[list[ReadAsset] | None] = ContextVar("mxm_reads", default=None)
_open: list[list[ReadAsset]] = []


def note_read(read: ReadAsset) -> None:
    """Record that the task running in this context has read an asset.

    In a thread that belongs to no task, it counts for every running task.
    """
    noted = _reads.get()
    for each in [noted] if noted is not None else list(_open):
        each.append(read)


def also_read(reads: Iterable[ReadAsset]) -> None:
    """Count *reads* for the task of this context, if there is one.

    For results that a flow inside a task reuses from an earlier run.
    """
    noted = _reads.get()
    if noted is not None:
        noted.extend(reads)


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
    """The file of the flow running in this context; None if it has no file, or none runs."""
    return _file.get()


class noting_reads:  # noqa: N801 - read as a statement
    """A block whose reads are added to *noted*, and to those of blocks around it."""

    # Not a generator: `contextmanager` assigns to passing exceptions, which frozen ones reject.

    def __init__(self, noted: list[ReadAsset]) -> None:
        self._noted = noted

    def __enter__(self) -> None:
        self._outer = _reads.get()
        self._token = _reads.set(self._noted)
        self._before = len(self._noted)
        _open.append(self._noted)

    def __exit__(self, *_: object) -> None:
        _reads.reset(self._token)
        _open[:] = [each for each in _open if each is not self._noted]
        if self._outer is not None:
            self._outer.extend(self._noted[self._before :])
