"""Python values to strict JSON, or an error that names the path inside the value."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, TypeAlias
from uuid import UUID

from mxm.pipeline.errors import ResultError

__all__ = ["JSONValue", "to_json"]

JSONValue: TypeAlias = "dict[str, JSONValue] | list[JSONValue] | str | int | float | bool | None"

_LONGEST_LIST = 1_000
_HEAD = 5
_DEEPEST = 200


def to_json(value: object) -> tuple[JSONValue, int]:
    """*value* as JSON, and how many NaN or infinite numbers in it became ``null``.

    Raises
    ------
    ResultError
        Something in *value* has no JSON form; `path` says where.
    """
    writer = _Writer()
    return writer.write(value, "$", 0), writer.nonfinite


class _Writer:
    """One conversion; counts what could not be kept."""

    def __init__(self) -> None:
        self.nonfinite = 0

    def write(self, value: Any, path: str, depth: int) -> JSONValue:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Enum):
            return self.write(value.value, path, depth + 1)
        if isinstance(value, str):
            return str(value)
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return self._number(float(value))
        if depth > _DEEPEST:
            raise ResultError(
                f"nested deeper than {_DEEPEST} levels at {path}",
                path=path,
                hint="a value that contains itself has no JSON form",
            )
        if isinstance(value, Mapping):
            return self._mapping(value, path, depth)
        if isinstance(value, list | tuple):
            return [self.write(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
        if isinstance(value, set | frozenset):
            return self._set(value, path, depth)
        if isinstance(value, _TEXT_TYPES):
            # pandas.NaT counts as a datetime, and like NaN differs from itself.
            return _scalar_text(value) if value == value else None
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return self._mapping(fields, path, depth)
        return self._foreign(value, path, depth)

    def _number(self, value: float) -> float | None:
        if math.isfinite(value):
            return value
        self.nonfinite += 1
        return None

    def _mapping(self, value: Mapping[Any, Any], path: str, depth: int) -> JSONValue:
        written: dict[str, JSONValue] = {}
        for key, item in value.items():
            name = self._key(key, path, depth)
            if name in written:
                raise ResultError(
                    f"two keys become the same JSON key {name!r} at {path}",
                    path=path,
                    hint="make the keys differ as text",
                )
            written[name] = self.write(item, f"{path}.{name}", depth + 1)
        return written

    def _key(self, key: object, path: str, depth: int) -> str:
        plain = self.write(key, f"{path} key {key!r}", depth + 1)
        if isinstance(plain, bool):
            return "true" if plain else "false"
        if plain is None:
            return "null"
        if isinstance(plain, str | int | float):
            return str(plain)
        raise ResultError(
            f"a key of type {type(key).__name__} has no JSON form at {path}",
            path=path,
            hint="use text or numbers as keys",
        )

    def _set(self, value: set[Any] | frozenset[Any], path: str, depth: int) -> JSONValue:
        written = [self.write(item, f"{path}[]", depth + 1) for item in value]
        return sorted(written, key=lambda item: (type(item).__name__, _sortable(item)))

    def _foreign(self, value: Any, path: str, depth: int) -> JSONValue:
        """Objects of libraries, known by their own methods; none of them is imported for it."""
        kind = type(value)
        fields = getattr(kind, "__attrs_attrs__", None)
        if fields is not None:
            return self._mapping({f.name: getattr(value, f.name) for f in fields}, path, depth)
        if hasattr(kind, "model_dump") and hasattr(kind, "model_fields"):
            fields = {name: getattr(value, name) for name in kind.model_fields}
            return self._mapping(fields, path, depth)
        if hasattr(value, "get_secret_value"):
            return "**********"
        root = kind.__module__.partition(".")[0]
        if root in _TABLES and hasattr(value, "columns") and hasattr(value, "shape"):
            return self._table(value, path, depth)
        if root in _ARRAYS:
            if kind.__name__ == "NAType":
                return None
            items = _array_items(value)
            if items is not _NONE:
                return self.write(items, path, depth + 1)
        raise ResultError(
            f"{_type_name(value)} has no JSON form at {path}",
            path=path,
            hint="return numbers, text, dates, lists, dicts, dataclasses, arrays or tables; "
            "write anything else to a file and return its path",
        )

    def _table(self, value: Any, path: str, depth: int) -> JSONValue:
        rows, width = (int(n) for n in value.shape)
        head, dtypes = _table_head(value)
        return {
            "type": _type_name(value),
            "shape": [rows, width],
            "columns": dtypes,
            "head": [
                self._mapping(row, f"{path}.head[{i}]", depth + 1) for i, row in enumerate(head)
            ],
        }


_TABLES = {"pandas", "polars", "pyarrow"}
_ARRAYS = {"numpy", "pandas", "polars", "pyarrow"}


def _type_name(value: object) -> str:
    kind = type(value)
    root = kind.__module__.partition(".")[0]
    return kind.__qualname__ if root == "builtins" else f"{root}.{kind.__qualname__}"


def _sortable(item: JSONValue) -> Any:
    return item if isinstance(item, str | int | float) else str(item)


_TEXT_TYPES = (datetime, date, time, timedelta, Decimal, UUID, PurePath)


def _scalar_text(value: Any) -> str:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return _duration(value) if isinstance(value, timedelta) else str(value)


def _duration(value: timedelta) -> str:
    """*value* as an ISO 8601 duration, ``P1DT2H0.5S`` for instance."""
    sign = "-" if value < timedelta(0) else ""
    value = abs(value)
    hours, rest = divmod(value.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    fraction = f".{value.microseconds:06d}".rstrip("0") if value.microseconds else ""
    clock = f"{hours}H" * bool(hours) + f"{minutes}M" * bool(minutes)
    clock += f"{seconds}{fraction}S" if seconds or fraction else ""
    days = f"{value.days}D" if value.days else ""
    return f"{sign}P{days}{'T' + clock if clock else ''}" if days or clock else "PT0S"


_NONE: Any = object()


def _array_items(value: Any) -> Any:
    """Items of an array or series, its description where it is long, a scalar's Python value."""
    shape: tuple[int, ...] | None = getattr(value, "shape", None)
    if shape is None:
        shape = (len(value),) if hasattr(value, "__len__") else ()
    dtype = getattr(value, "dtype", getattr(value, "type", ""))
    if math.prod(shape) > _LONGEST_LIST:
        return {"type": _type_name(value), "shape": [int(n) for n in shape], "dtype": str(dtype)}
    if getattr(dtype, "kind", "") in ("m", "M") and type(value).__module__ == "numpy":
        # In nanoseconds, NumPy's default, these would become bare integers.
        value = value.astype(f"{'datetime' if dtype.kind == 'M' else 'timedelta'}64[us]")
    for method in ("tolist", "to_list", "to_pylist", "item", "as_py"):
        convert = getattr(value, method, None)
        if convert is not None:
            plain = convert()
            # A scalar that gives itself back (numpy.longdouble) has no Python form.
            return _NONE if type(plain) is type(value) else plain
    return _NONE


def _table_head(table: Any) -> tuple[list[dict[Any, Any]], dict[str, JSONValue]]:
    root = type(table).__module__.partition(".")[0]
    if root == "pandas":
        columns = [str(c) for c in table.columns]
        dtypes: dict[str, JSONValue] = {
            n: str(t) for n, t in zip(columns, table.dtypes, strict=True)
        }
        pandas = sys.modules["pandas"]
        rows = table.head(_HEAD).itertuples(index=False, name=None)
        head = [
            {
                c: None if pandas.api.types.is_scalar(v) and pandas.isna(v) else v
                for c, v in zip(columns, row, strict=True)
            }
            for row in rows
        ]
        return head, dtypes
    if root == "polars":
        names = {str(n): str(t) for n, t in zip(table.columns, table.dtypes, strict=True)}
        return table.head(_HEAD).to_dicts(), dict(names)
    names = {str(f.name): str(f.type) for f in table.schema}
    return table.slice(0, _HEAD).to_pylist(), dict(names)
