"""`on_failure`: each failed run of the command is passed on, and nothing else is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from command import call, write

from mxm.pipeline.cli import notice

FLOW = """
    from datetime import date
    import mxm
    from pydantic import SecretStr

    @mxm.task
    def load(token: SecretStr, n: int, day: date) -> int:
        if n == 13 or day == date(2026, 1, 5):
            raise ValueError(f"no prices of {day}")
        return n

    @mxm.flow
    def daily(token: SecretStr = SecretStr("s3cret"), n: int = 1, day: date = date(2026, 1, 2)):
        return load(token, n, day)
    """
RUN = ("run", "daily", "--backend", "inline", "--no-record")


def project(folder: Path, command: str) -> Path:
    setting = f"[tool.mxm.pipeline]\nmodules = ['flows']\non_failure = {json.dumps(command)}\n"
    write(folder, {"pyproject.toml": setting, "flows.py": FLOW, "deeper/x.txt": ""})
    return folder


def append(folder: Path) -> str:
    keep = "import sys; open('notices.jsonl', 'a').write(sys.stdin.read() + chr(10)); print('sent')"
    return f'"{sys.executable}" -c "{keep}"; echo $MXM_FLOW'


def notices(folder: Path) -> list[dict[str, object]]:
    file = folder / "notices.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_failed_run_is_passed_on(tmp_path: Path) -> None:
    folder = project(tmp_path, append(tmp_path))
    ran = call(*RUN, "-p", "n=13", "--json", cwd=folder / "deeper")
    assert ran.code == 1
    assert ran.err.endswith("sent\ndaily\n")
    (passed_on,) = notices(folder)  # in the folder of pyproject.toml
    assert passed_on == json.loads(ran.out)
    assert passed_on["schema"] == "mxm.flowrun/2"
    assert "s3cret" not in json.dumps(passed_on)
    assert "no prices of 2026-01-02" in json.dumps(passed_on)


def test_run_that_succeeds_or_never_starts_is_not(tmp_path: Path) -> None:
    folder = project(tmp_path, append(tmp_path))
    assert call(*RUN, cwd=folder).code == 0
    assert call(*RUN, "-p", "n=x", cwd=folder).code == 2
    assert notices(folder) == []


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_each_failed_partition_is(tmp_path: Path, jobs: str) -> None:
    folder = project(tmp_path, append(tmp_path))
    ran = call(*RUN, "--for", "day=2026-01-02..2026-01-06", "--jobs", jobs, cwd=folder)
    assert ran.code == 1
    (passed_on,) = notices(folder)
    assert passed_on["state"] == "failed"
    assert len(json.loads(ran.out)["runs"]) == 5


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("exit 3", "on_failure: the command ended with exit code 3"),
        ("no-such-command-mxm", "on_failure: the command ended with exit code 127"),
        ("kill -9 $$", "on_failure: the command ended with exit code -9"),
    ],
)
def test_notice_that_fails_is_a_warning(tmp_path: Path, command: str, why: str) -> None:
    ran = call(*RUN, "-p", "n=13", cwd=project(tmp_path, command))
    assert ran.code == 1
    assert ran.err.splitlines()[-1] == f"warning: {why}"
    assert json.loads(ran.out) == {}


def test_notice_that_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mxm.pipeline.discovery.settings import Settings
    from mxm.pipeline.runs import FlowRun, State
    from mxm.pipeline.spec import FlowSpec

    monkeypatch.setattr(notice, "_LONGEST_S", 0.05)
    failed = FlowRun(FlowSpec("f", []), {}, {}, State.FAILED)
    notice.notify_of(failed, Settings(str(tmp_path), on_failure="exec sleep 100"))
    assert "the command did not end within 0.05 seconds" in capsys.readouterr().err
