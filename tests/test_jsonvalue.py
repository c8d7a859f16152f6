from __future__ import annotations

import dataclasses
import enum
import json
import math
from array import array
from collections import OrderedDict, UserDict, UserList, deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import attrs
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ids import stable_id
from pydantic import BaseModel, ConfigDict, RootModel, SecretStr

from mxm.pipeline.errors import ResultError
from mxm.pipeline.values.jsonvalue import to_json


class Side(enum.Enum):
    BUY = "buy"
    BOTH = ("buy", "sell")
    TRADE_DAY = date(2024, 1, 31)


class Level(enum.IntEnum):
    LOW = 1


class Text(str): ...


class Pair(NamedTuple):
    a: Any
    b: Any


@dataclasses.dataclass(frozen=True)
class Trade:
    day: date
    prices: tuple[float, ...] = ()


@attrs.define
class Quote:
    bid: Decimal


class Position(BaseModel):
    day: date
    lots: list[float]
    key: SecretStr = SecretStr("s3cret")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Rows(RootModel[list[int]]): ...


DAY = date(2024, 1, 31)
ZONE = timezone(timedelta(hours=2))
HASH = UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (10**4000, 10**4000),
        (-0.5, -0.5),
        ("é\ud800", "é\ud800"),
        (Text("x"), "x"),
        (Decimal("0.10"), "0.10"),
        (DAY, "2024-01-31"),
        (datetime(2024, 1, 31, 9, 30), "2024-01-31T09:30:00"),
        (datetime(2024, 1, 31, 9, 30, tzinfo=UTC), "2024-01-31T09:30:00+00:00"),
        (time(9, 30, tzinfo=ZONE), "09:30:00+02:00"),
        (timedelta(0), "PT0S"),
        (timedelta(days=3), "P3D"),
        (timedelta(days=1, hours=2, seconds=10), "P1DT2H10S"),
        (timedelta(minutes=30, milliseconds=1), "PT30M0.001S"),
        (timedelta(hours=-36), "-P1DT12H"),
        (timedelta(seconds=100, microseconds=500_000), "PT1M40.5S"),
        (Side.BUY, "buy"),
        (Side.BOTH, ["buy", "sell"]),
        (Side.TRADE_DAY, "2024-01-31"),
        (Level.LOW, 1),
        (PurePosixPath("/data/x.csv"), "/data/x.csv"),
        (HASH, str(HASH)),
        ((1, [2, (3,)]), [1, [2, [3]]]),
        (Pair(1, DAY), [1, "2024-01-31"]),
        ({"a": {"b": ()}}, {"a": {"b": []}}),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (UserDict(a=1), {"a": 1}),
        ({3, 1.5, 2}, [1.5, 2, 3]),
        (frozenset({"b", "a", "c"}), ["a", "b", "c"]),
        ({DAY, date(2023, 1, 1)}, ["2023-01-01", "2024-01-31"]),
        ({frozenset({2, 1}), frozenset({0})}, [[0], [1, 2]]),
        ({1, "a", None, (1,)}, [None, [1], 1, "a"]),
        ({Decimal("10"), Decimal("9")}, ["9", "10"]),
        ({timedelta(days=10), timedelta(days=9)}, ["P9D", "P10D"]),
        ({(10, "a"), (9, "b"), (9, "a")}, [[9, "a"], [9, "b"], [10, "a"]]),
        (deque([2, 1]), [2, 1]),
        (range(3), [0, 1, 2]),
        (array("d", [1.5]), [1.5]),
        (UserList([1]), [1]),
        ({"b": 1, "a": 2}.keys(), ["b", "a"]),
        ({"b": 1, "a": 2}.values(), [1, 2]),
        ({"b": 1}.items(), [["b", 1]]),
        (Trade(DAY, (1.5,)), {"day": "2024-01-31", "prices": [1.5]}),
        (Quote(Decimal("1.0")), {"bid": "1.0"}),
        (
            Position(day=DAY, lots=[1]),
            {"day": "2024-01-31", "lots": [1.0], "key": "**********"},
        ),
        (Open(a=1, b=DAY), {"a": 1, "b": "2024-01-31"}),  # type: ignore[call-arg]
        (Rows([1, 2]), [1, 2]),
        (SecretStr("s3cret"), "**********"),
        (np.bool_(True), True),
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.longdouble(1.5), 1.5),
        (np.str_("x"), "x"),
        (np.datetime64("2024-01-31"), "2024-01-31"),
        (np.datetime64("2024-01-31T09:30"), "2024-01-31T09:30:00"),
        (np.datetime64("2024-01-31T09:30:00.5", "ns"), "2024-01-31T09:30:00.500000"),
        (np.datetime64("NaT", "ns"), None),
        (np.timedelta64(90, "m"), "PT1H30M"),
        (np.timedelta64(1_500, "ns"), "PT0.0000015S"),
        (np.timedelta64(-86_400_000_000_001, "ns"), "-P1DT0.000000001S"),
        (np.timedelta64(7, "10ps"), "PT0.00000000007S"),
        (np.timedelta64("NaT", "ns"), None),
        (np.datetime64("2024-01-31T09:30:00.000000001"), "2024-01-31T09:30:00.000000001"),
        (
            np.array([["2024-01-31T09:30:00.000000001", "NaT"]], dtype="M8[ns]"),
            [["2024-01-31T09:30:00.000000001", None]],
        ),
        (np.array([1, 2_000], dtype="m8[ns]"), ["PT0.000000001S", "PT0.000002S"]),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array(5), 5),
        (np.array([1.5], dtype=np.longdouble), [1.5]),
        (np.array(["2024-01-31"], dtype="datetime64[ns]"), ["2024-01-31T00:00:00"]),
        (np.array([DAY, None], dtype=object), ["2024-01-31", None]),
        (np.ma.masked_array([1, 2], [False, True]), [1, None]),
        (pd.NaT, None),
        (pd.NA, None),
        (pd.Timestamp("2024-01-31", tz="UTC"), "2024-01-31T00:00:00+00:00"),
        (pd.Timedelta("1 days 00:00:00.000000001"), "P1DT0.000000001S"),
        (pd.Series([1, 2]), [1, 2]),
        (pd.Series(pd.to_datetime(["2024-01-31", None])), ["2024-01-31T00:00:00", None]),
        (pd.Series(["a", "b"], dtype="category"), ["a", "b"]),
        (pd.Series([1, None], dtype="Int64"), [1, None]),
        (pd.Index([1, 2]), [1, 2]),
        (pd.RangeIndex(2), [0, 1]),
    ],
    ids=lambda v: stable_id(v)[:50],
)
def test_what_json_has_is_written_without_a_warning(value: Any, written: Any) -> None:
    found = to_json(value)
    assert json.dumps(found.value) == json.dumps(written)
    assert found == to_json(value, strict=True)
    assert (found.nonfinite, found.described) == (0, ())


@pytest.mark.parametrize(
    ("value", "written", "count"),
    [
        (math.nan, None, 1),
        ([math.inf, -math.inf, 1.0], [None, None, 1.0], 2),
        (Decimal("NaN"), None, 1),
        (Decimal("sNaN"), None, 1),
        (Decimal("-Infinity"), None, 1),
        (np.float64("nan"), None, 1),
        (np.float32("inf"), None, 1),
        (np.longdouble("inf"), None, 1),
        (np.array([[1.0, np.nan], [np.nan, 2.0]]), [[1.0, None], [None, 2.0]], 2),
        (pd.Series([1.0, np.nan]), [1.0, None], 1),
        ({math.nan: 1}, {"null": 1}, 1),
        (Trade(DAY, (math.nan,)), {"day": "2024-01-31", "prices": [None]}, 1),
        ({math.nan, 1}, [None, 1], 1),
    ],
    ids=lambda v: stable_id(v)[:50],
)
def test_numbers_that_are_not_finite_become_null_and_are_counted(
    value: Any, written: Any, count: int
) -> None:
    assert to_json(value) == to_json(value, strict=True) == (written, count, ())


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("a", "a"),
        (1, "1"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        (DAY, "2024-01-31"),
        (Side.BUY, "buy"),
        (Decimal("1.0"), "1.0"),
        (np.int64(1), "1"),
        (pd.Timestamp("2024-01-31"), "2024-01-31T00:00:00"),
        (HASH, str(HASH)),
    ],
    ids=stable_id,
)
def test_keys_are_written_by_the_rules_of_values(key: Any, name: str) -> None:
    assert to_json({key: 0}) == ({name: 0}, 0, ())


class Model:
    def __init__(self, name: str = "") -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Model({self.name})"


class Table(pd.DataFrame):
    """As geopandas derives its own."""


class WithUnit(np.ndarray):
    """As units are kept beside numbers: they would be lost."""


def unit_array() -> Any:
    return np.zeros(1).view(WithUnit)


@dataclasses.dataclass
class Unset:
    day: date = dataclasses.field(init=False)


class Broken(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise RuntimeError("gone")

    def __iter__(self) -> Iterator[str]:
        return iter("ab")

    def __len__(self) -> int:
        return 2


class PanicError(BaseException):
    """As polars raises where it fails."""


class Panics:
    @property
    def __class__(self) -> Any:
        raise PanicError

    def __repr__(self) -> str:
        raise SystemExit(0)


LACKING: list[tuple[Any, Any, str, str]] = [
    (b"x", {"type": "bytes", "repr": "b'x'"}, "$", "bytes"),
    ([1, {"rows": (b"x",)}], [1, {"rows": [{"type": "bytes", "repr": "b'x'"}]}],
     "$[1].rows[0]", "bytes"),
    (object(), {"type": "object", "repr": "<object object>"}, "$", "object"),
    (Model("a"), {"type": "test_jsonvalue.Model", "repr": "Model(a)"}, "$", "test_jsonvalue.Model"),
    ({"m": Model("x" * 600)}, {"m": {"type": "test_jsonvalue.Model", "repr": "Model(" + "x" * 494 + "..."}},
     "$.m", "test_jsonvalue.Model"),
    ([Unset()], [{"type": "test_jsonvalue.Unset", "repr": "<unprintable>"}], "$[0]", "test_jsonvalue.Unset"),
    ([math.nan, Broken()], [None, {"type": "test_jsonvalue.Broken", "repr": "<test_jsonvalue.Broken object>"}],
     "$[1]", "test_jsonvalue.Broken"),
    (1j, {"type": "complex", "repr": "1j"}, "$", "complex"),
    (int, {"type": "type", "repr": "<class 'int'>"}, "$", "type"),
    (Trade, {"type": "type", "repr": "<class 'test_jsonvalue.Trade'>"}, "$", "type"),
    (Position, {"type": "pydantic.ModelMetaclass", "repr": "<class 'test_jsonvalue.Position'>"},
     "$", "pydantic.ModelMetaclass"),
    (len, {"type": "builtin_function_or_method", "repr": "<built-in function len>"},
     "$", "builtin_function_or_method"),
    (iter([1]), {"type": "list_iterator", "repr": "<list_iterator object>"}, "$", "list_iterator"),
    (memoryview(b"x"), {"type": "memoryview", "repr": "<memory>"}, "$", "memoryview"),
    (np.complex128(1j), {"type": "complex", "repr": "1j"}, "$", "complex"),
    (np.bytes_(b"x"), {"type": "bytes", "repr": "b'x'"}, "$", "bytes"),
    (np.timedelta64(3, "M"), {"type": "numpy.timedelta64", "repr": "np.timedelta64(3,'M')"},
     "$", "numpy.timedelta64"),
    (np.datetime64("12024-01-01"), {"type": "numpy.datetime64", "repr": "np.datetime64('12024-01-01')"},
     "$", "numpy.datetime64"),
    ([np.array([b"x"])], [[{"type": "bytes", "repr": "b'x'"}]], "$[0][0]", "bytes"),
    (unit_array(), {"type": "test_jsonvalue.WithUnit", "repr": "WithUnit([0.])"},
     "$", "test_jsonvalue.WithUnit"),
    (Trade(DAY, (b"x",)),  # type: ignore[arg-type]
     {"day": "2024-01-31", "prices": [{"type": "bytes", "repr": "b'x'"}]}, "$.prices[0]", "bytes"),
    ({"a": {b"x"}}, {"a": [{"type": "bytes", "repr": "b'x'"}]}, "$.a[]", "bytes"),
    (Open(a=1, **{"1": 2, "b": b""}),  # type: ignore[arg-type]
     {"a": 1, "1": 2, "b": {"type": "bytes", "repr": "b''"}}, "$.b", "bytes"),
    (10**5000, {"type": "int", "repr": "<int>"}, "$", "a whole number of 16610 bits"),
    (pd.Period("2024Q1"), {"type": "pandas.Period", "repr": "Period('2024Q1', 'Q-DEC')"},
     "$", "pandas.Period"),
    (pd.DataFrame([[1, 2]], columns=["x", "x"]),
     {"type": "pandas.DataFrame", "repr": "   x  x\n0  1  2"},
     "$", "a pandas.DataFrame with two columns 'x'"),
    (pd.DataFrame([[1, 2]], columns=[1, "1"]),
     {"type": "pandas.DataFrame", "repr": "   1  1\n0  1  2"},
     "$", "a pandas.DataFrame with two columns '1'"),
    ({1: "a", "1": "b"}, [[1, "a"], ["1", "b"]], "$", "a dict with two keys '1'"),
    ({"x": {DAY: 1, "2024-01-31": 2}}, {"x": [["2024-01-31", 1], ["2024-01-31", 2]]},
     "$.x", "a dict with two keys '2024-01-31'"),
    ({(1, 2): "a", "b": {3}}, [[[1, 2], "a"], ["b", [3]]], "$", "a dict with keys of type tuple"),
    ({frozenset({2, 1}): 0}, [[[1, 2], 0]], "$", "a dict with keys of type frozenset"),
    ({(math.nan,): math.inf}, [[[None], None]], "$", "a dict with keys of type tuple"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "written", "path", "what"), LACKING, ids=[type(row[0]).__name__ for row in LACKING]
)
def test_what_json_lacks_is_described_or_an_error_naming_the_path(
    value: Any, written: Any, path: str, what: str
) -> None:
    found = to_json(value)
    if "<memory>" in json.dumps(written) or "<int>" in json.dumps(written):
        written = {**written, "repr": found.value["repr"]}  # type: ignore[index, call-overload]
        assert len(written["repr"]) < 100
    assert json.dumps(found.value, allow_nan=False) == json.dumps(written)
    assert found.described == (f"{what} at {path}",)
    with pytest.raises(ResultError) as caught:
        to_json(value, strict=True)
    assert str(caught.value).startswith(f"{what} has no JSON form at {path}\n  hint: ")
    assert caught.value.path == path
    assert isinstance(caught.value, TypeError)


def test_what_raises_whatever_it_is_asked_is_described() -> None:
    panics = {"type": "test_jsonvalue.Panics", "repr": "<unprintable>"}
    found = to_json([1, Panics()])
    assert found.value == [1, panics]
    assert found.described == ("test_jsonvalue.Panics at $[1]",)


def test_each_part_that_json_lacks_is_counted_once_and_the_rest_is_written() -> None:
    value = {"a": [b"x", math.nan], ("k",): {"m": Model(), (1, 2): b"y"}, "rows": pd.Series([b"z"])}
    found = to_json(value)
    assert found.nonfinite == 1
    assert found.described == (
        "a dict with keys of type tuple at $",
        "bytes at $[0][1][0]",
        "a dict with keys of type tuple at $[1][1]",
        "test_jsonvalue.Model at $[1][1][0][1]",
        "bytes at $[1][1][1][1]",
        "bytes at $[2][1][0]",
    )


def test_a_dict_in_another_whose_keys_have_no_place_is_written_once() -> None:
    written: list[int] = []

    class Counted(Mapping[Any, Any]):
        def __init__(self, inner: Any) -> None:
            self.inner = {(1,): inner}

        def __getitem__(self, key: Any) -> Any:
            written.append(1)
            return self.inner[key]

        def __iter__(self) -> Iterator[Any]:
            return iter(self.inner)

        def __len__(self) -> int:
            return 1

    value: Any = 1
    for _ in range(30):
        value = Counted(value)
    assert len(to_json(value).described) == 30
    assert len(written) == 30


def test_a_table_of_a_derived_class_is_a_table() -> None:
    written: Any = to_json(Table({"x": [1]})).value
    assert written == {
        "type": "test_jsonvalue.Table",
        "shape": [1, 1],
        "columns": {"x": "int64"},
        "head": [{"x": 1}],
    }


def test_a_description_is_alike_in_every_run() -> None:
    found = [to_json({"f": lambda: 0, "o": [object()]}).value for _ in range(2)]
    assert found[0] == found[1]
    assert "0x" not in json.dumps(found)


def test_bytes_are_cut_before_they_are_shown() -> None:
    found: Any = to_json(bytes(10_000_000)).value
    assert len(found["repr"]) < 600


def itself_in_a_list() -> Any:
    rows: list[Any] = []
    rows.append(rows)
    return rows


def itself_in_a_dict() -> Any:
    tree: dict[str, Any] = {}
    tree["child"] = tree
    return tree


def itself_in_an_array() -> Any:
    array = np.empty(1, dtype=object)
    array[0] = array
    return array


def itself_among_others() -> Any:
    rows: list[Any] = []
    rows += [rows, rows]
    for _ in range(100):
        rows = [rows, 1]
    return rows


def itself_in_an_object() -> Any:
    unset = Unset()
    unset.day = unset  # type: ignore[assignment]
    return unset


@pytest.mark.parametrize(
    "make",
    [
        itself_in_a_list,
        itself_in_a_dict,
        itself_in_an_array,
        itself_among_others,
        itself_in_an_object,
    ],
)
def test_a_value_that_contains_itself_is_described_where_it_does(make: Callable[[], Any]) -> None:
    found = to_json(make())
    assert json.dumps(found.value)
    assert all("that contains itself at $" in what for what in found.described)
    assert 1 <= len(found.described) <= 2
    with pytest.raises(ResultError, match="that contains itself has no JSON form") as caught:
        to_json(make(), strict=True)
    assert len(str(caught.value)) < 300


def test_what_stands_twice_without_containing_itself_is_written_twice() -> None:
    row = [1]
    assert to_json([row, {"row": row}, row]) == ([[1], {"row": [1]}, [1]], 0, ())


@pytest.mark.parametrize("kind", [list, dict, Pair])
def test_what_is_nested_too_deep_is_described_there(kind: Any) -> None:
    value: Any = 1
    for _ in range(900):
        value = Pair(value, 0) if kind is Pair else {"k": value} if kind is dict else [value]
    found = to_json(value)
    assert json.dumps(found.value)
    assert len(found.described) == 1
    assert len(found.described[0]) < 200


@pytest.mark.parametrize(
    ("make", "kind", "dtype"),
    [
        (lambda n: np.zeros(n), "numpy.ndarray", "float64"),
        (lambda n: np.zeros(n, "datetime64[ns]"), "numpy.ndarray", "datetime64[ns]"),
        (lambda n: pd.Series(np.zeros(n)), "pandas.Series", "float64"),
        (lambda n: pd.RangeIndex(n), "pandas.RangeIndex", "int64"),
    ],
)
def test_arrays_and_series_of_more_than_a_thousand_elements_are_described(
    make: Callable[[int], Any], kind: str, dtype: str
) -> None:
    listed = to_json(make(1_000)).value
    assert isinstance(listed, list)
    assert len(listed) == 1_000
    assert to_json(make(1_001)) == ({"type": kind, "shape": [1_001], "dtype": dtype}, 0, ())


def test_an_array_of_many_dimensions_is_described_by_its_elements() -> None:
    assert to_json(np.zeros((2, 501)))[0] == {
        "type": "numpy.ndarray",
        "shape": [2, 501],
        "dtype": "float64",
    }


def test_a_list_is_written_whole_however_long() -> None:
    assert to_json(list(range(1_001)))[0] == list(range(1_001))


def test_a_table_is_always_described() -> None:
    frame = pd.DataFrame(
        {
            "day": pd.to_datetime(["2024-01-31"] * 6),
            "close": [1.5, np.nan, 3.0, 4.0, 5.0, 6.0],
            "lots": [[1, 2]] * 6,
        }
    )
    day = "2024-01-31T00:00:00"
    written, nonfinite, _ = to_json({"table": frame})
    assert nonfinite == 1
    assert written == {
        "table": {
            "type": "pandas.DataFrame",
            "shape": [6, 3],
            "columns": {k: str(t) for k, t in frame.dtypes.items()},
            "head": [
                {"day": day, "close": close, "lots": [1, 2]} for close in (1.5, None, 3.0, 4.0, 5.0)
            ],
        }
    }


CELLS: list[tuple[Any, list[Any], int]] = [
    (np.array([1.5, np.nan, np.inf]), [1.5, None, None], 2),
    (pd.array([1.5, None, math.inf], dtype="Float64"), [1.5, None, None], 1),
    (np.array(["a", np.nan, None], dtype=object), ["a", None, None], 0),
    (np.array([1.5, np.nan, math.inf], dtype=object), [1.5, None, None], 1),
    (pd.array(["a", None, "b"], dtype="string"), ["a", None, "b"], 0),
    (pd.Categorical([1.5, None, 2.0]), [1.5, None, 2.0], 0),
    (pd.array([1, None, 2], dtype="Int64"), [1, None, 2], 0),
    (pd.to_datetime(["2024-01-31", None, None]), ["2024-01-31T00:00:00", None, None], 0),
]


@pytest.mark.parametrize(("cells", "written", "count"), CELLS, ids=lambda v: stable_id(v)[:30])
def test_missing_values_are_not_counted_and_numbers_are_alike_in_tables_and_series(
    cells: Any, written: list[Any], count: int
) -> None:
    assert to_json(pd.Series(cells)) == (written, count, ())
    table, nonfinite, _ = to_json(pd.DataFrame({"x": cells}))
    assert isinstance(table, dict)
    assert (table["head"], nonfinite) == ([{"x": v} for v in written], count)


@pytest.mark.parametrize(
    ("index", "labels"),
    [
        (["SPY", "QQQ"], ["SPY", "QQQ"]),
        (pd.to_datetime(["2024-01-31"] * 2), ["2024-01-31T00:00:00"] * 2),
        (pd.period_range("2024Q1", periods=2, freq="Q"), ["2024Q1", "2024Q2"]),
        (pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]), [["a", 1], ["b", 2]]),
    ],
)  # fmt: skip
def test_a_table_shows_the_labels_of_its_rows(index: Any, labels: list[Any]) -> None:
    written: Any = to_json(pd.DataFrame({"x": [1, 2]}, index=index))[0]
    assert written["index"] == labels


def test_columns_of_a_table_are_written_as_keys() -> None:
    frame = pd.DataFrame([[1, 2, 3]], columns=[pd.Timestamp("2024-01-31"), 7, ("a", "b")])
    written: Any = to_json(frame)[0]
    assert list(written["columns"]) == ["2024-01-31T00:00:00", "7", "('a', 'b')"]
    assert list(written["head"][0].values()) == [1, 2, 3]


def test_an_empty_table_is_described() -> None:
    assert to_json(pd.DataFrame())[0] == {
        "type": "pandas.DataFrame",
        "shape": [0, 0],
        "columns": {},
        "head": [],
    }


scalars: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.decimals()
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.timedeltas()
    | st.uuids()
    | st.sampled_from([*Side, Level.LOW, pd.NaT, pd.NA])
    | st.builds(np.float32, st.floats(width=32))
    | st.builds(np.datetime64, st.datetimes(), st.sampled_from(["D", "s", "us"]))
    | st.binary(max_size=3)
    | st.builds(object)
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.sets(st.integers() | st.text(max_size=3) | st.dates() | st.booleans(), max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.dictionaries(st.text(max_size=3) | st.tuples(st.integers()), inner, max_size=4)
        | st.builds(Trade, st.dates(), st.lists(st.floats(), max_size=3).map(tuple))
        | st.lists(st.floats(), max_size=4).map(np.array)
        | st.lists(inner, max_size=3).map(lambda items: pd.Series(items, dtype=object))
    ),
    max_leaves=12,
)


@given(values)
def test_what_is_written_is_strict_json_and_stays_as_it_is(value: Any) -> None:
    written = to_json(value)
    text = json.dumps(written.value, allow_nan=False)
    assert json.loads(text) == written.value
    assert to_json(written.value) == (written.value, 0, ())
    assert to_json(value) == written


@given(st.sets(st.integers() | st.text(max_size=3) | st.dates() | st.floats(allow_nan=False)))
def test_a_set_is_written_alike_whatever_its_order(value: set[Any]) -> None:
    backwards = set(reversed(list(value)))
    assert to_json(frozenset(backwards)) == to_json(value)
