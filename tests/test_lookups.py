"""What a worker compares before it calls a function: names that a program has changed."""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from projects import edit, imported, write

from mxm.pipeline import FlowSpec, State, TaskSpec, compile_flow
from mxm.pipeline.errors import BackendError
from mxm.pipeline.values.fingerprint import Fingerprints, differing, lookups_of

LIB = """
    import dataclasses
    import enum
    import functools

    import numpy as np
    import other

    RATE = 5
    CONFIG = {"rate": 5}
    COUNT = 0
    CACHE = {}
    LATE = None
    RANDOM = np.random.default_rng()


    @dataclasses.dataclass
    class Settings:
        rate: int = 5


    SETTINGS = Settings()


    class Model:
        RATE = 5
        LEVELS = [1, 2]

        def price(self):
            return 5

        @property
        def half(self):
            return 2.5

        @classmethod
        def of(cls):
            return cls()


    class Side(enum.Enum):
        BUY = 1


    def helper():
        return 5


    @functools.lru_cache
    def cached():
        return 5


    def count():
        global COUNT
        COUNT += 1
        return COUNT


    def memo(x):
        if x not in CACHE:
            CACHE[x] = x
        return CACHE[x]


    def late():
        global LATE
        LATE = LATE or object()
        return LATE


    def read():
        out = {}
        out["all"] = (
            RATE, CONFIG["rate"], SETTINGS.rate, Model.RATE, Model.LEVELS, Model().price(),
            Model().half, Model.of(), Side.BUY, helper(), cached(), other.LIMIT, other.limit(),
        )
        count(), memo(1), late()
        return out


    def draw():
        return RANDOM.normal()


    def lazily():
        import other

        return other.LIMIT
"""
OTHER = """
    LIMIT = 5


    def limit():
        return LIMIT
"""


def nine() -> int:
    return 9


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, {"lib.py": LIB, "other.py": OTHER})
    return tmp_path


def others_after(project: Path, change: Callable[[Any], object], name: str = "read") -> set[str]:
    """What another process, which imports the modules anew, has otherwise; ``?`` if calls may."""
    with imported(project, module="lib") as lib:
        change(lib)
        fn = getattr(lib, name)
        lookups = lookups_of(Fingerprints(str(project)).of(fn), fn, {})
    with imported(project, module="lib"):
        return {f"{each}{'' if each.stays else '?'}" for each in differing(lookups)}


def test_modules_that_nobody_changed_are_the_same(project: Path) -> None:
    assert others_after(project, lambda lib: None) == set()


def test_a_generator_of_random_numbers_is_another_in_each_process(project: Path) -> None:
    assert others_after(project, lambda lib: None, "draw") == {"lib.RANDOM?"}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda lib: setattr(lib, "RATE", 7), "lib.RATE"),
        (lambda lib: delattr(lib, "RATE"), "lib.RATE"),
        (lambda lib: lib.CONFIG.update(rate=7), "lib.CONFIG"),
        (lambda lib: setattr(lib.SETTINGS, "rate", 7), "lib.SETTINGS"),
        (lambda lib: setattr(lib.Model, "RATE", 7), "lib.Model.RATE"),
        (lambda lib: lib.Model.LEVELS.append(3), "lib.Model.LEVELS"),
        (lambda lib: setattr(lib.Model, "price", lambda self: 7), "lib.Model.price"),
        (lambda lib: setattr(lib.Model, "half", property(lambda self: 7)), "lib.Model.half"),
        (lambda lib: setattr(lib, "helper", nine), "lib.helper"),
        (lambda lib: setattr(lib, "cached", nine), "lib.cached"),
        (lambda lib: setattr(lib, "Model", type("Model", (lib.Model,), {})), "lib.Model"),
        (lambda lib: setattr(lib.other, "LIMIT", 7), "other.LIMIT"),
        (lambda lib: setattr(lib.other, "limit", nine), "other.limit"),
        (lambda lib: setattr(lib, "count", nine), "lib.count"),
        (lambda lib: lib.count(), "lib.COUNT?"),
        (lambda lib: lib.memo(3), "lib.CACHE?"),
        (lambda lib: setattr(lib, "LATE", 7), "lib.LATE?"),
    ],
    ids=[
        "number", "deleted", "dict", "dataclass", "attribute of a class", "list of a class",
        "method", "property", "function", "cached function", "class", "number elsewhere",
        "function elsewhere", "function that counts", "counter", "cache", "made when it is used",
    ],
)  # fmt: skip
def test_what_a_program_changed_is_not_the_same(
    project: Path, change: Callable[[Any], object], name: str
) -> None:
    assert name in others_after(project, change)


def test_a_module_that_the_function_imports_counts(project: Path) -> None:
    assert others_after(project, lambda lib: setattr(lib.other, "LIMIT", 7), "lazily") == {
        "other.LIMIT"
    }


def test_a_file_that_was_edited_after_its_import_is_not_the_same(project: Path) -> None:
    assert others_after(
        project, lambda lib: edit(project, "other.py", "return LIMIT", "return 7")
    ) == {"other.limit"}


def test_code_that_an_import_hook_writes_is_not_compared(project: Path) -> None:
    class Loader(importlib.machinery.SourceFileLoader):
        pass

    def change(lib: Any) -> None:
        lib.other.__loader__ = Loader("other", "other.py")
        edit(project, "other.py", "return LIMIT", "return 7")

    assert others_after(project, change) == set()


def test_a_worker_refuses_a_task_that_would_read_something_else(project: Path) -> None:
    with imported(project, module="lib") as lib:
        lib.RATE, lib.Model.RATE = 7, 7
        flow = FlowSpec(
            "f", [TaskSpec("read", lib.read, retries=3), TaskSpec("lazily", lib.lazily)]
        )
        ended = compile_flow(flow, backend="inline", runner="processes", workers=1).run()
    assert [str(task.state) for task in ended.tasks.values()] == ["failed", "succeeded"]
    assert ended.tasks["read"].attempts == 1
    with pytest.raises(BackendError) as raised:
        ended.raise_for_failure()
    message, hint = raised.value.message, raised.value.hint or ""
    assert message.startswith("task 'read' was not run: ")
    assert message.endswith(" differ in the worker process, which imports modules anew")
    assert "lib.RATE" in message and "lib.Model.RATE" in message and "7" not in message
    assert "pass what a program changes as a parameter" in hint


def test_a_worker_without_what_a_cache_holds_is_a_warning(project: Path) -> None:
    with imported(project, module="lib") as lib:
        lib.memo(3)
        tasks = [TaskSpec("memo", lib.memo, params={"x": 1}), TaskSpec("read", lib.read)]
        ended = compile_flow(FlowSpec("f", tasks), backend="inline", runner="processes").run()
    assert ended.state is State.SUCCEEDED, ended.error
    assert [each.code for each in ended.warnings] == ["MXM935"]
    assert "lib.CACHE differs in worker processes" in ended.warnings[0].message
    assert "lib" not in sys.modules
