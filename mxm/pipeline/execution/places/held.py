"""Values that stay on a cluster: how the run's process names them, and a worker gets them.

They stay as bytes. Each call makes its own copy, so what a task changes reaches no other, and the
value of a task is what it was when the task ended.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
from collections.abc import Generator, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

from mxm.pipeline.bindings import projected
from mxm.pipeline.errors import BackendError, SpecError, described
from mxm.pipeline.execution.pickling import unpack
from mxm.pipeline.process.interrupts import let_signals_pass

__all__ = ["HeldPart", "InputError", "Packed", "arrived", "sending"]


class Packed:
    """The bytes of a value, as the cluster holds them.

    Parameters
    ----------
    data, apart
        As `mxm.pipeline.execution.pickling.pack_apart` gives them.
    """

    __slots__ = ("apart", "data")

    def __init__(self, data: Any, *apart: Any) -> None:
        self.data: bytes = data
        self.apart: tuple[Any, ...] = apart

    @property
    def nbytes(self) -> int:
        """How many bytes they are."""
        return sum(memoryview(part).nbytes for part in (self.data, *self.apart))

    def __sizeof__(self) -> int:  # by which Dask decides what to write to its disk
        return object.__sizeof__(self) + self.nbytes

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        as_part: Any = pickle.PickleBuffer if protocol >= 5 else bytes
        parts: tuple[Any, ...] = tuple(map(as_part, (self.data, *self.apart)))
        kind: type[Packed] = type(self)
        return kind, parts

    def copied(self) -> tuple[Any, ...]:
        """A copy of each buffer apart, which may be changed."""
        return tuple(map(_copied, self.apart))

    def load(self) -> Any:
        """The value; each call makes a copy of its own."""
        return unpack(self.data, self.copied())


def _copied(buffer: Any) -> Any:
    numpy: Any = sys.modules.get("numpy")  # it takes half as long
    return bytearray(buffer) if numpy is None else numpy.array(numpy.frombuffer(buffer, "u1"))


class Fetcher(Protocol):
    """A place that holds values.

    Attributes
    ----------
    is_theirs
        Whether the connection is the user's, and outlives the run.
    """

    is_theirs: bool

    def fetch(self, reference: Any, task: str) -> Packed:
        """What *reference* names, which *task* returned.

        Raises
        ------
        BackendError
            They are gone.
        """
        ...


class HeldPart:
    """A value on a cluster, or a part of it, which is taken where it is used.

    Parameters
    ----------
    place, reference
        Where it is, and what names it there.
    task
        The task that returned it.
    path
        The part.
    """

    __slots__ = ("path", "place", "reference", "task")

    def __init__(
        self, place: Fetcher, reference: Any, task: str, path: tuple[Any, ...] = ()
    ) -> None:
        self.place: Fetcher = place
        self.reference: Any = reference
        self.task: str = task
        self.path: tuple[Any, ...] = path

    def __getitem__(self, key: Any) -> HeldPart:
        return HeldPart(self.place, self.reference, self.task, (*self.path, key))

    @property
    def outlives_run(self) -> bool:
        """Whether it can be fetched after the run."""
        return self.place.is_theirs

    def fetch(self) -> Any:
        """A copy of it, in this process."""
        packed = self.place.fetch(self.reference, self.task)
        return projected(_loaded(packed, self.task), self.path)

    def __reduce__(self) -> tuple[Any, ...]:
        sent = _sending.get()
        if sent is None:
            raise SpecError(f"the result of task {self.task!r} is on a cluster, and is not sent")
        references = [id(held.reference) for held in sent]
        if id(self.reference) not in references:
            references.append(id(self.reference))
            sent.append(self)
        number = references.index(id(self.reference))
        return _taken, (number, self.task, self.path)


_sending: ContextVar[list[HeldPart] | None] = ContextVar("mxm_sending", default=None)


@contextlib.contextmanager
def sending() -> Generator[list[HeldPart], None, None]:
    """Gives the values that what is pickled in this block refers to, in order."""
    sent: list[HeldPart] = []
    token = _sending.set(sent)
    try:
        yield sent
    finally:
        _sending.reset(token)


# On a worker


class InputError(Exception):
    """An input cannot be taken from the value that holds it; its cause says why."""


class _Arrived:
    """The values that one call refers to; each is loaded once, so that parts share it."""

    def __init__(self, packed: Sequence[Packed]) -> None:
        self.packed: Sequence[Packed] = packed
        self.loaded: dict[int, Any] = {}

    def take(self, number: int, task: str, path: tuple[Any, ...]) -> Any:
        if number not in self.loaded:
            try:
                self.loaded[number] = _loaded(self.packed[number], task)
            except BackendError as error:
                raise InputError from error
        try:
            return projected(self.loaded[number], path)
        except BaseException as error:  # any type may fail in its own way
            let_signals_pass(error)
            raise InputError from error


_arrived: ContextVar[_Arrived | None] = ContextVar("mxm_arrived", default=None)


@contextlib.contextmanager
def arrived(packed: Sequence[Packed]) -> Generator[None, None, None]:
    """Let what is unpickled in this block refer to the values in *packed*."""
    token = _arrived.set(_Arrived(packed))
    try:
        yield
    finally:
        _arrived.reset(token)


def _taken(number: int, task: str, path: tuple[Any, ...]) -> Any:
    values = _arrived.get()
    assert values is not None  # noqa: S101 - a worker unpacks inputs in `arrived`
    return values.take(number, task, path)


def _loaded(packed: Packed, task: str) -> Any:
    try:
        return packed.load()
    except BaseException as error:  # some types can be pickled, but not unpickled
        let_signals_pass(error)
        raise BackendError(
            f"the value of task {task!r} cannot pass between processes: {described(error)}",
            hint="use runner 'threads' for what cannot be pickled",
        ) from error
