"""The command as tests call it: in this process where that serves, else for real."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"
SCRIPT = str(Path(__file__).parent / "bin" / "mxm-pipeline")


@dataclass
class Outcome:
    """How one call of the command ended."""

    code: int
    out: str
    err: str


def invoke(*args: str) -> Outcome:
    """The command in this process, from the working directory; modules it imports are let go."""
    from typer.testing import CliRunner

    from mxm.pipeline.cli.main import app

    modules, path = set(sys.modules), list(sys.path)
    try:
        result = CliRunner(env={"COLUMNS": "100"}).invoke(app, list(args))
    finally:
        sys.path[:] = path
        cwd = os.path.realpath(os.getcwd())
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None)
            if file and os.path.realpath(file).startswith(cwd):
                del sys.modules[name]
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def call(*args: str, cwd: Path, env: Mapping[str, str | None] | None = None) -> Outcome:
    """The command in a process of its own; a variable that is None is unset."""
    merged: dict[str, str | None] = {**os.environ, **(env or {})}
    ran = subprocess.run(
        [sys.executable, SCRIPT, *args],
        cwd=cwd,
        env={k: v for k, v in merged.items() if v is not None},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return Outcome(ran.returncode, ran.stdout, ran.stderr)


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write *files*, texts by relative path, under *folder*."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")


def masked(text: str, folder: Path) -> str:
    """*text* without what differs from run to run: times and the test's own folder."""
    text = text.replace(str(folder.resolve()), "<folder>").replace(str(folder), "<folder>")
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(\+00:00|Z)", "<when>", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+\+09:00", "<next>", text)
    text = re.sub(r"\b\w{3} \d\d \w{3} \d{4} \d\d:\d\d JST\b", "<next>", text)
    text = re.sub(r"\b\d\d:\d\d:\d\d\b", "<clock>", text)
    text = re.sub(r"\b\d{8}-\d{6}-[0-9a-f]{8}\b", "<run>", text)
    text = re.sub(r'("seconds": )\d[\d.e-]*', r"\1<n>", text)
    # As `cli.lines.duration` writes it: on a busy machine a task of no time takes seconds.
    return re.sub(r"\b(\d+\.\d\d? s|\d+:\d\d(:\d\d)? (min|h))\b", "<n> s", text)


def golden(name: str, text: str) -> None:
    """Compare *text* with tests/golden/NAME.txt; UPDATE_GOLDEN=1 writes it instead."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    expected = path.read_text(encoding="utf-8") if path.exists() else ""
    assert text == expected, f"differs from {path.name}; UPDATE_GOLDEN=1 pytest rewrites it"
