"""The second run of a compiled flow in one process, the four tasks of four.py."""

import json
import sys
import time

from four import four

from mxm.pipeline import compile_flow

compiled = compile_flow(four, backend=sys.argv[1])
seconds = []
for _ in range(2):
    began = time.perf_counter()
    compiled.run().raise_for_failure()
    seconds.append(time.perf_counter() - began)
print(json.dumps({"first": seconds[0], "seconds": seconds[1]}))
