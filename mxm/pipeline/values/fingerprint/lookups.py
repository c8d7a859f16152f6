"""The names that a function looks up, so that another process can compare their values.

A worker imports the modules anew. It lacks what a program has changed in them since its own
import: ``lib.RATE = 7``, a patched function, an edited file.
"""

from __future__ import annotations

import dis
import functools
import importlib
import importlib.machinery
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple, cast

from mxm.pipeline.introspection.decorated import FlowBase, TaskBase
from mxm.pipeline.introspection.uses import ResourceBase
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.values.fingerprint.classes import accessors_of
from mxm.pipeline.values.fingerprint.constants import content_of, is_fixed, without_content
from mxm.pipeline.values.fingerprint.fingerprints import Fingerprint
from mxm.pipeline.values.fingerprint.instructions import codes_in, raw_digest
from mxm.pipeline.values.fingerprint.nodes import MISSING

__all__ = ["Lookup", "differing", "lookups_of"]


class Lookup(NamedTuple):
    """A name in a module, and what it is bound to.

    Parameters
    ----------
    module
        Its name.
    path
        The name, after those of the classes that it is in.
    digest
        The digest of what it is bound to.
    stays
        Whether calls leave it unchanged: it is neither a counter nor a cache that they fill.
    """

    module: str
    path: tuple[str, ...]
    digest: str
    stays: bool

    def __str__(self) -> str:
        return ".".join((self.module, *self.path))


def lookups_of(
    fingerprint: Fingerprint,
    fn: Callable[..., Any],
    digests: dict[tuple[str, tuple[str, ...]], str | None],
) -> tuple[Lookup, ...]:
    """What *fn* looks up in the project's modules, directly or not, as of now.

    Parameters
    ----------
    fingerprint
        That of *fn*, made in this process.
    fn
        The function.
    digests
        The digests that other functions needed; a large table is read only once.
    """
    made: dict[tuple[str, tuple[str, ...]], Lookup] = {}
    changed = set(_changed(fingerprint.functions()))
    own: Any = getattr(fn, "__qualname__", "")
    module = sys.modules.get(str(getattr(fn, "__module__", None)))
    first: list[tuple[Any, tuple[str, ...]]] = []
    if module is not None and isinstance(own, str) and own.isidentifier():
        first = [(vars(module), (own,))]
    for scope, path in (*first, *fingerprint.looked_up()):
        name = str(scope.get("__name__"))
        loaded = sys.modules.get(name)
        if loaded is None or vars(loaded) is not scope or not all(map(str.isidentifier, path)):
            continue  # of an object, or a name that an import hook made up
        value = _value_at(scope, path)
        if (name, path) not in digests:
            digests[name, path] = _digest(value, has_plain_code=_is_plain(loaded))
        digest = digests[name, path]
        if digest is not None:
            stays = path[-1] not in changed and (_is_code(value) or _is_data(value))
            made[name, path] = Lookup(name, path, digest, stays)
    return tuple(made.values())


def differing(lookups: Iterable[Lookup]) -> list[Lookup]:
    """Those of *lookups* that have a different value in this process.

    Modules that are not imported yet are imported, as the function would do.
    """
    others: list[Lookup] = []
    for each in lookups:
        name = each.module
        if name == "__main__" and "__mp_main__" in sys.modules:
            name = "__mp_main__"  # multiprocessing's name for the parent's main module in a child
        try:
            space = vars(importlib.import_module(name))
        except BaseException as error:  # the call will report it, if it gets there
            let_signals_pass(error)
            continue
        digest = _digest(_value_at(space, each.path), has_plain_code=True)
        if digest != each.digest and digest is not None:
            others.append(each)
    return others


def _changed(functions: Iterable[FunctionType]) -> Iterator[str]:
    """The names that *functions* themselves may change: ``global COUNT``, ``CACHE[key] = 1``."""
    for fn in functions:
        yield from _changed_by(fn.__code__)


@functools.lru_cache(10_000)
def _changed_by(code: CodeType) -> frozenset[str]:
    # An expression and the name that it begins with have one place.
    names: dict[Any, list[str]] = {}
    changing: set[Any] = set()
    changed: set[str] = set()
    for each in codes_in(code):
        for step in dis.get_instructions(each):
            place = step.positions and step.positions[:1] + step.positions[2:3]
            if step.opname == "STORE_GLOBAL":
                changed.add(str(step.argval))
            elif step.opname in _STORES or step.argval in _CHANGING:
                changing.add(place)
            if step.opname in _LOADS:
                names.setdefault(place, []).append(str(step.argval))
    return frozenset(changed.union(*(names.get(place, ()) for place in changing)))


_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_ATTR", "LOAD_METHOD")
_STORES = ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_ATTR", "DELETE_ATTR")
_CHANGING = {
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem",
    "popleft", "remove", "setdefault", "update",
}  # fmt: skip


def _is_plain(module: ModuleType) -> bool:
    """Whether its code comes from Python's own compiler, not from an import hook."""
    return type(getattr(module, "__loader__", None)) is importlib.machinery.SourceFileLoader


def _value_at(space: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """The value at *path*, without running code that computes attributes."""
    *classes, name = path
    for each in classes:
        inner = space.get(each, MISSING)
        if not isinstance(inner, type):
            return MISSING
        space = cast("Mapping[str, Any]", vars(inner))
    return space.get(name, MISSING)


def _is_code(value: Any) -> bool:
    return isinstance(value, type | ModuleType) or next(_functions_in(value), None) is not None


def _is_data(value: Any) -> bool:
    """Whether it only changes on purpose: reading it does not change its state."""
    kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind.__module__.startswith("numpy.random"):
        return False
    return (
        value is MISSING
        or is_fixed(value)
        or isinstance(value, dict | list | set | tuple | frozenset | bytearray | SimpleNamespace)
        or kind.__module__.partition(".")[0] in ("numpy", "pandas", "polars", "pyarrow")
        or hasattr(kind, "__dataclass_fields__")
        or hasattr(kind, "model_fields")
    )


def _digest(value: Any, *, has_plain_code: bool) -> str | None:
    """A digest of *value*; None if an equal value elsewhere may have a different digest."""
    if value is MISSING:
        return "missing"
    if isinstance(value, ModuleType):
        return f"module {value.__name__}"
    if isinstance(value, type):
        return f"class {_named(value)}"
    functions = [*_functions_in(value)]
    if functions:
        if not has_plain_code:
            return None
        return " ".join(f"{_named(fn)} {raw_digest(fn.__code__)}" for fn in functions)
    if callable(value) or without_content(value):
        return None
    return content_of(value, _named, None, "").digest


def _functions_in(value: Any, depth: int = 0) -> Iterator[FunctionType]:
    """The functions that calling *value* leads to, as far as decorators show them."""
    if depth > _DEPTH:
        return
    if isinstance(value, TaskBase | FlowBase | ResourceBase):
        yield from _functions_in(value.fn, depth + 1)
    elif isinstance(value, FunctionType):
        yield value
        yield from _functions_in(vars(value).get("__wrapped__"), depth + 1)
    else:
        for _, part in accessors_of(value):
            yield from _functions_in(part, depth + 1)


def _named(thing: object) -> str:
    module = str(getattr(thing, "__module__", None))
    main = "__main__" if module == "__mp_main__" else module
    return f"{main}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


_DEPTH = 10
