"""Digests of other objects: their class, and what pickle would read from them."""

from __future__ import annotations

import contextlib
import copyreg
import enum
import functools
import os
import pickle
import sys
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, cast

from mxm.pipeline.errors import repr_of
from mxm.pipeline.values.digest.stream import RefusedError, Walk, called, part

__all__ = ["installed_name", "read"]

_STANDARD = os.path.dirname(os.__file__) + os.sep
# Their versions count where their values are used.
_LIBRARIES = {"numpy", "pandas", "polars", "pyarrow", "pydantic", "pydantic_core"}
_RUN = ("mxm.pipeline.runs", "FlowRun")
_NAMED = (type, FunctionType, BuiltinFunctionType, functools._lru_cache_wrapper)  # pyright: ignore[reportPrivateUsage]


def installed_name(thing: Any) -> str | None:
    """Module and name of a class or a function of Python or of a known library; None for others."""
    module, qualname = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if module is None and isinstance(thing, BuiltinFunctionType):
        return f"builtins:{qualname}" if thing.__self__ is None else None
    if type(module) is not str or type(qualname) is not str:
        return None
    root = module.partition(".")[0]
    ours = module.startswith("mxm.pipeline.")
    if not (ours or root in _LIBRARIES or root in sys.stdlib_module_names):
        return None
    file = getattr(sys.modules.get(module), "__file__", None)
    if root in sys.stdlib_module_names and file and not _is_standard(file):
        return None  # a file of the project that has the name of a standard one
    # Some modules are attributes of their package long before anybody imports them.
    inside = module.partition(".")[2]
    ways = [(module, qualname), (root, f"{inside}.{qualname}" if inside else qualname)]
    return f"{module}:{qualname}" if any(_at(*way) is thing for way in ways) else None


def _at(module: str, path: str) -> Any:
    of: Any = sys.modules.get(module)
    for name in path.split("."):
        of = getattr(of, name, None)
    return getattr(of, "__func__", of)


def _is_standard(file: str) -> bool:
    return file.startswith(_STANDARD) and "-packages" not in file


def read(walk: Walk, value: Any) -> bytes:
    """The part for *value*.

    Raises
    ------
    RefusedError
        It has no content to compare.
    """
    kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, BuiltinFunctionType) and not _is_of_module(value):
        return part("method", walk.value(value.__self__, ".__self__"), value.__name__.encode())
    if isinstance(value, _NAMED):
        return part("named", walk.named(value))
    if isinstance(value, MethodType):
        return part("method", walk.value(value.__self__, ".__self__"), walk.named(value.__func__))
    if kind is functools.partial:  # pickle reads it differently once it has attributes
        parts: list[Any] = [value.func, value.args, value.keywords, vars(value)]
        return part("partial", walk.value(parts))
    if isinstance(value, enum.Enum):  # for combined flags, the value is enough
        return part("enum", walk.named(kind), walk.value(value.value, ".value"))
    if kind is ContextVar:  # what code that reads it gets here and now
        with contextlib.suppress(LookupError):
            return part("variable", value.name.encode(), walk.value(value.get(), ".get()"))
        return part("variable", value.name.encode())
    if isinstance(value, threading.local):  # what this thread has in it
        return part("local", walk.named(kind), walk.state(value, vars(value)))
    if hasattr(kind, "get_secret_value"):
        return walk.secret(value)
    if (kind.__module__, kind.__qualname__) == _RUN and value.id:
        return part("run", value.id.encode())  # as it is compared; its values may have any size
    if kind is object or isinstance(value, ModuleType):
        raise RefusedError(f"{called(value)} has no content")
    if hasattr(kind, "__next__"):
        raise RefusedError(f"{called(value)} can be read only once")
    return _reduced(walk, value, kind)


def _is_of_module(function: Any) -> bool:
    return function.__self__ is None or isinstance(function.__self__, ModuleType)


def _reduced(walk: Walk, value: Any, kind: Any) -> bytes:
    """The part for the data that pickle would write."""
    if kind.__reduce__ in _SETS:
        own: Any = getattr(value, "__dict__", {})
        return part("set", walk.named(kind), walk.value(frozenset(value)), walk.state(value, own))
    reduced = _reduction(value, kind)
    if isinstance(reduced, str):
        return _global(walk, value, reduced)
    rest: list[Any] = [None] * 4
    make, args, state, items, pairs, setter = [*reduced, *rest][:6]
    fields: tuple[str, ...] = getattr(kind, "_fields", ())  # of a named tuple

    def step(number: int) -> str:
        return f".{fields[number - 1]}" if 0 < number <= len(fields) else ""

    parts = [walk.value(make), walk.items(list(args), step)]
    if state is not None:
        parts.append(part("state", _state(walk, value, kind, state)))
    if items is not None:
        parts.append(part("items", walk.items(list(items))))
    if pairs is not None:
        keys: list[Any] = []
        values: list[Any] = []
        for key, one in pairs:
            keys.append(key)
            values.append(one)

        def key_of(number: int) -> str:
            return f"[{repr_of(keys[number])[:60]}]"

        parts.append(part("pairs", walk.items(keys, key_of), walk.items(values, key_of)))
    if setter is not None:
        parts.append(part("setter", walk.value(setter)))
    parts += _left_out(walk, value, kind, args, state)
    return part("object", *parts)


def _left_out(walk: Walk, value: Any, kind: Any, args: Any, state: Any) -> list[bytes]:
    """The parts for attributes that the pickle of a user's class leaves out, but its code reads.

    Attributes without content, such as a lock, are skipped.
    """
    made = (kind.__getstate__, kind.__reduce__, kind.__reduce_ex__)
    if not any(map(_is_of_user, (*made, copyreg.dispatch_table.get(kind)))):
        return []
    own: Any = getattr(value, "__dict__", None)
    if type(own) is not dict:
        return []
    attributes: dict[str, Any] = own  # pyright: ignore[reportUnknownVariableType]
    carried = {id(one) for one in args}
    if isinstance(state, Mapping):
        states: Mapping[Any, Any] = state  # pyright: ignore[reportUnknownVariableType]
        carried |= {id(one) for one in states.values()}
    parts: list[bytes] = []
    for name, one in attributes.items():
        if id(one) not in carried:
            read = walk.attempt(value, name, one)
            if read is not None:
                parts.append(part("left out", name.encode("utf-8", "surrogatepass"), read))
    return parts


def _is_of_user(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    file: str = getattr(code, "co_filename", "")
    return code is not None and not (file.startswith(_STANDARD) or "-packages" in file)


_SETS: Any = [vars(one)["__reduce__"] for one in (set, frozenset)]


def _reduction(value: Any, kind: Any) -> Any:
    reduce: Any = copyreg.dispatch_table.get(kind)
    try:
        reduced = reduce(value) if reduce else value.__reduce_ex__(4)
    except TypeError:
        if not _is_plain(kind):
            raise
        raise RefusedError(f"{called(value)} has no content") from None
    parts: Any = reduced
    if isinstance(reduced, str) or (isinstance(reduced, tuple) and 2 <= len(parts) <= 6):
        return parts
    raise RefusedError(f"{called(value)} cannot be pickled")


def _is_plain(kind: Any) -> bool:
    """Whether *kind* lets Python decide what pickle reads."""
    made = kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__
    return made and kind not in copyreg.dispatch_table


def _state(walk: Walk, value: Any, kind: Any, state: Any) -> bytes:
    if _is_plain(kind) and kind.__getstate__ is object.__getstate__:
        both: list[Any] = [*state] if type(state) is tuple else [state]
        return b"".join([walk.state(value, one or {}) for one in both])
    if type(state) is dict and state is getattr(value, "__dict__", None):
        return walk.state(value, cast("dict[str, Any]", state))
    if hasattr(kind, "__pydantic_fields__") and isinstance(state, Mapping):
        other = dict(cast("Mapping[str, Any]", state))
        return walk.state(value, other.pop("__dict__", {})) + walk.value(other)
    return walk.value(state)


def _global(walk: Walk, value: Any, name: str) -> bytes:
    """The part for an object that pickle stores by name."""
    if callable(value) and hasattr(value, "__qualname__"):
        return part("named", walk.named(value))
    find: Any = vars(pickle)["whichmodule"]  # of no stubs
    module: str = find(value, name)
    at: Any = sys.modules.get(module)
    for step in name.split("."):
        at = getattr(at, step, None)
    if at is not value:
        raise RefusedError(f"{called(value)} is not {module}.{name}, as which it is pickled")
    return part("global", walk.named(type(value)), f"{module}:{name}".encode())
