"""Discovery: where flows are looked for, what is imported, and what a target means."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import write

from mxm.pipeline import discovery
from mxm.pipeline.discovery import discover, find_flow
from mxm.pipeline.errors import AmbiguousFlowError, LoadError, PipelineError, UnknownFlowError

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
    for name in set(sys.modules) - modules:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def names(found: discovery.Found) -> list[str]:
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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[tool.mxm.pipeline", "pyproject.toml cannot be read"),
        ('[tool.mxm.pipeline]\npaths = "src"\n', "paths is a list of strings, not 'src'"),
        ("[tool.mxm.pipeline]\nmodules = [1]\n", "modules is a list of strings, not [1]"),
        ('[tool.mxm.pipeline]\npaths = ["gone"]\n', "paths names 'gone', which is no folder"),
    ],
)
def test_configuration_that_cannot_be_used_names_file_and_key(
    project: Path, text: str, told: str
) -> None:
    write(project, {"pyproject.toml": text})
    with pytest.raises(PipelineError) as caught:
        discover()
    assert told in str(caught.value)
    assert "pyproject.toml" in str(caught.value)


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


def test_entry_points_of_other_distributions_are_loaded(project: Path) -> None:
    write(
        project,
        {
            "site/firm_flows.py": flow("installed"),
            "site/firm-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: firm\nVersion: 1.0\n",
            "site/firm-1.0.dist-info/entry_points.txt": "[mxm.flows]\nfirm = firm_flows\n",
        },
    )
    sys.path.insert(0, str(project / "site"))
    (project / "work").mkdir()
    found = discover(start=str(project / "work"))
    assert names(found) == ["installed"]
    assert "entry point firm = firm_flows" in found.looked_at


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


@pytest.mark.parametrize(
    "text",
    [
        "import mxm\nraise SystemExit('imported')\n",
        "def flow(f): return f\n@flow\ndef f(): raise SystemExit\nraise SystemExit('imported')\n",
        "# import mxm; @mxm.flow\nraise SystemExit('imported')\n",
        "import pandas_mxm\n@pandas_mxm.flow\ndef f(): ...\n",
        "import mxm\n'@mxm.flow'  # @mxm.flow\nraise SystemExit('imported')\n",
        "import mxm\n'''\n\\'''\n@mxm.flow\n'''\nraise SystemExit('imported')\n",
        'import mxm\n"""Write:\n\n@mxm.flow\ndef f(): ...\n"""\nraise SystemExit(\'imported\')\n',
        "import mxm\ndef register_flow(spec): ...\nraise SystemExit('imported')\n",
    ],
)
def test_file_that_declares_no_flow_is_not_imported(project: Path, text: str) -> None:
    write(project, {"innocent.py": text})
    found = discover()
    assert (names(found), found.failures) == ([], [])


@pytest.mark.parametrize(
    "text",
    [
        "import mxm\n@mxm.flow\ndef found(): return t\n",
        "from mxm import flow\n@flow()\ndef found(): return t\n",
        "import os as o, mxm\nif o.name:\n    @ mxm . flow\n    def found(): return t\n",
        'if True: import mxm\nx = \'"\' "#"\n@mxm.flow\ndef found(): return t\n',
        "import mxm.pipeline as p\n@p.flow(name='found')\nasync def g(): return t\n",
        "from mxm.pipeline import FlowSpec, registry\nregistry.register_flow(FlowSpec('found'))\n",
    ],
)
def test_every_way_to_declare_a_flow_is_seen(project: Path, text: str) -> None:
    write(project, {"a.py": "from mxm import task\n@task\ndef t(): ...\n" + text})
    assert names(discover()) == ["found"]


def test_at_most_so_many_files_are_scanned_and_it_is_told(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "MOST_FILES", 2)
    write(project, {f"f{i}.py": flow(f"flow_{i}") for i in range(3)})
    found = discover()
    assert names(found) == ["flow_0", "flow_1"]
    assert any("only the first 2 files" in place for place in found.looked_at)


def test_home_folder_is_never_scanned(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(project))
    write(project, {"a.py": flow("private")})
    found = discover()
    assert names(found) == []
    assert "a home folder is never scanned" in found.looked_at[0]


def test_root_of_the_file_system_is_never_scanned(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_walk(folder: str) -> Iterator[str]:
        raise AssertionError(f"{folder} is scanned")

    monkeypatch.setattr(discovery, "python_files", no_walk)
    assert names(discover(start=os.sep)) == []


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


def test_module_that_does_not_exist_is_a_failure(project: Path) -> None:
    [failure] = discover(["no_such_module"]).failures
    assert "No module named 'no_such_module'" in str(failure)


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


def test_file_with_several_flows_asks_which(project: Path) -> None:
    write(project, {"a.py": _dedented(flow("first")) + _dedented(flow("second"))})
    with pytest.raises(AmbiguousFlowError) as caught:
        find_flow("a.py")
    assert "'a.py:first', 'a.py:second'" in str(caught.value)


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
        ("gone/a.py", "no such file: 'gone/a.py'", "there is no folder 'gone'"),
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
