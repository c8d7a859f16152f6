"""Values as types: what passes as it is, and what becomes what the annotation says."""

from __future__ import annotations

import collections.abc as abc
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Literal, Optional, Required, TypedDict

import numpy as np
import pandas as pd
import pytest
import typing_extensions
from hypothesis import given
from pydantic import AfterValidator, ConfigDict, Field, SecretStr, with_config
from typed_values import Level, Model, Pair, Row, Side, Window, annotated_values

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
    ids=str,
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
    ids=str,
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
        (Closed, {"a": 1, "b": 2}, "Extra inputs"),
        (list[Annotated[int, Field(gt=0)]], [0], "greater than 0"),
        (Sequence[str], "SPY", "not allowed as a Sequence"),
        (Iterable[str], "SPY", "valid list"),
        (int | None, Text("true"), "valid integer"),
        (float | None, Text("true"), "valid number"),
        (Level, Text("true"), "1 or 2"),
        (None, Text("x"), "should be None"),
        (Decimal | None, Text("1e" + "9" * 30), "valid decimal"),
    ],
    ids=str,
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
    ids=str,
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
    ids=str,
)
def test_a_choice_is_told_as_it_would_be_written(
    annotation: Any, wrong: object, typed: bool, hint: str
) -> None:
    assert example_of(annotation, "x", wrong, typed=typed) == hint


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
