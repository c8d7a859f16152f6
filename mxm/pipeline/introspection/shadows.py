"""Finds user files named like a standard library module or an installed package."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator

__all__ = ["shadow_hint", "shadows_in"]


def shadow_hint() -> str | None:
    """A hint to rename a file on the user's path that has the name of an installed module."""
    files = list(shadows_in(sys.path))
    if not files:
        return None
    name, file = files[0]
    more = f", and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{file!r} has the name of the installed module {name!r}: rename it{more}"


def shadows_in(folders: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The files in *folders* that have the name of an installed module; each name and its path."""
    installed = _installed_folders()
    known = set(sys.stdlib_module_names)
    for folder in installed:
        known.update(_module(name) for name in _listed(folder))
    for folder in dict.fromkeys(os.path.abspath(path or os.curdir) for path in folders):
        if folder in installed:
            continue
        for name in sorted(_listed(folder)):
            path = os.path.join(folder, name)
            importable = name.endswith(".py") or os.path.isfile(os.path.join(path, "__init__.py"))
            if importable and _module(name) in known - {"mxm", ""}:
                yield _module(name), path


def _installed_folders() -> set[str]:
    paths = sysconfig.get_paths()
    named = {paths[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    try:
        named.update(site.getsitepackages())
    except AttributeError:  # `site` in old virtual environments lacks this function
        pass
    known = {os.path.abspath(path) for path in named}
    # Folders that editable installs and other environments add.
    known.update(os.path.abspath(p) for p in sys.path if os.path.basename(p) == "site-packages")
    return known


def _module(name: str) -> str:
    return name.removesuffix(".py") if name.isidentifier() or name.endswith(".py") else ""


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
