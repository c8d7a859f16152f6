"""``[tool.mxm.pipeline]`` of a project's pyproject.toml: where flows are, and how they are run."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from mxm.pipeline.errors import BackendError, PipelineError
from mxm.pipeline.execution.options import BACKENDS, RunOptions, backend_names
from mxm.pipeline.problems import did_you_mean, shown_path

__all__ = ["Settings", "read_settings", "working_directory"]

_FILE = "pyproject.toml"


@dataclass(frozen=True)
class Settings:
    """What a project says of its flows; empty where it says nothing.

    Parameters
    ----------
    folder
        The folder of the file, or where the search for one began.
    file
        The file.
    paths
        Absolute paths of folders that modules are imported from.
    modules
        Modules that declare flows.
    options
        ``backend``, ``runner`` and ``workers`` of a run, where they are given.
    """

    folder: str
    file: str | None = None
    paths: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def import_paths(self) -> tuple[str, ...]:
        """Folders that modules are imported from."""
        return self.paths or (self.folder,)


def working_directory() -> str:
    """The working directory.

    Raises
    ------
    PipelineError
        It is gone.
    """
    try:
        return os.getcwd()
    except OSError as error:
        told = f"there is no working directory: {error.strerror}"
        raise PipelineError(told, hint="change to a folder that exists") from None


def read_settings(start: str) -> Settings:
    """The settings in the nearest pyproject.toml, from the folder *start* upwards.

    Raises
    ------
    PipelineError
        The file is no TOML, or a key is unknown or has a value that cannot be used.
    """
    file = _nearest(os.path.abspath(start))
    table = _table(file) if file else None
    if file is None or table is None:
        return Settings(start)
    try:
        return _settings(file, table)
    except PipelineError as error:
        told = f"{shown_path(file)}: [tool.mxm.pipeline] {error.message}"
        raise PipelineError(told, hint=error.hint) from None


def _nearest(folder: str) -> str | None:
    # It is the project's; those above it are not.
    while not os.path.isfile(os.path.join(folder, _FILE)):
        if folder == os.path.dirname(folder):
            return None
        folder = os.path.dirname(folder)
    return os.path.join(folder, _FILE)


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, cast("list[object]", value)))


def _table(file: str) -> Mapping[str, Any] | None:
    """``[tool.mxm.pipeline]`` of *file*, or None where it has none."""
    try:
        with open(file, "rb") as opened:
            found: Any = tomllib.load(opened)
    except (OSError, ValueError) as error:  # also what is not UTF-8
        raise PipelineError(f"{shown_path(file)} cannot be read: {error}") from error
    for name in ("tool", "tool.mxm", "tool.mxm.pipeline"):
        found = found.get(name.rpartition(".")[2])
        if found is None:
            return None
        if not _is_table(found):
            raise PipelineError(
                f"{shown_path(file)}: {name} is {found!r}, not a table",
                hint=f"write [{name}] on a line of its own, and its keys below",
            )
    table: Mapping[str, Any] = found
    return table


_KEYS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "paths": (_is_texts, "a list of strings"),
    "modules": (_is_texts, "a list of strings"),
    "backend": (_is_text, "a string"),
    "runner": (_is_text, "a string"),
    "workers": (lambda value: type(value) is int, "a whole number"),
}


def _settings(file: str, table: Mapping[str, Any]) -> Settings:
    for key, value in table.items():
        if key not in _KEYS:
            raise PipelineError(f"has no key {key!r}", hint=did_you_mean(key, _KEYS))
        fits, kind = _KEYS[key]
        if not fits(value):
            raise PipelineError(f"{key} is {kind}, not {value!r}")
    folder = os.path.dirname(file)
    paths = tuple(os.path.normpath(os.path.join(folder, path)) for path in table.get("paths", ()))
    for path in paths:
        if not os.path.isdir(path):
            raise PipelineError(f"paths names {shown_path(path)!r}, which is no folder")
    options = {key: table[key] for key in ("backend", "runner", "workers") if key in table}
    _check(**options)
    return Settings(folder, file, paths, tuple(table.get("modules", ())), options)


def _check(backend: str = "inline", **options: Any) -> None:
    RunOptions(**options)
    if backend not in BACKENDS and backend not in backend_names():
        hint = did_you_mean(backend, backend_names())
        raise BackendError(f"unknown backend {backend!r}", hint=hint)
