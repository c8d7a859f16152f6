"""A branch inside a branch, each with a join."""

import mxm
from mxm.pipeline import Skip


@mxm.task
def take(name: str, chosen: str, before: str = "start") -> str:
    if name != chosen:
        raise Skip(f"{chosen} was chosen")
    return f"{before} > {name}"


@mxm.task(run_if="not_failed")
def join(left: str | None, right: str | None) -> str:
    return f"{left or right} > join"


@mxm.flow
def nested(first: str = "true_1", second: str = "true_2") -> str:
    true_1 = take.named("true_1")("true_1", first)
    false_1 = take.named("false_1")("false_1", first)
    true_2 = take.named("true_2")("true_2", second, false_1)
    false_2 = take.named("false_2")("false_2", second, false_1)
    join_2 = join.named("join_2")(true_2, false_2)
    false_3 = take.named("false_3")("false_3", "false_3", join_2)
    return join.named("join_1")(true_1, false_3)
