"""Lets Prefect know, in a worker process, in which flow run and task run its code is called.

`get_run_logger` and `prefect.runtime` work there as in this process. A worker imports this module
only after ``prefect.context``: whoever imports it must have loaded Prefect.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

from prefect.context import FlowRunContext, TaskRunContext
from prefect.results import ResultStore
from prefect.task_runners import ThreadPoolTaskRunner

from mxm.pipeline.execution.pickling import pack, unpack
from mxm.pipeline.execution.places.engine_state import EngineState

__all__ = ["set_runs", "state_of_runs"]

_MODULES = ("prefect.context", "prefect.main")
_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


def state_of_runs() -> EngineState | None:
    """Prefect's current flow run and task run, for a worker; None outside of both."""
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    if flow is None and task is None:
        return None
    data = (
        flow and (flow.flow_run, flow.flow and (flow.flow.name, flow.flow.version)),
        task and (task.task_run, task.task.name),
        flow and flow.parameters,
    )
    return EngineState(_MODULES, f"{__name__}:{set_runs.__name__}", pack(data))


def set_runs(data: bytes | None) -> None:
    """Make the runs in *data* the current ones in this context; with None, there are none."""
    flow: Any = None
    task: Any = None
    if data is not None:
        of_flow, of_task, parameters = unpack(data)
        if of_flow is not None:
            run, named = of_flow
            name, version = named or (None, None)
            flow = FlowRunContext.model_construct(
                flow=SimpleNamespace(name=name, version=version, isasync=False),
                flow_run=run,
                parameters=parameters or {},
                detached=True,  # as Prefect marks a flow run whose flow is in another process
                result_store=ResultStore(),
                task_runner=ThreadPoolTaskRunner(),
                client=None,
            )
        if of_task is not None:
            run, name = of_task
            task = TaskRunContext.model_construct(
                task=SimpleNamespace(name=name, isasync=False),
                task_run=run,
                parameters={},
                result_store=ResultStore(),
                client=None,
            )
        # Prefect's own loggers are off if there is no server. The other process, where the lines
        # are shown, filters them again.
        level = min(logging.getLogger().level, logging.getLogger("prefect").level)
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(level)
    for context, value in ((FlowRunContext, flow), (TaskRunContext, task)):
        variable: ContextVar[Any] = context.__var__
        variable.set(value)
