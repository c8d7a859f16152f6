"""The command ends as Python does: buffers are written, exit handlers run, threads are awaited."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import call, write

LEFT_OPEN = """
    import atexit
    import threading
    import time
    from concurrent.futures import ThreadPoolExecutor

    import mxm

    ROWS = open("rows.csv", "w")
    POOL = ThreadPoolExecutor(1)


    def note(name: str) -> None:
        with open("notes.txt", "a") as file:
            file.write(name + "\\n")


    def later(name: str) -> None:
        time.sleep(0.2)
        note(name)


    atexit.register(note, "exit handler")
    threading.Thread(target=later, args=("thread at import",)).start()
    ROWS.writelines("at import\\n" for _ in range(1_000))


    @mxm.task
    def rows() -> int:
        for i in range(1_000):
            ROWS.write(f"{i}\\n")
        POOL.submit(later, "given to a pool")
        threading.Thread(target=later, args=("thread of a task",)).start()
        return 1_000


    @mxm.flow
    def prices():
        return rows
    """


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, {"prices.py": LEFT_OPEN})
    return tmp_path


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_run_loses_nothing_that_a_task_left_open(project: Path, backend: str) -> None:
    ran = call("run", "prices", "--backend", backend, cwd=project)
    assert ran.code == 0, ran.err
    assert len((project / "rows.csv").read_text().splitlines()) == 2_000
    assert set((project / "notes.txt").read_text().splitlines()) == {
        "thread at import",
        "given to a pool",
        "thread of a task",
        "exit handler",
    }


@pytest.mark.parametrize(
    "arguments", [["list"], ["check"], ["show", "prices"], ["graph", "prices"]]
)
def test_every_other_verb_ends_as_python_does(project: Path, arguments: list[str]) -> None:
    ran = call(*arguments, cwd=project)
    assert ran.code == 0, ran.err
    assert len((project / "rows.csv").read_text().splitlines()) == 1_000
    assert (project / "notes.txt").read_text().splitlines() == ["thread at import", "exit handler"]
