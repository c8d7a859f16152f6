"""Draws the pictures of README.md and docs again: `make pictures`; those of pages by Chromium.

The graph is that of the market example. The run is made up, and in `risk_book.json`: of a real one
the times would differ each time.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mxm.pipeline.views.report import draw_report
from mxm.pipeline.views.reported import report_of_document

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
SIZES = {"report": (1440, 1180), "graph": (1440, 840)}  # px
SCHEMES = {"light": "1", "dark": "0"}  # as Chromium counts them


def main() -> None:
    """Draw them."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("Chromium is not installed: the pictures of pages stay as they are")
    record = json.loads((FOLDER / "risk_book.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.html")
        report.write_text(draw_report(report_of_document(record)), encoding="utf-8")
        graph = Path(folder, "graph.html")
        command = Path(sys.executable).with_name("mxm-pipeline")
        made = [command, "graph", "examples/market.py:market", "--out", graph]
        subprocess.run(made, cwd=ROOT, check=True, capture_output=True, timeout=120)  # noqa: S603
        for page, (scheme, number) in itertools.product((report, graph), SCHEMES.items()):
            picture = FOLDER / f"{page.stem}-{scheme}.png"
            width, height = SIZES[page.stem]
            subprocess.run(  # noqa: S603
                [
                    chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                    "--no-first-run", "--disable-background-networking", "--disable-sync",
                    "--disable-component-update", f"--user-data-dir={folder}/{scheme}",
                    f"--blink-settings=preferredColorScheme={number}",
                    f"--window-size={width},{height}", f"--screenshot={picture}",
                    page.as_uri(),
                ],
                check=True,
                capture_output=True,
                timeout=120,
            )  # fmt: skip


if __name__ == "__main__":
    main()
