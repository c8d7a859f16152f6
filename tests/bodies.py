"""Bodies of flows as text, for the tests of what reads them."""

from __future__ import annotations

from mxm.pipeline.authoring import Flow
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.problems import Problem

HEAD = """
import logging
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import mxm

@dataclass(frozen=True)
class Window:
    symbol: str

def objects(value):
    made = __import__("numpy").empty(1, dtype=object)
    made[0] = value
    return made

@mxm.task
def load(x=1, *rest, **more):
    return x

@mxm.task
async def fetch(x=1):
    return x

"""


def problems_of(flow: Flow) -> list[Problem]:
    return find_problems(flow.spec)


def the_problem(flow: Flow) -> Problem:
    (found,) = problems_of(flow)
    return found
