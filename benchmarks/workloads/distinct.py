"""Define and check N tasks of N annotated functions, beside reading their signatures alone.

distinct.py ours|alone N: either is done on functions of its own, which nothing has read before.
"""

import inspect
import json
import sys
import time
from typing import get_type_hints

size = int(sys.argv[2])
source = [
    "from __future__ import annotations",
    "def t0(limit: int = 3) -> list[int]: return [limit]",
]
source += [
    f"def t{i}(rows: list[int], factor: float = 2.0) -> list[int]: return rows"
    for i in range(1, size)
]
space = {"__name__": "__main__"}
exec(compile("\n".join(source), "functions", "exec"), space)
functions = [space[f"t{i}"] for i in range(size)]
if sys.argv[1] == "ours":
    from mxm.pipeline import FlowSpec, TaskSpec
    from mxm.pipeline.api import check_flow

    began = time.perf_counter()
    tasks = [TaskSpec("t0", functions[0])]
    tasks += [TaskSpec(f"t{i}", functions[i], upstream=f"t{i - 1}") for i in range(1, size)]
    assert check_flow(FlowSpec("big", tasks=tasks)) == []
else:
    began = time.perf_counter()
    for function in functions:
        inspect.signature(function)
        get_type_hints(function)
print(json.dumps({"seconds": time.perf_counter() - began}))
