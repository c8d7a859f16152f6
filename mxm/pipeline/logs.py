"""Which flow and task a log line, or a printed one, belongs to."""

from __future__ import annotations

import codecs
import io
import logging
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TextIO

__all__ = [
    "DecodedBytes",
    "TaskFilter",
    "TaskLines",
    "current_task",
    "logger",
    "outside_tasks",
    "within_task",
]

logger: logging.Logger = logging.getLogger("mxm.pipeline")

_current: ContextVar[tuple[str, str] | None] = ContextVar("mxm_task", default=None)


def current_task() -> tuple[str, str] | None:
    """Names of the flow and the task whose function is being called here and now, or None."""
    return _current.get()


class within_task:  # noqa: N801 - read as a statement
    """Mark what is logged and printed in this block as the task's."""

    # No generator: `contextmanager` assigns to exceptions that pass, which a frozen one refuses.

    def __init__(self, flow: str, task: str) -> None:
        self._task = (flow, task)

    def __enter__(self) -> None:
        self._token = _current.set(self._task)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


class outside_tasks:  # noqa: N801 - read as a statement
    """Mark what is logged and printed in this block as nobody's."""

    def __enter__(self) -> None:
        self._token = _current.set(None)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


class DecodedBytes(io.RawIOBase):
    """A binary stream whose bytes, UTF-8, are written as text.

    Parameters
    ----------
    write
        Takes the text.
    stream
        What lies beneath, for those who write past this object.
    """

    def __init__(self, write: Callable[[str], object], stream: TextIO) -> None:
        self._write = write
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def writable(self) -> bool:
        """Whether it can be written to."""
        return True

    def write(self, data: Any, /) -> int:
        """Write *data*; a character that is cut waits for its rest."""
        text = self._decoder.decode(bytes(data))
        if text:
            self._write(text)
        return memoryview(data).nbytes

    def isatty(self) -> bool:
        """Whether the stream beneath is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor beneath."""
        return self._stream.fileno()


class TaskLines(io.TextIOBase):
    """A text stream that puts the flow and task before each line which a task writes to it.

    Parameters
    ----------
    stream
        Where the lines go.
    """

    encoding: str = "utf-8"
    errors: str | None = "backslashreplace"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.buffer: DecodedBytes = DecodedBytes(self.write, stream)
        self._open: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def write(self, text: str, /) -> int:
        """Write *text*; of a task's, whole lines only, so that those of others do not cut them."""
        task = _current.get()
        if task is None:
            return self._stream.write(text)
        with self._lock:
            *lines, rest = (self._open.pop(task, "") + text).split("\n")
            if rest:
                self._open[task] = rest
            self._stream.write("".join(f"[{'/'.join(task)}] {line}\n" for line in lines))
        return len(text)

    def flush(self) -> None:
        """Flush what is whole."""
        self._stream.flush()

    def finish(self) -> None:
        """Write the last lines that tasks left without an end."""
        with self._lock:
            for task, rest in self._open.items():
                self._stream.write(f"[{'/'.join(task)}] {rest}\n")
            self._open.clear()
        self._stream.flush()

    def close(self) -> None:
        """Do nothing: the stream beneath is another's, and may be closed when this is collected."""

    def isatty(self) -> bool:
        """Whether the lines go to a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor beneath, for those who write past this object."""
        return self._stream.fileno()


class TaskFilter(logging.Filter):
    """Gives each record ``mxm_flow`` and ``mxm_task`` (``""`` outside a task), for a format."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mark *record*; none is held back."""
        flow, task = _current.get() or ("", "")
        record.mxm_flow = flow
        record.mxm_task = getattr(record, "mxm_task", None) or task
        return True
