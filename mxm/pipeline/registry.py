"""Which flows exist: a registry object, the current one, and a way to isolate it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Container, Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

from mxm.pipeline.errors import AmbiguousFlowError, UnknownFlowError
from mxm.pipeline.problems import Problem, Source, did_you_mean, drawn_places, shown_path
from mxm.pipeline.spec import FlowSpec

__all__ = [
    "FlowRegistry",
    "Place",
    "Registration",
    "collecting",
    "current_registry",
    "get_flow",
    "list_flows",
    "register_flow",
]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a flow is registered from: real path and qualified name, never the line.

    A file imported under two names is one place, and an edited file stays its place.
    """

    file: str
    qualname: str

    @classmethod
    def of(cls, file: str, qualname: str) -> Place:
        """The place of *qualname* in *file*; REPL and notebook cells have no real file."""
        return cls(_real(file), qualname)


@lru_cache(maxsize=8)  # a module's flows come one after the other
def _real(file: str) -> str:
    return os.path.realpath(file) if os.path.exists(file) else file


@dataclass(frozen=True, slots=True)
class Registration:
    """One registered flow.

    Parameters
    ----------
    name
        What it is called.
    place
        Where it comes from.
    spec
        Gives the spec; called late, when all the modules' tasks are defined.
    source
        file:line of the declaration.
    interactive
        True for ``__main__``, the REPL and notebook cells, which always replace.
    flow
        The decorated flow, where there is one.
    """

    name: str
    place: Place
    spec: Callable[[], FlowSpec]
    source: Source | None = None
    interactive: bool = False
    flow: object | None = None


def _places(entries: Iterable[Registration]) -> tuple[tuple[str, Source | None], ...]:
    """The qualified name and the place of each of *entries*, to be drawn."""
    return tuple((e.place.qualname, e.source or Source(e.place.file)) for e in entries)


class FlowRegistry:
    """Registered flows by name; the same place replaces, another place is kept beside."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[Place, Registration]] = {}

    def add(self, entry: Registration) -> None:
        """Register *entry*; a clash is kept, to be reported when the name is used."""
        known = self._entries.setdefault(entry.name, {})
        if entry.interactive:
            known.clear()
        known[entry.place] = entry

    def drop(self, files: Container[str]) -> None:
        """Forget what the *files*, by their real paths, registered."""
        for name, known in list(self._entries.items()):
            kept = {place: entry for place, entry in known.items() if place.file not in files}
            if kept:
                self._entries[name] = kept
            else:
                del self._entries[name]

    def names(self) -> list[str]:
        """Names in the order of their first registration."""
        return list(self._entries)

    def entries(self) -> list[Registration]:
        """Every registration, clashing ones included."""
        return [entry for known in self._entries.values() for entry in known.values()]

    def clashes(self) -> dict[str, Problem]:
        """By name, that several places register it."""
        return {
            name: _clash(name, list(known.values()))
            for name, known in self._entries.items()
            if len(known) > 1
        }

    def find(self, name: str) -> Registration:
        """The registration of *name*.

        Raises
        ------
        UnknownFlowError
            There is none.
        AmbiguousFlowError
            There are several.
        """
        known = self._entries.get(name)
        if not known:
            count = len(self._entries)
            others = f"`mxm-pipeline list` shows all {count:,} flows" if count else None
            hint = did_you_mean(name, self._entries) or others or "no flows are registered"
            raise UnknownFlowError(f"unknown flow {name!r}", hint=hint)
        if len(known) > 1:
            first = next(iter(known.values()))
            raise AmbiguousFlowError(
                f"{len(known)} flows are named {name!r}{drawn_places(_places(known.values()))}",
                hint=f"give the file: {shown_path(first.place.file)}:{first.place.qualname}",
                source=first.source,
            )
        return next(iter(known.values()))


def _clash(name: str, entries: list[Registration]) -> Problem:
    return Problem(
        "MXM107",
        f"{len(entries)} flows are named {name!r}",
        "give one of them another name: @mxm.flow(name=...)",
        source=entries[0].source,
        flow=name,
        places=_places(entries),
    )


_DEFAULT = FlowRegistry()
_current: ContextVar[FlowRegistry] = ContextVar("mxm_registry", default=_DEFAULT)


def current_registry() -> FlowRegistry:
    """The registry that decorators and `register_flow` add to here and now."""
    return _current.get()


@contextmanager
def collecting() -> Generator[FlowRegistry]:
    """A fresh registry for the length of a ``with`` block: for tests, and for loading modules."""
    registry = FlowRegistry()
    token = _current.set(registry)
    try:
        yield registry
    finally:
        _current.reset(token)


def register_flow(spec: FlowSpec) -> FlowSpec:
    """Register *spec* under its name, as coming from the calling file; returns it.

    Raises
    ------
    TypeError
        *spec* is no FlowSpec.
    """
    if not isinstance(spec, FlowSpec):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"register_flow takes a FlowSpec, not {spec!r}")
    source = Source.of_caller()
    file = source.file if source else "<unknown>"
    place = Place.of(file, spec.name)
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    interactive = not os.path.exists(file) or (
        main is not None and place == Place.of(main, spec.name)
    )
    current_registry().add(
        Registration(spec.name, place, lambda: spec, spec.source or source, interactive)
    )
    return spec


def get_flow(name: str) -> FlowSpec:
    """The spec registered as *name*.

    Raises
    ------
    KeyError
        Unknown; the message suggests the nearest name.
    AmbiguousFlowError
        Two places register it.
    """
    return current_registry().find(name).spec()


def list_flows() -> list[str]:
    """The names of all registered flows, sorted."""
    return sorted(current_registry().names())
