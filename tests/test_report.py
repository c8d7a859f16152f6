"""Reports of runs: what happened is there, complete, in order, as text, and without secrets."""

from __future__ import annotations

import html
import json
import os
import re
import stat
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from command import call, invoke, write
from pydantic import SecretStr
from records import HOSTILE, document, hostile, moment, task

from mxm.pipeline import load_run, runs_of, views
from mxm.pipeline.api import compile_flow
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.spec import AssetDecl, FlowSpec, TaskSpec
from mxm.pipeline.store.database import Database
from mxm.pipeline.views.bound import Span, bound_of
from mxm.pipeline.views.report import draw_report
from mxm.pipeline.views.reported import report_of, report_of_document
from mxm.pipeline.views.times import clock, lasted
from mxm.pipeline.views.trace import draw_trace

BOOK = """
import mxm
from pydantic import SecretStr
from records import HOSTILE, document, hostile, moment, task


@mxm.task
def symbols(token: SecretStr) -> list[str]:
    '''Members of the index.'''
    print("logged in with", token.get_secret_value())
    return ["SAP", "ASML", "BAD"]


calls = []


@mxm.task(retries=2)
def load(names: list[str]) -> dict[str, float]:
    calls.append(names)
    if len(calls) == 1:
        raise TimeoutError("no answer <b>within</b> 5 s")
    return {name: 1.5 for name in names}


@mxm.task(on_item_error="skip")
def gain(symbol: str) -> float:
    if symbol == "BAD":
        raise ValueError(f"no price of {symbol}")
    return float(len(symbol))


@mxm.task
def total(prices: dict[str, float], window: int) -> float:
    if window == 13:
        raise ValueError("no window of 13")
    return sum(prices.values())


@mxm.task
def send(x: float) -> None:
    '''Send it to the desk.'''


@mxm.flow
def book(window: int = 20, token: SecretStr = SecretStr("vendor-token")):
    '''Risk of the book.'''
    names = symbols(token)
    send(total(load(names), window))
    return gain.map(names)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MXM_HOME")
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"pyproject.toml": "", "flows.py": BOOK})
    return tmp_path


def run(*args: str, code: int = 0) -> str:
    ran = invoke("run", "book", "--backend", "inline", *args)
    assert ran.code == code, ran.err
    return ran.err


def report(*args: str) -> str:
    made = invoke("report", "--out", "report.html", *args)
    assert made.code == 0, made.err
    return Path("report.html").read_text(encoding="utf-8")


def text_of(page: str) -> str:
    return html.unescape(re.sub(r"(?s)<style>.*?</style>|<script>.*?</script>|<[^>]*>", " ", page))


def panel_of(page: str, task: str) -> str:
    [panel] = re.findall(f'(?s)<template id="d-{re.escape(task)}">(.*?)</template>', page)
    # The script puts names into links.
    panel = re.sub(r'<a class="ref" href="#([^"]*)"></a>', r"\1 ", panel)
    return " ".join(text_of(panel).split())


def row_of(page: str, task: str) -> str:
    [row] = re.findall(f'(?s)<tr id="r-{re.escape(task)}".*?</tr>', page)
    return str(row)


def states_of(page: str) -> dict[str, str]:
    return dict(re.findall(r'<tr id="r-([^"]*)" class="s-([^"]*)"', page))


# --- assets ---------------------------------------------------------------------------------


def asset_of(**fields: Any) -> dict[str, Any]:
    return {"id": "prices/daily", "partition": None, "checks": [], **fields}


def assets_of(page: str) -> list[list[str]]:
    table = page.partition('id=":assets"')[2].partition("</table>")[0]
    rows = re.findall("(?s)<tr>(.*?)</tr>", table)[1:]
    cells = [re.findall("(?s)<td[^>]*>(.*?)</td>", row) for row in rows]
    return [[" ".join(text_of(cell).split()) for cell in row] for row in cells]


def test_assets_are_listed_with_shape_size_and_state_also_those_not_written() -> None:
    good = {"name": "not_empty", "severity": "block", "passed": True, "message": None}
    bad = {"name": "<few>", "severity": "warn", "passed": False, "message": "only 2 of <3>"}
    written = asset_of(
        partition="day:2026-11-27", path="data/<p>.parquet", format="parquet", size=4_800_123,
        rows=1250, columns={"a": "int64", "b": "float64"}, checks=[good, bad],
        upstream=["vendor/raw"],
    )  # fmt: skip
    made = [
        task("load", asset="prices/daily", start=0, end=1),
        task("same", "cached", asset="prices/daily"),
        task("lost", "skipped", asset="risk/daily"),
    ]
    made[0]["asset"], made[1]["asset"] = written, asset_of(size=512)
    page = draw_report(report_of_document(document(*made)))
    checked = "written; check failed: <few>"
    assert assets_of(page) == [
        ["prices/daily", "day:2026-11-27", "load", "1,250 × 2", "4.8 MB", checked],
        ["prices/daily", "", "same", "", "512 B", "written by an earlier run"],
        ["risk/daily", "", "lost", "", "", "not written: task skipped"],
    ]
    panel = panel_of(page, "load")
    assert "path data/<p>.parquet size 4.8 MB rows 1,250 × 2 format parquet" in panel
    assert "made from vendor/raw" in panel
    assert panel.index("<few> failed only 2 of <3>") < panel.index("not_empty passed")


def test_each_item_of_a_mapped_task_has_its_asset() -> None:
    def row(number: int, state: str = "succeeded") -> dict[str, Any]:
        item = {"key": f"S{number}", "state": state, "attempts": 1, "seconds": 1.0}
        item |= {"value": None, "error": None, "reason": None}
        found = {"asset": asset_of(partition=f"symbol:S{number}", size=1000)}
        return item | (found if state == "succeeded" else {})

    rows = [row(0), row(1, "failed"), *map(row, range(2, 60))]
    items = {"over": "names", "count": {"succeeded": 1_999, "failed": 1}, "rows": rows}
    made = task("load", asset="prices/daily", items=items, mapped=True)
    page = draw_report(report_of_document(document(made)))
    listed = assets_of(page)
    assert [row[2] for row in listed[:50]] == [f"load S{i}" for i in range(50)]
    assert listed[0][1] == "symbol:S0"
    assert listed[1][5] == "not written: item failed"
    assert listed[50][2] == "and 1,950 more items"
    assert "written for 59 listed items" in panel_of(page, "load")


def test_what_a_check_refused_is_not_said_to_be_written() -> None:
    bad = {"name": "few", "severity": "block", "passed": False, "message": "only 2"}
    refused = asset_of(checks=[bad])
    whole = task("whole", "failed", asset="prices/daily", error="AssetCheckError: few")
    whole["asset"] = refused
    rows = [
        {"key": key, "state": state, "attempts": 1, "seconds": 1.0, "value": None,
         "error": "E: x\n  hint: y", "reason": None, "asset": asset}
        for key, state, asset in (("A", "failed", refused), ("B", "succeeded", asset_of(size=9)))
    ]  # fmt: skip
    items = {"over": "names", "count": {"failed": 1, "succeeded": 1}, "rows": rows}
    mapped = task("mapped", asset="prices/symbol", items=items, mapped=True)
    page = draw_report(report_of_document(document(whole, mapped)))
    states = {row[2]: row[5] for row in assets_of(page)}
    assert states == {
        "whole": "not written: task failed; check failed: few",
        "mapped A": "not written: item failed; check failed: few",
        "mapped B": "written",
    }
    assert "not written" in panel_of(page, "whole")
    assert "few failed only 2" in panel_of(page, "whole")
    assert "written for 1 listed item" in panel_of(page, "mapped")
    assert "1 of 2 failed</text>" in page  # not by the colour of the bar alone
    assert "2, 1 failed" in text_of(row_of(page, "mapped"))
    assert "Value A failed 1.0 s E: x B succeeded" in panel_of(page, "mapped")


def test_items_that_failed_come_first_whatever_the_others_are() -> None:
    def row(key: str, state: str, attempts: int = 1) -> dict[str, Any]:
        item = {"key": key, "state": state, "attempts": attempts, "seconds": 1.0}
        return {**item, "value": 1, "error": None, "reason": None}

    rows = [row(f"c{i}", "cached") for i in range(250)]
    rows += [row("late", "skipped"), row("bad", "failed", 3), row("again", "succeeded", 2)]
    items = {"over": "names", "count": {"cached": 250, "failed": 1, "skipped": 1}, "rows": rows}
    page = draw_report(report_of_document(document(task("load", items=items, mapped=True))))
    panel = panel_of(page, "load")
    assert "Value bad ×3 failed" in panel
    assert panel.index("bad ×3") < panel.index("late skipped") < panel.index("c0 cached")


CHECKED = """
import mxm
from mxm.pipeline import AssetDecl, Check


def few(rows):
    '''At least three.'''
    assert len(rows) > 2, "only two"


OUT = AssetDecl(
    "prices", format="json", path_template="out/{day}.json", partition_key="day",
    checks=[Check(few, severity="warn")],
)


@mxm.task(produces=OUT)
def load(day: str = "mon") -> list[int]:
    return [1, 2]


@mxm.flow
def book():
    return load()
"""


def test_a_run_has_the_files_and_checks_of_its_assets_in_its_report(project: Path) -> None:
    write(project, {"flows.py": CHECKED})
    run()
    page = report()
    [row] = assets_of(page)
    assert row[1] == "day:mon"
    assert row[4].endswith(" B")
    assert row[5] == "written; check failed: few"
    panel = panel_of(page, "load")
    assert "path out/mon.json" in panel
    assert "few failed" in panel
    assert "only two" in panel


# --- of recorded runs ------------------------------------------------------------------------


def test_a_report_has_every_task_as_card_row_and_details(project: Path) -> None:
    run("-p", "window=13", code=1)
    page = report()
    names = ["symbols", "load", "gain", "total", "send"]
    expected = ["succeeded", "succeeded", "succeeded", "failed", "skipped"]
    assert states_of(page) == dict(zip(names, expected, strict=True))
    drawn = re.findall(r'<a class="n s-(\w+)[^"]*" href="#([^"]*)"', page)
    assert {key: state for state, key in drawn} == states_of(page)
    for name in names:
        assert panel_of(page, name)


def test_a_report_shows_why_a_run_failed(project: Path) -> None:
    run("-p", "window=13", code=1)
    page = report()
    card = text_of(re.findall(r'(?s)<article class="fail">.*?</article>', page)[0])
    assert "total" in card
    assert "ValueError" in card
    assert "no window of 13" in card
    assert 'raise ValueError("no window of 13")' in card
    assert "Traceback (most recent call last)" in card
    assert "Skipped because of it" in card
    assert "because <code>total</code> failed" in row_of(page, "send")
    assert "Failed" in page.partition("<main>")[0]


def test_a_report_shows_the_code_as_it_was_when_it_failed(project: Path) -> None:
    run("-p", "window=13", code=1)
    write(project, {"flows.py": "# all gone\n"})
    assert 'raise ValueError("no window of 13")' in text_of(report())


def test_details_of_a_task_say_what_it_was_given_and_made(project: Path) -> None:
    run("-p", "window=40")
    page = report()
    assert "Members of the index." in panel_of(page, "symbols")
    assert '["SAP", "ASML", "BAD"]' in panel_of(page, "symbols")
    total = panel_of(page, "total")
    assert "total(prices: dict[str, float], window: int) -> float" in total
    assert "prices load" in total
    assert "window 40 given" in total
    assert "4.5" in total
    load = panel_of(page, "load")
    assert "TimeoutError: no answer <b>within</b> 5 s" in load
    assert "&lt;b&gt;within" in page
    gain = panel_of(page, "gain")
    assert "3 items" in gain
    assert "ValueError: no price of BAD" in gain
    assert gain.index("BAD") < gain.index("ASML")  # what failed comes first
    assert "symbol each of symbols" in gain


def test_arguments_are_named_as_the_body_has_them() -> None:
    frame = {"type": "pandas.DataFrame", "shape": [3, 1], "columns": {"a": "int64"}, "head": []}
    arguments = {
        "symbol": {"upstream": "each of load"}, "part": {"upstream": "load[0]"},
        "day": {"upstream": "each[1] of a list"}, "empty": {"value": ""}, "number": {"value": "1"},
        "secret": {"value": "**********"}, "asof": {"parameter": "asof"},
        "base": {"parameter": "base"},
    }  # fmt: skip
    params = [
        {"name": "asof", "value": "2026-11-27", "type": "date", "origin": "run", "from": None},
        {"name": "base", "value": "", "type": "str | None", "origin": "run", "from": None},
    ]
    made = document(
        task("load", result=[frame, {"x": frame}]),
        task("next", upstream=["load"], arguments=arguments, mapped=True),
    )
    made["record"]["params"] = params
    page = draw_report(report_of_document(made))
    panel = panel_of(page, "next")
    assert "symbol each of load part load [0] day each[1] of a list" in panel
    assert "empty '' number '1' secret ********** asof 2026-11-27 given base '' given" in panel
    assert '[pandas.DataFrame 3 × 1, {"x": pandas.DataFrame 3 × 1}]' in panel_of(page, "load")
    assert "asof 2026-11-27 base ''" in " ".join(text_of(page).split())


def test_no_secret_is_in_a_report(project: Path) -> None:
    for given in ([], ["-p", "token=hush-hush-1"]):
        run(*given, "--report", "now.html")
        pages = [report(), Path("now.html").read_text("utf-8"), report("-f", "svg")]
        pages.append(report("-f", "trace"))
        for page in pages:
            assert "vendor-token" not in page
            assert "hush-hush" not in page
        assert "logged in with **********" in pages[0]


def test_a_run_writes_its_report_recorded_or_not(project: Path) -> None:
    run("--no-record", "--report", "unrecorded.html")
    assert not (project / ".mxm").exists()
    run("--report", "recorded.html")
    assert report() == Path("recorded.html").read_text("utf-8")
    [unrecorded, recorded] = [
        text_of(Path(name).read_text("utf-8")) for name in ("unrecorded.html", "recorded.html")
    ]
    for said in ("Risk of the book.", "load(names: list[str])", "mxm-pipeline", "python"):
        assert said in unrecorded, said
        assert said in recorded, said


def test_a_report_of_a_run_that_failed_is_written_at_its_end(project: Path) -> None:
    run("-p", "window=13", "--report", "failed.svg", code=1)
    assert ET.fromstring(Path("failed.svg").read_text("utf-8")).tag.endswith("svg")


def test_a_report_is_for_its_owner_alone(project: Path) -> None:
    run("--report", "now.html")
    report()
    if os.name == "posix":
        for name in ("now.html", "report.html"):
            assert stat.S_IMODE(os.stat(name).st_mode) == 0o600


def test_a_report_that_cannot_be_written_is_found_before_the_run(project: Path) -> None:
    for name in ("missing/now.html", "."):
        ran = invoke("run", "book", "--report", name)
        assert ran.code == 2
        assert "cannot write" in ran.err
        assert "started" not in ran.err
    assert not (project / ".mxm").exists()


def test_what_report_does_not_know_is_an_error(project: Path) -> None:
    assert "nothing is recorded" in invoke("report", "--out", "x.html").err
    run()
    cases = {
        ("last", "--out", "x.html", "-f", "pdf"): "unknown format 'pdf'",
        ("2001",): "no run '2001'",
        ("last", "--json"): "where should the report go?",
        ("--open", "-f", "trace"): "--open cannot open a trace",
        ("--out", "missing/x.html"): "cannot write",
    }
    for args, said in cases.items():
        made = invoke("report", *args)
        assert made.code == 2, args
        assert said in made.err, args


def test_a_report_says_what_it_wrote_as_json(project: Path) -> None:
    run()
    made = invoke("report", "--out", "run.svg", "--json")
    assert json.loads(made.out) == {
        "schema": "mxm.report/1",
        "run": runs_of("book")[0].id,
        "format": "svg",
        "file": "run.svg",
    }


def test_after_a_failure_a_report_says_how_to_resume(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("-p", "window=13", code=1)
    [found] = runs_of("book")
    monkeypatch.setattr("mxm.pipeline.cli.main.VERBS", ("run", "report"))
    assert "resume" not in text_of(report()).lower()
    monkeypatch.setattr("mxm.pipeline.cli.main.VERBS", ("run", "report", "resume"))
    said = run("-q", "-p", "window=13", code=1)
    assert re.search(r"^resume after a fix: mxm-pipeline resume \S+$", said, re.MULTILINE)
    assert "resume" not in run("--no-record", "-p", "window=13", code=1)
    [found, _] = runs_of("book")
    assert f'data-copy="mxm-pipeline resume {found.id}"' in report()
    run()
    assert "mxm-pipeline resume" not in report()


def test_one_record_gives_one_text_whatever_the_hash_seed(project: Path) -> None:
    run("-p", "window=13", code=1)
    texts = {
        call("report", "-f", kind, cwd=project, env={"PYTHONHASHSEED": seed, "MXM_HOME": None}).out
        for seed in ("1", "2")
        for kind in ("html", "svg", "trace")
    }
    assert len(texts) == 3


def test_a_run_from_python_has_a_drawing_and_a_page(project: Path) -> None:
    run()
    found = load_run()
    assert views.html(found) == report()
    assert views.svg(found) == report("-f", "svg")


# --- of runs in memory -----------------------------------------------------------------------


def ran(spec: FlowSpec, **params: Any) -> FlowRun:
    return compile_flow(spec, backend="inline", record=False).run(params)


def one() -> int:
    return 1


def twice(x: int) -> int:
    return 2 * x


def fails(x: int) -> int:
    raise LookupError("no such key")


SPEC = FlowSpec(
    "spec",
    [
        TaskSpec("one", one),
        TaskSpec("twice", twice, upstream=["one"]),
        TaskSpec("fails", fails, upstream=["one"]),
        TaskSpec("after", one, after=["fails"], produces=AssetDecl("after/daily")),
    ],
)


def test_a_run_is_a_mermaid_chart_with_a_look_for_each_state(project: Path) -> None:
    run("-p", "window=13", code=1)
    for made in (load_run("last"), compile_flow(FlowSpec("one", [TaskSpec("a", dict)])).run()):
        lines = [line.strip() for line in views.mermaid(made).splitlines()]
        assert lines[0] == "flowchart TD"
        ids = {name: f"t{i}" for i, name in enumerate(made.tasks)}
        for name, each in made.tasks.items():
            [node] = [line for line in lines if line.startswith(f"{ids[name]}[")]
            assert name in node
            members = [line for line in lines if line.endswith(f" {each.state}")]
            assert any(ids[name] in re.split("[ ,]", line) for line in members)
            assert any(line.startswith(f"classDef {each.state} fill:#") for line in lines)
    assert "stroke-dasharray:3 3" in views.mermaid(load_run("last"))


def test_a_run_that_nobody_recorded_has_a_report(tmp_path: Path) -> None:
    page = views.html(ran(SPEC))
    assert states_of(page) == {
        "one": "succeeded",
        "twice": "succeeded",
        "fails": "failed",
        "after": "skipped",
    }
    assert 'raise LookupError("no such key")' in text_of(page)
    assert "not written: task skipped" in text_of(page)
    assert ET.fromstring(views.svg(ran(SPEC)))


def test_a_secret_that_a_task_prints_is_masked_in_a_run_that_nobody_recorded() -> None:
    def log_in(token: SecretStr) -> str:
        print("token", token.get_secret_value())
        raise ValueError(f"refused {token.get_secret_value()}")

    page = views.html(ran(FlowSpec("f", [TaskSpec("log_in", log_in)]), token="hush-hush-1"))
    assert "token **********" in page
    assert "hush-hush-1" not in page


def test_a_notebook_shows_a_run_as_drawing_and_table() -> None:
    shown: Any = ran(SPEC)
    bundle: dict[str, str] = shown._repr_mimebundle_()
    assert bundle["text/plain"] == repr(shown)
    assert "data:image/svg+xml;base64," in bundle["text/html"]
    said = text_of(bundle["text/html"])
    assert "LookupError: no such key" in said
    assert said.index("fails") < said.index("twice")
    assert "<style" not in bundle["text/html"]


# --- of made-up records ----------------------------------------------------------------------


def page_of(made: dict[str, Any]) -> str:
    return draw_report(report_of_document(made))


STATES = (
    "succeeded", "failed", "skipped", "cached", "overridden", "cancelled", "running", "pending",
)  # fmt: skip


def test_every_state_has_an_icon_and_a_word() -> None:
    page = page_of(document(*(task(state, state) for state in STATES)))
    symbols = set(re.findall(r'<symbol id="i-(\w+)"', page))
    for state in STATES:
        word = "waiting" if state == "pending" else state
        assert state in symbols
        assert f'href="#i-{state}"/></svg>{word}</span>' in row_of(page, state)


@pytest.mark.parametrize("state", ["running", "crashed"])
def test_a_run_without_an_end_is_shown_as_far_as_it_is_known(state: str) -> None:
    made = document(
        task("load", start=0, end=4),
        task("fit", "running" if state == "running" else "cancelled", start=4, upstream=["load"]),
        task("send", "pending" if state == "running" else "cancelled", upstream=["fit"]),
        state=state, ended=None, seconds=None, seen=moment(8),
    )  # fmt: skip
    page = page_of(made)
    assert "8.0 s</b> so far as is known" in page
    assert "Bound by" not in page
    if state == "running":
        assert "4.0 s" in row_of(page, "fit")
        assert 'class="b now"' in row_of(page, "fit")


def test_a_run_of_which_no_task_ran_has_a_report() -> None:
    for made in (document(), document(task("a", "cancelled", reason="the run was cancelled"))):
        made |= {"state": "cancelled", "seconds": 0.0}
        assert "Cancelled" in text_of(page_of(made))


def test_a_record_of_an_older_schema_is_drawn_by_its_arguments() -> None:
    second = task("b", start=2, end=3)
    second["record"] = {"arguments": {"x": {"upstream": "a[0]"}, "y": {"upstream": ["c"]}}}
    made = document(task("a", start=0, end=1), task("c", start=0, end=2), second)
    found = report_of_document(made)
    assert found.tasks["b"].upstream == ("a", "c")
    for each in made["tasks"]:
        each.pop("record")
    made.pop("record")
    assert set(states_of(page_of(made))) == {"a", "b", "c"}


def test_hostile_names_and_values_are_text_everywhere() -> None:
    made = hostile()
    page = page_of(made)
    assert page.count("<script>") == 1
    assert "alert(1)</script>" not in page
    assert not re.search(r"<[^>]*\sonmouseover", page)
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert not re.search(r'(?:href|src)="(?!#)', page)
    page.encode("utf-8")
    assert len(states_of(page)) == len(HOSTILE)
    json.loads(draw_trace(report_of_document(made)))


def test_long_values_and_lists_are_cut_with_their_length() -> None:
    rows = [
        {"key": f"k{i}", "state": "succeeded", "attempts": 1, "seconds": 0.1, "value": 1,
         "error": None, "reason": None}
        for i in range(300)
    ]  # fmt: skip
    made = document(
        task("log", start=0, end=1, output="z" * 1_000_000, result="y" * 1_000_000),
        task("items", start=0, end=1,
             items={"over": "a list", "count": {"succeeded": 300}, "rows": rows}),
    )  # fmt: skip
    page = page_of(made)
    assert len(page) < 300_000
    assert "(1,000,000 characters)" in panel_of(page, "log")
    assert "and 100 more" in panel_of(page, "items")


def test_tasks_that_failed_alike_share_a_card() -> None:
    alike = {"error": "ValueError: away", "place": "f.py:3", "lines": [[3, "raise"]]}
    tasks = [task(f"desk_{i}", "failed", start=0, end=1, **alike) for i in range(12)]
    tasks.append(task("other", "failed", start=0, end=1, error="KeyError: 'x'", place="f.py:9"))
    page = page_of(document(*tasks, state="failed"))
    assert page.count('<article class="fail">') == 2
    assert "and 11 more failed" in text_of(page)


def test_a_large_run_is_folded_to_its_sub_flows_in_drawing_and_table() -> None:
    tasks = [task("start", start=0, end=1)]
    for desk in range(40):
        for step in range(5):
            above = f"desk_{desk}.t{step - 1}" if step else "start"
            state = "failed" if (desk, step) == (7, 4) else "succeeded"
            tasks.append(
                task(f"desk_{desk}.t{step}", state, start=1 + step, end=2 + step, upstream=[above])
            )
    page = page_of(document(*tasks, state="failed"))
    assert page.count('<tr class="band') == 40
    first = page.partition('<div class="view"')[2].partition("</svg></div>")[0]
    assert "1 of 5 failed" in first
    assert len(re.findall('class="nm"', first)) == 41
    assert len(states_of(page)) == 201
    drawn = set(re.findall(r'<a class="n s-\w+[^"]*" href="#([^/"][^"]*)"', page))
    assert drawn == set(states_of(page))
    assert 'class="e hot"' in first


@pytest.mark.parametrize(
    ("states", "drawn", "listed"),
    [
        (["succeeded"] * 3 + ["pending"] * 9, "9 of 12 waiting", "9 waiting"),
        (["succeeded"] * 3 + ["running"] + ["pending"] * 8, "1 of 12 running", "1 running"),
        (["cached"] * 3 + ["skipped"] * 9, "9 of 12 skipped", "3 cached"),
        (["succeeded"] * 6 + ["cached"] * 6, "12 tasks", "succeeded"),
        (["skipped"] * 12, "12 of 12 skipped", "12 skipped"),
        (["cancelled"] * 2 + ["succeeded"] * 10, "2 of 12 cancelled", "2 cancelled"),
    ],
)
def test_a_sub_flow_is_not_said_to_have_succeeded_where_part_of_it_did_not(
    states: list[str], drawn: str, listed: str
) -> None:
    tasks = [task(f"desk.t{i}", state) for i, state in enumerate(states)]
    page = draw_report(report_of_document(document(*tasks, *map(task, map(str, range(150))))))
    assert f'<text class="sb" x="33" y="34">{drawn}</text>' in page
    [band] = re.findall('(?s)<tr class="band.*?</tr>', page)
    assert " ".join(text_of(band).split()) == f"desk 12 {listed}"


@pytest.mark.parametrize("state", ["running", "crashed", "cancelled"])
def test_a_run_that_did_not_come_to_its_end_has_no_critical_chain(state: str) -> None:
    tasks = [task("load", start=0, end=1), task("fit", "running", start=1, upstream=["load"])]
    made = document(*tasks, state=state, ended=None, seconds=None, seen=moment(3))
    page = draw_report(report_of_document(made))
    assert 'class="bound"></p>' in page
    assert "on the critical chain" not in page
    assert not re.search(r'class="n s-\w+ crit"', page)


def test_waits_attempts_and_cached_tasks_are_told_apart_in_the_bars() -> None:
    history = [
        {"started": moment(2), "ended": moment(3), "state": "failed", "error": "OSError: away"},
        {"started": moment(5), "ended": moment(7), "state": "succeeded", "error": None},
    ]
    page = page_of(
        document(
            task("old", "cached", start=0, end=0),
            task("load", start=2, end=7, ready=0, history=history, upstream=["old"]),
        )
    )
    assert 'class="hit"' in row_of(page, "old")
    bars = re.findall(r'<i class="([^"]*)" style="left:([\d.]+)%;width:([\d.]+)%"', page)
    assert [b for b in bars if b[0] != "b"][:4] == [
        ("wait", "0", "20"),
        ("b try", "20", "10"),
        ("wait", "30", "20"),
        ("b crit", "50", "20"),
    ]


def test_warnings_of_a_run_are_on_its_page() -> None:
    warning = {"code": "MXM501", "message": "result of task 'a': 3 NaN became null", "task": "a"}
    assert "3 NaN became null" in text_of(page_of(document(task("a"), warnings=[warning])))


# --- what bound a run ------------------------------------------------------------------------


def span(*needs: str, ready: float = 0, start: float = 0, end: float = 0) -> Span:
    return Span(needs, ready, start, end)


def test_the_chain_leads_back_from_what_ended_last() -> None:
    spans = {
        "load": span(start=0, end=4),
        "fast": span(start=0, end=1),
        "fit": span("load", "fast", ready=4, start=4, end=9),
        "side": span("fast", ready=1, start=1, end=2),
    }
    found = bound_of(spans, 10, 4)
    assert found is not None
    assert (found.chain, found.by, found.share) == (("load", "fit"), "chain", "9.0 s of 10.0 s")


def test_workers_bound_a_run_whose_ready_tasks_waited() -> None:
    spans = {f"t{i}": span(start=2 * (i // 2), end=2 * (i // 2) + 2) for i in range(10)}
    spans["long"] = span(start=0, end=3)
    found = bound_of(spans, 10, 2)
    assert found is not None
    assert found.by == "workers"
    assert found.waited == sum(2 * (i // 2) for i in range(10))
    assert found.chain == ("long",)  # the longest one, not the last to end


def test_one_worker_is_said_to_be_one() -> None:
    spans = {f"t{i}": span(start=i, end=i + 1) for i in range(10)}
    found = bound_of(spans, 10, 1)
    assert found is not None
    assert (found.by, found.share) == ("one", "1.0 s of 10.0 s")


def test_nothing_bound_a_run_without_an_end() -> None:
    assert bound_of({"a": Span((), None, None, None)}, 3, 1) is None
    assert bound_of({}, 3, 1) is None
    assert bound_of({"a": span(end=0)}, 0, 1) is None


def test_seconds_in_words() -> None:
    assert [lasted(s) for s in (0, 0.0042, 0.0996, 14.63, 59.96, 372, 3599.6, 7500)] == [
        "0 ms", "4 ms", "0.1 s", "14.6 s", "1:00 min", "6:12 min", "1:00 h", "2:05 h",
    ]  # fmt: skip
    assert [clock(s) for s in (-1, 0, 26.9, 3725)] == ["0:00", "0:00", "0:26", "1:02:05"]


# --- traces ----------------------------------------------------------------------------------


def test_a_trace_has_an_event_for_each_attempt_and_arrows_along_the_chain(project: Path) -> None:
    run()
    events = json.loads(report("-f", "trace"))["traceEvents"]
    found = load_run()
    attempts = sum(len(each.history) or 1 for each in found.tasks.values())  # 1: it is mapped
    spans = [event for event in events if event["ph"] == "X"]
    assert len(spans) == attempts
    assert all(type(event["ts"]) is int and event["dur"] >= 0 for event in spans)
    failed = [event["args"] for event in spans if event["args"]["state"] == "failed"]
    assert failed[0]["error"] == "TimeoutError: no answer <b>within</b> 5 s"
    starts = [event["id"] for event in events if event["ph"] == "s"]
    assert starts == [event["id"] for event in events if event["ph"] == "f"]
    assert starts
    names = {e["args"]["name"] for e in events if e["ph"] == "M"}
    assert {"book", "worker 1", "mapped tasks"} <= names


def test_a_run_that_still_goes_is_read_from_the_store(project: Path) -> None:
    run()
    [found] = runs_of("book")
    with Database(str(project / ".mxm")) as database:
        database.write(
            [
                ("UPDATE run SET state = 'running', ended = NULL, seconds = NULL", ()),
                ("UPDATE task SET state = 'running', ended = NULL WHERE name = 'send'", ()),
                ("UPDATE run SET pid = ?, process = NULL", (os.getpid(),)),
            ]
        )
    assert report_of(load_run(found.id)).state == "running"
    page = report(found.id)
    assert "Running" in page.partition("<main>")[0]
    assert states_of(page)["send"] == "running"
