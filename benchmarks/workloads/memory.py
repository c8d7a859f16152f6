"""An array through five tasks, for its peak memory: memory.py run|base MB."""

import sys

import numpy as np

COUNT = int(sys.argv[2]) * 1_000_000 // 8


def make():
    return np.ones(COUNT)


def check(array):
    assert array[0] == 1
    return array


def run():
    from mxm.pipeline import FlowSpec, TaskSpec, compile_flow

    tasks = [TaskSpec("t0", make)]
    tasks += [TaskSpec(f"t{i}", check, upstream=f"t{i - 1}") for i in range(1, 5)]
    done = compile_flow(FlowSpec("memory", tasks=tasks)).run().raise_for_failure()
    assert done.value() is done.values["t0"]


if sys.argv[1] == "run":
    run()
else:
    from prefect import flow, task  # noqa: F401 - part of the base

    array = make()
