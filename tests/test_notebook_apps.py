"""Flows, tasks and runs in Jupyter and marimo: what a cell shows is a drawing beside a table."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path

import pytest
from environments import ROOT, Environment, environment

pytestmark = pytest.mark.slow

DECLARED = '''
import mxm

@mxm.task
def load(symbol: str = "SPY") -> list[float]:
    """Closes of the symbol."""
    return [1.0, 2.0]

@mxm.task
def mean(closes: list[float]) -> float:
    return sum(closes) / len(closes)

@mxm.flow
def risk(symbol: str = "SPY"):
    """Risk of <one> symbol."""
    return mean(load(symbol))
'''
SHOWN = {
    "risk": ["load", "mean", "Closes of the symbol."],
    "load": ["load(symbol: str = &#x27;SPY&#x27;) -&gt; list[float]"],
    "risk.spec": ["load", "mean"],
    "risk.with_options(backend='inline', record=False).run()": ["succeeded", "1.5"],
}
JUPYTER = """
import json, sys
import nbformat
from nbclient import NotebookClient

cells = json.load(open("cells.json"))
book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
NotebookClient(book, timeout=120, kernel_name="python3").execute()
print(json.dumps([[output.get("data") for output in cell.outputs] for cell in book.cells[1:]]))
"""


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = environment(tmp_path_factory.mktemp("notebooks"), sys.executable)
    made.install("nbclient", "ipykernel", "marimo", str(ROOT))
    return made


def check_html(html: str, parts: list[str]) -> None:
    [data] = re.findall("data:image/svg\\+xml;base64,([A-Za-z0-9+/=]+)", html)
    assert base64.b64decode(data).startswith(b"<svg")
    for part in parts:
        assert part in html
    assert "<style" not in html


def test_a_cell_of_jupyter_shows_drawing_table_and_text(
    notebooks: Environment, tmp_path: Path
) -> None:
    (tmp_path / "cells.json").write_text(json.dumps([DECLARED, *SHOWN]), encoding="utf-8")
    (tmp_path / "execute.py").write_text(JUPYTER, encoding="utf-8")
    outputs = json.loads(notebooks.run("execute.py", cwd=tmp_path).splitlines()[-1])
    for parts, shown in zip(SHOWN.values(), outputs, strict=True):
        [data] = [each for each in shown if each]
        check_html(data["text/html"], parts)
        assert data["text/plain"]


def test_a_cell_of_marimo_shows_drawing_and_table(notebooks: Environment, tmp_path: Path) -> None:
    names = ["load", "mean", "mxm", "risk"]
    body = "\n".join(f"    {line}".rstrip() for line in DECLARED.strip().splitlines())
    lines = ["import marimo", "app = marimo.App()", "", "@app.cell", "def _():", body]
    lines.append(f"    return {', '.join(names)}")
    for cell in SHOWN:
        lines += ["", "@app.cell", "def _(load, mean, mxm, risk):", f"    {cell}", "    return"]
    (tmp_path / "book.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    notebooks.run("-m", "marimo", "export", "html", "book.py", "-o", "book.html", cwd=tmp_path)
    page = (tmp_path / "book.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml;base64,") == len(SHOWN)
    assert "Traceback" not in page
