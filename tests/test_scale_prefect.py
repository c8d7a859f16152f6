"""`deploy` and `serve` with a real Prefect server, work pool and worker on this machine; slow."""

from __future__ import annotations

import glob
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command import SCRIPT, Outcome, call, write

pytestmark = pytest.mark.slow

CANARY = "canary-" + "5b1e"

FLOWS = """
import datetime, logging, time
import mxm
from pydantic import SecretStr

@mxm.task
def load(symbol: str, day: datetime.date, limit: int = 3) -> list[int]:
    print("loading", symbol, type(day).__name__)
    logging.getLogger("desk").warning("a stale quote")
    return list(range(limit))

@mxm.task
def login(key: SecretStr) -> int:
    return len(key.get_secret_value())

@mxm.task
def fail(x: int) -> int:
    raise ValueError("no prices")

@mxm.task
def leak(key: SecretStr) -> int:
    raise ValueError(f"key {key.get_secret_value()} is too old")

@mxm.flow
def leaking(key: SecretStr):
    return leak(key)

@mxm.task
def doze(seconds: int) -> int:
    time.sleep(seconds)
    return seconds

@mxm.flow(schedule_cron="0 18 * * 1-5", timezone="Europe/London", name="end of.day/100%")
def risk(symbol: str = "SPY", day: datetime.date = datetime.date(2026, 1, 2)):
    return load(symbol, day)

@mxm.flow
def secret(key: SecretStr):
    return login(key)

@mxm.flow
def failing(x: int = 1):
    return fail(x), doze(0)

@mxm.flow
def slow(seconds: int = 120):
    return doze(seconds)

@mxm.flow
def quick(seconds: int = 0):
    return doze(seconds)
"""
PROJECT = {"flows.py": FLOWS, "pyproject.toml": '[tool.mxm.pipeline]\nmodules = ["flows"]\n'}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running(words: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, which ends with the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, **options
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)


def wait_for(what: str, ready: Callable[[], Any], seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < deadline, what
        time.sleep(0.5)
    return found


@dataclass
class Site:
    """A server, and a project beside it."""

    url: str
    folder: Path
    env: dict[str, str]

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/{path}", data, {"content-type": "application/json"}, method=method
        )
        for left in range(20, -1, -1):
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    text = answer.read()
                break
            except urllib.error.HTTPError as error:
                if error.code != 503 or not left:  # its SQLite is busy, and it says so
                    raise
                time.sleep(0.5)
        return json.loads(text) if text else None

    def is_up(self) -> bool:
        try:
            return bool(self.ask("health"))
        except (urllib.error.URLError, OSError):
            return False

    def command(self, *arguments: str) -> Outcome:
        others = dict.fromkeys((name for name in os.environ if name.startswith("MXM_")), None)
        return call(*arguments, cwd=self.folder, env={**others, **self.env})

    def prefect(self, *arguments: str) -> None:
        words = [sys.executable, "-m", "prefect", *arguments]
        subprocess.run(words, env=self.env, check=True, capture_output=True, timeout=120)

    def deployed(self, *arguments: str) -> list[dict[str, Any]]:
        ran = self.command("deploy", *arguments, "--work-pool", "desk", "--json")
        assert ran.code == 0, ran.err
        found: list[dict[str, Any]] = json.loads(ran.out)["deployments"]
        return found

    def start(self, deployment: str, **parameters: Any) -> str:
        made = self.ask(f"deployments/{deployment}/create_flow_run", {"parameters": parameters})
        started: str = made["id"]
        return started

    def state(self, run: str) -> str:
        found: str = self.ask(f"flow_runs/{run}")["state_type"]
        return found

    def ended(self, run: str) -> dict[str, Any]:
        ends = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
        wait_for(f"run {run}", lambda: self.state(run) in ends)
        found: dict[str, Any] = self.ask(f"flow_runs/{run}")
        return found

    def results(self, run: str) -> Any:
        def found() -> Any:
            asked = {"artifacts": {"flow_run_id": {"any_": [run]}}}
            return [a for a in self.ask("artifacts/filter", asked) if a["type"] == "markdown"]

        [artifact] = wait_for("an artifact", found)
        return json.loads(artifact["data"].removeprefix("```json\n").removesuffix("\n```"))

    def logs(self, run: str) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = self.ask(
            "logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200}
        )
        return lines


@contextmanager
def site(folder: Path, **settings: str) -> Iterator[Site]:
    """A server with a process work pool and a worker, and a project."""
    write(folder / "project", PROJECT)
    port = free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_API", "MXM_"))}
    env |= {"HOME": str(folder), "PREFECT_HOME": str(folder / "client")}
    of_server = {**env, "PREFECT_HOME": str(folder / "server"), **settings}
    env |= {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "VENDOR_KEY": CANARY}
    made = Site(env["PREFECT_API_URL"], folder / "project", env)
    start = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    with ExitStack() as stack:
        log = folder / "server.log"
        server = stack.enter_context(running([*start, "--port", str(port)], log, env=of_server))

        def answers() -> bool:
            assert server.poll() is None, log.read_text()
            return made.is_up()

        wait_for("the server", answers)
        made.prefect("work-pool", "create", "--type", "process", "desk")
        work = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "desk"]
        stack.enter_context(running(work, folder / "worker.log", env=env, cwd=folder))
        wait_for("a worker", lambda: made.ask("work_pools/desk/workers/filter", {}))
        yield made


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as made:
        yield made


def test_a_run_from_the_api_leaves_its_results_and_its_output(at: Site) -> None:
    [made] = at.deployed("end of.day/100%", "--runner", "threads", "--workers", "2")
    run = at.start(made["id"], limit=2, day="2026-05-01")
    ended = at.ended(run)
    assert ended["state_type"] == "COMPLETED", ended["state"]
    assert at.results(run) == {"load": [0, 1]}

    def lines() -> Any:
        found = {line["message"]: line for line in at.logs(run)}
        return found if {"loading SPY date", "a stale quote"} <= found.keys() else None

    printed = wait_for("the lines of the task", lines)
    [task] = at.ask("task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    assert printed["loading SPY date"]["task_run_id"] == task["id"]
    assert (printed["loading SPY date"]["level"], printed["a stale quote"]["level"]) == (20, 30)
    [recorded] = json.loads(at.command("runs", "end of.day/100%", "--json").out)["runs"]
    assert recorded["state"] == "succeeded"
    shown = json.loads(at.command("runs", "show", recorded["id"], "--json").out)
    assert shown["runner"] == "threads"


def test_made_again_it_is_the_same_and_keeps_what_others_changed(at: Site) -> None:
    [first] = at.deployed("end of.day/100%")
    path = f"deployments/{first['id']}"
    [ours] = at.ask(path)["schedules"]
    at.ask(f"{path}/schedules/{ours['id']}", {"active": False}, "PATCH")
    theirs = {"schedule": {"cron": "0 3 * * *", "timezone": "UTC"}, "active": True}
    at.ask(f"{path}/schedules", [theirs])
    at.ask(f"{path}/pause_deployment", {})
    [again] = at.deployed("end of.day/100%", "--cron", "0 19 * * *")
    assert (again["id"], again["new"], again["paused"]) == (first["id"], False, True)
    found = at.ask(path)
    assert found["paused"] is True
    schedules = {(s["schedule"]["cron"], s["active"]) for s in found["schedules"]}
    assert schedules == {("0 19 * * *", False), ("0 3 * * *", True)}
    assert {s["schedule"]["timezone"] for s in found["schedules"]} == {"Europe/London", "UTC"}


@pytest.mark.parametrize(
    ("flow", "parameters", "said"),
    [
        ("end of.day/100%", {"limit": "many"}, "not of type"),
        ("end of.day/100%", {"lmit": 3}, "'lmit' was unexpected"),
        ("secret", {"key": CANARY}, "does not match"),
    ],
)
def test_the_server_refuses_what_does_not_fit(
    flow: str, parameters: dict[str, Any], said: str, at: Site
) -> None:
    [made] = at.deployed(flow, "--name", "refusing")
    with pytest.raises(urllib.error.HTTPError) as caught:
        at.start(made["id"], **parameters)
    assert caught.value.code == 409
    assert said in caught.value.read().decode()


def test_a_failed_run_says_why_and_keeps_what_succeeded(at: Site) -> None:
    [made] = at.deployed("failing")
    run = at.start(made["id"])
    ended = at.ended(run)
    assert (ended["state_type"], ended["state"]["message"]) == ("FAILED", "ValueError: no prices")
    assert at.results(run) == {"doze": 0}
    ends = "Finished in state Failed('ValueError: no prices')"

    def logged() -> str:
        text = "\n".join(line["message"] for line in at.logs(run))
        return text if ends in text else ""

    text = wait_for("its last line", logged)
    assert "flows.py" in text  # the task's own traceback, from the user's line on
    for log in (text, (at.folder.parent / "worker.log").read_text()):
        assert "no prices" in log
        assert "unexpected exception" not in log
        assert "task_engine" not in log
        assert "mxm/pipeline/" not in log


def test_a_secret_is_read_where_the_run_is_and_is_nowhere_else(at: Site) -> None:
    [made] = at.deployed("secret", "-p", "key=@env:VENDOR_KEY")
    run = at.start(made["id"])
    assert at.ended(run)["state_type"] == "COMPLETED"
    assert at.results(run) == {"login": len(CANARY)}
    lost = at.ended(at.start(made["id"], key="@env:NOT_SET_HERE"))
    assert lost["state_type"] == "FAILED"
    assert "NOT_SET_HERE is not set" in lost["state"]["message"]
    [made] = at.deployed("leaking", "-p", "key=@env:VENDOR_KEY")
    failed = at.ended(at.start(made["id"]))
    assert failed["state"]["message"] == "ValueError: key ********** is too old"
    files = [path for path in at.folder.parent.rglob("*") if path.is_file()]
    assert [p for p in files if CANARY.encode() in p.read_bytes()] == []


def test_a_run_that_is_cancelled_at_the_server_ends(at: Site) -> None:
    [made] = at.deployed("slow")
    run = at.start(made["id"])
    wait_for("the run", lambda: at.state(run) == "RUNNING")
    at.ask(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    assert at.ended(run)["state_type"] == "CANCELLED"


def test_a_worker_runs_it_on_schedule(at: Site) -> None:
    [made] = at.deployed("quick", "--cron", "* * * * *", "--timezone", "Asia/Tokyo")

    def completed() -> Any:
        asked = {
            "deployments": {"id": {"any_": [made["id"]]}},
            "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
        }
        return at.ask("flow_runs/filter", asked)

    [run, *_] = wait_for("a scheduled run", completed, 180)
    assert run["auto_scheduled"] is True
    assert at.command("undeploy", "quick").code == 0
    assert at.command("undeploy", "quick").code == 2


def test_no_such_work_pool_names_the_one_that_is_meant(at: Site) -> None:
    ran = at.command("deploy", "quick", "--work-pool", "dsk")
    assert (ran.code, ran.out) == (2, "")
    assert "there is no work pool 'dsk'" in ran.err
    assert "did you mean 'desk'" in ran.err
    ran = at.command("deploy", "quick", "--work-pool", "desk", "--image", "x")
    assert (ran.code, ran.out) == (2, "")
    assert "of type 'process', which has no 'image'" in ran.err
    ran = at.command("undeploy", "failng", "--name", "mxm")
    assert ran.code == 2


def test_doctor_knows_the_server(at: Site) -> None:
    checks = json.loads(at.command("doctor", "--json").out)["checks"]
    [api] = [check for check in checks if check["what"] == "prefect API"]
    assert api["state"] == "ok"
    assert f"{at.url} answers, version " in api["text"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_serve_runs_on_schedule_and_on_request_until_a_signal(
    number: signal.Signals, code: int, at: Site, tmp_path: Path
) -> None:
    words = [sys.executable, SCRIPT, "serve", "quick", "flows.py:failing", "--interval", "30"]
    words += ["--runs-at-once", "2"]
    with running(words, tmp_path / "log", env=at.env, cwd=at.folder) as process:

        def served() -> dict[str, Any]:
            found = at.ask("deployments/filter", {})
            return {
                d["entrypoint"].rpartition(".")[2]: d
                for d in found
                if d["name"] == "served" and not d["paused"]
            }

        deployments = wait_for("the deployments", lambda: len(served()) == 2 and served())
        quick = deployments["quick"]["id"]

        def completed(*, by_itself: bool) -> Any:
            found = at.ask("flow_runs/filter", {"deployments": {"id": {"any_": [quick]}}})
            return {
                run["id"]
                for run in found
                if run["state_type"] == "COMPLETED" and run["auto_scheduled"] == by_itself
            }

        earlier = completed(by_itself=True)
        wait_for("a scheduled run", lambda: completed(by_itself=True) - earlier, 180)
        asked_for = at.start(quick, seconds=1)
        wait_for("a run on request", lambda: asked_for in completed(by_itself=False), 180)
        process.send_signal(number)
        assert process.wait(60) == code, (tmp_path / "log").read_text()
    assert served() == {}


def postgres() -> str:
    """The folder of PostgreSQL's programs; without them, skipped aloud."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    program = shutil.which("initdb") or (found[-1] if found else None)
    if program is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("asyncpg")
    return os.path.dirname(os.path.realpath(program))


def test_a_run_at_a_server_on_postgresql(tmp_path: Path) -> None:
    programs = postgres()
    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # as whom it does not run
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    data = Path("/tmp") / f"mxm-pg-{os.getpid()}"  # a socket's path is short
    data.mkdir(mode=0o700)
    try:
        if user:
            os.chown(data, user["user"], user["group"])
        initdb = [f"{programs}/initdb", "-D", str(data), "-U", "prefect", "--auth=trust", "-N"]
        subprocess.run(initdb, check=True, capture_output=True, cwd="/", **user)
        port = free_port()
        words = [f"{programs}/postgres", "-D", str(data), "-p", str(port), "-k", str(data)]
        words += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with running(words, tmp_path / "pg.log", cwd="/", **user):
            ready = [f"{programs}/pg_isready", "-h", "127.0.0.1", "-p", str(port)]
            wait_for(
                "PostgreSQL",
                lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0,
            )
            url = f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
            with site(tmp_path, PREFECT_API_DATABASE_CONNECTION_URL=url) as at:
                [made] = at.deployed("end of.day/100%")
                [again] = at.deployed("end of.day/100%")
                assert again["id"] == made["id"]
                run = at.start(made["id"])
                assert at.ended(run)["state_type"] == "COMPLETED"
                assert at.results(run) == {"load": [0, 1, 2]}
    finally:
        shutil.rmtree(data, ignore_errors=True)


def test_a_signal_while_serve_starts_leaves_no_schedule_behind(at: Site, tmp_path: Path) -> None:
    words = [sys.executable, SCRIPT, "serve", "quick", "--interval", "5"]
    log = tmp_path / "log"
    with running(words, log, env=at.env, cwd=at.folder) as process:
        wait_for("the first line", lambda: "Ctrl-C" in log.read_text())
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, log.read_text()
    asked = at.ask("deployments/filter", {})
    assert [d["entrypoint"] for d in asked if d["name"] == "served" and not d["paused"]] == []
