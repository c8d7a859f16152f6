"""Too many open files: to notice it in time, and what to do about it."""

from __future__ import annotations

import errno
import os

from mxm.pipeline.errors import BackendError

__all__ = ["files_hint", "require_files"]


def files_hint(error: BaseException) -> str | None:
    """What to do if *error* says that too many files are open; None if it says something else."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "raise the limit of open files (ulimit -n), or use fewer workers or runner 'threads'"
    return None


def require_files(count: int, user: str) -> None:
    """Make sure that *count* more files can be opened by *user*, who would wait forever without.

    Raises
    ------
    BackendError
        They cannot.
    """
    opened: list[int] = []
    try:
        for _ in range(count):
            opened.append(os.open(os.devnull, os.O_RDONLY))  # noqa: PERF401 - all are closed
    except OSError as error:
        hint = files_hint(error)
        if hint:
            raise BackendError(f"{user} cannot start: {error.strerror}", hint=hint) from None
    finally:
        for one in opened:
            os.close(one)
