"""The suite of all backends on Dask and Ray, in one cluster for all of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mxm.pipeline.api import compile_flow
from mxm.pipeline.execution import fetching
from mxm.pipeline.execution.options import BACKENDS
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.testing.conformance import *  # noqa: F403
from mxm.pipeline.values.remote import fetched

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def clusters() -> Iterator[dict[str, Any]]:
    """A client of Dask and a Ray, which all runs of this module join."""
    distributed = pytest.importorskip("distributed")
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    cluster = distributed.LocalCluster(
        n_workers=3, threads_per_worker=1, dashboard_address=None, silence_logs=60
    )
    with cluster, distributed.Client(cluster):
        yield {"dask": cluster, "ray": ray}
    ray.shutdown()


def _fetched_values(run: FlowRun) -> dict[str, Any]:
    return {t.name: fetched(t.value) for t in run.tasks.values() if t.has_value}


CASES = [(b, r, "small") for r in ("dask", "ray") for b in BACKENDS]
CASES += [("inline", r, "held") for r in ("dask", "ray")]


@pytest.fixture(params=CASES, ids="-".join)
def compiled(request: pytest.FixtureRequest, clusters: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compiles for a cluster; ``held`` leaves each result there that may stay, however small."""
    backend, runner, size = request.param
    if size == "held":
        monkeypatch.setattr(fetching, "STAYS", -1)
        monkeypatch.setattr(FlowRun, "values", property(_fetched_values))
    return lambda spec, **options: compile_flow(
        spec, backend=backend, **{"runner": runner, "workers": 3, **options}
    )
