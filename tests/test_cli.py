"""The command: what each verb prints, on which stream, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import GOLDEN, SCRIPT, Outcome, call, golden, invoke, masked, write

import mxm
from mxm.pipeline.cli.main import VERBS

FLOWS = '''
import mxm
from mxm.pipeline.spec import AssetDecl


@mxm.task
def load(symbol: str, limit: int = 4) -> list[float]:
    """Closing prices."""
    return [100.0 + 2 * day for day in range(limit)]


@mxm.task(upstream=load)
def returns(prices: list[float]) -> list[float]:
    return [b - a for a, b in zip(prices, prices[1:])]


@mxm.task(
    upstream={"series": returns},
    retries=3,
    retry_delay_s=2,
    produces=AssetDecl("risk/daily", partition_key="symbol"),
)
def volatility(series: list[float], window: int = 20) -> float:
    return sum(series[-window:])


@mxm.task(after=volatility)
def clean() -> None:
    pass


@mxm.flow(schedule_cron="0 18 * * 1-5", timezone="Asia/Tokyo")
def risk(symbol: str = "SPY", window: int = 20):
    """End-of-day risk."""
    return [volatility, clean]


@mxm.task
def broken(limit: int):
    raise ValueError(f"no rows for {limit}")


@mxm.task(upstream=broken)
def behind(rows):
    return rows


@mxm.flow
def failing():
    return behind, load


@mxm.task(upstream="lod")
def typo(rows):
    return rows


@mxm.flow
def wrong():
    return typo
'''


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, {"flows.py": FLOWS})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_processes_of_tests_run_the_tree_under_test(tmp_path: Path) -> None:
    text = "import mxm, sys\nprint(mxm.__file__, file=sys.stderr)\n@mxm.flow\ndef f(): ...\n"
    write(tmp_path, {"flows.py": text})
    assert call("list", cwd=tmp_path).err == f"{mxm.__file__}\n"


def shown(outcome: Outcome, folder: Path) -> str:
    """Everything that the command said, in the form of the golden files."""
    parts = [f"exit {outcome.code}\n"]
    for title, text in (("stdout", outcome.out), ("stderr", outcome.err)):
        if text:
            parts.append(f"--- {title}\n{masked(text, folder)}")
    return "".join(parts)


TYPES = """
import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, Optional, Union

import mxm
from pydantic import BaseModel, Field, SecretBytes, SecretStr

if TYPE_CHECKING:
    from pandas import DataFrame

Ticker = NewType("Ticker", str)


class Side(enum.Enum):
    BUY = "buy"


@dataclass
class Window:
    days: int
    key: SecretStr = SecretStr("canary")


class Model(BaseModel):
    name: str = "x"


@mxm.task
def typed(
    a: str, b: int = 3, c: float = 1.5, d: bool = True, e: date = date(2024, 1, 31),
    f: datetime = datetime(2024, 1, 31, 9), g: time = time(9, 30),
    h: timedelta = timedelta(minutes=90), i: Decimal = Decimal("0.10"), j: Path = Path("/data"),
    k: uuid.UUID = uuid.UUID(int=0), l: Side = Side.BUY, m: Literal["x", 1] = "x",
    n: list[int] = [1], o: dict[str, list[date]] = {}, p: tuple[int, ...] = (1, 2),
    q: Window | None = None, r: Optional[Model] = Model(), s: Union[int, str, None] = None,
    t: Annotated[int, Field(gt=0)] = 1, u: Ticker = Ticker("SPY"), v: Any = None, w=(1, 2),
    x: "DataFrame" = None, y: Sequence[Mapping[str, Side]] = (), z: set[str] = set(),
    sa: SecretStr = SecretStr("canary"), sb: SecretStr = "canary", sc: SecretStr | None = None,
    sd: list[SecretStr] = ["canary"], se: Window = Window(1, "canary"), sf: SecretBytes = b"canary",
    sg: SecretStr = "",
    *, long: str = "x" * 99, call=print, needed: Window, secret: SecretStr,
):
    return 1


@mxm.flow(params={"b": 5})
def types(a: str = "SPY"):
    return typed
"""


def test_a_parameter_of_every_type_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"typed.py": TYPES})
    monkeypatch.chdir(tmp_path)
    table = invoke("show", "types")
    assert "canary" not in table.out + table.err
    golden("show_types", shown(table, tmp_path))
    rows = [line for line in table.out.splitlines() if " typed" in line or " flow" in line]
    helped = invoke("run", "types", "--help").out
    for row in rows[1:-1]:
        name, *rest = row.split()
        line = next(x for x in helped.splitlines() if x.startswith(f"-p {name}= "))
        assert line.split()[2:] == rest
    document = invoke("show", "types", "--json")
    assert "canary" not in document.out
    params = {p["name"]: p for p in json.loads(document.out)["params"]}
    assert params["secret"]["required"]
    assert params["sb"].pop("differing") == []
    assert params["sb"] == {
        "name": "sb",
        "type": "SecretStr",
        "required": False,
        "default": "**********",
        "origin": "default",
        "tasks": ["typed"],
    }


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("list", ["list"]),
        ("list_json", ["list", "--json"]),
        ("show", ["show", "risk"]),
        ("show_json", ["show", "risk", "--json"]),
        ("show_wrong", ["show", "wrong"]),
        ("graph_tree", ["graph", "risk"]),
        ("graph_mermaid", ["graph", "risk", "--format", "mermaid"]),
        ("graph_dot", ["graph", "risk", "--format", "dot"]),
        ("graph_json", ["graph", "risk", "--json"]),
        ("graph_wrong", ["graph", "wrong"]),
        ("check", ["check"]),
        ("check_json", ["check", "--json"]),
        ("check_one", ["check", "risk"]),
        ("run", ["run", "risk", "-p", "symbol=QQQ"]),
        ("run_json", ["run", "risk", "--json", "--backend", "inline"]),
        ("run_quiet", ["run", "risk", "--quiet"]),
        ("run_failing", ["run", "failing", "-p", "limit=2", "-p", "symbol=QQQ"]),
        ("run_failing_json", ["run", "failing", "-p", "limit=2", "-p", "symbol=Q", "--json"]),
        ("run_wrong", ["run", "wrong"]),
        ("run_missing_parameters", ["run", "failing"]),
        ("run_unused_parameter", ["run", "risk", "-p", "windw=3", "-q"]),
        ("run_unused_parameter_strict", ["run", "risk", "-p", "windw=3", "--strict-params"]),
    ],
)
def test_what_the_command_prints(project: Path, name: str, args: list[str]) -> None:
    golden(name, shown(invoke(*args), project))


@pytest.mark.parametrize("form", ["text", "json", "github"])
def test_check_that_finds_no_flow_says_where_it_looked_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    write(tmp_path, {"tasks.py": "import mxm\n@mxm.task\ndef load(): ...\n"})
    monkeypatch.chdir(tmp_path)
    checked = invoke("check", "--format", form)
    assert checked.code == 2
    assert "no problems" not in checked.out
    if form == "json":
        assert json.loads(checked.out)["flows"] == []
    listed = invoke("list")
    assert (listed.code, listed.out) == (0, "")
    for outcome in (checked, listed):
        assert outcome.err.splitlines() == [
            "no flows found; looked at:",
            f"  1 Python files under {tmp_path}, 0 of which declare flows",
            "  hint: decorate a function with @mxm.flow, or name modules with -m",
            "  hint: `mxm-pipeline list -v` lists the files that were left out",
        ]
    verbose = invoke("list", "-v")
    assert verbose.err.splitlines()[-2:] == [
        "not imported:",
        "  tasks.py: uses mxm, but neither flow nor register_flow",
    ]
    [left_out] = json.loads(invoke("list", "--json").out)["left_out"]
    assert left_out["path"] == "tasks.py"


def test_file_that_an_editor_wrote_with_a_byte_order_mark_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS.lstrip(), encoding="utf-8-sig")
    monkeypatch.chdir(tmp_path)
    checked = invoke("check")
    assert (checked.code, checked.out) == (4, "3 flows checked: 1 problem\n")


def test_check_of_a_file_checks_every_flow_in_it(project: Path) -> None:
    write(project, {"more.py": "import mxm\n@mxm.flow\ndef empty(): ...\n"})
    checked = invoke("check", "flows.py")
    assert (checked.code, checked.out) == (4, "3 flows checked: 1 problem\n")
    assert "flow 'wrong': unknown upstream 'lod'" in checked.err
    assert invoke("check", "flows.py:risk").out == "1 flow checked: no problems\n"
    both = json.loads(invoke("check", "flows.py", "more.py", "--json").out)
    assert both["flows"] == ["risk", "failing", "wrong", "empty"]


@pytest.mark.parametrize("verb", ["run", "show", "graph"])
def test_verbs_of_one_flow_list_the_flows_of_a_file(project: Path, verb: str) -> None:
    ran = invoke(verb, "flows.py")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        "error: 'flows.py' has 3 flows",
        "    risk     flows.py:31",
        "    failing  flows.py:47",
        "    wrong    flows.py:57",
        "  hint: give one of them: flows.py:risk",
    ]


def test_two_flows_of_one_name_in_a_file_are_reported_with_both_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        import mxm

        @mxm.task
        def load(): ...

        @mxm.flow
        def risk():
            return load

        @mxm.flow
        def risk():
            return load
        """
    write(tmp_path, {"flows.py": text})
    monkeypatch.chdir(tmp_path)
    drawn = ["    risk  flows.py:6", "    risk  flows.py:10"]
    hint = "  hint: give one of them another name: @mxm.flow(name=...)"
    for args in (["check"], ["check", "flows.py"]):
        checked = invoke(*args)
        assert (checked.code, checked.out) == (4, "2 flows checked: 1 problem\n")
        assert checked.err.splitlines()[:4] == [
            "error: flows.py:6: MXM107 2 flows are named 'risk'",
            *drawn,
            hint,
        ]
    for target in ("risk", "flows.py:risk"):
        ran = invoke("run", target, "--backend", "inline")
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.splitlines() == ["error: 2 flows are named 'risk'", *drawn, hint]
    listed = invoke("list").out.splitlines()
    assert [line.split("  ")[0] for line in listed[1:]] == [
        "risk (flows.py:6)",
        "risk (flows.py:10)",
    ]
    assert all(line.endswith("INVALID: 1 problem") for line in listed[1:])


def test_help_of_one_flow_lists_its_parameters(project: Path) -> None:
    ran = invoke("run", "risk", "--help")
    parameters, _, usage = ran.out.partition("Usage:")
    golden("run_help", parameters)
    assert "--strict-params" in usage
    assert ran.code == 0


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_the_help_of_every_verb(verb: str, tmp_path: Path) -> None:
    # In a process: Typer's runner for tests has a width of its own.
    ran = call(*verb.split(), "--help", cwd=tmp_path, env={"COLUMNS": "100"})
    assert (ran.code, ran.err) == (0, "")
    golden(f"help_{verb or 'all'}", ran.out)


def test_no_help_leaves_defaults_and_ranges_to_typer() -> None:
    # Its versions write them in ways of their own, and some load rich for that.
    for recorded in GOLDEN.glob("help_*.txt"):
        text = recorded.read_text(encoding="utf-8")
        assert not re.search(r"\[default|\[required|x[<>]=", text), recorded.name


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ("run f --jobs 0", "--jobs"),
        ("runs list --last 0", "--last"),
        ("runs prune --runs=-1", "--runs"),
        ("runs prune --values=-0.5", "--values"),
        ("runs prune --values=nan", "--values"),
    ],
)
def test_a_number_out_of_range_is_named(arguments: str, option: str, project: Path) -> None:
    ran = invoke(*arguments.split())
    assert ran.code == 2
    assert f"Invalid value for '{option}': must be at least" in ran.err


def test_help_names_every_command(project: Path) -> None:
    ran = invoke("--help")
    assert ran.code == 0
    for command in ("list", "show", "graph", "check", "run"):
        assert f"\n  {command} " in ran.out


def test_version_is_the_packages(project: Path) -> None:
    from mxm.pipeline import __version__

    assert invoke("--version").out == f"mxm-pipeline {__version__}\n"


def test_run_help_without_a_flow_shows_the_options(project: Path) -> None:
    ran = invoke("run", "--help")
    assert (ran.code, "--param" in ran.out) == (0, True)


def test_run_without_a_name_is_a_usage_error_and_prints_nothing_on_stdout(project: Path) -> None:
    ran = invoke("run")
    assert (ran.code, ran.out) == (2, "")
    assert "NAME" in ran.err
    assert "`mxm-pipeline list` shows them" in ran.err


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ([], "which flow?"),
        (["--nope"], "No such option"),  # how it is named is up to Click
        (["x", "--workers", "two"], "'--workers'"),
        (["x", "y"], "unexpected argument after the name of the flow: parameters need -p"),
        (["x", "-p"], "-p needs NAME=VALUE"),
        (["x", "--param"], "--param needs NAME=VALUE"),
    ],
)
def test_usage_error_of_run_points_to_its_help_as_those_of_other_verbs(
    project: Path, args: list[str], told: str
) -> None:
    ran = call("run", *args, cwd=project)
    assert (ran.code, ran.out) == (2, "")
    usage, pointer, empty, error = ran.err.splitlines()
    # Typer before 0.26 shows an argument that may be left out without brackets.
    assert usage.replace("[NAME]", "NAME") == "Usage: mxm-pipeline run [OPTIONS] NAME"
    assert empty == ""
    assert pointer == "Try 'mxm-pipeline run --help' for help."
    assert told in error


def test_help_of_run_names_every_runner_and_backend(project: Path) -> None:
    shown = " ".join(invoke("run", "--help").out.split())
    assert "sequential, threads, processes, dask or ray; default: [tool.mxm.pipeline]." in shown
    assert (
        "How many tasks run at once, for threads, processes, dask or ray; default: [tool.mxm.pipeline]."
        in shown
    )
    assert "prefect or inline; default: [tool.mxm.pipeline]." in shown
    assert "Try" not in shown


def test_graph_out_writes_the_file(project: Path) -> None:
    ran = invoke("graph", "risk", "--format", "dot", "--out", "risk.dot")
    assert (ran.code, ran.out) == (0, "")
    assert (project / "risk.dot").read_text() == invoke("graph", "risk", "-f", "dot").out


def test_graph_out_that_cannot_be_written_names_the_file(project: Path) -> None:
    ran = invoke("graph", "risk", "--out", "no/such/folder.txt")
    assert ran.code == 2
    assert "no/such/folder.txt" in ran.err


@pytest.mark.parametrize("flag", ["list", "show", "graph", "check", "run"])
def test_every_json_document_has_a_schema(project: Path, flag: str) -> None:
    names = [] if flag == "list" else ["risk"]
    ran = invoke(flag, *names, "--json", *(["--backend", "inline"] if flag == "run" else []))
    assert json.loads(ran.out)["schema"].startswith("mxm.")


def test_json_of_a_run_has_the_fields_of_the_design(project: Path) -> None:
    document = json.loads(invoke("run", "risk", "--json", "--backend", "inline").out)
    assert list(document) == [
        "schema", "id", "flow", "state", "backend", "runner", "started", "ended", "seconds",
        "params", "value", "warnings", "tasks",
    ]  # fmt: skip
    for task in document["tasks"]:
        assert {"name", "state", "attempts", "history", "started", "ended", "seconds", "result",
                "error", "reason", "asset", "items"} <= {*task}  # fmt: skip


def test_value_prints_what_the_body_returned_and_nothing_else(project: Path) -> None:
    ran = invoke("run", "risk", "--value", "--backend", "inline", "--quiet")
    whole = json.loads(invoke("run", "risk", "--json", "--backend", "inline", "--quiet").out)
    assert (ran.code, json.loads(ran.out)) == (0, whole["value"])
    failing = invoke("run", "failing", "--value", "--quiet", "-p", "limit=2", "-p", "symbol=Q")
    assert (failing.code, failing.out) == (1, "null\n")
    both = invoke("run", "risk", "--value", "--json")
    assert (both.code, "--value and --json cannot be used together" in both.err) == (2, True)


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_stdout_of_a_run_is_one_json_document_whatever_tasks_print(
    tmp_path: Path, option: list[str]
) -> None:
    write(
        tmp_path,
        {
            "noisy.py": """
            import mxm, os, subprocess

            @mxm.task
            def shout() -> int:
                print("printed")
                os.write(1, b"written\\n")
                subprocess.run(["echo", "spawned"], check=True)
                return 1

            @mxm.flow
            def noisy():
                return shout
            """
        },
    )
    ran = call("run", "noisy", "--backend", "inline", *option, cwd=tmp_path)
    assert ran.code == 0
    assert json.loads(ran.out)
    for word in ("printed", "written", "spawned"):
        assert word in ran.err


def test_results_keep_non_ascii_text_as_it_is(tmp_path: Path) -> None:
    text = """
        import mxm

        @mxm.task
        def größe() -> str:
            return "Ærø → 東京"

        @mxm.flow
        def städte():
            return größe
        """
    write(tmp_path, {"städte.py": text})
    ran = call("run", "städte", "--backend", "inline", cwd=tmp_path, env={"PYTHONUTF8": "1"})
    assert '"größe": "Ærø → 東京"' in ran.out


def test_number_that_is_not_finite_becomes_null_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        import mxm

        @mxm.task
        def ratios() -> list[float]:
            return [1.0, float("nan"), float("inf")]

        @mxm.flow
        def ratio():
            return ratios
        """
    write(tmp_path, {"ratio.py": text})
    monkeypatch.chdir(tmp_path)
    ran = invoke("run", "ratio", "--backend", "inline", "--quiet")
    assert json.loads(ran.out) == {"ratios": [1.0, None, None]}
    assert ran.err.count("warning") == 1
    assert "'ratios'" in ran.err
    assert "2 NaN or infinite" in ran.err


def test_skipped_task_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
        import mxm
        from mxm.pipeline import Skip

        @mxm.task
        def market() -> int:
            raise Skip("market closed")

        @mxm.task(upstream=market)
        def trade(x: int) -> int:
            return x

        @mxm.flow
        def day():
            return trade
        """
    write(tmp_path, {"day.py": text})
    monkeypatch.chdir(tmp_path)
    ran = invoke("run", "day")
    assert (ran.code, json.loads(ran.out)) == (0, {})
    assert " skipped market: market closed\n" in ran.err
    assert " skipped trade: market was skipped: market closed\n" in ran.err
    assert invoke("run", "day", "--quiet").err == ""


DIFFERING = """
    import mxm

    @mxm.task
    def load() -> list[float]:
        return [1.0]

    @mxm.task(upstream=load)
    def short(prices: list[float], window: int = 20, key: str = "a") -> float:
        return 1.0

    @mxm.task(upstream=load, params={"window": 250})
    def long(prices: list[float], window: int = 60, key: str = "a") -> float:
        return 1.0

    @mxm.task(upstream=load)
    def exact(prices: list[float], window: float, size: int | None = None) -> float:
        return 1.0

    @mxm.flow
    def windows():
        return short, long, exact
    """


def test_defaults_and_types_that_differ_between_tasks_are_all_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"windows.py": DIFFERING})
    monkeypatch.chdir(tmp_path)
    table = invoke("show", "windows").out.partition("\n\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [
        "PARAMETER  TYPE        DEFAULT     FROM",
        "window     int         20          default of short",
        "           int         250         task long",
        "           float       (required)  required by exact",
        "key        str         a           default of short, long",
        "size       int | None  null        default of exact",
    ]
    helped = invoke("run", "windows", "--help").out
    assert helped.count("-p window=") == 1
    assert "250" in helped
    window, key, _ = json.loads(invoke("show", "windows", "--json").out)["params"]
    assert [(d["type"], d["default"], d["tasks"]) for d in window["differing"]] == [
        ("int", 20, ["short"]),
        ("int", 250, ["long"]),
        ("float", None, ["exact"]),
    ]
    assert (window["required"], key["differing"]) == (True, [])


def test_repeats_of_a_task_are_shown_with_the_constants_of_their_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        import mxm

        @mxm.task
        def mean(window: int = 5) -> float:
            return 1.0

        @mxm.flow
        def means():
            return mean(), mean(20), mean(window=50)
        """
    write(tmp_path, {"means.py": text})
    monkeypatch.chdir(tmp_path)
    labels = ["mean", "mean_2(window=20)", "mean_3(window=50)"]
    shown = invoke("show", "means").out.splitlines()
    assert [line.split()[0] for line in shown if line.startswith("mean")][1:] == labels
    drawn = invoke("graph", "means").out.splitlines()
    assert [line[4:] for line in drawn[1:]] == labels
    document = json.loads(invoke("graph", "means", "--json").out)
    assert document["constants"] == {"mean_2": {"window": 20}, "mean_3": {"window": 50}}
    tasks = json.loads(invoke("show", "means", "--json").out)["tasks"]
    assert [task["constants"] for task in tasks] == [{}, {"window": 20}, {"window": 50}]


def test_list_over_several_projects_is_grouped_by_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = "import mxm\n@mxm.task\ndef t(): ...\n@mxm.flow\ndef {}(): return t\n"
    write(
        tmp_path,
        {
            "a/pyproject.toml": "",
            "a/flows.py": flow.format("weekly") + "@mxm.flow\ndef daily(): return t\n",
            "a/sub/more.py": flow.format("same"),
            "b/pyproject.toml": "",
            "b/flows.py": flow.format("same"),
            "own.py": flow.format("own"),
        },
    )
    monkeypatch.chdir(tmp_path)
    listed = invoke("list")
    assert listed.code == 0
    assert [line.rstrip() for line in listed.out.splitlines()] == [
        "NAME                    TASKS  SOURCE",
        "./",
        "  own                   1      own.py:4",
        "a/",
        "  daily                 1      a/flows.py:6",
        "  same (a/sub/more.py)  1      a/sub/more.py:4  INVALID: 1 problem",
        "  weekly                1      a/flows.py:4",
        "b/",
        "  same (b/flows.py)     1      b/flows.py:4     INVALID: 1 problem",
    ]
    flows = json.loads(invoke("list", "--json").out)["flows"]
    assert {flow["name"]: flow["project"] for flow in flows if flow["name"] != "same"} == {
        "own": ".",
        "daily": "a",
        "weekly": "a",
    }
    monkeypatch.chdir(tmp_path / "a")
    assert "a/" not in invoke("list").out


def test_default_whose_own_code_fails_changes_no_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        import mxm

        class Loud:
            def __repr__(self):
                raise SystemExit(0)
            __str__ = __repr__

        @mxm.task(upstream="nowhere")
        def load(rows, loud=Loud()) -> int:
            return 1

        @mxm.flow
        def wrong():
            return load
        """
    write(tmp_path, {"wrong.py": text})
    monkeypatch.chdir(tmp_path)
    for args in (["show", "wrong"], ["show", "wrong", "--json"], ["check"]):
        ran = invoke(*args)
        assert ran.code == 4
        assert "nowhere" in ran.out + ran.err
    assert "<unprintable Loud>" in invoke("show", "wrong").out


WIDE = """
    from mxm.pipeline import FlowSpec, TaskSpec, register_flow

    def first(*, key: int = 1) -> int:
        raise ValueError("no rows")

    def after(*values, key: int = 1) -> int:
        return 1

    tasks = [TaskSpec("t0", first)]
    tasks += [TaskSpec(f"t{i}", after, upstream=["t0"]) for i in range(1, 1_000)]
    tasks += [TaskSpec("all", after, upstream=[f"t{i}" for i in range(1_000)], after=["t0"])]
    register_flow(FlowSpec("wide", tasks))
    register_flow(FlowSpec("long", [TaskSpec("t" * 500, first), TaskSpec("short", first)]))
    """


@pytest.fixture
def wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"wide.py": WIDE})
    monkeypatch.chdir(tmp_path)


def test_task_with_very_many_upstreams_is_shown_in_short(wide: None) -> None:
    lines = invoke("show", "wide").out.splitlines()
    assert max(map(len, lines)) < 120
    assert lines[-1].startswith("all   t0 ... t999; after t0  -  ")
    assert "default of t0 ... t999, all" in lines[3]
    document = json.loads(invoke("show", "wide", "--json").out)
    assert len(document["tasks"][-1]["upstream"]) == 1_000


def test_one_huge_cell_does_not_pad_the_others(wide: None) -> None:
    *_, huge, short = invoke("show", "long").out.splitlines()
    assert len(huge) > 500
    assert short == "short  -      -        wide.py:13"


def test_tasks_skipped_for_another_are_one_line_but_with_v(wide: None) -> None:
    ran = invoke("run", "wide", "--backend", "inline")
    assert (ran.code, ran.err.count(" skipped 1,000: t0 failed\n")) == (1, 1)
    assert ": 1 failed, 1,000 skipped\n" in ran.err
    verbose = invoke("run", "wide", "--backend", "inline", "-v").err
    assert verbose.count(": t0 failed\n") == 1_000


def test_failing_tasks_traceback_starts_in_the_users_file_and_keeps_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        import mxm

        @mxm.task
        def parse() -> int:
            try:
                return int("x")
            except ValueError as error:
                raise RuntimeError("row 3 is no number") from error

        @mxm.flow
        def parsing():
            return parse
        """
    write(tmp_path, {"parsing.py": text})
    monkeypatch.chdir(tmp_path)
    ran = invoke("run", "parsing")
    assert ran.code == 1
    assert "RuntimeError: row 3 is no number" in ran.err
    assert "invalid literal for int()" in ran.err
    for line in ran.err.splitlines():
        if line.startswith('  File "'):
            assert "parsing.py" in line


def test_failing_async_tasks_traceback_starts_in_the_users_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        import asyncio
        import mxm

        @mxm.task
        async def ask() -> int:
            await asyncio.sleep(0)
            raise RuntimeError("no answer")

        @mxm.flow
        def asking():
            return ask
        """
    write(tmp_path, {"asking.py": text})
    monkeypatch.chdir(tmp_path)
    ran = invoke("run", "asking", "--backend", "inline")
    assert ran.code == 1
    told = ran.err.partition("Traceback (most recent call last):\n")[2].splitlines()
    assert told[0].endswith('asking.py", line 7, in ask')
    assert "RuntimeError: no answer" in told
    assert "During handling" not in ran.err


def test_traceback_ends_in_the_users_file_where_a_call_of_ours_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        import mxm
        from mxm.pipeline import get_flow, load_asset, load_run

        @mxm.task
        def asset() -> object:
            return load_asset("nothing")

        @mxm.task
        def run() -> object:
            return load_run("nothing")

        @mxm.task
        def flow() -> object:
            return get_flow("nothing")

        @mxm.flow
        def asking():
            return asset(), run(), flow()
        """
    write(tmp_path, {"asking.py": text})
    monkeypatch.chdir(tmp_path)
    ran = invoke("run", "asking", "--backend", "inline")
    assert ran.code == 1
    places = [line for line in ran.err.splitlines() if line.startswith('  File "')]
    assert [place.rpartition("in ")[2] for place in places] == ["asset", "run", "flow"]


def test_fail_fast_starts_nothing_more(project: Path) -> None:
    params = ("-p", "limit=2", "-p", "symbol=Q", "--backend", "inline", "--quiet")
    assert "load" in json.loads(invoke("run", "failing", *params).out)
    ran = invoke("run", "failing", "--fail-fast", *params)
    states = {"behind", "load"} & set(json.loads(ran.out))
    assert (ran.code, states) == (1, set())


def test_debug_shows_our_own_traceback(project: Path) -> None:
    ran = call("--debug", "show", "nothing", cwd=project)
    assert "UnknownFlowError" in ran.err
    assert "Traceback" in ran.err
    assert "Traceback" not in call("show", "nothing", cwd=project).err


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_reader_that_goes_away_is_no_error(project: Path, unbuffered: str) -> None:
    line = f"'{sys.executable}' '{SCRIPT}' show risk --json | true; exit ${{PIPESTATUS[0]}}"
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    ran = subprocess.run(["bash", "-c", line], env=env, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_signal_cancels_the_run_and_still_prints_what_is_done(
    tmp_path: Path, backend: str, number: int, code: int
) -> None:
    text = """
        import mxm, pathlib, time

        @mxm.task
        def first() -> int:
            return 1

        @mxm.task(after=first)
        def waits() -> None:
            pathlib.Path("began").touch()
            time.sleep(60)

        @mxm.flow
        def waiting():
            return waits
        """
    write(tmp_path, {"waiting.py": text})
    line = [sys.executable, SCRIPT, "run", "waiting", "--backend", backend]
    with subprocess.Popen(
        line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            while not (tmp_path / "began").exists():
                assert process.poll() is None
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.05)
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code
    assert json.loads(out) == {"first": 1}
    assert "the run was cancelled" in err
    assert "Traceback" not in err


def test_sigterm_while_a_module_is_imported_ends_the_command(tmp_path: Path) -> None:
    text = """
        import os, signal, time
        import mxm

        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

        @mxm.flow
        def never(): ...
        """
    write(tmp_path, {"never.py": text})
    ran = call("run", "never", cwd=tmp_path)
    assert (ran.code, ran.out, ran.err) == (143, "", "error: the run was cancelled\n")


def test_threads_give_the_same_results_as_one_after_the_other(project: Path) -> None:
    one = invoke("run", "risk", "--backend", "inline", "-q")
    many = invoke("run", "risk", "--backend", "inline", "-q", "--runner", "threads")
    assert (many.code, many.out) == (0, one.out)


def test_no_colour_where_nobody_looks(project: Path) -> None:
    ran = call("check", cwd=project, env={"FORCE_COLOR": None, "NO_COLOR": None})
    assert ran.code == 4
    assert "\x1b" not in ran.out + ran.err


def test_colour_on_a_terminal_but_not_with_no_color(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pty = pytest.importorskip("pty")

    def seen(env: dict[str, str]) -> bytes:
        main, other = pty.openpty()
        with subprocess.Popen(
            [sys.executable, SCRIPT, "check"],
            stdout=subprocess.DEVNULL,
            stderr=other,
            env={**os.environ, **env},
        ) as process:
            os.close(other)
            text = b""
            try:
                while part := os.read(main, 4096):
                    text += part
            except OSError:  # how Linux says that the other end is closed
                pass
            assert process.wait(60) == 4
        os.close(main)
        return text

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert b"\x1b[31;1merror:" in seen({})
    assert b"\x1b" not in seen({"NO_COLOR": "1"})
