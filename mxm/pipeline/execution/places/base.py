"""What a place offers: functions called once, alone or many in a row, and an orderly end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mxm.pipeline.execution.call import Invocation

__all__ = ["Begun", "Done", "Place"]


@dataclass(frozen=True, slots=True)
class Begun:
    """The function of a call is about to be called.

    Parameters
    ----------
    number
        Which of the calls it is, from 0.
    """

    number: int


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
        What it raised, or why nothing came of it; None where it returned.
    """

    number: int
    value: Any = None
    error: BaseException | None = None


class Place(Protocol):
    """Where functions run: workers in other processes, on this machine or elsewhere.

    A thread of the runner blocks in each call, so that engines, retries and states are the same
    wherever a function runs.
    """

    def invoke(self, call: Invocation) -> Any:
        """Call the function of *call* once; its value.

        Raises
        ------
        FatalError
            What is not worth another attempt: something cannot be sent.
        BaseException
            What the function raised.
        """
        ...

    def invoke_many(self, calls: Sequence[Invocation]) -> Iterator[Begun | Done]:
        """Call the functions of *calls*, those of items of one step, in turn on one worker.

        Gives for each call a `Begun` and a `Done` as they happen. A call that began on a worker
        that died is done with `WorkerDiedError`; the calls after it are not begun, and the iterator
        ends.
        """
        ...

    def cancel(self) -> None:
        """End what is at work, with all that it started."""
        ...

    def close(self) -> None:
        """Let the workers end as Python ends: files are flushed, exit handlers run."""
        ...
