"""The decorators, `use` and `each`, and the objects that they make: what a user writes with."""

from mxm.pipeline.authoring.flows import Flow, flow
from mxm.pipeline.authoring.tasks import Task, task
from mxm.pipeline.authoring.uses import use
from mxm.pipeline.tracing.marks import each

__all__ = ["Flow", "Task", "each", "flow", "task", "use"]
