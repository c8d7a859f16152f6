"""The pages of docs/errors: each program has its problem, each fix has none, each output is real."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command import invoke as run

import mxm.pipeline
from mxm.pipeline.problems import CODES

# Of the package as it is installed: docs/errors leads there.
HOME = Path(mxm.pipeline.__file__).parent
PAGES = {path.stem: path.read_text("utf-8") for path in (HOME / "docs/errors").glob("MXM*.md")}
BLOCKS = re.compile(r"```(python|toml|console)\n(.*?)```", re.DOTALL)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parts(page: str) -> tuple[list[str], list[str], str, list[str]]:
    """The programs, the commands, what they say, and the fixed programs."""
    program, printed, fixed = re.split(r"^## .*\n", page, flags=re.MULTILINE)[1:]
    found = [[text for _, text in BLOCKS.findall(section)] for section in (program, printed, fixed)]
    commands = re.findall(r"^\$ mxm-pipeline (.*)\n", found[1][0], re.MULTILINE)
    output = re.sub(r"^\$ mxm-pipeline .*\n", "", found[1][0], flags=re.MULTILINE)
    return found[0], commands, output, found[2]


def write(folder: Path, programs: list[str]) -> None:
    for text in programs:
        named = re.match(r"# file: (\S+)\n", text)
        (folder / (named[1] if named else "flows.py")).write_text(text, "utf-8")


def test_every_code_in_the_sources_has_a_page_and_every_page_a_code() -> None:
    sources = "".join(path.read_text("utf-8") for path in HOME.rglob("*.py"))
    assert set(re.findall(r"\"(MXM\d{3})\"", sources)) == set(PAGES)


def test_the_table_of_codes_has_the_title_of_each_page() -> None:
    assert {c: text.partition("\n")[0].partition(": ")[2] for c, text in PAGES.items()} == CODES


@pytest.mark.parametrize("code", sorted(PAGES))
def test_the_program_of_each_page_has_its_problem(
    code: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MXM_HOME", str(project / ".mxm"))  # `plan` shows what others recorded
    programs, commands, output, _ = parts(PAGES[code])
    write(project, programs)
    said = [run(*command.split()) for command in commands]
    assert code in said[-1].err
    assert "".join(ran.err + ran.out for ran in said) == output


@pytest.mark.parametrize("code", sorted(PAGES))
def test_the_fix_of_each_page_has_none(code: str, project: Path) -> None:
    _, commands, _, fixed = parts(PAGES[code])
    write(project, fixed)
    for command in commands:
        ran = run(*command.split())
        assert (ran.code, re.findall(r"MXM\d{3}", ran.err + ran.out)) == (0, [])


@pytest.mark.parametrize("code", sorted(PAGES))
def test_explain_prints_the_page(code: str) -> None:
    ran = run("explain", code.lower())
    assert (ran.code, ran.out, ran.err) == (0, PAGES[code], "")


def test_explain_without_a_code_lists_them_all() -> None:
    lines = run("explain").out.splitlines()
    assert [line.split()[0] for line in lines] == ["CODE", *sorted(PAGES)]
    assert "MXM103  cycle" in lines


def test_the_index_names_every_page_by_its_title() -> None:
    index = (HOME / "docs/errors/README.md").read_text("utf-8")
    listed = re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| (.*) \|$", index, re.MULTILINE)
    titles = {c: text.partition("\n")[0].partition(": ")[2] for c, text in PAGES.items()}
    assert dict(listed) == titles


def test_explain_as_json() -> None:
    document = json.loads(run("explain", "MXM101", "--json").out)
    assert document["schema"] == "mxm.explain/1"
    assert [(p["code"], p["title"], p["text"]) for p in document["pages"]] == [
        ("MXM101", "duplicate task name", PAGES["MXM101"])
    ]


def test_an_unknown_code_is_told_with_the_nearest() -> None:
    ran = run("explain", "MXM4044")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "error: unknown code 'MXM4044'\n  hint: did you mean 'MXM404'?\n"


CYCLE = """
import mxm

@mxm.task(upstream="b")
def a(x: int) -> int: return x

@mxm.task(upstream=a)
def b(x: int) -> int: return x

@mxm.flow(name="50%, a: b")
def f(): return b
"""


def test_check_for_github_is_one_command_a_line(project: Path) -> None:
    write(project, [CYCLE])
    (project / "broken.py").write_text(
        "import mxm\nraise OSError('a\\nb')\n@mxm.flow\ndef f(): ..."
    )
    ran = run("check", "--format", "github")
    assert ran.code == 4
    lines = ran.out.splitlines()
    assert lines[0].startswith("::error file=broken.py,line=2,title=import failed::")
    assert lines[0].endswith("OSError: a%0Ab")
    assert lines[1].startswith("::error file=flows.py,line=4,title=MXM103::cycle: a -> b -> a%0A")
    assert len(lines) == 2


def test_properties_for_github_are_escaped(project: Path) -> None:
    (project / "a,b:c.py").write_text(CYCLE)
    ran = run("check", "a,b:c.py:f", "--format", "github")
    assert ran.out.startswith("::error file=a%2Cb%3Ac.py,line=4,title=MXM103::"), ran.err


def test_strict_types_warn_and_do_not_fail(project: Path) -> None:
    programs, commands, _, _ = parts(PAGES["MXM202"])
    write(project, programs)
    assert commands == ["check --strict-types"]
    assert run("check").err == ""
    ran = run("check", "--strict-types", "--format", "github")
    assert (ran.code, ran.out.split(",")[0]) == (0, "::warning file=flows.py")
    document = json.loads(run("check", "--strict-types", "--format", "json").out)
    assert [p["code"] for p in document["problems"]] == ["MXM202"]


def test_a_note_makes_no_flow_invalid(project: Path) -> None:
    programs, _, _, _ = parts(PAGES["MXM203"])
    write(project, programs)
    ran = run("check", "--format", "github")
    assert (ran.code, ran.out.split(",")[0]) == (0, "::notice file=flows.py")
    listed = run("list")
    assert (listed.code, "INVALID" in listed.out) == (0, False)
    assert run("run", "labels", "--backend", "inline", "--quiet").code == 0


def test_an_unknown_format_is_told_with_the_nearest(project: Path) -> None:
    ran = run("check", "--format", "githup")
    assert ran.code == 2
    assert ran.err == "error: unknown format 'githup'\n  hint: did you mean 'github'?\n"
