"""Parameters, tasks and flows of any name: what calls them takes none of these for itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import prefect
import pydantic
import pytest
from command import call, write
from prefect.flow_engine import run_flow_sync
from prefect.task_engine import run_task_sync

import mxm
from mxm.pipeline.adapters.prefect_adapter import (
    _inputs,
    build_prefect_flow,
    execute_prefect_flow,
)
from mxm.pipeline.api import compile_flow, execute_flow
from mxm.pipeline.execution.plans.plan import make_plan
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.values.fields import with_field


@mxm.flow(tasks=[])
def nothing() -> None: ...


def names_in(*functions: Callable[..., Any]) -> set[str]:
    return {name for function in functions for name in signature(function).parameters}


# All that a task or a flow is passed beside, and all that a model of parameters has of its own.
NAMES = sorted(
    names_in(prefect.Flow.__init__, prefect.Flow.__call__, run_flow_sync)
    | names_in(prefect.Task.__init__, prefect.Task.__call__, run_task_sync)
    | names_in(compile_flow, execute_flow, make_plan, FlowSpec, TaskSpec)
    | {name for name in dir(pydantic.BaseModel) if not name.startswith("__")}
    | {name for name in (*dir(nothing), *vars(nothing)) if not name.startswith("__")}
    | set("cls call given request state extra after arg0 context error value type print".split())
    | set("_ __ _cache __z json_ model_path".split())
)
GIVEN = {name: i for i, name in enumerate(NAMES)}
KEYWORDS = ", ".join(f"{name}=-1" for name in NAMES)
MODULE = "import mxm\n" + "".join(
    f"@mxm.task(name='of {name}')\ndef of_{name}({name}): return {name}\n" for name in NAMES
)
TRACED = f"""
@mxm.flow
def traced_flow({KEYWORDS}):
    return [{", ".join(f"of_{name}({name}={name})" for name in NAMES)}]

@mxm.flow
def outer_flow({KEYWORDS}):
    return traced_flow({", ".join(f"{name}={name}" for name in NAMES)})
"""
DECLARED = f"""
@mxm.flow(tasks=[{", ".join(f"of_{name}" for name in NAMES)}])
def declared_flow({KEYWORDS}): ...
"""


def load(text: str) -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "named"}
    exec(compile(text, "<named>", "exec"), scope)
    return scope


def wanted(prefix: str = "") -> dict[str, int]:
    return {f"{prefix}of {name}": i for name, i in GIVEN.items()}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_a_parameter_may_have_any_name(backend: str) -> None:
    scope = load(MODULE + TRACED + DECLARED)
    for name in NAMES:
        assert scope[f"of_{name}"](**{name: 7}) == 7
    for name, prefix in {
        "traced_flow": "",
        "declared_flow": "",
        "outer_flow": "traced_flow.",
    }.items():
        flow = scope[name].with_options(backend=backend)
        assert flow.run(**GIVEN).values == wanted(prefix)
        assert set(flow.run().values.values()) == {-1}
        if name != "declared_flow":
            assert flow(**GIVEN) == list(GIVEN.values())


@pytest.mark.filterwarnings("error")
def test_a_prefect_flow_is_run_with_parameters_of_any_name() -> None:
    spec = load(MODULE + TRACED)["traced_flow"].spec
    flow = build_prefect_flow(spec)
    for one in (flow, flow.with_options(name="other")):
        assert execute_prefect_flow(one, GIVEN) == wanted()
        assert set(execute_prefect_flow(one).values()) == {-1}
        assert one.fn(**GIVEN) == wanted()


def test_a_prefect_flow_called_with_a_name_of_its_parameters_that_prefect_takes_is_an_error() -> (
    None
):
    flow = build_prefect_flow(load(MODULE + TRACED)["traced_flow"].spec)
    for name in ("return_state", "wait_for"):
        with pytest.raises(TypeError, match=rf"execute_prefect_flow\(flow, {{'{name}': \.\.\.}}"):
            flow(**{name: False})
    with pytest.raises(TypeError, match="takes what build_prefect_flow returned, not <function"):
        execute_prefect_flow(lambda **given: given, {"x": 1})


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_a_key_that_a_function_takes_by_keywords_may_be_any_text(backend: str) -> None:
    def taken(**given: Any) -> dict[str, Any]:
        return given

    words = {"class": 1, "a b": 2, "None": 3, "": 4, **GIVEN}
    for spec, given in [
        (FlowSpec("f", [TaskSpec("t", taken)], params=words), {}),
        (FlowSpec("f", [TaskSpec("t", taken, params=words)]), {}),
        (FlowSpec("f", [TaskSpec("t", taken)]), words),
    ]:
        assert compile_flow(spec, backend=backend).execute(given) == {"t": words}


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_tasks_and_flows_may_have_any_name(backend: str) -> None:
    def one(x: int) -> int:
        return x

    tasks = [TaskSpec(name, one, params={"x": i}) for name, i in GIVEN.items()]
    assert compile_flow(FlowSpec("f", tasks), backend=backend).execute() == GIVEN
    for name in NAMES:
        spec = FlowSpec(name, [TaskSpec(name, one)])
        assert compile_flow(spec, backend=backend).execute({"x": 1}) == {name: 1}


def test_the_command_takes_parameters_of_any_name(tmp_path: Path) -> None:
    write(tmp_path, {"flows.py": MODULE + TRACED})
    pairs = [word for name, i in GIVEN.items() for word in ("-p", f"{name}={i}")]
    ran = call("run", "traced_flow", "--runner", "processes", *pairs, cwd=tmp_path)
    assert (ran.code, json.loads(ran.out)) == (0, wanted()), ran.err


def test_each_input_at_a_server_has_a_name_of_its_own() -> None:
    def load() -> int:
        return 1

    def pair(a: int, call: int, call_: int, after: int, _x: int, x_: int, wait_for: int) -> int:
        return a

    loads = [TaskSpec(f"load_{i}", load) for i in range(8)]
    names = [task.name for task in loads[:7]]
    last = TaskSpec("pair", pair, upstream=names, after=["load_7"])
    [*_, step] = make_plan(FlowSpec("f", [*loads, last]), {}).steps
    found = _inputs(step)
    assert sorted(sum(found.values(), [])) == sorted(task.name for task in loads)
    assert {k: found[k] for k in ("a", "call_", "after", "x_")} == {
        "a": ["load_0"],
        "call_": ["load_2"],
        "after": ["load_3"],
        "x_": ["load_5"],
    }


@attrs.frozen
class Attrs:
    inst: int
    changes: int
    _private: int


class Tuple(NamedTuple):
    self: int
    kwds: int


@pytest.mark.parametrize("value", [Attrs(1, 2, 3), Tuple(1, 2)])
def test_a_field_of_any_name_can_be_changed(value: Any) -> None:
    for name in getattr(value, "_fields", None) or attrs.asdict(value):
        assert getattr(with_field(value, name, 9), name) == 9
