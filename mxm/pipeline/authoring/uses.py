"""`use`: the default of a parameter that asks for a resource."""

from __future__ import annotations

from typing import TypeVar, cast

from mxm.pipeline.introspection.uses import Use
from mxm.pipeline.resources import Resource
from mxm.pipeline.tracing.placeholders import TracingError, body_source
from mxm.pipeline.tracing.recorder import active_trace

__all__ = ["use"]

T = TypeVar("T")


def use(resource: Resource[T], /) -> T:
    """Ask for *resource*, as the default of a parameter of a task or of another resource.

    No parameter of a run and no edge fills such a parameter; only a plain call may pass a value.
    Anywhere else, nothing opens the resource: that is a problem of the flow (MXM602).

    Parameters
    ----------
    resource
        The resource, made by ``@mxm.resource``.

    Examples
    --------
    >>> import mxm
    >>> @mxm.resource
    ... def rates():
    ...     yield {"USD": 1.0, "EUR": 1.1}
    >>> @mxm.task
    ... def convert(amount: float, rates: dict[str, float] = mxm.use(rates)) -> float:
    ...     return amount * rates["EUR"]
    >>> convert(100.0, rates={"EUR": 1.5})
    150.0
    """
    trace = active_trace()
    if trace is not None:
        error = TracingError(
            "mxm.use is called in the body of a flow",
            hint="make it the default of a parameter of the task: engine: Engine = mxm.use(db)",
            source=body_source(),
        )
        error.code = "MXM602"
        trace.keep(error)
        raise error
    # The white lie of every such library: a marker, typed as what will be in its place.
    return cast("T", Use(resource))
