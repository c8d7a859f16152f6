"""Both backends, on every runner, through the one suite that other backends use too."""

from __future__ import annotations

from typing import Any

import pytest

from mxm.pipeline.adapters.base import BACKENDS, RUNNERS
from mxm.pipeline.api import compile_flow
from mxm.pipeline.testing.conformance import *  # noqa: F403


@pytest.fixture(params=[(b, r) for b in BACKENDS for r in RUNNERS], ids="-".join)
def compiled(request: pytest.FixtureRequest) -> Any:
    backend, runner = request.param
    return lambda spec, **options: compile_flow(
        spec, backend=backend, **{"runner": runner, "workers": 3, **options}
    )
