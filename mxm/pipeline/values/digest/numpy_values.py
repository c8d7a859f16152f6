"""Digests of NumPy's arrays, scalars and types."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from mxm.pipeline.values.digest.stream import Walk, part

__all__ = ["array_part", "scalars", "type_part", "way_of"]

_STEP = 1_000_000  # bytes that are made contiguous at once


def way_of(kind: type) -> Callable[[Walk, Any], bytes] | None:
    """How values of *kind* are read; None if they are not NumPy's."""
    np: Any = sys.modules.get("numpy")
    if not hasattr(np, "ndarray"):  # not loaded, or not yet
        return None
    if issubclass(kind, np.ndarray):
        return _way_of_arrays(np, kind)
    if issubclass(kind, np.generic):
        return _scalar
    if issubclass(kind, np.dtype):
        return _dtype
    if kind is np.busdaycalendar:
        return _calendar
    return None


def _way_of_arrays(np: Any, kind: type) -> Callable[[Walk, Any], bytes] | None:
    if kind is np.ndarray or kind is np.memmap:  # whose file is not its content
        return array_part
    if kind is np.ma.MaskedArray:
        return _masked
    if any(
        name in vars(base) for base in _own(np, kind) for name in ("__reduce__", "__reduce_ex__")
    ):
        return None  # it lists its own parts
    return _derived


def _own(np: Any, kind: type) -> Iterator[type]:
    for base in kind.__mro__:
        if base is np.ndarray:
            return
        yield base


def _derived(walk: Walk, value: Any) -> bytes:
    np: Any = sys.modules["numpy"]
    own: Any = getattr(value, "__dict__", {})
    state = walk.state(value, own)
    return part(
        "array of", walk.named(type(value)), array_part(walk, value.view(np.ndarray)), state
    )


def _masked(walk: Walk, value: Any) -> bytes:
    np: Any = sys.modules["numpy"]
    mask = array_part(walk, np.ma.getmaskarray(value))
    fill = array_part(walk, np.asarray(value.fill_value))
    hard = b"hard" if value.hardmask else b"soft"
    return part("masked", array_part(walk, np.ma.getdata(value, subok=False)), mask, fill, hard)


def _calendar(walk: Walk, value: Any) -> bytes:
    return part("calendar", array_part(walk, value.weekmask), array_part(walk, value.holidays))


def _dtype(walk: Walk, dtype: Any) -> bytes:
    return part("type", repr(dtype).encode(), type_part(walk, dtype))


def type_part(walk: Walk, dtype: Any) -> bytes:
    """The part for a dtype: its text, its class, its fields and its other contents."""
    kind = dtype.type
    dtype = _native(dtype)
    parts = [dtype.str.encode(), b";", f"{kind.__module__}.{kind.__qualname__}".encode(), b";"]
    if dtype.names is not None:
        parts.append(b"aligned;" if dtype.isalignedstruct else b"fields;")
        for name in dtype.names:
            of, offset, *title = dtype.fields[name]
            parts += [walk.value([name, offset, *title]), type_part(walk, of)]
    elif dtype.subdtype is not None:
        of, shape = dtype.subdtype
        parts += [type_part(walk, of), walk.value(shape)]
    elif dtype.kind == "T":
        missing = getattr(dtype, "na_object", walk)
        parts.append(b"text" if missing is walk else walk.value(missing))
        parts.append(b"coerces" if dtype.coerce else b"")
    if dtype.metadata is not None:
        parts.append(walk.value(dict(dtype.metadata), ".dtype.metadata"))
    return part("dtype", *parts)


def _native(dtype: Any) -> Any:
    """*dtype* in this machine's byte order, the only one that pickle keeps."""
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def array_part(walk: Walk, array: Any) -> bytes:
    """The part for an array: type, shape, and its items in order, wherever they are in memory."""
    head = type_part(walk, array.dtype) + b"%d" % array.ndim
    shape = "".join(f",{length}" for length in array.shape).encode()
    return part("array", head, shape, b";", _content(walk, array))


def _content(walk: Walk, array: Any) -> bytes:
    dtype = array.dtype
    if dtype.names is not None:  # bytes between fields may have any value
        return b"".join([_content(walk, array[name]) for name in dtype.names])
    if dtype.hasobject or dtype.kind == "T":
        return walk.items(array.reshape(-1).tolist())
    if not array.itemsize:
        return b""
    stream = hashlib.sha256()
    clean = _cleaner(dtype)
    for piece in _pieces(array):
        stream.update(clean(piece))
    return stream.digest()


def _pieces(array: Any) -> Iterator[Any]:
    """*array* in one-dimensional, contiguous pieces."""
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
        step = max(1, _STEP // array.itemsize)
        for start in range(0, flat.size, step):
            yield flat[start : start + step]
        return
    np: Any = sys.modules["numpy"]
    each = max(1, array[0].size) * array.itemsize
    if each > _STEP and array.ndim > 1:
        for part_of in array:
            yield from _pieces(part_of)
        return
    step = max(1, _STEP // each)
    for start in range(0, len(array), step):
        yield np.ascontiguousarray(array[start : start + step]).reshape(-1)


def _cleaner(dtype: Any) -> Callable[[Any], Any]:
    """A function that makes the bytes of equal numbers equal: there are many NaN."""
    np: Any = sys.modules["numpy"]
    native = _native(dtype)
    if dtype.kind not in "fc":
        return lambda piece: piece.astype(native, copy=False).view(np.uint8)
    real = np.empty(0, native).real.dtype
    # An x87 number has ten bytes; its other bytes are never set.
    padded = real.type is np.longdouble and np.finfo(np.longdouble).nmant == 63

    def clean(piece: Any) -> Any:
        piece = piece.astype(native, copy=False).view(real)
        missing = np.isnan(piece)
        if missing.any():
            piece = np.where(missing, real.type("nan"), piece)
        octets = piece.view(np.uint8)
        if not padded:
            return octets
        return np.ascontiguousarray(octets.reshape(-1, real.itemsize)[:, :10])

    return clean


def _scalar(walk: Walk, value: Any) -> bytes:
    np: Any = sys.modules["numpy"]
    return part("scalar", walk.named(type(value)), array_part(walk, np.asarray(value)))


def scalars(walk: Walk, kind: type, items: list[Any]) -> bytes | None:
    """The part for several scalars of *kind*; None if they are not simple numbers of NumPy."""
    np: Any = sys.modules.get("numpy")
    if not (hasattr(np, "number") and issubclass(kind, (np.number, np.bool_))):
        return None
    if issubclass(kind, np.timedelta64):  # each has a unit
        return None
    return part("scalars", walk.named(kind), array_part(walk, np.array(items)))
