"""Both backends, on every runner, through the one suite that other backends use too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from mxm.pipeline.api import compile_flow
from mxm.pipeline.execution.options import BACKENDS
from mxm.pipeline.testing import conformance
from mxm.pipeline.testing.conformance import *  # noqa: F403

# Clusters are in test_scale_clusters.
RUNNERS = ("sequential", "threads", "processes")


@pytest.fixture(params=[(b, r) for b in BACKENDS for r in RUNNERS], ids="-".join)
def compiled(request: pytest.FixtureRequest) -> Any:
    backend, runner = request.param
    return lambda spec, **options: compile_flow(
        spec, backend=backend, **{"runner": runner, "workers": 3, **options}
    )


def test_snippet_of_the_suite_runs_it(tmp_path: Path) -> None:
    _, _, snippet = str(conformance.__doc__).partition("::\n")
    (tmp_path / "test_mine.py").write_text(dedent(snippet).replace('"mine"', '"inline"'))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "arrive_in_order or precedence"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "4 passed" in ran.stdout
