"""Who belongs to a flow, in which order, and where each input comes from."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from modules import module_of

import mxm
from mxm.pipeline.authoring import Flow
from mxm.pipeline.bindings import Const, Param, Upstream
from mxm.pipeline.checks import declarations
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.tracing import assembly

HEAD = """
import mxm

@mxm.task
def load(symbol="SPY"):
    return [symbol]

"""


def shape(flow: Flow) -> dict[str, tuple[Any, ...]]:
    """Steps in order, each with its positional and its named inputs, as text, and its `after`."""
    assert find_problems(flow.spec) == []
    return {
        task.name: (
            *map(_text, task.bindings.args),
            *(f"{k}={_text(v)}" for k, v in task.bindings.kwargs.items()),
            *(f"after {name}" for name in task.after),
        )
        for task in flow.spec.tasks
    }


def _text(binding: Any) -> str:
    if isinstance(binding, Const):
        return repr(binding.value)
    return f"${binding.name}" if isinstance(binding, Param) else str(binding)


def codes(flow: Flow) -> list[str]:
    return [p.code for p in find_problems(flow.spec)]


@pytest.fixture
def module(tmp_path: Path) -> Any:
    def make(text: str, name: str = "analyst") -> ModuleType:
        return module_of(tmp_path, HEAD + text, name)

    return make


# Declared upstreams, in every way of writing them.


@pytest.mark.parametrize(
    ("upstream", "inputs"),
    [
        ("load", ("load",)),
        ("'load'", ("load",)),
        ("[load]", ("load",)),
        ("('load',)", ("load",)),
        ("[load, other]", ("load", "other")),
        ("[other, 'load']", ("other", "load")),
        ("{'a': load}", ("a=load",)),
        ("{'b': 'load', 'a': other}", ("b=load", "a=other")),
        ("{load}", ("load",)),
    ],
)
def test_upstreams_are_given_by_task_name_list_or_mapping(
    upstream: str, inputs: tuple[str, ...], module: Any
) -> None:
    found = module(f"""
@mxm.task
def other(): ...

@mxm.task(upstream={upstream})
def last(a=None, b=None): ...

@mxm.flow
def f():
    return last

@mxm.flow(tasks=[last])
def g(): ...
""")
    assert shape(found.f)["last"] == inputs
    assert shape(found.g) == shape(found.f)
    assert list(shape(found.f))[-1] == "last"


def test_after_orders_without_passing_anything(module: Any) -> None:
    found = module("""
@mxm.task
def clean(): ...

@mxm.task(after=[clean, "load"])
def report(): ...

@mxm.flow
def declared():
    return report

@mxm.flow
def traced():
    report()
    load()
""")
    assert shape(found.declared) == {
        "clean": (),
        "load": (),
        "report": ("after clean", "after load"),
    }
    # Upstreams come first, whatever the order of the body.
    assert shape(found.traced) == shape(found.declared)


def test_a_name_may_be_of_a_task_defined_later(module: Any) -> None:
    found = module("""
@mxm.task(upstream="middle")
def last(x): ...

@mxm.flow
def f():
    return last

early = f.spec

@mxm.task(upstream={"x": "first"})
def middle(x): ...

@mxm.task
def first(): ...
""")
    assert [t.name for t in found.early.tasks] == ["last"]
    assert shape(found.f) == {"first": (), "middle": ("x=first",), "last": ("middle",)}
    assert found.f.spec is found.f.spec


def test_upstreams_may_be_of_another_module(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sys.modules,
        "shared",
        module(
            """
@mxm.task(upstream="raw")
def prices(x): ...

@mxm.task
def raw(): ...

@mxm.task(name="spread")
def spread_fn(): ...
""",
            "shared",
        ),
    )
    found = module("""
import shared
from shared import spread_fn

@mxm.task(upstream=[shared.prices, "spread"])
def last(x, y): ...

@mxm.task(upstream="prices")
def unknown(x): ...

@mxm.flow
def f():
    return last

@mxm.flow
def g():
    return [unknown, shared.prices]

@mxm.flow
def h():
    return unknown
""")
    # "raw" is looked up in the module of prices; "spread" is imported here.
    assert shape(found.f) == {
        "raw": (),
        "prices": ("raw",),
        "spread": (),
        "last": ("prices", "spread"),
    }
    # "prices" is not among the tasks of this module, but it is in flow g.
    assert shape(found.g)["unknown"] == ("prices",)
    assert codes(found.h) == ["MXM102"]


def test_a_name_is_first_that_of_a_task_in_the_flow_then_one_in_the_module(module: Any) -> None:
    found = module("""
@mxm.task(name="load")
def mine(): ...

@mxm.task(upstream="load")
def last(x): ...

@mxm.task(upstream="load")
def also(x): ...

@mxm.flow
def in_flow():
    return [mine, last, also]

@mxm.flow
def in_module():
    return last

@mxm.flow
def called():
    load.named("spare")()
    mine()
    last()
""")
    assert {t.fn for t in found.in_flow.spec.tasks} == {
        found.mine.fn,
        found.last.fn,
        found.also.fn,
    }
    assert {t.fn for t in found.in_module.spec.tasks} == {found.load.fn, found.last.fn}
    assert shape(found.called) == {"spare": (), "load": (), "last": ("load",)}
    assert found.called.spec.tasks[1].fn is found.mine.fn


def test_a_task_is_found_by_its_name_not_by_its_variable(module: Any) -> None:
    found = module("""
@mxm.task(name="prices")
def fetch(): ...

@mxm.task(upstream="prices")
def right(x): ...

@mxm.task(upstream="fetch")
def wrong(x): ...

@mxm.flow
def f():
    return right

@mxm.flow
def g():
    return wrong
""")
    assert shape(found.f) == {"prices": (), "right": ("prices",)}
    assert codes(found.g) == ["MXM102"]


@pytest.mark.parametrize("call", ["last", "last()", "last(y=1)", "last(1, 2)"])
@pytest.mark.parametrize(
    "given", ["upstream=len", "after=len", "upstream=[3]", "upstream={'x': 3}"]
)
def test_an_upstream_that_is_no_task_is_a_problem_however_the_task_is_used(
    given: str, call: str, module: Any
) -> None:
    found = module(f"""
@mxm.task({given})
def last(x=1, y=2): ...

@mxm.flow
def f():
    load()
    return {call}
""")
    (problem,) = find_problems(found.f.spec)
    assert (problem.code, problem.task) == ("MXM102", "last")


def test_cycles_and_unknown_names_leave_every_task_in_the_flow(module: Any) -> None:
    found = module("""
@mxm.task(upstream="b")
def a(x): ...

@mxm.task(upstream=["a", "nowhere"])
def b(x, y): ...

@mxm.flow
def f():
    return [a, b]
""")
    assert {t.name for t in found.f.spec.tasks} == {"a", "b"}
    assert sorted(codes(found.f)) == ["MXM102", "MXM103"]


def test_tasks_of_one_name_are_a_problem(module: Any) -> None:
    found = module("""
@mxm.task(name="load")
def other(): ...

@mxm.flow
def f():
    return [load, other]
""")
    assert codes(found.f) == ["MXM101"]


# Calls and declared upstreams in one flow.

MIXED = {
    "the call says nothing": ("last()", ("load", "other")),
    "the call gives the first": ("last(p)", ("$p", "other")),
    "the call gives all": ("last(p, p)", ("$p", "$p")),
    "the call gives the first by name": ("last(a=p)", ("b=other", "a=$p")),
    "the call gives the second by name": ("last(b=p)", ("load", "b=$p")),
    "the call gives something else": ("last(c=p)", ("load", "other", "c=$p")),
}


@pytest.mark.parametrize("mapping", [False, True], ids=["list", "mapping"])
@pytest.mark.parametrize(("call", "inputs"), MIXED.values(), ids=list(MIXED))
def test_what_a_call_passes_goes_before_what_upstream_declares(
    call: str, inputs: tuple[str, ...], mapping: bool, module: Any
) -> None:
    upstream = "{'a': load, 'b': other}" if mapping else "[load, other]"
    found = module(f"""
@mxm.task
def other(): ...

@mxm.task(upstream={upstream})
def last(a, b, c=None):
    return a, b, c

@mxm.flow
def f(p):
    {call}
""")
    steps = shape(found.f)
    bindings = {t.name: t for t in found.f.spec.tasks}["last"].bindings
    names = ("a", "b", "c")
    by_name = {**dict(zip(names, map(_text, bindings.args), strict=False))}
    by_name |= {k: _text(v) for k, v in bindings.kwargs.items()}
    expected = dict(zip(names, (i for i in inputs if "=" not in i), strict=False))
    expected |= dict(i.split("=") for i in inputs if "=" in i)
    assert by_name == expected
    # A declared upstream that the call replaces is no step of the flow.
    assert set(steps) == {"last"} | ({"load", "other"} & set(expected.values()))


def test_a_declared_list_reaches_star_args_behind_what_a_call_gives(module: Any) -> None:
    found = module("""
@mxm.task
def other(): ...

@mxm.task(upstream=[load, other, load])
def last(*values, scale=1): ...

@mxm.flow
def f(p):
    last(scale=p)
    last(p)
""")
    assert shape(found.f)["last"] == ("load", "other", "load", "scale=$p")
    assert shape(found.f)["last_2"] == ("$p", "other", "load")


def test_a_declared_upstream_that_the_body_calls_is_that_call(module: Any) -> None:
    found = module("""
@mxm.task(upstream=load)
def last(x): ...

@mxm.flow
def f(p):
    load(p)
    load("again")
    last()
    return last
""")
    assert shape(found.f) == {
        "load": ("$p",),
        "load_2": ("'again'",),
        "last": ("load",),
    }


def test_a_body_may_call_some_tasks_and_return_others(module: Any) -> None:
    found = module("""
@mxm.task(upstream="load")
def last(x):
    return x * 2

@mxm.flow
def f(p="a"):
    first = load(p)
    return {"first": first[0], "last": last}
""")
    assert shape(found.f) == {"load": ("$p",), "last": ("load",)}
    run = found.f.with_options(backend="inline").run()
    assert run.value() == {"first": "a", "last": ["a", "a"]}


# Membership and order.


def test_one_task_may_be_in_two_flows(module: Any) -> None:
    found = module("""
@mxm.task(upstream=load)
def last(x):
    return x

@mxm.flow
def f(symbol="a"):
    return last

@mxm.flow
def g(s="b"):
    return last(load(s)), load("c")
""")
    assert shape(found.f) == {"load": (), "last": ("load",)}
    assert shape(found.g) == {
        "load": ("$s",),
        "last": ("load",),
        "load_2": ("'c'",),
    }
    assert found.f.with_options(backend="inline").run().value() == ["a"]
    assert found.g.with_options(backend="inline").run().value() == (["b"], ["c"])
    assert found.last.upstream is found.load


def test_listed_tasks_leave_the_body_alone(module: Any) -> None:
    found = module("""
ran = []

@mxm.task(upstream=load)
def last(x): ...

@mxm.task
def other(): ...

@mxm.flow(tasks=iter([other, [last, other]]))
def f():
    ran.append(1)
    return load
""")
    assert list(shape(found.f)) == ["other", "load", "last"]
    assert found.ran == []


@pytest.mark.parametrize("listed", ["tasks=[]", "tasks=()"])
def test_a_flow_without_tasks_is_a_problem(listed: str, module: Any) -> None:
    found = module(f"@mxm.flow({listed})\ndef f():\n    return load\n")
    assert codes(found.f) == ["MXM105"]


def test_steps_stand_in_topological_then_declaration_order(module: Any) -> None:
    found = module("""
@mxm.task
def a(): ...

@mxm.task(upstream=a)
def b(x): ...

@mxm.task
def c(): ...

@mxm.task(upstream=[c, b, a])
def d(*x): ...

@mxm.flow
def f():
    return [d, a]

@mxm.flow
def g():
    z = c()
    y = b()
    d()
    a.named("own")()
""")
    assert list(shape(found.f)) == ["c", "a", "b", "d"]
    assert list(shape(found.g)) == ["c", "a", "b", "d", "own"]


def test_the_order_of_a_deep_flow_is_found_without_recursion() -> None:
    @mxm.task
    def step(x):
        return x

    @mxm.flow
    def f(x):
        for _ in range(3000):
            x = step(x)
        return x

    names = [t.name for t in f.spec.tasks]
    assert names[:2] == ["step", "step_2"]
    assert len(names) == 3000
    assert f.spec.tasks[-1].bindings.args == (Upstream("step_2999"),)


def test_names_of_upstreams_are_each_looked_up_once_however_long_the_chain(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["import mxm", "@mxm.task", "def t0(): return 1"]
    for i in range(1, 300):
        lines += [f"@mxm.task(upstream='t{i - 1}')", f"def t{i}(x): return x"]
    lines += ["@mxm.flow", "def f(): return t299"]
    scanned: list[int] = []
    asked: list[str] = []
    tasks_in, in_module = assembly.tasks_in, assembly._Assembly._in_module

    def counted(scope: Any) -> Any:
        scanned.append(len(scope))
        return tasks_in(scope)

    def asking(self: Any, member: Any, name: str) -> Any:
        asked.append(name)
        return in_module(self, member, name)

    monkeypatch.setattr(assembly, "tasks_in", counted)
    monkeypatch.setattr(assembly._Assembly, "_in_module", asking)
    found = module("\n".join(lines))
    assert len(found.f.spec.tasks) == 300
    assert len(scanned) == 1
    assert asked == [f"t{i}" for i in reversed(range(299))]


def test_the_nearest_name_is_sought_for_few_of_many_unknown_upstreams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sought: list[str] = []
    nearest = declarations.did_you_mean

    def counted(name: str, known: Any) -> str | None:
        sought.append(name)
        return nearest(name, known)

    monkeypatch.setattr(declarations, "did_you_mean", counted)
    spec = FlowSpec("f", [TaskSpec(f"t{i}", id, upstream=f"u{i}") for i in range(300)])
    problems = find_problems(spec)
    assert len(problems) == 300
    assert all(problem.hint for problem in problems)
    assert len(sought) == 50
