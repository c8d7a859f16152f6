"""`plan`: a verdict and its reasons for each task, and how long it may take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import Outcome, invoke, write

import mxm
from mxm.pipeline.api import plan_flow
from mxm.pipeline.errors import BackendError, ParameterError, SelectionError
from mxm.pipeline.testing import collecting

FLOW = {
    "flows.py": """
    import mxm, pathlib, time

    def note(name):
        with open("ran", "a") as file:
            file.write(name + "\\n")

    @mxm.task
    def load(symbol: str) -> list[int]:
        note("load")
        return [1, 2, 3]

    @mxm.task
    def double(x: int) -> int:
        note("double")
        return x * 2

    @mxm.task(tags=["late"])
    def total(values: list[int]) -> int:
        note("total")
        return sum(values)

    @mxm.task(run_if="failed")
    def alarm(value: object) -> None:
        note("alarm")

    @mxm.flow
    def book(symbol: str = "SPY"):
        found = total(double.map(load(symbol)))
        alarm(found)
        return found
    """
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, FLOW)
    (tmp_path / "pyproject.toml").write_text('[tool.mxm.pipeline]\nbackend = "inline"\n')
    monkeypatch.setenv("MXM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verdicts(ran: Outcome) -> dict[str, tuple[str, list[str]]]:
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["schema"] == "mxm.plan/1"
    return {
        task["name"]: (task["verdict"], [reason["text"] for reason in task["reasons"]])
        for task in document["tasks"]
    }


FAILURE = ("MAYBE", ['runs only after a failure (run_if="failed")'])
NEW, AGAIN = ("RUN", ["never run"]), ("RUN", ["it is not cached"])


def test_nothing_runs_and_each_task_has_its_verdict(project: Path) -> None:
    ran = invoke("plan", "book", "--json")
    assert verdicts(ran) == {"load": NEW, "double": NEW, "total": NEW, "alarm": FAILURE}
    assert json.loads(ran.out)["seconds"] is None
    assert not (project / "ran").exists()
    assert not (project / "home").exists()


def test_after_a_run_the_time_is_known(project: Path) -> None:
    assert invoke("run", "book").code == 0
    ran = invoke("plan", "book", "--json")
    assert verdicts(ran) == {"load": AGAIN, "double": AGAIN, "total": AGAIN, "alarm": FAILURE}
    document: dict[str, Any] = json.loads(ran.out)
    seconds = [task["seconds"] for task in document["tasks"]]
    assert seconds[3] is None
    assert document["seconds"] == pytest.approx(sum(seconds[:3]), abs=1e-5)
    text = invoke("plan", "book").out.splitlines()
    assert text[0].split() == ["TASK", "VERDICT", "TIME", "WHY"]
    assert text[1].split()[:2] == ["load", "RUN"]
    assert text[-1].startswith("3 RUN, 1 MAYBE; about ")


def test_what_is_not_selected_is_skipped_and_what_is_forced_says_so(project: Path) -> None:
    skip = ("SKIP", ["not selected"])
    ran = invoke("plan", "book", "--select", "+double", "--json")
    assert verdicts(ran) == {"load": NEW, "double": NEW, "total": skip, "alarm": skip}
    invoke("run", "book", "--select", "+double")
    ran = invoke("plan", "book", "--exclude", "alarm", "--force-task", "tag:late load", "--json")
    assert verdicts(ran) == {
        "load": ("RUN", ["forced"]), "double": AGAIN, "alarm": skip,
        "total": ("RUN", ["forced", "never run"]),
    }  # fmt: skip
    ran = invoke("plan", "book", "--force", "--json")
    assert {reasons[0] for _, reasons in verdicts(ran).values()} == {"forced", FAILURE[1][0]}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--select", "lode"], 2, "select: no task 'lode'"),
        (["--force-task", "lode"], 2, "force: no task 'lode'"),
        (["--exclude", "@load"], 5, "no task is selected"),
        (["-p", "nosuch=1", "--strict-params"], 2, "nosuch"),
        (["--runner", "nosuch"], 2, "unknown runner"),
        (["symbol=QQQ"], 2, "parameters need -p"),
    ],
)
def test_what_run_refuses_plan_refuses(
    project: Path, arguments: list[str], code: int, said: str
) -> None:
    for verb in ("plan", "run"):
        ran = invoke(verb, "book", *arguments)
        assert (ran.code, ran.out) == (code, ""), verb
        assert said in ran.err


def test_a_task_that_ran_and_failed_is_not_one_that_never_ran(project: Path) -> None:
    text = (project / "flows.py").read_text().replace("return sum(values)", "raise ValueError()")
    (project / "flows.py").write_text(text)
    assert invoke("run", "book").code == 1
    ran = invoke("plan", "book", "--json")
    assert verdicts(ran)["total"] == ("RUN", ["it failed before"])
    assert json.loads(ran.out)["seconds"] is None  # it never succeeded


# From Python

with collecting():

    @mxm.task
    def load(symbol: str) -> int:
        raise AssertionError("it ran")

    @mxm.task
    def double(x: int) -> int:
        return x * 2

    @mxm.flow
    def book(symbol: str) -> int:
        return double(load(symbol))


def test_from_python_with_the_options_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MXM_HOME", str(tmp_path))
    found = plan_flow(book, {"symbol": "SPY"}, overrides={load: 3}, backend="inline")
    assert [(t.name, t.verdict, t.reasons[0].text) for t in found.tasks] == [
        ("load", "SKIP", "its result is replaced"),
        ("double", "RUN", "never run"),
    ]
    found = plan_flow(book, {"symbol": "SPY"}, overrides={double: lambda x: 1 + x})
    assert found.tasks[1].reasons[0].text == "its function is replaced"
    found = plan_flow(book, {"symbol": "SPY"}, overrides={double: 3})
    assert [(t.verdict, t.reasons[0].text) for t in found.tasks] == [
        ("SKIP", "only for overridden 'double'"),
        ("SKIP", "its result is replaced"),
    ]


def test_from_python_problems_are_raised() -> None:
    with pytest.raises(ParameterError):
        plan_flow(book)
    with pytest.raises(SelectionError):
        plan_flow(book, {"symbol": "SPY"}, select="double")
    with pytest.raises(BackendError):
        plan_flow(book, {"symbol": "SPY"}, force=3)  # type: ignore[arg-type]
