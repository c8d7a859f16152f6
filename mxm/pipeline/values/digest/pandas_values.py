"""Digests of pandas' tables, series, indices, arrays and times."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from mxm.pipeline.values.digest.arrow_values import chunked_part
from mxm.pipeline.values.digest.numpy_values import array_part
from mxm.pipeline.values.digest.stream import Walk, part

__all__ = ["way_of"]


def way_of(kind: type) -> Callable[[Walk, Any], bytes] | None:
    """How values of *kind* are read; None if they are not pandas'."""
    pd: Any = sys.modules.get("pandas")
    if not hasattr(pd, "NA"):  # not loaded, or not yet
        return None
    for base, way in (
        (pd.DataFrame, _frame),
        (pd.Series, _series),
        (pd.MultiIndex, _levels),
        (pd.RangeIndex, _range),
        (pd.Index, _index),
        (pd.api.extensions.ExtensionDtype, _dtype),
        (pd.api.extensions.ExtensionArray, _array_way(pd, kind)),
        (pd.tseries.offsets.BaseOffset, _offset),
        ((pd.Timestamp, pd.Timedelta), _moment),
    ):
        if way is not None and issubclass(kind, base):
            return way
    return None


def _about(walk: Walk, value: Any) -> bytes:
    """The metadata of tables and series."""
    own = {name: getattr(value, name, None) for name in value._metadata if name != "_name"}
    flags = b"unique" if not value.flags.allows_duplicate_labels else b""
    attrs = walk.value(value.attrs, ".attrs")
    return walk.named(type(value)) + part("about", attrs, walk.state(value, own), flags)


def _frame(walk: Walk, frame: Any) -> bytes:
    parts = [_about(walk, frame)]
    parts += [walk.value(frame.columns, ".columns"), walk.value(frame.index, ".index")]
    columns = sys.modules["pandas"].DataFrame.items(frame)
    parts += [_column(walk, column.array, f"[{name!r}]") for name, column in columns]
    return part("frame", *parts)


def _series(walk: Walk, series: Any) -> bytes:
    name, index = walk.value(series.name, ".name"), walk.value(series.index, ".index")
    return part("series", _about(walk, series), name, index, _column(walk, series.array, ""))


def _column(walk: Walk, array: Any, step: str) -> bytes:
    """The part for the array of a series or an index."""
    if hasattr(array.dtype, "newbyteorder"):  # NumPy's own
        if array.dtype.hasobject:
            # As a value, so that errors name it, and because it may contain itself.
            return walk.value(array.to_numpy(), step)
        return array_part(walk, array.to_numpy())
    return walk.value(array, step)


def _range(walk: Walk, index: Any) -> bytes:
    span = f"{index.start}:{index.stop}:{index.step}".encode()
    return part("index", walk.named(type(index)), walk.value(index.name, ".name"), span)


def _levels(walk: Walk, index: Any) -> bytes:
    parts = [walk.named(type(index)), walk.value(list(index.names), ".names")]
    for number, (level, codes) in enumerate(zip(index.levels, index.codes, strict=True)):
        parts += [walk.value(level, f".levels[{number}]"), array_part(walk, codes)]
    return part("levels", *parts)


def _index(walk: Walk, index: Any) -> bytes:
    parts = [walk.named(type(index)), walk.value(index.name, ".name")]
    parts += [walk.value(getattr(index, "freq", None), ".freq"), _column(walk, index.array, "")]
    return part("index", *parts)


def _array_way(pd: Any, kind: type) -> Callable[[Walk, Any], bytes] | None:
    """How arrays of *kind* are read; None for other libraries' arrays, which are objects."""
    arrays = pd.arrays
    for base, way in (
        (pd.Categorical, _categories),
        (arrays.IntervalArray, _intervals),
        (arrays.SparseArray, _sparse),
        (arrays.PeriodArray, _times),
        (arrays.DatetimeArray, _times),
        (arrays.TimedeltaArray, _times),
        (arrays.ArrowExtensionArray, _arrow),
        (arrays.StringArray, _texts),
        ((arrays.IntegerArray, arrays.FloatingArray, arrays.BooleanArray), _nullable),
        (arrays.NumpyExtensionArray, _numpy),
    ):
        if issubclass(kind, base):
            return way
    return None


def _head(walk: Walk, array: Any) -> bytes:
    return walk.named(type(array)) + walk.value(array.dtype, ".dtype")


def _categories(walk: Walk, array: Any) -> bytes:
    return part("categories", _head(walk, array), array_part(walk, array.codes))


def _intervals(walk: Walk, array: Any) -> bytes:
    left, right = walk.value(array.left, ".left"), walk.value(array.right, ".right")
    return part("intervals", _head(walk, array), left, right)


def _sparse(walk: Walk, array: Any) -> bytes:
    index = array.sp_index.to_int_index().indices
    kind = f"{array.kind};{len(array)};".encode()
    parts = [array_part(walk, index), walk.value(array.sp_values, ".sp_values")]
    return part("sparse", _head(walk, array), kind, *parts)


def _times(walk: Walk, array: Any) -> bytes:
    return part("times", _head(walk, array), array_part(walk, array.asi8))


def _numpy(walk: Walk, array: Any) -> bytes:
    return part("array", walk.named(type(array)), walk.value(array.to_numpy()))


def _arrow(walk: Walk, array: Any) -> bytes:
    pa: Any = sys.modules["pyarrow"]
    values = array.__arrow_array__()
    if not isinstance(values, pa.ChunkedArray):
        values = pa.chunked_array([values])
    return part("arrow", _head(walk, array), chunked_part(walk, values))


def _nullable(walk: Walk, array: Any) -> bytes:
    """Numbers, some of them missing; the memory of missing ones does not count."""
    missing, numbers = array._mask, array._data
    if missing.any():
        numbers = numbers.copy()
        numbers[missing] = 0
    return part(
        "nullable", _head(walk, array), array_part(walk, missing), array_part(walk, numbers)
    )


def _texts(walk: Walk, array: Any) -> bytes:
    return part("texts", _head(walk, array), walk.items(array.to_numpy(dtype=object).tolist()))


def _dtype(walk: Walk, dtype: Any) -> bytes:
    """The part for a dtype; its text leaves out categories, zones and storage."""
    parts = [walk.named(type(dtype)), str(dtype).encode(), b";"]
    for name in _SAID:
        if hasattr(dtype, name):
            parts += [name.encode(), b":", walk.value(getattr(dtype, name), f".{name}")]
    return part("dtype", *parts)


_SAID = (
    *("categories", "ordered", "tz", "unit", "freq", "closed", "subtype", "fill_value"),
    *("storage", "na_value", "pyarrow_dtype"),
)


def _offset(walk: Walk, offset: Any) -> bytes:
    """A frequency, without its cached results."""
    about = {"n": offset.n, "normalize": offset.normalize, **offset.kwds}
    return part("offset", walk.named(type(offset)), walk.value(about))


def _moment(walk: Walk, value: Any) -> bytes:
    about = [value.unit, getattr(value, "fold", 0)]
    zone = walk.value(getattr(value, "tz", None), ".tz")
    return part("moment", walk.named(type(value)), walk.value(about), zone, value.asm8.tobytes())
