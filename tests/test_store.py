"""The store: what is recorded of a run, and that nothing wrong with it harms the run."""

from __future__ import annotations

import io
import logging
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command import call, write
from pydantic import SecretStr

import mxm
from mxm.pipeline import FlowRun, FlowSpec, Skip, State, TaskSpec, compile_flow, load_run, runs_of
from mxm.pipeline.errors import PipelineError, StoreError
from mxm.pipeline.execution.output import LIMIT
from mxm.pipeline.store import database as database_module
from mxm.pipeline.store import kept
from mxm.pipeline.store.database import MIGRATIONS, Database
from mxm.pipeline.store.history import list_runs
from mxm.pipeline.store.places import distrust, store_of_file
from mxm.pipeline.views import html

FLOWS = """
import mxm
from pydantic import SecretStr


@mxm.task
def load(symbol: str, limit: int = 4) -> list[float]:
    print("loading", symbol)
    return [100.0 + 2 * day for day in range(limit)]


@mxm.task(upstream=load, retries=1)
def total(prices: list[float], window: int = 20) -> float:
    if window == 13:
        raise ValueError("no window of 13")
    return sum(prices[-window:])


@mxm.flow
def risk(symbol: str = "SPY", window: int = 20, token: SecretStr | None = None):
    return total
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a store of its own, which is the working directory."""
    monkeypatch.delenv("MXM_HOME")
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"pyproject.toml": "", "flows.py": FLOWS})
    return tmp_path


def one() -> int:
    return 1


def double(x: int) -> int:
    return 2 * x


SIMPLE = FlowSpec("simple", [TaskSpec("one", one), TaskSpec("two", double, upstream="one")])


def run(spec: FlowSpec = SIMPLE, params: dict[str, Any] | None = None, **options: Any) -> FlowRun:
    options = {"backend": "inline", "record": True, **options}
    return compile_flow(spec, **options).run(params)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that `MXM_HOME` names; it does not exist yet."""
    folder = tmp_path / "store"
    monkeypatch.setenv("MXM_HOME", str(folder))
    return folder


def rows(store: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(store / "store.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def content(store: Path) -> bytes:
    return b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())


# Where


def test_the_tests_of_a_session_have_a_store_of_their_own(tmp_path: Path) -> None:
    text = "import os, subprocess, sys\n"
    text += "def test_home():\n    assert 'mxm-tests-' in os.environ['MXM_HOME']\n"
    text += "    shown = \"import os; print(os.environ['MXM_HOME'])\"\n"
    text += "    ran = subprocess.check_output([sys.executable, '-c', shown], text=True)\n"
    text += "    assert ran.strip() == os.environ['MXM_HOME']\n"
    write(tmp_path, {"test_it.py": text})
    plugin = ("-p", "mxm.pipeline.testing.plugin")
    command = [sys.executable, "-m", "pytest", "-q", *plugin, "test_it.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def test_the_plugin_puts_back_what_was_there(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "test_it.py": """
            import os
            def test_home():
                assert "mxm-tests-" in os.environ["MXM_HOME"]
            """,
            "run.py": """
            import os, sys, pytest
            os.environ["MXM_HOME"] = "mine"
            assert pytest.main(["-q", "-p", "mxm.pipeline.testing.plugin"]) == 0
            assert os.environ["MXM_HOME"] == "mine"
            """,
        },
    )
    ran = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_store_is_beside_the_nearest_project_of_the_flows_file(project: Path) -> None:
    write(project, {"deep/down/flow.py": "", "other/pyproject.toml": "", "other/flow.py": ""})
    assert store_of_file("deep/down/flow.py") == str(project / ".mxm")
    assert store_of_file("other/flow.py") == str(project / "other" / ".mxm")
    assert store_of_file() == str(project / ".mxm")
    assert store_of_file("<ipython-input-3>") == str(project / ".mxm")


def test_store_without_a_project_is_beside_the_file(project: Path, tmp_path: Path) -> None:
    os.remove("pyproject.toml")
    write(project, {"a/flow.py": ""})
    assert store_of_file("a/flow.py") == str(project / "a" / ".mxm")


def test_store_is_never_in_the_home_folder_itself(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.remove("pyproject.toml")
    monkeypatch.setenv("HOME", str(project))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert store_of_file().startswith(str(project / ".local" / "state" / "mxm-pipeline") + os.sep)
    monkeypatch.setenv("XDG_STATE_HOME", "/elsewhere")
    assert store_of_file().startswith("/elsewhere/mxm-pipeline/")


def test_what_is_installed_belongs_to_the_working_directory(project: Path) -> None:
    write(project, {"lib/site-packages/firm.py": ""})
    os.makedirs("work")
    write(project, {"work/pyproject.toml": ""})
    os.chdir("work")
    assert store_of_file(str(project / "lib/site-packages/firm.py")) == str(project / "work/.mxm")


def test_store_is_for_its_owner_alone_and_kept_out_of_git(store: Path) -> None:
    before = os.umask(0)
    try:
        run()
    finally:
        os.umask(before)
    assert stat.S_IMODE(store.stat().st_mode) == 0o700
    assert stat.S_IMODE((store / "store.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((store / "key").stat().st_mode) == 0o600
    assert (store / ".gitignore").read_text() == "*\n"
    assert (store / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886")


# Which runs


def test_python_records_where_there_is_a_store_already(store: Path) -> None:
    run(record=None)
    assert not store.exists()
    run()
    run(record=None)
    run(record=False)
    assert len(runs_of("simple")) == 2


def test_option_of_one_run_goes_before_those_of_the_flow(store: Path) -> None:
    compiled = compile_flow(SIMPLE, backend="inline", record=False)
    compiled.run(options={"record": True})
    compiled.run()
    assert len(runs_of("simple")) == 1


@pytest.mark.parametrize("backend", ["inline", "prefect"])
@pytest.mark.parametrize("runner", ["sequential", "threads", "processes"])
def test_every_backend_and_runner_is_recorded_alike(store: Path, backend: str, runner: str) -> None:
    ended = run(backend=backend, runner=runner)
    [found] = runs_of("simple")
    assert (found, found.backend, found.runner) == (ended, backend, runner)
    assert found.values == ended.values == {"one": 1, "two": 2}


def test_command_records_unless_it_is_told_not_to(project: Path) -> None:
    quiet = ["--backend", "inline", "-q"]
    assert call("run", "risk", *quiet, "--no-record", cwd=project).code == 0
    assert not (project / ".mxm").exists()
    assert call("run", "risk", *quiet, cwd=project).code == 0
    assert [found.state for found in runs_of("risk")] == [State.SUCCEEDED]
    write(project, {"pyproject.toml": "[tool.mxm.pipeline]\nrecord = false\n"})
    assert call("run", "risk", *quiet, cwd=project).code == 0
    assert len(runs_of("risk")) == 1


def test_record_must_be_true_false_or_none() -> None:
    with pytest.raises(PipelineError, match="record must be True, False or None, not 'yes'"):
        compile_flow(SIMPLE, backend="inline", record="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("most", [-1, float("nan"), float("inf"), True, "16"])
def test_keep_results_must_be_a_number_of_megabytes(most: Any) -> None:
    with pytest.raises(PipelineError, match="keep_results must be a number of megabytes"):
        compile_flow(SIMPLE, backend="inline", keep_results=most)


# What


def test_document_of_a_recorded_run_is_the_one_that_the_run_gave(store: Path) -> None:
    def fails() -> int:
        raise ValueError("no rows")

    def skips() -> int:
        raise Skip("market closed")

    tasks = [
        TaskSpec("one", one),
        TaskSpec("fails", fails, retries=1, allow_failure=True),
        TaskSpec("skips", skips),
        TaskSpec("behind", double, upstream="skips"),
        TaskSpec("frame", lambda: pd.DataFrame({"a": [1.5, np.nan]})),
        TaskSpec("object", lambda: {"f": threading.Lock()}),
    ]
    ended = run(FlowSpec("f", tasks, params={"n": 3}), {"m": 4})
    [found] = runs_of("f")
    before, after = ended.to_dict(), found.to_dict()
    after.pop("record")
    for task in after["tasks"]:  # type: ignore[union-attr]
        task.pop("record")  # type: ignore[union-attr, call-overload, arg-type]
    for told, was in zip(after.pop("tasks"), before.pop("tasks"), strict=True):  # type: ignore[arg-type]
        assert told == was
    assert after == before
    assert found.tasks["fails"].history == ended.tasks["fails"].history
    assert [w.code for w in found.tasks["object"].to_json()[1]] == ["MXM505"]
    pd.testing.assert_frame_equal(found.values["frame"], ended.values["frame"])


def test_run_has_its_surroundings(project: Path) -> None:
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "x"]):
        named = ["-c", "user.name=x", "-c", "user.email=x@y"]
        subprocess.run(["git", *named, *command], cwd=project, check=True)
    ran = call("run", "risk", "--backend", "inline", "-q", "-p", "window=13", cwd=project)
    assert ran.code == 1
    run_of: Any = runs_of("risk")[0].to_dict()
    record = run_of["record"]
    assert record["command"] == "mxm-pipeline run risk --backend inline -q -p window=13".split()
    assert record["place"] == "flows.py:18"
    assert record["git"]["branch"] == "main"
    assert len(record["git"]["commit"]) == 40
    assert record["git"]["dirty"] is False
    assert record["versions"]["python"] == sys.version.split()[0]
    assert {"mxm-pipeline", "pydantic"} <= record["versions"].keys()
    assert {(p["name"], p["value"], p["type"], p["origin"]) for p in record["params"]} == {
        ("symbol", "SPY", "str", "flow"),
        ("window", 13, "int", "run"),
        ("token", None, "SecretStr | None", "flow"),
        ("limit", 4, "int", "default"),
    }
    load, total = run_of["tasks"]
    assert (load["output"], load["record"]["arguments"]["symbol"]) == (
        "loading SPY\n",
        {"value": "SPY"},
    )
    assert total["record"]["arguments"]["prices"] == {"upstream": "load"}
    assert total["record"]["place"] == "flows.py:14"
    assert [14, '        raise ValueError("no window of 13")'] in total["record"]["lines"]
    assert total["record"]["traceback"].endswith("ValueError: no window of 13")
    assert [a["error"] for a in total["history"]] == ["ValueError: no window of 13"] * 2


@pytest.mark.parametrize(
    ("file", "dirty"), [("flows.py", True), ("new.py", True), ("__pycache__/x.pyc", False)]
)
def test_dirty_means_files_that_differ_from_the_commit(
    project: Path, file: str, dirty: bool
) -> None:
    from mxm.pipeline.store.about import git_state

    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        named = ["-c", "user.name=x", "-c", "user.email=x@y"]
        subprocess.run(["git", *named, *command], cwd=project, check=True)
    write(project, {file: "changed"})
    found = git_state(str(project))
    assert found is not None
    assert found["dirty"] is dirty


def test_git_of_another_repository_is_not_taken(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mxm.pipeline.store.about import git_state

    monkeypatch.setenv("GIT_DIR", str(Path(__file__).parent.parent / ".git"))  # as hooks set it
    assert git_state(str(project)) is None


def test_run_inside_a_task_has_its_parent(store: Path) -> None:
    ended = run(FlowSpec("outer", [TaskSpec("inner", lambda: run().id)]))
    [inner] = runs_of("simple")
    assert (ended.value(), inner.to_dict()["record"]["parent"]) == (inner.id, ended.id)  # type: ignore[index, call-overload]


def test_run_with_overrides_is_marked_and_its_values_are_not_kept(store: Path) -> None:
    run(overrides={"one": 5})
    [found] = runs_of("simple")
    assert found.to_dict()["record"]["overridden"] is True  # type: ignore[index, call-overload]
    assert found.results == {"one": 5, "two": 10}
    assert found.values == {}


# Secrets

CANARY = "canary-4711"


def test_secret_stands_nowhere_in_the_store(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    def leaks(token: SecretStr) -> dict[str, str]:
        print("token", token.get_secret_value())
        return {"header": f"Bearer {token.get_secret_value()}"}

    def hides(token: SecretStr) -> Any:
        return pd.Series([token.get_secret_value()] * 3), np.array([token.get_secret_value()])

    def fails(token: SecretStr) -> int:
        raise ValueError(f"refused {token.get_secret_value()}")

    tasks = [TaskSpec("leaks", leaks), TaskSpec("hides", hides), TaskSpec("fails", fails)]
    run(FlowSpec("f", tasks), {"token": CANARY})
    [found] = runs_of("f")
    assert found.results["leaks"] == {"header": "Bearer **********"}
    assert found.tasks["leaks"].output == "token **********\n"
    assert str(found.tasks["fails"].error) == "refused **********"
    assert str(found.params["token"]) == "**********"
    assert found.values == {}
    for encoding in ("utf-8", "utf-16-le", "utf-32-le"):
        assert CANARY.encode(encoding) not in content(store)
    with pytest.raises(StoreError, match="was not kept: it contains a secret"):
        found.tasks["leaks"].value


@pytest.mark.parametrize(
    "arguments",
    [
        ["-p", f"token={CANARY}"],
        [f"-ptoken={CANARY}"],
        [f"--param=token={CANARY}"],
        ["--param", f"token={CANARY}"],
        ["-p", f"tokn={CANARY}"],
        ["--params-file", "params.toml"],
    ],
)
def test_secret_of_a_command_line_is_masked(project: Path, arguments: list[str]) -> None:
    write(project, {"params.toml": f"token = '{CANARY}'"})
    ran = call("run", "risk", "--backend", "inline", "-q", *arguments, cwd=project)
    assert ran.code == 0, ran.err
    assert CANARY.encode() not in content(project / ".mxm")


def test_secret_that_is_a_default_is_in_no_line_of_source(project: Path) -> None:
    text = """
    import mxm
    from pydantic import SecretStr

    @mxm.task
    def load(token: SecretStr = SecretStr("canary-4711")) -> int:
        raise ValueError("away")

    @mxm.flow
    def leaky():
        return load
    """
    write(project, {"flows.py": text})
    assert call("run", "leaky", "--backend", "inline", "-q", cwd=project).code == 1
    assert len(runs_of("leaky")) == 1
    assert CANARY.encode() not in content(project / ".mxm")


# Values


def same(before: Any, after: Any) -> bool:
    if isinstance(before, np.ndarray):
        return np.array_equal(before, after) and after.flags.writeable == before.flags.writeable
    if isinstance(before, pd.DataFrame):
        return before.equals(after)
    return type(before) is type(after) and before == after


@pytest.mark.parametrize(
    "value",
    [
        None,
        "x" * 200_000,
        list(range(50_000)),
        np.arange(50_000.0),
        np.asfortranarray(np.ones((300, 300)))[::2],
        pd.DataFrame({"a": np.arange(30_000.0), "b": ["x"] * 30_000}),
        {"a": (1, {2})},
    ],
    ids=lambda v: type(v).__name__,
)
def test_value_is_read_back_as_it_was(store: Path, value: Any) -> None:
    ended = run(FlowSpec("f", [TaskSpec("t", lambda: value)]))
    task = load_run(ended.id).tasks["t"]
    assert same(value, task.value)
    assert task.value is task.value


def test_loaded_array_may_be_changed_as_the_one_it_was(store: Path) -> None:
    run(FlowSpec("f", [TaskSpec("t", lambda: np.zeros(100_000))]))
    array = load_run().values["t"]
    array[0] = 1.0
    assert array[0] == 1.0


class Refuses:
    def __reduce_ex__(self, _: object) -> Any:
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (threading.Lock(), "it cannot be pickled: TypeError: cannot pickle"),
        (Refuses(), "it cannot be pickled: SystemExit: 3"),
        ((i for i in [1]), "it cannot be pickled: TypeError: cannot pickle 'generator'"),
        (bytes(17_000_000), "it is larger than 16 MB"),
        (np.zeros(3_000_000), "it is larger than 16 MB"),
        ([b"x" * 9_000_000, np.zeros(1_000_000)], "it is larger than 16 MB"),
    ],
    ids=["lock", "refuses", "generator", "bytes", "array", "both"],
)
def test_what_is_not_kept_says_why_and_the_run_goes_on(store: Path, value: Any, why: str) -> None:
    assert run(FlowSpec("f", [TaskSpec("t", lambda: value)])).state is State.SUCCEEDED
    found = load_run()
    assert found.values == {}
    with pytest.raises(StoreError, match=f"the value of task 't' in run .* was not kept: {why}"):
        found.tasks["t"].value


def test_damaged_value_is_never_loaded(store: Path) -> None:
    run(FlowSpec("f", [TaskSpec("t", lambda: "x" * 100_000), TaskSpec("s", one)]))
    [path] = [p for p in (store / "values").rglob("*") if p.is_file()]
    path.write_bytes(path.read_bytes()[:-1] + b"y")
    found = load_run()
    assert found.tasks["s"].value == 1
    with pytest.raises(StoreError, match="task 't' .*its bytes are damaged"):
        found.tasks["t"].value
    path.unlink()
    with pytest.raises(StoreError, match="task 't' .*it was removed"):
        load_run().tasks["t"].value


class Planted:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("planted",))


def test_planted_value_is_never_loaded(store: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """One of a name that its writer could not make: without the key there is no right digest."""
    monkeypatch.chdir(tmp_path)
    run(FlowSpec("f", [TaskSpec("t", one)]))
    connection = sqlite3.connect(store / "store.db")
    import pickle

    with connection:
        connection.execute("UPDATE task SET data = ?", (pickle.dumps(Planted()),))
    connection.close()
    with pytest.raises(StoreError, match="its bytes are damaged"):
        load_run().tasks["t"].value
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("what", ["", "store.db", "values", "key"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_nothing_is_loaded_where_others_can_write(store: Path, what: str, mode: int) -> None:
    run(FlowSpec("f", [TaskSpec("t", lambda: "x" * 100_000)]))
    path = store / what if what else store
    path.chmod(path.stat().st_mode | mode)
    with pytest.raises(StoreError, match=r"others can write to .*\n  hint: .*MXM_HOME"):
        load_run().tasks["t"].value
    assert load_run().results == {"t": "x" * 100_000}


def test_nothing_is_loaded_from_another_users_store(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "belongs to another user" in str(distrust(str(store)))
    with pytest.raises(StoreError, match="belongs to another user"):
        load_run().tasks["one"].value


# What is wrong with a store harms no run


def unharmed(caplog: pytest.LogCaptureFixture, said: str) -> None:
    """Run a flow, and expect one warning that says *said*."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "mxm.pipeline"):
        ended = run()
    assert (ended.state, ended.values) == (State.SUCCEEDED, {"one": 1, "two": 2})
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1, warnings
    assert said in warnings[0]
    assert "MXM_HOME" in warnings[0]


def test_store_that_is_a_file(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    store.write_text("")
    unharmed(caplog, "cannot be written: ")


@pytest.mark.parametrize("text", ["not a database" * 100, "SQLite format 3\0" + "x" * 5000])
def test_damaged_database(store: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    store.mkdir(mode=0o700)
    (store / "store.db").write_text(text)
    unharmed(caplog, "is damaged: ")
    with pytest.raises(StoreError, match="is damaged"):
        runs_of("simple")


def test_database_that_is_damaged_in_the_middle(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run()
    path = store / "store.db"
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    unharmed(caplog, "is damaged: ")


def test_database_of_another_program(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    store.mkdir(mode=0o700)
    connection = sqlite3.connect(store / "store.db")
    connection.execute("PRAGMA user_version=1")
    connection.close()
    unharmed(caplog, "is not a store of mxm-pipeline")


def test_store_of_a_newer_version(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    run()
    rows(store, "PRAGMA user_version=99")
    unharmed(caplog, "was made by a newer mxm-pipeline (its schema is 99, this version knows ")
    with pytest.raises(StoreError, match="upgrade mxm-pipeline"):
        runs_of("simple")


def test_store_of_an_older_version_is_brought_up_to_date(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    newer = (*MIGRATIONS, "ALTER TABLE run ADD COLUMN mood TEXT; UPDATE run SET mood = 'calm'")
    monkeypatch.setattr(database_module, "MIGRATIONS", newer)
    run()
    assert rows(store, "SELECT mood FROM run ORDER BY started") == [("calm",), (None,)]
    assert rows(store, "PRAGMA user_version") == [(len(newer),)]


def test_migration_that_fails_changes_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run()
    newer = (*MIGRATIONS, "ALTER TABLE run ADD COLUMN mood TEXT; SELECT 1 FROM nowhere")
    monkeypatch.setattr(database_module, "MIGRATIONS", newer)
    unharmed(caplog, "no such table: nowhere")
    assert rows(store, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    monkeypatch.undo()
    assert "mood" not in [row[1] for row in rows(store, "PRAGMA table_info(run)")]


def test_locked_database_is_waited_for_once_and_written_in_the_end(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mxm.pipeline.store import recorder

    monkeypatch.setattr(recorder, "_WAIT_S", 0.05)
    run()
    holder = sqlite3.connect(store / "store.db", isolation_level=None, check_same_thread=False)

    def locks() -> int:
        holder.execute("BEGIN IMMEDIATE")
        return 1

    def unlocks(x: int) -> int:
        holder.execute("COMMIT")
        return x

    tasks = [
        TaskSpec("locks", locks),
        TaskSpec("between", double, upstream="locks"),
        TaskSpec("unlocks", unlocks, upstream="between"),
    ]
    with caplog.at_level(logging.WARNING, "mxm.pipeline"):
        ended = run(FlowSpec("f", tasks))
    holder.close()
    assert ended.state is State.SUCCEEDED
    [warning] = [r.getMessage() for r in caplog.records]
    assert "continues, but is not recorded for now: " in warning
    assert "is locked by another process" in warning
    [found] = runs_of("f")
    assert {t.name: str(t.state) for t in found.tasks.values()} == dict.fromkeys(
        ("locks", "between", "unlocks"), "succeeded"
    )


def test_database_that_stays_locked(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mxm.pipeline.store import recorder

    run()
    monkeypatch.setattr(recorder, "_WAIT_S", 0.05)
    holder = sqlite3.connect(store / "store.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with caplog.at_level(logging.WARNING, "mxm.pipeline"):
        assert run().values == {"one": 1, "two": 2}
    holder.close()
    first, last = [r.getMessage() for r in caplog.records]
    assert "is not recorded for now" in first
    assert "is recorded only in part" in last


FULL = """
import resource, sys
from flows import risk
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), -1))
import logging
logging.basicConfig()
print(risk.with_options(backend="inline", record=True).run(limit=20_000).value())
"""


@pytest.mark.parametrize("size", [0, 20_000, 150_000])
def test_full_disk(project: Path, size: int) -> None:
    write(project, {"full.py": FULL})
    whole = subprocess.run(
        [sys.executable, "full.py", str(10**9)], cwd=project, capture_output=True, text=True
    )
    shutil.rmtree(project / ".mxm")
    ran = subprocess.run(
        [sys.executable, "full.py", str(size)], cwd=project, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == whole.stdout != ""
    assert "is not recorded" in ran.stderr or size > 100_000
    assert "Traceback" not in ran.stderr


KILLED = """
import os, signal, sys, time
import mxm

@mxm.task
def first() -> int:
    return 1

@mxm.task(upstream=first)
def second(x: int) -> int:
    print("second", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    return 2

@mxm.task(upstream=second)
def third(x: int) -> int:
    return 3

@mxm.flow
def dies():
    return third
"""


def test_run_whose_process_was_killed_is_crashed(project: Path) -> None:
    write(project, {"flows.py": KILLED})
    assert call("run", "dies", "--backend", "inline", cwd=project).code == -signal.SIGKILL
    [found] = runs_of("dies")
    assert found.state is State.CRASHED
    assert [(t.name, str(t.state), t.reason) for t in found.tasks.values()] == [
        ("first", "succeeded", None),
        ("second", "cancelled", "the process of the run ended while it ran"),
        ("third", "cancelled", "the process of the run ended before it began"),
    ]
    assert found.values == {"first": 1}
    assert rows(project / ".mxm", "PRAGMA integrity_check") == [("ok",)]
    assert [r.id for r in runs_of("dies", state="crashed")] == [found.id]
    assert runs_of("dies", state="running") == []


RANDOMLY = """
import os, random, signal, threading, time
import mxm

@mxm.task
def load(n: int) -> list[int]:
    return list(range(n))

tasks = [load]
for i in range(20):
    def step(x: list[int]) -> list[int]:
        return x[::-1]
    tasks.append(mxm.task(name=f"step{i}", upstream=tasks[-1].name)(step))

@mxm.flow(tasks=tasks)
def long(n: int = 30_000): ...
"""


def test_process_killed_at_any_moment_leaves_a_sound_store(project: Path) -> None:
    write(project, {"flows.py": RANDOMLY})
    import random
    import time

    moments = random.Random(7)
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "bin" / "mxm-pipeline"),
             "run", "long", "--backend", "inline", "-q"],
            cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(0.25 + 0.5 * moments.random())
        process.kill()
        process.wait()
    if (project / ".mxm" / "store.db").exists():
        assert rows(project / ".mxm", "PRAGMA integrity_check") == [("ok",)]
    for found in runs_of("long"):
        assert found.state in (State.CRASHED, State.SUCCEEDED)
        for task in found.tasks.values():
            assert task.state in (State.CANCELLED, State.SUCCEEDED)
            if task.state is State.SUCCEEDED:
                assert sorted(task.value) == list(range(30_000))
    assert call("run", "long", "--backend", "inline", "-q", cwd=project).code == 0
    assert runs_of("long")[0].state is State.SUCCEEDED


def test_ctrl_c_is_recorded_as_cancelled(store: Path) -> None:
    def interrupts() -> int:
        raise KeyboardInterrupt

    tasks = [
        TaskSpec("a", one),
        TaskSpec("b", interrupts, after="a"),
        TaskSpec("c", one, after="b"),
    ]
    with pytest.raises(KeyboardInterrupt):
        run(FlowSpec("f", tasks))
    [found] = runs_of("f")
    assert found.state is State.CANCELLED
    assert [str(t.state) for t in found.tasks.values()] == ["succeeded", "cancelled", "cancelled"]


def test_processes_that_run_and_prune_at_once_lose_no_run(project: Path) -> None:
    code = """
    import logging, sys
    from flows import risk
    from mxm.pipeline.store.database import Database
    from mxm.pipeline.store.pruning import prune
    logging.basicConfig(level=logging.WARNING)
    for _ in range(12):
        run = risk.with_options(backend="inline", record=True).run(limit=3)
        with Database(".mxm") as database:
            prune(database, runs=1, size=0)
        print(run.id)
    """
    write(project, {"many.py": code})
    processes = [
        subprocess.Popen(
            [sys.executable, "many.py"], cwd=project, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(4)
    ]  # fmt: skip
    ended = [process.communicate() for process in processes]
    assert [err for _, err in ended] == [""] * 4
    ids = {line for out, _ in ended for line in out.split() if "-" in line}
    assert len(ids) == 48
    assert {r.id for r in runs_of("risk", last=None)} == ids
    assert {str(r.state) for r in runs_of("risk", last=None)} == {"succeeded"}
    assert rows(project / ".mxm", "PRAGMA integrity_check") == [("ok",)]


AT_ONCE = """
import mxm, os

@mxm.task(cache=True)
def load(n: int) -> list[int]: return list(range(n))

@mxm.task
def square(x: int) -> int: return x * x

@mxm.task
def check(xs: list[int]) -> int:
    if os.path.exists(f"fail-{os.getpid()}"):
        raise ValueError("failed")
    return sum(xs)

@mxm.flow
def book(n: int = 3):
    return check(square.map(load(n)))
"""
WORKER = """
import logging, os, sys, time
from flows import book
from mxm.pipeline.cli.main import app
from mxm.pipeline.store.database import Database
from mxm.pipeline.store.pruning import prune
from typer.testing import CliRunner
logging.basicConfig(level=logging.WARNING)
end = time.monotonic() + float(sys.argv[1])
number = fail = 0
while number < 2 or time.monotonic() < end:
    number += 1
    n = 3 + number % 4
    open(f"fail-{os.getpid()}", "w").close()
    run = book.with_options(backend="inline", record=True).run(n=n)
    assert run.state == "failed", run
    os.unlink(f"fail-{os.getpid()}")
    resumed = CliRunner().invoke(app, ["resume", run.id, "--value", "--quiet"])
    assert resumed.exit_code == 0, (resumed.stdout, resumed.stderr)
    assert int(resumed.stdout) == sum(x * x for x in range(n)), resumed.stdout
    assert not resumed.stderr, resumed.stderr
    if number % 3 == 0:
        with Database(".mxm") as database:
            prune(database, runs=1, size=0)
    print(run.id)
"""


@pytest.mark.parametrize(
    ("processes", "seconds"), [(3, 0.5), pytest.param(8, 300, marks=pytest.mark.slow)]
)
def test_processes_that_run_resume_and_prune_at_once_lose_no_run(
    project: Path, processes: int, seconds: float
) -> None:
    write(project, {"flows.py": AT_ONCE, "worker.py": WORKER})
    running = [
        subprocess.Popen(
            [sys.executable, "worker.py", str(seconds)], cwd=project, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(processes)
    ]  # fmt: skip
    ended = [process.communicate() for process in running]
    said = [line for _, err in ended for line in err.splitlines() if "check failed" not in line]
    assert said == []
    failed = {line for out, _ in ended for line in out.split()}
    assert len(failed) >= 2 * processes
    found = runs_of("book", last=None)
    assert {run.id for run in found if str(run.state) == "failed"} == failed
    assert len(found) == 2 * len(failed)
    assert rows(project / ".mxm", "PRAGMA integrity_check") == [("ok",)]


def test_two_runs_of_one_process_at_once(store: Path) -> None:
    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [r.values for r in runs_of("simple")] == [{"one": 1, "two": 2}] * 6


def test_folder_removed_during_the_run(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    def removes() -> int:
        while store.exists():  # the thread that records may write while the tree is removed
            shutil.rmtree(store, ignore_errors=True)
        return 1

    tasks = [TaskSpec("a", removes), TaskSpec("b", lambda a: "x" * 100_000, upstream="a")]
    assert run(FlowSpec("f", tasks)).state is State.SUCCEEDED


def test_python_without_sqlite(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    with caplog.at_level(logging.WARNING, "mxm.pipeline"):
        assert run().values == {"one": 1, "two": 2}
    [warning] = [r.getMessage() for r in caplog.records]
    assert "is not recorded: this Python has no sqlite3" in warning


def test_text_that_utf8_cannot_hold_is_recorded(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a test prints and logs goes between the processes of pytest as UTF-8.
    monkeypatch.setattr(logging.getLogger("mxm.pipeline"), "propagate", False)
    monkeypatch.setattr(sys, "stdout", io.StringIO())

    def prints() -> str:
        print("half \ud800 pair")
        raise ValueError("\ud800")

    run(FlowSpec("f", [TaskSpec("t\ud800", prints)]))
    [found] = runs_of("f")
    assert "half \\ud800 pair" in next(iter(found.tasks.values())).output


# Crashed, running, hosts


def insert(store: Path, **columns: Any) -> None:
    run()
    changes = ", ".join(f"{name} = ?" for name in columns)
    connection = sqlite3.connect(store / "store.db")
    with connection:
        connection.execute(f"UPDATE run SET state = 'running', {changes}", [*columns.values()])
    connection.close()


@pytest.mark.parametrize(
    ("columns", "state"),
    [
        ({}, "running"),
        ({"process": "another-boot:1"}, "crashed"),  # the number went to a later process
        ({"pid": 2**22 + 1}, "crashed"),
        ({"host": "elsewhere", "heartbeat": 0.0}, "crashed"),
        ({"host": "elsewhere"}, "running"),
    ],
    ids=["lives", "pid used again", "gone", "gone elsewhere", "lives elsewhere"],
)
def test_state_of_a_run_whose_end_nobody_recorded(
    store: Path, columns: dict[str, Any], state: str
) -> None:
    insert(store, **(columns or {"seconds": None}))
    [found] = runs_of("simple")
    assert str(found.state) == state


def test_long_task_gives_signs_of_life(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mxm.pipeline.store import recorder

    monkeypatch.setattr(recorder, "HEARTBEAT_S", 0.01)
    beats = set[float]()

    def waits() -> int:
        while len(beats) < 3:
            beats.add(rows(store, "SELECT heartbeat FROM run")[0][0])
        return 1

    assert run(FlowSpec("f", [TaskSpec("t", waits)])).value() == 1


def test_running_run_shows_its_tasks(store: Path) -> None:
    def looks() -> list[str]:
        [found] = runs_of("f")
        return [str(found.state), *(str(t.state) for t in found.tasks.values())]

    tasks = [TaskSpec("a", one), TaskSpec("b", looks, after="a"), TaskSpec("c", one, after="b")]
    assert run(FlowSpec("f", tasks)).values["b"] == ["running", "succeeded", "running", "pending"]


def test_database_of_a_store_without_runs_is_refused_kindly(store: Path) -> None:
    assert runs_of("simple") == []
    with pytest.raises(StoreError, match=r"nothing is recorded in .*store\n  hint: `mxm-pipeline"):
        load_run()


def test_values_of_one_content_are_kept_once(store: Path) -> None:
    for _ in range(3):
        run(FlowSpec("f", [TaskSpec("t", lambda: "x" * 100_000)]))
    assert len([p for p in (store / "values").rglob("*") if p.is_file()]) == 1
    with Database(str(store)) as database:
        assert len(list_runs(database)) == 3


def test_key_is_one_for_all_who_make_it_at_once(store: Path) -> None:
    store.mkdir()
    keys = list[bytes]()
    threads = [
        threading.Thread(target=lambda: keys.append(kept.store_key(str(store)))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 1
    assert [p.name for p in store.iterdir()] == ["key"]


# Items


def test_items_are_recorded_and_read_back(store: Path) -> None:
    @mxm.task
    def symbols() -> list[str]:
        return ["SPY", "QQQ", "IWM"]

    @mxm.task(on_item_error="skip")
    def gain(symbol: str) -> int:
        print("asked for", symbol)
        if symbol == "QQQ":
            raise ValueError("no rows")
        return len(symbol)

    @mxm.flow
    def mapped() -> list[int]:
        return gain.map(symbols())

    ended = mapped.with_options(backend="inline", record=True).run()
    [found] = runs_of(mapped)
    before, after = ended.tasks["gain"].items, found.tasks["gain"].items
    assert before is not None
    assert after is not None
    assert after.to_dict() == before.to_dict()
    assert list(after) == ["SPY", "QQQ", "IWM"]
    assert after["SPY"].value == 3
    assert [after[key].output for key in after] == [f"asked for {key}\n" for key in after]
    assert str(after["QQQ"].error) == "no rows"
    assert after["QQQ"].history == before["QQQ"].history
    assert found.to_dict()["tasks"][1]["items"] == ended.to_dict()["tasks"][1]["items"]  # type: ignore[index, call-overload]


def test_output_of_an_item_is_bounded_and_masked(store: Path) -> None:
    @mxm.task
    def chat(length: int, token: SecretStr) -> int:
        print("x\n" * length, token.get_secret_value())
        return length

    @mxm.flow
    def chats(token: SecretStr) -> list[int]:
        return chat.map([0, 100_000], token=token)

    words = f"hunter-{os.getpid()}-snark"  # not in the source, which is recorded
    chats.with_options(backend="inline", record=True).run(token=SecretStr(words))
    [found] = runs_of(chats)
    items = found.tasks["chat"].items
    assert items is not None
    assert 4_000 < len(items["100000"].output) <= 4_096
    assert items["0"].output == " **********\n"
    assert words.encode() not in content(store)


def secret_of(length: int) -> str:
    """A secret that is not in the source, which is recorded; no part of it is in a digest."""
    return "".join(random.choice("ghjkmnpqrstvwxyz") for _ in range(length))


def assert_no_part(secret: str, text: bytes) -> None:
    parts = [secret[i : i + 6].encode() for i in range(len(secret) - 5)]
    assert [part for part in parts if part in text] == []


@pytest.mark.parametrize("after", [LIMIT - 20, LIMIT - 7, LIMIT - 24, LIMIT])
def test_secret_that_is_cut_in_two_with_an_output_is_masked(store: Path, after: int) -> None:
    def chat(token: SecretStr) -> None:
        print(token.get_secret_value() + "." * after, end="")

    words = secret_of(24)
    ended = run(FlowSpec("f", [TaskSpec("chat", chat)]), {"token": words})
    [found] = runs_of("f")
    assert len(ended.tasks["chat"].output) >= LIMIT
    assert found.tasks["chat"].output.endswith("." * after)
    assert_no_part(words, content(store))
    assert_no_part(words, html(ended).encode())


def test_secret_that_is_cut_in_two_with_an_item_is_masked(store: Path) -> None:
    words = secret_of(30)

    @mxm.task
    def fetch(url: str, token: SecretStr) -> int:
        print(token.get_secret_value() + "." * 4_080, end="")
        return 1

    @mxm.flow
    def chats(urls: list[str], token: SecretStr, other: SecretStr) -> list[int]:
        return fetch.map(urls, token=token)

    urls = ["https://prices.example/" + "x" * 40 + "?" + words] * 2
    secrets = {"token": words[:15] + "\n" + words[15:], "other": words}
    ran = chats.with_options(backend="inline", record=True).run(urls=urls, **secrets)
    [found] = runs_of(chats)
    items = found.tasks["fetch"].items
    assert items is not None
    assert [key.partition("?")[2] for key in items] == ["**********", "**********#2"]
    assert_no_part(words, content(store))
    assert_no_part(words, html(ran).encode())


def test_secret_that_is_cut_in_two_with_an_argument_is_masked(store: Path) -> None:
    def load(token: SecretStr, sources: list[str]) -> int:
        return len(sources)

    words = secret_of(24)
    sources = ["x" * 180 + words] * 40
    run(FlowSpec("f", [TaskSpec("load", load)]), {"token": words, "sources": sources})
    assert_no_part(words, content(store))


def test_run_whose_value_cannot_be_taken_is_recorded_to_its_end(store: Path) -> None:
    @mxm.task
    def nothing() -> list[int]:
        return []

    @mxm.flow
    def first() -> Any:
        return [nothing()[0], nothing.named("again")()]

    ended = first.with_options(backend="inline", record=True).run()
    [found] = runs_of(first)
    assert (ended.state, found.state) == (State.SUCCEEDED, State.SUCCEEDED)
    with pytest.raises(IndexError) as raised:
        ended.value()
    assert "while taking the value of flow 'first'" in raised.value.__notes__[0]
    assert [problem.code for problem in ended.value_json()[1]] == ["MXM120"]
    with pytest.raises(StoreError, match=r"has no value: .* IndexError: list index out of range"):
        found.value()


def test_value_that_was_too_long_to_keep_is_an_error_and_not_none(store: Path) -> None:
    @mxm.task
    def lengthy() -> str:
        return "x" * 2 * kept.LARGEST

    @mxm.flow
    def long() -> str:
        return lengthy()

    long.with_options(backend="inline", record=True).run()
    [found] = runs_of(long)
    with pytest.raises(StoreError, match="too long to keep"):
        found.value()


def test_items_of_a_run_that_was_killed_are_there(project: Path) -> None:
    text = """
    import os, signal, time
    import mxm

    @mxm.task
    def numbers() -> list[int]:
        return [0, 1, 2, 3]

    @mxm.task
    def step(n: int) -> int:
        if n == 3:
            time.sleep(0.5)  # what ended is written by then
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    @mxm.flow
    def dies() -> list[int]:
        return step.map(numbers())
    """
    write(project, {"flows.py": text})
    call("run", "dies", "--backend", "inline", cwd=project)
    [found] = runs_of("dies")
    items = found.tasks["step"].items
    assert items is not None
    assert {item.key: item.value for item in items.values()} == {"0": 0, "1": 1, "2": 2}
