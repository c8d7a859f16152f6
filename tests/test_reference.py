"""Flows of steps, maps and chains with retries and limits, beside a reference interpreter.

The interpreter is written from the rules of the language alone: one step after the other, one item
after the other, with nothing that waits.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from mxm.pipeline import Failure, FlowSpec, RetryAfter, Skip, State, TaskSpec, backoff, compile_flow
from mxm.pipeline.bindings import Bindings, Const, Each, Upstream
from mxm.pipeline.checks.declarations import find_errors
from mxm.pipeline.execution.events import AttemptEnded, AttemptStarted, Event
from mxm.pipeline.task_options import RUN_RULES


@dataclass
class Node:
    """One task: what each of its attempts does, by item, and its options.

    An attempt is ``ok`` or ``skip``, or raises what is ``busy``, ``bad`` or asks for another one
    ``after`` a while; the last of a script repeats.
    """

    name: str
    kind: str  # "list", "step" or "map"
    scripts: list[list[str]]
    takes: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    over: str | None = None
    run_if: str = "succeeded"
    allow_failure: bool = False
    on_item_error: str = "fail"
    outcomes: bool = False
    retries: int = 0
    retry_on: str = "any"
    delay: str = "none"
    limits: list[str] = field(default_factory=list)
    count: int = 0  # of what a list has


# The reference.


@dataclass
class Made:
    """What becomes of a node; *places* has an item's value, or ``gap`` or ``cut``."""

    state: str
    value: Any = None
    attempts: list[int] = field(default_factory=list)
    places: list[Any] = field(default_factory=list)
    by_failure: bool = False


def tried(script: list[str], node: Node) -> tuple[str, int]:
    """How the attempts end, and how many there are."""
    count = 0
    while True:
        how = script[min(count, len(script) - 1)]
        count += 1
        if how in ("ok", "skip"):
            return how, count
        wanted = how in ("after", "busy") or node.retry_on == "any"
        if count > node.retries or not wanted:
            return "failed", count


def mapped(node: Node, over: Made, nodes: dict[str, Node]) -> Made:
    """A map that runs, over a list or over the places of another map."""
    count = len(node.scripts)
    above = over.places if node.over and nodes[node.over].kind == "map" else list(range(count))
    places: list[Any] = []
    attempts: list[int] = []
    ends: list[str] = []
    for place in range(count):
        if above[place] in ("gap", "cut"):
            places.append(above[place])
            attempts.append(0)
            continue
        end, tries = tried(node.scripts[place], node)
        attempts.append(tries)
        ends.append(end)
        if end == "ok":
            places.append([node.name, place])
        elif node.outcomes:
            places.append("failure")
        else:
            leaves_out = end == "skip" or node.on_item_error == "skip"
            places.append("gap" if leaves_out else "cut")
    made = Made("succeeded", attempts=attempts, places=places)
    made.value = [value for value in places if value not in ("gap", "cut")]
    bad = "failed" in ends and not node.outcomes
    if bad and (node.on_item_error == "fail" or "ok" not in ends):
        made.state = "failed"
    elif "cut" in above:
        made.state = "skipped"
        allowed = over.state == "failed" and nodes[node.over or ""].allow_failure
        made.by_failure = over.by_failure or (over.state == "failed" and not allowed)
    elif count and (not ends or (set(ends) == {"skip"} and not node.outcomes)):
        made.state = "skipped"
    return made


def interpreted(order: list[Node]) -> tuple[dict[str, Made], bool]:
    """What becomes of each node, and whether the run succeeds."""
    nodes = {node.name: node for node in order}
    made: dict[str, Made] = {}
    above: dict[str, set[str]] = {}

    def breaks(name: str) -> bool:
        return made[name].state == "failed" and not nodes[name].allow_failure

    for node in order:
        over = [node.over] if node.over else []
        direct = [*over, *node.takes, *node.after]
        above[node.name] = {*direct, *(a for d in direct for a in above[d])}
        states = {name: made[name].state for name in direct}
        broken = any(breaks(n) or made[n].by_failure for n in direct)
        if node.kind == "map":
            (source,) = over
            in_chain = nodes[source].kind == "map" and made[source].places
            if in_chain or states[source] == "succeeded":
                made[node.name] = mapped(node, made[source], nodes)
            else:
                made[node.name] = Made("skipped", by_failure=broken)
            continue
        takes = node.takes or node.after
        runs = {
            "succeeded": all(state == "succeeded" for state in states.values()),
            "not_failed": not broken
            and (not direct or any(states[name] == "succeeded" for name in takes)),
            "failed": "failed" in states.values() or any(map(breaks, above[node.name])),
            "always": True,
        }[node.run_if]
        if not runs:
            by_failure = broken and node.run_if != "failed"
            made[node.name] = Made("skipped", by_failure=by_failure)
            continue
        end, tries = tried(node.scripts[0], node)
        state = {"ok": "succeeded", "skip": "skipped"}.get(end, "failed")
        inputs: list[Any] = []
        for name in node.takes:
            if states[name] == "succeeded":
                inputs.append(made[name].value)
            else:
                shown = states[name] == "failed" and node.run_if in ("failed", "always")
                inputs.append("failure" if shown else None)
        value = list(range(node.count)) if node.kind == "list" else [node.name, *inputs]
        made[node.name] = Made(state, value, [tries])
    return made, not any(map(breaks, made))


# The same flows, as they run: attempts are counted in files, for other processes.


class BusyError(Exception):
    pass


def is_busy(error: Exception) -> bool:
    return isinstance(error, BusyError)


def no_time(attempt: int) -> float:
    assert attempt >= 1
    return 0.0


def behave(name: str, place: int, script: list[str], folder: str) -> None:
    path = Path(folder, f"{name} {place}")
    with path.open("a+", encoding="utf-8") as file:
        file.seek(0)
        count = len(file.read())
        file.write("x")
    how = script[min(count, len(script) - 1)]
    if how == "skip":
        raise Skip(name)
    if how == "after":
        raise RetryAfter(0.001)
    if how == "busy":
        raise BusyError(name)
    if how == "bad":
        raise ValueError(name)


def shown(value: Any) -> Any:
    if isinstance(value, Failure):
        return "failure"
    return [shown(one) for one in value] if isinstance(value, list) else value


def give_list(name: str, scripts: list[list[str]], folder: str, count: int) -> list[int]:
    behave(name, 0, scripts[0], folder)
    return list(range(count))


def take_step(name: str, scripts: list[list[str]], folder: str, *inputs: Any) -> list[Any]:
    behave(name, 0, scripts[0], folder)
    return [name, *map(shown, inputs)]


def take_item(item: Any, name: str, scripts: list[list[str]], folder: str, place: int) -> list[Any]:
    del item
    behave(name, place, scripts[place], folder)
    return [name, place]


def task_of(node: Node, folder: str) -> TaskSpec:
    fixed = [Const(node.name), Const(node.scripts), Const(folder)]
    options: dict[str, Any] = {
        "after": node.after,
        "run_if": node.run_if,
        "allow_failure": node.allow_failure,
        "retries": node.retries,
        "limits": node.limits,
        "retry_on": {"any": Exception, "type": BusyError, "predicate": is_busy}[node.retry_on],
        "retry_delay_s": {
            "none": 0,
            "list": [0, 0.001],
            "function": no_time,
            "backoff": backoff(0.0005, most=0.001),
        }[node.delay],
    }
    if node.kind == "list":
        return TaskSpec(
            node.name, give_list, bindings=Bindings((*fixed, Const(node.count))), **options
        )
    if node.kind == "step":
        inputs = (*fixed, *map(Upstream, node.takes))
        return TaskSpec(node.name, take_step, bindings=Bindings(inputs), **options)
    places = Each(Const(list(range(len(node.scripts)))))
    bindings = Bindings((Each(Upstream(node.over or "")), *fixed), {"place": places})
    options |= {"on_item_error": node.on_item_error, "outcomes": node.outcomes}
    return TaskSpec(node.name, take_item, bindings=bindings, **options)


class Gauge:
    """An observer: the most attempts at work at once, by limit."""

    def __init__(self, nodes: list[Node]) -> None:
        self._limits = {node.name: node.limits for node in nodes}
        self._now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def __call__(self, event: Event) -> None:
        if isinstance(event, AttemptStarted | AttemptEnded):
            change = 1 if isinstance(event, AttemptStarted) else -1
            for limit in self._limits[event.step]:
                self._now[limit] += change
                self.most[limit] = max(self.most[limit], self._now[limit])


ENDS = st.sampled_from(["ok", "ok", "ok", "busy", "bad", "after", "skip"])
SCRIPTS = st.lists(ENDS, min_size=1, max_size=4)


@st.composite
def flows(draw: Any) -> tuple[list[Node], dict[str, int]]:
    nodes: list[Node] = []
    for i in range(draw(st.sampled_from([2, 4, 5, 6, 7, 8]))):
        lists = [node.name for node in nodes if node.kind == "list"]
        maps = [node.name for node in nodes if node.kind == "map"]
        kinds = ["map"] * 3 + ["step"] * 2 + ["list"] if lists or maps else ["list"] * 3 + ["step"]
        node = Node(f"t{i}", draw(st.sampled_from(kinds)), [draw(SCRIPTS)])
        if node.kind == "list":
            node.count = draw(st.sampled_from([3, 0, 1, 2, 4]))
            if draw(st.integers(0, 4)):  # else hardly any map would have items
                node.scripts = [["ok"]]
        before = [node.name for node in nodes]
        if node.kind == "map":
            node.over = draw(st.sampled_from([*maps[::-1], *maps, *lists]))
            source = next(one for one in nodes if one.name == node.over)
            count = len(source.scripts) if source.kind == "map" else source.count
            node.scripts = [draw(SCRIPTS) for _ in range(count)]
            node.on_item_error = draw(st.sampled_from(["fail", "fail", "skip"]))
            node.outcomes = draw(st.integers(0, 4)) == 0
        elif node.kind == "step" and before:
            node.takes = draw(st.lists(st.sampled_from(before), unique=True, max_size=4))
            left = [name for name in before if name not in node.takes]
            if left:
                node.after = draw(st.lists(st.sampled_from(left), unique=True, max_size=2))
            rules = [r for r in RUN_RULES if r != "failed" or node.takes or node.after]
            node.run_if = draw(st.sampled_from([*rules, "not_failed", "not_failed"]))
        node.allow_failure = draw(st.integers(0, 3)) == 0
        node.retries = draw(st.integers(0, 3))
        node.retry_on = draw(st.sampled_from(["any", "type", "predicate"]))
        node.delay = draw(st.sampled_from(["none", "list", "function", "backoff"]))
        node.limits = draw(st.lists(st.sampled_from("xy"), unique=True, max_size=2))
        nodes.append(node)
    return nodes, {"x": draw(st.integers(1, 2)), "y": draw(st.integers(1, 2))}


def joined(*, allowed: bool) -> tuple[list[Node], dict[str, int]]:
    """A chain that a failed item cuts, whose end is joined with what succeeded: seldom drawn."""
    return [
        Node("t0", "list", [["ok"]], count=2),
        Node("t1", "map", [["bad"], ["ok"]], over="t0", allow_failure=allowed),
        Node("t2", "map", [["ok"], ["ok"]], over="t1"),
        Node("t3", "step", [["ok"]], takes=["t0", "t2"], run_if="not_failed"),
        Node("t4", "step", [["ok"]], takes=["t0", "t3"], run_if="not_failed"),
    ], {"x": 1, "y": 1}


PLACES = [
    *(("inline", "sequential", 250), ("inline", "threads", 150), ("inline", "processes", 6)),
    *(("prefect", "sequential", 12), ("prefect", "threads", 12)),
]


@pytest.mark.parametrize(("backend", "runner", "examples"), PLACES)
def test_a_run_is_what_the_reference_makes(backend: str, runner: str, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(flows())
    @example(joined(allowed=False))
    @example(joined(allowed=True))
    def check(made: tuple[list[Node], dict[str, int]]) -> None:
        nodes, limits = made
        note("\n".join(map(repr, nodes)))
        expected, succeeds = interpreted(nodes)
        gauge = Gauge(nodes)
        with tempfile.TemporaryDirectory() as folder:
            spec = FlowSpec("f", [task_of(node, folder) for node in nodes])
            assert find_errors(spec) == []
            used = {name for node in nodes for name in node.limits}
            options: dict[str, Any] = {"runner": runner, "workers": 3}
            options["limits"] = {name: limits[name] for name in used}
            run = compile_flow(spec, backend=backend, observers=[gauge], **options).run()
        for node in nodes:
            task, one = run.tasks[node.name], expected[node.name]
            note(f"{node.name}: {task.state} {task.reason} {task.items}")
            assert task.state.value == one.state
            if task.items is not None:
                assert [item.attempts for item in task.items.values()] == one.attempts
            elif node.kind != "map":
                assert task.attempts == sum(one.attempts)
            if one.state == "succeeded":
                assert shown(task.value) == one.value
        assert (run.state is State.SUCCEEDED) == succeeds == (run.error is None)
        assert all(gauge.most[limit] <= most for limit, most in limits.items())

    check()
