"""The interface of a place: calls of functions, alone or many in a row, and a clean end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mxm.pipeline.execution.attempts.invocation import Invocation

__all__ = ["Begun", "Done", "Place"]


@dataclass(frozen=True, slots=True)
class Begun:
    """The function of a call is about to be called.

    Parameters
    ----------
    number
        The index of the call, from 0.
    ago
        How many seconds ago that was, where it is known afterwards only.
    """

    number: int
    ago: float = 0.0


@dataclass(frozen=True, slots=True)
class Done:
    """A call has ended.

    Parameters
    ----------
    number
        Which of the calls it is, from 0.
    value
        What its function returned.
    error
        What it raised, or why it has no outcome; None if it returned.
    ago
        How many seconds ago it ended.
    """

    number: int
    value: Any = None
    error: BaseException | None = None
    ago: float = 0.0


class Place(Protocol):
    """Where functions run: workers in other processes, on this machine or elsewhere.

    A thread of the runner blocks in each call, so engines, retries and states work the same
    wherever a function runs.

    Attributes
    ----------
    slots
        How many calls run at once.
    """

    slots: int

    def invoke(self, call: Invocation) -> Any:
        """Call the function of *call* once; return its value.

        Raises
        ------
        FatalError
            Another attempt is pointless: something cannot be sent.
        BaseException
            What the function raised.
        """
        ...

    def invoke_many(self, calls: Sequence[Invocation]) -> Iterator[Begun | Done]:
        """Call the functions of *calls*, items of one step, one after another on one worker.

        Yields a `Begun` and a `Done` for each call as they happen. A call that was running when its
        worker died is done with `WorkerDiedError`; later calls do not start, and the iterator ends.
        """
        ...

    def close(self) -> None:
        """Let the workers exit normally: files are flushed, exit handlers run."""
        ...
