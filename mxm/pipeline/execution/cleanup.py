"""The end of a cancelled run: run the tasks that always run, and cancel the rest."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from mxm.pipeline.errors import BackendError
from mxm.pipeline.execution.attempts.call import Call
from mxm.pipeline.execution.items.mapped import MappedStep
from mxm.pipeline.execution.items.mapped_call import MappedCall
from mxm.pipeline.execution.items.maps import Maps
from mxm.pipeline.execution.ledger import Ledger
from mxm.pipeline.execution.plans.plan import Step
from mxm.pipeline.execution.resources.opening import active_resources
from mxm.pipeline.execution.runners import ItemsEnded, Runner, make_runner
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.taskruns import State, TaskRun

__all__ = ["Cleanup", "Perform"]

Perform: TypeAlias = Callable[[Call], TaskRun]
"""How an engine performs one call, with attempts and delays; returns the outcome."""


@dataclass(frozen=True, slots=True)
class Cleanup:
    """Ends a run that was cancelled.

    Parameters
    ----------
    ledger, maps
        Those of the run.
    running
        The calls that have begun, by step.
    perform
        As in `mxm.pipeline.execution.driver.drive`.
    call
        Makes the call of a step; None if it ends without one.
    begin
        Begins the call of a mapped step.
    """

    ledger: Ledger
    maps: Maps
    running: dict[str, Call]
    perform: Perform
    call: Callable[[Step], Call | None]
    begin: Callable[[MappedStep], MappedCall]

    def run(self, runner: Runner) -> None:
        """Run the open steps that always run, within the grace period.

        Parameters
        ----------
        runner
            The runner of the run; it is stopped first: none of them runs beside a step upstream.
        """
        ledger, options = self.ledger, self.ledger.options
        steps = [step for step in ledger.open() if step.task.run_if == "always"]
        if not steps or not options.grace_s:
            return
        deadline = time.monotonic() + options.grace_s
        always = {step.name for step in steps}
        with ledger.observers.lock:
            self.cancel(step for step in ledger.open() if step.name not in always)
        self._fetch_inputs(steps, deadline)
        runner.stop()
        resources = active_resources()
        if resources is not None and resources.loop is not None:
            resources.loop.interrupt(always)  # a thread cannot be stopped, but what is awaited can
        for task in runner.drain(options.grace_s):
            if isinstance(task, TaskRun) and task.name in always:
                ledger.add(task)
        if not runner.idle():
            return
        # On another thread: a second signal must reach this one.
        kind = "processes" if options.runner == "processes" else "threads"
        alone = replace(options, runner=kind, workers=1, address=None)
        place = make_runner(alone, ledger.plan.flow)
        try:
            for step in steps:
                if step.name in self.running:  # it had begun, and was interrupted
                    self.cancel([step])
                elif step.name not in ledger.ended:
                    self._run_step(step, place, kind, deadline)
                if not place.idle():
                    return
        finally:
            place.close()

    def _fetch_inputs(self, steps: Iterable[Step], deadline: float) -> None:
        """Fetch what *steps* take from a cluster, which is left before they run in this process."""
        held = self.ledger.values.held
        names = dict.fromkeys(name for step in steps for name in step.needs if name in held)
        if not names:
            return

        def fetch() -> None:
            for name in names:
                with contextlib.suppress(BackendError):  # it is said where the step takes it
                    self.ledger.ended[name].value.get()

        # A cluster that does not answer must not keep the run from its end.
        thread = threading.Thread(target=fetch, daemon=True)
        thread.start()
        thread.join(max(0, deadline - time.monotonic()))
        if thread.is_alive():
            self.cancel(
                step
                for step in steps
                if any(
                    name in held and not self.ledger.ended[name].value.is_here
                    for name in step.needs
                )
            )

    def _run_step(self, step: Step, place: Runner, kind: str, deadline: float) -> None:
        if step.task.mapped and step.outcome is None:
            self._run_items(step, place, kind, deadline)
            return
        call = self.call(replace(step, task=replace(step.task, retries=0)))
        if call is None:
            return
        self.running[step.name] = call
        place.start(functools.partial(self.perform, call))
        for task in place.drain(deadline - time.monotonic()):
            if isinstance(task, TaskRun):
                self.ledger.add(task)

    def _run_items(self, step: Step, place: Runner, kind: str, deadline: float) -> None:
        """Call the items of *step* that had not started."""
        mapped = self._opened(step)
        if mapped is not None:
            mapped.resume()
        begun = step.name in self.maps.calls
        if mapped is None or (mapped.count and not mapped.ready and not begun):
            self.cancel([step])
            return
        call = self.begin(mapped)
        while mapped.ready:
            places = mapped.take(kind, 1)

            def work(places: list[int] = places) -> ItemsEnded:
                observers = self.ledger.observers
                call.within(lambda: mapped.run(places, call.output, observers, 1, stops=False))
                return ItemsEnded(step.name, places, 1)

            place.start(work)
            for ended in place.drain(deadline - time.monotonic()):
                if isinstance(ended, ItemsEnded):
                    mapped.settle(ended.places)
            if not place.idle():
                return
        if mapped.left:  # one was interrupted
            self.cancel([step])
            return
        call.finish(mapped.outcome())
        self.ledger.add(call.result())

    def _opened(self, step: Step) -> MappedStep | None:
        """*step* with its items; None if they are not known."""
        maps: Mapping[str, MappedStep] = self.maps.open
        if step.name in maps:
            return maps[step.name]
        chained = self.maps.chains.get(step.name, [])
        if any(self._opened(self.ledger.step(name)) is None for name in chained):
            return None
        if self.maps.missing_lists(step):
            return None
        try:
            mapped = self.maps.made(step)
        except BaseException as error:  # also what the user's item_key raised
            let_signals_pass(error)
            return None
        self.maps.open[step.name] = mapped
        if step.name in self.ledger.ended:
            mapped.cancel(_REASON)
        return mapped

    def cancel(self, steps: Iterable[Step]) -> None:
        """End *steps* as cancelled."""
        for step in steps:
            mapped = self.maps.open.get(step.name)
            call = self.running.get(step.name) or self.maps.calls.get(step.name)
            if mapped is not None:
                mapped.cancel(_REASON)
            if call:
                self.ledger.end(call.cancelled(_REASON))
            else:
                self.ledger.end(TaskRun(step.name, State.CANCELLED, reason=_REASON))

    def cancelled(self) -> FlowRun:
        """The run so far; steps that have not ended are cancelled."""
        with self.ledger.observers.lock:  # later events of threads that still work are dropped
            self.cancel(self.ledger.open())
            return self.ledger.flow_run(State.CANCELLED)


_REASON = "the run was cancelled"
