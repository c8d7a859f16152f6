"""Tells which flow and task a logged or printed line belongs to."""

from __future__ import annotations

import codecs
import io
import logging
import threading
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, TextIO

from mxm.pipeline.process.printable import in_one_line, printable, without_sequences

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
    """Names of the flow and task whose function is running in this context, or None."""
    return _current.get()


class within_task:  # noqa: N801 - read as a statement
    """Mark output in this block, logged or printed, as the task's."""

    # Not a generator: `contextmanager` assigns to passing exceptions, which frozen ones reject.

    __slots__ = ("_task", "_token")

    def __init__(self, flow: str, task: str) -> None:
        self._task = (flow, task)

    def __enter__(self) -> None:
        self._token = _current.set(self._task)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


class outside_tasks:  # noqa: N801 - read as a statement
    """Mark output in this block, logged or printed, as belonging to no task."""

    def __enter__(self) -> None:
        self._token = _current.set(None)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


class DecodedBytes(io.RawIOBase):
    """A binary stream that decodes UTF-8 and writes text.

    Parameters
    ----------
    write
        Takes the text.
    stream
        The underlying stream, for code that bypasses this object.
    """

    def __init__(self, write: Callable[[str], object], stream: TextIO) -> None:
        self._write = write
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def writable(self) -> bool:
        """Whether it can be written to."""
        return True

    def write(self, data: Any, /) -> int:
        """Write *data*; an incomplete character waits for its rest."""
        text = self._decoder.decode(bytes(data))
        if text:
            self._write(text)
        return memoryview(data).nbytes

    def isatty(self) -> bool:
        """Whether the underlying stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The underlying descriptor."""
        return self._stream.fileno()


class TaskLines(io.TextIOBase):
    """A text stream that puts the flow and task in front of each line that a task writes.

    Control characters are escaped and colours dropped: a task cannot control the terminal. A
    carriage return ends a line, and the text after it is shown at once, so progress bars move.

    Parameters
    ----------
    stream
        Where the lines go.
    shown
        Decides which lines of tasks are written; None for all.
    """

    encoding: str = "utf-8"
    errors: str | None = "backslashreplace"

    def __init__(self, stream: TextIO, shown: Callable[[str], bool] | None = None) -> None:
        self._stream = stream
        self._shown = shown
        self.buffer: DecodedBytes = DecodedBytes(self.write, stream)
        self._open: dict[tuple[str, str], str] = {}
        self._bars: set[tuple[str, str]] = set()  # tasks whose open line is already written
        self._lock = threading.Lock()

    def write(self, text: str, /) -> int:
        """Write *text*; for a task, only whole lines, so that tasks do not cut each other's."""
        task = _current.get()
        if task is None:
            return self._stream.write(text)
        with self._lock:
            self._write_lines(task, self._whole(task, text))
        return len(text)

    def _whole(self, task: tuple[str, str], text: str) -> list[str]:
        """The lines that *text* completes; the rest waits."""
        whole = self._open.pop(task, "") + text
        if task in self._bars:
            whole = whole.removeprefix("\r").removeprefix("\n")
            self._bars.discard(task)
        is_bar = "\r" in text.replace("\r\n", "\n")
        *lines, rest = whole.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if is_bar:  # the next text may take long, and ends it with an empty line
            self._bars.add(task)
            return [line for line in (*lines, rest) if line]
        if rest:
            self._open[task] = rest
        return lines

    def _write_lines(self, task: tuple[str, str], lines: Iterable[str]) -> None:
        place = in_one_line("/".join(task))
        self._stream.write(
            "".join(
                f"[{place}] {printable(without_sequences(line))}\n"
                for line in lines
                if self._shown is None or self._shown(line)
            )
        )

    def flush(self) -> None:
        """Flush the whole lines."""
        self._stream.flush()

    def finish(self) -> None:
        """Write the last, unfinished lines of tasks."""
        with self._lock:
            for task, rest in self._open.items():
                self._write_lines(task, [rest])
            self._open.clear()
        self._stream.flush()

    def close(self) -> None:
        """Do nothing: this object does not own the stream, which may be closed already."""

    def isatty(self) -> bool:
        """Whether the lines go to a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The underlying descriptor, for code that bypasses this object."""
        return self._stream.fileno()


class TaskFilter(logging.Filter):
    """Gives each record ``mxm_flow`` and ``mxm_task`` (``""`` outside a task), for a format."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mark *record*; never drop it."""
        flow, task = _current.get() or ("", "")
        record.mxm_flow = flow
        record.mxm_task = getattr(record, "mxm_task", None) or task
        return True
