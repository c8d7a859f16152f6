"""The flow of four.py in plain Prefect, run by hand; with `again`, its second run is timed."""

import json
import sys
import time

from prefect import flow, task


@task
def load(size):
    return [float(i) for i in range(size)]


@task
def double(values):
    return [2 * value for value in values]


@task
def total(values):
    return sum(values)


@task
def report(values, total):
    return total + len(values)


@flow
def four(size: int = 3):
    values = load(size)
    return report(double(values), total(values))


four()
if "again" in sys.argv:
    began = time.perf_counter()
    four()
    print(json.dumps({"seconds": time.perf_counter() - began}))
