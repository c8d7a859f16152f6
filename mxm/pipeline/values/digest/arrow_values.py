"""Digests of pyarrow's tables, arrays, schemas and scalars, wherever their chunks end."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import Any

from mxm.pipeline.values.digest.stream import RefusedError, Walk, called, hashed, part

__all__ = ["chunked_part", "way_of"]

_ROWS = 1_048_576  # that are read at once


def way_of(kind: type) -> Callable[[Walk, Any], bytes] | None:
    """How values of *kind* are read; None if they are not pyarrow's."""
    pa: Any = sys.modules.get("pyarrow")
    if not hasattr(pa, "RunEndEncodedArray"):  # not loaded, or not yet
        return None
    for base, way in (
        (pa.Table, _table),
        (pa.RecordBatch, _batch),
        (pa.ChunkedArray, chunked_part),
        (pa.Array, _array),
        (pa.Scalar, _scalar),
        (pa.Schema, _schema),
        (pa.Field, _field),
        (pa.DataType, _type),
        (pa.Buffer, _buffer),
    ):
        if issubclass(kind, base):
            return way
    return None


def _table(walk: Walk, table: Any) -> bytes:
    columns = [chunked_part(walk, column) for column in table.columns]
    return part("table", _schema(walk, table.schema), b"%d" % table.num_rows, *columns)


def _batch(walk: Walk, batch: Any) -> bytes:
    columns = [_array(walk, column) for column in batch.columns]
    return part("batch", _schema(walk, batch.schema), b"%d" % batch.num_rows, *columns)


def _schema(_: Walk, schema: Any) -> bytes:
    return part("schema", schema.serialize().to_pybytes())


def _field(walk: Walk, field: Any) -> bytes:
    return part("field", _schema(walk, sys.modules["pyarrow"].schema([field])))


def _type(walk: Walk, kind: Any) -> bytes:
    pa: Any = sys.modules["pyarrow"]
    return part("type", _schema(walk, pa.schema([pa.field("", kind)])))


def _buffer(_: Walk, buffer: Any) -> bytes:
    return part("buffer", hashed(buffer))


def _scalar(walk: Walk, scalar: Any) -> bytes:
    pa: Any = sys.modules["pyarrow"]
    return part("scalar", _array(walk, pa.array([scalar], scalar.type)))


def _array(walk: Walk, array: Any) -> bytes:
    return part("array", chunked_part(walk, sys.modules["pyarrow"].chunked_array([array])))


def chunked_part(walk: Walk, array: Any) -> bytes:
    """The part for a chunked array: its type, its length and its rows."""
    pa: Any = sys.modules["pyarrow"]
    if pa.types.is_dictionary(array.type):
        array = array.unify_dictionaries()
    parts: list[bytes] = []
    for start in range(0, len(array), _ROWS):
        rows = array.slice(start, _ROWS).combine_chunks()
        # With more than 2 GB of text, several are left.
        chunks = rows.chunks if isinstance(rows, pa.ChunkedArray) else [rows]
        parts += [_rows(walk, pa, chunk) for chunk in chunks]
    return part("arrow", _type(walk, array.type), b"%d" % len(array), *parts)


def _rows(walk: Walk, pa: Any, rows: Any) -> bytes:
    """Which *rows* are missing, and the content of the other rows."""
    if pa.types.is_null(rows.type):
        return part("null", b"%d" % len(rows))
    missing = b""
    if rows.null_count:
        missing = _fixed(rows.is_null().cast(pa.uint8()), 1)
        rows = rows.drop_null()
    return part("rows", b"%d;" % len(rows), missing, _content(walk, pa, rows))


def _content(walk: Walk, pa: Any, rows: Any) -> bytes:
    kind, types = rows.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _rows(walk, pa, rows.storage)
    if types.is_dictionary(kind):
        # Values that no row refers to count, too, as does the order.
        return _rows(walk, pa, rows.indices) + chunked_part(
            walk, pa.chunked_array([rows.dictionary])
        )
    if types.is_run_end_encoded(kind):
        return _rows(walk, pa, pa.compute.run_end_decode(rows))
    if types.is_boolean(kind):
        return _fixed(rows.cast(pa.uint8()), 1)
    if types.is_floating(kind):
        return _floats(pa, rows)
    if types.is_string_view(kind):
        rows, kind = rows.cast(pa.large_string()), pa.large_string()
    elif types.is_binary_view(kind):
        rows, kind = rows.cast(pa.large_binary()), pa.large_binary()
    if types.is_string(kind) or types.is_binary(kind):
        return _texts(pa, rows, "i")
    if types.is_large_string(kind) or types.is_large_binary(kind):
        return _texts(pa, rows, "q")
    if types.is_fixed_size_list(kind):
        return _rows(walk, pa, rows.flatten())
    if types.is_map(kind):
        rows = rows.cast(
            pa.list_(
                pa.struct([kind.key_field.with_name("key"), kind.item_field.with_name("value")])
            )
        )
        kind = rows.type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_list_view(kind):
        lengths = pa.compute.list_value_length(rows)
        return _rows(walk, pa, lengths) + _rows(walk, pa, rows.flatten())
    if types.is_struct(kind):
        return b"".join([_rows(walk, pa, field) for field in rows.flatten()])
    if getattr(kind, "bit_width", 0) % 8 == 0 and not kind.num_fields and not types.is_union(kind):
        return _fixed(rows, kind.bit_width // 8)
    raise RefusedError(f"{called(rows)} of {kind} is not known")


def _fixed(rows: Any, width: int) -> bytes:
    """The bytes of *rows* that are *width* bytes each, none missing."""
    buffer = rows.buffers()[1]
    if buffer is None or not len(rows):
        return b""
    start = rows.offset * width
    view = memoryview(buffer).cast("B")[start : start + len(rows) * width]
    return hashed(view)


def _floats(pa: Any, rows: Any) -> bytes:
    compute = pa.compute
    missing = compute.is_nan(rows)
    if compute.any(missing).as_py():
        rows = compute.if_else(missing, pa.scalar(float("nan"), rows.type), rows)
    return _fixed(rows, rows.type.bit_width // 8)


def _texts(pa: Any, rows: Any, width: str) -> bytes:
    lengths = pa.compute.binary_length(rows)
    _, offsets, data = rows.buffers()
    if data is None or not len(rows):
        return _fixed(lengths, lengths.type.bit_width // 8)
    size = struct.calcsize(width)
    first = struct.unpack_from(width, offsets, rows.offset * size)[0]
    last = struct.unpack_from(width, offsets, (rows.offset + len(rows)) * size)[0]
    joined = hashed(memoryview(data).cast("B")[first:last])
    return _fixed(lengths, lengths.type.bit_width // 8) + joined
