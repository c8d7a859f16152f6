"""What the command prints, where, and with which exit code it ends."""

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
from mxm.pipeline.printable import in_json, in_one_line, printable
from mxm.pipeline.problems import Problem

__all__ = [
    "ExitCode",
    "few",
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
    "tell",
]


class ExitCode(IntEnum):
    """How the command ends; stable and documented."""

    OK = 0
    FAILED = 1
    USAGE = 2
    IMPORT_FAILED = 3
    INVALID_GRAPH = 4
    SIGINT = 130
    SIGTERM = 143


# Where documents go while `sys.stdout` leads elsewhere.
_kept: ContextVar[TextIO | None] = ContextVar("mxm_stdout", default=None)


@contextlib.contextmanager
def own_stdout(*, for_good: bool) -> Generator[None]:
    """Keep stdout for the command: whatever else writes to it goes to stderr.

    C libraries and subprocesses included. A stderr that cannot be written, on a full disk or
    without a reader, takes what is written and loses it: it ends no run.

    Parameters
    ----------
    for_good
        Whether it stays so, because the process ends with the command: functions at exit, and
        threads that a task left behind, print after the document.
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
    """A file that writes all it gets, and loses what cannot be written."""

    def write(self, data: Any, /) -> int:
        """Write *data*."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        with contextlib.suppress(OSError):
            while rest:
                written = super().write(rest)
                if written is None:  # a stream that does not wait by itself, and is full
                    time.sleep(_FULL_S)  # `select` takes no files on Windows
                rest = rest[written or 0 :]
        return size


def _forgiving(stream: TextIO) -> TextIO:
    """*stream*, where it is the process's stderr another one that no write fails on."""
    try:
        if stream.fileno() != 2:
            return stream
        stream.flush()
    except (OSError, ValueError):  # replaced by something without a descriptor, as in tests
        return stream
    # No buffered writer: at the end of Python a thread that is writing would hold its lock, which
    # Python takes for fatal.
    beneath: Any = _Forgiving(2, "w", closefd=False)
    return io.TextIOWrapper(beneath, stream.encoding, stream.errors, line_buffering=True)


def open_streams() -> None:
    """Lead streams that are closed nowhere: the next file opened would be taken for them."""
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
    """Whether the encoding of stdout has every character of *text*."""
    try:
        text.encode(_stdout().encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def line_width() -> int:
    """The characters of a line on stdout: those of a terminal, else 100."""
    columns = shutil.get_terminal_size((100, 24)).columns
    return max(columns, 40) if _stdout().isatty() else 100


def _escaped(text: str) -> str:
    """*text* in the characters that stdout's encoding has; others become escapes of Python's."""
    encoding = _stdout().encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def say(text: str = "") -> None:
    """Print *text* on stdout; control characters, and those its encoding has not, are escaped.

    Raises
    ------
    PipelineError
        It cannot be written.
    """
    _say(printable(text))


def _say(text: str) -> None:
    stream = _stdout()
    try:
        print(_escaped(text), file=stream, flush=True)
    except OSError as error:
        # Python would try again to write what is left when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if isinstance(error, BrokenPipeError):  # `| head` has what it wanted
            return
        raise PipelineError(f"cannot write to stdout: {error.strerror}") from None


def _style(text: str, code: str, stream: TextIO) -> str:
    """*text* in an ANSI style where *stream* is a terminal and NO_COLOR is not set."""
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def tell(text: str) -> None:
    """Print *text* on stderr, where it can be written; control characters are escaped."""
    _tell(printable(text))


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")  # at once: other threads print, too


def print_error(error: str | BaseException | Problem, kind: str = "error") -> None:
    """*error* on stderr, as ``error: ...`` or another *kind*, with its hint below."""
    if isinstance(error, Problem):
        kind = error.severity
    colour = {"error": "31;1", "warning": "33;1"}.get(kind, "36;1")
    _tell(f"{_style(f'{kind}:', colour, sys.stderr)} {printable(str(error))}")


def print_warning(text: str) -> None:
    """*text* on stderr, as a warning."""
    print_error(text, "warning")


def print_problems(problems: Sequence[Problem]) -> None:
    """*problems* on stderr, and where to read more of them."""
    for problem in problems:
        print_error(problem)
    print_pointer(problems)


def print_pointer(problems: Sequence[Problem]) -> None:
    """How to read more of *problems*, on stderr."""
    codes = sorted({problem.code for problem in problems})
    if codes:
        tell(f"more: mxm-pipeline explain {' '.join(codes)}")


def print_json(document: Any) -> None:
    """*document* on stdout."""
    text = in_json(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
    if not stdout_has(text):  # half of a surrogate pair, or a stream that is not UTF-8
        text = json.dumps(document, indent=2, allow_nan=False)
    say(text)


_WIDEST = 80


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """*rows* on stdout in columns as wide as they need to be; a cell beyond reason counts not."""
    lines = [[_escaped(in_one_line(cell)) for cell in row] for row in (head, *rows)]
    columns = zip(*lines, strict=True)
    widths = [max(n for n in map(len, column) if n <= _WIDEST) for column in columns]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    _say("\n".join([_style(text[0], "1", _stdout()), *text[1:]]))


def few(names: Sequence[str]) -> str:
    """The *names* in a row; of many the first, and how many more there are."""
    names = [in_one_line(name) for name in names]
    if len(names) <= 6:
        return ", ".join(names)
    return f"{', '.join(names[:3])} ... and {len(names) - 3:,} more"
