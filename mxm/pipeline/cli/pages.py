"""Where the pages of the documentation are: in the package, or in the checkout."""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["pages"]

_PACKAGE = os.path.dirname(os.path.dirname(__file__))
# A wheel has the pages in the package; a checkout has them where people read them.
_FOLDERS = (
    os.path.join(_PACKAGE, "docs", "pages"),
    os.path.join(os.path.dirname(os.path.dirname(_PACKAGE)), "docs"),
)


def pages() -> Mapping[str, str]:
    """The path of each page by its name; pages of the project's own history are left out."""
    folder = next(filter(os.path.isdir, _FOLDERS), "")
    listed = [folder, os.path.join(folder, "how-to")]
    files = [os.path.join(each, name) for each in filter(os.path.isdir, listed)
             for name in sorted(os.listdir(each))]  # fmt: skip
    named = {os.path.basename(file).removesuffix(".md").lower(): file for file in files}
    left_out = {"benchmarks", "examples", "reference"}  # the site's own
    return {name: file for name, file in sorted(named.items())
            if file.endswith(".md") and name not in left_out}  # fmt: skip
