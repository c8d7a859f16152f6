"""What memory costs: keys, kept values, a full hit, fingerprints, a long history, noted reads."""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steps import first, step

from mxm.pipeline import FlowSpec, TaskSpec, compile_flow


def cpu(work: Callable[[], Any], times: int = 3) -> float:
    """Seconds of CPU of the fastest of some calls."""
    taken: list[float] = []
    for _ in range(times):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return min(taken)


def keying() -> dict[str, float]:
    """Megabytes that are hashed in a second."""
    import numpy as np
    import pandas as pd

    from mxm.pipeline.values.digest import digest_of

    made = np.random.default_rng(1).normal(size=(8, 800_000))
    frame = pd.DataFrame(made.T, columns=list("abcdefgh"))
    texts = [f"{number:08d}" for number in range(1_000_000)]
    cases: dict[str, tuple[Any, int]] = {
        "numpy": (made, made.nbytes),
        "pandas": (frame, made.nbytes),
        "texts": (texts, 8 * len(texts)),
    }
    return {
        name: size / 1e6 / cpu(lambda value=value: digest_of(value))
        for name, (value, size) in cases.items()
    }


def storing() -> dict[str, float]:
    """Seconds to keep 200 MB, and to write the same bytes."""
    from mxm.pipeline.store import kept

    data = os.urandom(1 << 20) * 200
    found: dict[str, list[float]] = {"keep": [], "write": []}
    for number in range(3):
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            packed = kept.pack(data, None, 1 << 40)
            kept.keep(folder, packed, kept.digest_of(packed, b"key%d" % number))
            found["keep"].append(time.perf_counter() - begun)
            begun = time.perf_counter()
            with open(os.path.join(folder, "plain"), "wb") as file:
                file.write(data)
                file.flush()
                os.fdatasync(file.fileno())
            found["write"].append(time.perf_counter() - begun)
    return {name: min(taken) for name, taken in found.items()}


def hits() -> dict[str, float]:
    """Seconds of a chain of 1,000 cached tasks, computed and replayed."""
    chain = [TaskSpec("t0", first, cache=True)]
    chain += [TaskSpec(f"t{i}", step, upstream=f"t{i - 1}", cache=True) for i in range(1, 1_000)]
    compiled = compile_flow(FlowSpec("chain", chain), backend="inline")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MXM_HOME"] = folder
        cold = cpu(compiled.run, 1)
        hit = cpu(compiled.run)
        assert {task.state for task in compiled.run().tasks.values()} == {"cached"}
    return {"cold": cold, "hit": hit}


def fingerprints() -> dict[str, float]:
    """Seconds for the fingerprints of a project of 300 functions, without and with a memory."""
    from mxm.pipeline.values.fingerprint import FileMemory, Fingerprints

    with tempfile.TemporaryDirectory() as folder:
        for number in range(10):
            before = f"import part{number - 1}\n" if number else ""
            lines = [before]
            for each in range(30):
                above = f"part{number - 1}.f{each}(x)" if number else "x"
                lines.append(f"C{each} = {each}\ndef f{each}(x):\n    return {above} + C{each}\n")
            (Path(folder) / f"part{number}.py").write_text("\n".join(lines), "utf-8")
        time.sleep(2.1)  # a file is known by its stat only once that is older than its clock
        sys.path.insert(0, folder)
        module = importlib.import_module("part9")
        names = [f"f{each}" for each in range(30)]
        stored = os.path.join(folder, "memory.json")

        def made() -> None:
            prints = Fingerprints(folder, FileMemory(stored))
            for name in names:
                prints.of(getattr(module, name))
            prints.save()

        return {"cold": cpu(made, 1), "warm": cpu(made)}


def history() -> dict[str, float]:
    """Seconds of CPU to list runs and to plan, with one run and with 10,000."""
    from mxm.pipeline.api import plan_flow
    from mxm.pipeline.store.history import runs_of

    spec = FlowSpec("chain", [TaskSpec("t0", first), TaskSpec("t1", step, upstream="t0")])
    compiled = compile_flow(spec, backend="inline", record=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MXM_HOME"] = folder
        compiled.run()
        found = {"runs_1": cpu(lambda: runs_of("chain")), "plan_1": cpu(lambda: plan_flow(spec))}
        with sqlite3.connect(os.path.join(folder, "store.db")) as database:
            for table in ("run", "task"):
                columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
                key = "id" if table == "run" else "run"
                kept = ", ".join(f'"{name}"' for name in columns if name != key)
                database.execute(
                    f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                    f"WHERE i < 10000) INSERT INTO {table} ({key}, {kept}) "
                    f"SELECT printf('20250101-000000-%08x', i), {kept} FROM {table}, n"
                )
        found |= {
            "runs_many": cpu(lambda: runs_of("chain")),
            "plan_many": cpu(lambda: plan_flow(spec)),
        }
    return found


def reads() -> dict[str, float]:
    """Seconds of CPU to open 1,000 files, noted and not."""
    from mxm.pipeline.execution.files.observing import observed

    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, f"{number}.txt") for number in range(1_000)]
        for path in paths:
            Path(path).write_text("1", "utf-8")
            os.utime(path, (1, 1))

        def plain() -> None:
            for path in paths:
                with open(path, "rb") as file:
                    file.read()

        def noted() -> None:
            with observed(root=folder):
                plain()

        off = cpu(plain)
        return {"off": off, "on": cpu(noted)}


CASES = (keying, storing, hits, fingerprints, history, reads)


if __name__ == "__main__":
    chosen = {case.__name__: case for case in CASES}
    print(json.dumps(chosen[sys.argv[1]]()))
