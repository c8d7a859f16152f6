"""The dotted name of a file, and the folders where its own imports start."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from mxm.pipeline.discovery.scan import read
from mxm.pipeline.discovery.text import code_of, top_imports

__all__ = ["Home", "Naming", "provides"]


class Home(NamedTuple):
    """A way to import a file.

    Parameters
    ----------
    roots
        Folders where imports start; the file's *name* is relative to the first.
    name
        Its dotted name.
    """

    roots: tuple[str, ...]
    name: str


class Naming:
    """Names files by their places and their imports; reads each once."""

    def __init__(self) -> None:
        self._imports: dict[str, set[str]] = {}
        self._starts: dict[tuple[str, ...], list[str]] = {}

    def homes_of(self, path: str, bases: Sequence[str], *, configured: bool) -> list[Home]:
        """The ways to import the file *path*, best first.

        A package needs no ``__init__.py``. A folder without one may be a package, or contain
        scripts that import each other by their bare names: the imports in its files decide.

        Parameters
        ----------
        path
            The file, by its real path.
        bases
            Folders where the project's imports start.
        configured
            Whether the project's settings name them. If so, its packages are named from there, even
            those with an ``__init__.py``, whose own imports could start further down.
        """
        top, parts = _package(path)
        plain = Home(_once(top, *bases), ".".join(parts))
        base = max((b for b in bases if top.startswith(b + os.sep)), key=len, default=None)
        scripts = top == os.path.dirname(path)
        if base is None or not (scripts or configured):
            return [plain]
        above = os.path.relpath(top, base).split(os.sep)
        unfit = [i for i, part in enumerate(above, 1) if not part.isidentifier()]
        base = os.path.join(base, *above[: unfit[-1]]) if unfit else base
        if base == top:
            return [plain]
        # All files of a folder are named the same way, but one with relative imports is in a
        # package.
        starts = self._starts_of(top, base, "" if scripts else path)
        relative = scripts and "." in self._imports_of(path)
        root = next((start for start in starts if not (relative and start == top)), base)
        if root == top:
            return [plain]
        name = os.path.relpath(path, root).removesuffix(".py").replace(os.sep, ".")
        roots = _once(root, *starts, base, *bases)
        return [Home(roots, name.removesuffix(".__init__")), plain]

    def _starts_of(self, top: str, base: str, path: str) -> list[str]:
        """The folders from *top* up to *base* where imports start, nearest first.

        Looks at the imports of the file *path*, or of all files in *top* if it is None.
        """
        key = (top, base, path)
        if key not in self._starts:
            files = [path]
            if not path:
                files = [os.path.join(top, n) for n in os.listdir(top) if n.endswith(".py")]
            names = {name for file in files for name in self._imports_of(file)}
            names -= sys.stdlib_module_names | {"."}
            folders = [top]
            while folders[-1] != base:
                folders.append(os.path.dirname(folders[-1]))
            nearest = {next((f for f in folders if provides(f, name)), "") for name in names}
            self._starts[key] = [folder for folder in folders if folder in nearest]
        return self._starts[key]

    def _imports_of(self, path: str) -> set[str]:
        if path not in self._imports:
            try:
                self._imports[path] = top_imports(code_of(read(path)))
            except OSError:
                self._imports[path] = set()
        return self._imports[path]


def _package(path: str) -> tuple[str, list[str]]:
    """The folder above the regular packages around *path*, and the names from there."""
    folder, file = os.path.split(path)
    parts = [] if file == "__init__.py" else [file.removesuffix(".py")]
    while os.path.exists(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    return folder, parts


def provides(folder: str, name: str) -> bool:
    """Whether an import of the module or package *name* may find it in *folder*."""
    path = os.path.join(folder, name)
    return os.path.isfile(path + ".py") or os.path.isdir(path)


def _once(*folders: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(folders))
