"""What an engine knows of an attempt, for a worker whose task asks that engine.

A worker loads no engine. If the task itself imports one, the engine's adapter gets to set what the
engine keeps per context, such as Prefect's current task run.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Generator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import TypeAlias

__all__ = ["EngineState", "engine_state", "known_to_engine", "reporting"]


@dataclass(frozen=True, slots=True)
class EngineState:
    """What a worker passes on to the engine of an attempt.

    Parameters
    ----------
    modules
        The first one has the engine's contexts, the others set up its logging.
    setter
        The adapter's function, as ``module:name``. It is called with *data* after the import of
        each module, or as the attempt starts, and with None once the attempt has ended.
    data
        Anything, pickled by the adapter: unpickling it may load the engine.
    """

    modules: tuple[str, ...]
    setter: str
    data: bytes


Report: TypeAlias = Callable[[], EngineState | None]

_report: ContextVar[Report | None] = ContextVar("mxm_engine_state", default=None)


@contextlib.contextmanager
def reporting(report: Report) -> Generator[None, None, None]:
    """Ask *report* for the state of each attempt that this block sends to a worker."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


def engine_state() -> EngineState | None:
    """What the engine knows of the attempt in this context; None without an engine."""
    report = _report.get()
    return None if report is None else report()


class known_to_engine:  # noqa: N801 - read as a statement
    """Let the engine know *state* in this block, once the block has imported the engine.

    Parameters
    ----------
    state
        The state; None if there is no engine.
    then
        Called after the import of each of its modules.
    """

    # Not a generator: `contextmanager` assigns to passing exceptions, which frozen ones reject.

    def __init__(self, state: EngineState | None, then: Callable[[], object]) -> None:
        self._state = state
        self._then = then
        self._finder: _Finder | None = None

    def __enter__(self) -> None:
        if self._state is not None:
            _set(self._state, self._state.data)
            self._finder = _Finder(self._state, self._then)
            sys.meta_path.insert(0, self._finder)

    def __exit__(self, *_: object) -> None:
        if self._state is not None and self._finder is not None:
            with contextlib.suppress(ValueError):  # the task changed the list
                sys.meta_path.remove(self._finder)
            self._finder.is_open = False
            _set(self._state, None)


def _set(state: EngineState, data: bytes | None) -> None:
    if state.modules[0] in sys.modules:
        module, _, name = state.setter.partition(":")
        setter: Callable[[bytes | None], object] = getattr(importlib.import_module(module), name)
        setter(data)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds what the other finders find, and sets *state* after the import of its modules."""

    def __init__(self, state: EngineState, then: Callable[[], object]) -> None:
        self._state = state
        self._then = then
        self.is_open = True

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module whose loader calls back; None for all others."""
        if not self.is_open or fullname not in self._state.modules:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                self._call_after(spec.loader)
                return spec
        return None

    def _call_after(self, loader: importlib.abc.Loader) -> None:
        exec_module = loader.exec_module

        def wrapped(module: ModuleType) -> None:
            exec_module(module)
            if self.is_open:
                self._then()
                _set(self._state, self._state.data)

        with contextlib.suppress(AttributeError):  # a loader with slots
            vars(loader)["exec_module"] = wrapped
