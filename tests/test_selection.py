"""Which tasks a run is asked for: the grammar, and what becomes of those left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from command import call, invoke, write
from hypothesis import given
from hypothesis import strategies as st

import mxm
from mxm.pipeline import FlowRun, FlowSpec, TaskSpec, compile_flow, execute_flow
from mxm.pipeline.authoring import Flow
from mxm.pipeline.errors import BackendError, NothingSelectedError, SelectionError
from mxm.pipeline.execution.plans.selection import selected
from mxm.pipeline.testing import collecting

# The grammar

DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["d"], "in.x": [], "in.y": ["in.x"]}  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("b", "b"),
        ("b+", "b d e"),
        ("+b", "a b"),
        ("+b+", "a b d e"),
        ("1+d", "b c d"),
        ("2+e", "b c d e"),
        ("0+d", "d"),
        ("a+1", "a b c"),
        ("a+2", "a b c d"),
        ("@b", "a b c d e"),
        ("a e", "a e"),
        ("  a \t e ", "a e"),
        ("a+,+d", "a b c d"),
        ("b+,c+ a", "a d e"),
        ("in", "in.x in.y"),
        ("in.*", "in.x in.y"),
        ("+in.y", "in.x in.y"),
        ("[ab]", "a b"),
        ("?", "a b c d e"),
        ("x*", ""),
        ("even:yes+1", "b c d e"),
    ],
)
def test_the_grammar_is_that_of_dbt(expression: str, expected: str) -> None:
    methods: Mapping[str, Callable[[str], set[str]]] = {"even": lambda _: {"b", "d", "unknown"}}
    if expression == "even:yes+1":
        assert selected(DIAMOND, [expression], (), methods) == {"b", "d", "e"}
    else:
        assert selected(DIAMOND, [expression]) == set(expected.split())


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("bb", "no task 'bb'"),
        ("a,bb", "no task 'bb'"),
        ("in.z", "no task 'in.z'"),
        ("", "an empty expression"),
        ("  ", "an empty expression"),
        ("+", "'+' names no task"),
        ("1+", "names no task"),
        ("a,,b", "'' in 'a,,b' names no task"),
        ("@a+", "both @ and +"),
        ("@1+a", "both @ and +"),
        ("tagg:x", "unknown method 'tagg'"),
        ("b[SPY]", "'b[SPY]' is an item of a mapped task"),
        ("a++b", "no task"),
        ("99999999999+a", "no task"),
    ],
)
@pytest.mark.parametrize("excluded", [False, True])
def test_what_means_nothing_is_an_error_not_an_empty_set(
    expression: str, said: str, excluded: bool
) -> None:
    with pytest.raises(SelectionError) as caught:
        selected(DIAMOND, None if excluded else [expression], [expression] if excluded else ())
    assert said in str(caught.value)
    assert str(caught.value).startswith("exclude" if excluded else "select")


def test_a_name_with_signs_of_the_grammar_means_the_task() -> None:
    graph = {"load prices": [], "a,b": ["load prices"], "+c": ["a,b"], "tag:x": [], "d": []}
    for name in graph:
        assert selected(graph, [name]) == {name}
    assert selected(graph, ["load?prices"]) == {"load prices"}


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    names = "abcdefgh"[: draw(st.integers(1, 8))]
    return {
        name: draw(st.lists(st.sampled_from(names[:i]), max_size=3, unique=True)) if i else []
        for i, name in enumerate(names)
    }


def reference(graph: Mapping[str, list[str]], text: str) -> set[str]:
    """What *text* means, by distances between all pairs of tasks."""
    far = 10_000
    names = list(graph)
    distance = {(a, b): 0 if a == b else 1 if a in graph[b] else far for a in names for b in names}
    for k in names:
        for a in names:
            for b in names:
                distance[a, b] = min(distance[a, b], distance[a, k] + distance[k, b])

    def one(element: str) -> set[str]:
        if element[0] == "@":
            below = {b for b in names if distance[element[1:], b] < far}
            return {a for a in names if any(distance[a, b] < far for b in below)}
        letter = next(sign for sign in element if sign.isalpha())
        before, after = element.split(letter)
        up = -1 if not before else int(before[:-1] or far - 1)
        down = -1 if not after else int(after[1:] or far - 1)
        above = {a for a in names if distance[a, letter] <= up}
        return {letter} | above | {b for b in names if distance[letter, b] <= down}

    return {
        name
        for alternative in text.split()
        for name in set.intersection(*map(one, alternative.split(",")))
    }


@given(graphs(), st.data())
def test_a_selection_means_what_distances_say(
    graph: dict[str, list[str]], data: st.DataObject
) -> None:
    name = st.sampled_from(list(graph))
    count = st.sampled_from(["", "0", "1", "2", "3"])
    up = st.just("") | count.map(lambda n: f"{n}+")
    down = st.just("") | count.map(lambda n: f"+{n}")
    element = st.tuples(up, name, down).map("".join) | name.map(lambda n: f"@{n}")
    alternative = st.lists(element, min_size=1, max_size=3).map(",".join)
    expression = st.lists(alternative, min_size=1, max_size=3).map(" ".join)
    select, exclude = data.draw(expression), data.draw(expression)
    assert selected(graph, [select]) == reference(graph, select)
    assert selected(graph, select.split()) == reference(graph, select)
    left = reference(graph, select) - reference(graph, exclude)
    assert selected(graph, [select], [exclude]) == left
    assert selected(graph, None, [exclude]) == set(graph) - reference(graph, exclude)


# Runs

with collecting():

    @mxm.task(tags=["eod"])
    def load(symbol: str = "SPY") -> list[float]:
        return [1.0, 2.0, 4.0]

    @mxm.task
    def gains(prices: list[float]) -> list[float]:
        return [b / a - 1 for a, b in zip(prices, prices[1:], strict=False)]

    @mxm.task
    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    @mxm.task(tags=["eod", "late"])
    def other() -> str:
        return "other"

    @mxm.task(run_if="failed")
    def notify(values: Any) -> str:
        return "failed"

    @mxm.flow
    def risk(symbol: str = "SPY") -> list[Any]:
        found = gains(load(symbol))
        return [mean(found), other(), notify(found)]


def run(flow: Flow[..., Any] | FlowSpec, **options: Any) -> FlowRun:
    return compile_flow(flow, **{"backend": "inline", **options}).run()


def states(found: FlowRun) -> dict[str, str]:
    return {t.name: t.state.value for t in found.tasks.values()}


@pytest.mark.parametrize("backend", ["inline", "prefect"])
@pytest.mark.parametrize("runner", ["sequential", "threads"])
def test_tasks_left_out_are_skipped_and_say_so(backend: str, runner: str) -> None:
    found = run(risk, backend=backend, runner=runner, select="+gains")
    assert found.state == "succeeded"
    ran = {"load", "gains"}
    assert {n for n, s in states(found).items() if s == "succeeded"} == ran
    left = [t for t in found.tasks.values() if t.name not in ran]
    assert {(t.state.value, t.reason, t.started) for t in left} == {("skipped", "not selected", None)}  # fmt: skip
    document = {t["name"]: t for t in found.to_dict()["tasks"]}  # type: ignore[union-attr,index]
    assert document["mean"]["reason"] == "not selected"


def test_parts_of_the_value_that_were_left_out_are_none_without_a_warning() -> None:
    found = run(risk, select="+mean")
    assert found.value() == [1.0, None, None]
    assert found.to_dict()["warnings"] == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"select": "tag:eod"}, "load other"),
        ({"select": ["tag:eod", "+gains"]}, "load other gains"),
        ({"select": "tag:eod,tag:late"}, "other"),
        ({"exclude": "tag:eod+"}, ""),
        ({"exclude": "mean notify"}, "load gains other"),
        ({"select": "+mean other", "exclude": "tag:late"}, "load gains mean"),
    ],
)
def test_tags_lists_and_exclusions(options: Any, expected: str) -> None:
    if not expected:
        with pytest.raises(NothingSelectedError, match="exclude 'tag:eod\\+'"):
            run(risk, **options, select="+notify")
        return
    found = run(risk, **options)
    assert {n for n, s in states(found).items() if s == "succeeded"} == set(expected.split())


@pytest.mark.parametrize(
    ("select", "said", "hint"),
    [
        ("mean", "task 'load' is not selected, but its result is needed", "--select '+load'"),
        ("load mean", "takes the result of 'gains'", "'load mean +mean'"),
        ("tag:soon", "no task has the tag 'soon'", "known: 'eod', 'late'"),
        ("state:done", "unknown state 'done'", "'succeeded'"),
        ("chagned:", "unknown method 'chagned'", "did you mean 'changed'?"),
    ],
)
def test_a_selection_that_cannot_run_is_refused_before_anything_runs(
    select: str, said: str, hint: str
) -> None:
    with pytest.raises(SelectionError) as caught:
        run(risk, select=select)
    assert said in caught.value.message
    assert hint in (caught.value.hint or "")


def test_excluding_what_a_task_needs_says_so() -> None:
    with pytest.raises(SelectionError, match="'gains', which is not selected") as caught:
        run(risk, exclude="gains")
    assert "--exclude" in (caught.value.hint or "")


@pytest.mark.parametrize("given", [3, [3], {"a": 1}, b"a", [None]])
def test_an_expression_that_is_no_text_is_refused(given: Any) -> None:
    for option in ("select", "exclude"):
        with pytest.raises(BackendError, match=f"{option} must be text"):
            run(risk, **{option: given})


def test_execute_flow_takes_a_selection_for_one_run() -> None:
    compiled = compile_flow(risk, backend="inline")
    assert set(execute_flow(compiled, {}, {"select": "+gains"})) == {"load", "gains"}
    assert set(execute_flow(compiled)) == {"load", "gains", "mean", "other"}


# Rules, order, maps, inner flows, overrides


def fails() -> int:
    raise ValueError("failed")


def give() -> int:
    return 1


def add(one: int, two: Any = 0) -> int:
    return one + (two or 0)


def test_what_is_left_out_neither_holds_up_nor_skips_what_only_follows_it() -> None:
    spec = FlowSpec("f", [
        TaskSpec("a", fails),
        TaskSpec("b", give, after="a"),
        TaskSpec("always", give, after="a", run_if="always"),
        TaskSpec("failed", give, after="a", run_if="failed"),
    ])  # fmt: skip
    assert states(run(spec, exclude="a")) == {
        "a": "skipped", "b": "succeeded", "always": "succeeded", "failed": "skipped",
    }  # fmt: skip


def test_a_rule_still_decides_among_what_is_selected() -> None:
    spec = FlowSpec("f", [
        TaskSpec("a", fails),
        TaskSpec("b", give, after="a"),
        TaskSpec("failed", give, after=["a", "x"], run_if="failed"),
        TaskSpec("x", give),
    ])  # fmt: skip
    assert states(run(spec, exclude="x b")) == {
        "a": "failed", "b": "skipped", "failed": "succeeded", "x": "skipped",
    }  # fmt: skip


def test_a_task_for_failures_runs_without_what_it_would_take() -> None:
    found = run(risk, select="notify")
    assert states(found)["notify"] == "skipped"
    assert found.tasks["notify"].reason == 'nothing upstream failed (run_if="failed")'


def test_fail_fast_does_not_speak_for_what_was_left_out() -> None:
    spec = FlowSpec("f", [TaskSpec("a", fails), TaskSpec("b", give), TaskSpec("c", give)])
    found = run(spec, exclude="c", fail_fast=True)
    assert [found.tasks[n].reason for n in "bc"] == [
        "task 'a' failed, and fail_fast stops the run", "not selected",
    ]  # fmt: skip


with collecting():

    @mxm.task
    def names() -> list[str]:
        return ["SPY", "QQQ"]

    @mxm.task
    def price(name: str) -> float:
        return float(len(name))

    @mxm.task
    def double(value: float) -> float:
        return value * 2

    @mxm.task
    def log(name: str) -> str:
        return name

    @mxm.flow
    def one(name: str) -> float:
        log(name)
        return double(price(name))

    @mxm.flow
    def book() -> Any:
        return [double.map(price.map(names())), one.map(names())]

    @mxm.flow
    def outer() -> Any:
        return [one("SPY"), one("QQQ")]


def test_maps_and_mapped_flows_are_selected_as_whole_tasks() -> None:
    every = set(run(book).values)
    assert set(run(book, select="+double").values) == {"names", "price", "double"}
    assert set(run(book, select="+price").values) == {"names", "price"}
    assert set(run(book, select="+one").values) == {"names_2", *(n for n in every if "one" in n)}
    found = run(book, exclude="one.log")
    assert set(found.values) == every - {"one.log"}
    assert found.value() == [[6.0, 6.0], [6.0, 6.0]]
    with pytest.raises(SelectionError, match="'price', which is not selected"):
        run(book, select="double names")


def test_an_inner_flow_is_selected_by_its_name() -> None:
    assert set(run(outer, select="one").values) == {"one.price", "one.double", "one.log"}
    assert set(run(outer, select="one_2.*").values) == {"one_2.price", "one_2.double", "one_2.log"}
    assert set(run(outer, select="+one.price").values) == {"one.price"}


def test_an_override_gives_what_a_selected_task_takes() -> None:
    found = run(risk, select="mean", overrides={"gains": [1.0, 3.0]})
    assert found.values == {"gains": [1.0, 3.0], "mean": 2.0}


def test_resources_of_tasks_left_out_are_not_opened() -> None:
    opened: list[str] = []
    with collecting():

        @mxm.resource
        def db() -> Any:
            opened.append("db")
            yield 1

        @mxm.task
        def query(connection: Any = mxm.use(db)) -> int:
            return int(connection)

        @mxm.flow
        def mixed() -> Any:
            return [query(), other()]

    assert run(mixed, select="other").values == {"other": "other"}
    assert opened == []


# The command

FLOW = {
    "flows.py": """
    import mxm, os

    @mxm.task
    def load() -> int:
        return 1

    @mxm.task
    def left(x: int) -> int:
        if os.path.exists("fail"):
            raise ValueError("failed")
        return x

    @mxm.task
    def right(x: int) -> int:
        return x

    @mxm.flow
    def split():
        x = load()
        return [left(x), right(x)]
    """
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, FLOW)
    (tmp_path / "pyproject.toml").write_text('[tool.mxm.pipeline]\nbackend = "inline"\n')
    monkeypatch.setenv("MXM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_runs_what_is_selected(project: Path) -> None:
    ran = invoke("run", "split", "--select", "+left")
    assert ran.code == 0
    assert json.loads(ran.out) == {"load": 1, "left": 1}
    assert "skipped 1: not selected" in ran.err
    ran = invoke("run", "split", "--select", "load", "--select", "+right", "--exclude", "left")
    assert json.loads(ran.out) == {"load": 1, "right": 1}


@pytest.mark.parametrize("select", ["x*", "state:failed", "load,right"])
def test_an_empty_selection_has_its_exit_code(project: Path, select: str) -> None:
    ran = invoke("run", "split", "--select", select)
    assert ran.code == 5
    assert ran.out == ""
    assert f"no task is selected by select {select!r}" in ran.err


@pytest.mark.parametrize("select", ["lode", "tag:x", "nosuch:x", "", "right"])
def test_a_selection_that_cannot_be_used_is_a_usage_error(project: Path, select: str) -> None:
    ran = invoke("run", "split", "--select", select)
    assert ran.code == 2
    assert ran.out == ""


def test_state_means_how_a_task_ended_when_it_was_last_selected(project: Path) -> None:
    (project / "fail").touch()
    assert invoke("run", "split").code == 1
    assert invoke("run", "split", "--select", "+right").code == 0
    ran = invoke("run", "split", "--select", "+state:failed", "-q")
    assert ran.code == 1
    (project / "fail").unlink()
    ran = invoke("run", "split", "--select", "+state:failed")
    assert json.loads(ran.out) == {"load": 1, "left": 1}
    assert invoke("run", "split", "--select", "+state:failed").code == 5
    assert json.loads(invoke("run", "split", "--select", "+state:succeeded").out) == {
        "load": 1, "left": 1, "right": 1,
    }  # fmt: skip


def test_state_of_a_run_whose_process_was_killed(project: Path) -> None:
    (project / "kill.py").write_text(
        "import os, flows, mxm\n"
        "@mxm.task\ndef die(x: int): os.kill(os.getpid(), 9)\n"
        "@mxm.flow\ndef dies():\n    return [die(flows.load()), flows.right(1)]\n"
    )
    assert call("run", "kill.py:dies", cwd=project).code != 0
    ran = invoke("run", "kill.py:dies", "--select", "state:cancelled", "--exclude", "die")
    assert json.loads(ran.out) == {"right": 1}


# Kept results of what is not selected


def test_a_task_left_out_gives_its_kept_result(project: Path) -> None:
    assert invoke("run", "split").code == 0
    ran = invoke("run", "split", "--select", "right", "--json")
    assert ran.code == 0, ran.err
    tasks = {t["name"]: t for t in json.loads(ran.out)["tasks"]}
    run = json.loads(invoke("runs", "--json").out)["runs"][1]["id"]
    assert (tasks["load"]["state"], tasks["load"]["reason"]) == ("cached", f"kept by run {run}")
    assert (tasks["left"]["state"], tasks["left"]["reason"]) == ("skipped", "not selected")
    assert tasks["right"]["state"] == "succeeded"
    plan = invoke("plan", "split", "--select", "right", "--json")
    assert [t["verdict"] for t in json.loads(plan.out)["tasks"]] == ["CACHED", "SKIP", "RUN"]


def test_a_kept_result_that_would_come_out_otherwise_is_not_used(project: Path) -> None:
    ran = invoke("run", "split", "--select", "right")
    assert ran.code == 2
    assert "task 'load' is not selected, but its result is needed, and no" in ran.err
    assert "hint: run it first: mxm-pipeline run split --select '+load'" in ran.err
    assert invoke("run", "split", "--select", "+load").code == 0
    assert invoke("run", "split", "--select", "right").code == 0
    text = (project / "flows.py").read_text()
    (project / "flows.py").write_text(text.replace("return 1", "return 2"))
    for verb in ("run", "plan"):
        ran = invoke(verb, "split", "--select", "right")
        assert ran.code == 2
        assert "load changed at flows.py:" in ran.err
    (project / "flows.py").write_text(text)
    assert invoke("run", "split", "--select", "right", "--no-cache").code == 2


def test_changed_means_the_code_and_all_that_it_calls(project: Path) -> None:
    text = (project / "flows.py").read_text()
    text = text.replace(
        "    return x\n\n@mxm.task\ndef right", "    return help(x)\n\n@mxm.task\ndef right"
    )
    text += "\ndef help(x):\n    return x\n"
    (project / "flows.py").write_text(text)
    every = [
        t["verdict"]
        for t in json.loads(invoke("plan", "split", "--select", "changed:", "--json").out)["tasks"]
    ]
    assert every == ["RUN", "RUN", "RUN"]
    assert invoke("run", "split").code == 0
    assert invoke("run", "split", "--select", "changed:").code == 5
    (project / "flows.py").write_text(
        text.replace("def help(x):\n    return x", "def help(x):\n    return x + 1")
    )
    ran = invoke("run", "split", "--select", "changed:")
    assert json.loads(ran.out) == {"load": 1, "left": 2}
    assert invoke("run", "split", "--select", "changed:x").code == 2
