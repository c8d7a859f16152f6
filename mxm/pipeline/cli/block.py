"""A block of lines at the end of a terminal, redrawn in place; other output goes above it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from typing import TextIO

from mxm.pipeline.views.markup import columns

__all__ = ["Block", "Frame", "can_show", "cut"]

Frame = Callable[[float, int, int], Sequence[str]]
"""Makes the lines of the block, from the monotonic time, the width and the most lines allowed."""

_EVERY_S = 0.125
_MOST_LINES = 15
_NARROWEST, _LOWEST = 40, 6  # columns and lines of a terminal
_COLOUR = re.compile(r"(\x1b\[[\d;]*m)")
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-ln-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[^\[\]])")
_AT_ONCE = (
    "\x1b[?2026h",
    "\x1b[?2026l",
)  # a terminal that supports it shows everything in between at once


def can_show(stream: TextIO) -> bool:
    """Whether *stream* is a terminal on which a block can be drawn."""
    if os.environ.get("CI") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    try:
        size = os.get_terminal_size(stream.fileno()) if stream.isatty() else None
    except (OSError, ValueError):
        return False
    return size is not None and size.columns >= _NARROWEST and size.lines >= _LOWEST


def cut(line: str, width: int) -> str:
    """*line* in at most *width* columns; colours take none."""
    if columns(_COLOUR.sub("", line)) <= width:
        return line
    kept: list[str] = []
    room = width - 1
    for i, part in enumerate(_COLOUR.split(line)):
        if i % 2:
            kept.append(part)
            continue
        for character in part:
            room -= columns(character)
            if room < 0:
                return f"{''.join(kept)}…\x1b[0m"
            kept.append(character)
    return "".join(kept)


class Block(io.TextIOBase):
    """A text stream: what is written to it goes above the block.

    Parameters
    ----------
    stream
        The terminal.
    size
        Returns its columns and lines; called each time.

    Attributes
    ----------
    lock
        Held while something is written or drawn. The content of a frame also changes under it: a
        second lock would be taken in the opposite order.
    """

    encoding: str = "utf-8"
    errors: str | None = "backslashreplace"

    def __init__(self, stream: TextIO, size: Callable[[], tuple[int, int]] | None = None) -> None:
        self._stream = stream
        self.encoding = stream.encoding or "utf-8"
        self.errors = stream.errors
        self._size = size or self._size_of_stream
        self.lock: AbstractContextManager[object] = threading.RLock()
        self._frame: Frame | None = None
        self._drawn: list[str] = []  # the block as the terminal shows it
        self._above: list[str] = []  # lines that wait to be written
        self._open = ""  # a line that has not ended yet
        self._last = 0.0
        self._paused = 0
        self._until: Callable[[], bool] | None = None  # says whether the pause is over
        self._over = threading.Event()

    @property
    def width(self) -> int:
        """The columns of the terminal."""
        return self._size()[0]

    def show(self, frame: Frame) -> None:
        """Show what *frame* makes, several times a second, until `finish`."""
        self._frame = frame
        threading.Thread(target=self._redraw, name="mxm-progress", daemon=True).start()

    def finish(self) -> None:
        """Remove the block; what is written from now on is written at once."""
        self._over.set()
        with self.lock:
            self._frame = None
            self.draw()
            if self._open:
                self._put(self._open)
                self._open = ""

    def write(self, text: str, /) -> int:
        """Write *text*: whole lines go above the block, the rest waits for its end.

        Of a line with carriage returns, the last part stays, as on a terminal.
        """
        with self.lock:
            if self._frame is None or self._is_paused():
                self._put(self._open + text)
                self._open = ""
                return len(text)
            *lines, self._open = (self._open + text).replace("\r\n", "\n").split("\n")
            self._above += [_last_part(_SEQUENCE.sub("", line)) for line in lines]
            before, over, after = self._open.rpartition("\r")
            self._open = after or _last_part(before) + over
            if lines and time.monotonic() - self._last >= _EVERY_S:
                self.draw()
        return len(text)

    @contextlib.contextmanager
    def paused(self) -> Generator[None]:
        """Remove the block from the terminal while this context asks the user something."""
        with self.lock:
            self._paused += 1
            self._remove()
        try:
            yield
        finally:
            with self.lock:
                self._paused -= 1

    def pause(self, until: Callable[[], bool]) -> None:
        """Remove the block until *until* returns True; it is called once per frame."""
        with self.lock:
            self._until = until
            self._remove()

    def _is_paused(self) -> bool:
        if self._until is not None and self._until():
            self._until = None
        return self._paused > 0 or self._until is not None

    def _remove(self) -> None:
        self.draw()
        if self._open:
            self._put(self._open)
            self._open = ""

    def draw(self, now: float | None = None) -> None:
        """Write the waiting lines, and the block below them, in one write."""
        with self.lock:
            now = time.monotonic() if now is None else now
            self._last = now
            width, height = self._size()
            lines: list[str] = []
            if self._frame is not None and not self._is_paused():
                most = min(_MOST_LINES, height - 1)
                made = map(self._as_written, self._frame(now, width, most))
                lines = [self._as_written(cut(line, width - 1)) for line in made][-most:]
            above, self._above = self._above, []
            if not (above or lines or self._drawn):
                return
            rows = sum(_rows(line, width) for line in self._drawn)
            self._drawn = lines
            up = f"\x1b[{rows}F" if rows else ""
            text = "".join(f"{line}\x1b[K\n" for line in (*above, *lines))
            self._put(f"{_AT_ONCE[0]}{up}{text}\x1b[J{_AT_ONCE[1]}")

    def _as_written(self, line: str) -> str:
        """*line* in the terminal's encoding: an escape takes more columns."""
        try:
            line.encode(self.encoding)
        except UnicodeEncodeError:
            plain = line.replace("…", "~")
            return plain.encode(self.encoding, "backslashreplace").decode(self.encoding)
        return line

    def flush(self) -> None:
        """Flush the terminal."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor of the terminal, for code that bypasses this object."""
        return self._stream.fileno()

    def close(self) -> None:
        """Do nothing: this object does not own the terminal."""

    def _put(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone; the run continues
            self._frame = None
            self._over.set()

    def _redraw(self) -> None:
        while not self._over.wait(_EVERY_S):
            with self.lock:
                if self._frame is not None and not self._is_paused():
                    self.draw()

    def _size_of_stream(self) -> tuple[int, int]:
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return 80, 24
        return max(size.columns, 20), max(size.lines, 4)


def _last_part(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]


def _rows(line: str, width: int) -> int:
    """How many rows *line* takes: more than one if the terminal has become narrower."""
    return max(1, -(-columns(_COLOUR.sub("", line)) // width))
