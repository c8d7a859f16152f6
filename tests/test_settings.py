"""``[tool.mxm.pipeline]``: what is read, what is refused, and that a run goes by it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from command import invoke, write

from mxm.pipeline.discovery.settings import KEYS, Settings, read_settings, working_directory
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.execution.options import RunOptions

PAGE = (Path(__file__).parent.parent / "docs" / "settings.md").read_text(encoding="utf-8")
HEAD = "[tool.mxm.pipeline]\n"
FLOW = """
    import threading
    import mxm

    @mxm.task
    def where() -> str:
        return threading.current_thread().name

    @mxm.flow
    def placed():
        return where
    """


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(folder: Path, text: str) -> str:
    write(folder, {"pyproject.toml": text})
    with pytest.raises(PipelineError) as caught:
        read_settings(str(folder))
    return str(caught.value)


def test_every_key_is_read(project: Path) -> None:
    text = 'paths = ["src"]\nmodules = ["m"]\nbackend = "inline"\nrunner = "threads"\nworkers = 2\n'
    write(project, {"pyproject.toml": HEAD + text, "src/m.py": "", "deep/er/x.txt": ""})
    settings = read_settings(str(project / "deep" / "er"))
    options = {"backend": "inline", "runner": "threads", "workers": 2}
    file = str(project / "pyproject.toml")
    assert settings == Settings(str(project), file, (str(project / "src"),), ("m",), options)


@pytest.mark.parametrize("text", ["", "[tool.ruff]\n", "[tool.mxm]\n", "[tool.mxm.other]\nx = 1\n"])
def test_project_that_says_nothing_of_flows_has_no_settings(project: Path, text: str) -> None:
    write(project, {"pyproject.toml": text})
    assert read_settings(str(project)) == Settings(str(project))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tool = 3\n", "pyproject.toml: tool is 3, not a table"),
        ("[tool]\nmxm = 3\n", "pyproject.toml: tool.mxm is 3, not a table"),
        ("[tool.mxm]\npipeline = []\n", "pyproject.toml: tool.mxm.pipeline is [], not a table"),
        (HEAD + "[", "pyproject.toml cannot be read: "),
        (HEAD + "path = []\n", "unknown key 'path'\n  hint: did you mean 'paths'?"),
        (
            HEAD + "color = 1\n",
            "unknown key 'color'\n  hint: known: 'address', 'backend', 'cache', 'keep_results',",
        ),
        (HEAD + "runner = 3\n", "runner must be a string, not 3"),
        (HEAD + "runner = 'thread'\n", "unknown runner 'thread'\n  hint: did you mean 'threads'?"),
        (HEAD + "workers = '2'\n", "workers must be a whole number, not '2'"),
        (HEAD + "workers = true\n", "workers must be a whole number, not true"),
        (HEAD + "workers = 0\n", "workers must be a positive number, not 0"),
        (HEAD + "backend = 'inlin'\n", "unknown backend 'inlin'\n  hint: did you mean 'inline'?"),
        (HEAD + "modules = 'm'\n", "modules must be a list of strings, not 'm'"),
        (HEAD + "paths = ['gone']\n", "paths: 'gone' is not a directory"),
        (HEAD + "strict_params = 1\n", "strict_params must be true or false, not 1"),
        (
            HEAD + "strict-params = true\n",
            "unknown key 'strict-params'\n  hint: did you mean 'strict_params'?",
        ),
    ],
)
def test_what_cannot_be_used_names_the_file_the_key_and_the_way_out(
    project: Path, text: str, told: str
) -> None:
    said = refused(project, text)
    assert said.startswith("pyproject.toml")
    assert told in said


def test_file_that_is_not_utf_8_is_named(project: Path) -> None:
    (project / "pyproject.toml").write_bytes(b"# \xff\n")
    with pytest.raises(PipelineError, match=r"^pyproject.toml cannot be read: .*utf-8"):
        read_settings(str(project))


@pytest.mark.parametrize("verb", [["list"], ["check"], ["run", "placed"], ["show", "placed"]])
def test_command_ends_with_2_where_the_settings_are_wrong(project: Path, verb: list[str]) -> None:
    write(project, {"pyproject.toml": "[tool.mxm]\npipeline = 1\n", "placed.py": FLOW})
    ran = invoke(*verb)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: pyproject.toml: tool.mxm.pipeline is 1, not a table\n")


def test_run_goes_by_the_settings_and_the_command_line_before_them(project: Path) -> None:
    text = HEAD + 'backend = "inline"\nrunner = "threads"\nworkers = 1\n'
    write(project, {"pyproject.toml": text, "placed.py": FLOW})
    assert json.loads(invoke("run", "placed").out) == {"where": "mxm-worker-1"}
    ran = invoke("run", "placed", "--runner", "sequential")
    assert json.loads(ran.out) == {"where": "MainThread"}
    assert invoke("run", "placed", "--backend", "prefct").code == 2


def test_strict_params_makes_an_unused_parameter_an_error(project: Path) -> None:
    text = HEAD + 'backend = "inline"\nstrict_params = {}\n'
    write(project, {"placed.py": FLOW})
    misspelt = ["run", "placed", "-p", "windw=3"]
    for setting, option, code in (
        ("true", [], 2),
        ("true", ["--strict-params"], 2),
        ("true", ["--no-strict-params"], 0),
        ("false", [], 0),
        ("false", ["--strict-params"], 2),
    ):
        write(project, {"pyproject.toml": text.format(setting)})
        ran = invoke(*misspelt, *option)
        assert (ran.code, "parameter 'windw' is not used" in ran.err) == (code, True), option


def test_the_page_of_settings_has_a_row_for_each_key() -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
    documented = {row[0].strip("| `"): row[1] for row in rows}
    assert documented == {name: key.kind for name, key in KEYS.items()}
    defaults = {row[0].strip("| `"): row[2].strip("`") for row in rows}
    options = RunOptions()
    for name, key in KEYS.items():
        if key.of_a_run and name not in ("backend", "workers", "address", "record", "cache"):
            assert json.loads(defaults[name]) == getattr(options, name)
    assert defaults["backend"] == '"prefect"'


def test_the_example_of_the_page_sets_every_key(project: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    write(project, {"pyproject.toml": example, "src/x": ""})
    assert list(tomllib.loads(example)["tool"]["mxm"]["pipeline"]) == list(KEYS)
    assert read_settings(str(project)).options["strict_params"] is True


def test_working_directory_that_is_gone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = project / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(PipelineError, match="there is no working directory"):
        working_directory()
