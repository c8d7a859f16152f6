"""A result annotated as a tuple of fixed length may be unpacked in a body; the run checks it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bodies import problems_of, the_problem
from modules import line_of, module_of

import mxm
from mxm.pipeline.authoring import Flow
from mxm.pipeline.bindings import Param, Unpacked, Upstream
from mxm.pipeline.specdict import flow_from_dict, flow_to_dict

MODULE = """
from __future__ import annotations

from collections import deque
from collections.abc import Awaitable
from typing import Annotated, Any, Generic, NamedTuple, NewType, Optional, Tuple, TypeVar, Union
from typing_extensions import TypeAliasType, Unpack

import mxm

T = TypeVar("T")

class Quote(NamedTuple):
    bid: float
    ask: tuple[int, str]

class Pair(NamedTuple, Generic[T]):
    a: T
    b: T

class Later(Quote):
    pass

Named = NewType("Named", tuple[int, int])
Alias = TypeAliasType("Alias", tuple[int, int])
Twice = TypeAliasType("Twice", tuple[T, T], type_params=(T,))
Plain = tuple[int, int]

@mxm.task
def same(*x, **k):
    return x, k
"""


def made(
    folder: Path, annotation: str, value: str, body: str, head: str = "", rest: str = ""
) -> Any:
    text = f"""
{head}
@mxm.task
def split(x=1) -> {annotation}:
    return {value}

@mxm.flow
def f(x=1):
    {body}
{rest}
"""
    return module_of(folder, MODULE + text)


def inline(flow: Flow) -> Flow:
    return flow.with_options(backend="inline")


FIXED = {
    "tuple": ("tuple[int, str]", "(1, 'a')"),
    "Tuple": ("Tuple[int, str]", "(1, 'a')"),
    "named tuple": ("Quote", "Quote(1.0, (2, 'a'))"),
    "generic named tuple": ("Pair[int]", "Pair(1, 2)"),
    "subclass of a named tuple": ("Later", "Later(1.0, (2, 'a'))"),
    "NewType": ("Named", "Named((1, 2))"),
    "alias": ("Plain", "(1, 2)"),
    "type statement": ("Alias", "(1, 2)"),
    "generic type statement": ("Twice[int]", "(1, 2)"),
    "Annotated": ("Annotated[tuple[int, int], 'x']", "(1, 2)"),
    "union of two": ("tuple[int, int] | tuple[str, str]", "(1, 2)"),
    "unpacked tuple in it": ("tuple[int, Unpack[tuple[str]]]", "(1, 'a')"),
    "awaited": ("Awaitable[tuple[int, int]]", "(1, 2)"),
    "a list is returned": ("tuple[int, int]", "[1, 2]"),
}


@pytest.mark.parametrize(("annotation", "value"), FIXED.values(), ids=list(FIXED))
def test_what_has_a_fixed_length_is_unpacked_into_its_parts(
    annotation: str, value: str, tmp_path: Path
) -> None:
    flow = made(tmp_path, annotation, value, "a, b = split(x)\n    return same(b, a)").f
    assert problems_of(flow) == []
    assert flow.spec.tasks[1].bindings.args == (Upstream("split", (1,)), Upstream("split", (0,)))
    assert flow.spec.unpacked == (Unpacked(Upstream("split"), 2),)
    assert inline(flow).run().value() == flow()


UNPACKED = {
    "assignment": "a, b = split(x); return same(a, b)",
    "brackets": "[a, b] = split(x); return same(a, b)",
    "star": "a, *rest = split(x); return same(a, rest)",
    "nested": "a, (b, c) = split(x); return same(c, b)",
    "star of a call": "return same(*split(x))",
    "loop": "return [same(part) for part in split(x)]",
    "list": "return same(list(split(x)))",
    "tuple": "return same(tuple(split(x)), 1)",
    "in a list": "return same([0, *split(x)])",
    "zip": "return [same(p, n) for p, n in zip(split(x), 'ab')]",
    "enumerate": "return [same(p, n) for n, p in enumerate(split(x))]",
    "reversed": "return [same(p) for p in reversed(split(x))]",
    "map": "return list(map(same, split(x)))",
    "part of a part": "return same(*split(x)[1])",
    "returned": "a, b = split(x); return {'b': b, 'a': a}",
    "given on": "return same(*same2(*split(x)))",
}


@pytest.mark.parametrize("body", UNPACKED.values(), ids=list(UNPACKED))
def test_unpacking_in_any_form_is_what_python_does(body: str, tmp_path: Path) -> None:
    head = "@mxm.task\ndef same2(a, b) -> Quote:\n    return Quote(a, b)\n"
    flow = made(tmp_path, "Quote", "Quote(x, (2, 'a'))", body, head).f
    assert problems_of(flow) == []
    assert inline(flow).run(x=3).value() == flow(3)


def test_parameters_and_async_results_are_unpacked_as_well() -> None:
    @mxm.task
    async def fetch(x: int) -> tuple[int, int]:
        return x, x + 1

    @mxm.task
    def add(a: int, b: int) -> int:
        return a + b

    @mxm.flow
    async def f(pair: tuple[int, int], *, more: dict[str, tuple[int, int]]) -> int:
        a, b = pair
        c, d = await fetch(a)
        e, g = more["k"]
        return add(add(b, d), add(add(c, e), g))

    assert problems_of(f) == []
    assert f.spec.unpacked == (
        Unpacked(Param("pair"), 2),
        Unpacked(Upstream("fetch"), 2),
        Unpacked(Param("more", ("k",)), 2),
    )
    assert inline(f).run(pair=(1, 2), more={"k": (3, 4)}).value() == 12
    with pytest.raises(ValueError, match="pair"):
        inline(f).run(pair=(1, 2, 3), more={"k": (3, 4)})
    with pytest.raises(ValueError, match="more"):
        inline(f).run(pair=(1, 2), more={"k": (3, 4, 5)})


OPEN = {
    "nothing": "Any",
    "a list": "list[int]",
    "a bare tuple": "tuple",
    "a tuple of any length": "tuple[int, ...]",
    "one that is open in the middle": "tuple[int, Unpack[tuple[str, ...]]]",
    "a dict": "dict[str, int]",
    "text": "str",
    "None too": "tuple[int, int] | None",
    "Optional": "Optional[tuple[int, int]]",
    "two lengths": "Union[tuple[int, int], tuple[int]]",
    "a name that is not there": "tuple[Missing, int]",
}


@pytest.mark.parametrize("annotation", OPEN.values(), ids=list(OPEN))
@pytest.mark.parametrize("use", ["a, b = split(x)", "list(split(x))"])
def test_what_has_no_fixed_length_is_not_unpacked(
    annotation: str, use: str, tmp_path: Path
) -> None:
    module = made(tmp_path, annotation, "(1, 2)", f"{use}  # here\n    return same(1)")
    (problem,) = [p for p in problems_of(module.f) if p.severity == "error"]
    assert problem.code == "MXM301"
    assert problem.source is not None
    assert problem.source.line == line_of(module, "# here")
    assert "tuple[A, B]" in (problem.hint or "")


@pytest.mark.parametrize(
    "use", ["bool(s)", "1 in s", "s == (1, 2)", "s[0:1]", "s + (1,)", "next(s)"]
)
def test_every_other_use_of_it_is_refused_as_ever(use: str, tmp_path: Path) -> None:
    module = made(tmp_path, "tuple[int, int]", "(1, 2)", f"s = split(x); {use}\n    return same(1)")
    assert the_problem(module.f).code == "MXM301"


def test_python_says_when_the_body_takes_another_number_of_parts(tmp_path: Path) -> None:
    module = made(tmp_path, "tuple[int, int]", "(1, 2)", "a, b, c = split(x)  # here")
    problem = the_problem(module.f)
    assert (problem.code, "expected 3, got 2" in problem.message) == ("MXM302", True)


# The run.

WRONG = {
    "more": (
        "(1, 2, 3)",
        "ValueError: the result of task 'split' has 3 parts and is unpacked into 2",
    ),
    "fewer": ("(1,)", "ValueError: the result of task 'split' has 1 part and is unpacked into 2"),
    "none": ("None", "TypeError: the result of task 'split' is unpacked .* not NoneType"),
    "text": ("'ab'", "TypeError: .* must be a tuple, not str"),
    "a dict": ("{0: 'a', 1: 'b'}", "TypeError: .* must be a tuple, not dict"),
    "a generator": ("(v for v in (1, 2))", "TypeError: .* must be a tuple, not generator"),
    # Its labels are not its places: plain unpacking gives 1, 2.
    "a series": ("__import__('pandas').Series([1, 2], index=[1, 0])", "TypeError: .* not Series"),
}


@pytest.mark.parametrize(
    "taken", ["a, b = split(x); return same(a)", "a, b = split(x); return same(1)"]
)
@pytest.mark.parametrize(("value", "told"), WRONG.values(), ids=list(WRONG))
def test_a_result_of_another_length_fails_its_task(
    value: str, told: str, taken: str, tmp_path: Path
) -> None:
    flow = made(tmp_path, "tuple[int, int]", value, taken).f
    run = inline(flow).run()
    task = run.tasks["split"]
    with pytest.raises((ValueError, TypeError), match=told.partition(": ")[2]):
        run.raise_for_failure()
    assert task.state == "failed"
    assert str(task.reason).startswith(told.partition(":")[0])
    assert run.tasks["same"].state == ("skipped" if "same(a)" in taken else "succeeded")


def test_a_part_of_another_length_fails_its_task_as_well(tmp_path: Path) -> None:
    flow = made(
        tmp_path, "Quote", "Quote(1.0, (1, 2, 3))", "a, (b, c) = split(x); return same(b)"
    ).f
    run = inline(flow).run()
    assert run.tasks["split"].state == "failed"
    assert "'split[1]' has 3 parts and is unpacked into 2" in str(run.tasks["split"].reason)


def test_another_length_is_tried_again_as_any_failure_is() -> None:
    lengths = [3, 2]

    @mxm.task(retries=1)
    def split() -> tuple[int, int]:
        return tuple(range(lengths.pop(0)))  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    @mxm.flow
    def f():
        a, b = split()
        return [b, a]

    run = inline(f).run()
    assert (run.value(), run.tasks["split"].attempts) == ([1, 0], 2)


@mxm.task
def three() -> tuple[int, int]:
    return 1, 2, 3  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


@mxm.flow
def wrong():
    a, b = three()
    return [b, a]


RUNS: dict[str, Callable[[Flow], Flow]] = {
    "threads": lambda flow: flow.with_options(backend="inline", runner="threads"),
    "processes": lambda flow: flow.with_options(backend="inline", runner="processes"),
    "prefect": lambda flow: flow.with_options(backend="prefect"),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=list(RUNS))
def test_the_length_is_checked_wherever_the_task_runs(run: Callable[[Flow], Flow]) -> None:
    done = run(wrong).run()
    assert done.tasks["three"].state == "failed"
    assert "has 3 parts and is unpacked into 2" in str(done.tasks["three"].reason)


# Flows in flows.

INNER = """
@mxm.task
def loose(x):
    return x

@mxm.flow
def inner(pair: tuple[int, int]):
    a, b = pair
    c, d = split(a)
    return same(a, b, c, d)

@mxm.flow
def outer(x):
    return inner(loose(x))

@mxm.flow
def constant(x):
    return inner((1, 2, 3))  # three
"""


def test_what_an_inlined_flow_unpacks_is_checked_in_the_flow_that_calls_it(tmp_path: Path) -> None:
    module = made(tmp_path, "tuple[int, int]", "(x, 2)", "return same(x)", rest=INNER)
    assert problems_of(module.outer) == []
    assert module.outer.spec.unpacked == (
        Unpacked(Upstream("loose"), 2),
        Unpacked(Upstream("inner.split"), 2),
    )
    assert inline(module.outer).run(x=(5, 6)).value() == module.outer((5, 6))
    run = inline(module.outer).run(x=(5, 6, 7))
    assert run.tasks["loose"].state == "failed"


def test_a_constant_that_an_inlined_flow_cannot_unpack_is_a_problem(tmp_path: Path) -> None:
    module = made(tmp_path, "tuple[int, int]", "(x, 2)", "return same(x)", rest=INNER)
    problem = the_problem(module.constant)
    assert problem.code == "MXM402"
    assert problem.message == "parameter 'pair' of flow 'inner' has 3 parts and is unpacked into 2"
    assert problem.source is not None
    assert problem.source.line == line_of(module, "# three")


def test_what_is_unpacked_has_a_dict_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = made(tmp_path, "tuple[int, int]", "(x, 2)", "return same(x)", rest=INNER)
    monkeypatch.setitem(sys.modules, "analyst", module)
    spec = module.inner.spec
    again = flow_from_dict(flow_to_dict(spec))
    assert (
        again.unpacked
        == spec.unpacked
        == (
            Unpacked(Param("pair"), 2),
            Unpacked(Upstream("split"), 2),
        )
    )
    assert "unpacked" in flow_to_dict(spec)
