"""`assets`: what flows have written, listed, shown, checked and forgotten."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from mxm.pipeline.checks.assets import differing_assets
from mxm.pipeline.cli.command import AsJson, Modules, Verb, group_app
from mxm.pipeline.cli.describe import counted
from mxm.pipeline.cli.output import (
    ExitCode,
    print_error,
    print_json,
    print_problems,
    print_table,
    say,
)
from mxm.pipeline.cli.recorded import ago
from mxm.pipeline.discovery.search import discover
from mxm.pipeline.discovery.settings import read_settings, working_directory
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.problems import did_you_mean, shown_path
from mxm.pipeline.store.catalogue import (
    Asset,
    Materialisation,
    history,
    is_there,
    load_value,
    remove_file,
    require_asset,
    writes_of,
)
from mxm.pipeline.store.database import Database
from mxm.pipeline.store.places import has_store, store_of_file
from mxm.pipeline.store.staleness import Declared, declared_in, lineage_of, stale_in
from mxm.pipeline.views.sizes import bytes_text

__all__ = ["app"]

app: typer.Typer = group_app("Show what flows have written; `assets` lists it.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The name of an asset.")]
Partition = Annotated[
    str | None,
    typer.Option("--partition", metavar="VALUE", help="Only the partition with this value."),
]


def _open() -> Database:
    return Database(store_of_file())


def _newest(rows: Sequence[Materialisation]) -> dict[str, list[Materialisation]]:
    """For each asset, the newest write of each partition."""
    newest: dict[str, list[Materialisation]] = {}
    for row in rows:
        newest.setdefault(row.asset, []).append(row)
    return newest


@app.command("list", cls=Verb)
def list_command(as_json: AsJson = False) -> None:
    """List the assets that were written."""
    store = store_of_file()
    rows: list[Materialisation] = []
    if has_store(store):
        with Database(store) as database:
            rows = history(database, latest=True)
    by_asset = _newest(rows)
    if as_json:
        print_json(
            {"schema": "mxm.assets/1", "assets": [_summary(each) for each in by_asset.values()]}
        )
        return
    if not by_asset:
        say("nothing was written yet")
        return
    table: list[tuple[str, ...]] = []
    for name, made in sorted(by_asset.items()):
        last = max(made, key=lambda each: each.number)
        partitions = len({each.partition for each in made} - {None})
        total = sum(each.rows or 0 for each in made)
        size = sum(each.size or 0 for each in made)
        table.append(
            (
                name,
                f"{partitions:,}" if partitions else "",
                f"{total:,}" if any(each.rows is not None for each in made) else "",
                bytes_text(size) if last.path else "",
                ago(last.at),
                last.flow,
            )
        )
    print_table(("ASSET", "PARTITIONS", "ROWS", "SIZE", "WRITTEN", "FLOW"), table)


def _summary(made: Sequence[Materialisation]) -> dict[str, Any]:
    last = max(made, key=lambda each: each.number)
    return {
        "id": last.asset,
        "partitions": list(dict.fromkeys(each.partition for each in made if each.partition)),
        "files": sum(each.path is not None for each in made),
        "rows": sum(each.rows or 0 for each in made),
        "size": sum(each.size or 0 for each in made),
        "last": last.to_dict(),
    }


@app.command("show", cls=Verb)
def show(id: Id, partition: Partition = None, as_json: AsJson = False) -> None:  # noqa: A002
    """Show an asset: schema, history, and the first rows of its newest partition."""
    with _open() as database:
        rows = writes_of(database, id, partition)
        checks = _checks(database, id)
    last = rows[-1]
    head = _head(last)
    if as_json:
        print_json(
            {
                "schema": "mxm.assets-show/1",
                "id": id,
                "columns": dict(last.columns),
                "head": head,
                "history": [row.to_dict() for row in rows],
                "checks": checks,
            }
        )
        return
    say(f"{id}, written by task {last.task} of flow {last.flow}")
    say(f"newest: {last.partition or ''} {last.relative or ''}".rstrip())
    change = last.change()
    if change is not None:
        say(change)
    if last.columns:
        say()
        print_table(("COLUMN", "TYPE"), list(last.columns.items()))
    if head:
        say()
        names = list(head[0])
        print_table(names, [[str(row.get(name, "")) for name in names] for row in head])
    say()
    shown = [
        (
            each.partition or "",
            ago(each.at),
            "" if each.rows is None else f"{each.rows:,}",
            "" if each.size is None else bytes_text(each.size),
            each.run,
        )
        for each in rows[: -_MOST - 1 : -1]
    ]
    print_table(("PARTITION", "WRITTEN", "ROWS", "SIZE", "RUN"), shown)
    if len(rows) > _MOST:
        say(f"and {len(rows) - _MOST:,} more")
    for check in checks:
        if not check["passed"]:
            say(f"check {check['name']} failed in run {check['run']}: {check['message']}")


_MOST = 20
_HEAD = 5


def _head(made: Materialisation) -> list[dict[str, Any]]:
    """The first rows, if it is a table that is unchanged since it was written."""
    if made.path is None or made.change() is not None or not made.columns:
        return []
    from mxm.pipeline.values.jsonvalue import to_json

    try:
        described: Any = to_json(load_value(made)).value
    except PipelineError as error:
        print_error(error, kind="warning")
        return []
    return list(described.get("head", [])) if isinstance(described, dict) else []  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def _checks(database: Database, asset: str) -> list[dict[str, Any]]:
    """The results of the checks in the last run that made any."""
    rows = database.read(
        'SELECT run, partition, name, severity, passed, message FROM "check" WHERE asset = ? '
        'AND run = (SELECT run FROM "check" WHERE asset = ? ORDER BY number DESC LIMIT 1) '
        "ORDER BY number",
        (asset, asset),
    )
    return [{**row, "passed": bool(row["passed"])} for row in rows]


def _declared(modules: Sequence[str]) -> tuple[dict[str, Declared], bool]:
    """The assets of the project's flows, and whether every module could be imported."""
    discovery = discover(modules)
    for failure in discovery.failures:
        print_error(str(failure))
    specs = [entry.spec() for entry in discovery.flows]
    print_problems([*differing_assets(specs)])
    return declared_in(specs), not discovery.failures


@app.command("lineage", cls=Verb)
def lineage(id: Id, module: Modules = None, as_json: AsJson = False) -> None:  # noqa: A002
    """Show what an asset is made from, and what is made from it, across flows."""
    declared, _ = _declared(module or ())
    store = store_of_file()
    if has_store(store):
        with Database(store) as database:
            edges = lineage_of(database, declared)
    else:
        edges = lineage_of(None, declared)
    named = {*edges, *(name for upstream in edges.values() for name in upstream)}
    if id not in named:
        raise PipelineError(f"unknown asset {id!r}", hint=did_you_mean(id, named))
    down: dict[str, list[str]] = {}
    for name, upstream in edges.items():
        for each in upstream:
            down.setdefault(each, []).append(name)
    if as_json:
        document: dict[str, Any] = {"schema": "mxm.assets-lineage/1", "id": id}
        document["upstream"] = sorted(_reached(id, edges))
        document["downstream"] = sorted(_reached(id, down))
        document["edges"] = sorted(
            [each, name]
            for name, upstream in edges.items()
            for each in upstream
            if {each, name} <= {id, *document["upstream"], *document["downstream"]}
        )
        print_json(document)
        return
    say(id)
    for title, graph in (("made from", edges), ("used by", down)):
        say(f"{title}:" if graph.get(id) else f"{title}: nothing")
        _draw(id, graph, "  ", {id})


def _reached(start: str, edges: Mapping[str, Sequence[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = list(edges.get(start, ()))
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(edges.get(name, ()))
    return reached - {start}


def _draw(name: str, edges: Mapping[str, Sequence[str]], indent: str, seen: set[str]) -> None:
    for each in edges.get(name, ()):
        again = each in seen
        say(f"{indent}{each}{' (above)' if again else ''}")
        if not again:
            seen.add(each)
            _draw(each, edges, indent + "  ", seen)


@app.command("stale", cls=Verb)
def stale(
    id: Annotated[  # noqa: A002
        str | None, typer.Argument(metavar="[ID]", help="Only this asset.")
    ] = None,
    module: Modules = None,
    as_json: AsJson = False,
) -> None:
    """List what is stale, with the reason; exit code 6 if anything is."""
    declared, complete = _declared(module or ())
    store = store_of_file()
    if has_store(store):
        with Database(store) as database:
            if id is not None and id not in declared:
                require_asset(database, id)
            entries = stale_in(database, declared, only=id)
    else:
        entries = stale_in(None, declared, only=id)
    if as_json:
        print_json({"schema": "mxm.assets-stale/1", "stale": [each.to_dict() for each in entries]})
    elif entries:
        rows = [(s.asset, s.partition or "", s.reason, s.detail) for s in entries]
        print_table(("ASSET", "PARTITION", "REASON", ""), rows)
    else:
        say("nothing is stale")
    if entries:
        raise typer.Exit(ExitCode.STALE)
    if not complete:
        raise typer.Exit(ExitCode.IMPORT_FAILED)


@app.command("path", cls=Verb)
def path(id: Id, partition: Partition = None, as_json: AsJson = False) -> None:  # noqa: A002
    """Print the file of an asset."""
    with _open() as database:
        require_asset(database, id)
    made = Asset(id, store_of_file()).latest(partition)
    if made.path is None:
        raise PipelineError(f"asset {id!r} has no path_template: its task writes it")
    if as_json:
        print_json({"schema": "mxm.assets-path/1", "id": id, "partition": made.partition,
                    "path": made.path, "change": made.change()})  # fmt: skip
        return
    change = made.change()
    if change is not None:
        print_error(change, kind="warning")
    say(made.path)


@app.command("check", cls=Verb)
def check(
    id: Id,  # noqa: A002
    partition: Partition = None,
    module: Modules = None,
    as_json: AsJson = False,
) -> None:
    """Run the checks of an asset on its stored values; exit code 1 if one fails."""
    declared, _ = _declared(module or ())
    with _open() as database:
        written = writes_of(database, id, partition)
    rows = list({(row.partition, row.path): row for row in written}.values())
    known = declared.get(id)
    if known is None or known.task.produces is None:
        raise PipelineError(
            f"no flow of the project writes asset {id!r} now", hint="name its module with -m"
        )
    import sys

    from mxm.pipeline.assets.checking import results_of

    sys.path[:0] = read_settings(working_directory()).import_paths
    documents: list[dict[str, Any]] = []
    failed = False
    for made in rows:
        entry: dict[str, Any] = {"partition": made.partition, "path": made.relative}
        try:
            value = load_value(made, changed=True)
            before = functools.partial(_rows_before, made, written)
            results = results_of(known.task.produces, value, before)
            entry["checks"] = [each.to_dict() for each in results]
            entry["error"] = made.change()
        except PipelineError as error:
            entry["checks"], entry["error"] = [], error.message
        documents.append(entry)
        failed = (
            failed
            or entry["error"] is not None
            or any(not each["passed"] and each["severity"] == "block" for each in entry["checks"])
        )
    if as_json:
        print_json({"schema": "mxm.assets-check/1", "id": id, "partitions": documents})
    else:
        lines = [line for entry in documents for line in _check_rows(entry)]
        print_table(("PARTITION", "CHECK", "RESULT", ""), lines)
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def _rows_before(made: Materialisation, written: Sequence[Materialisation]) -> int | None:
    """The number of rows of the last write before *made* of the same file."""
    place = made.partition, made.path
    earlier = [row for row in written if row.number < made.number]
    rows = [row.rows for row in earlier if (row.partition, row.path) == place]
    return next((each for each in reversed(rows) if each is not None), None)


def _check_rows(entry: Mapping[str, Any]) -> list[tuple[str, ...]]:
    partition = entry["partition"] or ""
    rows: list[tuple[str, ...]] = [
        (
            partition,
            each["name"],
            "passed" if each["passed"] else "failed" if each["severity"] == "block" else "warning",
            each["message"] or "",
        )
        for each in entry["checks"]
    ]
    if entry["error"]:
        rows.insert(0, (partition, "the file", "failed", entry["error"]))
    return rows or [(partition, "", "no checks", "")]


@app.command("forget", cls=Verb)
def forget(
    id: Id,  # noqa: A002
    partition: Partition = None,
    files: Annotated[
        bool, typer.Option("--files", help="Also remove the files, unless they were changed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete the records of an asset, or of one partition."""
    removed: list[str] = []
    kept: list[str] = []
    with _open() as database:
        rows = writes_of(database, id, partition)
        newest = {row.relative: row for row in rows if row.path is not None}
        for name, row in newest.items() if files else ():
            place = row.path or ""
            if row.change() is None:
                # At a URL, each written content has an object of its own.
                for each in {one.path: one for one in rows if one.relative == name}.values():
                    remove_file(each)
                removed.append(place)
            elif is_there(row):
                kept.append(place)
        gone: list[tuple[str, Sequence[Any]]] = [
            ("DELETE FROM materialisation WHERE number = ?", (row.number,)) for row in rows
        ]
        gone += [(_CHECKS_GONE, (id, named)) for named in {row.partition for row in rows}]
        database.write([*gone, (_ASSET_GONE, (id, id))])
    if as_json:
        print_json({"schema": "mxm.assets-forget/1", "id": id, "forgotten": len(rows),
                    "removed": removed, "kept": kept})  # fmt: skip
        return
    say(f"forgot {counted(len(rows), 'write')} of {id}")
    for place in removed:
        say(f"removed {shown_path(place)}")
    for place in kept:
        print_error(
            f"{shown_path(place)} was changed outside, so it is not removed", kind="warning"
        )


_CHECKS_GONE = 'DELETE FROM "check" WHERE asset = ? AND partition IS ?'
_ASSET_GONE = """
DELETE FROM asset
WHERE id = ? AND NOT EXISTS (SELECT 1 FROM materialisation WHERE asset = ?)
"""
