"""Results kept from run to run: the interface of a store that keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from mxm.pipeline.assets.reading import ReadAsset
from mxm.pipeline.execution.files.observing import FileNote
from mxm.pipeline.execution.kept.keys import Key
from mxm.pipeline.values.fingerprint import FileMemory, Item
from mxm.pipeline.values.jsonvalue import Written
from mxm.pipeline.values.remote import KeptElsewhere

if TYPE_CHECKING:
    from mxm.pipeline.execution.staying import Writer

__all__ = ["Entries", "Entry", "NewEntry", "UnkeptError"]


class UnkeptError(Exception):
    """A result is not kept; the message says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A result that an earlier run kept.

    Parameters
    ----------
    key
        The digest of its key.
    run
        Id of that run.
    started
        When the attempt that made it started, in UTC.
    content
        The digest of the value.
    parts
        The digests of parts of it, by their paths.
    packages
        Versions of what it is made of, by distribution.
    made_of
        The parts of its key, and ``shown``, the arguments in words, where they are asked for by
        `Entries.latest`.
    observed
        The files that were read and written.
    reads
        The assets that were read.
    asset
        The asset that was written, as `WrittenAsset.to_dict` has it; None for none.
    written
        The value as JSON; None for a long one.
    is_plain
        Whether it is made of nothing but types that any process can load.
    load
        Loads the value: a copy.
    kept
        What names it in the store, and its bytes where they are few.
    """

    key: str
    run: str
    started: datetime
    content: str
    parts: Mapping[str, str]
    packages: Mapping[str, str]
    made_of: Mapping[str, Any]
    observed: Sequence[FileNote]
    reads: Sequence[ReadAsset]
    asset: Mapping[str, Any] | None
    written: Written | None
    is_plain: bool
    load: Callable[[], Any]
    kept: tuple[str, bytes | None]


@dataclass(frozen=True, slots=True)
class NewEntry:
    """A result to keep; parameters as in `Entry`, and its origin.

    Parameters
    ----------
    shown
        By parameter, the argument in words, if it is short; secrets are masked.
    is_cached
        Whether any run may use it, or only a resume of this one.
    """

    key: Key
    flow: str
    step: str
    item: str | None
    run: str
    started: datetime
    content: str
    parts: Mapping[str, str]
    packages: Mapping[str, str]
    code: Sequence[Item]
    observed: Sequence[FileNote]
    reads: Sequence[ReadAsset]
    asset: Mapping[str, Any] | None
    written: Written
    is_plain: bool
    is_cached: bool
    shown: Mapping[str, str]


class Entries(Protocol):
    """Where results are kept from run to run; every method may be called on any thread."""

    key: bytes
    root: str
    memory: FileMemory

    def masked(self, text: str) -> str:
        """*text* without the secrets of the run."""
        ...

    def find(self, key: str, run: str | None = None) -> Entry | None:
        """The intact result kept under *key*; with *run*, that of a task that is not cached."""
        ...

    def find_any(self, key: str) -> Entry | None:
        """The result that any run kept under *key*, also of a task that is not cached."""
        ...

    def latest(self, flow: str, step: str, item: str | None) -> tuple[Entry, list[Item]] | None:
        """The newest result of a step, whatever its key, and the code that made it."""
        ...

    def code(self, flow: str, step: str) -> list[Item] | None:
        """The code that made the newest result of a step or an item of it."""
        ...

    def keep(self, entry: NewEntry, value: Any, same: Callable[[Any], bool]) -> None:
        """Keep *value*.

        Parameters
        ----------
        entry
            What is known of it.
        value
            The value.
        same
            Says whether a copy that was read back is the same.

        Raises
        ------
        UnkeptError
            It cannot be kept.
        """
        ...

    def writer(self) -> Writer | None:
        """Keeps values from another process that has the same folder; None where none may."""
        ...

    def keep_written(self, entry: NewEntry, written: KeptElsewhere) -> Callable[[], Any]:
        """Keep a value that a `writer` has written; what loads it.

        Raises
        ------
        UnkeptError
            It is not there.
        """
        ...

    def content(self, read: ReadAsset) -> str | None:
        """The content now of the asset that *read* was a read of; None if it is not known."""
        ...

    def fits(self, value: Any) -> bool:
        """Whether *value* is small enough to be kept for a resume."""
        ...

    def close(self) -> None:
        """Close it: the run is over."""
        ...
