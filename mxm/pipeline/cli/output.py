"""The output of the command on stdout and stderr, and its exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Generator, Sequence
from contextvars import ContextVar
from enum import IntEnum
from typing import Any, TextIO

from mxm.pipeline.errors import PipelineError
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.printable import in_json, in_one_line, printable

__all__ = [
    "ExitCode",
    "few",
    "leave_stdout",
    "line_width",
    "open_streams",
    "own_stdout",
    "print_error",
    "print_json",
    "print_pointer",
    "print_problems",
    "print_table",
    "print_warning",
    "say",
    "stdout_has",
    "stdout_is_terminal",
    "tell",
]


class ExitCode(IntEnum):
    """How the command ends; stable and documented."""

    OK = 0
    FAILED = 1
    USAGE = 2
    IMPORT_FAILED = 3
    INVALID_GRAPH = 4
    NOTHING_SELECTED = 5
    STALE = 6
    SIGINT = 130
    SIGTERM = 143


# The stream for documents while `sys.stdout` is redirected.
_kept: ContextVar[TextIO | None] = ContextVar("mxm_stdout", default=None)


@contextlib.contextmanager
def own_stdout(*, for_good: bool) -> Generator[None]:
    """Reserve stdout for the command: all other output to it goes to stderr.

    This includes C libraries and subprocesses. If stderr cannot be written, because of a full disk
    or a missing reader, output is lost, but the run continues.

    Parameters
    ----------
    for_good
        Whether this lasts until the process ends: exit handlers, and threads that a task left
        behind, print after the document.
    """
    stream = kept = sys.stdout
    errors = sys.stderr
    try:
        own = stream.fileno() == 1
    except (OSError, ValueError):  # replaced by something without a descriptor, as in tests
        own = False
    if own:
        stream.flush()
        kept = open(os.dup(1), "w", encoding=stream.encoding)  # noqa: SIM115 - closed below
        os.dup2(2, 1)
    token = _kept.set(kept)
    sys.stderr = _forgiving(errors)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        if not for_good:
            sys.stdout, sys.stderr = stream, errors
            _kept.reset(token)
            if own:
                os.dup2(kept.fileno(), 1)
                kept.close()


_FULL_S = 0.01


class _Forgiving(io.FileIO):
    """A file that writes what it can, and loses the rest."""

    def write(self, data: Any, /) -> int:
        """Write *data*."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        with contextlib.suppress(OSError):
            while rest:
                written = super().write(rest)
                if written is None:  # a non-blocking stream that is full
                    time.sleep(_FULL_S)  # `select` does not take files on Windows
                rest = rest[written or 0 :]
        return size


def _forgiving(stream: TextIO) -> TextIO:
    """*stream*, or for the process's stderr, a stream on which no write fails."""
    try:
        if stream.fileno() != 2:
            return stream
        stream.flush()
    except (OSError, ValueError):  # replaced by something without a descriptor, as in tests
        return stream
    # Not a buffered writer: at exit, a writing thread would hold its lock, which is a fatal error
    # in Python.
    beneath: Any = _Forgiving(2, "w", closefd=False)
    return io.TextIOWrapper(beneath, stream.encoding, stream.errors, line_buffering=True)


def open_streams() -> None:
    """Open closed standard streams: otherwise the next opened file would take their place."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
            stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
            setattr(sys, name, stream)


def _stdout() -> TextIO:
    return _kept.get() or sys.stdout


def stdout_has(text: str) -> bool:
    """Whether the encoding of stdout has all characters of *text*."""
    try:
        text.encode(_stdout().encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def stdout_is_terminal() -> bool:
    """Whether what is printed on stdout is shown on a terminal."""
    return _stdout().isatty()


def line_width() -> int:
    """The width of a line on stdout: the terminal's, else 100 characters."""
    columns = shutil.get_terminal_size((100, 24)).columns
    return max(columns, 40) if _stdout().isatty() else 100


def _escaped(text: str) -> str:
    """*text* in the characters of stdout's encoding; others become Python escapes."""
    encoding = _stdout().encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def say(text: str = "") -> None:
    """Print *text* on stdout; control characters, and those missing in its encoding, are escaped.

    Raises
    ------
    PipelineError
        Stdout cannot be written.
    """
    _say(printable(text))


def _say(text: str) -> None:
    stream = _stdout()
    try:
        print(_escaped(text), file=stream, flush=True)
    except OSError as error:
        leave_stdout()
        if isinstance(error, BrokenPipeError):  # `| head` has read enough
            return
        raise PipelineError(f"cannot write to stdout: {error.strerror}") from None


def leave_stdout() -> None:
    """Write nothing more on stdout: at exit, Python would try again to write the rest."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _stdout().fileno())
    os.close(nowhere)


def _style(text: str, code: str, stream: TextIO) -> str:
    """*text* in an ANSI style if *stream* is a terminal and NO_COLOR is not set."""
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def tell(text: str) -> None:
    """Print *text* on stderr, if it can be written; control characters are escaped."""
    _tell(printable(text))


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")  # in one write: other threads print, too


def print_error(error: str | BaseException | Problem, kind: str = "error") -> None:
    """Print *error* on stderr, as ``error: ...`` or another *kind*, with its hint below."""
    if isinstance(error, Problem):
        kind = error.severity
    colour = {"error": "31;1", "warning": "33;1"}.get(kind, "36;1")
    _tell(f"{_style(f'{kind}:', colour, sys.stderr)} {printable(str(error))}")


def print_warning(text: str) -> None:
    """Print *text* on stderr as a warning."""
    print_error(text, "warning")


def print_problems(problems: Sequence[Problem]) -> None:
    """Print *problems* on stderr, and where to read more about them."""
    for problem in problems:
        print_error(problem)
    print_pointer(problems)


def print_pointer(problems: Sequence[Problem]) -> None:
    """Print on stderr how to read more about *problems*."""
    codes = sorted({problem.code for problem in problems})
    if codes:
        tell(f"more: mxm-pipeline explain {' '.join(codes)}")


def print_json(document: Any) -> None:
    """Print *document* on stdout."""
    text = in_json(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
    if not stdout_has(text):  # half of a surrogate pair, or a stream that is not UTF-8
        text = json.dumps(document, indent=2, allow_nan=False)
    say(text)


_WIDEST = 80


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print *rows* on stdout in columns of fitting width, which very long cells do not affect."""
    lines = [[_escaped(in_one_line(cell)) for cell in row] for row in (head, *rows)]
    columns = zip(*lines, strict=True)
    widths = [max(n for n in map(len, column) if n <= _WIDEST) for column in columns]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    _say("\n".join([_style(text[0], "1", _stdout()), *text[1:]]))


def few(names: Sequence[str]) -> str:
    """The *names* in a row; if there are many, the first ones and the number of others."""
    names = [in_one_line(name) for name in names]
    if len(names) <= 6:
        return ", ".join(names)
    return f"{', '.join(names[:3])} ... and {len(names) - 3:,} more"
