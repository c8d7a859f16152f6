"""``[tool.mxm.pipeline]`` of a project's pyproject.toml: where flows are, and how they run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, cast

from mxm.pipeline.errors import BackendError, PipelineError
from mxm.pipeline.execution.options import BACKENDS, RunOptions, backend_names
from mxm.pipeline.problems import did_you_mean, shown_path
from mxm.pipeline.project.pyproject import table_in
from mxm.pipeline.project.roots import nearest_project

__all__ = ["KEYS", "Settings", "read_settings", "working_directory"]


@dataclass(frozen=True)
class Settings:
    """A project's settings for its flows; empty if it has none.

    Parameters
    ----------
    folder
        The folder of the file, or where the search for it started.
    file
        The file.
    paths
        Absolute paths of folders to import modules from.
    modules
        Modules that declare flows.
    options
        The options of a run that are set, by name: those of `RunOptions`, and ``backend``.
    on_failure
        The command that gets the JSON of each failed run.
    """

    folder: str
    file: str | None = None
    paths: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    on_failure: str | None = None

    @property
    def import_paths(self) -> tuple[str, ...]:
        """Folders to import modules from."""
        return self.paths or (self.folder,)


def working_directory() -> str:
    """The working directory.

    Raises
    ------
    PipelineError
        It no longer exists.
    """
    try:
        return os.getcwd()
    except OSError as error:
        message = f"there is no working directory: {error.strerror}"
        raise PipelineError(message, hint="change to a folder that exists") from None


def read_settings(start: str) -> Settings:
    """The settings in the nearest pyproject.toml, from the folder *start* upwards.

    Raises
    ------
    PipelineError
        The file is not TOML, or a key is unknown or has an invalid value.
    """
    file = nearest_project(os.path.abspath(start))
    table = table_in(file) if file else None
    if file is None or table is None:
        return Settings(start)
    try:
        return _settings(file, table)
    except PipelineError as error:
        message = f"{shown_path(file)}: [tool.mxm.pipeline] {error.message}"
        raise PipelineError(message, hint=error.hint) from None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, cast("list[object]", value)))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _is_tables(value: object) -> bool:
    tables = cast("dict[str, object]", value).values() if isinstance(value, dict) else [None]
    return all(isinstance(table, dict) for table in tables)


@dataclass(frozen=True, slots=True)
class _Key:
    kind: str
    fits: Callable[[object], bool]
    of_a_run: bool = True


# docs/settings.md has a row for each.
KEYS: Mapping[str, _Key] = MappingProxyType(
    {
        "paths": _Key("a list of strings", _is_texts, of_a_run=False),
        "modules": _Key("a list of strings", _is_texts, of_a_run=False),
        "backend": _Key("a string", _is_text),
        "runner": _Key("a string", _is_text),
        "workers": _Key("a whole number", lambda value: type(value) is int),
        "address": _Key("a string", _is_text),
        "strict_params": _Key("true or false", lambda value: type(value) is bool),
        "record": _Key("true or false", lambda value: type(value) is bool),
        "cache": _Key("true or false", lambda value: type(value) is bool),
        "keep_results": _Key("a number", _is_number),
        "on_failure": _Key("a string", _is_text, of_a_run=False),
        # Read by the runs themselves, also those from Python: mxm.pipeline.params.limits.
        "limits": _Key("a table of whole numbers", _is_table, of_a_run=False),
        # Read by the runs and plain calls themselves: mxm.pipeline.params.resources.
        "resources": _Key("a table for each resource", _is_tables, of_a_run=False),
    }
)
"""The keys of ``[tool.mxm.pipeline]``."""


def _settings(file: str, table: Mapping[str, Any]) -> Settings:
    for key, value in table.items():
        if key not in KEYS:
            known = "known: " + ", ".join(map(repr, sorted(KEYS)))
            raise PipelineError(f"unknown key {key!r}", hint=did_you_mean(key, KEYS) or known)
        if not KEYS[key].fits(value):
            raise PipelineError(f"{key} must be {KEYS[key].kind}, not {_in_toml(value)}")
    folder = os.path.dirname(file)
    paths = tuple(os.path.normpath(os.path.join(folder, path)) for path in table.get("paths", ()))
    for path in paths:
        if not os.path.isdir(path):
            raise PipelineError(f"paths: {shown_path(path)!r} is not a directory")
    options = {key: value for key, value in table.items() if KEYS[key].of_a_run}
    _check(**options)
    modules = tuple(table.get("modules", ()))
    return Settings(folder, file, paths, modules, options, table.get("on_failure"))


def _in_toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _check(backend: str = "inline", **options: Any) -> None:
    RunOptions(**options)
    if backend not in BACKENDS and backend not in backend_names():
        hint = did_you_mean(backend, backend_names())
        raise BackendError(f"unknown backend {backend!r}", hint=hint)
