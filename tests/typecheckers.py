"""pyright and mypy, both strict, over programs outside this tree, as a user's project has them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

STRICT = {
    "typeCheckingMode": "strict",
    "reportUnnecessaryTypeIgnoreComment": "error",
    "enableTypeIgnoreComments": False,  # those are mypy's; pyright's name its own rules
}


def type_check(
    checker: str, python: str, folder: Path, *files: Path
) -> subprocess.CompletedProcess[str]:
    """Check *files* against what is installed for *python*, from *folder*."""
    (folder / "pyrightconfig.json").write_text(json.dumps(STRICT))
    arguments = {
        "pyright": ["--pythonpath", python],
        "mypy": ["--strict", "--warn-unused-ignores", "--python-executable", python],
    }[checker]
    return _run(checker, python, folder, *arguments, *map(str, files))


def completeness(package: str, python: str, folder: Path) -> dict[str, object]:
    """What ``pyright --verifytypes`` counts, of *package* as installed for *python*."""
    options = ("--ignoreexternal", "--outputjson")
    done = _run("pyright", python, folder, "--verifytypes", package, *options)
    return json.loads(done.stdout)["typeCompleteness"]


def _run(
    checker: str, python: str, folder: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    # --verifytypes looks for python on PATH only.
    path = os.pathsep.join([str(Path(python).parent), os.environ["PATH"]])
    return subprocess.run(
        [sys.executable, "-m", checker, *arguments],
        cwd=folder,
        env={**os.environ, "PATH": path, "MYPY_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
