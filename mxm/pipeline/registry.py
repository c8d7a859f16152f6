"""The registry of flows: the class, the current one, and a way to isolate it."""

from __future__ import annotations

import atexit
import os
import sys
from collections import Counter
from collections.abc import Callable, Container, Generator, Iterable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache
from types import FrameType
from typing import Any

from mxm.pipeline.errors import AmbiguousFlowError, UnknownFlowError, repr_of
from mxm.pipeline.problems import (
    Problem,
    Source,
    caller,
    did_you_mean,
    drawn_places,
    shown_path,
)
from mxm.pipeline.spec import FlowSpec

__all__ = [
    "FlowRegistry",
    "Place",
    "Registration",
    "ambiguous",
    "clashes",
    "collecting",
    "current_registry",
    "enter",
    "get_flow",
    "list_flows",
    "register_flow",
]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a flow is registered: real path and qualified name, never the line.

    A file imported under two names is one place, and an edited file stays its place.
    """

    file: str
    qualname: str

    @classmethod
    def of(cls, file: str, qualname: str) -> Place:
        """The place of *qualname* in *file*; REPL and notebook cells have no real file."""
        return cls(_real(file), qualname)


@lru_cache(maxsize=8)  # flows of one module are registered in a row
def _real(file: str) -> str:
    return os.path.realpath(file) if os.path.exists(file) else file


@dataclass(frozen=True, slots=True)
class Registration:
    """One registered flow.

    Parameters
    ----------
    name
        Its name.
    place
        Where it is registered.
    spec
        Returns the spec; called late, when all tasks of the modules are defined.
    source
        file:line of the declaration.
    interactive
        True for ``__main__``, the REPL and notebook cells, where a later flow always replaces.
    flow
        The decorated flow, if there is one.
    execution
        The ``__spec__`` of the module if it registers the flow during its execution, else None. A
        reload has a new one; two flows with the same name within one execution are an error.
    """

    name: str
    place: Place
    spec: Callable[[], FlowSpec]
    source: Source | None = None
    interactive: bool = False
    flow: object | None = None
    execution: object | None = None


class FlowRegistry:
    """Registered flows by name; the same place replaces a flow, another place adds one.

    Examples
    --------
    >>> from mxm.pipeline.registry import FlowRegistry
    >>> FlowRegistry().names()
    []
    """

    def __init__(self) -> None:
        self._entries: dict[str, dict[Place, list[Registration]]] = {}

    def add(self, entry: Registration) -> None:
        """Register *entry*; a clash is reported when the name is used."""
        known = self._entries.setdefault(entry.name, {})
        if entry.interactive:
            known.clear()
        if entry.flow is None and known:  # `register_flow(flow.spec)` registers the same flow again
            spec = entry.spec()
            if any(other.spec() is spec for other in _flat(known)):
                return
        same = known.get(entry.place, [])
        if entry.execution is None or any(e.execution is not entry.execution for e in same):
            same = []
        known[entry.place] = [*same, entry]

    def drop(self, files: Container[str]) -> None:
        """Forget flows registered by *files*, given as real paths."""
        for name, known in list(self._entries.items()):
            kept = {place: entries for place, entries in known.items() if place.file not in files}
            if kept:
                self._entries[name] = kept
            else:
                del self._entries[name]

    def clear(self) -> None:
        """Forget all flows."""
        self._entries.clear()

    def names(self) -> list[str]:
        """Names in the order of their first registration."""
        return list(self._entries)

    def entries(self) -> list[Registration]:
        """All registrations, clashing ones included."""
        return [entry for known in self._entries.values() for entry in _flat(known)]

    def clashes(self) -> dict[str, Problem]:
        """The problem for each name that several flows share."""
        return clashes(self.entries())

    def find(self, name: str) -> Registration:
        """The registration of *name*.

        Raises
        ------
        UnknownFlowError
            There is none.
        AmbiguousFlowError
            There are several.
        """
        known = _flat(self._entries.get(name, {}))
        if not known:
            count = len(self._entries)
            others = f"`mxm-pipeline list` shows all {count:,} flows" if count else None
            hint = did_you_mean(name, self._entries) or others or "no flows are registered"
            raise UnknownFlowError(f"unknown flow {name!r}", hint=hint)
        if len(known) > 1:
            raise ambiguous(name, known)
        return known[0]


def _flat(known: dict[Place, list[Registration]]) -> list[Registration]:
    return [entry for entries in known.values() for entry in entries]


def _places(entries: Iterable[Registration]) -> tuple[tuple[str, Source | None], ...]:
    """The qualified name and line of each of *entries*, for display."""
    return tuple((e.place.qualname, e.source or Source(e.place.file)) for e in entries)


_RENAME = "give one of them another name: @mxm.flow(name=...)"


def ambiguous(name: str, entries: Sequence[Registration]) -> AmbiguousFlowError:
    """The error for a *name* that several *entries* share, with a hint how to choose one."""
    counts = Counter(entry.place for entry in entries)
    alone = next((place for place, count in counts.items() if count == 1), None)
    return AmbiguousFlowError(
        f"{len(entries)} flows are named {name!r}{drawn_places(_places(entries))}",
        hint=f"give the file: {shown_path(alone.file)}:{alone.qualname}" if alone else _RENAME,
        source=entries[0].source,
    )


def clashes(entries: Iterable[Registration]) -> dict[str, Problem]:
    """The problem for each name that several of *entries* share."""
    by_name: dict[str, list[Registration]] = {}
    for entry in entries:
        by_name.setdefault(entry.name, []).append(entry)
    return {
        name: Problem(
            "MXM107",
            f"{len(known)} flows are named {name!r}",
            _RENAME,
            source=known[0].source,
            flow=name,
            places=_places(known),
        )
        for name, known in by_name.items()
        if len(known) > 1
    }


_DEFAULT = FlowRegistry()
atexit.register(_DEFAULT.clear)  # so that the user's objects end as if nothing held them
_current: ContextVar[FlowRegistry] = ContextVar("mxm_registry", default=_DEFAULT)


def current_registry() -> FlowRegistry:
    """The registry that decorators and `register_flow` add to in this context.

    Examples
    --------
    >>> from mxm.pipeline.registry import current_registry
    >>> current_registry().names()
    []
    """
    return _current.get()


@contextmanager
def collecting() -> Generator[FlowRegistry]:
    """A fresh registry within a ``with`` block, for tests and for loading modules.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, collecting, list_flows, register_flow
    >>> with collecting():
    ...     spec = register_flow(FlowSpec("risk", [TaskSpec("load", print)]))
    ...     list_flows()
    ['risk']
    >>> list_flows()
    []
    """
    registry = FlowRegistry()
    token = _current.set(registry)
    try:
        yield registry
    finally:
        _current.reset(token)


def register_flow(spec: FlowSpec) -> FlowSpec:
    """Register *spec* under its name for the calling file, and return it.

    Parameters
    ----------
    spec
        A flow built by hand. A decorated flow registers itself.

    Raises
    ------
    TypeError
        *spec* is not a FlowSpec.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, get_flow, register_flow
    >>> spec = register_flow(FlowSpec("risk", [TaskSpec("load", print)]))
    >>> get_flow("risk") is spec
    True
    """
    if not isinstance(spec, FlowSpec):  # pyright: ignore[reportUnnecessaryIsInstance]
        other: Any = spec
        if isinstance(getattr(other, "spec", None), FlowSpec):
            raise TypeError(
                f"register_flow takes a FlowSpec: give the .spec of flow {other.name!r}"
            )
        raise TypeError(f"register_flow takes a FlowSpec, not {repr_of(spec)}")
    frame = caller()
    source = Source(frame.f_code.co_filename, frame.f_lineno) if frame else None
    module = frame.f_globals if frame else {}
    file = source.file if source else "<unknown>"
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    interactive = module.get("__spec__") is None and not os.path.exists(file)
    if main is not None and Place.of(file, spec.name) == Place.of(main, spec.name):
        interactive = True
    enter(
        Registration(
            spec.name,
            Place.of(file, spec.name),
            lambda: spec,
            spec.source or source,
            interactive,
        )
    )
    return spec


def enter(entry: Registration) -> None:
    """Add *entry* to the current registry, for the module that is being executed.

    Flows made by a factory in another module, or by a helper that calls `register_flow`, belong to
    the module that calls it, and have its file and line.
    """
    frame = _module_frame()
    if frame is not None and not entry.interactive:
        file = frame.f_code.co_filename
        place = Place.of(file, entry.place.qualname)
        direct = place == entry.place and "<locals>" not in place.qualname
        source = entry.source if direct else Source(file, frame.f_lineno)
        execution = frame.f_globals["__spec__"]
        entry = replace(entry, place=place, source=source, execution=execution)
    current_registry().add(entry)


def _module_frame() -> FrameType | None:
    """The frame of the module being executed; None for ``__main__``, a cell or a prompt."""
    frame: FrameType | None = sys._getframe()  # pyright: ignore[reportPrivateUsage]
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    if frame is None or frame.f_globals.get("__name__") == "__main__":
        return None
    return frame if frame.f_globals.get("__spec__") is not None else None


def get_flow(name: str) -> FlowSpec:
    """The spec registered as *name*.

    Parameters
    ----------
    name
        The flow's name.

    Raises
    ------
    KeyError
        Unknown; the message suggests the nearest name.
    AmbiguousFlowError
        Several places register it.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, get_flow, register_flow
    >>> spec = register_flow(FlowSpec("risk", [TaskSpec("load", print)]))
    >>> [task.name for task in get_flow("risk").tasks]
    ['load']
    """
    return current_registry().find(name).spec()


def list_flows() -> list[str]:
    """The names of all registered flows, sorted.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, list_flows, register_flow
    >>> for name in ("risk", "prices"):
    ...     spec = register_flow(FlowSpec(name, [TaskSpec("load", print)]))
    >>> list_flows()
    ['prices', 'risk']
    """
    return sorted(current_registry().names())
