"""Values that can be read only once are problems wherever a second run would find them empty."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bodies import problems_of, the_problem
from modules import line_of, module_of

import mxm
from mxm.pipeline.bindings import Bindings, Collection, Const
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.values.iterators import read_once

HEAD = """
import csv, io, itertools, sqlite3
import mxm

class Countdown:
    def __iter__(self): return self
    def __next__(self): raise StopIteration

async def arrivals():
    yield 1

ARRIVALS = arrivals()

@mxm.task
def load(x=1, *rest, **more):
    return x

@mxm.flow
def inner(x, k=None):
    return load(x, k=k)
"""

ITERATORS = {
    "a generator": ("(v for v in (1, 2))", "list(...)"),
    "zip": ("zip((1,), (2,))", "list(...)"),
    "map": ("map(str, (1,))", "list(...)"),
    "filter": ("filter(None, (1,))", "list(...)"),
    "enumerate": ("enumerate((1,))", "list(...)"),
    "reversed": ("reversed([1])", "list(...)"),
    "iter": ("iter([1])", "list(...)"),
    "itertools": ("itertools.chain([1])", "list(...)"),
    "one of a class": ("Countdown()", "list(...)"),
    "a cursor": ("sqlite3.connect(':memory:').cursor()", "list(...)"),
    "csv": ("csv.reader(['a'])", "list(...)"),
    "an open file": ("io.StringIO('a')", "inside the task"),
    "an async generator": ("ARRIVALS", "async for"),
    "of results": ("(v for v in [load(x)])", "list(...)"),
    "in a list": ("[1, {'k': iter([1])}]", "list(...)"),
}
CALLS = {
    "by place": "load({})",
    "by name": "load(k={})",
    "of a flow": "inner({})",
    "of a flow, by name": "inner(1, k={})",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
@pytest.mark.parametrize(("value", "hint"), ITERATORS.values(), ids=list(ITERATORS))
def test_an_iterator_as_an_argument_is_a_problem_at_the_call(
    value: str, hint: str, call: str, tmp_path: Path
) -> None:
    text = f"""{HEAD}
@mxm.flow
def risk(x=1):
    {call.format(value)}  # here
    return load(x)
"""
    module = module_of(tmp_path, text)
    problem = the_problem(module.risk)
    assert problem.code == "MXM306"
    assert hint in (problem.hint or "")
    assert "can be read only once" in problem.message
    assert problem.source is not None
    assert problem.source.line == line_of(module, "# here")


AGAIN = ["range(3)", "[1]", "{1: 2}.items()", "'text'", "b'x'", "frozenset({1})", "{'k': (1,)}"]


@pytest.mark.parametrize("value", [*AGAIN, "__import__('numpy').arange(3)", "Window()"])
def test_what_can_be_read_again_is_passed_on(value: str, tmp_path: Path) -> None:
    text = f"""{HEAD}
class Window:
    def __iter__(self): return iter([1])

@mxm.flow
def risk(x=1):
    return load({value}, x)
"""
    assert problems_of(module_of(tmp_path, text).risk) == []


def test_two_runs_of_the_way_out_have_the_same_value() -> None:
    @mxm.task
    def total(xs):
        return sum(xs)

    @mxm.flow
    def f():
        return total(list(n * n for n in (1, 2)))

    inline = f.with_options(backend="inline")
    assert [inline.run().value(), inline.run().value(), f()] == [5, 5, 5]


def _load(x: Any) -> Any:
    return x


def iterators() -> Iterator[Any]:
    yield iter([1])


BY_HAND = {
    "a parameter of the flow": (
        lambda: FlowSpec("f", [TaskSpec("load", _load)], params={"x": iter([1])}),
        "parameter 'x' of flow 'f'",
    ),
    "a parameter of a task": (
        lambda: FlowSpec("f", [TaskSpec("load", _load, params={"x": iter([1])})]),
        "parameter 'x' of task 'load'",
    ),
    "a constant": (
        lambda: FlowSpec("f", [TaskSpec("load", _load, bindings=Bindings((Const(iter([1])),)))]),
        "an input of task 'load'",
    ),
    "a constant in a list": (
        lambda: FlowSpec(
            "f",
            [
                TaskSpec(
                    "load",
                    _load,
                    bindings=Bindings(kwargs={"x": Collection(list, (Const(iter([1])),))}),
                )
            ],
        ),
        "an input of task 'load'",
    ),
}


@pytest.mark.parametrize(("make", "what"), BY_HAND.values(), ids=list(BY_HAND))
def test_an_iterator_among_the_values_of_a_spec_is_a_problem(make: Any, what: str) -> None:
    (problem,) = find_problems(make())
    assert (problem.code, problem.hint) == ("MXM306", "make it a list: list(...)")
    assert problem.message.startswith(what)


def test_an_iterator_as_a_default_of_a_flow_or_a_param_of_a_decorator_is_a_problem() -> None:
    @mxm.task(params={"k": iter([1])})
    def load(x, k=()):
        return list(x)

    @mxm.flow
    def f(x=(v for v in (1, 2))):
        return load(x)

    found = problems_of(f)
    assert [p.code for p in found] == ["MXM306", "MXM306"]
    assert ["of flow 'f'" in found[0].message, "of task 'load'" in found[1].message] == [True, True]


def test_a_run_may_be_given_an_iterator_as_it_is_read_in_that_run() -> None:
    @mxm.task
    def total(xs):
        return sum(xs)

    @mxm.flow
    def f(xs):
        return total(xs)

    assert f.with_options(backend="inline").run(xs=iter([1, 2])).value() == 3


def test_what_a_value_is_is_said_in_words() -> None:
    connection = sqlite3.connect(":memory:")
    assert str(read_once(iter([1]))).startswith("a list_iterator, which can be read only once")
    assert str(read_once(enumerate([1]))).startswith("an enumerate, ")
    assert read_once(connection) is None
    assert read_once([iter([1])]) is None  # its members are looked at one by one
    connection.close()
