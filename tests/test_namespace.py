"""``mxm`` is shared: the real family beside ours, installed and removed in every way; slow."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import golden
from environments import PIP, UV, Artifact, Environment, environment, find_python, run
from typecheckers import type_check

from mxm.pipeline.cli.main import VERBS

pytestmark = pytest.mark.slow

FAMILY = ("mxm-types", "mxm-config")
OURS = "mxm-pipeline"
# What importing all of them needs, and what editable installs need that build without a download.
NEEDED = (
    "typer",
    "pydantic",
    "numpy",
    "pandas",
    "omegaconf",
    "hatchling",
    "editables",
    "poetry-core",
)
LOOK = """
import importlib

found = []
for name in ("mxm.types", "mxm.config", "mxm.pipeline"):
    try:
        found.append(importlib.import_module(name).__name__)
    except ModuleNotFoundError as error:
        assert error.name == name, error

import mxm

if hasattr(mxm, "task"):

    @mxm.task
    def one() -> int:
        return 1

    @mxm.flow
    def whole():
        return one

    assert whole.with_options(backend="inline").run().value() == 1
    found.append("mxm.task")
print(found)
"""
OF_FAMILY, OF_OURS = ["mxm.types", "mxm.config"], ["mxm.pipeline", "mxm.task"]


@dataclass(frozen=True)
class Family:
    """The family's distributions as wheels and as unpacked sdists, and what all need to run."""

    python: str
    needed: Path
    wheels: list[Path]
    sources: list[Path]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    folder, python = tmp_path_factory.mktemp("family"), find_python("3.13")  # their oldest
    needed = folder / "needed"
    run(*UV, "pip", "install", "--quiet", "--python", python, "--target", str(needed), *NEEDED)
    fetch = (*PIP, "--python", python, "download", "--no-deps", "--quiet", *FAMILY)
    run(*fetch, "--only-binary", ":all:", "--dest", str(folder / "wheels"))
    run(*fetch, "--no-binary", ",".join(FAMILY), "--dest", str(folder / "sdists"))
    sources = folder / "sources"
    sources.mkdir()
    for sdist in (folder / "sdists").iterdir():
        run("tar", "xzf", str(sdist), "-C", str(sources))
    return Family(python, needed, sorted((folder / "wheels").iterdir()), sorted(sources.iterdir()))


def editable(sources: Sequence[Path]) -> list[str]:
    return [word for source in sources for word in ("--editable", str(source))]


def install(installer: str, place: Environment, packages: Sequence[str]) -> None:
    offline = ("--no-deps", "--no-build-isolation")
    start = {
        "pip": (*PIP, "--python", place.python, "install"),
        "uv": (*UV, "pip", "install", "--python", place.python),
    }[installer]
    run(*start, "--quiet", *offline, *packages, env=place.variables())


def uninstall(installer: str, place: Environment, names: Sequence[str]) -> None:
    start = {
        "pip": (*PIP, "--python", place.python, "uninstall", "--yes"),
        "uv": (*UV, "pip", "uninstall", "--python", place.python),
    }[installer]
    run(*start, "--quiet", *names)


def found(place: Environment) -> list[str]:
    """Which of the family and of ours can be imported, and work."""
    script = place.folder / "look.py"
    script.write_text(LOOK)
    return ast.literal_eval(place.run(str(script)))


@pytest.mark.parametrize("installer", ["pip", "uv"])
@pytest.mark.parametrize("first", ["family first", "ours first"])
@pytest.mark.parametrize("theirs", ["their wheels", "they editable"])
@pytest.mark.parametrize("ours", ["our wheel", "we editable"])
def test_ours_and_the_family_live_side_by_side(
    ours: str,
    theirs: str,
    first: str,
    installer: str,
    family: Family,
    artifact: Artifact,
    tmp_path: Path,
) -> None:
    place = environment(tmp_path / "place", family.python, family.needed)
    us = [str(artifact.wheel)] if ours == "our wheel" else editable([artifact.source])
    them = list(map(str, family.wheels))
    if theirs == "they editable":
        them = editable(family.sources)

    for packages in (them, us) if first == "family first" else (us, them):
        install(installer, place, packages)
    assert found(place) == OF_FAMILY + OF_OURS

    uninstall(installer, place, [OURS])
    assert found(place) == OF_FAMILY
    install(installer, place, us)
    assert found(place) == OF_FAMILY + OF_OURS

    uninstall(installer, place, FAMILY)
    assert found(place) == OF_OURS
    install(installer, place, them)
    assert found(place) == OF_FAMILY + OF_OURS


PROGRAM = """
from typing import assert_type

import mxm
import mxm.config
from mxm.pipeline import FlowRun
from mxm.types import JSONMap


@mxm.task
def load(limit: int) -> list[float]:
    return [float(limit)]


@mxm.flow
def whole(limit: int = 3) -> list[float]:
    return load(limit)


right: JSONMap = {"limit": 3}
wrong: JSONMap = 3  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
mxm.config.no_such  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
mxm.tsk  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
assert_type(load(3), list[float])
assert_type(whole.run(limit=3), FlowRun)
"""


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_type_checkers_see_ours_and_the_familys(
    checker: str, family: Family, artifact: Artifact, tmp_path: Path
) -> None:
    # All as wheels: pyright does not follow what one editable install adds to the path of `mxm`.
    place = environment(tmp_path / "place", family.python)
    place.install(str(artifact.wheel), *map(str, family.wheels))
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = type_check(checker, place.python, tmp_path, program)
    assert done.returncode == 0, done.stdout + done.stderr


# The rest of the family, which needs other packages that ours needs, too.
RUNNING = ("mxm-refdata", "mxm-runtime")
FLOWS = """
import mxm
import mxm.refdata
import mxm.runtime


@mxm.task
def load() -> int:
    return 1


@mxm.flow
def whole() -> int:
    return load()
"""


def test_ours_with_its_engine_and_the_family_need_nothing_that_clashes(
    artifact: Artifact, tmp_path: Path
) -> None:
    place = environment(tmp_path / "place", find_python("3.13"))
    place.install(f"{artifact.wheel}[prefect]", *RUNNING)
    run(*UV, "pip", "check", "--python", place.python)
    (tmp_path / "flows.py").write_text(FLOWS)
    command = str(place.folder / "bin" / "mxm-pipeline")
    for backend in ("inline", "prefect"):
        out = run(command, "run", "whole", "--quiet", "--backend", backend, cwd=tmp_path)
        assert json.loads(out) == {"load": 1}
    for verb in VERBS:  # their Typer is older than ours
        shown = run(command, verb, "--help", cwd=tmp_path, env={"COLUMNS": "100"})
        golden(f"help_{verb}", shown)
    for name in RUNNING:
        place.run("-c", f"import {name.replace('-', '.')}")
