"""Parameters and constants that a body passes: each must fit the input that it fills."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, TypedDict

import pytest
from pydantic import Field, FilePath, SecretStr

import mxm
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.checks.defaults import misfits
from mxm.pipeline.problems import Problem
from mxm.pipeline.views.calls import call_text, item_sources

Days = NewType("Days", int)


class Config(TypedDict):
    window: int
    name: str


@mxm.task
def plus(n: int) -> int:
    return n + 1


@mxm.task
def total(ns: list[int]) -> int:
    return sum(ns)


@mxm.task
def connect(token: SecretStr) -> int:
    return 1


@mxm.task
def maybe(n: int = None) -> int:  # type: ignore[assignment]
    return 1


@mxm.task
def text() -> str:
    return "5"


@mxm.task
def shown(x: Any) -> str:
    return repr(x)


def of(flow: Any) -> list[Problem]:
    return [p for p in find_problems(flow.spec) if p.severity == "error"]


def test_a_parameter_whose_type_cannot_fit_is_a_problem_like_an_edge() -> None:
    @mxm.flow
    def whole(x: str):
        return plus(x)

    @mxm.flow
    def items(x: list[str]):
        return total(plus.map(x))

    @mxm.flow
    def part(x: tuple[str, int]):
        first, _ = x
        return plus(first)

    @mxm.flow
    def key(c: Config):
        return plus(c["name"])

    @mxm.flow
    def member(x: str):
        return total([x, plus(1)])

    @mxm.flow
    def container(x: list[str]):
        return total(x)

    for flow in (whole, items, part, key, member, container):
        (problem,) = of(flow)
        assert problem.code == "MXM201"
        assert "is " in problem.message and "no value can be both" in problem.message
    (problem,) = of(whole)
    assert "parameter 'x' of flow 'whole' is str at " in problem.message
    assert "parameter 'n' of task 'plus' takes int: no value can be both" in problem.message


def test_a_part_that_a_parameter_cannot_have_is_a_problem() -> None:
    @mxm.flow
    def misspelt(c: Config):
        return plus(c["windw"])

    @mxm.flow
    def beyond(x: tuple[int, int]):
        return plus(x[7])

    (problem,) = of(misspelt)
    assert (problem.code, problem.hint) == ("MXM201", "did you mean 'window'?")
    (problem,) = of(beyond)
    assert "x[7]" in problem.message


def test_a_constant_that_is_not_of_the_inputs_type_is_a_problem() -> None:
    @mxm.flow
    def constant():
        return plus("5")

    @mxm.flow
    def member():
        return total([1, "a"])

    @mxm.flow
    def beside():
        return total(["a", plus(1)])

    @mxm.flow
    def items():
        return total(plus.map([1, "b"]))

    for flow, value in ((constant, "'5'"), (member, "[1, 'a']"), (beside, "'a'"), (items, "'b'")):
        (problem,) = of(flow)
        assert problem.code == "MXM201"
        assert f"flow {flow.name!r} passes {value}, and parameter " in problem.message
    assert of(constant)[0].hint == "write the value itself: 5"


def test_text_for_a_secret_of_a_called_flow_must_become_one_in_its_tasks() -> None:
    @mxm.flow
    def wrapping(token: SecretStr):
        return connect(token)

    @mxm.flow
    def showing(token: SecretStr):
        return shown(token)  # would be the text itself, recorded unmasked

    @mxm.flow
    def wrapped(x: str):
        return wrapping(x)

    @mxm.flow
    def open_(x: str):
        return showing(x)

    @mxm.flow
    def constant():
        return showing("hunter2")

    assert of(wrapped) == []
    for flow in (open_, constant):
        (problem,) = of(flow)
        assert "parameter 'token' of flow 'showing' takes SecretStr" in problem.message
        assert "hunter2" not in f"{problem.message}{problem.hint}"


def test_no_drawing_shows_a_constant_for_a_secret() -> None:
    @mxm.flow
    def leaking(x: str = "y"):
        return [connect("hunter2"), connect.map(["hunter2"]), connect.map(["hunter2", x])]

    for task in leaking.spec.tasks:
        assert "hunter2" not in f"{call_text(task)}{item_sources(task)}"
        assert "*****" in call_text(task)


def test_an_argument_of_a_called_flow_must_fit_its_signature() -> None:
    @mxm.flow
    def inner(n: int) -> str:
        return shown(n)

    @mxm.flow
    def constant():
        return inner("5")

    @mxm.flow
    def parameter(s: str):
        return inner(s)

    @mxm.flow
    def result():
        return inner(text())

    @mxm.flow
    def items():
        return inner.map([1, "a"])

    @mxm.flow
    def list_of(xs: list[str]):
        return inner.map(xs)

    for flow in (constant, parameter, result, items, list_of):
        (problem,) = of(flow)
        assert problem.code == "MXM201"
        assert "parameter 'n' of flow 'inner' takes int" in problem.message

    @mxm.flow
    def fitting(n: int | None = None, xs: list[int] = [1]):  # noqa: B006 - read only
        return [inner(n), inner(plus(1)), inner.map(xs), inner(5)]

    assert of(fitting) == []


@mxm.task
def variadic(n: int, *more: int, k: int = 1, **rest: int) -> int:
    return n


def test_inputs_of_variadic_parameters_are_judged_too() -> None:
    @mxm.flow
    def by_place():
        return variadic(1, 2, "a")

    @mxm.flow
    def by_name():
        return variadic(1, z="a")

    @mxm.flow
    def parameter(s: str):
        return variadic(1, k=2, z=s)

    @mxm.flow
    def result():
        return variadic(1, z=text())

    for flow in (by_place, by_name, parameter, result):
        (problem,) = of(flow)
        assert problem.code == "MXM201" and "takes int" in problem.message


@mxm.resource
def number(setting: str = 5) -> Iterator[int]:  # type: ignore[assignment]
    yield 1


@mxm.task
def asking(e: str = mxm.use(number)) -> int:
    return 1


@mxm.task
def asking_well(e: float = mxm.use(number)) -> int:
    return 1


def test_what_a_resource_yields_must_fit_and_so_must_its_defaults() -> None:
    @mxm.flow
    def unfit():
        return [asking(), asking_well()]

    first, second = of(unfit)
    assert (first.code, second.code) == ("MXM201", "MXM404")
    assert "resource 'number' yields int at " in first.message
    assert "parameter 'e' of task 'asking' takes str: no value can be both" in first.message
    assert "default 5 of parameter 'setting' of resource 'number' is not str" in second.message


def test_what_may_fit_is_no_problem() -> None:
    @mxm.flow
    def wrapped(token: str):
        return connect(token)  # a run wraps its text

    @mxm.flow
    def none(x: str = None):  # type: ignore[assignment]
        return maybe(x)

    @mxm.flow
    def constants(flag: bool = True, y: Any = "5", z=1):
        return [plus(True), plus(flag), plus(y), plus(z), maybe(None), shown("5"), total([])]

    assert [flow.name for flow in (wrapped, none, constants) if of(flow)] == []


Window = Annotated[int, "days", Field(gt=0)]


@mxm.task
def smooth(window: Window) -> int:
    return window


def test_a_default_or_constant_outside_of_its_bounds_is_a_problem() -> None:
    @mxm.flow
    def default(window: Window = -5):
        return smooth(window)

    @mxm.flow
    def constant():
        return smooth(-5)

    @mxm.flow
    def items():
        return smooth.map([5, -5])

    for flow, code in ((default, "MXM404"), (constant, "MXM201"), (items, "MXM201")):
        (problem,) = of(flow)
        assert problem.code == code
        assert "-5" in problem.message and "should be greater than 0" in problem.message


def test_a_condition_that_may_hold_later_is_not_judged() -> None:
    @mxm.task
    def read(path: FilePath) -> int:
        return 1

    @mxm.flow
    def later(path: FilePath = Path("written-later.csv"), window: Window = 5):
        return [read(path), smooth(window), smooth(5)]

    assert of(later) == []


@pytest.mark.parametrize(
    ("value", "annotation", "wrong"),
    [
        (["a"], list[int], True),
        ([1, 2], list[float], False),
        ([1, "a"], list[int] | list[str], True),
        (["a"], list[int] | list[str], False),
        ({"a": "b"}, dict[str, int], True),
        ({1: 1}, dict[str, int], True),
        ((1, "a"), tuple[int, int], True),
        ((1, 2), tuple[int, ...], False),
        ({"window": "5", "name": "x"}, Config, True),
        ({"window": 5}, Config, False),
        ([{"window": "5"}], list[Config], True),
        ([date(2024, 1, 31)], list[date], False),
        (["2024-01-31"], list[date], True),
        ("c", Literal["a", "b"], True),
        (1, Literal[True], True),
        (True, Literal[1], True),
        (["a"], Annotated[list[int], "days"], True),
        ("5", Days, True),
        (5, Days, False),
        ([object()], list[int], False),  # perhaps a marker, or a test's double
        ("data.csv", Path, True),
        ("abc", list[str], True),
        ([[1, "a"]], list[list[int]], True),
    ],
)
def test_a_literal_is_judged_with_its_members(value: Any, annotation: Any, wrong: bool) -> None:
    assert misfits(value, annotation) is wrong
