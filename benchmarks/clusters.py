"""Tasks on Dask and Ray beside the same functions submitted by hand; needs the extras of both.

    python benchmarks/clusters.py        # two workers of this machine, each case once
    python benchmarks/clusters.py Ray    # or Dask, or processes

The case "busy", 200 tasks of 50 ms of CPU, is beside a plain loop over them, also on `processes`.

Ratios of wall time in one run. The cluster is started once, before anything is measured. The first
run of a case starts actors, or sends workers the code; its time is printed apart.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORKLOADS = str(Path(__file__).parent / "workloads")
sys.path.insert(0, WORKLOADS)
os.environ["PYTHONPATH"] = WORKLOADS  # Ray's workers import by name what is submitted by hand

from cluster_tasks import (  # noqa: E402 - needs the path above
    busy,
    doubled,
    first_of,
    frame,
    increment,
    numbers,
    spread,
)

from mxm.pipeline import FlowSpec, TaskSpec, compile_flow  # noqa: E402

CHAIN, WIDE, ITEMS, LARGE = 100, 200, 10_000, 200_000_000


def seconds(what: Callable[[], Any]) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def chain() -> FlowSpec:
    tasks = [TaskSpec("t0", numbers)]
    tasks += [TaskSpec(f"t{n}", increment, upstream=[f"t{n - 1}"]) for n in range(1, CHAIN)]
    return FlowSpec("chain", tasks)


def wide() -> FlowSpec:
    return FlowSpec("wide", [TaskSpec(f"t{n}", numbers) for n in range(WIDE)])


def large() -> FlowSpec:
    tasks = [
        TaskSpec("made", frame, params={"size": LARGE}),
        TaskSpec("twice", doubled, upstream=["made"]),
        TaskSpec("first", first_of, upstream=["twice"]),
    ]
    return FlowSpec("large", tasks)


def working() -> FlowSpec:
    return FlowSpec("working", [TaskSpec(f"t{n}", busy) for n in range(WIDE)])


def in_turn() -> None:
    for _ in range(WIDE):
        busy()


def ours(flow: Any, runner: str, **params: Any) -> tuple[float, float]:
    """The seconds of a run, and of the first one before it."""

    def run() -> None:
        compile_flow(flow, backend="inline", runner=runner, workers=2).run(
            params
        ).raise_for_failure()

    first = seconds(run)
    return seconds(run), first


def on_processes() -> dict[str, tuple[tuple[float, float], float]]:
    return {"busy": (ours(working(), "processes"), seconds(in_turn))}


def on_dask() -> dict[str, tuple[tuple[float, float], float]]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):

        def by_hand() -> None:
            value = client.submit(numbers, pure=False).result()
            for _ in range(1, CHAIN):
                value = client.submit(increment, value, pure=False).result()

        def all_at_once() -> None:
            client.gather([client.submit(numbers, pure=False) for _ in range(WIDE)])

        def each_item() -> None:
            client.gather([client.submit(increment, n, pure=False) for n in range(ITEMS)])

        def of_large() -> None:
            made = client.submit(frame, LARGE, pure=False)
            twice = client.submit(doubled, made, pure=False)
            client.submit(first_of, twice, pure=False).result()

        by_hand()
        of_large()
        return {
            "200 MB": (ours(large(), "dask"), seconds(of_large)),
            "chain": (ours(chain(), "dask"), seconds(by_hand)),
            "fan-out": (ours(wide(), "dask"), seconds(all_at_once)),
            "items": (ours(spread, "dask", n=ITEMS), seconds(each_item)),
            "busy": (ours(working(), "dask"), seconds(in_turn)),
        }


def on_ray() -> dict[str, tuple[tuple[float, float], float]]:
    import ray

    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    first, more = ray.remote(numbers), ray.remote(increment)

    def by_hand() -> None:
        value = ray.get(first.remote())
        for _ in range(1, CHAIN):
            value = ray.get(more.remote(value))

    def all_at_once() -> None:
        ray.get([first.remote() for _ in range(WIDE)])

    def each_item() -> None:
        ray.get([more.remote(n) for n in range(ITEMS)])

    def of_large() -> None:
        twice = ray.remote(doubled).remote(ray.remote(frame).remote(LARGE))
        ray.get(ray.remote(first_of).remote(twice))

    by_hand()
    of_large()
    taken = {
        "200 MB": (ours(large(), "ray"), seconds(of_large)),
        "chain": (ours(chain(), "ray"), seconds(by_hand)),
        "fan-out": (ours(wide(), "ray"), seconds(all_at_once)),
        "items": (ours(spread, "ray", n=ITEMS), seconds(each_item)),
        "busy": (ours(working(), "ray"), seconds(in_turn)),
    }
    ray.shutdown()
    return taken


def main() -> None:
    places = {"processes": on_processes, "Dask": on_dask, "Ray": on_ray}
    chosen = sys.argv[1:] or [*places]
    for name, measure in places.items():
        if name not in chosen:
            continue
        for case, ((here, first), raw) in measure().items():
            ratio = f"{here / raw:.2f}x (first run {first:.2f} s)"
            print(f"{name:9} {case:8} {here:7.2f} s, by hand {raw:7.2f} s: {ratio}")


if __name__ == "__main__":
    main()
