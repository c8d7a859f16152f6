"""Types as users write them, and for Hypothesis values of each."""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

from hypothesis import strategies as st
from pydantic import BaseModel


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Window:
    days: int
    price: Decimal = Decimal("1.0")


class Model(BaseModel):
    name: str
    size: int = 1


class Pair(NamedTuple):
    a: int
    b: int = 2


class Row(TypedDict):
    day: date
    price: NotRequired[Decimal]


def _holding(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """From pairs of an annotation and a strategy of its values, those of containers of them."""

    def entries(pair: tuple[Any, Any]) -> st.SearchStrategy[Any]:
        return st.dictionaries(st.text("ab1", max_size=2), pair[1], max_size=3)

    return st.one_of(
        inner.map(lambda p: (list[p[0]], st.lists(p[1], max_size=3))),
        inner.map(lambda p: (Sequence[p[0]], st.lists(p[1], max_size=3).map(tuple))),
        inner.map(lambda p: (Iterable[p[0]], st.lists(p[1], max_size=3))),
        inner.map(lambda p: (tuple[p[0], ...], st.lists(p[1], max_size=3).map(tuple))),
        inner.map(lambda p: (dict[str, p[0]], entries(p))),
        inner.map(lambda p: (Mapping[str, p[0]], entries(p).map(OrderedDict))),
        inner.map(lambda p: (p[0] | None, p[1] | st.none())),
        st.tuples(inner, inner).map(
            lambda two: (tuple[two[0][0], two[1][0]], st.tuples(two[0][1], two[1][1]))
        ),
    )


_simple: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (str, st.text("ab1", max_size=3)),
    (bool, st.booleans()),
    (date, st.dates()),
    (datetime, st.datetimes()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=4)),
    (Side, st.sampled_from(Side)),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (Pair, st.builds(Pair, st.integers(), st.integers())),
    (Window, st.builds(Window, st.integers(), st.decimals(-9, 9, places=2))),
    (Model, st.builds(Model, name=st.text("ab1", max_size=3), size=st.integers())),
    (Row, st.builds(dict, day=st.dates())),
]
_pairs = st.recursive(st.sampled_from(_simple), _holding, max_leaves=4)
annotations: st.SearchStrategy[Any] = _pairs.map(lambda pair: pair[0])
annotated_values: st.SearchStrategy[tuple[Any, Any]] = _pairs.flatmap(
    lambda pair: st.tuples(st.just(pair[0]), pair[1])
)
