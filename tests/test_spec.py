from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest

from mxm.pipeline.bindings import Bindings, Collection, Const, Param, Upstream, upstreams_in
from mxm.pipeline.spec import AssetDecl, FlowSpec, TaskSpec


def fn(*args: Any) -> Any:
    return args


LOAD = TaskSpec("load", fn)


@pytest.mark.parametrize(
    ("upstream", "bound"),
    [
        ("a", Bindings((Upstream("a"),))),
        (["a", "b", "a"], Bindings((Upstream("a"), Upstream("b"), Upstream("a")))),
        (("a", LOAD), Bindings((Upstream("a"), Upstream("load")))),
        ({"x": "a", "y": LOAD}, Bindings((), {"x": Upstream("a"), "y": Upstream("load")})),
        ({"b", "a"}, Bindings((Upstream("a"), Upstream("b")))),
        ((), Bindings()),
    ],
    ids=["a name", "a list", "a tuple with a spec", "a mapping", "a set", "none"],
)
def test_upstream_is_sugar_for_bindings(upstream: Any, bound: Bindings) -> None:
    task = TaskSpec("t", fn, upstream=upstream)
    assert task.bindings == bound
    assert task.problems == ()


def test_upstream_names_each_task_once_in_order_however_deep() -> None:
    nested = Collection(list, (Upstream("b", (0,)), Collection(dict, (Upstream("c"),), ("k",))))
    bound = Bindings((Upstream("a"), nested, Const(1)), {"x": Upstream("a"), "y": Param("p")})
    assert TaskSpec("t", fn, bindings=bound).upstream == ("a", "b", "c")
    assert [u.name for u in upstreams_in(bound)] == ["a", "b", "c", "a"]


def test_after_orders_without_passing_anything() -> None:
    task = TaskSpec("t", fn, after=["a", LOAD])
    assert task.after == ("a", "load")
    assert task.upstream == ()


@pytest.mark.parametrize("where", ["upstream", "after"])
def test_a_plain_function_as_upstream_is_kept_as_a_problem(where: str) -> None:
    task = TaskSpec("t", fn, **{where: [fn]})
    (problem,) = task.problems
    assert problem.code == "MXM102"
    assert "'fn'" in problem.message
    assert "plain function" in problem.message
    assert problem.source is not None
    assert problem.source.file == __file__


def test_what_is_no_task_at_all_as_upstream_is_a_problem() -> None:
    (problem,) = TaskSpec("t", fn, upstream=[3]).problems  # type: ignore[list-item]
    assert "3 is not a task" in problem.message


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": 3}, TypeError),
        ({"fn": "load"}, TypeError),
        ({"retries": 1.5}, TypeError),
        ({"retries": True}, TypeError),
        ({"retries": -1}, ValueError),
        ({"retry_delay_s": "2"}, TypeError),
        ({"retry_delay_s": [1, -2]}, ValueError),
        ({"retry_on": int}, TypeError),
        ({"retry_on": [ValueError, KeyboardInterrupt]}, TypeError),
        ({"timeout_s": 0}, TypeError),
        ({"tags": "nightly"}, TypeError),
        ({"upstream": ["a"], "bindings": Bindings()}, TypeError),
    ],
    ids=str,
)
def test_options_of_a_wrong_kind_are_refused_naming_the_task(
    change: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"task's name|task 't'"):
        TaskSpec(**{"name": "t", "fn": fn, **change})


def test_delays_follow_the_attempts_and_the_last_stays() -> None:
    task = TaskSpec("t", fn, retry_delay_s=[1, 5])
    assert [task.retry_delay(n) for n in (1, 2, 3)] == [1, 5, 5]
    assert TaskSpec("t", fn, retry_delay_s=2).retry_delay(9) == 2
    assert TaskSpec("t", fn, retry_delay_s=[]).retry_delay(1) == 0


def test_a_flow_takes_specs_only() -> None:
    with pytest.raises(TypeError, match="TaskSpec objects"):
        FlowSpec("f", [fn])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="name is a string"):
        FlowSpec(3)  # type: ignore[arg-type]


def test_a_flow_wrong_in_every_way_does_not_raise() -> None:
    tasks = [TaskSpec("a", fn, upstream=["a", "x"]), TaskSpec("a", fn, upstream=[fn])]  # type: ignore[list-item]
    assert FlowSpec("f", tasks).tasks == tuple(tasks)


def test_specs_are_frozen_and_their_mappings_read_only() -> None:
    given = {"limit": 1}
    task = TaskSpec("t", fn, upstream={"x": "a"}, params=given)
    flow = FlowSpec("f", [task], params=given)
    given["limit"] = 2
    assert task.params == flow.params == {"limit": 1}
    for mapping in (task.params, flow.params, task.bindings.kwargs):
        with pytest.raises(TypeError):
            mapping["limit"] = 3  # type: ignore[index]
    for spec, attribute in ((task, "name"), (flow, "tasks"), (AssetDecl("a"), "id")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(spec, attribute, "x")


def test_specs_know_the_line_that_declares_them_and_are_equal_across_lines() -> None:
    one = FlowSpec("f", [TaskSpec("t", fn)])
    two = FlowSpec("f", [TaskSpec("t", fn)])
    assert one.tasks[0].source == one.source
    assert one.source is not None
    assert two.source is not None
    assert (one.source.file, one.source.line) == (__file__, (two.source.line or 0) - 1)
    assert one == two
    assert one != FlowSpec("f", [TaskSpec("t", fn, retries=1)])


def test_the_names_and_defaults_of_the_runbook() -> None:
    asset = AssetDecl("prices")
    assert (asset.partition_key, asset.format, asset.path_template) == (None, "parquet", None)
    task = TaskSpec("t", fn, ["a"], {"k": 1}, 2, 3, asset)
    assert (task.upstream, task.params, task.retries) == (("a",), {"k": 1}, 2)
    assert (task.retry_delay_s, task.produces) == (3, asset)
    flow = FlowSpec("f", [task], {"k": 2}, "0 6 * * *")
    assert (flow.params, flow.schedule_cron, flow.doc) == ({"k": 2}, "0 6 * * *", "")


def test_bindings_keep_no_list_of_the_callers() -> None:
    args = [Upstream("a")]
    bound = Bindings(args)  # type: ignore[arg-type]
    args.append(Upstream("b"))
    assert bound.args == (Upstream("a"),)


def test_an_object_that_is_called_reads_as_no_task() -> None:
    (problem,) = TaskSpec("t", fn, upstream=[functools.partial(fn)]).problems  # type: ignore[list-item]
    assert "functools.partial" in problem.message
    assert "is not a task" in problem.message


def test_an_upstream_is_shown_with_its_path() -> None:
    assert str(Upstream("load", ("rows", 0))) == "load['rows'][0]"
