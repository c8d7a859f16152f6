"""Assets at URLs: published by their descriptions, in memory and in a local stand-in for S3."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from command import invoke
from environments import environment

from mxm.pipeline import AssetDecl, FlowRun, FlowSpec, TaskSpec, asset, compile_flow, load_asset
from mxm.pipeline.api import check_flow
from mxm.pipeline.errors import AssetError

URL = "memory://bucket/prices/{symbol}.json"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The file system in memory, empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MXM_HOME", raising=False)
    (tmp_path / "pyproject.toml").touch()
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def prices(value: Any, url: str = URL, **more: Any) -> FlowSpec:
    def fn(symbol: str = "SPY") -> Any:
        return value

    made = AssetDecl("prices", "symbol", "json", url, **more)
    spec = FlowSpec("f", [TaskSpec("t", fn, produces=made, cache_version="1")])
    vars(spec)["source"] = None  # what has no file belongs to the working directory
    return spec


def run(spec: FlowSpec, **params: Any) -> FlowRun:
    return compile_flow(spec, backend="inline", record=True).run(params)


def test_a_value_is_published_by_its_description_and_read_through_it(store: Any) -> None:
    run(prices([1])).raise_for_failure()
    assert load_asset("prices", "SPY") == [1]
    [row] = asset("prices").history()
    note = json.loads(store.cat_file("memory://bucket/prices/_SPY.json_asset.json"))
    assert (note["object"], note["digest"]) == (row.path, row.digest)
    assert str(row.digest).removeprefix("sha256-") in str(row.path)
    assert json.loads(store.cat_file(row.path)) == [1]
    assert row.relative == "memory://bucket/prices/SPY.json"
    assert asset("prices").path("SPY") == row.path
    assert os.listdir() and not Path("memory:").exists()


@pytest.mark.parametrize("moment", ["put_file", "pipe_file"])
def test_a_store_that_fails_fails_the_task_and_leaves_the_old_value(
    moment: str, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(prices([1])).raise_for_failure()

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no network")

    with monkeypatch.context() as patch:
        patch.setattr(type(store), moment, broken)
        failed = run(prices([2]))
    assert "could not be written: RuntimeError: no network" in str(failed.tasks["t"].error)
    assert load_asset("prices", "SPY") == [1]
    run(prices([2])).raise_for_failure()
    assert load_asset("prices", "SPY") == [2]


@pytest.mark.parametrize("how", ["removed", "cut", "replaced", "published by others"])
def test_what_is_not_what_was_written_is_never_read(how: str, store: Any) -> None:
    run(prices([1])).raise_for_failure()
    place = asset("prices").path("SPY")
    if how == "removed":
        store.rm_file(place)
    elif how == "cut":
        store.pipe_file(place, b"[")
    elif how == "replaced":
        store.pipe_file(place, store.cat_file(place).replace(b"1", b"2"))
    else:
        note = {"digest": "sha256-00", "size": 0}
        store.pipe_file("bucket/prices/_SPY.json_asset.json", json.dumps(note).encode())
    with pytest.raises(AssetError):
        load_asset("prices", "SPY")
    if how != "replaced":  # of the same length: it is found where it is read
        assert invoke("assets", "stale", "prices").code == 6


def test_a_task_cannot_write_a_url_itself(store: Any) -> None:
    failed = run(prices(None))
    assert "memory://bucket/prices/SPY.json is written from what the task returns" in str(
        failed.tasks["t"].error
    )


def test_a_blocked_value_is_kept_beside_what_is_there(store: Any) -> None:
    run(prices([1])).raise_for_failure()
    failed = run(prices([2], checks=[lambda value: value == [1]]))
    assert failed.state == "failed"
    assert json.loads(store.cat_file("memory://bucket/prices/_rejected_SPY.json")) == [2]
    assert load_asset("prices", "SPY") == [1]


def test_a_kept_result_is_published_unless_it_is_there(store: Any) -> None:
    spec = prices([1])
    cached = compile_flow(spec, backend="inline", record=True, cache=True)
    cached.run({}).raise_for_failure()
    store.store.clear()
    again = cached.run({})
    assert again.tasks["t"].state == "cached", again.warnings
    assert load_asset("prices", "SPY") == [1]


def test_an_asset_is_forgotten_with_all_its_objects(store: Any) -> None:
    for value in ([1], [2]):
        run(prices(value)).raise_for_failure()
    assert len(store.find("bucket")) == 3
    done = invoke("assets", "forget", "prices", "--files")
    assert (done.code, store.find("bucket")) == (0, [])


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("memory://b/{symbol}.json", None),
        ("file:///tmp/{symbol}.json", "MXM806"),
        ("memory://{symbol}/x.json", "MXM806"),
        ("{symbol}://b/x.json", "MXM806"),
        ("memory://b/../{symbol}.json", "MXM806"),
        ("memory://b//{symbol}.json", "MXM802"),
        ("memory://me:pw@b/{symbol}.json", "MXM802"),
        ("nowhere://b/{symbol}.json", "MXM814"),
    ],
)
def test_a_url_is_checked_before_anything_runs(url: str, code: str | None) -> None:
    assert [p.code for p in check_flow(prices([1], url))] == ([code] if code else [])


S3 = """
import sys, threading, time
import fsspec
import mxm
from moto.server import ThreadedMotoServer
from mxm.pipeline import AssetDecl, asset, compile_flow, load_asset
import os

server = ThreadedMotoServer(port=0)
server.start()
host, port = server.get_host_and_port()
os.environ |= {"FSSPEC_S3_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "a",
               "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
fsspec.config.set_conf_env(fsspec.config.conf)
system = fsspec.filesystem("s3")
system.mkdir("bucket")

@mxm.task(produces=AssetDecl("prices", format="json", path_template="s3://bucket/a/x.json"))
def prices(n: int) -> list[int]:
    return [n] * 200_000

@mxm.flow
def f(n: int):
    return prices(n)

flow = compile_flow(f, backend="inline", record=True)
flow.run({"n": 0}).raise_for_failure()
seen, over = set(), []

def read():
    import json
    while not over:
        note = json.loads(system.cat_file("s3://bucket/a/_x.json_asset.json"))
        value = json.loads(system.cat_file(note["object"]))
        seen.add((len(value), len(set(value))))

reader = threading.Thread(target=read)
reader.start()
for n in range(1, 6):
    flow.run({"n": n}).raise_for_failure()
over.append(True)
reader.join()
assert seen == {(200_000, 1)}, seen
assert load_asset("prices") == [5] * 200_000
system.rm(asset("prices").path())
system.invalidate_cache()
try:
    load_asset("prices")
except mxm.pipeline.errors.AssetError as error:
    print("refused:", str(error).splitlines()[0])
server.stop()
"""


@pytest.mark.slow
def test_a_store_like_s3_is_written_and_read(tmp_path: Path) -> None:
    env = environment(tmp_path / "env", sys.executable)
    env.install(str(Path(__file__).parent.parent), "moto[server]", "s3fs")
    (tmp_path / "flows.py").write_text(S3)
    said = env.run("flows.py", cwd=tmp_path)
    assert "refused: asset 'prices' cannot be loaded: missing: s3://bucket/a/x.json" in said
