"""`init`: what it writes runs and is tested as it is, and nothing that exists is overwritten."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import SCRIPT, invoke

WRITTEN = ["pyproject.toml", "flows.py", "tests/test_flows.py", ".gitignore"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_new_project_runs_and_passes_its_tests(folder: Path) -> None:
    made = invoke("init", "my prices")
    assert (made.code, made.err) == (0, "")
    *wrote, following = made.out.splitlines()
    assert wrote == [f"wrote my prices/{name}" for name in WRITTEN]
    assert following == "next: cd 'my prices' && mxm-pipeline run daily && python -m pytest"
    project = folder / "my prices"
    assert 'name = "my-prices"' in (project / "pyproject.toml").read_text("utf-8")
    steps = {
        "run": [sys.executable, SCRIPT, "run", "daily", "--backend", "inline", "-q"],
        "check": [sys.executable, SCRIPT, "check", "--strict-types"],
        "test": [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
    }
    ran = {
        name: subprocess.run(step, cwd=project, capture_output=True, text=True, timeout=100)
        for name, step in steps.items()
    }
    assert {name: r.returncode for name, r in ran.items()} == {"run": 0, "check": 0, "test": 0}
    assert list(json.loads(ran["run"].stdout)) == ["load", "returns", "volatility"]
    assert "3 passed" in ran["test"].stdout


def test_pytest_is_installed_before_it_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mxm.pipeline.cli.init.find_spec", {}.get)
    last = invoke("init").out.splitlines()[-1]
    assert last == "next: mxm-pipeline run daily && pip install pytest && python -m pytest"


@pytest.mark.parametrize("modules", ["['own']", "['nothing_else']", None])
def test_next_command_runs_in_a_project_that_was_there(folder: Path, modules: str | None) -> None:
    """Also where that has a flow of the same name, or looks for its flows elsewhere."""
    table = f"[tool.mxm.pipeline]\nmodules = {modules}\n" if modules else "[project]\nname = 'a'\n"
    (folder / "pyproject.toml").write_text(table, "utf-8")
    for name in ("own", "nothing_else"):
        text = (
            "import mxm\n@mxm.task\ndef a() -> int: return 1\n@mxm.flow\ndef daily(): return a()\n"
        )
        (folder / f"{name}.py").write_text(text if name == "own" else "", "utf-8")
    command = invoke("init").out.splitlines()[-1].removeprefix("next: ").split(" && ")[0]
    ran = invoke(*command.split()[1:], "--backend", "inline", "--quiet")
    assert (ran.code, list(json.loads(ran.out))) == (0, ["load", "returns", "volatility"])


def test_files_that_exist_are_kept(folder: Path) -> None:
    mine = "[project]\nname = 'mine'\n"
    (folder / "pyproject.toml").write_text(mine, "utf-8")
    (folder / "flows.py").symlink_to(folder / "nowhere.py")
    made = invoke("init")
    assert made.out.splitlines() == [
        "kept pyproject.toml, which exists",
        "kept flows.py, which exists",
        "wrote tests/test_flows.py",
        "wrote .gitignore",
    ]
    assert made.err == 'add to pyproject.toml:\n\n[tool.mxm.pipeline]\nmodules = ["flows"]\n\n'
    assert (folder / "pyproject.toml").read_text("utf-8") == mine
    assert not (folder / "nowhere.py").exists()
    again = invoke("init")
    assert again.out.splitlines() == [f"kept {name}, which exists" for name in WRITTEN]


@pytest.mark.parametrize("name", ["file", "file/deeper", "nul\0", "x" * 300])
def test_folder_that_cannot_be_made_is_an_error(folder: Path, name: str) -> None:
    (folder / "file").write_text("text", "utf-8")
    made = invoke("init", name)
    assert made.code == 2
    assert "pyproject.toml cannot be written: " in made.err
    assert "Traceback" not in made.err
    assert os.listdir(folder) == ["file"]
