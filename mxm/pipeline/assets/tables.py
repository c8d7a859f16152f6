"""Tables of pandas, polars and pyarrow as files: written, and checked to come back unchanged."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from mxm.pipeline.errors import AssetError, described

__all__ = ["CsvFormat", "TableFormat", "index_names", "library_of"]

_TABLES = {"pandas": "DataFrame", "polars": "DataFrame", "pyarrow": "Table"}


def library_of(value: object) -> str:
    """The library of the table *value*; empty for anything else, and for derived classes."""
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    return library if _TABLES.get(library) == kind.__qualname__ else ""


def _module(name: str, why: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise AssetError(f"{why} needs {package}: {error}", hint=f"pip install {package}") from None


def _installed(facts: Mapping[str, Any]) -> str:
    """The library that reads a table: the one that wrote it, or else an installed one."""
    written = facts.get("library")
    if written in _TABLES:
        return str(written)
    for name in _TABLES:
        if importlib.util.find_spec(name) is not None:
            return name
    return "pandas"


class TableFormat:
    """Parquet or feather.

    Parameters
    ----------
    name
        ``parquet`` or ``feather``.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def refusal(self, value: Any) -> str | None:
        """Why *value* cannot be written; None if it can be."""
        return _not_a_table(value)

    def write(self, value: Any, path: str) -> Sequence[str]:
        """Write *value* to *path*; as `mxm.pipeline.assets.formats.Format`."""
        library = library_of(value)
        try:
            getattr(self, f"_write_{library}")(value, path)
        except ImportError as error:
            raise AssetError(
                f"{self._name} needs pyarrow, which is not installed: {_first_line(error)}",
                hint="pip install pyarrow",
            ) from error
        except OSError:
            raise
        except Exception as error:
            if isinstance(error.__cause__ or error.__context__, OSError):
                raise
            raise AssetError(
                f"{self._name} cannot store it: {described(error)}", hint=_hint(value)
            ) from error
        lost = _COMPARE[library](value, lambda names: self._read(library, path, names))
        if lost:
            hint = _other_unit(lost[0]) or _hint(value)
            raise AssetError(f"{self._name} would not give it back unchanged: {lost[0]}", hint=hint)
        return _lost_frequency(value) if library == "pandas" else ()

    def _write_pandas(self, value: Any, path: str) -> None:
        getattr(value, f"to_{self._name}")(path)

    def _write_polars(self, value: Any, path: str) -> None:
        (value.write_parquet if self._name == "parquet" else value.write_ipc)(path)

    def _write_pyarrow(self, value: Any, path: str) -> None:
        if self._name == "parquet":
            _module("pyarrow.parquet", "parquet").write_table(value, path)
        else:
            _module("pyarrow.feather", "feather").write_feather(value, path)

    def read(self, path: str, facts: Mapping[str, Any]) -> Any:
        """The table in *path*; as `mxm.pipeline.assets.formats.Format`."""
        library = _installed(facts)
        value = self._read(library, path, None)
        return _with_frequency(value, facts) if library == "pandas" else value

    def _read(self, library: str, path: str, columns: Sequence[str] | None) -> Any:
        parquet = self._name == "parquet"
        if library == "pandas":
            pandas = _module("pandas", self._name)
            return (pandas.read_parquet if parquet else pandas.read_feather)(path, columns=columns)
        if library == "polars":
            polars = _module("polars", self._name)
            if parquet:
                return polars.read_parquet(path, columns=columns)
            return polars.read_ipc(path, columns=columns)
        if parquet:
            return _module("pyarrow.parquet", self._name).read_table(path, columns=columns)
        feather = _module("pyarrow.feather", self._name)
        return feather.read_table(path, columns=columns, memory_map=False)


def _not_a_table(value: Any) -> str | None:
    if library_of(value):
        return None
    kind = cast("Any", type(value))
    library, name = kind.__module__.partition(".")[0], kind.__qualname__
    if library in _TABLES:
        more = {"Series": "call .to_frame() first", "LazyFrame": "call .collect() first"}
        hint = more.get(name, "make a table of it")
        return f"a {library}.{name} is not a table: {hint}"
    bases = [base for base in kind.__mro__[1:] if _TABLES.get(base.__module__.partition(".")[0])]
    if any(base.__qualname__ in ("DataFrame", "Table") for base in bases):
        base = bases[0].__module__.partition(".")[0]
        return f"a {name} would be read back as a plain table of {base}: make one of it first"
    return f"a {name} is not a table of pandas, polars or pyarrow"


def _other_unit(lost: str) -> str | None:
    """What to write where times are read back in a finer unit, as parquet has no seconds."""
    unit = re.fullmatch(r"column (.+) of (datetime64\[)s(.*\]) would be (\2ms\3)", lost)
    return f"convert it first: table.astype({{{unit[1]}: {unit[4]!r}}})" if unit else None


def _hint(value: Any) -> str:
    if library_of(value) == "pandas":
        return 'convert the column, or use format="pickle", which keeps every type of pandas'
    return 'convert the column, or use format="pickle"'


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


# ---------------------------------------------------------------------------------------------
# What comes back unchanged, and what must be checked

_NUMBERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_PLAIN = {
    *("bool", "boolean", "str", "string", "float32", "float64", "Float32", "Float64", *_NUMBERS),
    *(name.replace("uint", "UInt").replace("int", "Int") for name in _NUMBERS),
    *(f"datetime64[{unit}]" for unit in ("ns", "us", "ms")),
}
_PLAIN_OF_INDEX = {kind for kind in _PLAIN if kind.islower()} - {"boolean", "string"}

ReadBack = Callable[[Sequence[str] | None], Any]


def _lost_of_pandas(value: Any, read: ReadBack) -> list[str]:
    """What differs from *value* in the file that *read* reads, in words."""
    odd = [name for name, kind in value.dtypes.items() if str(kind) not in _PLAIN]
    index, columns = value.index, value.columns
    plain_index = type(index).__name__ == "RangeIndex" or (
        type(index).__name__ in ("Index", "DatetimeIndex") and str(index.dtype) in _PLAIN_OF_INDEX
    )
    plain_index = plain_index and isinstance(index.name, str | None)
    plain_names = type(columns).__name__ == "Index" and str(columns.dtype) in ("str", "string")
    if columns.dtype == object:
        plain_names = all(type(name) is str for name in columns)
    plain_names = plain_names and columns.name is None
    if plain_index and plain_names and not odd and not value.attrs:
        return []
    if plain_index and plain_names and not value.attrs:
        value = value[odd]
        back = read(odd)
    else:
        back = read(None)
    return list(pandas_differences(value, back))


def pandas_differences(value: Any, back: Any) -> Iterable[str]:
    """How *back* differs from the frame *value*, in words; the frequency of an index may differ."""
    testing = _module("pandas", "comparing").testing
    if value.shape != back.shape:
        yield f"{value.shape[0]} x {value.shape[1]} cells became {back.shape[0]} x {back.shape[1]}"
        return
    for what, one, other in (
        ("the index", value.index, back.index),
        ("the names of the columns", value.columns, back.columns),
    ):
        if not _same_index(one, other):
            yield f"{what} would differ"
    for i, name in enumerate(value.columns):
        one, other = value.iloc[:, i], back.iloc[:, i]
        if one.dtype != other.dtype:
            yield f"column {name!r} of {one.dtype} would be {other.dtype}"
            continue
        same = True
        if one.dtype == object:
            same = _same_objects(one.array, other.array)
        else:
            try:
                testing.assert_series_equal(one, other, check_exact=True, check_index=False)
            except AssertionError:
                same = False
        if not same:
            yield f"column {name!r} of {one.dtype} would have other values"
    if value.attrs != back.attrs:
        yield "its attrs would differ"


def _same_index(one: Any, other: Any) -> bool:
    """Whether two indices are equal; the frequency of one may be lost."""
    if list(one.names) != list(other.names) or one.nlevels != other.nlevels:
        return False
    for i in range(one.nlevels):
        mine, theirs = one.get_level_values(i), other.get_level_values(i)
        if mine.dtype != theirs.dtype or not mine.equals(theirs):
            return False
        if mine.dtype == object and not _same_objects(mine, theirs):
            return False
    return True


def _same_objects(one: Any, other: Any) -> bool:
    return all(map(_same, one, other))


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) in (dict, list, tuple) or hasattr(one, "shape"):
        return repr(one) == repr(other)
    try:
        return bool(one == other) or (one != one and other != other)
    except Exception:  # a type that cannot be compared
        return False


_PLAIN_OF_ARROW = {
    *("bool", "string", "large_string", "int8", "int16", "int32", "int64", "uint8", "uint16"),
    *("uint32", "uint64", "float", "double", "date32[day]"),
    *(f"timestamp[{unit}]" for unit in ("ns", "us", "ms")),
}
_PLAIN_OF_POLARS = {
    *("Boolean", "String", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32"),
    *("UInt64", "Float32", "Float64", "Date", "Datetime"),
}


def _lost_of_polars(value: Any, read: ReadBack) -> list[str]:
    odd = [
        name
        for name, kind in value.schema.items()
        if str(getattr(kind, "base_type", lambda k=kind: k)()) not in _PLAIN_OF_POLARS
    ]
    if not odd:
        return []
    back = read(odd)
    lost = [f"column {n!r} of {value.schema[n]} would be {back.schema[n]}" for n in odd
            if value.schema[n] != back.schema[n]]  # fmt: skip
    if not lost:
        lost = [
            f"column {name!r} of {value.schema[name]} would have other values"
            for name in odd
            if not value[name].equals(back[name])
        ]
    return lost


def _lost_of_pyarrow(value: Any, read: ReadBack) -> list[str]:
    names = value.column_names
    if len(set(names)) < len(names):
        return ["two of its columns have the same name"]
    odd = [f.name for f in value.schema if str(f.type) not in _PLAIN_OF_ARROW]
    if not odd:
        return []
    back = read(odd)
    lost: list[str] = []
    for name in odd:
        one, other = value.column(name), back.column(name)
        if one.type != other.type:
            lost.append(f"column {name!r} of {one.type} would be {other.type}")
        elif not one.equals(other) and repr(one.to_pylist()) != repr(other.to_pylist()):
            lost.append(f"column {name!r} of {one.type} would have other values")
    return lost


_COMPARE: dict[str, Callable[[Any, ReadBack], list[str]]] = {
    "pandas": _lost_of_pandas,
    "polars": _lost_of_polars,
    "pyarrow": _lost_of_pyarrow,
}


class CsvFormat:
    """CSV: text only, so it keeps what it can, and reports what it cannot keep."""

    def refusal(self, value: Any) -> str | None:
        """Why *value* cannot be written; None if it can be."""
        return _not_a_table(value)

    def write(self, value: Any, path: str) -> Sequence[str]:
        """Write *value* to *path*; return what will not come back, in words."""
        library = library_of(value)
        if library == "pandas":
            value.to_csv(path, index=not _is_default(value.index), mode="x", lineterminator="\n")
        elif library == "polars":
            value.write_csv(path)
        else:
            _module("pyarrow.csv", "csv").write_csv(value, path)
        facts = {"library": library, "columns": _types_of(value), "index": index_names(value)}
        try:
            back = self.read(path, facts)
        except Exception as error:
            return [f"it in a form that can be read back ({described(error)})"]
        if library == "pandas":
            if value.shape != back.shape:
                return [f"all of its {value.shape[0]:,} rows and {value.shape[1]:,} columns"]
            return [
                *(_kept(line) for line in pandas_differences(value, back)),
                *_lost_frequency(value),
            ]
        if library == "polars":
            return [
                f"column {name!r} of {kind}"
                for name, kind in value.schema.items()
                if back.schema[name] != kind or not value[name].equals(back[name])
            ]
        lost = [
            f"column {f.name!r} of {f.type}"
            for f in value.schema
            if not back.column(f.name).equals(value.column(f.name))
        ]
        is_whole = back.schema.equals(value.schema, check_metadata=True)
        return lost if lost or is_whole else ["the metadata of its schema"]

    def read(self, path: str, facts: Mapping[str, Any]) -> Any:
        """The table in *path*, with the types in *facts*, as far as text allows."""
        library = _installed(facts)
        kinds: Mapping[str, str] = facts.get("columns") or {}
        if library == "pandas":
            made = _pandas_csv(_module("pandas", "csv"), path, kinds, facts.get("index") or ())
            return _with_frequency(made, facts)
        if library == "polars":
            polars = _module("polars", "csv")
            if os.path.getsize(path) == 0 or not kinds:
                return polars.read_csv(path) if os.path.getsize(path) else polars.DataFrame()
            schema = {name: getattr(polars, kind, polars.String) for name, kind in kinds.items()
                      if kind in _PLAIN_OF_POLARS}  # fmt: skip
            return polars.read_csv(path, schema_overrides=schema, try_parse_dates=True)
        csv = _module("pyarrow.csv", "csv")
        arrow = _module("pyarrow", "csv")
        types = {n: arrow.type_for_alias(kind.partition("[")[0] if kind.startswith("date32")
                                         else kind)
                 for n, kind in kinds.items() if kind in _PLAIN_OF_ARROW}  # fmt: skip
        return csv.read_csv(path, convert_options=csv.ConvertOptions(
            column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False,
        ))  # fmt: skip


def _kept(line: str) -> str:
    return line.partition(" would ")[0]


def _is_default(index: Any) -> bool:
    return (
        type(index).__name__ == "RangeIndex"
        and (index.start, index.step) == (0, 1)
        and index.name is None
    )


def _types_of(value: Any) -> dict[str, str]:
    if library_of(value) == "pandas":
        return {str(name): str(kind) for name, kind in value.dtypes.items()}
    if library_of(value) == "polars":
        return {name: str(kind) for name, kind in value.schema.items()}
    return {f.name: str(f.type) for f in value.schema}


def index_names(value: Any) -> list[list[str | None]]:
    """The names and types of the levels of an index that is written."""
    if library_of(value) != "pandas" or _is_default(value.index):
        return []
    index = value.index
    levels = [index.get_level_values(i) for i in range(index.nlevels)]
    named = [[name, str(level.dtype)] for name, level in zip(index.names, levels, strict=True)]
    frequency = _frequency(index)
    return [[*named[0], frequency]] if frequency else named


def _frequency(index: Any) -> str | None:
    """The frequency of a pandas *index* as text that describes it fully; None if there is none."""
    frequency = getattr(index, "freq", None)
    if frequency is None or type(index).__name__ == "PeriodIndex":  # its type has it
        return None
    text: str = frequency.freqstr
    offset: Any = _module("pandas.tseries.frequencies", "frequencies").to_offset
    try:
        return text if offset(text) == frequency else None
    except ValueError:
        return None


def _lost_frequency(value: Any) -> list[str]:
    """The part of the index's frequency of *value* that text cannot express, such as holidays."""
    frequency = getattr(value.index, "freq", None)
    if frequency is None or _frequency(value.index) or type(value.index).__name__ == "PeriodIndex":
        return []
    return [f"the frequency {frequency!r} of its index"]


def _with_frequency(frame: Any, facts: Mapping[str, Any]) -> Any:
    """*frame* with the frequency that its index had."""
    index: Sequence[Sequence[str | None]] = facts.get("index") or ()
    if len(index) == 1 and len(index[0]) > _PLAIN_LEVEL:
        with contextlib.suppress(ValueError, AttributeError):  # the file was changed
            frame.index.freq = index[0][_PLAIN_LEVEL]
    return frame


_PLAIN_LEVEL = 2  # name and type, then the frequency, if there is one


def _pandas_csv(
    pandas: Any, path: str, kinds: Mapping[str, str], index: Sequence[Sequence[str | None]]
) -> Any:
    if not kinds and not index:
        if os.path.getsize(path) <= 1:
            return pandas.DataFrame()
        return pandas.read_csv(path, float_precision="round_trip")
    raw = pandas.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    levels = [_typed(pandas, raw.iloc[:, i], level[1] or "object") for i, level in enumerate(index)]
    frame = raw.iloc[:, len(index) :]
    made = {
        name: _typed(pandas, frame.iloc[:, i], kinds.get(name, "str"))
        for i, name in enumerate(frame.columns)
    }
    back = pandas.DataFrame(made, columns=frame.columns)
    back.columns = [*map(str, frame.columns)]
    names = [level[0] for level in index]
    if len(levels) == 1:
        back.index = pandas.Index(levels[0].array, name=names[0])
    elif levels:
        back.index = pandas.MultiIndex.from_arrays(levels, names=names)
    return back


def _typed(pandas: Any, column: Any, kind: str) -> Any:
    """*column* of text as *kind*, if text allows."""
    try:
        if kind in ("bool", "boolean"):
            return column.map({"True": True, "False": False}).astype(kind)
        if kind.startswith("datetime64"):
            if "," in kind:
                zone = kind.rstrip("]").partition(", ")[2]
                times = pandas.to_datetime(column, format="ISO8601", utc=True)
                return times.dt.tz_convert(zone).astype(kind)
            return pandas.to_datetime(column, format="ISO8601").astype(kind)
        if kind.startswith("timedelta64"):
            return pandas.to_timedelta(column).astype(kind)
        if kind in _PLAIN:
            return column.astype(kind)
        return column.astype(kind)
    except Exception:  # it stays text
        return column
