"""Large values stay on the cluster: what arrives, what is shown, what is fetched, what is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import call, write
from scale_flows import (
    N,
    chain,
    interrupted,
    looks_up,
    lossy,
    maps,
    no_such_part,
    shows_a_part,
    unpacks,
    unpacks_too_many,
)

from mxm.pipeline import RemoteValue, State, compile_flow, execute_flow
from mxm.pipeline.errors import BackendError
from mxm.pipeline.execution.events import AttemptStarted, StepEnded
from mxm.pipeline.execution.places.cluster import ClusterPlace
from mxm.pipeline.execution.places.dask_place import DaskPlace

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def joined() -> Iterator[Any]:
    """A client that is connected, and its cluster."""
    distributed = pytest.importorskip(
        "distributed", reason="Dask is not installed: make test-scale"
    )
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=60
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks whose values were fetched."""
    fetched: list[str] = []
    fetch = ClusterPlace.fetch

    def counted(self: ClusterPlace, reference: Any, task: str) -> bytes:
        fetched.append(task)
        return fetch(self, reference, task)

    monkeypatch.setattr(ClusterPlace, "fetch", counted)
    return fetched


def check_chain(run: Any) -> None:
    assert run.state is State.SUCCEEDED
    assert {k: type(v) for k, v in run.values.items()} == {
        "make": RemoteValue,
        "change": RemoteValue,
        "total": float,
        "last": float,
    }
    assert run.values["make"].nbytes > 8 * N
    first, second, data = run.value()
    assert (first, second) == (sum(range(N)) - N, N - 1)
    assert data["a"][-1] == N - 1  # `change` changed a copy of its own
    described = {"type": "numpy.ndarray", "shape": [N], "dtype": "float64"}
    assert run.results["change"] == {"a": described, "tag": "x"}


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_values_stay_and_the_flows_own_is_fetched(
    joined: Any, loads: list[str], backend: Any
) -> None:
    run = chain.with_options(runner="dask", backend=backend).run()
    assert loads == []
    check_chain(run)
    assert loads == ["make"]
    assert run.values["change"].get()["a"][0] == -1.0  # the client is connected


@pytest.mark.parametrize("runner", ["dask", "ray"])
def test_after_a_cluster_of_the_run_only_the_flows_value_is_here(
    joined: Any, loads: list[str], runner: str
) -> None:
    pytest.importorskip("ray")
    # A client of ours at an address is left at the end of the run, like a cluster of ours.
    address = joined.scheduler.address if runner == "dask" else None
    flow = chain.with_options(runner=runner, backend="inline", workers=2, address=address)
    run = flow.run()
    check_chain(run)
    assert loads == ["make"]
    with pytest.raises(BackendError, match="'change' stayed on the .* cluster, which this") as info:
        run.values["change"].get()
    assert "return it from the flow" in str(info.value.hint)


def test_what_is_only_shown_is_not_fetched(joined: Any, loads: list[str]) -> None:
    address = joined.scheduler.address
    results = execute_flow(compile_flow(chain, runner="dask", address=address, backend="inline"))
    assert results["total"] == sum(range(N)) - N
    assert loads == []


def test_a_value_that_is_lost_with_its_worker_is_an_error_and_is_not_made_again(
    joined: Any, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"

    def kill(event: Any) -> None:
        if isinstance(event, StepEnded) and event.task.name == "noted":
            os.kill(int(pids.read_text().split()[-1]), 9)

    flow = lossy.with_options(runner="dask", backend="inline", observers=[kill])
    run = flow.run(pids=str(pids))
    assert (run.tasks["noted"].state, run.tasks["size"].attempts) == (State.SUCCEEDED, 1)
    with pytest.raises(BackendError, match="the result of task 'noted' is lost") as info:
        run.value()
    assert "run the flow again" in str(info.value.hint)
    with pytest.raises(BackendError, match="the result of task 'noted' is lost"):
        run.values["noted"].get()
    assert len(pids.read_text().split()) == 1


def test_what_always_runs_has_its_inputs_after_a_cancellation(joined: Any) -> None:
    def interrupt(event: Any) -> None:
        if isinstance(event, AttemptStarted) and event.step == "sleeps":
            threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()

    flow = interrupted.with_options(
        runner="dask",
        backend="inline",
        address=joined.scheduler.address,
        grace_s=60.0,
        observers=[interrupt],
    )
    with pytest.raises(KeyboardInterrupt) as info:
        flow.run()
    run = vars(info.value)["mxm_run"]
    states = {name: task.state for name, task in run.tasks.items()}
    assert states == {"make": "succeeded", "sleeps": "cancelled", "reports": "succeeded"}
    assert run.values["reports"] == sum(range(N))


def test_parts_are_taken_on_the_worker(joined: Any, loads: list[str]) -> None:
    options: Any = {"runner": "dask", "backend": "inline"}
    assert unpacks.with_options(**options).run().value() == N
    run = unpacks_too_many.with_options(**options).run()
    with pytest.raises(ValueError, match="'triple' has 3 parts and is unpacked into 2"):
        run.value()
    run = no_such_part.with_options(**options).run()
    with pytest.raises(KeyError, match="none") as info:
        run.value()
    assert "while reading the inputs of task 'total' from its upstreams" in info.value.__notes__
    assert run.tasks["total"].attempts == 1
    assert loads == []


def test_what_the_runs_process_needs_comes_to_it(joined: Any) -> None:
    options: Any = {"runner": "dask", "backend": "inline"}
    whole = 2.0 * sum(range(N))
    assert maps.with_options(**options).run().value() == [whole, whole + 1, whole + 2]
    run = shows_a_part.with_options(**options).run()
    assert run.value()[-1] == N - 1
    assert run.to_dict()["value"] == {"type": "numpy.ndarray", "shape": [N], "dtype": "float64"}
    strict = chain.with_options(**options, strict_json=True).run()
    assert type(strict.values["make"]) is dict


def test_large_inputs_of_items_are_sent_once_and_again_when_they_are_lost(
    joined: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    put = DaskPlace.put

    def counted(self: DaskPlace, packed: Any) -> Any:
        sent.append(packed.nbytes)
        return put(self, packed)

    monkeypatch.setattr(DaskPlace, "put", counted)
    tries = tmp_path / "tries"
    run = looks_up.with_options(runner="dask", backend="inline").run(tries=str(tries))
    assert run.value() == [x + 1.0 for x in range(1, 81)]
    called = tries.read_text().split()
    assert max(map(called.count, called)) == 2
    assert called.count("40") == 2
    assert sent
    assert len(sent) < 20  # of some 40 chunks: again for those that had lost them


CACHED = """
    import mxm
    from mxm.pipeline import AssetDecl
    import numpy as np

    class Row:
        pass

    @mxm.task
    def big(n: int):
        return {"x": np.arange(n, dtype=float), "row": Row()}

    @mxm.task(cache=True)
    def use(data, x) -> float:
        return float(data["x"].sum() + x[3])

    @mxm.task
    def last(n: float) -> float:
        return n / DIVISOR

    DIVISOR = 0

    @mxm.task(produces=AssetDecl("frame", format="pickle", path_template="frame.pkl"))
    def written(data):
        return data["x"]

    @mxm.flow
    def writes(n: int = 3_000_000):
        return written(big(n))

    @mxm.flow
    def fl(n: int = 3_000_000):
        data = big(n)
        return last(use(data, data["x"]))
    """


def test_cache_and_record_know_what_stays(joined: Any, tmp_path: Path) -> None:
    options = ("--backend", "inline", "--runner", "dask", "--address", joined.scheduler.address)
    write(tmp_path, {"pyproject.toml": '[tool.mxm.pipeline]\nmodules = ["fl"]\n', "fl.py": CACHED})
    ran = call("run", "fl", *options, "--json", cwd=tmp_path)
    assert ran.code == 1
    write(tmp_path, {"fl.py": CACHED.replace("DIVISOR = 0", "DIVISOR = 2")})
    ran = call("resume", "--json", cwd=tmp_path)
    run = json.loads(ran.out)
    assert {task["name"]: task["state"] for task in run["tasks"]} == {
        "big": "succeeded",  # too large to be kept
        "use": "cached",
        "last": "succeeded",
    }
    assert run["value"] == (sum(range(3_000_000)) + 3) / 2
    local = call("run", "fl", "--backend", "inline", "--json", cwd=tmp_path)
    tasks = {task["name"]: task for task in json.loads(local.out)["tasks"]}
    assert tasks["use"]["state"] == "cached"  # its digests are those of other runners
    assert tasks["big"]["result"] == run["tasks"][0]["result"]
    again = call("run", "fl", *options, "--json", cwd=tmp_path)
    assert json.loads(again.out)["value"] == run["value"]
    script = "from mxm.pipeline import load_run; print(load_run('last').tasks['big'].value)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "its 24 MB stayed on the cluster" in loaded.stderr
    assert call("run", "writes", *options, cwd=tmp_path).code == 0
    assert (tmp_path / "frame.pkl").stat().st_size > 24_000_000
