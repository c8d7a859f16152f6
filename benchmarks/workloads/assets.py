"""What assets cost, in one process: a written frame, a catalogue of 10,000 writes, a backfill."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

FLOWS = """
import mxm
from mxm.pipeline import AssetDecl

@mxm.task(produces=AssetDecl("a", "day", "json", "data/a-{day}.json"))
def load(day: str) -> list[str]:
    return [day]

@mxm.task
def double(values: list[str]) -> list[str]:
    return values * 2

@mxm.task
def count(values: list[str]) -> int:
    return len(values)

@mxm.task(produces=AssetDecl("b", "day", "json", "data/b-{day}.json"))
def report(n: int) -> int:
    return n

@mxm.flow
def four(day: str = "0"):
    return report(count(double(load(day))))
"""


def frame(mb: int) -> None:
    """Seconds of `to_parquet` with fsync, and of a run that writes the same frame."""
    import numpy as np
    import pandas as pd

    from mxm.pipeline import AssetDecl, FlowSpec, TaskSpec, compile_flow

    rng = np.random.default_rng(7)
    value = pd.DataFrame(rng.standard_normal((mb * 1_000_000 // 80, 10))).rename(columns=str)
    made = AssetDecl("large", path_template="large.parquet")
    spec = FlowSpec("f", [TaskSpec("t", lambda: value, produces=made)])
    vars(spec)["source"] = None  # what has no file belongs to the working directory
    compiled = compile_flow(spec, backend="inline", record=False)

    def plain() -> None:
        value.to_parquet("plain.parquet")
        descriptor = os.open("plain.parquet", os.O_RDWR)
        os.fsync(descriptor)
        os.close(descriptor)

    taken: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(4):
        for name, call in (("plain", plain), ("ours", lambda: compiled.run({}))):
            started = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - started)
    print(json.dumps({name: min(each[1:]) for name, each in taken.items()}))


def catalogue(count: int) -> None:
    """A store with *count* writes of one asset, whose files are there."""
    Path("flows.py").write_text(FLOWS)
    Path("pyproject.toml").touch()
    sys.path.insert(0, os.getcwd())
    from flows import four  # pyright: ignore[reportMissingImports]

    from mxm.pipeline import compile_flow
    from mxm.pipeline.assets.files import hash_of
    from mxm.pipeline.store.database import Database

    compile_flow(four, backend="inline", record=True).run({"day": "0"})
    digest = hash_of("data/a-0.json")
    with Database(".mxm") as database:
        [row] = database.read("SELECT * FROM materialisation WHERE asset = 'a'")
        names = [name for name in row if name != "number"]
        columns, marks = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(names))
        insert = f"INSERT INTO materialisation ({columns}) VALUES ({marks})"
        rows: list[tuple[str, list[object]]] = []
        for n in range(1, count):
            path = f"data/a-{n}.json"
            Path(path).write_bytes(Path("data/a-0.json").read_bytes())
            new = {**row, "partition": f"day:{n}", "path": path,
                   "modified": os.stat(path).st_mtime_ns, "digest": digest.digest}  # fmt: skip
            rows.append((insert, [new[name] for name in names]))
        database.write(rows)
    print(json.dumps({"rows": count}))


def tasks(count: int) -> None:
    """*count* runs of four tasks in one process."""
    sys.path.insert(0, os.getcwd())
    from flows import four  # pyright: ignore[reportMissingImports]

    from mxm.pipeline import compile_flow

    compiled = compile_flow(four, backend="inline", record=True)
    for n in range(count):
        compiled.run({"day": f"t{n}"})


if __name__ == "__main__":
    {"frame": frame, "catalogue": catalogue, "tasks": tasks}[sys.argv[1]](int(sys.argv[2]))
