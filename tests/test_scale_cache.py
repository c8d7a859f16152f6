"""The cache of values that stay on a Dask cluster: keys, what is kept, and who keeps it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import call, write
from scale_flows import N, cached, caches, has_rows

import mxm
from mxm.pipeline import RemoteValue, State
from mxm.pipeline.execution import fetching
from mxm.pipeline.execution.places.cluster import ClusterPlace
from mxm.pipeline.store import elsewhere

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def joined() -> Iterator[Any]:
    """A client that is connected."""
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


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Moves the store to a folder, whose key is that of all others."""

    def move(name: str) -> Path:
        folder = tmp_path / name
        if not folder.exists():
            folder.mkdir(mode=0o700)
            (folder / "key").write_bytes(b"k" * 32)
            (folder / "key").chmod(0o600)
        monkeypatch.setenv("MXM_HOME", str(folder))
        return folder

    return move


def entries(store: Path) -> list[Any]:
    names = "step, key, content, parts, packages, plain, value, size, data, written"
    with sqlite3.connect(store / "store.db") as database:
        return list(database.execute(f"SELECT {names} FROM entry ORDER BY step"))


DASK: Any = {"runner": "dask", "backend": "inline"}
TOTAL = sum(range(N)) + 3 + 1 + N


def states(run: Any) -> dict[str, State]:
    return {name: task.state for name, task in run.tasks.items()}


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_keys_and_what_is_kept_are_those_of_other_runners(
    joined: Any, loads: list[str], store: Any, backend: Any
) -> None:
    here = store("here")
    assert caches.with_options(backend=backend).run().value()[0] == TOTAL
    there = store("there")
    run = caches.with_options(runner="dask", backend=backend).run()
    assert run.state is State.SUCCEEDED
    assert type(run.values["cached"]) is RemoteValue
    assert loads == []
    assert entries(there) == entries(here)
    assert [step for step, *_ in entries(there)] == ["cached", "shifted", "summed"]
    assert not [*(there / "values").glob("run-*")]
    again = caches.with_options(backend=backend).run()  # on the other runner
    assert states(again) == {"make": "succeeded", "cached": "cached", "shifted": "cached",
                             "summed": "cached"}  # fmt: skip
    assert again.value()[0] == TOTAL
    assert again.value()[2]["a"][-1] == N - 1


def test_a_kept_value_is_loaded_once_the_cluster_is_gone(
    joined: Any, loads: list[str], store: Any
) -> None:
    store("there")
    address = joined.scheduler.address
    run = caches.with_options(**DASK, address=address, workers=2).run()
    assert run.values["shifted"].get()[-1] == N
    assert run.values["cached"].get()["a"][-1] == N - 1


@pytest.mark.parametrize("most", [1_000_000_000, 1_000])
def test_where_the_folder_is_another_one_a_value_is_fetched_or_not_kept(
    joined: Any, store: Any, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    opened = elsewhere.SharedStore.opened

    def other(store: str, folders: tuple[str, ...], most: int) -> elsewhere.SharedStore:
        """What a worker finds in a folder of this path on another machine."""
        own = opened(store, folders, most)
        Path(own.store, "values", own.name).write_bytes(os.urandom(32))
        return own

    here = store("here")
    caches.run()
    monkeypatch.setattr(elsewhere.SharedStore, "opened", other)
    monkeypatch.setattr(fetching, "MOST_FETCHED", most)
    there = store("there")
    run = caches.with_options(**DASK).run()
    assert run.value()[0] == TOTAL
    if most > 1_000_000:
        assert entries(there) == entries(here)
        assert type(run.values["cached"]) is dict
    else:
        assert [step for step, *_ in entries(there)] == ["summed"]
        warnings = [w.message for w in run.warnings if w.code == "MXM704"]
        assert len(warnings) == 2
        assert "stay on the cluster, whose workers have not got the store's folder" in warnings[0]


def test_a_flow_with_a_secret_has_its_values_looked_at_here(
    joined: Any, loads: list[str], store: Any
) -> None:
    from pydantic import SecretStr

    @mxm.flow
    def secret(n: int = N, password: SecretStr = SecretStr("correct horse")) -> Any:
        return has_rows(cached(n))

    there = store("there")
    run = secret.with_options(**DASK).run()
    assert run.value() == N
    assert type(run.values["cached"]) is dict
    assert [step for step, *_ in entries(there)] == ["cached", "has_rows"]


def test_resume_takes_over_what_takes_a_kept_value(joined: Any, store: Any) -> None:
    store("there")
    first = caches.with_options(**DASK).run()
    assert states(caches.with_options(**DASK).run()) == {
        **dict.fromkeys(states(first), State.CACHED), "make": State.SUCCEEDED,
    }  # fmt: skip


EDITED = """
    import mxm
    import numpy as np

    class Scale:
        def rate(self): return 2

    @mxm.task
    def made(n: int):
        return {"x": np.arange(n, dtype=float), "scale": Scale()}

    @mxm.task(cache=True)
    def used(data) -> float:
        return float(data["x"].sum() * data["scale"].rate())

    @mxm.flow
    def fl(n: int = 3_000_000):
        return used(made(n))
    """


def test_an_edited_class_of_a_held_value_is_another_key_on_workers_that_live_on(
    joined: Any, tmp_path: Path
) -> None:
    total = sum(range(3_000_000))
    dask = ("--runner", "dask", "--address", joined.scheduler.address)
    for rate in (2, 3, 4):
        text = EDITED.replace("return 2", f"return {rate}")
        write(
            tmp_path, {"pyproject.toml": '[tool.mxm.pipeline]\nmodules = ["fl"]\n', "fl.py": text}
        )
        for more, state in ((dask, "succeeded"), ((), "cached"), (dask, "cached")):
            ran = call("run", "fl", "--backend", "inline", "--json", *more, cwd=tmp_path)
            run = json.loads(ran.out)
            assert run["value"] == rate * total
            assert [task["state"] for task in run["tasks"]] == ["succeeded", state]
