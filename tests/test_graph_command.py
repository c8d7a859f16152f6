"""`graph`: which flows it draws, in which format, and the files that it writes."""

from __future__ import annotations

import json
import os
import stat
import webbrowser
from pathlib import Path

import pytest
from command import invoke, write

from mxm.pipeline.cli.written import write_file

FLOWS = """
    import mxm

    @mxm.task
    def load() -> list[float]:
        raise AssertionError("a drawing runs nothing")

    @mxm.task(upstream=load, allow_failure=True)
    def mean(prices: list[float]) -> float:
        return 0.0

    @mxm.flow
    def risk():
        return mean

    @mxm.flow
    def prices():
        return load
    """


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, {"flows.py": FLOWS})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "start"),
    [
        ("a.svg", "<svg "),
        ("a.HTML", "<!doctype html>"),
        ("a.mmd", "flowchart TD"),
        ("a.gv", 'digraph "risk"'),
        ("a.txt", "risk\n"),
        ("a", "risk\n"),
    ],
)
def test_the_ending_of_the_file_says_the_format(project: Path, file: str, start: str) -> None:
    ran = invoke("graph", "risk", "--out", file)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    text = (project / file).read_text()
    assert text.startswith(start)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_a_format_goes_before_the_ending(project: Path) -> None:
    assert invoke("graph", "risk", "-f", "svg", "--out", "a.html").code == 0
    assert (project / "a.html").read_text().startswith("<svg ")


@pytest.mark.parametrize("kind", ["svg", "html"])
def test_pictures_go_to_stdout_too(kind: str) -> None:
    ran = invoke("graph", "risk", "--format", kind)
    assert ran.code == 0
    assert ran.out.rstrip().endswith(f"</{kind}>")
    assert "may fail" in ran.out


def test_without_a_name_every_flow_is_drawn() -> None:
    drawn = invoke("graph")
    assert drawn.code == 0
    trees = "prices\n└── load\n\nrisk\n└── load\n    └── mean [may fail]\n"
    assert drawn.out == trees
    document = json.loads(invoke("graph", "--json").out)
    assert document["schema"] == "mxm.graphs/1"
    assert [each["flow"] for each in document["graphs"]] == ["prices", "risk"]
    assert document["graphs"][1]["allow_failure"] == ["mean"]


def test_several_names_are_drawn_each_once_in_their_order() -> None:
    drawn = invoke("graph", "risk", "prices", "risk", "-f", "mermaid")
    assert [line for line in drawn.out.splitlines() if "subgraph" in line] == [
        '    subgraph f0["risk"]',
        '    subgraph f1["prices"]',
    ]


def test_an_invalid_flow_is_left_out_of_all_and_said(project: Path) -> None:
    write(project, {"wrong.py": "import mxm\n\n@mxm.flow\ndef wrong(): ...\n"})
    drawn = invoke("graph")
    assert drawn.code == 4
    assert drawn.out.startswith("prices\n")
    assert "flow 'wrong' is not drawn: 1 problem" in drawn.err
    assert "mxm-pipeline check wrong" in drawn.err
    assert invoke("graph", "risk", "wrong").code == 4
    assert invoke("graph", "risk", "wrong").out == ""


def test_a_module_that_cannot_be_imported_does_not_hide_the_others(project: Path) -> None:
    write(project, {"broken.py": "import mxm, nosuch\n\n@mxm.flow\ndef f(): ...\n"})
    drawn = invoke("graph")
    assert drawn.code == 3
    assert drawn.out.startswith("prices\n")
    assert "nosuch" in drawn.err


def test_open_shows_the_file_in_the_browser(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    opened: list[str] = []

    def open_it(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", open_it)
    monkeypatch.setenv("TMPDIR", str(project))
    ran = invoke("graph", "risk", "--open", "--out", "a.html")
    assert (ran.code, ran.out) == (0, "")
    assert opened == [(project / "a.html").as_uri()]
    ran = invoke("graph", "risk", "--open")
    assert ran.code == 0
    assert opened[1].endswith(".html")
    assert "opening" in ran.err


@pytest.mark.parametrize("kind", ["tree", "mermaid", "dot"])
def test_open_opens_pictures_only(kind: str) -> None:
    ran = invoke("graph", "risk", "--open", "-f", kind)
    assert ran.code == 2
    assert "use --format html or svg" in ran.err


def test_a_file_keeps_its_mode_and_a_link_leads_to_it(project: Path) -> None:
    file = project / "a.svg"
    file.write_text("old")
    file.chmod(0o640)
    (project / "link.svg").symlink_to("a.svg")
    assert invoke("graph", "risk", "--out", "link.svg").code == 0
    assert (project / "link.svg").is_symlink()
    assert file.read_text().startswith("<svg")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(p.name for p in project.iterdir() if p.name.startswith(".")) == []


def test_a_new_file_has_the_mode_that_the_umask_gives_unless_it_is_private(project: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file("open.txt", "text")
        write_file("private.txt", "text", private=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((project / "open.txt").stat().st_mode) == 0o640
    assert stat.S_IMODE((project / "private.txt").stat().st_mode) == 0o600


def test_what_is_no_regular_file_is_written_as_it_is(project: Path) -> None:
    assert invoke("graph", "risk", "--out", os.devnull).code == 0
    assert not os.path.isfile(os.devnull)
    (project / "folder").mkdir()
    ran = invoke("graph", "risk", "--out", "folder")
    assert ran.code == 2
    assert "folder" in ran.err
