"""Reads files, standard input and shell streams for the command line, up to a limit."""

from __future__ import annotations

import os
import re
import stat
import sys
from typing import BinaryIO

from mxm.pipeline.errors import PipelineError
from mxm.pipeline.problems import closest

__all__ = ["TOO_LARGE", "Sources"]

# A parameter is a setting; read data in a task. A device or a sparse file may never end.
_MOST_BYTES = 64_000_000
TOO_LARGE = "give the path as a parameter, and read the file in a task"


class Sources:
    """The files and streams on one command line; a stream can be read only once."""

    def __init__(self) -> None:
        self._readers: dict[int, str] = {}  # the reader of the stream with this descriptor

    @staticmethod
    def is_stream(path: str) -> bool:
        """Whether *path* is standard input or a shell stream: ``<(command)``."""
        return _descriptor(path) is not None

    def text_of(self, path: str, whose: str, hint: str | None = None, *, shown: bool = True) -> str:
        """The text in *path*, as UTF-8.

        Parameters
        ----------
        path
            Relative to the working directory, or to the home folder with ``~``; ``-`` is standard
            input.
        whose
            What needs the text, as in ``parameter 'limit'``.
        hint
            The hint if *path* was meant to be something else.
        shown
            Whether errors may show *path*: it may be a secret typed by mistake.

        Raises
        ------
        PipelineError
            It cannot be read, or is larger than 64 MB.
        """
        name = repr(path) if shown else "the file that @ names"
        full = os.path.expanduser(path)
        try:
            content = self._content(full, whose)
        except FileNotFoundError:
            near = closest(os.path.basename(full), _names_in(os.path.dirname(full)))
            did_you_mean = f"did you mean {near!r}?" if near and shown else ""
            way_out = "; ".join(filter(None, (did_you_mean, hint)))
            way_out = way_out or "a path is relative to the working directory"
            message = f"no such file: {path!r}" if shown else f"{name} does not exist"
            raise PipelineError(f"{whose}: {message}", hint=way_out) from None
        except _NoFileError as error:
            raise PipelineError(f"{whose}: {name} is {error}, not a file", hint=hint) from None
        except OverflowError:
            message = f"{whose}: {name} is larger than {_MOST_BYTES // 10**6} MB"
            raise PipelineError(message, hint=TOO_LARGE) from None
        except MemoryError:
            message = f"{whose}: {name} does not fit into memory"
            raise PipelineError(message, hint=TOO_LARGE) from None
        except (OSError, ValueError) as error:  # ValueError: a null character in the path
            why = getattr(error, "strerror", None) or str(error)
            raise PipelineError(f"{whose}: cannot read {name}: {why}", hint=hint) from None
        try:
            return content.decode("utf-8-sig")  # some editors write a byte order mark
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            message = f"{path}:{line}: not UTF-8"
            raise PipelineError(message, hint="save the file as UTF-8") from None

    def _content(self, path: str, whose: str) -> bytes:
        stream = _descriptor(path)
        if stream is None:
            _require_file(path)
        elif stream in self._readers:
            message = f"{whose}: {self._readers[stream]} has already read {path!r}"
            raise PipelineError(message, hint="a stream can be read once: write it to a file")
        else:
            self._readers[stream] = whose
        if stream == 0:
            if sys.stdin is None:  # closed with `<&-`
                raise ValueError("standard input is closed")
            return _limited(sys.stdin.buffer)
        with open(path, "rb") as file:
            return _limited(file)


class _NoFileError(Exception):
    """The path is not a file; the message says what it is."""


def _descriptor(path: str) -> int | None:
    """The descriptor in *path*, as in the shell's ``<(command)``; None for a file."""
    if path in ("-", "/dev/stdin"):
        return 0
    named = re.fullmatch(r"(?:/dev/fd|/proc/self/fd)/(\d+)", path)
    return int(named[1]) if named else None


def _require_file(path: str) -> None:
    """Reject paths that would block or never end: opening a FIFO waits for a writer."""
    info = os.stat(path)
    kind = next((words for is_kind, words in _KINDS if is_kind(info.st_mode)), None)
    if kind:
        raise _NoFileError(kind)
    if info.st_size > _MOST_BYTES:
        raise OverflowError


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def _limited(file: BinaryIO) -> bytes:
    content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OverflowError
    return content


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder or ".")
    except OSError:
        return []
