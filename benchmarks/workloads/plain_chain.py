"""The chain of chain.py in plain Prefect: plain_chain.py N ROWS."""

import json
import sys
import time

from prefect import flow, task

size, rows = int(sys.argv[1]), int(sys.argv[2])
payload = [{"id": i, "price": i / 7, "name": f"row {i}"} for i in range(rows)] if rows else 0
few = min(20, size // 3)


@task
def first():
    return payload


@task
def step(value):
    return value


@flow
def chain(size: int):
    value = first()
    for _ in range(1, size):
        value = step(value)


def timed(size):
    cpu, wall = time.process_time(), time.perf_counter()
    chain(size)
    return time.process_time() - cpu, time.perf_counter() - wall


timed(few)
before, after = timed(few), timed(size)
cpu, wall = ((b - a) / (size - few) for a, b in zip(before, after, strict=True))
print(json.dumps({"cpu": cpu, "wall": wall}))
