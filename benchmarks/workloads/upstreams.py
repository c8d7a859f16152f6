"""Define and check a chain of N decorated tasks whose upstreams are Task objects or their names.

upstreams.py objects|strings N
"""

import json
import sys
import time

import mxm
from mxm.pipeline.api import check_flow

size = int(sys.argv[2])
tasks = {}


def step(value: int = 0) -> int:
    return value + 1


began = time.perf_counter()
for i in range(size):
    before = f"t{i - 1}" if sys.argv[1] == "strings" else tasks.get(f"t{i - 1}")
    tasks[f"t{i}"] = mxm.task(name=f"t{i}", upstream=before if i else ())(step)
globals().update(tasks)  # names are looked up among the tasks of the function's module
last = tasks[f"t{size - 1}"]


@mxm.flow
def chain():
    return last


assert check_flow(chain) == []
assert len(chain.spec.tasks) == size
print(json.dumps({"seconds": time.perf_counter() - began}))
