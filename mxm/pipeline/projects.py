"""Which project a folder belongs to."""

from __future__ import annotations

import os

__all__ = ["nearest_project"]

_FILE = "pyproject.toml"


def nearest_project(folder: str) -> str | None:
    """The pyproject.toml of the project that *folder* is in, the nearest one, or None."""
    while not os.path.isfile(os.path.join(folder, _FILE)):
        if folder == os.path.dirname(folder):
            return None
        folder = os.path.dirname(folder)
    return os.path.join(folder, _FILE)
