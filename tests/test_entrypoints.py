from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mxm.pipeline.authoring import task
from mxm.pipeline.errors import SpecError
from mxm.pipeline.introspection.entrypoints import entrypoint, module_from_file, resolve_entrypoint


def shouted(fn: Callable[..., str]) -> Callable[..., str]:
    @functools.wraps(fn)
    def louder(*args: Any) -> str:
        return fn(*args).upper()

    return louder


@shouted
def wrapped() -> str:
    return "hi"


@task
@shouted
def decorated() -> str:
    return "hi"


class Loader:
    def load(self) -> None: ...


def test_a_decorator_of_the_users_stays_on_the_function() -> None:
    assert resolve_entrypoint(f"{__name__}:wrapped") is wrapped
    again = resolve_entrypoint(f"{__name__}:decorated")
    assert again is decorated.fn
    assert again() == "HI"


@pytest.mark.parametrize(
    "fn",
    [lambda: None, functools.partial(print), Loader().load, functools.lru_cache(lambda: 1)],
    ids=["lambda", "partial", "bound method", "cached lambda"],
)
def test_what_cannot_be_imported_has_no_name(fn: Callable[..., Any]) -> None:
    assert entrypoint(fn) is None


@pytest.mark.parametrize(
    "name", ["no_such_module_at_all:f", f"{__name__}:absent", f"{__name__}:Loader.absent"]
)
def test_a_name_that_leads_nowhere_is_a_spec_error(name: str) -> None:
    with pytest.raises(SpecError, match="cannot be imported"):
        resolve_entrypoint(name)


def test_a_module_that_fails_while_it_is_imported_is_a_spec_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Failing(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise KeyError("HOME_OF_DATA")

    monkeypatch.setitem(sys.modules, "failing_module", Failing("failing_module"))
    with pytest.raises(SpecError, match="KeyError: 'HOME_OF_DATA'"):
        resolve_entrypoint("failing_module:f")


def test_a_module_of_a_file_stands_under_the_name_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "of-no-name.py"
    file.write_text("def f(): ...")
    monkeypatch.setitem(sys.modules, "for_a_file", None)  # taken away again
    module = module_from_file("for_a_file", str(file))
    assert resolve_entrypoint("for_a_file:f") is module.f
    with pytest.raises(ImportError, match="'for_a_file' cannot be imported from"):
        module_from_file("for_a_file", str(tmp_path / "data.csv"))
