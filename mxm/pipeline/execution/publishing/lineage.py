"""Which assets a task is made from: those that it reads, and the nearest ones upstream."""

from __future__ import annotations

from collections.abc import Mapping

from mxm.pipeline.spec import TaskSpec

__all__ = ["made_from", "tasks_behind"]


def made_from(task: TaskSpec, tasks: Mapping[str, TaskSpec]) -> list[str]:
    """The assets that *task* is made from: those it reads, and the nearest ones upstream."""
    assets: dict[str, None] = {}
    for each in tasks_behind(task, tasks):
        assets.update(dict.fromkeys(each.reads))
        for name in each.upstream:
            above = tasks.get(name)
            if above is not None and above.produces is not None:
                assets.setdefault(above.produces.id)
    return list(assets)


def tasks_behind(task: TaskSpec, tasks: Mapping[str, TaskSpec]) -> list[TaskSpec]:
    """*task*, and what is upstream of it as far as the tasks that write assets of their own."""
    behind = {task.name: task}
    waiting = list(task.upstream)[::-1]
    while waiting:
        above = tasks.get(waiting.pop())
        if above is not None and above.name not in behind and above.produces is None:
            behind[above.name] = above
            waiting += reversed(above.upstream)
    return list(behind.values())
