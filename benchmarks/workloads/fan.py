"""1 -> N -> 1: fan.py BACKEND RUNNER WORKERS N [few].

With `few`, what one more task costs, between runs of FEW and of N; without, one run of N.
"""

import json
import sys
import time

from mxm.pipeline import FlowSpec, TaskSpec, compile_flow


def first():
    return 1


def work(value):
    return value + 1


def last(*values):
    return sum(values)


def fan(backend, runner, workers, size):
    names = [f"t{i}" for i in range(size)]
    tasks = [TaskSpec("first", first)]
    tasks += [TaskSpec(name, work, upstream="first") for name in names]
    tasks.append(TaskSpec("last", last, upstream=names))
    spec = FlowSpec("fan", tasks=tasks)
    return compile_flow(spec, backend=backend, runner=runner, workers=workers)


def timed(flow):
    cpu, wall = time.process_time(), time.perf_counter()
    flow.run().raise_for_failure()
    return time.process_time() - cpu, time.perf_counter() - wall


def main():
    backend, runner, workers, size = sys.argv[1:5]
    how = backend, runner, int(workers) or None
    if len(sys.argv) < 6:
        _, wall = timed(fan(*how, int(size)))
        print(json.dumps({"run": wall, "task": wall / int(size)}))
        return
    few = int(sys.argv[5])
    short, long = fan(*how, few), fan(*how, int(size))
    timed(short)
    before, after = timed(short), timed(long)
    cpu, wall = ((b - a) / (int(size) - few) for a, b in zip(before, after, strict=True))
    print(json.dumps({"cpu": cpu, "wall": wall}))


if __name__ == "__main__":
    main()
