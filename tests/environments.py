"""The built wheel, and environments to install it into; what cannot be had here is skipped aloud."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parent.parent
UV = (sys.executable, "-m", "uv")
PIP = (sys.executable, "-m", "pip")
# What pip and uv say where no package index answers, or it has not the package.
UNREACHABLE = re.compile(
    r"connection broken|NewConnectionError|error sending request|dns error"
    r"|was not found in the package registry"
)


@dataclass(frozen=True)
class Artifact:
    """What a release consists of, built once; *source* is the unpacked sdist."""

    wheel: Path
    sdist: Path
    source: Path


def build(folder: Path) -> Artifact:
    """The sdist of this tree, and the wheel built from that sdist; those in MXM_DIST, if it is set.

    A release tests what it publishes: it builds once, and names the folder.
    """
    built = Path(os.environ.get("MXM_DIST") or folder).resolve()
    if built == folder.resolve():
        run(sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT))
    [wheel], [sdist] = built.glob("*.whl"), built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return Artifact(wheel, sdist, folder / sdist.name.removesuffix(".tar.gz"))


@dataclass(frozen=True)
class Environment:
    """A virtual environment that holds nothing but what is installed into it."""

    folder: Path
    path: Path | None = None  # packages that it may import without their being installed

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def install(self, *packages: str, cwd: Path | None = None) -> None:
        run(*UV, "pip", "install", "--quiet", "--python", self.python, *packages, cwd=cwd)

    def run(self, *args: str, cwd: Path | None = None) -> str:
        """What its Python prints, given *args*."""
        return run(self.python, *args, cwd=cwd or self.folder, env=self.variables())

    def variables(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.path)} if self.path else {}


def environment(folder: Path, python: str, path: Path | None = None) -> Environment:
    """A new, empty environment of *python* in *folder*."""
    run(python, "-m", "venv", "--without-pip", str(folder))
    return Environment(folder, path)


def outcome(
    *command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: int = 900
) -> subprocess.CompletedProcess[str]:
    """*command* as a process that inherits nothing of this one's Python."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(
        command,
        cwd=cwd,
        env={**inherited, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


def run(
    *command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: int = 900
) -> str:
    """What *command* prints; a failure is the test's, unless no index could be reached."""
    done = outcome(*command, cwd=cwd, env=env, timeout=timeout)
    if done.returncode:
        failed(command, done.stdout)
    return done.stdout


def failed(command: tuple[str, ...], text: str) -> NoReturn:
    if UNREACHABLE.search(text):
        pytest.skip(f"no package index answered: {' '.join(command[:6])} ...")
    pytest.fail(f"{' '.join(command)}\n{text[-6000:]}", pytrace=False)


def find_python(version: str) -> str:
    """The interpreter of *version* ("3.13"): this one, one on PATH, or one of pyenv's; else skips."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    command = f"python{version}"
    choices: list[dict[str, str]] = [{}]
    if shutil.which("pyenv"):  # whose python3.13 answers only where that version is chosen
        named = outcome("pyenv", "versions", "--bare").stdout.split()
        choices += [{"PYENV_VERSION": name} for name in named if name.startswith(f"{version}.")]
    for choice in choices if shutil.which(command) else ():
        told = outcome(command, "-c", "import sys; print(sys.executable)", env=choice)
        if not told.returncode:
            return told.stdout.strip()
    pytest.skip(f"there is no {command} on PATH: install Python {version} to have this tested")
