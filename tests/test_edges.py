from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import pytest

from mxm.pipeline.bindings import Bindings, Collection, Const, Param, Upstream
from mxm.pipeline.checks.declarations import find_errors, find_problems
from mxm.pipeline.checks.edges import edge_problems
from mxm.pipeline.problems import Problem
from mxm.pipeline.spec import FlowSpec, TaskSpec

if TYPE_CHECKING:
    from somewhere import Elsewhere


class Row(TypedDict):
    day: date
    price: float


class Pair(NamedTuple):
    a: int
    b: str


def text() -> str:
    return ""


def rows() -> list[Row]:
    return []


def number(x: float) -> float:
    return x


def numbers(xs: list[float]) -> None: ...


def each(*xs: int) -> None: ...


def integer() -> int:
    return 1


def both() -> tuple[int, str]:
    return 1, ""


def problems(task: TaskSpec, *others: TaskSpec, strict: bool = False) -> list[Problem]:
    return list(edge_problems(FlowSpec("f", [*others, task]), strict=strict))


def codes(task: TaskSpec, *others: TaskSpec, strict: bool = False) -> list[str]:
    return [problem.code for problem in problems(task, *others, strict=strict)]


def test_an_edge_that_cannot_fit_names_both_ends() -> None:
    spec = FlowSpec("f", [TaskSpec("text", text), TaskSpec("n", number, upstream=["text"])])
    (problem,) = edge_problems(spec)
    assert problem.code == "MXM201"
    assert "the result of task 'text' is str at " in problem.message
    assert "parameter 'x' of task 'n' takes float: no value can be both" in problem.message
    assert (problem.flow, problem.task, problem.severity) == ("f", "n", "error")


def test_projections_collections_and_varargs_are_followed() -> None:
    made = TaskSpec("rows", rows)
    price, day = Upstream("rows", (0, "price")), Upstream("rows", (0, "day"))
    assert codes(TaskSpec("n", number, bindings=Bindings((price,))), made) == []
    assert codes(TaskSpec("n", number, bindings=Bindings((day,))), made) == ["MXM201"]
    both = Collection(list, (price, day))
    assert codes(TaskSpec("n", numbers, bindings=Bindings((both,))), made) == ["MXM201"]
    assert codes(TaskSpec("n", each, upstream=["t", "t"]), TaskSpec("t", text)) == ["MXM201"] * 2


def test_the_type_of_all_arguments_together_is_not_that_of_each() -> None:
    def many(*xs: *tuple[int, ...]) -> None: ...

    assert codes(TaskSpec("m", many, upstream=["integer"]), TaskSpec("integer", integer)) == []


def test_what_may_not_fit_is_told_when_it_is_asked_for() -> None:
    def anything() -> Any: ...

    task = TaskSpec("n", number, upstream=["a"])
    assert codes(task, TaskSpec("a", anything)) == []
    (problem,) = problems(task, TaskSpec("a", anything), strict=True)
    assert (problem.code, problem.severity) == ("MXM202", "warning")
    assert "which may not fit parameter 'x' of task 'n', which takes float" in problem.message


def wanting(annotation: Any) -> Callable[[Any], None]:
    def want(x: Any) -> None: ...

    want.__annotations__["x"] = annotation
    return want


TEXT, INTEGER, BOTH, ROWS = (
    TaskSpec(fn.__name__, fn) for fn in (text, integer, both, rows)
)  # fmt: skip
OF_TEXT, OF_INT = Upstream("text"), Upstream("integer")
MADE = {
    "[i]": Collection(list, (OF_INT,)),
    "[s]": Collection(list, (OF_TEXT,)),
    "[i, s]": Collection(list, (OF_INT, OF_TEXT)),
    "[i, 'a']": Collection(list, (OF_INT, Const("a"))),
    "[s, p]": Collection(list, (OF_TEXT, Param("p"))),
    "(i, s)": Collection(tuple, (OF_INT, OF_TEXT)),
    "(s, i)": Collection(tuple, (OF_TEXT, OF_INT)),
    "(i, s, i)": Collection(tuple, (OF_INT, OF_TEXT, OF_INT)),
    "{'a': i}": Collection(dict, (OF_INT,), ("a",)),
    "{'a': [s]}": Collection(dict, (Collection(list, (OF_TEXT,)),), ("a",)),
    "Pair(i, s)": Collection(Pair, (OF_INT, OF_TEXT)),
}


@pytest.mark.parametrize(
    ("made", "wanted", "told"),
    [
        ("[i]", int, "a list of results is list[int], and parameter 'x' of task 'w' takes int"),
        ("[i]", set[int], "a list of results is list[int], "),
        ("[i]", dict[str, int], "a list of results is list[int], "),
        ("[i, 'a']", int, "a list of results is list[int | str], "),
        ("{'a': i}", list[int], "a dict of results is dict[str, int], "),
        ("{'a': i}", dict[int, int], "a dict of results is dict[str, int], "),
        ("(i, s, i)", tuple[int, str], "a tuple of results is tuple[int, str, int], "),
        ("(i, s)", list[int], "a tuple of results is tuple[int, str], "),
        ("{'a': [s]}", dict[str, str], "a dict of results is dict[str, list[str]], "),
        ("Pair(i, s)", list[int], "a Pair of results is Pair, "),
        ("[s]", list[int], "the result of task 'text' is str"),
        ("[s]", list[int] | None, "passed in list[str], and parameter 'x' of task 'w' takes list[int] | None"),
        ("[i, s]", list[int], "the result of task 'text' is str"),
        ("[s, p]", Sequence[int], "passed in list[str], "),
        ("(s, i)", tuple[int, int], "passed in tuple[str, Any], "),
        ("{'a': [s]}", dict[str, list[int]], "passed in dict[str, list[str]], "),
    ],
)  # fmt: skip
def test_a_collection_of_results_is_checked_by_its_kind_and_its_members(
    made: str, wanted: Any, told: str
) -> None:
    task = TaskSpec("w", wanting(wanted), bindings=Bindings((MADE[made],)))
    (problem,) = problems(task, TEXT, INTEGER)
    assert problem.code == "MXM201"
    assert told in problem.message
    assert problem.message.endswith(": no value can be both")


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        ("[i]", list[float]),
        ("[i]", list[int] | None),
        ("[i]", Iterable[int]),
        ("[i]", object),
        ("[i, s]", list[int | str]),
        ("[i, 'a']", list[int]),
        ("(i, s)", tuple[int, str]),
        ("(i, s)", tuple[int, *tuple[str, ...]]),
        ("(i, s)", Pair),
        ("{'a': i}", Mapping[str, float]),
        ("{'a': i}", Row),
        ("{'a': [s]}", dict[str, Sequence[str]]),
        ("Pair(i, s)", tuple[int, str]),
        ("Pair(i, s)", Pair),
    ],
)
def test_a_collection_of_results_that_may_fit_passes(made: str, wanted: Any) -> None:
    task = TaskSpec("w", wanting(wanted), bindings=Bindings((MADE[made],)))
    assert codes(task, TEXT, INTEGER) == []


@pytest.mark.parametrize(
    ("part", "told", "hint"),
    [
        (Upstream("both", (7,)), "the result of task 'both' is tuple[int, str]", "remove [7]"),
        (Upstream("integer", (0,)), "the result of task 'integer' is int", "remove [0]"),
        (Upstream("text", ("a",)), "the result of task 'text' is str", "remove ['a']"),
        (Upstream("rows", (0, "prise")), "rows[0] of task 'rows' is Row", "did you mean 'price'?"),
        (Upstream("rows", (0, "day", 0, 1)), "rows[0]['day'] of task 'rows' is date", "remove [0]"),
    ],
)  # fmt: skip
def test_a_part_that_no_result_has_is_told_as_that(part: Upstream, told: str, hint: str) -> None:
    for binding in (part, Collection(list, (part,))):
        task = TaskSpec("w", wanting(Any), bindings=Bindings((binding,)))
        (problem,) = problems(task, TEXT, INTEGER, BOTH, ROWS)
        assert (problem.code, problem.task, problem.severity) == ("MXM201", "w", "error")
        start = f"task 'w' takes {part} for 'x', which does not exist: {told} at "
        assert problem.message.startswith(start)
        assert (problem.hint or "").startswith(hint)


def test_a_part_that_the_flow_returns_and_no_result_has_is_told_too() -> None:
    output = Collection(
        dict, (Upstream("integer", (1,)), Upstream("rows", (0,)), OF_INT), ("a", "b", "c")
    )
    (problem,) = edge_problems(FlowSpec("f", [INTEGER, ROWS], output=output))
    assert problem.message.startswith("flow 'f' returns integer[1], which does not exist: ")
    assert problem.task is None


# Annotations that cannot be resolved


def frame() -> Elsewhere: ...


def frames() -> list[Elsewhere]: ...


def shown(x: Elsewhere, title: Txet = "") -> None: ...  # type: ignore[name-defined]  # noqa: F821


def test_what_cannot_be_resolved_passes_with_one_note_for_each_name() -> None:
    makers = [TaskSpec("frame", frame), TaskSpec("again", frame), TaskSpec("frames", frames), TEXT]
    takers = [
        TaskSpec("n", number, upstream=["frame"]),
        TaskSpec("m", number, upstream=["again"]),
        TaskSpec("k", numbers, bindings=Bindings((Collection(list, (Upstream("frame"),)),))),
        TaskSpec("l", numbers, upstream=["frames"]),
        TaskSpec("shown", shown, upstream={"x": "frame", "title": "text"}),
    ]
    spec = FlowSpec("f", [*makers, *takers])
    first, second = edge_problems(spec)
    assert (first.code, first.severity, first.flow) == ("MXM203", "note", "f")
    assert first.message == (
        "3 annotations cannot be resolved, so their edges are not checked: "
        "name 'Elsewhere' is not defined"
    )
    assert [told for told, _ in first.places] == [
        "the result of task 'frame': Elsewhere",
        "the result of task 'frames': list[Elsewhere]",
        "parameter 'x' of task 'shown': Elsewhere",
    ]
    assert [place and place.line for _, place in first.places] == [
        fn.__code__.co_firstlineno for fn in (frame, frames, shown)
    ]
    assert "its edges are not checked: name 'Txet' is not defined" in second.message
    assert second.source == second.places[0][1]
    assert find_errors(spec) == []


def test_what_cannot_be_resolved_and_takes_anything_is_not_told() -> None:
    unread = TaskSpec("w", wanting(Any), upstream=["frame"])
    assert codes(unread, TaskSpec("frame", frame)) == []
    assert codes(TaskSpec("frame", frame)) == []  # no edge


def test_what_cannot_be_resolved_is_warned_of_when_it_is_asked_for() -> None:
    task = TaskSpec("n", number, upstream=["frame"])
    (problem,) = problems(task, TaskSpec("frame", frame), strict=True)
    assert problem.code == "MXM202"
    assert problem.message.endswith(
        "takes float; Elsewhere could not be resolved: name 'Elsewhere' is not defined"
    )


# What a task makes, and two types of one name


def soon() -> Awaitable[int]: ...
def later() -> Coroutine[Any, Any, str]: ...
def double(x: int) -> int: ...
def letters(x: Sequence[str]) -> int: ...
def text() -> str: ...


def edge_of(
    first: Callable[..., Any], second: Callable[..., Any], *, strict: bool = False
) -> list[Problem]:
    spec = FlowSpec("f", [TaskSpec("a", first), TaskSpec("b", second, upstream="a")])
    return find_problems(spec, strict_types=strict)


def test_the_result_of_a_function_that_returns_an_awaitable_is_what_it_yields() -> None:
    assert edge_of(soon, double) == []
    assert [p.code for p in edge_of(later, double)] == ["MXM201"]


def test_two_types_of_one_name_are_shown_with_their_modules() -> None:
    one = type("Frame", (), {"__module__": "one"})
    other = type("Frame", (int,), {"__module__": "other"})

    def makes() -> Any: ...
    def takes(x: Any) -> None: ...

    makes.__annotations__ = {"return": one}
    takes.__annotations__ = {"x": other}
    [problem] = edge_of(makes, takes)
    assert "is one.Frame" in problem.message
    assert "takes other.Frame" in problem.message


def test_a_string_for_a_sequence_of_strings_is_a_warning_of_its_own() -> None:
    assert edge_of(text, letters) == []
    [problem] = edge_of(text, letters, strict=True)
    assert "a string is a sequence of characters" in problem.message
    assert (problem.code, problem.severity) == ("MXM202", "warning")
