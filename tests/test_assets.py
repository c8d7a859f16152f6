"""Assets: what is declared, the problems found before anything runs, and what a run writes."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from command import SCRIPT, call, write
from pydantic import SecretStr

import mxm
from mxm.pipeline import AssetDecl, Check, FlowRun, FlowSpec, TaskSpec, compile_flow, load_asset
from mxm.pipeline.api import check_flow
from mxm.pipeline.assets import files
from mxm.pipeline.assets.files import description_path, read_description
from mxm.pipeline.assets.formats import format_named
from mxm.pipeline.assets.templates import Field, PathError, read_template
from mxm.pipeline.checks.assets import differing_assets
from mxm.pipeline.errors import AssetClashError, AssetError, ParameterError
from mxm.pipeline.specdict import flow_from_dict, flow_to_dict
from mxm.pipeline.store.catalogue import history
from mxm.pipeline.store.database import Database

BACKENDS = ("inline", "prefect")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's root: what has no file of its own belongs to the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def here(fn: Callable[..., Any], asset: AssetDecl, **options: Any) -> FlowSpec:
    """A flow of the working directory, with one task."""
    params = options.pop("flow", {})
    return _at(FlowSpec("f", [TaskSpec("t", fn, produces=asset, **options)], params))


def _at(spec: FlowSpec) -> FlowSpec:
    vars(spec)["source"] = None
    return spec


def run(spec: FlowSpec, backend: str = "inline", **params: Any) -> FlowRun:
    return compile_flow(spec, backend=backend).run(params)


def codes(spec: FlowSpec) -> list[str]:
    return [problem.code for problem in check_flow(spec)]


def frame() -> pd.DataFrame:
    return pd.DataFrame({"price": [1.5, 2.5], "symbol": ["SPY", "QQQ"]})


def file(template: str, format: str = "json", **more: Any) -> AssetDecl:
    return AssetDecl("a", format=format, path_template=template, **more)


# Declaring


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"freshness_s": 0}, "freshness_s must be a number of seconds above 0, not 0"),
        ({"freshness_s": True}, "not True"),
        ({"freshness_s": "1d"}, "not '1d'"),
        ({"checks": len}, "checks must be a list"),
        ({"checks": [3]}, "a check must be a function of the value or a schema, not 3"),
    ],
)
def test_a_declaration_that_can_mean_nothing_is_an_error(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        AssetDecl("a", **options)


def test_a_severity_is_one_of_two() -> None:
    with pytest.raises(TypeError, match='severity must be "block" or "warn", not \'error\''):
        Check(bool, severity="error")  # type: ignore[arg-type]


def test_what_a_task_reads_is_kept_by_name_and_each_once() -> None:
    prices = AssetDecl("prices")

    @mxm.task(reads=[prices, "rates", "prices"])
    def t() -> int:
        return 1

    @mxm.flow
    def f() -> int:
        return t()

    assert f.spec.tasks[0].reads == ("prices", "rates")
    assert TaskSpec("t", len, reads=prices).reads == ("prices",)
    (problem,) = TaskSpec("t", len, reads=[3]).problems  # type: ignore[list-item]
    assert problem.message == "task 't': reads must be assets or names of assets, not 3"


def positive(value: Any) -> bool:
    return bool(value)


def test_a_declaration_survives_the_dict_form() -> None:
    asset = AssetDecl(
        "a", "day", "csv", "data/{day}.csv", 60.0, "prices", [Check(positive, "warn")]
    )
    spec = FlowSpec(
        "f", [TaskSpec("t", positive, params={"value": 1}, produces=asset, reads=["b"])]
    )
    again = flow_from_dict(json.loads(json.dumps(flow_to_dict(spec))))
    assert again.tasks[0].produces == asset
    assert again.tasks[0].reads == ("b",)
    assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("data/{symbol}.json", None),
        ("{symbol:>8}.json", None),
        ("{{{symbol}}}.json", None),
        ("data/{symbl}.json", "MXM803"),
        ("data/{}.json", "MXM802"),
        ("data/{0}.json", "MXM802"),
        ("data/{symbol.x}.json", "MXM802"),
        ("data/{symbol[0]}.json", "MXM802"),
        ("data/{symbol!r}.json", "MXM802"),
        ("data/{symbol:{width}}.json", "MXM802"),
        ("data/{symbol.json", "MXM802"),
        ("data/}.json", "MXM802"),
        ("data/\x00.json", "MXM802"),
        ("data//x.json", "MXM802"),
        ("data/", "MXM802"),
        ("", "MXM802"),
        ("/data/x.json", "MXM806"),
        ("~/x.json", "MXM806"),
        ("C:/x.json", "MXM806"),
        ("data\\x.json", "MXM806"),
        ("../x.json", "MXM806"),
        ("data/../../x.json", "MXM806"),
        ("file:///bucket/x.json", "MXM806"),
    ],
)
def test_a_template_is_checked_before_anything_runs(template: str, code: str | None) -> None:
    def fn(symbol: str) -> dict[str, int]:
        return {}

    spec = here(fn, file(template), params={"symbol": "SPY"})
    assert codes(spec) == ([] if code is None else [code])


def test_an_unknown_format_matters_only_where_something_is_written() -> None:
    def fn() -> dict[str, int]:
        return {}

    assert codes(here(fn, file("x.json", "jsn"))) == ["MXM801"]
    assert codes(here(fn, AssetDecl("a", format="a table in the warehouse"))) == []


def test_fields_are_parameters_of_the_task_of_the_flow_and_the_partition_key() -> None:
    @mxm.task(produces=AssetDecl("a", "day", "json", "{own}/{flows}/{day}.json"))
    def t(own: str) -> dict[str, str]:
        return {"own": own}

    @mxm.flow
    def f(flows: str, own: str = "o") -> Any:
        return t(own)

    assert check_flow(f.spec) == []


def test_a_secret_is_in_no_path() -> None:
    def fn(token: SecretStr) -> dict[str, int]:
        return {}

    assert codes(here(fn, file("{token}.json"))) == ["MXM808"]


def returning(hint: Any) -> Callable[..., Any]:
    def fn() -> Any:
        return None

    fn.__annotations__["return"] = hint
    return fn


class Frame(pd.DataFrame): ...


@pytest.mark.parametrize(
    ("format", "hint", "holds"),
    [
        ("parquet", pd.DataFrame, True),
        ("parquet", pl.DataFrame, True),
        ("parquet", pa.Table, True),
        ("parquet", pd.DataFrame | None, True),
        ("parquet", pd.DataFrame | int, True),
        ("parquet", None, True),
        ("parquet", Path, True),
        ("parquet", str, True),
        ("parquet", Any, True),
        ("parquet", object, True),
        ("parquet", "NoSuchType", True),
        ("parquet", int, False),
        ("parquet", pd.Series, False),
        ("parquet", pl.LazyFrame, False),
        ("parquet", Frame, False),
        ("csv", list[dict[str, float]], False),
        ("feather", np.ndarray, False),
        ("json", dict[str, float], True),
        ("json", int | None, True),
        ("json", pd.DataFrame, False),
        ("json", date, False),
        ("json", tuple[int, int], False),
        ("json", set[int], False),
        ("pickle", set[int], True),
    ],
)
def test_a_return_annotation_that_a_format_never_holds_is_a_problem(
    format: str, hint: Any, holds: bool
) -> None:
    spec = here(returning(hint), file("x.bin", format))
    assert codes(spec) == ([] if holds else ["MXM807"])


def each_kind_of_clash() -> dict[str, Callable[[], Any]]:
    same = file("x.json")
    by_symbol = file("{symbol}.json")

    @mxm.task(produces=same)
    def one() -> dict[str, int]:
        return {}

    @mxm.task(produces=same)
    def two() -> dict[str, int]:
        return {}

    @mxm.task(produces=by_symbol)
    def by(symbol: str) -> dict[str, int]:
        return {}

    return {
        "two tasks": lambda: (one(), two()),
        "one task twice": lambda: (one(), one()),
        "the same constant": lambda: (by("SPY"), by("SPY")),
        "other constants": lambda: (by("SPY"), by("QQQ")),
        "two maps over one list": lambda: (by.map(["SPY"]), by.map(["SPY"])),
    }


@pytest.mark.parametrize("kind", each_kind_of_clash())
def test_two_tasks_that_write_one_file_are_a_problem(kind: str) -> None:
    body = each_kind_of_clash()[kind]

    @mxm.flow
    def f() -> Any:
        return list(body())

    expected = [] if kind == "other constants" else ["MXM804"]
    assert codes(f.spec) == expected


def test_clashes_that_only_the_run_knows_fail_the_second_task(root: Path) -> None:
    def fn(symbol: str) -> dict[str, str]:
        return {"of": symbol}

    spec = _at(FlowSpec("f", [
        TaskSpec("one", fn, params={"symbol": "SPY"}, produces=file("{symbol}.json")),
        TaskSpec("two", lambda other: {"of": other}, params={"other": "SPY"},
                 produces=file("{other}.json")),
    ]))  # fmt: skip
    assert codes(spec) == []
    done = run(spec)
    assert [task.state for task in done.tasks.values()] == ["succeeded", "failed"]
    assert isinstance(done.tasks["two"].error, AssetClashError)
    assert json.loads((root / "SPY.json").read_text()) == {"of": "SPY"}


def test_a_task_that_reads_what_another_one_writes_comes_before_or_after_it() -> None:
    def flow(*, reader: Any = (), writer: Any = (), **more: Any) -> FlowSpec:
        made = AssetDecl("a", format="json")
        return FlowSpec("f", [
            TaskSpec("r", lambda: 1, reads=["a"], after=reader, **more),
            TaskSpec("w", lambda: 1, produces=made, after=writer),
            TaskSpec("between", lambda: 1, after=["w"]),
        ])  # fmt: skip

    assert codes(flow()) == ["MXM816"]
    assert codes(flow(reader=["w"])) == []
    assert codes(flow(reader=["between"])) == []
    assert codes(flow(writer=["r"])) == []
    assert codes(flow(produces=AssetDecl("a", format="json"))) == ["MXM816"]
    alone = TaskSpec("t", lambda: 1, reads=["a"], produces=AssetDecl("a", format="json"))
    assert codes(FlowSpec("f", [alone])) == []


def test_flows_that_declare_one_asset_differently_are_a_warning() -> None:
    def flow(name: str, template: str | None, format: str = "json") -> FlowSpec:
        made = AssetDecl("a", format=format, path_template=template)
        return FlowSpec(name, [TaskSpec("t", lambda: 1, produces=made)])

    for other, said in [
        (flow("g", "x.json"), []),
        (flow("g", None), []),  # a task that writes it itself, anywhere
        (flow("g", "y.json"), ["MXM817"]),
        (flow("g", "x.json", "pickle"), ["MXM817"]),
    ]:
        assert [each.code for each in differing_assets([flow("f", "x.json"), other])] == said


def test_a_mapped_task_needs_a_path_for_each_item() -> None:
    @mxm.task(produces=file("{window}.json"))
    def gain(symbol: str, window: int = 3) -> dict[str, int]:
        return {}

    @mxm.flow
    def f() -> Any:
        return gain.map(["SPY"])

    [problem] = check_flow(f.spec)
    assert problem.code == "MXM805"
    assert "{symbol}" in str(problem)


def test_a_mapped_flow_needs_a_path_for_each_item() -> None:
    @mxm.task(produces=file("x.json"))
    def save(symbol: str) -> dict[str, int]:
        return {}

    @mxm.flow
    def one(symbol: str) -> Any:
        return save(symbol)

    @mxm.flow
    def every() -> Any:
        return one.map(["SPY", "QQQ"])

    assert codes(every.spec) == ["MXM805"]


# Parameters that a path needs


DAILY = AssetDecl("a", "day", "json", "data/{day:%Y-%m}.json")


def test_a_partition_key_in_a_path_is_asked_for_before_anything_runs(root: Path) -> None:
    spec = here(dict, DAILY)
    with pytest.raises(ParameterError, match=r"MXM401 missing parameter 'day': the path of asset"):
        run(spec)
    done = run(spec, day=date(2026, 1, 2))
    assert done.warnings == ()
    written = done.tasks["t"].asset
    assert written is not None
    assert (written.partition, written.path) == ("day:2026-01-02", "data/2026-01.json")


def test_text_of_a_date_is_read_for_a_path(root: Path) -> None:
    written = run(here(dict, DAILY), day="2026-01-02").tasks["t"].asset
    assert written is not None
    assert written.path == "data/2026-01.json"
    with pytest.raises(ParameterError, match="'day' is 'monday', which is not a date"):
        run(here(dict, DAILY), day="monday")


def test_a_partition_without_a_path_is_not_asked_for(root: Path) -> None:
    done = run(here(dict, AssetDecl("a", "day")))
    assert done.tasks["t"].asset is not None
    assert done.tasks["t"].asset.to_dict() == {"id": "a", "partition": None}
    assert os.listdir(root) == []


def test_the_path_is_that_of_the_value_that_the_function_got(root: Path) -> None:
    @mxm.task(produces=file("{day}.json"))
    def t(day: str = "own") -> dict[str, str]:
        return {"day": day}

    @mxm.flow
    def f(day: str = "flows") -> Any:
        return t()

    spec = _at(f.spec)
    assert run(spec).value() == {"day": "own"}
    assert json.loads((root / "own.json").read_text()) == {"day": "own"}


HOSTILE = {
    "another folder": "../x",
    "the parent": "..",
    "absolute": "/etc/passwd",
    "a slash": "a/b",
    "a backslash": "a\\b",
    "NUL": "a\x00b",
    "a new line": "a\nb",
    "a drive": "C:x",
    "300 bytes": "x" * 300,
    "300 bytes of UTF-8": "é" * 150,
    "empty": "",
    "a lone surrogate": "\ud800",
    "nothing": None,
    "a table": pd.DataFrame({"a": [1]}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_value_that_leads_elsewhere_is_found_before_anything_runs(kind: str, root: Path) -> None:
    ran: list[str] = []
    spec = here(lambda symbol: ran.append(symbol), file("data/{symbol}/x.json"))
    with pytest.raises(ParameterError, match="MXM812"):
        run(spec, symbol=HOSTILE[kind])
    assert (ran, os.listdir(root)) == ([], [])


@pytest.mark.parametrize("kind", [k for k in HOSTILE if k != "nothing"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_value_of_an_item_that_leads_elsewhere_fails_the_item(
    kind: str, backend: str, root: Path
) -> None:
    ran: list[str] = []

    @mxm.task(produces=file("data/{symbol}/x.json"))
    def t(symbol: Any) -> dict[str, int]:
        ran.append(symbol)
        return {}

    @mxm.task
    def items() -> list[Any]:
        return [HOSTILE[kind]]

    @mxm.flow
    def f() -> Any:
        return t.map(items())

    done = run(_at(f.spec), backend)
    assert isinstance(done.tasks["t"].error, AssetError)
    assert (ran, os.listdir(root)) == ([], [])


def test_slashes_are_the_authors_to_write() -> None:
    assert Field("day", "%Y/%m").text(date(2026, 1, 2)) == "2026/01"
    with pytest.raises(PathError):
        Field("day", "%Y/../%m").text(date(2026, 1, 2))
    with pytest.raises(PathError):
        read_template("{a}{b}/x").render({"a": ".", "b": "."})


@pytest.mark.parametrize("place", ["a folder", "the file"])
def test_a_symbolic_link_out_of_the_project_is_refused(place: str, root: Path) -> None:
    outside = root / "outside"
    outside.mkdir()
    (outside / "x.json").write_text("{}")
    project = root / "project"
    (project / "data").mkdir(parents=True)
    if place == "a folder":
        (project / "data/link").symlink_to(outside)
    else:
        (project / "data/link").mkdir()
        (project / "data/link/x.json").symlink_to(outside / "x.json")
    os.chdir(project)
    done = run(here(lambda: {"a": 1}, file("data/link/x.json")))
    assert "a symbolic link leads out of the project" in str(done.tasks["t"].error)
    assert (outside / "x.json").read_text() == "{}"


def test_a_symbolic_link_inside_the_project_is_followed(root: Path) -> None:
    (root / "new").mkdir()
    (root / "data").symlink_to("new")
    run(here(lambda: {"a": 1}, file("data/x.json"))).raise_for_failure()
    assert json.loads((root / "new/x.json").read_text()) == {"a": 1}
    assert (root / "data").is_symlink()


# Writing


@pytest.mark.parametrize(
    ("backend", "runner"),
    [("inline", "sequential"), ("inline", "threads"), ("inline", "processes"),
     ("prefect", "processes")],
)  # fmt: skip
def test_a_value_is_written_on_every_backend_and_runner(
    backend: str, runner: str, root: Path
) -> None:
    write(root, {"flows.py": WRITER, "pyproject.toml": ""})
    ran = call("run", "f", "--backend", backend, "--runner", runner, "--json", cwd=root)
    assert ran.code == 0, ran.err
    [load, gain] = json.loads(ran.out)["tasks"]
    assert load["asset"]["path"] == "data/all.parquet"
    assert (load["asset"]["rows"], load["asset"]["by"]) == (2, "value")
    assert [row["asset"]["path"] for row in gain["items"]["rows"]] == [
        "data/gain/SPY.json",
        "data/gain/QQQ.json",
    ]
    pd.testing.assert_frame_equal(pd.read_parquet(root / "data/all.parquet"), frame())
    assert json.loads((root / "data/gain/SPY.json").read_text()) == {"of": "SPY"}
    lines = [line.partition(" ")[2] for line in ran.err.splitlines() if "ASSET" in line]
    assert sorted(lines) == [
        "ASSET write gain partition=symbol:QQQ",
        "ASSET write gain partition=symbol:SPY",
        "ASSET write prices",
    ]


WRITER = """
    import pandas as pd
    import mxm
    from mxm.pipeline import AssetDecl

    @mxm.task(produces=AssetDecl("prices", path_template="data/all.parquet"))
    def load() -> pd.DataFrame:
        return pd.DataFrame({"price": [1.5, 2.5], "symbol": ["SPY", "QQQ"]})

    @mxm.task(produces=AssetDecl("gain", "symbol", "json", "data/gain/{symbol}.json"))
    def gain(symbol: str, prices: pd.DataFrame) -> dict[str, str]:
        return {"of": symbol}

    @mxm.flow
    def f():
        return gain.map(["SPY", "QQQ"], prices=load())
"""


def test_the_root_is_the_projects_whatever_the_working_directory(root: Path) -> None:
    write(root, {"project/flows/f.py": WRITER, "project/pyproject.toml": "", "other/x": ""})
    ran = call("run", "../project/flows/f.py", "--backend", "inline", cwd=root / "other")
    assert ran.code == 0, ran.err
    assert (root / "project/data/all.parquet").exists()
    assert os.listdir(root / "other") == ["x"]


def test_beside_the_file_is_what_made_it(root: Path) -> None:
    asset = file("x.json", description="a test")
    done = run(here(lambda: [1, 2], asset))
    told = read_description(str(root / "x.json"))
    assert told is not None
    assert told["schema"] == "mxm.asset/1"
    assert (told["id"], told["flow"], told["task"], told["run"]) == ("a", "f", "t", done.id)
    assert (told["description"], told["rows"], told["by"]) == ("a test", 2, "value")
    assert told["digest"] == files.hash_of(str(root / "x.json")).digest
    (root / "x.json").write_text("[3]")
    assert read_description(str(root / "x.json")) is None


def test_nothing_but_the_file_and_its_description_stays(root: Path) -> None:
    run(here(lambda: [1, 2], file("data/x.json")))
    assert sorted(os.listdir(root / "data")) == ["_x.json_asset.json", "x.json"]


def test_a_run_with_overrides_writes_nothing(root: Path) -> None:
    spec = _at(FlowSpec("f", [
        TaskSpec("a", lambda: 1, produces=file("a.json")),
        TaskSpec("b", lambda a: a, ["a"], produces=file("b.json")),
    ]))  # fmt: skip
    done = compile_flow(spec, backend="inline", overrides={"a": 2}).run()
    assert done.value() == 2
    assert [task.asset for task in done.tasks.values()] == [None, None]
    assert os.listdir(root) == []


def test_a_run_with_another_resource_writes_nothing(root: Path) -> None:
    @mxm.resource
    def db() -> Any:
        yield 1

    @mxm.task(produces=file("a.json"))
    def t(connection: int = mxm.use(db)) -> int:
        return connection

    @mxm.flow
    def f() -> Any:
        return t()

    done = compile_flow(_at(f.spec), backend="inline", resources={db: 2}).run()
    assert (done.value(), os.listdir(root)) == (2, [])


# The task writes the file itself


def own_writer(root: Path, returned: Any, text: str = "[1]") -> Callable[[], Any]:
    def fn() -> Any:
        (root / "x.json").write_text(text)
        return returned

    return fn


@pytest.mark.parametrize("how", ["None", "relative", "absolute", "path", "dotted"])
def test_a_task_may_write_the_file_itself(how: str, root: Path) -> None:
    returned = {
        "None": None,
        "relative": "x.json",
        "absolute": str(root / "x.json"),
        "path": root / "x.json",
        "dotted": "./data/../x.json",
    }[how]
    done = run(here(own_writer(root, returned), file("x.json")))
    written = done.raise_for_failure().tasks["t"].asset
    assert written is not None
    assert (written.by, written.size) == ("task", 3)
    assert written.digest == files.hash_of(str(root / "x.json")).digest
    assert (root / "x.json").read_text() == "[1]"
    assert json.loads(Path(description_path(str(root / "x.json"))).read_text())["by"] == "task"


@pytest.mark.parametrize("returned", [3, [1, 2], {"rows": 1}, "y.json", True, ""])
@pytest.mark.parametrize("before", [None, "[0]"])
def test_a_task_that_wrote_the_file_and_returns_something_else_fails(
    returned: Any, before: str | None, root: Path
) -> None:
    if before is not None:
        (root / "x.json").write_text(before)
    done = run(here(own_writer(root, returned), file("x.json")))
    error = done.tasks["t"].error
    assert isinstance(error, AssetError)
    assert "wrote x.json itself and returned" in str(error)
    assert "return None or the path" in str(error)
    assert "return the table" in str(error)
    assert (root / "x.json").read_text() == "[1]"


def test_an_item_that_wrote_its_file_and_returns_something_else_fails(root: Path) -> None:
    write(root, {"flows.py": OWN, "pyproject.toml": ""})
    ran = call("run", "f", "--backend", "inline", "--runner", "processes", cwd=root)
    assert ran.code == 1
    assert "wrote 1.json itself and returned" in ran.err
    assert (root / "1.json").read_text() == "[1]"


OWN = """
    import mxm
    from mxm.pipeline import AssetDecl

    @mxm.task(produces=AssetDecl("a", format="json", path_template="{n}.json"))
    def t(n: int):
        with open(f"{n}.json", "w") as file:
            file.write(f"[{n}]")
        return n

    @mxm.flow
    def f():
        return t.map([1, 2, 3])
"""


@pytest.mark.parametrize("returned", [None, "x.json"])
def test_a_task_that_says_it_wrote_the_file_and_did_not_fails(returned: Any, root: Path) -> None:
    done = run(here(lambda: returned, file("x.json", "parquet")))
    assert "and x.json is not there" in str(done.tasks["t"].error)


def test_a_result_replaces_what_an_earlier_run_wrote(root: Path) -> None:
    for n in (1, 2):
        run(here(lambda n=n: [n], file("x.json"))).raise_for_failure()
    assert json.loads((root / "x.json").read_text()) == [2]


def test_a_result_replaces_what_someone_else_wrote_before_the_run(root: Path) -> None:
    (root / "x.json").write_text("old")
    run(here(lambda: [1], file("x.json"))).raise_for_failure()
    assert json.loads((root / "x.json").read_text()) == [1]


# Maps


@pytest.mark.parametrize("rule", ["fail", "skip"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_two_items_of_one_path_fail_the_task_under_every_rule(
    rule: str, backend: str, root: Path
) -> None:
    @mxm.task(produces=file("{symbol}.json"), on_item_error=rule)  # type: ignore[call-overload]
    def t(symbol: str, n: int) -> int:
        return n

    @mxm.flow
    def f() -> Any:
        return t.map(["SPY", "QQQ", "SPY"], n=mxm.each([1, 2, 3]))

    done = run(_at(f.spec), backend)
    assert done.tasks["t"].state == "failed"
    assert "both write SPY.json" in str(done.tasks["t"].error)
    assert json.loads((root / "SPY.json").read_text()) == 1


@pytest.mark.parametrize("rule", ["fail", "skip"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_two_items_of_one_path_fail_the_task_of_a_mapped_flow_under_every_rule(
    rule: str, backend: str, root: Path
) -> None:
    @mxm.task(produces=file("{symbol}.json"), on_item_error=rule)  # type: ignore[call-overload]
    def t(symbol: str) -> str:
        return symbol

    @mxm.flow
    def one(symbol: str) -> Any:
        return t(symbol)

    @mxm.flow
    def f() -> Any:
        return one.map(["SPY", "QQQ", "SPY"])

    done = run(_at(f.spec), backend)
    assert done.tasks["one.t"].state == "failed"
    assert "both write SPY.json" in str(done.tasks["one.t"].error)


def test_an_item_that_fails_writes_nothing_and_others_do(root: Path) -> None:
    @mxm.task(produces=file("{n}.json"), on_item_error="skip")
    def t(n: int) -> Any:
        return {n} if n == 2 else n

    @mxm.flow
    def f() -> Any:
        return t.map([1, 2, 3])

    done = run(_at(f.spec))
    assert (done.state, done.value()) == ("succeeded", [1, 3])
    assert sorted(n for n in os.listdir(root) if n[0] != "_") == ["1.json", "3.json"]
    items = done.tasks["t"].items
    assert items is not None
    assert "json cannot store" in str(items["2"].error)


def test_every_item_of_a_mapped_flow_writes_its_file(root: Path) -> None:
    @mxm.task
    def load(symbol: str) -> int:
        return len(symbol)

    @mxm.task(produces=file("{symbol}.json", partition_key="symbol"))
    def save(symbol: str, n: int) -> int:
        return n

    @mxm.flow
    def one(symbol: str) -> Any:
        return save(symbol, load(symbol))

    @mxm.flow
    def every() -> Any:
        return one.map(["SPY", "QQQQ"])

    run(_at(every.spec)).raise_for_failure()
    assert json.loads((root / "QQQQ.json").read_text()) == 4


# What fails leaves what was there


def test_a_retry_writes_what_the_last_attempt_returned(root: Path) -> None:
    tries: list[int] = []

    def fn() -> Any:
        tries.append(1)
        return {1} if len(tries) == 1 else [1]

    done = run(here(fn, file("x.json"), retries=1))
    assert (done.state, done.tasks["t"].attempts) == ("succeeded", 2)
    assert json.loads((root / "x.json").read_text()) == [1]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("moment", ["write", "fsync", "rename"])
def test_a_disk_that_fails_fails_the_task_and_leaves_the_old_file(
    backend: str, moment: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = here(lambda: frame(), file("data/x.parquet", "parquet"))
    run(spec).raise_for_failure()
    before = (root / "data/x.parquet").read_bytes()

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    target = {"write": (pd.DataFrame, "to_parquet"), "fsync": (os, "fsync"),
              "rename": (os, "replace")}[moment]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(*target, full)
        done = run(spec, backend)
    assert done.state == "failed"
    assert str(done.tasks["t"].error).startswith(
        "data/x.parquet could not be written: No space left on device"
    )
    assert (root / "data/x.parquet").read_bytes() == before
    assert sorted(os.listdir(root / "data")) == ["_x.parquet_asset.json", "x.parquet"]


def test_a_description_that_cannot_be_written_leaves_the_old_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(here(lambda: [1], file("x.json"))).raise_for_failure()

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    spec = here(lambda: [2], file("x.json"))
    monkeypatch.setattr("mxm.pipeline.assets.files._write_description", full)
    assert run(spec).state == "failed"
    assert json.loads((root / "x.json").read_text()) == [1]
    told = read_description(str(root / "x.json"))
    assert told is not None and told["rows"] == 1


LIMITED = """
    import resource, sys
    import mxm
    from mxm.pipeline import AssetDecl

    @mxm.task(produces=AssetDecl("a", format="json", path_template="x.json"))
    def t(n: int) -> list[int]:
        if n > 9:
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        return [1] * n

    @mxm.flow
    def f(n: int):
        return t(n)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of files are those of Linux")
def test_a_file_that_the_system_cuts_fails_the_task_and_leaves_the_old_one(root: Path) -> None:
    write(root, {"flows.py": LIMITED, "pyproject.toml": ""})
    for n, code in ((3, 0), (90_000, 1)):
        command = ["run", "flows.py", "-p", f"n={n}", "--backend", "inline", "--no-record"]
        done = call(*command, cwd=root)
        assert done.code == code, done.err
    assert "x.json could not be written: File too large" in done.err
    assert "Traceback" not in done.err  # all of it would be of our own code
    assert json.loads((root / "x.json").read_text()) == [1] * 3
    assert not list(root.glob(".mxm-*"))


ON_A_FULL_DISK = """
import json, subprocess, sys
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "."], check=True)
import os
os.chdir(os.getcwd())  # onto what was mounted
open("flows.py", "w").write(sys.argv[1])
open("pyproject.toml", "w").close()
for n in (3, 700_000):
    command = ["run", "flows.py", "-p", f"n={n}", "--backend", "inline"]
    done = subprocess.run([sys.executable, sys.argv[2], *command], capture_output=True, text=True)
    print(done.returncode, done.stderr[-400:] if n > 3 else "")
print(json.load(open("x.json")), sorted(os.listdir(".")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a small disk is mounted as on Linux")
def test_a_full_disk_fails_the_task_and_leaves_the_old_file(root: Path) -> None:
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("nobody but root may mount a small disk here")
    flows = textwrap.dedent(LIMITED).replace("if n > 9:", "if False:")
    done = subprocess.run(
        [*alone, sys.executable, "-c", ON_A_FULL_DISK, flows, str(SCRIPT)],
        cwd=root, capture_output=True, text=True, check=True,
        env={k: v for k, v in os.environ.items() if k != "MXM_HOME"} | {"PYTHONPYCACHEPREFIX": "x"},
    )  # fmt: skip
    assert "x.json could not be written: No space left on device" in done.stdout, done.stdout
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("0")
    assert last.startswith("[1, 1, 1] [")
    assert ".part" not in last


def test_parts_of_killed_writers_are_removed_and_those_of_others_stay(root: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    own = files._part_of(str(root / "x.json"))
    left = own.replace(f"-{os.getpid()}-", f"-{gone.pid}-")
    other = own.replace(files._HOST, "0" * 8)
    old = other[: -len("0.part")] + "0.part"
    for name in (own, left, other, old):
        Path(name).touch()
    os.utime(old, (0, 0))
    files._swept.clear()
    run(here(lambda: [1], file("x.json"))).raise_for_failure()
    assert [os.path.exists(name) for name in (own, left, old)] == [True, False, False]


def test_a_folder_that_cannot_be_made_fails_the_task(root: Path) -> None:
    (root / "data").write_text("a file")
    done = run(here(lambda: [1], file("data/x.json")))
    assert "data/x.json could not be written" in str(done.tasks["t"].error)


KILLED = """
    import os, sys, time
    import pandas as pd
    import mxm
    from mxm.pipeline import AssetDecl

    @mxm.task(produces=AssetDecl("a", path_template="data/x.parquet"))
    def t(n: int) -> pd.DataFrame:
        return pd.DataFrame({"n": [n] * 200_000, "x": range(200_000)})

    @mxm.flow
    def f(n: int):
        return t(n)

    if __name__ == "__main__":
        from mxm.pipeline import compile_flow
        compiled = compile_flow(f, backend="inline", record=True)
        compiled.run({"n": 0})
        print("ready", flush=True)
        for n in range(1, 1000):
            compiled.run({"n": n})
"""


def kill_writers(root: Path, moments: Iterable[float]) -> None:
    """Kill a writer at each of *moments*, in seconds, and look at what it left."""
    write(root, {"flows.py": KILLED, "pyproject.toml": ""})
    for moment in moments:
        writer = subprocess.Popen(
            [sys.executable, "flows.py"], cwd=root, stdout=subprocess.PIPE,
            env={name: text for name, text in os.environ.items() if name != "MXM_HOME"},
        )  # fmt: skip
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(moment)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        made = pd.read_parquet(root / "data/x.parquet")
        assert (len(made), made["n"].nunique(), made["x"].sum()) == (200_000, 1, 19_999_900_000)
        with Database(str(root / ".mxm")) as database:
            newest = history(database, "a")[-1]
        # The process may be killed after the file and before its row, never the other way round.
        change = newest.change()
        assert change is None or change.startswith("changed outside")
        there = read_description(str(root / "data/x.parquet"))
        if there is None:  # between the description and the file: it is of a file to come
            assert change is None
        else:
            assert there["digest"] == files.hash_of(str(root / "data/x.parquet")).digest
            assert change is None or there["run"] != newest.run


def test_a_killed_writer_leaves_a_whole_file_and_no_row_without_it(root: Path) -> None:
    kill_writers(root, [0.011 * n for n in range(10)])


@pytest.mark.slow
@pytest.mark.parametrize("place", ["disk", "memory"])
def test_a_writer_that_is_killed_at_fifty_moments_leaves_whole_files(
    place: str, root: Path
) -> None:
    if place == "memory" and not os.path.isdir("/dev/shm"):
        pytest.skip("this system has no /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm" if place == "memory" else root) as folder:
        kill_writers(Path(folder), [0.013 * n for n in range(50)])


def test_a_cancelled_writer_leaves_the_old_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = here(lambda: frame(), file("x.parquet", "parquet"))
    run(spec)
    before = (root / "x.parquet").read_bytes()

    def interrupted(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    monkeypatch.setattr(pd.DataFrame, "to_parquet", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(spec)
    assert (root / "x.parquet").read_bytes() == before
    assert sorted(os.listdir(root)) == ["_x.parquet_asset.json", "x.parquet"]


def test_two_runs_that_write_one_file_leave_one_of_them_whole(root: Path) -> None:
    barrier = threading.Barrier(2)
    done: list[FlowRun] = []

    def one(n: int) -> None:
        def fn() -> Any:
            barrier.wait()
            return [n] * 50_000

        done.append(run(here(fn, file("x.json"))))

    for _ in range(5):
        done.clear()
        threads = [threading.Thread(target=one, args=(n,)) for n in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [each.state for each in done] == ["succeeded", "succeeded"]
        found = json.loads((root / "x.json").read_text())
        assert (len(found), len(set(found))) == (50_000, 1)
        told = read_description(str(root / "x.json"))
        assert told is not None
        assert told["digest"] == files.hash_of(str(root / "x.json")).digest


# Formats: what comes back is what was written, or it is refused


D = Decimal
FRAMES: dict[str, Callable[[], Any]] = {
    "numbers": lambda: pd.DataFrame({"a": [1.5, np.nan], "b": [1, 2], "c": [True, False]}),
    "small numbers": lambda: pd.DataFrame({"a": np.array([1], "int8"), "b": np.array([1], "f4")}),
    "text": lambda: pd.DataFrame({"a": ["x", None]}),
    "an index of days": lambda: pd.DataFrame(
        {"a": [1.0, 2.0]}, index=pd.date_range("2026-01-01", periods=2, name="day")
    ),
    "two levels": lambda: pd.DataFrame(
        {"a": [1.0]}, index=pd.MultiIndex.from_tuples([("x", 1)], names=["s", "n"])
    ),
    "another range": lambda: pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(5, 9, 2)),
    "time zones": lambda: pd.DataFrame(
        {"a": pd.date_range("2026-03-28 12:00", periods=3, tz="Europe/Berlin")}
    ),
    "an offset": lambda: pd.DataFrame(
        {"a": [datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2)))]}
    ),
    "seconds": lambda: pd.DataFrame({"a": pd.array(["2026-01-01"], dtype="datetime64[s]")}),
    "durations": lambda: pd.DataFrame({"a": pd.to_timedelta(["1D", None])}),
    "categories": lambda: pd.DataFrame(
        {"a": pd.Categorical(["x", "y"], categories=["y", "x", "z"], ordered=True)}
    ),
    "categories of numbers": lambda: pd.DataFrame({"a": pd.Categorical([1, 2])}),
    "decimals": lambda: pd.DataFrame({"a": [D("1.25"), None]}),
    "nullable": lambda: pd.DataFrame(
        {
            "a": pd.array([1, None], "Int64"),
            "b": pd.array([True, None], "boolean"),
            "c": pd.array(["x", None], "string"),
        }
    ),  # fmt: skip
    "an index of nullable numbers": lambda: pd.DataFrame(
        {"a": [1, 2]}, index=pd.Index(pd.array([2**53 + 1, None], "Int64"))
    ),
    "an index named by a number": lambda: pd.DataFrame({"a": [1]}, index=pd.Index([2], name=0)),
    "whole numbers and None": lambda: pd.DataFrame({"a": pd.Series([1, None], dtype=object)}),
    "mixed": lambda: pd.DataFrame({"a": pd.Series([1, "x"], dtype=object)}),
    "lists": lambda: pd.DataFrame({"a": pd.Series([[1, 2]], dtype=object)}),
    "dicts": lambda: pd.DataFrame({"a": pd.Series([{"x": 1}, {"y": 2}], dtype=object)}),
    "days": lambda: pd.DataFrame({"a": [date(2026, 1, 2), None]}),
    "columns that are numbers": lambda: pd.DataFrame({1: [1.0]}),
    "columns in levels": lambda: pd.DataFrame(
        [[1.0]], columns=pd.MultiIndex.from_tuples([("a", "b")])
    ),
    "named columns": lambda: pd.DataFrame({"a": [1.0]}).rename_axis(columns="sym"),
    "equal columns": lambda: pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "periods": lambda: pd.DataFrame({"a": pd.period_range("2026-01", periods=2, freq="M")}),
    "complex": lambda: pd.DataFrame({"a": [1j]}),
    "no columns": lambda: pd.DataFrame(),
    "no rows": lambda: pd.DataFrame({"a": np.array([], "float64"), "b": pd.array([], "str")}),
    "attrs": lambda: _with_attrs({"unit": "USD"}),
    "attrs that JSON has no form for": lambda: _with_attrs({"day": date(2026, 1, 2)}),
    "a sub-class": lambda: Frame({"a": [1]}),
}
LOST = {
    "parquet": {"seconds", "categories of numbers", "whole numbers and None", "mixed", "lists",
                "dicts", "equal columns", "complex", "attrs that JSON has no form for",
                "a sub-class", "an index of nullable numbers", "an index named by a number"},
    "feather": {"whole numbers and None", "mixed", "lists", "dicts", "equal columns", "complex",
                "attrs that JSON has no form for", "a sub-class",
                "an index of nullable numbers", "an index named by a number"},
}  # fmt: skip


def _with_attrs(attrs: dict[str, Any]) -> pd.DataFrame:
    made = pd.DataFrame({"a": [1]})
    made.attrs = attrs
    return made


@pytest.mark.parametrize("format", ["parquet", "feather"])
@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_comes_back_as_it_was_or_is_refused(kind: str, format: str, root: Path) -> None:
    value = FRAMES[kind]()
    (root / "x").write_text("old")
    done = run(here(lambda: value, file("x", format)))
    if kind in LOST[format]:
        assert done.state == "failed", kind
        assert isinstance(done.tasks["t"].error, AssetError)
        assert (root / "x").read_text() == "old"
        return
    written = done.raise_for_failure().tasks["t"].asset
    assert written is not None
    back = format_named(format).read(str(root / "x"), written.to_dict())
    pd.testing.assert_frame_equal(back, value, check_freq=False, check_exact=True)
    assert back.attrs == value.attrs
    for name in value.columns:
        if value[name].dtype == object:
            assert list(map(type, back[name])) == list(map(type, value[name]))


OTHERS: dict[str, Callable[[], Any]] = {
    "polars": lambda: pl.DataFrame(
        {"a": [1, None], "b": ["x", "y"], "c": [D("1.25"), None], "d": [[1, 2], [3]],
         "e": [datetime(2026, 1, 1), None]}
    ).with_columns(pl.col("b").cast(pl.Categorical)),
    "pyarrow": lambda: pa.table(
        {"a": [1, None], "b": pa.array(["x", "y"]).dictionary_encode(), "c": [D("1.25"), None],
         "d": [[1.0, float("nan")], None]}
    ),
}  # fmt: skip


@pytest.mark.parametrize("format", ["parquet", "feather", "pickle"])
@pytest.mark.parametrize("library", OTHERS)
def test_other_tables_come_back_as_they_were(library: str, format: str, root: Path) -> None:
    value = OTHERS[library]()
    done = run(here(lambda: value, file("x", format))).raise_for_failure()
    written = done.tasks["t"].asset
    assert written is not None
    assert written.library == library
    back = format_named(format).read(str(root / "x"), written.to_dict())
    assert type(back) is type(value)
    assert back.schema == value.schema
    if library == "polars":
        assert back.equals(value)
    else:
        assert repr(back.to_pylist()) == repr(value.to_pylist())


@pytest.mark.parametrize(
    "value",
    [{1, 2}, (1, 2), {1: 2}, date(2026, 1, 2), D("1.5"), float("nan"), [float("inf")], b"x",
     {"a": [{"b": {3}}]}, "\ud800", pd.DataFrame({"a": [1]}), np.float64(1.5), True + 0j],
    ids=repr,
)  # fmt: skip
def test_json_refuses_what_would_come_back_as_something_else(value: Any, root: Path) -> None:
    (root / "x").write_text("old")
    done = run(here(lambda: value, file("x")))
    assert isinstance(done.tasks["t"].error, AssetError)
    assert (root / "x").read_text() == "old"


@pytest.mark.parametrize(
    "value", [1, 1.5, True, [], {}, {"a": [None, "é", 1e300]}, 2**80], ids=repr
)
def test_json_holds_what_is_json(value: Any, root: Path) -> None:
    run(here(lambda: value, file("x"))).raise_for_failure()
    back = json.loads((root / "x").read_text())
    assert (back, type(back)) == (value, type(value))


HOLIDAYS = pd.offsets.CustomBusinessDay(holidays=["2026-01-05"])


@pytest.mark.parametrize("format", ["parquet", "feather", "csv"])
@pytest.mark.parametrize("frequency", ["D", "B", "h", "W-FRI", "ME", HOLIDAYS, "tz"])
def test_the_frequency_of_an_index_comes_back_or_is_said_to_be_lost(
    frequency: Any, format: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MXM_HOME", str(root / "store"))  # other tests write an asset "a", too
    zone = "Europe/Berlin" if frequency == "tz" else None
    index = pd.date_range("2026-01-02", periods=5, freq="D" if zone else frequency, tz=zone)
    value = pd.DataFrame({"a": range(5)}, index=index)
    spec = here(lambda: value, file("x.table", format))
    done = compile_flow(spec, backend="inline", record=True).run({})
    done.raise_for_failure()
    back = load_asset("a")
    assert list(back.index) == list(index)
    said = [problem.code for problem in done.warnings]
    if frequency is HOLIDAYS:
        assert (back.index.freq, said) == (None, ["MXM809"])
    elif "MXM809" not in said:
        assert back.index.freq == index.freq


def test_pickle_holds_anything_that_comes_back(root: Path) -> None:
    run(here(lambda: {1, 2}, file("x", "pickle"))).raise_for_failure()
    assert pickle.loads((root / "x").read_bytes()) == {1, 2}
    done = run(here(lambda: threading.Lock(), file("y", "pickle")))
    assert "cannot be pickled" in str(done.tasks["t"].error)


CSV_KEEPS = {"numbers", "small numbers", "text", "an index of days", "two levels", "time zones",
             "durations", "nullable", "seconds", "another range"}  # fmt: skip


@pytest.mark.parametrize("kind", [k for k in FRAMES if k not in ("a sub-class", "no columns")])
def test_csv_keeps_what_it_can_and_says_what_it_cannot(kind: str, root: Path) -> None:
    value = FRAMES[kind]()
    done = run(here(lambda: value, file("x.csv", "csv"))).raise_for_failure()
    said = [problem.code for problem in done.warnings]
    written = done.tasks["t"].asset
    assert written is not None
    if kind in CSV_KEEPS:
        assert said == []
    if not said:
        told = read_description(str(root / "x.csv"))
        back = format_named("csv").read(str(root / "x.csv"), told or {})
        pd.testing.assert_frame_equal(back, value, check_freq=False, check_index_type="equiv")
    else:
        assert said == ["MXM809"]
    assert (root / "x.csv").exists()


def test_csv_says_that_it_keeps_no_metadata_of_arrow(root: Path) -> None:
    for value in (
        pa.table({"a": [1]}).replace_schema_metadata({"unit": "EUR"}),
        pa.table([[1]], schema=pa.schema([pa.field("a", pa.int64(), nullable=False)])),
    ):
        done = run(here(lambda value=value: value, file("x.csv", "csv"))).raise_for_failure()
        assert ["the metadata of its schema" in each.message for each in done.warnings] == [True]


def test_a_table_that_is_none_is_refused_with_what_to_do(root: Path) -> None:
    for value, said in [
        (pd.Series([1]), "call .to_frame() first"),
        (pl.LazyFrame({"a": [1]}), "call .collect() first"),
        ([{"a": 1}], "a list is not a table of pandas, polars or pyarrow"),
    ]:
        done = run(here(lambda value=value: value, file("x", "parquet")))
        assert said in str(done.tasks["t"].error)
    assert os.listdir(root) == []


def test_writing_a_large_frame_reads_none_of_it_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(pd, "read_parquet", never)
    value = pd.DataFrame({"day": pd.date_range("2026-01-01", periods=5), "price": 1.5, "s": "SPY"})
    run(here(lambda: value, file("x", "parquet"))).raise_for_failure()
