"""Digests of values: equal for equal content, in every process, and for nothing else."""

from __future__ import annotations

import collections
import copy
import copyreg
import datetime as dt
import decimal
import enum
import fractions
import functools
import io
import itertools
import math
import operator
import pathlib
import pickle
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import types
import uuid
import weakref
import zoneinfo
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mxm
from mxm.pipeline.process.interrupts import note_signal
from mxm.pipeline.values.digest import (
    UndigestibleError,
    digest_of,
    digest_of_file,
    digest_of_names,
)
from mxm.pipeline.values.secrets import Masked

KEY = b"k" * 32


def code(thing: Any) -> str:
    """As fingerprints give it: for what is defined here, its name is its code."""
    return f"{thing.__module__}.{thing.__qualname__}"


def digest(value: Any, **options: Any) -> str:
    return digest_of(value, code=code, **options)


def refusal(value: Any, **options: Any) -> str:
    with pytest.raises(UndigestibleError) as caught:
        digest_of(value, **({"code": code} | options))
    assert str(caught.value) == f"{caught.value.path}: {caught.value.reason}"
    return str(caught.value)


# Every two of these differ, by type or by content


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Config:
    window: int
    lock: Any = None


@dataclass(frozen=True, slots=True)
class Slotted:
    window: int


class Row(NamedTuple):
    window: int


class Model(pydantic.BaseModel):
    window: int
    lock: Any = None


class Text(str):
    pass


class Number(float):
    unit: str = ""


class Plain:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def method(self) -> None: ...

    def other(self) -> None: ...


class Names(list[str]):
    pass


class Table(dict[str, int]):
    pass


class Bag(set[int]):
    pass


class WithState:
    def __init__(self, state: Any) -> None:
        self.own = state

    def __getstate__(self) -> Any:
        return {"kept": self.own}

    def __setstate__(self, state: Any) -> None:
        self.own = state["kept"]


def first() -> None: ...


def second() -> None: ...


def number(value: float, unit: str) -> Number:
    made = Number(value)
    made.unit = unit
    return made


BERLIN, ROME, UTC = zoneinfo.ZoneInfo("Europe/Berlin"), zoneinfo.ZoneInfo("Europe/Rome"), dt.UTC
NOON = dt.datetime(2024, 10, 27, 2, 30)
NANO = np.datetime64("2024-01-01T00:00:00.000000000")
POINT = np.dtype([("x", "f8"), ("y", "i4")], align=True)
FLOATS = np.arange(6.0)


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns or {"x": [1.0, 2.0], "y": ["a", "b"]})


def with_attrs(table: Any) -> Any:
    table.attrs["source"] = "desk"
    return table


def with_unit(array: Any) -> Any:
    made = array.view(Quantity)
    made.unit = "EUR"
    return made


class Quantity(np.ndarray[Any, Any]):
    unit = ""


class OwnFrame(pd.DataFrame):
    _metadata = ["desk"]  # noqa: RUF012 - as pandas has it

    @property
    def _constructor(self) -> Any:
        return OwnFrame


def own_frame(desk: str) -> OwnFrame:
    made = OwnFrame({"x": [1.0, 2.0], "y": ["a", "b"]})
    made.desk = desk
    return made


DIFFERENT: list[Any] = [
    # Builtins
    None, ..., NotImplemented, False, True, 0, 1, -1, 2**63, -(2**70), 10**6000,
    0.0, -0.0, 1.0, math.inf, -math.inf, math.nan, 1j, complex(0, -1), complex(-0.0, 1), "", "1", "a", "ab",
    "a\0b", "\ud800", "é", "e\u0301", b"", b"a", bytearray(b"a"), memoryview(b"a"), Text("a"), Number(1.0),
    number(1.0, "EUR"), range(3), range(0, 3, 2), slice(1, 2), slice(None, 2),
    [], (), {}, set(), frozenset(), [1], (1,), {1}, frozenset({1}), [None], [[]], [()], [{}], [[], []], [[[]]],
    ["a", "b"], ["ab", ""], ["", "ab"], ["b", "a"], ["a\0", "b"], ["a", "\0b"], ["a\0b"], [b"a", b"b"], [b"ab", b""],
    [1, True], [True, 1], [1, 1], [1, 1.0], [1.0, 1], [0.0, -0.0], [1, "a", 2], [1, 2, "a"], ["a", 1, 2],
    {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2, "b": 1}, {1: "a"}, {True: "a"}, {1.0: "a"}, {"a": {"b": 1}},
    [("a", 1)], [["a", 1]], [("a", 1), ("b", 2)], [["a", 1], ["b", 2]], [("a", 1), ["b", 2]],
    [{"a": 1}, {"a": 2}], [{"a": 1}, {"a": True}], [{"a": 1}, {"b": 1}], [{1: 1}, {1: 2}], [{1: 1}, {True: 2}],
    [{"a": [1]}, {"a": [2]}], [{"a": [1]}, {"a": [1, 2]}], [{"a": 1, "b": 2}, {"b": 2, "a": 1}],
    [{"a": 1, "b": 2}] * 2, [{}, {}], [(), ()], {1, 2}, {"1", "2"}, {(1, 2)}, {1, "1"},
    types.MappingProxyType({"a": 1}), types.SimpleNamespace(a=1), types.SimpleNamespace(a=2),
    collections.OrderedDict(a=1), collections.defaultdict(int, a=1), collections.defaultdict(list, a=1),
    collections.Counter("a"), collections.deque([1]), collections.deque([1], 3), Names(["a"]), Table(a=1), Bag({1}),
    # Of the standard library
    decimal.Decimal(1), decimal.Decimal("1.0"), decimal.Decimal("1.00"), decimal.Decimal("-0"), decimal.Decimal("0"),
    decimal.Decimal("NaN"), decimal.Decimal("sNaN"), decimal.Decimal("1E+2"), decimal.Decimal(100),
    fractions.Fraction(1), fractions.Fraction(10**5000, 3), uuid.UUID(int=1), dt.date(2024, 1, 1),
    NOON, NOON.replace(fold=1), NOON.replace(tzinfo=BERLIN), NOON.replace(tzinfo=BERLIN, fold=1), NOON.replace(tzinfo=ROME),
    NOON.replace(tzinfo=UTC), NOON.replace(microsecond=1), dt.time(1), dt.time(1, fold=1), dt.time(1, tzinfo=UTC),
    [NOON, NOON.replace(tzinfo=UTC)], [NOON.replace(tzinfo=UTC), NOON], dt.timedelta(1), dt.timedelta(microseconds=1),
    UTC, BERLIN, dt.timezone(dt.timedelta(hours=1)), dt.timezone(dt.timedelta(hours=1), "CET"),
    pathlib.Path("a"), pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("a"), re.compile("a"), re.compile("a", re.I),
    Colour.RED, Colour.BLUE, Level.LOW, Right.READ, Right.READ | Right.WRITE, Colour, Level,
    ValueError("a"), ValueError("b"), KeyError("a"), random.Random(1), random.Random(2),
    # Functions and classes
    len, print, str.upper, "a".upper, "b".upper, [].append, first, second, Plain, Config, int, operator.itemgetter(1),
    operator.attrgetter("a"), functools.partial(first), functools.partial(first, 1), functools.partial(first, a=1),
    functools.partial(second), Plain(a=1).method, Plain(a=1).other, Plain(a=2).method, list[int], int | None,
    # Objects
    Config(1), Config(2), Config(1, lock=[]), Slotted(1), Slotted(2), Row(1), Row(2), Model(window=1), Model(window=2),
    Model(window=1, lock=None), Plain(), Plain(a=1), Plain(a=1, b=2), Plain(b=2, a=1), WithState(1), WithState(2),
    # NumPy
    FLOATS, FLOATS.astype("f4"), FLOATS.astype(int), FLOATS.reshape(2, 3), FLOATS.reshape(3, 2),
    FLOATS.reshape(1, 6), FLOATS[::-1], FLOATS[:5], np.array(1.0), np.array([1.0]), np.float64(1), np.float32(1), np.int64(1),
    np.longdouble(1), np.array([1, 2], np.longdouble), np.bool_(True), np.str_("a"), np.bytes_(b"a"), np.array([]), np.array([], int),
    np.empty((0, 2)), np.empty((2, 0)), np.array([0.0]), np.array([-0.0]), np.array([np.nan]), np.array([np.nan], "f4"),
    np.array([1j]), np.array([True]), np.array(["a"]), np.array(["ab"]), np.array([b"a"]), np.array(["a"], object),
    np.array([1, "a"], object), np.array([None], object), np.array([1], object), np.array([True], object), np.array([[1]], object),
    NANO, NANO.astype("M8[us]"), NANO.astype("M8[D]"), np.datetime64("NaT", "s"), np.datetime64("NaT", "ns"), np.timedelta64(1, "D"),
    np.timedelta64(1, "h"), np.array([NANO]), np.array([NANO.astype("M8[s]")]), np.zeros(2, POINT), np.ones(2, POINT),
    np.zeros(2, [("y", "f8"), ("x", "i4")]), np.zeros(2, [("x", "f8"), ("y", "i4")]), np.zeros(2, [("x", "f8", 2)]),
    np.zeros(2, [("x", object)]), np.dtype("f8"), np.dtype("f4"), np.dtype(">f8"), POINT, np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0]),
    np.ma.array([1, 2]), np.ma.array([1, 2], mask=[0, 1], fill_value=7), with_unit(FLOATS), FLOATS.view(Quantity),
    np.zeros(2, [("x", "f8")]).view(np.recarray), np.add, np.random.default_rng(1), np.random.default_rng(2), np.dtype("T"), np.array(["a"], "T"),
    [np.float64(1), np.float64(2)], [np.float64(1), np.float32(2)], [1.0, np.float64(2)], [np.timedelta64(1, "h"), np.timedelta64(1, "D")],
    # pandas
    frame(), frame().iloc[::-1], frame()[["y", "x"]], with_attrs(frame()), frame().set_axis([1, 2]), frame().set_axis(["a", "b"]),
    frame().rename_axis("when"), frame().rename_axis(columns="what"), frame().rename(columns={"x": "z"}), frame().astype({"x": "f4"}),
    frame().astype({"x": "Float64"}), frame().astype({"y": object}), frame().astype({"y": "category"}), frame(x=[1.0, np.nan], y=["a", "b"]),
    frame(x=[1.0, 2.0], y=["a", None]), frame(x=[1.0, 2.0]), frame(x=[1.0, 2.0]).T, frame().set_flags(allows_duplicate_labels=False),
    own_frame("rates"), own_frame("fx"), pd.DataFrame(), pd.DataFrame(index=[1]), pd.DataFrame(columns=["x"]),
    frame()["x"], frame()["x"].rename("z"), frame()["x"].rename(None), with_attrs(frame()["x"]), pd.Series([1]), pd.Series([1.0]), pd.Series([True]),
    pd.Series([1], dtype=object), pd.Series([True], dtype=object), pd.Series([1.0], dtype=object), pd.Series([None], dtype=object),
    pd.Series([np.nan], dtype=object), pd.Series([pd.NA], dtype=object), pd.Series([pd.NaT], dtype=object), pd.Series([decimal.Decimal(1)]),
    pd.Series([1, None], dtype="Int64"), pd.Series([None, 1], dtype="Int64"), pd.Series([1, 0], dtype="Int64"), pd.Series([1, 0], dtype="Int32"), pd.Series([True, None], dtype="boolean"),
    pd.Series(["a"], dtype=pd.StringDtype("python")), pd.Series(["a"], dtype=pd.StringDtype("python", na_value=np.nan)),
    pd.Categorical(["a"], ["a", "b"]), pd.Categorical(["a"], ["b", "a"]), pd.Categorical(["a"], ["a"]), pd.Categorical(["a"], ["a", "b"], ordered=True),
    pd.Series(["a"], dtype="category"), pd.CategoricalIndex(["a"]), pd.Series([0.0, 0.0, 1.0], dtype="Sparse[float]"), pd.Series([0.0, 1.0, 1.0], dtype="Sparse[float]"),
    pd.date_range("2024", periods=3), pd.date_range("2024", periods=3, freq="B"), pd.DatetimeIndex(["2024-01-01", "2024-01-02", "2024-01-03"]),
    pd.date_range("2024", periods=3, tz="UTC"), pd.date_range("2024", periods=3, tz="Europe/Berlin"), pd.date_range("2024", periods=3, unit="s"),
    pd.Series(pd.date_range("2024", periods=3, tz="Europe/Berlin")), pd.Series(pd.date_range("2024", periods=3)), pd.timedelta_range("1D", periods=3),
    pd.period_range("2024", periods=3, freq="D"), pd.period_range("2024-01", periods=3, freq="M"), pd.interval_range(0, 3), pd.interval_range(0, 3, closed="left"),
    pd.RangeIndex(3), pd.RangeIndex(0, 3, 2), pd.RangeIndex(3, name="x"), pd.Index([0, 1, 2]), pd.Index([0, 1, 2], name="x"), pd.Index(["a"]), pd.Index(["a"], dtype=object),
    pd.MultiIndex.from_product([[1], ["a"]]), pd.MultiIndex.from_product([[1], ["a"]], names=["x", None]), pd.MultiIndex.from_product([[1], ["a", "b"]])[:1],
    pd.Timestamp("2024"), pd.Timestamp("2024", tz="UTC"), pd.Timestamp("2024").as_unit("s"), pd.Timedelta("1D"), pd.Period("2024", "D"), pd.Period("2024", "M"), pd.Interval(0, 1), pd.Interval(0, 1, "left"),
    pd.NaT, pd.NA, pd.offsets.Day(1), pd.offsets.Day(2), pd.offsets.BDay(1), pd.offsets.CustomBusinessDay(holidays=["2024-01-01"]), pd.offsets.CustomBusinessDay(), pd.DateOffset(months=1), pd.DateOffset(days=1),
    pd.CategoricalDtype(["a"]), pd.CategoricalDtype(["b"]), pd.Int64Dtype(), pd.DatetimeTZDtype("ns", "UTC"),
]  # fmt: skip


def test_no_two_contents_or_types_have_one_digest() -> None:
    seen: dict[str, list[Any]] = {}
    for value in DIFFERENT:
        seen.setdefault(digest(value), []).append(value)
    assert [values for values in seen.values() if len(values) > 1] == []


@pytest.mark.parametrize("number", range(len(DIFFERENT)))
def test_copies_have_the_digest_of_the_original(number: int) -> None:
    value = DIFFERENT[number]
    if isinstance(value, memoryview | types.MappingProxyType):  # nothing copies them
        return
    if isinstance(value, Quantity) and value.unit == "EUR":  # pickle does not keep its attributes
        return
    assert digest(pickle.loads(pickle.dumps(value))) == digest(value)
    assert digest(copy.deepcopy(value)) == digest(value)


SCRIPT = """
import sys, pickle
sys.path.insert(0, {folder!r})
import test_digest
print(*map(test_digest.digest, test_digest.DIFFERENT), sep="\\n")
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_another_process_makes_the_same_digests(seed: str) -> None:
    script = SCRIPT.format(folder=str(pathlib.Path(__file__).parent))
    env = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", script], env=env, text=True, capture_output=True)
    assert done.stdout.split("\n")[:-1] == list(map(digest, DIFFERENT)), done.stderr


def test_a_digest_names_its_algorithm() -> None:
    assert re.fullmatch("sha256-[0-9a-f]{64}", digest_of(1))
    assert re.fullmatch("hmac-sha256-[0-9a-f]{64}", digest_of(1, key=KEY))


# Generated values: equal content is an equal digest, and nothing else is

ATOMS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.integers()
    | st.sampled_from([0.0, -0.0, 1.0, math.nan, 1e300])
    | st.text("ab\0", max_size=3)
    | st.binary(max_size=2)
    | st.sampled_from([NOON, NOON.replace(fold=1), dt.date(2024, 1, 1), decimal.Decimal("1.0"), Colour.RED])
)  # fmt: skip
KEYS: st.SearchStrategy[Any] = st.text("ab", max_size=2) | st.integers(0, 1) | st.booleans()
ARRAYS = st.builds(
    lambda dtype, items: np.array(items, dtype),
    st.sampled_from(["f8", "i4", "M8[ns]", "U2", object]),
    st.lists(st.integers(0, 3), max_size=3),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    ATOMS | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.lists(st.fixed_dictionaries({"a": inner, "b": inner}), max_size=3)
        | st.lists(st.tuples(inner, inner), max_size=3)
        | st.sets(KEYS, max_size=3)
        | st.builds(Config, inner, inner)
    ),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """Whether two generated values have the same types and content; written without hashing."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other) or (one != one and other != other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, set):
        return len(one) == len(other) and all(any(same(x, y) for y in other) for x in one)
    if isinstance(one, Config):
        return same(vars(one), vars(other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and same(one.tolist(), other.tolist())
    if isinstance(one, dt.datetime):
        return one == other and one.fold == other.fold
    return bool(one == other)


@given(st.lists(VALUES, min_size=2, max_size=6))
def test_equal_content_is_an_equal_digest(values: list[Any]) -> None:
    for one, other in itertools.combinations(values, 2):
        assert same(one, other) == (digest(one) == digest(other)), (one, other)


@given(VALUES)
def test_a_pickled_copy_has_the_same_digest(value: Any) -> None:
    assert digest(pickle.loads(pickle.dumps(value))) == digest(value)


@given(VALUES, st.randoms(use_true_random=False))
def test_a_change_anywhere_is_another_digest(value: Any, rng: random.Random) -> None:
    before, changed = digest([value, [value]]), copy.deepcopy([value, [value]])
    places = list(_places(changed))
    owner, key = places[rng.randrange(len(places))]
    owner[key] = (owner[key], "changed")
    assert digest(changed) != before


def _places(value: Any) -> Any:
    if isinstance(value, list | dict):
        for key in range(len(value)) if isinstance(value, list) else list(value):
            yield value, key
            yield from _places(value[key])


# What does not count


def test_every_nan_is_the_same() -> None:
    odd = struct.unpack("d", struct.pack("Q", 0x7FF8_0000_0000_0001))[0]
    assert digest(odd) == digest(-math.nan) == digest(math.nan)
    assert digest([1.0, odd]) == digest([1.0, math.nan])
    assert digest(complex(odd, 1)) == digest(complex(math.nan, 1))
    for kind in ("f8", "f4", "f2", "c16", ">f8", np.longdouble):
        array = np.array([1, math.nan], kind)
        other = array.copy()
        other.view(np.uint8)[array.itemsize + (0 if kind != ">f8" else 7)] ^= 1  # its payload
        assert np.isnan(other[1])
        assert digest(other) == digest(array) != digest(array[::-1]), kind


def test_bytes_that_a_long_double_does_not_use_do_not_count() -> None:
    array = np.array([1, 2], np.longdouble)
    other = array.copy()
    if np.finfo(np.longdouble).nmant == 63 and array.itemsize == 16:
        other.view(np.uint8)[10:16] = 7
    assert (array == other).all()
    assert digest(array) == digest(other)


def test_where_an_array_is_in_memory_does_not_count() -> None:
    wide = np.arange(24.0).reshape(4, 6)
    for view in (wide[::2, ::3], wide.T, np.asfortranarray(wide), wide[:, 1:2], wide[::-1, ::-1]):
        assert digest(view) == digest(np.ascontiguousarray(view))
    long = np.arange(600_000.0)
    assert digest(long[::2]) == digest(long[::2].copy())
    big = np.asfortranarray(np.arange(600_000.0).reshape(2, 300_000))
    assert digest(big) == digest(np.ascontiguousarray(big))


def test_the_order_of_bytes_does_not_count() -> None:
    for kind in ("f8", "i4", "U2", "M8[s]", [("x", "f8"), ("y", "i2")]):
        array = np.array([1, 2]).astype(kind)
        assert digest(array.astype(array.dtype.newbyteorder(">"))) == digest(array)


def test_bytes_between_the_fields_of_a_record_do_not_count() -> None:
    one, other = np.zeros(2, POINT), np.zeros(2, POINT)
    other.view(np.uint8)[12:16] = 9  # behind y
    assert digest(one) == digest(other)


def test_a_map_of_a_file_counts_as_its_array(tmp_path: pathlib.Path) -> None:
    mapped = np.memmap(tmp_path / "a", "f8", "w+", shape=(3,))
    assert digest(mapped) == digest(np.zeros(3))


def test_what_is_under_a_missing_value_does_not_count() -> None:
    one, other = pd.array([1, 2], dtype="Int64"), pd.array([1, 3], dtype="Int64")
    one[1] = other[1] = pd.NA
    assert digest(one) == digest(other)


def test_blocks_of_a_frame_do_not_count() -> None:
    one = pd.DataFrame({"x": [1.0, 2.0], "n": [1, 2], "y": [3.0, 4.0]})
    other = pd.DataFrame({"x": [1.0, 2.0], "n": [1, 2]})
    other["y"] = [3.0, 4.0]
    assert digest(one) == digest(other)


def test_the_settings_of_decimals_do_not_count() -> None:
    before = digest(decimal.Decimal("1E+30"))
    with decimal.localcontext() as context:
        context.capitals = 0
        assert digest(decimal.Decimal("1E+30")) == before


def test_whether_a_part_is_shared_does_not_count() -> None:
    part = [1]
    assert digest([part, part]) == digest([[1], [1]])
    row = {"a": 1}
    assert digest([row, row]) == digest([{"a": 1}, {"a": 1}])
    assert digest([Plain(a=part), part]) == digest([Plain(a=[1]), [1]])


def test_the_order_of_a_set_does_not_count() -> None:
    for made in (set, frozenset, Bag):
        for items in ([8, 0, 16, 1], ["a", 1, (2,)]):
            assert digest(made(items)) == digest(made(reversed(items)))


def test_the_kept_value_of_a_cached_property_does_not_count() -> None:
    class Lazy:
        def __init__(self) -> None:
            self.a = 1

        @functools.cached_property
        def total(self) -> int:
            return 5

    lazy = Lazy()
    before = digest(lazy)
    assert lazy.total == 5
    assert digest(lazy) == before


def test_what_a_look_at_a_sparse_matrix_found_out_does_not_count() -> None:
    Matrix = type("csr_matrix", (Plain,), {"__module__": "scipy.sparse._csr"})
    matrix = Matrix(data=[1])
    before = digest(matrix)
    matrix._has_sorted_indices = True
    assert digest(matrix) == before
    matrix.data.append(2)
    assert digest(matrix) != before


# Circles, shared parts, depth


def test_circles_have_digests() -> None:
    def ring(*items: Any) -> list[Any]:
        made: list[Any] = list(items)
        made.append(made)
        return made

    assert digest(ring(1)) == digest(ring(1)) != digest(ring(2))
    assert digest(ring()) != digest([ring()])
    row: dict[str, Any] = {"a": 1}
    row["self"] = row
    other: dict[str, Any] = {"a": 1}
    other["self"] = {"a": 1, "self": other}
    rows = [row, row]
    assert digest(rows) == digest(pickle.loads(pickle.dumps(rows))) != digest([other, other])
    rows = [{"a": 1, "all": None}, {"a": 2, "all": None}]
    for one in rows:
        one["all"] = rows
    assert digest(rows) == digest(pickle.loads(pickle.dumps(rows)))
    node, child = Plain(), Plain()
    node.child, child.parent = child, node
    assert digest(node) == digest(copy.deepcopy(node)) != digest(child)
    array = np.empty(2, object)
    array[0] = array
    assert digest(array)


def test_a_part_inside_a_circle_counts_where_it_is() -> None:
    # `low` refers to the one that it is in: read in two places, it is two things.
    def made(same: bool) -> list[Any]:
        one: list[Any] = [1]
        low = [one]
        one.append(low)
        two: list[Any] = [1]
        two.append([two] if same else [one])
        return [one, two]

    assert digest(made(True)) != digest(made(False))


def test_shared_parts_are_read_once() -> None:
    tree: Any = [1]
    for _ in range(60):
        tree = [tree, {"a": tree}]
    rows: Any = {"a": 1}
    for _ in range(60):
        rows = {"b": [rows, rows]}
    assert digest(tree)
    assert digest(rows)


def test_a_value_nested_too_deep_is_refused() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    message = refusal(deep)
    assert message.startswith("value[0][0]")
    assert message.endswith("... : a list is nested too deep".replace("... :", "...:"))


def test_circles_that_cross_in_too_many_ways_are_refused() -> None:
    nodes: list[Any] = [[] for _ in range(12)]
    for node in nodes:
        node.extend(nodes)
    assert "refers to itself in too many ways" in refusal(nodes)


def test_long_lists_are_read_in_pieces() -> None:
    long = [f"a{i}" for i in range(150_000)]
    changed = [*long]
    changed[-1] = "b"
    assert digest(long) == digest([*long]) != digest(changed)
    assert digest(long) != digest(long[:-1])
    changed[140_000] = threading.Lock()
    assert refusal(changed).startswith("value[140000]: ")


# Secrets, paths, code


def test_a_run_counts_by_its_id_as_it_is_compared() -> None:
    @mxm.task
    def load() -> Any:
        return threading.Lock()  # which has no content

    @mxm.flow
    def f() -> Any:
        return load()

    first, second = (f.with_options(backend="inline").run() for _ in range(2))
    assert digest(first) == digest(copy.copy(first)) != digest(second)
    assert digest([first, second]) != digest([second, first])


def test_secrets_need_the_key_of_the_store() -> None:
    secret = pydantic.SecretStr("hunter2")
    assert refusal({"token": secret}).startswith("value['token']: a pydantic.types.SecretStr has")
    assert "hunter2" not in refusal(secret)
    kept = digest(secret, key=KEY)
    assert kept == digest(pydantic.SecretStr("hunter2"), key=KEY)
    assert kept != digest(secret, key=b"other" * 8)
    assert kept != digest(pydantic.SecretStr("hunter3"), key=KEY)
    assert digest(Masked("a"), key=KEY) != digest(Masked("b"), key=KEY)


def test_with_a_key_no_digest_can_be_guessed() -> None:
    assert digest(1, key=KEY) not in {digest(1), digest(1, key=b"other" * 8)}


def test_paths_below_the_root_count_relative_to_it() -> None:
    def both(value: str) -> list[Any]:
        return [
            value,
            pathlib.Path(value),
            [value, value],
            {value: 1},
            {value, "/z"},
            pd.Series([value], dtype=object),
        ]

    here = list(map(lambda v: digest(v, root="/desk/a"), both("/desk/a/data/x.csv")))
    there = list(map(lambda v: digest(v, root="/c/"), both("/c/data/x.csv")))
    assert here == there
    assert digest("/desk/a", root="/desk/a") == digest("/c", root="/c")
    for value in ("/desk/ab/x", "see /desk/a/x", "/elsewhere/x"):
        assert digest(value, root="/desk/a") == digest(value)
    assert digest("/data/x.csv", root="/desk/a") != here[0]
    assert digest(["/desk/a/x", "b"], root="/desk/a") != digest(["/x", "b"], root="/desk/a")


def test_functions_and_classes_count_by_their_code() -> None:
    def coded(text: str, value: Any) -> str:
        return digest_of(value, code=lambda thing: text)

    for value in (first, Plain, Plain(a=1), Config(1), Colour.RED, Row(1), Model(window=1), own_frame("a"),
                  with_unit(FLOATS), functools.partial(first), Plain().method, Names()):  # fmt: skip
        assert coded("old", value) == coded("old", value) != coded("new", value)
        assert "counts by its code, which is not known here" in refusal(value, code=None)
    for value in (len, dt.date(2024, 1, 1), collections.deque([1]), np.add, pd.Series([1]), UTC, BERLIN,
                  re.compile("a"), Masked, ValueError("a"), np.random.default_rng(1)):  # fmt: skip
        assert coded("old", value) == coded("new", value) == digest_of(value)


def test_a_module_with_the_name_of_a_standard_one_is_code(tmp_path: pathlib.Path) -> None:
    (tmp_path / "calendar.py").write_text("def when(): ...\n")
    script = (
        "import sys; sys.path.insert(0, '.'); import calendar\n"
        "from mxm.pipeline.values.digest import digest_of\n"
        "print(digest_of(calendar.when, code=lambda t: 'a') != digest_of(calendar.when, code=lambda t: 'b'))"
    )
    env = {"PYTHONPATH": ":".join([str(tmp_path), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, text=True, capture_output=True)  # fmt: skip
    assert done.stdout == "True\n", done.stderr


# What has no content


def test_what_has_no_content_is_refused_with_the_way_to_it() -> None:
    lock = threading.Lock()
    assert refusal(lock) == "value: a _thread.lock has no content"
    assert (
        refusal({"config": Config(1, lock)})
        == "value['config'].lock: a _thread.lock has no content"
    )
    assert refusal([1, "a", (2, lock)]) == "value[2][1]: a _thread.lock has no content"
    assert refusal([{"a": 1}, {"a": lock}]) == "value[1]['a']: a _thread.lock has no content"
    assert refusal([(1, [lock]), (2, [lock])]) == "value[0][1][0]: a _thread.lock has no content"
    assert refusal([[1], [lock]]) == "value[1][0]: a _thread.lock has no content"
    assert refusal(Model(window=1, lock=lock)) == "value.lock: a _thread.lock has no content"
    assert refusal(Plain(a=[lock])) == "value.a[0]: a _thread.lock has no content"
    assert refusal(collections.OrderedDict(a=lock)) == "value['a']: a _thread.lock has no content"
    assert (
        refusal(types.MappingProxyType({"a": lock})) == "value['a']: a _thread.lock has no content"
    )
    assert refusal(pd.DataFrame({"x": [1, lock]})) == "value['x'][1]: a _thread.lock has no content"
    assert refusal(pd.Series([lock])) == "value[0]: a _thread.lock has no content"
    assert refusal(with_lock(frame(), lock)) == "value.attrs['lock']: a _thread.lock has no content"
    assert refusal(np.array([None, lock])) == "value[1]: a _thread.lock has no content"
    assert refusal({Held(lock)}) == "value{...}.lock: a _thread.lock has no content"
    assert refusal({1, Held(lock)}, name="prices").startswith("prices{...}.lock: ")
    assert refusal(Row(lock)) == "value.window: a _thread.lock has no content"  # type: ignore[arg-type]


def with_lock(table: pd.DataFrame, lock: Any) -> pd.DataFrame:
    table.attrs["lock"] = lock
    return table


class Held:
    def __init__(self, lock: Any) -> None:
        self.lock = lock


def test_iterators_open_files_and_the_like_are_refused() -> None:
    with open(__file__) as file, socket.socket() as connection:
        for value in (iter([1]), iter({1: 2}), (i for i in ()), zip([1]), map(str, [1]), enumerate([1]), itertools.count(),
                      reversed([1]), file, io.StringIO("a"), connection, object(), sys, weakref.ref(Plain), sys._getframe(),
                      threading.Event(), {}.keys()):  # fmt: skip
            assert refusal([value]).startswith("value[0]"), value


class Raises:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise self.error


class Bottom(BaseException):
    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), SystemExit(1), Bottom(), GeneratorExit(), MemoryError(), TypeError("x")],
)
def test_code_of_users_may_raise_anything(error: BaseException) -> None:
    assert refusal([1, Raises(error)]).startswith("value[1]: a test_digest.Raises cannot be read: ")


def test_a_signal_is_no_refusal() -> None:
    error = KeyboardInterrupt()
    note_signal(error)
    with pytest.raises(KeyboardInterrupt):
        digest_of(Raises(error), code=code)


def test_code_that_answers_nonsense_is_refused() -> None:
    class Odd:
        def __reduce_ex__(self, protocol: Any) -> Any:
            return answers.pop()

    answers: list[Any] = [5, (1,), (1, 2, 3, 4, 5, 6, 7), "missing", (len, None)]
    for _ in range(len(answers)):
        assert refusal(Odd())

    class Endless:
        def __reduce__(self) -> Any:
            return Endless, (Endless(),)

    assert "nested too deep" in refusal(Endless())

    def broken(thing: Any) -> str:
        raise OSError("no source")

    assert "no source" in refusal(Plain(), code=broken)


def test_a_digest_is_not_remembered_by_identity() -> None:
    value = Config(1, [1])
    before = digest(value)
    value.lock.append(2)
    assert digest(value) != before
    value.lock.pop()
    assert digest(value) == before


class Sheet:
    """Its pickle leaves out what it was asked for last, and a lock."""

    def __init__(self, rate: Any) -> None:
        self.rate = rate
        self.lock = threading.Lock()

    def __getstate__(self) -> Any:
        return {}


class Rates(Sheet):
    def __reduce__(self) -> Any:
        return Rates, (1,)


class Derived(Sheet):
    @functools.cached_property
    def table(self) -> list[int]:
        return [1]


class Registered(Sheet):
    __getstate__ = object.__getstate__  # pyright: ignore[reportAssignmentType]


copyreg.pickle(Registered, lambda _: (Registered, (1,)))


@pytest.mark.parametrize("kind", [Sheet, Rates, Derived, Registered])
def test_attributes_that_a_pickle_leaves_out_count(kind: Any) -> None:
    assert digest(kind(1)) == digest(kind(1))
    assert digest(kind(1)) != digest(kind(2))
    assert digest(kind([[1]])) != digest(kind([[2]]))


def test_a_result_kept_by_a_property_is_no_attribute_that_a_pickle_leaves_out() -> None:
    sheet = Derived(1)
    before = digest(sheet)
    assert sheet.table == [1]
    assert digest(sheet) == before


def test_what_a_thread_or_a_context_holds_is_what_it_holds_now() -> None:
    variable: ContextVar[Any] = ContextVar("variable")
    unset = digest(variable)
    variable.set([1])
    one = digest(variable)
    variable.set([2])
    assert len({unset, one, digest(variable)}) == 3
    local = threading.local()
    empty = digest(local)
    local.rate = 1
    one = digest(local)
    local.rate = 2
    assert len({empty, one, digest(local)}) == 3


def test_parts_that_exist_only_while_they_are_read_are_kept_apart() -> None:
    class Made:
        def __init__(self, number: int) -> None:
            self.number = number

        def __reduce__(self) -> Any:
            return Made, ([self.number],)  # a new list at the place of the last one

    values = [Made(number) for number in range(50)]
    assert len({digest(one) for one in values}) == 50
    assert digest(values) != digest([Made(0)] * 50)


def test_types_and_numbers_of_objects_are_counted() -> None:
    types: set[type] = set()
    digest([1, {"a": Config(1, [frame()])}], types=types)
    assert {Config, pd.DataFrame} <= types
    assert float not in types
    assert digest([[1], [2.5]], limit=3) == digest([[1], [2.5]])
    assert (
        refusal([[[1], [2]], [[3], [4]]], limit=2)
        == "value[1][0]: there are too many objects in it"
    )


def test_files_and_folders_count_by_their_content(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_bytes(b"1" * 300_000)
    (tmp_path / "b").write_bytes(b"1" * 300_000)
    assert digest_of_file(tmp_path / "a") == digest_of_file(str(tmp_path / "b"))
    (tmp_path / "b").write_bytes(b"2")
    assert digest_of_file(tmp_path / "a") != digest_of_file(tmp_path / "b")
    before = digest_of_names(tmp_path)
    (tmp_path / "a").write_bytes(b"")
    assert digest_of_names(tmp_path) == before
    (tmp_path / "c").mkdir()
    assert digest_of_names(tmp_path) != before
    with pytest.raises(OSError):
        digest_of_file(tmp_path / "none")


def test_nothing_is_imported() -> None:
    script = (
        "import sys; from mxm.pipeline.values.digest import digest_of\n"
        "digest_of([1, 'a', {'b': 2.0}, {1}, b'a', range(3)])\n"
        "print(*sorted({'numpy', 'pandas', 'polars', 'pyarrow', 'pydantic', 'decimal', 'uuid', 'pathlib'} & set(sys.modules)))"
    )
    env = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], env=env, text=True, capture_output=True
    )
    assert done.stdout.strip() == "", done.stdout + done.stderr
