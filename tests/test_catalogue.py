"""Checks of assets, the catalogue of what was written, and the verb `assets`."""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from command import Outcome, invoke, write

import mxm
from mxm.pipeline import (
    AssetDecl,
    Check,
    FlowRun,
    FlowSpec,
    TaskSpec,
    asset,
    compile_flow,
    load_asset,
    load_run,
    no_nulls,
    not_empty,
    rows_between,
    rows_within,
    unique,
)
from mxm.pipeline.assets.checking import results_of
from mxm.pipeline.bindings import Bindings, Const, Each
from mxm.pipeline.errors import AssetCheckError, AssetError, PipelineError
from mxm.pipeline.store.catalogue import history
from mxm.pipeline.store.database import Database
from mxm.pipeline.store.places import store_of_file
from mxm.pipeline.store.staleness import declared_in, lacking_in, stale_in


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a project with a store of its own, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MXM_HOME", raising=False)
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def at(spec: FlowSpec) -> FlowSpec:
    vars(spec)["source"] = None  # what has no file belongs to the working directory
    return spec


def one(fn: Callable[..., Any], made: AssetDecl, name: str = "f", **options: Any) -> FlowSpec:
    return at(FlowSpec(name, [TaskSpec("t", fn, produces=made, **options)]))


def run(spec: FlowSpec, **params: Any) -> FlowRun:
    return compile_flow(spec, backend="inline", record=True).run(params)


def frame(rows: int = 2) -> pd.DataFrame:
    return pd.DataFrame({"day": range(rows), "close": [1.5] * rows})


def table(*checks: Any, **more: Any) -> AssetDecl:
    return AssetDecl("prices", path_template="data/x.parquet", checks=list(checks), **more)


# Checks


def refuses(value: Any) -> bool:
    raise ValueError("no good")


def asserts(value: Any) -> None:
    if len(value) < 100:
        raise AssertionError("too few")


class Schema:
    """Validates as pandera's and dataframely's do."""

    name = "prices"

    def validate(self, value: Any) -> Any:
        if "close" not in value.columns:
            raise ValueError("no column close")
        return value


CHECKS: dict[str, tuple[Any, str | None]] = {
    "true": (lambda v: True, None),
    "numpy's true": (lambda v: (v["close"] > 0).all(), None),
    "false": (lambda v: False, "it returned False"),
    "numpy's false": (lambda v: (v["close"] > 9).all(), "it returned False"),
    "raises": (refuses, "no good"),
    "returns nothing": (lambda v: None, "it returned None; a check returns True or False"),
    "returns a series": (lambda v: v["close"] > 0, "it returned a Series"),
    "asserts": (asserts, "too few"),
    "a schema": (Schema(), None),
    "not empty": (not_empty, None),
    "unique": (unique("day"), None),
    "not unique": (unique("close"), "1 row with the same close as another row"),
    "no nulls": (no_nulls(), None),
    "rows": (rows_between(1, 2), None),
    "too few rows": (rows_between(3, 5), "2 rows, not 3 to 5"),
    "an unknown column": (unique("dya"), "missing column 'dya'; columns: day, close"),
}


@pytest.mark.parametrize("kind", CHECKS)
def test_a_check_says_yes_or_no_or_raises(kind: str, root: Path) -> None:
    check, said = CHECKS[kind]
    done = run(one(frame, table(check)))
    if said is None:
        written = done.raise_for_failure().tasks["t"].asset
        assert written is not None
        assert [(each.passed, each.severity) for each in written.checks] == [(True, "block")]
        return
    error = done.tasks["t"].error
    assert isinstance(error, AssetCheckError)
    assert said in str(error)
    assert not (root / "data/x.parquet").exists()


@pytest.mark.parametrize(
    "make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"]
)
def test_ready_made_checks_know_every_library(make: Callable[[Any], Any]) -> None:
    good, bad = {"a": [1, 2], "b": [1.0, 2.0]}, {"a": [1, 1], "b": [1.0, None]}
    made = AssetDecl("x", checks=[not_empty, unique("a"), no_nulls("b"), rows_between(1, 5)])
    said = [each.passed for each in results_of(made, make(good), lambda: None)]
    assert said == [True, True, True, True]
    said = [each.passed for each in results_of(made, make(bad), lambda: None)]
    assert said == [True, False, False, True]
    assert not results_of(made, make({"a": [], "b": []}), lambda: None)[0].passed


def test_columns_of_an_index_count() -> None:
    made = AssetDecl("x", checks=[unique("day", "symbol"), no_nulls("day")])
    index = pd.MultiIndex.from_tuples([(1, "a"), (1, "a")], names=["day", "symbol"])
    said = results_of(made, pd.DataFrame({"p": [1, 2]}, index=index), lambda: None)
    assert [each.passed for each in said] == [False, True]


def test_a_blocked_value_replaces_nothing_and_is_kept_for_looking(root: Path) -> None:
    run(one(lambda: frame(2), table(not_empty)))
    done = run(one(lambda: frame(0), table(not_empty)))
    assert done.state == "failed"
    assert len(pd.read_parquet(root / "data/x.parquet")) == 2
    assert len(pd.read_parquet(root / "data/_rejected_x.parquet")) == 0
    assert "the rejected value is in data/_rejected_x.parquet" in str(done.tasks["t"].error)
    run(one(lambda: frame(3), table(not_empty))).raise_for_failure()
    assert not (root / "data/_rejected_x.parquet").exists()


def test_a_warning_lets_the_value_pass(root: Path) -> None:
    done = run(one(frame, table(Check(refuses, "warn"))))
    assert done.state == "succeeded"
    [problem] = done.warnings
    assert problem.code == "MXM810"
    assert "check refuses of asset 'prices' failed: no good" in problem.message
    assert (root / "data/x.parquet").exists()


def test_all_checks_are_made_and_recorded(root: Path) -> None:
    run(one(frame, table(refuses, not_empty, Check(asserts, "warn"))))
    document = json.loads(invoke("runs", "show", "last", "--json").out)
    assert document["state"] == "failed"
    with Database(store_of_file()) as database:
        rows = database.read('SELECT name, severity, passed, message FROM "check"')
    assert [tuple(row.values()) for row in rows] == [
        ("refuses", "block", 0, "no good"),
        ("not_empty", "block", 1, None),
        ("asserts", "warn", 0, "too few"),
    ]


CHANGES: dict[str, tuple[Any, Any]] = {
    "rows of a table": (lambda: frame(3), lambda v: v.loc.__setitem__(9, [9, 9.5])),
    "a cell of a table": (lambda: frame(3), lambda v: v.__setitem__("close", -v["close"])),
    "a large table": (lambda: frame(50_000), lambda v: v.insert(0, "x", 1)),
    "the name of an index": (lambda: frame(3), lambda v: setattr(v.index, "name", "n")),
    "its attributes": (lambda: frame(3), lambda v: v.attrs.update(unit="EUR")),
    "polars": (
        lambda: pl.DataFrame({"a": [1, 2]}),
        lambda v: v.insert_column(0, pl.Series("b", [1, 2])),
    ),
    "a list": (lambda: [3, 1, 2], lambda v: v.sort()),
    "a large list": (lambda: [*range(30_000, 0, -1)], lambda v: v.sort()),
    "a list in a dict": (lambda: {"a": [[1]]}, lambda v: v["a"][0].append(2)),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_check_that_changes_the_value_fails_whatever_its_severity(kind: str, root: Path) -> None:
    make, change = CHANGES[kind]

    def tidy(value: Any) -> bool:
        change(value)
        return True

    checks = [not_empty, Check(tidy, "warn")]
    asset = AssetDecl("a", format="pickle", path_template="x.pickle", checks=checks)
    done = run(one(make, asset))
    error = done.tasks["t"].error
    assert isinstance(error, AssetCheckError)
    assert "check tidy of asset 'a' failed" in str(error)
    assert "it changed the value in place" in str(error)
    assert [each.passed for each in error.results] == [True, False]
    assert not (root / "x.pickle").exists()


class Model:
    """Predicts, and keeps what it needs for that the first time."""

    def __init__(self, size: int) -> None:
        self.weights = [1.0] * size

    @functools.cached_property
    def total(self) -> float:
        return sum(self.weights)


@pytest.mark.parametrize("size", [3, 30_000])
def test_a_check_that_only_makes_an_object_store_something_passes(size: int, root: Path) -> None:
    checks = [lambda model: model.total > 0]
    asset = AssetDecl("a", format="pickle", path_template="x.pickle", checks=checks)
    assert run(one(lambda: Model(size), asset)).state == "succeeded"


async def later(value: Any) -> bool:
    return bool(value)


def each_row(value: Any) -> Any:
    yield value


@pytest.mark.parametrize("test", [later, each_row])
def test_a_function_that_gives_its_answer_later_is_not_a_check(test: Any) -> None:
    with pytest.raises(TypeError, match=f"{test.__name__} is an? (async|generator) function"):
        Check(test)


def test_results_of_checks_are_in_the_document_of_the_run(root: Path) -> None:
    done = run(one(frame, table(not_empty)))
    expected = [{"name": "not_empty", "severity": "block", "passed": True, "message": None}]
    asset_now: Any = done.to_dict()["tasks"]
    assert asset_now[0]["asset"]["checks"] == expected
    kept = json.loads(invoke("runs", "show", "last", "--json").out)["tasks"][0]["asset"]
    assert kept == asset_now[0]["asset"]
    assert load_run().tasks["t"].asset == done.tasks["t"].asset


def test_results_of_checks_that_block_are_in_the_document_too(root: Path) -> None:
    def fn(rows: int) -> pd.DataFrame:
        return frame(rows)

    mapped = TaskSpec("m", fn, produces=AssetDecl("m", checks=[not_empty]), bindings=Bindings(
        kwargs={"rows": Each(Const([0, 1]))}))  # fmt: skip
    empty = TaskSpec("t", lambda: frame(0), produces=table(not_empty))
    done = run(at(FlowSpec("f", [empty, mapped])))
    said = {
        "name": "not_empty",
        "severity": "block",
        "passed": False,
        "message": "it returned False",
    }
    made: Any = {task["name"]: task for task in done.to_dict()["tasks"]}
    assert made["t"]["asset"] == {"id": "prices", "partition": None, "checks": [said]}
    assert made["m"]["items"]["rows"][0]["asset"]["checks"] == [said]
    kept = json.loads(invoke("runs", "show", "last", "--json").out)["tasks"]
    assert {task["name"]: task["asset"] for task in kept} == {
        name: task["asset"] for name, task in made.items()
    }
    assert invoke("assets").out == "nothing was written yet\n"


def test_values_without_a_path_are_checked_too(root: Path) -> None:
    done = run(one(list, AssetDecl("a", checks=[not_empty])))
    assert "check not_empty of asset 'a' failed: it returned False" in str(done.tasks["t"].error)
    assert run(one(lambda: [1], AssetDecl("a", checks=[not_empty]))).state == "succeeded"


def test_a_file_that_the_task_wrote_is_checked_by_its_content(root: Path) -> None:
    def fn(rows: int) -> None:
        (root / "data").mkdir(exist_ok=True)
        frame(rows).to_parquet(root / "data/x.parquet")

    assert run(one(fn, table(not_empty)), rows=1).state == "succeeded"
    done = run(one(fn, table(not_empty)), rows=0)
    assert "the task has written data/x.parquet: it stays" in str(done.tasks["t"].error)


def test_rows_are_compared_with_the_last_time(root: Path) -> None:
    made = table(rows_within(0.5))
    assert [run(one(lambda n=n: frame(n), made)).state for n in (10, 14, 30, 8, 2)] == [
        "succeeded", "succeeded", "failed", "succeeded", "failed"]  # fmt: skip
    assert "2 rows, 8 the last time: they differ by more than 50%" in str(
        run(one(lambda: frame(2), made)).tasks["t"].error
    )
    with pytest.raises(ValueError, match="takes a share above 0"):
        rows_within(0)


def test_items_are_checked_each(root: Path) -> None:
    @mxm.task(
        produces=AssetDecl("a", "n", "json", "{n}.json", checks=[lambda v: v > 1]),
        on_item_error="skip",
    )
    def t(n: int) -> int:
        return n

    @mxm.flow
    def f() -> Any:
        return t.map([1, 2])

    done = run(at(f.spec))
    assert done.value() == [2]
    assert sorted(n for n in os.listdir(root) if n.endswith(".json") and n[0] != "_") == ["2.json"]
    with Database(store_of_file()) as database:
        assert [r["passed"] for r in database.read('SELECT passed FROM "check" ORDER BY item')] == [
            0, 1]  # fmt: skip


# The catalogue


DAILY = AssetDecl("prices", "day", path_template="data/{day}.parquet")


def test_every_write_is_in_the_catalogue(root: Path) -> None:
    for day in ("2026-01-02", "2026-01-05", "2026-01-02"):
        last = run(one(frame, DAILY), day=day)
    made = asset("prices")
    assert made.partitions() == ["2026-01-02", "2026-01-05"]
    assert [each.partition for each in made.history()] == [
        "day:2026-01-02", "day:2026-01-05", "day:2026-01-02"]  # fmt: skip
    newest = made.latest("2026-01-02")
    assert (newest.run, newest.task, newest.flow) == (last.id, "t", "f")
    assert (newest.rows, newest.columns) == (2, {"day": "int64", "close": "float64"})
    assert newest.path == str(root / "data/2026-01-02.parquet")
    assert made.path("day:2026-01-02") == newest.path
    pd.testing.assert_frame_equal(made.load("2026-01-05"), frame())


def test_an_asset_is_loaded_as_it_was_written(root: Path) -> None:
    value = pd.DataFrame(
        {"p": [1.0]}, index=pd.DatetimeIndex(["2026-01-02"], name="day", tz="Europe/Berlin")
    )
    run(one(lambda: value, AssetDecl("a", format="csv", path_template="a.csv")))
    pd.testing.assert_frame_equal(load_asset("a"), value, check_freq=False)


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_times_of_a_unit_that_parquet_lacks_are_refused_with_the_way_out(
    root: Path, zone: str | None
) -> None:
    days = pd.DatetimeIndex(["2026-01-02"], tz=zone).as_unit("s")
    value = pd.DataFrame({"day": days, "it's": days})
    asset = AssetDecl("a", format="parquet", path_template="a.parquet")
    for _ in value.columns:  # one at a time
        error = run(one(functools.partial(lambda value: value, value), asset)).tasks["t"].error
        assert isinstance(error, AssetError)
        way = str(error.hint).removeprefix("convert it first: ")
        value = eval(way, {"table": value})
    run(one(functools.partial(lambda value: value, value), asset)).raise_for_failure()
    pd.testing.assert_frame_equal(load_asset("a"), value)


def test_a_partition_has_to_be_named(root: Path) -> None:
    for day in ("a", "b"):
        run(one(frame, DAILY), day=day)
    with pytest.raises(PipelineError, match="has 2 partitions: name one") as caught:
        load_asset("prices")
    way = str(caught.value.hint).partition("all of them: ")[2]
    tables = eval(way, {"load_asset": load_asset, "asset": asset})
    assert [type(table) for table in tables] == [pd.DataFrame] * 2
    with pytest.raises(PipelineError, match="nothing is recorded of partition 'c'"):
        load_asset("prices", "c")
    with pytest.raises(PipelineError, match="nothing is recorded of asset 'price'"):
        load_asset("price")


def test_several_files_of_one_partition_are_not_mistaken_for_one(root: Path) -> None:
    @mxm.task(produces=AssetDecl("a", "day", "json", "{symbol}/{day}.json"))
    def t(symbol: str, day: str) -> str:
        return symbol

    @mxm.flow
    def f(day: str) -> Any:
        return t.map(["SPY", "QQQ"], day=day)

    run(at(f.spec), day="x")
    with pytest.raises(PipelineError, match="is 2 files: QQQ/x.json, SPY/x.json"):
        load_asset("a", "x")
    assert len(asset("a").history("x")) == 2


def of_symbols(*symbols: str, value: int = 1) -> FlowSpec:
    def fn(symbol: str, day: str = "1") -> Any:
        return [symbol, value]

    made = AssetDecl("prices", "day", "json", "{symbol}-{day}.json")
    tasks = [TaskSpec(f"t_{s}", fn, produces=made, params={"symbol": s}) for s in symbols]
    return at(FlowSpec("w", tasks))


def reading(**options: Any) -> FlowSpec:
    def fn(day: str = "1") -> Any:
        return [day]

    return one(fn, AssetDecl("sums", "day", "json", "sum-{day}.json"), "r", reads=["prices"])


def stale_assets(*specs: FlowSpec) -> list[tuple[str, str | None, str]]:
    with Database(store_of_file()) as database:
        found = stale_in(database, declared_in(specs))
    return [(each.asset, each.partition, each.reason) for each in found]


def test_each_file_of_a_partition_counts(root: Path) -> None:
    run(of_symbols("SPY", "QQQ")).raise_for_failure()
    run(reading()).raise_for_failure()
    assert stale_assets(reading()) == []
    # The one that changed is not the one that was written last.
    run(of_symbols("SPY", value=2)).raise_for_failure()
    run(of_symbols("QQQ")).raise_for_failure()
    assert stale_assets(reading()) == [("sums", "day:1", "upstream newer")]
    [summary] = [
        each for each in json.loads(invoke("assets", "--json").out)["assets"]
        if each["id"] == "prices"
    ]  # fmt: skip
    assert (summary["partitions"], summary["files"]) == (["day:1"], 2)
    (root / "SPY-1.json").write_text("[]")
    assert ("prices", "day:1", "changed outside") in stale_assets(reading())
    done = invoke("assets", "forget", "prices", "--partition", "1", "--files")
    assert "SPY-1.json was changed outside, so it is not removed" in done.err
    assert (root / "SPY-1.json").exists()
    assert not (root / "QQQ-1.json").exists()


def test_the_partitions_that_a_task_loaded_are_what_it_is_made_from(root: Path) -> None:
    def window(day: str = "1") -> Any:
        return [load_asset("prices", "1"), load_asset("prices", day)]

    rolling = one(window, AssetDecl("sums", "day", "json", "sum-{day}.json"), "r")
    for day in "123":
        run(of_symbols("SPY"), day=day).raise_for_failure()
    run(rolling, day="3").raise_for_failure()
    run(of_symbols("SPY", value=2), day="2").raise_for_failure()
    assert stale_assets(rolling) == []
    run(of_symbols("SPY", value=2), day="1").raise_for_failure()
    assert stale_assets(rolling) == [("sums", "day:3", "upstream newer")]


def test_what_another_run_wrote_while_it_ran_is_newer(root: Path) -> None:
    def other() -> None:
        run(of_symbols("SPY", value=2)).raise_for_failure()

    def loads() -> Any:
        value = load_asset("prices", "1")
        other()
        return value

    run(of_symbols("SPY")).raise_for_failure()
    loading = one(loads, AssetDecl("loaded", format="json", path_template="loaded.json"), "r")
    run(loading).raise_for_failure()
    assert stale_assets(loading) == [("loaded", None, "upstream newer")]

    def sums(value: Any) -> Any:
        other()
        return value

    run(of_symbols("SPY")).raise_for_failure()
    made = AssetDecl("sums", "day", "json", "sum-{day}.json")
    [prices] = of_symbols("SPY").tasks
    both = at(FlowSpec("b", [prices, TaskSpec("s", sums, upstream=[prices.name], produces=made,
                                              params={"day": "1"})]))  # fmt: skip
    run(both).raise_for_failure()
    assert ("sums", "day:1", "upstream newer") in stale_assets(both)


MONTHS = AssetDecl("months", "day", "json", "{day:%Y-%m}.json")


@pytest.mark.parametrize("by", ["value", "task"])
def test_a_file_that_held_another_partition_is_a_warning_and_no_longer_that_ones(
    by: str, root: Path
) -> None:
    def fn(day: str) -> Any:
        if by == "value":
            return [day]
        return (root / f"{day[:7]}.json").write_text(f'["{day}"]') and None

    spec = one(fn, MONTHS)
    assert run(spec, day="2026-01-02").warnings == ()
    assert run(spec, day="2026-01-02").warnings == ()
    [said] = run(spec, day="2026-01-05").warnings
    assert said.code == "MXM815"
    assert "held day:2026-01-02, which day:2026-01-05 replaces" in said.message
    assert stale_assets(spec) == [("months", "day:2026-01-02", "changed outside")]
    with Database(store_of_file()) as database:
        rows = history(database, "months", latest=True)
    assert lacking_in(rows, ["2026-01-02", "2026-01-05"]) == ["2026-01-02"]
    with pytest.raises(AssetError, match="changed outside"):
        load_asset("months", "2026-01-02")


def test_a_file_that_held_another_asset_is_a_warning(root: Path) -> None:
    run(one(lambda: [1], AssetDecl("a", format="json", path_template="x.json")))
    [said] = run(one(lambda: [2], AssetDecl("b", format="json", path_template="x.json"))).warnings
    assert (said.code, said.message) == (
        "MXM815",
        "x.json of asset 'b' held asset 'a', which it replaces",
    )


@pytest.mark.parametrize("written", [datetime(2026, 1, 2, 3), "2026-01-02T03:00:00"])
@pytest.mark.parametrize("asked", [datetime(2026, 1, 2, 3), "2026-01-02T03:00", "2026-01-02 03"])
def test_a_partition_that_is_a_time_is_known_in_each_form(
    written: Any, asked: Any, root: Path
) -> None:
    made = AssetDecl("hours", "at", "json", "{at:%d-%H}.json")
    run(one(lambda at: [1], made), at=written).raise_for_failure()
    assert load_asset("hours", asked) == [1]
    made = AssetDecl("read", format="json", path_template="read.json")
    reads = one(lambda: load_asset("hours", asked), made, "r")
    run(reads).raise_for_failure()
    assert stale_assets(reads) == []
    run(one(lambda at: [2], AssetDecl("hours", "at", "json", "{at:%d-%H}.json")), at=written)
    assert stale_assets(reads) == [("read", None, "upstream newer")]


def test_files_of_an_earlier_template_are_not_those_of_now(root: Path) -> None:
    moved = AssetDecl("prices", path_template="new/x.json", format="json")
    run(one(lambda: [1], table(format="json"), "a")).raise_for_failure()
    new = one(lambda: [2], moved, "b")
    assert [reason for _, _, reason in stale_assets(new)] == ["missing"]
    run(new).raise_for_failure()
    assert stale_assets(new) == []
    assert load_asset("prices") == [2]


def test_a_file_changed_outside_is_never_trusted(root: Path) -> None:
    run(one(lambda: [1], AssetDecl("a", format="json", path_template="a.json")))
    os.utime(root / "a.json")  # touched, and the same
    assert load_asset("a") == [1]
    (root / "a.json").write_text("[2]")
    with pytest.raises(AssetError, match="changed outside: a.json is not what was written"):
        load_asset("a")
    assert load_asset("a", changed=True) == [2]
    (root / "a.json").unlink()
    with pytest.raises(AssetError, match="missing: a.json is not there"):
        load_asset("a", changed=True)


def test_what_an_earlier_run_wrote_is_not_what_a_later_one_did(root: Path) -> None:
    made = AssetDecl("a", format="json", path_template="a.json")
    first = run(one(lambda: [1], made))
    second = run(one(lambda: [2], made))
    assert load_asset("a", run=second.id) == [2]
    with pytest.raises(AssetError, match="changed outside"):
        load_asset("a", run=first.id)


def test_two_runs_that_write_one_file_are_both_in_the_history(root: Path) -> None:
    run(one(lambda: 0, AssetDecl("a", format="json", path_template="a.json")))
    barrier = threading.Barrier(2)

    def work(n: int) -> int:
        barrier.wait()
        return n

    spec = one(work, AssetDecl("a", format="json", path_template="a.json"))
    threads = [threading.Thread(target=run, args=(spec,), kwargs={"n": n}) for n in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asset("a").history()) == 3
    assert json.loads((root / "a.json").read_text()) in (1, 2)


def test_of_two_runs_at_once_the_one_whose_file_is_there_counts(root: Path) -> None:
    spec = one(lambda value: value, AssetDecl("a", format="json", path_template="a.json"))
    run(spec, value=1)
    run(spec, value=2)
    with Database(store_of_file()) as database:  # the first one, as if it was recorded last
        [row, _] = database.read("SELECT * FROM materialisation ORDER BY number")
        names = [name for name in row if name != "number"]
        columns, marks = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(names))
        sql = f"INSERT INTO materialisation ({columns}) VALUES ({marks})"
        database.write([(sql, [row[name] for name in names])])
    assert load_asset("a") == 2
    assert stale_assets(spec) == []
    (root / "a.json").write_text("1 ")
    with pytest.raises(AssetError, match="changed outside"):
        load_asset("a")
    assert stale_assets(spec) == [("a", None, "changed outside")]


def test_a_run_with_overrides_is_not_in_the_catalogue(root: Path) -> None:
    spec = one(lambda: [1], AssetDecl("a", format="json", path_template="a.json"))
    compile_flow(spec, backend="inline", record=True, overrides={"t": [2]}).run()
    with Database(store_of_file()) as database:
        assert history(database) == []


def test_the_catalogue_has_what_a_task_reads_itself(root: Path) -> None:
    run(one(frame, AssetDecl("prices", path_template="p.parquet")))
    report = AssetDecl("report", format="json", path_template="r.json")
    run(one(lambda: len(load_asset("prices")), report, "report", reads=["rates"]))
    assert asset("report").latest().upstream == ("rates", "prices")


def test_upstream_assets_are_found_through_tasks_without_one(root: Path) -> None:
    spec = at(FlowSpec("f", [
        TaskSpec("a", frame, produces=AssetDecl("a", path_template="a.parquet")),
        TaskSpec("b", len, ["a"]),
        TaskSpec("c", lambda n: n, ["b"], produces=AssetDecl("c", format="json",
                                                            path_template="c.json")),
    ]))  # fmt: skip
    run(spec)
    assert asset("c").latest().upstream == ("a",)


# The verb


FLOWS = """
    from datetime import date
    import pandas as pd
    import mxm
    from mxm.pipeline import AssetDecl, not_empty

    PRICES = AssetDecl("prices", "day", path_template="data/{day}.parquet", checks=[not_empty])

    @mxm.task(produces=PRICES)
    def prices(day: date, n: int = 2) -> pd.DataFrame:
        return pd.DataFrame({"close": [1.5] * n})

    @mxm.flow
    def daily(day: date, n: int = 2):
        return prices(day, n)

    @mxm.task(produces=AssetDecl("report", format="json", path_template="report.json"),
              reads=[PRICES])
    def report() -> dict:
        return {"rows": 1}

    @mxm.flow
    def weekly():
        return report()
"""


@pytest.fixture
def project(root: Path) -> Path:
    write(root, {"flows.py": FLOWS})
    return root


def ran(*args: str) -> Outcome:
    done = invoke("run", *args, "--backend", "inline", "--quiet")
    assert done.code == 0, done.err
    return done


def stale() -> list[tuple[str, str | None, str]]:
    done = invoke("assets", "stale", "--json")
    found = json.loads(done.out)["stale"]
    assert done.code == (6 if found else 0)
    return [(each["asset"], each["partition"], each["reason"]) for each in found]


def test_nothing_is_listed_before_anything_was_written(project: Path) -> None:
    assert invoke("assets").out == "nothing was written yet\n"
    assert json.loads(invoke("assets", "--json").out) == {"schema": "mxm.assets/1", "assets": []}
    assert stale() == [("prices", None, "missing"), ("report", None, "missing")]
    assert invoke("assets", "show", "prices").code == 2


def test_assets_are_listed_and_shown(project: Path) -> None:
    ran("daily", "-p", "day=2026-01-02")
    ran("daily", "-p", "day=2026-01-05")
    listed = invoke("assets")
    assert listed.out.splitlines()[0].split() == [
        "ASSET", "PARTITIONS", "ROWS", "SIZE", "WRITTEN", "FLOW"]  # fmt: skip
    assert listed.out.splitlines()[1].split()[:3] == ["prices", "2", "4"]
    assert invoke("assets", "list").out == listed.out
    document = json.loads(invoke("assets", "show", "prices", "--json").out)
    assert document["columns"] == {"close": "float64"}
    assert document["head"] == [{"close": 1.5}, {"close": 1.5}]
    assert [each["partition"] for each in document["history"]] == [
        "day:2026-01-02", "day:2026-01-05"]  # fmt: skip
    shown = invoke("assets", "show", "prices", "--partition", "2026-01-02").out
    assert "prices, written by task prices of flow daily" in shown
    assert "2026-01-05" not in shown


def test_an_unknown_asset_is_reported_with_the_nearest(project: Path) -> None:
    ran("daily", "-p", "day=2026-01-02")
    for verb in ("show", "path", "check", "forget", "lineage"):
        done = invoke("assets", verb, "pricse")
        assert (done.code, "did you mean 'prices'?" in done.err) == (2, True), verb


def test_lineage_crosses_flows(project: Path) -> None:
    assert invoke("assets", "lineage", "report").out == (
        "report\nmade from:\n  prices\nused by: nothing\n"
    )
    document = json.loads(invoke("assets", "lineage", "prices", "--json").out)
    assert (document["upstream"], document["downstream"]) == ([], ["report"])


def test_each_reason_to_be_stale(project: Path) -> None:
    ran("daily", "-p", "day=2026-01-02")
    ran("weekly")
    assert stale() == []
    ran("daily", "-p", "day=2026-01-02")
    assert stale() == []  # the same content
    ran("daily", "-p", "day=2026-01-02", "-p", "n=3")
    assert stale() == [("report", None, "upstream newer")]
    ran("weekly")
    assert stale() == []
    file = project / "data/2026-01-02.parquet"
    kept = file.read_bytes()
    file.write_bytes(b"x")
    assert stale() == [("prices", "day:2026-01-02", "changed outside")]
    file.write_bytes(kept)
    assert stale() == []
    file.unlink()
    assert stale() == [("prices", "day:2026-01-02", "missing")]
    file.write_bytes(kept)
    text = (project / "flows.py").read_text()
    (project / "flows.py").write_text(text.replace('{"rows": 1}', '{"rows": 2}'))
    assert stale() == [("report", None, "code changed")]
    (project / "flows.py").write_text(text.replace('{"rows": 1}', '{"rows": 1}  # the same'))
    assert stale() == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("n * FACTOR", "n * FACTOR + 1"),  # a helper
        ("FACTOR = 2", "FACTOR = 3"),
        ("[1, 2]", "[1, 3]"),  # a constant that can change in place
        ("return helper(3)", "return helper(4)"),  # a task upstream
    ],
)
def test_code_that_an_asset_depends_on_makes_it_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    text = """
        import mxm
        from mxm.pipeline import AssetDecl

        FACTOR = 2
        LIMITS = [1, 2]

        def helper(n):
            return n * FACTOR

        @mxm.task
        def load() -> int:
            return helper(3)

        @mxm.task(produces=AssetDecl("prices", format="json", path_template="prices.json"))
        def save(n: int) -> list[int]:
            return [n, *LIMITS]

        @mxm.task
        def unrelated() -> int:
            return 1

        @mxm.flow
        def daily():
            return save(load()), unrelated()
        """
    write(tmp_path, {"flows.py": text})
    monkeypatch.delenv("MXM_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert invoke("run", "daily", "--backend", "inline").code == 0
    written = (tmp_path / "flows.py").read_text()
    (tmp_path / "flows.py").write_text(written.replace("return 1", "return 2"))
    assert stale() == []  # another task's
    assert old in written
    (tmp_path / "flows.py").write_text(written.replace(old, new))
    assert stale() == [("prices", None, "code changed")]


def test_what_is_older_than_its_freshness_is_stale(root: Path) -> None:
    made = AssetDecl("a", "day", "json", "{day}.json", freshness_s=3600)
    for day in ("x", "y"):
        run(one(lambda: 1, made), day=day)
    with Database(store_of_file()) as database:
        assert stale_in(database, {}) == []
        later = datetime.now(UTC) + timedelta(hours=3)
        found = stale_in(database, {}, now=later)
    assert [(each.partition, each.reason) for each in found] == [("day:y", "old")]
    assert found[0].detail == "it is 3 h old, and fresh for 1 h"


def test_each_file_of_the_newest_partition_has_to_be_fresh(root: Path) -> None:
    made = AssetDecl("a", None, "json", "{symbol}.json", freshness_s=60)
    spec = one(lambda symbol: [symbol], made)
    for symbol in ("SPY", "QQQ"):
        run(spec, symbol=symbol).raise_for_failure()
    with Database(store_of_file()) as database:
        declared, [first, _] = declared_in([spec]), history(database)
        late = [first.at + timedelta(seconds=seconds) for seconds in (-1, 0, 3600)]
        stale = [stale_in(database, declared, now=now) for now in late]
    assert [[each.reason for each in found] for found in stale] == [
        ["old", "old"],  # of a clock that went back since
        ["old"],  # the other one was written after this moment
        ["old", "old"],
    ]


def test_a_path_is_printed_alone(project: Path) -> None:
    ran("daily", "-p", "day=2026-01-02")
    done = invoke("assets", "path", "prices", "--partition", "2026-01-02")
    assert (done.code, done.out) == (0, f"{project / 'data/2026-01-02.parquet'}\n")


def test_what_is_there_is_checked_again(project: Path) -> None:
    ran("daily", "-p", "day=2026-01-02")
    done = invoke("assets", "check", "prices")
    assert done.code == 0
    assert done.out.splitlines()[1].split() == ["day:2026-01-02", "not_empty", "passed"]
    pd.DataFrame({"close": []}).to_parquet(project / "data/2026-01-02.parquet")
    done = invoke("assets", "check", "prices", "--json")
    [partition] = json.loads(done.out)["partitions"]
    assert (done.code, partition["checks"][0]["passed"]) == (1, False)
    assert partition["error"].startswith("changed outside")


def test_assets_are_forgotten_with_their_files_unless_they_were_changed(project: Path) -> None:
    for day in ("2026-01-02", "2026-01-05", "2026-01-06"):
        ran("daily", "-p", f"day={day}")
    done = invoke("assets", "forget", "prices", "--partition", "2026-01-02")
    assert (done.code, done.out) == (0, "forgot 1 write of prices\n")
    assert (project / "data/2026-01-02.parquet").exists()
    (project / "data/2026-01-05.parquet").write_bytes(b"mine")
    done = invoke("assets", "forget", "prices", "--files", "--json")
    document = json.loads(done.out)
    assert document["forgotten"] == 2
    assert document["removed"] == [str(project / "data/2026-01-06.parquet")]
    assert document["kept"] == [str(project / "data/2026-01-05.parquet")]
    assert sorted(n for n in os.listdir(project / "data") if n[0] != "_") == [
        "2026-01-02.parquet", "2026-01-05.parquet"]  # fmt: skip
    assert invoke("assets").out == "nothing was written yet\n"


def test_ten_thousand_partitions_are_listed_quickly(root: Path) -> None:
    run(one(lambda: 1, AssetDecl("a", "day", "json", "{day}.json")), day="0")
    with Database(store_of_file()) as database:
        [row] = database.read("SELECT * FROM materialisation")
        names = [name for name in row if name != "number"]
        marks = ", ".join("?" * len(names))
        quoted = ", ".join(f'"{name}"' for name in names)
        sql = f"INSERT INTO materialisation ({quoted}) VALUES ({marks})"
        database.write(
            (sql, [{**row, "partition": f"day:{i}"}[name] for name in names])
            for i in range(1, 10_000)
        )
        assert len(asset("a").partitions()) == 10_000
        assert len(history(database, latest=True)) == 10_000
        assert stale_in(database, {}) == []
    assert (
        json.loads(invoke("assets", "--json").out)["assets"][0]["last"]["partition"] == "day:9999"
    )
