"""One pass over a flow's body: what a stand-in allows, what it refuses, and how steps are named."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
from pathlib import Path

import pytest
from modules import line_of, module_of

import mxm
from mxm.pipeline.authoring import Flow
from mxm.pipeline.bindings import Collection, Const, Param, Upstream
from mxm.pipeline.errors import Problem
from mxm.pipeline.graph import find_problems
from mxm.pipeline.standins import StandIn, TracingError
from mxm.pipeline.tracing import active_trace

HEAD = """
import logging
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd

import mxm

@dataclass(frozen=True)
class Window:
    symbol: str

def objects(value):
    made = np.empty(1, dtype=object)
    made[0] = value
    return made

@mxm.task
def load(x=1, *rest, **more):
    return x

@mxm.task
async def fetch(x=1):
    return x

"""


def problems_of(flow: Flow) -> list[Problem]:
    return find_problems(flow.spec)


def the_problem(flow: Flow) -> Problem:
    (found,) = problems_of(flow)
    return found


# What a stand-in refuses: the statement, and a word of the way out.
FORBIDDEN = {
    "if": ("if s: pass", "decision"),
    "while": ("while s: pass", "decision"),
    "not": ("not s", "decision"),
    "and": ("s and 1", "decision"),
    "bool": ("bool(s)", "decision"),
    "assert": ("assert s", "decision"),
    "comprehension condition": ("[1 for _ in (1,) if s]", "decision"),
    "==": ("s == 1", "compare"),
    "reflected ==": ("1 == s", "compare"),
    "!=": ("s != 1", "compare"),
    "<": ("s < 1", "compare"),
    ">=": ("s >= 1", "compare"),
    "in a list": ("s in [1]", "compare"),
    "max": ("max(s, 1)", "compare"),
    "in": ("1 in s", "look inside"),
    "len": ("len(s)", "len()"),
    "hash": ("hash(s)", "list item"),
    "set": ("{s}", "list item"),
    "dict key": ("{s: 1}", "list item"),
    "str": ("str(s)", "text"),
    "f-string": ("f'{s}'", "text"),
    "f-string with a format": ("f'{s:.2f}'", "text"),
    "percent": ("'%s' % s", "text"),
    "format": ("'{}'.format(s)", "text"),
    "print": ("print(s)", "text"),
    "bytes": ("bytes(s)", "text"),
    "for": ("for _ in s: pass", "constants"),
    "unpacking": ("a, b = s", "constants"),
    "star": ("load(*s)", "constants"),
    "list": ("list(s)", "constants"),
    "next": ("next(s)", "constants"),
    "reversed": ("reversed(s)", "constants"),
    "sum": ("sum(s)", "constants"),
    "double star": ("load(**s)", "'keys'"),
    "+": ("s + 1", "calculate"),
    "reflected -": ("1 - s", "calculate"),
    "+=": ("s += 1", "calculate"),
    "//": ("s // 2", "calculate"),
    "**": ("2 ** s", "calculate"),
    "@": ("s @ s", "calculate"),
    "divmod": ("divmod(s, 2)", "calculate"),
    "&": ("s & 1", "calculate"),
    "<<": ("1 << s", "calculate"),
    "minus": ("-s", "calculate"),
    "invert": ("~s", "calculate"),
    "abs": ("abs(s)", "calculate"),
    "round": ("round(s)", "calculate"),
    "int": ("int(s)", "calculate"),
    "float": ("float(s)", "calculate"),
    "complex": ("complex(s)", "calculate"),
    "range": ("range(s)", "calculate"),
    "as an index": ("[1, 2][s]", "calculate"),
    "ceil": ("__import__('math').ceil(s)", "calculate"),
    "attribute": ("s.shape", "'shape'"),
    "method": ("s.mean()", "'mean'"),
    "private attribute": ("s._x", "'_x'"),
    "hasattr": ("hasattr(s, 'shape')", "'shape'"),
    "call": ("s()", "call it"),
    "set attribute": ("s.x = 1", "change a value"),
    "delete attribute": ("del s.x", "change a value"),
    "set item": ("s[0] = 1", "change a value"),
    "delete item": ("del s[0]", "change a value"),
    "slice": ("s[1:2]", "constant"),
    "float index": ("s[1.5]", "constant"),
    "bool index": ("s[True]", "constant"),
    "None index": ("s[None]", "constant"),
    "index by a value of the run": ("s[s]", "index inside"),
    "with": ("with s: pass", "open it"),
    "copy": ("__import__('copy').copy(s)", "copy it"),
    "deepcopy": ("__import__('copy').deepcopy([s])", "copy it"),
    "pickle": ("__import__('pickle').dumps(s)", "copy it"),
    "path": ("__import__('os').fspath(s)", "open the file"),
    "path through a library": ("__import__('os').path.join(s, 'x')", "open the file"),
    "open": ("open(s)", "open the file"),
    "a library's attribute": ("pd.date_range(s, periods=2)", "give it to pandas inside"),
    "double star of a dict": ("dict(s)", "'keys'"),
    "Path": ("__import__('pathlib').Path(s)", "open the file"),
    "mean": ("__import__('statistics').mean(s)", "constants"),
    "numpy array": ("__import__('numpy').asarray(s)", "array"),
    "numpy ufunc": ("__import__('numpy').add(s, 1)", "array"),
    "numpy function": ("__import__('numpy').mean(s)", "array"),
    "numpy operator": ("__import__('numpy').float64(1) + s", "array"),
    "log text": ("logging.makeLogRecord({'msg': '%s', 'args': (s,)}).getMessage()", "text"),
    "named tuple": ("load(namedtuple('T', 'a')(s))", "plain list"),
    "ordered dict deep inside": ("load([OrderedDict(a=s)])", "plain list"),
    "dataclass": ("load(Window(s))", "plain list"),
    "namespace deep inside": ("load({'k': [SimpleNamespace(a={'b': s})]})", "plain list"),
    "deque": ("load(deque([s]))", "plain list"),
    "partial": ("load(partial(max, s))", "plain list"),
    "closure": ("load(lambda: s)", "plain list"),
    "default of a function": ("load(lambda a=s: a)", "plain list"),
    "generator": ("load(v for v in [s])", "plain list"),
    "bound method": ("load(deque([s]).pop)", "plain list"),
    "array of objects": ("load(objects(s))", "plain list"),
    "series": ("load(pd.Series([s], dtype=object))", "plain list"),
    "frame": ("load(pd.DataFrame({'a': [s]}))", "plain list"),
    "through **": ("load(**{'k': Window(s)})", "plain list"),
}


@pytest.mark.parametrize("caught", [False, True], ids=["let go", "caught"])
@pytest.mark.parametrize("origin", ["x", "load(x)", "load(x)['k']"])
@pytest.mark.parametrize(("statement", "hint"), FORBIDDEN.values(), ids=list(FORBIDDEN))
def test_a_forbidden_use_is_a_problem_with_its_line_and_a_way_out(
    statement: str, hint: str, origin: str, caught: bool, tmp_path: Path
) -> None:
    lines = ["@mxm.flow", "def risk(x):", f"    s = {origin}", "    try:"]
    lines += [f"        {statement}", "    except ZeroDivisionError: pass"]
    if caught:
        lines[-1:] = ["    except Exception: pass"]
    text = HEAD + "\n".join([*lines, "    return load(x)"])
    module = module_of(tmp_path, text)

    problem = the_problem(module.risk)

    assert problem.code == "MXM301"
    assert problem.source is not None
    assert problem.source.file == module.__file__
    assert problem.source.line == line_of(module, f"        {statement}")
    assert hint in (problem.hint or "")
    assert problem.flow == "risk"


@pytest.mark.parametrize(
    ("statement", "hint"),
    [
        ("async with x: pass", "open it"),
        ("async for _ in x: pass", "iterate"),
        ("[_ async for _ in x]", "iterate"),
    ],
)
def test_what_only_async_bodies_can_do_is_refused_too(
    statement: str, hint: str, tmp_path: Path
) -> None:
    module = module_of(
        tmp_path, HEAD + f"@mxm.flow\nasync def risk(x):\n    {statement}\n    return load(x)\n"
    )
    problem = the_problem(module.risk)
    assert problem.code == "MXM301"
    assert problem.source is not None
    assert problem.source.line == line_of(module, statement)
    assert hint in (problem.hint or "")


def test_every_forbidden_use_that_the_body_gets_to_is_told_but_each_place_once(
    tmp_path: Path,
) -> None:
    module = module_of(
        tmp_path,
        HEAD
        + """
@mxm.flow
def risk(x, y):
    for s in (x, y):
        try:
            len(s)  # first
        except TypeError:
            pass
    return load(x + 1)  # second
""",
    )
    lines = [p.source.line for p in problems_of(module.risk) if p.source]
    assert lines == [line_of(module, "# first"), line_of(module, "# second")]


def test_what_follows_from_a_refusal_that_the_body_caught_is_not_told(tmp_path: Path) -> None:
    module = module_of(
        tmp_path,
        f"""{HEAD}
@mxm.flow
def risk(x):
    try:
        count = len(x)
    except TypeError:
        count = None
    return load(count + 1)
""",
    )
    assert the_problem(module.risk).code == "MXM301"


def test_a_refusal_shows_the_column_of_the_use(tmp_path: Path) -> None:
    module = module_of(tmp_path, HEAD + "@mxm.flow\ndef risk(x):\n    return load(1), load(x + 1)")
    source = the_problem(module.risk).source
    assert source is not None
    assert source.column == len("    return load(1), load(") + 1


def test_a_use_in_a_helper_of_another_module_is_told_at_the_line_of_the_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = module_of(tmp_path, "def double(x):\n    return x * 2\n", "helper")
    monkeypatch.setitem(__import__("sys").modules, "helper", helper)
    module = module_of(
        tmp_path,
        HEAD + "from helper import double\n@mxm.flow\ndef risk(x):\n    return load(double(x))\n",
    )
    source = the_problem(module.risk).source
    assert source is not None
    assert (source.file, source.line) == (module.__file__, line_of(module, "load(double(x))"))


def test_repr_and_logging_of_it_are_safe(caplog: pytest.LogCaptureFixture) -> None:
    @mxm.task
    def split(x):
        return x

    shown = []

    @mxm.flow
    def risk(x):
        part = split(x)["a"][0]
        shown.extend([repr(x), f"{part!r}"])
        with caplog.at_level(logging.INFO):
            logging.getLogger(__name__).info("have %r", x)
        return part

    assert problems_of(risk) == []
    assert "parameter 'x'" in shown[0]
    assert "task 'split'['a'][0]" in shown[1]
    assert "parameter 'x'" in caplog.text


def test_a_stand_in_that_escaped_its_body_still_refuses() -> None:
    escaped = []

    @mxm.task
    def load(x):
        return x

    @mxm.flow
    def risk(x):
        escaped.append(load(x))
        return escaped[0]

    with pytest.raises(TracingError, match="'load'") as caught:
        bool(escaped[0])
    assert caught.value.source is not None
    assert caught.value.source.file == __file__
    assert problems_of(risk) == []


# What a stand-in allows.


def test_stand_ins_become_edges_wherever_they_stand_in_an_argument() -> None:
    @mxm.task
    def a(n):
        return n

    @mxm.task
    def b(*args, **kwargs):
        return args

    fixed = object()

    @mxm.flow
    def f(p):
        s = a(p)
        return b(s, [s, 1, (p, {"k": s["x"][0]})], fixed, k=p[-1])

    assert problems_of(f) == []
    first, second = f.spec.tasks
    assert first.bindings.args == (Param("p"),)
    assert second.bindings.args == (
        Upstream("a"),
        Collection(
            list,
            (
                Upstream("a"),
                Const(1),
                Collection(
                    tuple,
                    (Param("p"), Collection(dict, (Upstream("a", ("x", 0)),), ("k",))),
                ),
            ),
        ),
        Const(fixed),
    )
    assert second.bindings.kwargs == {"k": Param("p", (-1,))}
    assert second.upstream == ("a",)


def test_a_list_that_grows_after_a_call_is_not_grown_in_the_call() -> None:
    @mxm.task
    def one(x):
        return x

    @mxm.task
    def count(xs):
        return len(xs)

    @mxm.task
    def wrapped(xs):
        return xs

    @mxm.flow
    def inner(xs):
        return count(xs)

    @mxm.flow
    def f(x):
        parts, plain = [one(x)], [1]
        counts = [count(parts), count(plain), inner(parts), count({"a": plain}["a"])]
        parts.append(one(x))
        plain.append(2)
        return [*counts, count(parts), count(plain)]

    assert f(0) == [1, 1, 1, 1, 2, 2]
    assert f.with_options(backend="inline").run(x=0).value() == f(0)


def test_an_async_body_is_one_pass_whose_stand_ins_are_awaited() -> None:
    @mxm.task
    async def fetch(x):
        return x + 1

    async def helper(x):
        return await fetch(x)

    @mxm.flow
    async def f(x):
        first = await fetch(x)
        return await helper(first)

    assert problems_of(f) == []
    assert [t.name for t in f.spec.tasks] == ["fetch", "fetch_2"]
    assert asyncio.run(f(1)) == f.with_options(backend="inline").run(x=1).value() == 3


# Other errors of a body.

AWAITS = {
    "gather": ("await asyncio.gather(fetch(x), fetch(x))", "one after the other"),
    "gather in a sync line": ("g = asyncio.gather(fetch(x))", "one after the other"),
    "create_task": ("await asyncio.create_task(fetch(x))", "one after the other"),
    "sleep": ("await asyncio.sleep(1)", "async task"),
    "sleep of nothing": ("await asyncio.sleep(0)", "async task"),
    "wait_for": ("await asyncio.wait_for(fetch(x), 1)", "async task"),
    "a thread": ("await asyncio.to_thread(print)", "async task"),
    "a task group": ("async with asyncio.TaskGroup() as g: g.create_task(fetch(x))", "async task"),
    "an awaitable of its own": ("await Other()", "async task"),
    "what swallows the end": ("await stubborn()", "async task"),
}


@pytest.mark.parametrize("loop", [False, True], ids=["no loop", "in a loop"])
@pytest.mark.parametrize(("statement", "hint"), AWAITS.values(), ids=list(AWAITS))
def test_awaiting_anything_but_tasks_is_a_problem_with_its_line(
    statement: str, hint: str, loop: bool, tmp_path: Path
) -> None:
    text = f"""{HEAD}
import asyncio

class Other:
    def __await__(self):
        yield 1

async def stubborn():
    try:
        await Other()
    except GeneratorExit:
        pass

@mxm.flow
async def risk(x):
    {statement}  # here
    return load(x)
"""

    async def importing():
        return module_of(tmp_path, text)

    module = asyncio.run(importing()) if loop else module_of(tmp_path, text)

    problem = the_problem(module.risk)
    assert problem.code == "MXM303"
    assert problem.source is not None
    assert problem.source.file == module.__file__
    assert problem.source.line == line_of(module, "# here")
    assert hint in (problem.hint or "")


def test_gather_is_named() -> None:
    @mxm.task
    async def fetch(x):
        return x

    @mxm.flow
    async def risk(x):
        return await asyncio.gather(fetch(x))

    assert "asyncio.gather is not supported" in the_problem(risk).message


@pytest.mark.parametrize("error", ["ZeroDivisionError('no')", "SystemExit(3)", "KeyError('k')"])
@pytest.mark.parametrize("kind", ["", "async "])
def test_the_users_own_exception_is_a_problem_with_its_line(
    kind: str, error: str, tmp_path: Path
) -> None:
    module = module_of(
        tmp_path,
        f"""{HEAD}
import functools

def helper():
    raise {error}

{kind}def inside():
    helper()

@mxm.flow
{kind}def risk(x):
    load(x)
    functools.reduce(lambda a, b: helper(), [1, 2])  # here
""",
    )
    problem = the_problem(module.risk)
    assert problem.code == "MXM302"
    assert problem.source is not None
    assert problem.source.file == module.__file__
    assert problem.source.line == line_of(module, f"raise {error}")
    assert error.partition("(")[0] in problem.message


def test_an_exception_out_of_a_library_is_told_at_the_line_of_the_body(tmp_path: Path) -> None:
    module = module_of(
        tmp_path,
        HEAD
        + "import json\n@mxm.flow\ndef risk(x):\n    load(x)\n    return json.loads('{')  # here\n",
    )
    problem = the_problem(module.risk)
    assert problem.code == "MXM302"
    assert "JSONDecodeError" in problem.message
    assert problem.source is not None
    assert (problem.source.file, problem.source.line) == (
        module.__file__,
        line_of(module, "# here"),
    )


def test_control_c_in_a_body_is_not_kept() -> None:
    with pytest.raises(KeyboardInterrupt):

        @mxm.flow
        def risk():
            raise KeyboardInterrupt

    assert active_trace() is None


def test_a_context_that_outlives_the_pass_records_nothing() -> None:
    import contextvars

    contexts = []

    @mxm.task
    def load(x):
        return x

    @mxm.flow
    def risk(x):
        contexts.append(contextvars.copy_context())
        return load(x)

    assert contexts[0].run(load, 3) == 3
    assert len(risk.spec.tasks) == 1


def test_a_flow_whose_parameters_have_no_names_is_a_problem() -> None:
    @mxm.task
    def load(x):
        return x

    @mxm.flow
    def risk(x, *rest, **more):
        return load(x)

    codes = [(p.code, p.message) for p in problems_of(risk)]
    assert [code for code, _ in codes] == ["MXM304", "MXM304"]
    assert "*rest" in codes[0][1]
    assert "**more" in codes[1][1]


@pytest.mark.parametrize(
    ("call", "told"),
    [("load(x, 2, 3)", "too many"), ("load(nope=x)", "'nope'"), ("load(x, x=1)", "'x'")],
)
def test_a_task_called_with_wrong_arguments_is_a_problem_at_the_call(
    call: str, told: str, tmp_path: Path
) -> None:
    module = module_of(
        tmp_path,
        f"""
import mxm

@mxm.task
def load(x, y=1):
    return x

@mxm.flow
def risk(x):
    {call}
    return load(x + 1)  # the pass goes on
""",
    )
    wrong, after = problems_of(module.risk)
    assert (wrong.code, wrong.task) == ("MXM104", "load")
    assert told in wrong.message
    assert wrong.source is not None
    assert wrong.source.line == line_of(module, f"    {call}")
    assert "load(x, y=1)" in (wrong.hint or "")
    assert after.code == "MXM301"


# Names.

NAMES = {
    "once": ("load(x)", ["load"]),
    "counted": ("load(x); load(x); load(x)", ["load", "load_2", "load_3"]),
    "a task's own name is skipped": (
        "load(x); load(x); load_2(x); load(x)",
        ["load", "load_3", "load_2", "load_4"],
    ),
    "a chosen name is skipped": (
        "load(x); load(x); load.named('load_2')(x)",
        ["load", "load_3", "load_2"],
    ),
    "chosen": ("load.named('spy')(x); load(x); load(x)", ["spy", "load", "load_2"]),
    "another task of the same name": ("load(x); other(x)", ["load", "load_2"]),
    "inlined": ("inner(x)", ["inner.load"]),
    "inlined twice": (
        "inner(x); load(x); inner(x)",
        ["inner.load", "load", "inner_2.load"],
    ),
    "nested": (
        "middle(x); inner(x); middle(x)",
        ["middle.inner.load", "middle.load", "inner.load", "middle_2.inner.load", "middle_2.load"],
    ),
    "a flow whose name is a counted one": (
        "inner(x); inner(x); inner_2(x)",
        ["inner.load", "inner_3.load", "inner_2.load"],
    ),
}


@pytest.mark.parametrize(("body", "names"), NAMES.values(), ids=list(NAMES))
def test_steps_are_named_after_their_tasks_in_the_order_of_the_body(
    body: str, names: list[str], tmp_path: Path
) -> None:
    module = module_of(
        tmp_path,
        f"""{HEAD}
@mxm.task
def load_2(x):
    return x

@mxm.task(name="load")
def other(x):
    return x

@mxm.flow
def inner(x):
    return load(x)

@mxm.flow(name="inner_2")
def inner_2(x):
    return load(x)

@mxm.flow
def middle(x):
    return load(inner(x))

@mxm.flow
def risk(x):
    {body}
""",
    )
    assert problems_of(module.risk) == []
    assert [t.name for t in module.risk.spec.tasks] == names


@pytest.mark.parametrize(
    "body",
    [
        "load.named('spy')(x); load.named('spy')(x)",
        "load(x); fetch.named('load')(x)",
        "spy = load.named('spy'); spy(x); spy(x)",
    ],
)
def test_a_chosen_name_must_be_unique(body: str, tmp_path: Path) -> None:
    module = module_of(tmp_path, f"{HEAD}@mxm.flow\ndef risk(x):\n    {body}\n")
    problem = the_problem(module.risk)
    assert problem.code == "MXM101"
    assert "duplicate" in problem.message


# Flows called in a flow's body.


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
    wrong, after = problems_of(module.outer)
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


def test_a_flow_that_calls_itself_is_a_problem(tmp_path: Path) -> None:
    module = module_of(tmp_path, HEAD + "@mxm.flow\ndef risk(x):\n    return risk(load(x))\n")
    problem = the_problem(module.risk)
    assert problem.code == "MXM302"
    assert "risk" in problem.message
    assert problem.hint == "a flow cannot call itself"


@pytest.mark.parametrize(
    "value",
    [
        "Window(3)",
        "{'k': [date(2024, 1, 2)]}",
        "load",
        "inner",
        "partial(max, 1)",
        "logging",
        "date",
    ],
)
def test_objects_without_a_value_of_the_run_are_passed_on(value: str, tmp_path: Path) -> None:
    text = f"""
from datetime import date

@mxm.flow
def inner(x):
    return load(x)

KEPT = {value}

@mxm.flow
def risk(x):
    return load(load(x), k=KEPT)
"""
    module = module_of(tmp_path, HEAD + text)
    assert problems_of(module.risk) == []
    assert module.risk.spec.tasks[1].bindings.kwargs["k"].value is module.KEPT or "{" in value


def test_an_object_that_refers_to_more_than_is_searched_is_passed_on(tmp_path: Path) -> None:
    text = """
@mxm.flow
def risk(x):
    return load(x, k=SimpleNamespace(rows=[SimpleNamespace(i=i) for i in range(20_000)]))
"""
    assert problems_of(module_of(tmp_path, HEAD + text).risk) == []


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


def test_a_parameter_that_only_the_body_can_give_and_does_not_is_found_before_a_run(
    tmp_path: Path,
) -> None:
    text = """
@mxm.task
def need(x, y):
    return x, y

@mxm.flow
def never(y: int, z: int = 1):
    return need(z)  # here
"""
    module = module_of(tmp_path, HEAD + text)
    problem = the_problem(module.never)
    assert (problem.code, problem.hint) == ("MXM401", "pass it in the call: y=y")
    assert problem.source is not None
    assert problem.source.line == line_of(module, "# here")


def test_problems_of_a_call_are_told_at_its_line(tmp_path: Path) -> None:
    text = """
@mxm.task
def text(x) -> str:
    return str(x)

@mxm.task
def number(x: int) -> int:
    return x

@mxm.flow
def risk(x):
    number(1)
    return number(text(x))  # here

@mxm.flow
def twice(x):
    load.named("s")(x)  # first
    return load.named("s")(x)  # second
"""
    module = module_of(tmp_path, HEAD + text)
    problem = the_problem(module.risk)
    assert (problem.code, problem.task) == ("MXM201", "number_2")
    assert problem.source is not None
    assert problem.source.line == line_of(module, "# here")
    lines = [place.line for _, place in the_problem(module.twice).places if place]
    assert lines == [line_of(module, "# first"), line_of(module, "# second")]


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


@pytest.mark.parametrize("use", ["','.join([x])", "json.dumps(x)", "os.environ.get(x)"])
def test_what_refuses_a_stand_in_by_its_type_is_told_without_our_names(
    use: str, tmp_path: Path
) -> None:
    text = f"""
import json, os

@mxm.flow
def risk(x):
    {use}  # here
    return load(x)
"""
    module = module_of(tmp_path, HEAD + text)
    problem = the_problem(module.risk)
    assert (problem.code, problem.hint) == ("MXM301", "do this inside a task")
    assert "StandIn" not in problem.message
    assert problem.source is not None
    assert problem.source.line == line_of(module, "# here")


def test_logging_a_value_of_the_run_prints_no_stack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """
@mxm.flow
def risk(x):
    logging.getLogger("body").warning("%s", x)
    return load(x)
"""
    handler = logging.StreamHandler()
    logging.getLogger("body").addHandler(handler)
    module = module_of(tmp_path, HEAD + text)
    logging.getLogger("body").removeHandler(handler)
    assert the_problem(module.risk).code == "MXM301"
    assert "Logging error" not in capsys.readouterr().err
    assert logging.raiseExceptions


def test_stand_ins_are_of_one_pass_and_the_pass_ends(tmp_path: Path) -> None:
    @mxm.task
    def load(x):
        return x

    seen = []

    @mxm.flow
    def outer(x):
        @mxm.flow
        def local(y):
            return load(y)

        seen.append(type(x))
        return local(x)

    assert seen == [StandIn]
    assert active_trace() is None
    assert load(3) == 3
    assert [t.name for t in outer.spec.tasks] == ["local.load"]


def test_copies_of_a_flow_do_not_copy_its_pass() -> None:
    @mxm.task
    def load(x):
        return x

    @mxm.flow
    def risk(x):
        return load(x)

    assert copy.deepcopy(risk) is risk
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(risk)  # a local object, like a local function


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


def test_misspelt_task_in_a_body_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    text = HEAD + "@mxm.flow\ndef f(x=1):\n    return lod(x)  # here\n"
    module = module_of(tmp_path, text)
    problem = the_problem(module.f)
    assert problem.message == "the body of flow 'f' raised NameError: name 'lod' is not defined"
    assert problem.hint == "did you mean 'load'?"
    assert problem.source is not None
    assert problem.source.line == line_of(module, "# here")
    far = the_problem(module_of(tmp_path, text.replace("lod(", "xyz("), "other").f)
    assert "the body runs once" in str(far.hint)
