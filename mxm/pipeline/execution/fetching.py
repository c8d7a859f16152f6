"""Which results may stay on a cluster, and which of them are fetched before the run ends."""

from __future__ import annotations

import functools

from mxm.pipeline.bindings import upstreams_in
from mxm.pipeline.errors import BackendError
from mxm.pipeline.execution.ledger import Ledger
from mxm.pipeline.execution.plan import Step
from mxm.pipeline.logs import logger
from mxm.pipeline.spec import last_of

__all__ = ["Fetching"]

_STAYS = 1_000_000
"""Bytes from which on a result stays on a cluster."""
_MOST_FETCHED = 1_000_000_000
"""Bytes up to which one is fetched to be kept, or because it is the value of the flow."""


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

    def stays(self, step: Step, *, is_cached: bool) -> int | None:
        """The size in bytes from which on the result of *step* may stay on a cluster.

        Parameters
        ----------
        step
            The step.
        is_cached
            Whether later runs may use its result.
        """
        if not self._options.is_elsewhere or step.name in self._needed_here:
            return None
        if is_cached:
            return _MOST_FETCHED
        if self._options.is_recorded or self._options.resumes:
            return max(_STAYS, int(self._options.keep_results * 1e6))
        return _STAYS

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
            if value.nbytes > _MOST_FETCHED or held[name].outlives_run:
                continue
            try:
                value.get()
            except BackendError as error:
                logger.warning("%s", error)
