"""A map over N items: maps.py MODE ...; seconds, or bytes, an item.

loop N             inline: CPU beyond a plain loop, for N and for 1,000 items
memory N           inline: bytes an item keeps, beyond its value
more BACKEND RUNNER N FEW   one more item, between a small and a large map after a warm-up
apart N            `processes`: N tasks of their own
floor N            `processes`: items of 5 ms on two workers, and what they take in two processes
"""

import json
import multiprocessing
import statistics
import sys
import time
import tracemalloc

import mxm
from mxm.pipeline import FlowSpec, TaskSpec, compile_flow


@mxm.task
def numbers(count: int) -> list[int]:
    return list(range(count))


@mxm.task
def work(x: int) -> int:
    return x + 1


@mxm.task
def busy(x: int) -> int:
    end = time.perf_counter() + 0.005
    while time.perf_counter() < end:
        pass
    return x


@mxm.flow
def mapped(count: int) -> list[int]:
    return work.map(numbers(count))


@mxm.flow
def mapped_busy(count: int) -> list[int]:
    return busy.map(numbers(count))


def timed(function, *args, clock=time.perf_counter):
    began = clock()
    function(*args)
    return clock() - began


def loop(count):
    flow = compile_flow(mapped.spec, backend="inline")
    fn = work.fn

    def beyond(size):
        ours = timed(flow.run, {"count": size}, clock=time.process_time)
        alone = timed(lambda: [fn(x) for x in range(size)], clock=time.process_time)
        return (ours - alone) / size

    beyond(1000)
    return {
        "item": statistics.median(beyond(count) for _ in range(5)),
        "few": statistics.median(beyond(1000) for _ in range(15)),
    }


def memory(count):
    flow = compile_flow(mapped.spec, backend="inline")
    flow.run({"count": 10})
    tracemalloc.start()
    run = flow.run({"count": count})
    kept, _ = tracemalloc.get_traced_memory()
    values = sum(map(sys.getsizeof, run.value())) + 8 * count
    return {"item": (kept - values) / count}


def more(backend, runner, count, few):
    flow = compile_flow(mapped.spec, backend=backend, runner=runner, workers=2)
    flow.run({"count": few})
    before, after = (timed(flow.run, {"count": size}) for size in (few, count))
    return {"item": (after - before) / (count - few)}


def apart(count):
    tasks = [TaskSpec(f"t{i}", work.fn, params={"x": i}) for i in range(count)]
    flow = compile_flow(FlowSpec("apart", tasks), backend="inline", runner="processes", workers=2)
    return {"item": timed(flow.run) / count}


def floor(count):
    flow = compile_flow(mapped_busy.spec, backend="inline", runner="processes", workers=2)
    few = timed(flow.run, {"count": 2})
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(busy, range(2), chunksize=1)
        alone = timed(pool.map, busy, range(count - 2), (count - 2) // 2)
        run = timed(flow.run, {"count": count}) - few
        again = timed(pool.map, busy, range(count - 2), (count - 2) // 2)
    return {"run": run, "floor": min(alone, again)}


def main():
    mode, *rest = sys.argv[1:]
    given = [int(word) if word.isdigit() else word for word in rest]
    print(json.dumps(globals()[mode](*given)))


if __name__ == "__main__":
    main()
