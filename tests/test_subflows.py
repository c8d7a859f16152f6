"""A flow called in the body of another."""

from __future__ import annotations

from pathlib import Path

import pytest
from bodies import HEAD, problems_of, the_problem
from modules import line_of, module_of

import mxm
from mxm.pipeline.bindings import Const


def test_an_inlined_flow_gets_its_arguments_and_defaults_and_gives_what_it_returns() -> None:
    @mxm.task
    def load(symbol, limit):
        return [symbol] * limit

    @mxm.task
    def count(xs):
        return len(xs)

    @mxm.flow
    def inner(symbol, limit=2, *, scale={"n": 3}):
        first = load(symbol, limit)
        return {"n": count(first), "part": [first, scale["n"], symbol][0], "p": (load(1, 1)[0],)}

    @mxm.flow
    def outer(symbol="SPY"):
        got = inner(symbol)
        n, part = inner("QQQ", limit=count(got["part"]))["n"], got["p"][0]
        return [n, part, got]

    assert problems_of(outer) == []
    assert outer() == outer.with_options(backend="inline").run().value()
    limits = [t.bindings.args[1] for t in outer.spec.tasks if t.name in ("inner.load",)]
    assert limits == [Const(2)]


@pytest.mark.parametrize("returned", ["None", "[s]", "{'k': s}", "x", "s['k']", "(s, fetch)"])
def test_an_inlined_async_flow_is_awaited_whatever_it_returns(
    returned: str, tmp_path: Path
) -> None:
    module = module_of(
        tmp_path,
        f"""{HEAD}
@mxm.flow
async def inner(x):
    s = await fetch({{"k": x}})
    return {returned}

@mxm.flow
async def outer(x):
    return load(await inner(1))

@mxm.flow
async def wrong(x):
    import asyncio
    return load(await asyncio.gather(inner(1)))
""",
    )
    assert problems_of(module.outer) == []
    assert the_problem(module.wrong).code == "MXM303"


def test_a_declared_flow_is_inlined_with_its_parameters_bound() -> None:
    @mxm.task
    def load(symbol, limit=5):
        return symbol * limit

    @mxm.task(upstream=load, after=load)
    def upper(text, end="!"):
        return text.upper() + end

    @mxm.flow(params={"end": "?"})
    def inner(symbol, limit=2):
        return upper

    @mxm.flow
    def outer(symbol):
        return inner(symbol), inner("b", limit=1)

    assert problems_of(outer) == []
    run = outer.with_options(backend="inline").run(symbol="a")
    assert run.value() == ("AA?", "B?")
    assert outer.spec.tasks[1].after == ("inner.load",)


def test_a_flow_with_listed_tasks_gives_its_last_tasks() -> None:
    @mxm.task
    def a():
        return 1

    @mxm.task
    def b():
        return 2

    @mxm.task
    def add(x, y):
        return x + y

    @mxm.task(after=a)
    def c():
        return 3

    @mxm.flow(tasks=[a, b])
    def both(): ...

    @mxm.flow(tasks=[a, c])
    def single(): ...

    @mxm.flow
    def outer():
        found = both()
        return add(add(found["a"], found["b"]), single())

    assert problems_of(outer) == []
    assert outer.with_options(backend="inline").run().value() == 6


def test_an_inlined_task_keeps_its_options_and_its_place_after_others() -> None:
    @mxm.task
    def first(): ...

    @mxm.task(after=first, retries=2, params={"k": 5})
    def second(k=1):
        return k

    @mxm.task(upstream="inner.second")
    def last(x):
        return x

    @mxm.flow
    def inner():
        return second

    @mxm.flow
    def outer():
        found = last()
        inner()
        return found

    assert problems_of(outer) == []
    assert [t.name for t in outer.spec.tasks] == ["inner.first", "inner.second", "last"]
    assert outer.spec.tasks[1].retries == 2
    assert outer.with_options(backend="inline").run().value() == 5


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("inner()", "missing a required argument: 'a'"),
        ("inner(1, 2, 3)", "too many positional"),
        ("inner(1, nope=2)", "'nope'"),
    ],
)
@pytest.mark.parametrize("caught", [False, True], ids=["let go", "caught"])
def test_a_flow_called_with_wrong_arguments_is_a_problem_of_the_outer_flow(
    call: str, told: str, caught: bool, tmp_path: Path
) -> None:
    module = module_of(
        tmp_path,
        f"""{HEAD}
@mxm.flow
def inner(a, b=1):
    return load(a["k"], b)

@mxm.flow
def outer(x):
    try:
        {call}
    except {"Exception" if caught else "ZeroDivisionError"}:
        pass
    return load(x + 1)  # the pass goes on
""",
    )
    assert problems_of(module.inner) == []
    # That the call is inside `try` is another problem.
    wrong, after = [p for p in problems_of(module.outer) if p.code != "MXM305"]
    assert (wrong.code, wrong.flow) == ("MXM104", "outer")
    assert "'inner'" in wrong.message
    assert told in wrong.message
    assert wrong.source is not None
    assert wrong.source.line == line_of(module, f"        {call}")
    assert "inner(a, b=1)" in (wrong.hint or "")
    assert after.code == "MXM301"


INNER_PROBLEMS = {
    "a forbidden use": ("@mxm.flow\ndef inner(x):\n    return load(x + 1)", "MXM301"),
    "an unknown upstream": (
        "@mxm.task(upstream='lod')\ndef b(x): ...\n@mxm.flow\ndef inner(x):\n    return b",
        "MXM102",
    ),
    "an upstream that is no task": (
        "@mxm.task(upstream=len)\ndef b(x): ...\n@mxm.flow\ndef inner(x):\n    return b",
        "MXM102",
    ),
    "a cycle": (
        "@mxm.task(upstream='b')\ndef b(x): ...\n@mxm.flow\ndef inner(x):\n    return b",
        "MXM103",
    ),
    "no tasks": ("@mxm.flow\ndef inner(x): ...", "MXM105"),
    "a signature": (
        "@mxm.task(upstream=[load, load])\ndef b(x): ...\n@mxm.flow\ndef inner(x):\n    return b",
        "MXM104",
    ),
    "a duplicate": (
        "@mxm.flow\ndef inner(x):\n    load.named('a')(x); load.named('a')(x)",
        "MXM101",
    ),
}


@pytest.mark.parametrize(("inner", "code"), INNER_PROBLEMS.values(), ids=list(INNER_PROBLEMS))
def test_what_is_wrong_with_an_inlined_flow_is_wrong_with_the_outer_one(
    inner: str, code: str, tmp_path: Path
) -> None:
    module = module_of(
        tmp_path,
        f"{HEAD}{inner}\n@mxm.flow\ndef outer(x):\n    load(x)\n    inner(x)\n",
    )
    assert [p.code for p in problems_of(module.outer)] == [code]


def test_the_result_of_an_async_flow_that_is_not_awaited_is_not_passed_on(tmp_path: Path) -> None:
    text = """
@mxm.flow
async def inner(x):
    return {"a": load(x)}

@mxm.flow
async def risk(x):
    made = inner(x)
    return load(made)  # here
"""
    module = module_of(tmp_path, HEAD + text)
    problem = the_problem(module.risk)
    assert "without await" in problem.message
    assert problem.source is not None
    assert problem.source.line == line_of(module, "# here")


def test_an_inlined_declared_flow_gives_its_tasks_what_its_own_run_gives_them(
    tmp_path: Path,
) -> None:
    text = """
@mxm.task
def first(a, /, b=2):
    return a, b

@mxm.task(upstream=first)
def last(row, **options):
    return row, options

@mxm.flow
def inner(a=1, c=3):
    return last

@mxm.flow
def outer():
    return inner()
"""
    module = module_of(tmp_path, HEAD + text)
    assert problems_of(module.outer) == []
    alone = module.inner.with_options(backend="inline").run().value()
    assert alone == ((1, 2), {"a": 1, "c": 3})
    assert module.outer.with_options(backend="inline").run().value() == alone


def test_flow_may_be_called_above_the_tasks_that_it_names(tmp_path: Path) -> None:
    module = module_of(
        tmp_path,
        """
        import mxm

        @mxm.task(upstream="load")
        def mean(prices):
            return sum(prices) / len(prices)

        @mxm.flow
        def average():
            return mean

        @mxm.flow
        def middle():
            return average()

        @mxm.flow
        def report():
            return middle(), average()

        @mxm.task
        def load():
            return [1.0, 3.0]
        """,
    )
    assert module.report.with_options(backend="inline").run().value() == (2.0, 2.0)
    assert module.report.spec is module.report.spec
    assert [task.name for task in module.report.spec.tasks] == [
        *("middle.average.load", "middle.average.mean", "average.load", "average.mean"),
    ]
