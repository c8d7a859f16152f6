"""`init`: writes a small project that runs, with one flow and one test; existing files are kept."""

from __future__ import annotations

import os
import re
import shlex
from importlib.util import find_spec
from typing import Annotated

import typer

from mxm.pipeline.cli.command import Verb, verb_app
from mxm.pipeline.cli.output import say, tell
from mxm.pipeline.discovery.settings import working_directory
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.problems import shown_path
from mxm.pipeline.project.pyproject import table_in

__all__ = ["app"]

app: typer.Typer = verb_app()

_SECTION = """\
[tool.mxm.pipeline]
modules = ["flows"]
"""

_PYPROJECT = """\
[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["mxm-pipeline[prefect]"]

[dependency-groups]
dev = ["pytest"]

{section}
[tool.pytest.ini_options]
pythonpath = ["."]
"""

_FLOWS = '''\
"""Daily risk of one symbol: replace `load` with your own feed."""

import math
import statistics

import mxm


@mxm.task
def load(symbol: str, days: int = 8) -> list[float]:
    """Made-up closing prices, the same for a symbol each time."""
    return [100.0 + 3.0 * math.sin(len(symbol) + day / 7) for day in range(days)]


@mxm.task
def returns(prices: list[float]) -> list[float]:
    """The change of each day."""
    return [after / before - 1 for before, after in zip(prices, prices[1:])]


@mxm.task
def volatility(changes: list[float], window: int = 5) -> float:
    """The standard deviation of the last *window* days."""
    return statistics.stdev(changes[-window:])


@mxm.flow
def daily(symbol: str = "SPY", window: int = 5) -> float:
    """End-of-day risk of one symbol."""
    return volatility(returns(load(symbol)), window=window)
'''

_TEST = '''\
"""Tests of the daily flow, without its feed."""

import pytest
from flows import daily, load, returns

from mxm.pipeline.testing import assert_flows_valid


def test_returns():
    assert returns([100.0, 110.0]) == pytest.approx([0.1])


def test_daily(mxm_run):
    run = mxm_run(daily, overrides={load: [100.0, 110.0, 99.0]})
    assert run.state == "succeeded"
    assert run.value() == pytest.approx(0.2 / 2**0.5)


def test_every_flow_is_valid():
    assert_flows_valid("flows")
'''

_GITIGNORE = """\
.mxm/
.venv/
__pycache__/
"""


@app.command(cls=Verb)
def init(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="[DIR]", help="The folder, created if missing; default: the current one."
        ),
    ] = ".",
) -> None:
    """Create a small working project: settings, one flow, one test. No file is overwritten."""
    root = os.path.normpath(os.path.join(working_directory(), folder))
    settings = _PYPROJECT.format(name=_distribution(root), section=_SECTION)
    files = {
        "pyproject.toml": settings,
        "flows.py": _FLOWS,
        os.path.join("tests", "test_flows.py"): _TEST,
        ".gitignore": _GITIGNORE,
    }
    kept = [name for name, text in files.items() if not _written(os.path.join(root, name), text)]
    for name in files:
        path = shown_path(os.path.join(root, name))
        say(f"kept {path}, which exists" if name in kept else f"wrote {path}")
    if "pyproject.toml" in kept and table_in(os.path.join(root, "pyproject.toml")) is None:
        tell(f"add to {shown_path(os.path.join(root, 'pyproject.toml'))}:\n\n{_SECTION}")
    if "flows.py" in kept:
        return
    go_there = [] if root == working_directory() else [shlex.join(["cd", shown_path(root)])]
    tests = ["pip install pytest"] if find_spec("pytest") is None else []
    # A project that was here may have a flow of that name, or look for flows elsewhere.
    flow = "flows.py:daily" if "pyproject.toml" in kept else "daily"
    steps = [*go_there, f"mxm-pipeline run {flow}", *tests, "python -m pytest"]
    say(f"next: {' && '.join(steps)}")


def _written(path: str, text: str) -> bool:
    """Whether *text* was written to *path*: it is not if something with this name exists."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        if not os.path.isdir(os.path.dirname(path)):
            raise _refusal(path, "a part of its path is a file") from None
        return False
    except (OSError, ValueError) as error:
        raise _refusal(path, getattr(error, "strerror", None) or str(error)) from error
    return True


def _refusal(path: str, why: str) -> PipelineError:
    return PipelineError(f"{shown_path(path)} cannot be written: {why}")


def _distribution(root: str) -> str:
    """The folder's name as the name of a distribution (PEP 508)."""
    name = re.sub(r"[^a-z0-9]+", "-", os.path.basename(root).lower()).strip("-")
    return name or "flows"
