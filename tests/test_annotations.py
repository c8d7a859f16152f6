# ruff: noqa: UP045 - Optional is what users write

from __future__ import annotations

import functools
import inspect
import typing
from dataclasses import dataclass
from datetime import date, datetime
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NotRequired,
    Optional,
    Required,
    TypedDict,
)

import pytest
from ids import stable_id

from mxm.pipeline.introspection.annotations import (
    Unresolved,
    entries_of,
    field_hints,
    hints_of,
    parts_of,
    type_text,
)

if TYPE_CHECKING:
    from somewhere import Elsewhere


def partly(day: date, frame: Elsewhere, note: str | None = None) -> Missing: ...  # type: ignore[name-defined]  # noqa: F821


def plain(limit: int, what: Annotated[str, "unit"]) -> None: ...


@functools.wraps(plain)
def wrapper(*args: Any) -> Any: ...


@dataclass(unsafe_hash=False)
class Scale:
    factor: float

    def __call__(self, factor: str) -> bytes:
        return factor.encode()


class Made:
    factor: float

    def __init__(self, factor: int) -> None: ...

    def bound(self, limit: int) -> None: ...


PLAIN = {"limit": int, "what": Annotated[str, "unit"], "return": type(None)}


@pytest.mark.parametrize(
    ("fn", "hints"),
    [
        (plain, PLAIN),
        (wrapper, PLAIN),
        (functools.partial(plain, 3), PLAIN),
        (Scale(2.0), {"factor": str, "return": bytes}),
        (Made, {"factor": int, "return": type(None)}),
        (Made(1).bound, {"limit": int, "return": type(None)}),
        (len, {}),
        (lambda x: x, {}),
    ],
    ids=["function", "wrapper", "partial", "object", "class", "method", "builtin", "lambda"],
)
def test_the_hints_are_those_of_what_is_called(fn: Any, hints: dict[str, Any]) -> None:
    assert dict(hints_of(fn)) == hints


def test_what_cannot_be_resolved_leaves_the_others_as_they_are() -> None:
    found = hints_of(partly)
    assert (found["day"], found["note"]) == (date, Optional[str])
    for name, text in (("frame", "Elsewhere"), ("return", "Missing")):
        assert isinstance(found[name], Unresolved)
        assert repr(found[name]) == text
        assert found[name].why == f"name {text!r} is not defined"


def test_a_name_defined_later_is_found_later() -> None:
    scope: dict[str, Any] = {}
    exec("from __future__ import annotations\ndef f(x: Later): ...", scope)
    assert isinstance(hints_of(scope["f"])["x"], Unresolved)
    scope["Later"] = int
    assert hints_of(scope["f"])["x"] is int


@pytest.mark.parametrize("text", ["1 / 0", "not a type(", "print[", "None.x"])
def test_an_annotation_that_fails_in_any_way_does_not_raise(text: str) -> None:
    def f(x: Any) -> None: ...

    f.__annotations__ = {"x": text}
    assert repr(hints_of(f)["x"]) == text


def test_without_the_future_import_annotations_are_taken_as_they_are() -> None:
    def f(x: Any) -> None: ...

    f.__annotations__ = {"x": list[int], "y": None, "z": 5}
    assert hints_of(f) == {"x": list[int], "y": type(None), "z": 5}


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (date, "date"),
        (None.__class__, "None"),
        (list[str], "list[str]"),
        (list[datetime] | None, "list[datetime] | None"),
        (Optional[int], "int | None"),
        (Literal["a", 1], "Literal['a', 1]"),
        (inspect.Parameter.empty, "any"),
        (Unresolved("pd.DataFrame"), "pd.DataFrame"),
    ],
    ids=stable_id,
)
def test_a_type_reads_as_a_user_writes_it(annotation: Any, text: str) -> None:
    assert type_text(annotation) == text


def test_a_class_of_a_function_reads_by_its_name() -> None:
    class Color: ...

    assert type_text(Color) == "Color"


def test_hints_are_those_of_typing() -> None:
    def fn(
        a: int,
        b: list[int] | None,
        c: None,
        d: Literal["x", 1],
        e: dict[str, list["Scale"]],  # noqa: UP037 - a forward reference within
        f: tuple[int, ...],
        g: Annotated[int, "unit"],
        h: Optional[Scale] = None,
        *more: Any,
    ) -> Scale: ...

    assert hints_of(fn) == typing.get_type_hints(fn, include_extras=True)
    assert len(hints_of(fn)) == 10


def test_an_annotation_is_evaluated_anew_for_another_function() -> None:
    space: dict[str, Any] = {"Kind": int}
    code = "from __future__ import annotations\ndef fn(a: Kind): ..."
    exec(code, space)
    first = hints_of(space["fn"])
    space["Kind"] = str
    exec(code, space)
    assert (first["a"], hints_of(space["fn"])["a"]) == (int, str)


class Entries(TypedDict, total=False):
    day: Required[date]
    note: NotRequired[Annotated[str, "free"]]
    more: Entries


class Partly(NamedTuple):
    day: date
    frame: Elsewhere


def test_the_entries_of_a_typed_dict_have_a_type_and_may_be_left_out() -> None:
    assert entries_of(Entries) == {
        "day": (date, True),
        "note": (Annotated[str, "free"], False),
        "more": (Entries, False),
    }


def test_fields_that_cannot_be_resolved_are_as_they_are_written() -> None:
    assert list(field_hints(Partly)) == ["day", "frame"]
    assert field_hints(int) == {}


def test_the_parts_of_an_annotation_are_all_that_it_is_made_of() -> None:
    annotation = dict[Literal["a"], list[Entries] | Annotated[bytes, list[int]]]
    found = list(parts_of(annotation))
    assert found[0] is annotation
    assert {part for part in found if isinstance(part, type)} >= {date, str, bytes, Entries}
    assert int not in found
    assert found.count(Entries) == 1


class Signed:
    """A callable whose signature is its own, not that of its code."""

    __signature__ = inspect.Signature(
        [inspect.Parameter("day", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="date")],
        return_annotation=int,
    )

    def __call__(self, *args: object, **kwargs: object) -> object: ...


def test_annotations_of_a_signature_that_an_object_has_are_read() -> None:
    assert hints_of(Signed())["return"] is int
    assert hints_of(Signed())["day"] is date
