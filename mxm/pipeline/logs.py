"""Which flow and task a log line, or a printed one, belongs to."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["TaskFilter", "current_task", "logger", "within_task"]

logger = logging.getLogger("mxm.pipeline")

_current: ContextVar[tuple[str, str] | None] = ContextVar("mxm_task", default=None)


def current_task() -> tuple[str, str] | None:
    """Names of the flow and the task whose function is being called here and now, or None."""
    return _current.get()


@contextmanager
def within_task(flow: str, task: str) -> Generator[None, None, None]:
    """Mark what is logged and printed in this block as the task's."""
    token = _current.set((flow, task))
    try:
        yield
    finally:
        _current.reset(token)


class TaskFilter(logging.Filter):
    """Gives each record ``mxm_flow`` and ``mxm_task`` (``""`` outside a task), for a format."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mark *record*; none is held back."""
        flow, task = _current.get() or ("", "")
        record.mxm_flow = flow
        record.mxm_task = getattr(record, "mxm_task", None) or task
        return True
