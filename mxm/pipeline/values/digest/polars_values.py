"""Digests of polars' tables, series and types, wherever their chunks end."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

from mxm.pipeline.values.digest.stream import RefusedError, Walk, called, hashed, part

__all__ = ["way_of"]

_ROWS = 1_048_576  # that are read at once


def way_of(kind: type) -> Callable[[Walk, Any], bytes] | None:
    """How values of *kind* are read; None if they are not polars'."""
    pl: Any = sys.modules.get("polars")
    if not hasattr(pl, "LazyFrame"):  # not loaded, or not yet
        return None
    for base, way in (
        (pl.DataFrame, _frame),
        (pl.Series, _series),
        (pl.DataType, _type),
        (pl.LazyFrame, _query),
        (pl.Expr, _query),
    ):
        if issubclass(kind, base):
            return way
    return _type if issubclass(kind, type(pl.Int64)) else None


def _query(_: Walk, value: Any) -> bytes:
    raise RefusedError(f"{called(value)} is a query, not its result")


def _frame(walk: Walk, frame: Any) -> bytes:
    columns = [_series(walk, column) for column in frame.get_columns()]
    return part("polars", walk.named(type(frame)), b"%d" % frame.height, *columns)


def _series(walk: Walk, series: Any) -> bytes:
    pl: Any = sys.modules["polars"]
    head = [walk.named(type(series)), walk.value(series.name), _type(walk, series.dtype)]
    return part("polars", *head, b"%d;" % len(series), _rows(walk, pl, series))


def _type(walk: Walk, dtype: Any) -> bytes:
    """The part for a type; its text has the units, zones, fields and categories."""
    pl: Any = sys.modules["polars"]
    text = repr(dtype)
    if isinstance(dtype, pl.Enum):  # whose text is cut
        return part("polars type", text.encode(), _series(walk, dtype.categories))
    return part("polars type", text.encode())


def _rows(walk: Walk, pl: Any, series: Any) -> bytes:
    if series.dtype == pl.Object:
        return walk.items(series.to_list())
    parts: list[bytes] = []
    for start in range(0, len(series), _ROWS):
        rows = series.slice(start, _ROWS)
        missing = rows.is_null()
        if missing.any():
            parts.append(part("missing", _written(pl, missing.cast(pl.UInt8))))
            rows = rows.drop_nulls()
        parts.append(_content(walk, pl, rows))
    return part("rows", *parts)


def _content(walk: Walk, pl: Any, rows: Any) -> bytes:
    """The content of *rows*, none of which is missing."""
    dtype = rows.dtype
    if isinstance(dtype, pl.Struct):
        return part(
            "fields", *[_rows(walk, pl, field) for field in rows.struct.unnest().get_columns()]
        )
    if isinstance(dtype, pl.List):
        lengths = rows.list.len()
        inner = rows.filter(lengths > 0).explode()
        return part("lists", _written(pl, lengths), _rows(walk, pl, inner))
    if isinstance(dtype, pl.Array):
        return part("arrays", _rows(walk, pl, rows.explode()))
    if isinstance(dtype, pl.Categorical):  # its numbers are this process's
        rows = rows.cast(pl.String)
    elif isinstance(dtype, pl.Boolean):
        rows = rows.cast(pl.UInt8)
    elif dtype.is_float():
        rows = rows.fill_nan(float("nan"))
    elif not isinstance(dtype, (pl.String, pl.Binary, pl.Null)):
        rows = rows.to_physical()
    return _written(pl, rows)


def _written(pl: Any, rows: Any) -> bytes:
    stream = io.BytesIO()
    frame = rows.rename("").rechunk().to_frame()
    frame.write_ipc_stream(stream, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    return hashed(stream.getbuffer())
