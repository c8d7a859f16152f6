"""What one more task costs in a chain: CPU and wall time between runs of 20 and of N tasks.

chain.py BACKEND N ROWS: each task passes on ROWS dicts (0: a number).
"""

import json
import sys
import time

from mxm.pipeline import FlowSpec, TaskSpec, compile_flow

backend, size, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
payload = [{"id": i, "price": i / 7, "name": f"row {i}"} for i in range(rows)] if rows else 0
few = min(20, size // 3)


def first():
    return payload


def step(value):
    return value


def chain(size):
    tasks = [TaskSpec("t0", first)]
    tasks += [TaskSpec(f"t{i}", step, upstream=f"t{i - 1}") for i in range(1, size)]
    return compile_flow(FlowSpec(f"chain{size}", tasks=tasks), backend=backend)


def timed(flow):
    cpu, wall = time.process_time(), time.perf_counter()
    flow.run().raise_for_failure()
    return time.process_time() - cpu, time.perf_counter() - wall


short, long = chain(few), chain(size)
timed(short)
before, after = timed(short), timed(long)
cpu, wall = ((b - a) / (size - few) for a, b in zip(before, after, strict=True))
print(json.dumps({"cpu": cpu, "wall": wall}))
