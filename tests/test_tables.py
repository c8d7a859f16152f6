"""Digests and reads of tables of polars and pyarrow, in an environment that has them; slow."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from environments import ROOT, environment

pytestmark = pytest.mark.slow

VALUES = """
import copy, datetime as dt, math, pickle, struct

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from mxm.pipeline.values.digest import UndigestibleError, digest_of as digest

odd = struct.unpack("d", struct.pack("Q", 0x7FF8_0000_0000_0001))[0]  # another NaN
day, noon = dt.date(2024, 1, 1), dt.datetime(2024, 1, 1)
dictionary = pa.DictionaryArray.from_arrays
tables = [
    pa.table({"a": [1]}), pa.table({"b": [1]}), pa.table({"a": ["x"], "b": [1]}), pa.table({"b": [1], "a": ["x"]}),
    pa.table({"a": [1]}).replace_schema_metadata({"x": "y"}), pa.record_batch({"a": [1]}),
    pa.table({"a": [1]}, schema=pa.schema([pa.field("a", pa.int64(), nullable=False)])),
]
arrays = [
    pa.array([1, 2]), pa.array([1, 2], pa.int32()), pa.array([1, None]), pa.array([None, 1]), pa.array([1, 0]),
    pa.array([True, False]), pa.array([True, None]), pa.array([1.0, 2]), pa.array([math.nan, 1]), pa.array([None, 1.0]),
    pa.array([0.0, 1]), pa.array([-0.0, 1]), pa.array([1.5, 2], pa.float16()), pa.array(["a", "b"]), pa.array(["ab", ""]),
    pa.array(["a", None, "b"]), pa.array(["a", "b"], pa.large_string()), pa.array(["a", "b"], pa.string_view()),
    pa.array([b"a", b"b"]), pa.array([b"a", b"b"], pa.binary(1)), pa.array([b"a", b"b"], pa.binary_view()),
    pa.array([[1], [2, 3]]), pa.array([[1, 2], [3]]), pa.array([[1], None, []]), pa.array([[1], [], None]),
    pa.array([[1, 2], [3, 4]], pa.list_(pa.int64(), 2)), pa.array([[1, 2], []], pa.large_list(pa.int64())),
    pa.array([[1, 2], []], pa.list_view(pa.int64())), pa.array([{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
    pa.array([{"a": 1, "b": "x"}, None]), pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
    pa.array(["a", "b"]).dictionary_encode(), dictionary([0, 0], ["a", "b"]), dictionary([1, 1], ["b", "a"]), pa.nulls(2), pa.nulls(3),
    pa.array([day, day]), pa.array([noon, noon]), pa.array([noon, noon], pa.timestamp("ns")), pa.array([noon, noon], pa.timestamp("us", "UTC")),
    pa.array([dt.timedelta(1), None]), pa.array([1, 2], pa.decimal128(5, 2)), pa.array([1, 2], pa.decimal128(5, 1)), pa.array([dt.time(1), None]),
]
parts = [
    pa.schema([("a", pa.int64())]), pa.schema([("a", pa.int32())]), pa.int64(), pa.timestamp("ns"), pa.timestamp("ns", "UTC"), pa.field("a", pa.int64()),
    pa.scalar(1), pa.scalar(None, pa.int64()), pa.scalar("a"), pa.py_buffer(b"a"), pa.chunked_array([[1]]), pa.compute.run_end_encode(pa.array([1, 1, 2])),
]
column = lambda items, *kind, **named: pl.Series("a", items, *kind, **named)
series = [
    column([1, 2]), pl.Series("b", [1, 2]), column([1, 2], pl.Int32), column([1, None]), column([None, 1]), column([1, 0]), column([True, False]),
    column([True, None]), column([1.0, 2.0]), column([math.nan, 1.0]), column([None, 1.0]), column([0.0, 1.0]), column([-0.0, 1.0]), column(["x", "y"]),
    column(["xy", ""]), column(["x", None]), column([b"x", b"y"]), column([[1], [2, 3]]), column([[1, 2], [3]]), column([[1], None, []]), column([[1], [], None]),
    column([[1], [None]]), column([[1, 2], [3, 4]], pl.Array(pl.Int64, 2)), column([[1, 2], None], pl.Array(pl.Int64, 2)), column([{"x": 1}, {"x": 2}]),
    column([{"x": 1}, {"x": None}]), column([{"x": 1}, None]), column(["x", "y"], pl.Categorical), column(["y", "x"], pl.Categorical),
    column(["x", "x"], pl.Enum(["x", "y"])), column(["x", "x"], pl.Enum(["y", "x"])), column(["x", "x"], pl.Enum(["x"])), column([noon, None]),
    column([noon, None], pl.Datetime("ns")), column([noon, None], pl.Datetime("us", "UTC")), column([day, None]), column([dt.timedelta(1), None]),
    column([dt.time(1), None]), column([None, None]), column([1, 2], pl.Decimal(5, 2)), column([1, 2], pl.Decimal(5, 1)), column([[["x"]], [[]]]),
    column([[[]], [["x"]]], pl.List(pl.List(pl.String))), column([], pl.Int64), column([], pl.String),
]
others = [
    pl.DataFrame({"a": [1], "b": ["x"]}), pl.DataFrame({"b": ["x"], "a": [1]}), pl.DataFrame({"a": [1]}), pl.DataFrame(), pl.Int64, pl.Int32,
    pl.Datetime("ns"), pl.Datetime("us"), pl.Enum(["a"]), pl.Enum(["b"]), pl.List(pl.Int64),
    pd.Series(["a", None], dtype="string[pyarrow]"), pd.Series(["a", "b"], dtype="string[pyarrow]"), pd.Series(["a"], dtype="str"), pd.Series(["a", "b"], dtype="str"),
    pd.Series([1, None], dtype="int64[pyarrow]"), pd.Series([1, 2], dtype="int64[pyarrow]"), pd.DataFrame({"x": ["a"]}), pd.Index(["a"]),
]
everything = [*tables, *arrays, *parts, *series, *others, column([1, "x"], dtype=pl.Object)]
seen = {}
for value in everything:
    assert seen.setdefault(digest(value), value) is value, value
    copied = copy.deepcopy(value) if "Object" in str(getattr(value, "dtype", "")) else pickle.loads(pickle.dumps(value))
    assert digest(copied) == digest(value), value

# Where chunks end, where a slice begins and what is under a missing value do not count.
for array in arrays:
    assert digest(pa.chunked_array([array[:1], array[1:]])) == digest(pa.chunked_array([array])), array
    longer = pa.concat_arrays([array[:1], array, array[:1]])
    assert digest(longer.slice(1, len(array))) == digest(array), array
for one in series:
    if len(one) > 1:
        assert digest(one.slice(0, 1).append(one.slice(1))) == digest(one), one
        assert digest(pl.concat([one.slice(0, 1), one, one]).slice(1, len(one))) == digest(one), one
mask = np.array([False, True])
assert digest(pa.array(np.array([1.0, 2.0]), mask=mask)) == digest(pa.array(np.array([1.0, 3.0]), mask=mask))
assert digest(pa.array([odd])) == digest(pa.array([math.nan]))
assert digest(pl.Series([odd])) == digest(pl.Series([math.nan]))
for query in (pl.DataFrame({"a": [1]}).lazy(), pl.col("a")):
    try:
        digest(query)
    except UndigestibleError as error:
        assert "is a query, not its result" in str(error)
    else:
        raise AssertionError(query)
"""

READS = """
import os

import pandas as pd

from mxm.pipeline.execution.files.observing import observed

pd.DataFrame({"x": [1, 2]}).to_csv("a.csv", index=False)


def check(work, reads, writes=()):
    with observed(root=os.getcwd()) as seen:
        work()
    assert {note.path for note in seen.reads if note.kind == "file"} == set(reads), (work, seen)
    assert {note.path for note in seen.writes} == set(writes), (work, seen)


def late():  # the first who imports it
    import pyarrow as pa
    import pyarrow.parquet

    pa.parquet.write_table(pa.table({"x": [1]}), "a.parquet")


check(late, [], ["a.parquet"])
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet
import polars as pl
from polars import read_csv, scan_parquet

check(lambda: pd.read_parquet("a.parquet"), ["a.parquet"])
check(lambda: pa.parquet.read_table("a.parquet"), ["a.parquet"])
check(lambda: pa.parquet.ParquetFile("a.parquet").read(), ["a.parquet"])
check(lambda: pa.csv.read_csv("a.csv"), ["a.csv"])
check(lambda: pa.feather.write_feather(pa.table({"x": [1]}), "a.feather"), [], ["a.feather"])
check(lambda: pa.feather.read_table("a.feather"), ["a.feather"])
check(lambda: pd.read_feather("a.feather"), ["a.feather"])
check(lambda: pa.dataset.dataset("a.parquet").to_table(), ["a.parquet"])
check(lambda: pa.memory_map("a.csv").read(), ["a.csv"])
check(lambda: pd.DataFrame({"x": [1]}).to_parquet("b.parquet"), [], ["b.parquet"])
check(lambda: read_csv("a.csv"), ["a.csv"])
check(lambda: pl.read_parquet(n_rows=1, source="a.parquet"), ["a.parquet"])
check(lambda: scan_parquet("*.parquet").collect(), ["a.parquet", "b.parquet"])
frame = pl.DataFrame({"x": [1]})
check(lambda: frame.write_parquet("p.parquet"), [], ["p.parquet"])
check(lambda: frame.write_csv("p.csv"), [], ["p.csv"])
check(frame.write_csv, [])
check(lambda: frame.lazy().sink_parquet("s.parquet"), [], ["s.parquet"])
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> object:
    place = environment(tmp_path_factory.mktemp("tables") / "place", sys.executable, ROOT)
    place.install("numpy", "pandas", "polars", "pyarrow", "pydantic>=2.13", "typing-extensions")
    return place


@pytest.mark.parametrize("script", [VALUES, READS], ids=["values", "reads"])
def test_tables_of_polars_and_pyarrow(python: object, tmp_path: Path, script: str) -> None:
    (tmp_path / "script.py").write_text(script)
    python.run(str(tmp_path / "script.py"), cwd=tmp_path)  # type: ignore[attr-defined]
