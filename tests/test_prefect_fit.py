"""A Prefect that lacks what is used of it is an error that names its version and those that fit."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import prefect
import pytest
from command import call, write
from prefect.client.orchestration import PrefectClient, SyncPrefectClient

from mxm.pipeline.adapters import prefect_adapter, prefect_api, prefect_fit
from mxm.pipeline.adapters.prefect_answers import Answers
from mxm.pipeline.api import compile_flow
from mxm.pipeline.errors import EngineMissingError
from mxm.pipeline.spec import FlowSpec, TaskSpec

INSTALL = "pip install 'prefect>=3.8.7,<3.10' 'fastapi>=0.139,<0.151'"


def imported_again(module: ModuleType) -> None:
    """What the first import of *module* does, without its taking the place of the first."""
    assert module.__file__
    spec = importlib.util.spec_from_file_location(f"{module.__name__}_again", module.__file__)
    assert spec and spec.loader
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def refused(name: str, use: Callable[[], object]) -> None:
    with pytest.raises(EngineMissingError) as raised:
        use()
    assert f"Prefect {prefect.__version__} is not a version that mxm-pipeline supports" in str(
        raised.value
    )
    assert name in raised.value.message
    assert raised.value.hint == INSTALL


def imports() -> Iterator[tuple[ModuleType, str, str]]:
    """Each name that is imported from Prefect: by which module of ours, from which of Prefect's."""
    for module in (prefect_api, prefect_adapter):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prefect."):
                for alias in node.names:
                    yield module, node.module or "", alias.name


@pytest.mark.parametrize(("ours", "theirs", "name"), list(imports()))
def test_a_name_that_cannot_be_imported(
    ours: ModuleType, theirs: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = importlib.import_module(theirs)
    if name in vars(module):
        monkeypatch.delattr(module, name)
    else:  # made when it is asked for
        monkeypatch.delattr(module, "__getattr__")
    refused(name, lambda: imported_again(ours))


@pytest.mark.parametrize("name", ["prefect._internal.analytics", "prefect.flow_engine"])
def test_a_module_that_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    refused(name, lambda: imported_again(prefect_api))


def probed() -> list[tuple[Any, str, bool]]:
    """All that the first use asks for: of what, which name, and whether it is a parameter."""
    found: list[tuple[Any, str, bool]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            prefect_fit, "require", lambda o, *ns: found.extend((o, n, False) for n in ns)
        )
        patch.setattr(
            prefect_fit,
            "require_parameters",
            lambda f, *ns: found.extend((f, n, True) for n in ns),
        )
        imported_again(prefect_api)
    return found


def remove(owner: Any, name: str, patch: pytest.MonkeyPatch) -> None:
    for kept in ("__pydantic_fields__", "__private_attributes__"):
        if name in getattr(owner, kept, ()):
            patch.delitem(getattr(owner, kept), name)
    for one in getattr(owner, "__mro__", [owner]):
        if name in vars(one):
            patch.delattr(one, name)


def test_a_name_that_is_asked_for() -> None:
    asked = probed()
    names = {name for _, name, _ in asked}
    assert {"__var__", "_httpx_settings", "timeout", "heartbeat_frequency", "url"} <= names
    for owner, name, parameter in asked:
        with pytest.MonkeyPatch.context() as patch:
            if parameter:
                hide_parameter(owner, name, patch)
            else:
                remove(owner, name, patch)
            refused(name, lambda: imported_again(prefect_api))


def hide_parameter(owner: Any, name: str, patch: pytest.MonkeyPatch) -> None:
    real = inspect.signature

    def without(function: Any, **how: Any) -> inspect.Signature:
        found = real(function, **how)
        if function != owner:
            return found
        return found.replace(parameters=[p for n, p in found.parameters.items() if n != name])

    patch.setattr(inspect, "signature", without)


def lacking(kind: type, name: str, patch: pytest.MonkeyPatch) -> None:
    """Let what *kind* makes be without the attribute *name*."""
    make = kind.__init__

    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        vars(self).pop(name)

    patch.setattr(kind, "__init__", made)


def test_a_client_without_what_is_answered_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking(SyncPrefectClient, "_client", monkeypatch)
    compiled = compile_flow(FlowSpec("f", [TaskSpec("t", list)]), backend="prefect")
    refused("_client", compiled.run)


@pytest.mark.parametrize("name", ["_client", "_started", "_context_stack"])
def test_an_async_client_without_what_is_answered_in_its_place(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking(PrefectClient, name, monkeypatch)
    refused(name, lambda: prefect_api._AnyLoopClient(Answers()))


FLOW = "import mxm\n@mxm.task\ndef t(): return 1\n@mxm.flow\ndef f(): return t()\n"


def test_the_command_says_what_to_install(tmp_path: Path) -> None:
    lacking = "import prefect.flow_engine\ndel prefect.flow_engine.capture_sigterm\n"
    write(tmp_path, {"flows.py": lacking + FLOW})
    ran = call("run", "f", cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert f"Prefect {prefect.__version__} is not a version that mxm-pipeline supports" in ran.err
    assert "'capture_sigterm'" in ran.err
    assert f"hint: {INSTALL}" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("raise TypeError('Body() got an unexpected keyword argument')", "TypeError: Body() got"),
        ("from json import nothing_there", "ImportError: cannot import name 'nothing_there'"),
        ("import nothing_there", "ModuleNotFoundError: No module named 'nothing_there'"),
        ("", "ModuleNotFoundError: No module named 'prefect.main'"),
    ],
)
def test_a_prefect_that_cannot_be_imported(text: str, why: str, tmp_path: Path) -> None:
    write(tmp_path, {"flows.py": FLOW, "site-packages/prefect/__init__.py": text})
    path = str(tmp_path / "site-packages")
    ran = call("run", "flows.py:f", cwd=tmp_path, env={"PYTHONPATH": f"{path}:{sys.path[0]}"})
    assert (ran.code, ran.out) == (2, ""), ran.err
    assert f"cannot be imported: {why}" in ran.err
    assert f"hint: {INSTALL}" in ran.err
    assert "Traceback" not in ran.err


def test_what_to_install_is_what_the_extra_asks_for() -> None:
    path = Path(__file__).parent.parent / "pyproject.toml"
    extras = tomllib.loads(path.read_text())["project"]["optional-dependencies"]
    assert list(prefect_fit._FITS) == extras["prefect"] == extras["orchestration"]
