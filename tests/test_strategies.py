"""The strategies for users' tests: what they draw is what a flow takes."""

from __future__ import annotations

from datetime import date
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

import mxm
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.testing import run_flow
from mxm.pipeline.testing.strategies import parameters


class Mode(Enum):
    FAST = "fast"


@mxm.task
def kinds(*values: Any) -> list[str]:
    return [type(value).__name__ for value in values]


@mxm.flow
def anything(
    day: date, mode: Mode, side: Literal["buy", "sell"], token: SecretStr, sizes: list[int] = [1]
):
    return kinds(day, mode, side, token, sizes)


@settings(max_examples=25, deadline=None)
@given(parameters(anything))
def test_a_flow_runs_with_whatever_is_drawn(params: dict[str, Any]) -> None:
    assert set(params) in (
        {"day", "mode", "side", "token"},
        {"day", "mode", "side", "token", "sizes"},
    )
    assert run_flow(anything, params=params).value() == ["date", "Mode", "str", "SecretStr", "list"]


@mxm.task
def untyped(n, m: int = 1):
    return n


@mxm.flow
def of_task():
    return untyped


@settings(max_examples=5, deadline=None)
@given(parameters(of_task, {"n": st.just(7)}))
def test_a_strategy_of_ones_own_is_taken(params: dict[str, Any]) -> None:
    assert run_flow(of_task, params=params).value() == 7


def test_a_strategy_of_no_parameter_is_refused() -> None:
    with pytest.raises(PipelineError, match="flow 'anything' has no parameter 'mod'") as caught:
        parameters(anything, {"mod": st.just(Mode)})
    assert caught.value.hint == "did you mean 'mode'?"


def test_a_parameter_without_annotation_needs_one() -> None:
    with pytest.raises(PipelineError, match="parameter 'n' of flow 'of_task' has no annotation"):
        parameters(of_task)
