"""The pytest plugin: runs of a test session are recorded in a folder of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

__all__ = ["pytest_configure", "pytest_unconfigure"]

_folder: str | None = None
_before: str | None = None


def pytest_configure(config: Any) -> None:
    """Set ``MXM_HOME`` to a temporary folder, for this process and those that tests start."""
    del config
    global _folder, _before
    if _folder is None:
        _folder = tempfile.mkdtemp(prefix="mxm-tests-")
        _before = os.environ.get("MXM_HOME")
        os.environ["MXM_HOME"] = os.path.join(_folder, "store")


def pytest_unconfigure(config: Any) -> None:
    """Put back what was there, and remove the folder."""
    del config
    global _folder
    if _folder is not None:
        if _before is None:
            os.environ.pop("MXM_HOME", None)
        else:
            os.environ["MXM_HOME"] = _before
        shutil.rmtree(_folder, ignore_errors=True)
        _folder = None
