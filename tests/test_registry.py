from __future__ import annotations

import contextlib
import importlib.util
import sys
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
