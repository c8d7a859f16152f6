"""Resolves annotations of functions as far as possible."""

from __future__ import annotations

import atexit
import collections.abc
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, CoroutineType, FunctionType, MethodType, UnionType
from typing import Any, cast

from mxm.pipeline.errors import described, text_of
from mxm.pipeline.introspection.signatures import unwrapped
from mxm.pipeline.process.interrupts import let_signals_pass

__all__ = [
    "Unresolved",
    "entries_of",
    "field_hints",
    "hints_of",
    "is_typed_dict",
    "named_type",
    "parts_of",
    "result_hint",
    "texts_apart",
    "type_text",
]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Unresolved:
    """An annotation that cannot be evaluated: an import under TYPE_CHECKING, a typo.

    Parameters
    ----------
    text
        The annotation as written.
    why
        Python's error message.
    """

    text: str
    why: str = ""

    def __repr__(self) -> str:
        return self.text


class _NotYet(Exception):  # noqa: N818 - not an error, but hints to be asked for again
    """Carries hints that include an `Unresolved`: its name may be defined later."""

    def __init__(self, hints: Mapping[str, Any]) -> None:
        super().__init__()
        self.hints = hints


def hints_of(fn: Callable[..., Any]) -> Mapping[str, Any]:
    """The annotations of *fn* by parameter name, ``"return"`` too; never raises.

    One that cannot be evaluated is an `Unresolved` and does not affect the others.
    """
    own: object = getattr(fn, "__signature__", None)
    if isinstance(own, inspect.Signature):
        return _of_signature(fn, own)
    try:
        return _remembered(_function_in(fn))
    except _NotYet as unresolved:
        return unresolved.hints


def _of_signature(fn: Callable[..., Any], signature: inspect.Signature) -> Mapping[str, Any]:
    """The annotations in an object's own ``__signature__``, whatever its code has."""
    named = {name: p.annotation for name, p in signature.parameters.items()}
    named["return"] = signature.return_annotation
    written = {k: _resolve(fn, v) for k, v in named.items() if v is not inspect.Parameter.empty}
    return {k: type(None) if v is None else v for k, v in written.items()}


_AWAITED = (collections.abc.Awaitable, collections.abc.Coroutine, CoroutineType)


def result_hint(fn: Callable[..., Any]) -> Any:
    """The annotated result of a task of *fn*, awaited; `Any` without an annotation."""
    hint = hints_of(fn).get("return", Any)
    if typing.get_origin(hint) in _AWAITED:
        return typing.get_args(hint)[-1]
    return Any if hint in _AWAITED else hint


def _function_in(fn: Any) -> Any:
    """The function whose annotations match the signature of *fn*, which may be any callable."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    fn = unwrapped(fn)
    if isinstance(fn, type):
        return cast("Any", fn).__init__
    return fn if isinstance(fn, FunctionType | MethodType) else type(fn).__call__


@functools.lru_cache(maxsize=65_536)
def _remembered(fn: Any) -> Mapping[str, Any]:
    raw: Mapping[str, Any] = getattr(fn, "__annotations__", {})
    if not any(isinstance(value, str) for value in raw.values()):
        return {k: type(None) if v is None else v for k, v in raw.items()}
    quick = _evaluated(fn, raw)
    if quick is not None:
        return quick
    try:
        return typing.get_type_hints(fn, include_extras=True)
    except BaseException as error:  # an annotation may run any code and raise anything
        let_signals_pass(error)
        hints = {name: _resolve(fn, value) for name, value in raw.items()}
    if any(isinstance(hint, Unresolved) for hint in hints.values()):
        raise _NotYet(hints)
    return hints


atexit.register(_remembered.cache_clear)  # so that the user's objects end as if nothing held them


def _evaluated(fn: Any, raw: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Like `typing.get_type_hints`, in a fraction of the time; None if only that can do it."""
    if type(fn) is not FunctionType or getattr(fn, "__type_params__", None):
        return None
    scope = fn.__globals__
    hints: dict[str, Any] = {}
    try:
        for name, value in raw.items():
            hint: Any = eval(_compiled(value), scope) if type(value) is str else value  # noqa: S307 - the user's own annotation
            if hint is None:
                hint = type(None)
            if type(hint) is not type and not _settled(hint):
                return None
            hints[name] = hint
    except BaseException as error:  # an annotation may run any code and raise anything
        let_signals_pass(error)
        return None
    return hints


@functools.lru_cache(maxsize=4_096)
def _compiled(annotation: str) -> CodeType:
    return compile(annotation, "<annotation>", "eval")


def _settled(hint: Any) -> bool:
    """Whether no part of *hint* is a string that names a type."""
    if isinstance(hint, type) or hint is Ellipsis or hint is Any:
        return True
    args: tuple[Any, ...] = typing.get_args(hint)
    return bool(args) and all(_settled(arg) for arg in args)


def _resolve(fn: Any, annotation: Any) -> Any:
    if not isinstance(annotation, str):
        return annotation
    module = getattr(fn, "__module__", None) or ""
    scope: dict[str, Any] = getattr(fn, "__globals__", None) or vars(
        sys.modules.get(module, typing)
    )
    holder: Any = type("_", (), {"__annotations__": {"it": annotation}, "__module__": module})
    try:
        return typing.get_type_hints(holder, scope, {}, include_extras=True)["it"]
    except NameError as error:
        return Unresolved(annotation, text_of(error))
    except BaseException as error:  # an annotation may run any code and raise anything
        let_signals_pass(error)
        return Unresolved(annotation, described(error))


def named_type(annotation: Any) -> Any:
    """The type that a NewType or a ``type`` statement names, with its type arguments filled in.

    Any other annotation is returned unchanged.
    """
    while not isinstance(annotation, type):
        named = getattr(annotation, "__supertype__", getattr(annotation, "__value__", None))
        if named is None:
            return annotation
        alias, args = typing.get_origin(annotation), typing.get_args(annotation)
        annotation = _with_arguments(named, alias.__type_params__, args) if args else named
    return annotation


def _with_arguments(named: Any, parameters: tuple[Any, ...], args: tuple[Any, ...]) -> Any:
    """*named*, of a generic alias like ``type Pair[T] = tuple[T, T]``, with *args* filled in."""
    by_parameter = dict(zip(parameters, args, strict=False))
    if named in by_parameter:
        return by_parameter[named]
    free: tuple[Any, ...] = getattr(named, "__parameters__", ())
    if not free:
        return named
    try:
        return named[tuple(by_parameter.get(parameter, parameter) for parameter in free)]
    except TypeError:  # it takes a list of types, or unpacked ones
        return Any


def parts_of(annotation: Any) -> Iterator[Any]:
    """*annotation* and all types in it, including those of a class's fields, each once.

    Leaves out what is not a type: values of a Literal, and metadata in Annotated.
    """
    # A class or a `type` statement may contain itself, by name.
    seen: set[Any] = set()
    stack = [annotation]
    while stack:
        named = stack.pop()
        kind = named_type(named)
        if kind is not named or (isinstance(kind, type) and typing.get_origin(kind) is None):
            try:
                if named in seen:
                    continue
                seen.add(named)
            except TypeError:  # Annotated[...] with a list in it is unhashable
                pass
        yield kind
        stack.extend([*_arguments(kind), *field_hints(kind).values()])


def _arguments(kind: Any) -> tuple[Any, ...]:
    if typing.get_origin(kind) is typing.Literal:
        return ()
    arguments = typing.get_args(kind)
    return arguments[:1] if typing.get_origin(kind) is typing.Annotated else arguments


_WITH_FIELDS = ("__dataclass_fields__", "model_fields", "__attrs_attrs__", "__total__", "_fields")


def field_hints(kind: Any) -> dict[str, Any]:
    """The types of the fields of a dataclass, a model, a typed dict or a named tuple, by name.

    Unresolvable ones stay as written; other annotations have no fields.
    """
    kind = typing.get_origin(kind) or kind
    if not isinstance(kind, type) or not any(hasattr(kind, mark) for mark in _WITH_FIELDS):
        return {}
    try:
        return typing.get_type_hints(kind, include_extras=True)
    except BaseException as error:  # an annotation may run any code and raise anything
        let_signals_pass(error)
        raw: list[dict[str, Any]] = [vars(c).get("__annotations__", {}) for c in kind.__mro__]
        return {name: hint for annotations in reversed(raw) for name, hint in annotations.items()}


def is_typed_dict(kind: Any) -> bool:
    """Whether *kind* is a typed dict, from typing or typing_extensions."""
    return hasattr(kind, "__total__") and isinstance(kind, type) and issubclass(kind, dict)


def entries_of(typed_dict: Any) -> dict[str, tuple[Any, bool]]:
    """The keys of a typed dict: the type of each, and whether it is required."""
    kind: Any = typing.get_origin(typed_dict) or typed_dict
    return {
        name: _entry(hint, name in kind.__required_keys__)
        for name, hint in field_hints(kind).items()
    }


def _entry(hint: Any, required: bool) -> tuple[Any, bool]:
    while (mark := getattr(typing.get_origin(hint), "_name", "")) in _MARKS:
        # If annotations are strings, Python has not seen the mark.
        required = required if mark == "ReadOnly" else mark == "Required"
        hint = typing.get_args(hint)[0]
    return hint, required


# By name, because typing_extensions has its own versions of new ones.
_MARKS = ("Required", "NotRequired", "ReadOnly")


def type_text(annotation: Any, *, modules: bool = False) -> str:
    """*annotation* as a user would write it: ``int``, ``list[str] | None``, ``date``.

    Parameters
    ----------
    annotation
        The annotation.
    modules
        Whether to name classes with their modules.
    """
    if annotation is inspect.Parameter.empty:
        return "any"
    if annotation is type(None):
        return "None"
    if annotation is ...:
        return "..."
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:  # the metadata is long and not meant for reading
        return type_text(args[0], modules=modules)
    if origin in (typing.Union, UnionType):
        return " | ".join(type_text(arg, modules=modules) for arg in args)
    if origin is not None and origin is not typing.Literal and args:
        inner = ", ".join(_argument_text(arg, modules) for arg in args)
        return f"{_name(origin, modules)}[{inner}]"
    return _name(annotation, modules)


def texts_apart(one: Any, other: Any) -> tuple[str, str]:
    """Both annotations as text, with modules if they would look the same."""
    texts = type_text(one), type_text(other)
    if texts[0] != texts[1]:
        return texts
    return type_text(one, modules=True), type_text(other, modules=True)


def _argument_text(argument: Any, modules: bool) -> str:
    if _is_list(argument):  # the parameter types of a Callable
        return f"[{', '.join(type_text(one, modules=modules) for one in argument)}]"
    return type_text(argument, modules=modules)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _name(kind: Any, modules: bool) -> str:
    if isinstance(kind, type):
        name = kind.__qualname__.rpartition("<locals>.")[2]
        return f"{kind.__module__}.{name}" if modules and kind.__module__ != "builtins" else name
    named = kind.__name__ if hasattr(kind, "__supertype__") else kind
    return text_of(named).replace("typing.", "")
