"""Discovery: where flows are looked for, what is imported, and what a target means."""

from __future__ import annotations

import builtins
import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from command import call, write

from mxm.pipeline.discovery import scan
from mxm.pipeline.discovery import search as discovery
from mxm.pipeline.discovery.search import discover, find_flow, find_flows
from mxm.pipeline.errors import AmbiguousFlowError, LoadError, UnknownFlowError

FLOW = """
    import mxm

    @mxm.task
    def one() -> int:
        return 1

    @mxm.flow
    def {name}():
        return one
    """


def flow(name: str) -> str:
    return FLOW.format(name=name)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory; what is imported from it is let go."""
    modules = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in sorted(set(sys.modules) - modules, reverse=True):  # packages after their modules
        module = sys.modules[name]
        places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
        if any(str(tmp_path) in place for place in places):
            del sys.modules[name]


def names(found: discovery.Discovery) -> list[str]:
    return [entry.name for entry in found.flows]


# Where it is looked


def test_without_configuration_the_files_under_the_working_directory_are_scanned(
    project: Path,
) -> None:
    write(project, {"a.py": flow("first"), "deep/er/b.py": flow("second")})
    assert names(discover()) == ["first", "second"]


def test_configured_modules_are_imported_from_the_configured_paths(project: Path) -> None:
    settings = '[tool.mxm.pipeline]\npaths = ["src"]\nmodules = ["firm.flows"]\n'
    write(
        project,
        {
            "pyproject.toml": settings,
            "src/firm/__init__.py": "",
            "src/firm/flows.py": flow("named"),
            "src/firm/others.py": flow("not_named"),
        },
    )
    assert names(discover()) == ["named"]


def test_configured_paths_without_modules_are_scanned(project: Path) -> None:
    write(
        project,
        {
            "pyproject.toml": '[tool.mxm.pipeline]\npaths = ["src"]\n',
            "src/firm/__init__.py": "",
            "src/firm/flows.py": flow("beneath"),
            "beside.py": flow("beside"),
        },
    )
    assert names(discover()) == ["beneath"]


def test_configured_modules_without_paths_are_found_from_the_working_directory(
    project: Path,
) -> None:
    write(
        project,
        {"pyproject.toml": '[tool.mxm.pipeline]\nmodules = ["here"]\n', "here.py": flow("local")},
    )
    assert names(discover()) == ["local"]


def test_configuration_holds_in_folders_beneath_it(project: Path) -> None:
    write(
        project,
        {
            "pyproject.toml": '[tool.mxm.pipeline]\npaths = ["src"]\n',
            "src/flows.py": flow("above"),
            "docs/x.txt": "",
        },
    )
    assert names(discover(start=str(project / "docs"))) == ["above"]


def test_nearest_pyproject_is_the_projects_and_hides_those_above(project: Path) -> None:
    write(
        project,
        {
            "pyproject.toml": '[tool.mxm.pipeline]\nmodules = ["missing_module"]\n',
            "inner/pyproject.toml": "[project]\nname = 'inner'\n",
            "inner/flows.py": flow("inner_flow"),
        },
    )
    found = discover(start=str(project / "inner"))
    assert (names(found), found.failures) == (["inner_flow"], [])


def test_configured_modules_are_found_beside_the_file_from_folders_beneath_it(
    project: Path,
) -> None:
    settings = '[tool.mxm.pipeline]\nmodules = ["fl"]\n'
    write(project, {"pyproject.toml": settings, "fl.py": flow("above"), "deep/er/x.txt": ""})
    start = str(project / "deep" / "er")
    assert names(discover(start=start)) == ["above"]
    assert find_flow("fl:above", start=start).name == "above"


def test_modules_given_are_imported_beside_the_configured_ones(project: Path) -> None:
    write(
        project,
        {
            "pyproject.toml": '[tool.mxm.pipeline]\nmodules = ["here"]\n',
            "here.py": flow("configured"),
            "more.py": flow("given"),
        },
    )
    assert names(discover(["more"])) == ["configured", "given"]


def test_modules_given_add_to_what_is_scanned(project: Path) -> None:
    write(project, {"a.py": flow("scanned"), "tests/more.py": flow("given")})
    sys.path.insert(0, str(project / "tests"))
    found = discover(["more"])
    assert names(found) == ["given", "scanned"]
    assert found.looked_at[0] == "module more"


def install(project: Path, module: str, value: str = "firm_flows") -> Path:
    """The working directory of a *project* with a distribution whose entry point is *value*."""
    about = "Metadata-Version: 2.1\nName: firm\nVersion: 1.0\n"
    write(
        project,
        {
            "site/firm_flows.py": module,
            "site/firm-1.0.dist-info/METADATA": about,
            "site/firm-1.0.dist-info/entry_points.txt": f"[mxm.flows]\nall = {value}\n",
            "work/own.py": flow("own"),
        },
    )
    sys.path.insert(0, str(project / "site"))
    return project / "work"


def test_entry_points_of_other_distributions_are_loaded(project: Path) -> None:
    found = discover(start=str(install(project, flow("installed"))))
    assert names(found) == ["installed"]
    assert found.looked_at == ["entry point all of firm 1.0 = firm_flows"]


@pytest.mark.parametrize("value", ["firm_flows", "firm_flows:flows"])
def test_broken_entry_point_is_named_with_its_distribution(project: Path, value: str) -> None:
    work = install(project, "import mxm\n1 / 0\n", value)
    [failure] = discover(start=str(work)).failures
    told = "module 'firm_flows' (entry point all of firm 1.0) could not be imported: ZeroDivision"
    assert told in str(failure)


@pytest.mark.parametrize("value", ["no_such:x", ":x", "not a module!", ".relative"])
def test_entry_point_that_names_no_module_is_a_failure(project: Path, value: str) -> None:
    [failure] = discover(start=str(install(project, flow("x"), value))).failures
    assert "(entry point all of firm 1.0) could not be imported" in str(failure)


def test_flow_missed_beside_entry_points_is_told_that_its_folder_is_not_scanned(
    project: Path,
) -> None:
    work = install(project, flow("installed"))
    with pytest.raises(UnknownFlowError) as caught:
        find_flow("own", start=str(work))
    told = str(caught.value)
    assert "known: 'installed'" in told
    assert f"hint: {work} is not scanned, because entry points name the flows" in told
    assert find_flow("own.py:own", start=str(work)).name == "own"


def test_what_was_looked_at_is_told_with_whole_paths(project: Path) -> None:
    write(project, {"a.py": "print('no flows')\n"})
    assert discover().looked_at == [f"1 Python files under {project}, 0 of which declare flows"]


# What is imported


@pytest.mark.parametrize(
    "name",
    [
        ".hidden/a.py",
        ".hidden.py",
        "tests/a.py",
        "test_a.py",
        "conftest.py",
        "env/a.py",
        "node_modules/a.py",
        "build/a.py",
    ],
)
def test_hidden_files_tests_and_virtual_environments_are_not_scanned(
    project: Path, name: str
) -> None:
    write(project, {name: flow("unwanted"), "env/pyvenv.cfg": "", "good.py": flow("wanted")})
    assert names(discover()) == ["wanted"]


def test_at_most_so_many_files_are_scanned_and_it_is_told(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "MOST_FILES", 2)
    write(project, {f"f{i}.py": flow(f"flow_{i}") for i in range(3)})
    found = discover()
    assert names(found) == ["flow_0", "flow_1"]
    [warning] = found.warnings
    assert warning.startswith(f"only the first 2 Python files under {project} were scanned: ")
    assert found.looked_at == [f"2 Python files under {project}, 2 of which declare flows"]
    warned: list[str] = []
    assert find_flow("flow_1", warn=warned.append).name == "flow_1"
    assert warned == [warning]
    with pytest.raises(UnknownFlowError) as caught:
        find_flow("flow_2")
    assert f"hint: {warning}" in str(caught.value)


def test_search_of_just_so_many_files_is_whole(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "MOST_FILES", 2)
    write(project, {f"f{i}.py": flow(f"flow_{i}") for i in range(2)})
    assert discover().warnings == []


def test_home_folder_is_never_scanned(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(project))
    write(project, {"a.py": flow("private")})
    found = discover()
    assert names(found) == []
    assert "a home folder is never scanned" in found.looked_at[0]


def test_root_of_the_file_system_is_never_scanned(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_walk(folder: str) -> scan.Scan:
        raise AssertionError(f"{folder} is scanned")

    monkeypatch.setattr(discovery, "scan", no_walk)
    found = discover(start=os.sep)
    assert (names(found), found.looked_at) == ([], ["not /: the root folder is never scanned"])


def test_file_in_a_package_is_imported_by_its_dotted_name(project: Path) -> None:
    write(
        project,
        {
            "firm/__init__.py": "",
            "firm/sub/__init__.py": "NAME = 'relative'\n",
            "firm/sub/flows.py": "from . import NAME\n" + _dedented(flow("packaged")),
        },
    )
    found = discover()
    assert (names(found), found.failures) == (["packaged"], [])
    assert "firm.sub.flows" in sys.modules


def test_file_named_like_a_module_of_the_library_is_imported_all_the_same(project: Path) -> None:
    write(project, {"json.py": flow("mine"), "array.py": flow("also"), "my-flows.py": flow("x")})
    assert names(discover()) == ["also", "mine", "x"]
    assert sys.modules["json"].loads("1") == 1


def test_files_of_one_name_in_two_folders_are_both_imported(project: Path) -> None:
    write(project, {"a/flows.py": flow("of_a"), "b/flows.py": flow("of_b")})
    assert names(discover()) == ["of_a", "of_b"]


def test_files_of_one_name_imported_by_their_paths_are_two_modules(project: Path) -> None:
    for folder in ("a", "b"):
        text = f"WHERE = {folder!r}\n" + textwrap.dedent(flow(f"of_{folder}"))
        write(project, {f"{folder}/json.py": text})
    assert names(discover()) == ["of_a", "of_b"]
    assert [sys.modules[f"{folder}.json"].WHERE for folder in ("a", "b")] == ["a", "b"]


def test_files_of_one_name_that_only_their_paths_tell_apart_are_two_modules(project: Path) -> None:
    for folder in ("a-a", "b-b"):
        text = f"WHERE = {folder!r}\n" + textwrap.dedent(flow(f"of_{folder[0]}"))
        write(project, {f"{folder}/json.py": text})
    assert names(discover()) == ["of_a", "of_b"]
    imported = [m for n, m in sys.modules.items() if n.startswith("mxm_flows_json_")]
    assert sorted(m.WHERE for m in imported) == ["a-a", "b-b"]


# Packages without __init__.py, and folders of scripts

COUNTED = """
import builtins
import mxm

builtins.times = getattr(builtins, "times", 0) + 1

@mxm.task
def load() -> str:
    return __name__
"""


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often a module of the text `COUNTED` was carried out."""
    monkeypatch.setattr(builtins, "times", 0, raising=False)
    return lambda: cast("Any", builtins).times


def of(imports: str, name: str = "risk") -> str:
    """A module that *imports* the task `load` and makes a flow of it."""
    return f"import mxm\n{imports}\n\n@mxm.flow\ndef {name}():\n    return load\n"


PATHS = '[tool.mxm.pipeline]\npaths = ["src"]\n'
LAYOUTS: dict[str, tuple[dict[str, str], str]] = {
    "relative, under paths": (
        {
            "pyproject.toml": PATHS,
            "src/firm/tasks.py": COUNTED,
            "src/firm/flows.py": of("from .tasks import load"),
        },
        "firm.tasks",
    ),
    "absolute, under paths": (
        {
            "pyproject.toml": PATHS,
            "src/firm/flows.py": COUNTED + of(""),
            "src/firm/more.py": of("from firm.flows import load", "more"),
            "src/app.py": of("from firm.flows import load", "app"),
        },
        "firm.flows",
    ),
    "above a package, under paths": (
        {
            "pyproject.toml": PATHS,
            "src/firm/risk/__init__.py": "",
            "src/firm/risk/tasks.py": COUNTED,
            "src/firm/risk/flows.py": of("from firm.risk.tasks import load"),
            "src/firm/more.py": of("from .risk.tasks import load", "more"),
        },
        "firm.risk.tasks",
    ),
    "under two levels": (
        {
            "pyproject.toml": PATHS,
            "src/firm/tasks.py": COUNTED,
            "src/firm/eu/flows.py": of("from ..tasks import load"),
        },
        "firm.tasks",
    ),
    "in the working directory": (
        {
            "firm/tasks.py": COUNTED,
            "firm/flows.py": of("from .tasks import load"),
            "firm/more.py": of("from firm.tasks import load", "more"),
        },
        "firm.tasks",
    ),
    "in src": (
        {
            "pyproject.toml": "[project]\nname = 'x'\n",
            "src/firm/tasks.py": COUNTED,
            "src/firm/flows.py": of("from .tasks import load"),
            "jobs/daily.py": of("from firm.tasks import load", "daily"),
        },
        "firm.tasks",
    ),
    "in a folder that no import can name": (
        {
            "my-project/firm/tasks.py": COUNTED,
            "my-project/firm/flows.py": of("from firm.tasks import load"),
        },
        "firm.tasks",
    ),
    "scripts": (
        {
            "jobs/tasks.py": COUNTED,
            "jobs/flows.py": of("from tasks import load"),
            "jobs/more.py": of("from flows import load", "more"),
        },
        "tasks",
    ),
    "scripts, under paths": (
        {
            "pyproject.toml": PATHS,
            "src/jobs/flows.py": COUNTED + of(""),
            "src/jobs/more.py": of("from flows import load", "more"),
        },
        "flows",
    ),
    "scripts beside a package": (
        {
            "jobs/common/tasks.py": COUNTED,
            "jobs/daily/flows.py": of("from common.tasks import load"),
        },
        "common.tasks",
    ),
    "packages with an __init__ that are no one's path": (
        {
            "lib/firm/__init__.py": "",
            "lib/firm/tasks.py": COUNTED,
            "lib/firm/flows.py": of("from firm.tasks import load"),
        },
        "firm.tasks",
    ),
}


@pytest.mark.parametrize(("files", "module"), LAYOUTS.values(), ids=LAYOUTS)
def test_one_module_has_one_name_and_is_carried_out_once(
    project: Path, times: Callable[[], int], files: dict[str, str], module: str
) -> None:
    write(project, files)
    found = discover()
    flows = sorted(n for n in ("risk", "more", "app", "daily") if f"def {n}(" in str(files))
    assert (names(found), found.failures) == (flows, [])
    for entry in found.flows:
        [task] = entry.spec().tasks
        assert task.fn() == module
    assert times() == 1


@pytest.mark.parametrize(("files", "module"), LAYOUTS.values(), ids=LAYOUTS)
def test_file_as_a_target_is_imported_as_it_is_in_a_search(
    project: Path, times: Callable[[], int], files: dict[str, str], module: str
) -> None:
    write(project, files)
    file = next(name for name, text in files.items() if "def risk(" in text)
    assert find_flow(file).spec().tasks[0].fn() == module
    assert times() == 1


def test_folder_that_is_called_as_an_installed_package_is_still_imported(project: Path) -> None:
    write(
        project,
        {
            "site-packages/jobs/__init__.py": "",
            "work/jobs/daily.py": flow("daily"),
            "work/jobs/weekly.py": flow("weekly"),
        },
    )
    sys.path.append(str(project / "site-packages"))
    found = discover(start=str(project / "work"))
    assert (names(found), found.failures) == (["daily", "weekly"], [])


# Several projects and folders whose modules have the same names

HELPED = """
import mxm
from helpers import WHERE

@mxm.task
def where() -> list[str]:
    import late

    return [WHERE, late.WHERE]

@mxm.flow(name="flow_{name}")
def f():
    return where
"""
PROJECT = '[project]\nname = "x"\n'


def several(folder: Path, form: str) -> None:
    """Three projects of one *form* under *folder*, whose modules have the same names."""
    for name in "abc":
        at = f"{name}-x" if form == "dashes" else name
        inner = {"src": f"{at}/src", "packages": f"{at}/firm"}.get(form, at)
        text = HELPED.format(name=name)
        if form == "packages":
            text = text.replace("from helpers", "from .helpers").replace(
                "import late", "from . import late"
            )
        files = {f"{inner}/{m}.py": f"WHERE = {name!r}\n" for m in ("helpers", "late")}
        files[f"{inner}/flows.py"] = text
        if form not in ("scripts", "dashes"):
            files[f"{at}/pyproject.toml"] = PROJECT
        if form == "packages":
            files[f"{inner}/__init__.py"] = ""
        write(folder, files)


FORMS = ["scripts", "dashes", "projects", "src", "packages"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_flow_uses_its_own_projects_modules_whatever_others_are_called(
    project: Path, form: str, name: str
) -> None:
    several(project, form)
    assert names(discover()) == ["flow_a", "flow_b", "flow_c"]
    entry = find_flow(f"flow_{name}")
    assert entry.spec().tasks[0].fn() == [name, name]


@pytest.mark.parametrize("form", FORMS)
def test_every_flow_that_a_search_finds_has_its_own_modules(project: Path, form: str) -> None:
    several(project, form)
    for entry in discover().flows:
        assert entry.spec().tasks[0].fn.__globals__["WHERE"] == entry.name[-1]


def test_worker_processes_import_the_modules_of_the_flows_own_project(tmp_path: Path) -> None:
    several(tmp_path, "scripts")
    for name in "ab":
        ran = call(
            "run", f"flow_{name}", "--backend", "inline", "--runner", "processes", cwd=tmp_path
        )
        assert json.loads(ran.out) == {"where": [name, name]}, ran.err


def test_module_that_two_folders_share_is_carried_out_once(
    project: Path, times: Callable[[], int]
) -> None:
    write(
        project,
        {
            "common.py": COUNTED,
            "a/flows.py": of("import own\nfrom common import load", "of_a"),
            "a/own.py": "",
            "b/flows.py": of("import own\nfrom common import load", "of_b"),
            "b/own.py": "",
        },
    )
    found = discover()
    assert (names(found), found.failures, times()) == (["of_a", "of_b"], [], 1)


def test_module_of_one_folder_is_not_found_from_another(project: Path) -> None:
    write(project, {"a/own.py": "", "a/flows.py": "import own\n" + _dedented(flow("of_a"))})
    write(project, {"b/flows.py": "import own\n" + _dedented(flow("of_b"))})
    found = discover()
    assert names(found) == ["of_a"]
    assert "No module named 'own'" in str(found.failures[0])


def test_flow_of_a_module_given_imports_what_it_would_alone(project: Path) -> None:
    text = """
        import mxm

        @mxm.task
        def where() -> str:
            import late
            return late.WHERE

        @mxm.flow
        def given():
            return where
        """
    write(project, {"given.py": text, "late.py": "WHERE = 'own'\n"})
    write(
        project, {"z/flows.py": "import late\n" + _dedented(flow("z")), "z/late.py": "WHERE = 'z'"}
    )
    write(project, {"pyproject.toml": '[tool.mxm.pipeline]\npaths = ["z"]\n'})
    sys.path.insert(0, str(project))
    assert names(discover(["given"])) == ["given", "z"]
    assert find_flow("given", ["given"]).spec().tasks[0].fn() == "z"  # paths go first
    write(project, {"pyproject.toml": ""})
    assert find_flow("given", ["given"]).spec().tasks[0].fn() == "own"


def test_flow_of_a_module_that_another_imports_has_its_own_modules(project: Path) -> None:
    several(project, "scripts")
    inner = "import flows\nfrom flows import f\n" + _dedented(flow("outer_{}"))
    for name in "ab":
        write(project, {f"{name}/outer.py": inner.replace("{}", name)})
        # No scan finds it by its text.
        file = project / name / "flows.py"
        file.write_text(file.read_text().replace("@mxm.flow", "@getattr(mxm, 'flow')"))
    for name in "ab":
        assert find_flow(f"flow_{name}").spec().tasks[0].fn() == [name, name]


def test_relative_import_where_imports_start_says_where_to_run_from(project: Path) -> None:
    write(project, {"firm/tasks.py": COUNTED, "firm/flows.py": of("from .tasks import load")})
    [failure] = discover(start=str(project / "firm")).failures
    assert "run from the folder above" in (failure.hint or "")


def test_folders_that_a_module_puts_on_the_path_stay_there_for_its_flows(project: Path) -> None:
    text = """
        import os, sys
        import mxm, own
        sys.path.append(os.path.join(os.path.dirname(__file__), "lib"))

        @mxm.task
        def where() -> str:
            import late
            return late.WHERE

        @mxm.flow(name="of_{}")
        def f():
            return where
        """
    for name in "ab":
        write(project, {f"{name}/flows.py": text.format(name), f"{name}/own.py": ""})
        write(project, {f"{name}/lib/late.py": f"WHERE = {name!r}\n"})
    for name in "ab":
        assert find_flow(f"of_{name}").spec().tasks[0].fn() == name


def test_paths_of_each_project_beneath_are_used(project: Path) -> None:
    write(
        project,
        {
            "a/pyproject.toml": '[tool.mxm.pipeline]\npaths = ["lib"]\n',
            "a/lib/firm/tasks.py": COUNTED,
            "a/lib/firm/flows.py": of("from firm.tasks import load"),
            "a/run.py": of("from firm.tasks import load", "run"),
        },
    )
    for start in (project, project / "a"):
        assert find_flow(str(project / "a/run.py"), start=str(start)).name == "run"
    found = discover()
    assert (names(found), found.failures) == (["risk", "run"], [])


def test_project_beneath_whose_settings_are_wrong_hides_no_other(project: Path) -> None:
    several(project, "projects")
    write(project, {"b/pyproject.toml": "[tool.mxm.pipeline]\npath = []\n"})
    found = discover()
    assert names(found) == ["flow_a", "flow_c"]
    [failure] = found.failures
    assert "unknown key 'path'" in str(failure)
    assert str(failure.source) == "b/flows.py"


def test_file_is_not_taken_for_another_of_its_name_on_an_earlier_path(project: Path) -> None:
    write(
        project,
        {
            "pyproject.toml": '[tool.mxm.pipeline]\npaths = ["a", "b"]\n',
            "a/flows.py": "raise SystemExit('this file declares none')\n",
            "b/flows.py": flow("of_b"),
        },
    )
    found = discover()
    assert (names(found), found.failures) == (["of_b"], [])


def test_one_file_under_two_names_is_one_flow(project: Path) -> None:
    settings = '[tool.mxm.pipeline]\npaths = ["."]\nmodules = ["pack.flows", "flows"]\n'
    write(project, {"pyproject.toml": settings, "pack/__init__.py": "", "pack/flows.py": flow("x")})
    sys.path.insert(0, str(project / "pack"))
    found = discover()
    assert (names(found), found.failures) == (["x"], [])


def test_second_search_finds_the_same_flows(project: Path) -> None:
    write(project, {"a.py": flow("again")})
    assert names(discover()) == names(discover()) == ["again"]


def test_search_leaves_the_current_registry_alone(project: Path) -> None:
    from mxm.pipeline.registry import list_flows

    write(project, {"a.py": flow("inside")})
    discover()
    assert list_flows() == []


def test_what_a_module_prints_goes_to_stderr(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, {"a.py": "print('hello')\n" + _dedented(flow("x"))})
    discover()
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")


# Modules that fail


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("raise RuntimeError('no licence')\n", "bad.py:2", "RuntimeError: no licence"),
        ("raise SystemExit(3)\n", "bad.py:2", "SystemExit: 3"),
        ("def f(:\n    pass\n", "bad.py:2:7", "SyntaxError"),
        ("import no_such_module\n", "bad.py:2", "No module named 'no_such_module'"),
        ("@mxm.task\nclass C: ...\n", "bad.py:2", "'C' is a class"),
        ("mxm.tsk\n", "bad.py:2", "has no attribute 'tsk'"),
        ("import json\njson.loads('x')\n", "bad.py:3", "JSONDecodeError"),
        ("import pytest\npytest.skip('x', allow_module_level=True)\n", "bad.py:3", "Skipped: x"),
        ("class Own(BaseException): ...\nraise Own('mine')\n", "bad.py:3", "Own: mine"),
        ("eval('1 +')\n", "bad.py:2", "SyntaxError"),
        ("import asyncio\nraise asyncio.CancelledError\n", "bad.py:3", "CancelledError"),
    ],
)
def test_module_that_fails_is_reported_at_its_own_line_and_hides_no_other(
    project: Path, text: str, line: str, told: str
) -> None:
    write(project, {"bad.py": f"import mxm\n{text}@mxm.flow\ndef f(): ...\n"})
    write(project, {"good.py": flow("good")})
    found = discover()
    assert names(found) == ["good"]
    [failure] = found.failures
    assert failure.module == "bad"
    assert str(failure.source) == line
    assert str(failure).startswith(f"{line}: module 'bad' could not be imported: ")
    assert told in str(failure)


def test_error_in_a_module_that_a_flow_imports_is_reported_there(project: Path) -> None:
    text = "import library\n" + _dedented(flow("x"))
    write(project, {"flows.py": text, "library.py": "x = 1\n\n1 / 0\n"})
    [failure] = discover().failures
    assert (failure.module, str(failure.source)) == ("flows", "library.py:3")


@pytest.mark.parametrize("missing", ["no_such_module", "no_such.module"])
def test_module_that_does_not_exist_is_a_failure_that_says_where_it_was_looked_for(
    project: Path, missing: str
) -> None:
    [failure] = discover([missing]).failures
    opening, hint = str(failure).splitlines()
    told = f"module {missing!r} (-m) could not be imported: ModuleNotFoundError: No module named "
    assert opening.startswith(told)
    assert hint == f"  hint: imports are looked up in {project}, and where packages are installed"


def test_module_that_misses_another_is_not_taken_for_missing(project: Path) -> None:
    write(project, {"there.py": "import no_such_module\n"})
    [failure] = discover(["there"]).failures
    assert (str(failure.source), failure.hint) == ("there.py:1", None)


def test_file_that_python_cannot_read_is_named_all_the_same(project: Path) -> None:
    (project / "nul.py").write_bytes(b"import mxm\n@mxm.flow\ndef f(): ...\n\0")
    write(project, {"pyproject.toml": '[tool.mxm.pipeline]\nmodules = ["nul"]\n'})
    for start in (project, project / "deep"):
        [failure] = discover(start=str(start)).failures
        assert str(failure.source) == "nul.py"
    with pytest.raises(LoadError, match=r"^nul.py: module 'nul' could not be imported: "):
        find_flow("nul.py")


def test_error_in_an_installed_module_is_told_at_its_own_line(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "import json\n\nimport mxm\njson.loads('x')\n"
    write(project, {"site-packages/installed.py": text, "own.py": "import installed\n"})
    monkeypatch.syspath_prepend(project / "site-packages")
    installed, own = discover(["installed", "own"]).failures
    assert str(installed.source) == os.path.join("site-packages", "installed.py") + ":4"
    assert str(own.source) == "own.py:1"


@pytest.mark.parametrize("name", ["half.py", "pack/half.py", "json.py"])
def test_module_that_fails_registers_none_of_its_flows(project: Path, name: str) -> None:
    write(project, {name: textwrap.dedent(flow("half")) + "\n1 / 0\n", "pack/__init__.py": ""})
    write(project, {"good.py": flow("good")})
    found = discover()
    assert (names(found), len(found.failures)) == (["good"], 1)
    assert not any(n.startswith("mxm_flows_json") for n in sys.modules)
    with pytest.raises(LoadError, match=r"(?s)unknown flow 'half'.*half\.py:11|json\.py:11"):
        find_flow("half")


def test_flows_of_a_good_module_stay_where_one_that_imports_it_fails(project: Path) -> None:
    settings = '[tool.mxm.pipeline]\nmodules = ["bad"]\n'
    write(project, {"bad.py": "import good, half\n", "pyproject.toml": settings})
    half = textwrap.dedent(flow("half")) + "\n1 / 0\n"
    write(project, {"good.py": flow("good"), "half.py": half})
    found = discover()
    assert (names(found), len(found.failures)) == (["good"], 1)


def test_interrupt_while_a_module_is_imported_ends_the_search(project: Path) -> None:
    write(project, {"a.py": "import mxm\nraise KeyboardInterrupt\n@mxm.flow\ndef f(): ...\n"})
    with pytest.raises(KeyboardInterrupt):
        discover()


# Targets


def test_flow_by_name(project: Path) -> None:
    write(project, {"a.py": flow("first"), "b.py": flow("second")})
    assert find_flow("second").spec().name == "second"


@pytest.mark.parametrize("target", ["a.py:first", "a.py", "./a.py:first", "firm.flows:third"])
def test_target_with_a_place_imports_that_place_alone(project: Path, target: str) -> None:
    write(
        project,
        {
            "a.py": flow("first"),
            "bad.py": "import mxm\n1 / 0\n@mxm.flow\ndef f(): ...\n",
            "firm/__init__.py": "",
            "firm/flows.py": flow("third"),
        },
    )
    assert find_flow(target).name in ("first", "third")
    assert "bad" not in sys.modules


def test_absolute_path_and_home_path(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, {"a.py": flow("first")})
    monkeypatch.setenv("HOME", str(project))
    assert find_flow(f"{project / 'a.py'}:first").name == "first"
    assert find_flow("~/a.py:first").name == "first"


def test_module_target_uses_the_configured_paths(project: Path) -> None:
    write(
        project,
        {"pyproject.toml": '[tool.mxm.pipeline]\npaths = ["src"]\n', "src/m.py": flow("x")},
    )
    assert find_flow("m:x").name == "x"


def test_flow_in_a_place_goes_by_its_function_too(project: Path) -> None:
    text = (
        "import mxm\n@mxm.task\ndef t(): ...\n@mxm.flow(name='end of day')\ndef eod(): return t\n"
    )
    write(project, {"a.py": text})
    assert find_flow("a.py:eod").name == find_flow("a.py:end of day").name == "end of day"


def test_file_does_not_answer_for_flows_that_it_only_imports(project: Path) -> None:
    text = "from other import theirs\n" + _dedented(flow("mine"))
    write(project, {"a.py": text, "other.py": flow("theirs")})
    assert find_flow("a.py").name == "mine"


def test_file_with_several_flows_lists_them_and_asks_which(project: Path) -> None:
    write(project, {"a.py": _dedented(flow("first")) + _dedented(flow("second"))})
    with pytest.raises(AmbiguousFlowError) as caught:
        find_flow("a.py")
    assert str(caught.value).splitlines() == [
        "'a.py' has 2 flows",
        "    first   a.py:7",
        "    second  a.py:17",
        "  hint: give one of them: a.py:first",
    ]
    assert [entry.name for entry in find_flows("a.py")] == ["first", "second"]


def test_two_flows_of_one_name_in_a_file_are_not_told_apart_by_guessing(project: Path) -> None:
    write(project, {"a.py": _dedented(flow("same")) + _dedented(flow("same"))})
    for target in ("same", "a.py:same", "a:same"):
        with pytest.raises(AmbiguousFlowError, match=r"(?s)a\.py:7.*a\.py:17.*another name"):
            find_flow(target)
    [clash] = discover().registry.clashes().values()
    assert [str(place) for _, place in clash.places] == ["a.py:7", "a.py:17"]


def test_two_flows_of_one_name_in_a_file_go_by_their_functions(project: Path) -> None:
    text = "import mxm\n@mxm.task\ndef t(): ...\n" + "".join(
        f"@mxm.flow(name='same')\ndef {name}(): return t\n" for name in ("one", "two")
    )
    write(project, {"a.py": text})
    with pytest.raises(AmbiguousFlowError, match="give the file: a.py:one"):
        find_flow("a.py:same")
    assert find_flow("a.py:two").place.qualname == "two"


def test_flow_of_a_factory_belongs_to_the_file_that_calls_it(project: Path) -> None:
    factory = """
        import mxm

        @mxm.task
        def one() -> int:
            return 1

        def made(name: str):
            @mxm.flow(name=name)
            def body():
                return one
            return body
        """
    write(
        project,
        {
            "factory.py": factory,
            "a.py": "from factory import made\nx = made('of_a')\n",
            "bad.py": "from factory import made\nx = made('of_bad')\n1 / 0\n",
        },
    )
    found = discover()
    assert [(e.name, str(e.source)) for e in found.flows] == [("of_a", "a.py:2")]
    assert [str(f.source) for f in found.failures] == ["bad.py:3"]
    assert find_flow("a.py").name == "of_a"


# Names that Python cannot import


@pytest.mark.parametrize(
    ("file", "hint"),
    [
        ("a.b.py", "rename 'a.b.py' to 'a_b.py'"),
        ("deep/a.b.c.py", "rename 'a.b.c.py' to 'a_b_c.py'"),
        ("v1.2/__init__.py", "rename 'v1.2' to 'v1_2'"),
        ("v1.2/flows.py", "rename 'v1.2' to 'v1_2'"),
        ("firm/v1.2/flows.py", "rename 'v1.2' to 'v1_2'"),
    ],
)
def test_dot_in_the_name_of_a_file_or_package_says_how_to_rename_it(
    project: Path, file: str, hint: str
) -> None:
    packages = {f"{os.path.dirname(file)}/__init__.py": ""} if "v1.2" in file else {}
    write(project, {**packages, "firm/__init__.py": "", file: flow("x"), "good.py": flow("good")})
    found = discover()
    assert names(found) == ["good"]
    [failure] = found.failures
    assert (failure.hint, str(failure.source)) == (hint, file)
    assert "Python reads the dot in" in str(failure)
    with pytest.raises(LoadError, match=hint):
        find_flow(file)


@pytest.mark.parametrize("file", ["my-flows.py", "2024.py", "class.py", "my flows.py", "v1.2/a.py"])
def test_names_that_only_a_statement_cannot_import_are_imported(project: Path, file: str) -> None:
    write(project, {file: flow("x")})
    found = discover()
    assert (names(found), found.failures) == (["x"], [])


def test_folder_as_a_target_asks_for_a_file(project: Path) -> None:
    write(project, {"flows/a.py": flow("x")})
    with pytest.raises(UnknownFlowError, match="'flows' is a folder: give one of its files"):
        find_flow("flows")


def test_file_without_a_flow_says_how_one_is_declared(project: Path) -> None:
    write(project, {"a.py": "x = 1\n"})
    with pytest.raises(UnknownFlowError) as caught:
        find_flow("a.py")
    assert "no flow in 'a.py'" in str(caught.value)
    assert "@mxm.flow" in str(caught.value)


@pytest.mark.parametrize(
    ("target", "told", "hint"),
    [
        ("a.py:frist", "unknown flow 'frist' in 'a.py'", "did you mean 'first'?"),
        ("aa.py:first", "no such file: 'aa.py'", "did you mean 'a.py'?"),
        ("gone/a.py", "no such file: 'gone/a.py'", "no such folder: 'gone'"),
        ("frist", "unknown flow 'frist'", "did you mean 'first'?"),
    ],
)
def test_target_that_is_not_there_suggests_the_nearest(
    project: Path, target: str, told: str, hint: str
) -> None:
    write(project, {"a.py": flow("first")})
    with pytest.raises(UnknownFlowError) as caught:
        find_flow(target)
    assert caught.value.message == told
    assert caught.value.hint == hint


@pytest.mark.parametrize("target", ["zzz", "many:zzz", "many.py:zzz"])
def test_name_near_none_of_many_points_to_list(project: Path, target: str) -> None:
    many = "".join(textwrap.dedent(flow(f"flow_{i}")) for i in range(13))
    write(project, {"many.py": many})
    with pytest.raises(UnknownFlowError) as caught:
        find_flow(target)
    assert "13" in (caught.value.hint or "")
    assert "`mxm-pipeline list` shows" in (caught.value.hint or "")
    write(project, {"bad.py": "import mxm\n1 / 0\n@mxm.flow\ndef f(): ..."})
    with pytest.raises(LoadError) as failed:
        find_flow("zzz")
    assert failed.value.hint == "`mxm-pipeline list` shows all 13 flows"


@pytest.mark.parametrize("name", ["daily:load", "a:daily", "json:daily", "what, so: ever"])
def test_flow_with_a_colon_in_its_name_is_found_by_it(project: Path, name: str) -> None:
    text = f"import mxm\n@mxm.task\ndef t(): ...\n@mxm.flow(name={name!r})\ndef f(): return t\n"
    write(project, {"a.py": text})
    assert find_flow(name).name == name


def test_module_of_a_target_that_does_not_exist_is_named(project: Path) -> None:
    write(project, {"a.py": flow("first")})
    with pytest.raises(UnknownFlowError) as caught:
        find_flow("no_such:first")
    told = "unknown flow 'no_such:first'\n  hint: no such module: 'no_such'"
    assert str(caught.value) == told


def test_nothing_found_has_the_way_out(project: Path) -> None:
    with pytest.raises(UnknownFlowError) as caught:
        find_flow("any")
    looked, way_out = (caught.value.hint or "").split("\n  hint: ")
    assert looked == f"looked at: 0 Python files under {project}, 0 of which declare flows"
    assert way_out == "decorate a function with @mxm.flow, or name modules with -m"


def test_name_not_found_beside_failures_tells_both_and_still_suggests(project: Path) -> None:
    write(project, {"a.py": flow("first"), "bad.py": "import mxm\n1 / 0\n@mxm.flow\ndef f(): ..."})
    with pytest.raises(LoadError) as caught:
        find_flow("frist")
    for part in ("unknown flow 'frist'", "bad.py:2", "ZeroDivisionError", "did you mean 'first'?"):
        assert part in str(caught.value)


def test_file_given_that_cannot_be_imported(project: Path) -> None:
    write(project, {"bad.py": "import mxm\n1 / 0\n"})
    with pytest.raises(LoadError) as caught:
        find_flow("bad.py:f")
    assert "bad.py:2: module 'bad' could not be imported: ZeroDivisionError" in str(caught.value)


def test_one_name_in_two_files_is_found_by_its_path(project: Path) -> None:
    write(project, {"a.py": flow("same"), "b.py": flow("same")})
    with pytest.raises(AmbiguousFlowError) as caught:
        find_flow("same")
    assert "same  a.py:7\n    same  b.py:7\n" in str(caught.value)
    assert "a.py:same" in str(caught.value)
    assert find_flow("b.py:same").place.file == str((project / "b.py").resolve())


def _dedented(text: str) -> str:
    return textwrap.dedent(text)
