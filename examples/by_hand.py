"""A flow written by hand: mxm-pipeline run example --param limit=100 --param mode="fast"

The FlowSpec makes tasks of ordinary functions; `upstream` says whose results each task takes. Both
modes add the same amounts; only the exact one ends at 5149.00.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate
from typing import Literal

from mxm.pipeline.registry import register_flow
from mxm.pipeline.spec import FlowSpec, TaskSpec


def load(limit: int) -> list[str]:
    """The amounts of that many invoices, as text, the way a file holds them."""
    return [f"{number}.99" for number in range(1, limit + 1)]


def transform(amounts: list[str], mode: Literal["fast", "exact"]) -> Sequence[float | Decimal]:
    """Running totals: in floats, which round at every step, or in decimals, which do not."""
    number = float if mode == "fast" else Decimal
    return list(accumulate(map(number, amounts)))


def summarise(totals: Sequence[float | Decimal]) -> dict[str, float | Decimal]:
    return {"count": len(totals), "total": totals[-1]}


# Where a parameter has several values, the run's goes first, then the flow's, then the task's.
spec = FlowSpec(
    name="example",
    params={"limit": 10},
    tasks=[
        TaskSpec("load", load),
        TaskSpec("transform", transform, upstream=["load"], params={"mode": "exact"}),
        TaskSpec("summarise", summarise, upstream=["transform"]),
    ],
)
register_flow(spec)
