"""Names, modules and folders to flows: what is imported, what failed, where it was looked for."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import tomllib
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from mxm.pipeline.errors import (
    AmbiguousFlowError,
    LoadError,
    PipelineError,
    Source,
    UnknownFlowError,
    did_you_mean,
    shown_path,
)
from mxm.pipeline.registry import FlowRegistry, Registration, collecting
from mxm.pipeline.scanning import declares_flows, python_files, read

__all__ = ["Failure", "Found", "discover", "find_flow"]

ENTRY_POINTS = "mxm.flows"
MOST_FILES = 2_000


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
    """

    module: str
    error: BaseException
    source: Source | None

    def __str__(self) -> str:
        place = f"{self.source}: " if self.source else ""
        told = f"{type(self.error).__name__}: {self.error}"
        return f"{place}module {self.module!r} could not be imported: {told}"


@dataclass
class Found:
    """What a search found.

    Attributes
    ----------
    registry
        The flows.
    failures
        Modules that could not be imported.
    looked_at
        Where it was looked, in words, for a user who finds nothing.
    """

    registry: FlowRegistry = field(default_factory=FlowRegistry)
    failures: list[Failure] = field(default_factory=list[Failure])
    looked_at: list[str] = field(default_factory=list[str])

    @property
    def flows(self) -> list[Registration]:
        """Every flow by name, clashing ones included."""
        return sorted(self.registry.entries(), key=lambda e: (e.name, e.place.file))


def discover(modules: Sequence[str] = (), *, start: str | None = None) -> Found:
    """Import the modules that declare flows, and collect what they register.

    ``[tool.mxm.pipeline]`` of the nearest pyproject.toml says where to look (``paths``,
    ``modules``), then the entry points of the group ``mxm.flows``; where neither does, the Python
    files under the working directory are scanned.

    Parameters
    ----------
    modules
        More modules to import, by dotted name.
    start
        Where to look from; by default the working directory.
    """
    with collecting() as registry:
        found = Found(registry)
        _Search(found, start or os.getcwd()).run(modules)
    return found


def find_flow(
    target: str, modules: Sequence[str] = (), *, start: str | None = None
) -> Registration:
    """The one flow that *target* means.

    Parameters
    ----------
    target
        A name, ``pkg.module:flow``, ``path/to/file.py:flow``, or a file with one flow.
    modules, start
        As in `discover`.

    Raises
    ------
    LoadError
        A file or module cannot be imported; or the name was not found and some module failed.
    UnknownFlowError
        There is no such flow; the message suggests the nearest name, or says where it was looked.
    AmbiguousFlowError
        Several flows are meant.
    """
    place, _, name = target.rpartition(":")
    if target.endswith(".py"):
        place, name = target, ""
    if place:
        return _in_module(place, name, start or os.getcwd())
    found = discover(modules, start=start)
    try:
        return found.registry.find(target)
    except UnknownFlowError as error:
        if found.failures:
            told = "\n".join(str(failure) for failure in found.failures)
            raise LoadError(
                f"{error.message}; not every module could be imported\n{told}",
                hint=error.hint if found.flows else None,
            ) from None
        if not found.flows:
            looked = "; ".join(found.looked_at)
            raise UnknownFlowError(
                f"unknown flow {target!r}: no flows were found", hint=f"looked at: {looked}"
            ) from None
        raise


def _in_module(place: str, name: str, start: str) -> Registration:
    """The flow *name*, or the only one, of one file or module, which alone is imported."""
    with collecting() as registry:
        found = Found(registry)
        search = _Search(found, start)
        if place.endswith(".py"):
            path = os.path.join(start, os.path.expanduser(place))
            if not os.path.isfile(path):
                raise UnknownFlowError(f"no such file: {place!r}", hint=_similar_file(path))
            search.load_file(path)
            origin = os.path.realpath(path)
        else:
            search.use_paths(search.settings())
            module = search.load_module(place)
            origin = os.path.realpath(getattr(module, "__file__", None) or place)
    if found.failures:
        raise LoadError(str(found.failures[0])) from found.failures[0].error
    own = [e for e in registry.entries() if e.place.file == origin] or registry.entries()
    if name:
        matching = [e for e in own if name in (e.name, e.place.qualname)]
        if not matching:
            hint = did_you_mean(name, [e.name for e in own]) or "it declares no flows"
            raise UnknownFlowError(f"unknown flow {name!r} in {place!r}", hint=hint)
        return matching[0]
    if not own:
        raise UnknownFlowError(
            f"no flow in {place!r}",
            hint="decorate a function with @mxm.flow, or call register_flow",
        )
    if len(own) > 1:
        names = ", ".join(repr(f"{place}:{e.name}") for e in own)
        raise AmbiguousFlowError(f"{place!r} has {len(own)} flows", hint=f"give one of {names}")
    return own[0]


def _similar_file(path: str) -> str | None:
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        return f"there is no folder {shown_path(folder)!r}"
    return did_you_mean(
        os.path.basename(path), [f for f in os.listdir(folder) if f.endswith(".py")]
    )


class _Search:
    """One search, into the current registry."""

    def __init__(self, found: Found, start: str) -> None:
        self.found = found
        self.start = start
        self.loaded: dict[str, ModuleType] = {}
        self.before = set(sys.modules)

    def run(self, modules: Sequence[str]) -> None:
        settings = self.settings()
        self.use_paths(settings)
        for module in modules:
            self.load_module(module)
        named: list[str] = settings.get("modules", [])
        for module in named:
            self.found.looked_at.append(f"module {module}")
            self.load_module(module)
        if not named:
            for path in settings.get("paths", []):
                self.scan(path)
        entries = self.entry_points()
        if not (modules or named or settings.get("paths") or entries):
            self.scan(self.start)

    def settings(self) -> dict[str, Any]:
        """``[tool.mxm.pipeline]`` of the nearest pyproject.toml that has it; paths made absolute.

        Raises
        ------
        PipelineError
            The file is no TOML, or a key has the wrong type.
        """
        folder = Path(self.start).absolute()
        for candidate in (folder, *folder.parents):
            file = candidate / "pyproject.toml"
            if not file.is_file():
                continue
            try:
                table: Any = tomllib.loads(file.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
                raise PipelineError(f"{shown_path(str(file))} cannot be read: {error}") from error
            settings = table.get("tool", {}).get("mxm", {}).get("pipeline")
            if settings is not None:
                self.found.looked_at.append(f"[tool.mxm.pipeline] of {shown_path(str(file))}")
                return _checked(settings, str(file), candidate)
            break  # the nearest pyproject.toml is the project's; those above are not
        return {}

    def use_paths(self, settings: dict[str, Any]) -> None:
        """Put the configured paths, or the working directory, where imports are looked for."""
        for path in reversed(settings.get("paths", [self.start])):
            if path not in sys.path:
                sys.path.insert(0, path)

    def entry_points(self) -> bool:
        """Load the entry points of other distributions; whether there are any."""
        if not _may_have_entry_points():
            return False
        from importlib.metadata import entry_points

        entries = sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name)
        for entry in entries:
            self.found.looked_at.append(f"entry point {entry.name} = {entry.value}")
            self.load_module(entry.module)
        return bool(entries)

    def scan(self, folder: str) -> None:
        """Import the files under *folder* that declare flows, as their text shows."""
        if os.path.realpath(folder) in (os.path.realpath(os.path.expanduser("~")), os.sep):
            self.found.looked_at.append(f"not {folder}: a home folder is never scanned")
            return
        files, declaring = 0, 0
        for path in python_files(folder):
            files += 1
            if files > MOST_FILES:
                self.found.looked_at.append(
                    f"only the first {MOST_FILES} files under {folder}: "
                    "name modules in [tool.mxm.pipeline]"
                )
                break
            if declares_flows(path):
                declaring += 1
                self.load_file(path)
        self.found.looked_at.append(
            f"{min(files, MOST_FILES)} Python files under {folder}, "
            f"{declaring} of which declare flows"
        )

    def load_file(self, path: str) -> ModuleType | None:
        """Import the file *path*: by its dotted name where it is in a package, else by its own."""
        path = os.path.realpath(path)
        root, name = _dotted(path)
        if root not in sys.path:
            sys.path.insert(0, root)
        if _leads_elsewhere(name, path):
            return self._load(shown_path(path), lambda: _from_file(path))
        return self._load(name, lambda: importlib.import_module(name))

    def load_module(self, name: str) -> ModuleType | None:
        """Import the module *name*."""
        return self._load(name, lambda: importlib.import_module(name))

    def _load(self, name: str, load: Any) -> ModuleType | None:
        if name in self.loaded:
            return self.loaded[name]
        # What was imported before this search registered elsewhere: it must run once more.
        known = sys.modules.pop(name, None) if name in self.before else None
        try:
            # What a module prints while it is imported must not end up in a JSON document.
            with contextlib.redirect_stdout(sys.stderr):
                module: ModuleType = load()
        except (Exception, SystemExit) as error:
            if known is not None:
                sys.modules[name] = known
            self.found.failures.append(Failure(name, error, _blame(error)))
            return None
        self.loaded[name] = module
        return module


def _may_have_entry_points() -> bool:
    """Whether an installed distribution names our group; False spares `importlib.metadata`."""
    # Loading that takes longer than a look into every entry_points.txt there is.
    for folder in sys.path:
        try:
            with os.scandir(folder or ".") as entries:
                infos = [e.path for e in entries if e.name.lower().endswith(_INFO)]
        except NotADirectoryError:
            return True  # a zip file, which it can read
        except OSError:
            continue
        for info in infos:
            if ENTRY_POINTS.encode() in read(os.path.join(info, "entry_points.txt")):
                return True
    return False


_INFO = (".dist-info", "egg-info")


def _checked(settings: Any, file: str, folder: Path) -> dict[str, Any]:
    for key in ("paths", "modules"):
        value: Any = settings.get(key, [])
        if not isinstance(value, list) or not all(
            isinstance(item, str) for item in cast("list[object]", value)
        ):
            raise PipelineError(
                f"{shown_path(file)}: [tool.mxm.pipeline] {key} is a list of strings, not {value!r}"
            )
    paths = [str(folder / path) for path in settings.get("paths", [])]
    for path in paths:
        if not os.path.isdir(path):
            raise PipelineError(
                f"{shown_path(file)}: [tool.mxm.pipeline] paths names {shown_path(path)!r}, "
                "which is no folder"
            )
    return {**settings, **({"paths": paths} if paths else {})}


def _dotted(path: str) -> tuple[str, str]:
    """The folder to import from, and the dotted name of the file *path*."""
    folder, file = os.path.split(path)
    parts = [] if file == "__init__.py" else [file.removesuffix(".py")]
    while os.path.exists(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    return folder, ".".join(parts)


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
    name = "mxm_flows_" + os.path.basename(path).removesuffix(".py").replace("-", "_")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # noqa: S101 - a .py file always has both
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _blame(error: BaseException) -> Source | None:
    """The last line of the user's own that was carried out before *error*."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno is not None:
        return Source(error.filename, error.lineno, error.offset)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen")
        and f"{os.sep}mxm{os.sep}pipeline{os.sep}" not in frame.filename
        and not frame.filename.endswith(f"{os.sep}mxm{os.sep}__init__.py")
        and f"{os.sep}importlib{os.sep}" not in frame.filename
    ]
    return Source(frames[-1].filename, frames[-1].lineno) if frames else None
