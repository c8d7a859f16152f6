"""What the `processes` runner does beyond the conformance suite: its workers, and what crosses."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import SCRIPT, call, write

from mxm.pipeline import FlowSpec, State, TaskRun, TaskSpec, compile_flow
from mxm.pipeline.bindings import Bindings, Const
from mxm.pipeline.errors import BackendError, Skip, SpecError, WorkerDiedError
from mxm.pipeline.execution.pickling import pack_error, unpack
from mxm.pipeline.introspection.shadows import shadow_hint


def run(fn: Callable[..., Any], *args: Any, **options: Any) -> TaskRun:
    """One task in a worker process."""
    task = TaskSpec("t", fn, bindings=Bindings(tuple(map(Const, args))), **options)
    flow = compile_flow(FlowSpec("f", [task]), backend="inline", runner="processes", workers=1)
    return flow.run().tasks["t"]


def value_of(fn: Callable[..., Any], *args: Any) -> Any:
    ended = run(fn, *args)
    assert ended.state is State.SUCCEEDED, ended.error
    return ended.value


def give(value: Any = 1) -> Any:
    return value


# What crosses


def lock() -> Any:
    return threading.Lock()


class Holding:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self) -> None: ...


class Unreadable:
    def __reduce__(self) -> Any:
        return give, (1, 2)


@pytest.mark.parametrize(
    ("fn", "args", "told"),
    [
        (lock, (), "the value of task 't' cannot pass between processes: TypeError: cannot pickle"),
        (Unreadable, (), "the value of task 't' cannot pass between processes: TypeError: give()"),
        (give, (threading.Lock(),), "the inputs of task 't' cannot pass between processes: TypeE"),
        (give, (lambda: 1,), "the inputs of task 't' cannot pass between processes: SpecError:"),
        (Holding(), (), "the function of task 't' cannot pass between processes: TypeError: can"),
    ],
    ids=["value", "unreadable value", "input", "lambda as input", "instance"],
)
def test_what_does_not_pickle_is_told_and_not_tried_again(
    fn: Callable[..., Any], args: tuple[Any, ...], told: str
) -> None:
    ended = run(fn, *args, retries=3)
    assert isinstance(ended.error, BackendError)
    assert told in str(ended.error)
    assert "runner 'threads'" in (ended.error.hint or "")
    assert ended.attempts == 1


@pytest.mark.parametrize(
    "fn", [lambda: 1, functools.partial(lambda: 1)], ids=["lambda", "partial of one"]
)
def test_a_function_without_a_name_is_told_and_not_tried_again(fn: Callable[..., Any]) -> None:
    ended = run(fn, retries=3)
    assert isinstance(ended.error, SpecError)
    assert "'<lambda>' cannot be sent to a worker process" in str(ended.error)
    assert "use runner 'threads'" in str(ended.error)
    assert ended.attempts == 1


def doubled(fn: Callable[[], int]) -> Callable[[], int]:
    @functools.wraps(fn)
    def wrapper() -> int:
        return 2 * fn()

    return wrapper


twice = doubled(give)


def test_a_function_under_the_name_of_another_is_not_taken_for_it() -> None:
    ended = run(twice)
    assert isinstance(ended.error, SpecError)
    assert f"'{__name__}:give' is not the function that was sent" in str(ended.error)


def test_a_function_as_a_value_crosses_by_name() -> None:
    assert value_of(give, give) is give


# Exceptions


class FarError(ValueError):
    pass


def far(kind: str) -> None:
    class LocalError(FarError):
        pass

    class Closed(Skip):
        pass

    error: Exception = LocalError("no", threading.Lock()) if kind == "error" else Closed("holiday")
    vars(error)["held"] = threading.Lock()
    raise error


def test_of_a_class_that_does_not_cross_the_nearest_above_does() -> None:
    ended = run(far, "error", retries=1, retry_on=FarError)
    assert (type(ended.error), ended.attempts) == (FarError, 2)
    assert "LocalError: ('no', <unlocked" in ended.error.__notes__[0]  # type: ignore[union-attr]
    ended = run(far, "skip")
    assert (ended.state, ended.reason) == (State.SKIPPED, "holiday")


@pytest.mark.parametrize(
    "error",
    [
        OSError(2, "No such file", "a.csv"),
        ImportError("no", name="a", path="b"),
        SystemExit(3),
        StopIteration(4),
        SyntaxError("bad", ("a.py", 1, 2, "x", 1, 3)),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
        ExceptionGroup("all", [ValueError(1), KeyError("k")]),
        subprocess.CalledProcessError(3, ["a"], "out"),
        BackendError("no", hint="yes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_arrives_as_it_was(error: BaseException) -> None:
    again = unpack(pack_error(error))
    assert type(again) is type(error)
    for name in dir(error):
        if not name.startswith("__") and not callable(getattr(error, name, len)):
            assert repr(getattr(again, name)) == repr(getattr(error, name)), name
    assert str(again) == str(error)


def test_an_exception_that_holds_itself_arrives() -> None:
    error = ValueError("x")
    error.own = error  # type: ignore[attr-defined]
    again = unpack(pack_error(error))
    assert again.own is again


async def fails_later() -> None:
    raise ValueError("by design")


@pytest.mark.parametrize("fn", [far, fails_later], ids=["plain", "async"])
def test_a_traceback_begins_with_the_users_frame(fn: Callable[..., Any]) -> None:
    ended = run(fn, *(["error"] if fn is far else []))
    note = ended.error.__notes__[0]  # type: ignore[union-attr]
    first, second, third, *_ = note.splitlines()
    assert (first, second) == ("in a worker process:", "Traceback (most recent call last):")
    assert f'{__file__}", line' in third


# What is logged and printed


def tells_all() -> None:
    try:
        raise KeyError("k")
    except KeyError:
        logging.getLogger("told").exception("it failed")
    print("to stderr", file=sys.stderr)
    print("no end", end="")
    threading.Thread(target=print, args=("from a thread",)).run()


def test_what_a_worker_tells_is_shown_by_the_parent(caplog: pytest.LogCaptureFixture) -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        value_of(tells_all)
    assert out.getvalue() == "no endfrom a thread\n"
    assert err.getvalue() == "to stderr\n"
    (record,) = [r for r in caplog.records if r.name == "told"]
    assert record.message.startswith("it failed\nTraceback")
    assert record.process != os.getpid()


# Workers


def test_a_timeout_begins_when_the_function_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        import multiprocessing, time
        if multiprocessing.parent_process():
            time.sleep(2)

        def quick():
            return 1
        """
    write(tmp_path, {"slow_to_import.py": text})
    monkeypatch.syspath_prepend(tmp_path)
    import slow_to_import

    ended = run(slow_to_import.quick, timeout_s=1.5)
    assert (ended.value, ended.error) == (1, None)


def forks_and_dies(path: str) -> None:
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    Path(path).write_text(str(child))
    os._exit(7)


def test_a_worker_that_dies_before_its_child_does_not_hold_the_run(tmp_path: Path) -> None:
    ended = run(forks_and_dies, str(tmp_path / "child"))
    assert isinstance(ended.error, WorkerDiedError)
    assert "ended with exit code 7" in str(ended.error)
    assert_gone(int((tmp_path / "child").read_text()))


def forks_and_tells() -> int:
    child = os.fork()
    if child == 0:
        print("from the fork")
        logging.getLogger("told").warning("from the fork")
        os._exit(5)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_fork_of_a_worker_does_not_write_to_its_pipe() -> None:
    assert value_of(forks_and_tells) == 5


def squares() -> list[int]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(abs, [-1, -2])


def test_a_task_has_processes_of_its_own() -> None:
    assert value_of(squares) == [1, 2]


def test_a_run_in_a_run() -> None:
    assert value_of(value_of, give, 3) == 3


LONG = """
import os, subprocess, sys
from mxm.pipeline import FlowSpec, TaskSpec, compile_flow

def starts():
    process = subprocess.Popen(["sleep", "600"])
    with open("pids.part", "w") as file:
        file.write(f"{os.getpid()} {process.pid}")
    os.rename("pids.part", "pids")
    process.wait()

if __name__ == "__main__":
    spec = FlowSpec("f", [TaskSpec("starts", starts)])
    compile_flow(spec, backend="inline", runner="processes").run()
"""


@pytest.mark.parametrize("name", ["INT", "TERM", "KILL"])
def test_nothing_that_a_task_started_outlives_the_run(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"long.py": LONG})
    pids = tmp_path / "pids"
    host = subprocess.Popen([sys.executable, "long.py"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not pids.exists():
            assert time.monotonic() < deadline, "the task never started"
            time.sleep(0.05)
    finally:
        host.send_signal(getattr(signal, f"SIG{name}"))
        host.wait(60)
    for pid in pids.read_text().split():
        assert_gone(int(pid))


def assert_gone(pid: int) -> None:
    deadline = time.monotonic() + 60
    while _runs(pid):
        assert time.monotonic() < deadline, "a child is left"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"  # ended, and not yet waited for by whoever inherited it


FORKED = """
import os
from mxm.pipeline import FlowSpec, TaskSpec, compile_flow

def give():
    return 1

def run():
    flow = compile_flow(FlowSpec("f", [TaskSpec("t", give)]), backend="inline", runner="processes")
    return flow.run().values["t"]

if __name__ == "__main__":
    run()
    child = os.fork()
    if child == 0:
        os._exit(41 + run())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_of_a_program_that_used_workers_has_its_own(tmp_path: Path) -> None:
    write(tmp_path, {"forked.py": FORKED})
    # Python 3.12 and later warn of a fork of a process with threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "forked.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert (ran.stdout, ran.stderr) == ("42\n", "")


# Exceptions with what led to them


def chained() -> None:
    try:
        raise KeyError("first")
    except KeyError as error:
        raise ValueError("second") from error


def test_what_led_to_an_exception_comes_along() -> None:
    error = run(chained).error
    assert type(error) is ValueError
    assert type(error.__cause__) is KeyError
    assert error.__suppress_context__
    try:
        try:
            raise KeyError("a")
        finally:
            raise ValueError("b")
    except ValueError as with_context:
        again = unpack(pack_error(with_context))
    assert (type(again.__context__), again.__cause__) == (KeyError, None)


# Workers that die between tasks


def own_pid() -> int:
    return os.getpid()


def kill_other(one: int, other: int) -> int:
    pid = other if os.getpid() == one else one
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    return pid


def test_an_idle_worker_that_is_killed_is_replaced_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = [
        TaskSpec("one", own_pid),
        TaskSpec("other", own_pid),
        TaskSpec("killed", kill_other, upstream=["one", "other"]),
        TaskSpec("next", own_pid, after=["killed"]),
        TaskSpec("last", own_pid, after=["killed"]),
    ]
    ended = compile_flow(
        FlowSpec("f", tasks), backend="inline", runner="processes", workers=2
    ).run()
    assert ended.state is State.SUCCEEDED, ended
    assert ended.values["killed"] not in (ended.values["next"], ended.values["last"])
    (line,) = [r.getMessage() for r in caplog.records if "before task" in r.getMessage()]
    assert f"worker process {ended.values['killed']} ended with SIGKILL before task" in line


# Where workers cannot start


def test_a_long_temporary_folder_is_no_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 90)
    folder.mkdir()
    write(
        tmp_path,
        {
            "flows.py": "import mxm\n@mxm.task\ndef one() -> int:\n    return 1\n\n@mxm.flow\ndef f():\n    return one\n"
        },
    )
    ran = call(
        "run",
        "f",
        "--backend",
        "inline",
        "--runner",
        "processes",
        cwd=tmp_path,
        env={"TMPDIR": str(folder)},
    )
    assert (ran.code, ran.out) == (0, '{\n  "one": 1\n}\n'), ran.err
    assert list(folder.iterdir()) == []


AT_IMPORT = """
    import mxm

    @mxm.task
    def one() -> int:
        return 1

    @mxm.flow
    def f():
        return one

    f.with_options(backend="inline", runner="processes").run()
    """


@pytest.mark.parametrize("verb", ["list", "check", "run f --backend inline"])
def test_a_run_with_processes_at_import_is_an_error_that_names_its_line(
    tmp_path: Path, verb: str
) -> None:
    write(tmp_path, {"flows.py": AT_IMPORT})
    ran = call(*verb.split(), cwd=tmp_path)
    assert ran.code == 3
    assert "flows.py:11: a flow runs with runner 'processes' while module 'flows'" in ran.err


def test_a_script_runs_with_processes_under_its_main_guard(tmp_path: Path) -> None:
    text = AT_IMPORT.replace(
        "f.with_options", "if __name__ == '__main__':\n        print(f.with_options"
    ).replace(".run()", ".run().value())")
    write(tmp_path, {"flows.py": text})
    ran = subprocess.run(
        [sys.executable, "flows.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stdout) == (0, "1\n"), ran.stderr


UNGUARDED = """
    import sys
    from mxm.pipeline import FlowSpec, TaskSpec, compile_flow

    def one():
        return 1

    spec = FlowSpec("f", [TaskSpec("one", one, retries=3)])
    flow = compile_flow(spec, backend=sys.argv[1], runner="processes")
    {call}
    """


@pytest.mark.parametrize("backend", ["inline", "prefect"])
@pytest.mark.parametrize(
    "call",
    [
        "error = flow.run().tasks['one'].error",
        "try: flow.execute()\n    except Exception as e: error = e",
    ],
)
def test_a_script_without_a_main_guard_is_an_error_that_names_its_line(
    tmp_path: Path, backend: str, call: str
) -> None:
    shown = "print(type(error).__name__, error, sep='\\n')"
    write(tmp_path, {"script.py": UNGUARDED.format(call=f"{call}\n    {shown}")})
    ran = subprocess.run(
        [sys.executable, "script.py", backend],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    what = "a flow runs with runner 'processes' whenever the script is imported, and each worker"
    assert ran.stdout.splitlines() == [
        "BackendError",
        f"script.py:9: {what} process imports it",
        '  hint: put the call under `if __name__ == "__main__":`',
    ]
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("backend", "runner", "limit"),
    [
        *((backend, "processes", n) for backend in ("inline", "prefect") for n in (8, 12, 16, 24)),
        *(("prefect", "sequential", n) for n in (7, 9)),  # where Prefect waited forever
    ],
)
def test_too_few_open_files_is_an_error_that_names_the_limit(
    tmp_path: Path, backend: str, runner: str, limit: int
) -> None:
    write(tmp_path, {"flows.py": PLAIN})
    command = f'ulimit -n {limit}; exec "$@"'
    options = ["run", "f", "--backend", backend, "--runner", runner, "--workers", "1"]
    ran = subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, SCRIPT, *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if ran.returncode:
        assert "Traceback" not in ran.stderr
        assert "Too many open files" in ran.stderr
        assert "ulimit -n" in ran.stderr
    else:
        assert ran.stdout == '{\n  "one": 1\n}\n'


# Exceptions that ask for more than a failure


class Aborts(BaseException): ...


Aborts.__module__ = "mxm.research"


@pytest.mark.parametrize("backend", ["inline", "prefect"])
@pytest.mark.parametrize("name", ["mxm", "Abort", "Pause", "TerminationSignal"])
def test_what_a_task_raises_by_itself_is_its_failure(backend: str, name: str) -> None:
    import prefect.exceptions

    kind: Any = Aborts if name == "mxm" else getattr(prefect.exceptions, name)

    def fail() -> None:
        raise kind(15) if name == "TerminationSignal" else kind()

    ended = compile_flow(
        FlowSpec("f", [TaskSpec("bad", fail), TaskSpec("fine", own_pid)]), backend=backend
    ).run()
    assert ended.tasks["bad"].state is State.FAILED
    assert type(ended.tasks["bad"].error) is kind
    assert ended.tasks["fine"].state is State.SUCCEEDED


# Files that take the name of an installed module

PLAIN = """
    import mxm

    @mxm.task
    def one() -> int:
        return 1

    @mxm.flow
    def f():
        return one
    """


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("prefect.py", ["--backend", "prefect"]),
        ("prefect/__init__.py", ["--backend", "prefect"]),
        ("httpx.py", ["--backend", "prefect"]),
        ("queue.py", ["--backend", "inline", "--runner", "processes"]),
        ("random.py", ["--backend", "inline", "--runner", "processes"]),
        ("decimal.py", ["--backend", "inline", "--runner", "processes"]),
        ("multiprocessing.py", ["--backend", "inline"]),
    ],
)
def test_a_file_that_shadows_a_module_is_named_or_does_not_matter(
    tmp_path: Path, name: str, options: list[str]
) -> None:
    write(tmp_path, {"flows.py": PLAIN, name: "X = 1\n"})
    ran = call("run", "f", "--quiet", *options, cwd=tmp_path)
    if ran.code:
        assert (
            f"'{tmp_path / name.partition('/')[0]}' has the name of the installed module" in ran.err
        )
        assert "rename it" in ran.err
    else:
        assert ran.out == '{\n  "one": 1\n}\n'


def test_a_file_with_the_name_of_any_module_of_python_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in sorted(sys.stdlib_module_names):
        for file in (f"{name}.py", f"{name}/__init__.py"):
            write(tmp_path, {file: ""})
            shadow = tmp_path / file.partition("/")[0]
            assert f"{str(shadow)!r} has the name of the installed module {name!r}" in (
                shadow_hint() or ""
            )
            (tmp_path / file).unlink()
        (tmp_path / name).rmdir()


# Values that nest deeply


WRAPS: dict[str, Callable[[Any], Any]] = {
    "lists": lambda value: [value],
    "tuples": lambda value: (value,),
    "mappings": lambda value: {0: value},
}


def nested(kind: str, depth: int) -> Any:
    value: Any = ()
    for _ in range(depth):
        value = WRAPS[kind](value)
    return value


def depth_of(value: Any) -> int:
    depth = 0
    while value:
        value, depth = value[0], depth + 1
    return depth


@pytest.mark.parametrize("kind", WRAPS)
def test_values_nest_as_deeply_between_processes_as_in_one(kind: str) -> None:
    tasks = [TaskSpec("made", nested), TaskSpec("depth", depth_of, upstream=["made"])]
    flow = compile_flow(FlowSpec("f", tasks), backend="inline", runner="processes", workers=1)
    assert flow.run({"kind": kind, "depth": 900}).values["depth"] == 900
