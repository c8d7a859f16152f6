"""Which Python files under a folder declare flows, as their text shows."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

__all__ = ["declares_flows", "python_files", "read"]

_SKIPPED = frozenset(
    {"tests", "test", "node_modules", "__pycache__", "site-packages", "build", "dist"}
)


def python_files(folder: str) -> Iterator[str]:
    """The files under *folder* that may declare flows: no tests, nothing hidden or installed."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED
            and not os.path.exists(os.path.join(parent, name, "pyvenv.cfg"))
        )
        for name in sorted(files):
            if (
                name.endswith(".py")
                and not name.startswith((".", "test_"))
                and name != "conftest.py"
            ):
                yield os.path.join(parent, name)


_UNREAD = re.compile(  # strings and comments
    rb'''"""(?:[^\\]|\\.)*?"""|\'\'\'(?:[^\\]|\\.)*?\'\'\'|'''
    rb""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|#[^\n]*""",
    re.DOTALL,
)
_IMPORTS = re.compile(
    rb"(?:^|[;:])[ \t]*(?:from|import(?:[ \t]+[\w.]+(?:[ \t]+as[ \t]+\w+)?[ \t]*,)*)[ \t]+mxm\b",
    re.MULTILINE,
)
_USES_FLOW = re.compile(
    rb"^[ \t]*@[ \t]*(?:\w+[ \t]*\.[ \t]*)*flow\b(?![ \t]*\.)|(?<!def )\bregister_flow[ \t]*\("
    # or gives one of them another name
    rb"|=[ \t]*mxm[ \t]*\.[ \t]*flow\b"
    rb"|\bfrom[ \t]+mxm\b[\w.]*[ \t]+import\b(?:[^\n;(]*|[ \t]*\([^)]*)"
    rb"\b(?:register_)?flow[ \t]+as\b",
    re.MULTILINE,
)


def declares_flows(path: str) -> bool:
    """Whether the text of the file imports mxm and uses ``@...flow`` or ``register_flow``.

    Either may have been given another name: ``from mxm import flow as f``, ``f = mxm.flow``.

    Its strings and comments aside, the text is matched, not parsed: a parse takes longer than
    everything else that `list` does.
    """
    text = read(path)
    if b"mxm" not in text or b"flow" not in text:
        return False
    code = _UNREAD.sub(b" ", text)
    return bool(_IMPORTS.search(code) and _USES_FLOW.search(code))


def read(path: str) -> bytes:
    """The bytes of the file *path*; empty where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
