"""Tasks that only wait for each other: mxm-pipeline run operations -p folder=out -p free_mb=500

`after=` orders tasks without passing results, because operations work on files, not on values. The
star makes every parameter keyword-only. It needs only the standard library.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
from importlib.metadata import distributions
from pathlib import Path

import mxm

MANIFEST = "environment.json"


@mxm.task
def preflight(*, folder: Path, free_mb: int) -> dict[str, str | int]:
    """Stops the flow, before anything is written, where the machine is not fit for it."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free // 2**20
    if free < free_mb:
        raise RuntimeError(f"{folder} has {free} MB free, and {free_mb} MB are asked for")
    return {"python": platform.python_version(), "free_mb": free}


@mxm.task(after=preflight)
def build(*, folder: Path) -> Path:
    """Writes down what this environment consists of."""
    packages = {found.name: found.version for found in distributions()}
    content = {"python": platform.python_version(), "prefix": sys.prefix, "packages": packages}
    manifest = folder / MANIFEST
    # Written beside and then renamed, so that nobody ever reads half a file.
    unfinished = manifest.with_suffix(".part")
    unfinished.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")
    return unfinished.replace(manifest)


@mxm.task(after=build)
def diagnose(*, folder: Path) -> dict[str, str | int]:
    """Reads back from the disk, not from memory: this is what the next machine will see."""
    written = (folder / MANIFEST).read_bytes()
    return {
        "packages": len(json.loads(written)["packages"]),
        "bytes": len(written),
        "sha256": hashlib.sha256(written).hexdigest(),
    }


@mxm.flow(tasks=[diagnose])
def operations(*, folder: Path = Path("out"), free_mb: int = 100) -> None:
    """Check the machine, write down its environment, and read that back."""
