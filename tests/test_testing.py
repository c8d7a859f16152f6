from __future__ import annotations

from typing import Any

import pytest

from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
from mxm.pipeline.testing import InputChangedError, guarded_inputs


def make() -> list[int]:
    return [3, 1, 2]


def changes(numbers: list[int]) -> list[int]:
    numbers.sort()
    return numbers


def copies(numbers: list[int]) -> list[int]:
    return sorted(numbers)


def run(fn: Any) -> Any:
    tasks = [TaskSpec("make", make), TaskSpec("fn", fn, upstream={"numbers": "make"})]
    return compile_flow(FlowSpec("f", tasks), backend="inline").run()


def test_the_guard_names_task_and_input() -> None:
    with guarded_inputs():
        assert run(copies).values["fn"] == [1, 2, 3]
        found = run(changes)
    with pytest.raises(InputChangedError, match="'fn' changed its input 'numbers' in place"):
        found.raise_for_failure()


def test_outside_the_guard_nothing_is_watched() -> None:
    assert run(changes).values["fn"] == [1, 2, 3]


def test_what_does_not_pickle_is_not_watched() -> None:
    def lock() -> Any:
        import threading

        return threading.Lock()

    tasks = [TaskSpec("lock", lock), TaskSpec("take", lambda it: it.locked(), upstream=["lock"])]
    with guarded_inputs():
        assert compile_flow(FlowSpec("f", tasks), backend="inline").run().values["take"] is False
