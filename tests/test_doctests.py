"""The public docstrings: each says its parameters, and has an example that runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mxm.pipeline.registry import collecting

PUBLIC = [
    "mxm",
    "mxm.pipeline",
    "mxm.pipeline.adapters.prefect_adapter",
    "mxm.pipeline.api",
    "mxm.pipeline.bindings",
    "mxm.pipeline.errors",
    "mxm.pipeline.execution.events",
    "mxm.pipeline.problems",
    "mxm.pipeline.registry",
    "mxm.pipeline.runs",
    "mxm.pipeline.spec",
    "mxm.pipeline.specdict",
    "mxm.pipeline.testing",
    "mxm.pipeline.testing.strategies",
    "mxm.pipeline.views",
]
# What these modules offer to our own: users need none of it.
INTERNAL = {"Place", "Registration", "ambiguous", "clashes", "enter"}
INTERNAL |= {"PrefectFlow", "deployed_prefect_flow", "prefect_name"}
INTERNAL |= {"Absent", "PerItem", "Unpacked", "by_parameter", "free_parameters", "keys_taken"}
INTERNAL |= {"Observers", "add_note", "attach_run", "caller", "closest", "described"}
INTERNAL |= {"did_you_mean", "drawn_places", "gather", "new_run_id", "repr_of", "shown_path"}
INTERNAL |= {"text_of"}
INTERNAL |= {"parts_in", "projected", "require_count", "upstreams_in", "value_of", "with_named"}
FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL


def documented(module: str) -> Iterator[tuple[str, Any]]:
    """The public functions and classes of *module* by name."""
    loaded = importlib.import_module(module)
    for name in loaded.__all__:
        thing = getattr(loaded, name)
        if name not in INTERNAL and (inspect.isfunction(thing) or inspect.isclass(thing)):
            yield name, thing


@pytest.mark.parametrize("module", PUBLIC)
def test_examples_of_public_names_run(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=FLAGS)
    for name, thing in documented(module):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("MXM_HOME", str(folder / "store"))
        examples = doctest.DocTestParser().get_doctest(
            inspect.getdoc(thing) or "", {}, f"{module}.{name}", None, None
        )
        if not examples.examples:
            report.append(f"{module}.{name} has no example")
        with collecting():
            runner.run(examples, out=report.append)
    assert report == []


@pytest.mark.parametrize("module", PUBLIC)
def test_docstrings_of_public_names_name_every_parameter(module: str) -> None:
    missing = [
        f"{module}.{name}: {parameter}"
        for name, thing in documented(module)
        if inspect.isfunction(thing)
        for parameter, kind in inspect.signature(thing).parameters.items()
        if kind.kind not in (kind.POSITIONAL_ONLY, kind.VAR_KEYWORD)  # of decorators: their options
        and not re.search(rf"\b{parameter}\b", inspect.getdoc(thing) or "")
    ]
    assert missing == []
