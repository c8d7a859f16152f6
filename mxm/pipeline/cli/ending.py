"""How the process ends: as Python ends, in less time where nothing can be lost.

At its end Python looks for cycles among all objects, which takes as long as `list` itself, so that
the finalizers in them run: a file that a module holds writes its buffer there. Where nothing alive
has such a finalizer, the search finds nothing and is left out.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import sys
from typing import Any, NoReturn, cast

__all__ = ["cut_short", "leave", "set_aside", "user_code_begins"]

# Have finalizers, and nothing to write: what only reads, and what runs or waits.
_IDLE = (io.BufferedReader, io.BytesIO, io.StringIO, io.FileIO)
_IDLE_MODULES = ("builtins", "socket", "asyncio", "_asyncio")

_must_collect = False


def user_code_begins() -> None:
    """Set aside what exists: it is ours and Python's, and lives to the end."""
    gc.freeze()


def set_aside() -> None:
    """Leave all that exists out of later collections, if that loses nothing at the end."""
    global _must_collect
    _must_collect = _must_collect or _something_writes()
    gc.freeze()


def leave(code: object) -> NoReturn:
    """End the process as Python does: buffers, exit handlers, threads."""
    if _must_collect or _something_writes():
        gc.unfreeze()
    else:
        gc.freeze()
    sys.exit(cast("Any", code))


def cut_short(code: int) -> NoReturn:
    """End the process after a signal: a thread that a task left behind may never end."""
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    with contextlib.suppress(OSError, ValueError):  # closed by what reads it
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _something_writes() -> bool:
    """Whether an object that is not set aside has a finalizer that may write."""
    return any(
        hasattr(kind, "__del__") and not _idle(kind) for kind in set(map(type, gc.get_objects()))
    )


def _idle(kind: type) -> bool:
    return kind in _IDLE or kind.__module__.partition(".")[0] in _IDLE_MODULES
