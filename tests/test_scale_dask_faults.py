"""A Dask cluster of real processes with every fault it may have: what a run does, and says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import SCRIPT, Outcome, call, write
from environments import ROOT, Environment, environment, find_python

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PROJECT = {"pyproject.toml": '[tool.mxm.pipeline]\nmodules = ["fl"]\n'}
FLOW = """
    import os, time
    import mxm

    @mxm.task(retries={retries})
    def works(log: str) -> int:
        with open(log, "a") as file:
            file.write(f"{{os.getpid()}} ")
        {work}
        return 1

    @mxm.task
    def after(n: int) -> int:
        return n + 1

    @mxm.task
    def queued() -> int:
        return 3

    @mxm.flow
    def fl(log: str):
        return after(works(log)), queued()
    """
SLEEPS = "time.sleep(120)"
GROWS = """held = []
        for _ in range(300):
            held.append(b"x" * 40_000_000)
            time.sleep(0.1)"""
# More than any machine of a test takes.
LONG_S = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("distributed", reason="Dask is not installed: make test-scale")
    return tmp_path_factory.mktemp("dask")


def wait_for(what: Callable[[], Any], seconds: float = LONG_S) -> Any:
    """What *what* returns, once that is true."""
    end = time.monotonic() + seconds
    while not (seen := what()):
        assert time.monotonic() < end, "it did not come to be in time"
        time.sleep(0.05)
    return seen


@contextlib.contextmanager
def process(
    folder: Path, name: str, *command: str, env: dict[str, str] | None = None
) -> Generator[subprocess.Popen[bytes], None, None]:
    """A process of its own group, which is ended with all that it started."""
    # An environment of its own inherits nothing of this one's.
    own = {k: v for k, v in os.environ.items() if env is None or not k.startswith("PYTHON")}
    with open(folder / f"{name}.log", "wb") as log:
        started = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
            env={**own, **(env or {})},
        )
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


@contextlib.contextmanager
def scheduler(
    folder: Path, python: str = sys.executable, env: dict[str, str] | None = None
) -> Generator[tuple[subprocess.Popen[bytes], str], None, None]:
    """A scheduler on a free port, and its address."""
    file = folder / f"scheduler-{os.urandom(4).hex()}.json"
    command = (python, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--host",
               "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file))  # fmt: skip
    with process(folder, file.stem, *command, env=env) as started:
        wait_for(lambda: file.exists() and '"address"' in file.read_text())
        yield started, json.loads(file.read_text())["address"]


@contextlib.contextmanager
def worker(
    folder: Path,
    address: str,
    *more: str,
    python: str = sys.executable,
    env: dict[str, str] | None = None,
) -> Generator[subprocess.Popen[bytes], None, None]:
    """A worker of one thread that has joined the scheduler at *address*."""
    name = f"worker-{os.urandom(4).hex()}"
    command = (python, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--name",
               name, "--no-dashboard", *more)  # fmt: skip
    with process(folder, name, *command, env=env) as started:
        wait_for(lambda: name in workers_of(address))
        yield started


def workers_of(address: str) -> list[str]:
    import distributed

    with distributed.Client(address, set_as_default=False) as client:
        return [str(each["name"]) for each in client.scheduler_info()["workers"].values()]


def project(folder: Path, work: str, retries: int = 0) -> Path:
    write(folder, {**PROJECT, "fl.py": FLOW.format(work=work, retries=retries)})
    return folder / "log"


OPTIONS = ("run", "fl", "--backend", "inline", "--runner", "dask")


def run(folder: Path, log: Path, *more: str) -> Outcome:
    return call(*OPTIONS, "-p", f"log={log}", *more, cwd=folder)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Environment]:
    """Gives an environment of a Python that has Dask, and nothing of ours."""
    made: dict[str, Environment] = {}

    def get(version: str) -> Environment:
        if version not in made:
            folder = tmp_path_factory.mktemp(f"python{version}")
            own = environment(folder / "env", find_python(version), ROOT)
            import distributed

            own.install(
                f"distributed=={distributed.__version__}",
                *("cloudpickle", "typer", "pydantic", "typing-extensions"),
            )
            made[version] = own
        return made[version]

    return get


def test_two_python_minors_are_refused(
    folder: Path, tmp_path: Path, elsewhere: Callable[[str], Environment]
) -> None:
    other = "3.12" if sys.version_info[:2] != (3, 12) else "3.13"
    own = elsewhere(other)
    log = project(tmp_path, "pass")
    with scheduler(folder) as (_, address), worker(
        folder, address, python=own.python, env=own.variables()
    ):  # fmt: skip
        began = time.monotonic()
        ran = run(tmp_path, log, "--address", address)
        assert time.monotonic() - began < LONG_S
    assert ran.code == 2
    ours = "{}.{}".format(*sys.version_info)
    assert "the Dask worker at tcp://" in ran.err
    assert f"has Python {other}, and this process {ours}" in ran.err
    assert "Traceback" not in ran.err
    assert not log.exists()


def test_a_scheduler_without_mxm_pipeline_is_refused(
    folder: Path, tmp_path: Path, elsewhere: Callable[[str], Environment]
) -> None:
    own = elsewhere("{}.{}".format(*sys.version_info))
    log = project(tmp_path, "pass")
    with scheduler(folder, own.python, {}) as (_, address), worker(folder, address):
        ran = run(tmp_path, log, "--address", address)
    assert ran.code == 2
    assert "the Dask scheduler or a worker cannot import mxm-pipeline" in ran.err
    assert "hint: install the same mxm-pipeline on the scheduler and on every worker" in ran.err
    assert "Traceback" not in ran.err
    assert not log.exists()


@pytest.mark.parametrize("retries", [0, 1])
def test_a_worker_that_is_killed_for_its_memory_runs_once_and_once_a_retry(
    folder: Path, tmp_path: Path, retries: int
) -> None:
    log = project(tmp_path, GROWS, retries)
    with scheduler(folder) as (_, address), worker(folder, address, "--memory-limit", "600MB"):
        ran = run(tmp_path, log, "--address", address)
    assert ran.code == 1
    assert "WorkerDiedError: task 'works' was lost: its Dask worker at tcp://" in ran.err
    assert len(log.read_text().split()) == retries + 1


def test_a_scheduler_that_dies_ends_the_run(folder: Path, tmp_path: Path) -> None:
    log = project(tmp_path, SLEEPS)
    with scheduler(folder) as (own, address), worker(folder, address):

        def kill() -> None:
            wait_for(log.exists, 90)
            own.kill()

        threading.Thread(target=kill, daemon=True).start()
        ran = run(tmp_path, log, "--address", address)
    assert ran.code == 1
    assert "failed works" in ran.err
    assert "failed queued" in ran.err
    assert "the Dask scheduler does not answer any more" in ran.err
    assert "Traceback" not in ran.err
    assert len(log.read_text().split()) == 1


@pytest.mark.parametrize("where", ["ours", "joined"])
def test_ctrl_c_twice_ends_the_command_and_its_workers(
    folder: Path, tmp_path: Path, where: str
) -> None:
    log = project(tmp_path, SLEEPS)
    with contextlib.ExitStack() as stack:
        more: tuple[str, ...] = ("--workers", "1")
        if where == "joined":
            _, address = stack.enter_context(scheduler(folder))
            stack.enter_context(worker(folder, address))
            more = ("--address", address)
        command = (sys.executable, SCRIPT, *OPTIONS, "-p", f"log={log}", *more)
        own = stack.enter_context(process(tmp_path, "run", *command))
        wait_for(lambda: log.exists() and log.read_text())
        own.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            own.wait(0.5)
        own.send_signal(signal.SIGINT)
        assert own.wait(LONG_S) == 130
        text = (tmp_path / "run.log").read_text()
        assert "Traceback" not in text
        if where == "ours":
            pid = int(log.read_text().split()[0])
            wait_for(lambda: not is_alive(pid))


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


@pytest.fixture
def starving(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster without workers, whose workers are waited for for two seconds."""
    import distributed

    from mxm.pipeline.execution.places import dask_place

    monkeypatch.setattr(dask_place, "_WORKERS_S", 2)
    with distributed.LocalCluster(
        n_workers=0, threads_per_worker=1, dashboard_address=None, silence_logs=60
    ) as cluster:
        yield cluster


def test_no_workers_are_an_error(starving: Any, tmp_path: Path) -> None:
    from scale_flows import chain

    from mxm.pipeline.errors import BackendError

    options: Any = {"runner": "dask", "backend": "inline", "address": starving.scheduler_address}
    with pytest.raises(BackendError, match="the Dask cluster has had no workers for 2 seconds"):
        chain.with_options(**options).run()


def test_workers_that_do_not_come_back_are_an_error(starving: Any, tmp_path: Path) -> None:
    from scale_flows import chain

    from mxm.pipeline.errors import BackendError
    from mxm.pipeline.execution.events import StepEnded

    starving.scale(1)
    starving.wait_for_workers(1, timeout=LONG_S)

    def end(event: Any) -> None:
        if isinstance(event, StepEnded) and event.task.name == "change":
            starving.scale(0)
            wait_for(lambda: not starving.scheduler.workers)

    options: Any = {"runner": "dask", "backend": "inline", "address": starving.scheduler_address}
    run = chain.with_options(**options, observers=[end]).run()
    with pytest.raises(BackendError, match="is lost|no workers for 2 seconds"):
        run.raise_for_failure()


def test_a_worker_that_joins_late_gets_the_code(folder: Path, tmp_path: Path) -> None:
    log = project(tmp_path, "time.sleep(1)")
    with scheduler(folder) as (_, address), contextlib.ExitStack() as workers:
        first = workers.enter_context(worker(folder, address, "--no-nanny"))
        assert run(tmp_path, log, "--address", address).code == 0
        workers.enter_context(worker(folder, address, "--no-nanny"))
        first.kill()
        wait_for(lambda: len(workers_of(address)) == 1)
        assert run(tmp_path, log, "--address", address).code == 0
    assert len(set(log.read_text().split())) == 2
