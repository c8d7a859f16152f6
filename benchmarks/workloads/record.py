"""A chain of tasks with small results, recorded and not: CPU of the fastest of five runs."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

from mxm.pipeline import FlowSpec, TaskSpec, compile_flow


def row(_: object = None) -> dict[str, object]:
    return {"n": 1, "text": "x" * 200}


def seconds(spec: FlowSpec, backend: str, record: bool) -> float:
    compiled = compile_flow(spec, backend=backend, record=record)
    begun = time.process_time()
    compiled.run()
    return time.process_time() - begun


def main() -> None:
    backend, count = sys.argv[1], int(sys.argv[2])
    chain = [TaskSpec("t0", row)]
    chain += [TaskSpec(f"t{i}", row, upstream=f"t{i - 1}") for i in range(1, count)]
    spec = FlowSpec("chain", chain)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MXM_HOME"] = folder
        taken = [(seconds(spec, backend, False), seconds(spec, backend, True)) for _ in range(6)]
    off, on = (min(column) for column in zip(*taken[1:], strict=True))
    print(json.dumps({"off": off, "on": on}))


if __name__ == "__main__":
    main()
