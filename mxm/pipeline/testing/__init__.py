"""For tests: run flows without an engine or a feed, compare graphs, replace resources.

Each name is loaded on first use, because pytest loads the plugin in this package in every session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from mxm.pipeline.execution.resources.replacements import replaced
    from mxm.pipeline.registry import collecting
    from mxm.pipeline.testing.graphs import assert_flows_valid, assert_graph
    from mxm.pipeline.testing.guard import InputChangedError, guarded_inputs
    from mxm.pipeline.testing.running import assert_same_everywhere, no_delays, run_flow
else:
    _HOMES = {
        "execution.resources.replacements": ("replaced",),
        "registry": ("collecting",),
        "testing.graphs": ("assert_flows_valid", "assert_graph"),
        "testing.guard": ("InputChangedError", "guarded_inputs"),
        "testing.running": ("assert_same_everywhere", "no_delays", "run_flow"),
    }

    def __getattr__(name):
        for module, names in _HOMES.items():
            if name in names:
                from importlib import import_module

                value = getattr(import_module(f"mxm.pipeline.{module}"), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})
