"""Imports the user's modules, each once, and records failures with the user's own line."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

from mxm.pipeline.discovery.naming import Home, Naming, provides
from mxm.pipeline.discovery.settings import Settings, read_settings
from mxm.pipeline.errors import PipelineError, described, text_of
from mxm.pipeline.introspection.entrypoints import module_from_file
from mxm.pipeline.problems import Source, shown_path
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.project.roots import nearest_project
from mxm.pipeline.registry import current_registry

__all__ = ["Failure", "Loader", "is_librarys"]


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
        Who named the module: a setting, an option, an entry point; None for a file found by
        scanning.
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
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        why = f"could not be imported: {described(self.error)}{hint}"
        return f"{place}module {self.module!r}{origin} {why}"


class Loader:
    """Imports modules into the current registry, each once.

    Files of one project, and scripts of one folder, can import each other and installed packages,
    but never modules of the same name from other projects or folders. So `file` puts their folders
    at the front of ``sys.path``, and removes from ``sys.modules`` what only earlier files could
    see.

    Parameters
    ----------
    settings
        Settings of the project in which the search runs.

    Attributes
    ----------
    failures
        Modules that could not be imported; they register nothing.
    """

    _last: ClassVar[Loader | None] = None

    def __init__(self, settings: Settings) -> None:
        if Loader._last is not None:  # this search starts where that one did
            Loader._last._enter(())
        else:
            atexit.register(Loader._let_go)
        Loader._last = self
        self.failures: list[Failure] = []
        self._settings = settings
        self._loaded: dict[str, ModuleType] = {}
        self._before = set(sys.modules)
        self._naming = Naming()
        self._projects: dict[str | None, Settings] = {None: settings, settings.file: settings}
        self._bases_of: dict[str, tuple[tuple[str, ...], bool]] = {}
        for path in reversed(settings.import_paths):
            if path not in sys.path:
                sys.path.insert(0, path)
        self._common = [*sys.path]
        self._roots: tuple[str, ...] = ()
        self._added: list[str] = []
        self._away: dict[tuple[str, ...], tuple[list[str], dict[str, ModuleType]]] = {}
        self._roots_of: dict[str, tuple[str, ...]] = {}

    @classmethod
    def _let_go(cls) -> None:
        """Drop the modules, so that their objects end as if nothing else held them."""
        cls._last = None

    def file(self, path: str) -> ModuleType | None:
        """Import the file *path*: by its dotted name if it is in a package, else by its own."""
        path = os.path.realpath(path)
        try:
            homes = self._homes(path)
        except PipelineError as error:  # the settings of the file's own project
            self.failures.append(Failure(shown_path(path), error, Source(path)))
            return None
        if (dotted := _dot_in_a_name(homes[-1].roots[0], path)) is not None:
            self._refuse(path, dotted)
            return None
        home = next((home for home in homes[:-1] if self._leads_to(home)), homes[-1])
        self._enter(home.roots)
        self._roots_of[path] = home.roots
        if _leads_elsewhere(home.name, path):
            return self._load(shown_path(path), lambda: _from_file(path), file=path)
        return self._load(home.name, lambda: importlib.import_module(home.name), file=path)

    def module(self, name: str, origin: str | None = None) -> ModuleType | None:
        """Import the module *name* for *origin*."""
        self._enter(())
        module = self._load(name, lambda: importlib.import_module(name), origin=origin)
        if module and (file := _real_file(module)):
            self._roots_of.setdefault(file, ())
        return module

    def _leads_to(self, home: Home) -> bool:
        """Whether the name of *home* resolves from its first root, not to an installed package."""
        self._enter(home.roots)
        top, dot, _ = home.name.partition(".")
        if not dot:
            return True
        module = sys.modules.get(top)
        spec = None if module else importlib.util.find_spec(top)
        folders = spec.submodule_search_locations if spec else getattr(module, "__path__", None)
        return os.path.join(home.roots[0], top) in map(os.path.realpath, folders or ())

    def settle(self, path: str) -> None:
        """Restore the import folders of the file *path*."""
        roots = self._roots_of.get(path)
        if roots is None:  # imported by another module, and perhaps hidden since
            away = self._away.items()
            has = (r for r, (_, modules) in away if path in map(_real_file, modules.values()))
            roots = next(has, None)
        if roots is None and not is_librarys(path) and os.path.exists(path):
            roots = self._homes(path)[0].roots
        if roots is not None:
            self._enter(roots)

    def _homes(self, path: str) -> list[Home]:
        bases, configured = self._bases(os.path.dirname(path))
        return self._naming.homes_of(path, bases, configured=configured)

    def _bases(self, folder: str) -> tuple[tuple[str, ...], bool]:
        """Folders where imports of a file in *folder* start, and whether its project names them."""
        if folder not in self._bases_of:
            file = nearest_project(folder)
            if file not in self._projects:
                self._projects[file] = read_settings(folder)
            bases = self._projects[file].paths
            configured = bool(bases)
            if file and not bases:
                project = os.path.dirname(file)
                source = os.path.join(project, "src")
                is_source = os.path.isdir(source) and not provides(source, "__init__")
                bases = (source, project) if is_source else (project,)
            real = map(os.path.realpath, bases or self._settings.import_paths)
            self._bases_of[folder] = (tuple(real), configured)
        return self._bases_of[folder]

    def _enter(self, roots: tuple[str, ...]) -> None:
        """Let imports start in *roots*, and forget modules that only the old roots could find."""
        if roots == self._roots:
            return
        left = {*self._roots, *self._added} - {*self._common}
        path = [*roots, *(p for p in sys.path if p not in left and p not in roots)]
        known, modules = self._away.pop(roots, (path, {}))
        path = known if roots else path  # with our roots removed; others may have changed it since
        self._away[self._roots] = (sys.path[:], self._hide(path, left))
        sys.path[:] = path
        sys.modules.update(modules)
        self._roots, self._added = roots, [p for p in path if p not in self._common]

    def _hide(self, path: Sequence[str], left: set[str]) -> dict[str, ModuleType]:
        """Remove the user's modules that *path* does not lead to from `sys.modules`.

        They came from the folders *left*, or *path* leads to other modules of the same names first.
        """
        hidden: dict[str, ModuleType] = {}
        for name in [n for n in sys.modules if "." not in n and not n.startswith(_BY_FILE)]:
            folders = _folders_of(sys.modules[name])
            if not folders:
                continue
            first = next((p for p in path if provides(p, name)), None)
            if first not in folders and (first or not left.isdisjoint(folders)):
                inner = f"{name}."
                for each in [n for n in sys.modules if n == name or n.startswith(inner)]:
                    hidden[each] = sys.modules.pop(each)
        return hidden

    def _refuse(self, path: str, dotted: str) -> None:
        """Report that *path* cannot be imported, because its part *dotted* contains a dot."""
        stem = dotted.removesuffix(".py")
        renamed = stem.replace(".", "_") + dotted.removeprefix(stem)
        why = ImportError(f"Python reads the dot in {stem!r} as a package separator")
        hint = f"rename {dotted!r} to {renamed!r}"
        self.failures.append(Failure(shown_path(path), why, Source(path), hint=hint))

    def _load(
        self,
        name: str,
        load: Callable[[], ModuleType],
        *,
        file: str | None = None,
        origin: str | None = None,
    ) -> ModuleType | None:
        key = file or name
        if key in self._loaded:
            return self._loaded[key]
        # Modules imported before this search registered elsewhere: run them again.
        known = sys.modules.pop(name, None) if name in self._before else None
        path = [*sys.path]
        try:
            # Output of a module during import must not end up in a JSON document.
            with contextlib.redirect_stdout(sys.stderr):
                module = load()
            _require_file(module, file)
        except BaseException as error:  # pytest.skip() raises one that is not an Exception
            let_signals_pass(error)
            if known is not None:
                sys.modules[name] = known
            frames = traceback.extract_tb(error.__traceback__)
            # Flows that these files registered before they failed may be incomplete.
            stopped = {os.path.realpath(f.filename) for f in frames if f.name == "<module>"}
            current_registry().drop(stopped)
            source = _blame(error, frames)
            if source is None and (file := file or _file_of(name)):
                source = Source(file)
            self.failures.append(Failure(name, error, source, origin, self._hint(name, error)))
            return None
        finally:
            # Folders that the module added are its own, like its roots.
            more = [folder for folder in sys.path if folder not in path]
            (self._added if self._roots else self._common).extend(more)
        self._loaded[key] = module
        return module

    def _hint(self, name: str, error: BaseException) -> str | None:
        text = text_of(error)
        if isinstance(error, ImportError) and "relative import with no known parent" in text:
            return (
                "its folder is on the import path, so it is not a package: run from the folder "
                "above, or add that folder to paths in [tool.mxm.pipeline]"
            )
        if isinstance(error, SyntaxError) and "outside async function" in text:
            return "write `async def`: the body of an async flow may await tasks and flows"
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is None or not f"{name}.".startswith(f"{missing}."):
            return None
        folders = ", ".join(self._settings.import_paths)
        return f"imports are looked up in {folders}, and where packages are installed"


def _dot_in_a_name(root: str, path: str) -> str | None:
    """The first part of *path* below *root* with a dot that a module name cannot have."""
    parts = os.path.relpath(path, root).removesuffix(".py").split(os.sep)
    for i, part in enumerate(parts):
        if "." in part:
            return part if i < len(parts) - 1 else part + ".py"
    return None


def _leads_elsewhere(name: str, path: str) -> bool:
    """Whether importing *name* gives a file other than *path*, as for a ``numbers.py``."""
    known = sys.modules.get(name)
    if known is not None:
        origin = getattr(known, "__file__", None)
    elif "." in name:  # checking would import its packages
        return False
    else:
        spec = importlib.util.find_spec(name)
        origin = spec.origin if spec else None
    return os.path.realpath(origin or "") != path


def _require_file(module: ModuleType, file: str | None) -> None:
    """Reject a *module* that is not the requested file: flows of both would mix."""
    origin = _real_file(module)
    if file and origin and origin != file:
        current_registry().drop({origin})
        raise ImportError(f"{module.__name__!r} is imported from {shown_path(origin)} instead")


def _real_file(module: ModuleType) -> str | None:
    file = getattr(module, "__file__", None)
    return os.path.realpath(file) if file else None


def _folders_of(module: ModuleType) -> list[str]:
    """The folders in which an import of the top-level module *module* looks for it.

    Empty for modules that are Python's, installed, or ours.
    """
    file = getattr(module, "__file__", None)
    packages = [os.path.dirname(file)] if file else list(getattr(module, "__path__", ()))
    if not packages or is_librarys(file or packages[0] + os.sep):
        return []
    return [os.path.dirname(p) if hasattr(module, "__path__") else p for p in packages]


_BY_FILE = "mxm_flows_"


def _from_file(path: str) -> ModuleType:
    import zlib

    stem = os.path.basename(path).removesuffix(".py").replace("-", "_")
    name = f"{_BY_FILE}{stem}_{zlib.crc32(os.fsencode(path)):08x}"  # stems may repeat
    return module_from_file(name, path)


def _blame(error: BaseException, frames: traceback.StackSummary) -> Source | None:
    """The last line of the user's own code executed before *error*."""
    if isinstance(error, SyntaxError) and error.filename and not is_librarys(error.filename):
        return Source(error.filename, error.lineno, error.offset or None)
    own = [frame for frame in frames if not is_librarys(frame.filename)]
    if not own:  # a requested installed module: only its own lines count
        file = next((frame.filename for frame in frames if frame.name == "<module>"), None)
        own = [frame for frame in frames if frame.filename == file]
    return Source(own[-1].filename, own[-1].lineno) if own else None


# The folder `mxm`, three up from here.
_OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_STANDARD = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def is_librarys(file: str) -> bool:
    """Whether *file* belongs to Python, an installed distribution, or us."""
    return file.startswith(("<", _OURS, _STANDARD)) or any(part in file for part in _INSTALLED)


def _file_of(name: str) -> str | None:
    try:
        spec = importlib.util.find_spec(name)
    except BaseException as error:  # its parent packages may raise anything
        let_signals_pass(error)
        return None
    return spec.origin if spec else None
