"""For users' own tests: a guard over inputs, and the suite that every backend must pass."""

from __future__ import annotations

from mxm.pipeline.registry import collecting
from mxm.pipeline.testing.guard import InputChangedError, guarded_inputs

__all__ = ["InputChangedError", "collecting", "guarded_inputs"]
