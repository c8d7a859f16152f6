"""What the command prints, where, and with which exit code it ends."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Generator, Mapping, Sequence
from enum import IntEnum
from typing import Any, NoReturn

import typer

from mxm.pipeline.errors import GraphError, LoadError, ParameterError, PipelineError, Problem
from mxm.pipeline.logs import TaskLines, current_task
from mxm.pipeline.runs import FlowRun, State

__all__ = [
    "ExitCode",
    "Outcome",
    "leave",
    "logged",
    "print_error",
    "print_json",
    "print_problems",
    "print_table",
    "reporting",
    "stdout_kept",
    "style",
]


class ExitCode(IntEnum):
    """How the command ends; stable and documented."""

    OK = 0
    TASK_FAILED = 1
    USAGE = 2
    IMPORT_FAILED = 3
    INVALID_GRAPH = 4
    SIGINT = 130
    SIGTERM = 143


class Outcome:
    """Options that every command shares."""

    debug = False


def leave(code: object) -> NoReturn:
    """End the process as `sys.exit` does, without freeing every object one by one.

    That takes as long as `list` itself; mypy ends so too. Nor are threads waited for that a task
    left behind.
    """
    if isinstance(code, str):
        print(code, file=sys.stderr)
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    with contextlib.suppress(OSError, ValueError):  # closed by what reads it
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else code is not None)


def style(text: str, code: str, *, err: bool = True) -> str:
    """*text* in an ANSI style where the stream is a terminal and NO_COLOR is not set."""
    stream = sys.stderr if err else sys.stdout
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def print_error(error: str | BaseException | Problem) -> None:
    """*error* on stderr, as ``error: ...`` with its hint below."""
    kind = error.severity if isinstance(error, Problem) else "error"
    colour = {"error": "31;1", "warning": "33;1"}.get(kind, "36;1")
    print(f"{style(f'{kind}:', colour)} {error}", file=sys.stderr)


def print_problems(problems: Sequence[Problem]) -> None:
    """*problems* on stderr, and where to read more of them."""
    for problem in problems:
        print_error(problem)
    print_pointer(problems)


def print_pointer(problems: Sequence[Problem]) -> None:
    """How to read more of *problems*, on stderr."""
    codes = sorted({problem.code for problem in problems})
    if codes:
        print(f"more: mxm-pipeline explain {' '.join(codes)}", file=sys.stderr)


def print_json(document: Any) -> None:
    """*document* on stdout."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, or a stream that is not UTF-8
        text = json.dumps(document, indent=2, allow_nan=False)
    print(text)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """*rows* on stdout in columns as wide as they need to be."""
    lines = [[cell.replace("\n", "\\n") for cell in row] for row in (head, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for number, line in enumerate(lines):
        text = "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
        print(style(text, "1", err=False) if number == 0 else text)


@contextlib.contextmanager
def reporting() -> Generator[None]:
    """Turn this package's errors into a message on stderr and an exit code, without a traceback."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # rather than when Python ends, where nothing could be caught
    except PipelineError as error:
        if Outcome.debug:
            raise
        print_error(error)
        if isinstance(error, GraphError | ParameterError):
            print_pointer(error.problems)
        raise typer.Exit(_code(error)) from None
    except BrokenPipeError:
        # `| head` went away: nothing is left to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.OK) from None


def _code(error: PipelineError) -> ExitCode:
    if isinstance(error, GraphError):
        return ExitCode.INVALID_GRAPH
    if isinstance(error, LoadError):
        return ExitCode.IMPORT_FAILED
    return ExitCode.USAGE


@contextlib.contextmanager
def stdout_kept() -> Generator[None]:
    """Send whatever writes to stdout to stderr, C libraries and subprocesses included."""
    sys.stdout.flush()
    try:
        own = sys.stdout.fileno() == 1
    except (OSError, ValueError):  # replaced by something without a descriptor, as in tests
        own = False
    saved = os.dup(1) if own else -1
    if own:
        os.dup2(2, 1)
    lines = TaskLines(sys.stderr)
    try:
        with contextlib.redirect_stdout(lines):
            yield
    finally:
        lines.finish()
        if own:
            os.dup2(saved, 1)
            os.close(saved)


@contextlib.contextmanager
def logged(verbosity: int) -> Generator[None]:
    """Show on stderr how tasks end, and what they log, each line with its flow and task.

    Parameters
    ----------
    verbosity
        Below 0 errors and warnings; 0 also information; above, all.
    """
    root = logging.getLogger()
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_concerns_the_run)
    handler.setFormatter(_Lines())
    level = root.level
    root.addHandler(handler)
    root.setLevel({-1: logging.WARNING, 0: logging.INFO}.get(verbosity, logging.DEBUG))
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _concerns_the_run(record: logging.LogRecord) -> bool:
    """Whether *record* is ours, the engine's, a task's, or a warning."""
    name = record.name.partition(".")[0]
    if name == "prefect":  # marked where it is a task's; else silenced, or shown by itself
        return hasattr(record, "mxm_task") or not logging.getLogger(name).handlers
    ours = record.name.startswith("mxm.pipeline")
    return ours or current_task() is not None or record.levelno >= logging.WARNING


class _Lines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(mxm_place)s%(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        task = current_task()
        record.mxm_place = f"[{'/'.join(task)}] " if task else ""
        return super().format(record)


def print_failures(run: FlowRun) -> None:
    """Why *run* did not succeed: each failed task with its traceback from the user's frame on."""
    for task in run.tasks.values():
        if task.error is not None:
            tries = f" after {task.attempts} attempts" if task.attempts > 1 else ""
            print_error(f"task {task.name!r} of flow {run.flow.name!r} failed{tries}")
            print(_users_traceback(task.error), file=sys.stderr)
    skipped = [t.name for t in run.tasks.values() if t.state is State.SKIPPED]
    if skipped and run.state is State.FAILED:
        print(f"not run: {', '.join(skipped)}", file=sys.stderr)


def _users_traceback(error: BaseException) -> str:
    told = traceback.TracebackException.from_exception(error)
    frames = list(told.stack)
    first = next((i for i, f in enumerate(frames) if not _leads_in(f.filename)), len(frames))
    told.stack = traceback.StackSummary.from_list(frames[first:])
    return "".join(told.format()).rstrip()


def _leads_in(file: str) -> bool:
    """Whether *file* is of what calls a task: this package, Prefect, an async task's event loop."""
    packages = (("mxm", "pipeline"), ("prefect",), ("asyncio",))
    return any(f"{os.sep}{os.path.join(*names)}{os.sep}" in file for names in packages)


def json_results(run: FlowRun) -> tuple[Mapping[str, Any], bool]:
    """The results that have a JSON form, and whether all have; the others are told on stderr."""
    written: dict[str, Any] = {}
    complete = True
    for task in run.tasks.values():
        if task.state is not State.SUCCEEDED:
            continue
        try:
            written[task.name], nonfinite = task.to_json()
        except PipelineError as error:
            print_error(error)
            complete = False
            continue
        if nonfinite:
            print_error(
                Problem(
                    "MXM501",
                    f"result of task {task.name!r}: {nonfinite} NaN or infinite "
                    f"number{'s' * (nonfinite != 1)} became null",
                    severity="warning",
                )
            )
    return written, complete
