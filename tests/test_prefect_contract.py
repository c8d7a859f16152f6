"""The same flows in process and at a real Prefect server, compared; slow."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

HANG_S = 600  # only what hangs takes so long

FLOWS = """
import json, sys, time
from mxm.pipeline import FlowSpec, RetryAfter, Skip, TaskSpec, backoff, compile_flow

calls = []

def one(x: int = 1): return x
def add(a, b): return a + b
def fail(*_): raise ValueError("by design")
def skip(*_): raise Skip("market closed")
def flaky(*_):
    calls.append(1)
    if len(calls) % 3: raise KeyError("not yet")
    return len(calls)
def asked(*_):
    calls.append(1)
    if len(calls) == 1: raise RetryAfter(0.02)
    if len(calls) == 2: raise KeyError("not yet")
    return len(calls)
def doze(*_): time.sleep(5)

flows = [
    FlowSpec("plain", [TaskSpec("a", one, tags=["quick"]), TaskSpec("b", add, upstream=["a", "a"]),
                       TaskSpec("c", one, after=["b"])], params={"x": 3}),
    FlowSpec("failing", [TaskSpec("a", one), TaskSpec("bad", fail, upstream=["a"]),
                         TaskSpec("behind", one, upstream=["bad"]), TaskSpec("beside", one)]),
    FlowSpec("retrying", [TaskSpec("a", flaky, retries=2, retry_delay_s=0.01)]),
    FlowSpec("waiting", [TaskSpec("a", asked, retries=2, retry_delay_s=backoff(0.01),
                                  retry_on=lambda error: "not yet" in str(error))]),
    FlowSpec("used up", [TaskSpec("a", fail, retries=2)]),
    FlowSpec("skipping", [TaskSpec("a", skip), TaskSpec("b", one, upstream=["a"])]),
    FlowSpec("late", [TaskSpec("a", doze, timeout_s=0.2)]),
    FlowSpec("ruled", [TaskSpec("bad", fail, allow_failure=True),
                       TaskSpec("instead", one, after=["bad"], run_if="failed"),
                       TaskSpec("shown", lambda *x: repr(x), upstream=["bad", "instead"],
                                run_if="always"),
                       TaskSpec("unneeded", one, after=["instead"], run_if="failed")]),
]
told = {}
for spec in flows:
    for runner in ("sequential", "threads"):
        calls.clear()
        run = compile_flow(spec, runner=runner, workers=2).run()
        told[f"{spec.name} {runner}"] = {
            "state": run.state.value,
            "results": run.results,
            "tasks": {t.name: [t.state.value, t.attempts, repr(t.error), t.reason]
                      for t in run.tasks.values()},
        }
json.dump(told, sys.stdout)
"""


def run_flows(folder: Path, **environment: str) -> Any:
    told = subprocess.run(
        [sys.executable, "-c", FLOWS],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
        + ["--port", str(port)],
        env={**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}/api"
    try:
        deadline = time.monotonic() + HANG_S
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5)
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, "the server did not start"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.5)
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def ask(url: str, what: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{url}/{what}/filter", b"{}", {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: list[dict[str, Any]] = json.load(answer)
    return found


CANCELLED = """
import os, signal, sys, time
from mxm.pipeline import FlowSpec, TaskSpec, compile_flow

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(3600)  # a run that waited for it would not end

spec = FlowSpec("cancelled", [TaskSpec("a", interrupt), TaskSpec("b", interrupt, after=["a"])])
try:
    compile_flow(spec, runner=sys.argv[1], workers=2).run()
except KeyboardInterrupt as error:
    print(error.mxm_run.state)
"""


@pytest.mark.parametrize("runner", ["sequential", "threads"])
def test_a_run_that_a_signal_ended_is_cancelled_at_the_server(
    server: str, tmp_path: Path, runner: str
) -> None:
    told = subprocess.run(
        [sys.executable, "-c", CANCELLED, runner],
        cwd=tmp_path,
        env={
            **os.environ,
            "PREFECT_API_URL": server,
            "PREFECT_HOME": str(tmp_path / "client"),
        },
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=True,
    )
    assert told.stdout == "cancelled\n"
    assert [run["state_name"] for run in ask(server, "flow_runs")] == ["Cancelled"]


SECRET = """
from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
from pydantic import SecretStr

def use(key: SecretStr, limit: int = 1) -> SecretStr:
    assert key.get_secret_value() == CANARY
    return key
def fail(key): raise ValueError("by design")

tasks = [TaskSpec("use", use, tags=["quick"]), TaskSpec("fail", fail, params={"key": CANARY})]
spec = FlowSpec("marker-of-the-flow", tasks, params={"key": CANARY})
for params in ({}, {"key": CANARY}, {"kye": CANARY}):
    run = compile_flow(spec).run(params)
    assert run.tasks["use"].state == "succeeded", run
"""


def test_the_server_never_sees_a_secret(server: str, tmp_path: Path) -> None:
    canary = "canary-" + "7f3a"
    subprocess.run(
        [sys.executable, "-c", SECRET.replace("CANARY", repr(canary))],
        cwd=tmp_path,
        env={
            **os.environ,
            "HOME": str(tmp_path),
            "PREFECT_API_URL": server,
            "PREFECT_HOME": str(tmp_path / "client"),
        },
        timeout=HANG_S,
        check=True,
    )
    deadline = time.monotonic() + HANG_S
    while len(ask(server, "task_runs")) < 6:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert [run["parameters"]["key"] for run in ask(server, "flow_runs")] == 3 * ["*" * 10]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"marker-of-the-flow" in kept
    assert canary.encode() not in kept


def test_the_server_sees_what_happens_in_process(server: str, tmp_path: Path) -> None:
    here = run_flows(tmp_path)
    there = run_flows(tmp_path, PREFECT_API_URL=server, PREFECT_HOME=str(tmp_path / "client"))
    assert there == here
    assert here["plain sequential"]["results"] == {"a": 3, "b": 6, "c": 3}

    flows = {flow["id"]: flow["name"] for flow in ask(server, "flows")}
    runs = {run["id"]: run for run in ask(server, "flow_runs")}
    assert sorted(flows[run["flow_id"]] for run in runs.values()) == sorted(
        2 * ["plain", "failing", "retrying", "waiting", "used up", "skipping", "late", "ruled"]
    )
    plain = [run for run in runs.values() if flows[run["flow_id"]] == "plain"]
    assert all(run["parameters"]["x"] == 3 for run in plain)
    assert all(run["state_name"] == "Completed" for run in plain)

    deadline = time.monotonic() + HANG_S  # the server stores events of task runs in batches
    expected = 2 * (3 + 3 + 1 + 1 + 1 + 1 + 1 + 3)
    while len(tasks := ask(server, "task_runs")) < expected:
        assert time.monotonic() < deadline, [task["name"] for task in tasks]
        time.sleep(0.5)
    of_plain = [t for t in tasks if t["flow_run_id"] == plain[0]["id"]]
    by_name = {task["name"].rpartition("-")[0]: task for task in of_plain}
    assert by_name["a"]["tags"] == ["quick"]
    assert {i["id"] for i in by_name["b"]["task_inputs"]["a"]} == {by_name["a"]["id"]}
    assert {i["id"] for i in by_name["c"]["task_inputs"]["after"]} == {by_name["b"]["id"]}
    for name in ("retrying", "waiting"):
        retried = [t for t in tasks if flows[runs[t["flow_run_id"]]["flow_id"]] == name]
        assert [t["run_count"] for t in retried] == [3, 3]
    skipped = [t for t in tasks if flows[runs[t["flow_run_id"]]["flow_id"]] == "skipping"]
    assert {t["state_name"] for t in skipped} == {"Skipped"}
    ruled = [t for t in tasks if flows[runs[t["flow_run_id"]]["flow_id"]] == "ruled"]
    assert sorted((t["name"].rpartition("-")[0], t["state_name"]) for t in ruled) == [
        *2 * [("bad", "Failed")],
        *2 * [("instead", "Completed")],
        *2 * [("shown", "Completed")],
    ]
    ended = {flows[run["flow_id"]]: run["state_name"] for run in runs.values()}
    assert (ended["ruled"], ended["failing"]) == ("Completed", "Failed")


IN_WORKERS = """
from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
import prefect

@prefect.task
def more(x): return x + 1

@prefect.flow
def inside(x): return more(x)

def logs():
    prefect.get_run_logger().info("from a worker")
    return more(1) + inside(1)

if __name__ == "__main__":
    spec = FlowSpec("outside", [TaskSpec("logs", logs)])
    assert compile_flow(spec, runner="processes").run().values == {"logs": 4}
"""


def test_a_task_in_a_worker_is_in_its_task_run_at_the_server(server: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(IN_WORKERS, encoding="utf-8")
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PREFECT_API_URL": server,
        "PREFECT_HOME": str(tmp_path / "client"),
    }
    subprocess.run([sys.executable, script], env=environment, timeout=HANG_S, check=True)
    deadline = time.monotonic() + HANG_S
    while len(tasks := ask(server, "task_runs")) < 4:
        assert time.monotonic() < deadline, tasks
        time.sleep(0.5)
    (own,) = [task for task in tasks if task["name"].startswith("logs")]
    (line,) = [line for line in ask(server, "logs") if line["message"] == "from a worker"]
    assert (line["task_run_id"], line["flow_run_id"]) == (own["id"], own["flow_run_id"])
    begun_there = [t for t in tasks if t["name"].startswith(("more", "inside"))]
    parents = [task["task_inputs"].get("__parents__", []) for task in begun_there]
    # The task inside the flow has none.
    assert sorted([run["id"] for run in runs] for runs in parents) == [[], [own["id"]], [own["id"]]]


RULES = """
import json, sys
from mxm.pipeline import FlowSpec, Skip, TaskSpec, compile_flow
from mxm.pipeline.bindings import Bindings, Const, Each, Upstream

def one(*_): return 1
def fail(*_): raise ValueError("by design")
def skip(*_): raise Skip("market closed")
def odd(x):
    if x % 2: raise ValueError(x)
    return x
def over(items): return Bindings((Each(Const(items)),))

flows = [
    FlowSpec("fallback", [TaskSpec("feed", fail, allow_failure=True),
                          TaskSpec("other", one, after=["feed"], run_if="failed"),
                          TaskSpec("prices", one, upstream=["feed", "other"],
                                   run_if="not_failed")]),
    FlowSpec("joined", [TaskSpec("left", skip), TaskSpec("right", one),
                        TaskSpec("join", one, upstream=["left", "right"], run_if="not_failed"),
                        TaskSpec("strict", one, upstream=["left", "right"])]),
    FlowSpec("cleaned", [TaskSpec("work", fail), TaskSpec("next", one, upstream=["work"]),
                         TaskSpec("mail", one, after=["next"], run_if="failed"),
                         TaskSpec("clean", one, after=["next"], run_if="always")]),
    FlowSpec("mapped", [TaskSpec("gain", odd, bindings=over([0, 1, 2, 4]), on_item_error="skip"),
                        TaskSpec("seen", odd, bindings=over([0, 1, 2]), outcomes=True),
                        TaskSpec("more", one, bindings=Bindings((Each(Upstream("gain")),)))]),
    FlowSpec("broken", [TaskSpec("gain", odd, bindings=over([0, 1, 2])),
                        TaskSpec("more", one, bindings=Bindings((Each(Upstream("gain")),)))]),
]
ended = {}
for spec in flows:
    run = compile_flow(spec, runner=sys.argv[1], workers=2).run()
    ended[spec.name] = {t.name: t.state.value for t in run.tasks.values()}
json.dump(ended, sys.stdout)
"""


@pytest.mark.parametrize("runner", ["sequential", "threads"])
def test_states_of_run_rules_and_maps_at_the_server(
    server: str, tmp_path: Path, runner: str
) -> None:
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PREFECT_API_URL": server,
        "PREFECT_HOME": str(tmp_path / "client"),
    }
    ran = subprocess.run(
        [sys.executable, "-c", RULES, runner],
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=True,
    )
    here = json.loads(ran.stdout)
    assert here["cleaned"] == {
        "work": "failed",
        "next": "skipped",
        "mail": "succeeded",
        "clean": "succeeded",
    }
    called = sum(state != "skipped" for tasks in here.values() for state in tasks.values())
    deadline = time.monotonic() + HANG_S  # the server stores events of task runs in batches
    # A task that raised Skip itself has a task run, and so has a map of which items ran.
    while len(tasks := ask(server, "task_runs")) < called + 2:
        assert time.monotonic() < deadline, [task["name"] for task in tasks]
        time.sleep(0.5)
    flows = {flow["id"]: flow["name"] for flow in ask(server, "flows")}
    runs = {run["id"]: run for run in ask(server, "flow_runs")}
    assert {flows[run["flow_id"]]: run["state_name"] for run in runs.values()} == {
        "fallback": "Completed",
        "joined": "Completed",
        "mapped": "Completed",
        "cleaned": "Failed",
        "broken": "Failed",
    }
    there: dict[str, dict[str, str]] = {}
    messages: dict[str, str | None] = {}
    for task in tasks:
        flow = flows[runs[task["flow_run_id"]]["flow_id"]]
        name = task["name"].rpartition("-")[0]
        there.setdefault(flow, {})[name] = task["state_name"]
        messages[f"{flow}.{name}"] = task["state"]["message"]
    assert there == {
        "fallback": {"feed": "Failed", "other": "Completed", "prices": "Completed"},
        "joined": {"left": "Skipped", "right": "Completed", "join": "Completed"},
        "cleaned": {"work": "Failed", "mail": "Completed", "clean": "Completed"},
        "mapped": {"gain": "Completed", "seen": "Completed", "more": "Completed"},
        "broken": {"gain": "Failed", "more": "Skipped"},
    }
    assert messages["mapped.gain"] == "3 of 4 succeeded"
    assert messages["mapped.seen"] == "2 of 3 succeeded"
