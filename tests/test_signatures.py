"""A function's signature, the names of its parameters, its place."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mxm.pipeline.introspection.signatures import shape_of, signature_of, source_of, unwrapped


@st.composite
def functions(draw: st.DrawFn) -> Any:
    """A function of any signature there can be."""
    count = draw(st.integers(0, 5))
    names = [f"p{i}" for i in range(count)]
    only = draw(st.integers(0, count))
    keyword = [f"k{i}" for i in range(draw(st.integers(0, 3)))]
    parts = names[:only] + (["/"] if only else []) + names[only:]
    if draw(st.booleans()):
        parts.append("*more")
    elif keyword:
        parts.append("*")
    parts += keyword
    if draw(st.booleans()):
        parts.append("**rest")
    space: dict[str, Any] = {}
    exec(f"def f({', '.join(parts)}): local = 1; return local", space)
    return space["f"]


@given(functions(), st.integers(0, 7), st.sets(st.sampled_from(["p0", "p1", "p4", "k0", "z"])))
def test_takes_agrees_with_python(fn: Any, args: int, names: set[str]) -> None:
    only = [
        p.name for p in inspect.signature(fn).parameters.values() if p.kind is p.POSITIONAL_ONLY
    ]
    assume(not names & {*only[args:]})  # Pythons differ in what bind_partial says of these
    try:
        inspect.signature(fn).bind_partial(*range(args), **dict.fromkeys(names))
        fits = True
    except TypeError:
        fits = False
    shape = shape_of(fn)
    assert shape is not None
    assert shape.takes(args, sorted(names)) is fits


def test_what_is_given_by_place_only_is_not_taken_by_name() -> None:
    def fn(a: int, /, **rest: int) -> None: ...

    shape = shape_of(fn)
    assert shape is not None
    assert not shape.takes(0, ["a"])
    assert shape.takes(1, ["a"])


@given(functions())
def test_the_shape_read_off_the_code_is_that_of_the_signature(fn: Any) -> None:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any: ...

    assert shape_of(wrapper) == shape_of(fn)
    assert shape_of(functools.partial(fn)) == shape_of(fn)


def test_a_signature_that_is_given_counts() -> None:
    def fn(*args: Any) -> None: ...

    fn.__signature__ = inspect.signature(lambda a, b: None)  # type: ignore[attr-defined]
    shape = shape_of(fn)
    assert shape is not None
    assert shape.positional == ("a", "b")


def test_a_builtin_that_does_not_tell_has_neither() -> None:
    assert signature_of(max) is None
    assert shape_of(max) is None


def test_objects_without_a_hash_have_signatures() -> None:
    class Callable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, a: int) -> int:
            return a

    signature = signature_of(Callable())
    assert signature is not None
    assert list(signature.parameters) == ["a"]


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_source_of_a_wrapped_function_is_the_users(wrapped: bool) -> None:
    def fn() -> None: ...

    @functools.wraps(fn)
    def wrapper() -> None: ...

    assert source_of(wrapper if wrapped else fn) == source_of(fn)
    assert unwrapped(wrapper) is fn
