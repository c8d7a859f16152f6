"""For users' own tests: flows run without engine and feed, graphs compared, resources replaced."""

from __future__ import annotations

from mxm.pipeline.execution.replacements import replaced
from mxm.pipeline.registry import collecting
from mxm.pipeline.testing.graphs import assert_flows_valid, assert_graph
from mxm.pipeline.testing.guard import InputChangedError, guarded_inputs
from mxm.pipeline.testing.running import assert_same_everywhere, no_delays, run_flow

__all__ = [
    "InputChangedError",
    "assert_flows_valid",
    "assert_graph",
    "assert_same_everywhere",
    "collecting",
    "guarded_inputs",
    "no_delays",
    "replaced",
    "run_flow",
]
