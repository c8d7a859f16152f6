"""An exception's traceback as its user wants it: from the first line that is not ours."""

from __future__ import annotations

import os
import traceback

__all__ = ["users_traceback"]


def users_traceback(error: BaseException) -> str:
    """The traceback of *error* from the user's frame on, without an end of line."""
    told = traceback.TracebackException.from_exception(error)
    frames = list(told.stack)
    first = next((i for i, f in enumerate(frames) if not _leads_in(f.filename)), len(frames))
    told.stack = traceback.StackSummary.from_list(frames[first:])
    return "".join(told.format()).rstrip()


def _leads_in(file: str) -> bool:
    """Whether *file* is of what calls a task: this package, Prefect, an async task's event loop."""
    packages = (("mxm", "pipeline"), ("prefect",), ("asyncio",))
    return any(f"{os.sep}{os.path.join(*names)}{os.sep}" in file for names in packages)
