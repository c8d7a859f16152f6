"""`check`: the problems of some flows, or of all."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mxm.pipeline.cli.describe import counted, failure_document, problem_document
from mxm.pipeline.cli.output import ExitCode, print_error, print_json, stdout_kept
from mxm.pipeline.discovery import Failure, Found, discover, find_flow
from mxm.pipeline.errors import Problem, shown_path
from mxm.pipeline.graph import find_problems
from mxm.pipeline.registry import Registration

__all__ = ["check_flows"]


def check_flows(names: Sequence[str], modules: Sequence[str], *, as_json: bool) -> ExitCode:
    """Check the flows *names*, or all that can be found, and print what is wrong."""
    failures: list[Failure] = []
    if names:
        with stdout_kept():
            entries = [find_flow(name, modules) for name in names]
        problems: list[Problem] = []
    else:
        with stdout_kept():
            found = discover(modules)
        entries, failures, problems = found.flows, found.failures, _clashes(found)
        if not entries and not as_json:
            print("no flows were found; looked at: " + "; ".join(found.looked_at), file=sys.stderr)
    for entry in entries:
        problems.extend(find_problems(entry.spec()))
    wrong = any(problem.severity == "error" for problem in problems)
    if as_json:
        print_json(
            {
                "schema": "mxm.check/1",
                "flows": [entry.name for entry in entries],
                "problems": [problem_document(p) for p in problems],
                "failures": [failure_document(f) for f in failures],
            }
        )
    else:
        _print(entries, problems, failures)
    if wrong:
        return ExitCode.INVALID_GRAPH
    return ExitCode.IMPORT_FAILED if failures else ExitCode.OK


def _print(
    entries: Sequence[Registration], problems: Sequence[Problem], failures: Sequence[Failure]
) -> None:
    for failure in failures:
        print_error(str(failure))
    for problem in problems:
        print_error(problem)
    errors = sum(problem.severity == "error" for problem in problems)
    told = counted(errors, "problem") if errors else "no problems"
    print(f"{counted(len(entries), 'flow')} checked: {told}")


def _clashes(found: Found) -> list[Problem]:
    by_name: dict[str, list[Registration]] = {}
    for entry in found.flows:
        by_name.setdefault(entry.name, []).append(entry)
    return [
        Problem(
            "MXM107",
            f"{len(entries)} flows are named {name!r}: "
            + " and ".join(str(e.source or shown_path(e.place.file)) for e in entries),
            "give one of them another name: @mxm.flow(name=...)",
            entries[0].source,
            name,
        )
        for name, entries in by_name.items()
        if len(entries) > 1
    ]
