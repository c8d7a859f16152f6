"""`runs`: what it lists, shows, compares, exports, keeps and removes."""

from __future__ import annotations

import json
import os
import pickle
import re
import sqlite3
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import pandas as pd
import pytest
from command import call, golden, invoke, write

from mxm.pipeline import load_run, runs_of
from mxm.pipeline.store.database import Database
from mxm.pipeline.store.pruning import prune

FLOWS = """
import mxm


@mxm.task
def load(symbol: str, limit: int = 4) -> list[float]:
    print("loading", symbol)
    return [100.0 + 2 * day for day in range(limit)]


@mxm.task(upstream=load)
def total(prices: list[float], window: int = 20) -> float:
    if window == 13:
        raise ValueError("no window of 13")
    return sum(prices[-window:])


@mxm.task
def frame(rows: int = 3):
    import pandas as pd

    return pd.DataFrame({"a": range(rows)})


@mxm.flow
def risk(symbol: str = "SPY", window: int = 20):
    return total


@mxm.flow
def tables(rows: int = 3):
    return frame
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MXM_HOME")
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"pyproject.toml": "", "flows.py": FLOWS})
    return tmp_path


def run(*arguments: str) -> str:
    """Run a flow by the command; the id of the run."""
    invoke("run", *arguments, "--backend", "inline", "-q")
    with Database(".mxm") as database:
        return str(database.read("SELECT id FROM run ORDER BY rowid DESC LIMIT 1")[0]["id"])


def document(*arguments: str) -> Any:
    ran = invoke("runs", *arguments, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_runs_are_listed_newest_first(project: Path) -> None:
    ids = [run("risk"), run("risk", "-p", "window=13"), run("tables")]
    listed = document()
    assert listed["schema"] == "mxm.runs/1"
    assert {row["id"] for row in listed["runs"]} == set(ids)
    started = [row["started"] for row in listed["runs"]]
    assert started == sorted(started, reverse=True)
    [failed] = document("risk", "--state", "failed")["runs"]
    assert (failed["id"], failed["tasks"]) == (ids[1], {"succeeded": 1, "failed": 1})
    assert [row["flow"] for row in document("flows.py:tables")["runs"]] == ["tables"]
    assert len(document("--last", "2")["runs"]) == 2
    assert len(document("list", "--since", "1h")["runs"]) == 3
    assert document("--since", "2999-01-01")["runs"] == []
    table = invoke("runs", "risk").out
    assert table.splitlines()[0].split() == ["RUN", "FLOW", "STATE", "STARTED", "TOOK", "TASKS"]
    assert "1 succeeded, 1 failed" in table
    assert "older ones: --last 5" in invoke("runs", "--last", "1").err


def test_project_without_runs_lists_none(project: Path) -> None:
    assert document()["runs"] == []
    ran = invoke("runs")
    assert (ran.code, ran.out, ran.err) == (0, "", "no run is recorded in .mxm\n")
    ran = invoke("runs", "show", "last")
    assert (ran.code, "nothing is recorded in .mxm" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rsk"], "no run of flow 'rsk' is recorded\n  hint: did you mean 'risk'?"),
        (["shwo"], "did you mean 'show'?"),
        (["--state", "fialed"], "did you mean 'failed'?"),
        (["--since", "noon"], "--since: not a time: 'noon'\n  hint: write 2026-11-28"),
        (["show", "nope"], "no run 'nope' in .mxm\n  hint: `mxm-pipeline runs` lists them"),
        (["show", "-"], "is ambiguous: "),
        (["values", "last", "totl"], "has no task 'totl'\n  hint: did you mean 'total'?"),
        (["values", "last", "total", "--out", "x.xls"], "cannot tell the format of 'x.xls'"),
        (["values", "last", "total", "--out", "x.csv"], "a float cannot be written as .csv"),
        (["values", "last", "total", "--out", "no/x.pkl"], "'no/x.pkl' cannot be written: "),
    ],
)
def test_mistake_is_reported_with_the_way_out(
    project: Path, arguments: list[str], said: str
) -> None:
    run("risk")
    run("risk")
    ran = invoke("runs", *arguments)
    assert ran.code == 2
    assert said in ran.err


def test_failed_run_is_shown_with_its_traceback_and_output(project: Path) -> None:
    run("risk", "-p", "window=13")
    shown = invoke("runs", "show", "last").out
    assert re.search(r"window +13 +int +run", shown)
    assert re.search(r"limit +4 +int +default", shown)
    assert re.search(r"total +failed .*ValueError: no window of 13", shown)
    assert 'raise ValueError("no window of 13")' in shown
    assert "loading SPY" not in shown
    assert "loading SPY" in invoke("runs", "show", "last", "--output").out
    assert document("show", "last")["schema"] == "mxm.flowrun/2"


def test_part_of_an_id_names_a_run(project: Path) -> None:
    name = run("risk")
    assert document("show", name[-8:])["id"] == document("show", name)["id"] == name
    assert invoke("runs", "show", "%").code == 2


def differing(one: str, other: str) -> set[tuple[str, str]]:
    return {(row["kind"], row["name"]) for row in document("diff", one, other)["differences"]}


def test_differences_name_parameters_code_files_and_results(project: Path) -> None:
    one = run("risk")
    assert differing(one, run("risk")) == set()
    assert differing(one, run("risk", "-p", "window=2")) == {
        ("parameter", "window"),
        ("result", "total"),
    }
    assert differing(one, run("risk", "-p", "window=13")) == {
        ("parameter", "window"),
        ("run", "state"),
        ("task", "total"),
    }
    write(project, {"flows.py": FLOWS.replace("2 * day", "3 * day")})
    assert {("code", "load"), ("code", "flows.py"), ("result", "load[1]")} <= differing(
        one, run("risk")
    )
    assert "there is no recorded difference" in invoke("runs", "diff", one, one).out
    assert "function flows.load changed at flows.py:" in (invoke("runs", "diff", one, "last").out)


def test_differences_name_what_changed_beneath_a_task(project: Path) -> None:
    text = """
    import mxm

    LIMIT = 3

    def helper(x: int) -> int:
        return x + 1

    @mxm.task
    def t(x: int = 1) -> int:
        return helper(x) + LIMIT

    @mxm.flow
    def deep():
        return t
    """
    text = dedent(text)
    write(project, {"deep.py": text})
    one = run("deep")
    write(project, {"deep.py": "# moved\n" + text})
    assert differing(one, run("deep")) == {("code", "deep.py")}
    changed = text.replace("x + 1", "x + 2").replace("LIMIT = 3", "LIMIT = 4")
    write(project, {"deep.py": changed})
    [row] = [
        r
        for r in document("diff", one, run("deep"))["differences"]
        if (r["kind"], r["name"]) == ("code", "t")
    ]
    assert row["note"] == (
        "constant deep.LIMIT changed in deep.py; function deep.helper changed at deep.py:5"
    )


def test_a_secret_may_differ_only_where_both_runs_had_one(project: Path) -> None:
    (project / "flows.py").write_text(
        "import mxm\nfrom pydantic import SecretStr\n"
        "@mxm.task\ndef use(token: SecretStr | None = None): return 1\n"
        "@mxm.flow\ndef quiet(token: SecretStr | None = None): return use(token)\n"
    )
    one, other = run("quiet"), run("quiet")
    assert differing(one, other) == set()
    one, other = (run("quiet", "-p", f"token={text}") for text in ("hush-hush", "psst-psst"))
    assert differing(one, other) == {("parameter", "token")}


def test_tables_that_are_shown_alike_may_differ(project: Path) -> None:
    one = run("tables", "-p", "rows=9")
    write(project, {"flows.py": FLOWS.replace("range(rows)", "[*range(rows - 1), 0]")})
    other = run("tables", "-p", "rows=9")
    [row] = [r for r in document("diff", one, other)["differences"] if r["kind"] == "result"]
    assert row["note"].startswith("shown the same, but its bytes differ")


def test_values_are_printed_and_written(project: Path) -> None:
    run("risk")
    assert json.loads(invoke("runs", "values", "last", "total").out) == 412.0
    assert document("values", "last", "load")["kept"] is True
    run("tables")
    for name in ("x.csv", "x.pkl", "x.json"):
        assert invoke("runs", "values", "last", "frame", "--out", name).code == 0
    pd.testing.assert_frame_equal(pd.read_csv("x.csv", index_col=0), pd.DataFrame({"a": range(3)}))
    assert isinstance(pickle.loads(Path("x.pkl").read_bytes()), pd.DataFrame)
    assert json.loads(Path("x.json").read_text())["shape"] == [3, 1]


def aged(hours: float = 2) -> None:
    """Let everything in the store be so much older."""
    connection = sqlite3.connect(".mxm/store.db")
    with connection:
        connection.execute("UPDATE run SET started = replace(started, '202', '201')")
        connection.execute("UPDATE value SET made = made - ?", (hours * 3600,))
    connection.close()
    then = time.time() - hours * 3600
    for path in Path(".mxm/values").rglob("*"):
        os.utime(path, (then, then))


def files() -> list[Path]:
    return [path for path in Path(".mxm/values").rglob("*") if path.is_file()]


def test_pruning_keeps_what_is_young_pinned_or_among_the_newest(project: Path) -> None:
    large = "limit=30000"
    ids = [run("risk", "-p", large, "-p", f"symbol={n}") for n in range(4)]
    assert document("prune", "--runs", "0")["runs"] == []
    for endless in ("inf", "1e300"):
        assert document("prune", "--values", endless)["values"] == 0
    aged()
    assert document("keep", ids[0])["pinned"] is True
    assert set(document("prune", "--runs", "1", "--dry-run")["runs"]) <= set(ids[1:])
    assert len(runs_of("risk", last=None)) == 4
    pruned = document("prune", "--runs", "1")["runs"]
    assert len(pruned) in (2, 3)
    left = {found.id for found in runs_of("risk", last=None)}
    assert left == set(ids) - set(pruned)
    assert ids[0] in left
    assert len(files()) == 1  # equal ones are kept once
    assert len(load_run(ids[0]).tasks["load"].value) == 30_000
    assert document("keep", ids[0], "--undo")["pinned"] is False
    pruned = document("prune", "--runs", "0")
    assert runs_of("risk") == []
    assert (pruned["values"], files()) == (1, [])


def test_values_beyond_the_size_go_and_their_runs_stay(project: Path) -> None:
    for n in (20_000, 30_000):
        run("risk", "-p", f"limit={n}")
    aged()
    with Database(".mxm") as database:
        assert prune(database, size=300_000).values == 1
    found = {len(f.results["load"]): f for f in runs_of("risk")}  # type: ignore[arg-type]
    assert len(found[30_000].tasks["load"].value) == 30_000
    with pytest.raises(Exception, match="it was removed, perhaps by `mxm-pipeline runs prune`"):
        found[20_000].tasks["load"].value


@pytest.mark.parametrize("verb", ["list", "show", "diff", "values", "keep", "prune"])
def test_the_help_of_every_command_of_runs(verb: str, tmp_path: Path) -> None:
    ran = call("runs", verb, "--help", cwd=tmp_path, env={"COLUMNS": "100"})
    assert ran.code == 0
    golden(f"help_runs_{verb}", ran.out)


def test_control_characters_of_a_run_do_not_reach_the_terminal(project: Path) -> None:
    write(project, {"flows.py": FLOWS.replace("no window of 13", "\\x1b[31mred")})
    run("risk", "-p", "window=13")
    assert "\x1b" not in invoke("runs", "show", "last").out
