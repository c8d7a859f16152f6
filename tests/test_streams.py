"""The command and its streams: one document on stdout, in any encoding, closed or full."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import SCRIPT, Outcome, call, write

FLOW = """
    import mxm

    @mxm.task
    def größe() -> str:
        return "Ærø → 東京"

    @mxm.task(upstream=größe)
    def zwei(x: str) -> str:
        return x

    @mxm.task(upstream=größe)
    def drei(x: str) -> str:
        return x

    @mxm.flow
    def plain():
        '''Größe → 東京.'''
        return zwei, drei
    """
RUN = ["run", "plain", "--backend", "inline", "--quiet"]
VERBS = [["list"], ["show", "plain"], ["graph", "plain"], ["check"], RUN]
ENCODINGS = [
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": None},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, {"plain.py": FLOW})
    return tmp_path


def shell(line: str, folder: Path) -> Outcome:
    """*line* in bash, where ``mxm-pipeline`` is this command."""
    line = f'mxm-pipeline() {{ "{sys.executable}" "{SCRIPT}" "$@"; }}\n{line}'
    ran = subprocess.run(
        ["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=60
    )
    return Outcome(ran.returncode, ran.stdout, ran.stderr)


# Encodings


@pytest.mark.parametrize("verb", VERBS, ids=lambda v: v[0])
@pytest.mark.parametrize("env", ENCODINGS, ids=["C", "ascii", "latin-1"])
def test_stdout_that_has_not_every_character(
    project: Path, verb: list[str], env: dict[str, str | None]
) -> None:
    command = [sys.executable, SCRIPT, *verb]
    merged = {**os.environ, **env}
    ran = subprocess.run(
        command, cwd=project, env={k: v for k, v in merged.items() if v}, capture_output=True
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    text = ran.stdout.decode("latin-1" if env.get("PYTHONIOENCODING") == "latin-1" else "ascii")
    if verb is RUN:
        assert json.loads(text)["größe"] == "Ærø → 東京"


def test_tree_is_drawn_in_ascii_where_stdout_has_no_boxes(project: Path) -> None:
    drawn = call("graph", "plain", cwd=project, env={"PYTHONIOENCODING": "ascii"}).out
    assert drawn.splitlines() == [
        "plain",
        r"\-- gr\xf6\xdfe",
        r"    +-- zwei",
        r"    \-- drei",
    ]


def test_columns_stay_aligned_where_names_are_escaped(project: Path) -> None:
    drawn = call("show", "plain", cwd=project, env={"PYTHONIOENCODING": "ascii"}).out
    head, *rows = drawn.splitlines()[4:]
    assert drawn.splitlines()[2] == r"Gr\xf6\xdfe \u2192 \u6771\u4eac."
    assert {row[head.index("SOURCE") :] for row in rows} == {f"plain.py:{n}" for n in (3, 7, 11)}


# Streams that cannot be written


@pytest.mark.parametrize("verb", VERBS, ids=lambda v: v[0])
def test_full_disk_is_one_line_on_stderr(project: Path, verb: list[str]) -> None:
    ran = shell(f"mxm-pipeline {' '.join(verb)} > /dev/full", project)
    told = "error: cannot write to stdout: No space left on device\n"
    assert (ran.code, ran.err) == (2, told)


@pytest.mark.parametrize("option", ["--help", "--version", "list --help"])
def test_full_disk_is_one_line_also_for_what_typer_prints(project: Path, option: str) -> None:
    ran = shell(f"mxm-pipeline {option} > /dev/full", project)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert "No space left on device" in ran.err


@pytest.mark.parametrize("verb", [["list"], RUN, ["--help"]], ids=lambda v: v[0])
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_nobody_to_tell(project: Path, verb: list[str], closed: str) -> None:
    ran = shell(f"mxm-pipeline {' '.join(verb)} {closed}", project)
    assert (ran.code, ran.err) == (0, "")
    assert bool(ran.out) is (closed == "2>&-")


def test_error_with_nobody_to_tell_keeps_its_exit_code(project: Path) -> None:
    assert shell("mxm-pipeline show nothing 2> /dev/full", project).code == 2
    assert shell("mxm-pipeline show nothing 2>&-", project).code == 2


LOST = """
    import logging, subprocess, sys, threading, time, warnings
    import mxm

    print("at import")

    @mxm.task(retries=1)
    def loud() -> int:
        print("printed")
        print("on stderr", file=sys.stderr, flush=True)
        warnings.warn("a warning")
        logging.getLogger("user").error("logged")
        subprocess.run([sys.executable, "-c", "print('spawned')"])
        threading.Thread(target=lambda: (time.sleep(0.1), print("late"))).start()
        return 1

    @mxm.task
    def {name}() -> int:
        print("printed")
        return {value}

    @mxm.flow
    def lost():
        return loud, {name}
    """


@pytest.mark.parametrize("runner", ["sequential", "threads", "processes"])
@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_a_stderr_that_cannot_be_written_ends_no_run(
    tmp_path: Path, backend: str, runner: str
) -> None:
    write(tmp_path, {"lost.py": LOST.format(name="fine", value=2)})
    options = f"--backend {backend} --runner {runner}"
    ran = shell(f"mxm-pipeline run lost {options} 2> /dev/full", tmp_path)
    assert (ran.code, json.loads(ran.out)) == (0, {"loud": 1, "fine": 2})


@pytest.mark.parametrize("broken", ["2> /dev/full", "2> >(true)", "2>&-"])
def test_a_run_with_a_broken_stderr_keeps_its_exit_code(tmp_path: Path, broken: str) -> None:
    write(tmp_path, {"lost.py": LOST.format(name="fails", value="1 / 0")})
    ran = shell(f"mxm-pipeline run lost --backend inline {broken}", tmp_path)
    assert (ran.code, json.loads(ran.out)) == (1, {"loud": 1})


@pytest.mark.parametrize("verb", ["list", "show lost", "graph lost", "check", "run lost --help"])
def test_a_module_that_prints_is_found_with_a_broken_stderr(tmp_path: Path, verb: str) -> None:
    write(tmp_path, {"lost.py": LOST.format(name="fine", value=2)})
    ran = shell(f"mxm-pipeline {verb} 2> /dev/full", tmp_path)
    assert (ran.code, "lost" in ran.out or "1 flow" in ran.out) == (0, True)


def test_task_does_not_write_into_what_was_opened_in_place_of_a_closed_stream(
    project: Path,
) -> None:
    text = """
        import os, mxm

        @mxm.task
        def writes() -> None:
            with open("file.txt", "w") as file:
                os.system("echo spawned")
                file.write("own")

        @mxm.flow
        def writing():
            return writes
        """
    write(project, {"writing.py": text})
    ran = shell("mxm-pipeline run writing --backend inline -q >&-", project)
    assert (ran.code, (project / "file.txt").read_text()) == (0, "own")
    assert "I/O error" not in ran.err


@pytest.mark.parametrize("verb", ["list", "check", "run plain", "show plain.py"])
def test_working_directory_that_is_gone_is_an_error_of_two_lines(project: Path, verb: str) -> None:
    ran = shell(f"mkdir gone; cd gone; rmdir ../gone; mxm-pipeline {verb}", project)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        "error: there is no working directory: No such file or directory",
        "  hint: change to a folder that exists",
    ]


# One document


LATE = """
    import atexit, os, threading, time
    import mxm

    atexit.register(print, "at exit")

    def late():
        while True:
            print("on a thread")
            os.write(1, b"past Python\\n")
            time.sleep(0.002)

    {where}

    @mxm.task
    def one() -> int:
        {within}
        return 1

    @mxm.flow
    def noisy():
        return one
    """
# A daemon: Python waits for the end of any other, and so does the command.
START = "threading.Thread(target=late, daemon=True).start()"


@pytest.mark.parametrize("verb", [["run", "noisy", "--backend", "inline"],
                                  ["run", "noisy", "--backend", "inline", "--json"]],
                         ids=["run", "run --json"])  # fmt: skip
def test_thread_that_outlives_the_run_prints_to_stderr(tmp_path: Path, verb: list[str]) -> None:
    write(tmp_path, {"noisy.py": LATE.format(where="", within=f"{START}; time.sleep(0.2)")})
    ran = call(*verb, cwd=tmp_path)
    assert (ran.code, bool(json.loads(ran.out))) == (0, True)
    assert "on a thread" in ran.err
    assert "at exit" in ran.err


@pytest.mark.parametrize("verb", ["list", "show noisy", "graph noisy", "check"])
def test_what_a_module_prints_after_the_document_goes_to_stderr(tmp_path: Path, verb: str) -> None:
    write(tmp_path, {"noisy.py": LATE.format(where=START, within="pass")})
    ran = call(*verb.split(), "--json", cwd=tmp_path)
    assert (ran.code, bool(json.loads(ran.out))) == (0, True)
    assert "at exit" in ran.err


def test_callers_of_the_app_have_their_stdout_back(project: Path) -> None:
    program = """
        import os
        from mxm.pipeline.cli.main import app

        for _ in range(2):
            app(["check"], standalone_mode=False)
        print("printed", flush=True)
        os.system("echo spawned")
        """
    write(project, {"calls/program.py": program})
    ran = subprocess.run(
        [sys.executable, "calls/program.py"], cwd=project, capture_output=True, text=True
    )
    checked = "1 flow checked: no problems\n"
    assert (ran.stdout, ran.stderr) == (f"{checked * 2}printed\nspawned\n", "")


# What tasks say

SAYING = """
    import logging, sys
    import mxm

    @mxm.task
    def says():
        print("printed")
        print("on stderr", file=sys.stderr)
        sys.stdout.buffer.write(b"in bytes\\n")
        logging.getLogger("user").info("logged")
        logging.getLogger("user").debug("not logged")

    @mxm.flow
    def saying():
        return says
    """


@pytest.mark.parametrize("runner", ["sequential", "threads", "processes"])
def test_all_that_a_task_says_carries_flow_and_task(tmp_path: Path, runner: str) -> None:
    write(tmp_path, {"saying.py": SAYING})
    told = call("run", "saying", "--backend", "inline", "--runner", runner, cwd=tmp_path)
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in told.err.splitlines()]
    said = ["printed", "on stderr", "in bytes", "logged"]
    assert lines[0].startswith("started saying, 1 task, run ")
    assert lines[1:-2] == [f"[saying/says] {line}" for line in said]
    assert lines[-2].startswith("succeeded says ")
    assert lines[-1].startswith("succeeded saying in ")


QUIET = """
    import logging, sys, time, warnings
    import mxm

    @mxm.task
    def says():
        print("printed")
        print("\\r50%", end="", file=sys.stderr)
        warnings.warn("a warning of Python's")
        logging.getLogger("user").info("logged")
        logging.getLogger("user").warning("a logged warning")

    @mxm.task
    def fails():
        print("printed")
        raise ValueError("the failure")

    @mxm.flow
    def quiet():
        return says, fails
    """


@pytest.mark.parametrize("runner", ["sequential", "threads", "processes"])
def test_quiet_leaves_warnings_and_failures(tmp_path: Path, runner: str) -> None:
    write(tmp_path, {"quiet.py": QUIET})
    ran = call("run", "quiet", "--quiet", "--backend", "inline", "--runner", runner, cwd=tmp_path)
    assert (ran.code, json.loads(ran.out)) == (1, {"says": None})
    for text in ("a warning of Python's", "a logged warning", "the failure"):
        assert text in ran.err, text
    for text in ("printed", "50%", "logged\n", "succeeded"):
        assert text not in ran.err.replace("a logged warning", ""), text
