"""Eleven pipelines from other tools: what each returns, also after failures, on every runner."""

from __future__ import annotations

import ast
import re
import sqlite3
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from field import (
    airflow_branches,
    airflow_mapping,
    airflow_teardown,
    dagster_database,
    dagster_files,
    hamilton_stars,
    luigi_toplist,
    metaflow_genres,
    prefect_cleanup,
    prefect_mapping,
    snakemake_scatter,
)

from mxm.pipeline.runs import FlowRun

FIELD = Path(__file__).parent / "field"
PAGE = Path(__file__).parents[1] / "docs" / "field.md"
PLACES = [
    ("inline", "sequential"),
    ("inline", "threads"),
    ("inline", "processes"),
    ("prefect", "sequential"),
]

Run = Callable[..., FlowRun]


@pytest.fixture(params=PLACES, ids=["-".join(place) for place in PLACES])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a flow with these parameters, in one place; `overrides` as in `with_options`."""
    backend, runner = request.param

    def run(flow: Any, overrides: Mapping[Any, object] | None = None, **params: Any) -> FlowRun:
        options = {"overrides": overrides} if overrides else {}
        return flow.with_options(backend=backend, runner=runner, **options).run(**params)

    return run


def outcomes(run: FlowRun) -> dict[str, str]:
    return {name: task.outcome for name, task in run.tasks.items()}


def items(run: FlowRun, task: str) -> dict[str, str]:
    """The state of each item of a mapped task."""
    mapped = run.tasks[task].items
    assert mapped is not None
    return {key: str(mapped[key].state) for key in mapped}


def failure(run: FlowRun) -> type[BaseException]:
    """What the first failed task raised."""
    assert run.error is not None
    return type(run.error[1])


def failing_at_2(number: int) -> int:
    if number == 2:
        raise ValueError("no 2")
    return number * 2


def failing(name: str, chosen: str) -> str:
    raise ConnectionError(name)


# Airflow


def test_airflow_mapping(run: Run) -> None:
    assert run(airflow_mapping.added).value() == airflow_mapping.added() == 9
    assert (
        run(airflow_mapping.second_order).value() == airflow_mapping.second_order() == [12, 14, 16]
    )


def test_airflow_mapping_of_nothing(run: Run) -> None:
    assert run(airflow_mapping.added, xs=[]).value() == 0
    assert run(airflow_mapping.second_order, last=0).value() == []


def test_airflow_mapping_with_a_failing_item(run: Run) -> None:
    ran = run(airflow_mapping.second_order, {airflow_mapping.times_2: failing_at_2})
    assert items(ran, "times_2") == {"1": "succeeded", "2": "failed", "3": "succeeded"}
    assert items(ran, "add_10") == {"1": "succeeded", "2": "skipped", "3": "succeeded"}
    assert outcomes(ran) == {"numbers": "succeeded", "times_2": "failed", "add_10": "skipped"}
    with pytest.raises(ValueError, match="no 2"):
        ran.value()


@pytest.mark.parametrize(
    ("first", "second", "value"),
    [
        ("true_1", "true_2", "start > true_1 > join"),
        ("false_1", "true_2", "start > false_1 > true_2 > join > false_3 > join"),
        ("false_1", "false_2", "start > false_1 > false_2 > join > false_3 > join"),
    ],
)
def test_airflow_branches(run: Run, first: str, second: str, value: str) -> None:
    ran = run(airflow_branches.nested, first=first, second=second)
    assert ran.value() == value
    skipped = {name for name, outcome in outcomes(ran).items() if outcome == "skipped"}
    if first == "true_1":
        assert skipped == {"false_1", "true_2", "false_2", "join_2", "false_3"}
    else:
        assert skipped == {"true_1", {"true_2": "false_2", "false_2": "true_2"}[second]}


def test_airflow_branches_where_none_is_taken(run: Run) -> None:
    ran = run(airflow_branches.nested, first="neither")
    assert set(outcomes(ran).values()) == {"skipped"}
    assert ran.error is None


def test_airflow_branches_where_one_fails(run: Run) -> None:
    ran = run(airflow_branches.nested, {"true_1": failing}, first="false_1")
    assert outcomes(ran)["true_1"] == "failed"
    assert outcomes(ran)["join_2"] == outcomes(ran)["false_3"] == "succeeded"
    assert outcomes(ran)["join_1"] == "skipped"
    assert failure(ran) is ConnectionError


def test_airflow_teardown(run: Run) -> None:
    value = {
        "noted": "noted in session",
        "worked": 2.0,
        "cluster": "stopped cluster of 4",
        "session": "closed session",
    }
    ran = run(airflow_teardown.clusters)
    assert ran.value() == airflow_teardown.clusters() == value
    *others, last = [ran.tasks[name] for name in ("work", "note", "stop_cluster", "close_session")]
    assert all(last.started >= other.ended for other in others)


def test_airflow_teardown_after_failed_work(run: Run) -> None:
    ran = run(airflow_teardown.clusters, rows=0)
    assert failure(ran) is ZeroDivisionError
    assert ran.values["stop_cluster"] == "stopped cluster of 4"
    assert ran.values["close_session"] == "closed session"


def test_airflow_teardown_after_failed_setup(run: Run) -> None:
    ran = run(airflow_teardown.clusters, size=9)
    assert outcomes(ran)["work"] == "skipped"
    assert ran.values["stop_cluster"] == "nothing to stop"
    assert ran.values["close_session"] == "closed session"
    with pytest.raises(RuntimeError, match="no such cluster"):
        ran.value()


# Prefect


def test_prefect_mapping(run: Run) -> None:
    assert run(prefect_mapping.mapping).value() == prefect_mapping.mapping() == 15
    assert run(prefect_mapping.mapping, n=0).value() == 0


def test_prefect_mapping_with_a_failing_item(run: Run) -> None:
    ran = run(prefect_mapping.mapping, {prefect_mapping.inc: failing_at_2})
    assert items(ran, "add") == {"1": "succeeded", "2": "skipped", "3": "succeeded"}
    assert outcomes(ran)["compute_sum"] == "skipped"
    assert failure(ran) is ValueError


def test_prefect_cleanup(run: Run) -> None:
    value = {"added": [4, 5, 6], "cleanup": "cleaned"}
    assert run(prefect_cleanup.with_cleanup).value() == prefect_cleanup.with_cleanup() == value


def test_prefect_cleanup_after_a_failing_item(run: Run) -> None:
    ran = run(prefect_cleanup.with_cleanup, bad=2)
    assert items(ran, "add_one") == {"1": "succeeded", "2": "failed", "3": "succeeded"}
    assert items(ran, "add_two") == {"1": "succeeded", "2": "skipped", "3": "succeeded"}
    assert ran.values["cleanup"] == "cleaned"
    with pytest.raises(ValueError, match="2 is bad"):
        ran.value()


# Dagster


def test_dagster_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"12345")
    (tmp_path / "b-2.csv").write_bytes(b"123")
    (tmp_path / "folder").mkdir()
    ran = run(dagster_files.folder_size, folder=str(tmp_path))
    assert ran.value() == dagster_files.folder_size(str(tmp_path)) == 8
    assert items(ran, "size") == {"a.csv": "succeeded", "b-2.csv": "succeeded"}


def test_dagster_files_of_which_one_has_gone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"12345")
    found = [str(tmp_path / "a.csv"), str(tmp_path / "gone.csv")]
    ran = run(dagster_files.folder_size, {dagster_files.files: found}, folder=str(tmp_path))
    assert items(ran, "size") == {"a.csv": "succeeded", "gone.csv": "failed"}
    assert failure(ran) is FileNotFoundError
    empty = run(dagster_files.folder_size, {dagster_files.files: []}, folder=str(tmp_path))
    assert empty.value() == 0


SHOP = {
    "customers": "id,first_name,last_name\n1,Ann,A.\n2,Bob,B.\n3,Cy,C.\n",
    "orders": "id,user_id,order_date,status\n1,1,2026-01-02,done\n2,1,2026-01-03,done\n"
    "3,2,2026-01-04,done\n",
    "payments": "id,order_id,payment_method,amount\n1,1,card,10\n2,2,card,5\n3,2,coupon,2\n",
}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # where the database goes
    for name, text in SHOP.items():
        (tmp_path / f"raw_{name}.csv").write_text(text, encoding="utf-8")
    return str(tmp_path)


def test_dagster_database(run: Run, shop: str) -> None:
    value = [("Ann", 2, 3, 17), ("Bob", 1, 0, 0), ("Cy", 0, 0, 0)]
    ran = run(dagster_database.shop, folder=shop)
    assert ran.value() == dagster_database.shop(shop) == value
    assert Path("shop.db").exists()


def test_dagster_database_without_one_file(run: Run, shop: str) -> None:
    Path("raw_orders.csv").unlink()
    ran = run(dagster_database.shop, folder=shop)
    assert items(ran, "table") == {
        "customers": "succeeded",
        "orders": "failed",
        "payments": "succeeded",
    }
    assert outcomes(ran)["aggregated"] == "skipped"
    assert failure(ran) is FileNotFoundError


def test_dagster_database_with_another_connection(shop: str) -> None:
    with sqlite3.connect(":memory:", check_same_thread=False) as opened:
        given = dagster_database.shop.with_options(resources={dagster_database.db: opened})
        assert given(shop) == given.run(folder=shop).value() != []
    assert not Path("shop.db").exists()


# Metaflow


FILMS = """movie_title,genres,gross
A,Musical|Drama,400
B,Drama,100
C,Drama|Music,200
D,Drama,300
E,Music,{gross}
"""


def test_metaflow_genres(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_text(FILMS.format(gross=50), encoding="utf-8")
    value = {"Drama": [200, 300, 400], "Music": [50, 200, 200], "Musical": [400, 400, 400]}
    ran = run(metaflow_genres.genre_stats, path=str(path))
    assert ran.value() == metaflow_genres.genre_stats(str(path)) == value


def test_metaflow_genres_with_a_bad_figure(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_text(FILMS.format(gross="n/a"), encoding="utf-8")
    ran = run(metaflow_genres.genre_stats, path=str(path))
    assert items(ran, "quartiles") == {
        "Drama": "succeeded",
        "Music": "failed",
        "Musical": "succeeded",
    }
    assert outcomes(ran)["by_genre"] == "skipped"
    assert failure(ran) is ValueError


# Hamilton


def test_hamilton_stars(run: Run) -> None:
    ran = run(hamilton_stars.stars)
    value = {"users": ["ann", "bob", "cy", "dee"], "count": 4}
    assert ran.value() == hamilton_stars.stars() == value
    assert [*items(ran, "stargazers")] == ["acme/risk,0", "acme/risk,2", "acme/data,0"]


def test_hamilton_stars_without_one_repository(run: Run) -> None:
    ran = run(hamilton_stars.stars, repositories=["acme/none", "acme/data"])
    assert ran.value() == {"users": ["bob", "dee"], "count": 2}
    assert items(ran, "star_count") == {"acme/none": "failed", "acme/data": "succeeded"}
    assert [warning.code for warning in ran.warnings] == ["MXM506"]


def test_hamilton_stars_without_any_repository(run: Run) -> None:
    ran = run(hamilton_stars.stars, repositories=["acme/none"])
    assert failure(ran) is KeyError
    assert outcomes(ran)["final_count"] == "skipped"


# Snakemake


def test_snakemake_scatter(run: Run) -> None:
    ran = run(snakemake_scatter.scattered)
    assert ran.value() == snakemake_scatter.scattered() == [1.0, 2.0, 3.0]


def test_snakemake_scatter_over_too_many_parts(run: Run) -> None:
    ran = run(snakemake_scatter.scattered, parts=5)
    assert ran.value() == [1.0, 2.0, 3.0]
    assert [*items(ran, "intermediate").values()] == ["succeeded"] * 3 + ["skipped"] * 2
    assert ran.warnings == ()


def test_snakemake_scatter_of_a_bad_line(run: Run) -> None:
    ran = run(snakemake_scatter.scattered, lines=["3", "one", "2"])
    assert [*items(ran, "intermediate").values()] == ["succeeded", "failed"]
    assert failure(ran) is ValueError


# Luigi


FIRST = date(2026, 1, 2)


def test_luigi_toplist(run: Run, tmp_path: Path) -> None:
    (tmp_path / "streams_2026-01-03.tsv").write_text("7 nina track\n8 nina track\n9 nina track\n")
    ran = run(luigi_toplist.toplist, folder=str(tmp_path), first=FIRST, size=3)
    assert ran.value() == [("artist_0", 5), ("artist_1", 5), ("nina", 3)]
    assert items(ran, "streams.recorded") == {
        "2026-01-02": "failed",
        "2026-01-03": "succeeded",
        "2026-01-04": "failed",
    }
    assert items(ran, "streams.faked") == {
        "2026-01-02": "succeeded",
        "2026-01-03": "skipped",
        "2026-01-04": "succeeded",
    }
    assert ran.error is None


def test_luigi_toplist_of_a_broken_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "streams_2026-01-03.tsv").write_text("7 nina\n")
    ran = run(luigi_toplist.toplist, folder=str(tmp_path), first=FIRST)
    assert items(ran, "streams.artists") == {
        "2026-01-02": "succeeded",
        "2026-01-03": "failed",
        "2026-01-04": "succeeded",
    }
    assert failure(ran) is ValueError
    assert outcomes(ran)["top"] == "skipped"


# The page


def code_lines(text: str) -> int:
    """Lines that hold code: blank lines, comments and docstrings do not count."""
    lines = {
        number
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.strip().startswith("#")
    }
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            if ast.get_docstring(node) is not None:
                lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


PROGRAMS = sorted(FIELD.glob("*.py"))


@pytest.mark.parametrize("path", PROGRAMS, ids=[path.stem for path in PROGRAMS])
def test_page_shows_the_tested_module_and_counts_its_lines(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    assert f"```python\n{text}```\n" in page
    title = re.search(
        rf"^## (.*)\n(?:(?!```).*\n)*```python\n{re.escape(text)}", page, re.MULTILINE
    )
    assert title is not None
    row = re.search(
        rf"^\| \[{re.escape(title[1])}\]\(\S+\) \| (\d+) \| (\d+) \|$", page, re.MULTILINE
    )
    assert row is not None, title[1]
    assert int(row[2]) == code_lines(text) < int(row[1])


def test_page_shows_nothing_else() -> None:
    assert PAGE.read_text(encoding="utf-8").count("```python\n") == len(PROGRAMS) == 11
