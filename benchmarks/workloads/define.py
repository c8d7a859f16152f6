"""Define and check a chain of N tasks that share four functions, or only plain dicts of them.

define.py mxm|dicts N
"""

import json
import sys
import time
from graphlib import TopologicalSorter


def first() -> int:
    return 1


def add(value: int) -> int:
    return value + 1


def double(value: int) -> int:
    return value * 2


def halve(value: int) -> int:
    return value // 2


functions = [add, double, halve]
size = int(sys.argv[2])
if sys.argv[1] == "mxm":
    from mxm.pipeline import FlowSpec, TaskSpec
    from mxm.pipeline.api import check_flow

    began = time.perf_counter()
    tasks = [TaskSpec("t0", first)]
    tasks += [TaskSpec(f"t{i}", functions[i % 3], upstream=f"t{i - 1}") for i in range(1, size)]
    assert check_flow(FlowSpec("big", tasks=tasks)) == []
else:
    began = time.perf_counter()
    nodes = {"t0": {"fn": first, "upstream": []}}
    for i in range(1, size):
        nodes[f"t{i}"] = {"fn": functions[i % 3], "upstream": [f"t{i - 1}"]}
    graph = {name: node["upstream"] for name, node in nodes.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == size
print(json.dumps({"seconds": time.perf_counter() - began}))
