"""Every program and every command of the docs' pages runs, and prints what is shown."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from command import invoke
from pages import is_shown, run_page

from mxm.pipeline.cli.pages import pages

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]
SLOW = [DOCS / "assets.md", DOCS / "cache.md", DOCS / "resume.md"]
RUN = [*PAGES, *(pytest.param(page, marks=pytest.mark.slow) for page in SLOW)]


@pytest.mark.parametrize("page", RUN, ids=[page.stem for page in [*PAGES, *SLOW]])
def test_page_shows_what_is_printed(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MXM_HOME")  # the page's folder is its project
    folder = tmp_path / "project"
    folder.mkdir()
    run_page(page, folder)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\n", "a\nb\n", False),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a\n...\nd\n", "a\nb\nc\nx\n", False),
        ("ran in 0.02 s\n", "ran in 1.50 s\n", True),
        ("Sat 28 Nov 2026 16:35:22\n", "Sun 29 Nov 2026 00:18:19\n", True),
        ("3 tasks\n", "4 tasks\n", False),
    ],
)
def test_comparison_can_fail(shown: str, printed: str, same: bool) -> None:
    assert is_shown(shown, printed) is same


LINKING = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("page", LINKING, ids=[str(page.relative_to(ROOT)) for page in LINKING])
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$|`[^`\n]+`", "", page.read_text("utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        if ":" in name:
            continue
        linked = page.parent / name if name else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """What headings of *page* are called in links, as GitHub and the site have them."""
    lines = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", lines, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_of_the_docs_is_shown_by_the_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    in_wheel = {Path(place).stem.lower() for place in included if place != "mxm"}
    how_to = {page.stem for page in (DOCS / "how-to").glob("*.md")}
    assert set(pages()) == in_wheel - {"how-to"} | how_to
    assert set(pages()) - how_to == {page.stem.lower() for page in DOCS.glob("*.md")} - {
        "benchmarks",
        "examples",
        "reference",
    }


def test_docs_shows_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    listed = invoke("docs").out
    assert [line.split()[0] for line in listed.splitlines()[1:]] == list(pages())
    assert invoke("docs", "cache").out == (DOCS / "cache.md").read_text("utf-8")
    wrong = invoke("docs", "cach")
    assert (wrong.code, wrong.err) == (
        2,
        "error: unknown page 'cach'\n  hint: did you mean 'cache'?\n",
    )
