"""Runs on a Dask cluster that lives longer than they do: code, deaths, and what does not answer."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import Outcome, call, write

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

FLOW = """
    import mxm, lib
    from pkg.base import Scale

    @mxm.task
    def t(n: int) -> int:
        return lib.f(n) + Scale().go(n)

    @mxm.flow
    def fl(n: int = 2):
        return t(n)
    """
FILES = {
    "pyproject.toml": '[tool.mxm.pipeline]\nmodules = ["fl"]\n',
    "fl.py": FLOW,
    "lib.py": "def f(x): return x * 10\n",
    "pkg/__init__.py": "",
    "pkg/base.py": "RATE = 3\nclass Scale:\n    def go(self, x): return x * RATE\n",
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    distributed = pytest.importorskip(
        "distributed", reason="Dask is not installed: make test-scale"
    )
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=60
    ) as cluster:
        yield cluster.scheduler_address


def run(folder: Path, address: str, *more: str, flow: str = "fl") -> Outcome:
    return call("run", flow, "--backend", "inline", "--runner", "dask", "--address", address,
                "--value", "-q", *more, cwd=folder)  # fmt: skip


def value(folder: Path, address: str) -> Any:
    ran = run(folder, address)
    assert (ran.code, ran.err) == (0, "")
    return json.loads(ran.out)


def test_an_edit_reaches_workers_that_live_on(tmp_path: Path, address: str) -> None:
    write(tmp_path, FILES)
    assert value(tmp_path, address) == 26
    write(tmp_path, {"lib.py": "def f(x): return x * 20\n"})  # a helper
    assert value(tmp_path, address) == 46
    base = FILES["pkg/base.py"]
    write(tmp_path, {"pkg/base.py": base.replace("3", "4")})  # a constant
    assert value(tmp_path, address) == 48
    write(tmp_path, {"pkg/base.py": base.replace("x * RATE", "x * RATE + 1")})  # a class
    assert value(tmp_path, address) == 47
    relative = "from . import more\n" + base.replace("RATE\n", "more.R\n")
    write(tmp_path, {"pkg/base.py": relative, "pkg/more.py": "R = 7\n"})  # a new module
    assert value(tmp_path, address) == 54
    write(tmp_path, {"fl.py": FLOW.replace("lib.f(n)", "1000 + lib.f(n)")})  # the task
    assert value(tmp_path, address) == 1054
    os.remove(tmp_path / "pkg" / "more.py")  # a module that is gone
    assert run(tmp_path, address).code == 3
    write(tmp_path, {"pkg/base.py": base})
    assert value(tmp_path, address) == 1046


def test_two_projects_with_modules_of_one_name_take_turns(tmp_path: Path, address: str) -> None:
    other = {**FILES, "lib.py": "def f(x): return -x\n"}
    write(tmp_path / "one", FILES)
    write(tmp_path / "two", other)
    for _ in range(2):
        assert value(tmp_path / "one", address) == 26
        assert value(tmp_path / "two", address) == 4


MEMO = """
    import functools
    import mxm

    COUNT = []

    @functools.cache
    def rate():
        with open({file!r}) as file:
            return int(file.read())

    @mxm.task
    def t(n: int) -> int:
        COUNT.append(n)
        return rate() + len(COUNT)

    @mxm.flow
    def fl(n: int = 2):
        return t(n)
    """


def test_what_a_module_holds_does_not_outlive_its_run(tmp_path: Path, address: str) -> None:
    file = tmp_path / "rate.txt"
    write(tmp_path, {**FILES, "fl.py": MEMO.format(file=str(file))})
    for rate in (10, 20, 30):  # more runs than workers
        file.write_text(str(rate))
        assert value(tmp_path, address) == rate + 1


def test_a_script_without_a_guard_says_so(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    lines = "import fl\nfl.fl.with_options(backend='inline', runner='dask', workers=1).run()\n"
    write(tmp_path, {**FILES, "script.py": lines})
    ran = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "BackendError: a Dask cluster cannot start on this machine" in ran.stderr
    assert 'hint: put the call under `if __name__ == "__main__":`' in ran.stderr


def test_code_that_was_edited_after_its_import_is_refused(tmp_path: Path, address: str) -> None:
    edit = "\n    open(__file__.replace('fl.py', 'lib.py'), 'w').write('def f(x): return 5\\n')\n"
    write(tmp_path, {**FILES, "fl.py": FLOW + edit})
    ran = run(tmp_path, address)
    assert ran.code == 1
    assert "BackendError: the workers have other code for task 't' than this process" in ran.err
    assert "f at lib.py:1" in ran.err or "lib.f" in ran.err


def test_a_constant_that_the_program_changed_is_refused(tmp_path: Path, address: str) -> None:
    write(
        tmp_path,
        {
            **FILES,
            "fl.py": FLOW.replace(
                "    @mxm.task", "    import pkg.base\n    pkg.base.RATE = 7\n\n    @mxm.task"
            ),
        },
    )
    assert value(tmp_path, address) == 34  # a module changes it wherever it is imported
    write(tmp_path, {**FILES, "other.py": "import lib\nlib.f = lambda x: x\n"})
    ran = run(tmp_path, address, "-m", "other")
    assert (ran.code, ran.out) == (1, "null\n")
    assert "the workers have other code for task 't' than this process" in ran.err


def test_a_list_that_the_program_changed_is_refused(tmp_path: Path, address: str) -> None:
    base = "RATES = [3]\nclass Scale:\n    def go(self, x): return x * RATES[0]\n"
    other = "import pkg.base\npkg.base.RATES[0] = 7\n"
    write(tmp_path, {**FILES, "pkg/base.py": base, "other.py": other})
    assert value(tmp_path, address) == 26
    ran = run(tmp_path, address, "-m", "other")
    assert (ran.code, ran.out) == (1, "null\n")
    assert "task 't' was not run: pkg.base.RATES differs in the worker process" in ran.err


DEATHS = """
    import os, time
    import mxm

    @mxm.task(retries={retries})
    def dies(n: int) -> int:
        with open({tries!r}, "a") as file:
            file.write("x")
        os.kill(os.getpid(), 9)
        return n

    @mxm.flow
    def fl(n: int = 1):
        return dies(n)
    """


@pytest.mark.parametrize("retries", [0, 2])
def test_task_that_kills_its_worker_runs_once_and_once_a_retry(
    tmp_path: Path, address: str, retries: int
) -> None:
    tries = tmp_path / "tries"
    flow = DEATHS.format(retries=retries, tries=str(tries))
    write(tmp_path, {**FILES, "fl.py": flow})
    ran = run(tmp_path, address)
    assert ran.code == 1
    assert "WorkerDiedError: task 'dies' was lost: its Dask worker at tcp://" in ran.err
    assert tries.read_text() == "x" * (retries + 1)


ITEMS = """
    import os
    import mxm

    @mxm.task
    def numbers(n: int) -> list[int]:
        return list(range(n))

    @mxm.task
    def double(x: int) -> int:
        if x % 100 == 99:
            raise ValueError(f"no {x}")
        return 2 * x

    @mxm.flow
    def fl(n: int = 1000):
        return double.outcomes(numbers(n))
    """


def test_items_have_an_outcome_each(tmp_path: Path, address: str) -> None:
    write(tmp_path, {**FILES, "fl.py": ITEMS})
    outcomes = value(tmp_path, address)
    assert [o for o in outcomes if isinstance(o, int)] == [
        2 * x for x in range(1000) if x % 100 != 99
    ]
    failed = [o["item"] for o in outcomes if isinstance(o, dict)]
    assert failed == [str(x) for x in range(99, 1000, 100)]


DYING_ITEM = """
    import os
    import mxm

    @mxm.task(retries={retries})
    def double(x: int, tries: str) -> int:
        with open(tries, "a") as file:
            file.write(f"{{x}} ")
        if x == 150:
            os.kill(os.getpid(), 9)
        return 2 * x

    @mxm.flow
    def fl(tries: str, n: int = 300):
        return double.outcomes(list(range(300)), tries=tries)
    """


@pytest.mark.parametrize("retries", [0, 1])
def test_a_dead_worker_fails_its_chunk_and_no_item_runs_beyond_its_retries(
    tmp_path: Path, address: str, retries: int
) -> None:
    tries = tmp_path / "tries"
    write(tmp_path, {**FILES, "fl.py": DYING_ITEM.format(retries=retries)})
    ran = run(tmp_path, address, "-p", f"tries={tries}")
    outcomes = json.loads(ran.out)
    called = list(map(int, tries.read_text().split()))
    assert max(map(called.count, called)) == retries + 1
    assert called.count(150) == retries + 1
    failed = [i for i, outcome in enumerate(outcomes) if outcome != 2 * i]
    assert 150 in failed
    assert len(failed) < 300  # other chunks are whole
    if retries:
        assert failed == [150]
    for i in failed:
        assert "was lost" in json.dumps(outcomes[i])


def listening(reply: bytes | None) -> socket.socket:
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            if reply is not None:
                peer.sendall(reply)

    threading.Thread(target=serve, daemon=True).start()
    return server


def test_address_where_nothing_answers(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    write(tmp_path, FILES)
    ran = run(tmp_path, "tcp://127.0.0.1:1")
    assert ran.code == 2
    assert ran.err.startswith("error: no Dask scheduler answers at tcp://127.0.0.1:1: Connection")
    ran = run(tmp_path, "nowhere")
    assert ran.err.startswith(
        "error: no Dask scheduler answers at nowhere: ValueError: it has no host and port"
    )


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9, None])
def test_address_where_something_else_answers(tmp_path: Path, reply: bytes | None) -> None:
    pytest.importorskip("distributed")
    write(tmp_path, FILES)
    with listening(reply) as server:
        where = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        ran = run(tmp_path, where)
    assert ran.code == 2
    assert ran.err.startswith(f"error: what answers at {where} is not a Dask scheduler")
    assert "Traceback" not in ran.err


def test_other_clients_keep_their_policy(address: str, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    tries = str(tmp_path / "tries")

    def dies() -> None:
        with open(tries, "a") as file:
            file.write("x")
        os.kill(os.getpid(), 9)

    write(tmp_path, FILES)
    value(tmp_path, address)  # its plugin is there now
    with distributed.Client(address, set_as_default=False) as client:
        future = client.submit(dies, pure=False)
        with pytest.raises(distributed.KilledWorker):
            future.result(timeout=200)
    assert len(Path(tries).read_text()) == 4  # Dask's default: three more


def test_resume_goes_on_at_the_same_cluster(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mxm.pipeline.store.resuming import read_earlier

    monkeypatch.setenv("MXM_HOME", str(tmp_path / "store"))
    write(tmp_path, {**FILES, "fl.py": FLOW.replace("lib.f(n)", "lib.f(n) / 0")})
    assert run(tmp_path, address).code == 1
    earlier = read_earlier(str(tmp_path / "store"), "last")
    assert (earlier.options["runner"], earlier.options["address"]) == ("dask", address)
    write(tmp_path, {"fl.py": FLOW})
    resumed = call("resume", "--value", "-q", cwd=tmp_path)
    assert (resumed.code, json.loads(resumed.out)) == (0, 26)


def test_doctor_joins_the_cluster_of_the_project(tmp_path: Path, address: str) -> None:
    settings = '[tool.mxm.pipeline]\nrunner = "dask"\naddress = "{}"\n'
    write(tmp_path, {"pyproject.toml": settings.format(address)})
    checks = json.loads(call("doctor", "--json", cwd=tmp_path).out)["checks"]
    (cluster,) = (check for check in checks if check["what"] == "cluster")
    text = f"dask at {address} has the Python and the mxm-pipeline of this process"
    assert (cluster["state"], cluster["text"]) == ("ok", text)
    with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9) as server:
        where = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        write(tmp_path, {"pyproject.toml": settings.format(where)})
        ran = call("doctor", "--json", cwd=tmp_path)
    (cluster,) = (c for c in json.loads(ran.out)["checks"] if c["what"] == "cluster")
    assert (ran.code, cluster["state"]) == (1, "wrong")
    assert cluster["text"].startswith(f"what answers at {where} is not a Dask scheduler")
