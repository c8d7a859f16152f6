"""The plan of one run with its options: with results replaced, and tasks left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.execution.plan import Plan, make_plan, with_history, without_assets
from mxm.pipeline.spec import FlowSpec

__all__ = ["plan_with"]


def plan_with(spec: FlowSpec, params: Mapping[str, Any], options: RunOptions) -> Plan:
    """The plan of one run of *spec*, whose graph has been checked.

    Raises
    ------
    ParameterError
        A parameter is missing or does not fit.
    BackendError
        An override cannot be used.
    SelectionError
        What is selected, or forced, cannot be run.
    """
    plan = make_plan(spec, params, strict_params=options.strict_params)
    # What a run seldom has is loaded only where it has it.
    if options.overrides:
        from mxm.pipeline.execution.overrides import with_overrides

        plan = with_overrides(plan, options.overrides)
    if options.overrides or options.resources:
        plan = without_assets(plan)  # what is not real replaces nothing
    elif options.last_rows is not None and any(step.target for step in plan.steps):
        plan = with_history(plan, options.last_rows)
    if options.select is not None or options.exclude or options.force:
        from mxm.pipeline.execution.partial import forced_steps, with_selection

        past = options.past(spec) if options.past and _asks_for_states(options) else None
        forced_steps(plan, options.force, past)  # a name that is none is said before it runs
        if options.select is not None or options.exclude:
            plan = with_selection(plan, options.select, options.exclude, past)
    return plan


def _asks_for_states(options: RunOptions) -> bool:
    """Whether the selections of *options* go by what happened before."""
    texts = [*(options.select or ()), *options.exclude]
    texts += () if isinstance(options.force, bool) else options.force
    return any("state:" in text for text in texts)
