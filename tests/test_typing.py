"""What type checkers see of the language: right.py passes, each wrong line of wrong.py does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RIGHT = ROOT / "tests" / "typing" / "right.py"
WRONG = ROOT / "tests" / "typing" / "wrong.py"
CHECKERS = {
    "pyright": ["pyright", "--pythonpath", sys.executable],
    "mypy": ["mypy", "--strict", "--warn-unused-ignores"],
}


def check(checker: str, folder: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *CHECKERS[checker], *map(str, files)],
        cwd=ROOT,
        env={**os.environ, "MYPY_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("checker", CHECKERS)
def test_what_is_right_passes_and_what_is_wrong_is_told(checker: str, tmp_path: Path) -> None:
    done = check(checker, tmp_path, RIGHT, WRONG)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_comment_that_hides_no_error_is_one(checker: str, tmp_path: Path) -> None:
    # Otherwise wrong.py would prove nothing.
    text = WRONG.read_text().replace("mxm.tsk", "mxm.task")
    changed = tmp_path / "changed.py"
    changed.write_text(text)
    done = check(checker, tmp_path / "cache", changed)
    line = next(i for i, row in enumerate(text.splitlines(), 1) if row.startswith("mxm.task  "))
    assert done.returncode == 1
    assert f"{changed.name}:{line}:" in done.stdout
    assert 'Unnecessary "# type: ignore"' in done.stdout or "unused-ignore" in done.stdout
