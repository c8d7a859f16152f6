from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mxm.pipeline.errors import AmbiguousFlowError, UnknownFlowError
from mxm.pipeline.problems import Source
from mxm.pipeline.registry import (
    FlowRegistry,
    Place,
    Registration,
    collecting,
    current_registry,
    get_flow,
    list_flows,
    register_flow,
)
from mxm.pipeline.spec import FlowSpec

Load = Callable[[str, Path], None]

FLOW = """
from mxm.pipeline.registry import register_flow
from mxm.pipeline.spec import FlowSpec
register_flow(FlowSpec("risk", params={{"version": {version}}}))
"""


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    def import_as(name: str, path: Path) -> None:
        found = importlib.util.spec_from_file_location(name, path)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        monkeypatch.setitem(sys.modules, name, module)
        found.loader.exec_module(module)

    return import_as


def flow_file(path: Path, version: int = 1) -> Path:
    path.write_text(FLOW.format(version=version), encoding="utf-8")
    return path


def entry(name: str, file: str, qualname: str = "risk", interactive: bool = False) -> Registration:
    return Registration(
        name,
        Place.of(file, qualname),
        lambda: FlowSpec(name, params={"file": file}),
        Source(file, 3),
        interactive,
    )


def test_a_registered_flow_is_listed_and_found() -> None:
    risk = register_flow(FlowSpec("risk"))
    report = register_flow(FlowSpec("Report"))
    assert list_flows() == ["Report", "risk"]
    assert get_flow("risk") is risk
    assert [e.spec() for e in current_registry().entries()] == [risk, report]


def test_only_specs_are_registered() -> None:
    with pytest.raises(TypeError, match="takes a FlowSpec, not 'risk'"):
        register_flow("risk")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("known", "hint"),
    [
        (["risk", "report"], "did you mean 'risk'?"),
        (["zz", "yy"], "known: 'yy', 'zz'"),
        ([f"flow_{i}" for i in range(13)], "`mxm-pipeline list` shows all 13 flows"),
        ([], "no flows are registered"),
    ],
)
def test_an_unknown_flow_is_a_key_error_that_reads_well(known: list[str], hint: str) -> None:
    for name in known:
        register_flow(FlowSpec(name))
    with pytest.raises(KeyError) as caught:
        get_flow("rsik")
    assert isinstance(caught.value, UnknownFlowError)
    assert str(caught.value) == f"unknown flow 'rsik'\n  hint: {hint}"


def test_the_same_place_replaces_whatever_the_line(tmp_path: Path, load: Load) -> None:
    path = flow_file(tmp_path / "flows.py")
    load("flows_one", path)
    path.write_text("# moved\n\n" + FLOW.format(version=22), encoding="utf-8")
    load("flows_one", path)
    assert get_flow("risk").params == {"version": 22}
    assert len(current_registry().entries()) == 1


def test_one_file_under_two_names_and_two_paths_is_one_place(tmp_path: Path, load: Load) -> None:
    path = flow_file(tmp_path / "flows.py")
    link = tmp_path / "link.py"
    link.symlink_to(path)
    load("flows_a", path)
    load("package.flows_b", path)
    load("flows_c", link)
    assert len(current_registry().entries()) == 1
    assert get_flow("risk").name == "risk"


def test_another_place_is_kept_and_both_are_named(tmp_path: Path, load: Load) -> None:
    paths = [flow_file(tmp_path / f"{name}.py") for name in ("one", "two")]
    for path in paths:
        load(f"flows_{path.stem}", path)
    with pytest.raises(AmbiguousFlowError) as caught:
        get_flow("risk")
    for path in paths:
        assert f"{path}:4" in str(caught.value)
    assert f"{paths[0]}:risk" in (caught.value.hint or "")
    assert list_flows() == ["risk"]
    assert len(current_registry().entries()) == 2


def test_clashes_are_problems_by_name() -> None:
    registry = FlowRegistry()
    for name, file in (("risk", "/x/a.py"), ("alone", "/x/a.py"), ("risk", "/x/b.py")):
        registry.add(entry(name, file))
    [(name, problem)] = registry.clashes().items()
    assert (name, problem.code, problem.flow) == ("risk", "MXM107", "risk")
    assert problem.places == (("risk", Source("/x/a.py", 3)), ("risk", Source("/x/b.py", 3)))


def test_flows_of_a_file_can_be_dropped() -> None:
    registry = FlowRegistry()
    for name, file in (("risk", "/x/a.py"), ("alone", "/x/a.py"), ("risk", "/x/b.py")):
        registry.add(entry(name, file))
    registry.drop({"/x/a.py"})
    assert registry.names() == ["risk"]
    assert registry.find("risk").place.file == "/x/b.py"


def test_two_functions_of_one_file_are_two_places() -> None:
    registry = FlowRegistry()
    registry.add(entry("risk", __file__, "risk"))
    registry.add(entry("risk", __file__, "later"))
    with pytest.raises(AmbiguousFlowError, match="2 flows are named 'risk'"):
        registry.find("risk")


def test_a_cell_or_main_always_replaces() -> None:
    registry = FlowRegistry()
    registry.add(entry("risk", __file__))
    registry.add(entry("risk", "<ipython-input-1>", interactive=True))
    registry.add(entry("risk", "<ipython-input-2>", interactive=True))
    assert registry.find("risk").spec().params == {"file": "<ipython-input-2>"}


def test_flows_of_code_without_a_file_replace_each_other() -> None:
    for version in (1, 2):
        exec(compile(FLOW.format(version=version), f"<cell {version}>", "exec"), {"__name__": "x"})
    assert get_flow("risk").params == {"version": 2}


def test_flows_of_the_script_that_runs_replace_those_of_modules(
    tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("flows_one", flow_file(tmp_path / "one.py", 1))
    script = flow_file(tmp_path / "script.py", 2)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    load("script", script)
    assert get_flow("risk").params == {"version": 2}


def test_collecting_isolates_and_ends_with_the_block() -> None:
    register_flow(FlowSpec("outer"))
    outer = current_registry()
    with contextlib.suppress(RuntimeError), collecting() as inner:
        assert list_flows() == []
        register_flow(FlowSpec("inner"))
        assert current_registry() is inner is not outer
        raise RuntimeError
    assert current_registry() is outer
    assert list_flows() == ["outer"]
    assert inner.names() == ["inner"]


# Two flows of one name in one execution of a module

DECORATED = """
import mxm

@mxm.task
def load() -> int:
    return 1

@mxm.flow
def risk():
    return load

@mxm.flow
def risk():
    return load
"""
BY_HAND = """
from mxm.pipeline import FlowSpec, register_flow

register_flow(FlowSpec("risk"))

register_flow(FlowSpec("risk"))
"""
BOTH_WAYS = """
from mxm.pipeline import FlowSpec, register_flow
import mxm

@mxm.flow
def risk(): ...

register_flow(FlowSpec("risk"))
"""
LOOP = """
import mxm

def body(): ...

for rate in (1, 2):
    mxm.flow(name="risk", params={"rate": rate})(body)
"""
FACTORY = """
import mxm

def made(rate):
    @mxm.flow(name="risk", params={"rate": rate})
    def body(): ...

made(1)
made(2)
"""


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (DECORATED, (8, 12)),
        (BY_HAND, (4, 6)),
        (BOTH_WAYS, (5, 8)),
        (LOOP, (4, 4)),
        (FACTORY, (8, 9)),
    ],
)
def test_two_flows_of_one_name_in_one_execution_are_a_problem_at_both_lines(
    tmp_path: Path, load: Load, text: str, lines: tuple[int, int]
) -> None:
    path = tmp_path / "flows.py"
    path.write_text(text, encoding="utf-8")
    load("flows", path)
    problem = current_registry().clashes()["risk"]
    assert [place and place.line for _, place in problem.places] == list(lines)
    with pytest.raises(AmbiguousFlowError) as caught:
        get_flow("risk")
    for line in lines:
        assert f"{path}:{line}" in str(caught.value)


def test_hint_of_two_flows_of_one_place_is_to_rename_one(tmp_path: Path, load: Load) -> None:
    (tmp_path / "flows.py").write_text(DECORATED, encoding="utf-8")
    load("flows", tmp_path / "flows.py")
    with pytest.raises(AmbiguousFlowError, match="hint: give one of them another name"):
        get_flow("risk")


@pytest.mark.parametrize(
    "text",
    [
        # One of two.
        (
            "import mxm\nif True:\n    @mxm.flow\n    def risk(): ...\n"
            "else:\n    @mxm.flow\n    def risk(): ...\n"
        ),
        # One flow, registered twice.
        (
            "import mxm\nfrom mxm.pipeline import register_flow\n"
            "@mxm.flow\ndef risk(): ...\nregister_flow(risk.spec)\n"
        ),
        (
            "from mxm.pipeline import FlowSpec, register_flow\n"
            "register_flow(register_flow(FlowSpec('risk')))\n"
        ),
        (
            "import mxm\nfrom mxm.pipeline import register_flow\n"
            "@mxm.flow(name='risk')\ndef end_of_day(): ...\nregister_flow(end_of_day.spec)\n"
        ),
    ],
)
def test_one_flow_of_a_name_is_no_problem(tmp_path: Path, load: Load, text: str) -> None:
    path = tmp_path / "flows.py"
    path.write_text(text, encoding="utf-8")
    load("flows", path)
    load("under_another_name", path)
    assert get_flow("risk").name == "risk"
    assert current_registry().clashes() == {}


def test_reload_replaces_every_flow_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "reloaded.py").write_text(DECORATED, encoding="utf-8")
    module = importlib.import_module("reloaded")
    importlib.reload(module)
    assert len(current_registry().entries()) == 2
    (tmp_path / "reloaded.py").write_text(DECORATED.replace("risk", "gain", 1), encoding="utf-8")
    importlib.reload(module)
    assert get_flow("risk").name == "risk"
    del sys.modules["reloaded"]


@pytest.mark.parametrize("call", ["made(1)", "publish()"])
def test_flow_of_a_factory_is_of_the_module_that_calls_it(
    tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    factory = FACTORY.partition("\nmade(1)")[0] + (
        "\nfrom mxm.pipeline import FlowSpec, register_flow\n"
        "def publish():\n    register_flow(FlowSpec('risk'))\n"
    )
    (tmp_path / "the_factory.py").write_text(factory, encoding="utf-8")
    paths = [tmp_path / f"{name}.py" for name in ("one", "two")]
    for path in paths:
        path.write_text(f"import the_factory\n\nthe_factory.{call}\n", encoding="utf-8")
        load(f"of_{path.stem}", path)
    with pytest.raises(AmbiguousFlowError) as caught:
        get_flow("risk")
    for path in paths:
        assert f"{path}:3" in str(caught.value)
    assert {e.place.file for e in current_registry().entries()} == {str(p) for p in paths}
    del sys.modules["the_factory"]


def test_factory_called_again_by_a_program_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    import mxm

    def made() -> None:
        @mxm.flow(name="risk")
        def body() -> None: ...

    made()
    made()
    assert current_registry().clashes() == {}


def test_flows_of_modules_that_lie_in_no_file_of_their_own_do_not_replace_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "firm.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zip_one.py", BY_HAND.rpartition("register_flow")[0])
        file.writestr("zip_two.py", DECORATED.rpartition("@mxm.flow")[0])
    monkeypatch.syspath_prepend(archive)
    for name in ("zip_one", "zip_two"):
        importlib.import_module(name)
    assert len(current_registry().entries()) == 2
    assert list(current_registry().clashes()) == ["risk"]
    for name in ("zip_one", "zip_two"):
        del sys.modules[name]
