"""`runs`: lists, shows, compares, exports, keeps and removes recorded runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mxm.pipeline.cli.command import AsJson, Verb, at_least, group_app
from mxm.pipeline.cli.output import print_json, print_table, print_warning, say, tell
from mxm.pipeline.cli.recorded import (
    difference_lines,
    difference_rows,
    moment,
    run_rows,
    show_run,
    summary_document,
    write_value,
)
from mxm.pipeline.discovery.settings import read_settings, working_directory
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.problems import did_you_mean, shown_path
from mxm.pipeline.store.database import Database
from mxm.pipeline.store.differences import differences
from mxm.pipeline.store.history import (
    counts_of,
    document_of,
    find_run,
    list_runs,
    load_run,
    read_document,
    read_run,
    tasks_of,
)
from mxm.pipeline.store.places import has_store, store_of_file
from mxm.pipeline.store.pruning import RUNS, VALUES, prune
from mxm.pipeline.taskruns import State

__all__ = ["app"]


app: typer.Typer = group_app("Show recorded runs; `runs [FLOW]` lists them.")

Run = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run: its id, an unambiguous part of it, or last."),
]


def _store(target: str | None = None) -> str:
    """The store of the working directory's project, or of the file in ``path/file.py:flow``."""
    file = target.rpartition(":")[0] if target and ".py:" in target else None
    return store_of_file(file)


def _open() -> Database:
    return Database(_store())


def _require_flow(database: Database, name: str) -> None:
    """Reject the *name* of a flow without any run: it may be misspelt, or a verb."""
    flows = [str(row["flow"]) for row in database.read("SELECT DISTINCT flow FROM run")]
    if name not in flows:
        hint = did_you_mean(name, [*flows, *_COMMANDS])
        raise PipelineError(f"no run of flow {name!r} is recorded", hint=hint)


_COMMANDS = ("list", "show", "diff", "values", "keep", "prune")


@app.command("list", cls=Verb)
def list_command(
    flow: Annotated[
        str | None, typer.Argument(metavar="[FLOW]", help="Only runs of the flow of this name.")
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            "--state", metavar="STATE", help="Only runs in a state: succeeded, failed, crashed, ..."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="WHEN", help="Only runs since then: 2026-11-28, 36h, 7d or 2w."
        ),
    ] = None,
    last: Annotated[
        int,
        typer.Option(
            "--last",
            metavar="N",
            show_default=False,
            callback=at_least(1),
            help="At most N runs; default: 20.",
        ),
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    states = [each.value for each in State]
    if state is not None and state not in states:
        raise PipelineError(f"--state: unknown state {state!r}", hint=did_you_mean(state, states))
    start = moment(since) if since else None
    store = _store(flow)
    rows, counts = list[dict[str, Any]](), dict[str, dict[str, int]]()
    if has_store(store):
        name = flow.rpartition(":")[2] if flow else None
        with Database(store) as database:
            rows = list_runs(database, name, state=state, since=start, last=last + 1)
            counts = counts_of(database, rows[:last])
            if name is not None and not rows:
                _require_flow(database, name)
    more, rows = len(rows) > last, rows[:last]
    if as_json:
        runs = [summary_document(row, counts[row["id"]]) for row in rows]
        print_json({"schema": "mxm.runs/1", "runs": runs})
        return
    if rows:
        head = ("RUN", "FLOW", "STATE", "STARTED", "TOOK", "TASKS")
        print_table(head, run_rows(rows, counts))
    else:
        which = "no such run" if flow or state or since else "no run"
        tell(f"{which} is recorded in {shown_path(store)}")
    if more:
        print_warning(f"there are older ones: --last {last * 5}")


@app.command("show", cls=Verb)
def show(
    run: Run = "last",
    output: Annotated[
        bool, typer.Option("--output", help="Also show what each task printed and logged.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show one run: its parameters, code and versions, and how each task ended."""
    with _open() as database:
        row = read_run(database, find_run(database, run))
        tasks = tasks_of(database, row)
        definition = read_document(database, row["definition"])
    if as_json:
        print_json(document_of(row, tasks, definition))
    else:
        show_run(row, tasks, output=output)


@app.command("diff", cls=Verb)
def diff(one: Run, other: Run = "last", as_json: AsJson = False) -> None:
    """Compare two runs: parameters, code, versions, and results."""
    with _open() as database:
        ids = find_run(database, one), find_run(database, other)
        before, after = (read_run(database, each) for each in ids)
        changes = differences(database, before, after)
    if as_json:
        rows = [each._asdict() for each in changes]
        print_json({"schema": "mxm.runs-diff/1", "runs": list(ids), "differences": rows})
        return
    for line in difference_lines(before, after):
        say(line)
    if changes:
        say()
        print_table(("", "WHAT", ids[0], ids[1], ""), difference_rows(changes))
    else:
        say("there is no recorded difference")


@app.command("values", cls=Verb)
def values(
    run: Run,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name.")],
    out: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="FILE", help="Write the value itself: .pkl, .json, .csv or .parquet."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the result of a task as JSON, or write its kept value to a file."""
    with _open() as database:
        row = read_run(database, find_run(database, run))
        tasks = {each["name"]: each for each in tasks_of(database, row)}
    if task not in tasks:
        raise PipelineError(f"run {row['id']} has no task {task!r}", hint=did_you_mean(task, tasks))
    chosen = tasks[task]
    if not chosen["has_result"]:
        why = chosen["reason"] or f"it is {chosen['state']}"
        raise PipelineError(f"task {task!r} of run {row['id']} has no result: {why}")
    if out is not None:
        import sys

        sys.path[:0] = read_settings(working_directory()).import_paths
        recorded = load_run(row["id"], database.store).tasks[task]
        write_value(recorded.value, chosen["result"], out)
    elif as_json:
        print_json(
            {
                "schema": "mxm.runs-values/1",
                "run": row["id"],
                "task": task,
                "kept": chosen["value"] is not None,
                "unkept": chosen["unkept"],
                "result": chosen["result"],
            }
        )
    else:
        print_json(chosen["result"])


@app.command("keep", cls=Verb)
def keep(
    run: Run,
    undo: Annotated[bool, typer.Option("--undo", help="Allow it to be pruned again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Keep a run and its values: it is never pruned."""
    with _open() as database:
        name = find_run(database, run)
        database.write([("UPDATE run SET pinned = ? WHERE id = ?", (not undo, name))])
    if as_json:
        print_json({"schema": "mxm.runs-keep/1", "run": name, "pinned": not undo})
    else:
        say(f"{name} may be pruned" if undo else f"{name} is kept")


@app.command("prune", cls=Verb)
def prune_command(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Remove nothing; print what would be removed.")
    ] = False,
    runs: Annotated[
        int,
        typer.Option(
            "--runs",
            metavar="N",
            show_default=False,
            callback=at_least(0),
            help=f"Keep this many runs of each flow; default: {RUNS}.",
        ),
    ] = RUNS,
    size: Annotated[
        float,
        typer.Option(
            "--values",
            metavar="GB",
            show_default=False,
            callback=at_least(0),
            help=f"Keep this many gigabytes of values; default: {VALUES / 1e9:g}.",
        ),
    ] = VALUES / 1e9,
    as_json: AsJson = False,
) -> None:
    """Remove old runs and values, except what is marked to keep or is younger than an hour."""
    with _open() as database:
        # "inf" is a number, too: all of them stay.
        pruned = prune(database, runs=runs, size=int(min(size * 1e9, 2**62)), dry_run=dry_run)
    if as_json:
        print_json(
            {
                "schema": "mxm.runs-prune/1",
                "dry_run": dry_run,
                "runs": list(pruned.runs),
                "values": pruned.values,
                "freed": pruned.freed,
            }
        )
        return
    verb = "would remove" if dry_run else "removed"
    count = len(pruned.runs)
    say(
        f"{verb} {count:,} run{'s' * (count != 1)} and {pruned.values:,} "
        f"value{'s' * (pruned.values != 1)} of {pruned.freed / 1e6:,.1f} MB"
    )
