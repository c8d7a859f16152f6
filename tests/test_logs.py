from __future__ import annotations

import codecs
import gc
import io
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mxm.pipeline.process.logs import TaskFilter, TaskLines, current_task, within_task


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


# Progress bars, control characters, quiet


def written(*texts: str, shown: Callable[[str], bool] | None = None) -> list[str]:
    """What the stream has after each of *texts*, which one task writes."""
    stream = io.StringIO()
    lines = TaskLines(stream, shown)
    states: list[str] = []
    with within_task("f", "a"):
        for text in texts:
            lines.write(text)
            states.append(stream.getvalue().replace("[f/a] ", ""))
    lines.finish()
    states.append(stream.getvalue().replace("[f/a] ", ""))
    return states


@pytest.mark.parametrize(
    ("texts", "states"),
    [
        (["\r1%", "\r2%", "\n"], ["1%\n", "1%\n2%\n", "1%\n2%\n", "1%\n2%\n"]),
        (["1%\r", "2%\r", "done\n"], ["1%\n", "1%\n2%\n", "1%\n2%\ndone\n", "1%\n2%\ndone\n"]),
        (["1%", "\r2%", "\nnext\n"], ["", "1%\n2%\n", "1%\n2%\nnext\n", "1%\n2%\nnext\n"]),
        (["a\r\nb", "\r\n"], ["a\n", "a\nb\n", "a\nb\n"]),
        (["a\r", "\nb\n"], ["a\n", "a\nb\n", "a\nb\n"]),
        (["\r1%", "\r\r2%", "\n\n"], ["1%\n", "1%\n2%\n", "1%\n2%\n\n", "1%\n2%\n\n"]),
    ],
)
def test_progress_bars_appear_as_they_move(texts: list[str], states: list[str]) -> None:
    assert written(*texts) == states


def test_a_bar_of_one_task_leaves_the_lines_of_another_whole() -> None:
    stream = io.StringIO()
    lines = TaskLines(stream)
    with within_task("f", "b"):
        lines.write("half ")
    with within_task("f", "a"):
        lines.write("\r1%")
    with within_task("f", "b"):
        lines.write("whole\n")
    assert stream.getvalue() == "[f/a] 1%\n[f/b] half whole\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text\x1b]8;;http://x\x1b\\link", "textlink"),
        ("up\x1b[2A\x1b[K", "up"),
        ("bell\x07 null\x00 \x9b31m", r"bell\x07 null\x00 \x9b31m"),
        ("\u202eright to left", r"\u202eright to left"),
        ("\x1b", r"\x1b"),
        ("a\tb", "a\tb"),
    ],
)
def test_a_terminal_obeys_nothing_that_a_task_prints(text: str, line: str) -> None:
    assert written(text + "\n")[0] == line + "\n"


def test_the_name_of_a_task_is_in_one_line() -> None:
    stream = io.StringIO()
    with within_task("f", "a\n\x1b[2J"):
        TaskLines(stream).write("text\n")
    assert stream.getvalue() == "[f/a\\n\\x1b[2J] text\n"


def test_lines_that_are_not_shown_are_dropped() -> None:
    assert written("a\n", "b\n", "\rc", "d", shown=lambda line: line == "b")[-1] == "b\n"
