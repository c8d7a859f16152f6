"""Backfills: `run --for`, one run for each partition."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command import SCRIPT, call, invoke, write

from mxm.pipeline.cli.partitions import partitions_of
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.store.history import runs_of

FLOWS = """
    import os
    import time
    from datetime import date
    import mxm
    from mxm.pipeline import AssetDecl

    @mxm.task(produces=AssetDecl("prices", "day", "json", "data/{day}.json"))
    def prices(day: date, bad: str = "") -> dict:
        if bad and str(day) in bad:
            raise ValueError("no prices")
        if os.environ.get("SLOW") == str(day):
            open("slow", "w").close()
            time.sleep(30)
        return {"day": str(day)}

    @mxm.flow
    def daily(day: date, bad: str = ""):
        return prices(day, bad)

    @mxm.task(produces=AssetDecl("n", "n", "json", "n/{n}.json"))
    def n() -> int:
        return 1

    @mxm.flow
    def numbers():
        return n
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MXM_HOME", raising=False)
    write(tmp_path, {"flows.py": FLOWS, "pyproject.toml": "",
                     "days.py": "from datetime import timedelta\n"
                     "def some(first, last):\n    return [last, first]\n"
                     "def more(first, last):\n    return [last + timedelta(1)]\n"})  # fmt: skip
    return tmp_path


@pytest.mark.parametrize(
    ("text", "every", "values"),
    [
        ("day=2026-02-27..2026-03-01", None, ["2026-02-27", "2026-02-28", "2026-03-01"]),
        ("day=2026-01-02..2026-01-06", "weekday", ["2026-01-02", "2026-01-05", "2026-01-06"]),
        ("day=2026-01-02..2026-01-20", "week", ["2026-01-02", "2026-01-09", "2026-01-16"]),
        ("day=2026-01-31..2026-03-31", "month", ["2026-01-31", "2026-02-28", "2026-03-31"]),
        ("day=2026-01-02", None, ["2026-01-02"]),
        ("day=a, b,a,", None, ["a", "b"]),
        ("n=8..11", None, ["8", "9", "10", "11"]),
        ("n=08..11", None, ["08", "09", "10", "11"]),
        ("t=2026-10-25T02..2026-10-25T02[Europe/Berlin]", "hour",
         ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"]),
        ("t=2026-03-29T01:00+01:00..2026-03-29T03[Europe/Berlin]", "hour",
         ["2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00"]),
        ("t=2026-01-02T22..2026-01-03T00", "hour",
         ["2026-01-02T22:00:00", "2026-01-02T23:00:00", "2026-01-03T00:00:00"]),
        ("t=2026-03-29T01..2026-03-29T04[Europe/Berlin]", "hour",
         ["2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"]),
        ("t=2026-03-29T02..2026-03-29T03[Europe/Berlin]", "hour", ["2026-03-29T03:00:00+02:00"]),
        ("t=2026-10-25T02..2026-10-25T03[Europe/Berlin]", "hour",
         ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"]),
    ],
)  # fmt: skip
def test_the_values_of_a_range_and_of_a_list(
    text: str, every: str | None, values: list[str]
) -> None:
    assert partitions_of(text, every) == (text.partition("=")[0], values)


@pytest.mark.parametrize(
    ("days", "hours"),
    [
        ("2026-01-02..2026-01-03", 48),
        ("2026-10-25..2026-10-25[Europe/Berlin]", 25),
        ("2026-03-29..2026-03-29[Europe/Berlin]", 23),
    ],
)
def test_the_hours_of_days_are_those_of_the_last_day_too(days: str, hours: int) -> None:
    assert len(partitions_of(f"t={days}", "hour")[1]) == hours


@pytest.mark.parametrize(
    ("text", "every", "said"),
    [
        ("day", None, "--for needs NAME=VALUES"),
        ("day=", None, "--for needs NAME=VALUES"),
        ("day=2026-01-02..2026-01-01", None, "it contains no values"),
        ("day=2026-01-02..tuesday", None, "'tuesday' is not a day"),
        ("day=2026-01-02..2026-01-05", "weekdays", "unknown 'weekdays'"),
        ("day=a,b", "day", "--every needs a range"),
        ("day=@none.txt", None, "none.txt cannot be read"),
        ("day=2026-01-02..2026-01-05", "no_such:function", "ModuleNotFoundError"),
        ("t=2026-01-02T00..2026-01-02T05[Mars/X]", "hour", "unknown time zone"),
        ("day=20260131..20260201", None, "may be days or numbers"),
    ],
)
def test_a_range_that_cannot_be_read_is_an_error(text: str, every: str | None, said: str) -> None:
    with pytest.raises(PipelineError, match=said):
        partitions_of(text, every)


def backfill(*args: str, code: int = 0) -> tuple[list[tuple[str, str]], str]:
    done = invoke("run", *args, "--backend", "inline")
    assert done.code == code, done.err
    document = json.loads(done.out)
    assert document["schema"] == "mxm.backfill/1"
    return [(row["partition"], row["state"]) for row in document["runs"]], done.err


def test_each_partition_is_a_run(project: Path) -> None:
    rows, said = backfill("daily", "--for", "day=2026-01-02..2026-01-05")
    assert rows == [(f"2026-01-0{n}", "succeeded") for n in (2, 3, 4, 5)]
    assert "4 of 4 partitions succeeded" in said
    assert "2/4  day=2026-01-03  succeeded" in said
    assert len(runs_of("daily")) == 4
    assert json.loads((project / "data/2026-01-04.json").read_text()) == {"day": "2026-01-04"}


def test_a_partition_key_that_no_function_takes_is_filled(project: Path) -> None:
    rows, _ = backfill("numbers", "--for", "n=1..3")
    assert [name for name, _ in rows] == ["1", "2", "3"]
    assert (project / "n/3.json").exists()


def test_an_unknown_name_is_reported_with_the_nearest(project: Path) -> None:
    done = invoke("run", "daily", "--for", "dya=2026-01-02")
    assert (done.code, "did you mean 'day'?" in done.err) == (2, True)


def test_partitions_are_given_once(project: Path) -> None:
    done = invoke("run", "daily", "--for", "day=2026-01-02", "--for=day=2026-01-05")
    assert (done.code, done.out) == (2, "")
    assert "--for is given more than once" in done.err


def test_a_failed_partition_stops_no_other_and_the_command_to_repeat_it_is_printed(
    project: Path,
) -> None:
    rows, said = backfill(
        "daily", "-p", "bad=2026-01-03", "--for", "day=2026-01-02..2026-01-04", code=1
    )
    assert [state for _, state in rows] == ["succeeded", "failed", "succeeded"]
    assert "prices: ValueError: no prices" in said
    assert (
        "failed: mxm-pipeline run daily -p bad=2026-01-03 --backend inline --for day=2026-01-03"
        in said
    )


@pytest.mark.parametrize("why", ["skip", "upstream", "allowed", "rule", "items", "no asset"])
def test_a_partition_of_which_nothing_was_made_did_not_succeed(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MXM_HOME", raising=False)
    asset = "produces=AssetDecl('a', 'day', 'json', 'data/{day}.json')"
    body = {
        "skip": (asset, "made(day)"),
        "upstream": (asset, "made(opened(day))"),
        "allowed": (f"{asset}, allow_failure=True", "made(day)"),
        "rule": (f"{asset}, after=note, run_if='failed'", "[note(day), made(day)]"),
        "items": (asset.replace("{day}", "{day}/{name}"), "made.map([day])"),
        "no asset": ("", "made(day)"),
    }[why]
    write(tmp_path, {"pyproject.toml": "", "flows.py": f"""
        import mxm
        from mxm.pipeline import AssetDecl, Skip

        @mxm.task
        def other(day: str): return day

        @mxm.task
        def note(day: str):
            if day != "b": raise ValueError("not b")

        @mxm.task
        def opened(day: str):
            if day == "b": raise Skip("market closed")
            return day

        @mxm.task({body[0]})
        def made(day: str, name: str = "x"):
            if day == "b": raise {"ValueError" if why == "allowed" else "Skip"}("market closed")
            return 1

        @mxm.flow
        def f(day: str):
            {"other(day)" if why != "no asset" else "pass"}
            return {body[1]}
    """})  # fmt: skip
    failing = why == "rule"
    done = invoke("run", "f", "--backend", "inline", "--for", "day=a,b,c")
    assert done.code == int(failing), done.err
    rows = json.loads(done.out)["runs"]
    other = "failed" if failing else "succeeded"
    assert [row["state"] for row in rows] == [other, "skipped", other]
    assert rows[1]["reason"].startswith("made: ")
    assert "day=b  skipped" in done.err
    assert ("0 of 3" if failing else "2 of 3") + " partitions succeeded, 1 skipped" in done.err
    assert "day=b" not in done.err.partition("failed: mxm-pipeline")[2]


def test_a_value_that_does_not_fit_fails_its_partition(project: Path) -> None:
    rows, _ = backfill("daily", "--for", "day=2026-01-02,monday", code=1)
    assert rows == [("2026-01-02", "succeeded"), ("monday", "failed")]


def test_only_missing_partitions_run(project: Path) -> None:
    backfill("daily", "--for", "day=2026-01-03")
    rows, said = backfill("daily", "--for", "day=2026-01-02..2026-01-04", "--missing-only")
    assert [name for name, _ in rows] == ["2026-01-02", "2026-01-04"]
    assert "1 passed over" in said
    (project / "data/2026-01-03.json").unlink()
    rows, _ = backfill("daily", "--for", "day=2026-01-02..2026-01-04", "--missing-only")
    assert [name for name, _ in rows] == ["2026-01-03"]


SYMBOLS = """
    from datetime import datetime
    import mxm
    from mxm.pipeline import AssetDecl

    @mxm.task(produces=AssetDecl("bars", "at", "json", "{symbol}/{at:%d-%H}.json"))
    def bars(symbol: str, at: datetime) -> list[str]:
        return [symbol]

    @mxm.flow
    def one(at: datetime, symbol: str = "SPY"):
        return bars(symbol, at)

    @mxm.flow
    def all(at: datetime):
        return bars.map(["SPY", "QQQ"], at=at)
"""


def test_a_partition_is_there_when_its_files_for_these_parameters_are(project: Path) -> None:
    write(project, {"flows.py": SYMBOLS})
    hours = ("--for", "at=2026-01-02T01..2026-01-02T02", "--missing-only")
    assert len(backfill("one", *hours)[0]) == 2
    assert backfill("one", *hours)[0] == []  # however the time is written
    assert len(backfill("one", *hours, "-p", "symbol=QQQ")[0]) == 2  # SPY's are others
    assert backfill("all", *hours)[0] == []
    (project / "QQQ/02-01.json").unlink()
    assert backfill("all", *hours)[0] == [("2026-01-02T01:00:00", "succeeded")]


def test_what_would_be_read_otherwise_in_the_printed_command_is_refused(project: Path) -> None:
    (project / "list.txt").write_text("a,b\n")
    with pytest.raises(PipelineError, match="has the line 'a,b'"):
        partitions_of("day=@list.txt", None)


def test_partitions_that_did_not_run_are_a_failure(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mxm.pipeline.cli.backfill._START", "raise SystemExit(9)")
    done = invoke("run", "daily", "--jobs", "2", "--for", "day=2026-01-02,2026-01-05")
    assert (done.code, json.loads(done.out)["runs"]) == (1, [])
    assert "not done: mxm-pipeline run daily --for day=2026-01-02,2026-01-05" in done.err


def test_only_stale_partitions_run(project: Path) -> None:
    backfill("daily", "--for", "day=2026-01-02..2026-01-03")
    assert backfill("daily", "--for", "day=2026-01-02..2026-01-03", "--stale-only")[0] == []
    (project / "data/2026-01-03.json").write_text("{}")
    rows, _ = backfill("daily", "--for", "day=2026-01-02..2026-01-04", "--stale-only")
    assert [name for name, _ in rows] == ["2026-01-03", "2026-01-04"]


def test_a_calendar_of_the_user_gives_the_days(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(project)
    rows, _ = backfill("daily", "--for", "day=2026-01-02..2026-03-31", "--every", "days:some")
    assert [name for name, _ in rows] == ["2026-01-02", "2026-03-31"]
    with pytest.raises(PipelineError, match="it returned 2026-02-01, which is not from"):
        partitions_of("day=2026-01-02..2026-01-31", "days:more")


def test_a_file_names_the_partitions(project: Path) -> None:
    (project / "list.txt").write_text("# those that failed\n2026-01-02\n\n2026-01-05\n")
    rows, _ = backfill("daily", "--for", "day=@list.txt")
    assert [name for name, _ in rows] == ["2026-01-02", "2026-01-05"]


def test_processes_share_the_partitions(project: Path) -> None:
    done = call("run", "daily", "--backend", "inline", "--jobs", "2", "-p", "bad=2026-01-03",
                "--for", "day=2026-01-02..2026-01-05", cwd=project)  # fmt: skip
    rows = json.loads(done.out)["runs"]
    assert [(row["partition"], row["state"]) for row in rows] == [
        ("2026-01-02", "succeeded"), ("2026-01-03", "failed"),
        ("2026-01-04", "succeeded"), ("2026-01-05", "succeeded"),
    ]  # fmt: skip
    assert done.code == 1
    assert "--for day=2026-01-03" in done.err


def test_options_of_a_backfill_need_partitions(project: Path) -> None:
    for words in (["--missing-only"], ["--stale-only"], ["--jobs", "2"], ["--every", "day"]):
        done = invoke("run", "daily", *words)
        assert (done.code, "need --for" in done.err) == (2, True)
    assert invoke("run", "daily", "--for", "day=2026-01-02", "--value").code == 2


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_signal_prints_what_ended_and_the_command_for_the_rest(project: Path, jobs: str) -> None:
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "run", "daily", "--backend", "inline", "--jobs", jobs,
         "--for", "day=2026-01-02..2026-01-05"],
        cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "SLOW": "2026-01-04"},
    )  # fmt: skip
    while not (project / "slow").exists():  # the others of its process have ended by then
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    states = {row["partition"]: row["state"] for row in json.loads(out)["runs"]}
    assert states["2026-01-02"] == "succeeded"
    assert states["2026-01-04"] == "cancelled"
    [line] = [line for line in err.splitlines() if line.startswith("not done: mxm-pipeline run")][
        -1:
    ]
    assert "2026-01-04" in line
    assert "2026-01-02" not in line


def test_runs_that_write_one_file_are_warned_of(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MXM_HOME", raising=False)
    text = """
        import mxm
        from mxm.pipeline import AssetDecl

        @mxm.task(produces=AssetDecl("prices", format="json", path_template="prices.json"))
        def save(n: int) -> int:
            return n

        @mxm.flow
        def daily(n: int):
            return save(n)
        """
    write(tmp_path, {"flows.py": text})
    ran = invoke("run", "daily", "--for", "n=1..2", "--backend", "inline")
    assert ran.code == 0
    assert "each run writes asset 'prices' to the same file, prices.json" in ran.err
    shown = invoke("assets", "path", "prices", "--partition", "1")
    assert shown.err == (
        "error: nothing is recorded of partition '1' of asset 'prices'\n"
        "  hint: it has no partitions\n"
    )


def test_the_command_that_was_typed_is_not_its_own_hint(project: Path) -> None:
    ran = invoke("run", "daily", "--for")
    assert "requires an argument" in ran.err
    assert "hint" not in ran.err
