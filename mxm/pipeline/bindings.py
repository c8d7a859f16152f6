"""Bindings: the source of each input of a task, and the parameter that it fills."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import CO_VARKEYWORDS, Parameter
from types import FunctionType, MappingProxyType
from typing import Any, TypeAlias, TypeVar, cast

from mxm.pipeline.introspection.signatures import POSITIONAL, VARIADIC, shape_of, signature_of
from mxm.pipeline.introspection.uses import Use, uses_of
from mxm.pipeline.values.equality import alike

__all__ = [
    "Absent",
    "Binding",
    "Bindings",
    "Collection",
    "Const",
    "Each",
    "Param",
    "PerItem",
    "Unpacked",
    "Upstream",
    "by_parameter",
    "free_parameters",
    "keys_taken",
    "parts_in",
    "projected",
    "require_count",
    "upstreams_in",
    "value_of",
    "with_named",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Upstream:
    """An input that is the result of another task, or the part of it at *path*.

    Examples
    --------
    >>> from mxm.pipeline.bindings import Upstream
    >>> print(Upstream("load", ("closes", 0)))
    load['closes'][0]
    """

    name: str
    path: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        return self.name + "".join(f"[{key!r}]" for key in self.path)


@dataclass(frozen=True, slots=True)
class Param:
    """An input that is a parameter of the flow, or the part of it at *path*.

    Examples
    --------
    >>> from mxm.pipeline.bindings import Param
    >>> print(Param("config", ("window",)))
    config['window']
    """

    name: str
    path: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        return self.name + "".join(f"[{key!r}]" for key in self.path)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Const:
    """An input that is a constant, passed by reference.

    Two constants are equal if their values are. If ``==`` does not give a bool, as for tables, they
    are equal only if they are the same object.

    Examples
    --------
    >>> from mxm.pipeline.bindings import Const
    >>> Const(20) == Const(20), Const(20)
    (True, Const(<int>))
    """

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Const) and alike(self.value, other.value)

    def __hash__(self) -> int:
        return hash(Const)  # equal values may be unhashable or differ in hash: set, frozenset

    def __repr__(self) -> str:
        return f"Const(<{type(self.value).__name__}>)"  # it may be long, or an unmasked secret


@dataclass(frozen=True, slots=True)
class Collection:
    """A list, tuple or dict of bindings.

    Parameters
    ----------
    kind
        ``list``, ``tuple`` or ``dict``.
    items
        The members, or the values of a dict.
    keys
        The keys of a dict.

    Examples
    --------
    >>> from mxm.pipeline.bindings import Collection, Upstream
    >>> both = Collection(dict, (Upstream("load"), Upstream("load_2")), ("SPY", "QQQ"))
    >>> [str(item) for item in both.items]
    ['load', 'load_2']
    """

    kind: type
    items: tuple[Binding, ...]
    keys: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.items))}]"


@dataclass(frozen=True, slots=True)
class Each:
    """A list that gives each call one item, or the part of it that *path* names.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.bindings import Bindings, Each, Param
    >>> task = TaskSpec("lengths", len, bindings=Bindings((Each(Param("symbols")),)))
    >>> flow = FlowSpec("f", [task], params={"symbols": ["SPY", "GOOGL"]})
    >>> compile_flow(flow, backend="inline").run().value()
    [3, 5]
    """

    items: Upstream | Param | Const | Collection
    path: tuple[str | int, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.items, Each):
            raise TypeError("Each takes where a list comes from, not another Each")

    def __str__(self) -> str:
        part = "".join(f"[{key!r}]" for key in self.path)
        named = isinstance(self.items, Upstream | Param)
        return f"each{part} of {self.items if named else 'a list'}"


@dataclass(frozen=True, slots=True)
class PerItem:
    """An input of a task in a mapped flow, made again for each item.

    In it an `Upstream` that the task takes by item is the result for the same item.
    """

    binding: Upstream | Collection | Each

    def __str__(self) -> str:
        return str(self.binding)


Binding: TypeAlias = Upstream | Param | Const | Collection | Each | PerItem


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A result, a parameter or a part of one that a flow's body unpacks into *count* parts."""

    binding: Upstream | Param
    count: int


@dataclass(frozen=True, slots=True)
class Absent:
    """Takes the place of a missing result, and of each part of it."""

    instead: Any


_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Bindings:
    """Where a task's inputs come from: positional ones in order, and named ones.

    Examples
    --------
    >>> from mxm.pipeline import TaskSpec
    >>> from mxm.pipeline.bindings import Bindings, Const, Upstream
    >>> bindings = Bindings((Upstream("load"),), {"reverse": Const(True)})
    >>> TaskSpec("order", sorted, bindings=bindings).upstream
    ('load',)
    """

    args: tuple[Binding, ...] = ()
    kwargs: Mapping[str, Binding] = field(default_factory=lambda: _EMPTY)

    def __post_init__(self) -> None:
        object.__setattr__(self, "args", tuple(self.args))
        if self.kwargs is not _EMPTY:
            object.__setattr__(self, "kwargs", MappingProxyType(dict(self.kwargs)))

    def __hash__(self) -> int:
        return hash((self.args, frozenset(self.kwargs.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        return Bindings, (self.args, dict(self.kwargs))  # a read-only view cannot be pickled

    def __iter__(self) -> Iterator[Binding]:
        yield from self.args
        yield from self.kwargs.values()


def parts_in(bindings: Iterable[Binding]) -> Iterator[Upstream | Param | Const]:
    """Every binding in *bindings*, in order; for collections and maps, their contents."""
    stack = list(bindings)[::-1]
    while stack:
        binding = stack.pop()
        if isinstance(binding, PerItem):
            binding = binding.binding
        if isinstance(binding, Each):
            binding = binding.items
        if isinstance(binding, Collection):
            stack.extend(reversed(binding.items))
        else:
            yield binding


def upstreams_in(bindings: Iterable[Binding]) -> Iterator[Upstream]:
    """Every `Upstream` in *bindings*, collections included, in order."""
    return (part for part in parts_in(bindings) if isinstance(part, Upstream))


def value_of(
    binding: Binding,
    look_up: Callable[[Upstream | Param], Any],
    item: Callable[[Each], Any] | None = None,
) -> Any:
    """The value of *binding*, by reference.

    Parameters
    ----------
    binding
        Where the value comes from.
    look_up
        Returns the whole result of a task or the value of a parameter; `Absent` if there is none.
    item
        Gives an item of a list that is mapped; None for the whole list.
    """
    if isinstance(binding, Upstream | Param):  # nearly all
        value = look_up(binding)
        return value.instead if type(value) is Absent else projected(value, binding.path)
    if isinstance(binding, Const):
        return binding.value
    if isinstance(binding, PerItem):
        return value_of(binding.binding, look_up, item)
    if isinstance(binding, Each):
        if item is not None:
            return projected(item(binding), binding.path)
        return value_of(binding.items, look_up)
    items = [value_of(part, look_up, item) for part in binding.items]
    if binding.kind is dict:
        return dict(zip(binding.keys, items, strict=True))
    # A named tuple takes its members as separate arguments.
    return getattr(binding.kind, "_make", binding.kind)(items)


def projected(value: Any, path: Iterable[str | int]) -> Any:
    """The part of *value* that *path* leads to."""
    for key in path:
        value = value[key]
    return value


def require_count(value: Any, count: int, what: str) -> None:
    """Check that *value*, which a flow's body unpacks, is a tuple or a list of *count* items.

    For other types, items by index may differ from the items that unpacking gives.

    Raises
    ------
    ValueError
        It has a different number of items.
    TypeError
        It is something else.
    """
    if not isinstance(value, tuple | list):
        kind = type(value).__qualname__
        raise TypeError(f"{what} is unpacked into {count} parts, so it must be a tuple, not {kind}")
    number: int = len(cast("Sequence[Any]", value))
    if number != count:
        parts = f"{number} part{'s' * (number != 1)}"
        raise ValueError(f"{what} has {parts} and is unpacked into {count}")


def by_parameter(fn: Callable[..., Any], bindings: Bindings) -> dict[str, Binding]:
    """*bindings* by the parameter of *fn* that each fills, without those in its ``*args``."""
    shape = shape_of(fn) if bindings.args else None
    names = shape.positional if shape else ()
    return {**dict(zip(names, bindings.args, strict=False)), **bindings.kwargs}


def free_parameters(fn: Callable[..., Any], bindings: Bindings) -> Iterator[Parameter]:
    """The parameters of *fn* that no binding fills, ``**kwargs`` included.

    Those that take a resource are not: nothing else fills them.
    """
    filled = len(bindings.args)
    if type(fn) is FunctionType and not fn.__dict__:  # nearly all, and nearly all are full
        code = fn.__code__
        others = code.co_kwonlyargcount or code.co_flags & CO_VARKEYWORDS
        if filled >= code.co_argcount and not others:
            return
    signature = signature_of(fn)
    if signature is None:
        return
    for index, parameter in enumerate(signature.parameters.values()):
        if parameter.kind is Parameter.VAR_POSITIONAL:
            continue
        if parameter.kind in POSITIONAL and index < filled:
            continue
        if parameter.name not in bindings.kwargs and type(parameter.default) is not Use:
            yield parameter


def keys_taken(fn: Callable[..., Any], bindings: Bindings, keys: Iterable[str]) -> list[str]:
    """The *keys* that *fn* takes in addition to *bindings*; ``**kwargs`` takes any."""
    free = list(free_parameters(fn, bindings))
    names = {p.name for p in free if p.kind not in VARIADIC}
    if all(p.kind is not Parameter.VAR_KEYWORD for p in free):
        return [key for key in keys if key in names]
    filled = {*by_parameter(fn, bindings), *uses_of(fn)}
    return [key for key in keys if key not in filled]


def with_named(
    fn: Callable[..., Any],
    args: Sequence[T],
    kwargs: Mapping[str, T],
    named: Mapping[str, T],
    default: Callable[[Any], T],
) -> tuple[list[T], dict[str, T]]:
    """*args* and *kwargs* for a call of *fn*, with the values of *named* put in place.

    Parameters
    ----------
    fn
        What is called.
    args, kwargs
        The arguments so far.
    named
        Values by parameter; they take precedence.
    default
        Makes an argument from a parameter's default: a positional-only one cannot be left out if a
        later one is passed.
    """
    if not named:
        return list(args), dict(kwargs)
    left = dict(named)
    signature = signature_of(fn)
    parameters = signature.parameters.values() if signature else ()
    positional = [p for p in parameters if p.kind in POSITIONAL]
    placed = list(args)
    for i, parameter in enumerate(positional[: len(placed)]):
        if parameter.name in left:
            placed[i] = left.pop(parameter.name)
    more = [p for p in positional[len(placed) :] if p.kind is Parameter.POSITIONAL_ONLY]
    while more and more[-1].name not in left:
        more.pop()
    placed.extend(left.pop(p.name) if p.name in left else default(p.default) for p in more)
    return placed, {**kwargs, **left}
