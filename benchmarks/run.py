"""Measure mxm-pipeline beside plain Prefect and other peers: python benchmarks/run.py.

Writes benchmarks/results/NAME.json for each benchmark and the table of docs/benchmarks.md. All
cases of a benchmark run in turn (A B A B), so that what else the machine does hits all of them,
and medians are compared. Only ratios carry from one machine to another.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import time

import figures
from figures import Figure
from measuring import HERE

RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def environment() -> dict[str, object]:
    """What the numbers depend on, and may be published."""
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "prefect": importlib.metadata.version("prefect"),
        "date": time.strftime("%Y-%m-%d"),
    }


def write_result(name: str, rows: list[Figure]) -> None:
    """Keep what the benchmark *name* saw."""
    RESULTS.mkdir(exist_ok=True)
    document = {"name": name, **environment(), "figures": [vars(r) for r in rows]}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")


def write_table() -> None:
    """Put the table of all results between the markers of the page."""
    lines = ["| what | to reach | seen | | peer |", "|---|---|---|---|---|"]
    taken: set[str] = set()
    for name in figures.BENCHMARKS:
        file = RESULTS / f"{name}.json"
        if not file.exists():
            continue
        document = json.loads(file.read_text())
        taken.add(
            f"Python {document['python']}, Prefect {document['prefect']}, {document['cores']} "
            f"shared cores, {document['date']}"
        )
        for row in document["figures"]:
            mark = {True: "reached", False: "**not reached**", None: ""}[row["reached"]]
            cells = row["what"], row["target"], row["seen"], mark, row["peer"]
            lines.append("| " + " | ".join(cells) + " |")
    table = "\n".join([BEGIN, "", *(f"{each}." for each in sorted(taken)), "", *lines, "", END])
    text = PAGE.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(before + table + after)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", metavar="NAME", action="append", choices=figures.BENCHMARKS)
    parser.add_argument(
        "--quick", action="store_true", help="one round, no plain Prefect; nothing is written"
    )
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--table", action="store_true", help="rewrite the table and stop")
    given = parser.parse_args()
    if given.list:
        print("\n".join(figures.BENCHMARKS))
        return
    failed = False
    for name in [] if given.table else given.only or figures.BENCHMARKS:
        print(name, flush=True)
        try:
            rows = figures.BENCHMARKS[name](figures.Rounds(given.quick))
        except RuntimeError as error:
            failed = True
            print(f"  failed: {error}", file=sys.stderr, flush=True)
            continue
        for row in rows:
            state = {True: "reached", False: "NOT REACHED", None: "-"}[row.reached]
            print(f"  {state:12} {row.what}: {row.seen} (to reach {row.target})", flush=True)
        if not given.quick:
            write_result(name, rows)
    if not given.quick:
        write_table()
    sys.exit(failed)


if __name__ == "__main__":
    main()
