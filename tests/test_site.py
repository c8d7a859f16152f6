"""The site of the docs: it builds without a warning, and its pages load nothing from elsewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from environments import ROOT, environment, run

pytestmark = pytest.mark.slow


def test_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    place = environment(tmp_path / "place", sys.executable, ROOT)
    place.install("mkdocs-material>=9.5", "mkdocstrings[python]>=0.27")
    site = tmp_path / "site"
    run(place.python, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site), cwd=ROOT,
        env={**place.variables(), "NO_MKDOCS_2_WARNING": "1"})  # fmt: skip
    pages = list(site.rglob("*.html"))
    assert len(pages) > 100
    loaded = re.compile(
        r'<(?:script|link|img|source|iframe)[^>]+(?:src|href|srcset)="?(https?:|//)'
    )
    assert [page for page in pages if loaded.search(page.read_text("utf-8"))] == []
    styles = [
        file
        for file in site.rglob("*.css")
        if re.search(r"url\(.?https?:", file.read_text("utf-8"))
    ]
    assert styles == []
    assert "volatility" in (site / "tutorial" / "index.html").read_text("utf-8")
    assert "retry_delay_s" in (site / "reference" / "index.html").read_text("utf-8")
