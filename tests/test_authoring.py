"""The decorators and what they make: a task is still its function, misuse is reported at once."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import sys
from collections import namedtuple
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from modules import line_of, module_of

import mxm
from mxm.pipeline.authoring import Flow, Task
from mxm.pipeline.bindings import Bindings, Const
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.errors import AmbiguousFlowError, GraphError
from mxm.pipeline.registry import FlowRegistry, collecting, current_registry, get_flow, list_flows
from mxm.pipeline.spec import AssetDecl, FlowSpec, TaskSpec

BOTH = pytest.mark.parametrize("decorator", [mxm.task, mxm.flow], ids=["task", "flow"])


@mxm.task
def load(symbol: str, limit: int = 250) -> list[str]:
    """Prices.

    >>> load("a", 2)
    ['a', 'a']
    """
    return [symbol] * limit


@mxm.task(upstream=load, retries=2)
def count(prices: list[str]) -> int:
    return len(prices)


@mxm.flow
def risk(symbol: str = "SPY") -> int:
    """End-of-day risk.

    More.
    """
    return count(load(symbol, limit=3))


@mxm.flow
def declared(symbol: str = "SPY"):
    return count


@mxm.task
def five() -> int:
    return 5


Point = namedtuple("Point", "x y")


def plain(x):
    return x


def places(problem: Any) -> tuple[str, int]:
    return problem.source.file, problem.source.line


# A task is still its function.


def test_a_task_called_outside_a_body_is_its_function() -> None:
    assert load("a", limit=2) == ["a", "a"]
    assert count(["x"]) == 1
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'symbol'"):
        load()


def test_an_async_task_called_outside_a_body_gives_its_coroutine() -> None:
    @mxm.task
    async def fetch(x):
        return x + 1

    assert asyncio.run(fetch(1)) == 2


@pytest.mark.parametrize("made", [load, risk], ids=["task", "flow"])
def test_what_a_decorator_makes_reads_like_the_function(made: Any) -> None:
    assert made.__name__ == made.fn.__name__
    assert made.__doc__ == made.fn.__doc__
    assert made.__module__ == __name__
    assert made.__wrapped__ is made.fn
    assert inspect.signature(made) == inspect.signature(made.fn)
    assert inspect.unwrap(made) is made.fn
    assert made.name in repr(made)
    assert f"at {made.source}" in repr(made)
    assert made.source.file == __file__
    assert made.source.line == made.fn.__code__.co_firstlineno


def test_doctests_of_tasks_are_found_and_run() -> None:
    import doctest

    (found,) = [t for t in doctest.DocTestFinder().find(load, "load") if t.examples]
    assert doctest.DocTestRunner().run(found).failed == 0


@pytest.mark.parametrize("made", [load, count, risk, declared], ids=lambda made: made.name)
def test_pickle_and_deepcopy_give_the_very_object(made: Any) -> None:
    assert pickle.loads(pickle.dumps(made)) is made
    assert copy.deepcopy([made])[0] is made
    assert copy.copy(made) is made


def test_a_task_under_another_name_pickles_as_one() -> None:
    spy = load.named("spy")
    for other in (pickle.loads(pickle.dumps(spy)), copy.deepcopy(spy)):
        assert isinstance(other, Task)
        assert (other.name, other.fn, other.origin) == ("spy", load.fn, load)
    assert load.name == "load"
    assert spy("a", 1) == ["a"]


def test_a_local_task_pickles_no_better_than_a_local_function() -> None:
    @mxm.task
    def local():
        return 1

    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(local)


def test_options_are_carried_into_the_spec() -> None:
    asset = AssetDecl("prices")

    @mxm.task(
        name="other",
        upstream=[load, "count"],
        after=count,
        params={"k": 1},
        retries=3,
        retry_delay_s=2,
        produces=asset,
    )
    def fit(x, y, k): ...

    spec = fit.spec
    assert (spec.name, spec.upstream, spec.after) == ("other", ("load", "count"), ("count",))
    assert (dict(spec.params), spec.retries, spec.retry_delay_s) == ({"k": 1}, 3, 2)
    assert spec.produces is asset
    assert spec.fn is fit.fn
    assert spec.source is not None
    assert spec.source.file == __file__


def test_a_mapping_of_upstreams_goes_by_parameter_name() -> None:
    @mxm.task(upstream={"series": load, "n": "count"})
    def fit(n, series): ...

    assert {k: str(v) for k, v in fit.spec.bindings.kwargs.items()} == {
        "series": "load",
        "n": "count",
    }


def test_options_stay_with_a_chosen_name() -> None:
    @mxm.flow
    def f():
        return count.named("n")(load.named("l")("a"))

    by_name = {t.name: t for t in f.spec.tasks}
    assert list(by_name) == ["l", "n"]
    assert by_name["n"].retries == 2


# Other options for one use.


def test_options_given_for_one_use_replace_those_of_the_task_one_by_one() -> None:
    @mxm.task(retries=1, retry_delay_s=2, params={"k": 1})
    def fit(x, k=0):
        return x

    other = fit.with_options(retries=3, params={"k": 2})
    spec = other.spec
    assert (spec.name, spec.retries, spec.retry_delay_s, dict(spec.params)) == (
        "fit",
        3,
        2,
        {"k": 2},
    )
    assert (fit.spec.retries, dict(fit.spec.params)) == (1, {"k": 1})
    assert other.with_options(retries=0).spec.retry_delay_s == 2
    assert other.with_options(params=None).spec.params == {}
    assert (other(5), other.__doc__, other.fn) == (5, fit.__doc__, fit.fn)


def test_uses_with_other_options_count_on_unless_they_choose_a_name() -> None:
    slow = load.with_options(retries=5)

    @mxm.flow
    def f():
        load("a")
        slow("b")
        slow("c")
        load.with_options(name="spy", retries=1)("d")
        load.named("qqq").with_options(retries=2)("e")
        load.with_options(name=None)("f")

    assert {t.name: t.retries for t in f.spec.tasks} == {
        "load": 0,
        "load_2": 5,
        "load_3": 5,
        "spy": 1,
        "qqq": 2,
        "load_4": 0,
    }
    assert find_problems(f.spec) == []


def test_a_name_chosen_for_one_use_must_be_unique_with_other_options_too() -> None:
    @mxm.flow
    def f():
        spy = load.named("spy")
        spy("a")
        spy.with_options(retries=1)("b")

    assert [p.code for p in find_problems(f.spec)] == ["MXM101"]


def test_order_can_be_given_for_one_use() -> None:
    @mxm.flow
    def f():
        load("a")
        return count.with_options(after=load, upstream=())(load.named("b")("b"))

    (last,) = [t for t in f.spec.tasks if t.name == "count"]
    assert (last.after, last.upstream) == (("load",), ("b",))


@pytest.mark.parametrize("option", ["after", "upstream", "each"])
@pytest.mark.parametrize("many", [False, True])
def test_a_result_of_the_body_as_an_upstream_by_option_is_a_problem(
    option: str, many: bool
) -> None:
    @mxm.flow
    def f() -> list[str]:
        first: Any = load("d")
        options: Any = {option: [first] if many else first}
        given: Any = ("e",) if option == "after" else ()
        return load.with_options(**options)(*given)

    found = [problem.message for problem in find_problems(f.spec) if problem.code == "MXM102"]
    assert "<result of task 'load', known when the flow runs>" in found[0]
    assert found[0].endswith("is not a task")


@pytest.mark.parametrize(
    "made", [load.with_options(retries=2), load.named("spy").with_options(tags=["x"])]
)
def test_a_task_with_other_options_pickles_as_one(made: Task) -> None:
    for other in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert (other.name, other.fn, other.options) == (made.name, load.fn, made.options)
        assert other.chosen == made.chosen


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"retrys": 1}, r"task 'load': with_options\(\) has no option 'retrys': did you mean"),
        ({"backend": "inline"}, "has no option 'backend'"),
        ({"name": ""}, r"task 'load': with_options\(\): name is a non-empty string"),
    ],
)
def test_an_option_of_one_use_is_checked_as_one_of_the_decorator(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(TypeError, match=told):
        load.with_options(**options)


# Misuse of the decorators.


class Class:
    def method(self):
        return 1

    def __call__(self):
        return 1


def local_method() -> Callable[..., Any]:
    class Local:
        def method(self): ...

    return Local.method


def generator():
    yield 1


async def async_generator():
    yield 1


MISUSED = {
    "a class": (Class, "'Class' is a class"),
    "a method": (Class.method, "'Class.method' is a method; move it out"),
    "a method of a local class": (local_method(), "is a method; move it out"),
    "a bound method": (Class().method, "functions defined with def"),
    "a callable object": (Class(), "functions defined with def"),
    "a staticmethod": (staticmethod(plain), "move the method out of its class"),
    "a classmethod": (classmethod(plain), "move the method out of its class"),
    "a builtin": (len, "functions defined with def, not <built-in function len>"),
    "a lambda": (lambda: 1, "a lambda has no name; define it with def"),
    "a partial": (functools.partial(plain, 1), "functions defined with def, not functools.partial"),
    "a generator": (generator, "'generator' is a generator; return a list"),
    "an async generator": (async_generator, "'async_generator' is a generator"),
    "a task": (load, "<task 'load' at .*> is already decorated"),
    "a flow": (risk, "<flow 'risk' at .*> is already decorated"),
    "a name": ("daily", "pass options by name: name='daily'"),
    "a number": (3, "functions defined with def, not 3"),
}


@BOTH
@pytest.mark.parametrize("form", ["bare", "called"])
@pytest.mark.parametrize(("thing", "told"), MISUSED.values(), ids=list(MISUSED))
def test_decorating_what_is_no_function_is_a_type_error(
    thing: Any, told: str, form: str, decorator: Any
) -> None:
    with pytest.raises(TypeError, match=told) as caught:
        decorator(thing) if form == "bare" else decorator()(thing)
    assert f"@mxm.{decorator.__name__}" in str(caught.value)
    assert list_flows() == []


def test_misuse_names_file_and_line_where_there_is_one() -> None:
    with pytest.raises(TypeError, match=rf"test_authoring\.py:{generator.__code__.co_firstlineno}"):
        mxm.task(generator)


TASK_OPTIONS = {
    "misspelt": ({"retrys": 1}, "no option 'retrys': did you mean 'retries'"),
    "of a flow": ({"tasks": []}, "no option 'tasks'"),
    "a name that is no string": ({"name": 3}, "name is a non-empty string, not 3"),
    "an empty name": ({"name": ""}, "name is a non-empty string, not ''"),
}
FLOW_OPTIONS = {
    "misspelt": ({"task": [load]}, "no option 'task': did you mean 'tasks'"),
    "of a task": ({"retries": 1}, "no option 'retries'"),
    "a name that is no string": ({"name": load}, "name is a non-empty string"),
    "tasks that is one task": ({"tasks": load}, "tasks must be a list of tasks, not <task 'load'"),
    "tasks that is a name": ({"tasks": "load"}, "tasks must be a list of tasks, not 'load'"),
    "tasks that is no list": ({"tasks": 3}, "tasks must be a list of tasks, not 3"),
    "a value given twice": ({"params": {"x": 1}}, "params gives 'x' a value, and so does the sig"),
}


@pytest.mark.parametrize(
    ("decorator", "options", "told"),
    [
        *(pytest.param(mxm.task, o, t, id=f"task: {k}") for k, (o, t) in TASK_OPTIONS.items()),
        *(pytest.param(mxm.flow, o, t, id=f"flow: {k}") for k, (o, t) in FLOW_OPTIONS.items()),
    ],
)
def test_an_option_that_cannot_be_used_is_a_type_error(
    decorator: Any, options: dict[str, Any], told: str
) -> None:
    def fn(x=2):
        return x

    with pytest.raises(TypeError, match=told):
        decorator(**options)(fn)
    assert list_flows() == []


VALUES = [
    *("x", "", b"x", 3, -1, 1.5, float("nan"), True, None, object(), ["x"], [3], [None], [[]], {3}),
    *({"x": 1}, {3: "x"}, len, int, ValueError("x"), range(3), Path("x")),
]
TAKEN = {  # what each option takes of these values; None is the default of some
    "tags": [["x"]],
    "limits": [["x"]],
    "inputs": [["x"], "", b""],
    "run_if": [],
    "allow_failure": [True],
    "on_item_error": [],
    "item_key": [None, len, int],
    "cache": [None, True],
    "cache_ttl_s": [None, 3, 1.5],
    "cache_version": [None, "x", "", 3, -1],
    "code_deps": [len, int],
    "params": [None, {"x": 1}],
    "produces": [None],
    "reads": ["x", ["x"]],
}
FLOW_TAKES = {
    "params": [None, {"x": 1}],
    "schedule_cron": [None, "x", ""],  # what is no schedule has codes of its own
    "cache": [None, True],
    "item_key": [None, len, int],
}


def is_taken(value: Any, taken: list[Any]) -> bool:
    return any(type(value) is type(one) and value == one for one in taken)


def by_decorator(options: dict[str, Any]) -> FlowSpec:
    @mxm.task(**options)
    def spoilt(x: Any = 1) -> int:
        return 1

    @mxm.flow
    def f() -> Any:
        return spoilt()

    return f.spec


def by_declaration(options: dict[str, Any]) -> FlowSpec:
    @mxm.task(**options)
    def spoilt(x: Any = 1) -> int:
        return 1

    @mxm.flow
    def f() -> Any:
        return spoilt

    return f.spec


def by_use(options: dict[str, Any]) -> FlowSpec:
    @mxm.task
    def spoilt(x: Any = 1) -> int:
        return 1

    other = spoilt.with_options(**options).with_options(retries=0)

    @mxm.flow
    def f() -> Any:
        return other()

    return f.spec


def by_another_flow(options: dict[str, Any]) -> FlowSpec:
    @mxm.task(**options)
    def spoilt(x: Any = 1) -> int:
        return 1

    @mxm.flow
    def inner() -> Any:
        return spoilt()

    @mxm.flow
    def f() -> Any:
        return inner()

    return f.spec


def explicitly(options: dict[str, Any]) -> FlowSpec:
    return FlowSpec("f", [TaskSpec("spoilt", len, bindings=Bindings((Const([]),)), **options)])


FORMS = [by_decorator, by_declaration, by_use, by_another_flow, explicitly]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("option", TAKEN)
def test_an_option_of_a_task_with_a_value_that_it_does_not_take_is_a_problem(
    option: str, form: Any
) -> None:
    for value in VALUES:
        if is_taken(value, TAKEN[option]):
            continue
        with collecting():
            found = [p for p in find_problems(form({option: value})) if p.severity == "error"]
        assert len(found) == 1, (value, found)
        if (option, type(value)) == ("run_if", str):
            assert found[0].code == "MXM108"
            continue
        assert (found[0].code, found[0].source is None) == ("MXM119", False), (value, found[0])
        assert f"task 'spoilt': {option} must be" in found[0].message
        assert f"{option}=" in str(found[0].hint) or "did you mean" in str(found[0].hint)


@pytest.mark.parametrize("option", FLOW_TAKES)
def test_an_option_of_a_flow_with_a_value_that_it_does_not_take_is_a_problem(option: str) -> None:
    for value in VALUES:
        if is_taken(value, FLOW_TAKES[option]):
            continue
        with collecting():
            flow = mxm.flow(**{option: value})(of_loads)
            assert list_flows() == ["of_loads"]
        found = find_problems(flow.spec)
        assert [(p.code, p.flow) for p in found] == [("MXM119", "of_loads")], (value, found)
        assert f"flow 'of_loads': {option} must be" in found[0].message
        if option != "item_key":
            by_hand = FlowSpec("g", [TaskSpec("t", dict)], **{option: value})
            assert [p.code for p in find_problems(by_hand)] == ["MXM119"], value


def of_loads() -> Any:
    return load("SPY")


def test_an_option_given_for_one_use_replaces_a_wrong_one() -> None:
    @mxm.task(tags="daily", limits=3)
    def spoilt() -> int:
        return 1

    assert spoilt() == 1  # it is still its function
    first = spoilt.with_options(tags=["daily"])
    assert [p.message[:25] for p in first.spec.problems] == ["task 'spoilt': limits must"[:25]]
    second = first.with_options(limits=["x"])
    assert (second.spec.problems, second.spec.tags, second.spec.limits) == ((), ("daily",), ("x",))


@pytest.mark.parametrize("name", ["", 3, None])
def test_a_chosen_name_is_a_string_that_is_not_empty(name: Any) -> None:
    with pytest.raises(TypeError, match=r"task 'load': named\(\) takes a non-empty string"):
        load.named(name)


# Flows.


def test_a_traced_flow_called_outside_a_body_is_plain_python() -> None:
    assert risk("abc") == 3
    with pytest.raises(TypeError, match="unexpected keyword argument 'nope'"):
        risk(nope=1)


def test_an_async_flow_called_outside_a_body_is_plain_python() -> None:
    @mxm.task
    async def fetch(x):
        return x + 1

    @mxm.flow
    async def f(x: int = 1):
        return [await fetch(x)]

    assert asyncio.run(f(2)) == [3]
    assert f.with_options(backend="inline").run(x=2).value() == [3]


def test_a_traced_flow_with_problems_still_runs_as_python() -> None:
    @mxm.flow
    def f(x):
        if x:
            return load("a", x)
        return 0

    assert [p.code for p in find_problems(f.spec)] == ["MXM301"]
    assert (f(0), f(1)) == (0, ["a"])


@pytest.mark.parametrize("listed", [False, True], ids=["returned", "tasks="])
def test_a_declared_flow_has_nothing_to_call_and_points_to_run(listed: bool) -> None:
    @mxm.flow(name="end-of-day", **({"tasks": [load]} if listed else {}))
    def daily():
        return load

    with pytest.raises(TypeError, match=r"flow 'end-of-day' is declared .* daily\.run\(\.\.\.\)"):
        daily()


def test_run_returns_what_happened_and_takes_options() -> None:
    run = risk.with_options(backend="inline").run(symbol="a")
    assert run.value() == 3
    assert list(run.tasks) == ["load", "count"]
    assert risk.run_options == {}
    both = risk.with_options(backend="inline").with_options(fail_fast=True)
    assert both.run_options == {"backend": "inline", "fail_fast": True}
    with pytest.raises(TypeError, match="runer"):
        risk.with_options(backend="inline", runer="threads")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("b", 2),
        ("[a, b]", [1, 2]),
        ("(b, a)", (2, 1)),
        ("{'x': a, 'y': [b, (a,)]}", {"x": 1, "y": [2, (1,)]}),
        ("[a(), b]", [1, 2]),
        ("{'s': a(), 'n': None}", {"s": 1, "n": None}),
        ("c", {"k": [5]}),
        ("c()['k'][0]", 5),
        ("[]", None),
        ("p", None),
        ("None", None),
    ],
)
def test_the_value_of_a_run_has_the_shape_the_body_returned(
    returned: str, expected: Any, tmp_path: Path
) -> None:
    module = module_of(
        tmp_path,
        f"""
import mxm

@mxm.task
def a():
    return 1

@mxm.task
def b():
    return 2

@mxm.task
def c():
    return {{"k": [5]}}

@mxm.flow
def f(p=3):
    return {returned}
""",
    )
    if expected is None:
        assert [p.code for p in find_problems(module.f.spec)] == ["MXM105"]
    else:
        assert module.f.with_options(backend="inline").run().value() == expected


def test_a_body_that_returns_nothing_has_no_value_but_its_tasks() -> None:
    @mxm.flow
    def f():
        load("a", 1)

    run = f.with_options(backend="inline").run()
    assert run.value() is f() is None
    assert run.values == {"load": ["a"]}


@pytest.mark.parametrize("listed", [False, True], ids=["returned", "tasks="])
@pytest.mark.parametrize(
    ("given", "told", "hint"),
    [
        (plain, "'plain', a plain function", "put @mxm.task above 'plain'"),
        (risk, "contains flow 'risk'", r"call it in the body: risk(...)"),
        ({load}, "{<task 'load'", "list|return"),
        (len, "<built-in function len>", "list|return"),
        (Class, "Class", "list|return"),
        (functools.partial(plain, 1), "functools.partial", "list|return"),
    ],
    ids=["function", "flow", "set", "builtin", "class", "partial"],
)
def test_a_target_that_is_no_task_is_a_problem(
    given: Any, told: str, hint: str, listed: bool
) -> None:
    def f():
        return [load, {"k": given}]

    made = mxm.flow(tasks=[load, given])(f) if listed else mxm.flow(f)
    (problem,) = find_problems(made.spec)
    assert problem.code == "MXM106"
    assert told in problem.message
    assert any(part in (problem.hint or "") for part in hint.split("|"))
    assert places(problem) == (__file__, f.__code__.co_firstlineno)


@pytest.mark.parametrize("given", [3, "load"], ids=["number", "name"])
def test_what_is_listed_is_a_task_and_no_constant(given: Any) -> None:
    @mxm.flow(tasks=[load, given])
    def f(): ...

    (problem,) = find_problems(f.spec)
    assert (problem.code, "list what @mxm.task made" in (problem.hint or "")) == ("MXM106", True)


CONSTANTS = {
    "a number": 3,
    "text": "load",
    "None": None,
    "a set": frozenset({1}),
    "a date": date(2024, 1, 2),
    "a list": [1, {"k": (2,)}],
    "a named tuple": Point(1, 2),
    "a frame": pd.DataFrame({"a": [1]}),
}


@pytest.mark.parametrize("constant", CONSTANTS.values(), ids=list(CONSTANTS))
@pytest.mark.parametrize("traced", [True, False], ids=["traced", "declared"])
def test_constants_may_be_returned_beside_tasks(constant: Any, traced: bool) -> None:
    @mxm.flow
    def f():
        return {"kept": constant, "many": [load("a", 1) if traced else five, (constant,)]}

    assert find_problems(f.spec) == []
    value: Any = f.with_options(backend="inline").run().value()
    assert value["kept"] is value["many"][1][0] is constant
    assert value["many"][0] == (["a"] if traced else 5)
    if traced:
        assert f()["kept"] is constant


def test_a_list_that_holds_itself_may_be_returned_beside_tasks() -> None:
    itself: list[Any] = []
    itself.append(itself)

    @mxm.flow
    def f():
        return [load("a", 1), itself]

    assert f.with_options(backend="inline").run().value()[1] is itself


@pytest.mark.parametrize("alone", ["3", "{'k': 3}", "['load', (1,)]"])
def test_constants_alone_are_no_value_of_a_flow(alone: str, tmp_path: Path) -> None:
    text = f"""
import mxm

@mxm.task
def load(x=1):
    return x

@mxm.flow
def f(x=1):
    load(x)
    return {alone}
"""
    (problem,) = find_problems(module_of(tmp_path, text).f.spec)
    assert problem.code == "MXM106"
    assert "results, constants" in (problem.hint or "")


@pytest.mark.parametrize(
    ("returned", "code", "hint"),
    [
        ("deque([load(x)])", "MXM106", "return tasks"),
        ("Pair(load(x), 1)", "MXM106", "return tasks"),
        ("(v for v in [load(x)])", "MXM306", "list(...)"),
        ("map(str, [1])", "MXM306", "list(...)"),
        ("MADE", "MXM306", "await"),
        ("later(x)", "MXM106", "await the call"),
    ],
)
def test_what_hides_a_result_or_can_be_read_once_cannot_be_returned(
    returned: str, code: str, hint: str, tmp_path: Path
) -> None:
    text = f"""
from collections import deque, namedtuple
import mxm

Pair = namedtuple("Pair", "a b")

@mxm.task
def load(x=1):
    return x

async def helper():
    return 1

MADE = helper()

@mxm.flow
async def later(x):
    return [load(x)]

@mxm.flow
def f(x=1):
    return [load(x), {returned}]
"""
    module = module_of(tmp_path, text)
    (problem,) = find_problems(module.f.spec)
    assert (problem.code, hint in (problem.hint or "")) == (code, True)
    module.MADE.close()


def test_a_named_tuple_cannot_be_returned() -> None:
    from collections import namedtuple

    Pair = namedtuple("Pair", "a b")

    @mxm.flow
    def f():
        return Pair(load("a"), load("b"))

    assert [p.code for p in find_problems(f.spec)] == ["MXM106"]


def test_a_task_returned_by_a_body_that_caught_a_refusal_is_no_error_of_ours() -> None:
    @mxm.flow
    def f(x):
        load(x)
        try:
            len(x)
        except TypeError:
            pass
        return count

    assert [p.code for p in find_problems(f.spec)] == ["MXM301"]


# Parameters of a flow.


def test_the_signatures_defaults_are_the_flows_parameters() -> None:
    default = [1, 2]

    @mxm.task
    def total(xs):
        xs.append(3)
        return sum(xs)

    @mxm.flow(params={"limit": 5})
    def f(need, xs: list[int] = default, *, k=None):
        return total(xs)

    assert dict(f.spec.params) == {"xs": [1, 2], "k": None, "limit": 5}
    assert f.spec.params["xs"] is default
    # A default that changes is shared by calls and runs, as Python has it.
    assert f(0) == 6
    assert f.with_options(backend="inline").run(need=0).value() == 9
    assert default == [1, 2, 3, 3]


def test_a_tasks_own_mutable_default_is_pythons() -> None:
    @mxm.task
    def add(x, seen=[]):
        seen.append(x)
        return list(seen)

    @mxm.flow
    def f(x):
        return add(x)

    inline = f.with_options(backend="inline")
    assert [f(1), inline.run(x=2).value(), f(3)] == [[1], [1, 2], [1, 2, 3]]


def test_a_constant_in_a_call_is_handed_on_by_reference() -> None:
    thing = object()

    @mxm.task
    def same(x):
        return x

    @mxm.flow
    def f():
        return same(thing)

    assert f.spec.tasks[0].bindings.args == (Const(thing),)
    assert f.with_options(backend="inline").run().value() is thing


# Registration, and modules with mistakes in them.


def test_flows_are_registered_and_tasks_are_not(registry: FlowRegistry) -> None:
    @mxm.task
    def a(): ...

    @mxm.flow(name="nightly")
    def f():
        return a

    assert list_flows() == ["nightly"]
    entry = registry.find("nightly")
    assert (entry.flow, entry.source, entry.interactive) == (f, f.source, False)
    assert get_flow("nightly").tasks[0].name == "a"


WRONG_BODIES = {
    "a forbidden use": ("if x: pass", "MXM301"),
    "an own error": ("1 / 0", "MXM302"),
    "an unknown name": ("lod(x)", "MXM302"),
    "an exit": ("raise SystemExit(1)", "MXM302"),
    "wrong arguments": ("load()['k'](1)", "MXM301"),
    "no tasks": ("pass", "MXM105"),
    "a plain function": ("return print", "MXM106"),
    "a wrong return": ("load(x); return {1, 2}", "MXM106"),
}


@pytest.mark.parametrize("kind", ["", "async "])
@pytest.mark.parametrize(("body", "code"), WRONG_BODIES.values(), ids=list(WRONG_BODIES))
def test_a_wrong_body_raises_nothing_at_import_and_stays_registered(
    body: str, code: str, kind: str, tmp_path: Path
) -> None:
    module = module_of(
        tmp_path,
        f"""
import mxm

@mxm.task
def load(x=1):
    return x

@mxm.flow
{kind}def risk(x: int = 1):
    {body}
""",
    )
    assert list_flows() == ["risk"]
    assert [p.code for p in find_problems(get_flow("risk"))] == [code]
    with pytest.raises(GraphError) as caught:
        module.risk.run()
    assert caught.value.problems == tuple(find_problems(module.risk.spec))


DECORATED = """
import functools
import mxm

def timed(fn):
    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)
    return wrapper
"""


def test_a_wrapped_function_is_placed_where_the_user_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timing", module_of(tmp_path, DECORATED, "timing"))
    text = """
import mxm
from timing import timed

@mxm.task(upstream="later")
@timed
def returns(prices):
    return prices

@mxm.flow
@timed
def daily(x=1):
    return returns()

@mxm.flow
@timed
def wrong(x=1):
    return len(x)  # here

@mxm.task
def later():
    return 7
"""
    one, two = (module_of(tmp_path, text, name) for name in ("one", "two"))
    assert one.returns.source.file == one.__file__
    assert one.daily.source.line == line_of(one, "def daily") - 2
    # Two flows of one name, not one that replaces the other.
    with pytest.raises(AmbiguousFlowError, match=r"(?s)one\.py.*two\.py"):
        current_registry().find("daily")
    # Its name is looked up in its own module, not in that of the wrapper.
    assert one.daily.with_options(backend="inline").run().value() == 7
    (problem,) = find_problems(two.wrong.spec)
    assert places(problem) == (two.__file__, line_of(two, "# here"))


def test_mxm_has_the_decorators_and_knows_what_it_has_not() -> None:
    assert mxm.task is not None
    assert (mxm.Task, mxm.Flow) == (Task, Flow)
    assert {"task", "flow", "Task", "Flow"} <= set(dir(mxm))
    with pytest.raises(AttributeError, match="module 'mxm' has no attribute 'tsk'"):
        mxm.tsk  # noqa: B018


def test_a_flow_among_the_upstreams_is_told_as_one() -> None:
    @mxm.task
    def load() -> int:
        return 1

    @mxm.flow
    def prices() -> Any:
        return load

    @mxm.task(upstream=prices)  # type: ignore[arg-type]
    def total(value: int) -> int:
        return value

    @mxm.flow
    def report() -> Any:
        return total

    (problem,) = find_problems(report.spec)
    assert problem.message == "unknown upstream of task 'total': 'prices' is a flow, not a task"
    assert problem.hint is not None
    assert "prices(...)" in problem.hint
