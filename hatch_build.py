"""What the package index shows: the README, whose links and pictures lead to the repository.

A page of the index has no files beside it. ``MXM_REPOSITORY`` is the repository's address, which
the release's workflow knows; without it, links become their text and pictures what they show.
"""

from __future__ import annotations

import os
import re
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\((?!https?:|#)([^)\s]+)\)")
PICTURE = re.compile(r'<picture>.*?<img alt="([^"]*)" src="([^"]*)">.*?</picture>', re.DOTALL)
CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`(?!\]))", re.MULTILINE | re.DOTALL)


def description(readme: str, repository: str | None, version: str) -> str:
    """*readme* as it can be read without the files beside it."""

    def link(found: re.Match[str]) -> str:
        mark, text, target = found.groups()
        if repository is None:
            return f"*{text}*" if mark else text
        kind = "raw" if mark else "blob"
        return f"{mark}[{text}]({repository}/{kind}/v{version}/{target})"

    parts = CODE.split(readme)
    parts[::2] = [LINK.sub(link, PICTURE.sub(r"![\1](\2)", part)) for part in parts[::2]]
    return "".join(parts)


class Hook(MetadataHookInterface):
    """Sets the description and the links of the project's page."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add to *metadata* what pyproject.toml names as dynamic."""
        repository = os.environ.get("MXM_REPOSITORY") or None
        with open(os.path.join(self.root, "README.md"), encoding="utf-8") as file:
            text = description(file.read(), repository, metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        if repository is not None:
            files = f"{repository}/blob/v{metadata['version']}"
            metadata["urls"] = {
                "Source": repository,
                "Documentation": f"{files}/README.md",
                "Changelog": f"{files}/CHANGELOG.md",
            }
