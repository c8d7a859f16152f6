"""Which project a folder or a file belongs to."""

from __future__ import annotations

import os

__all__ = ["folder_of", "nearest_project", "project_root"]

_FILE = "pyproject.toml"


def nearest_project(folder: str) -> str | None:
    """The pyproject.toml of the project that *folder* is in, the nearest one, or None."""
    while not os.path.isfile(os.path.join(folder, _FILE)):
        if folder == os.path.dirname(folder):
            return None
        folder = os.path.dirname(folder)
    return os.path.join(folder, _FILE)


def project_root(file: str | None) -> str:
    """The folder of the project that *file* belongs to; without one, the folder of the file.

    What has no file of its own, as a notebook's cell, and what is installed belong to the working
    directory.
    """
    folder = folder_of(file)
    project = nearest_project(folder)
    return os.path.dirname(project) if project else folder


def folder_of(file: str | None) -> str:
    """The folder of *file*; the working directory for what has none of its own."""
    if file is not None:
        parts = os.path.abspath(file).split(os.sep)
        installed = "site-packages" in parts or "dist-packages" in parts
        if os.path.isfile(file) and not installed:
            return os.path.dirname(os.path.abspath(file))
    try:
        return os.getcwd()
    except OSError:  # it is gone
        return os.sep
