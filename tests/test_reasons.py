"""Why a task runs: each kind of reason that `plan` and ``--explain`` have, by an edit."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from cached import Project, project_in
from command import invoke


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    found = project_in(tmp_path, monkeypatch)
    found.write(FLOWS, lib="def rate() -> int: return 1\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("1")
    (tmp_path / "seen.txt").write_text("1")
    found.run("-p", "key=f1rst-secret")
    return found


FLOWS = """
import os
from glob import glob
from pathlib import Path
from pydantic import SecretStr
import lib

LIMIT = 3
RATES = {"a": 1}

def helper(x: int) -> int: return x + 1

@mxm.task(cache=True)
def load(n: int, name: str = "x", key: SecretStr | None = None, days: object = None) -> list[int]:
    return [n] * 3

@mxm.task(cache=True, inputs=["data/*.csv", "env:DESK"])
def read() -> str:
    return "".join(Path(path).read_text() for path in sorted(glob("data/*.csv")))

@mxm.task(cache=True)
def observe() -> str: return Path("seen.txt").read_text()

@mxm.task(cache=True)
def total(values: list[int], text: str, scale: int = 1) -> int:
    os.environ.get("MODE")
    return (helper(sum(values)) + LIMIT + RATES["a"] + lib.rate()) * scale

@mxm.task(cache=True, cache_version=1)
def numbered() -> int: return 1

@mxm.task
def plain() -> int: return 1

@mxm.flow
def f(n: int = 1, name: str = "x", key: SecretStr | None = None, days: object = None):
    return total(load(n, name, key, days), read()), observe(), numbered(), plain()
"""


def reasons(*options: str) -> dict[str, str]:
    """By task that is not cached, verdict, kinds and texts of the reasons of `plan`."""
    ran = invoke("plan", "flows.py:f", "--json", *options)
    assert ran.code == 0, ran.err
    return {
        task["name"]: f"{task['verdict']} "
        + "; ".join(f"{one['kind']}: {one['text']}" for one in task["reasons"])
        for task in json.loads(ran.out)["tasks"]
        if task["verdict"] != "CACHED"
    }


SAME = ("-p", "key=f1rst-secret")
BELOW = "MAYBE input: 'load', upstream of it, runs"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-p", "n=2"), "parameter 'n' changed: 1 -> 2"),
        (("-p", "name=yy"), "parameter 'name' changed: 'x' -> 'yy'"),
        (("-p", f"name={'z' * 90}"), f"parameter 'name' changed: 'x' -> '{'z' * 56}..."),
        (("-p", "days=[1, 2]"), "parameter 'days' changed: None -> [1, 2]"),
        (("-p", f"days={list(range(99))}"), "parameter 'days' changed"),
    ],
)
def test_a_parameter_is_said_with_both_values(
    project: Project, options: tuple[str, ...], said: str
) -> None:
    assert reasons(*SAME, *options) == {
        "load": f"RUN parameter: {said}",
        "total": BELOW,
        "plain": "RUN uncached: it is not cached",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-p", "key=0ther-secret"), "********** -> **********"),
        ((), "********** -> None"),
        (("-p", "key=0ther-secret", "-p", "name=0ther-secret"), "'x' -> '**********'"),
    ],
)
def test_a_secret_is_masked_and_is_nowhere_in_the_store(
    project: Project, options: tuple[str, ...], said: str
) -> None:
    assert said in reasons(*options)["load"]
    ran = project.run(*options)
    assert said in ran.why("load")
    for folder, _, names in os.walk(project.folder / ".mxm"):
        for name in names:
            data = Path(folder, name).read_bytes()
            assert b"f1rst-secret" not in data
            assert b"0ther-secret" not in data


EDITS: list[tuple[str, str, str, str, str]] = [
    ("flows", "x + 1", "x + 2", "total", "code: function flows.helper changed at flows.py:12"),
    ("lib", "return 1", "return 2", "total", "code: function lib.rate changed at lib.py:1"),
    ("flows", "LIMIT = 3", "LIMIT = 4", "total", "constant: constant flows.LIMIT changed"),
    ("flows", '{"a": 1}', '{"a": 2}', "total", "constant: constant flows.RATES changed"),
    ("flows", "scale: int = 1", "scale: int = 2", "total", "constant: constant flows.total"),
    ("flows", "version=1", "version=2", "numbered", "version: cache_version changed: 1 -> 2"),
]


def test_code_is_said_by_what_changed_its_place_and_the_run(project: Project) -> None:
    run = invoke("runs", "--json").out
    newest = json.loads(run)["runs"][0]["id"]
    for module, before, after, task, said in EDITS:
        project.edit(before, after, f"{module}.py")
        found = reasons(*SAME)
        assert sorted(found) == sorted({task, "plain"}), (before, found)
        assert found[task].startswith(f"RUN {said}"), before
        assert said.startswith("version") or found[task].endswith(f" since run {newest}")
        project.edit(after, before, f"{module}.py")
    assert sorted(reasons(*SAME)) == ["plain"]


def put(path: str, text: str) -> Callable[[Project], object]:
    return lambda project: (project.folder / path).write_text(text)


def remove(project: Project) -> None:
    (project.folder / "data" / "a.csv").unlink()


@pytest.mark.parametrize(
    ("change", "task", "said"),
    [
        (put("data/a.csv", "2"), "read", "file: file data/a.csv changed"),
        (put("data/b.csv", "2"), "read", "file: file data/b.csv is new"),
        (remove, "read", "file: file data/a.csv is gone"),
        (put("seen.txt", "2"), "observe", "file: file seen.txt changed"),
        (lambda _: os.environ.update(DESK="eq"), "read", "environment: variable DESK changed"),
        (lambda _: os.environ.update(MODE="eq"), "total", "environment: variable MODE was set"),
    ],
)
def test_an_input_is_said_by_its_name(
    project: Project,
    change: Callable[[Project], object],
    task: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DESK", "MODE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    change(project)
    assert reasons(*SAME)[task] == f"RUN {said}"


def test_an_upstream_is_said_by_its_name(project: Project) -> None:
    ran = project.run(*SAME, "-p", "n=2")
    assert (ran.why("load"), ran.why("total")) == (
        "parameter 'n' changed: 1 -> 2",
        "the result of 'load' changed",
    )


def test_a_package_is_said_with_both_versions(project: Project) -> None:
    with sqlite3.connect(project.folder / ".mxm" / "store.db") as database:
        [(made,)] = database.execute("SELECT made_of FROM entry WHERE step = 'load'")
        parts = json.loads(made)
        assert "pydantic" in parts["packages"]
        parts["packages"]["pydantic"] = "1.0.0 abc"
        sql = "UPDATE entry SET made_of = ?, key = 'other' WHERE step = 'load'"
        database.execute(sql, (json.dumps(parts),))
    import pydantic

    found = reasons(*SAME)["load"]
    assert found == f"RUN package: package pydantic 1.0.0 -> {pydantic.VERSION}"


def test_expired_forced_not_selected_and_never_run_are_said(project: Project) -> None:
    assert reasons(*SAME, "--force") == dict.fromkeys(
        ("load", "read", "total", "observe", "numbered", "plain"), "RUN forced: forced"
    )
    assert reasons(*SAME, "--force-task", "total")["total"] == "RUN forced: forced"
    skipped = reasons(*SAME, "--select", "total")
    assert {skipped[name] for name in ("observe", "numbered", "plain")} == {
        "SKIP unselected: not selected"
    }
    project.edit("version=1)", "version=1, cache_ttl_s=1e-9)")
    found = reasons(*SAME)["numbered"]
    assert found.startswith("RUN expired: expired: kept by run ")
    assert found.endswith(", cache_ttl_s=1e-09")
    project.edit("def plain()", "def fresh()")
    project.edit("plain()", "fresh()")
    assert reasons(*SAME)["fresh"] == "RUN new: never run"


def test_code_that_cannot_be_known_is_said(project: Project) -> None:
    project.edit("return 1\n\n@mxm.task\n", "return eval('1')\n\n@mxm.task\n")
    assert reasons(*SAME)["numbered"].startswith("RUN code: ")
    project.edit("@mxm.task(cache=True, cache_version=1)", "@mxm.task(cache=True)")
    assert "RUN dynamic: it " in reasons(*SAME)["numbered"]
