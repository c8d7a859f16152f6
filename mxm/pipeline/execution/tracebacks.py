"""Tracebacks for users: they start at the first line that is not ours."""

from __future__ import annotations

import linecache
import os
import traceback

from mxm.pipeline.errors import PipelineError
from mxm.pipeline.problems import Source

__all__ = ["lines_around", "users_place", "users_traceback"]


def users_traceback(error: BaseException) -> str:
    """The traceback of *error* from the user's frame on, without a final newline."""
    report = traceback.TracebackException.from_exception(error)
    frames = list(report.stack)
    if isinstance(error, PipelineError):  # a call of ours says what is wrong, not where in ours
        while frames and _OURS in frames[-1].filename:
            frames.pop()
    first = next((i for i, f in enumerate(frames) if not _leads_in(f.filename)), len(frames))
    report.stack = traceback.StackSummary.from_list(frames[first:])
    if first >= len(frames) and not any(map(users_place, _causes_of(error))):
        report.__cause__ = report.__context__ = None  # all of it is ours: the message says it
    return "".join(report.format()).rstrip()


def _causes_of(error: BaseException) -> list[BaseException]:
    """What led to *error*, the nearest first."""
    causes: list[BaseException] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes


def users_place(error: BaseException) -> Source | None:
    """The user's last line on the way to where *error* was raised, or None."""
    place: Source | None = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if not _leads_in(file) and not _is_of_a_library(file):
            place = Source(file, line)
    return place


def lines_around(place: Source) -> list[tuple[int, str]]:
    """The lines of source from two before *place* to two after it, each with its number."""
    if not place.line:
        return []
    source = linecache.getlines(place.file)
    first = max(place.line - 3, 0)
    lines = enumerate(source[first : place.line + 2], start=first + 1)
    return [(number, line.rstrip("\n")) for number, line in lines]


_OURS = f"{os.sep}{os.path.join('mxm', 'pipeline')}{os.sep}"
_STDLIB = os.path.dirname(os.__file__) + os.sep


def _is_of_a_library(file: str) -> bool:
    return file.startswith((_STDLIB, "<frozen ")) or f"{os.sep}site-packages{os.sep}" in file


def _leads_in(file: str) -> bool:
    """Whether *file* belongs to the callers of a task: this package, Prefect, the event loop."""
    packages = (("mxm", "pipeline"), ("prefect",), ("asyncio",), ("concurrent", "futures"))
    return any(f"{os.sep}{os.path.join(*names)}{os.sep}" in file for names in packages)
