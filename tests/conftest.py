"""Fixtures of the whole suite: each test has a registry and a home folder of its own."""

from __future__ import annotations

import compileall
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from environments import Artifact, build
from hypothesis import HealthCheck, settings

# Two workers share two cores: how long data takes to make says nothing.
settings.register_profile(
    "suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("suite")

# Before anything imports Prefect: no telemetry, from tests least of all.
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ.pop("PREFECT_API_URL", None)
# Processes that tests start import the tree under test, not an installed one. Beside a wheel's
# tests there is no tree: pytest itself gets it by `pythonpath` in pyproject.toml.
TREE = Path(__file__).parent.parent
if (TREE / "mxm").is_dir():
    paths = [str(TREE), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
# A module that a test edits twice in a second, to another text of one length, would be loaded from
# Python's cache of the first.
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
sys.dont_write_bytecode = True
# `make test &` starts it with SIGINT ignored, which every command that a test starts would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Keep runs of tests out of any project's store, also where this tree is not installed."""
    from mxm.pipeline.testing import plugin

    if not hasattr(config, "workerinput"):  # every command that a test starts reads it
        compileall.compile_dir(TREE / "mxm", quiet=2)
    if not config.pluginmanager.is_registered(plugin):
        config.pluginmanager.register(plugin, plugin.__name__)


@pytest.fixture(autouse=True)
def registry() -> Iterator[object]:
    from mxm.pipeline.registry import collecting

    with collecting() as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A store for each module of tests: one for all grows, and the workers wait for each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MXM_HOME", str(tmp_path_factory.mktemp("mxm-home") / "store"))
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder for subprocesses."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Sdist and wheel of this tree, built once: what is tested is what is released."""
    return build(tmp_path_factory.mktemp("artifact"))
