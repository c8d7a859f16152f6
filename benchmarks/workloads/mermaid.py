"""Let Mermaid draw a file in Chromium: python mermaid.py CHROMIUM FILE; prints seconds as JSON.

Mermaid comes from npm. The second drawing counts: the first loads what Mermaid needs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

from playwright.sync_api import sync_playwright

DRAW = """async text => {
  mermaid.initialize({ startOnLoad: false, maxEdges: 10000, maxTextSize: 10000000 });
  await mermaid.render('first', 'flowchart TD\\na --> b');
  const begun = performance.now();
  await mermaid.render('drawn', text);
  return (performance.now() - begun) / 1000;
}"""


def main() -> None:
    """Draw what the command line asks for."""
    chromium, file = sys.argv[1], Path(sys.argv[2])
    subprocess.run(["npm", "pack", "mermaid@11", "--silent"], cwd=file.parent, check=True,
                   capture_output=True)  # fmt: skip
    [packed] = file.parent.glob("mermaid-*.tgz")
    with tarfile.open(packed) as archive:
        script = archive.extractfile("package/dist/mermaid.min.js")
        assert script is not None
        text = script.read().decode("utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.goto("about:blank")
        page.add_script_tag(content=text)
        seconds = page.evaluate(DRAW, file.read_text(encoding="utf-8"))
        browser.close()
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
