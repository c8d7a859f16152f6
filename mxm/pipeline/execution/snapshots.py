"""Values as they were when their task ended: finds tasks that change an input in place."""

from __future__ import annotations

import io
import pickle
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import FunctionType, ModuleType
from typing import Any
from uuid import UUID

from mxm.pipeline.values.equality import alike

__all__ = ["Snapshots"]

_LARGEST = 65_536  # bytes
# What cannot be changed in place, or is no data.
_FIXED = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, Decimal, UUID, range),
        *(date, datetime, time, timedelta, type, FunctionType, ModuleType),
    }
)


class Snapshots:
    """Copies of small values, to see whether the values change.

    Parameters
    ----------
    whole
        Whether large values are copied, too; else those of up to 64 KB are.
    """

    def __init__(self, *, whole: bool) -> None:
        self._most = None if whole else _LARGEST
        self._taken: dict[object, bytes] = {}

    def __bool__(self) -> bool:
        return bool(self._taken)

    def take(self, key: object, value: Any) -> None:
        """Copy *value*, unless it is copied already under *key*, is too large, or refuses."""
        if type(value) not in _FIXED and key not in self._taken:
            packed = self._packed(value)
            if packed is not None:
                self._taken[key] = packed

    def changed(self, key: object, value: Any) -> bool:
        """Whether *value* is no longer what was copied under *key*."""
        before = self._taken.get(key)
        if before is None or self._packed(value) == before:
            return False
        was = pickle.loads(before)  # noqa: S301 - made here
        equals: Any = getattr(was, "equals", None)  # of tables: they may only be stored otherwise
        try:
            return not (alike(was, value) or (callable(equals) and equals(value) is True))
        except Exception:  # in its own code
            return True

    def restored(self, key: object) -> Any:
        """A copy of the value as it was under *key*."""
        return pickle.loads(self._taken[key])  # noqa: S301 - made here

    def renew(self, key: object, value: Any) -> None:
        """Compare with *value* from now on: a change is reported once."""
        self._taken.pop(key, None)
        self.take(key, value)

    def _packed(self, value: Any) -> bytes | None:
        file = _Bounded(self._most)
        try:
            pickle.Pickler(file, pickle.HIGHEST_PROTOCOL).dump(value)
        except (Exception, SystemExit):  # any type may refuse, in its own way; or it is too large
            return None
        return file.getvalue()


class _Bounded(io.BytesIO):
    """Takes so many bytes, and no more: a large value is not pickled to its end."""

    def __init__(self, most: int | None) -> None:
        super().__init__()
        self._left = most

    def write(self, data: Any, /) -> int:
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise OverflowError
        return super().write(data)
