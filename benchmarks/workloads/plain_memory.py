"""The flow of memory.py in plain Prefect: plain_memory.py MB."""

import sys

import numpy as np
from prefect import flow, task

COUNT = int(sys.argv[1]) * 1_000_000 // 8


@task
def make():
    return np.ones(COUNT)


@task
def check(array):
    assert array[0] == 1
    return array


@flow
def memory():
    array = make()
    for _ in range(4):
        array = check(array)


memory()
