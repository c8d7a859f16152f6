"""Exceptions whose own code fails: the run says which they were, and goes on."""

from __future__ import annotations

import dataclasses
import json

import pytest

from mxm.pipeline import FlowSpec, State, TaskSpec, compile_flow
from mxm.pipeline.errors import described


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoRepr(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Leaves(Exception):
    """Ends the process where somebody asks for its text."""

    def __str__(self) -> str:
        raise SystemExit(0)

    __repr__ = __str__


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int = 3


def fine() -> int:
    return 1


@pytest.mark.parametrize("backend", ["inline", "prefect"])
@pytest.mark.parametrize("kind", [NoText, NoRepr, Leaves])
def test_the_run_survives(kind: type[Exception], backend: str) -> None:
    def fail() -> None:
        raise kind

    tasks = [TaskSpec("bad", fail, retries=1, retry_on=kind), TaskSpec("fine", fine)]
    run = compile_flow(FlowSpec("f", tasks), backend=backend).run()
    assert type(run.tasks["bad"].error) is kind
    assert run.tasks["bad"].attempts == 2
    assert run.results == {"fine": 1}
    assert kind.__name__ in repr(run)
    assert kind.__name__ in json.dumps(run.to_dict())
    with pytest.raises(kind):
        run.raise_for_failure()


def test_a_frozen_exception_keeps_its_type_through_prefect() -> None:
    # Raised outside of the task's own block, which is not this test's.
    def fail() -> None:
        raise Frozen

    tasks = [TaskSpec("bad", fail, retries=1), TaskSpec("fine", fine)]
    run = compile_flow(FlowSpec("f", tasks)).run()
    assert run.tasks["bad"].state is State.FAILED
    assert run.tasks["bad"].attempts == 2
    assert run.results == {"fine": 1}


def test_described() -> None:
    assert described(ValueError("x")) == "ValueError: x"
    assert described(ValueError()) == "ValueError"
    assert described(NoText()) == "NoText: <unprintable>"
