"""Schedules: what five fields mean, when they come, and what cron and systemd get."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from command import call, invoke, write
from hypothesis import given, settings
from hypothesis import strategies as st

from mxm.pipeline import FlowSpec, TaskSpec
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.specdict import flow_from_dict, flow_to_dict
from mxm.pipeline.timing.cron import CronError, parse_cron
from mxm.pipeline.timing.zones import alike, local_zone, zone_named

LONDON, NEW_YORK = zone_named("Europe/London"), zone_named("America/New_York")


def times(text: str, after: datetime, count: int = 3, zone: Any = LONDON) -> list[str]:
    return [t.isoformat() for t in parse_cron(text).next_times(zone, after, count)]


def test_a_working_day_at_six() -> None:
    friday = datetime(2026, 11, 27, 18, tzinfo=UTC)
    assert times("0 18 * * 1-5", friday) == [
        "2026-11-30T18:00:00+00:00",
        "2026-12-01T18:00:00+00:00",
        "2026-12-02T18:00:00+00:00",
    ]


def test_a_local_time_stays_when_the_clock_changes() -> None:
    before = datetime(2026, 3, 27, 19, tzinfo=UTC)
    assert times("0 18 * * *", before) == [
        "2026-03-28T18:00:00+00:00",
        "2026-03-29T18:00:00+01:00",
        "2026-03-30T18:00:00+01:00",
    ]


def test_a_time_that_the_clock_leaves_out_comes_later_once() -> None:
    before = datetime(2026, 3, 7, 12, tzinfo=UTC)
    assert times("30 2 * * *", before, 2, NEW_YORK) == [
        "2026-03-08T03:30:00-04:00",
        "2026-03-09T02:30:00-04:00",
    ]
    assert times("0,30 2,3 * * *", before, 3, NEW_YORK) == [
        "2026-03-08T03:00:00-04:00",
        "2026-03-08T03:30:00-04:00",
        "2026-03-09T02:00:00-04:00",
    ]


def test_a_time_that_the_clock_shows_twice_comes_the_first_time() -> None:
    before = datetime(2026, 10, 31, 12, tzinfo=UTC)
    assert times("30 1 * * *", before, 2, NEW_YORK) == [
        "2026-11-01T01:30:00-04:00",
        "2026-11-02T01:30:00-05:00",
    ]


def test_a_jump_over_a_whole_day_loses_and_doubles_nothing() -> None:
    apia = zone_named("Pacific/Apia")  # which had no 30 December 2011
    before = datetime(2011, 12, 30, 5, tzinfo=UTC)  # 19:00 on the 29th
    assert times("0 18 * * *", before, 2, apia) == [
        "2011-12-31T18:00:00+14:00",
        "2012-01-01T18:00:00+14:00",
    ]


@pytest.mark.parametrize(
    ("text", "count"),
    [("0 0 29 2 *", 9), ("0 0 31 1,3 *", 20), ("*/15 * * * *", 200), ("59 23 31 12 *", 12)],
)
def test_rare_and_frequent_times_come_in_order_and_later_than_asked(text: str, count: int) -> None:
    after = datetime(2096, 2, 29, 0, 0, 30, tzinfo=UTC)
    found = parse_cron(text).next_times(LONDON, after, count)
    assert len(found) == count
    assert found == sorted(set(found))
    assert found[0] > after


def test_a_day_named_twice_fits_either() -> None:
    found = times("0 9 13 * fri", datetime(2026, 11, 1, tzinfo=UTC), 3)
    assert [text[:10] for text in found] == ["2026-11-06", "2026-11-13", "2026-11-20"]
    assert times("0 9 13 * fri", datetime(2026, 12, 11, 12, tzinfo=UTC), 1)[0][:10] == "2026-12-13"


NAMED = st.sampled_from(["mon", "TUE", "Sun"])


def field(least: int, most: int) -> st.SearchStrategy[str]:
    value = st.integers(least, most)
    span = st.tuples(value, value).map(sorted)
    ranged = span.map(lambda ends: f"{ends[0]}-{ends[1]}")
    stepped = st.tuples(st.just("*") | ranged, st.integers(1, 12)).map(lambda p: f"{p[0]}/{p[1]}")
    one = value.map(str) | ranged | stepped
    return st.just("*") | st.lists(one, min_size=1, max_size=3).map(",".join)


EXPRESSIONS = st.tuples(
    field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7) | NAMED
).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(EXPRESSIONS, st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)))
def test_what_is_accepted_comes_when_prefects_croniter_says(text: str, after: datetime) -> None:
    croniter: Any = pytest.importorskip("prefect._vendor.croniter").croniter
    try:
        cron = parse_cron(text)
    except CronError:
        return
    theirs = croniter(text, after)
    expected = [theirs.get_next(datetime) for _ in range(3)]
    found = cron.next_times(UTC, after.replace(tzinfo=UTC), 3)
    assert [t.replace(tzinfo=None) for t in found] == expected


WRONG: dict[str, tuple[str, str]] = {
    "": ("MXM930", "five fields"),
    "0 18 * *": ("MXM930", "4 fields"),
    "0 0 18 * * 1-5": ("MXM930", "'0 18 * * 1-5'"),
    "@daily": ("MXM930", "'0 0 * * *'"),
    "@reboot": ("MXM930", "five fields, as in"),
    "60 * * * *": ("MXM930", "0 to 59"),
    "0 24 * * *": ("MXM930", "0 to 23"),
    "0 0 0 * *": ("MXM930", "1 to 31"),
    "0 0 1 13 *": ("MXM930", "1 to 12"),
    "0 0 * * 8": ("MXM930", "0 to 7"),
    "0 0 * * monday": ("MXM930", "write mon"),
    "0 0 * * fri-mon": ("MXM930", "fri,sat,sun,mon"),
    "0 22-3 * * *": ("MXM930", "22-23,0-3"),
    "5-5 * * * *": ("MXM930", "write 5"),
    "*/0 * * * *": ("MXM930", "at least 1"),
    "*/90 * * * *": ("MXM930", "leaves only 0"),
    "5/15 * * * *": ("MXM930", "5-59/15"),
    "0 0 L * *": ("MXM930", "no L"),
    "0 0 * * 5#3": ("MXM930", "no L"),
    "H * * * *": ("MXM930", "no L"),
    "-1 * * * *": ("MXM930", "the minute is '-1'"),
    "1, * * * *": ("MXM930", "the minute is ''"),
    "\u0661 * * * *": ("MXM930", "the minute"),
    "0 0 30 2 *": ("MXM932", "never runs"),
    "0 0 31 4,6 *": ("MXM932", "never runs"),
    "0 0 */2 * 1": ("MXM933", "leave one of the two"),
    "0 0 1 * */2": ("MXM933", "leave one of the two"),
    "0 0 1-31 * 1": ("MXM933", "leave one of the two"),
    "0 0 1 * 0-6": ("MXM933", "leave one of the two"),
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_schedule_is_a_problem_that_says_what_to_write(text: str) -> None:
    code, said = WRONG[text]
    with pytest.raises(CronError) as caught:
        parse_cron(text)
    assert caught.value.code == code
    assert said in str(caught.value)
    spec = FlowSpec("f", [TaskSpec("a", lambda: 1)], schedule_cron=text)
    assert [(p.code, p.severity) for p in find_problems(spec)] == [(code, "error")]


ZONES: dict[Any, str] = {
    "London": "Europe/London",
    "europe/london": "Europe/London",
    "New York": "America/New_York",
    "ET": "America/New_York",
    "BST": "Europe/London",
    "Europe/Lodnon": "Europe/London",
    "right/Europe/London": "Europe/London",
    "": "IANA name",
    "../etc/passwd": "IANA name",
    "localtime": "",
    "Mars/Phobos": "IANA name",
    5: "IANA name",
}


@pytest.mark.parametrize("name", ZONES)
def test_an_unknown_zone_names_the_one_that_is_meant(name: Any) -> None:
    with pytest.raises(PipelineError) as caught:
        zone_named(name)
    assert ZONES[name] in (caught.value.hint or "")
    spec = FlowSpec("f", [TaskSpec("a", lambda: 1)], timezone=name)
    assert [p.code for p in find_problems(spec)] == ["MXM931"]


@pytest.mark.parametrize("name", ["EST", "MST", "Etc/GMT+5", "Etc/GMT-10", "GMT+5"])
def test_a_zone_that_may_not_be_meant_is_a_warning(name: str) -> None:
    spec = FlowSpec("f", [TaskSpec("a", lambda: 1)], timezone=name)
    expected = "MXM931" if name == "GMT+5" else "MXM934"  # it is not a zone at all
    assert [p.code for p in find_problems(spec)] == [expected]


@pytest.mark.parametrize("name", ["UTC", "GMT", "Etc/GMT", "Etc/GMT+0", "Japan", "EST5EDT"])
def test_a_plain_zone_is_none(name: str) -> None:
    assert find_problems(FlowSpec("f", [TaskSpec("a", lambda: 1)], timezone=name)) == []


@pytest.mark.parametrize(
    ("setting", "name"),
    [("Europe/London", "Europe/London"), (":Asia/Tokyo", "Asia/Tokyo"), ("", "UTC"), ("X5Y", None)],
)
def test_the_zone_of_the_machine(
    setting: str, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", setting)
    assert local_zone() == name


def test_zones_whose_clocks_agree() -> None:
    assert alike("Europe/Paris", "Europe/Berlin")
    assert not alike("UTC", "Europe/London")  # which agree half of the year


def test_the_dict_form_keeps_schedule_and_zone() -> None:
    spec = FlowSpec("f", schedule_cron="0 18 * * *", timezone="Europe/London")
    back = flow_from_dict(json.loads(json.dumps(flow_to_dict(spec))))
    assert (back.schedule_cron, back.timezone) == ("0 18 * * *", "Europe/London")


FLOWS = """
import mxm

@mxm.task
def load(symbol: str) -> int:
    return len(symbol)

@mxm.flow(schedule_cron="0 18 * * 1-5", timezone="Europe/London")
def prices(symbol: str = "SPY") -> int:
    return load(symbol)

@mxm.flow(schedule_cron="0,30 9 13 * fri", timezone="UTC", name="50% $a b")
def odd(symbol: str = "SPY") -> int:
    return load(symbol)

@mxm.flow
def by_hand(symbol: str = "SPY") -> int:
    return load(symbol)

@mxm.flow(schedule_cron="0 1 * * *")
def needy(symbol: str) -> int:
    return load(symbol)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a 100% project"
    write(folder, {"flows.py": FLOWS})
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TZ", "Europe/London")
    return folder


def test_schedule_lists_zones_and_next_times(project: Path) -> None:
    ran = invoke("schedule")
    assert ran.code == 0, ran.err
    rows = {line.split("  ")[0]: line for line in ran.out.splitlines()[1:]}
    assert rows.keys() == {"prices", "50% $a b", "needy"}
    assert " Europe/London  " in rows["prices"]
    assert "Europe/London (this machine's)" in rows["needy"]
    document = json.loads(invoke("schedule", "prices", "--json").out)
    [flow] = document["flows"]
    assert (document["schema"], flow["timezone"]) == ("mxm.schedule/1", "Europe/London")
    shown = json.loads(invoke("show", "prices", "--json").out)
    assert shown["next_runs"] == flow["next_runs"]
    assert len({datetime.fromisoformat(time) for time in flow["next_runs"]}) == 5


def test_show_prints_the_next_five_times(project: Path) -> None:
    lines = invoke("show", "prices").out.split("\n\n")[1].splitlines()
    assert lines[0] == "schedule: 0 18 * * 1-5 in Europe/London"
    assert [line[-9:-4] for line in lines[1:]] == 5 * ["18:00"]


def test_crons_lines_are_for_a_machine_of_the_same_clock(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = invoke("schedule", "prices", "--format", "cron")
    assert ran.code == 0, ran.err
    head, line = ran.out.splitlines()
    assert head.endswith("for a machine whose zone is Europe/London")
    assert line.startswith("0 18 * * 1-5 cd '")
    assert "a 100\\% project' && " in line
    assert line.endswith(" run prices --quiet > /dev/null")
    monkeypatch.setenv("TZ", "UTC")
    ran = invoke("schedule", "prices", "--format", "cron")
    assert (ran.code, ran.out) == (2, "")
    assert "scheduled in Europe/London, and cron here reads times in UTC" in ran.err
    ran = invoke("schedule", "prices", "--format", "cron", "--cron-tz")
    assert "CRON_TZ=Europe/London" in ran.out.splitlines()


def test_crons_line_runs_the_flow(project: Path) -> None:
    line = invoke("schedule", "prices", "--format", "cron").out.splitlines()[1]
    command = line.split(" ", 5)[5].replace("\\%", "%")  # as cron passes it to the shell
    shell = {"PATH": "/usr/bin:/bin", "HOME": str(project.parent)}
    shell |= {k: v for k, v in os.environ.items() if k.startswith(("PYTHON", "MXM_"))}
    ran = subprocess.run(command, shell=True, cwd="/", env=shell, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    assert json.loads(call("runs", "--json", cwd=project).out)["runs"][0]["flow"] == "prices"


def test_systemds_units(project: Path) -> None:
    ran = invoke("schedule", "50% $a b", "--format", "systemd")
    assert ran.code == 0, ran.err
    service, timer = ran.out.split("# mxm-50\\x25\\x20\\x24a\\x20b.timer\n")
    assert service.startswith("# mxm-50\\x25\\x20\\x24a\\x20b.service\n")
    assert f"WorkingDirectory={project.parent}/a 100%% project\n" in service
    assert ' run "50%% $$a b" --quiet\n' in service
    calendar = [line for line in timer.splitlines() if line.startswith("OnCalendar=")]
    assert calendar == [
        "OnCalendar=Fri *-*-* 09:00,30:00 UTC",
        "OnCalendar=*-*-13 09:00,30:00 UTC",
    ]


def test_units_are_written_where_they_are_wanted(project: Path) -> None:
    ran = invoke("schedule", "prices", "--format", "systemd", "--out", "units")
    assert ran.code == 0, ran.err
    assert sorted(os.listdir(project / "units")) == ["mxm-prices.service", "mxm-prices.timer"]
    timer = (project / "units" / "mxm-prices.timer").read_text("utf-8")
    assert "OnCalendar=Mon,Tue,Wed,Thu,Fri *-*-* 18:00:00 Europe/London\n" in timer


REFUSED: dict[str, tuple[list[str], str]] = {
    "a format": (["--format", "crn"], "did you mean 'cron'"),
    "no schedule": (["by_hand"], "has no schedule"),
    "a parameter without a value": (["needy", "--format", "cron"], "needs 'symbol'"),
    "a folder for cron": (["--format", "cron", "--out", "x"], "crontab -e"),
    "CRON_TZ for systemd": (["--format", "systemd", "--cron-tz"], "is for --format cron"),
    "an unknown flow": (["prics"], "did you mean 'prices'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_handed_over_is_refused(case: str, project: Path) -> None:
    arguments, said = REFUSED[case]
    ran = invoke("schedule", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_a_line_that_is_too_long_for_cron_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = project.joinpath(*4 * ["x" * 240])
    write(deep, {"flows.py": FLOWS})
    monkeypatch.chdir(deep)
    ran = invoke("schedule", "prices", "--format", "cron")
    assert ran.code == 2
    assert "cron takes 998" in ran.err


def test_a_wrong_schedule_is_listed_with_all_other_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"flows.py": FLOWS.replace('"0 18 * * 1-5", timezone="Europe/London"',
                                               '"0 18 * *", timezone="London"')})  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for verb in ("check", "show", "schedule"):
        ran = invoke(verb, "prices")
        assert ran.code == 4, verb
        assert "MXM930" in ran.err
        assert "MXM931" in ran.err
    assert "schedule: 0 18 * *\n" in invoke("show", "prices").out
    assert json.loads(invoke("show", "prices", "--json").out)["next_runs"] == []


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    EXPRESSIONS,
    st.sampled_from(["Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)),
)
def test_a_server_of_prefect_has_the_same_times(text: str, zone: str, after: datetime) -> None:
    from prefect.server.schemas.schedules import CronSchedule

    try:
        cron = parse_cron(text)
    except CronError:
        return
    start = after.replace(tzinfo=UTC, microsecond=0)
    theirs = CronSchedule(cron=text, timezone=zone)
    expected = list(theirs._get_dates_generator(n=4, start=start + timedelta(seconds=1)))
    assert cron.next_times(zone_named(zone), start, 4) == sorted(expected)
