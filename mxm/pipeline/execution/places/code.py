"""The project's sources as a tree: sent to a worker once, and imported there from its folder.

A worker of a cluster outlives the code: it imports a module once, and would still use it after an
edit. So each request names, by digest, the tree that it was planned with. A different tree
replaces the imported one, whose modules are forgotten.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import importlib
import io
import os
import shutil
import sys
import tempfile
import threading
import zipfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from mxm.pipeline.errors import BackendError
from mxm.pipeline.execution.pickling import files_are_at
from mxm.pipeline.problems import shown_path

__all__ = ["Tree", "tree_of", "has_tree", "install", "zipped", "within_tree"]

_OURS = os.path.realpath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 2))
_LARGEST = (
    64_000_000  # bytes of sources: with more, it is not a project, but a folder of everything
)


@dataclass(frozen=True, slots=True)
class Tree:
    """The sources that a run was planned with.

    Parameters
    ----------
    digest
        The digest of their paths and contents.
    root
        The project's folder, where the run was planned.
    paths
        The entries of ``sys.path`` below it, relative to it, in order.
    """

    digest: str
    root: str
    paths: tuple[str, ...]


def _files(root: str, *, whole: bool = True) -> Iterator[str]:
    """The Python files below *root*; for a folder like a home, only modules and packages in it."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if (whole or os.path.exists(os.path.join(folder, name, "__init__.py")))
            and not name.startswith(".")
            and name not in ("__pycache__", "node_modules", "site-packages")
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
            and os.path.realpath(os.path.join(folder, name)) != _OURS
        )
        for name in sorted(names):
            if name.endswith(".py"):
                yield os.path.join(folder, name)


def tree_of(root: str, *, whole: bool = True) -> tuple[Tree, dict[str, bytes]]:
    """The tree of the project in *root*, and its files by relative path.

    Parameters
    ----------
    root
        The folder.
    whole
        Whether the whole folder is the project; otherwise only its modules and packages count.

    Raises
    ------
    BackendError
        It is too large, or a file cannot be read.
    """
    root = os.path.realpath(root)
    files: dict[str, bytes] = {}
    size = 0
    own = os.path.join(os.path.dirname(_OURS), "__init__.py")
    for path in _files(root, whole=whole):
        if os.path.realpath(path) == own:  # of mxm-pipeline: each worker has its own
            continue
        try:
            with open(path, "rb") as file:
                data = files[os.path.relpath(path, root)] = file.read()
        except OSError as error:
            message = f"{shown_path(path)} cannot be sent to workers: {error.strerror}"
            raise BackendError(message) from None
        size += len(data)
        if size > _LARGEST:
            raise BackendError(
                f"{shown_path(root)} has too many Python files to send to workers",
                hint="put a pyproject.toml into the project's own folder",
            )
    hashed = hashlib.sha256()
    for name in sorted(files):
        hashed.update(f"{name}\0{len(files[name])}\0".encode())
        hashed.update(files[name])
    entries = [os.path.relpath(os.path.realpath(entry or os.getcwd()), root) for entry in sys.path]
    below = [entry for entry in entries if not entry.startswith(os.pardir)]
    return Tree(hashed.hexdigest(), root, tuple(dict.fromkeys([*below, os.curdir]))), files


def zipped(files: dict[str, bytes]) -> bytes:
    """*files* as one archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), files[name])
    return out.getvalue()


# On a worker

_changes = threading.Condition()
_current: tuple[Tree, str] | None = None
_in_use = 0


@functools.cache
def _home() -> str:
    """A folder of this process alone, so that nobody else can put code there."""
    home = tempfile.mkdtemp(prefix="mxm-code-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home


def _folder(digest: str) -> str:
    return os.path.join(_home(), digest)


def has_tree(tree: Tree) -> bool:
    """Whether this process has the sources."""
    return os.path.isdir(_folder(tree.digest))


def install(tree: Tree, data: bytes) -> None:
    """Unpack the sources for this process; only it may write there."""
    folder = _folder(tree.digest)
    part = tempfile.mkdtemp(dir=_home())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(part)
    with contextlib.suppress(OSError):  # another thread was first
        os.rename(part, folder)


@contextlib.contextmanager
def within_tree(tree: Tree, run: str) -> Generator[str, None, None]:
    """A block in which imports come from *tree*, anew for each *run*; yields its folder.

    The state of a module, such as a file that it read once, may be outdated in another run. Calls
    of one run may overlap; a call of another run waits for them, because a process has only one
    module with a name.
    """
    global _in_use, _current
    folder = _folder(tree.digest)
    with _changes:
        while _in_use and _current != (tree, run):
            _changes.wait()
        if _current != (tree, run):
            _activate(tree, folder)
            _current = tree, run
        _in_use += 1
    try:
        yield folder
    finally:
        with _changes:
            _in_use -= 1
            _changes.notify_all()


def _activate(tree: Tree, folder: str) -> None:
    home = _home()
    names = set(_module_names(folder, tree.paths))
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if name in names or file.startswith(home + os.sep):
            del sys.modules[name]
    entries = [os.path.normpath(os.path.join(folder, path)) for path in tree.paths]
    sys.path[:] = [*entries, *(path for path in sys.path if not path.startswith(home + os.sep))]
    mxm = sys.modules["mxm"]  # whose other packages are the project's
    spaces = [os.path.join(entry, "mxm") for entry in entries]
    rest = [path for path in mxm.__path__ if not path.startswith(home + os.sep)]
    mxm.__path__ = [*filter(os.path.isdir, spaces), *rest]
    importlib.invalidate_caches()
    sys.dont_write_bytecode = True
    root = tree.root + os.sep
    files_are_at(
        lambda file: folder + os.sep + file[len(root) :] if file.startswith(root) else file
    )


def _module_names(folder: str, paths: Sequence[str]) -> Iterator[str]:
    """The names that modules of the tree in *folder* may have, except our own."""
    for path in paths:
        top = os.path.normpath(os.path.join(folder, path))
        for file in _files(top):
            name = os.path.relpath(file, top).removesuffix(".py").replace(os.sep, ".")
            name = name.removesuffix(".__init__")
            if name != "mxm" and not name.startswith("mxm.pipeline"):
                yield name
