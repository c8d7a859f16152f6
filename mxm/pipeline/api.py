"""Compile a flow for a backend and run it: the functions that the command and notebooks call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, Unpack, runtime_checkable

from mxm.pipeline.adapters.base import load_backend
from mxm.pipeline.checks.declarations import find_problems, require_valid
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.execution.options import OptionsOfRun, RunOptions
from mxm.pipeline.execution.planning import plan_with
from mxm.pipeline.params.caching import cache_notes
from mxm.pipeline.params.limits import limit_problems
from mxm.pipeline.problems import Problem
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.values.jsonvalue import JSONValue

if TYPE_CHECKING:
    from mxm.pipeline.execution.kept.entries import Entries
    from mxm.pipeline.execution.outlook import Outlook
    from mxm.pipeline.execution.plans.partial import Past
    from mxm.pipeline.execution.plans.plan import Plan

__all__ = [
    "HasSpec",
    "JSONValue",
    "MXMFlow",
    "check_flow",
    "compile_flow",
    "execute_flow",
    "plan_flow",
]


class HasSpec(Protocol):
    """Anything with a FlowSpec: a function decorated with ``@mxm.flow``.

    Examples
    --------
    >>> import mxm
    >>> @mxm.task
    ... def load(symbol: str = "SPY") -> list[float]:
    ...     return [100.0, 110.0]
    >>> @mxm.flow
    ... def risk(symbol: str = "SPY") -> list[float]:
    ...     return load(symbol)
    >>> from mxm.pipeline.api import HasSpec, check_flow
    >>> flow: HasSpec = risk
    >>> flow.spec.name, check_flow(flow)
    ('risk', [])
    """

    @property
    def spec(self) -> FlowSpec:
        """The flow's spec."""
        ...


@runtime_checkable
class MXMFlow(Protocol):
    """A flow compiled for a backend.

    Attributes
    ----------
    name
        The flow's name.
    backend
        The backend's name.
    spec
        The compiled spec.

    Examples
    --------
    >>> import mxm
    >>> @mxm.task
    ... def load(symbol: str = "SPY") -> list[float]:
    ...     return [100.0, 110.0]
    >>> @mxm.task
    ... def gain(prices: list[float]) -> float:
    ...     return prices[-1] - prices[0]
    >>> @mxm.flow
    ... def risk(symbol: str = "SPY") -> float:
    ...     return gain(load(symbol))
    >>> from mxm.pipeline import MXMFlow, compile_flow
    >>> compiled = compile_flow(risk, backend="inline")
    >>> isinstance(compiled, MXMFlow), compiled.name, compiled.backend
    (True, 'risk', 'inline')
    """

    name: str
    backend: str
    spec: FlowSpec

    def run(
        self, params: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> FlowRun:
        """Run the flow; a failed task does not raise.

        Parameters
        ----------
        params
            The run's parameters.
        options
            Fields of `RunOptions` for this run alone.

        Raises
        ------
        ParameterError
            Parameters are missing or do not fit.
        """
        ...

    def execute(
        self, params: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> dict[str, JSONValue]:
        """Run the flow; the results by task, as JSON.

        Raises
        ------
        ParameterError
            Parameters are missing or do not fit.
        ResultError
            With the option ``strict_json``: a result has no JSON form.
        BaseException
            The first failed task's own exception.
        """
        ...


def check_flow(flow: FlowSpec | HasSpec) -> list[Problem]:
    """All problems of *flow*, found without running it.

    Parameters
    ----------
    flow
        A spec, or a decorated flow.

    Examples
    --------
    >>> from mxm.pipeline.api import check_flow
    >>> from mxm.pipeline.spec import FlowSpec, TaskSpec
    >>> problems = check_flow(FlowSpec("risk", [TaskSpec("total", sum, upstream=["load"])]))
    >>> [(problem.code, problem.message) for problem in problems]
    [('MXM102', "unknown upstream 'load' of task 'total'")]
    """
    spec = _spec(flow)
    return [*find_problems(spec), *limit_problems(spec), *cache_notes(spec)]


def compile_flow(spec_or_flow: FlowSpec | HasSpec, **options: Unpack[OptionsOfRun]) -> MXMFlow:
    """Check a flow and compile it for a backend.

    Parameters
    ----------
    spec_or_flow
        A spec, or a decorated flow: those of its ``with_options`` hold where *options* has none.
    **options
        ``backend="prefect"``, ``"inline"``, or another installed one; for the others see
        `mxm.pipeline.execution.options.RunOptions`.

    Raises
    ------
    GraphError
        The graph has errors; it lists all of them.
    UnknownBackendError
        There is no such backend.
    EngineMissingError
        Its engine is not installed.
    BackendError
        The value of an option is invalid.
    TypeError
        An option is unknown.

    Examples
    --------
    >>> import mxm
    >>> @mxm.task
    ... def load(symbol: str = "SPY") -> list[float]:
    ...     return [100.0, 110.0]
    >>> @mxm.task
    ... def gain(prices: list[float]) -> float:
    ...     return prices[-1] - prices[0]
    >>> @mxm.flow
    ... def risk(symbol: str = "SPY") -> float:
    ...     return gain(load(symbol))
    >>> from mxm.pipeline import compile_flow
    >>> compiled = compile_flow(risk, backend="inline", runner="threads", workers=2)
    >>> compiled.run({"symbol": "QQQ"}).value()
    10.0
    """
    asked: dict[str, Any] = {**_own_options(spec_or_flow), **options}
    backend = asked.pop("backend", "prefect")
    chosen = RunOptions(past=_past_of, last_rows=_last_rows).changed(asked, also=["backend"])
    spec = require_valid(_spec(spec_or_flow))  # reported first, with or without an engine
    if chosen.recorder is None:
        from mxm.pipeline.store.recorder import RunRecorder

        recorder = RunRecorder(spec, expected=bool(chosen.record))
        chosen = chosen.changed({"recorder": recorder})
    if chosen.entries is None:
        chosen = chosen.changed({"entries": _entries})
    compiled: MXMFlow = load_backend(backend)(spec, chosen)
    return compiled


def execute_flow(
    flow: MXMFlow,
    params: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, JSONValue]:
    """Run a compiled flow; return JSON results by task name.

    Parameters
    ----------
    flow
        What `compile_flow` returned.
    params
        The run's parameters; they take precedence over the flow's and the tasks'.
    options
        Fields of `RunOptions` for this run alone.

    Raises
    ------
    PipelineError
        *flow* is not a compiled flow.
    ParameterError
        Parameters are missing or do not fit.
    ResultError
        With the option ``strict_json``: a result has no JSON form; the error names task and path.
    BaseException
        The first failed task's own exception. A note names flow, task and attempts; its ``mxm_run``
        is the run with its partial results.

    Examples
    --------
    >>> import mxm
    >>> @mxm.task
    ... def load(symbol: str = "SPY") -> list[float]:
    ...     return [100.0, 110.0]
    >>> @mxm.task
    ... def gain(prices: list[float]) -> float:
    ...     return prices[-1] - prices[0]
    >>> @mxm.flow
    ... def risk(symbol: str = "SPY") -> float:
    ...     return gain(load(symbol))
    >>> from mxm.pipeline import compile_flow, execute_flow
    >>> execute_flow(compile_flow(risk, backend="inline"), {"symbol": "QQQ"})
    {'load': [100.0, 110.0], 'gain': 10.0}
    """
    if not hasattr(flow, "execute"):
        raise PipelineError(
            f"not a compiled flow: {flow!r}",
            hint="compile it first: execute_flow(compile_flow(...))",
        )
    return flow.execute(params, options)


def _entries(plan: Plan, /, *, is_quiet: bool = False, most_mb: float = 16.0) -> Entries | None:
    # Loaded by runs that are recorded, or have cached tasks.
    from mxm.pipeline.store.entries import open_entries

    return open_entries(plan, is_quiet=is_quiet, most_mb=most_mb)


def _entries_there(
    plan: Plan, /, *, is_quiet: bool = False, most_mb: float = 16.0
) -> Entries | None:
    """What is kept already: a plan makes no store."""
    from mxm.pipeline.store.places import has_store, store_of

    if not has_store(store_of(plan.flow)):
        return None
    return _entries(plan, is_quiet=is_quiet, most_mb=most_mb)


def plan_flow(
    spec_or_flow: FlowSpec | HasSpec,
    params: Mapping[str, Any] | None = None,
    **options: Unpack[OptionsOfRun],
) -> Outlook:
    """What a run would do with each task, and why; nothing runs, and no engine is loaded.

    Parameters
    ----------
    spec_or_flow
        A spec, or a decorated flow.
    params
        The run's parameters.
    **options
        As in `compile_flow`.

    Raises
    ------
    GraphError
        The graph has errors; it lists all of them.
    ParameterError
        Parameters are missing or do not fit.
    SelectionError
        The tasks that are selected cannot run alone, or there are none.

    Examples
    --------
    >>> import mxm
    >>> @mxm.task
    ... def load(symbol: str = "SPY") -> list[float]:
    ...     return [100.0, 110.0]
    >>> @mxm.task
    ... def gain(prices: list[float]) -> float:
    ...     return prices[-1] - prices[0]
    >>> @mxm.flow
    ... def risk(symbol: str = "SPY") -> float:
    ...     return gain(load(symbol))
    >>> from mxm.pipeline.api import plan_flow
    >>> [(task.name, task.verdict) for task in plan_flow(risk).tasks]
    [('load', 'RUN'), ('gain', 'RUN')]
    """
    asked: dict[str, Any] = {**_own_options(spec_or_flow), **options}
    asked.pop("backend", None)
    chosen = RunOptions(past=_past_of, entries=_entries_there).changed(asked, also=["backend"])
    spec = require_valid(_spec(spec_or_flow))
    from mxm.pipeline.execution.outlook import outlook

    return outlook(plan_with(spec, params or {}, chosen), chosen, _past_of(spec))


def _last_rows(spec: FlowSpec, asset: str, partition: str | None, path: str | None) -> int | None:
    # The store is loaded only where a check asks.
    from mxm.pipeline.store.catalogue import last_rows

    return last_rows(spec, asset, partition, path)


def _past_of(spec: FlowSpec) -> Past:
    # Loaded by `plan`, and by a selection with `state:`.
    from mxm.pipeline.store.past import past_of

    return past_of(spec)


def _own_options(flow: FlowSpec | HasSpec) -> dict[str, Any]:
    """The options that `Flow.with_options` gave *flow*."""
    return dict(getattr(flow, "run_options", ()))


def _spec(flow: FlowSpec | HasSpec) -> FlowSpec:
    spec = flow if isinstance(flow, FlowSpec) else getattr(flow, "spec", None)
    if isinstance(spec, FlowSpec):
        return spec
    raise PipelineError(
        f"not a flow: {flow!r}", hint="give a FlowSpec, or a function decorated with @mxm.flow"
    )
