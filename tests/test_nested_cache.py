"""Flows that run inside a cached task: what their tasks open counts for the task."""

from __future__ import annotations

from pathlib import Path

import pytest
from cached import project_in

NESTED = """
from mxm.pipeline import compile_flow

@mxm.task({inner})
def read() -> str:
    with open("prices.txt") as file:
        return file.read()

@mxm.flow
def within():
    return read()

@mxm.task(cache=True)
def outer() -> str:
    # version 1
    run = compile_flow(within, backend="inline", runner={runner!r}, workers=2, record={record}).run()
    return run.value() + {suffix!r}

@mxm.flow
def f():
    return outer()
"""


@pytest.mark.parametrize("suffixes", ["a", "ab"])
@pytest.mark.parametrize("inner", ["cache=True", ""])
@pytest.mark.parametrize("runner", ["sequential", "threads", "processes"])
def test_what_a_flow_inside_a_task_opens_counts_for_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: str, runner: str, suffixes: str
) -> None:
    project = project_in(tmp_path, monkeypatch)
    (tmp_path / "prices.txt").write_text("1")
    workers = () if runner == "sequential" else ("--runner", runner, "--workers", "2")
    for suffix in suffixes:  # the second time, the task inside is cached
        project.write(NESTED.format(inner=inner, runner=runner, suffix=suffix, record=bool(inner)))
        assert project.run().value == f"1{suffix}"
    kept = [] if runner == "processes" and not inner else ["outer"]  # which sees no files there
    assert project.run().cached == kept
    (tmp_path / "prices.txt").write_text("2")
    ran = project.run(*workers)
    assert (ran.cached, ran.value) == ([], f"2{suffixes[-1]}")
