"""Modules as an analyst writes them, from text, so that their lines are known."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from textwrap import dedent
from types import ModuleType


def module_of(folder: Path, text: str, name: str = "analyst") -> ModuleType:
    """*text* written to a file below *folder* and imported as *name*, without `sys.modules`."""
    path = folder / f"{name}.py"
    path.write_text(dedent(text))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    dont, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = dont
    return module


def line_of(module: ModuleType, mark: str) -> int:
    """The one line of *module* in which *mark* stands, from 1."""
    lines = Path(str(module.__file__)).read_text().splitlines()
    (found,) = [i for i, line in enumerate(lines, 1) if mark in line]
    return found
