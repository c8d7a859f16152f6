"""Fails a task that changes its inputs in place, which other tasks may be reading."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from mxm.pipeline.errors import PipelineError
from mxm.pipeline.execution.attempts.invocation import Invocation, Invoke, invoking
from mxm.pipeline.values.snapshot import Snapshot

__all__ = ["InputChangedError", "guarded_inputs"]

__tracebackhide__ = True  # pytest shows the lines of the test and of its tasks, not these


class InputChangedError(PipelineError, AssertionError):
    """A task changed one of its inputs.

    Attributes
    ----------
    task
        The task.
    inputs
        The changed ones: positions, or names of parameters.

    Examples
    --------
    >>> from mxm.pipeline.testing import InputChangedError
    >>> issubclass(InputChangedError, AssertionError)
    True
    """

    def __init__(self, task: str, inputs: tuple[int | str, ...]) -> None:
        named = ", ".join(repr(name) for name in inputs)
        super().__init__(
            f"task {task!r} changed its input {named} in place",
            hint="work on a copy: tasks share values, and another may be reading this one",
        )
        self.task = task
        self.inputs = inputs


@contextmanager
def guarded_inputs() -> Generator[None, None, None]:
    """In this block, a task that changes its inputs in place fails with `InputChangedError`.

    Inputs are compared with copies made before the call; an input that cannot be pickled is not
    checked. What an object keeps of its own results (`functools.cached_property`) is not a change.
    With ``--runner processes`` each task has copies of its own, so nothing is checked.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline.testing import guarded_inputs
    >>> @mxm.task
    ... def load() -> list[float]:
    ...     return [110.0, 100.0]
    >>> @mxm.task
    ... def lowest(prices: list[float]) -> float:
    ...     prices.sort()
    ...     return prices[0]
    >>> @mxm.flow
    ... def risk():
    ...     return lowest(load())
    >>> with guarded_inputs():
    ...     run = risk.with_options(backend="inline").run()
    >>> run.tasks["lowest"].error
    InputChangedError(...)
    """

    def guard(invoke: Invoke) -> Invoke:
        def watched(call: Invocation) -> Any:
            inputs: dict[int | str, Any] = dict(enumerate(call.args))
            inputs.update(call.kwargs)
            before = {key: Snapshot.of(each, whole=True) for key, each in inputs.items()}
            value = invoke(call)
            changed = tuple(k for k, was in before.items() if was and was.changed(inputs[k]))
            if changed:
                raise InputChangedError(call.step.name, changed)
            return value

        return watched

    with invoking(guard):
        yield
