"""RemoteValue: a large result that stayed on the cluster where it was made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from mxm.pipeline.errors import BackendError, StoreError
from mxm.pipeline.values.jsonvalue import JSONValue, Written

__all__ = ["Facts", "Held", "KeptElsewhere", "PartFacts", "RemoteValue", "fetched"]


class Held(Protocol):
    """A reference to a value on a cluster."""

    @property
    def outlives_run(self) -> bool:
        """Whether it can be fetched after the run."""
        ...

    def fetch(self) -> Any:
        """A copy of the value.

        Raises
        ------
        BackendError
            It is gone, or cannot be loaded.
        """
        ...


@dataclass(frozen=True, slots=True)
class PartFacts:
    """What a worker says of a part of a value, for the cache.

    Parameters
    ----------
    digest
        That of its content.
    packages
        Versions of what it is made of, by distribution.
    is_plain
        Whether it is made of nothing but types that any process can load.
    refused
        Where in it something has no digest, and why; None where it has one.
    """

    digest: str = ""
    packages: Mapping[str, str] = field(default_factory=dict[str, str])
    is_plain: bool = False
    refused: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class KeptElsewhere:
    """A value that a worker has kept in the folder of the store.

    Parameters
    ----------
    name
        What names it in the store.
    size
        In bytes.
    folders
        Those folders of the run whose paths it holds.
    """

    name: str
    size: int
    folders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a worker says of a value that stays there, for the cache.

    Parameters
    ----------
    parts
        By path as JSON, of the parts that were asked for.
    kept
        Where it is kept; None where the worker has not got the folder of the store.
    unkept
        Why it cannot be kept at all; None where it can.
    """

    parts: Mapping[str, PartFacts]
    kept: KeptElsewhere | None = None
    unkept: str | None = None


class RemoteValue:
    """A large result that stayed on the cluster; `get` fetches it.

    Runs with runner ``dask`` or ``ray`` have it in `FlowRun.values` for a result of more than 1 MB
    that JSON only describes, such as a table.

    Parameters
    ----------
    kind
        The type of the value, with its library: ``pandas.DataFrame``.
    nbytes
        The size of its pickle in bytes.
    written
        The value as JSON.
    held
        What leads to it; None in a copy in another process.

    Attributes
    ----------
    type
        As *kind*.
    facts
        What its worker says of it for the cache.
    kept
        Loads the copy that the store keeps; None where it keeps none.
    description
        The value as JSON has it: for a table its shape, columns and first rows.

    Examples
    --------
    >>> from mxm.pipeline import RemoteValue
    >>> run = risk.with_options(runner="dask").run()  # doctest: +SKIP
    >>> run.values["load"].get()  # doctest: +SKIP
    """

    def __init__(self, kind: str, nbytes: int, written: Written, held: Held | None) -> None:
        self.type: str = kind
        self.nbytes: int = nbytes
        self.description: JSONValue = written.value
        self.written: Written = written
        self.held: Held | None = held
        self.facts: Facts | None = None
        self.kept: Callable[[], Any] | None = None
        self._lock = threading.Lock()
        self._values: list[Any] = []

    @property
    def is_here(self) -> bool:
        """Whether it was fetched."""
        return bool(self._values)

    def get(self) -> Any:
        """The value, by reference: fetched once, as long as the cluster has it.

        Raises
        ------
        BackendError
            The cluster has ended, or has lost it with a worker.
        """
        with self._lock:
            if not self._values:
                if self.held is None:
                    raise BackendError(
                        f"this {self.type} stayed on the cluster of a run of another process",
                        hint="call get() in the process of the run, and pass on what it returns",
                    )
                self._values.append(self._fetched(self.held))
            return self._values[0]

    def _fetched(self, held: Held) -> Any:
        try:
            return held.fetch()
        except BackendError as error:
            if self.kept is None:
                raise
            try:
                return self.kept()
            except StoreError:
                raise error from None

    def __repr__(self) -> str:
        where = "fetched" if self.is_here else "on the cluster"
        return f"<RemoteValue {self.type}, {self.nbytes / 1e6:,.1f} MB, {where}: get() returns it>"

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteValue, (self.type, self.nbytes, self.written, None)

    # It is easily mistaken for the value itself, and must not act like it.

    def _is_not_the_value(self) -> NoReturn:
        raise TypeError(f"this is a RemoteValue, not the {self.type} itself: call get()")

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"RemoteValue has no attribute {name!r}; it is not the {self.__dict__.get('type')} "
            "itself: call get()",
            name=name,
            obj=self,
        )

    def __getitem__(self, key: object) -> NoReturn:
        self._is_not_the_value()

    def __iter__(self) -> Iterator[NoReturn]:
        self._is_not_the_value()

    def __len__(self) -> int:  # noqa: PLE0303
        self._is_not_the_value()

    def __bool__(self) -> bool:  # noqa: PLE0304
        self._is_not_the_value()

    def __eq__(self, other: object) -> bool:
        if self is not other and not isinstance(other, RemoteValue):
            self._is_not_the_value()
        return self is other

    def __hash__(self) -> int:
        return object.__hash__(self)


def fetched(value: Any) -> Any:
    """*value*, or what it stands for, if it is a `RemoteValue`.

    Raises
    ------
    BackendError
        As in `RemoteValue.get`.
    """
    return value.get() if type(value) is RemoteValue else value
