"""The files that an attempt opens: recorded while it runs, compared before its result is used."""

from __future__ import annotations

import contextlib
import glob
import os
import sys
import threading
from collections.abc import Generator, Iterable, Sequence
from contextvars import ContextVar
from types import FrameType
from typing import Any
from urllib.parse import unquote

from mxm.pipeline.execution.files.kept_reads import Origins, origins_of
from mxm.pipeline.execution.files.log import FileLog, Observed, Reaches
from mxm.pipeline.execution.files.notes import FileNote, unchanged_note
from mxm.pipeline.execution.files.readers import watch_readers
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.project.roots import project_root

__all__ = [
    "IN_FOLDER",
    "FileNote",
    "Observed",
    "also_observed",
    "joined",
    "loading",
    "observed",
    "unchanged",
    "unobserved",
    "unseen",
]


@contextlib.contextmanager
def observed(*, root: str, reaches: Reaches | None = None) -> Generator[Observed, None, None]:
    """Record what is opened in this block, in its threads and in what it awaits.

    What is opened in a thread that belongs to no task counts for every block open at that time.
    What was read at import, or in a function under `functools.cache`, counts for later blocks, too.
    What an inner block records also counts for this one.

    Parameters
    ----------
    root
        The project's folder; paths below it are recorded relative to it.
    reaches
        Whether the task's code reaches code in a file; None for any.
    """
    _install()
    outer = _current.get()
    log = FileLog(root, reaches, outer if isinstance(outer, FileLog) else None)
    noted = Observed()
    token = _current.set(log)
    _active.add(log)
    try:
        yield noted
    finally:
        _active.discard(log)
        _current.reset(token)
        with _silent():
            log.finish(noted)


@contextlib.contextmanager
def unobserved() -> Generator[None, None, None]:
    """Record nothing that this context opens, except within blocks of `observed`."""
    token = _current.set(_current.get() or _IGNORED)
    try:
        yield
    finally:
        _current.reset(token)


@contextlib.contextmanager
def loading() -> Generator[None, None, None]:
    """Record what the project's modules open while they are imported in this block."""
    global _loads
    _install()
    with _install_lock:
        _loads += 1
    try:
        yield
    finally:
        with _install_lock:
            _loads -= 1


def also_observed(notes: Iterable[FileNote]) -> None:
    """Count *notes* for the attempt of this context, if there is one.

    For what a flow inside a task reuses from an earlier run, or gets from another process.
    """
    log = _current.get()
    if isinstance(log, FileLog):
        log.also(notes)


def unseen(where: str) -> None:
    """Record that what the attempt of this context opens at *where* cannot be seen."""
    for log in _logs(_current.get() or _IGNORED):
        log.lost.add(where)


def joined(seen: Sequence[Observed]) -> Observed:
    """What several attempts of one call opened, in order; if two wrote a file, the last counts."""
    whole = Observed()
    writes: dict[tuple[str, str], FileNote] = {}
    for one in seen:
        whole.reads += [note for note in one.reads if note not in whole.reads]
        whole.torn += one.torn
        whole.unseen += one.unseen
        whole.connects |= one.connects
        writes |= {(note.base, note.path): note for note in one.writes}
    whole.writes = list(writes.values())
    return whole


def unchanged(notes: Iterable[FileNote], root: str, folder: str) -> FileNote | None:
    """The first of *notes* that has changed; None if none has.

    Parameters
    ----------
    notes
        What an earlier attempt opened.
    root
        The project's folder now.
    folder
        The working directory now.
    """
    with _silent():
        return unchanged_note(notes, root, folder)


IN_FOLDER = "os.open(..., dir_fd=)"
"""What `Observed.unseen` says about files opened relative to a folder descriptor."""
_IGNORED: Any = object()
_current: ContextVar[Any] = ContextVar("mxm_observed", default=None)
_active: set[FileLog] = set()
_loads = 0  # blocks of `loading` that are open
_here = threading.local()
_installed = False
_install_lock = threading.Lock()


class _Sink:
    """What watched readers report to."""

    def is_open(self) -> bool:
        return bool(_active or _loads) and not getattr(_here, "silent", False)

    def read(self, path: str, *, names: bool = False) -> None:
        _heard("os.scandir" if names else "open", (path, None, os.O_RDONLY))

    def link(self, path: str, folder: int) -> None:
        _heard(_LINK, (path, folder))

    def write(self, path: str) -> None:
        _heard("open", (path, None, os.O_WRONLY | os.O_TRUNC))


def _install() -> None:
    global _installed
    with _install_lock:
        if not _installed:
            _installed = True
            sys.addaudithook(_heard)
        watch_readers(_Sink())


@contextlib.contextmanager
def _silent() -> Generator[None, None, None]:
    """Record nothing that this thread opens."""
    before = getattr(_here, "silent", False)
    _here.silent = True
    try:
        yield
    finally:
        _here.silent = before


def _heard(event: str, args: tuple[Any, ...]) -> None:
    """The audit hook; it stays until the process ends, so it must cost nothing."""
    if not (_active or _loads) or event not in _EVENTS:
        return
    log = _current.get()
    if getattr(_here, "silent", False) or (log is _IGNORED and not _loads):
        return
    _here.silent = True
    try:
        if event == _CONNECTS:
            # Without a task, it is a library's thread, which serves nobody or everybody.
            for one in _logs(log) if log is not None and isinstance(args[1], tuple) else ():
                one.connects = True
            return
        logs = _logs(log)
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        origins = origins_of(frame)
        if not logs and origins:  # at import, before any task runs
            logs = [FileLog(project_root(origins[0]), None, None)]
        for one in logs:
            _note(one, event, args, frame, origins)
    except BaseException as error:  # from a path's own code; opening it will raise it, too
        let_signals_pass(error)
        for one in _logs(log):
            one.lost.add(event)
    finally:
        _here.silent = False


def _logs(log: Any) -> list[FileLog]:
    """The logs for which an event counts now."""
    if log is _IGNORED:
        return []
    if log is None:
        return list(_active)
    logs: list[FileLog] = []
    while log is not None:
        logs.append(log)
        log = log.outer
    return logs


_LISTED = frozenset({"os.listdir", "os.scandir"})
_GLOBBED = frozenset({"glob.glob/2", "pathlib.Path.glob", "pathlib.Path.rglob"})
_PUT = frozenset({"os.rename", "os.link", "os.symlink", "shutil.copyfile"})
_CONNECTS = "socket.connect"  # to a path, within this computer, counts as no connection
_LINK = "os.readlink"  # of ours: Python has no event for it
_EVENTS = frozenset(
    {
        _CONNECTS,
        _LINK,
        "open",
        "os.remove",
        "os.truncate",
        "os.mkdir",
        "shutil.rmtree",
        "sqlite3.connect",
    }
    | _LISTED
    | _GLOBBED
    | _PUT
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_TRUNC | os.O_CREAT
_RELATIVE = ("_rmtree_safe_fd", "_rmtree_safe_fd_step", "_fwalk", "fwalk")
_METADATA = ("importlib.metadata", "importlib_metadata", "pkg_resources")
_CODE = (".py", ".pyc", ".pyo", ".so", ".pyd")


def _note(
    log: FileLog, event: str, args: Sequence[Any], frame: FrameType | None, origins: Origins
) -> None:
    if event == "open":
        _note_open(log, args, frame, origins)
    elif event in _LISTED:
        if not (_is_import(frame) or _is_of_metadata(frame)):
            path = _path("." if args[0] is None else args[0])
            log.read(path, names=True, origins=origins)
    elif event in _GLOBBED:
        _note_pattern(log, event, args, origins)
    elif event in _PUT:
        log.write(_path(args[1], args[3] if len(args) > 3 else -1), anew=True)
        if event == "os.rename":
            log.write(_path(args[0], args[2]), anew=False)
    elif event == _LINK:
        log.link(_path(*args), origins)
    elif event == "sqlite3.connect":
        _note_database(log, os.fsdecode(args[0]), origins)
    elif event == "os.mkdir":
        log.make(_path(args[0], args[2]))
    elif event == "shutil.rmtree":
        log.clear(_path(args[0]))
    elif event == "os.remove":
        log.write(_path(args[0], args[1]), anew=True)
    elif event == "os.truncate":
        log.write(_path(args[0]), anew=False)


def _path(path: Any, folder: Any = -1) -> str:
    """The path of a file that is opened by its path, or relative to a folder descriptor."""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    text: str = os.fsdecode(path)
    if isinstance(folder, int) and folder >= 0 and not os.path.isabs(text):
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
    return text


def _note_open(
    log: FileLog, args: Sequence[Any], frame: FrameType | None, origins: Origins
) -> None:
    if isinstance(args[0], int):  # it was opened before
        return
    path, flags = os.fsdecode(args[0]), args[2] if isinstance(args[2], int) else 0
    if frame is not None and frame.f_code.co_name in _RELATIVE and os.sep not in path:
        return  # in a folder that the event does not name
    if args[1] is None and not os.path.isabs(path) and _names_a_folder(frame):
        log.lost.add(IN_FOLDER)
        return
    if flags & _WRITES and os.path.isdir(path):  # a nameless file in it
        return
    if flags & _WRITES:
        log.write(path, anew=bool(flags & (os.O_TRUNC | os.O_EXCL)))
    elif not (path.endswith(_CODE) and _is_import(frame)):  # whose code counts by itself
        log.read(path, names=False, origins=origins)


def _names_a_folder(frame: FrameType | None) -> bool:
    """Whether the code of *frame* opens files relative to folders that the event does not name."""
    constants = () if frame is None else frame.f_code.co_consts
    return any("dir_fd" in (one if isinstance(one, tuple) else (one,)) for one in constants)


def _is_import(frame: FrameType | None) -> bool:
    names = ("<frozen importlib", "<frozen zipimport")
    return frame is not None and frame.f_code.co_filename.startswith(names)


def _is_of_metadata(frame: FrameType | None) -> bool:
    """Whether *frame* searches ``sys.path`` for installed packages."""
    return frame is not None and frame.f_globals.get("__name__") in _METADATA


def _note_pattern(log: FileLog, event: str, args: Sequence[Any], origins: Origins) -> None:
    """A fixed name behind a wildcard is looked up without listing the folder that it is in."""
    first, second = os.fsdecode(args[0]), args[1]
    if event == "glob.glob/2":
        below = args[2]
        text = first if below is None else os.path.join(os.fsdecode(below), first)
    else:
        inner = os.path.join("**", str(second)) if event.endswith("rglob") else str(second)
        text = os.path.join(glob.escape(first), inner)
        if not all(map(glob.has_magic, inner.split(os.sep))):
            log.pattern(text, origins)
        return
    steps = [glob.has_magic(step) for step in text.split(os.sep)]
    if True in steps and False in steps[steps.index(True) :]:
        log.pattern(text, origins)


def _note_database(log: FileLog, path: str, origins: Origins) -> None:
    if path.startswith("file:"):
        path = unquote(path[5:].partition("?")[0])
        path = f"/{path.lstrip('/')}" if path.startswith("//") else path
    if not path or path == ":memory:":
        return
    if not os.path.exists(path):
        log.write(path, anew=True)
        log.write(f"{path}-wal", anew=True)
        return
    log.read(path, names=False, origins=origins)
    log.read(f"{path}-wal", names=False, origins=origins)
