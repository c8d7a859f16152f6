"""Removes the progress block from the terminal while something reads from there."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
import time
from collections.abc import Callable, Generator
from typing import Any, TextIO

from mxm.pipeline.cli.block import Block

__all__ = ["shown_below"]

_READS = frozenset(
    {"read", "read1", "readline", "readlines", "readall", "readinto", "readinto1", "peek"}
)
_WITHIN = frozenset({"buffer", "raw"})
_OPENS_S = 0.3  # between the event that a file is about to be opened and its opening


class _Asking:
    """Standard input that removes the block while something is read: a debugger, a question."""

    def __init__(self, stream: Any, block: Block, before: Callable[[], None]) -> None:
        self._stream = stream
        self._block = block
        self._before = before

    @contextlib.contextmanager
    def asked(self) -> Generator[None]:
        """A block of code in which something is asked on the terminal."""
        self._before()
        with self._block.paused():
            yield

    def pause(self, until: Callable[[], bool]) -> None:
        """Leave the terminal alone until *until* returns True."""
        self._before()
        self._block.pause(until)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        line: Any = self.readline()
        if not line:
            raise StopIteration
        return line

    def __getattr__(self, name: str) -> Any:
        part = getattr(self._stream, name)
        if name in _WITHIN:
            return _Asking(part, self._block, self._before)
        if name not in _READS:
            return part

        def read(*args: Any) -> Any:
            with self.asked():
                return part(*args)

        return read


@contextlib.contextmanager
def _passwords_by(asking: _Asking) -> Generator[None]:
    """Let `getpass` remove the block while it asks, however it was imported."""
    module: Any = getpass
    # Not `getpass.getpass`: modules that are loaded already may have taken that name from there.
    read = getattr(module, "_raw_input", None)
    if read is None:  # this Python asks in another way: the block stays
        yield
        return

    def ask(*args: Any, **kwargs: Any) -> Any:
        with asking.asked():
            return read(*args, **kwargs)

    module._raw_input = ask
    try:
        yield
    finally:
        module._raw_input = read


class _Watched:
    """The terminal, which a task opened by name: its question bypasses `sys.stdin`."""

    def __init__(self, asking: _Asking, stream: TextIO) -> None:
        self._asking = asking
        self._paths = {"/dev/tty"}
        self._devices: set[int] = set()
        if sys.platform == "win32":  # a terminal is not a file here
            return
        with contextlib.suppress(OSError, ValueError):
            self._paths.add(os.ttyname(stream.fileno()))
        for path in self._paths:
            with contextlib.suppress(OSError):
                self._devices.add(os.stat(path).st_rdev)

    def heard(self, path: object) -> None:
        """The file *path* is about to be opened."""
        if not isinstance(path, str | os.PathLike) or os.fspath(path) not in self._paths:
            return
        before, begun = self._count(), time.monotonic()
        self._asking.pause(lambda: time.monotonic() - begun > _OPENS_S and self._count() <= before)

    def _count(self) -> int:
        """How many open files of this process are the terminal."""
        count = 0
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                for name in os.listdir("/dev/fd"):
                    with contextlib.suppress(OSError, ValueError):
                        count += os.fstat(int(name)).st_rdev in self._devices
        return count


_watched: list[_Watched] = []  # at most one
_is_installed = False


def _heard(event: str, args: tuple[Any, ...]) -> None:
    """The audit hook: it stays until the process ends."""
    if event == "open" and _watched:
        with contextlib.suppress(Exception):  # from a path's own code; opening raises it, too
            _watched[-1].heard(args[0])


@contextlib.contextmanager
def _terminal_watched(asking: _Asking, stream: TextIO) -> Generator[None]:
    """Let a task that opens the terminal remove the block until it closes it."""
    global _is_installed
    _watched.append(_Watched(asking, stream))
    if not _is_installed:
        _is_installed = True
        sys.addaudithook(_heard)
    try:
        yield
    finally:
        _watched.pop()


@contextlib.contextmanager
def shown_below(stream: TextIO, before_reading: Callable[[], None]) -> Generator[Block]:
    """Make ``sys.stderr`` write above the block on *stream*, and ``sys.stdin`` remove the block.

    `getpass`, and a task that opens the terminal itself, bypass both; they remove the block, too.

    Parameters
    ----------
    stream
        The terminal.
    before_reading
        Called before something is read from the terminal: then a question is there.
    """
    block = Block(stream)
    errors, questions = sys.stderr, sys.stdin
    sys.stderr = block
    asking = _Asking(questions, block, before_reading)
    if questions is not None:
        sys.stdin = asking
    try:
        with _passwords_by(asking), _terminal_watched(asking, stream):
            yield block
    finally:
        block.finish()
        sys.stderr, sys.stdin = errors, questions
