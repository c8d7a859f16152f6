"""A project as a user has it, edited between runs: which of its tasks ran, which were cached."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from command import invoke, write

HEAD = "import mxm\n"


@dataclass
class Ran:
    """One run of the flow of a project."""

    document: dict[str, Any]
    err: str
    code: int

    @property
    def states(self) -> dict[str, str]:
        """By task, how it ended."""
        return {task["name"]: task["state"] for task in self.document["tasks"]}

    @property
    def cached(self) -> list[str]:
        """The tasks whose result an earlier run kept."""
        return [name for name, state in self.states.items() if state == "cached"]

    @property
    def value(self) -> Any:
        """The flow's value as JSON."""
        return self.document["value"]

    def items(self, task: str) -> dict[str, str]:
        """By key, how the items of a mapped task ended."""
        [found] = [t for t in self.document["tasks"] if t["name"] == task]
        return {row["key"]: row["state"] for row in found["items"]["rows"]}

    @property
    def codes(self) -> list[str]:
        """The codes of what was warned of."""
        return re.findall(r"MXM7\d\d", self.err)

    def why(self, task: str) -> str:
        """Why *task* ran, as ``--explain`` says."""
        [found] = re.findall(rf"run {re.escape(task)}: (.*)", self.err)
        return str(found)


@dataclass
class Project:
    """A folder with ``flows.py``, whose flow is called ``f``."""

    folder: Path
    files: dict[str, str] = field(default_factory=dict[str, str])

    def write(self, flows: str, **files: str) -> None:
        """Write ``flows.py``, and other modules by name."""
        write(self.folder, {"flows.py": HEAD + flows})
        write(self.folder, {f"{name}.py": text for name, text in files.items()})

    def edit(self, before: str, after: str, file: str = "flows.py") -> None:
        """Replace a text that *file* has once."""
        path = self.folder / file
        text = path.read_text("utf-8")
        assert text.count(before) == 1, before
        path.write_text(text.replace(before, after), "utf-8")

    def run(self, *options: str, fails: bool = False) -> Ran:
        """Run the flow with *options* of the command."""
        ran = invoke("run", "flows.py:f", "--json", "--explain", "--backend", "inline", *options)
        assert bool(ran.code) == fails, ran.err
        return Ran(json.loads(ran.out), ran.err, ran.code)


def project_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A new project in *folder*, with a store of its own."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MXM_HOME", os.path.join(folder, ".mxm"))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    return Project(folder)
