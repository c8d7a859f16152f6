"""Other output on stderr during a run: log records, and prints outside of tasks."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Generator

from mxm.pipeline.execution.output import is_passed_on
from mxm.pipeline.process.logs import TaskLines, current_task
from mxm.pipeline.process.printable import in_one_line, printable, without_sequences

__all__ = ["is_warning", "logged", "printed"]


# `print` holds no reference to sys.stdout; a thread that outlives the run may still be in it.
_outlived: list[TaskLines] = []


@contextlib.contextmanager
def printed(verbosity: int) -> Generator[None]:
    """Show printed text on stderr, except text that observers get as events.

    Parameters
    ----------
    verbosity
        Below 0: only warnings.
    """
    lines = _Rest(sys.stderr, shown=is_warning if verbosity < 0 else None)
    _outlived.append(lines)
    try:
        with contextlib.redirect_stdout(lines), contextlib.redirect_stderr(lines):
            yield
    finally:
        lines.finish()


def is_warning(line: str) -> bool:
    """Whether *line* has the form of `warnings.warn`."""
    return bool(re.search(r":\d+: [\w.]*Warning: ", line))


class _Rest(TaskLines):
    def write(self, text: str, /) -> int:
        return len(text) if is_passed_on() else super().write(text)


@contextlib.contextmanager
def logged(verbosity: int) -> Generator[None]:
    """Show log records on stderr, except those that observers get as events.

    Parameters
    ----------
    verbosity
        Below 0: errors and warnings; 0: also information; above: everything.
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
    """Whether *record* is ours, the engine's, a task's or a warning, and not an event."""
    if vars(record).get("mxm_event") or vars(record).get("mxm_taken"):
        return False
    name = record.name.partition(".")[0]
    if name == "prefect":  # marked if it is a task's; else silenced or shown elsewhere
        return hasattr(record, "mxm_task") or not logging.getLogger(name).handlers
    ours = record.name.startswith("mxm.pipeline")
    return ours or current_task() is not None or record.levelno >= logging.WARNING


class _Lines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(mxm_place)s%(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        task = current_task()
        record.mxm_place = f"[{in_one_line('/'.join(task))}] " if task else ""
        line = without_sequences(super().format(record))
        return in_one_line(line) if vars(record).get("mxm_event") else printable(line)
