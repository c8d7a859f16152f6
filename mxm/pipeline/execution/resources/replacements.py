"""Replacements of resources, by blocks in tests and by options of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from typing import Any

from mxm.pipeline.errors import BackendError, repr_of
from mxm.pipeline.introspection.uses import ResourceBase
from mxm.pipeline.tracing.assembly import current

__all__ = ["meant_by", "replaced", "replaced_now"]

_NOTHING: Mapping[Any, Any] = {}
_replaced: list[Mapping[ResourceBase, Any]] = []  # by blocks, in this process


@contextlib.contextmanager
def replaced(resources: Mapping[Any, object]) -> Generator[None, None, None]:
    """Replace resources within this block, in runs and plain calls on any thread.

    Parameters
    ----------
    resources
        By resource, another one that is opened in its place, or the value itself.

    Raises
    ------
    TypeError
        A key is not a resource.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline.testing import replaced
    >>> @mxm.resource
    ... def rates():
    ...     yield {"EUR": 1.1}
    >>> @mxm.task
    ... def convert(amount: float, rates: dict[str, float] = mxm.use(rates)) -> float:
    ...     return amount * rates["EUR"]
    >>> with replaced({rates: {"EUR": 1.5}}):
    ...     convert(100.0)
    150.0
    """
    mapping = _checked(resources)
    _replaced.append(mapping)
    try:
        yield
    finally:
        _replaced.remove(mapping)


def _checked(resources: Mapping[Any, object]) -> Mapping[ResourceBase, Any]:
    for key in resources:
        if not isinstance(key, ResourceBase):
            raise TypeError(f"resources= must map resources, and {repr_of(key)} is not one")
    return dict(resources)


def replaced_now(more: Mapping[Any, Any] = _NOTHING) -> Mapping[ResourceBase, Any]:
    """The replacements in force here: those of blocks, then *more*."""
    standing: dict[ResourceBase, Any] = {}
    for mapping in (*_replaced, _checked(more)):
        standing |= {current(key): value for key, value in mapping.items()}
    return standing


def meant_by(replaced: Mapping[ResourceBase, Any], resource: ResourceBase) -> Any:
    """The resource to open, or the value to pass, where a task uses *resource*.

    Raises
    ------
    BackendError
        They replace each other.
    """
    seen: list[ResourceBase] = []
    chosen: Any = current(resource)
    while isinstance(chosen, ResourceBase) and chosen in replaced:
        if chosen in seen:
            names = " -> ".join(one.name for one in (*seen, chosen))
            raise BackendError(f"resources that replace each other: {names}")
        seen.append(chosen)
        value: Any = replaced[chosen]
        chosen = current(value) if isinstance(value, ResourceBase) else value
    return chosen
