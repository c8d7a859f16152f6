"""A chain of N tasks on the inline backend from Python: CPU seconds a task beyond the functions."""

import json
import statistics
import sys
import time

from mxm.pipeline import FlowSpec, TaskSpec, compile_flow

size = int(sys.argv[1])


def first():
    return 0


def step(value):
    return value + 1


tasks = [TaskSpec("t0", first)]
tasks += [TaskSpec(f"t{i}", step, upstream=f"t{i - 1}") for i in range(1, size)]
compiled = compile_flow(FlowSpec("chain", tasks=tasks), backend="inline")


def ours():
    assert compiled.run().value() == size - 1


def alone():
    value = first()
    for _ in range(size - 1):
        value = step(value)


def timed(function):
    began = time.process_time()
    function()
    return time.process_time() - began


ours()
beyond = statistics.median(timed(ours) - timed(alone) for _ in range(15))
print(json.dumps({"task": beyond / size}))
