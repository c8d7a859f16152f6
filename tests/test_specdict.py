from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from datetime import date
from typing import Any, NamedTuple

import pytest
import strategies
from hypothesis import given

from mxm.pipeline.bindings import Bindings, Collection, Const, Upstream
from mxm.pipeline.errors import SpecError
from mxm.pipeline.problems import Problem
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.specdict import flow_from_dict, flow_to_dict


class Pair(NamedTuple):
    left: Any
    right: Any


class Loader:
    def load(self) -> None: ...


@given(strategies.specs)
def test_the_dict_form_through_json_gives_the_same_spec(spec: FlowSpec) -> None:
    data = flow_to_dict(spec)
    assert flow_from_dict(data) == spec
    assert flow_from_dict(json.loads(json.dumps(data, allow_nan=False))) == spec


def test_problems_of_a_declaration_survive_the_dict_form() -> None:
    spec = FlowSpec("f", [TaskSpec("t", strategies.give, upstream=[strategies.give])])  # type: ignore[list-item]
    again = flow_from_dict(json.loads(json.dumps(flow_to_dict(spec))))
    assert again.tasks[0].problems == spec.tasks[0].problems != ()
    placeless = FlowSpec("f", problems=[Problem("MXM302", "the body raised")])
    assert flow_from_dict(flow_to_dict(placeless)) == placeless


def test_what_a_dict_form_leaves_out_has_its_default() -> None:
    task = {"name": "t", "fn": "strategies:give", "args": [], "kwargs": {}}
    spec = FlowSpec("f", [TaskSpec("t", strategies.give)])
    assert flow_from_dict({"name": "f", "tasks": [task]}) == spec


@pytest.mark.parametrize(
    "fn",
    [lambda: None, functools.partial(print), Loader().load, functools.lru_cache(lambda: 1)],
    ids=["lambda", "partial", "bound method", "cached lambda"],
)
def test_what_cannot_be_imported_says_so(fn: Callable[..., Any]) -> None:
    data = flow_to_dict(FlowSpec("f", [TaskSpec("t", fn)]))
    json.dumps(data)
    with pytest.raises(SpecError, match="no importable name: define it with def"):
        flow_from_dict(data)


@pytest.mark.parametrize(
    "value",
    [math.nan, (1, 2), date(2024, 1, 1), {1: "a"}, {"a": [(1,)]}, object()],
    ids=lambda v: type(v).__name__,
)
def test_a_value_that_json_would_change_says_so(value: Any) -> None:
    bound = Bindings((Const(value),))
    for spec in (
        FlowSpec("f", [TaskSpec("t", strategies.take, bindings=bound)]),
        FlowSpec("f", [TaskSpec("t", strategies.take, params={"x": value})]),
        FlowSpec("f", params={"x": value}),
    ):
        data = json.loads(json.dumps(flow_to_dict(spec), allow_nan=False))
        with pytest.raises(SpecError, match=f"{type(value).__name__} has no plain form"):
            flow_from_dict(data)


def test_a_named_tuple_of_results_says_so() -> None:
    output = Collection(Pair, (Upstream("a"), Upstream("b")))
    with pytest.raises(SpecError, match="Pair has no plain form"):
        flow_from_dict(flow_to_dict(FlowSpec("f", output=output)))


def test_the_dict_form_shares_nothing_with_the_spec() -> None:
    rows = [1]
    data = flow_to_dict(FlowSpec("f", params={"rows": rows}))
    data["params"]["rows"]["const"].append(2)
    assert rows == [1]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"tasks": []}, "'name' is missing"),
        ({"name": "f", "tasks": [{"name": "t"}]}, "'fn' is missing"),
        ({"name": 3, "tasks": []}, "name must be a non-empty string"),
        ({"name": "f", "tasks": [3]}, "not the dict form"),
        ([], "not the dict form"),
    ],
)
def test_data_of_another_form_is_a_spec_error(data: Any, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        flow_from_dict(data)
