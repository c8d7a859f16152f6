"""For users' own tests: a guard over inputs, others in place of resources, the backends' suite."""

from __future__ import annotations

from mxm.pipeline.execution.replacements import replaced
from mxm.pipeline.registry import collecting
from mxm.pipeline.testing.guard import InputChangedError, guarded_inputs

__all__ = ["InputChangedError", "collecting", "guarded_inputs", "replaced"]
