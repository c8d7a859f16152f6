"""Finds the store of a flow, and checks who else can write to it."""

from __future__ import annotations

import hashlib
import os
import stat
import sys

from mxm.pipeline.project.roots import folder_of, nearest_project, project_root
from mxm.pipeline.spec import FlowSpec

__all__ = [
    "DATABASE",
    "distrust",
    "has_store",
    "make_store",
    "root_of",
    "store_of",
    "store_of_file",
]

DATABASE = "store.db"

_NAME = ".mxm"
_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# What mxm-pipeline keeps of runs. See https://bford.info/cachedir/\n"
)


def store_of(spec: FlowSpec) -> str:
    """The folder of the store that runs of *spec* are recorded in, whether or not it exists."""
    return store_of_file(spec.source.file if spec.source else None)


def store_of_file(file: str | None = None) -> str:
    """The folder of the store for flows of *file*, whether or not it exists.

    ``.mxm`` next to the nearest pyproject.toml, or else to the file. ``MXM_HOME`` names another
    folder. Flows without a file, as in a notebook, and installed flows belong to the
    working directory; if that is not writable, or is the home folder, the store is below
    ``XDG_STATE_HOME``.

    Parameters
    ----------
    file
        None for the working directory.
    """
    home = os.environ.get("MXM_HOME")
    if home:
        return os.path.abspath(os.path.expanduser(home))
    folder = folder_of(file)
    project = nearest_project(folder)
    beside = os.path.dirname(project) if project else folder
    own = os.path.join(beside, _NAME)
    if os.path.isdir(own):
        return own
    homeless = project is None and os.path.realpath(beside) in (
        os.path.realpath(os.path.expanduser("~")),
        os.path.realpath(os.sep),
    )
    if homeless or not os.access(beside, os.W_OK):
        return _below_state_home(beside)
    return own


def _below_state_home(folder: str) -> str:
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(
        os.path.expanduser("~"), ".local/state"
    )
    digest = hashlib.sha256(os.path.realpath(folder).encode("utf-8", "surrogateescape"))
    name = os.path.basename(folder) or "root"
    return os.path.join(state, "mxm-pipeline", f"{name}-{digest.hexdigest()[:8]}")


def root_of(store: str, file: str | None) -> str:
    """The folder of a flow's project; paths of its files are shown relative to it."""
    if not os.environ.get("MXM_HOME") and os.path.basename(store) == _NAME:
        return os.path.dirname(store)
    return project_root(file)


def has_store(store: str) -> bool:
    """Whether something has been recorded in the folder *store*."""
    return os.path.isfile(os.path.join(store, DATABASE))


def make_store(store: str) -> None:
    """Create the folder *store* if it is missing: only its owner can read it, and git ignores it.

    Raises
    ------
    OSError
        It cannot be created.
    """
    try:
        os.makedirs(store, mode=0o700)
    except FileExistsError:
        if not os.path.isdir(store):
            raise
    for name, text in ((".gitignore", "*\n"), ("CACHEDIR.TAG", _TAG)):
        path = os.path.join(store, name)
        if not os.path.exists(path):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)


def distrust(store: str) -> str | None:
    """Why nothing in *store* may be unpickled, because others can write to it; None if it may."""
    if sys.platform == "win32":
        return None
    for name in ("", DATABASE, "values", "key"):
        path = os.path.join(store, name) if name else store
        try:
            info = os.stat(path)
        except FileNotFoundError:
            continue
        if info.st_uid != os.geteuid():
            return f"{path} belongs to another user"
        if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"others can write to {path}"
    return None
