from __future__ import annotations

import graphlib
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from strategies import wrong_flows

from mxm.pipeline.bindings import Bindings, Const, Upstream
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.graph import FlowGraph
from mxm.pipeline.introspection.signatures import signature_of
from mxm.pipeline.problems import Problem
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.testing.strategies import flows


def take(*args: Any, **kwargs: Any) -> Any: ...


def flow_of(edges: Mapping[str, Sequence[str]]) -> FlowSpec:
    return FlowSpec("f", [TaskSpec(name, take, upstream=list(ups)) for name, ups in edges.items()])


def problems_of(*tasks: TaskSpec) -> list[Problem]:
    return find_problems(FlowSpec("f", tasks))


def edges_in(spec: FlowSpec) -> dict[str, set[str]]:
    """By task the names before it: read from the specs alone, unknown names left out."""
    first = {task.name: task for task in reversed(spec.tasks)}
    return {n: {u for u in (*t.upstream, *t.after) if u in first} for n, t in first.items()}


def in_declaration_order(spec: FlowSpec) -> list[str]:
    """Slow and plain: again and again the first declared task whose upstreams are all done."""
    edges = edges_in(spec)
    names = list(dict.fromkeys(task.name for task in spec.tasks))
    done: list[str] = []
    while ready := [n for n in names if n not in done and edges[n] <= set(done)]:
        done.append(ready[0])
    return done


def has_cycle(spec: FlowSpec) -> bool:
    try:
        graphlib.TopologicalSorter(edges_in(spec)).prepare()
    except graphlib.CycleError:
        return True
    return False


@given(flows())
def test_the_order_is_a_permutation_that_respects_every_edge(spec: FlowSpec) -> None:
    order = FlowGraph(spec).order()
    assert sorted(order) == sorted(task.name for task in spec.tasks)
    for task in spec.tasks:
        for before in (*task.upstream, *task.after):
            assert order.index(before) < order.index(task.name)


@given(flows(cyclic=True) | wrong_flows())
def test_ties_are_broken_by_declaration_and_what_hangs_on_a_cycle_is_left_out(
    spec: FlowSpec,
) -> None:
    assert FlowGraph(spec).order() == in_declaration_order(spec)


@given(flows(cyclic=True) | flows() | wrong_flows())
def test_a_cycle_is_told_exactly_when_there_is_one_and_is_drawn_as_it_is(spec: FlowSpec) -> None:
    edges = edges_in(spec)
    told = [p.message for p in find_problems(spec) if p.code == "MXM103"]
    assert bool(told) is has_cycle(spec)
    for message in told:
        path = message.removeprefix("cycle: ").split(" -> ")
        assert path[0] == path[-1]
        assert len(set(path)) == len(path) - 1
        # A long one is drawn by its two ends, "... 3 more ..." between them.
        steps = [(a, b) for a, b in zip(path, path[1:], strict=False) if "..." not in a + b]
        assert all(a in edges[b] for a, b in steps)
        assert len(steps) >= min(len(path) - 1, 7)


@given(wrong_flows())
def test_every_duplicate_and_every_unknown_upstream_is_told(spec: FlowSpec) -> None:
    names = [task.name for task in spec.tasks]
    found = find_problems(spec)
    duplicates = [p.task for p in found if p.code == "MXM101"]
    assert duplicates == [n for i, n in enumerate(names) if n in names[:i]]
    unknown = [(p.task, p.message) for p in found if p.code == "MXM102"]
    assert unknown == [
        (t.name, f"unknown upstream {u!r} of task {t.name!r}")
        for t in spec.tasks
        for u in dict.fromkeys((*t.upstream, *t.after))
        if u not in names
    ]


def test_ten_thousand_tasks_in_a_line_declared_backwards() -> None:
    names = [f"t{i}" for i in range(10_000)]
    edges = {n: names[i - 1 : i] if i else [] for i, n in enumerate(names)}
    spec = flow_of(dict(reversed(edges.items())))
    assert FlowGraph(spec).order() == names
    assert find_problems(spec) == []


def test_a_cycle_of_ten_thousand_tasks_is_found_and_drawn_shortened() -> None:
    names = [f"t{i}" for i in range(10_000)]
    spec = flow_of({n: [names[i - 1]] for i, n in enumerate(names)})
    assert FlowGraph(spec).cycle() == (*names, "t0")
    (problem,) = find_problems(spec)
    assert problem.message.startswith("cycle: t0 -> t1 -> ")
    assert problem.message.endswith(" -> t9999 -> t0")
    assert "... 9992 more ..." in problem.message
    assert [name for name, _ in problem.places][3:5] == ["t3", "... 9992 more ..."]
    assert len(str(problem)) < 1_000


def test_two_cycles_apart_are_both_told() -> None:
    spec = flow_of({"a": ["b"], "b": ["a"], "c": ["c"], "d": ["a"]})
    assert [p.message for p in find_problems(spec)] == ["cycle: a -> b -> a", "cycle: c -> c"]


def test_everything_wrong_is_told_at_once_with_place_and_words_of_the_runbook() -> None:
    def one(x: object) -> object:
        return x

    found = problems_of(
        TaskSpec("load", take),
        TaskSpec("load", take),
        TaskSpec("clean", take, upstream=["laod"]),
        TaskSpec("loop", take, upstream=["loop"]),
        TaskSpec("fit", one, upstream=["load", "clean"]),
    )
    told = {p.code: p for p in found}
    assert len(found) == len(told) == 4
    for code, words in (
        ("MXM101", "duplicate"),
        ("MXM102", "unknown upstream"),
        ("MXM103", "cycle"),
        ("MXM104", "signature"),
    ):
        assert words in told[code].message
        source = told[code].source
        assert source is not None
        assert source.file == __file__
        assert source.line
    assert told["MXM102"].hint == "did you mean 'load'?"


def test_one_spec_listed_twice_is_a_duplicate() -> None:
    load = TaskSpec("load", take)
    assert [p.code for p in problems_of(load, load)] == ["MXM101"]


def test_a_flow_without_tasks_is_a_problem() -> None:
    (problem,) = problems_of()
    assert (problem.code, problem.flow) == ("MXM105", "f")


def two(a: Any, b: Any = 0) -> None: ...
def rest(a: Any, *more: Any) -> None: ...
def named(a: Any, *, key: Any = 0) -> None: ...
def only(a: Any, b: Any = 0, /) -> None: ...


@pytest.mark.parametrize(
    ("fn", "upstream", "told"),
    [
        (two, ["u"], None),
        (two, ["u", "u"], None),
        (two, ["u", "u", "u"], "takes 2 positional arguments but gets 3"),
        (two, {"b": "u"}, None),
        (two, {"bb": "u"}, "has no parameter 'bb'"),
        (rest, ["u"] * 5, None),
        (named, ["u"], None),
        (named, ["u", "u"], "takes 1 positional argument but gets 2"),
        (named, {"a": "u", "key": "u"}, None),
        (only, ["u", "u"], None),
        (only, {"a": "u"}, "is positional-only"),
        (take, {"anything": "u"}, None),
        (lambda: None, ["u"], "takes 0 positional arguments but gets 1"),
        (max, ["u"] * 9, None),
    ],
)
def test_a_signature_must_be_able_to_take_its_upstreams(
    fn: Any, upstream: Any, told: str | None
) -> None:
    found = problems_of(TaskSpec("u", take), TaskSpec("t", fn, upstream=upstream))
    if told is None:
        assert found == []
    else:
        (problem,) = found
        assert problem.code == "MXM104"
        assert told in problem.message


def test_an_input_filled_by_position_and_by_name_is_a_problem() -> None:
    bound = Bindings((Upstream("u"),), {"a": Const(1)})
    (problem,) = problems_of(TaskSpec("u", take), TaskSpec("t", two, bindings=bound))
    assert "'a'" in problem.message
    assert "passed twice" in problem.message


def test_order_only_tasks_fill_no_parameter() -> None:
    assert problems_of(TaskSpec("u", take), TaskSpec("t", lambda: None, after=["u"])) == []


def test_a_builtin_that_hides_its_signature_has_none() -> None:
    assert signature_of(max) is None
