"""Lists that no longer pair by position: a map with gaps beside its own items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mxm.pipeline.bindings import Binding, Collection, Each, Param, PerItem, Upstream
from mxm.pipeline.execution.items.mapped import MappedStep
from mxm.pipeline.execution.items.places import PlaceState
from mxm.pipeline.execution.plans.plan import Step
from mxm.pipeline.problems import Problem

__all__ = ["gap_problem"]


def gap_problem(flow: str, step: Step, maps: Mapping[str, MappedStep]) -> Problem | None:
    """A warning if *step* takes a map with gaps as a whole, beside a list without them.

    Parameters
    ----------
    flow
        Name of the flow.
    step
        A step whose inputs are known.
    maps
        The mapped steps of the run, by name.
    """
    inputs = [each for binding in (*step.args, *step.kwargs.values()) for each in _whole(binding)]
    for taken in inputs:
        mapped = _map_of(taken, maps)
        gaps = _gaps(mapped)
        if mapped is None or not gaps:
            continue
        heads = _heads(mapped, maps)
        for other in inputs:
            beside = _map_of(other, maps)
            related = other in heads or (beside and any(h in heads for h in _heads(beside, maps)))
            if other != taken and related and _gaps(beside) != gaps:
                count = len(gaps)
                return Problem(
                    "MXM507",
                    f"task {step.name!r} takes the result of {mapped.step.name!r} together with "
                    f"{_text(other)}, and {count:,} item{'s' * (count != 1)} "
                    f"of {mapped.step.name!r} {'were' if count != 1 else 'was'} left out: "
                    "by position the two do not match",
                    "return the name with each value, or map over both: mxm.each(...)",
                    source=step.task.source,
                    flow=flow,
                    task=step.name,
                    severity="warning",
                )
    return None


def _whole(binding: Binding) -> Iterator[Binding]:
    """The parts of *binding* that arrive whole."""
    if isinstance(binding, Collection):
        for item in binding.items:
            yield from _whole(item)
    elif not isinstance(binding, Each | PerItem):
        yield binding


def _map_of(binding: Binding, maps: Mapping[str, MappedStep]) -> MappedStep | None:
    if not isinstance(binding, Upstream) or binding.path:
        return None
    return maps.get(binding.name)


def _gaps(mapped: MappedStep | None) -> frozenset[int]:
    if mapped is None:
        return frozenset()
    return frozenset(i for i, what in enumerate(mapped.places) if what is not PlaceState.VALUE)


def _heads(mapped: MappedStep, maps: Mapping[str, MappedStep]) -> list[Binding]:
    """The lists that *mapped* is mapped over, and those that these are mapped over."""
    heads: list[Binding] = []
    stack = [mapped]
    while stack:
        step = stack.pop().step
        for binding in (step.task.over, *step.args, *step.kwargs.values()):
            if isinstance(binding, Each) and binding.items not in heads:
                heads.append(binding.items)
                above = _map_of(binding.items, maps)
                stack += [above] if above else []
        stack += [maps[name] for name in step.task.by_item if name in maps]
    return heads


def _text(binding: Binding) -> str:
    """Where *binding* comes from."""
    named = isinstance(binding, Upstream | Param)
    return repr(str(binding)) if named else "the list that it is mapped over"
