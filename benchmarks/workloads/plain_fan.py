"""The flow of fan.py in plain Prefect: plain_fan.py threads|processes N [few]."""

import json
import sys
import time

from prefect import flow, task


@task
def first():
    return 1


@task
def work(value):
    return value + 1


@task
def last(values):
    return sum(values)


def body(size: int):
    one = first.submit()
    return last.submit([work.submit(one) for _ in range(size)]).result()


def timed(fan, size):
    cpu, wall = time.process_time(), time.perf_counter()
    fan(size)
    return time.process_time() - cpu, time.perf_counter() - wall


def main():
    if sys.argv[1] == "processes":
        from prefect.task_runners import ProcessPoolTaskRunner

        fan = flow(body, name="fan", task_runner=ProcessPoolTaskRunner(max_workers=2))
    else:
        fan = flow(body, name="fan")
    size = int(sys.argv[2])
    if len(sys.argv) < 4:
        _, wall = timed(fan, size)
        print(json.dumps({"run": wall, "task": wall / size}))
        return
    few = int(sys.argv[3])
    timed(fan, few)
    before, after = timed(fan, few), timed(fan, size)
    cpu, wall = ((b - a) / (size - few) for a, b in zip(before, after, strict=True))
    print(json.dumps({"cpu": cpu, "wall": wall}))


if __name__ == "__main__":
    main()
