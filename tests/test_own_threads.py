"""What threads of ours read and write beside a task is none of its inputs or outputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mxm.pipeline import AssetDecl, FlowSpec, TaskSpec, compile_flow
from mxm.pipeline.store.about import About
from mxm.pipeline.store.recorder import Recording


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MXM_HOME")
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def of_folder(tasks: list[TaskSpec]) -> FlowSpec:
    """A flow of the working directory, as what was typed at a prompt is."""
    spec = FlowSpec("f", tasks)
    vars(spec)["source"] = None
    return spec


@pytest.fixture
def pipes() -> Iterator[tuple[int, int, int, int]]:
    """Two pipes, by which a task, which knows them by number, waits for something."""
    ends = (*os.pipe(), *os.pipe())
    yield ends
    for end in ends:
        os.close(end)


def test_what_the_recorder_reads_meanwhile_is_no_input_of_a_task(
    folder: Path, pipes: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "packages").mkdir()
    monkeypatch.syspath_prepend(folder / "packages")
    begins, begun, ends, ended = pipes

    def in_the_task(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def wrapped(self: Any) -> Any:
            os.read(begins, 1)
            try:
                return work(self)
            finally:
                os.write(ended, b"x")

        return wrapped

    monkeypatch.setattr(About, "_look", in_the_task(About._look))
    monkeypatch.setattr(Recording, "_defined_as", in_the_task(Recording._defined_as))

    def task(begun: int, ends: int) -> bytes:
        os.write(begun, b"xx")
        return os.read(ends, 1) + os.read(ends, 1)

    spec = of_folder(
        [TaskSpec("t", task, params={"begun": begun, "ends": ends}, cache_version="1")]
    )
    cached = compile_flow(spec, backend="inline", record=True, cache=True)
    assert cached.run().warnings == ()
    (folder / "packages" / "new.py").touch()
    os.write(begun, b"xx")  # the task does not run
    assert str(cached.run().tasks["t"].state) == "cached"


def test_the_file_of_another_task_is_no_output_of_this_one(
    folder: Path, pipes: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    begins, begun, ends, ended = pipes
    fsync = os.fsync

    def heard(descriptor: int) -> None:
        fsync(descriptor)
        os.write(ended, b"x")

    monkeypatch.setattr(os, "fsync", heard)

    def writes(begins: int) -> list[int]:
        return list(os.read(begins, 1))

    def waits(begun: int, ends: int) -> bytes:
        os.write(begun, b"x")
        return os.read(ends, 1)

    asset = AssetDecl("a", format="json", path_template="a.json")
    spec = of_folder(
        [
            TaskSpec(
                "writes", writes, params={"begins": begins}, produces=asset, cache_version="1"
            ),
            TaskSpec("waits", waits, params={"begun": begun, "ends": ends}, cache_version="1"),
        ]
    )
    with_cache = compile_flow(spec, backend="inline", runner="threads", workers=2, cache=True)
    assert with_cache.run().warnings == ()
