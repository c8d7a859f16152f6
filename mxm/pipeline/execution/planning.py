"""The plan of one run with its options: with results replaced, and tasks left out."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mxm.pipeline.errors import SelectionError
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.execution.plans.plan import (
    Plan,
    make_plan,
    with_history,
    with_root,
    without_assets,
)
from mxm.pipeline.spec import FlowSpec

__all__ = ["plan_with"]

__tracebackhide__ = True  # pytest shows the lines of the test and of its tasks, not these


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
        from mxm.pipeline.execution.plans.overrides import with_overrides

        plan = with_overrides(plan, options.overrides)
    if options.overrides or options.resources:
        plan = without_assets(plan)  # what is not real replaces nothing
    elif options.last_rows is not None and any(step.target for step in plan.steps):
        plan = with_history(plan, options.last_rows)
    if options.root is not None:
        plan = with_root(plan, options.root)
    if options.select is not None or options.exclude or options.force:
        from mxm.pipeline.execution.plans.partial import forced_steps, with_selection

        past = options.past(spec) if options.past and _asks_for_states(options) else None
        changed = functools.partial(_changed, plan, options)
        forced = forced_steps(plan, options.force, past, changed)
        plan = replace(plan, forced=frozenset(forced))
        if options.select is not None or options.exclude:
            plan = with_selection(plan, options.select, options.exclude, past, changed)
        if plan.kept_only:
            _require_kept(plan, options)
    return plan


def _changed(plan: Plan, options: RunOptions) -> set[str]:
    """The steps whose code is not what it was when a result of theirs was last kept."""
    from mxm.pipeline.execution.cache.run_cache import Caching

    names = frozenset(step.name for step in plan.steps)
    entries = options.entries(plan, is_quiet=True) if options.entries else None
    if entries is None:
        return set(names)
    caching = Caching(plan, names, frozenset(), "", entries)
    try:
        return {name for name in names if caching.has_changed(name)}
    finally:
        caching.close()


def _require_kept(plan: Plan, options: RunOptions) -> None:
    """Check that a kept result can be used of each step that is not selected but needed.

    Raises
    ------
    SelectionError
        Of one there is none.
    """
    from mxm.pipeline.execution.forecast import forecast

    looked = {one.name: one for one in forecast(plan, options)[0]}
    name = next(
        (
            step.name
            for step in plan.steps
            if step.name in plan.kept_only
            and (step.name not in looked or looked[step.name].verdict != "CACHED")
        ),
        None,
    )
    if name is None:
        return
    reasons = looked[name].reasons if name in looked else []
    why = "; ".join(reason.text for reason in reasons if reason.kind != "uncached")
    raise SelectionError(
        f"task {name!r} is not selected, but its result is needed, and no kept result "
        f"can be used{f': {why}' if why else ''}",
        hint=f"run it first: mxm-pipeline run {plan.flow.name} --select '+{name}'",
    )


def _asks_for_states(options: RunOptions) -> bool:
    """Whether the selections of *options* go by what happened before."""
    texts = [*(options.select or ()), *options.exclude]
    texts += () if isinstance(options.force, bool) else options.force
    return any("state:" in text for text in texts)
