"""The output of tasks, printed and logged: kept with the task, and passed on line by line."""

from __future__ import annotations

import codecs
import contextlib
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextvars import ContextVar, Token
from typing import Any, Protocol

from mxm.pipeline.errors import text_of
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.process.logs import current_task

__all__ = [
    "LIMIT",
    "OnLine",
    "Output",
    "captured",
    "is_passed_on",
    "output_to",
    "pass_on_open_lines",
    "pass_on_progress",
    "restore_output",
    "send_progress",
]

LIMIT = 65_536
"""How many characters of a task's output are kept: the last."""


_output: ContextVar[Output | None] = ContextVar("mxm_output", default=None)
_taken = threading.RLock()  # a signal handler may print during a print


class OnLine(Protocol):
    """Takes a line, the name of its stream, the level of a log record, and whether it is a bar."""

    def __call__(self, text: str, stream: str, level: int | None, is_bar: bool, /) -> object:
        """Take the line."""
        ...


class OnProgress(Protocol):
    """Takes how many are done, and of how many."""

    def __call__(self, done: int, total: int | None, /) -> object:
        """Take them."""
        ...


class Output:
    """The output of one step.

    Parameters
    ----------
    on_line
        Called with each complete line; None if nobody listens.
    on_progress
        Called with how far the step says it is.

    Attributes
    ----------
    closed
        Whether the step has ended: later output is not its own.
    around
        The output of the task that runs this task's flow; it keeps these lines, too.
    """

    __slots__ = (
        *("_bars", "_kept", "_on_line", "_on_progress", "_open", "_size"),
        *("around", "closed"),
    )

    def __init__(
        self,
        on_line: OnLine | None = None,
        on_progress: OnProgress | None = None,
        around: Output | None = None,
    ) -> None:
        self.closed: bool = False
        self.around: Output | None = around or _output.get()
        self._on_line = on_line
        self._on_progress = on_progress
        self._kept: deque[str] | None = None  # most tasks are silent
        self._size = 0
        self._open: dict[str, str] | None = None
        self._bars: set[str] = set()  # streams whose open line is already passed on

    @property
    def has_listener(self) -> bool:
        """Whether its lines are passed on."""
        return self._on_line is not None

    def write(self, text: str, stream: str) -> None:
        """Take *text* that a task wrote to *stream*.

        A carriage return ends a line, and the text after it is passed on at once, so progress bars
        move.
        """
        lines: list[str] = []
        with _taken:
            self._keep(text)
            if self._on_line is not None:
                lines = self._whole(text, stream)
            is_bar = stream in self._bars  # of the last line, and of what it was written over
        self._pass_on(lines, stream, is_bar=is_bar)

    def progress(self, done: int, total: int | None) -> None:
        """Pass on how far the step says it is."""
        if self._on_progress is not None:
            self._on_progress(done, total)

    def _whole(self, text: str, stream: str) -> list[str]:
        """The lines that *text* completes; the rest waits."""
        if self._open is None:
            self._open = {}
        whole = self._open.pop(stream, "") + text
        if stream in self._bars:
            whole = whole.removeprefix("\r").removeprefix("\n")
            self._bars.discard(stream)
        *lines, rest = whole.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if "\r" in text.replace("\r\n", "\n"):
            self._bars.add(stream)
            return [line for line in (*lines, rest) if line]
        if rest:
            self._open[stream] = rest
        return lines

    def log(self, text: str, level: int) -> None:
        """Take *text* that a task logged."""
        with _taken:
            self._keep(text + "\n")
        self._pass_on(text.split("\n"), "log", level)

    def end_lines(self) -> None:
        """Pass on unfinished lines."""
        if self._open:
            with _taken:
                rest, self._open = self._open, None
            for stream, text in rest.items():
                self._pass_on([text], stream)

    def close(self) -> None:
        """Take no more output."""
        self.closed = True

    def text(self) -> str:
        """The text kept so far."""
        return "" if self._kept is None else "".join(self._kept)[-LIMIT:]

    def _keep(self, text: str) -> None:
        if self.around is not None and not self.around.closed:
            self.around._keep(text)
        if self._kept is None:
            self._kept = deque()
        text = text[-LIMIT:]
        self._kept.append(text)
        self._size += len(text)
        while self._size - len(self._kept[0]) >= LIMIT:
            self._size -= len(self._kept.popleft())

    # Outside the lock: a thread with the observers' lock may want this one.
    def _pass_on(
        self, lines: list[str], stream: str, level: int | None = None, *, is_bar: bool = False
    ) -> None:
        if self._on_line is not None:
            for line in lines:
                self._on_line(line, stream, level, is_bar)


def output_to(output: Output) -> Token[Output | None]:
    """Send what tasks of this context print and log to *output*."""
    return _output.set(output)


def restore_output(token: Token[Output | None]) -> None:
    """Undo `output_to`."""
    _output.reset(token)


def _current_output() -> Output | None:
    output = _output.get()
    if output is None or output.closed or current_task() is None:
        return None
    return output


def pass_on_open_lines() -> None:
    """Pass on what the task of this context wrote without an end: a question, before it waits."""
    output = _current_output()
    if output is not None:
        output.end_lines()


_elsewhere: list[OnProgress] = []  # the way to another process that runs this task


def send_progress(to: OnProgress) -> None:
    """From now on, progress of tasks of this process goes to another one."""
    _elsewhere[:] = [to]


def pass_on_progress(done: int, total: int | None) -> None:
    """Pass on how far the task of this context says it is; nothing outside of one."""
    if _elsewhere:
        _elsewhere[0](done, total)
        return
    output = _current_output()
    if output is not None:
        output.progress(done, total)


def is_passed_on() -> bool:
    """Whether observers get text printed here and now, as the output of a task."""
    output = _current_output()
    return output is not None and output.has_listener


@contextlib.contextmanager
def captured() -> Generator[None]:
    """Within this block, capture the output of tasks and still pass it on as usual."""
    with _tee("stdout"), _tee("stderr"), _records():
        yield


_lock = threading.Lock()
# `print` holds no reference to sys.stdout; a thread that outlives the run may still be in it.
_outlived: deque[object] = deque(maxlen=16)


@contextlib.contextmanager
def _tee(name: str) -> Generator[None]:
    """Let ``sys.<name>`` capture what tasks write, as long as any run needs it."""
    with _lock:
        tee = stream = getattr(sys, name)
        if stream is not None:
            if not isinstance(stream, _Tee):
                tee = _Tee(stream, name)
                _outlived.append(tee)
                setattr(sys, name, tee)
            tee.users += 1
    try:
        yield
    finally:
        if tee is not None:
            with _lock:
                tee.users -= 1
                if tee.users == 0 and getattr(sys, name) is tee:
                    setattr(sys, name, tee.stream)


class _Tee:
    """A text stream that acts as another one, and copies what tasks write to their `Output`.

    Parameters
    ----------
    stream
        The other one.
    name
        ``stdout`` or ``stderr``.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self.stream = stream
        self.name_of_stream = name
        self.users = 0

    def write(self, text: str, /) -> Any:
        """Write *text*."""
        written = self.stream.write(text)
        self.take(text)
        return written

    def writelines(self, lines: Any, /) -> None:
        """Write each of *lines*."""
        for line in lines:
            self.write(line)

    def take(self, text: str) -> None:
        """Add *text* to the output of the task that writes it."""
        output = _current_output()
        if output is not None:
            output.write(text, self.name_of_stream)

    @property
    def buffer(self) -> _TeeOfBytes:
        """The underlying binary stream."""
        return _TeeOfBytes(self.stream.buffer, self.take)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _TeeOfBytes:
    def __init__(self, stream: Any, take: Callable[[str], None]) -> None:
        self._stream = stream
        self._take = take
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def write(self, data: Any, /) -> Any:
        written = self._stream.write(data)
        self._take(self._decoder.decode(bytes(data)))
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_listening = 0
_handling: list[Any] = []  # the original `Logger.callHandlers`, and its replacement


@contextlib.contextmanager
def _records() -> Generator[None]:
    """Capture what tasks log, as long as any run needs it.

    Not with a handler: then `logging.basicConfig` would do nothing in a task, and warnings without
    another handler would not be shown.
    """
    global _listening
    with _lock:
        _listening += 1
        if _listening == 1:
            before: Any = logging.Logger.callHandlers
            _handling[:] = before, _taking(before)
            _set_handling(_handling[1])
    try:
        yield
    finally:
        with _lock:
            _listening -= 1
            if _listening == 0 and logging.Logger.callHandlers is _handling[1]:
                _set_handling(_handling[0])


def _set_handling(handling: Any) -> None:
    setattr(logging.Logger, "callHandlers", handling)  # noqa: B010 - type checkers refuse it


def _taking(handling: Callable[[logging.Logger, logging.LogRecord], Any]) -> Any:
    def handle(log: logging.Logger, record: logging.LogRecord) -> None:
        output = _current_output()
        # Prefect's loggers pass a task's records to the root logger; the rest is Prefect's own.
        if (
            output is not None
            and not log.name.startswith("prefect")
            and "mxm_taken" not in vars(record)  # others may have wrapped an earlier replacement
        ):
            vars(record)["mxm_taken"] = output.has_listener
            output.log(_text(record), record.levelno)
        handling(log, record)

    return handle


_format = logging.Formatter().format


def _text(record: logging.LogRecord) -> str:
    try:
        return _format(record)
    except BaseException as error:  # the arguments do not fit the message: handlers report that
        let_signals_pass(error)
        return text_of(record.msg)
