"""An exception's traceback as its user wants it: from the first line that is not ours."""

from __future__ import annotations

import os
import traceback

from mxm.pipeline.problems import Source

__all__ = ["users_place", "users_traceback"]


def users_traceback(error: BaseException) -> str:
    """The traceback of *error* from the user's frame on, without an end of line."""
    report = traceback.TracebackException.from_exception(error)
    frames = list(report.stack)
    first = next((i for i, f in enumerate(frames) if not _leads_in(f.filename)), len(frames))
    report.stack = traceback.StackSummary.from_list(frames[first:])
    return "".join(report.format()).rstrip()


def users_place(error: BaseException) -> Source | None:
    """The last line of the user's own on the way to where *error* was raised, or None."""
    found: Source | None = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if not _leads_in(file) and not _is_of_a_library(file):
            found = Source(file, line)
    return found


_STDLIB = os.path.dirname(os.__file__) + os.sep


def _is_of_a_library(file: str) -> bool:
    return file.startswith((_STDLIB, "<frozen ")) or f"{os.sep}site-packages{os.sep}" in file


def _leads_in(file: str) -> bool:
    """Whether *file* is of what calls a task: this package, Prefect, an async task's event loop."""
    packages = (("mxm", "pipeline"), ("prefect",), ("asyncio",), ("concurrent", "futures"))
    return any(f"{os.sep}{os.path.join(*names)}{os.sep}" in file for names in packages)
