"""`resume`: finished tasks are reused; the others, and any that may differ, run again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from command import SCRIPT, Outcome, invoke, write

FLOWS = """
    import os, time
    import mxm
    from mxm.pipeline import Skip

    def note(name):
        os.makedirs(f"ran/{time.time_ns():020} {name}")  # a file that it writes would be noted

    def helper(x):
        return x * 2

    @mxm.task
    def load(symbol: str) -> list[int]:
        note("load")
        return [1, 2, 3]

    @mxm.task
    def double(x: int) -> int:
        note(f"double {x}")
        if os.path.exists(f"fail {x}"):
            raise ValueError("failed")
        return helper(x)

    @mxm.task
    def read() -> str:
        note("read")
        with open("data.txt") as file:
            return file.read()

    @mxm.task
    def total(values: list[int], text: str) -> str:
        note("total")
        if os.path.exists("fail total"):
            raise ValueError("failed")
        return f"{sum(values)} {text}"

    @mxm.flow
    def book(symbol: str = "SPY"):
        return total(double.map(load(symbol)), read())
    """


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, {"flows.py": FLOWS, "data.txt": "one"})
    (tmp_path / "pyproject.toml").write_text('[tool.mxm.pipeline]\nbackend = "inline"\n')
    monkeypatch.delenv("MXM_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(project: Path, old: str, new: str) -> None:
    text = (project / "flows.py").read_text()
    assert old in text
    (project / "flows.py").write_text(text.replace(old, new))


def fails(*names: str) -> None:
    """Let these fail, and nothing else; nobody sees that a task asks whether a file exists."""
    for file in Path().glob("fail *"):
        file.unlink()
    for name in names:
        Path(f"fail {name}").touch()


def ran(project: Path) -> list[str]:
    """What ran since the last call."""
    folder = project / "ran"
    names = sorted(os.listdir(folder)) if folder.exists() else []
    shutil.rmtree(folder, ignore_errors=True)
    return [name.partition(" ")[2] for name in names]


@pytest.fixture
def failed(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of which the last task failed; the next one would not."""
    fails("total")
    outcome = invoke("run", "book", "-p", "symbol=QQQ")
    assert outcome.code == 1
    fails()
    assert ran(project)[-1] == "total"
    return project


def resumed(*arguments: str, code: int = 0) -> Outcome:
    outcome = invoke("resume", *arguments)
    assert outcome.code == code, outcome.err
    return outcome


def states(project: Path) -> dict[str, tuple[str, str | None]]:
    document = json.loads(invoke("runs", "show", "last", "--json").out)
    return {task["name"]: (task["state"], task["reason"]) for task in document["tasks"]}


def test_a_failed_run_ends_with_the_command_that_goes_on(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails("total")
    for quiet in ([], ["-q"]):
        outcome = invoke("run", "book", *quiet)
        run = json.loads(invoke("runs", "--json").out)["runs"][0]["id"]
        assert outcome.err.splitlines()[-1] == f"resume after a fix: mxm-pipeline resume {run}"
    assert "resume" not in invoke("run", "book", "--no-record").err
    fails()
    assert "resume" not in invoke("run", "book").err


def test_what_is_finished_is_taken_over_and_the_rest_runs(failed: Path) -> None:
    outcome = resumed("-v")
    assert ran(failed) == ["total"]
    assert json.loads(outcome.out)["total"] == "12 one"
    run = json.loads(invoke("runs", "--json").out)["runs"][1]["id"]
    first = outcome.err.splitlines()[0]
    assert first.startswith(f"resuming run {run} of ")
    assert first.endswith(": reusing 3 of 4 tasks; add --from load to run them again")
    found = states(failed)
    assert found["load"] == ("cached", f"reused from run {run}")
    assert [state for state, _ in found.values()] == ["cached"] * 3 + ["succeeded"]
    show = json.loads(invoke("runs", "show", "last", "--json").out)
    assert show["params"] == {"symbol": "QQQ"}


def test_a_resumed_run_that_fails_is_resumed_with_all_that_went_before(
    failed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails("total")
    resumed(code=1)
    resumed("last", code=1)
    fails()
    ran(failed)
    resumed()
    assert ran(failed) == ["total"]
    assert "there is nothing left to run" in resumed().err
    assert ran(failed) == []


def test_items_are_taken_over_one_by_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails("2")
    assert invoke("run", "book").code == 1
    fails()
    ran(project)
    assert json.loads(resumed().out)["double"] == [2, 4, 6]
    assert ran(project) == ["double 2", "total"]
    show = json.loads(invoke("runs", "show", "last", "--json").out)
    items = {task["name"]: task["items"] for task in show["tasks"]}["double"]
    assert items["count"] == {"cached": 2, "succeeded": 1}


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        ("return x * 2", "return x * 3", ["double 1", "double 2", "double 3", "total"]),
        ("return [1, 2, 3]", "return [1, 2, 4]", ["load", "double 4", "total"]),
        ("return [1, 2, 3]", "return [3, 2, 1][::-1]", ["load", "total"]),
        ('return f"{sum(values)} {text}"', 'return "fixed"', ["total"]),
        ("def read() -> str:\n    note", "def read() -> str:\n    # why\n    note", ["total"]),
    ],
)
def test_after_a_fix_what_the_fix_reaches_runs_again(
    failed: Path, old: str, new: str, again: list[str]
) -> None:
    edit(failed, old, new)
    resumed()
    assert ran(failed) == again


def test_a_file_that_changed_makes_its_reader_run_again(failed: Path) -> None:
    (failed / "data.txt").write_text("other")
    assert json.loads(resumed().out)["total"] == "12 other"
    assert ran(failed) == ["read", "total"]


def test_another_parameter_and_from(failed: Path) -> None:
    resumed("-p", "symbol=SPY")
    assert ran(failed) == ["load", "total"]
    resumed("--from", "double")  # a run that succeeded, too
    assert ran(failed) == ["double 1", "double 2", "double 3", "total"]
    assert "error: --from: no task 'dubble'\n" in resumed("--from", "dubble", code=2).err


def test_plan_shows_what_a_resume_would_do(failed: Path) -> None:
    edit(failed, "return x * 2", "return x * 3")
    outcome = invoke("plan", "book", "--resume", "last", "--json")
    found = {t["name"]: (t["verdict"], t["items"]) for t in json.loads(outcome.out)["tasks"]}
    assert found == {
        "load": ("CACHED", None), "double": ("RUN", {"RUN": 3}),
        "read": ("CACHED", None), "total": ("MAYBE", None),
    }  # fmt: skip
    text = invoke("plan", "book", "--resume", "last").out
    assert "helper changed at flows.py:8" in text
    assert ran(failed) == []


def test_a_run_that_is_no_more_what_it_was_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resumed(code=2).err.startswith("error: nothing is recorded")
    with open(project / "flows.py", "a") as file:
        file.write("\n@mxm.flow\ndef other():\n    return read()\n")
    invoke("run", "book")
    assert "not of 'other'" in invoke("plan", "other", "--resume", "last").err
    with sqlite3.connect(project / ".mxm" / "store.db") as database:
        database.execute("UPDATE run SET state = 'running', pid = ?", (os.getpid(),))
        database.execute("UPDATE run SET process = NULL")
    assert "is still running" in resumed(code=2).err
    with sqlite3.connect(project / ".mxm" / "store.db") as database:
        database.execute("UPDATE run SET state = 'failed', given = NULL")
    assert "an older mxm-pipeline recorded it" in resumed(code=2).err


def test_parameters_of_a_store_that_others_may_write_are_not_loaded(failed: Path) -> None:
    with sqlite3.connect(failed / ".mxm" / "store.db") as database:
        (given,) = database.execute("SELECT given FROM run").fetchone()
        database.execute("UPDATE run SET given = ?", (given + b".",))
    assert "damaged" in resumed(code=2).err
    with sqlite3.connect(failed / ".mxm" / "store.db") as database:
        database.execute("UPDATE run SET given = ?", (given,))
    (failed / ".mxm").chmod(0o777)
    assert "nothing is loaded from the store" in resumed(code=2).err


PARAMETERS = """
    import datetime, os, threading
    import mxm
    from pydantic import SecretStr

    @mxm.task
    def show(day: datetime.date, count: float, token: SecretStr | None, lock: object) -> str:
        text = f"{day} {count} {token and len(token.get_secret_value())}"
        if os.path.exists("fail 1"):
            raise ValueError("failed")
        return text

    @mxm.flow
    def daily(day: datetime.date = datetime.date.fromisoformat(os.environ["DAY"]), count: float = 1,
              token: SecretStr | None = None, lock: object = None):
        return show(day, count, token, lock)
    """


def test_parameters_are_those_of_the_run_defaults_included(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, {"daily.py": PARAMETERS})
    fails("1")
    monkeypatch.setenv("DAY", "2026-11-27")
    monkeypatch.setenv("TOKEN", "secret-word")
    arguments = ["-p", "count=2.5", "-p", "token=@env:TOKEN"]
    assert invoke("run", "daily", *arguments).code == 1
    fails()
    monkeypatch.setenv("DAY", "2026-11-30")
    assert json.loads(resumed().out) == {"show": "2026-11-27 2.5 11"}
    assert json.loads(resumed("-p", "day=2026-12-01").out) == {"show": "2026-12-01 2.5 11"}
    for file in (project / ".mxm").rglob("*"):
        assert file.is_dir() or b"secret-word" not in file.read_bytes(), file


def test_a_secret_that_was_typed_is_asked_for_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, {"daily.py": PARAMETERS})
    monkeypatch.setenv("DAY", "2026-11-27")
    fails("1")
    assert invoke("run", "daily", "-p", "token=secret-word").code == 1
    fails()
    assert "secret parameter 'token' is not recorded" in resumed(code=2).err
    outcome = resumed("-p", "token=secret-word")
    assert json.loads(outcome.out) == {"show": "2026-11-27 1 11"}


RULES = """
    import os
    import mxm
    from flows import note

    @mxm.task
    def first() -> list[int]:
        note("first")
        return [1]

    @mxm.task
    def grow(values: list[int]) -> int:
        note("grow")
        values.append(2)
        return len(values)

    @mxm.task
    def large() -> bytes:
        note("large")
        return bytes(20_000_000)

    @mxm.task
    def size(data: bytes) -> int:
        note("size")
        return len(data)

    @mxm.task(run_if="always")
    def close() -> None:
        note("close")

    @mxm.task
    def follow() -> int:
        note("follow")
        return 1

    @mxm.task
    def lead() -> int:
        note("lead")
        return 1

    @mxm.task(after=lead)
    def after_lead() -> int:
        note("after_lead")
        return 1

    @mxm.task(after=close)
    def after_close() -> int:
        note("after_close")
        return 1

    @mxm.task(allow_failure=True)
    def optional() -> int:
        note("optional")
        if os.path.exists("fail optional"):
            raise ValueError("failed")
        return 1

    @mxm.task
    def last() -> int:
        note("last")
        if os.path.exists("fail last"):
            raise ValueError("failed")
        return 1

    @mxm.flow(tasks=[lead, close, after_lead, after_close])
    def order(): ...

    @mxm.flow
    def rules():
        values = first()
        return [grow(values), size(large()), follow(), optional(), close(), last()]
    """


def test_what_is_never_taken_over(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, {"rules.py": RULES})
    fails("last")
    assert invoke("run", "rules").code == 1
    fails()
    assert set(ran(project)) == {"first", "grow", "large", "size", "follow", "optional", "close", "last"}  # fmt: skip
    assert json.loads(resumed().out)["grow"] == 2
    # What changed its input in place, what is too large or reads it, and what always runs.
    assert Counter(ran(project)) == Counter(["grow", "large", "size", "close", "last"])


def test_an_allowed_failure_is_tried_again_after_a_run_that_succeeded(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, {"rules.py": RULES})
    fails("optional")
    assert invoke("run", "rules").code == 0
    fails()
    ran(project)
    resumed()
    assert "optional" in ran(project)


def test_followers_of_what_runs_again_run_again(project: Path) -> None:
    write(project, {"rules.py": RULES})
    assert invoke("run", "order").code == 0
    ran(project)
    resumed("--from", "nosuch", code=2)
    assert invoke("resume", "--from", "lead").code == 0
    assert Counter(ran(project)) == Counter(["lead", "close", "after_lead", "after_close"])


def test_a_selection_stays_that_of_the_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails("2")
    assert invoke("run", "book", "--select", "+double").code == 1
    fails()
    ran(project)
    assert set(json.loads(resumed().out)) == {"load", "double"}
    assert ran(project) == ["double 2"]


@pytest.mark.parametrize("backend", ["inline", "prefect"])
@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_on_every_runner_and_backend(
    project: Path, monkeypatch: pytest.MonkeyPatch, runner: str, backend: str
) -> None:
    fails("total")
    options = ["--runner", runner, "--workers", "2", "--backend", backend]
    assert invoke("run", "flows.py:book", *options).code == 1
    fails()
    ran(project)
    outcome = resumed("--json")
    document: dict[str, Any] = json.loads(outcome.out)
    assert (document["runner"], document["backend"]) == (runner, backend)
    assert ran(project) == ["total"]


LARGE = """
    import os
    import mxm

    @mxm.task
    def load() -> bytes:
        os.makedirs("ran/1 load", exist_ok=True)
        return bytes(300_000)

    @mxm.task
    def size(data: bytes) -> int:
        if os.path.exists("fail size"):
            raise ValueError("failed")
        return len(data)

    @mxm.flow
    def large():
        return size(load())
    """


@pytest.mark.parametrize(("most", "again"), [(None, []), (0.2, ["load"]), (0.4, []), (0, ["load"])])
def test_how_large_a_kept_result_may_be_is_a_setting(
    project: Path, most: float | None, again: list[str]
) -> None:
    setting = "" if most is None else f"[tool.mxm.pipeline]\nkeep_results = {most}\n"
    write(project, {"large.py": LARGE, "pyproject.toml": setting})
    fails("size")
    assert invoke("run", "large.py:large", "--backend", "inline").code == 1
    ran(project)
    planned = json.loads(invoke("plan", "large.py:large", "--resume", "last", "--json").out)
    assert [task["verdict"] for task in planned["tasks"]] == [
        "RUN" if again else "CACHED", "MAYBE" if again else "RUN"
    ]  # fmt: skip
    fails()
    resumed()
    assert ran(project) == again


# Killed at any moment

LONG = """
    import os, time
    import mxm

    def note(name):
        os.makedirs(f"ran/{time.time_ns():020} {name}")  # a file that it writes would be noted

    def work(name):
        note(name)
        time.sleep(0.01)

    @mxm.task
    def start() -> int:
        work("start")
        return 1

    @mxm.task
    def step(x: int, number: int) -> int:
        work(f"step {number}")
        return x + number

    @mxm.task
    def items(x: int) -> list[int]:
        work("items")
        return list(range(x % 7, x % 7 + 10))

    @mxm.task
    def square(x: int) -> int:
        work(f"square {x}")
        return x * x

    @mxm.task
    def total(values: list[int]) -> int:
        work("total")
        return sum(values)

    @mxm.flow
    def long():
        x = start()
        x = step(x, 1)
        x = step(x, 2)
        x = step(x, 3)
        x = step(x, 4)
        x = step(x, 5)
        x = step(x, 6)
        x = step(x, 7)
        x = step(x, 8)
        found = total(square.map(items(x)))
        y = step(found, 9)
        y = step(y, 10)
        y = step(y, 11)
        y = step(y, 12)
        y = step(y, 13)
        y = step(y, 14)
        y = step(y, 15)
        return step(y, 16)
    """


def finished(project: Path) -> set[str]:
    """What a run that was killed has committed, in the words of `ran`."""
    with sqlite3.connect(project / ".mxm" / "store.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = database.execute(
            "SELECT name, place, item FROM task WHERE state = 'succeeded' "
            "AND run = (SELECT id FROM run ORDER BY started DESC LIMIT 1)"
        ).fetchall()
    found: set[str] = set()
    for name, place, item in rows:
        if name == "square":
            found |= {f"square {item}"} if place >= 0 else set()
        else:
            base, _, number = name.partition("_")
            found.add(f"step {number or 1}" if base == "step" else name)
    return found


@pytest.mark.parametrize(
    ("runner", "kills"),
    [
        ("sequential", 5),
        ("threads", 5),
        pytest.param("sequential", 50, marks=pytest.mark.slow),
        pytest.param("threads", 50, marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_moment_nothing_that_was_committed_runs_again(
    project: Path, runner: str, kills: int
) -> None:
    write(project, {"long.py": LONG})
    chosen = random.Random(int(os.environ.get("MXM_SEED", "7")))
    expected = json.loads(invoke("run", "long.py:long", "--no-record").out)
    ran(project)
    for _ in range(kills):
        command = [sys.executable, SCRIPT, "run", "long.py:long", "--runner", runner]
        process = subprocess.Popen(
            command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        after = chosen.randrange(28)  # so many calls
        folder = project / "ran"
        while process.poll() is None and (not folder.exists() or len(os.listdir(folder)) <= after):
            time.sleep(0.002)
        time.sleep(chosen.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = finished(project)
        ran(project)
        outcome = invoke("resume")
        assert outcome.code == 0, outcome.err
        again = ran(project)
        assert not done & set(again), (done, again)
        if again:
            assert json.loads(outcome.out) == expected


WAITING = """
    import mxm, sqlite3

    @mxm.task
    def first(): return 1

    @mxm.task
    def second(x): return x

    @mxm.task
    def look(x, name):
        with sqlite3.connect(".mxm/store.db") as database:
            sql = "SELECT state FROM task WHERE name = ?"
            return [state for state, in database.execute(sql, (name,))]

    @mxm.flow
    def waiting():
        one = first()
        two = second(look(one, "first"))
        return look.named("last")(two, "look")
    """


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_a_task_is_recorded_as_finished_before_what_follows_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    write(tmp_path, {"flows.py": WAITING, "pyproject.toml": "[project]\nname = 'w'\n"})
    monkeypatch.delenv("MXM_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    seen = json.loads(invoke("run", "flows.py:waiting", "--backend", backend).out)
    assert (seen["look"], seen["last"]) == (["succeeded"], ["succeeded"])


ASSETS = """
    import os
    import mxm
    from mxm.pipeline import AssetDecl

    @mxm.task(produces=AssetDecl("prices", format="json", path_template="prices.json"))
    def prices() -> list[int]:
        return [1, 2]

    @mxm.task
    def total(values: list[int]) -> int:
        if os.path.exists("fail total"):
            raise ValueError("failed")
        return sum(values)

    @mxm.flow
    def book():
        return total(prices())
    """


def test_a_task_that_writes_an_asset_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"flows.py": ASSETS, "fail total": ""})
    monkeypatch.delenv("MXM_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert invoke("run", "book", "--backend", "inline").code == 1
    (tmp_path / "prices.json").unlink()
    (tmp_path / "fail total").unlink()
    resumed()
    assert json.loads((tmp_path / "prices.json").read_text()) == [1, 2]
