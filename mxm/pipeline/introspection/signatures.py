"""A user's function: its signature, the names of its parameters, its source."""

from __future__ import annotations

import atexit
import functools
import inspect
from collections.abc import Callable
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from mxm.pipeline.problems import Source

__all__ = [
    "POSITIONAL",
    "VARIADIC",
    "Shape",
    "defaults_of",
    "shape_of",
    "signature_of",
    "source_of",
    "unwrapped",
]

POSITIONAL: tuple[Any, ...] = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)
VARIADIC: tuple[Any, ...] = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def signature_of(fn: Callable[..., Any]) -> inspect.Signature | None:
    """The signature of *fn*, or None for a builtin without one."""
    try:
        return _signature(fn)
    except TypeError:  # an unhashable object
        return _signature.__wrapped__(fn)


@lru_cache(maxsize=16_384)
def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError):
        return None


atexit.register(_signature.cache_clear)  # so that the user's objects end as if nothing held them


class Shape(NamedTuple):
    """The names of a function's parameters by kind, without order or types."""

    positional: tuple[str, ...]
    positional_only: int  # the first ones, this many
    keyword_only: tuple[str, ...]
    var_positional: str | None
    var_keyword: str | None

    def name_at(self, place: int) -> str | None:
        """The parameter that the positional argument at index *place* fills, or None."""
        return self.positional[place] if place < len(self.positional) else self.var_positional

    def takes(self, args: int, names: list[str]) -> bool:
        """Whether it takes this number of positional arguments and arguments of these names."""
        if args > len(self.positional) and self.var_positional is None:
            return False
        filled, by_place = sorted((args, self.positional_only))
        named = {*self.positional[by_place:], *self.keyword_only}
        clashing = self.positional[filled:by_place]
        return all(
            name in named or (self.var_keyword is not None and name not in clashing)
            for name in names
        )


def shape_of(fn: Callable[..., Any]) -> Shape | None:
    """The names of *fn*'s parameters, or None for a builtin without a signature."""
    # Read from the code, if nothing changes the signature: a tenth of inspect's time.
    if type(fn) is FunctionType and not fn.__dict__:
        return _shape_of_code(fn.__code__)
    signature = signature_of(fn)
    if signature is None:
        return None
    kinds = {kind: [p for p in signature.parameters.values() if p.kind is kind] for kind in _KINDS}
    only, both, more, keyword, rest = ([p.name for p in kinds[kind]] for kind in _KINDS)
    return Shape(
        (*only, *both), len(only), tuple(keyword), next(iter(more), None), next(iter(rest), None)
    )


_KINDS = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.KEYWORD_ONLY,
    inspect.Parameter.VAR_KEYWORD,
)


@functools.lru_cache(maxsize=4096)
def _shape_of_code(code: CodeType) -> Shape:
    names, positional = code.co_varnames, code.co_argcount
    at = positional + code.co_kwonlyargcount
    more = rest = None
    if code.co_flags & inspect.CO_VARARGS:
        more, at = names[at], at + 1
    if code.co_flags & inspect.CO_VARKEYWORDS:
        rest = names[at]
    keyword = names[positional : positional + code.co_kwonlyargcount]
    return Shape(names[:positional], code.co_posonlyargcount, keyword, more, rest)


def defaults_of(fn: Callable[..., Any]) -> dict[str, Any]:
    """The defaults of *fn*'s parameters, by name."""
    if type(fn) is FunctionType and not fn.__dict__:
        defaults, code = fn.__defaults__ or (), fn.__code__
        names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
        return {**dict(zip(names, defaults, strict=True)), **(fn.__kwdefaults__ or {})}
    signature = signature_of(fn)
    parameters = signature.parameters.values() if signature else ()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def unwrapped(fn: Callable[..., Any]) -> Callable[..., Any]:
    """*fn* without the decorators that wrap it."""
    return inspect.unwrap(fn) if hasattr(fn, "__wrapped__") else fn


def source_of(fn: Callable[..., Any]) -> Source | None:
    """Where the user wrote *fn*, without the decorators that wrap it."""
    return Source.of_function(unwrapped(fn)) or Source.of_function(fn)
