"""What is loaded, and when: the start of the command and of an analyst's module stays light."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command import write

# Typer 0.29 loads pydantic for every parameter of its own: what the command loads itself is told
# by the one module of ours that asks for it.
ENGINES = {"prefect", "rich", "numpy", "pandas", "mxm.pipeline.values.validation"}
HEAVY = {"prefect", "typer", "rich", "pydantic", "numpy", "pandas"}

FLOW = """
    import mxm

    @mxm.task
    def load(limit: int = 3) -> list[int]:
        return list(range(limit))

    @mxm.task(upstream=load)
    def total(rows: list[int]) -> int:
        return sum(rows)

    @mxm.flow
    def light(limit: int = 3):
        return total
    """


def loaded_by(code: str, folder: Path) -> set[str]:
    """The modules that *code* loads in an interpreter of its own, by full names."""
    told = "import json, sys; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\n{told}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    found: list[str] = json.loads(ran.stdout.splitlines()[-1])
    return set(found)


def loaded_by_command(arguments: list[str], folder: Path, code: int = 0) -> set[str]:
    run = f"""
from mxm.pipeline.cli.main import app
try:
    app({arguments!r})
except SystemExit as end:
    assert int(end.code or 0) == {code}, end.code
"""
    return loaded_by(run, folder)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, {"light.py": FLOW})
    return tmp_path


def test_this_test_sees_what_is_loaded(tmp_path: Path) -> None:
    pytest.importorskip("pydantic")
    assert "pydantic" in loaded_by("import pydantic", tmp_path)


@pytest.mark.parametrize(
    "code",
    [
        "import mxm; mxm.task; mxm.flow",
        "import mxm.pipeline; mxm.pipeline.FlowSpec; mxm.pipeline.register_flow",
        "from mxm.pipeline.api import compile_flow, execute_flow",
        "import light; light.light.spec",
        "import light; light.load(3)",
    ],
)
def test_declaring_flows_loads_no_library(project: Path, code: str) -> None:
    assert loaded_by(code, project) & HEAVY == set()


def test_importing_mxm_loads_no_module_of_ours_before_it_is_used(project: Path) -> None:
    code = "import mxm, sys; assert not [m for m in sys.modules if m.startswith('mxm.')]"
    loaded_by(code, project)


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["list", "--json"],
        ["show", "light"],
        ["graph", "light"],
        ["graph", "light", "--format", "mermaid"],
        ["check"],
        ["plan", "light"],
        ["schedule"],
        ["doctor"],
        ["--version"],
        ["run", "light", "--help"],
        ["runs"],
    ],
    ids=" ".join,
)
def test_command_that_runs_nothing_loads_no_engine(project: Path, arguments: list[str]) -> None:
    assert loaded_by_command(arguments, project) & ENGINES == set()


def test_a_tree_is_drawn_without_what_draws_pictures_and_reports(project: Path) -> None:
    loaded = loaded_by_command(["graph", "light"], project)
    assert "mxm.pipeline.views.tree" in loaded
    assert not {"mxm.pipeline.views.drawn", "mxm.pipeline.views.reported"} & loaded


def test_inline_run_loads_no_engine(project: Path) -> None:
    arguments = ["run", "light", "--backend", "inline"]
    assert loaded_by_command(arguments, project) & ENGINES == set()


def test_pydantic_is_loaded_where_a_value_must_be_read(project: Path) -> None:
    arguments = ["run", "light", "--backend", "inline", "-p", "limit=4"]
    assert loaded_by_command(arguments, project) & ENGINES == {"mxm.pipeline.values.validation"}


def test_file_of_parameters_that_fit_loads_no_library(project: Path) -> None:
    write(project, {"p.toml": "limit = 4"})
    arguments = ["run", "light", "--backend", "inline", "--params-file", "p.toml"]
    assert loaded_by_command(arguments, project) & {*ENGINES, "yaml"} == set()


def test_unknown_backend_loads_no_engine(project: Path) -> None:
    arguments = ["run", "light", "--backend", "prefct"]
    assert "prefect" not in loaded_by_command(arguments, project, code=2)


@pytest.mark.parametrize("verb", ["list", "show light", "graph light", "check"])
def test_what_looks_at_flows_opens_no_store(project: Path, verb: str) -> None:
    assert "sqlite3" not in loaded_by_command(verb.split(), project)


def test_runs_that_are_recorded_are_read_without_engine_or_module(project: Path) -> None:
    loaded_by_command(["run", "light", "--backend", "inline"], project)
    for arguments in (["runs"], ["runs", "show", "last"], ["runs", "diff", "last", "last"]):
        assert loaded_by_command(arguments, project) & {*ENGINES, "light"} == set()


def test_the_namespace_alone_loads_next_to_nothing(tmp_path: Path) -> None:
    loaded = loaded_by("import mxm", tmp_path) - loaded_by("", tmp_path)
    own = {"mxm", "importlib", "importlib.machinery", "warnings"}  # what Python has in it anyway
    assert loaded <= own | {"importlib._bootstrap", "importlib._bootstrap_external"}


def test_the_namespace_has_the_portions_that_pkgutil_finds(tmp_path: Path) -> None:
    write(tmp_path, {"a/mxm/alpha.py": "", "b/mxm/__init__.py": "", "b/mxm/beta.py": "", "c/x": ""})
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("mxm/__init__.py", "")
        archive.writestr("mxm/delta.py", "")
    code = f"""
import sys
sys.path += [{str(tmp_path)!r} + name for name in ("/a", "/b", "/c", "/d.zip", "/missing", "/a")]
import mxm, pkgutil, mxm.alpha, mxm.beta, mxm.delta
assert mxm.__path__ == pkgutil.extend_path(mxm.__path__[:1], "mxm"), mxm.__path__
"""
    loaded_by(code, tmp_path)


def test_the_pytest_plugin_loads_nothing_before_a_fixture_is_used() -> None:
    # It is imported in every session of pytest, and what only it imports is its cost.
    code = (
        "import sys, pytest; before = set(sys.modules); import mxm.pipeline.testing.plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = ["", ".testing", ".testing.plugin", ".version"]
    loaded = [name for name in ran.stdout.split() if name.startswith("mxm")]
    assert loaded == ["mxm", *("mxm.pipeline" + name for name in ours)]
