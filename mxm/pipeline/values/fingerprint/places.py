"""Where code comes from: the project, an installed distribution, Python, or this package."""

from __future__ import annotations

import enum
import os
import sys
import sysconfig
from types import CodeType
from typing import Any

from mxm.pipeline.project.roots import nearest_project

__all__ = ["OF_PROJECT", "Origin", "Places"]


class Origin(enum.Enum):
    """Where code comes from."""

    PROJECT = "project"
    INSTALLED = "installed"
    STANDARD = "standard"
    OWN = "own"
    TYPED = "typed"  # in no file: a cell, `exec`, what dataclasses write


OF_PROJECT = (Origin.PROJECT, Origin.TYPED)
"""The origins whose code is followed."""

_INSTALLED = {"site-packages", "dist-packages"}
_OWN = os.path.abspath(os.path.join(os.path.dirname(__file__), os.pardir, os.pardir)) + os.sep
_FRONT = os.path.join(os.path.dirname(_OWN.rstrip(os.sep)), "__init__.py")
_STANDARD = tuple(
    {
        os.path.realpath(path) + os.sep
        for path in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
        if path
    }
    | {os.path.dirname(os.path.abspath(os.__file__)) + os.sep}
)


class Places:
    """Finds where files come from, and names those of the project.

    Parameters
    ----------
    root
        The project's folder.
    """

    def __init__(self, root: str) -> None:
        self.root: str = os.path.abspath(root)
        self._origins: dict[str, tuple[Origin, str]] = {}
        self._roots: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def of_file(self, file: Any) -> tuple[Origin, str]:
        """The origin of *file*, and its absolute path."""
        if not isinstance(file, str):
            return Origin.TYPED, ""
        known = self._origins.get(file)
        if known is None:
            known = self._origins[file] = _origin(file)
        return known

    def of_code(self, code: CodeType, namespace: Any) -> tuple[Origin, str]:
        """The origin of *code*, whose globals are *namespace*."""
        origin, path = self.of_file(code.co_filename)
        if origin is not Origin.TYPED:
            return origin, path
        # Written by dataclasses, attrs or a decorator's library: its owner decides.
        around, _ = self.of_file(namespace.get("__file__"))
        return (origin if around is Origin.PROJECT else around), ""

    def of_module(self, module: Any) -> tuple[Origin, str]:
        """The origin of a module, and its file or folder."""
        file: Any = vars(module).get("__file__")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(file, str):
            return self.of_file(file)
        try:
            folders = [str(each) for each in module.__path__]
        except Exception:  # no package, or one that computes its folders
            folders = []
        for folder in folders:
            origin, _ = self.of_file(os.path.join(folder, "__init__.py"))
            return origin, os.path.abspath(folder)
        name = module.__name__
        standard = name in sys.builtin_module_names or name in sys.stdlib_module_names
        return (Origin.STANDARD if standard else Origin.TYPED), ""

    def root_of(self, path: str) -> str:
        """The folder that names of *path* are relative to."""
        if path.startswith(self.root.rstrip(os.sep) + os.sep):
            return self.root
        folder = os.path.dirname(path)
        known = self._roots.get(folder)
        if known is None:
            project = nearest_project(folder)
            known = os.path.dirname(project) if project else folder
            if not project:
                while os.path.isfile(os.path.join(known, "__init__.py")):
                    known = os.path.dirname(known)
            self._roots[folder] = known
        return known

    def relative(self, path: str) -> str:
        """*path* relative to its project, with slashes."""
        known = self._names.get(path)
        if known is None:
            known = os.path.relpath(path, self.root_of(path)).replace(os.sep, "/")
            self._names[path] = known
        return known

    def label(self, path: str) -> str:
        """The name of a file of the project, with dots as in an import."""
        name = self.relative(path)
        return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _origin(file: str) -> tuple[Origin, str]:
    path = os.path.abspath(file)
    if file.startswith("<frozen "):
        return Origin.STANDARD, path
    if path.startswith(_OWN) or path == _FRONT:
        return Origin.OWN, path
    if _INSTALLED & set(path.split(os.sep)):
        return Origin.INSTALLED, path
    if path.startswith(_STANDARD) or os.path.realpath(path).startswith(_STANDARD):
        return Origin.STANDARD, path
    if not os.path.isfile(path) and not file.endswith("__init__.py"):
        return Origin.TYPED, path
    return Origin.PROJECT, path
