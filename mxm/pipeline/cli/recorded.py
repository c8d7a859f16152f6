"""Recorded runs as text: the rows, lines and documents of `runs`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from mxm.pipeline.cli.lines import duration
from mxm.pipeline.cli.output import print_table, say, tell
from mxm.pipeline.errors import PipelineError, described
from mxm.pipeline.problems import shown_path
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.store.differences import Difference
from mxm.pipeline.taskruns import State

__all__ = ["ago", "difference_lines", "difference_rows", "moment", "resume_command",
           "run_rows", "show_run", "summary_document", "write_value"]  # fmt: skip

_LONGEST = 60
_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment(text: str) -> datetime:
    """The time that ``--since`` means: an ISO date or time (local without a zone), or ``36h`` ago.

    Raises
    ------
    PipelineError
        It is neither.
    """
    span = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", text.strip())
    try:
        if span:
            return datetime.now(UTC) - timedelta(seconds=float(span[1]) * _UNITS[span[2]])
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        hint = "write 2026-11-28, 2026-11-28T09:30, 90m, 36h, 7d or 2w"
        raise PipelineError(f"--since: not a time: {text!r}", hint=hint) from None


def resume_command(run: str, state: str) -> str:
    """The command that resumes a run that did not succeed; empty if there is none."""
    from mxm.pipeline.cli.main import VERBS

    ended = state in (State.FAILED, State.CANCELLED, State.CRASHED)
    return f"mxm-pipeline resume {run}" if ended and "resume" in VERBS else ""


def ago(time: datetime, now: datetime | None = None) -> str:
    """How long ago *time* was: ``just now``, ``12 minutes ago``, ``3 days ago``."""
    seconds = ((now or datetime.now(UTC)) - time).total_seconds()
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count:,} {unit}{'s' * (count != 1)} ago"
    return "just now"


def _clock(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().strftime("%a %d %b %Y %H:%M:%S")


def _took(row: Mapping[str, Any]) -> str:
    return "" if row["seconds"] is None else duration(row["seconds"])


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in counts.items())


def run_rows(
    rows: Sequence[Mapping[str, Any]], counts: Mapping[str, Mapping[str, int]]
) -> list[tuple[str, ...]]:
    """One row per run, for the table of `runs`."""
    return [
        (
            row["id"],
            row["flow"],
            row["state"] + (" (kept)" if row["pinned"] else ""),
            _clock(row["started"]),
            _took(row),
            _counted(counts[row["id"]]),
        )
        for row in rows
    ]


def summary_document(row: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, Any]:
    """A run in the document of `runs --json`."""
    same = ("id", "flow", "state", "started", "ended", "seconds", "backend", "runner", "parent")
    return {
        **{name: row[name] for name in same},
        "tasks": dict(counts),
        "pinned": bool(row["pinned"]),
        "overridden": bool(row["overridden"]),
    }


def show_run(row: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], *, output: bool) -> None:
    """Print one run on stdout.

    Parameters
    ----------
    row, tasks
        As the history has them.
    output
        Whether to show what all tasks printed.
    """
    say(in_one_line(f"{row['flow']}  {row['id']}  {row['state']}"))
    say()
    for name, text in _facts(row):
        if text:
            say(f"{name:<10}{in_one_line(text)}")
    params = json.loads(row["params"] or "[]")
    if params:
        say()
        table = [(p["name"], _short(p["value"]), p["type"] or "", _origin(p)) for p in params]
        print_table(("PARAMETER", "VALUE", "TYPE", "FROM"), table)
    say()
    print_table(("TASK", "STATE", "TOOK", "ATTEMPTS", "RESULT"), list(map(_task_row, tasks)))
    for warning in json.loads(row["warnings"] or "[]"):
        say(f"\nwarning: {warning['code']} {warning['message']}")
    for task in tasks:
        if task["error"]:
            say(f"\ntask {task['name']!r} failed:")
            say(task["error"]["traceback"])
        if task["output"] and (output or task["error"]):
            say(f"\ntask {task['name']!r} printed:")
            say(task["output"].rstrip("\n"))


def _facts(row: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    took = f", took {_took(row)}" if row["seconds"] is not None else ""
    since = ago(datetime.fromisoformat(row["started"]))
    yield "started", f"{_clock(row['started'])} ({since}){took}"
    workers = f", {row['workers']} workers" if (row["workers"] or 1) > 1 else ""
    yield "ran", f"{row['backend']}, {row['runner']}{workers}"
    yield "on", f"{row['host']}, process {row['pid']}, by {row['user'] or 'nobody known'}"
    yield "command", " ".join(json.loads(row["command"] or "[]"))
    yield "from", row["place"] or ""
    git = json.loads(row["git"]) if row["git"] else None
    if git:
        commit = (git["commit"] or "no commit")[:12]
        branch = f" on {git['branch']}" if git["branch"] else ""
        state = {True: ", with changes", False: ""}.get(git["dirty"], ", changes not known")
        yield "git", f"{commit}{branch}{state}"
    versions = json.loads(row["versions"] or "{}")
    yield "versions", ", ".join(f"{name} {version}" for name, version in versions.items())
    if row["parent"]:
        yield "within", f"a task of run {row['parent']}"
    if row["overridden"]:
        yield "marked", "values were overridden: this run is a test"
    if row["pinned"]:
        yield "kept", "it is never pruned"
    if row["state"] == "crashed":
        yield "crashed", "its process, or its record, ended before the run did"


def _origin(parameter: Mapping[str, Any]) -> str:
    return str(parameter["from"] or parameter["origin"])


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = in_one_line(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _task_row(task: Mapping[str, Any]) -> tuple[str, ...]:
    state = task["state"] + (" (allowed)" if task["allowed"] else "")
    said = ""
    if task["has_result"]:
        said = _short(_brief(task["result"]))
    elif task["error"]:
        said = _short(f"{task['error']['type']}: {task['error']['message']}")
    elif task["reason"]:
        said = _short(task["reason"])
    return task["name"], state, _took(task), str(task["attempts"] or ""), said


def _brief(result: Any) -> Any:
    """*result*, or its type and size if they say more than its beginning."""
    if isinstance(result, dict):
        parts = cast("dict[str, Any]", result)
        if "type" in parts and "shape" in parts:
            return f"{parts['type']} {'x'.join(map(str, parts['shape']))}"
    return cast("Any", result)


def difference_lines(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The lines that name the compared runs."""
    return [
        f"{row['id']}  {row['flow']}  {row['state']}  {_clock(row['started'])}"
        for row in (one, other)
    ]


def difference_rows(differences: Iterable[Difference]) -> list[tuple[str, ...]]:
    """One row per difference."""
    return [
        (each.kind, each.name, _cell(each.before), _cell(each.after), each.note or "")
        for each in differences
    ]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = _short(value)
    return text[:12] if re.fullmatch(r"[0-9a-f]{32,64}", text) else text


_WRITERS: dict[str, tuple[str, ...]] = {
    ".csv": ("to_csv", "write_csv"),
    ".parquet": ("to_parquet", "write_parquet"),
}


def write_value(value: Any, result: Any, path: str) -> None:
    """Write a kept value to the file *path*, in the form that its name asks for.

    Parameters
    ----------
    value
        The value.
    result
        The same as JSON.
    path
        Ends in ``.pkl``, ``.json``, ``.csv`` or ``.parquet``.

    Raises
    ------
    PipelineError
        The form is unknown, the value has no such form, or the file cannot be written.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending not in (".pkl", ".json", *_WRITERS):
        hint = "end it in .pkl, .json, .csv or .parquet"
        raise PipelineError(f"--out: cannot tell the format of {path!r}", hint=hint)
    try:
        if ending == ".json":
            with open(path, "w", encoding="utf-8") as file:
                json.dump(result, file, indent=2)
        elif ending == ".pkl":
            import pickle

            with open(path, "wb") as file:
                pickle.dump(value, file, protocol=5)
        else:
            _writer(value, ending)(path)
    except OSError as error:
        message = f"--out: {path!r} cannot be written: {error.strerror or error}"
        raise PipelineError(message) from None
    tell(f"wrote {shown_path(path)}")


def _writer(value: Any, ending: str) -> Callable[[str], object]:
    for name in _WRITERS[ending]:
        method = getattr(value, name, None)
        if callable(method):

            def write(path: str, method: Callable[..., object] = method) -> None:
                try:
                    method(path)
                except ImportError as error:
                    raise PipelineError(f"--out: {described(error)}") from None

            return write
    raise PipelineError(
        f"--out: a {type(value).__name__} cannot be written as {ending}", hint="write .pkl"
    )
