"""Assets of cached tasks, and of tasks that `resume` reuses: written, unchanged, or run again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cached import Project
from command import invoke

from mxm.pipeline import asset

ASSET = "from mxm.pipeline import AssetDecl, Check, asset, load_asset\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MXM_HOME", raising=False)
    (tmp_path / "pyproject.toml").touch()
    return Project(tmp_path)


def written(path: str) -> Any:
    return json.loads(Path(path).read_text("utf-8"))


WRITES = """
@mxm.task(cache=True, produces=AssetDecl(
    "prices", partition_key="day", format="json", path_template="{day}.json"))
def prices(symbol: str) -> list[str]:
    return [symbol]

@mxm.flow
def f(symbol: str = "SPY", day: str = "1"):
    return prices(symbol)
"""


def test_a_hit_writes_the_asset_unless_its_file_has_that_content(project: Project) -> None:
    project.write(ASSET + WRITES)
    project.run()
    project.run("-p", "symbol=QQQ")
    assert written("1.json") == ["QQQ"]
    again = project.run()  # run A, run B, run A again
    assert again.cached == ["prices"]
    assert written("1.json") == ["SPY"]
    before = os.stat("1.json")
    again = project.run()
    assert again.cached == ["prices"]
    assert os.stat("1.json").st_ino == before.st_ino  # it is not written again
    [task] = again.document["tasks"]
    assert (task["asset"]["path"], task["asset"]["digest"][:7]) == ("1.json", "sha256-")
    assert [row.run for row in asset("prices").history()][-1] == again.document["id"]
    assert invoke("assets", "stale").code == 0


def test_a_hit_writes_the_partition_of_its_run(project: Project) -> None:
    project.write(ASSET + WRITES)
    project.run()
    other = project.run("-p", "day=2")
    assert other.cached == ["prices"]
    assert written("2.json") == ["SPY"]
    assert asset("prices").partitions() == ["1", "2"]


@pytest.mark.parametrize("how", ["removed", "changed"])
def test_a_hit_repairs_a_file_that_is_not_what_was_written(how: str, project: Project) -> None:
    project.write(ASSET + WRITES)
    project.run()
    Path("1.json").unlink() if how == "removed" else Path("1.json").write_text("[9]")
    assert project.run().cached == ["prices"]
    assert written("1.json") == ["SPY"]


@pytest.mark.parametrize("how", ["left", "removed", "changed", "other path"])
def test_a_file_that_the_task_writes_itself_must_be_there_unchanged(
    how: str, project: Project
) -> None:
    project.write(
        "from pathlib import Path\n"
        + ASSET
        + WRITES.replace("return [symbol]", 'Path("1.json").write_text("[1]")')
        .replace("-> list[str]", "-> None")
        .replace("{day}.json", "{name}.json")
        .replace("def f(", 'def f(name: str = "1", ')
    )
    project.run()
    if how == "removed":
        Path("1.json").unlink()
    elif how == "changed":
        Path("1.json").write_text("[9]")
    if how == "other path":
        assert project.run("-p", "name=2", fails=True).states == {"prices": "failed"}
        return
    again = project.run()
    assert again.states == {"prices": "cached" if how == "left" else "succeeded"}
    assert written("1.json") == [1]


def test_items_of_a_map_are_written_from_the_cache(project: Project) -> None:
    flows = ASSET + WRITES.replace("{day}.json", "{symbol}.json")
    project.write(flows.replace("return prices(symbol)", 'return prices.map(["SPY", symbol])'))
    project.run("-p", "symbol=QQQ")
    Path("SPY.json").write_text("[9]")
    again = project.run("-p", "symbol=IWM")
    assert again.items("prices") == {"SPY": "cached", "IWM": "succeeded"}
    assert written("SPY.json") == ["SPY"]
    last = asset("prices").history()[-2:]
    assert {(row.item, row.run) for row in last} == {
        (key, again.document["id"]) for key in ("SPY", "IWM")
    }


def test_plan_writes_nothing(project: Project) -> None:
    project.write(ASSET + WRITES)
    project.run()
    Path("1.json").unlink()
    planned = invoke("plan", "flows.py:f", "--json")
    assert json.loads(planned.out)["tasks"][0]["verdict"] == "CACHED"
    assert not Path("1.json").exists()


def test_a_kept_result_of_a_task_that_is_not_selected_writes_nothing(project: Project) -> None:
    project.write(
        ASSET
        + "\n@mxm.task\ndef count(values: list[str]) -> int:\n    return len(values)\n"
        + WRITES.replace("return prices(symbol)", "return count(prices(symbol))")
    )
    project.run()
    Path("1.json").unlink()
    assert project.run("--select", "count").states["prices"] != "succeeded"
    assert not Path("1.json").exists()


def test_a_check_that_is_new_is_made_on_a_kept_result(project: Project) -> None:
    checked = WRITES.replace('format="json"', 'format="json", checks=[good]')
    good = "def good(value):\n    return value != ['SPY']\n"
    project.write(ASSET + WRITES)
    project.run()
    project.write(ASSET + good + checked)
    failed = project.run(fails=True)
    assert failed.states == {"prices": "failed"}
    assert "check good of asset 'prices' failed" in failed.err


def test_a_format_that_changed_is_written_anew(project: Project) -> None:
    project.write(ASSET + WRITES)
    project.run()
    project.edit('format="json"', 'format="pickle"')
    assert project.run().cached == ["prices"]
    assert Path("1.json").read_bytes()[:1] == b"\x80"


READS = """
@mxm.task(produces=AssetDecl(
    "prices", partition_key="day", format="json", path_template="{day}.json"))
def prices(value: int) -> int:
    return value

@mxm.flow
def w(value: int = 1, day: str = "1"):
    return prices(value)

@mxm.task(cache=True, reads=[])
def total() -> int:
    return READ

@mxm.flow
def f():
    return total()
"""


def other(project: Project, *options: str) -> None:
    done = invoke("run", "flows.py:w", "--backend", "inline", *options)
    assert done.code == 0, done.err


@pytest.mark.parametrize("runner", ["sequential", "threads", "processes"])
def test_an_asset_that_a_task_loads_is_an_input(runner: str, project: Project) -> None:
    project.write(ASSET + READS.replace("READ", 'load_asset("prices", "1")'))
    other(project)
    options = ("--runner", runner, "--strict-cache")
    first = project.run(*options)
    assert (first.states, first.codes) == ({"total": "succeeded"}, [])
    other(project, "-p", "day=2")  # another partition
    other(project)  # the same content
    assert project.run(*options).cached == ["total"]
    other(project, "-p", "value=2")
    again = project.run(*options)
    assert (again.states, again.value) == ({"total": "succeeded"}, 2)
    assert again.why("total").startswith(("partition 1 of asset 'prices'", "file "))


@pytest.mark.parametrize(
    "read",
    [
        'len(asset("prices").partitions())',
        'len(asset("prices").history())',
        'sum(asset("prices").load(day) for day in asset("prices").partitions())',
    ],
)
def test_what_a_task_asks_of_the_catalogue_is_an_input(read: str, project: Project) -> None:
    project.write(ASSET + READS.replace("READ", read))
    other(project)
    assert project.run().value == 1
    assert project.run().cached == ["total"]
    other(project, "-p", "day=2")
    assert project.run().value == 2


def test_a_partition_that_was_the_only_one_has_to_be_named_then(project: Project) -> None:
    project.write(ASSET + READS.replace("READ", 'load_asset("prices")'))
    other(project)
    project.run()
    other(project, "-p", "day=2")
    assert "name one" in project.run(fails=True).err


def test_all_files_of_an_asset_count_that_a_task_says_it_reads(project: Project) -> None:
    project.write(ASSET + READS.replace("READ", "7").replace("reads=[]", 'reads="prices"'))
    unknown = project.run()
    assert "MXM813" in unknown.codes or "MXM813" in unknown.err
    assert project.run().states == {"total": "succeeded"}  # of what no file is known
    other(project)
    assert project.run().states == {"total": "succeeded"}
    assert project.run().cached == ["total"]
    Path("1.json").write_text("9")  # outside
    assert project.run().states == {"total": "succeeded"}
    other(project, "-p", "day=2")
    again = project.run()
    assert again.why("total") == "asset 'prices', which it reads, changed"


def test_what_mapped_items_read_is_upstream_of_what_they_write(project: Project) -> None:
    project.write(
        ASSET
        + READS.replace("READ", "1")
        + """
@mxm.task(produces=AssetDecl("sums", format="json", path_template="sum-{day}.json"))
def sums(day: str) -> int:
    return load_asset("prices", day)

@mxm.flow
def g():
    return sums.map(["1", "2"])
"""
    )
    other(project)
    other(project, "-p", "day=2")
    for runner in ("sequential", "processes"):
        done = invoke("run", "flows.py:g", "--backend", "inline", "--runner", runner)
        assert done.code == 0, done.err
        assert {row.upstream for row in asset("sums").history()} == {("prices",)}
    other(project, "-p", "value=2")
    stale = json.loads(invoke("assets", "stale", "--json").out)["stale"]
    assert {row["reason"] for row in stale if row["asset"] == "sums"} == {"upstream newer"}


def test_resume_takes_over_a_task_with_an_asset_and_writes_it(project: Project) -> None:
    project.write(
        ASSET
        + "\n@mxm.task\ndef fails(values: list[str]) -> int:\n    return 1 // 0\n"
        + WRITES.replace("cache=True, ", "").replace(
            "return prices(symbol)", "return fails(prices(symbol))"
        )
    )
    project.run(fails=True)
    Path("1.json").unlink()
    done = invoke("resume", "last", "--json")
    states = {task["name"]: task["state"] for task in json.loads(done.out)["tasks"]}
    assert states == {"prices": "cached", "fails": "failed"}
    assert written("1.json") == ["SPY"]
