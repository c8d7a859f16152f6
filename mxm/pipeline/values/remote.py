"""RemoteValue: a large result that stayed on the cluster where it was made."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, NoReturn, Protocol

from mxm.pipeline.errors import BackendError
from mxm.pipeline.values.jsonvalue import JSONValue, Written

__all__ = ["Held", "RemoteValue", "fetched"]


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
                self._values.append(self.held.fetch())
            return self._values[0]

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
