"""The pytest plugin: a separate store for the session, and fixtures that run flows in tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mxm.pipeline.registry import FlowRegistry
    from mxm.pipeline.runs import FlowRun

__all__ = ["mxm_registry", "mxm_run", "pytest_configure", "pytest_unconfigure"]

# Of each session of this process, the innermost last: its folder, and MXM_HOME as it was before.
_sessions: list[tuple[str, str | None]] = []


def pytest_configure(config: Any) -> None:
    """Set ``MXM_HOME`` to a temporary folder, for this process and those that tests start."""
    del config
    folder = tempfile.mkdtemp(prefix="mxm-tests-")
    _sessions.append((folder, os.environ.get("MXM_HOME")))
    os.environ["MXM_HOME"] = os.path.join(folder, "store")


def pytest_unconfigure(config: Any) -> None:
    """Put back what was there, and remove the folder."""
    del config
    if _sessions:
        folder, before = _sessions.pop()
        if before is None:
            os.environ.pop("MXM_HOME", None)
        else:
            os.environ["MXM_HOME"] = before
        shutil.rmtree(folder, ignore_errors=True)


# What the fixtures need is loaded by the first test that asks for one.


@pytest.fixture
def mxm_registry() -> Iterator[FlowRegistry]:
    """A registry for this test: flows that the test defines register there."""
    from mxm.pipeline.registry import collecting

    with collecting() as registry:
        yield registry


@pytest.fixture
def mxm_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., FlowRun]:
    """Run a flow without an engine, with a separate store; see `run_flow`."""
    from mxm.pipeline.testing.running import run_flow

    monkeypatch.setenv("MXM_HOME", str(tmp_path_factory.mktemp("mxm") / "store"))
    return run_flow
