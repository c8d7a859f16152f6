"""Whether what a task returns could be what the next one takes, by their annotations.

The question is not whether one type is a subtype of the other: an edge is wrong only where no value
of the one could ever be a value of the other (docs/adr/0005-edge-types.md).
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from mxm.pipeline.bindings import Binding, Collection, Upstream
from mxm.pipeline.errors import Problem, Source
from mxm.pipeline.functions import shape_of, unwrapped
from mxm.pipeline.hints import Unresolved, hints_of, type_text
from mxm.pipeline.spec import FlowSpec, TaskSpec

__all__ = ["Fit", "edge_problems", "fit"]


class Fit(IntEnum):
    """Whether a value of one type is a value of another."""

    NEVER = 0
    MAYBE = 1
    ALWAYS = 2


_NUMBERS: tuple[type, ...] = (bool, int, float, complex)  # each fits those after it
_ITEMS = 1  # generic types of one argument, by what they hold
_ENTRIES = 2  # and of two
_FINAL = (*_NUMBERS, str, bytes, bytearray, list, dict, tuple, set, frozenset, type(None))


def fit(made: Any, wanted: Any) -> Fit:
    """Whether a value annotated as *made* is one of *wanted*.

    ``int`` fits ``float`` fits ``complex``, also inside containers; a missing type argument is
    ``Any``; a union fits if any of its members does; a supertype may fit.
    """
    made, wanted = _bare(made), _bare(wanted)
    if wanted is Any or wanted is object or wanted is inspect.Parameter.empty:
        return Fit.ALWAYS
    if made is Any or made is inspect.Parameter.empty or made is object:
        return Fit.MAYBE
    if made is typing.NoReturn or made is typing.Never:
        return Fit.ALWAYS
    if _open(made) or _open(wanted):
        return Fit.MAYBE
    if _is_union(made):
        found = [fit(member, wanted) for member in typing.get_args(made)]
        return min(found) if min(found) == max(found) else Fit.MAYBE
    if _is_union(wanted):
        return max(fit(made, member) for member in typing.get_args(wanted))
    if typing.get_origin(made) is typing.Literal:
        found = [_literal(value, wanted) for value in typing.get_args(made)]
        return min(found) if min(found) == max(found) else Fit.MAYBE
    if typing.get_origin(wanted) is typing.Literal:
        kinds = [fit(type(value), made) for value in typing.get_args(wanted)]
        return Fit.MAYBE if max(kinds) else Fit.NEVER
    return _classes(made, wanted)


def _bare(annotation: Any) -> Any:
    """*annotation* without Annotated, NewType, type aliases and the like."""
    while True:
        if annotation is None:
            return type(None)
        if typing.get_origin(annotation) in (typing.Annotated, typing.Final, typing.ClassVar):
            annotation = typing.get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def _open(annotation: Any) -> bool:
    """Whether nothing can be said of *annotation*."""
    if isinstance(annotation, Unresolved | str | typing.TypeVar | typing.ForwardRef):
        return True
    origin = typing.get_origin(annotation) or annotation
    if not isinstance(origin, type):
        return origin is not typing.Literal and not _is_union(annotation)
    return bool(getattr(origin, "_is_protocol", False)) or origin is type


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _literal(value: Any, wanted: Any) -> Fit:
    if typing.get_origin(wanted) is typing.Literal:
        return Fit.ALWAYS if value in typing.get_args(wanted) else Fit.NEVER
    return fit(type(value), wanted)


def _classes(made: Any, wanted: Any) -> Fit:
    have = _class(made)
    need = _class(wanted)
    if have in _NUMBERS and need in _NUMBERS:
        return Fit.ALWAYS if _NUMBERS.index(have) <= _NUMBERS.index(need) else Fit.NEVER
    try:
        below, above = issubclass(have, need), issubclass(need, have)
    except TypeError:
        return Fit.MAYBE
    if below:
        return _arguments(made, wanted, Fit.ALWAYS)
    if above:
        return _arguments(made, wanted, Fit.MAYBE)
    # A class that is open to subclasses may have one that is a `wanted` too, if that is abstract.
    if inspect.isabstract(need) and have not in _FINAL:
        return Fit.MAYBE
    return Fit.NEVER


def _class(annotation: Any) -> type:
    origin = typing.get_origin(annotation) or annotation
    return dict if typing.is_typeddict(origin) else origin


def _arguments(made: Any, wanted: Any, outer: Fit) -> Fit:
    """How the type arguments of two related generic types fit."""
    have, need = _held(made), _held(wanted)
    if not have or not need:
        return outer if not need else min(outer, Fit.MAYBE)
    if isinstance(have, list) and isinstance(need, list) and len(have) != len(need):
        return Fit.NEVER
    pairs: list[tuple[Any, Any]]
    if isinstance(have, list) and isinstance(need, list):
        pairs = list(zip(have, need, strict=True))
    elif isinstance(have, list):
        pairs = [(item, need[0]) for item in have]
    elif isinstance(need, list):
        return min(outer, Fit.MAYBE) if all(fit(have[0], n) for n in need) else Fit.NEVER
    else:
        if len(have) != len(need):
            return min(outer, Fit.MAYBE)
        pairs = list(zip(have, need, strict=True))
    return min([outer, *(fit(a, b) for a, b in pairs)])


def _held(annotation: Any) -> tuple[Any, ...] | list[Any]:
    """What a container holds: a tuple for one kind of item or entry, a list item by item."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None or not args or not isinstance(origin, type):
        return ()
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return (args[0],)
        return [] if args == ((),) else list(args)
    if issubclass(origin, collections.abc.Mapping):
        return args if len(args) == _ENTRIES else ()
    if issubclass(origin, collections.abc.Iterable):
        return args if len(args) == _ITEMS else ()
    return ()


def edge_problems(spec: FlowSpec, *, strict: bool = False) -> Iterator[Problem]:
    """Edges of *spec* whose types cannot fit; with *strict* a warning for those that may not.

    Parameters
    ----------
    spec
        The flow.
    strict
        Whether to tell, too, what cannot be known.
    """
    tasks: dict[str, TaskSpec] = {}
    for task in spec.tasks:
        tasks.setdefault(task.name, task)
    for task in spec.tasks:
        for name, wanted, binding in _inputs(task):
            yield from _input(spec, task, name, wanted, binding, tasks, strict=strict)


def _inputs(task: TaskSpec) -> Iterator[tuple[str, Any, Binding]]:
    """The inputs of *task* that are bound, with the annotation of each."""
    bindings = task.bindings
    if not bindings.args and not bindings.kwargs:
        return
    shape = shape_of(unwrapped(task.fn))
    hints = hints_of(task.fn)
    if bindings.args and shape is not None:
        for i, binding in enumerate(bindings.args):
            at = shape.name_at(i)
            if at is not None:
                yield at, hints.get(at, Any), binding
    for name, binding in bindings.kwargs.items():
        yield name, hints.get(name, Any), binding


def _input(
    spec: FlowSpec,
    task: TaskSpec,
    name: str,
    wanted: Any,
    binding: Binding,
    tasks: dict[str, TaskSpec],
    *,
    strict: bool,
) -> Iterator[Problem]:
    if isinstance(binding, Collection):
        held = _held(wanted)
        for i, item in enumerate(binding.items):
            one_by_one = isinstance(held, list) and i < len(held)
            inner = held[i] if one_by_one else (held[-1:] or [Any])[-1]
            yield from _input(spec, task, name, inner, item, tasks, strict=strict)
        return
    if not isinstance(binding, Upstream) or binding.name not in tasks:
        return
    source = tasks[binding.name]
    made = _projected(hints_of(source.fn).get("return", Any), binding.path)
    if not strict and _same(made, wanted):
        return
    found = fit(made, wanted)
    if found is Fit.NEVER:
        yield _mismatch(spec, task, name, wanted, binding, made, source)
    elif strict and found is Fit.MAYBE:
        yield Problem(
            "MXM202",
            f"{_described(made, binding, source)} may not be what parameter {name!r} of task "
            f"{task.name!r} takes, {type_text(wanted)}",
            "annotate both so that one is the other's",
            source=task.source,
            flow=spec.name,
            task=task.name,
            severity="warning",
        )


def _same(made: Any, wanted: Any) -> bool:
    try:
        return made is wanted or bool(made == wanted)
    except Exception:  # an annotation may be any object
        return False


def _mismatch(
    spec: FlowSpec,
    task: TaskSpec,
    name: str,
    wanted: Any,
    binding: Upstream,
    made: Any,
    source: TaskSpec,
) -> Problem:
    place = Source.of_function(inspect.unwrap(source.fn))
    return Problem(
        "MXM201",
        f"{_described(made, binding, source)}{f' at {place}' if place else ''}, and parameter "
        f"{name!r} of task {task.name!r} takes {type_text(wanted)}: no value is both",
        "change one of the two annotations, or put a task between them",
        source=task.source,
        flow=spec.name,
        task=task.name,
    )


def _described(made: Any, binding: Upstream, source: TaskSpec) -> str:
    part = f"{binding} of" if binding.path else "the result of"
    return f"{part} task {source.name!r} is {type_text(made)}"


def _projected(made: Any, path: tuple[str | int, ...]) -> Any:
    """The type of the part of a *made* that *path* leads to; Any where it cannot be told."""
    for key in path:
        made = _bare(made)
        held = _held(made)
        if typing.is_typeddict(made):
            made = _entry(made, str(key))
        elif isinstance(held, list) and isinstance(key, int) and -len(held) <= key < len(held):
            made = held[key]
        elif isinstance(held, tuple) and held:
            made = held[-1]
        else:
            return Any
    return made


def _entry(typed_dict: Any, key: str) -> Any:
    try:
        return typing.get_type_hints(typed_dict).get(key, Any)
    except Exception:  # an annotation may run any code, and fail in any way
        return Any
