"""Compile a flow for a backend, and run it: what the command and notebooks call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from mxm.pipeline.adapters.base import RunOptions, load_backend
from mxm.pipeline.errors import PipelineError, Problem, did_you_mean
from mxm.pipeline.graph import find_problems, require_valid
from mxm.pipeline.jsonvalue import JSONValue
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.spec import FlowSpec

__all__ = ["JSONValue", "MXMFlow", "check_flow", "compile_flow", "execute_flow"]


class HasSpec(Protocol):
    """What has a FlowSpec: a function decorated with ``@mxm.flow``."""

    @property
    def spec(self) -> FlowSpec:
        """The flow as data."""
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
        What was compiled.
    """

    name: str
    backend: str
    spec: FlowSpec

    def run(self, params: Mapping[str, Any] | None = None) -> FlowRun:
        """Run the flow; a failed task does not raise.

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
            A result has no JSON form.
        BaseException
            The first failed task's own exception.
        """
        ...


def check_flow(flow: FlowSpec | HasSpec) -> list[Problem]:
    """Everything wrong with *flow*, found without running it."""
    return find_problems(_spec(flow))


def compile_flow(
    spec_or_flow: FlowSpec | HasSpec, *, backend: str = "prefect", **options: Any
) -> MXMFlow:
    """Check a flow and hand it to a backend.

    Parameters
    ----------
    spec_or_flow
        A spec, or a decorated flow.
    backend
        ``prefect``, ``inline``, or another that is installed.
    **options
        Fields of `mxm.pipeline.adapters.base.RunOptions`: ``runner``, ``workers``, ``fail_fast``,
        ``strict_params``, ``engine_logs``.

    Raises
    ------
    GraphError
        The graph is wrong; all problems together.
    UnknownBackendError
        There is no such backend.
    EngineMissingError
        Its engine is not installed.
    TypeError
        An option is unknown.
    """
    spec = require_valid(_spec(spec_or_flow))
    for option in options:
        if option not in RunOptions.__slots__:
            hint = did_you_mean(option, ("backend", *RunOptions.__slots__))
            raise TypeError(f"compile_flow has no option {option!r}: {hint}")
    compiled: MXMFlow = load_backend(backend)(spec, RunOptions(**options))
    return compiled


def execute_flow(
    flow: MXMFlow,
    params: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, JSONValue]:
    """Run a compiled flow; task names to results, as JSON.

    Parameters
    ----------
    flow
        What `compile_flow` returned.
    params
        The run's parameters; they go before the flow's and the tasks'.
    options
        Fields of `RunOptions` for this run alone.

    Raises
    ------
    ParameterError
        Parameters are missing or do not fit.
    ResultError
        A result has no JSON form; task and path are named.
    BaseException
        The first failed task's own exception, with a note that names flow, task and attempts, and
        the run with its partial results as ``mxm_run``.
    """
    return flow.execute(params, options)


def _spec(flow: FlowSpec | HasSpec) -> FlowSpec:
    spec = flow if isinstance(flow, FlowSpec) else getattr(flow, "spec", None)
    if isinstance(spec, FlowSpec):
        return spec
    raise PipelineError(
        f"not a flow: {flow!r}", hint="give a FlowSpec, or a function decorated with @mxm.flow"
    )
