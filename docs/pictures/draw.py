"""Draws the pictures of README.md and docs again: `make pictures`; those of pages by Chromium.

The run is made up, and in `risk_book.json`: of a real one the times would differ each time.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mxm.pipeline.views.report import draw_report
from mxm.pipeline.views.reported import report_of_document

FOLDER = Path(__file__).parent
SIZE = 1440, 1180  # px
SCHEMES = {"light": "1", "dark": "0"}  # as Chromium counts them


def main() -> None:
    """Draw them."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("Chromium is not installed: the pictures of pages stay as they are")
    record = json.loads((FOLDER / "risk_book.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "report.html")
        page.write_text(draw_report(report_of_document(record)), encoding="utf-8")
        for scheme, number in SCHEMES.items():
            picture = FOLDER / f"report-{scheme}.png"
            subprocess.run(  # noqa: S603
                [
                    chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                    "--no-first-run", "--disable-background-networking", "--disable-sync",
                    "--disable-component-update", f"--user-data-dir={folder}/{scheme}",
                    f"--blink-settings=preferredColorScheme={number}",
                    f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={picture}",
                    page.as_uri(),
                ],
                check=True,
                capture_output=True,
                timeout=120,
            )  # fmt: skip


if __name__ == "__main__":
    main()
