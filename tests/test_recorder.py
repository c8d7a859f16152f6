"""One pass over a body: calls in order, names, awaits, the errors of the user."""

from __future__ import annotations

import asyncio
import copy
import pickle
from pathlib import Path

import pytest
from bodies import HEAD, problems_of, the_problem
from command import invoke
from modules import line_of, module_of

import mxm
from mxm.pipeline.bindings import Collection, Const, Param, Upstream
from mxm.pipeline.tracing.placeholders import StandIn
from mxm.pipeline.tracing.recorder import active_trace


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

    # A call of a task inside a block is another problem.
    (problem,) = [p for p in problems_of(module.risk) if p.code != "MXM305"]
    assert problem.code == "MXM303"
    assert problem.source is not None
    assert problem.source.file == module.__file__
    assert problem.source.line == line_of(module, "# here")
    assert hint in (problem.hint or "")


@pytest.mark.parametrize("line", ["await load()", "async with load() as x: pass"])
def test_waiting_in_a_body_that_is_not_async_names_the_way_out(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows.py").write_text(HEAD + f"@mxm.flow\ndef f():\n    {line}\n")
    ran = invoke("check", "flows.py")
    assert ran.code == 3
    assert "outside async function" in ran.err
    assert "hint: write `async def`" in ran.err


def test_a_plain_task_may_return_a_coroutine() -> None:
    async def fetch(x):
        return x + 1

    @mxm.task
    def load(x):
        return fetch(x)

    @mxm.flow
    def f(x=1):
        return load(x)

    assert problems_of(f) == []
    assert f.with_options(backend="inline").run().value() == 2


def test_a_task_that_exits_is_not_tried_again() -> None:
    @mxm.task(retries=3)
    def leaves():
        raise SystemExit(0)

    @mxm.flow
    def f():
        return leaves()

    task = f.with_options(backend="inline").run().tasks["leaves"]
    assert (task.state, task.attempts) == ("failed", 1)


@pytest.mark.parametrize("name", ["StandIn", "StandInModel", "Ready"])
def test_a_name_of_the_users_is_told_as_it_is(name: str, tmp_path: Path) -> None:
    text = f"""
class {name}:
    pass

@mxm.flow
def f(x):
    load(x)
    return {name}(1)
"""
    problem = the_problem(module_of(tmp_path, HEAD + text).f)
    assert problem.code == "MXM302"
    assert f"TypeError: {name}() takes no arguments" in problem.message


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


def test_a_flow_that_calls_itself_is_a_problem(tmp_path: Path) -> None:
    module = module_of(tmp_path, HEAD + "@mxm.flow\ndef risk(x):\n    return risk(load(x))\n")
    problem = the_problem(module.risk)
    assert problem.code == "MXM302"
    assert "risk" in problem.message
    assert problem.hint == "a flow cannot call itself"


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
