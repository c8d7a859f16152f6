"""The built wheel, as it is released: what it contains, and that it works everywhere it should; slow."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from command import write
from environments import (
    ROOT,
    UV,
    Artifact,
    Environment,
    environment,
    find_python,
    outcome,
    run,
)
from packaging.requirements import Requirement
from packaging.version import Version

pytestmark = pytest.mark.slow

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
PYTHONS = ["3.11", "3.12", "3.13"]
OLDEST = PYTHONS[0]
OTHERS = [
    version for version in PYTHONS if version != f"{sys.version_info[0]}.{sys.version_info[1]}"
]


def lower_bounds(names: list[str]) -> dict[str, str]:
    """By distribution, the ``>=`` of each requirement in *names*; this project's own are none."""
    wanted = [Requirement(name) for name in names]
    return {r.name: s.version for r in wanted for s in r.specifier if s.operator == ">="}


def extra(name: str) -> list[str]:
    return PROJECT["optional-dependencies"][name]


# What it holds


def files_of(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_the_package_and_what_is_put_there_and_nothing_else(artifact: Artifact) -> None:
    own = {p for p in (ROOT / "mxm").rglob("*") if p.is_file() and p.parent.name != "__pycache__"}
    expected = {path.relative_to(ROOT).as_posix() for path in own}
    built = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    [(folder, target)] = built["sources"].items()
    for source in built["only-include"]:
        found = [ROOT / source] if (ROOT / source).is_file() else (ROOT / source).rglob("*")
        expected |= {
            (Path(target) / path.relative_to(ROOT / folder)).as_posix()
            for path in found
            if source != "mxm" and path.is_file()
        }
    about = f"mxm_pipeline-{PROJECT['version']}.dist-info"
    names = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    assert files_of(artifact.wheel) == expected | {f"{about}/{name}" for name in names}
    # The namespace's root is these two files; all else of ours is beneath mxm.pipeline.
    assert {"mxm/__init__.py", "mxm/py.typed", "mxm/pipeline/py.typed"} <= expected
    assert all(
        n.startswith("mxm/pipeline/") for n in expected - {"mxm/__init__.py", "mxm/py.typed"}
    )
    with zipfile.ZipFile(artifact.wheel) as archive:
        recorded = archive.read(f"{about}/RECORD").decode().splitlines()
    assert {line.split(",")[0] for line in recorded} == files_of(artifact.wheel)


def test_wheel_of_the_sdist_is_the_wheel_of_the_tree(artifact: Artifact, tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT))
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.read_bytes() == artifact.wheel.read_bytes()


def test_two_builds_of_one_tree_are_equal(artifact: Artifact, tmp_path: Path) -> None:
    # Unpacked at another time, by another user's umask, in another folder.
    made: list[Path] = []
    for name, umask, when in (("one", 0o022, 1_600_000_000), ("two", 0o077, 1_700_000_000)):
        tree = tmp_path / name
        shutil.copytree(artifact.source, tree)
        for path in tree.rglob("*"):
            path.chmod(path.stat().st_mode & ~umask)
            os.utime(path, (when, when))
        out = tmp_path / f"{name}-dist"
        run(sys.executable, "-m", "build", "--outdir", str(out), str(tree))
        made.append(out)
    first, second = ({path.name: path.read_bytes() for path in out.iterdir()} for out in made)
    assert len(first) == 2
    assert first == second
    assert first == {p.name: p.read_bytes() for p in (artifact.sdist, artifact.wheel)}


def test_metadata_says_which_pythons_are_tested() -> None:
    told = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r"3\.\d+$", c)}
    assert told
    assert told <= set(PYTHONS)
    assert PROJECT["requires-python"] == f">={OLDEST}"


# A part of the tests beside it, from the sdist, where the package is to be had from the wheel only:
# what can differ there, at three to four minutes each. All of them run on every Python of CI:
# .github/workflows/ci.yml.

# What needs neither Prefect nor what comes with it.
OF_THE_CORE = [
    *("annotations", "assembly", "authoring", "conversion", "discovery", "edges", "errors"),
    *("graph", "jsonvalue", "law", "params", "placeholders", "plan", "recorder", "registry"),
    *("runs", "settings", "spec", "specdict", "subflows", "views"),
]
# What goes by annotations, signatures, frames, the text, the tree and the bytecode of functions,
# pickle, sqlite3 and signals; the driver, worker processes and Prefect once.
OF_PYTHON = [
    *("annotations", "bad_exceptions", "compatibility", "conversion", "digest", "driver"),
    *("fingerprints", "fingerprint_edits", "import_budget", "iterators", "law", "membership"),
    *("nested_cache", "notebook", "placeholders", "prefect_adapter", "processes", "recorder"),
    *("scan", "signals", "signatures", "spec", "unpacking"),
]
# What goes by Typer, pydantic, Prefect, PyYAML, pandas and what the examples need.
OF_DEPENDENCIES = [
    *("cli", "conformance", "conversion", "examples", "import_budget", "jsonvalue", "meant"),
    *("names", "parameters", "params", "prefect_adapter", "prefect_fit", "runs_command"),
    *("settings", "sources"),
]
HANG_S = 3600  # on a busy machine, too, only what hangs takes so long


# What commands that tests start load again and again. It is compiled once: tests write no bytecode,
# and uv none either.
COMPILED = """
import compileall, contextlib, importlib, mxm.pipeline
compileall.compile_dir(mxm.pipeline.__path__[0], quiet=2)
for name in ("typer", "pydantic", "pytest", "numpy", "pandas", "prefect.main", "prefect.flow_engine"):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
"""


def run_tests(place: Environment, artifact: Artifact, folder: Path, which: list[str]) -> None:
    """The tests that are not slow, of the files *which*, in *place*."""
    place.run("-c", COMPILED)
    alone = folder / "alone"
    shutil.copytree(artifact.source, alone, ignore=shutil.ignore_patterns("mxm"))
    where = place.run("-c", "import mxm.pipeline; print(mxm.pipeline.__file__)", cwd=alone)
    assert where.startswith(str(place.folder))
    path = os.pathsep.join([str(place.folder / "bin"), os.environ["PATH"]])
    files = [f"tests/test_{name}.py" for name in which]
    command = (place.python, "-m", "pytest", "-m", "not slow", *files)
    done = outcome(*command, cwd=alone, env={"PATH": path}, timeout=HANG_S)
    assert done.returncode == 0, done.stdout[-8000:]


@pytest.mark.parametrize("version", OTHERS)
def test_other_pythons(version: str, artifact: Artifact, tmp_path: Path) -> None:
    place = environment(tmp_path / "place", find_python(version))
    place.install(f"{artifact.wheel}[prefect,yaml,dev]")
    run_tests(place, artifact, tmp_path, OF_PYTHON)


# The oldest dependencies that pyproject.toml allows


def oldest(place: Environment, artifact: Artifact, extras: list[str]) -> dict[str, str]:
    """Install the wheel with the oldest of what it asks for; what is installed, by name."""
    asked = [*PROJECT["dependencies"], *(name for e in extras for name in extra(e))]
    wheel = f"{artifact.wheel}[{','.join(extras)}]"
    place.install("--resolution", "lowest-direct", wheel, *asked)
    return installed(place)


def installed(place: Environment) -> dict[str, str]:
    text = "import json; from importlib.metadata import distributions as found; "
    text += "print(json.dumps({d.name.lower().replace('_', '-'): d.version for d in found()}))"
    return json.loads(place.run("-c", text))


def assert_at(found: dict[str, str], bounds: dict[str, str]) -> None:
    assert bounds
    assert {n: Version(found[n]) for n in bounds} == {n: Version(v) for n, v in bounds.items()}


def test_oldest_dependencies_of_the_core(artifact: Artifact, tmp_path: Path) -> None:
    place = environment(tmp_path / "place", find_python(OLDEST))
    bounds = lower_bounds(PROJECT["dependencies"])
    assert_at(oldest(place, artifact, []), bounds)
    place.install("pytest", "hypothesis", "attrs", "numpy", "pandas")
    assert_at(installed(place), bounds)
    run_tests(place, artifact, tmp_path, OF_THE_CORE)


def test_oldest_dependencies_of_the_extras(artifact: Artifact, tmp_path: Path) -> None:
    place = environment(tmp_path / "place", find_python(OLDEST))
    extras = ["prefect", "yaml", "examples"]
    bounds = lower_bounds([name for e in extras for name in extra(e)])
    assert_at(oldest(place, artifact, extras), bounds)
    place.install(*extra("dev"))
    assert_at(installed(place), bounds)
    run_tests(place, artifact, tmp_path, OF_DEPENDENCIES)


# The core alone

FLOW = """
    from datetime import date

    import mxm

    @mxm.task
    def load(day: date, limit: int = 3) -> list[int]:
        return [day.day] * limit

    @mxm.task(upstream=load)
    def total(rows: list[int]) -> int:
        return sum(rows)

    @mxm.flow
    def small(day: date):
        return total
    """


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
@pytest.mark.parametrize("version", PYTHONS)
def test_core_alone_does_all_but_run_through_prefect(
    version: str, kind: str, artifact: Artifact, tmp_path: Path
) -> None:
    place = environment(tmp_path / "place", find_python(version))
    place.install(str(getattr(artifact, kind)))
    folder = tmp_path / "project"
    write(folder, {"small.py": FLOW})
    command = str(place.folder / "bin" / "mxm-pipeline")

    assert "small.py" in run(command, "list", cwd=folder)
    assert "total" in run(command, "graph", "small", cwd=folder)
    assert "small" in run(command, "show", "small", cwd=folder)
    run(command, "check", cwd=folder)
    start = (command, "run", "small", "-p", "day=2024-01-02", "--quiet")
    told = run(*start, "--backend", "inline", cwd=folder)
    assert json.loads(told) == {"load": [2, 2, 2], "total": 6}

    done = outcome(*start, cwd=folder)
    assert done.returncode == 2
    assert "Prefect is not installed" in done.stdout
    assert "pip install 'mxm-pipeline[prefect]'" in done.stdout
    assert "Traceback" not in done.stdout
    assert "prefect" not in installed(place)


# The hook of .pre-commit-hooks.yaml, as pre-commit runs it


def test_the_hook_stops_a_commit_of_a_wrong_flow(artifact: Artifact, tmp_path: Path) -> None:
    place = environment(tmp_path / "place", sys.executable)
    place.install(str(artifact.wheel), "pre-commit")
    hooks, project = tmp_path / "hooks", tmp_path / "project"
    hooks.mkdir()
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks)
    write(project, {"small.py": FLOW})
    for folder in (hooks, project):
        run("git", "init", "--quiet", cwd=folder)
        run("git", "add", ".", cwd=folder)
    author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    run("git", *author, "commit", "--quiet", "--message", "Hooks", cwd=hooks)

    path = os.pathsep.join([str(place.folder / "bin"), os.environ["PATH"]])
    env = {"PATH": path, "PRE_COMMIT_HOME": str(tmp_path / "cache")}
    check = ("pre-commit", "try-repo", str(hooks), "--all-files")
    assert "Passed" in run(*check, cwd=project, env=env)
    write(project, {"small.py": FLOW.replace("upstream=load", "upstream='lod'")})
    done = outcome(*check, cwd=project, env=env)
    assert done.returncode == 1
    assert "unknown upstream" in done.stdout


# Tables of libraries that nothing else here has

TABLES = """
import datetime as dt
import math

import polars as pl
import pyarrow as pa

from mxm.pipeline.values.jsonvalue import to_json

fine = "2024-01-31T09:30:00.123456789"
times = pl.Series("t", [fine, None]).str.to_datetime(time_unit="ns")
spans = pl.Series([1, None, -2_000], dtype=pl.Duration("ns"))
frame = pl.DataFrame({"x": [1.5, math.nan, math.inf], "y": ["a", None, "b"]})
rows = [{"x": 1.5, "y": "a"}, {"x": None, "y": None}, {"x": None, "y": "b"}]
arrow = pa.table({"t": pa.array([dt.datetime(2024, 1, 31)]), "b": [b"x"]})

assert to_json(times).value == [fine, None]
zoned = to_json(times.dt.replace_time_zone("Europe/Berlin")).value
assert zoned == [fine + "+01:00", None]
assert to_json(spans).value == ["PT0.000000001S", None, "-PT0.000002S"]
assert to_json(frame) == (
    {"type": "polars.DataFrame", "shape": [3, 2], "columns": {"x": "Float64", "y": "String"},
     "head": rows},
    2,
    (),
)
assert to_json(pl.DataFrame({"t": times})).value["head"] == [{"t": fine}, {"t": None}]
assert to_json(frame.lazy()).described == ("polars.LazyFrame at $",)
assert to_json(pl.Series([1] * 1_001)).value["shape"] == [1_001]
assert to_json(arrow) == (
    {"type": "pyarrow.Table", "shape": [1, 2], "columns": {"t": "timestamp[us]", "b": "binary"},
     "head": [{"t": "2024-01-31T00:00:00", "b": {"type": "bytes", "repr": "b'x'"}}]},
    0,
    ("bytes at $.head[0].b",),
)
assert to_json(pa.array([1.5, math.nan, None])) == ([1.5, None, None], 1, ())
assert to_json(pa.scalar(3)).value == 3
twice = pa.table([[1], [2]], names=["x", "x"])
assert to_json(twice).described == ("a pyarrow.Table with two columns 'x' at $",)
"""


def test_tables_of_polars_and_pyarrow(artifact: Artifact, tmp_path: Path) -> None:
    place = environment(tmp_path / "place", sys.executable)
    place.install(str(artifact.wheel), "polars", "pyarrow")
    script = tmp_path / "tables.py"
    script.write_text(TABLES)
    place.run(str(script))


# By Poetry, as the runbook has it


def test_poetry_installs_it_with_prefect(artifact: Artifact, tmp_path: Path) -> None:
    tool = environment(tmp_path / "tool", sys.executable)
    tool.install("poetry")
    poetry = (str(tool.folder / "bin" / "poetry"), "--no-interaction")
    source = Path(shutil.copytree(artifact.source, tmp_path / "source"))
    env = {"POETRY_VIRTUALENVS_IN_PROJECT": "true", "POETRY_CACHE_DIR": str(tmp_path / "cache")}
    # The index that uv uses: Poetry asks its own by a second protocol, which mirrors do not speak.
    first = PROJECT["dependencies"][0]
    (tmp_path / "one.in").write_text(first)
    told = run(*UV, "pip", "compile", "--no-deps", "--emit-index-url", str(tmp_path / "one.in"))
    [index] = re.findall(r"^--index-url (\S+)", told, re.MULTILINE)
    add = ("source", "add", "--priority=primary", "index", index)
    run(*poetry, *add, cwd=source, env=env)

    run(*poetry, "install", "-E", "prefect", cwd=source, env=env)
    place = Environment(source / ".venv")
    found = installed(place)
    assert found["mxm-pipeline"] == PROJECT["version"]
    assert found["prefect"].startswith("3.")
    assert "matplotlib" not in found
    folder = tmp_path / "project"
    write(folder, {"small.py": FLOW})
    command = str(place.folder / "bin" / "mxm-pipeline")
    told = run(command, "run", "small", "-p", "day=2024-01-02", "--quiet", cwd=folder)
    assert json.loads(told) == {"load": [2, 2, 2], "total": 6}
