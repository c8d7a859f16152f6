"""Random flows for Hypothesis: right graphs, graphs wrong in every way, and whole specs."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from mxm.pipeline.bindings import Binding, Bindings, Collection, Const, Param, Upstream
from mxm.pipeline.spec import AssetDecl, FlowSpec, TaskSpec
from mxm.pipeline.task_options import RUN_RULES
from mxm.pipeline.timing.retries import backoff


def take(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    return args, kwargs


def give() -> int:
    return 1


@st.composite
def wrong_flows(draw: st.DrawFn) -> FlowSpec:
    """Flows whose names may stand twice, whose upstreams may be unknown, with any cycles."""
    name = st.sampled_from("abcde")
    some = st.lists(st.sampled_from("abcdexyz"), max_size=3)
    drawn = draw(st.lists(st.tuples(name, some, some), max_size=7))
    return FlowSpec("wrong", [TaskSpec(n, take, upstream=u, after=a) for n, u, a in drawn])


plain_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
_words = st.text("abcde", min_size=1, max_size=3)
_paths = st.lists(_words | st.integers(-3, 3), max_size=2).map(tuple)
_named = st.builds(Upstream, _words, _paths) | st.builds(Param, _words, _paths)


def _collections(inner: st.SearchStrategy[Binding]) -> st.SearchStrategy[Binding]:
    items = st.lists(inner, max_size=3).map(tuple)
    keyed = st.dictionaries(_words | st.integers(), inner, max_size=3)
    return st.builds(Collection, st.sampled_from([list, tuple]), items) | keyed.map(
        lambda d: Collection(dict, tuple(d.values()), tuple(d))
    )


bindings: st.SearchStrategy[Binding] = st.recursive(
    _named | st.builds(Const, plain_values), _collections, max_leaves=5
)
_params = st.dictionaries(_words, plain_values, max_size=2)
_seconds = st.floats(0, 9)
_tasks = st.builds(
    TaskSpec,
    _words,
    st.sampled_from([take, give]),
    params=_params,
    retries=st.integers(0, 3),
    retry_delay_s=_seconds
    | st.lists(_seconds, max_size=2)
    | st.builds(backoff, _seconds, st.integers(1, 3))
    | st.just(take),
    produces=st.none()
    | st.builds(AssetDecl, _words, st.none() | _words, _words, st.none() | _words),
    after=st.lists(_words, max_size=2),
    retry_on=st.sampled_from([Exception, (ValueError, OSError), take]),
    timeout_s=st.none() | st.floats(0.1, 9),
    tags=st.lists(_words, max_size=2),
    run_if=st.sampled_from(RUN_RULES),
    allow_failure=st.booleans(),
    bindings=st.builds(
        Bindings, st.lists(bindings, max_size=2), st.dictionaries(_words, bindings, max_size=2)
    ),
)
specs: st.SearchStrategy[FlowSpec] = st.builds(
    FlowSpec,
    _words,
    st.lists(_tasks, max_size=3),
    _params,
    st.none() | st.just("0 6 * * 1-5"),
    fn=st.none() | st.just(take),
    output=st.none() | bindings,
    traced=st.booleans(),
)
