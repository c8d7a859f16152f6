"""Runs on a Ray that lives longer than they do: its workers, code, deaths, what does not answer."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import write

from mxm.pipeline.execution.places.cluster import ClusterPlace

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

WORKERS = """
    import os, time
    import mxm, ray_lib

    @mxm.task
    def t(n: int) -> tuple[int, int]:
        time.sleep(0.2)
        return os.getpid(), ray_lib.f(n)

    @mxm.flow
    def fl():
        return [t.named(f"t{n}")(n) for n in range(4)]
    """


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A Ray that this process is connected to."""
    module: Any = pytest.importorskip("ray", reason="Ray is not installed: make test-scale")
    module.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield module
    module.shutdown()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write(tmp_path, {"pyproject.toml": "[tool.mxm.pipeline]\n", "ray_fl.py": WORKERS})
    write(tmp_path, {"ray_lib.py": "def f(x): return x * 10\n"})
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("ray_fl", "ray_lib"):
        sys.modules.pop(name, None)


def imported() -> Any:
    """The flow of the project, as its files are now."""
    for name in ("ray_fl", "ray_lib"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    return importlib.import_module("ray_fl").fl


def ran(flow: Any, **options: Any) -> tuple[set[int], list[int]]:
    """The processes that ran it, and its values."""
    run = flow.with_options(runner="ray", backend="inline", workers=2, **options).run()
    run.raise_for_failure()
    pids, values = zip(*run.value(), strict=True)
    return set(pids), list(values)


def test_the_next_run_has_the_same_workers_and_the_code_of_its_own(ray: Any, project: Path) -> None:
    pids, values = ran(imported())
    assert (len(pids), values) == (2, [0, 10, 20, 30])
    again, values = ran(imported())
    assert (again, values) == (pids, [0, 10, 20, 30])
    write(project, {"ray_lib.py": "def f(x): return x * 20 + 1\n"})
    edited, values = ran(imported())
    assert (edited, values) == (pids, [1, 21, 41, 61])


def test_each_worker_gets_the_sources_once(
    ray: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    ask = ray_place().ask

    def counted(self: ClusterPlace, data: bytes, task: str, held: Any = ()) -> Any:
        asked.append(len(data))
        return ask(self, data, task, held)

    monkeypatch.setattr(ray_place(), "ask", counted)
    write(project, {"ray_lib.py": f"def f(x): return x  # {os.urandom(20_000).hex()}\n"})
    ran(imported())
    assert sum(size > 20_000 for size in asked) == 2
    asked.clear()
    ran(imported())
    assert (len(asked), max(asked) < 20_000) == (4, True)


def test_a_worker_that_died_between_two_runs_is_replaced(ray: Any, project: Path) -> None:
    pids, _ = ran(imported())
    dead = pids.pop()
    os.kill(dead, 9)
    again, values = ran(imported())
    assert (len(again), values) == (2, [0, 10, 20, 30])
    assert dead not in again


def test_idle_workers_give_their_processors_back(
    ray: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module(ray_place().__module__), "_KEPT_S", 0.1)
    ran(imported())
    until = time.monotonic() + 60
    while ray.available_resources().get("CPU") != 3:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert ran(imported())[1] == [0, 10, 20, 30]


def test_what_was_on_a_ray_that_ended_is_let_go(project: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: make test-scale")
    script = project / "twice.py"
    write(project, {"twice.py": TWICE})
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(script)], env={**os.environ, **env}, capture_output=True, text=True
    )
    left = "the result of task 'change' stayed on the Ray cluster, which this process has left\n"
    assert (done.returncode, done.stdout) == (0, 2 * "0 10 20 30\n" + left), done.stderr


TWICE = """
    import threading, time
    import ray
    import ray_fl, scale_flows
    from mxm.pipeline.errors import BackendError
    from mxm.pipeline.execution.places import ray_place

    if __name__ == "__main__":
        ray_place._KEPT_S = 2
        for number in range(2):
            ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
            run = ray_fl.fl.with_options(runner="ray", backend="inline", workers=2).run()
            print(*(value for _, value in run.value()), flush=True)
            if number == 0:
                first = scale_flows.chain.with_options(runner="ray", backend="inline").run()
                ray.shutdown()
        try:
            first.values["change"].get()
        except BackendError as error:
            print(error.message)
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join()
        ray.available_resources()
    """


def ray_place() -> Any:
    return importlib.import_module("mxm.pipeline.execution.places.ray_place").RayPlace
