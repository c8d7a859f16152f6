"""Worker processes end as Python does: nothing that a task began to write is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from command import SCRIPT, call, write

ON_PROCESSES = ["--backend", "inline", "--runner", "processes", "--workers", "1"]

# Each leaves "done.txt" with 1,000 lines once its worker has ended: what the module does, and what
# the task does.
LEFT: dict[str, tuple[str, str]] = {
    "a file of the module": (
        "OUT = open('done.txt', 'w')",
        "OUT.writelines(LINES)",
    ),
    "a file that the task keeps": (
        "KEPT = []",
        "KEPT.append(open('done.txt', 'w')); KEPT[0].writelines(LINES)",
    ),
    "a suspended generator": (
        (
            "def rows():\n    with open('done.txt', 'w') as out:\n        while True:\n"
            "            out.write((yield))\nROWS = rows()"
        ),
        "next(ROWS); [ROWS.send(line) for line in LINES]",
    ),
    "an exit handler": (
        "import atexit",
        "atexit.register(lambda: open('done.txt', 'w').writelines(LINES))",
    ),
    "a slow exit handler": (
        "import atexit, time",
        "atexit.register(lambda: (time.sleep(2), open('done.txt', 'w').writelines(LINES)))",
    ),
    "a thread": (
        (
            "import threading, time\ndef later():\n    time.sleep(2)\n"
            "    open('done.txt', 'w').writelines(LINES)"
        ),
        "threading.Thread(target=later).start()",
    ),
    "a pool of threads": (
        "import concurrent.futures, time\npool = concurrent.futures.ThreadPoolExecutor(1)",
        (
            "pool.submit(time.sleep, 0.5)\n"
            "    pool.submit(lambda: open('done.txt', 'w').writelines(LINES))"
        ),
    ),
    "a finalizer": (
        "import weakref\nclass Holder: pass\nheld = Holder()",
        "weakref.finalize(held, lambda: open('done.txt', 'w').writelines(LINES))",
    ),
    "a buffering log handler": (
        (
            "import logging, logging.handlers\nLOG = logging.getLogger('rows')\nLOG.propagate = False\nLOG.setLevel('INFO')\n"
            "LOG.addHandler(logging.handlers.MemoryHandler(5000, logging.CRITICAL,"
            " logging.FileHandler('done.txt')))"
        ),
        "[LOG.info(line.strip()) for line in LINES]",
    ),
    "an exit handler with processes": (
        (
            "import atexit, multiprocessing\n"
            "def save(queue):\n    open('done.txt', 'w').writelines(queue.get())"
        ),
        (
            "queue = multiprocessing.get_context('spawn').Manager().Queue()\n"
            "    queue.put(LINES); atexit.register(save, queue)"
        ),
    ),
}

FLOW = """
import mxm

LINES = [f"row {{i}}\\n" for i in range(1000)]
{module}

@mxm.task
def leaves() -> int:
    {task}
    return 1

@mxm.flow
def f():
    return leaves()
"""


@pytest.mark.parametrize("kind", LEFT)
def test_what_a_task_left_behind_is_written_at_the_end_of_its_worker(
    tmp_path: Path, kind: str
) -> None:
    module, task = LEFT[kind]
    write(tmp_path, {"flows.py": FLOW.format(module=module, task=task)})
    with tempfile.TemporaryDirectory() as folder:  # not below tmp_path: a socket's path is short
        ran = call("run", "f", "--quiet", *ON_PROCESSES, cwd=tmp_path, env={"TMPDIR": folder})
        assert (ran.code, ran.out, ran.err) == (0, '{\n  "leaves": 1\n}\n', "")
        assert len((tmp_path / "done.txt").read_text().splitlines()) == 1_000
        assert os.listdir(folder) == []


def test_a_temporary_folder_of_a_worker_is_removed(tmp_path: Path) -> None:
    task = "KEPT.append(tempfile.TemporaryDirectory())"
    write(tmp_path, {"flows.py": FLOW.format(module="import tempfile\nKEPT = []", task=task)})
    folder = tmp_path / "tmp"
    folder.mkdir()
    ran = call("run", "f", "--quiet", *ON_PROCESSES, cwd=tmp_path, env={"TMPDIR": str(folder)})
    assert ran.code == 0, ran.err
    assert list(folder.iterdir()) == []


def test_what_an_exit_handler_prints_and_raises_is_shown(tmp_path: Path) -> None:
    module = (
        "import atexit\ndef last():\n    print('the last line', end='')\n    raise OSError('full')"
    )
    write(tmp_path, {"flows.py": FLOW.format(module=module, task="atexit.register(last)")})
    ran = call("run", "f", "--quiet", *ON_PROCESSES, cwd=tmp_path)
    assert (ran.code, ran.out) == (0, '{\n  "leaves": 1\n}\n')
    assert "the last line" in ran.err
    assert "OSError: full" in ran.err


def test_a_worker_that_dies_at_its_end_is_reported(tmp_path: Path) -> None:
    task = "atexit.register(os._exit, 9)"
    write(tmp_path, {"flows.py": FLOW.format(module="import atexit, os", task=task)})
    ran = call("run", "f", "--quiet", *ON_PROCESSES, cwd=tmp_path)
    assert ran.code == 0
    assert "a worker process ended with exit code 9 after its last task" in ran.err


LATE = """
import tempfile
import time
import mxm

OUT = open("rows.csv", "w")

@mxm.task
def rows() -> int:
    OUT.writelines(f"row {{i}}\\n" for i in range(1000))
    return 1

@mxm.task(after=rows, timeout_s={timeout})
def late() -> int:
    open("begun", "w").close()
    try:
        time.sleep(600)
    {catch}
        open("cleaned", "w").close()
    return 1

@mxm.flow
def f():
    return late, rows
"""


@pytest.mark.parametrize("catch", ["finally:", "except BaseException:"])
def test_a_late_task_is_interrupted_and_loses_nothing_of_others(tmp_path: Path, catch: str) -> None:
    write(tmp_path, {"flows.py": LATE.format(timeout=0.5, catch=catch)})
    ran = call("run", "f", *ON_PROCESSES, cwd=tmp_path)
    assert ran.code == 1
    assert "TaskTimeoutError" in ran.err
    assert "may be lost" not in ran.err
    assert (tmp_path / "cleaned").exists()
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 1_000


def test_a_late_task_that_cannot_be_interrupted_is_killed_with_a_warning(tmp_path: Path) -> None:
    text = LATE.format(timeout=0.5, catch="finally:").replace("time.sleep(600)", STUBBORN)
    write(tmp_path, {"flows.py": text})
    ran = call("run", "f", *ON_PROCESSES, cwd=tmp_path)
    assert ran.code == 1
    assert "the worker process of task 'late' could only be killed" in ran.err


STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_a_cancelled_run_loses_nothing_of_tasks_that_ended(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"flows.py": LATE.format(timeout=None, catch="finally:")})
    host = subprocess.Popen(
        [sys.executable, SCRIPT, "run", "f", *ON_PROCESSES, "--grace", "0"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline, "the task never started"
            time.sleep(0.05)
    finally:
        host.send_signal(getattr(signal, f"SIG{name}"))
        assert host.wait(60) == 128 + getattr(signal, f"SIG{name}")
    assert (tmp_path / "cleaned").exists()
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 1_000


TWICE = """
import atexit
from mxm.pipeline import FlowSpec, TaskSpec, compile_flow

OUT = open("rows.csv", "a")

def rows():
    OUT.writelines(f"row {i}\\n" for i in range(1000))
    return 1

if __name__ == "__main__":
    flow = compile_flow(
        FlowSpec("f", [TaskSpec("rows", rows)]), backend="inline", runner="processes"
    )
    for lines in (1000, 2000):
        flow.execute()
        assert len(open("rows.csv").readlines()) == lines
"""


def test_a_run_has_written_its_files_when_it_returns(tmp_path: Path) -> None:
    write(tmp_path, {"twice.py": TWICE})
    folder = tmp_path / "tmp"
    folder.mkdir()
    ran = subprocess.run(
        [sys.executable, "twice.py"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("moment", ["_Parent", "_next_request", "_close", "_answer_all"])
def test_sigterm_at_any_moment_ends_a_worker_without_a_traceback(moment: str) -> None:
    # Also as it starts, and once it has nothing more to answer.
    code = f"""
import multiprocessing, os, signal
from mxm.pipeline.execution.places import worker
worker._end_with_parent = lambda: None
original = worker.{moment}
def stopped_after(*args):
    made = original(*args)
    os.kill(os.getpid(), signal.SIGTERM)
    return made
worker.{moment} = stopped_after
ours, theirs = multiprocessing.Pipe()
ours.close()
worker.serve(theirs)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (143, "", "")
