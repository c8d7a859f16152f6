from __future__ import annotations

import copy
import dataclasses
import functools
import operator
import pickle
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ids import stable_id
from modules import module_of

import mxm
from mxm.pipeline.bindings import Bindings, Collection, Const, Param, Upstream, upstreams_in
from mxm.pipeline.errors import SpecError
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
        ({"name": ""}, TypeError),
        ({"upstream": ["a"], "bindings": Bindings()}, TypeError),
    ],
    ids=stable_id,
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
    with pytest.raises(TypeError, match="name must be a non-empty string"):
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


class Scale:
    """A callable object with ``==`` and, like most that define it, without a hash."""

    def __init__(self, by: float) -> None:
        self.by = by

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scale) and self.by == other.by

    def __call__(self, x: float) -> float:
        return x * self.by


@mxm.task
def load(limit: int = 5) -> list[int]:
    return [1] * limit


@mxm.task(retries=2, retry_delay_s=[1, 2], retry_on=[OSError], tags=["slow"])
def total(rows: list[int], scale: Any = 1) -> int:
    return sum(rows) * scale


@mxm.flow(params={"more": [1]})
def traced(limit: int = 5) -> dict[str, Any]:
    return {"total": total(load(limit), scale={"by": 2}), "rows": load(3)}


ROWS = pd.DataFrame({"x": [1, 2]})
MANY: dict[str, Callable[[], Any]] = {
    "a binding": lambda: Bindings((Const([1]), Param("p", ("k", 0))), {"x": Upstream("a")}),
    "a constant without a hash": lambda: Const({"a": [1]}),
    "a collection": lambda: Collection(dict, (Const([1]), Upstream("a")), ("x", 1)),
    "a task": lambda: TaskSpec("t", fn, upstream={"x": "a"}, after="b", params={"k": [1]}),
    "a table as a parameter": lambda: TaskSpec("t", fn, params={"k": ROWS}),
    "a table as a constant": lambda: TaskSpec("t", fn, bindings=Bindings((Const(ROWS),))),
    "a partial": lambda: TaskSpec("t", functools.partial(divmod, 7)),
    "an object without a hash": lambda: TaskSpec("t", Scale(2)),
    "a builtin": lambda: TaskSpec("t", operator.itemgetter(0)),
    "a wrong task": lambda: TaskSpec("t", fn, upstream=[fn], produces=AssetDecl("a")),  # type: ignore[list-item]
    "a decorated task": lambda: total.spec,
    "a traced flow": lambda: traced.spec,
    "a flow by hand": lambda: FlowSpec("f", [LOAD], {"k": np.zeros(3)}, "0 6 * * *"),
}


@pytest.mark.parametrize("make", MANY.values(), ids=MANY)
def test_everything_of_a_spec_can_be_replaced_hashed_and_copied(make: Callable[[], Any]) -> None:
    spec = make()
    assert dataclasses.replace(spec) == spec
    assert hash(dataclasses.replace(spec)) == hash(spec)
    assert copy.deepcopy(spec) == copy.copy(spec) == spec
    assert len({spec, dataclasses.replace(spec), copy.copy(spec)}) == 1
    assert spec != object()


@pytest.mark.parametrize("make", MANY.values(), ids=MANY)
def test_everything_of_a_spec_pickles(make: Callable[[], Any]) -> None:
    spec = make()
    again = pickle.loads(pickle.dumps(spec))
    assert type(again) is type(spec)
    assert repr(again) == repr(spec) or "<" in repr(spec)  # addresses
    assert pickle.dumps(again) == pickle.dumps(pickle.loads(pickle.dumps(again)))


def test_what_was_pickled_is_equal_frozen_and_leads_to_the_same_functions() -> None:
    again = pickle.loads(pickle.dumps(traced.spec))
    assert again == traced.spec
    assert hash(again) == hash(traced.spec)
    assert again.fn is traced.fn
    assert [task.fn for task in again.tasks] == [load.fn, total.fn, load.fn]
    assert again.tasks[0].source == traced.spec.tasks[0].source
    for mapping in (again.params, again.tasks[1].params, again.tasks[1].bindings.kwargs):
        with pytest.raises(TypeError):
            mapping["limit"] = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        again.name = "x"


def test_a_replaced_field_is_checked_and_the_rest_stays() -> None:
    task = TaskSpec("t", fn, upstream=["a", fn], params={"k": 1}, retries=1)  # type: ignore[list-item]
    other = dataclasses.replace(task, name="u", retries=3)
    assert (other.name, other.retries, other.upstream) == ("u", 3, ("a",))
    assert (other.source, other.params, other.problems) == (task.source, {"k": 1}, task.problems)
    moved = dataclasses.replace(task, bindings=Bindings((Upstream("b"),)))
    assert moved.upstream == ("b",)
    assert dataclasses.replace(traced.spec, params={"limit": 1}).params == {"limit": 1}
    spoilt = dataclasses.replace(task, allow_failure="yes")  # type: ignore[arg-type]
    assert spoilt.problems[-1].code == "MXM119"
    assert spoilt.allow_failure is False
    with pytest.raises(TypeError, match=r"replace\(\) keeps the bindings"):
        dataclasses.replace(task, upstream="b")  # type: ignore[call-arg]


def by_hand() -> Any:
    def inner() -> int:
        return 1

    return inner


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (lambda x: x, "task 't'.*<lambda>"),
        (by_hand(), "task 't'.*inner"),
        (functools.partial(lambda x: x, 1), "task 't'.*partial"),
        (traced.fn, None),
    ],
)
def test_a_function_without_a_name_is_an_error_of_pickle_that_names_it(
    made: Any, named: str | None
) -> None:
    spec = TaskSpec("t", made)
    if named is None:
        assert pickle.loads(pickle.dumps(spec)).fn is made
        return
    with pytest.raises(SpecError, match=named):
        pickle.dumps(spec)
    with pytest.raises(SpecError, match="flow 'f'"):
        pickle.dumps(FlowSpec("f", fn=made))
    assert hash(spec) == hash(TaskSpec("t", made))
    assert copy.copy(spec) is copy.deepcopy(spec) is spec


def test_a_name_that_leads_to_another_function_is_an_error_of_pickle(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: ModuleType = module_of(tmp_path, "def f(): return 1\nold = f\ndef f(): return 2\n")
    monkeypatch.setitem(__import__("sys").modules, "analyst", module)
    assert pickle.loads(pickle.dumps(TaskSpec("t", module.f))).fn is module.f
    with pytest.raises(SpecError, match="no importable name"):
        pickle.dumps(TaskSpec("t", module.old))


UNLIKE = [
    (Const(ROWS), Const(ROWS.copy())),
    (Const([ROWS]), Const([ROWS.copy()])),
    (Const(np.zeros(1)), Const(np.zeros(1))),
    (TaskSpec("t", fn, params={"k": ROWS}), TaskSpec("t", fn, params={"k": ROWS.copy()})),
    (TaskSpec("t", fn, params={"k": 1}), TaskSpec("t", fn, params={"j": 1})),
    (FlowSpec("f", params={"k": ROWS}), FlowSpec("f", params={"k": 1})),
    (FlowSpec("f", output=Const(ROWS)), FlowSpec("f", output=Const(ROWS.copy()))),
]


@pytest.mark.parametrize(("one", "other"), UNLIKE)
def test_constants_without_a_bool_of_their_own_are_compared_by_identity(
    one: Any, other: Any
) -> None:
    assert one != other
    assert one == copy.copy(one)
    assert len({one, other}) == 2


def test_constants_with_a_bool_are_compared_by_value() -> None:
    assert Const([1, {"a": 2}]) == Const([1, {"a": 2}])
    assert Const(np.float64(1)) == Const(1.0)
    assert Const(frozenset({1})) == Const({1})
    assert hash(Const(frozenset({1}))) == hash(Const({1}))
    assert Const(1) != Param("a")
