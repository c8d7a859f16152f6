from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import re
import uuid
from collections import UserDict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command import invoke, write
from ids import stable_id
from pydantic import SecretStr

from mxm.pipeline.api import compile_flow, execute_flow
from mxm.pipeline.bindings import Binding, Collection, Const, Param, Upstream
from mxm.pipeline.errors import PipelineError, ResultError
from mxm.pipeline.runs import Attempt, FlowRun, State, TaskRun, WrittenAsset, gather
from mxm.pipeline.spec import FlowSpec, TaskSpec

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)


def fn(*args: Any) -> Any: ...


def done(name: str, value: Any = None) -> TaskRun:
    return TaskRun(name, State.SUCCEEDED, value, attempts=1)


def failed(name: str, error: BaseException, attempts: int = 1) -> TaskRun:
    return TaskRun(name, State.FAILED, error=error, attempts=attempts)


def run_of(
    *tasks: TaskRun, output: Binding | None = None, edges: dict[str, list[str]] | None = None,
    params: dict[str, Any] | None = None, state: State | None = None, strict_json: bool = False,
) -> FlowRun:  # fmt: skip
    names = [
        *(t.name for t in tasks),
        *(n for n in edges or {} if n not in {t.name for t in tasks}),
    ]
    spec = FlowSpec(
        "risk", [TaskSpec(n, fn, upstream=(edges or {}).get(n, [])) for n in names], output=output
    )
    ended = State.FAILED if any(t.error for t in tasks) else State.SUCCEEDED
    named = {t.name: t for t in tasks}
    return FlowRun(spec, params or {}, named, state or ended, strict_json=strict_json)


class Pair(NamedTuple):
    low: Any
    high: Any


VALUES = {"a": {"rows": [10, 20]}, "b": 2}


@pytest.mark.parametrize(
    ("binding", "value"),
    [
        (Upstream("b"), 2),
        (Upstream("a", ("rows", -1)), 20),
        (Param("p"), (1, {"k": 5})),
        (Param("p", (1, "k")), 5),
        (Const(None), None),
        (Collection(list, (Upstream("b"), Const(3))), [2, 3]),
        (Collection(tuple, (Upstream("b"),)), (2,)),
        (Collection(dict, (Upstream("b"), Collection(list, ())), ("x", 1)), {"x": 2, 1: []}),
        (Collection(Pair, (Upstream("b"), Const(3))), Pair(2, 3)),
    ],
    ids=stable_id,
)
def test_a_binding_gathers_what_it_stands_for(binding: Binding, value: Any) -> None:
    found = gather(binding, VALUES, {"p": (1, {"k": 5})})
    assert found == value
    assert type(found) is type(value)


def test_values_are_gathered_by_reference() -> None:
    assert gather(Upstream("a"), VALUES, {}) is VALUES["a"]


def test_the_value_is_what_the_body_returned_in_its_shape() -> None:
    shape = Collection(dict, (Upstream("b"), Const("x")), ("two", "name"))
    assert run_of(done("a", 1), done("b", 2), output=shape).value() == {"two": 2, "name": "x"}


def test_without_a_body_the_value_is_that_of_the_last_task_or_of_each() -> None:
    edges = {"b": ["a"]}
    assert run_of(done("a", 1), done("b", 2), edges=edges).value() == 2
    assert run_of(done("a", 1), done("b", 2), done("c", 3), edges=edges).value() == {"b": 2, "c": 3}


def test_of_a_part_of_a_flow_the_value_is_that_of_the_last_task_that_ran() -> None:
    assert run_of(done("a", 1), edges={"b": ["a"]}).value() == 1


def skipped(name: str) -> TaskRun:
    return TaskRun(name, State.SKIPPED, reason="market closed")


@pytest.mark.parametrize(
    ("output", "value"),
    [
        (Collection(dict, (Upstream("a"), Upstream("b")), ("x", "y")), {"x": 1, "y": None}),
        (Collection(list, (Upstream("b", ("k",)), Upstream("a"))), [None, 1]),
        (Collection(Pair, (Upstream("a"), Upstream("b"))), Pair(1, None)),
        (
            Collection(list, (Collection(tuple, (Upstream("b"), Const(2))), Upstream("a"))),
            [(None, 2), 1],
        ),
        (None, {"a": 1, "b": None}),
    ],
    ids=stable_id,
)
def test_a_skipped_part_of_a_container_is_none_with_a_warning(
    output: Binding | None, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_of(done("a", 1), skipped("b"), output=output)
    assert run.value() == value
    text = (
        "in the value of flow 'risk', the part of task 'b' is None: it was skipped: market closed"
    )
    assert [r.getMessage() for r in caplog.records] == [f"MXM503 {text}"]
    plain, warnings = run.value_json()
    assert plain == json.loads(json.dumps(value))
    assert [w.code for w in warnings] == ["MXM503"]


@pytest.mark.parametrize(
    "output", [Upstream("b"), Collection(list, (Upstream("b"), Upstream("c"), Const(1))), None]
)
def test_a_value_of_which_nothing_is_left_raises(output: Binding | None) -> None:
    run = run_of(skipped("b"), skipped("c"), output=output)
    with pytest.raises(PipelineError, match="has no value: task 'b' was skipped: market closed"):
        run.value()
    assert run.value_json() == (None, [])


def test_the_value_as_json_masks_secrets_and_is_null_for_a_failed_run() -> None:
    output = Collection(dict, (Param("key"), Upstream("a")), ("key", "a"))
    run = run_of(done("a", math.nan), output=output, params={"key": SecretStr("s3cret")})
    assert run.value_json() == ({"key": "**********", "a": None}, [])
    assert run_of(done("a"), failed("b", ValueError()), output=Upstream("a")).value_json() == (
        None, [],
    )  # fmt: skip


def test_a_value_that_needs_what_did_not_run_says_why() -> None:
    with pytest.raises(PipelineError, match="task 'a' was skipped: market closed"):
        run_of(skipped("a"), output=Upstream("a")).value()
    with pytest.raises(PipelineError, match="task 'b' was not part of this run"):
        run_of(done("a"), output=Upstream("b"), edges={"b": []}).value()


@pytest.mark.parametrize("ask", [FlowRun.value, FlowRun.raise_for_failure])
def test_a_failure_is_raised_unchanged_with_a_note_and_the_run(ask: Any) -> None:
    error, other = KeyError("px"), ValueError("late")
    run = run_of(done("a"), failed("b", error, 3), failed("c", other))
    for _ in range(2):
        with pytest.raises(KeyError) as caught:
            ask(run)
    assert caught.value is error
    assert error.__notes__ == ["task 'b' of flow 'risk' failed after 3 attempts; failed too: 'c'"]
    assert error.mxm_run is run  # type: ignore[attr-defined]
    assert not hasattr(other, "mxm_run")


def test_a_run_without_failure_gives_itself() -> None:
    run = run_of(done("a"))
    assert run.raise_for_failure() is run
    assert run.error is None


@dataclass(frozen=True)
class FrozenError(Exception):
    code: int


def test_a_failure_that_takes_no_notes_is_raised_all_the_same() -> None:
    error = FrozenError(3)
    with pytest.raises(FrozenError) as caught:
        run_of(failed("a", error)).raise_for_failure()
    assert caught.value is error


@pytest.mark.parametrize(
    ("tasks", "shown"),
    [
        (
            [done("a"), TaskRun("b", State.SKIPPED)],
            "<FlowRun 'risk': 1 succeeded, 1 skipped>",
        ),
        (
            [done("a"), done("b"), failed("c", ValueError("late"))],
            "FAILED: <FlowRun 'risk': 2 succeeded, 1 failed: task 'c' raised ValueError: late>",
        ),
    ],
)
def test_the_repr_of_a_failed_run_opens_with_failed(tasks: list[TaskRun], shown: str) -> None:
    assert repr(run_of(*tasks)) == shown


def test_the_repr_of_a_cancelled_run_opens_with_cancelled() -> None:
    run = run_of(TaskRun("a", State.CANCELLED), state=State.CANCELLED)
    assert repr(run) == "CANCELLED: <FlowRun 'risk': 1 cancelled>"


def test_values_are_the_objects_and_results_their_json() -> None:
    rows = (1, math.nan)
    run = run_of(done("a", rows), TaskRun("b", State.SKIPPED), failed("c", ValueError()))
    assert list(run.values) == list(run.results) == ["a"]
    assert run.values["a"] is rows
    assert run.results == {"a": [1, None]}
    written, [warning] = run.tasks["a"].to_json()
    assert (written, warning.code, warning.severity) == ([1, None], "MXM501", "warning")


WARNED = [
    "MXM501 result of task 'a': 2 NaN or infinite numbers became null",
    "MXM501 result of task 'b': 1 NaN or infinite number became null",
]


def gaps() -> list[float]:
    return [math.nan, math.inf]


def gap(gaps: list[float]) -> float:
    return gaps[0]


def test_numbers_without_json_are_logged_once_for_each_task(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = run_of(done("a", gaps()), done("b", math.nan), done("c", 1.5))
    assert (run.results, run.results) == ({"a": [None, None], "b": None, "c": 1.5},) * 2
    assert [(r.name, r.levelname) for r in caplog.records] == [("mxm.pipeline", "WARNING")] * 2
    assert caplog.messages == WARNED


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_from_python_numbers_without_json_are_logged(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    if backend == "prefect":
        pytest.importorskip("prefect")
    spec = FlowSpec("f", [TaskSpec("a", gaps), TaskSpec("b", gap, upstream=["a"])])
    execute_flow(compile_flow(spec, backend=backend))
    assert [r.getMessage() for r in caplog.records if r.name == "mxm.pipeline"] == WARNED


def test_the_command_tells_of_numbers_without_json_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "import math, mxm\n@mxm.task\ndef a(): return math.nan\n@mxm.flow\ndef f(): return a\n"
    write(tmp_path, {"flows.py": code})
    for more in ((), ("--json",)):
        ran = invoke("run", "f", "--backend", "inline", *more)
        assert ran.err.count("MXM501") == 1


def opened() -> dict[str, Any]:
    return {"rows": [1, b"x"], ("SPY", 1): iter([1])}


DESCRIBED = [
    ["rows", [1, {"type": "bytes", "repr": "b'x'"}]],
    [["SPY", 1], {"type": "list_iterator", "repr": "<list_iterator object>"}],
]
TOLD = (
    "MXM505 result of task 'a': JSON has no form for a dict with keys of type tuple at $, "
    "bytes at $[0][1][1], list_iterator at $[1][1]: described instead"
)


@pytest.mark.parametrize("backend", ["inline", "prefect"])
def test_results_without_json_are_described_or_refused_from_python(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    if backend == "prefect":
        pytest.importorskip("prefect")
    flow = compile_flow(FlowSpec("f", [TaskSpec("a", opened)]), backend=backend)
    run = flow.run()
    assert (run.state, run.results) == ("succeeded", {"a": DESCRIBED})
    assert [r.getMessage() for r in caplog.records if r.name == "mxm.pipeline"] == [TOLD]
    assert execute_flow(flow) == {"a": DESCRIBED}
    assert run.to_dict()["tasks"][0]["result"] == DESCRIBED  # type: ignore[index, call-overload]

    strict = flow.run(options={"strict_json": True})
    assert strict.values.keys() == {"a"}
    with pytest.raises(ResultError) as caught:
        _ = strict.results
    assert (caught.value.task, caught.value.path) == ("a", "$")
    with pytest.raises(ResultError, match="a dict with keys of type tuple has no JSON form at"):
        execute_flow(flow, options={"strict_json": True})
    [document] = strict.to_dict()["tasks"]  # type: ignore[misc]
    assert document["result"] is None  # type: ignore[index, call-overload]
    assert "no JSON form" in document["error"]  # type: ignore[index, call-overload, operator]


def test_results_without_json_are_described_or_refused_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "import mxm\n@mxm.task\ndef a(): return [1, b'x']\n@mxm.task\ndef b(): return 2\n"
    write(tmp_path, {"flows.py": code + "@mxm.flow\ndef f(): return a, b\n"})
    for more in ((), ("--json",), ("--quiet",)):
        ran = invoke("run", "f", "--backend", "inline", *more)
        assert (ran.code, ran.err.count("MXM505")) == (0, 1)
    assert json.loads(ran.out) == {"a": [1, {"type": "bytes", "repr": "b'x'"}], "b": 2}
    ran = invoke("run", "f", "--backend", "inline", "--strict-json")
    assert (ran.code, json.loads(ran.out)) == (1, {"b": 2})
    assert "error: result of task 'a': bytes has no JSON form at $[1]\n  hint: " in ran.err


def test_of_many_parts_without_json_three_are_named() -> None:
    _, [warning] = done("a", [b""] * 1000).to_json()
    assert warning.message == (
        "result of task 'a': JSON has no form for bytes at $[0], bytes at $[1], bytes at $[2] "
        "and 997 more: described instead"
    )


def test_the_document_of_a_run() -> None:
    error = ValueError("late")
    run = run_of(
        TaskRun(
            "a",
            State.SUCCEEDED,
            [1],
            attempts=2,
            started=NOON,
            ended=NOON,
            seconds=1.5,
            slot=2,
            ready=NOON,
            history=(Attempt(NOON, NOON, State.FAILED, "KeyError: 'px'"),),
            output="loaded\n",
            asset=WrittenAsset("prices", "day:1"),
        ),
        done("b", b"x"),
        TaskRun("c", State.FAILED, error=error, reason="ValueError: late", attempts=1),
        TaskRun("d", State.SKIPPED, reason="task 'c' failed", cause="c"),
        params={"limit": 5, "key": SecretStr("s3cret"), "odd": UserDict(), "raw": b"x"},
        strict_json=True,
    )
    document = run.to_dict()
    json.dumps(document, allow_nan=False)
    assert document["params"] == {"limit": 5, "key": "**********", "odd": {}, "raw": "b'x'"}
    assert [document[k] for k in ("schema", "flow", "state")] == [
        "mxm.flowrun/2", "risk", "failed",
    ]  # fmt: skip
    noon = "2024-01-31T12:00:00.000000+00:00"
    never: dict[str, Any] = {
        "history": [], "ready": None, "started": None, "ended": None, "seconds": None,
        "slot": None, "result": None, "error": None, "reason": None, "cause": None, "output": "",
        "asset": None, "items": None, "allowed": False, "waited": None,
    }  # fmt: skip
    first = {"started": noon, "ended": noon, "state": "failed", "error": "KeyError: 'px'"}
    assert document["tasks"] == [
        {**never, "name": "a", "state": "succeeded", "attempts": 2, "history": [first],
         "ready": noon, "started": noon, "ended": noon, "seconds": 1.5, "slot": 2, "result": [1],
         "output": "loaded\n", "asset": {"id": "prices", "partition": "day:1"}},
        {**never, "name": "b", "state": "succeeded", "attempts": 1,
         "error": "result of task 'b': bytes has no JSON form at $"},
        {**never, "name": "c", "state": "failed", "attempts": 1,
         "error": "ValueError: late", "reason": "ValueError: late"},
        {**never, "name": "d", "state": "skipped", "attempts": 0,
         "reason": "task 'c' failed", "cause": "c"},
    ]  # fmt: skip


def test_every_document_of_a_run_has_the_fields_of_the_schema() -> None:
    document = compile_flow(FlowSpec("f", [TaskSpec("a", dict)]), backend="inline").run().to_dict()
    assert list(document) == [
        "schema", "id", "flow", "state", "backend", "runner", "started", "ended", "seconds",
        "params", "value", "warnings", "tasks",
    ]  # fmt: skip
    assert (document["backend"], document["runner"], document["value"]) == (
        "inline", "sequential", {},
    )  # fmt: skip
    for name in ("started", "ended"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", str(document[name]))


def test_the_id_of_a_run_sorts_by_time_and_its_uuid_has_the_same_instant_and_bits() -> None:
    runs = [compile_flow(FlowSpec("f", [TaskSpec("a", fn)]), backend="inline").run()
            for _ in range(3)]  # fmt: skip
    assert len({run.id for run in runs}) == 3
    for run in runs:
        assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{8}", run.id)
        assert run.started is not None
        assert run.id.startswith(run.started.strftime("%Y%m%d-%H%M%S-"))
        found = run.uuid
        assert found is not None
        assert (found.version, found.variant) == (7, uuid.RFC_4122)
        assert found.int >> 80 == int(run.started.timestamp() * 1000)
        assert found.hex.endswith(run.id[-8:])
    in_order = [run.uuid for run in runs]
    assert in_order == sorted(in_order, key=str)


def test_the_seconds_of_a_task_that_never_began_are_unknown() -> None:
    assert done("a").seconds is None
    run = compile_flow(FlowSpec("f", [TaskSpec("a", fn)]), backend="inline").run()
    assert (run.tasks["a"].seconds or 0) > 0
    assert (run.seconds or 0) >= (run.tasks["a"].seconds or 0)


class Table:
    """As tables and arrays do, it gives no bool for ``==``, and has no hash."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> Any:
        return [self, other]


def fail(table: Table) -> None:
    raise ValueError("no")


def table() -> Table:
    return Table()


def run_with_tables() -> FlowRun:
    spec = FlowSpec("f", [TaskSpec("table", table), TaskSpec("fail", fail, upstream="table")])
    run = compile_flow(spec, backend="inline").run({"unused": Table()})
    with pytest.raises(ValueError, match="no"):
        run.raise_for_failure()  # from here on, its error holds the run
    return run


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, dataclasses.replace, lambda run: pickle.loads(pickle.dumps(run))],
)
def test_a_run_is_equal_to_what_has_its_id_whatever_it_holds(again: Any) -> None:
    run, other = run_with_tables(), run_with_tables()
    same = again(run)
    assert (same == run, hash(same) == hash(run), same != run) == (True, True, False)
    assert (same == other, same == run.id, len({run, same, other})) == (False, False, 2)
    assert repr(same) == repr(run)
    assert same.to_dict().keys() == run.to_dict().keys()


def test_runs_without_an_id_are_equal_to_themselves_alone() -> None:
    one, other = run_of(done("a")), run_of(done("a"))
    assert (one == one, one == other, len({one, one, other})) == (True, False, 2)


def test_nothing_of_a_run_can_be_changed() -> None:
    given, tasks = {"x": 1}, {"a": done("a")}
    run = FlowRun(FlowSpec("f", [TaskSpec("a", fn)]), given, tasks, State.SUCCEEDED)
    for one in (run, copy.copy(run), pickle.loads(pickle.dumps(run))):
        for mapping in (one.params, one.tasks):
            with pytest.raises(TypeError):
                mapping["b"] = 2  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
    given["x"], tasks["b"] = 2, done("b")
    assert (dict(run.params), list(run.tasks)) == ({"x": 1}, ["a"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.state = State.FAILED  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
