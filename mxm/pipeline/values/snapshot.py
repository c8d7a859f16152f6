"""A value as it was: a copy to compare it with later, and to show in its place."""

from __future__ import annotations

import contextlib
import functools
import io
import pickle
import sys
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import FunctionType, ModuleType
from typing import Any, cast
from uuid import UUID

from mxm.pipeline.interrupts import let_signals_pass

__all__ = ["LARGEST", "Snapshot"]

LARGEST = 65_536
"""Bytes up to which a value is copied without being asked for."""

# What cannot be changed in place, or is no data.
_FIXED = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, Decimal, UUID, range),
        *(date, datetime, time, timedelta, type, FunctionType, ModuleType),
    }
)


class Snapshot:
    """A value as it was when this was made.

    Parameters
    ----------
    data
        The value's pickle.
    """

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    @classmethod
    def of(cls, value: Any, *, whole: bool = False) -> Snapshot | None:
        """A snapshot of *value*; None where it cannot change, cannot be copied, or is too large.

        Parameters
        ----------
        value
            Anything.
        whole
            Whether it is copied whatever its size, and whatever its class does to be copied.
        """
        if type(value) in _FIXED:
            return None
        data = _packed(value, None if whole else LARGEST)
        return None if data is None else cls(data)

    def changed(self, value: Any) -> bool:
        """Whether *value* is no longer what it was; stored otherwise, it is the same."""
        # What became too large, or can no longer be copied, has changed.
        if _packed(value, len(self._data) + LARGEST, trusted=True) == self._data:
            return False
        try:
            return not _same(self.restored(), value)
        except BaseException as error:  # in code of libraries and users, or too deep
            let_signals_pass(error)
            return True

    def restored(self) -> Any:
        """A copy of the value as it was.

        Raises
        ------
        Exception
            A type can refuse to be read again, in its own way.
        """
        return pickle.loads(self._data)  # noqa: S301 - made here


def _packed(value: Any, most: int | None, *, trusted: bool = False) -> bytes | None:
    file = _Bounded(most)
    careful = most is not None and not trusted
    pickler = _Careful(file, most or 0) if careful else pickle.Pickler(file, 5)
    try:
        pickler.dump(value)
    except BaseException as error:  # any type may refuse, in its own way; or it is too large
        let_signals_pass(error)
        return None
    return file.getvalue()


class _TooLargeError(Exception):
    """A value is not copied to its end."""


class _RefusedError(Exception):
    """A class has code of its own for being copied, which may do and take anything."""


class _Bounded(io.BytesIO):
    """Takes so many bytes, and no more."""

    def __init__(self, most: int | None) -> None:
        super().__init__()
        self._left = most

    def write(self, data: Any, /) -> int:
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise _TooLargeError
        return super().write(data)


class _Careful(pickle.Pickler):
    """Copies data, no large arrays, and nothing whose class has code of its own for that."""

    def __init__(self, file: _Bounded, most: int) -> None:
        super().__init__(file, 5)
        self._most = most

    def reducer_override(self, obj: Any) -> Any:
        if not hasattr(obj, "__qualname__"):  # classes and functions are copied by name
            if _size(obj) > self._most:
                raise _TooLargeError
            kind: Any = type(obj)  # pyright: ignore[reportUnknownVariableType]
            if not _is_data(kind):
                raise _RefusedError
        return NotImplemented


def _size(value: Any) -> int:
    """The bytes of an array or table, before anything is copied; 0 for what does not say."""
    if type(value).__module__.partition(".")[0] == "polars":
        value = getattr(value, "estimated_size", int)()
        return cast("int", value)
    size = getattr(value, "nbytes", 0)
    return size if isinstance(size, int) else 0


_LIBRARIES = sys.stdlib_module_names | {"numpy", "pandas", "polars", "pyarrow", "pydantic"}
_CODE = ("__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs_ex__", "__getnewargs__")


@functools.lru_cache(maxsize=4096)
def _is_data(kind: type) -> bool:
    """Whether instances of *kind* are copied by code of Python's or of a library of data."""
    if hasattr(kind, "__dataclass_fields__") or hasattr(kind, "__attrs_attrs__"):
        return True  # those with slots have such methods, made for them
    return not any(
        name in vars(base)
        for base in kind.__mro__
        if base.__module__.partition(".")[0] not in _LIBRARIES
        for name in _CODE
    )


def _same(was: Any, now: Any) -> bool:
    """Whether two values of different pickles are the same all the same.

    Tables may be stored in another way, dicts and sets in another order, and objects may have
    worked out a `functools.cached_property`.
    """
    if was is now:
        return True
    if type(was) is not type(now):
        return False
    if issubclass(type(now), Mapping):
        return _same_members(was, now)
    if isinstance(was, list | tuple):
        members = zip(cast("list[Any]", was), cast("list[Any]", now), strict=False)
        return len(cast("list[Any]", was)) == len(now) and all(_same(*pair) for pair in members)
    equals = getattr(was, "equals", None)  # of tables
    if callable(equals):
        return equals(now) is True
    if hasattr(was, "dtype") and hasattr(was, "tolist"):  # an array
        alike = (was.dtype, getattr(was, "shape", ())) == (now.dtype, getattr(now, "shape", ()))
        if alike and was.dtype.hasobject:
            return _same(was.tolist(), now.tolist())
        return alike and was.tobytes() == now.tobytes()
    if was != was:  # NaN
        return bool(now != now)
    with contextlib.suppress(Exception):  # of members that are arrays, say
        if was == now:
            return True
    state = _state(was)
    return bool(state) and _same(state, _state(now))


def _same_members(was: Mapping[Any, Any], now: Mapping[Any, Any]) -> bool:
    return was.keys() == now.keys() and all(_same(was[key], now[key]) for key in was)


def _state(value: Any) -> dict[str, Any]:
    """The attributes of *value*, but for those that were worked out from others."""
    kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]
    slots = [name for base in kind.__mro__ for name in base.__dict__.get("__slots__", ())]
    state = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    state |= getattr(value, "__dict__", {})
    members = {name: getattr(kind, name, None) for name in state}
    made = functools.cached_property
    return {name: part for name, part in state.items() if not isinstance(members[name], made)}
