"""Prefect's own `.map` over N items: plain_map.py N FEW; seconds an item."""

import json
import sys
import time

from prefect import flow, task


@task
def work(x):
    return x + 1


@flow
def mapped(count):
    return work.map(list(range(count))).result()


def timed(count):
    began = time.perf_counter()
    mapped(count)
    return time.perf_counter() - began


def main():
    count, few = map(int, sys.argv[1:])
    timed(few)
    before, after = timed(few), timed(count)
    print(json.dumps({"item": (after - before) / (count - few)}))


if __name__ == "__main__":
    main()
