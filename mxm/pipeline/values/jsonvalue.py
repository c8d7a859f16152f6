"""Python values to strict JSON, or an error that names the path inside the value."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, TypeAlias, cast
from uuid import UUID

from mxm.pipeline.errors import ResultError

__all__ = ["JSONValue", "to_json"]

JSONValue: TypeAlias = "dict[str, JSONValue] | list[JSONValue] | str | int | float | bool | None"

_LONGEST_LIST = 1_000
_HEAD = 5
_DEEPEST = 200
_LONGEST_INT = 14_000  # bits; Python refuses to write more than 4,300 digits


def to_json(value: object) -> tuple[JSONValue, int]:
    """*value* as JSON, and how many NaN or infinite numbers in it became ``null``.

    Missing values are ``null`` and not counted: None, NA, NaT, and NaN where pandas keeps anything
    but floats. A NaN in a column of floats is a number, in polars as in pandas.

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
            return self._integer(int(value), path)
        if isinstance(value, float):
            return self._number(float(value))
        if depth > _DEEPEST:
            raise ResultError(
                f"nested deeper than {_DEEPEST} levels at {path:.60}...",
                path=path,
                hint="a value that contains itself has no JSON form",
            )
        if isinstance(value, Mapping):
            return self._mapping(cast("Any", value), path, depth)
        if isinstance(value, list | tuple):
            items = enumerate(cast("Sequence[Any]", value))
            return [self.write(item, f"{path}[{i}]", depth + 1) for i, item in items]
        if isinstance(value, set | frozenset):
            return self._set(cast("Set[Any]", value), path, depth)
        if isinstance(value, Decimal):
            return str(value) if value.is_finite() else self._number(math.nan)
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

    def _integer(self, value: int, path: str) -> int:
        if value.bit_length() > _LONGEST_INT:
            raise ResultError(
                f"a whole number of {value.bit_length()} bits has no JSON form at {path}",
                path=path,
                hint="return it as text, hex(...) for instance",
            )
        return value

    def _mapping(self, value: Mapping[Any, Any], path: str, depth: int) -> JSONValue:
        return self._object(value.items(), path, depth)

    def _object(self, pairs: Iterable[tuple[Any, Any]], path: str, depth: int) -> JSONValue:
        written: dict[str, JSONValue] = {}
        for key, item in pairs:
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

    def _set(self, value: Set[Any], path: str, depth: int) -> JSONValue:
        return sorted((self.write(item, f"{path}[]", depth + 1) for item in value), key=_rank)

    def _foreign(self, value: Any, path: str, depth: int) -> JSONValue:
        """Objects of libraries, known by their own methods; none of them is imported for it."""
        kind = cast("Any", type(value))
        fields = getattr(kind, "__attrs_attrs__", None)
        if fields is not None:
            return self._mapping({f.name: getattr(value, f.name) for f in fields}, path, depth)
        if hasattr(kind, "model_dump") and hasattr(kind, "model_fields"):
            if getattr(kind, "__pydantic_root_model__", False):
                return self.write(value.root, path, depth + 1)
            known = {name: getattr(value, name) for name in kind.model_fields}
            return self._mapping({**known, **(value.model_extra or {})}, path, depth)
        if hasattr(value, "get_secret_value"):
            return "**********"
        root = _root(value)
        if root in _TABLES and hasattr(value, "shape") and hasattr(value, "columns"):
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
        names, dtypes, head = _table_parts(value)
        labels = _labels(value)
        return {
            "type": _type_name(value),
            "shape": [rows, width],
            "columns": self._object(zip(names, dtypes, strict=True), f"{path}.columns", depth + 1),
            **({"index": self.write(labels, f"{path}.index", depth + 1)} if labels else {}),
            "head": [
                self._object(zip(names, row, strict=True), f"{path}.head[{i}]", depth + 1)
                for i, row in enumerate(head)
            ],
        }


_TABLES = {"pandas", "polars", "pyarrow"}
_ARRAYS = {"numpy", "pandas", "polars", "pyarrow"}


def _root(value: object) -> str:
    """The library that the type of *value* comes from."""
    return type(value).__module__.partition(".")[0]


def _type_name(value: object) -> str:
    kind, root = type(value), _root(value)
    return kind.__qualname__ if root == "builtins" else f"{root}.{kind.__qualname__}"


def _rank(item: JSONValue) -> tuple[str, Any]:
    """Where *item* stands in a sorted list: numbers by size, text by letter, the rest as text."""
    if isinstance(item, int | float):
        return "number", item
    return type(item).__name__, item if isinstance(item, str) else str(item)


_TEXT_TYPES = datetime | date | time | timedelta | UUID | PurePath


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
    nanoseconds: int = getattr(value, "nanoseconds", 0)  # pandas.Timedelta has them
    fraction = f".{value.microseconds:06d}{nanoseconds:03d}".rstrip("0.")
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
    dtype: Any = getattr(value, "dtype", getattr(value, "type", ""))
    kind = getattr(dtype, "kind", "")
    if math.prod(shape) > _LONGEST_LIST:
        return {"type": _type_name(value), "shape": [int(n) for n in shape], "dtype": str(dtype)}
    if kind in ("m", "M") and _root(value) == "numpy":
        return _numpy_times(value)
    if _root(value) == "pandas" and hasattr(value, "tolist"):
        return _pandas_cells(value)
    for method in ("tolist", "to_list", "to_pylist", "item", "as_py"):
        convert = getattr(value, method, None)
        if convert is not None:
            plain = convert()
            if type(plain) is not type(value):
                return plain
            # A scalar that gives itself back: numpy.longdouble is near a float, others have none.
            return float(plain) if kind == "f" else _NONE
    return _NONE


def _numpy_times(value: Any) -> Any:
    """NumPy's times as Python's; months and far years, which Python cannot tell, have none."""
    numpy = sys.modules["numpy"]
    if numpy.datetime_data(value.dtype)[0] in ("ns", "ps", "fs", "as"):
        value = value.astype(f"{value.dtype.kind}8[us]")
    untold = any(isinstance(item, int) for item in numpy.ravel(value).tolist())
    return _NONE if untold else value.tolist()


def _table_parts(table: Any) -> tuple[list[str], list[str], list[Sequence[Any]]]:
    """Names and types of the columns, and the first rows."""
    root = _root(table)
    if root == "pandas":
        columns = [_pandas_cells(table.iloc[:_HEAD, i]) for i in range(table.shape[1])]
        names, types = [_column(c) for c in table.columns], [str(t) for t in table.dtypes]
        return names, types, list(zip(*columns, strict=True))
    if root == "polars":
        return list(table.columns), [str(t) for t in table.dtypes], table.head(_HEAD).rows()
    columns = [column.to_pylist() for column in table.slice(0, _HEAD).columns]
    types = [str(field.type) for field in table.schema]
    return list(table.schema.names), types, list(zip(*columns, strict=True))


def _pandas_cells(series: Any) -> list[Any]:
    """The values of a series or an index; where they are no floats, a NaN is a missing one."""
    cells: list[Any] = series.tolist()
    if getattr(series.dtype, "kind", "O") == "f":
        return cells
    # What differs from itself is a NaN; a NaT is written as what it is.
    return [None if isinstance(cell, float) and cell != cell else cell for cell in cells]


def _labels(table: Any) -> list[Any]:
    """The labels of a pandas table's first rows, where they say more than the rows' numbers."""
    index = getattr(table, "index", None)
    if index is None or type(index).__name__ == "RangeIndex":
        return []
    return [_label(label) for label in _pandas_cells(index[:_HEAD])]


def _label(label: Any) -> Any:
    """*label* where JSON has it, else its text: a period, an interval."""
    if isinstance(label, tuple):
        parts = cast("Any", label)
        return [_label(part) for part in parts]
    return label if isinstance(label, int | float | str | _TEXT_TYPES) else str(label)


def _column(name: object) -> str:
    return _scalar_text(name) if isinstance(name, _TEXT_TYPES) else str(name)
