"""Which results may stay on a cluster, and which of them are fetched before the run ends."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from mxm.pipeline.bindings import upstreams_in
from mxm.pipeline.errors import BackendError
from mxm.pipeline.execution.ledger import Ledger
from mxm.pipeline.execution.plans.plan import Step
from mxm.pipeline.execution.staying import MOST_FETCHED, STAYS, Stay
from mxm.pipeline.process.logs import logger
from mxm.pipeline.spec import last_of

if TYPE_CHECKING:
    from mxm.pipeline.execution.cache.step_cache import StepCache

__all__ = ["Fetching"]


class Fetching:
    """What of the results of a run comes to this process from the place where they were made.

    Parameters
    ----------
    ledger
        That of the run.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._plan = ledger.plan
        self._options = ledger.options

    def stays(self, step: Step, cache: StepCache | None) -> Stay | None:
        """When the result of *step* stays on a cluster; None for never.

        Parameters
        ----------
        step
            The step.
        cache
            That of the run; None where it has none.
        """
        if not self._options.is_elsewhere or step.name in self._needed_here:
            return None
        above = STAYS
        if cache is None:
            return Stay(above)
        if not cache.is_cached(step) and (self._options.is_recorded or self._options.resumes):
            above = max(STAYS, int(self._options.keep_results * 1e6))
        return cache.stay(step, above, MOST_FETCHED)

    @functools.cached_property
    def _needed_here(self) -> set[str]:
        """The steps whose whole results this process needs: lists, assets, parts that it shows."""
        steps = self._plan.steps
        if self._options.strict_json:
            return {step.name for step in steps}
        needed = {step.name for step in steps if step.target is not None or step.task.mapped}
        for step in steps:
            needed.update(step.listed)
        if self._plan.flow.output is not None:
            needed.update(part.name for part in upstreams_in([self._plan.flow.output]) if part.path)
        return needed

    def fetch_value(self) -> None:
        """Fetch the value of the flow, as far as it stayed on a cluster that ends with the run."""
        held = self._ledger.values.held
        if not held or not self._options.fetches:
            return
        output = self._plan.flow.output
        names = {*last_of(self._plan.flow.tasks)}
        if output is not None:
            names = {part.name for part in upstreams_in([output])}
        for name in held.keys() & names:
            value = self._ledger.ended[name].value
            if value.nbytes > MOST_FETCHED or held[name].outlives_run:
                continue
            try:
                value.get()
            except BackendError as error:
                logger.warning("%s", error)
