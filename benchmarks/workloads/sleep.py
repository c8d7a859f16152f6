"""1 -> 32 tasks that sleep 0.1 s -> 1 on 8 threads, ideally 0.4 s: sleep.py BACKEND."""

import json
import sys
import time

from mxm.pipeline import FlowSpec, TaskSpec, compile_flow


def first():
    return 1


def nap(value):
    time.sleep(0.1)
    return value


def last(*values):
    return sum(values)


names = [f"t{i}" for i in range(32)]
tasks = [TaskSpec("first", first)]
tasks += [TaskSpec(name, nap, upstream="first") for name in names]
tasks.append(TaskSpec("last", last, upstream=names))
spec = FlowSpec("naps", tasks=tasks)
compiled = compile_flow(spec, backend=sys.argv[1], runner="threads", workers=8)
beyond = []
for _ in range(2):
    began = time.perf_counter()
    compiled.run().raise_for_failure()
    beyond.append(time.perf_counter() - began - 0.4)
print(json.dumps({"first": beyond[0], "second": beyond[1]}))
