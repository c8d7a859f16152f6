"""Maps, chains, rules, allowed failures and limits in one flow, beside a reference interpreter.

The interpreter follows the rules as they are written down, place by place and step by step, and
knows nothing of how a run goes on. Each function returns a text of its name and its inputs, so
that equal values mean equal inputs all the way up.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from mxm.pipeline import Failure, FlowSpec, Skip, TaskSpec, compile_flow
from mxm.pipeline.bindings import Bindings, Each, Upstream
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.runs import State

# What a function does: for a map, at each place.
_HOW = st.sampled_from(["succeeded"] * 3 + ["failed", "skipped"])


@dataclass(frozen=True)
class Drawn:
    """One step: what it maps, takes whole and waits for, its options, and what its function does.

    A step that maps nothing and is a list returns as many texts as every list has places.
    """

    name: str
    how: tuple[str, ...]
    lists: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    run_if: str = "succeeded"
    allow_failure: bool = False
    on_item_error: str = "fail"
    outcomes: bool = False
    retries: int = 0
    limited: bool = False
    is_list: bool = False


@dataclass
class Made:
    """What becomes of a step: its places are texts, or "gap", or "cut"."""

    state: str
    value: Any = None
    places: list[str] | None = None
    called: list[int] = field(default_factory=list[int])
    broken: bool = False  # skipped because of a failure


def text(value: Any) -> str:
    if isinstance(value, Failure):
        return f"failure of {value.task}" + ("" if value.item is None else f" at {value.item}")
    if isinstance(value, list):
        return f"[{', '.join(map(text, value))}]"
    return str(value)


def interpreted(drawn: list[Drawn], count: int) -> dict[str, Made]:
    """What becomes of each step."""
    by_name = {step.name: step for step in drawn}
    made: dict[str, Made] = {}
    above: dict[str, set[str]] = {}
    for step in drawn:
        direct = [*step.lists, *step.whole, *step.after]
        above[step.name] = {*direct, *(name for d in direct for name in above[d])}
        # The rule of a map judges what is beside its lists.
        others = [*step.whole, *step.after]
        judged = {*others, *(name for d in others for name in above[d])}
        made[step.name] = _made(step, by_name, made, judged, count)
    return made


def _made(
    step: Drawn, by_name: dict[str, Drawn], made: dict[str, Made], above: set[str], count: int
) -> Made:
    def fails(name: str) -> bool:
        return made[name].state == "failed" and not by_name[name].allow_failure

    # A map without its items is skipped, whatever its rule is.
    lost = [name for name in step.lists if made[name].places is None]
    if lost:
        return Made("skipped", broken=any(fails(n) or made[n].broken for n in lost))
    others = [*step.whole, *step.after]
    takes = step.whole or step.after
    broken = any(fails(name) or made[name].broken for name in others)
    runs = {
        "succeeded": all(made[name].state == "succeeded" for name in others),
        "not_failed": not broken
        and (not others or any(made[name].state == "succeeded" for name in takes)),
        "failed": any(made[n].state == "failed" for n in others) or any(map(fails, above)),
        "always": True,
    }[step.run_if]
    if not runs:
        return Made("skipped", broken=broken and step.run_if != "failed")
    inputs: list[str] = []
    for name in step.whole:
        if made[name].state == "succeeded":
            inputs.append(text(made[name].value))
        elif made[name].state == "failed" and step.run_if in ("failed", "always"):
            inputs.append(f"failure of {name}")
        else:
            inputs.append("None")
    if step.lists:
        return _mapped(step, by_name, made, inputs, count)
    how = step.how[0]
    if how != "succeeded":
        return Made(how)
    if step.is_list:
        items = [f"{step.name}.{i}" for i in range(count)]
        return Made(how, items, items)
    return Made(how, f"{step.name}({', '.join(inputs)})")


def _mapped(
    step: Drawn, by_name: dict[str, Drawn], made: dict[str, Made], inputs: list[str], count: int
) -> Made:
    places: list[str] = []
    called: list[int] = []
    raised: list[str] = []
    for place in range(count):
        items = [(made[name].places or [])[place] for name in step.lists]
        if "cut" in items or "gap" in items:
            places.append("cut" if "cut" in items else "gap")
            continue
        called.append(place)
        how = step.how[place]
        raised.append(how)
        if how == "succeeded":
            places.append(f"{step.name}({', '.join([*items, *inputs])})")
        elif step.outcomes:
            places.append(f"failure of {step.name} at list.{place}")
        else:
            left_out = how == "skipped" or step.on_item_error == "skip"
            places.append("gap" if left_out else "cut")
    value = [place for place in places if place not in ("cut", "gap")]
    failed = "failed" in raised and not step.outcomes
    # What cuts a place off is a failure above it, if that was not allowed.
    above_fails = any(
        (made[n].state == "failed" and not by_name[n].allow_failure) or made[n].broken
        for n in step.lists
    )
    if failed and (step.on_item_error == "fail" or "succeeded" not in raised):
        return Made("failed", None, places, called)
    if "cut" in places:
        return Made("skipped", None, places, called, broken=above_fails)
    if count and not called:
        return Made("skipped", None, places, called, broken=above_fails)
    if called and not step.outcomes and set(raised) == {"skipped"}:
        return Made("skipped", None, places, called)
    return Made("succeeded", value, places, called)


_working: Counter[str] = Counter()
_most: Counter[str] = Counter()
_lock = threading.Lock()


@dataclass(frozen=True)
class Function:
    """The function of a step; it pickles."""

    step: Drawn
    count: int

    def __call__(self, *inputs: Any) -> Any:
        with _lock:
            _working["vendor"] += self.step.limited
            _most["vendor"] = max(_most["vendor"], _working["vendor"])
        try:
            return self._called(*inputs)
        finally:
            with _lock:
                _working["vendor"] -= self.step.limited

    def _called(self, *inputs: Any) -> Any:
        step = self.step
        how = step.how[self._place(inputs[0]) if step.lists else 0]
        if how == "failed":
            raise ZeroDivisionError(step.name)
        if how == "skipped":
            raise Skip(step.name)
        if step.is_list:
            return [f"{step.name}.{i}" for i in range(self.count)]
        return f"{step.name}({', '.join(map(text, inputs))})"

    def _place(self, item: Any) -> int:
        """The place in the list at the head: the first that the text of an item names."""
        named = re.search(r"list\.(\d+)", text(item))
        assert named is not None
        return int(named[1])


@st.composite
def flows(draw: Any) -> tuple[list[Drawn], int]:
    """A flow of lists, maps over them and over each other, and steps beside them."""
    count = draw(st.integers(0, 4))
    drawn = [Drawn("list", ("succeeded",), is_list=True)]
    if draw(st.integers(0, 5)) == 0:
        drawn = [Drawn("list", (draw(_HOW),), is_list=True, allow_failure=draw(st.booleans()))]
    mapped: list[str] = []
    for i in range(draw(st.integers(1, 7))):
        name, before = f"t{i}", [step.name for step in drawn]
        is_map = draw(st.integers(0, 2)) > 0
        lists: list[str] = []
        if is_map:
            heads = st.sampled_from(["list", *mapped[-2:], *mapped[-2:]])
            lists = draw(st.lists(heads, unique=True, min_size=1, max_size=2))
        left = [other for other in before if other not in lists]
        some = st.lists(st.sampled_from(left), unique=True, max_size=2) if left else st.just([])
        beside: list[str] = draw(some) if not is_map or draw(st.booleans()) else []
        whole = beside[: draw(st.integers(0, 2))]
        rules = ["succeeded", "not_failed", "failed", "always"]
        if not beside:
            rules = ["succeeded"] if is_map else ["succeeded", "always"]
        drawn.append(
            Drawn(
                name,
                tuple(draw(_HOW) for _ in range(count if is_map else 1)),
                tuple(lists),
                tuple(whole),
                tuple(beside[len(whole) :]),
                draw(st.sampled_from(rules)),
                draw(st.booleans()),
                draw(st.sampled_from(["fail", "skip"])),
                is_map and draw(st.integers(0, 4)) == 0,
                draw(st.integers(0, 1)),
                draw(st.booleans()),
            )
        )
        if is_map:
            mapped.append(name)
    return drawn, count


def spec_of(drawn: list[Drawn], count: int) -> FlowSpec:
    return FlowSpec(
        "f",
        [
            TaskSpec(
                step.name,
                Function(step, count),
                bindings=Bindings(
                    (*(Each(Upstream(n)) for n in step.lists), *map(Upstream, step.whole))
                ),
                after=step.after,
                run_if=step.run_if,  # type: ignore[arg-type]
                allow_failure=step.allow_failure,
                on_item_error=step.on_item_error,  # type: ignore[arg-type]
                outcomes=step.outcomes,
                retries=step.retries,
                limits=("vendor",) if step.limited else (),
            )
            for step in drawn
        ],
    )


def compared(drawn: list[Drawn], count: int, **options: Any) -> None:
    for step in drawn:
        note(repr(step))
    expected = interpreted(drawn, count)
    spec = spec_of(drawn, count)
    assert [p.code for p in find_problems(spec) if p.severity == "error"] == []
    _working.clear()
    _most.clear()
    limits = {"vendor": 1} if any(step.limited for step in drawn) else {}
    run = compile_flow(spec, limits=limits, **options).run()
    for step in drawn:
        task, one = run.tasks[step.name], expected[step.name]
        note(f"{step.name}: {task.state} {task.reason} {task.items} beside {one}")
        assert task.state == one.state
        if one.state == "succeeded":
            assert text(task.value) == text(one.value)
        if not step.lists:
            continue
        attempts = {key: item.attempts for key, item in (task.items or {}).items() if item.attempts}
        assert len(attempts) == len(one.called)
        failed = [step.how[place] == "failed" for place in one.called]
        assert list(attempts.values()) == [1 + step.retries * each for each in failed]
    fails = any(
        one.state == "failed" and not step.allow_failure
        for step, one in zip(drawn, expected.values(), strict=True)
    )
    assert run.state is (State.FAILED if fails else State.SUCCEEDED)
    assert _most["vendor"] <= 1


@pytest.mark.parametrize(
    ("backend", "runner", "examples"),
    [
        ("inline", "sequential", 200),
        ("inline", "threads", 100),
        ("prefect", "sequential", 6),
        ("prefect", "threads", 6),
        pytest.param("inline", "sequential", 1500, marks=pytest.mark.slow),
        pytest.param("inline", "processes", 12, marks=pytest.mark.slow),
        pytest.param("prefect", "processes", 6, marks=pytest.mark.slow),
    ],
)
def test_run_is_what_the_reference_makes(backend: str, runner: str, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(flows())
    def check(made: tuple[list[Drawn], int]) -> None:
        compared(*made, backend=backend, runner=runner, workers=3)

    check()
