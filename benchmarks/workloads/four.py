"""Four tasks: mxm-pipeline run four."""

import mxm


@mxm.task
def load(size: int = 3) -> list[float]:
    return [float(i) for i in range(size)]


@mxm.task(upstream=load)
def double(values: list[float]) -> list[float]:
    return [2 * value for value in values]


@mxm.task(upstream=load)
def total(values: list[float]) -> float:
    return sum(values)


@mxm.task(upstream=[double, total])
def report(values: list[float], total: float) -> float:
    return total + len(values)


@mxm.flow
def four(size: int = 3):  # noqa: ARG001 - the flow's parameter
    return report
