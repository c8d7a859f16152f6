"""Replaces functions and results in a run, and finds the steps that then need not run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, NamedTuple, NoReturn, cast

from mxm.pipeline.bindings import require_count, upstreams_in, value_of
from mxm.pipeline.errors import BackendError, repr_of, text_of
from mxm.pipeline.execution.plans.plan import Plan, Step
from mxm.pipeline.introspection.annotations import Unresolved, result_hint, type_text
from mxm.pipeline.introspection.decorated import FlowBase, TaskBase
from mxm.pipeline.introspection.signatures import signature_of
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.taskruns import State, TaskRun
from mxm.pipeline.tracing.assembly import current
from mxm.pipeline.values.iterators import read_once

__all__ = ["with_overrides"]


class _Override(NamedTuple):
    value: Any
    is_function: bool  # replaces the task's function; else it is the result


def with_overrides(plan: Plan, overrides: Mapping[Any, object]) -> Plan:
    """*plan* with functions and results of its steps replaced.

    A callable replaces the function, anything else is the result. A task as key means every step
    made from its function, a string one step. Steps that are needed only by steps with a replaced
    result are skipped.

    Raises
    ------
    BackendError
        A key matches no step; a callable could also be the result, or cannot be called like the
        task; a result cannot be used.
    """
    chosen = {
        step.name: _override(step, value) for step, value in _by_step(plan, overrides).values()
    }
    replaced = {name for name, override in chosen.items() if not override.is_function}
    unneeded = _unneeded(plan, replaced)
    steps = tuple(_replaced(step, chosen.get(step.name), unneeded) for step in plan.steps)
    downstreams: dict[str, list[str]] = {step.name: [] for step in steps}
    for step in steps:
        for name in step.needs:
            downstreams[name].append(step.name)
    return replace(plan, steps=steps, downstreams=downstreams)


def _by_step(plan: Plan, overrides: Mapping[Any, object]) -> dict[str, tuple[Step, Any]]:
    """Each step that *overrides* name, with its replacement."""
    named: dict[str, tuple[Step, Any]] = {}
    made: dict[str, tuple[Step, Any]] = {}
    for key, value in overrides.items():
        steps = list(_meant(plan, key))
        if not steps:
            names = [step.name for step in plan.steps]
            known = did_you_mean(key.name if isinstance(key, TaskBase) else key, names)
            what = (
                f"no step is made from task {key.name!r}"
                if isinstance(key, TaskBase)
                else f"no step is named {key!r}"
            )
            raise BackendError(f"overrides of flow {plan.flow.name!r}: {what}", hint=known)
        for step in steps:
            matches = named if isinstance(key, str) else made
            if step.name in matches:
                raise BackendError(
                    f"overrides of flow {plan.flow.name!r}: two keys name step {step.name!r}",
                    hint=f"name the step: overrides={{{step.name!r}: ...}}",
                )
            matches[step.name] = (step, value)
    return made | named


def _meant(plan: Plan, key: object) -> Iterator[Step]:
    if isinstance(key, TaskBase):
        fn = current(key).fn
        yield from (step for step in plan.steps if step.task.fn is fn)
    elif isinstance(key, str):
        yield from (step for step in plan.steps if step.name == key)
    else:
        raise BackendError(
            f"overrides of flow {plan.flow.name!r}: a key must be a task or the name of a step, "
            f"not {repr_of(key)}",
            hint=did_you_mean(getattr(key, "__name__", ""), [step.name for step in plan.steps]),
        )


_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType, functools.partial)


def _override(step: Step, value: Any) -> _Override:
    """*value* as an override of *step*: a function or a result."""
    if isinstance(value, TaskBase):  # never a result
        _require_signature(step, value.fn)
        return _Override(value.fn, is_function=True)
    if not callable(value):
        _require_result(step, value)
        return _Override(value, is_function=False)
    hint = result_hint(step.task.fn)
    if hint is Any or hint is object or isinstance(hint, Unresolved):
        if not isinstance(value, _FUNCTIONS):
            _ambiguous(step, value, "its return annotation does not say")
    elif _may_be(value, hint):
        _ambiguous(step, value, f"the task returns {type_text(hint)}")
    fn = cast("Callable[..., Any]", value)
    _require_signature(step, fn)
    return _Override(fn, is_function=True)


def _may_be(value: Any, hint: Any) -> bool:
    # Loaded only for a callable override.
    from mxm.pipeline.values.membership import is_no_instance

    return not is_no_instance(value, hint)


def _ambiguous(step: Step, value: object, why: str) -> NoReturn:
    what = "a flow" if isinstance(value, FlowBase) else f"a {type(value).__qualname__}"
    raise BackendError(
        f"override of step {step.name!r} is {what}, which is callable: it could be the result "
        f"or return it; {why}",
        hint="put @mxm.task above a function that returns the result, and pass that task",
    )


def _require_result(step: Step, value: Any) -> None:
    """Check that *value* can be the result of *step* in every run."""
    once = read_once(value)
    if once is not None:
        raise BackendError(f"override of step {step.name!r} is {once}", hint=once.hint)
    for one in step.unpacked:
        try:
            part = value_of(one.binding, lambda _: value)
            require_count(part, one.count, f"the override of step {str(one.binding)!r}")
        except BaseException as error:  # any type may reject an index in its own way
            let_signals_pass(error)
            raise BackendError(text_of(error)) from error


def _require_signature(step: Step, fn: Callable[..., Any]) -> None:
    """Check that *fn* can be called as the function of *step* is."""
    signature = signature_of(fn)
    try:
        if signature is not None:
            signature.bind(*step.args, **step.kwargs)
    except TypeError as error:
        count, names = len(step.args), ", ".join(f"{name}=" for name in step.kwargs)
        positional = f"{count} argument{'s' * (count != 1)} by position" if count else ""
        raise BackendError(
            f"override of step {step.name!r} cannot be called like the task: {error}",
            hint=f"the task gets {' and '.join(filter(None, (positional, names))) or 'nothing'}",
        ) from None


def _unneeded(plan: Plan, replaced: set[str]) -> dict[str, str]:
    """Steps that are needed only by steps with a *replaced* result, and by which of those."""
    order: dict[str, list[str]] = {step.name: [] for step in plan.steps}
    data: dict[str, list[str]] = {step.name: [] for step in plan.steps}
    for step in plan.steps:
        for name in step.needs:
            (data if name in step.task.upstream else order)[name].append(step.name)
    output = plan.flow.output
    returned = {part.name for part in upstreams_in([output] if output is not None else [])}
    unneeded: dict[str, str] = {}
    for step in reversed(plan.steps):  # everything downstream of a step is known by then
        if step.name in replaced or step.name in returned:
            continue
        # A step that only runs after it does not need its result.
        users = data[step.name] or order[step.name]
        ends = [user if user in replaced else unneeded.get(user) for user in users]
        if users and all(ends):
            unneeded[step.name] = next(end for end in ends if end is not None)
    return unneeded


def _replaced(step: Step, override: _Override | None, unneeded: Mapping[str, str]) -> Step:
    if step.name in unneeded:
        reason = f"only for overridden {unneeded[step.name]!r}"
        outcome = TaskRun(step.name, State.SKIPPED, reason=reason)
        return replace(step, needs=(), outcome=outcome)
    if override is not None and not override.is_function:
        outcome = TaskRun(step.name, State.OVERRIDDEN, value=override.value)
        return replace(step, needs=(), outcome=outcome)
    needs = tuple(name for name in step.needs if name not in unneeded)
    if override is None:
        return replace(step, needs=needs)
    return replace(step, needs=needs, task=replace(step.task, fn=override.value), overridden=True)
