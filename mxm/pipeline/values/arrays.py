"""Converts arrays, series and tables to plain Python values, without importing their libraries."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

__all__ = [
    "NO_FORM",
    "array_items",
    "duration_text",
    "index_labels",
    "is_array",
    "is_table",
    "is_table_type",
    "table_parts",
    "type_name",
]

_TABLES = {"pandas", "polars", "pyarrow"}
_ARRAYS = {"numpy", *_TABLES}
_LONGEST_LIST = 1_000
_HEAD = 5

NO_FORM: Any = object()
"""What `array_items` returns if a value has none."""


def _library(value: object) -> str:
    """The library that defines the type of *value*."""
    return _root(type(value))


def _root(kind: type) -> str:
    return str(kind.__module__).partition(".")[0]


def type_name(value: object) -> str:
    """The type of *value* with its library, such as ``pandas.Series``."""
    kind, root = type(value), _library(value)
    return kind.__qualname__ if root == "builtins" else f"{root}.{kind.__qualname__}"


def is_table(value: object) -> bool:
    """Whether *value* is a table of pandas, polars or pyarrow, or of a derived class."""
    return bool(_table_library(value)) and hasattr(value, "shape") and hasattr(value, "columns")


def is_table_type(kind: type) -> bool:
    """Whether values of *kind* are tables."""
    return bool(_library_of(kind)) and hasattr(kind, "shape") and hasattr(kind, "columns")


def _table_library(value: object) -> str:
    return _library_of(type(value))


def _library_of(table: type) -> str:
    return next((root for kind in table.__mro__ if (root := _root(kind)) in _TABLES), "")


def is_array(value: object) -> bool:
    """Whether *value* is an array, a series or a scalar of NumPy, pandas, polars or pyarrow.

    Derived classes from other libraries do not count: they may mean more than their numbers, such
    as a unit.
    """
    return _library(value) in _ARRAYS


def array_items(value: Any) -> Any:
    """The items of an array or series, or its description if long; a scalar's Python value."""
    if type(value).__name__ == "NAType":
        return None
    shape: tuple[int, ...] | None = getattr(value, "shape", None)
    if shape is None:
        shape = (len(value),) if hasattr(value, "__len__") else ()
    dtype: Any = getattr(value, "dtype", getattr(value, "type", ""))
    kind = getattr(dtype, "kind", "")
    if math.prod(shape) > _LONGEST_LIST:
        return {"type": type_name(value), "shape": [int(n) for n in shape], "dtype": str(dtype)}
    library = _library(value)
    if kind in ("m", "M") and library == "numpy":
        return _numpy_times(value)
    if library == "pandas" and hasattr(value, "tolist"):
        return _pandas_cells(value)
    if library == "polars" and hasattr(value, "to_list"):
        return _polars_cells(value)
    for method in ("tolist", "to_list", "to_pylist", "item", "as_py"):
        convert = getattr(value, method, None)
        if convert is not None:
            plain = convert()
            if type(plain) is not type(value):
                return plain
            # A scalar that returns itself: numpy.longdouble is close to a float, others have no
            # equivalent.
            return float(plain) if kind == "f" else NO_FORM
    return NO_FORM


def duration_text(value: timedelta) -> str:
    """*value* as an ISO 8601 duration, such as ``P1DT2H0.5S``."""
    size = abs(value)
    nanoseconds: int = getattr(size, "nanoseconds", 0)  # pandas.Timedelta has them
    whole = size.days * 86_400 + size.seconds
    fraction = f"{size.microseconds:06d}{nanoseconds:03d}"
    return _duration(whole, fraction, negative=value < timedelta(0))


def _duration(whole: int, fraction: str, *, negative: bool) -> str:
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    digits = f".{fraction}".rstrip("0").rstrip(".")
    clock = f"{hours}H" * bool(hours) + f"{minutes}M" * bool(minutes)
    clock += f"{seconds}{digits}S" if seconds or digits else ""
    text = f"{days}D" * bool(days) + (f"T{clock}" if clock else "")
    return f"{'-' if negative else ''}P{text}" if text else "PT0S"


_DIGITS = {"ns": 9, "ps": 12, "fs": 15, "as": 18}


def _numpy_times(value: Any) -> Any:
    """NumPy times as Python times, or as text if they are more precise than Python's.

    Months and distant years have no form in Python.
    """
    numpy = sys.modules["numpy"]
    digits = _DIGITS.get(numpy.datetime_data(value.dtype)[0])
    if digits is not None:
        rough = value.astype(f"{value.dtype.kind}8[us]")
        missing = numpy.isnat(value)
        if not ((rough.astype(value.dtype) == value) | missing).all():
            return _fine_times(value, missing, digits)
        value = rough
    untold = any(isinstance(item, int) for item in numpy.ravel(value).tolist())
    return NO_FORM if untold else value.tolist()


def _fine_times(value: Any, missing: Any, digits: int) -> Any:
    numpy = sys.modules["numpy"]
    if value.dtype.kind == "M":
        texts = numpy.datetime_as_string(value).astype(object)
    else:
        scale = numpy.datetime_data(value.dtype)[1]
        counts = numpy.asarray(value.astype("int64"), dtype=object)
        written = numpy.vectorize(_fine_duration, otypes=[object])
        texts = written(counts * scale, digits)
    return numpy.where(missing, None, texts).tolist()


def _fine_duration(count: int, digits: int) -> str:
    whole, fraction = divmod(abs(count), 10**digits)
    return _duration(whole, f"{fraction:0{digits}d}", negative=count < 0)


def table_parts(table: Any) -> tuple[list[Any], list[str], list[Sequence[Any]]]:
    """The names and types of the columns, and the first rows."""
    library = _table_library(table)
    if library == "pandas":
        columns = [_pandas_cells(table.iloc[:_HEAD, i]) for i in range(table.shape[1])]
        names, types = list(table.columns), [str(t) for t in table.dtypes]
    elif library == "polars":
        columns = [_polars_cells(column) for column in table.head(_HEAD).get_columns()]
        names, types = list(table.columns), [str(t) for t in table.dtypes]
    else:
        columns = [column.to_pylist() for column in table.slice(0, _HEAD).columns]
        names, types = list(table.schema.names), [str(field.type) for field in table.schema]
    return names, types, list(zip(*columns, strict=True))


def _pandas_cells(series: Any) -> list[Any]:
    """The values of a series or an index; a NaN is a missing value unless they are floats."""
    cells: list[Any] = series.tolist()
    if getattr(series.dtype, "kind", "O") == "f":
        return cells
    # A value that differs from itself is a NaN; a NaT is written by its type.
    return [None if isinstance(cell, float) and cell != cell else cell for cell in cells]


def _polars_cells(series: Any) -> list[Any]:
    """The values of a series, as text if they are more precise than Python's."""
    cells: list[Any] = series.to_list()
    if getattr(series.dtype, "time_unit", "") != "ns":
        return cells
    fine = (series.to_physical() % 1_000 != 0).fill_null(value=False)
    if not fine.any():
        return cells
    zone = "%:z" if getattr(series.dtype, "time_zone", None) else ""
    shape = f"%Y-%m-%dT%H:%M:%S%.9f{zone}" if hasattr(series.dtype, "time_zone") else "iso"
    texts: list[Any] = series.dt.to_string(shape).to_list()
    return texts


def index_labels(table: Any) -> list[Any]:
    """The labels of a pandas table's first rows, if they are more than row numbers."""
    index = getattr(table, "index", None)
    if index is None or type(index).__name__ == "RangeIndex":
        return []
    return _pandas_cells(index[:_HEAD])
