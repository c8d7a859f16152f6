"""Runs on a Ray that lives longer than they do: its workers, code, deaths, what does not answer."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import SCRIPT, Outcome, call, write

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
    wait_for("processors", lambda: ray.available_resources().get("CPU") == 3)
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


# By address, from processes of their own


@pytest.fixture
def address(ray: Any) -> str:
    where: str = ray.get_runtime_context().gcs_address
    return where


def command(address: str, *more: str) -> tuple[str, ...]:
    return ("run", "fl", "--backend", "inline", "--runner", "ray", "--address", address,
            "--value", "-q", *more)  # fmt: skip


DEATHS = """
    import os, time
    import mxm

    @mxm.task(retries={retries})
    def dies(tries: str) -> int:
        with open(tries, "a") as file:
            file.write("x")
        os.kill(os.getpid(), 9)
        return 1

    @mxm.task
    def sleeps(pids: str) -> int:
        with open(pids, "a") as file:
            print(os.getpid(), file=file)
        time.sleep(300)
        return 1

    @mxm.flow
    def fl(path: str):
        return {task}(path)
    """


def deaths(folder: Path, task: str, retries: int = 0) -> Path:
    """The file that the task of the flow written into *folder* writes to."""
    text = DEATHS.format(task=task, retries=retries)
    write(folder, {"pyproject.toml": PROJECT, "deaths.py": text})
    return folder / "path"


PROJECT = '[tool.mxm.pipeline]\nmodules = ["deaths"]\n'


@pytest.mark.parametrize("retries", [0, 2])
def test_task_that_kills_its_worker_runs_once_and_once_a_retry(
    address: str, tmp_path: Path, retries: int
) -> None:
    path = deaths(tmp_path, "dies", retries)
    done = call(*command(address, "--workers", "1", "-p", f"path={path}"), cwd=tmp_path)
    assert done.code == 1
    assert "WorkerDiedError: task 'dies' was lost: its Ray worker ended" in done.err
    assert "actor_id" not in done.err
    assert path.read_text() == "x" * (retries + 1)


@contextlib.contextmanager
def sleeping(folder: Path, address: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A run whose task sleeps, and the process of its worker."""
    path = deaths(folder, "sleeps")
    words = command(address, "--workers", "1", "-p", f"path={path}")
    process = subprocess.Popen(
        [sys.executable, SCRIPT, *words], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for("the task", lambda: path.exists() and path.read_text().endswith("\n"))
        yield process, int(path.read_text())
        assert len(path.read_text().split()) == 1
    finally:
        process.kill()
        process.communicate()


def wait_for(what: str, ready: Callable[[], Any], seconds: float = 100) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, what
        time.sleep(0.1)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_run_that_is_killed_leaves_no_worker(address: str, tmp_path: Path) -> None:
    with sleeping(tmp_path, address) as (process, worker):
        process.kill()
        wait_for("the end of the worker", lambda: not is_alive(worker))


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_the_run_and_its_worker(address: str, tmp_path: Path, times: int) -> None:
    with sleeping(tmp_path, address) as (process, worker):
        process.send_signal(signal.SIGINT)
        if times == 2:
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=100)
        assert (process.returncode, "Traceback" in err) == (130, False), err
        wait_for("the end of the worker", lambda: not is_alive(worker))


def failed(address: str, folder: Path, *more: str) -> Outcome:
    path = deaths(folder, "dies")
    done = call(*command(address, "-p", f"path={path}", *more), cwd=folder)
    assert (done.code, path.exists(), "Traceback" in done.err) == (2, False, False), done.err
    return done


def test_no_processors_for_it(address: str, tmp_path: Path) -> None:
    done = failed(address, tmp_path, "--workers", "4")
    assert "the Ray cluster has had no 4 free processors for 30 seconds" in done.err
    assert "--workers N" in done.err


@pytest.mark.parametrize("where", ["127.0.0.1:1", "nowhere", "ray://127.0.0.1:1"])
def test_address_where_nothing_answers(tmp_path: Path, where: str) -> None:
    pytest.importorskip("ray")
    assert f"error: no Ray cluster answers at {where}: " in failed(where, tmp_path).err


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_address_where_something_else_answers(tmp_path: Path, reply: bytes) -> None:
    pytest.importorskip("ray")
    with listening(reply) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        done = failed(where, tmp_path)
    assert f"error: what answers at {where} is not a Ray cluster: " in done.err


def listening(reply: bytes) -> socket.socket:
    """What answers *reply*, or accepts and says nothing."""
    server = socket.create_server(("127.0.0.1", 0))
    peers: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                peers.append(server.accept()[0])
                peers[-1].sendall(reply)

    threading.Thread(target=serve, daemon=True).start()
    return server


def test_doctor_joins_the_cluster_that_is_named(address: str, tmp_path: Path) -> None:
    def cluster(where: str) -> tuple[int, str, str]:
        done = call("doctor", "--runner", "ray", "--address", where, "--json", cwd=tmp_path)
        (found,) = (c for c in json.loads(done.out)["checks"] if c["what"] == "cluster")
        return done.code, found["state"], found["text"]

    text = f"ray at {address} has the Python and the mxm-pipeline of this process"
    assert cluster(address) == (0, "ok", text)
    with listening(b"") as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        code, state, text = cluster(where)
    assert (code, state) == (1, "wrong")
    assert text.startswith(f"what answers at {where} is not a Ray cluster: ")
