from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from mxm.pipeline.bindings import Bindings, Const, Param, Upstream
from mxm.pipeline.errors import ParameterError
from mxm.pipeline.execution.plans.plan import Step, make_plan
from mxm.pipeline.spec import AssetDecl, FlowSpec, TaskSpec
from mxm.pipeline.values.conversion import Text


def take(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def steps_of(*tasks: TaskSpec, given: dict[str, Any] | None = None, **options: Any) -> list[Step]:
    return list(make_plan(FlowSpec("f", tasks, **options), given or {}).steps)


def test_steps_stand_in_topological_then_declaration_order_with_what_they_need() -> None:
    steps = steps_of(
        TaskSpec("report", take, upstream=["fit"], after=["load", "fit"]),
        TaskSpec("fit", take, upstream={"x": "load"}),
        TaskSpec("other", take),
        TaskSpec("load", take),
    )
    assert [(s.name, s.needs) for s in steps] == [
        ("other", ()),
        ("load", ()),
        ("fit", ("load",)),
        ("report", ("fit", "load")),
    ]
    assert steps[2].kwargs == {"x": Upstream("load")}
    assert steps[3].args == (Upstream("fit"),)


def test_parameters_stand_beside_the_edges_by_reference() -> None:
    def fit(rows: Any, window: list[int], /, *, mode: str = "fast") -> None: ...

    window = [1]
    bound = Bindings((Upstream("load"),))
    step = steps_of(
        TaskSpec("load", take), TaskSpec("fit", fit, bindings=bound), given={"window": window}
    )[1]
    assert step.args == (Upstream("load"), Const(window))
    assert isinstance(step.args[1], Const)
    assert step.args[1].value is window
    assert step.kwargs == {}


def test_a_plan_of_a_spec_leaves_the_spec_as_it_was() -> None:
    task = TaskSpec("t", lambda a=0, /, b=0: None, bindings=Bindings((Param("x"),)))
    spec = FlowSpec("f", [task], fn=lambda x: None, traced=True)
    first = make_plan(spec, {"x": 1, "b": 2})
    assert spec.tasks[0].bindings == Bindings((Param("x"),))
    assert make_plan(spec, {"x": 1, "b": 2}) == first


def test_strict_parameters_refuse_what_nothing_takes() -> None:
    spec = FlowSpec("f", [TaskSpec("t", lambda limit=1: None)])
    assert [w.code for w in make_plan(spec, {"limti": 2}).warnings] == ["MXM403"]
    with pytest.raises(ParameterError, match="did you mean 'limit'"):
        make_plan(spec, {"limti": 2}, strict_params=True)


def save(rows: Any = None, day: Any = "default") -> None: ...


PRICES = AssetDecl("prices", partition_key="day")


@pytest.mark.parametrize(
    ("task", "flow", "given", "partition"),
    [
        ({}, {}, {"day": "run"}, "day:run"),
        ({"params": {"day": "task"}}, {"day": "flow"}, {"day": "run"}, "day:run"),
        ({"params": {"day": "task"}}, {"day": "flow"}, {}, "day:flow"),
        ({"params": {"day": "task"}}, {}, {}, "day:task"),
        ({}, {}, {}, "day:default"),
        ({}, {}, {"day": None}, None),
        ({"fn": lambda: None}, {}, {"day": "run"}, "day:run"),
        ({"fn": lambda: None}, {}, {}, None),
        ({"fn": lambda **kw: None}, {"day": "flow"}, {}, "day:flow"),
        ({"produces": AssetDecl("prices")}, {}, {"day": "run"}, None),
        ({"produces": None}, {}, {"day": "run"}, None),
    ],
)
def test_the_partition_is_the_merged_parameter(
    task: dict[str, Any], flow: dict[str, Any], given: dict[str, Any], partition: str | None
) -> None:
    spec = TaskSpec(**{"name": "save", "fn": save, "produces": PRICES, **task})
    (step,) = steps_of(spec, params=flow, given=given)
    assert step.partition == partition


@pytest.mark.parametrize(
    "bound",
    [
        Bindings((Const(0), Param("asof"))),
        Bindings((), {"day": Param("asof")}),
        Bindings((Const(0), Const("2024-01-31"))),
        Bindings((), {"day": Const("2024-01-31")}),
    ],
    ids=["parameter by position", "parameter by name", "value by position", "value by name"],
)
def test_the_partition_is_what_a_body_passes(bound: Bindings) -> None:
    (step,) = steps_of(
        TaskSpec("save", save, bindings=bound, produces=PRICES),
        fn=lambda asof: None,
        traced=True,
        given={"asof": "2024-01-31"},
    )
    assert step.partition == "day:2024-01-31"


def test_the_partition_is_read_as_the_function_declares_it() -> None:
    def save(day: date) -> None: ...

    (step,) = steps_of(TaskSpec("save", save, produces=PRICES), given={"day": Text("20240131")})
    assert step.partition == "day:2024-01-31"
