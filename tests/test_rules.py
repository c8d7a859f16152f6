"""Run rules: what runs, what it gets, and what the run becomes, beside a reference interpreter."""

from __future__ import annotations

import asyncio
import pickle
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

import mxm
from mxm.pipeline import Failure, FlowSpec, PipelineError, Skip, TaskSpec
from mxm.pipeline.api import compile_flow
from mxm.pipeline.bindings import Bindings, Upstream
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.runs import State
from mxm.pipeline.specdict import flow_from_dict, flow_to_dict
from mxm.pipeline.task_options import RUN_RULES
from mxm.pipeline.values.failure import FailureUsedError
from mxm.pipeline.values.jsonvalue import to_json

# The reference interpreter: the rules as they are written down, one step after the other.


@dataclass
class Made:
    state: str
    inputs: tuple[str, ...] | None = None
    because_of_failure: bool = False


def interpreted(spec: FlowSpec, behaviours: dict[str, str]) -> tuple[dict[str, Made], bool]:
    """What becomes of each step, and whether the run succeeds."""
    tasks = {task.name: task for task in spec.tasks}
    made: dict[str, Made] = {}
    above: dict[str, set[str]] = {}
    for task in spec.tasks:  # upstreams go before
        direct = [*task.upstream, *task.after]
        above[task.name] = {*direct, *(a for d in direct for a in above[d])}
        states = {name: made[name].state for name in direct}
        takes = task.upstream or task.after
        broken = any(
            (made[n].state == "failed" and not tasks[n].allow_failure) or made[n].because_of_failure
            for n in direct
        )
        unallowed = any(
            made[n].state == "failed" and not tasks[n].allow_failure for n in above[task.name]
        )
        runs = {
            "succeeded": all(state == "succeeded" for state in states.values()),
            "not_failed": not broken
            and (not direct or any(states[name] == "succeeded" for name in takes)),
            "failed": "failed" in states.values() or unallowed,
            "always": True,
        }[task.run_if]
        if not runs:
            by_failure = broken and task.run_if != "failed"
            made[task.name] = Made("skipped", because_of_failure=by_failure)
            continue
        inputs: list[str] = []
        for name in task.upstream:
            if states[name] == "succeeded":
                inputs.append(name)
            elif states[name] == "failed" and task.run_if in ("failed", "always"):
                inputs.append(f"failure of {name}")
            else:
                inputs.append("none")
        made[task.name] = Made(behaviours[task.name], tuple(inputs))
    bad = [n for n, m in made.items() if m.state == "failed" and not tasks[n].allow_failure]
    return made, not bad


SEEN: dict[str, tuple[str, ...]] = {}


def behaving(name: str, behaviour: str) -> Any:
    def fn(*inputs: Any) -> str:
        SEEN[name] = tuple(
            "none" if i is None else f"failure of {i.task}" if isinstance(i, Failure) else i
            for i in inputs
        )
        if behaviour == "failed":
            raise ZeroDivisionError(name)
        if behaviour == "skipped":
            raise Skip(name)
        return name

    return fn


@st.composite
def ruled_flows(draw: Any) -> tuple[FlowSpec, dict[str, str]]:
    tasks: list[TaskSpec] = []
    behaviours: dict[str, str] = {}
    for i in range(draw(st.integers(1, 8))):
        name, before = f"t{i}", [task.name for task in tasks]
        upstream = draw(st.lists(st.sampled_from(before), unique=True, max_size=3)) if i else []
        left = [other for other in before if other not in upstream]
        after = draw(st.lists(st.sampled_from(left), unique=True, max_size=2)) if left else []
        rules = RUN_RULES if upstream or after else ("succeeded", "not_failed", "always")
        behaviours[name] = draw(st.sampled_from(["succeeded", "succeeded", "failed", "skipped"]))
        tasks.append(
            TaskSpec(
                name,
                behaving(name, behaviours[name]),
                upstream,
                after=after,
                run_if=draw(st.sampled_from(rules)),
                allow_failure=draw(st.booleans()),
            )
        )
    return FlowSpec("f", tasks), behaviours


@pytest.mark.parametrize("runner", ["sequential", "threads"])
@pytest.mark.parametrize(("backend", "examples"), [("inline", 300), ("prefect", 15)])
def test_run_is_what_the_reference_makes(backend: str, examples: int, runner: str) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(ruled_flows())
    def check(made: tuple[FlowSpec, dict[str, str]]) -> None:
        spec, behaviours = made
        note(repr([(t.name, t.upstream, t.after, t.run_if, t.allow_failure) for t in spec.tasks]))
        note(repr(behaviours))
        expected, succeeds = interpreted(spec, behaviours)
        SEEN.clear()
        run = compile_flow(spec, backend=backend, runner=runner, workers=3).run()
        assert {t.name: t.state.value for t in run.tasks.values()} == {
            name: one.state for name, one in expected.items()
        }
        assert {n: m.inputs for n, m in expected.items() if m.inputs is not None} == SEEN
        assert (run.state is State.SUCCEEDED) == succeeds == (run.error is None)

    check()


# The user's side.


@mxm.task(allow_failure=True)
def bloomberg(symbol: str) -> list[float]:
    if symbol == "BAD":
        raise ConnectionError("no route")
    return [1.0]


@mxm.task(after=bloomberg, run_if="failed")
def yahoo(symbol: str) -> list[float]:
    return [2.0]


@mxm.task(run_if="not_failed")
def prices(a: list[float] | None, b: list[float] | None) -> list[float]:
    return a or b or []


@mxm.flow(name="rules-quotes")
def quotes(symbol: str = "SPY") -> list[float]:
    a = bloomberg(symbol)
    b = yahoo(symbol)
    return prices(a, b)


@pytest.mark.parametrize(("symbol", "value"), [("SPY", [1.0]), ("BAD", [2.0])])
def test_fallback_vendor(symbol: str, value: list[float]) -> None:
    assert find_problems(quotes.spec, strict_types=True) == []
    run = quotes.with_options(backend="inline").run(symbol=symbol)
    assert run.value() == run.value_json()[0] == value
    assert run.state is State.SUCCEEDED
    assert "1 failed (allowed)" in repr(run) or symbol == "SPY"
    assert run.to_dict()["state"] == "succeeded"
    assert run.raise_for_failure() is run


def test_plain_call_does_not_run_what_runs_if_something_failed() -> None:
    assert quotes("SPY") == [1.0]
    assert yahoo("SPY") == [2.0], "called by itself it is its function"

    @mxm.task
    def inside(symbol: str) -> list[float]:
        return yahoo(symbol)

    @mxm.flow(name="rules-inside")
    def flow(symbol: str = "SPY") -> list[Any]:
        return [bloomberg(symbol), inside(symbol)]

    assert flow() == [[1.0], [2.0]], "in a task's body it is its function"


def test_plain_call_of_async_tasks() -> None:
    calls: list[str] = []

    @mxm.task
    async def load() -> int:
        calls.append("load")
        return 1

    @mxm.task(after=load, run_if="failed")
    async def mail() -> str:
        calls.append("mail")
        return "sent"

    @mxm.task
    async def sends() -> str:
        return await mail()

    @mxm.flow(name="rules-async")
    async def flow() -> list[Any]:
        return [await load(), await mail(), await sends()]

    assert asyncio.run(flow()) == [1, None, "sent"]
    assert calls == ["load", "mail"]
    assert asyncio.run(mail()) == "sent"


def test_allowed_failure_alone_has_no_value() -> None:
    run = compile_flow(
        FlowSpec("f", [TaskSpec("a", behaving("a", "failed"), allow_failure=True)]),
        backend="inline",
    ).run()
    assert run.state is State.SUCCEEDED
    with pytest.raises(PipelineError, match="flow 'f' has no value: task 'a' failed"):
        run.value()
    assert run.value_json() == (None, [])
    assert run.to_dict()["tasks"][0]["allowed"] is True  # type: ignore[index,call-overload]


def test_part_of_an_allowed_failure_is_none_with_a_warning() -> None:
    @mxm.task
    def fine() -> int:
        return 1

    @mxm.flow(name="rules-parts")
    def flow(symbol: str = "BAD") -> list[Any]:
        return [bloomberg(symbol), fine()]

    value, warnings = flow.with_options(backend="inline").run().value_json()
    assert value == [None, 1]
    assert "task 'bloomberg' is None: it failed, as it may" in warnings[0].message


def test_failing_fast_still_runs_what_is_there_for_failures() -> None:
    tasks = [
        TaskSpec("allowed", behaving("allowed", "failed"), allow_failure=True),
        TaskSpec("bad", behaving("bad", "failed")),
        TaskSpec("other", behaving("other", "succeeded")),
        TaskSpec("close", behaving("close", "succeeded"), upstream="other", run_if="always"),
        TaskSpec("mail", behaving("mail", "succeeded"), upstream="bad", run_if="failed"),
    ]
    run = compile_flow(FlowSpec("f", tasks), backend="inline", fail_fast=True).run()
    assert {t.name: t.state.value for t in run.tasks.values()} == {
        "allowed": "failed",
        "bad": "failed",
        "other": "skipped",
        "mail": "succeeded",
        "close": "succeeded",
    }


def test_projection_of_a_missing_input_is_what_stands_for_it() -> None:
    inputs: list[Any] = []

    def refuse() -> Any:
        raise ZeroDivisionError

    def keep(part: Any, within: Any) -> None:
        inputs.extend([part, within])

    for rule in ("failed", "always"):
        inputs.clear()
        part = Upstream("a", ("close", 0))
        tasks = [
            TaskSpec("a", refuse),
            TaskSpec("b", keep, bindings=Bindings((part, part)), run_if=rule),
        ]
        compile_flow(FlowSpec("f", tasks), backend="inline").run()
        assert all(isinstance(value, Failure) and value.task == "a" for value in inputs)
        assert isinstance(inputs[0].error, ZeroDivisionError)
        assert inputs[0].attempts == 1


# What a `Failure` may be used for.

FAILURE = Failure("load", ValueError("no data"), 3, "SPY")


def test_failure_is_false_itself_and_json() -> None:
    assert not FAILURE
    assert (FAILURE or 1) == 1
    assert FAILURE == FAILURE
    assert Failure("load", FAILURE.error, 3, "SPY") != FAILURE
    assert {FAILURE: 1}[FAILURE] == 1
    assert repr(FAILURE) == "<Failure of task 'load[SPY]': ValueError: no data>"
    assert to_json(FAILURE, strict=True).value == {
        "type": "Failure",
        "task": "load",
        "item": "SPY",
        "error": "ValueError: no data",
        "attempts": 3,
    }
    again = pickle.loads(pickle.dumps(FAILURE))
    assert (again.task, str(again.error), again.attempts, again.item) == (
        *("load", "no data", 3),
        "SPY",
    )


USES: dict[str, Any] = {
    "arithmetic": lambda f: f + 1,
    "the other side": lambda f: 1.0 * f,
    "comparison": lambda f: f < 1,
    "text": str,
    "f-string": lambda f: f"{f}",
    "length": len,
    "list": list,
    "index": lambda f: f[0],
    "attribute": lambda f: f.mean,
    "number": float,
    "call": lambda f: f(),
    "sum": lambda f: sum([1, f]),
    "setting": lambda f: setattr(f, "x", 1),
    "member": lambda f: 1 in f,
}


@pytest.mark.parametrize("use", USES.values(), ids=list(USES))
def test_any_other_use_of_a_failure_raises(use: Any) -> None:
    with pytest.raises(FailureUsedError, match=r"task 'load\[SPY\]': ValueError: no data") as info:
        use(FAILURE)
    assert info.value.__cause__ is FAILURE.error


def test_libraries_cannot_use_a_failure() -> None:
    import numpy as np
    import pandas as pd

    for use in (np.asarray, lambda f: np.array([1.0, f]), np.mean, lambda f: pd.Series([1.0]) + f):
        with pytest.raises((FailureUsedError, TypeError, ValueError)):
            use(FAILURE)


# Declarations.


def wrong(**options: Any) -> list[str]:
    @mxm.task
    def load() -> float:
        return 1.0

    @mxm.task
    def other() -> float:
        return 1.0

    @mxm.task(**options)
    def report(a: float, b: float = 0.0) -> float:
        return a

    @mxm.flow(name="rules-wrong")
    def flow() -> float:
        return report(load(), other())

    return [f"{p.code} {p.message}\n{p.hint}" for p in find_problems(flow.spec)]


def test_rule_that_is_misspelt() -> None:
    problem = wrong(run_if="allways")[0]
    assert problem == (
        "MXM108 task 'report': run_if='allways' is not a run rule\ndid you mean 'always'?"
    )


def test_failed_with_nothing_upstream() -> None:
    task = TaskSpec("mail", behaving("mail", "succeeded"), run_if="failed")
    (problem,) = find_problems(FlowSpec("f", [task]))
    assert problem.code == "MXM108"
    assert "nothing upstream that could fail" in problem.message


@pytest.mark.parametrize(
    ("rule", "lacking"),
    [("not_failed", "not None"), ("failed", "not None or Failure"), ("always", "None or Failure")],
)
def test_parameter_that_cannot_take_what_may_be_missing(rule: str, lacking: str) -> None:
    found = wrong(run_if=rule)
    assert [p[:6] for p in found] == ["MXM204", "MXM204"]
    assert lacking in found[0]
    assert "annotate it: float | None" in found[0]


def test_one_input_alone_is_never_missing_if_nothing_failed() -> None:
    tasks = [TaskSpec("a", lambda: 1), TaskSpec("b", abs, upstream="a", run_if="not_failed")]
    assert find_problems(FlowSpec("f", tasks)) == []


def test_members_of_a_list_are_checked() -> None:
    @mxm.task
    def load() -> float:
        return 1.0

    @mxm.task(run_if="not_failed")
    def total(parts: list[float]) -> float:
        return sum(parts)

    @mxm.task(run_if="not_failed")
    def known(parts: list[float | None]) -> float:
        return 0.0

    @mxm.flow(name="rules-lists")
    def flow() -> list[float]:
        parts = [load(), load.named("other")()]
        return [total(parts), known(parts)]

    found = find_problems(flow.spec)
    assert {(p.code, p.task) for p in found} == {("MXM204", "total")}


def test_rules_survive_the_dict_form() -> None:
    spec = flow_from_dict(flow_to_dict(quotes.spec))
    assert {t.name: (t.run_if, t.allow_failure) for t in spec.tasks} == {
        "bloomberg": ("succeeded", True),
        "yahoo": ("failed", False),
        "prices": ("not_failed", False),
    }


# after= means every use of a task.


def after_of(flow: Any, name: str) -> set[str]:
    return next({*task.after} for task in flow.spec.tasks if task.name == name)


@mxm.task
def load(symbol: str | float) -> float:
    return 1.0


@mxm.task
def scaled(x: float) -> float:
    return x


@mxm.task(after=load, run_if="always")
def close() -> str:
    return "closed"


@mxm.task(after="load")
def by_name(x: float) -> float:
    return x


@mxm.flow(name="rules-inner")
def inner() -> float:
    load("A")
    close()
    return load("B")


@mxm.flow(name="rules-uses")
def uses() -> list[Any]:
    first = load("SPY")
    done = close()
    spy = load.named("spy")("SPY")
    slow = load.with_options(retries=2)("TLT")
    needs_it = load(by_name(first))
    return [done, inner(), spy, slow, needs_it, scaled(inner())]


def test_after_means_every_use_of_the_task_in_that_body() -> None:
    assert find_problems(uses.spec) == []
    assert after_of(uses, "close") == {"load", "spy", "load_2", "load_3"}
    assert after_of(uses, "rules-inner.close") == {"rules-inner.load", "rules-inner.load_2"}
    assert after_of(uses, "rules-inner_2.close") == {"rules-inner_2.load", "rules-inner_2.load_2"}
    assert after_of(uses, "by_name") == {"spy", "load_2"}, "but those that need its result"
    assert uses.with_options(backend="inline").run().value() == uses()


def test_use_with_other_options_is_the_only_one() -> None:
    @mxm.flow(name="rules-only")
    def flow() -> list[Any]:
        return [load.named("spy")("SPY"), close()]

    assert [task.name for task in flow.spec.tasks] == ["spy", "close"]
    assert after_of(flow, "close") == {"spy"}


@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_cleanup_never_runs_beside_a_live_branch(runner: str, tmp_path: Path) -> None:
    """It waits for everything upstream, direct or not, also behind a failure."""
    tasks = [
        TaskSpec("quick", quickly_failing),
        TaskSpec("slow", slowly_marking, params={"folder": str(tmp_path)}),
        TaskSpec("joined", joined, upstream=["quick", "slow"]),
        TaskSpec(
            "clean", is_marked, after=["joined"], run_if="always", params={"folder": str(tmp_path)}
        ),
    ]
    run = compile_flow(FlowSpec("live", tasks), backend="inline", runner=runner, workers=3).run()
    assert run.tasks["joined"].state is State.SKIPPED
    assert run.tasks["clean"].value is True


def quickly_failing() -> None:
    raise ValueError("at once")


def slowly_marking(folder: str) -> None:
    time.sleep(0.3)
    Path(folder, "ended").touch()


def joined(a: object, b: object) -> None:
    del a, b


def is_marked(folder: str) -> bool:
    return Path(folder, "ended").exists()
