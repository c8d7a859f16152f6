"""Pickles what passes between processes: functions by name, exceptions of any class."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pickle
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from types import FunctionType
from typing import Any

from mxm.pipeline.errors import SpecError, repr_of
from mxm.pipeline.introspection.entrypoints import entrypoint, module_from_file, resolve_entrypoint
from mxm.pipeline.introspection.signatures import source_of
from mxm.pipeline.introspection.uses import ResourceBase
from mxm.pipeline.process.interrupts import let_signals_pass

__all__ = ["files_are_at", "pack", "pack_apart", "pack_error", "pack_function", "unpack"]


def pack(value: object) -> bytes:
    """*value* as bytes, for `unpack` in another process.

    Raises
    ------
    Exception
        Any type may refuse to be pickled, with any error.
    """
    return _packed(value, None)


def pack_apart(value: object) -> tuple[bytes, list[memoryview]]:
    """Like `pack`, with the large buffers of *value* apart: they are its own, and not copied.

    Raises
    ------
    Exception
        As for `pack`.
    """
    apart: list[memoryview] = []
    return _packed(value, None, apart), apart


_LARGE = 64_000  # bytes: a smaller buffer is copied as fast as it is sent apart


def pack_function(fn: Callable[..., Any]) -> bytes:
    """*fn* as bytes: by name, else by its parts, like a `functools.partial`.

    Raises
    ------
    SpecError
        No other process can import it.
    Exception
        One of its parts cannot be pickled.
    """
    return _packed(fn, fn if entrypoint(fn) else None)


def unpack(data: bytes, apart: Iterable[Any] = ()) -> Any:
    """The packed value, in the other process; it has the buffers *apart* for its own."""
    return pickle.loads(data, buffers=apart)  # noqa: S301 - from our own parent or worker


_LONGEST_CHAIN = 10


def pack_error(error: BaseException, _depth: int = _LONGEST_CHAIN) -> bytes:
    """*error* as bytes: its class, arguments, attributes and notes, as far as they can be pickled.

    If its class cannot be pickled, because it is local to a function for example, its nearest base
    class that can is used. Its causes and contexts are included.
    """
    own = _pack_alone(error)
    before = [error.__cause__, error.__context__]
    if not _depth or not any(before):
        return own
    chain = [None if one is None else pack_error(one, _depth - 1) for one in before]
    return pack(_Chained(own, chain[0], chain[1], error.__suppress_context__))


class _Chained:
    """An exception with its causes and contexts, for the transfer."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return _joined, self._parts


def _joined(own: bytes, cause: bytes | None, context: bytes | None, suppress: bool) -> Any:
    error = unpack(own)
    for name, packed in (("__context__", context), ("__cause__", cause)):
        if packed is not None:
            BaseException.__setattr__(error, name, unpack(packed))
    BaseException.__setattr__(error, "__suppress_context__", suppress)
    return error


def _pack_alone(error: BaseException) -> bytes:
    try:
        packed = pack(error)
        unpack(packed)  # some can be pickled, but not unpickled
        return packed
    except BaseException as refusal:  # any type may refuse to be pickled, in its own way
        let_signals_pass(refusal)
    kind = next(kind for kind in type(error).__mro__ if _crosses(kind))
    args = tuple(arg if _crosses(arg) else repr_of(arg) for arg in error.args)
    plain = _rebuilt(kind, args)
    vars(plain).update({k: v for k, v in vars(error).items() if _crosses(v)})
    return pack(plain)


def _packed(
    value: object, by_name: Callable[..., Any] | None, apart: list[memoryview] | None = None
) -> bytes:
    try:
        return _dumped(_Pickler, value, by_name, apart)
    except RecursionError:
        with _deeper():
            return _dumped(_DeepPickler, value, by_name, apart)


def _dumped(
    kind: type[_Pickler | _DeepPickler],
    value: object,
    by_name: Callable[..., Any] | None,
    apart: list[memoryview] | None,
) -> bytes:
    buffer = io.BytesIO()
    if apart is None:
        pickler = kind(buffer, pickle.HIGHEST_PROTOCOL)
    else:
        apart.clear()

        def is_small(part: pickle.PickleBuffer) -> bool:
            raw = part.raw()
            if raw.nbytes < _LARGE:
                return True
            apart.append(raw)
            return False

        pickler = kind(buffer, pickle.HIGHEST_PROTOCOL, buffer_callback=is_small)
    pickler.by_name = by_name
    pickler.dump(value)
    return buffer.getvalue()


_limit_changes = threading.RLock()  # the limit is process-wide, and two runs may pack at once


@contextlib.contextmanager
def _deeper() -> Generator[None, None, None]:
    """Let values nest as deeply here as they can within one process."""
    with _limit_changes:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(20 * limit)
        try:
            yield
        finally:
            sys.setrecursionlimit(limit)


def _crosses(value: object) -> bool:
    try:
        unpack(pack(value))
    except BaseException as error:  # in its own way
        let_signals_pass(error)
        return False
    return True


class _Reducing:
    """Pickles functions whose name refers to a task, and exceptions that pickle cannot rebuild."""

    by_name: Callable[..., Any] | None = None

    def reducer_override(self, obj: Any) -> Any:
        if self.by_name is not None and obj is self.by_name:
            return _find_function, _reference(self.by_name)
        if isinstance(obj, ResourceBase):
            return _find_resource, _reference(obj.fn)
        if isinstance(obj, FunctionType) and obj.__module__ != __name__:
            return _find_function, _reference(obj)
        if isinstance(obj, BaseException) and not _reduces_itself(type(obj)):
            # Do not call its class, as pickle does by default: its __init__ may take other
            # arguments.
            reduced: tuple[Any, ...] = (*obj.__reduce__(), None)
            return _rebuilt, (type(obj), reduced[1]), reduced[2], None, None, _restore
        return NotImplemented


class _Pickler(_Reducing, pickle.Pickler):
    """The fast pickler, in C; since 3.12 its depth is fixed, whatever the recursion limit."""


class _DeepPickler(_Reducing, pickle._Pickler):  # pyright: ignore[reportPrivateUsage]
    """The same in Python: slow, and as deep as the recursion limit allows."""


def _native(kind: type[BaseException]) -> type[BaseException]:
    """The builtin base class of *kind*."""
    return next(base for base in kind.__mro__ if base.__module__ == "builtins")


def _reduces_itself(kind: type[BaseException]) -> bool:
    own = kind.__mro__[: kind.__mro__.index(_native(kind))]
    return any(name in vars(base) for base in own for name in _REDUCTION)


_REDUCTION = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")


def _rebuilt(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    native = _native(kind)
    error: BaseException = native.__new__(kind, *args)
    native.__init__(error, *args)
    return error


def _restore(error: BaseException, state: Mapping[str, Any]) -> None:
    for name, value in state.items():
        object.__setattr__(error, name, value)  # the class's own may refuse, as in a frozen one


def _reference(fn: Callable[..., Any]) -> tuple[str, str]:
    """The name by which another process finds *fn*, and the file of its module."""
    name = entrypoint(fn)
    source = source_of(fn)
    if name is None:
        raise SpecError(
            f"{fn.__qualname__!r} cannot be sent to a worker process",
            hint="define it with def at the top level of a module, or use runner 'threads'",
        )
    if fn.__module__ == "__main__" and source is not None and not os.path.exists(source.file):
        raise SpecError(
            f"{fn.__qualname__!r} was defined at {source}, where worker processes cannot import it",
            hint="put it into a module and import it here, or use runner 'threads'",
        )
    if _leads_elsewhere(name, fn):
        raise SpecError(
            f"{name!r} is not the function that was sent to a worker process",
            hint="define it with def and its decorators, or use runner 'threads'",
        )
    module = sys.modules.get(fn.__module__)
    return name, getattr(module, "__file__", None) or (source.file if source else "")


def _leads_elsewhere(name: str, fn: Callable[..., Any]) -> bool:
    """Whether this name refers to a function with other code, such as one that wraps it."""
    if fn.__module__ not in sys.modules:
        return False
    try:
        target = resolve_entrypoint(name)
    except SpecError:  # the module no longer has it; a worker will report that
        return False
    ours, theirs = (getattr(f, "__code__", None) for f in (fn, target))
    if ours is None or theirs is None:
        return type(fn) is not type(target)
    # A reloaded module has created it again.
    return (ours.co_filename, ours.co_qualname) != (theirs.co_filename, theirs.co_qualname)


def _find_function(name: str, file: str) -> Callable[..., Any]:
    """The function *name*, in a worker."""
    return resolve_entrypoint(f"{_imported(name, file)}:{name.partition(':')[2]}")


def _find_resource(name: str, file: str) -> Any:
    """The resource whose function is *name*, in a worker: the one that its tasks ask for."""
    target: Any = sys.modules[_imported(name, file)]
    for part in name.partition(":")[2].split("."):
        target = getattr(target, part)
    return target


def _imported(name: str, file: str) -> str:
    """The name under which the module of *name* is imported now."""
    module = name.partition(":")[0]
    if module == "__main__" and "__mp_main__" in sys.modules:
        module = "__mp_main__"  # multiprocessing's name for the parent's main module in a child
    try:
        importlib.import_module(module)
    except ImportError:
        if not file:
            raise
        module_from_file(module, _where(file))  # like discovery, under a generated name
    return module


_where: Callable[[str], str] = str


def files_are_at(where: Callable[[str], str]) -> None:
    """Let *where* say where this process has the file of another one's module."""
    global _where
    _where = where
