"""Pages of the site that are files outside of docs, and links to files as links to pages."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
SOURCES = {page: source for source, page in PAGES.items()}
LINK = re.compile(r'(\]\(|(?:src|srcset|href)=")([^)"#\s:]+)(?=[)"#])')


def on_files(files: Any, config: Any) -> Any:
    """Add the pages whose text is a file of the repository's root."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let each link to a file of the repository lead to the page made of it."""
    own = page.file.src_uri
    folder = posixpath.dirname(SOURCES.get(own, f"docs/{own}"))

    def changed(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        there = _page_of(target)
        if there is None:
            raise ValueError(f"{own}: a link to {link[2]}, which is not a page of the site")
        return link[1] + posixpath.relpath(there, posixpath.dirname(own) or ".")

    parts = re.split(r"(^```.*?^```$|`[^`\n]+`)", markdown, flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [LINK.sub(changed, part) for part in parts[::2]]
    return "".join(parts)


def _page_of(target: str) -> str | None:
    """The page, relative to docs, for *target*, relative to the repository."""
    if target == "docs/how-to":
        return "tutorial.md"
    if target in PAGES:
        return PAGES[target]
    for folder, place in (("docs", ""), ("mxm/pipeline/docs/errors", "errors/")):
        if target == folder:
            return f"{place}README.md" if place else "index.md"
        if target.startswith(f"{folder}/"):
            rest = target.removeprefix(f"{folder}/")
            return f"{place}{rest}/README.md" if (ROOT / target).is_dir() else place + rest
    return "examples.md" if target.partition("/")[0] == "examples" else None
