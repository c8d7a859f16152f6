"""What CI, the release and pre-commit are set up to do: that it exists, and asks for no more rights than it needs."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(
    re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
)
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def parsed(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(job: dict[str, Any]) -> str:
    return "\n".join(str(step) for step in job["steps"])


@each_workflow
def test_every_make_target_that_a_workflow_names_exists(path: Path) -> None:
    for line in re.findall(r"run: make ([\w -]+)", path.read_text(encoding="utf-8")):
        assert set(line.split()) <= TARGETS


def test_make_test_all_runs_each_test_once() -> None:
    alone = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFL"))}
    made = subprocess.run(
        ["make", "--dry-run", "test-all"],
        cwd=ROOT,
        env=alone,
        capture_output=True,
        text=True,
        check=True,
    )
    [fast, *suites] = [line for line in made.stdout.splitlines() if " pytest " in line]
    assert fast.endswith('-m "not slow"')
    assert all(" -m slow tests/" in suite for suite in suites)
    run = Counter(re.findall(r"tests/(\w+)\.py", " ".join(suites)))
    assert [name for name, times in run.items() if times > 1] == []
    texts = {path.stem: path.read_text("utf-8") for path in (ROOT / "tests").glob("test_*.py")}
    assert [name for name in run if name not in texts] == []
    marked = [name for name, text in texts.items() if "pytest.mark." + "slow" in text]
    assert [name for name in marked if name not in run] == []


@each_workflow
def test_a_workflow_may_only_read_and_names_no_index(path: Path) -> None:
    assert parsed(path)["permissions"] == {"contents": "read"}
    assert "://" not in path.read_text(encoding="utf-8")
    assert "secrets." not in path.read_text(encoding="utf-8")


def test_what_is_published_was_built_once_and_tested() -> None:
    jobs = parsed(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    assert [name for name, job in jobs.items() if "make build" in steps(job)] == ["build"]
    [built] = [step for step in jobs["build"]["steps"] if step.get("run") == "make build"]
    assert set(built["env"]) == {"MXM_REPOSITORY"}  # for the links of the index's page
    assert jobs["test"]["needs"] == "build"
    assert "MXM_DIST" in steps(jobs["test"])
    assert set(jobs["publish"]["needs"]) == {"test", "audit"}
    rights = {name: job["permissions"] for name, job in jobs.items() if "permissions" in job}
    assert rights == {"publish": {"id-token": "write"}, "announce": {"contents": "write"}}
    [published] = [s for s in jobs["publish"]["steps"] if "pypi-publish" in s["uses"]]
    assert published["with"] == {"attestations": True}


def test_only_a_release_publishes_the_site() -> None:
    jobs = parsed(ROOT / ".github" / "workflows" / "docs.yml")["jobs"]
    assert [name for name, job in jobs.items() if "permissions" in job] == ["publish"]
    assert "refs/tags/v" in jobs["publish"]["if"]
    site = re.search(r"out/\w+", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert site is not None
    assert jobs["build"]["steps"][-1]["with"] == {"path": site[0]}


def test_the_notes_of_a_release_are_its_section_of_the_changelog(tmp_path: Path) -> None:
    jobs = parsed(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    [line] = re.findall(
        r"^(awk .*) > notes.md$", jobs["announce"]["steps"][-1]["run"], re.MULTILINE
    )
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [0.3.0] 2027-01-01\n\n- New.\n\n## [0.2.0]\n\n- Old.\n\n## [0.1.0]\n- Oldest.\n"
    )
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "GITHUB_REF_NAME": "v0.2.0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["-", "Old."]


def test_the_hook_is_the_one_that_the_runbook_shows() -> None:
    [hook] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    runbook = (ROOT / "docs" / "RUNBOOK.md").read_text(encoding="utf-8")
    [shown] = [
        yaml.safe_load(b) for b in re.findall(r"```yaml\n(repos:.*?)```", runbook, re.DOTALL)
    ]
    [[local]] = [repo["hooks"] for repo in shown["repos"]]
    assert local == {key: value for key, value in hook.items() if key != "description"}
