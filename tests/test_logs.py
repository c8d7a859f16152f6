from __future__ import annotations

import io
import logging

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
