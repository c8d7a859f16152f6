"""The surroundings of a run: process, code, versions. Slow lookups run in a thread."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
import threading
import types
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["About", "engine_version", "git_state", "is_running", "process_start", "sources_of",
           "user_name", "versions_of"]  # fmt: skip

_GIT_S = 2.0


def user_name() -> str:
    """The user, host and process of this run."""
    for name in ("LOGNAME", "USER", "USERNAME"):
        if os.environ.get(name):
            return os.environ[name]
    if sys.platform == "win32":
        return ""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):  # a system without it, or a user without a name
        return ""


def process_start(pid: int) -> str | None:
    """An identifier of process *pid* that a later process with the same number does not share."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name of the program, in brackets, may contain anything.
            ticks = file.read().rpartition(b")")[2].split()[19].decode()
        return f"{_boot()}:{ticks}"
    except (OSError, IndexError):
        return None


@functools.cache
def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def is_running(pid: int, start: str | None) -> bool:
    """Whether process *pid*, started at *start*, is still running on this host."""
    if os.name != "posix":
        return True  # a signal would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    now = process_start(pid)
    return start is None or now is None or start == now


def git_state(folder: str) -> dict[str, Any] | None:
    """Commit, branch, and whether the working tree differs, untracked files included.

    None without git; after two seconds, only what is known by then.
    """
    status = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=normal")
    if status is None:
        commit = _git(folder, "rev-parse", "HEAD")
        return {"commit": commit.strip(), "branch": None, "dirty": None} if commit else None
    lines = status.splitlines()
    heads = dict(
        line[2:].split(" ", 1) for line in lines if line.startswith("# ") and " " in line[2:]
    )
    commit = heads.get("branch.oid")
    return {
        "commit": None if commit == "(initial)" else commit,
        "branch": heads.get("branch.head"),
        "dirty": any(not line.startswith("#") and "__pycache__" not in line for line in lines),
    }


def _git(folder: str, *arguments: str) -> str | None:
    # A hook of git's sets variables that name another repository; a monitor of files is a program
    # that the repository chooses.
    variables = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    variables["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        ran = subprocess.run(  # noqa: S603
            ["git", "-C", folder, "-c", "core.fsmonitor=false", *arguments],  # noqa: S607
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=variables,
            timeout=_GIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return ran.stdout.decode("utf-8", "replace")


def _modules() -> Iterator[tuple[str, types.ModuleType, str]]:
    """What is loaded from a file: name, module, file."""
    for name, module in list(sys.modules.items()):
        if type(module) is types.ModuleType:
            file = vars(module).get("__file__")
            if isinstance(file, str):
                # Hundreds of them, at each run: what cannot change is worked out once.
                absolute = os.path.isabs(file)
                yield name, module, _normal(file) if absolute else os.path.abspath(file)


_normal = functools.lru_cache(maxsize=16_384)(os.path.normpath)


@functools.lru_cache(maxsize=16_384)
def _is_of_project(file: str, root: str) -> bool:
    if not file.startswith(root.rstrip(os.sep) + os.sep):
        return False
    parts = file[len(root) :].split(os.sep)
    return not {"site-packages", "dist-packages"}.intersection(parts) and not file.startswith(
        _STDLIB
    )


_STDLIB = os.path.dirname(os.__file__) + os.sep
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def sources_of(root: str, known: Mapping[str, str]) -> dict[str, str]:
    """The loaded files of the project under *root* by relative path, each with its digest.

    Parameters
    ----------
    root
        The project's folder.
    known
        Digests that are kept as they are.
    """
    digests = dict(known)
    for _, _, file in _modules():
        if _is_of_project(file, root) and not file.startswith(_OWN):
            path = os.path.relpath(file, root)
            if path not in digests:
                with contextlib.suppress(OSError), open(file, "rb") as opened:
                    digests[path] = hashlib.sha256(opened.read()).hexdigest()[:32]
    return dict(sorted(digests.items()))


# Libraries of tables and arrays count wherever they are loaded: code may get them from others.
_OF_DATA = frozenset({"numpy", "pandas", "polars", "pyarrow", "scipy", "sklearn", "statsmodels"})


def versions_of(root: str, backend: str) -> dict[str, str]:
    """The versions of Python, this package, the engine, and the packages that the project uses."""
    from mxm.pipeline.version import __version__

    versions = {"python": platform.python_version(), "mxm-pipeline": __version__}
    engine = engine_version(backend)
    if engine:
        versions[backend] = engine
    names = set(_OF_DATA)
    for _, module, file in _modules():
        if _is_of_project(file, root) and not file.startswith(_OWN):
            names.update(_reached(module))
    for name in sorted(names - sys.stdlib_module_names - {"mxm"}):
        version = _version(name)
        if version:
            versions[name] = version
    return versions


def _reached(module: types.ModuleType) -> Iterator[str]:
    """Top-level names of the modules that *module* names."""
    for value in list(vars(module).values()):
        named: Any = None
        if isinstance(value, types.ModuleType):
            named = value.__name__
        elif isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
            named = value.__module__
            if isinstance(value, types.FunctionType):  # imports inside functions
                yield from (name for name in value.__code__.co_names if name in sys.modules)
        if isinstance(named, str):
            yield named.partition(".")[0]


def _version(name: str) -> str | None:
    """The version of the loaded top-level module *name*; None for a module of the project."""
    module = sys.modules.get(name)
    if type(module) is not types.ModuleType:
        return None
    file = vars(module).get("__file__")
    version = vars(module).get("__version__")
    if isinstance(version, str):
        return version
    if not isinstance(file, str) or not {"site-packages", "dist-packages"} & {*file.split(os.sep)}:
        return None
    return engine_version(name)


@functools.cache
def engine_version(name: str) -> str | None:
    """The version of the installed distribution *name*."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except (PackageNotFoundError, ValueError):
        return None


class About:
    """Facts about a run, which a thread collects while tasks run.

    Parameters
    ----------
    root
        The project's folder.
    """

    def __init__(self, root: str) -> None:
        self.root: str = root
        self.git: dict[str, Any] | None = None
        self.sources: dict[str, str] = {}
        self._thread = threading.Thread(target=self._look, name="mxm-about", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        from mxm.pipeline.execution.files.observing import unobserved  # history needs none of it

        with unobserved():  # tasks run meanwhile: what is read here is no input of theirs
            with contextlib.suppress(Exception):  # it must not disturb a run
                self.sources = sources_of(self.root, {})
            with contextlib.suppress(Exception):
                self.git = git_state(self.root)

    def wait(self, seconds: float) -> None:
        """Wait for the facts, for at most *seconds*."""
        self._thread.join(seconds)

    def git_text(self) -> str | None:
        """The state of git as JSON."""
        return None if self.git is None else json.dumps(self.git)
