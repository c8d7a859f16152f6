"""The exit code of every verb, one row for each way to end: what scripts and CI go by."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command import SCRIPT, call, invoke, write

from mxm.pipeline.cli.output import ExitCode

FLOWS = """
    import mxm
    from mxm.pipeline import Skip

    @mxm.task
    def load(limit: int = 3) -> int:
        return limit

    @mxm.task
    def fails() -> int:
        raise ValueError("failed")

    @mxm.task
    def skips() -> int:
        raise Skip("closed")

    @mxm.task
    def odd() -> object:
        return object()

    @mxm.flow
    def good():
        return load

    @mxm.flow
    def failing():
        return load, fails

    @mxm.flow
    def skipping():
        return skips

    @mxm.flow
    def describing():
        return odd

    @mxm.flow
    def needing(day: str):
        return load
    """
WRONG = """
    import mxm

    @mxm.flow
    def wrong():
        return None
    """
TWICE = "import mxm\n@mxm.task\ndef t(): ...\n@mxm.flow\ndef twice():\n    return t\n"
BROKEN = "import mxm\nraise ValueError('broken')\n@mxm.flow\ndef f(): ...\n"
OK, FAILED, USAGE, IMPORT, INVALID, NOTHING = (0, 1, 2, 3, 4, 5)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, {"flows.py": FLOWS})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def code(line: str) -> int:
    words = shlex.split(line)
    if words[0] == "run" and "--help" not in words and "--backend" not in words:
        words += ["--backend", "inline"]
    ran = invoke(*words)
    assert "Traceback" not in ran.err.partition("raise ValueError")[0] or ran.code == FAILED
    return ran.code


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("list", OK),
        ("check", OK),
        ("check good failing", OK),
        ("show good", OK),
        ("graph good", OK),
        ("explain", OK),
        ("explain MXM101", OK),
        ("--help", OK),
        ("--version", OK),
        ("run --help", OK),
        ("run good --help", OK),
        ("run good", OK),
        ("run good -p nosuch=1", OK),
        ("run good --select load", OK),
        ("run failing --exclude fails", OK),
        ("run good --select nosuch", USAGE),
        ("run good --exclude nosuch", USAGE),
        ("run good --exclude load", NOTHING),
        ("run failing --select load,fails", NOTHING),
        ("run good --force", OK),
        ("run good --force-task load", OK),
        ("run good --force-task nosuch", USAGE),
        ("plan good", OK),
        ("plan failing --json", OK),
        ("plan good -p limit=ten", USAGE),
        ("plan good --select nosuch", USAGE),
        ("plan nosuch", USAGE),
        ("plan", USAGE),
        ("plan needing", USAGE),
        ("plan good --exclude load", NOTHING),
        ("run skipping", OK),
        ("run describing", OK),
        ("run failing", FAILED),
        ("run failing --json", FAILED),
        ("run failing --fail-fast -q", FAILED),
        ("run describing --strict-json", FAILED),
        ("", USAGE),
        ("nosuch", USAGE),
        ("run", USAGE),
        ("run nosuch", USAGE),
        ("run nosuch.py", USAGE),
        ("run flows.py", USAGE),
        ("run nosuch.module:f", USAGE),
        ("show nosuch", USAGE),
        ("graph nosuch", USAGE),
        ("check nosuch", USAGE),
        ("run good --nosuch", USAGE),
        ("run good extra", USAGE),
        ("show good extra", USAGE),
        ("run good -p", USAGE),
        ("run good -p limit", USAGE),
        ("run good -p limit=ten", USAGE),
        ("run good -p limit=@nosuch", USAGE),
        ("run good --params-file nosuch.toml", USAGE),
        ("run good -p nosuch=1 --strict-params", USAGE),
        ("run needing", USAGE),
        ("run good --backend nosuch", USAGE),
        ("run good --runner nosuch", USAGE),
        ("run good --workers 0", USAGE),
        ("graph good --format nosuch", USAGE),
        ("graph good --out no/such/folder", USAGE),
        ("check --format nosuch", USAGE),
        ("explain nosuch", USAGE),
    ],
)
def test_of_flows_that_import(project: Path, line: str, expected: int) -> None:
    assert code(line or "--nosuch") == expected if line else call(cwd=project).code == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("list", OK),
        ("check", INVALID),
        ("plan wrong", INVALID),
        ("check wrong", INVALID),
        ("check good", OK),
        ("show wrong", INVALID),
        ("graph wrong", INVALID),
        ("run wrong", INVALID),
        ("run wrong.py", INVALID),
        ("run good", OK),
    ],
)
def test_beside_a_flow_whose_graph_is_invalid(project: Path, line: str, expected: int) -> None:
    write(project, {"wrong.py": WRONG})
    assert code(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("list", IMPORT),
        ("check", IMPORT),
        ("check good", OK),
        ("show good", OK),
        ("graph good", OK),
        ("run good", OK),
        ("run failing", FAILED),
        ("run nosuch", IMPORT),
        ("show nosuch", IMPORT),
        ("graph nosuch", IMPORT),
        ("check nosuch", IMPORT),
        ("run broken.py", IMPORT),
        ("run broken:f", IMPORT),
        ("list -m nosuch_module", IMPORT),
    ],
)
def test_beside_a_module_that_does_not_import(project: Path, line: str, expected: int) -> None:
    write(project, {"broken.py": BROKEN})
    assert code(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [("list", OK), ("check", INVALID), ("run twice", USAGE), ("show twice", USAGE)],
)
def test_of_a_name_in_two_files(project: Path, line: str, expected: int) -> None:
    write(project, {"one.py": TWICE, "two.py": TWICE})
    assert code(line) == expected


@pytest.mark.parametrize("line", ["list", "check", "run good", "show good", "graph good"])
def test_of_settings_that_cannot_be_used(project: Path, line: str) -> None:
    write(project, {"pyproject.toml": "[tool.mxm.pipeline]\nnosuch = 1\n"})
    assert code(line) == USAGE


def test_where_there_are_no_flows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [code("list"), code("check"), code("run f")] == [OK, USAGE, USAGE]


@pytest.mark.parametrize(
    "line", ["run nosuch", "show nosuch", "run good -p limit=ten", "check wrong"]
)
def test_debug_changes_no_exit_code(project: Path, line: str) -> None:
    write(project, {"wrong.py": WRONG})
    assert invoke(*line.split(), "--debug").code == code(line)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("list", OK),
        ("check", INVALID),
        ("run failing --backend inline", FAILED),
        ("run good --backend inline", OK),
    ],
)
def test_a_reader_that_went_away_changes_no_exit_code(
    project: Path, line: str, expected: int
) -> None:
    write(project, {"wrong.py": WRONG})
    process = subprocess.Popen(
        [sys.executable, SCRIPT, *line.split()],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert process.returncode == expected
    assert b"BrokenPipe" not in err


def test_of_a_fault_of_ours(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr("mxm.pipeline.cli.show.task_rows", fault)
    ran = invoke("show", "good")
    assert (ran.code, "Traceback" in ran.err) == (FAILED, False)
    assert ran.err == (
        "error: unexpected KeyError: 'ours'\n"
        "  hint: this is a bug in mxm-pipeline: report it with the output of --debug\n"
    )
    assert "in fault" in invoke("show", "good", "--debug").err


def test_each_code_has_a_row_in_the_runbook() -> None:
    page = (Path(__file__).parent.parent / "docs" / "RUNBOOK.md").read_text(encoding="utf-8")
    table = page.partition("| exit code | |\n|---|---|\n")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines()]
    codes = [int(one) for cell in cells for one in cell.split(",")]
    assert codes == [*ExitCode]
