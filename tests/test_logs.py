from __future__ import annotations

import codecs
import gc
import io
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from mxm.pipeline.logs import TaskFilter, TaskLines, current_task, within_task


def test_a_record_knows_its_flow_and_task() -> None:
    record = logging.makeLogRecord({"msg": "x"})
    with within_task("f", "t"):
        assert TaskFilter().filter(record)
        assert current_task() == ("f", "t")
    assert (vars(record)["mxm_flow"], vars(record)["mxm_task"]) == ("f", "t")
    assert current_task() is None


def test_lines_of_tasks_are_whole_and_marked() -> None:
    stream = io.StringIO()
    lines = TaskLines(stream)
    print("outside", file=lines)
    with within_task("f", "a"):
        print("one", "two\nthree", end="", file=lines)
    with within_task("f", "b"):
        print("other", file=lines)
    with within_task("f", "a"):
        print(" four", file=lines)
        lines.write("left")
    lines.finish()
    assert stream.getvalue() == (
        "outside\n[f/a] one two\n[f/b] other\n[f/a] three four\n[f/a] left\n"
    )


def test_bytes_that_a_task_writes_are_lines_too() -> None:
    stream = io.StringIO()
    lines = TaskLines(stream)
    whole = "über\nus".encode()
    with within_task("f", "a"):
        assert lines.buffer.write(whole[:1]) == 1
        lines.buffer.write(memoryview(whole)[1:])
        lines.buffer.write(b"\xff")
    lines.finish()
    assert stream.getvalue() == "[f/a] über\n[f/a] us\\xff\n"
    assert codecs.lookup(lines.encoding).name == "utf-8"


def test_what_a_task_writes_beneath_keeps_its_descriptor(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w") as file:
        lines = TaskLines(file)
        assert lines.fileno() == lines.buffer.fileno() == file.fileno()
        assert lines.isatty() is lines.buffer.isatty() is False


def test_lines_leave_alone_a_stream_that_is_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    with open(tmp_path / "out", "w") as file:
        lines = TaskLines(file)
    lines.close()
    del lines
    gc.collect()
    assert unraisable == []


@dataclass(frozen=True)
class FrozenError(Exception):
    code: int


def test_an_exception_that_cannot_be_assigned_to_passes_as_it_is() -> None:
    with pytest.raises(FrozenError), within_task("f", "a"):
        raise FrozenError(1)
    assert current_task() is None
