"""Values as types: what passes as it is, and what becomes what the annotation says."""

from __future__ import annotations

import collections.abc as abc
import enum
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Literal, Optional, Required, TypedDict
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
import typing_extensions
from hypothesis import given
from ids import stable_id
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    with_config,
)
from typed_values import Level, Model, Pair, Row, Side, Window, annotated_values

from mxm.pipeline.errors import PipelineError
from mxm.pipeline.introspection.annotations import parts_of
from mxm.pipeline.values import validation
from mxm.pipeline.values.compatibility import Fit, fit
from mxm.pipeline.values.conversion import Text, coerce
from mxm.pipeline.values.examples import example_of
from mxm.pipeline.values.jsonvalue import to_json
from mxm.pipeline.values.membership import is_instance


class Book(TypedDict, total=False):
    rows: Required[list[Row]]
    inner: Book


class Small(TypedDict):
    size: Annotated[int, Field(gt=0)]


@with_config(ConfigDict(extra="forbid"))
class Closed(typing_extensions.TypedDict):
    a: int


class Numbers(list[int]): ...


class Word(str): ...


DAY, NOON = date(2024, 1, 31), datetime(2024, 1, 31, 12)
Shout = Annotated[str, AfterValidator(str.upper)]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (list[int], Numbers([1])),
        (list[int], [True]),
        (list[str], [Word("x")]),
        (list[date], [NOON]),
        (date | None, NOON),
        (list[float], [1, 2.5, float("nan"), np.float64(1)]),
        (list, [object()]),
        (list[Any], [object()]),
        (dict[str, list[int]], OrderedDict(a=[1])),
        (Mapping[str, int], MappingProxyType({"a": 1})),
        (Counter[str], Counter("aab")),
        (Sequence[int], (1, 2)),
        (Sequence[int], range(3)),
        (Sequence[int], deque([1])),
        (Collection[float], np.array([1.5])),
        (abc.Set[int], {1}),
        (Iterable[int], [1]),
        (Iterable[str], {"a": 1}),
        (Iterable[int], iter("ab")),  # what is read once only is not looked into
        (tuple[int, str], (1, "a")),
        (tuple[int, ...], ()),
        (tuple[()], ()),
        (list[list[float]], [[1.5], [1]]),
        (list[int | str], [1, "a"]),
        (list[Side | None], [Side.BUY, None]),
        (Literal["a", 1], 1),
        (list[Literal["a", 1]], ["a", 1]),
        (Model, Model(name="x")),
        (list[Model], [Model(name="x")]),
        (dict[str, Window], {"a": Window(1)}),
        (Pair, Pair(1)),
        (list[pd.DataFrame], [pd.DataFrame()]),
        (Row, {"day": DAY, "more": 1}),
        (list[Row], [{"day": DAY, "price": Decimal(1)}]),
        (Book, {"rows": [], "inner": {"rows": []}}),
        (Annotated[list[int], Field(min_length=1)], [1]),
        (list[Annotated[int, Field(gt=0)]], [1]),
        (Annotated[list[pd.DataFrame], "frames"], [pd.DataFrame({"a": [1]})]),
        (list[SecretStr], [SecretStr("x")]),
        (type[int], bool),
    ],
    ids=stable_id,
)
def test_what_is_one_already_passes_by_identity(annotation: Any, value: Any) -> None:
    assert is_instance(value, annotation) or annotation == type[int]
    found = coerce(value, annotation)
    if "frames" in str(annotation):  # tables do not compare: the list may be another, they are not
        assert found[0] is value[0]
    else:
        assert found is value


@pytest.mark.parametrize(
    ("annotation", "value", "read"),
    [
        (Model, {"name": "x"}, Model(name="x")),
        (list[Model], [{"name": "x"}], [Model(name="x")]),
        (dict[str, Model], {"a": {"name": "x"}}, {"a": Model(name="x")}),
        (Model | None, {"name": "x"}, Model(name="x")),
        (Pair, [1, 2], Pair(1, 2)),
        (Pair, (1, "2"), Pair(1, 2)),
        (Pair, {"a": 1}, Pair(1)),
        (list[Pair], [(1, 2)], [Pair(1, 2)]),
        (list[Window], [{"days": 3}], [Window(3)]),
        (float, Decimal("1.5"), 1.5),
        (list[float], [Decimal("1.5")], [1.5]),
        (Literal[True], 1, True),
        (tuple[int, ...], [1], (1,)),
        (Iterable[int], ["1"], [1]),
        (Collection[int], ("1",), [1]),
        (Shout, "a", "A"),
        (SecretStr, "x", SecretStr("x")),
        (list[SecretStr], ["x"], [SecretStr("x")]),
        (Row, {"day": "2024-01-31", "price": "1.10"}, {"day": DAY, "price": Decimal("1.10")}),
        (list[Row], [{"day": "2024-01-31"}], [{"day": DAY}]),
        (Row | None, {"day": "2024-01-31"}, {"day": DAY}),
        (Annotated[Row, "row"], {"day": "2024-01-31"}, {"day": DAY}),
        (
            Book,
            {"rows": [], "inner": {"rows": [{"day": "2024-01-31"}]}},
            {"rows": [], "inner": {"rows": [{"day": DAY}]}},
        ),
    ],
    ids=stable_id,
)  # fmt: skip
def test_everything_else_becomes_what_the_type_says(annotation: Any, value: Any, read: Any) -> None:
    found = coerce(value, annotation)
    assert found == read
    assert repr(found) == repr(read)  # the types of members too


@pytest.mark.parametrize(
    ("annotation", "value", "told"),
    [
        (Row, {}, r"\['day'\] Field required"),
        (Row, {"day": "x"}, r"\['day'\] .*valid date"),
        (list[Row], [{"day": "x"}], r"\[0\]\['day'\] .*valid date"),
        (Book, {"rows": [], "inner": {}}, r"\['inner'\]\['rows'\] Field required"),
        (Small, {"size": 0}, "greater than 0"),
        (Closed, {"a": 1, "b": 2}, r"\['b'\] unknown field"),
        (list[Annotated[int, Field(gt=0)]], [0], "greater than 0"),
        (Sequence[str], "SPY", "not allowed as a Sequence"),
        (Iterable[str], "SPY", "valid list"),
        (int | None, Text("true"), "true is not a number"),
        (float | None, Text("true"), "true is not a number"),
        (list[int], Text("[true]"), r"\[0\] true is not a number"),
        (dict[str, float], Text('{"a": false}'), r"\['a'\] false is not a number"),
        (tuple[Decimal, int], Text('["1", true]'), r"\[1\] true is not a number"),
        (Level, Text("true"), "1 or 2"),
        (None, Text("x"), "should be None"),
        (Decimal | None, Text("1e" + "9" * 30), "valid decimal"),
    ],
    ids=stable_id,
)
def test_what_does_not_fit_is_refused(annotation: Any, value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        coerce(value, annotation)


@pytest.mark.parametrize(
    ("annotation", "text", "read"),
    [
        (Decimal | None, "1.10", Decimal("1.10")),
        (Optional[Decimal], "1.10", Decimal("1.10")),
        (list[Decimal], "[1.10, 2]", [Decimal("1.10"), Decimal(2)]),
        (dict[str, Decimal], '{"a": 0.30000000000000004000}', {"a": Decimal("0.30000000000000004000")}),
        (Window, '{"days": 1, "price": 1.10}', Window(1, Decimal("1.10"))),
        (Row, '{"day": "2024-01-31", "price": 1.10}', {"day": DAY, "price": Decimal("1.10")}),
        (tuple[float, Decimal], "[1.5, 1.10]", (1.5, Decimal("1.10"))),
        (list[float], "[1.10]", [1.1]),
        (Iterable[int], "[1, 2]", [1, 2]),
        (Iterable, "[1, 2]", [1, 2]),
        (Iterator[int], "[1, 2]", [1, 2]),
        (Generator[int, None, None], "[1, 2]", [1, 2]),
        (Collection[int], '["1"]', [1]),
        (dict[str, Iterable[int]], '{"a": [1]}', {"a": [1]}),
        (int | str, "true", "true"),
        (float | str, "false", "false"),
        (int | str, "1.0", "1.0"),
        (float | str, "1", 1.0),
        (int | None, "1.0", 1),
        (bool | int, "true", True),
        (bool | None, "true", True),
        (Literal[True, "a"], "true", True),
        (None, "null", None),
        (type(None), "null", None),
    ],
    ids=stable_id,
)  # fmt: skip
def test_text_is_read_without_loss(annotation: Any, text: str, read: Any) -> None:
    found = coerce(Text(text), annotation)
    assert repr(found) == repr(read)


def test_text_for_what_is_read_once_can_be_read_again() -> None:
    found = coerce(Text("[1, 2]"), Iterable[int])
    assert [list(found), list(found)] == [[1, 2], [1, 2]]


@pytest.mark.parametrize(
    ("annotation", "wrong", "typed", "hint"),
    [
        (Literal["a", "b", 3], "3", False, "did you mean 3 (an int)? allowed: 'a', 'b', 3"),
        (Literal["a", "3"], 3, False, "did you mean '3'? allowed: 'a', '3'"),
        (Literal["a", "b", 3], "zz", True, "allowed: a, b, 3"),
        (Level, "2", False, "did you mean 2 (an int)? allowed: 1, 2"),
        (Level | None, "3", True, "allowed: 1, 2"),
        (Side, "bye", False, "did you mean 'buy'? allowed: 'buy', 'sell'"),
        (list[Level], "x", True, "write -p x='[1, 2]'"),
    ],
    ids=stable_id,
)
def test_a_choice_is_told_as_it_would_be_written(
    annotation: Any, wrong: object, typed: bool, hint: str
) -> None:
    assert example_of(annotation, "x", wrong, typed=typed) == hint


# What pydantic's lax mode changes without a word


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Span:
    start: datetime | None = None
    length: timedelta = timedelta(0)


class Reading(BaseModel):
    at: datetime
    days: list[date] = []
    span: Span = Span()


class Readings(BaseModel):
    all: list[Reading]


class Own(BaseModel):
    at: datetime

    @field_validator("at", mode="before")
    @classmethod
    def seconds(cls, value: object) -> object:
        return datetime(2000, 1, 1) if value == 5 else value


class Seconds(BaseModel):
    model_config = ConfigDict(val_temporal_unit="seconds")
    at: datetime


class More(typing_extensions.TypedDict, extra_items=int):
    a: int


class Open(BaseModel):
    model_config = ConfigDict(extra="ignore")
    a: int


@pytest.mark.parametrize(
    ("annotation", "value", "literal"),
    [
        (datetime, Text("2024"), "'2024-01-31T09:30'"),
        (datetime, Text("1704067200"), "'2024-01-31T09:30'"),
        (datetime, Text("-5"), "'2024-01-31T09:30'"),
        (datetime, Text("1.5e9"), "'2024-01-31T09:30'"),
        (datetime, 20240131, "'2024-01-31T00:00'"),
        (datetime, Decimal(20240131), "'2024-01-31T00:00'"),
        (datetime, b"1704067200", "'2024-01-31T09:30'"),
        (date, 20240131, "'2024-01-31'"),
        (date, 1.5, "'2024-01-31'"),
        (date, True, "'2024-01-31'"),
        (time, Text("930"), "'09:30'"),
        (time, 930, "'09:30'"),
        (timedelta, Text("30"), "'PT30S'"),
        (timedelta, 30, "'PT30S'"),
        (timedelta, 1.5, "'PT1.5S'"),
        (date | None, 20240131, "'2024-01-31'"),
        (list[datetime], [20240131], "[0] 20240131"),
        (list[datetime], Text("[20240131]"), "[0] 20240131"),
        (dict[str, date], {"a": 5}, "['a'] 5"),
        (dict[date, int], {5: 1}, "5 is a number"),
        (tuple[int, timedelta], (1, 2), "[1] 2"),
        (Span, {"start": 5}, "['start'] 5"),
        (Reading, {"at": 5}, "['at'] 5"),
        (Reading, {"at": "2024-01-31", "span": {"length": 5}}, "['span']['length'] 5"),
        (list[Reading], [{"at": "2024-01-31", "days": ["5"]}], "[0]['days'][0] '5'"),
        # Each model has a validator of its own, which pydantic likes to use.
        (list[Reading], [{"at": 5}], "[0]['at'] 5"),
        (tuple[Reading, ...], [{"at": 5}], "[0]['at'] 5"),
        (dict[str, Reading], {"a": {"at": 5}}, "['a']['at'] 5"),
        (list[Reading] | None, Text('[{"at": 5}]'), "[0]['at'] 5"),
        (list[Span], [{"start": 5}], "[0]['start'] 5"),
        (list[Readings], [{"all": [{"at": 5}]}], "[0]['all'][0]['at'] 5"),
        (Annotated[date, "day"], 5, "'2024-01-31'"),
        (pd.Timestamp, 5, "'2024-01-31T09:30'"),
        (pd.Timedelta, Text("5"), "'PT5S'"),
        # A union tries each member strictly, where pydantic forgot that it does.
        (date | datetime, Text("2024"), "'2024-01-31T09:30'"),
        (datetime | date, 20240131, "'2024-01-31T00:00'"),
        (datetime | time | None, 5, "'09:30'"),
        (time | timedelta, 1.5, "'PT1.5S'"),
        (datetime | bool, 1.5, "'2024-01-31T09:30'"),
        (datetime | Side, Text("5"), "'2024-01-31T09:30'"),
        (datetime | list[int], 5, "'2024-01-31T09:30'"),
        (list[date | datetime], Text("[20240131]"), "'2024-01-31T00:00'"),
        (dict[str, timedelta | date], {"a": 30}, "'PT30S'"),
    ],
    ids=stable_id,
)
def test_a_number_is_not_a_date_or_a_time(annotation: Any, value: Any, literal: str) -> None:
    with pytest.raises(ValueError, match="is a number, not a") as caught:
        coerce(value, annotation)
    assert literal in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "value", "read"),
    [
        (date, Text("20240131"), DAY),
        (datetime, Text("20240131"), datetime(2024, 1, 31)),
        (date | None, Text("20240131"), DAY),
        (list[date], Text('["20240131"]'), [DAY]),
        (list[datetime], ["20240131"], [datetime(2024, 1, 31)]),
        (dict[date, int], Text('{"20240131": 1}'), {DAY: 1}),
        (Span, Text('{"start": "20240131"}'), Span(datetime(2024, 1, 31))),
        (date | int, Text("20240131"), 20240131),
        (date | float, Text("20240131"), 20240131.0),
        (list[date | int], Text('["20240131"]'), [20240131]),
        (date | complex, Text("20240131"), 20240131 + 0j),
        (date | str, Text("20240131"), "20240131"),
        (date | datetime, Text("20240131"), DAY),
        (datetime | time, Text("20240131"), datetime(2024, 1, 31)),
        (datetime | bool | None, Text("20240131"), datetime(2024, 1, 31)),
        (list[datetime | Side], ["20240131"], [datetime(2024, 1, 31)]),
        (Own, {"at": 5}, Own(at=datetime(2000, 1, 1))),
        (Seconds, {"at": 5}, Seconds(at=datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC))),
        (pd.Timestamp, Text("20240131"), pd.Timestamp(2024, 1, 31)),
    ],
    ids=stable_id,
)
def test_eight_digits_are_a_day_where_nothing_else_takes_them(
    annotation: Any, value: Any, read: Any
) -> None:
    found = coerce(value, annotation)
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("annotation", "text", "read"),
    [
        (date | str, "20240131", "20240131"),
        (date | str, "2024-01-31", DAY),
        (datetime | str, "2024-01-31", "2024-01-31"),
        (datetime | str, "2024-01-31T12:00", NOON),
        (time | str, "0930", "0930"),
        (time | str, "09:30", time(9, 30)),
        (timedelta | str, "30", "30"),
        (timedelta | str, "PT30S", timedelta(seconds=30)),
        (int | str, "007", "007"),
        (int | str, "7", 7),
        (int | str, "1_000", "1_000"),
        (int | str, " 7", " 7"),
        (float | str, "0.10", 0.1),
        (float | str, "1e3", 1000.0),
        (float | str, "inf", "inf"),
        (float | str, "nan", "nan"),
        (Decimal | str, "0.10", Decimal("0.10")),
        (Decimal | str, ".5", ".5"),
        (bool | str, "yes", "yes"),
        (bool | str, "1", "1"),
        (bool | str, "true", True),
        (str | None, "None", "None"),
        (str | None, "null", None),
        (pd.Timestamp | str, "20240131", "20240131"),
        (pd.Timestamp | str, "2024-01-31T12:00", pd.Timestamp(NOON)),
        (np.float64 | str, "0.10", np.float64(0.1)),
        (np.float64 | str, "nan", "nan"),
        (UUID | str, "0" * 32, "0" * 32),
        (UUID | str, str(UUID(int=5)), UUID(int=5)),
        (Side | str, "BUY", "BUY"),
        (Side | str, "buy", Side.BUY),
        (Literal["a"] | str, "b", "b"),
        (list[str] | str, "a,b", "a,b"),
        (list[str] | str, '["a"]', ["a"]),
        (Optional[int | str], "08", "08"),
        (Annotated[int | str, "x"], "08", "08"),
    ],
    ids=stable_id,
)  # fmt: skip
def test_a_union_with_str_keeps_text_that_is_not_exactly_another_form(
    annotation: Any, text: str, read: Any
) -> None:
    found = coerce(Text(text), annotation)
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("annotation", "value", "told"),
    [
        (Window, {"dys": 5}, "['dys'] unknown field: did you mean 'days'?"),
        (Window, Text('{"days": 1, "prise": 5}'), "['prise'] unknown field: did you mean 'price'?"),
        (Model, {"name": "x", "sise": 5}, "['sise'] unknown field: did you mean 'size'?"),
        (list[Window], [{"days": 1, "dys": 5}], "[0]['dys'] unknown field"),
        (Reading, {"at": "2024-01-31", "span": {"lenght": "PT1S"}}, "['span']['lenght'] unknown"),
        (list[Model], [{"name": "x", "sise": 5}], "[0]['sise'] unknown field"),
        (
            dict[str, Reading],
            {"a": {"at": "2024-01-31", "dayz": []}},
            "['a']['dayz'] unknown field",
        ),
        (Row, Text('{"day": "2024-01-31", "prise": 5}'), "['prise'] unknown field"),
        (list[Row], Text('[{"day": "2024-01-31", "prise": 5}]'), "[0]['prise'] unknown field"),
        (Window | None, {"dys": 5}, "['dys'] unknown field"),
    ],
    ids=stable_id,
)
def test_an_unknown_field_is_an_error_at_any_depth(annotation: Any, value: Any, told: str) -> None:
    with pytest.raises(ValueError, match="unknown field") as caught:
        coerce(value, annotation)
    assert told in str(caught.value)


def test_fields_beyond_those_declared_stay_where_a_type_allows_them() -> None:
    row = {"day": DAY, "more": 1}
    assert coerce(row, Row) is row
    assert coerce({"day": "2024-01-31", "more": 1}, Row) == row
    with pytest.raises(ValueError, match="unknown field"):
        coerce(row, Row, closed=True)
    assert coerce({"a": 1, "b": 2}, Open) == Open(a=1)
    assert coerce(Text('{"a": 1, "b": 2}'), More) == {"a": 1, "b": 2}


def test_a_pydantic_that_cannot_be_strict_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_2_12(schema: Any, config: Any = None) -> None: ...

    monkeypatch.setattr(validation, "SchemaValidator", of_2_12)
    with pytest.raises(PipelineError, match="pydantic .* cannot check") as caught:
        coerce("1", tuple[int, Literal["a model of 2.12"]])
    assert "pydantic>=2.13" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("annotation", "text", "read"),
    [
        (date | str, "2024-01-31", date(2024, 1, 31)),
        (date | str, "20240131", "20240131"),
        (str | datetime | None, "2024-01-31T09:30", datetime(2024, 1, 31, 9, 30)),
        (time | str, "09:30", time(9, 30)),
        (timedelta | str, "PT30S", timedelta(seconds=30)),
        (timedelta | str, "30 s", "30 s"),
        (
            UUID | str,
            "12345678-1234-5678-1234-567812345678",
            UUID(int=0x12345678123456781234567812345678),
        ),
        (Side | str, Side.BUY.value, Side.BUY),
        (date | int | str, "2024-01-31", date(2024, 1, 31)),
        (Annotated[date, Field(gt=date(2020, 1, 1))] | str, "2024-01-31", date(2024, 1, 31)),
    ],
    ids=stable_id,
)
def test_a_text_is_the_same_alone_in_a_file_and_in_a_container(
    annotation: Any, text: str, read: Any
) -> None:
    quoted = f'"{text}"'
    values = [
        coerce(Text(text), annotation),
        coerce(text, annotation, closed=True),
        *coerce(Text(f"[{quoted}]"), list[annotation]),
        *coerce([text], list[annotation], closed=True),
        *coerce({text: text}, dict[annotation, annotation], closed=True).popitem(),
        *coerce(Text(f"[{quoted}, {quoted}]"), tuple[annotation, annotation]),
    ]
    assert {(value, type(value)) for value in values} == {(read, type(read))}
    assert coerce(text, annotation) is text  # from Python it is a str already


def test_a_number_in_quotes_stays_text() -> None:
    kept = ["5", "true", "null", "0.10"]
    assert coerce(kept, list[int | bool | Decimal | None | str], closed=True) is kept
    assert coerce(Text('["5", 5]'), list[int | str]) == ["5", 5]


@pytest.mark.parametrize("annotation", [int, float, complex, Decimal, int | None, int | date])
def test_true_in_a_file_is_not_a_number(annotation: Any) -> None:
    for kind, value in ((annotation, True), (list[annotation], [5, False])):
        with pytest.raises(ValueError, match=r"(true|false) is not a number"):
            coerce(value, kind, closed=True)
    assert coerce(True, annotation | bool, closed=True) is True


DAWN = datetime(2024, 1, 31)


@pytest.mark.parametrize(
    ("annotation", "value", "read"),
    [
        (date, DAWN, DAY),
        (date | None, DAWN, DAY),
        (date | str, DAWN, DAY),
        (list[date], [DAWN], [DAY]),
        (dict[str, date], {"a": DAWN}, {"a": DAY}),
        (date | datetime, NOON, NOON),
        (datetime, NOON, NOON),
    ],
    ids=stable_id,
)
def test_a_time_of_a_file_is_not_a_day(annotation: Any, value: Any, read: Any) -> None:
    made = coerce(value, annotation, closed=True)
    assert repr(made) == repr(read)
    assert coerce(value, annotation) is value  # from Python: a datetime is a date


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(date, NOON), (date | None, NOON), (list[date], [NOON])],
    ids=stable_id,
)
def test_a_time_of_a_file_other_than_midnight_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(ValueError, match="should have zero time"):
        coerce(value, annotation, closed=True)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (float, Text("1e400")),
        (float | None, Text("-1e400")),
        (list[float], Text("[1e400]")),
        (list[float], ["1e400"]),
        (dict[str, float], {"a": Decimal("1e400")}),
        (Any, Text("1e400")),
        (Any, Text('{"a": [1e400]}')),
        (np.float64, Text("1e400")),
        (complex, Text("1e400")),
        (complex | None, "1+1e400j"),
        (np.complex128, "1e400j"),
        (float | bool, "1e400"),
        (list[float | date], ["-1e400"]),
    ],
    ids=stable_id,
)
def test_a_number_too_large_for_a_float_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(ValueError, match=r"too large for a |out of the range"):
        coerce(value, annotation)


@pytest.mark.parametrize("text", ["inf", "-inf", "Infinity", "nan"])
def test_the_words_for_no_finite_number_are_floats(text: str) -> None:
    assert not np.isfinite(coerce(Text(text), float))


def test_everything_wrong_in_one_value_is_reported() -> None:
    with pytest.raises(ValueError) as caught:
        coerce([{"days": "x"}, {"days": 1, "price": "y"}, {"dys": 1}], list[Window])
    for told in ("[0]['days']", "[1]['price']", "[2]['days']", "[2]['dys']"):
        assert told in str(caught.value)


T = typing_extensions.TypeVar("T")
Twice = typing_extensions.TypeAliasType("Twice", tuple[T, T], type_params=(T,))
Either = typing_extensions.TypeAliasType("Either", T | None, type_params=(T,))
Same = typing_extensions.TypeAliasType("Same", T, type_params=(T,))
Json = typing_extensions.TypeAliasType("Json", "dict[str, Json] | list[Json] | str | int")


def test_the_argument_of_a_generic_alias_is_kept() -> None:
    assert coerce(Text('["1", "2"]'), Twice[int]) == (1, 2)
    assert is_instance((1, 2), Twice[int])
    assert not is_instance(("a", "b"), Twice[int])
    for wrong, value in (
        (Twice[int], ["a", "b"]),
        (list[Twice[int]], [["a", "b"]]),
        (Either[Twice[int]], ["a", "b"]),
        (Same[int], "a"),
    ):
        with pytest.raises(ValueError, match="valid integer"):
            coerce(value, wrong)
    assert fit(Twice[str], Twice[int]) is Fit.NEVER
    assert coerce(Text("null"), Either[int]) is None


def test_an_alias_that_holds_itself_is_read_level_by_level() -> None:
    value = {"a": [{"b": "c"}, 1]}
    assert coerce(value, Json) is value
    assert coerce(Text('{"a": ["1", 1]}'), Json) == {"a": ["1", 1]}
    assert fit(Json, Json) is not Fit.NEVER
    assert fit(Json, float) is not Fit.NEVER
    assert list(parts_of(Json))
    if sys.version_info >= (3, 12):  # where the name within it means the alias
        scope: dict[str, Any] = {}
        exec("type JSON = dict[str, JSON] | list[JSON] | str | int", scope)
        assert coerce(Text('{"a": ["1", 1]}'), scope["JSON"]) == {"a": ["1", 1]}
        with pytest.raises(ValueError):
            coerce({"a": 1.5}, scope["JSON"])


@pytest.mark.parametrize(
    ("annotation", "text", "read"),
    [
        (Access, "READ|WRITE", Access.READ | Access.WRITE),
        (Access, "READ", Access.READ),
        (Access | None, "WRITE", Access.WRITE),
        (pd.Timestamp, "2024-01-31T09:30", pd.Timestamp(2024, 1, 31, 9, 30)),
        (pd.Timedelta, "PT1H", pd.Timedelta(hours=1)),
        (np.datetime64, "2024-01-31", np.datetime64("2024-01-31")),
        (np.float64, "0.10", np.float64(0.1)),
        (np.int64, "3", np.int64(3)),
        (np.bool_, "true", np.True_),
        (list[np.float64], "[1, 2]", [np.float64(1), np.float64(2)]),
    ],
    ids=stable_id,
)
def test_flags_and_the_scalars_of_pandas_and_numpy_are_read(
    annotation: Any, text: str, read: Any
) -> None:
    found = coerce(Text(text), annotation)
    assert (found, type(found)) == (read, type(read))


def test_a_scalar_of_numpy_out_of_its_range_is_refused() -> None:
    for text in ("300", "1.5", "x"):
        with pytest.raises(ValueError, match="int8"):
            coerce(Text(text), np.int8)


# Laws


@given(annotated_values)
def test_law_an_instance_passes_by_identity(pair: tuple[Any, Any]) -> None:
    annotation, value = pair
    assert is_instance(value, annotation)
    assert coerce(value, annotation) is value


@given(annotated_values)
def test_law_the_json_of_an_instance_becomes_one(pair: tuple[Any, Any]) -> None:
    annotation, value = pair
    found = coerce(to_json(value)[0], annotation)
    assert is_instance(found, annotation)
    assert to_json(found) == to_json(value)
