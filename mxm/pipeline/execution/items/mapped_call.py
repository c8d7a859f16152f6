"""A mapped step as an engine sees it: one call, which waits for its items."""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mxm.pipeline.errors import Skip, TaskCancelledError, described
from mxm.pipeline.execution.attempts.call import Call
from mxm.pipeline.execution.attempts.invocation import invoke_now, invoke_with
from mxm.pipeline.execution.attempts.written import declared_only
from mxm.pipeline.execution.items.calling import many_now, many_with
from mxm.pipeline.execution.items.mapped import MappedStep
from mxm.pipeline.execution.items.outcomes import Outcome
from mxm.pipeline.execution.kept.later import Later, LaterTask
from mxm.pipeline.execution.output import Output
from mxm.pipeline.process.interrupts import wait
from mxm.pipeline.taskruns import ItemRuns, State, TaskRun
from mxm.pipeline.values.jsonvalue import Written
from mxm.pipeline.values.snapshot import Snapshot

__all__ = ["MappedCall"]


class MappedCall(Call):
    """A mapped step as an engine sees it: one call, which waits for its items."""

    def __init__(self, mapped: MappedStep, **options: Any) -> None:
        once = replace(mapped.step, task=replace(mapped.step.task, retries=0))
        super().__init__(mapped.flow, once, (), {}, slot=0, **options)
        self._count_one()
        self._mapped = mapped
        self._done = threading.Event()
        self._begun = threading.Event()
        self._context: contextvars.Context | None = None
        self._thread: threading.Thread | None = None
        self._made: TaskRun | None = None
        self._broke: BaseException | None = None
        self._outcome: Outcome | None = None

    def attempt(self) -> None:
        """Wait until every item has ended.

        Raises
        ------
        BaseException
            That of the first failed item, where that fails the step.
        """
        self._context = contextvars.copy_context()
        self._begun.set()
        self._done.wait()
        outcome = self._outcome
        if outcome is None:
            self._became(TaskCancelledError(f"task {self.step.name!r} was cancelled"), None)
        else:
            is_skipped = outcome.state is State.SKIPPED
            self._became(outcome.error, Skip(outcome.reason or "") if is_skipped else None)

    def begin(self, perform: Callable[[Call], TaskRun]) -> None:
        """Let an engine run the step with *perform*, on a thread that is not a worker."""
        context = contextvars.copy_context()
        name = f"mxm-map-{self.step.name}"
        target = context.run
        self._thread = threading.Thread(
            target=target, args=(self._carry_out, perform), name=name, daemon=True
        )
        self._thread.start()
        wait(self._begun.wait)

    def _carry_out(self, perform: Callable[[Call], TaskRun]) -> None:
        try:
            self._made = perform(self)
        except BaseException as error:  # goes to the thread that drives the run
            self._broke = error
        finally:
            self._begun.set()

    def within(self, work: Callable[[], Any]) -> Any:
        """Call *work* in the engine's context of this step; return its result."""
        if self._context is None:
            return work()
        here, many = invoke_now(), many_now()  # the worker decides where functions run

        def inside() -> Any:
            invoke_with(here)
            many_with(many)
            return work()

        return self._context.copy().run(inside)

    def context(self) -> contextvars.Context | None:
        """A copy of the engine's context of this step, if there is one."""
        return None if self._context is None else self._context.copy()

    @property
    def message(self) -> str | None:
        """How many items succeeded, in words."""
        if self._outcome is None:
            return None
        count = self._mapped.items().count()
        return f"{count.get('succeeded', 0)} of {self._mapped.count} succeeded"

    def retry_in(self) -> float | None:
        """None: items are retried, not the step."""
        return None

    def finish(self, outcome: Outcome | None) -> None:
        """Give the engine the *outcome* of the step; None if it is cancelled."""
        self._outcome = outcome
        self._done.set()

    def result(self) -> TaskRun:
        """The step's task run, once the engine has finished it.

        Raises
        ------
        BaseException
            What ended the engine.
        """
        wait(self._has_ended)
        if self._made is None:
            raise self._broke or RuntimeError(f"no result of step {self.step.name!r}")
        return self._made

    def _has_ended(self, seconds: float) -> bool:
        if self._thread is not None:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()

    @property
    def output(self) -> Output:
        """Where the items print and log."""
        return self._output

    def ended(self, failure: BaseException | None = None) -> TaskRun:
        """The step's task run, once the engine has finished it."""
        outcome, step = self._outcome, self.step
        error = self.error or failure
        items = self._mapped.items()
        if outcome is None or error is not None:
            error = error or TaskCancelledError(f"task {step.name!r} was cancelled")
            allowed = step.task.allow_failure
            reason = described(error)
            return self._task(
                State.FAILED, error=error, reason=reason, allowed=allowed, items=items
            )
        if outcome.state is State.SKIPPED:
            return self._task(
                State.SKIPPED, reason=outcome.reason, cause=outcome.cause, items=items
            )
        kept = self._mapped.from_cache(items)
        if kept is not None:
            return self._from_cache(*kept, items)
        value = self._mapped.values()
        if step.overridden:
            return self._task(State.OVERRIDDEN, value=value, items=items)
        asset = declared_only(step)
        snapshot = Snapshot.of(value, whole=self._guard)
        return self._task(State.SUCCEEDED, value=value, asset=asset, snapshot=snapshot, items=items)

    def _from_cache(self, later: Later, written: Written, state: State, items: ItemRuns) -> TaskRun:
        """The outcome if an earlier run kept results of items; it does not load them."""
        asset = None if state is State.CACHED else declared_only(self.step)
        if state is State.CACHED:
            self.attempts = 0
        make = functools.partial(LaterTask, later, written, None)
        return self._task(state, make, asset=asset, items=items)

    def cancelled(self, reason: str) -> TaskRun:
        """The step's task run if the whole run ended first."""
        self.finish(None)
        return self._task(State.CANCELLED, reason=reason, items=self._mapped.items())
