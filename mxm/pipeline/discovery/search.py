"""Finds flows by names, modules and folders, and records failures and the places searched."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from mxm.pipeline.discovery.load import Failure, Loader, is_librarys
from mxm.pipeline.discovery.scan import LeftOut, read, scan
from mxm.pipeline.discovery.settings import read_settings, working_directory
from mxm.pipeline.errors import AmbiguousFlowError, LoadError, PipelineError, UnknownFlowError
from mxm.pipeline.problems import Source, did_you_mean, drawn_places, shown_path
from mxm.pipeline.project.roots import nearest_project
from mxm.pipeline.registry import FlowRegistry, Registration, ambiguous, collecting

__all__ = ["WAY_OUT", "Failure", "Discovery", "discover", "find_flow", "find_flows"]

ENTRY_POINTS = "mxm.flows"
WAY_OUT = "decorate a function with @mxm.flow, or name modules with -m"


@dataclass
class Discovery:
    """The result of a search.

    Attributes
    ----------
    registry
        The flows.
    failures
        Modules that could not be imported.
    looked_at
        Places searched, as text, for a user who finds nothing.
    warnings
        Messages about searches that stopped early.
    skipped
        Files and folders that were not imported; `left_out` has those that the user may miss.
    start
        The folder where the search started.
    unscanned
        Why the working directory was not scanned, for a user who misses a flow there.
    """

    registry: FlowRegistry = field(default_factory=FlowRegistry)
    failures: list[Failure] = field(default_factory=list[Failure])
    looked_at: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    skipped: list[LeftOut] = field(default_factory=list[LeftOut])
    unscanned: str | None = None
    start: str = ""
    _projects: dict[str, str | None] = field(default_factory=dict[str, "str | None"])

    @property
    def left_out(self) -> list[LeftOut]:
        """Files and folders that were not imported although the user may expect a flow there."""
        return [each for each in self.skipped if each.matters()]

    def project_of(self, entry: Registration) -> str | None:
        """The folder of the project of *entry*; None if it is in an installed package."""
        folder = os.path.dirname(entry.place.file)
        if folder not in self._projects:
            file = nearest_project(folder)
            installed = is_librarys(entry.place.file)
            project = os.path.dirname(file) if file else os.path.realpath(self.start)
            self._projects[folder] = None if installed else project
        return self._projects[folder]

    @property
    def flows(self) -> list[Registration]:
        """Every flow by name, clashing ones included."""
        return sorted(self.registry.entries(), key=lambda e: (e.name, e.place.file))


def discover(modules: Sequence[str] = (), *, start: str | None = None) -> Discovery:
    """Import the modules that declare flows, and collect what they register.

    ``[tool.mxm.pipeline]`` of the nearest pyproject.toml says where to look (``paths``,
    ``modules``), and so do entry points of the group ``mxm.flows``. If there are neither, the
    Python files under the working directory are scanned.

    Parameters
    ----------
    modules
        More modules to import, by dotted name.
    start
        Where to start; by default the working directory.
    """
    return _search(modules, start or working_directory()).discovery


def _search(modules: Sequence[str], start: str) -> _Search:
    with collecting() as registry:
        search = _Search(Discovery(registry, start=start), start)
        search.run(modules)
    return search


def find_flow(
    target: str,
    modules: Sequence[str] = (),
    *,
    start: str | None = None,
    warn: Callable[[str], object] = lambda _: None,
) -> Registration:
    """The one flow that *target* means.

    Parameters
    ----------
    target
        A name, ``pkg.module:flow``, ``path/to/file.py:flow``, or a file with one flow.
    modules, start
        As in `discover`.
    warn
        Called if the search stopped early.

    Raises
    ------
    LoadError
        A file or module cannot be imported; or the name was not found and some module failed.
    UnknownFlowError
        There is no such flow; the message suggests the nearest name, or lists the places searched.
    AmbiguousFlowError
        Several flows match.
    """
    flows = find_flows(target, modules, start=start, warn=warn)
    if len(flows) > 1:
        first = f"{target}:{flows[0].name}"
        places = [(e.name, e.source or Source(e.place.file)) for e in flows]
        raise AmbiguousFlowError(
            f"{target!r} has {len(flows)} flows{drawn_places(places)}",
            hint=f"give one of them: {first}",
        )
    return flows[0]


def find_flows(
    target: str,
    modules: Sequence[str] = (),
    *,
    start: str | None = None,
    warn: Callable[[str], object] = lambda _: None,
) -> list[Registration]:
    """The flows that *target* means: all flows of a file given without a name, else one flow.

    Parameters and errors are as in `find_flow`.
    """
    start = start or working_directory()
    if target.endswith(".py"):
        return _in_file(target, start)
    place, _, name = target.rpartition(":")
    if place.endswith(".py"):
        return [_named(name, _in_file(place, start), place)]
    elsewhere: UnknownFlowError | None = None
    if place:
        try:
            return [_named(name, _in_module(place, name, start), place)]
        except UnknownFlowError as error:  # a flow's name may contain a colon
            elsewhere = error
    search = _search(modules, start)
    discovery = search.discovery
    for warning in discovery.warnings:
        warn(warning)
    try:
        entry = discovery.registry.find(target)
        search.loader.settle(entry.place.file)
        return [entry]
    except UnknownFlowError as error:
        raise elsewhere or _not_found(target, error, discovery) from None


def _not_found(target: str, error: UnknownFlowError, discovery: Discovery) -> PipelineError:
    """*error* with hints for a user who misses the flow."""
    message, hints = error.message, [error.hint] if discovery.flows else []
    if os.path.isdir(target):
        hints.insert(0, f"{target!r} is a folder: give one of its files")
    if not discovery.flows and not discovery.failures:
        message += ": no flows found"
        hints += [f"looked at: {'; '.join(discovery.looked_at)}", WAY_OUT]
    every = filter(None, (*hints, *discovery.warnings, discovery.unscanned))
    hint = "\n  hint: ".join(every) or None
    if not discovery.failures:
        return UnknownFlowError(message, hint=hint)
    failures = "\n".join(map(str, discovery.failures))
    return LoadError(f"{message}; some modules could not be imported\n{failures}", hint=hint)


def _in_file(place: str, start: str) -> list[Registration]:
    """The flows of one file; nothing else is imported."""
    path = os.path.join(start, os.path.expanduser(place))
    if not os.path.isfile(path):
        if os.path.exists(path):
            raise UnknownFlowError(f"{place!r} is not a regular file")
        raise UnknownFlowError(f"no such file: {place!r}", hint=_similar_file(path))
    with collecting() as registry:
        loader = Loader(read_settings(start))
        loader.file(path)
    _require_loaded(loader)
    return _own(registry, os.path.realpath(path), place)


def _in_module(place: str, name: str, start: str) -> list[Registration]:
    """The flows of one module; nothing else is imported."""
    with collecting() as registry:
        loader = Loader(read_settings(start))
        if not _exists(place.partition(".")[0]):
            unknown = f"unknown flow {f'{place}:{name}'!r}"
            raise UnknownFlowError(unknown, hint=f"no such module: {place!r}")
        module = loader.module(place)
    _require_loaded(loader)
    return _own(registry, os.path.realpath(getattr(module, "__file__", None) or ""), place)


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # not a module name
        return False


def _require_loaded(loader: Loader) -> None:
    for failure in loader.failures:
        raise LoadError(str(failure)) from failure.error


def _own(registry: FlowRegistry, file: str, place: str) -> list[Registration]:
    """The flows that *file* registers; if it registers none, those of its imports."""
    own = [e for e in registry.entries() if e.place.file == file] or registry.entries()
    if not own:
        hint = "decorate a function with @mxm.flow, or call register_flow"
        raise UnknownFlowError(f"no flow in {place!r}", hint=hint)
    return own


def _named(name: str, own: Sequence[Registration], place: str) -> Registration:
    """The flow among *own*, the flows of *place*, whose name or function name is *name*."""
    named = [entry for entry in own if entry.name == name]
    of_function = [entry for entry in named or own if entry.place.qualname == name]
    matching = of_function if len(of_function) == 1 else named or of_function
    if not matching:
        others = f"`mxm-pipeline list` shows its {len(own):,} flows"
        hint = did_you_mean(name, [entry.name for entry in own]) or others
        raise UnknownFlowError(f"unknown flow {name!r} in {place!r}", hint=hint)
    if len(matching) > 1:
        raise ambiguous(name, matching)
    return matching[0]


def _similar_file(path: str) -> str | None:
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        return f"no such folder: {shown_path(folder)!r}"
    return did_you_mean(
        os.path.basename(path), [f for f in os.listdir(folder) if f.endswith(".py")]
    )


class _Search:
    """One search, into the current registry."""

    def __init__(self, discovery: Discovery, start: str) -> None:
        self.discovery = discovery
        self.start = start
        self.settings = read_settings(start)
        self.loader = Loader(self.settings)

    def run(self, modules: Sequence[str]) -> None:
        self.load(modules, "-m")
        settings, configured = self.settings, ""
        if settings.file:
            configured = f"[tool.mxm.pipeline] of {shown_path(settings.file)}"
            self.discovery.looked_at.append(configured)
        self.load(settings.modules, configured)
        for path in settings.paths if not settings.modules else ():
            self.scan(path)
        entries = self.load_entry_points()
        if not (settings.modules or settings.paths):
            if entries:
                self.discovery.unscanned = (
                    f"{self.start} is not scanned, because entry points name the flows: "
                    "add it to paths in [tool.mxm.pipeline], or give the file"
                )
            else:
                self.scan(self.start)
        self.discovery.failures = self.loader.failures

    def load(self, modules: Iterable[str], origin: str) -> None:
        """Import *modules* for *origin*."""
        for module in modules:
            self.discovery.looked_at.append(f"module {module}")
            self.loader.module(module, origin)

    def load_entry_points(self) -> bool:
        """Load the entry points of other distributions; return whether there are any."""
        if not _may_have_entry_points():
            return False
        from importlib.metadata import entry_points

        entries = sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name)
        for entry in entries:
            whose = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
            origin = f"entry point {entry.name}{whose}"
            self.discovery.looked_at.append(f"{origin} = {entry.value}")
            self.loader.module(entry.value.partition(":")[0].strip(), origin)
        return bool(entries)

    def scan(self, folder: str) -> None:
        """Import the files under *folder* whose text declares flows."""
        real = os.path.realpath(folder)
        home = os.path.realpath(os.path.expanduser("~"))
        never = {home: "a home folder", os.sep: "the root folder"}
        if real in never:
            self.discovery.looked_at.append(f"not {folder}: {never[real]} is never scanned")
            return
        seen = scan(folder)
        if not seen.whole:
            self.discovery.warnings.append(
                f"only the first {seen.files:,} Python files under {folder} were scanned: "
                "set modules or paths in [tool.mxm.pipeline]"
            )
        for path in seen.declaring:
            self.loader.file(path)
        self.discovery.skipped += seen.left_out
        files, count = seen.files, len(seen.declaring)
        self.discovery.looked_at.append(
            f"{files} Python files under {folder}, {count} of which declare flows"
        )


def _may_have_entry_points() -> bool:
    """Whether an installed distribution uses our group; if none, skip `importlib.metadata`."""
    # Loading that takes longer than reading every entry_points.txt.
    for folder in sys.path:
        try:
            with os.scandir(folder or ".") as entries:
                infos = [e.path for e in entries if e.name.lower().endswith(_INFO)]
        except NotADirectoryError:
            return True  # a zip file, which importlib.metadata can read
        except OSError:
            continue
        for info in infos:
            with contextlib.suppress(OSError):
                if ENTRY_POINTS.encode() in read(os.path.join(info, "entry_points.txt")):
                    return True
    return False


_INFO = (".dist-info", "egg-info")
