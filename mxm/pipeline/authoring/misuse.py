"""Errors in the use of decorators: each a `TypeError`, raised where the decorator is applied."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import FunctionType

from mxm.pipeline.errors import repr_of
from mxm.pipeline.introspection.decorated import FlowBase, TaskBase
from mxm.pipeline.introspection.other_engines import attribute_hint, option_hint
from mxm.pipeline.problems import Source, did_you_mean

__all__ = ["check_function", "check_given", "no_attribute", "no_operator", "no_positional"]


def check_given(
    where: str, kind: str, options: Mapping[str, object], known: Mapping[str, Sequence[str]]
) -> None:
    """Check the names of *options*, and that the name among them is one.

    Parameters
    ----------
    where
        What takes them, such as ``@mxm.task``.
    kind
        ``task`` or ``flow``.
    options
        The options given.
    known
        The existing options, by kind.

    Raises
    ------
    TypeError
        An option is unknown, or the name is none.
    """
    for option, value in options.items():
        if option not in known[kind]:
            instead = _instead(kind, option, known)
            raise TypeError(
                f"{where} has no option {option!r}" + (f": {instead}" if instead else "")
            )
        if option == "name" and value is not None and (not isinstance(value, str) or not value):
            raise TypeError(f"{where}: name is a non-empty string, not {repr_of(value)}")


def _instead(kind: str, option: str, known: Mapping[str, Sequence[str]]) -> str | None:
    other = "flow" if kind == "task" else "task"
    if option in known[other]:
        return f"it is an option of {other}s: @mxm.{other}({option}=...)"
    return option_hint(kind, option, known[kind]) or did_you_mean(option, known[kind])


def check_function(kind: str, fn: object) -> None:
    """Check that *fn* is a function that ``@mxm.kind`` can decorate.

    Raises
    ------
    TypeError
        It cannot.
    """
    if not isinstance(fn, FunctionType):
        raise TypeError(_not_a_function(kind, fn))
    owner = fn.__qualname__.rpartition(".")[0]
    if fn.__name__ == "<lambda>":
        wrong = "a lambda has no name; define it with def"
    elif fn.__code__.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        wrong = f"{fn.__name__!r} is a generator; return a list instead"
    elif owner and not owner.endswith("<locals>"):
        wrong = f"{fn.__qualname__!r} is a method; move it out of its class"
    else:
        return
    raise TypeError(f"@mxm.{kind} at {Source.of_function(fn)}: {wrong}")


def _not_a_function(kind: str, fn: object) -> str:
    if isinstance(fn, TaskBase | FlowBase):
        what = "task" if isinstance(fn, TaskBase) else "flow"
        return f"@mxm.{kind}: <{what} {fn.name!r} at {fn.source}> is already decorated"
    if isinstance(fn, type):
        return f"@mxm.{kind} decorates functions; {fn.__qualname__!r} is a class"
    if isinstance(fn, staticmethod | classmethod):
        return f"@mxm.{kind} decorates functions; move the method out of its class"
    if isinstance(fn, str):
        return f"@mxm.{kind}({fn!r}): pass options by name: name={fn!r}"
    return f"@mxm.{kind} decorates functions defined with def, not {fn!r}"


def no_positional(made: FlowBase, count: int, names: Sequence[str]) -> TypeError:
    """The error for a run of *made* with *count* positional arguments; its parameters' *names*."""
    example = ", ".join(f"{name}=..." for name in names[:count]) or "name=..."
    called = made.fn.__name__
    return TypeError(
        f"parameters of flow {made.name!r} go by name: {called}.run({example}); "
        f"{called}(...) calls it without an engine"
    )


def no_attribute(made: TaskBase | FlowBase, name: str) -> AttributeError:
    """The error for an unknown attribute *name* of *made*, a task or a flow."""
    if name.startswith("_"):
        return AttributeError(name)  # a protocol that Python only probes
    kind = "task" if isinstance(made, TaskBase) else "flow"
    message = f"{kind} {made.name!r} has no attribute {name!r}"
    hint = attribute_hint(kind, name, made.fn.__name__)
    if hint is None:
        return AttributeError(message)  # Python adds the nearest name
    return AttributeError(f"{message}: {hint}", name=name, obj=None)


def no_operator(made: TaskBase) -> TypeError:
    """The error for ordering *made* with ``>>`` or ``<<``."""
    hint = attribute_hint("task", ">>")
    return TypeError(f"task {made.name!r} does not support >> and <<: {hint}")
