"""The page on testing holds: its tests pass for its module, and each assertion can fail."""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mxm
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.testing import (
    assert_flows_valid,
    assert_graph,
    assert_same_everywhere,
    no_delays,
    run_flow,
)

PAGE = Path(__file__).parent.parent / "docs" / "testing.md"
Run = Callable[..., FlowRun]


def pytest_in(folder: Path) -> subprocess.CompletedProcess[str]:
    plugin = ("-p", "mxm.pipeline.testing.plugin")  # also where the project is not installed
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *plugin,
        "-W",
        "error",
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    module, *tests = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "flows.py").write_text(module, "utf-8")
    for number, test in enumerate(tests):
        (tmp_path / f"test_{number}.py").write_text(test, "utf-8")
    ran = pytest_in(tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(tests) == 7
    assert not (tmp_path / ".mxm").exists()


@mxm.task
def load(symbol: str = "SPY") -> list[float]:
    raise ConnectionError(symbol)


@mxm.task
def total(prices: list[float]) -> float:
    return sum(prices)


@mxm.task
def spoil(prices: list[float]) -> float:
    prices.append(1.0)
    return sum(prices)


@mxm.task
def both(a: float, b: float) -> float:
    return a + b


@mxm.flow
def book(symbol: str = "SPY"):
    prices = load(symbol)
    return both(total(prices), total(prices))


@mxm.flow
def spoilt():
    return spoil(load())


def test_values_stand_in_for_results(mxm_run: Run) -> None:
    run = mxm_run(book, overrides={load: [1.0, 2.0]})
    assert run.raise_for_failure().value() == 6.0
    assert (run.backend, run.tasks["load"].state) == ("inline", "overridden")


def test_a_callable_stands_in_for_a_function(mxm_run: Run) -> None:
    run = mxm_run(book, overrides={load: lambda symbol: [len(symbol)]}, params={"symbol": "ABCD"})
    assert run.value() == 8


def test_overrides_of_the_flow_hold_too(mxm_run: Run) -> None:
    flow = book.with_options(overrides={load: [1.0]})
    assert mxm_run(flow, overrides={"total": 5.0}).value() == 6.0


def test_only_some_tasks_run(mxm_run: Run) -> None:
    run = mxm_run(book, overrides={load: [1.0]}, only=["total"])
    states = {name: str(task.state) for name, task in run.tasks.items()}
    assert states == {
        "load": "overridden", "total": "succeeded", "total_2": "skipped", "both": "skipped",
    }  # fmt: skip


@pytest.mark.parametrize("key", ["totl", spoil])
def test_only_names_what_it_does_not_know(mxm_run: Run, key: Any) -> None:
    with pytest.raises(PipelineError, match=r"flow 'book' has no task"):
        mxm_run(book, only=[key])


def test_a_task_that_changes_its_input_fails(mxm_run: Run) -> None:
    run = mxm_run(spoilt, overrides={load: [1.0]})
    assert run.state == "failed"
    assert "in place" in str(run.tasks["spoil"].error)


def test_runs_of_two_tests_share_no_store(mxm_run: Run, tmp_path: Path) -> None:
    first = mxm_run(book, overrides={load: [1.0]}, record=True)
    assert mxm.pipeline.load_run(first.id).state == "succeeded"
    assert len(mxm.pipeline.runs_of(book)) == 1


def test_runs_of_two_tests_share_no_store_either(mxm_run: Run) -> None:
    mxm_run(book, overrides={load: [1.0]}, record=True)
    assert len(mxm.pipeline.runs_of(book)) == 1


def test_a_patched_name_is_warned_of(mxm_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "load", lambda symbol: [1.0])
    with pytest.warns(UserWarning, match=r"load was replaced, which changes nothing.*overrides"):
        assert mxm_run(book).state == "failed"


@mxm.resource
def feed() -> Iterator[float]:
    yield 1.0


@mxm.task
def priced(price: float = mxm.use(feed)) -> float:
    return price


@mxm.flow
def pricing():
    return priced()


@mxm.task
def other_priced() -> float:
    return 2.0


@mxm.resource
def other_feed() -> Iterator[float]:
    yield 2.0


@pytest.mark.parametrize(
    ("name", "fake", "instead"),
    [
        ("priced", other_priced, r"overrides=\{'priced': \.\.\.\}"),
        ("feed", lambda: iter([2.0]), r"resources=\{feed: \.\.\.\}"),
        ("feed", other_feed, r"resources=\{feed: \.\.\.\}"),
    ],
    ids=["task", "function", "resource"],
)
def test_a_patched_task_or_resource_is_warned_of(
    mxm_run: Run, monkeypatch: pytest.MonkeyPatch, name: str, fake: object, instead: str
) -> None:
    monkeypatch.setattr(sys.modules[__name__], name, fake)
    with pytest.warns(UserWarning, match=rf"{name} was replaced, which .*{instead}"):
        assert mxm_run(pricing).value() == 1.0


def test_a_task_with_other_options_under_its_name_is_not_a_patch(
    mxm_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "priced", priced.with_options(retries=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mxm_run(pricing).value() == 1.0


def own_options(flow: Any) -> list[Any]:
    """All that a flow with options may be given to, each as a run."""
    return [
        run_flow(flow),
        run_flow(no_delays(flow)),
        mxm.pipeline.compile_flow(flow).run(),
        mxm.pipeline.compile_flow(no_delays(flow)).run(),
    ]


@pytest.mark.parametrize(
    ("options", "task", "value"),
    [({"overrides": {priced: 7.0}}, "priced", 7.0), ({"resources": {feed: 8.0}}, "priced", 8.0)],
    ids=["overrides", "resources"],
)
def test_options_of_a_flow_hold_wherever_it_is_given(options: Any, task: str, value: float) -> None:
    flow = pricing.with_options(backend="inline", **options)
    assert [run.values[task] for run in own_options(flow)] == [value] * 4
    outer = mxm.pipeline.compile_flow(pricing.with_options(backend="inline"))
    assert (outer.backend, outer.run().value()) == ("inline", 1.0)
    plan = mxm.pipeline.api.plan_flow(flow.with_options(overrides={priced: 1.0}))
    assert plan.tasks[0].verdict == "SKIP"


def test_an_option_that_is_given_replaces_that_of_the_flow() -> None:
    flow = pricing.with_options(backend="prefect", overrides={priced: 7.0})
    compiled = mxm.pipeline.compile_flow(flow, backend="inline", overrides={priced: 8.0})
    assert (compiled.backend, compiled.run().value()) == ("inline", 8.0)


@pytest.mark.parametrize("only", [total, "total", total.fn, [total], ("total",)])
def test_only_takes_one_task_or_several(mxm_run: Run, only: Any) -> None:
    run = mxm_run(book, overrides={load: [1.0]}, only=only)
    assert run.values["total"] == 1.0
    assert run.tasks["both"].state == "skipped"


@dataclass
class Rows:
    prices: list[float]

    @functools.cached_property
    def total(self) -> float:
        return sum(self.prices)


def test_what_an_input_keeps_of_its_own_is_no_change(mxm_run: Run) -> None:
    @mxm.task
    def rows() -> Rows:
        return Rows([1.0, 2.0])

    @mxm.task
    def kept(rows: Rows) -> float:
        return rows.total

    @mxm.task
    def changed(rows: Rows) -> float:
        rows.prices.append(rows.total)
        return rows.total

    @mxm.flow
    def f():
        made = rows()
        return kept(made), changed(made)

    run = mxm_run(f)
    assert (run.tasks["kept"].state, run.tasks["changed"].state) == ("succeeded", "failed")
    assert "in place" in str(run.tasks["changed"].error)


CLOSES = mxm.pipeline.AssetDecl(
    "kit_closes", partition_key="day", format="json", path_template="out/kit/{day}.json"
)
REMOTE = mxm.pipeline.AssetDecl("kit_remote", format="json", path_template="memory://kit/it.json")


@mxm.task(produces=CLOSES, cache=True)
def closes(day: str) -> dict[str, float]:
    return {"SPY": 1.0}


@mxm.task(produces=REMOTE)
def remote() -> int:
    return 1


@mxm.flow
def filled(day: str):
    return closes(day), remote()


@pytest.mark.parametrize("record", [None, True])
def test_assets_of_a_test_are_not_those_of_the_project(mxm_run: Run, record: bool | None) -> None:
    root = Path(__file__).parents[1]
    run = mxm_run(filled, params={"day": "2026-01-02"}, record=record)
    assert run.raise_for_failure().values["closes"] == {"SPY": 1.0}
    assert not (root / "out" / "kit").exists()
    written = run.tasks["closes"].asset
    assert written is not None
    file = Path(os.environ["MXM_HOME"]).parent / "assets" / written.path
    assert json.loads(file.read_text("utf-8")) == {"SPY": 1.0}
    assert run.tasks["remote"].asset is None
    if record:
        found = mxm.pipeline.asset("kit_closes").path("2026-01-02")
        assert str(file) == str(found)


def test_cached_tasks_run_wherever_they_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = [("inline", "sequential"), ("inline", "threads")]
    monkeypatch.setattr("mxm.pipeline.testing.running._WAYS", twice)

    @mxm.task(cache=True)
    def count() -> int:
        return next(CALLS)

    @mxm.task(cache=True)
    def one() -> int:
        return 1

    def alone(task: Any) -> Any:
        @mxm.flow
        def f():
            return task()

        return f

    for _ in range(2):  # also after a run that may have been kept
        assert_same_everywhere(alone(one))
        with pytest.raises(AssertionError, match=r"'count' .* not the same"):
            assert_same_everywhere(alone(count))


def test_only_names_what_it_lacks(mxm_run: Run) -> None:
    with pytest.raises(PipelineError, match="task 'both' takes the result of") as caught:
        mxm_run(book, overrides={load: [1.0]}, only=[both])
    assert caught.value.hint == "name it in only=, too, or give its value in overrides="


def test_what_is_no_flow_is_refused() -> None:
    with pytest.raises(TypeError, match="is not a flow"):
        run_flow(total)


def test_retries_without_waiting() -> None:
    @mxm.task(retries=2, retry_delay_s=[60, 600])
    def fails() -> None:
        raise ValueError

    @mxm.flow
    def f():
        return fails()

    assert run_flow(no_delays(f)).tasks["fails"].attempts == 3


def test_a_graph_is_compared() -> None:
    assert_graph(book, "load -> total, total_2 -> both")
    assert_graph(book, "load -> total -> both\nload -> total_2; total_2 -> both")
    with pytest.raises(AssertionError) as caught:
        assert_graph(book, "load -> total -> both; extra")
    assert str(caught.value).splitlines()[1:] == [
        "  + load -> total_2", "  + total_2 -> both", "  - extra", "  + total_2",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="a name is missing"):
        assert_graph(book, "load ->")


def test_flows_of_a_module_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    text = "import mxm\n@mxm.task{}\ndef a(): return 1\n@mxm.flow(tasks=[a])\ndef f_{}(): ...\n"
    (tmp_path / "good_flows.py").write_text(text.format("", "good"))
    (tmp_path / "bad_flows.py").write_text(text.format("(upstream='nope')", "bad"))
    (tmp_path / "empty_flows.py").write_text("")
    try:
        assert_flows_valid("good_flows")
        with pytest.raises(AssertionError, match="MXM102 unknown upstream 'nope'"):
            assert_flows_valid("bad_flows")
        with pytest.raises(AssertionError, match="no flow in empty_flows"):
            assert_flows_valid("empty_flows")
        with pytest.raises(AssertionError, match="missing_flows"):
            assert_flows_valid("missing_flows")
    finally:
        for name in ("good_flows", "bad_flows", "empty_flows"):
            sys.modules.pop(name, None)


@pytest.mark.parametrize("init", [True, False], ids=["package", "namespace"])
def test_flows_of_the_modules_of_a_package_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init: bool
) -> None:
    """Those in folders below it, too, and where only the settings say how it is imported."""
    monkeypatch.chdir(tmp_path)
    name = f"desk_{init}".lower()
    (tmp_path / "pyproject.toml").write_text(
        f"[tool.mxm.pipeline]\npaths = ['src']\nmodules = ['{name}.good']\n"
    )
    package = tmp_path / "src" / name
    (package / "sub").mkdir(parents=True)
    if init:
        (package / "__init__.py").write_text("")
        (package / "sub" / "__init__.py").write_text("")
    text = "import mxm\n@mxm.task{}\ndef a(): return 1\n@mxm.flow(tasks=[a])\ndef f_{}(): ...\n"
    (package / "good.py").write_text(text.format("", "good"))
    before = [*sys.path]
    try:
        assert_flows_valid(name)
        (package / "sub" / "bad.py").write_text(text.format("(upstream='nope')", "bad"))
        with pytest.raises(AssertionError, match="MXM102 unknown upstream 'nope'"):
            assert_flows_valid(name)
        assert_flows_valid(f"{name}.good")
    finally:
        sys.path[:] = before
        for module in [each for each in sys.modules if each.split(".")[0] == name]:
            del sys.modules[module]


NESTED = """
pytest_plugins = ["pytester"]

def test_a_session_within(pytester):
    import os
    home = os.environ["MXM_HOME"]
    pytester.makepyfile("import os\\ndef test(): assert os.environ['MXM_HOME'] != %r" % home)
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
    assert os.environ["MXM_HOME"] == home
    assert os.path.isdir(os.path.dirname(home))
"""


def test_a_session_within_a_session_has_its_own_store(tmp_path: Path) -> None:
    (tmp_path / "test_nested.py").write_text(NESTED, "utf-8")
    ran = pytest_in(tmp_path)
    assert ran.returncode == 0, ran.stdout


CALLS = itertools.count()


def long_array() -> Any:
    """An array whose last element alone differs from call to call: JSON has its head."""
    array = np.zeros(2_000)
    array[-1] = next(CALLS)
    return array


def test_values_of_the_same_json_are_not_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = [("inline", "sequential"), ("inline", "threads")]
    monkeypatch.setattr("mxm.pipeline.testing.running._WAYS", twice)
    flow = mxm.pipeline.FlowSpec("f", [mxm.pipeline.TaskSpec("long", long_array)])
    with pytest.raises(AssertionError, match=r"(?s)task 'long'.*content \w+\n.*content \w+"):
        assert_same_everywhere(flow)


SUITE = """
import mxm
import pytest
from mxm.pipeline.testing import assert_graph, assert_same_everywhere

@mxm.task
def load(symbol: str) -> float:
    raise ConnectionError(symbol)

@mxm.flow
def risk(symbol: str):
    return load(symbol)

def test_value(mxm_run):
    mxm_run(risk, params={"symbol": "SPY"}).value()

def test_parameter(mxm_run):
    mxm_run(risk, params={"symbl": "SPY"})

def test_run():
    risk.with_options(backend="inline").run(symbol="SPY").value()

def test_graph():
    assert_graph(risk, "load -> gain")

def test_everywhere():
    assert_same_everywhere(risk)
"""


def test_a_failing_test_shows_its_own_lines(tmp_path: Path) -> None:
    (tmp_path / "test_failing.py").write_text(SUITE, "utf-8")
    ran = pytest_in(tmp_path)
    assert ran.stdout.count("\n____") == 5, ran.stdout
    assert "raise ConnectionError(symbol)" in ran.stdout
    assert "did you mean 'symbol'?" in ran.stdout
    assert re.findall(r"^\S*mxm/pipeline/\S+:\d+:", ran.stdout, re.MULTILINE) == []


def test_flows_that_are_not_the_same_everywhere() -> None:
    import os

    def process() -> int:
        return os.getpid()

    with pytest.raises(AssertionError, match=r"task 'where' .* not the same everywhere"):
        assert_same_everywhere(
            mxm.pipeline.FlowSpec("f", [mxm.pipeline.TaskSpec("where", os.getpid)])
        )
    assert process()
