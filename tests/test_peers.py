"""The pipelines of the how-to pages, run by the tools they are from: the numbers are ours."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from environments import environment, run
from pages import Block, blocks, program, shell

ROOT = Path(__file__).parents[1]
HOW_TO = ROOT / "docs" / "how-to"

pytestmark = pytest.mark.slow


def page(name: str) -> tuple[list[Block], list[Block]]:
    """The blocks of another tool, and ours."""
    found = blocks((HOW_TO / f"from-{name}.md").read_text("utf-8"))
    theirs = [block for block in found if "title=" in block.info]
    return theirs, [block for block in found if block not in theirs]


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, which keeps its own store."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MXM_HOME", raising=False)
    folder = tmp_path / "ours"
    folder.mkdir()
    return folder


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Path]:
    """The folder where the other tool's program runs."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    yield folder


def printed(line: str, folder: Path) -> object:
    """The JSON that *line* prints."""
    return json.loads(shell(f"{line} 2>/dev/null", folder))


def write_files(found: list[Block], folder: Path) -> None:
    for block in found:
        if block.file is not None:
            (folder / block.file).write_text(block.text, "utf-8")


def last_line(package: str, folder: Path, *command: str) -> str:
    """What *command* of an environment with *package* prints last."""
    peer = environment(folder / "env", sys.executable)
    peer.install(package)
    return peer.run(*command, cwd=folder).splitlines()[-1]


def test_hamilton(ours: Path, theirs: Path) -> None:
    (risk, driver), mine = page("hamilton")
    assert ("risk.py" in risk.info, "run.py" in driver.info) == (True, True)
    (theirs / "risk.py").write_text(risk.text, "utf-8")
    (theirs / "run.py").write_text(driver.text, "utf-8")
    (theirs / "print.py").write_text(
        "import contextlib, io, json\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    import run\n"
        "made = run.dr.execute(['volatility'], inputs={'symbol': 'SPY', 'days': 20, 'window': 10})\n"
        "print(json.dumps(dict(made)))\n"
    )
    their = json.loads(last_line("sf-hamilton", theirs, "print.py"))
    write_files(mine, ours)
    made = printed("mxm-pipeline run risk --quiet", ours)
    assert isinstance(made, dict)
    assert their == {"volatility": made["volatility"]}


def test_kedro(ours: Path, theirs: Path) -> None:
    (nodes,), mine = page("kedro")
    (text,) = re.findall(r"^\$ .*echo '(\[.*?\])' > data/raw\.json$", shown(mine), re.MULTILINE)
    (theirs / "pipeline.py").write_text(nodes.text, "utf-8")
    (theirs / "print.py").write_text(
        "import json, logging\n"
        "from kedro.io import DataCatalog, MemoryDataset\n"
        "from kedro.runner import SequentialRunner\n"
        "from pipeline import create_pipeline\n"
        "logging.disable()\n"
        f"data = {{'raw_prices': MemoryDataset({text}), 'params:lowest': MemoryDataset(50.0)}}\n"
        "made = SequentialRunner().run(create_pipeline(), DataCatalog(data))\n"
        "print(json.dumps(made['volatility'].load()))\n"
    )
    their = json.loads(last_line("kedro", theirs, "print.py"))
    write_files(mine, ours)
    (ours / "data").mkdir()
    (ours / "data" / "raw.json").write_text(text, "utf-8")
    assert printed("mxm-pipeline run risk --value --quiet", ours) == their


def shown(found: list[Block]) -> str:
    """The first console of a page."""
    return next(block.text for block in found if block.kind == "console")


def test_prefect(ours: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (flow,), mine = page("prefect")
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "300")
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "ERROR")
    monkeypatch.setenv("PREFECT_HOME", str(theirs))
    lines = flow.text.replace(
        "    risk()\n", "    print('made', __import__('json').dumps(risk()))\n"
    )
    printed_by_it = program(lines, theirs)
    (their,) = re.findall(r"^made (.*)$", printed_by_it, re.MULTILINE) or pytest.fail(printed_by_it)
    write_files(mine, ours)
    assert printed("mxm-pipeline run risk --value --quiet", ours) == json.loads(their)


def test_airflow(ours: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (dag,), mine = page("airflow")
    peer = environment(theirs / "env", sys.executable)
    peer.install("apache-airflow>=3")
    (theirs / "dags").mkdir()
    (theirs / "dags" / "daily.py").write_text(dag.text, "utf-8")
    (theirs / "print.py").write_text(
        "import json, sys\n"
        "sys.path.insert(0, 'dags')\n"
        "import daily, pendulum\n"
        "day = pendulum.datetime(2026, 1, 2)\n"
        "ran = daily.daily().test(logical_date=day, run_conf={'limit': 2})\n"
        "ended = {task.task_id: task.state for task in ran.get_task_instances()}\n"
        "(total,) = [t for t in ran.get_task_instances() if t.task_id == 'total']\n"
        "print('made', json.dumps([ended, total.xcom_pull(task_ids='total')]))\n"
    )
    settings = {
        "AIRFLOW_HOME": str(theirs / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(theirs / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_VAR_VENDOR_TOKEN": "abc",
    }
    run(str(theirs / "env" / "bin" / "airflow"), "db", "migrate", cwd=theirs, env=settings)
    text = run(peer.python, "print.py", cwd=theirs, env=settings)
    (made,) = re.findall(r"^made (.*)$", text, re.MULTILINE) or pytest.fail(text[-3000:])
    states, total = json.loads(made)
    assert (states["done"], states["alert"]) == ("success", "skipped")
    write_files(mine, ours)
    monkeypatch.setenv("VENDOR_TOKEN", "abc")
    command = "mxm-pipeline run daily -p token=@env:VENDOR_TOKEN -p limit=2 --quiet"
    assert printed(f"{command} --value", ours) == total
    document = printed(f"{command} --json", ours)
    assert isinstance(document, dict)
    assert {task["name"]: task["state"] for task in document["tasks"]}["alert"] == "skipped"
