"""Bindings: which parameter each fills, what is left, and what each stands for."""

from __future__ import annotations

import inspect
from collections import namedtuple
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mxm.pipeline.bindings import (
    Bindings,
    Collection,
    Const,
    Param,
    Upstream,
    by_parameter,
    free_parameters,
    keys_taken,
    parts_in,
    upstreams_in,
    value_of,
    with_named,
)


@st.composite
def functions(draw: st.DrawFn) -> Callable[..., Any]:
    """Functions of every kind of parameter, all with a default, that return what they get."""
    only = [f"o{i}=0" for i in range(draw(st.integers(0, 2)))]
    both = [f"b{i}=0" for i in range(draw(st.integers(0, 2)))]
    named = [f"n{i}=0" for i in range(draw(st.integers(0, 2)))]
    more = draw(st.sampled_from(["", "*more"]))
    rest = draw(st.sampled_from(["", "**rest"]))
    parts = [*only, *(["/"] if only else []), *both]
    parts += [more or "*"] if more or named else []
    text = f"def made({', '.join([*parts, *named, *([rest] if rest else [])])}): return locals()"
    scope: dict[str, Any] = {}
    exec(text, scope)
    return scope["made"]


def names_of(fn: Callable[..., Any], *kinds: Any) -> list[str]:
    return [p.name for p in inspect.signature(fn).parameters.values() if p.kind in kinds]


POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@st.composite
def calls(draw: st.DrawFn) -> tuple[Callable[..., Any], list[str], dict[str, str]]:
    """A function with arguments that it takes; each says how it was given."""
    fn = draw(functions())
    places = names_of(fn, *POSITIONAL)
    most = 4 if names_of(fn, inspect.Parameter.VAR_POSITIONAL) else len(places)
    args = [f"arg {i}" for i in range(draw(st.integers(0, most)))]
    free = [n for n in names_of(fn, *NAMED) if n not in places[: len(args)]]
    free += ["x", "y"] if names_of(fn, inspect.Parameter.VAR_KEYWORD) else []
    given = draw(st.lists(st.sampled_from(free), unique=True)) if free else []
    return fn, args, {name: f"kwarg {name}" for name in given}


@given(calls())
def test_each_binding_is_found_by_the_parameter_that_python_gives_it_to(call: Any) -> None:
    fn, args, kwargs = call
    bindings = Bindings(tuple(map(Const, args)), {k: Const(v) for k, v in kwargs.items()})
    got = inspect.signature(fn).bind(*args, **kwargs).arguments
    expected = {**got, **got.pop("rest", {})}
    expected.pop("more", None)
    expected.pop("rest", None)
    found = by_parameter(fn, bindings)
    assert {name: binding.value for name, binding in found.items()} == expected  # type: ignore[union-attr]
    free = {p.name for p in free_parameters(fn, bindings)} - {"rest"}
    assert free == {*names_of(fn, *POSITIONAL, *NAMED)} - {*expected}


@given(calls(), st.data())
def test_what_is_given_by_name_goes_before_what_is_there_and_arrives(
    call: Any, data: st.DataObject
) -> None:
    fn, args, kwargs = call
    names = names_of(fn, *POSITIONAL, *NAMED)
    some = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    named = {name: f"named {name}" for name in some}
    placed, merged = with_named(fn, args, kwargs, named, str)
    before = inspect.signature(fn).bind(*args, **kwargs).arguments
    got = inspect.signature(fn).bind(*placed, **merged).arguments
    for name in {*before, *named}:
        assert got[name] == named.get(name, before.get(name))
    # What had to be given to keep the others' places is a default.
    assert all(got[name] == "0" for name in {*got} - {*before, *named})


@given(calls(), st.lists(st.sampled_from(["o0", "b0", "b1", "n0", "x", "z"]), unique=True))
def test_the_keys_taken_are_those_that_a_call_can_still_be_given(
    call: Any, keys: list[str]
) -> None:
    fn, args, kwargs = call
    bindings = Bindings(tuple(map(Const, args)), {k: Const(v) for k, v in kwargs.items()})
    taken = keys_taken(fn, bindings, keys)
    own = {*names_of(fn, *POSITIONAL, *NAMED)}
    rest = bool(names_of(fn, inspect.Parameter.VAR_KEYWORD))
    filled = {*by_parameter(fn, bindings)}
    assert taken == [key for key in keys if key not in filled and (key in own or rest)]
    placed, merged = with_named(fn, args, kwargs, dict.fromkeys(taken, "taken"), str)
    got = fn(*placed, **merged)
    assert all({**got, **got.get("rest", {})}[key] == "taken" for key in taken)


def test_the_value_of_a_binding_is_made_of_what_is_looked_up_by_reference() -> None:
    rows = [{"k": [1, 2]}]
    known: dict[Any, Any] = {"load": rows, "size": 3}
    Pair = namedtuple("Pair", "a b")
    binding = Collection(
        dict,
        (
            Upstream("load", (0, "k")),
            Collection(Pair, (Param("size"), Const(None))),
            Collection(tuple, (Upstream("load"),)),
        ),
        ("part", "pair", "whole"),
    )
    made = value_of(binding, lambda origin: known[origin.name])
    assert made == {"part": [1, 2], "pair": Pair(3, None), "whole": (rows,)}
    assert made["whole"][0] is rows
    assert [type(part) for part in parts_in([binding])] == [Upstream, Param, Const, Upstream]
    assert [str(upstream) for upstream in upstreams_in([binding])] == ["load[0]['k']", "load"]
