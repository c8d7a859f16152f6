"""What typeshed says an operating system lacks is used behind ``sys.platform`` only; slow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHECKERS = {
    "pyright": ["--pythonpath", sys.executable, "--pythonplatform"],
    "mypy": ["--python-executable", sys.executable, "--cache-dir=/dev/null", "--platform"],
}
PLATFORMS = {"pyright": ["Windows", "Darwin"], "mypy": ["win32", "darwin"]}

pytestmark = pytest.mark.slow


def check(checker: str, platform: str, *files: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", checker, *CHECKERS[checker], platform, *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize(
    ("checker", "platform"), [(name, one) for name, ones in PLATFORMS.items() for one in ones]
)
def test_every_name_exists_on_other_platforms(checker: str, platform: str, tmp_path: Path) -> None:
    done = check(checker, platform, "mxm")
    assert done.returncode == 0, done.stdout + done.stderr
    lacking = tmp_path / "lacking.py"
    lacking.write_text("import os\n\nos.setsid()\nos.O_BINARY\n")
    assert check(checker, platform, str(lacking)).returncode == 1
