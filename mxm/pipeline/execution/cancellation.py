"""The common part of compiled flows: a run's options and plan, and its end by a signal."""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from mxm.pipeline.assets.reading import of_flow
from mxm.pipeline.execution.attempts.call import Call
from mxm.pipeline.execution.attempts.carriers import Waits
from mxm.pipeline.execution.attempts.invocation import Invocation, Invoke, invoking
from mxm.pipeline.execution.driver import Perform, PerformAwaited, drive
from mxm.pipeline.execution.events import Event, StepEnded
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.execution.planning import plan_with
from mxm.pipeline.execution.plans.plan import Plan
from mxm.pipeline.execution.resources.of_run import resources_for
from mxm.pipeline.execution.resources.opening import Resources, using
from mxm.pipeline.params.limits import settle_limits
from mxm.pipeline.process.interrupts import forget_signal, note_signal
from mxm.pipeline.runs import FlowRun, State, TaskRun, new_run_id
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.values.jsonvalue import JSONValue

__all__ = ["CompiledFlow", "Course", "keep_json"]

__tracebackhide__ = True  # pytest shows the lines of the test and of its tasks, not these

# How long an engine's own code, such as its wait for a retry, may go on after a signal.
_PATIENCE_S = 0.5


class CompiledFlow(ABC):
    """A flow compiled for a backend; an ``MXMFlow``."""

    backend: ClassVar[str]

    def __init__(self, spec: FlowSpec, options: RunOptions | None = None) -> None:
        self.spec = spec
        self.name: str = spec.name
        self.options: RunOptions = options or RunOptions()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, runner {self.options.runner!r}>"

    def run(
        self, params: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> FlowRun:
        """Run the flow; a failed task does not raise. See `mxm.pipeline.api.MXMFlow`."""
        chosen = self.options.changed(options)
        plan = plan_with(self.spec, params or {}, chosen)
        chosen = chosen.recording(plan, params or {})
        return Course(plan, chosen, self.backend).follow(self._run)

    def execute(
        self, params: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> dict[str, JSONValue]:
        """Run the flow and raise if it fails. See `mxm.pipeline.api.MXMFlow`."""
        observers = (keep_json, *self.options.changed(options).observers)
        run = self.run(params, {**(options or {}), "observers": observers, "fetches": False})
        return run.raise_for_failure().results

    @abstractmethod
    def _run(self, course: Course) -> FlowRun:
        """Run *course*: this backend's engine calls its `drive`."""


def keep_json(event: Event) -> None:
    """An observer: makes the JSON of each result when its task ends, before others change it."""
    if isinstance(event, StepEnded) and event.task.has_value:
        event.task.to_json()


class _Region(contextlib.AbstractContextManager[None]):
    # Not a generator: `contextmanager` sets the traceback of exceptions, which frozen ones reject.
    def __init__(self, course: Course, in_engine: bool) -> None:
        self._course = course
        self._in_engine = in_engine

    def __enter__(self) -> None:
        self._before = self._course.enter(self._in_engine)

    def __exit__(self, *_: object) -> None:
        self._course.enter(self._before)


class Course:
    """One run in progress, and its outcome so far.

    A signal ends it wherever it arrives. The exception is raised at once in a task or while waiting
    for steps. An engine's own code may hold a lock or misread the exception, so there it is raised
    only when the engine returns to a step, or has taken too long.

    Parameters
    ----------
    plan
        The plan to run.
    options
        The options of the run.
    backend
        Name of the backend whose engine calls it.

    Raises
    ------
    ParameterError
        Settings of resources or numbers of limits are unknown, missing or do not fit.
    BackendError
        What goes in place of a resource cannot be used.
    """

    def __init__(self, plan: Plan, options: RunOptions, backend: str = "") -> None:
        self.plan = plan
        limits = settle_limits(plan.flow, options.limits)
        self.options: RunOptions = replace(options, limits=limits) if limits else options
        self.backend = backend
        self.resources: Resources = resources_for(
            plan.flow,
            [step.task for step in plan.steps if step.outcome is None],
            options.resources,
            options.resource_settings,
            crossing=options.is_elsewhere,
        )
        self.run: FlowRun | None = None
        self._thread = threading.current_thread()
        self._in_engine = False
        self._over = False
        self._signal: BaseException | None = None
        self._reminder: threading.Timer | None = None
        self._reminded = False

    @property
    def interrupted(self) -> bool:
        """Whether a signal ends the run."""
        return self._signal is not None

    def follow(self, run: Callable[[Course], FlowRun]) -> FlowRun:
        """The result of *run* for this course.

        Raises
        ------
        BaseException
            The exception that a signal handler raised, whatever the engine and tasks did with it;
            its ``mxm_run`` is the run so far, in the state ``cancelled``.
        """
        made: FlowRun | None = None
        with self._signals():
            try:
                made = run(self)
            except BaseException as error:
                if not isinstance(error, Exception):
                    self._cancelled(error)
                if self._signal is None:
                    raise
            finally:
                self._over = True
                forget_signal(self._signal)
        if made is None or self._signal is not None:
            raise self._cancelled(self._signal or KeyboardInterrupt()) from None
        return made

    def drive(self, perform: Perform, perform_awaited: PerformAwaited | None = None) -> FlowRun:
        """Run the steps; see `mxm.pipeline.execution.driver.drive`."""

        def step(call: Call) -> TaskRun:
            if self._signal is not None and not call.is_cleanup:
                self._heed()  # the previous task may have swallowed it
            return perform(call)

        def awaited(call: Call) -> TaskRun | Waits[TaskRun]:
            return step(call) if perform_awaited is None else perform_awaited(call)

        def outside(invoke: Invoke) -> Invoke:
            def call(call: Invocation) -> Any:
                if threading.current_thread() is not self._thread:  # signals go to that thread
                    return invoke(call)
                # What `enter` does, without two calls more for each attempt.
                before, self._in_engine = self._in_engine, False
                if self._signal is not None:
                    self._heed()
                try:
                    return invoke(call)
                finally:
                    self._in_engine = before
                    if self._signal is not None:
                        self._heed()

            return call

        try:
            source = self.plan.flow.source
            with (
                self._region(in_engine=False),
                invoking(outside, watches=False),
                using(self.resources),
                of_flow(source.file if source else None),
            ):
                self.run = drive(self.plan, step, self.options, self.backend, awaited)
        except BaseException as error:
            self.run = getattr(error, "mxm_run", None)
            raise
        return self.run

    def in_engine(self) -> contextlib.AbstractContextManager[None]:
        """A block in which an engine's code runs, except for its calls into this course."""
        return self._region(in_engine=True)

    def _region(self, *, in_engine: bool) -> contextlib.AbstractContextManager[None]:
        if threading.current_thread() is not self._thread:  # signals go to that thread
            return contextlib.nullcontext()
        return _Region(self, in_engine)

    def enter(self, in_engine: bool) -> bool:
        """Set whose code runs from here on; return whose it was before."""
        before, self._in_engine = self._in_engine, in_engine
        self._heed()
        return before

    def _heed(self) -> None:
        if self._signal is not None and not self._in_engine and not self._over:
            raise self._signal

    def _cancelled(self, error: BaseException) -> BaseException:
        """*error*, with the run so far attached."""
        run = self.run
        if run is None:  # the engine had not reached it
            reason = "the run was cancelled"
            tasks = [TaskRun(s.name, State.CANCELLED, reason=reason) for s in self.plan.steps]
            now = datetime.now(UTC)
            run = FlowRun(
                self.plan.flow,
                self.plan.params,
                {task.name: task for task in tasks},
                State.CANCELLED,
                self.plan.warnings,
                now,
                now,
                id=new_run_id(now),
                backend=self.backend,
                runner=self.options.runner,
                seconds=0.0,
            )
        error.mxm_run = replace(run, state=State.CANCELLED)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        return error

    @contextlib.contextmanager
    def _signals(self) -> Generator[None, None, None]:
        """Record what the handlers of SIGINT and SIGTERM raise, if there are any."""
        if self._thread is not threading.main_thread():
            yield
            return
        installed = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
        handlers = [(number, handler) for number, handler in installed.items() if callable(handler)]
        try:
            for number, handler in handlers:
                signal.signal(number, self._noting(handler))
            yield
        finally:
            if self._reminder is not None:
                self._reminder.cancel()
            for number, handler in handlers:
                signal.signal(number, handler)

    def _noting(self, handler: Callable[..., Any]) -> Callable[..., None]:
        def came(number: int, frame: Any) -> None:
            if self._reminded:
                self._reminded = False
                self._in_engine = False
                self._heed()
                return
            try:
                handler(number, frame)
            except BaseException as error:
                first = self._signal is None
                self._signal = self._signal or error
                note_signal(error)
                if self._over or (self._in_engine and first):
                    self._remind(number)  # and raise it when the engine returns
                else:
                    raise

        return came

    def _remind(self, number: int) -> None:
        def again() -> None:
            if self._over:
                return
            self._reminded = True
            if sys.platform != "win32":  # it also interrupts a blocking system call
                signal.pthread_kill(self._thread.ident or 0, number)
            else:
                _thread.interrupt_main(signal.Signals(number))

        self._reminder = threading.Timer(_PATIENCE_S, again)
        self._reminder.daemon = True
        self._reminder.start()
