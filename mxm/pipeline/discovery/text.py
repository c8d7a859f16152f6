"""Matches Python text without parsing: its imports, and whether it surely declares a flow."""

from __future__ import annotations

import codecs
import contextlib
import re

__all__ = ["code_of", "imports_mxm", "surely_declares", "top_imports"]

_UNREAD = re.compile(  # strings and comments
    rb'''"""(?:[^\\]|\\.)*?"""|\'\'\'(?:[^\\]|\\.)*?\'\'\'|'''
    rb""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|#[^\n]*""",
    re.DOTALL,
)
# Patterns that few files need are compiled on first use: `re` caches them.
_CODING = rb"(?:[ \t\f]*(?:#[^\n]*)?\n)?[ \t\f]*#[^\n]*?coding[:=][ \t]*([-\w.]+)"
_PLAIN = rb"(?i:utf-?8|ascii|us-ascii|latin|iso-?8859|cp125)"


def code_of(data: bytes) -> bytes:
    """*data*, a Python file, in UTF-8 and lines, without strings and comments.

    Lines joined by a backslash become one.
    """
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\0" in data:
        # UTF-16 and UTF-32, which Python rejects: the user must hear of such a file.
        data = data.replace(b"\0", b"").lstrip(b"\xff\xfe")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    coding = re.match(_CODING, data) if b"coding" in data[:400] else None
    if coding and not re.match(_PLAIN, coding[1]):  # these encode ASCII text unchanged
        with contextlib.suppress(LookupError, UnicodeError):
            data = data.decode(coding[1].decode()).encode("utf-8", "replace")
    code = _UNREAD.sub(b" ", data)
    if b"\\\n" in code:
        code = code.replace(b"\\\n", b" ")
    return code.replace(b"\f", b" ") if b"\f" in code else code


_IMPORTS_MXM = (
    rb"(?m)(?:^|[;:])[ \t]*"
    rb"(?:from|import(?:[ \t]+[\w.]+(?:[ \t]+as[ \t]+\w+)?[ \t]*,)*)[ \t]+mxm\b"
)
# The two usual spellings; `usage` finds the others.
_DECORATES = re.compile(rb"^@mxm\.flow\b(?![ \t]*\.)", re.MULTILINE)
_IMPORTS_PLAINLY = re.compile(
    rb"^import(?:[ \t]+[\w.]+(?:[ \t]+as[ \t]+\w+)?[ \t]*,)*[ \t]+mxm[ \t]*(?:$|[,;])",
    re.MULTILINE,
)
_IMPORTS_NAMES = rb"(?m)^from[ \t]+mxm(?:\.\w+)*[ \t]+import\b([^\n;(]*|[ \t]*\([^)]*)"
_NAMED_FLOW = rb"\bflow\b(?![ \t]+as\b)"
_NAMED_REGISTER = rb"\bregister_flow\b(?![ \t]+as\b)"
_DECORATES_BY_NAME = rb"(?m)^@flow\b(?![ \t]*\.)"
_REGISTERS = rb"(?<!def )\bregister_flow[ \t]*\("


def imports_mxm(code: bytes) -> bool:
    """Whether *code* imports mxm or something from it."""
    return bool(re.search(_IMPORTS_MXM, code))


def surely_declares(code: bytes) -> bool:
    """Whether *code* certainly declares a flow, judged by matching alone."""
    if _DECORATES.search(code) and _IMPORTS_PLAINLY.search(code):
        return True
    names = b",".join(re.findall(_IMPORTS_NAMES, code))
    if re.search(_NAMED_FLOW, names) and re.search(_DECORATES_BY_NAME, code):
        return True
    return bool(re.search(_NAMED_REGISTER, names) and re.search(_REGISTERS, code))


_TOP = rb"(?m)(?:^|[;:])[ \t]*(?:from[ \t]+(\.*\w*)|import[ \t]+([^\n;(]+))"
_FIRST = rb"[ \t]*(\.|\w+)"


def top_imports(code: bytes) -> set[str]:
    """The first part of every name that *code* imports; ``.`` for a relative import."""
    imported: set[str] = set()
    for origin, names in re.findall(_TOP, code):
        parts = (
            [origin] if origin else [name.strip().partition(b".")[0] for name in names.split(b",")]
        )
        for part in parts:
            name = part.partition(b" ")[0].decode("utf-8", "replace")
            imported.add("." if name.startswith(".") else name)
    return imported
