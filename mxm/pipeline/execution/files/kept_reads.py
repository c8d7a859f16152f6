"""Reads whose results stay in the process: at import, and in functions under `functools.cache`.

Who uses such a result later opens nothing, so the file counts for that attempt, too.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from types import CodeType, FrameType
from typing import Any, TypeAlias

__all__ = ["Origins", "is_below", "is_left_out", "is_of_system", "origins_of"]

Origins: TypeAlias = "tuple[str, ...]"
"""Files of the project's code that a read is kept by."""

_DEEPEST = 200  # frames that are looked at
_library: tuple[str, ...] = ()
_known: dict[int, tuple[int, frozenset[CodeType]]] = {}


def origins_of(frame: FrameType | None) -> Origins:
    """The files of code that keeps what is read in *frame*."""
    origins: list[str] = []
    for _ in range(_DEEPEST):
        if frame is None:
            break
        code, names = frame.f_code, frame.f_globals
        if not _is_installed(code.co_filename) and (
            (code.co_name == "<module>" and _is_initialising(names)) or _is_cached(code, names)
        ):
            origins.append(code.co_filename)
        frame = frame.f_back
    return tuple(origins)


def _is_initialising(names: dict[str, Any]) -> bool:
    return bool(getattr(names.get("__spec__"), "_initializing", False))


def _is_cached(code: CodeType, names: dict[str, Any]) -> bool:
    """Whether *code* is that of a function under `functools.cache`."""
    # A name that is bound anew does not change how many there are.
    return _code_of(names.get(code.co_name)) is code or code in _cached(names)


def _code_of(value: Any) -> CodeType | None:
    function = getattr(value, "__func__", value)  # of a static or class method
    if type(function).__name__ != "_lru_cache_wrapper":
        return None
    code = getattr(getattr(function, "__wrapped__", None), "__code__", None)
    return code if isinstance(code, CodeType) else None


def _cached(names: dict[str, Any]) -> frozenset[CodeType]:
    """The code of functions under `functools.cache` in a module with these *names*."""
    known = _known.get(id(names))
    if known is not None and known[0] == len(names):
        return known[1]
    cached: set[CodeType] = set()
    for value in list(names.values()):
        members = list(vars(value).values()) if isinstance(value, type) else ()
        for one in (value, *members):
            code = _code_of(one)
            if code is not None:
                cached.add(code)
    codes = frozenset(cached)
    _known[id(names)] = len(names), codes
    return codes


def is_below(path: str, folder: str) -> bool:
    """Whether *path* is *folder* or inside it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


_installed: dict[str, bool] = {}


def _is_installed(file: str) -> bool:
    known = _installed.get(file)
    if known is None:
        known = file.startswith("<frozen ") or any(is_below(file, f) for f in _library_folders())
        _installed[file] = known
    return known


def _library_folders() -> tuple[str, ...]:
    """Where Python, installed packages and this one are."""
    global _library
    if not _library:
        paths = sysconfig.get_paths()
        names = {sys.prefix, sys.base_prefix, paths["stdlib"], paths["platstdlib"]}
        names |= {paths["purelib"], paths["platlib"], os.path.dirname(os.path.dirname(__file__))}
        names |= {path for path in sys.path if "site-packages" in path or "dist-packages" in path}
        home = os.environ.get("PREFECT_HOME") or os.path.expanduser("~/.prefect")
        _library = tuple(os.path.abspath(name) for name in {*names, home})
    return _library


_SYSTEM = (
    *("/usr/share", "/usr/lib", "/usr/lib64", "/usr/local/share", "/usr/local/lib", "/etc", "/lib"),
    *("/lib64", "/var/cache/fontconfig", "/System", "/Library", "/opt/homebrew"),
)
_OWN = (".cache", ".config", ".matplotlib", ".local/share/fonts", ".fonts", "Library/Caches")


def is_of_system(path: str, root: str) -> bool:
    """Whether nobody names *path* as an input of the project in *root*: it is not the user's data.

    Time zones, certificates and fonts, and what libraries keep in the user's home. A result
    depends on them like on any file that was read.
    """
    folders = [*_SYSTEM, *(os.path.join(os.path.expanduser("~"), name) for name in _OWN)]
    folders += [os.environ[name] for name in ("SYSTEMROOT", "PROGRAMFILES") if name in os.environ]
    return not is_below(path, root) and any(is_below(path, folder) for folder in folders)


def is_left_out(path: str, root: str) -> bool:
    """Whether *path* is not an input of the project in *root*: of Python, a device, the store."""
    if path.startswith(("/proc/", "/sys/", "/dev/")) or "/.mxm/" in path or path.endswith("/.mxm"):
        return True
    if path.endswith((".pyc", ".pyo")):
        return True
    store = os.environ.get("MXM_HOME")
    if store and is_below(path, os.path.abspath(os.path.expanduser(store))):
        return True
    # A project that is itself below one of these folders is one all the same.
    return any(
        is_below(path, folder) and not (is_below(path, root) and is_below(root, folder))
        for folder in _library_folders()
    )
