"""Snapshots of values: a copy to compare with later, and to show instead."""

from __future__ import annotations

import atexit
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

from mxm.pipeline.process.interrupts import let_signals_pass

__all__ = ["LARGEST", "Snapshot"]

LARGEST = 65_536
"""Values of up to so many bytes are copied by default."""

# Types that cannot be changed in place, or are not data.
_FIXED = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, Decimal, UUID, range),
        *(date, datetime, time, timedelta, type, FunctionType, ModuleType),
    }
)


class Snapshot:
    """A value as it was when the snapshot was taken.

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
        """A snapshot of *value*; None if it cannot change, cannot be copied, or is too large.

        Parameters
        ----------
        value
            Anything.
        whole
            Whether to copy it whatever its size, and even if its class has its own code for copies.
        """
        if type(value) in _FIXED:
            return None
        data = _packed(value, None if whole else LARGEST)
        return None if data is None else cls(data)

    def changed(self, value: Any) -> bool:
        """Whether *value* has changed; a different storage of the same value is not a change."""
        # A value that became too large, or can no longer be copied, has changed.
        if _packed(value, len(self._data) + LARGEST, trusted=True) == self._data:
            return False
        try:
            return not _same(self.restored(), value)
        except BaseException as error:  # from code of libraries and users, or nested too deeply
            let_signals_pass(error)
            return True

    def restored(self) -> Any:
        """A copy of the original value.

        Raises
        ------
        Exception
            A type can refuse to be unpickled, with any error.
        """
        return pickle.loads(self._data)  # noqa: S301 - made here


def _packed(value: Any, most: int | None, *, trusted: bool = False) -> bytes | None:
    file = _Bounded(most)
    careful = most is not None and not trusted
    pickler = _Careful(file, most or 0) if careful else pickle.Pickler(file, 5)
    try:
        pickler.dump(value)
    except BaseException as error:  # any type may refuse, with any error; or it is too large
        let_signals_pass(error)
        return None
    return file.getvalue()


class _TooLargeError(Exception):
    """A value is too large to copy."""


class _RefusedError(Exception):
    """A class has its own code for copies, which may do anything and take any time."""


class _Bounded(io.BytesIO):
    """Accepts up to a number of bytes."""

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
    """Copies data, but not large arrays or objects whose class has its own code for copies."""

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
    """The size of an array or table in bytes, before it is copied; 0 if unknown."""
    if type(value).__module__.partition(".")[0] == "polars":
        value = getattr(value, "estimated_size", int)()
        return cast("int", value)
    size = getattr(value, "nbytes", 0)
    return size if isinstance(size, int) else 0


_LIBRARIES = sys.stdlib_module_names | {"numpy", "pandas", "polars", "pyarrow", "pydantic"}
_CODE = ("__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs_ex__", "__getnewargs__")


@functools.lru_cache(maxsize=4096)
def _is_data(kind: type) -> bool:
    """Whether the code that copies instances of *kind* is Python's or a data library's."""
    if hasattr(kind, "__dataclass_fields__") or hasattr(kind, "__attrs_attrs__"):
        return True  # generated for those with slots
    return not any(
        name in vars(base)
        for base in kind.__mro__
        if base.__module__.partition(".")[0] not in _LIBRARIES
        for name in _CODE
    )


atexit.register(_is_data.cache_clear)  # so that the user's objects end as if nothing held them


def _same(was: Any, now: Any) -> bool:
    """Whether two values with different pickles are still equal.

    Tables may be stored differently, dicts and sets in another order, and objects may have filled
    a cache: a `functools.cached_property`, or a private attribute that is named as one, as pandas
    has them in what ``groupby``, ``rolling`` and ``resample`` return.
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
    try:
        if was == now:
            return True
    except BaseException as error:  # of members that are arrays, say
        let_signals_pass(error)
    state = _state(was)
    return bool(state) and _same(state, _state(now))


def _same_members(was: Mapping[Any, Any], now: Mapping[Any, Any]) -> bool:
    return was.keys() == now.keys() and all(_same(was[key], now[key]) for key in was)


def _state(value: Any) -> dict[str, Any]:
    """The attributes of *value*, except caches."""
    kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]
    slots = [name for base in kind.__mro__ for name in base.__dict__.get("__slots__", ())]
    state = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    state |= getattr(value, "__dict__", {})
    members = {name: getattr(kind, name, None) for name in state}
    made = functools.cached_property
    return {
        name: part
        for name, part in state.items()
        if not isinstance(members[name], made) and not _is_cache(name)
    }


def _is_cache(name: str) -> bool:
    return name.startswith("_") and ("cache" in name.lower() or "memo" in name.lower())
