"""Hypothesis strategies for flows and for the parameters of a flow; needs hypothesis."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from mxm.pipeline.authoring import Flow
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.params.declared import parameters_of
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.spec import FlowSpec, TaskSpec

__all__ = ["flows", "parameters"]

_LETTERS = "abcdefghijkl"


def parameters(
    flow: Flow[..., Any] | FlowSpec, values: Mapping[str, st.SearchStrategy[Any]] | None = None
) -> st.SearchStrategy[dict[str, Any]]:
    """Parameters for a run of *flow*, by the annotations of its functions.

    A parameter with a default is sometimes left out.

    Parameters
    ----------
    flow
        The flow.
    values
        Strategies by parameter, for those whose annotation says too little.

    Raises
    ------
    PipelineError
        A parameter has no annotation and no strategy, or *values* names one that there is not.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline.testing.strategies import parameters
    >>> @mxm.task
    ... def double(n: int) -> int:
    ...     return 2 * n
    >>> @mxm.flow
    ... def doubled(n: int):
    ...     return double(n)
    >>> parameters(doubled)
    fixed_dictionaries({'n': integers()}, optional={})
    """
    spec = flow if isinstance(flow, FlowSpec) else flow.spec
    chosen = dict(values or {})
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    declared = parameters_of(spec)
    names = [parameter.name for parameter in declared]
    for name in chosen.keys() - names:
        raise PipelineError(
            f"flow {spec.name!r} has no parameter {name!r}", hint=did_you_mean(name, names)
        )
    for parameter in declared:
        strategy = chosen.get(parameter.name)
        if strategy is None and parameter.annotation is inspect.Parameter.empty:
            raise PipelineError(
                f"parameter {parameter.name!r} of flow {spec.name!r} has no annotation",
                hint=f"give its values: parameters(flow, {{{parameter.name!r}: st.integers()}})",
            )
        if strategy is None:
            strategy = _of(parameter.annotation)
        (required if parameter.required else optional)[parameter.name] = strategy
    return st.fixed_dictionaries(required, optional=optional)


def _of(annotation: Any) -> st.SearchStrategy[Any]:
    from pydantic import SecretBytes, SecretStr

    if annotation is SecretStr:  # Hypothesis would make one without a value
        return st.builds(SecretStr, st.text())
    if annotation is SecretBytes:
        return st.builds(SecretBytes, st.binary())
    strategy: st.SearchStrategy[Any] = st.from_type(annotation)
    return strategy


def _take(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    return args, kwargs


@st.composite
def flows(draw: st.DrawFn, cyclic: bool = False) -> FlowSpec:
    """Flows of up to twelve tasks with distinct names and both kinds of edges.

    Parameters
    ----------
    draw
        Hypothesis passes it.
    cyclic
        Whether the graph may have cycles.

    Examples
    --------
    >>> from mxm.pipeline.testing.strategies import flows
    >>> flows().example().name  # doctest: +SKIP
    'random'
    """
    names = draw(st.permutations(_LETTERS))[: draw(st.integers(1, len(_LETTERS)))]
    rank = {name: i for i, name in enumerate(draw(st.permutations(names)))}
    tasks: list[TaskSpec] = []
    for name in names:
        known = [n for n in names if cyclic or rank[n] < rank[name]]
        some = st.lists(st.sampled_from(known), max_size=3) if known else st.just([])
        tasks.append(TaskSpec(name, _take, upstream=draw(some), after=draw(some)))
    return FlowSpec("random", tasks)
