"""Importing the user's modules: each once, and what failed with the user's own line."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

from mxm.pipeline.introspection.entrypoints import module_from_file
from mxm.pipeline.problems import Source, shown_path
from mxm.pipeline.registry import current_registry

__all__ = ["Failure", "Loader"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A module that could not be imported.

    Parameters
    ----------
    module
        Its name, or its file.
    error
        What it raised.
    source
        The user's line that raised it.
    origin
        Who named the module: a setting, an option, an entry point; None for a file that was found.
    hint
        What to do about it, or None.
    """

    module: str
    error: BaseException
    source: Source | None
    origin: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        place = f"{self.source}: " if self.source else ""
        origin = f" ({self.origin})" if self.origin else ""
        told = f"{type(self.error).__name__}: {self.error}"
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{place}module {self.module!r}{origin} could not be imported: {told}{hint}"


class Loader:
    """Imports modules into the current registry, each once.

    Parameters
    ----------
    paths
        Folders that go on ``sys.path``.

    Attributes
    ----------
    failures
        Modules that could not be imported; they register nothing.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.failures: list[Failure] = []
        self._paths = paths
        self._loaded: dict[str, ModuleType] = {}
        self._before = set(sys.modules)
        for path in reversed(paths):
            if path not in sys.path:
                sys.path.insert(0, path)

    def file(self, path: str) -> ModuleType | None:
        """Import the file *path*: by its dotted name where it is in a package, else by its own."""
        path = os.path.realpath(path)
        root, name = _dotted(path)
        if (dotted := _dot_in_a_name(root, path)) is not None:
            self._refuse(path, dotted)
            return None
        if root not in sys.path:
            sys.path.insert(0, root)
        if _leads_elsewhere(name, path):
            return self._load(shown_path(path), lambda: _from_file(path), file=path)
        return self._load(name, lambda: importlib.import_module(name), file=path)

    def _refuse(self, path: str, dotted: str) -> None:
        """Report *path*, which no import can name, because its part *dotted* has a dot in it."""
        stem = dotted.removesuffix(".py")
        renamed = stem.replace(".", "_") + dotted.removeprefix(stem)
        why = ImportError(f"Python reads the dot in {stem!r} as that of a package")
        hint = f"rename {dotted!r} to {renamed!r}"
        self.failures.append(Failure(shown_path(path), why, Source(path), hint=hint))

    def module(self, name: str, origin: str | None = None) -> ModuleType | None:
        """Import the module *name*, which *origin* asks for."""
        return self._load(name, lambda: importlib.import_module(name), origin=origin)

    def _load(
        self,
        name: str,
        load: Callable[[], ModuleType],
        *,
        file: str | None = None,
        origin: str | None = None,
    ) -> ModuleType | None:
        if name in self._loaded:
            return self._loaded[name]
        # What was imported before this search registered elsewhere: it must run once more.
        known = sys.modules.pop(name, None) if name in self._before else None
        try:
            # What a module prints while it is imported must not end up in a JSON document.
            with contextlib.redirect_stdout(sys.stderr):
                module = load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # pytest.skip() raises one that is no Exception
            if known is not None:
                sys.modules[name] = known
            frames = traceback.extract_tb(error.__traceback__)
            # What these files registered before they failed may not be what is meant.
            stopped = {os.path.realpath(f.filename) for f in frames if f.name == "<module>"}
            current_registry().drop(stopped)
            source = _blame(error, frames)
            if source is None and (file := file or _file_of(name)):
                source = Source(file)
            self.failures.append(Failure(name, error, source, origin, self._hint(name, error)))
            return None
        self._loaded[name] = module
        return module

    def _hint(self, name: str, error: BaseException) -> str | None:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is None or not f"{name}.".startswith(f"{missing}."):
            return None
        return f"imports start in {', '.join(self._paths)}, and where packages are installed"


def _dotted(path: str) -> tuple[str, str]:
    """The folder to import from, and the dotted name of the file *path*."""
    folder, file = os.path.split(path)
    parts = [] if file == "__init__.py" else [file.removesuffix(".py")]
    while os.path.exists(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    return folder, ".".join(parts)


def _dot_in_a_name(root: str, path: str) -> str | None:
    """The first part of *path* below *root* that has a dot where a module's name has none."""
    parts = os.path.relpath(path, root).removesuffix(".py").split(os.sep)
    for i, part in enumerate(parts):
        if "." in part:
            return part if i < len(parts) - 1 else part + ".py"
    return None


def _leads_elsewhere(name: str, path: str) -> bool:
    """Whether importing *name* gives another file than *path*, as for a ``numbers.py``."""
    known = sys.modules.get(name)
    if known is not None:
        origin = getattr(known, "__file__", None)
    elif "." in name:  # to ask would import its packages
        return False
    else:
        spec = importlib.util.find_spec(name)
        origin = spec.origin if spec else None
    return os.path.realpath(origin or "") != path


def _from_file(path: str) -> ModuleType:
    import zlib

    stem = os.path.basename(path).removesuffix(".py").replace("-", "_")
    name = f"mxm_flows_{stem}_{zlib.crc32(os.fsencode(path)):08x}"  # there may be two of one stem
    return module_from_file(name, path)


def _blame(error: BaseException, frames: traceback.StackSummary) -> Source | None:
    """The last line of the user's own that was carried out before *error*."""
    if isinstance(error, SyntaxError) and error.filename and not _is_librarys(error.filename):
        return Source(error.filename, error.lineno, error.offset or None)
    own = [frame for frame in frames if not _is_librarys(frame.filename)]
    if not own:  # an installed module that was asked for: its own lines, not those that it calls
        file = next((frame.filename for frame in frames if frame.name == "<module>"), None)
        own = [frame for frame in frames if frame.filename == file]
    return Source(own[-1].filename, own[-1].lineno) if own else None


# The folder `mxm`, three up from here.
_OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_STANDARD = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def _is_librarys(file: str) -> bool:
    """Whether *file* is Python's, of an installed distribution, or ours."""
    return file.startswith(("<", _OURS, _STANDARD)) or any(part in file for part in _INSTALLED)


def _file_of(name: str) -> str | None:
    try:
        spec = importlib.util.find_spec(name)
    except Exception:  # whatever its parent packages raise
        return None
    return spec.origin if spec else None
