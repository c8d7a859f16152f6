"""Small projects as an analyst writes them: imported, edited, imported afresh."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write *files* below *folder*, each text without its common indent."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))


def edit(folder: Path, name: str, old: str, new: str) -> None:
    """Put *new* in the place of *old*, which stands once in the file."""
    path = folder / name
    text = path.read_text()
    assert text.count(old) == 1, (name, old, text.count(old))
    path.write_text(text.replace(old, new))


@contextmanager
def imported(*folders: Path, module: str = "tasks") -> Iterator[Any]:
    """*module* of the project in the first of *folders*, as a new process would import it."""
    # Another test of this process may have left a module of one of these names.
    names = {module.partition(".")[0]} | {file.stem for each in folders for file in each.iterdir()}
    others = {
        name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in names
    }
    before = set(sys.modules)
    dont, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path[:0] = [str(folder) for folder in folders]
    importlib.invalidate_caches()
    try:
        yield importlib.import_module(module)
    finally:
        del sys.path[: len(folders)]
        sys.dont_write_bytecode = dont
        for name in set(sys.modules) - before:
            known = vars(sys.modules[name])
            file = str(known.get("__file__") or "")
            path = str(list(known.get("__path__", []))[:1])
            if any(str(folder) in file + path for folder in folders):
                del sys.modules[name]
        sys.modules.update(others)
