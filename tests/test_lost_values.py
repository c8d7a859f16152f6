"""A kept result that is lost or damaged after it was found: what made it runs again, in that run."""

from __future__ import annotations

from pathlib import Path

import pytest
from cached import Project, project_in
from command import invoke


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return project_in(tmp_path, monkeypatch)


# `prune` is what another process may do between the look for a result and its use.
PRUNE = """
import pathlib

HOW = "remove"

@mxm.task
def prune() -> None:
    if not pathlib.Path(".mxm", "prunes").exists():
        return
    for path in pathlib.Path(".mxm", "values").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            path.unlink()
            if HOW == "flip":
                path.write_bytes(data[:-1] + b"?")

def note(name: str) -> None:
    with open(".mxm/calls.txt", "a") as file:
        print(name, file=file)
"""

CHAIN = (
    PRUNE
    + """
@mxm.task(cache=True, cache_version=1)
def load(n: int) -> bytes:
    note("load")
    return bytes(n)

@mxm.task(cache=True, cache_version=1)
def more(data: bytes) -> bytes:
    note("more")
    return data + data

@mxm.task
def use(data: bytes, after: None) -> int:
    return len(data)

@mxm.flow
def f(n: int = 100_000):
    return use(more(load(n)), prune())
"""
)


def let_prune(project: Project, *, prunes: bool = True) -> None:
    """Let the task `prune` remove what is kept from now on."""
    path = project.folder / ".mxm" / "prunes"
    path.touch() if prunes else path.unlink()


def calls(project: Project) -> list[str]:
    """The calls since the last look."""
    path = project.folder / ".mxm" / "calls.txt"
    made = path.read_text("utf-8").split() if path.exists() else []
    path.unlink(missing_ok=True)
    return sorted(made)


@pytest.mark.parametrize(
    ("how", "options"),
    [
        ("remove", ""),
        ("flip", "--runner threads"),
        pytest.param("remove", "--backend prefect", marks=pytest.mark.slow),
    ],
)
def test_a_kept_result_that_is_lost_before_its_use_is_made_again(
    project: Project, how: str, options: str
) -> None:
    project.write(CHAIN.replace("remove", how))
    project.run()
    assert calls(project) == ["load", "more"]
    let_prune(project)
    ran = project.run(*options.split())
    assert (ran.value, calls(project)) == (200_000, ["load", "more"])
    assert ran.states["more"] == "succeeded"
    assert ran.err.count("task 'more' runs again: a result that an earlier run kept") == 1
    assert ran.err.count("task 'load' runs again") == 1


def test_what_is_made_again_is_kept_again(project: Project) -> None:
    project.write(CHAIN)
    project.run()
    let_prune(project)
    project.run()
    let_prune(project, prunes=False)
    calls(project)
    assert (project.run().cached, calls(project)) == (["load", "more"], [])


MAPPED = (
    PRUNE
    + """
@mxm.task(cache=True, cache_version=1)
def load(n: int) -> bytes:
    note(f"load-{n}")
    return bytes(n)

@mxm.task(cache=True, cache_version=1)
def more(data: bytes) -> bytes:
    note(f"more-{len(data)}")
    return data + data

@mxm.task(after=prune)
def use(data: bytes, twice: int = 1) -> int:
    if twice > 1 and len(data) == 140_000:
        raise ValueError("no")
    return len(data)

@mxm.task(after=prune)
def all_of(data: list[bytes]) -> int:
    return sum(map(len, data))

@mxm.flow
def f():
    made = more.map(load.map([70_000, 80_000]))
    return WHAT
"""
)


@pytest.mark.parametrize(
    ("what", "runner"),
    [
        ("use.map(made)", "sequential"),
        ("all_of(made)", "sequential"),
        ("use.map(made)", "processes"),
    ],
)
def test_an_item_that_is_lost_before_its_use_is_made_again(
    project: Project, what: str, runner: str
) -> None:
    project.write(MAPPED.replace("WHAT", f"prune(), {what}"))
    project.run()
    first = ["load-70000", "load-80000", "more-70000", "more-80000"]
    assert calls(project) == first
    let_prune(project)
    ran = project.run("--runner", runner, "--workers", "1")
    assert ran.value[1] == ([140_000, 160_000] if "map" in what else 300_000)
    assert calls(project) == first


SHARED = (
    PRUNE
    + """
@mxm.task(cache=True, cache_version=1)
def load(n: int) -> bytes:
    note("load")
    return bytes(n)

@mxm.task(after=prune)
def use(n: int, data: bytes) -> int:
    return n + len(data)

@mxm.flow
def f():
    return prune(), use.map([1, 2, 3], data=load(70_000))
"""
)


@pytest.mark.parametrize("runner", ["sequential", "threads"])
def test_what_all_items_share_is_made_again_once(project: Project, runner: str) -> None:
    project.write(SHARED)
    project.run()
    calls(project)
    let_prune(project)
    ran = project.run("--runner", runner)
    assert (ran.value[1], calls(project)) == ([70_001, 70_002, 70_003], ["load"])


def test_where_it_fails_when_it_is_made_again_both_faults_are_said(project: Project) -> None:
    text = CHAIN.replace('note("load")', 'note("load")\n    open("there").close()')
    project.write(text)
    there = project.folder / "there"
    there.write_text("")
    project.run()
    let_prune(project)
    project.edit("for path in", 'pathlib.Path("there").unlink()\n    for path in')
    ran = project.run(fails=True)
    assert ran.states == {"load": "failed", "more": "cached", "prune": "succeeded", "use": "failed"}
    [use] = [task for task in ran.document["tasks"] if task["name"] == "use"]
    assert "its inputs could not be read" in use["reason"]
    assert "task 'load' ran again, and gave none: FileNotFoundError" in use["reason"]


def test_a_result_that_is_taken_over_and_lost_is_made_again(project: Project) -> None:
    text = CHAIN.replace("cache=True, cache_version=1", "name=None").replace(
        "return len(data)", 'open("there").close(); return len(data)'
    )
    project.write(text)
    project.run(fails=True)
    assert calls(project) == ["load", "more"]
    (project.folder / "there").write_text("")
    let_prune(project)
    ran = invoke("resume", "last", "--from", "prune")
    assert ran.code == 0, ran.err
    assert calls(project) == ["load", "more"]
