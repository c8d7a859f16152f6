"""Makes the call of a step: its inputs, unless an earlier run has kept its result."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from mxm.pipeline.errors import add_note, described
from mxm.pipeline.execution.attempts.call import Call
from mxm.pipeline.execution.fetching import Fetching
from mxm.pipeline.execution.items.gaps import gap_problem
from mxm.pipeline.execution.items.maps import Maps
from mxm.pipeline.execution.ledger import Ledger
from mxm.pipeline.execution.limits import Hold
from mxm.pipeline.execution.plans.plan import Step
from mxm.pipeline.execution.watch import Watch
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.runs import gather
from mxm.pipeline.taskruns import State, TaskRun

if TYPE_CHECKING:
    from mxm.pipeline.execution.attempts.invocation import Noting
    from mxm.pipeline.execution.cache.step_cache import StepCache

__all__ = ["Calls", "unread"]


class Calls:
    """Makes the calls of the steps of a run.

    Parameters
    ----------
    ledger, maps
        Those of the run.
    watch
        Looks for results that change while they are used; None if nothing is shared.
    ready_at
        By step, when everything that it needs had ended.

    Attributes
    ----------
    cache
        What earlier runs kept of the steps; None if nothing is kept, and nothing used.
    """

    def __init__(
        self, ledger: Ledger, maps: Maps, watch: Watch | None, ready_at: Mapping[str, datetime]
    ) -> None:
        self._ledger = ledger
        self._maps = maps
        self._watch = watch
        self._ready_at = ready_at
        self._fetching = Fetching(ledger)
        self._is_elsewhere = ledger.options.is_elsewhere
        self.cache: StepCache | None = None

    def heed(self) -> None:
        """Report what the cache has to warn of."""
        for problem in self.cache.heed() if self.cache else ():
            self._ledger.warn(problem)

    def made(
        self,
        step: Step,
        slot: Callable[[], int],
        hold: Hold | None = None,
        *,
        is_cleanup: bool = False,
    ) -> Call | TaskRun:
        """The call of *step*, or its outcome where it ends without one.

        Parameters
        ----------
        step
            A step that is not mapped, or whose outcome is known before the run.
        slot
            Takes a worker, once it is clear that one is needed.
        hold
            The limits of the step.
        is_cleanup
            Whether it runs although its run was cancelled: it uses nothing of earlier runs.
        """
        if step.outcome is not None:
            return step.outcome
        probe: Noting | None = None
        if self.cache is not None and self.cache.serves(step) and not is_cleanup:
            answer = self.cache.find(step, self._ready_at[step.name])
            self.heed()
            if isinstance(answer, TaskRun):
                return answer
            probe = answer
        values = self._values_for(step)
        held = self._ledger.values.held
        if held and not is_cleanup and step.target is None:
            values = ChainMap(held, cast("Any", values))
        try:
            args, kwargs = self._inputs(step, values)
        except BaseException as error:  # a projection of a result: any type may fail in its own way
            let_signals_pass(error)
            return unread(step, error, "while reading the inputs")
        if self._watch:
            self._watch.starts(step, self._ledger.values)
        if self._maps.open:
            problem = gap_problem(self._ledger.plan.flow.name, step, self._maps.open)
            if problem is not None:
                self._ledger.warn(problem)
        return Call(
            self._ledger.plan.flow.name,
            step,
            args,
            kwargs,
            observers=self._ledger.observers,
            slot=slot(),
            ready=self._ready_at[step.name],
            guard=self._ledger.options.guard,
            is_cleanup=is_cleanup,
            hold=hold,
            probe=probe,
            stays=self._fetching.stays(step, self.cache) if self._is_elsewhere else None,
        )

    def again(self, step: Step) -> Call | TaskRun:
        """The call of *step*, whose kept result cannot be loaded, or what another run kept."""
        cache = self.cache
        assert cache is not None  # noqa: S101 - it asks for it
        answer = cache.find(step, self._ready_at[step.name])
        if isinstance(answer, TaskRun):
            return answer
        args, kwargs = self._inputs(step, self._values_for(step))
        return Call(
            self._ledger.plan.flow.name,
            step,
            args,
            kwargs,
            observers=self._ledger.observers,
            slot=1,
            ready=self._ready_at[step.name],
            guard=self._ledger.options.guard,
            probe=answer,
        )

    def fetch_value(self) -> None:
        """Fetch the value of the flow, as far as it stayed on a cluster that ends with the run."""
        self._fetching.fetch_value()

    def _inputs(
        self, step: Step, values: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        params = self._ledger.plan.params
        # Lists, as generators cost a third more; most steps have one input, or two.
        args = tuple([gather(b, values, params) for b in step.args])
        kwargs = step.kwargs
        return args, {k: gather(kwargs[k], values, params) for k in kwargs} if kwargs else {}

    def _values_for(self, step: Step) -> Mapping[str, Any]:
        ledger, chains = self._ledger, self._maps.chains
        if not chains and len(ledger.values) == len(ledger.ended):  # nothing is missing
            return ledger.values
        return ledger.values_for(step, chains.get(step.name, ()))


def unread(step: Step, error: BaseException, when: str) -> TaskRun:
    """The outcome of *step*, whose inputs could not be read: *error* was raised meanwhile."""
    add_note(error, f"{when} of task {step.name!r} from its upstreams")
    reason = f"its inputs could not be read: {described(error)}"
    allowed = step.task.allow_failure
    return TaskRun(step.name, State.FAILED, error=error, reason=reason, allowed=allowed)
