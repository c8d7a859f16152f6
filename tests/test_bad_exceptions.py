"""Exceptions whose own code fails: the run reports them, and continues."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Iterator

import pytest

import mxm
from mxm.pipeline import FlowSpec, State, TaskSpec, compile_flow
from mxm.pipeline.bindings import Bindings, Each, Upstream
from mxm.pipeline.errors import described
from mxm.pipeline.testing.guard import guarded_inputs


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


class Gone(BaseException):
    """What code of users raises beside `Exception`."""


RAISED = [SystemExit, KeyboardInterrupt, Gone, RecursionError, ValueError]


def refusing(name: str, raised: type[BaseException]) -> type[Exception]:
    """An exception whose own code raises *raised* when it gets a note or an attribute."""

    def refuse(*_: object) -> None:
        raise raised

    made: object = property(refuse) if name == "__notes__" else refuse
    return type("Refusing", (Exception,), {name: made})


@pytest.fixture
def no_ctrl_c() -> Iterator[None]:
    """With a handler of its own, a KeyboardInterrupt of user code is not Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("no_ctrl_c")
@pytest.mark.parametrize("raised", RAISED)
@pytest.mark.parametrize("name", ["add_note", "__notes__", "__setattr__"])
def test_an_exception_that_takes_nothing_is_raised_as_it_is(
    name: str, raised: type[BaseException]
) -> None:
    error = refusing(name, raised)("the task's own")

    def fail(*_: object) -> None:
        raise error

    def items() -> list[int]:
        return [1, 2]

    tasks = [
        TaskSpec("fail", fail),
        TaskSpec("items", items),
        TaskSpec("mapped", fail, bindings=Bindings((Each(Upstream("items")),))),
    ]
    run = compile_flow(FlowSpec("f", tasks), backend="inline").run()
    assert (run.tasks["fail"].error, run.tasks["mapped"].error) == (error, error)
    with pytest.raises(type(error)) as caught:
        run.raise_for_failure()
    assert caught.value is error


@pytest.mark.usefixtures("no_ctrl_c")
@pytest.mark.parametrize("raised", RAISED)
def test_a_value_whose_own_code_fails_changes_no_run(raised: type[BaseException]) -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise raised

        __hash__ = None  # type: ignore[assignment]

        def __reduce__(self) -> str:
            raise raised

        def __lt__(self, other: object) -> bool:
            raise raised

        __repr__ = __reduce__

    def load() -> list[Odd]:
        return [Odd(), Odd()]

    def count(values: list[Odd]) -> int:
        return len(values)

    flow = FlowSpec("f", [TaskSpec("load", load), TaskSpec("n", count, upstream=["load"])])
    run = compile_flow(flow, backend="inline", guard=True).run()
    assert run.state is State.SUCCEEDED, run
    with guarded_inputs():
        assert compile_flow(flow, backend="inline").run().values["n"] == 2
    assert run.results["n"] == 2


@pytest.mark.usefixtures("no_ctrl_c")
@pytest.mark.parametrize("raised", [SystemExit, Gone, RecursionError, ValueError])
def test_outcomes_of_a_plain_call_are_those_of_a_run(raised: type[BaseException]) -> None:
    @mxm.task
    def fail(x: int) -> int:
        if x == 2:
            raise raised("no")
        return x

    @mxm.flow
    def f() -> list[int | mxm.pipeline.Failure]:
        return fail.outcomes([1, 2])

    plain, ran = f(), f.with_options(backend="inline").run().value()
    assert [type(value) for value in plain] == [type(value) for value in ran]
    assert type(plain[1].error) is type(ran[1].error) is raised
