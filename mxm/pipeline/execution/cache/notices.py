"""What the cache of a run warns of: each kind once a step, and the same once a function."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Literal

from mxm.pipeline.execution.plans.plan import Step
from mxm.pipeline.problems import Problem

__all__ = ["Notices"]


class Notices:
    """Warnings, which any thread gives and the driver takes.

    Parameters
    ----------
    flow
        Name of the flow.
    steps
        The steps that there may be something to say of.
    """

    def __init__(self, flow: str, steps: frozenset[str]) -> None:
        self._flow = flow
        self._steps = steps
        self._said: set[tuple[str, str]] = set()
        self._of_function: set[tuple[str, int, str]] = set()
        self._waiting: queue.SimpleQueue[Problem] = queue.SimpleQueue()

    def say(
        self,
        code: str,
        step: Step,
        message: str,
        hint: str | None = None,
        *,
        severity: Literal["warning", "note"] = "warning",
    ) -> None:
        """Warn of *message* about *step*, unless *code* was said of it.

        Nor is the same said again of another step with the same function: `load_2`, `load_3`.

        Parameters
        ----------
        code, message, hint, severity
            As in `Problem`.
        step
            The step.
        """
        if (code, step.name) in self._said or step.name not in self._steps:
            return
        self._said.add((code, step.name))
        same = code, id(step.task.fn), message.replace(repr(step.name), "")
        if same in self._of_function:
            return
        self._of_function.add(same)
        self._waiting.put(
            Problem(
                code,
                message,
                hint,
                source=step.task.source,
                flow=self._flow,
                task=step.name,
                severity=severity,
            )
        )

    def take(self) -> Iterator[Problem]:
        """What was said since the last call."""
        while not self._waiting.empty():
            yield self._waiting.get()
