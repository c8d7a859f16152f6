from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path

import pytest

from mxm.pipeline.errors import (
    GraphError,
    ParameterError,
    PipelineError,
    ResultError,
    TaskTimeoutError,
    UnknownBackendError,
    UnknownFlowError,
)
from mxm.pipeline.problems import Problem, Source, closest, did_you_mean

PROBLEM = Problem(
    "MXM101", "duplicate task name 'a'", "rename it", source=Source("/x/flows.py", 3, 5)
)


def test_a_problem_reads_as_place_code_message_and_hint() -> None:
    assert str(PROBLEM) == "/x/flows.py:3:5: MXM101 duplicate task name 'a'\n  hint: rename it"
    assert str(Problem("MXM105", "no tasks")) == "MXM105 no tasks"


def test_a_source_is_shown_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(Source(str(tmp_path / "flows" / "a.py"), 7)) == os.path.join("flows", "a.py") + ":7"
    assert str(Source("/elsewhere/a.py")) == "/elsewhere/a.py"


def test_a_source_is_shown_whole_when_the_working_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert str(Source("/x/a.py", 1)) == "/x/a.py:1"


def test_the_caller_is_the_nearest_line_outside_the_package() -> None:
    found = Source.of_caller()
    assert found is not None
    assert found.file == __file__


@pytest.mark.parametrize(
    ("module", "is_ours"),
    [("mxm.pipeline.api", True), ("mxm.pipeline", True), ("mxm.pipelines", False)],
)
def test_only_this_package_is_skipped_when_the_caller_is_looked_for(
    module: str, is_ours: bool
) -> None:
    scope = {"__name__": module, "Source": Source}
    exec(compile("found = Source.of_caller()", "/fam/file.py", "exec"), scope)
    found = scope["found"]
    assert isinstance(found, Source)
    assert (found.file != "/fam/file.py") is is_ours


def test_a_function_without_python_code_has_no_source() -> None:
    assert Source.of_function(len) is None


def test_a_function_has_the_place_of_its_def() -> None:
    line = test_a_function_has_the_place_of_its_def.__code__.co_firstlineno
    assert Source.of_function(test_a_function_has_the_place_of_its_def) == Source(__file__, line)


def test_graph_and_parameter_errors_hold_every_problem_and_are_value_errors() -> None:
    other = Problem("MXM102", "unknown upstream 'x'")
    for kind in (GraphError, ParameterError):
        error = kind("risk", [PROBLEM, other])
        assert isinstance(error, ValueError)
        assert error.problems == (PROBLEM, other)
        opening, first, _, second = str(error).splitlines()
        assert "'risk'" in opening
        assert "2 p" in opening
        assert (first, second) == (str(PROBLEM).splitlines()[0], str(other))


def test_one_problem_reads_as_one() -> None:
    assert str(GraphError("risk", [PROBLEM])).startswith("flow 'risk' has 1 problem\n")
    assert str(ParameterError("risk", [PROBLEM])).startswith("flow 'risk': a parameter cannot")


def test_an_error_without_a_hint_is_its_message() -> None:
    assert str(PipelineError("wrong")) == "wrong"


def test_an_unknown_flow_is_a_key_error_that_reads_well() -> None:
    error = UnknownFlowError("unknown flow 'rsk'", hint="did you mean 'risk'?")
    assert isinstance(error, KeyError)
    assert str(error) == "unknown flow 'rsk'\n  hint: did you mean 'risk'?"


def test_an_unknown_backend_is_a_value_error() -> None:
    assert issubclass(UnknownBackendError, ValueError)


@pytest.mark.parametrize(
    "error",
    [
        PipelineError("wrong", hint="fix it", source=Source("a.py", 1)),
        GraphError("risk", [PROBLEM]),
        ParameterError("risk", [PROBLEM]),
        UnknownFlowError("unknown flow 'x'", hint="known: 'y'"),
        ResultError("no JSON form", path="$.a", task="load"),
        TaskTimeoutError("load", 2.5),
    ],
    ids=lambda e: type(e).__name__,
)
def test_errors_can_be_pickled_and_copied(error: PipelineError) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


@pytest.mark.parametrize(
    ("name", "near"),
    [("limt", "limit"), ("LIMIT", "limit"), ("window", None)],
)
def test_closest_is_the_nearest_name_whatever_its_case(name: str, near: str | None) -> None:
    assert closest(name, ["limit", "symbol"]) == near


@pytest.mark.parametrize(
    ("known", "hint"),
    [
        (["limit", "symbol"], "did you mean 'limit'?"),
        (["b", "a"], "known: 'a', 'b'"),
        ([], None),
        ([f"{c}{c}" for c in "abcdefghijkno"], None),
    ],
)
def test_a_hint_names_the_nearest_or_the_few_known(known: list[str], hint: str | None) -> None:
    assert did_you_mean("limt", known) == hint
