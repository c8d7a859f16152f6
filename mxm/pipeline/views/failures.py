"""The failures of a run, at the top of its report: one card for each error."""

from __future__ import annotations

from collections.abc import Sequence

from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.taskruns import State
from mxm.pipeline.views.fragments import Links, code
from mxm.pipeline.views.markup import escaped, shortened
from mxm.pipeline.views.picture import icon
from mxm.pipeline.views.reported import Report, TaskReport
from mxm.pipeline.views.run_panel import error_html
from mxm.pipeline.views.times import lasted

__all__ = ["failure_cards"]

_MOST_CARDS = 5
_MOST_NAMES = 8


def failure_cards(run: Report, links: Links) -> str:
    """A card for each error of *run*; tasks with the same error at one line share it."""
    alike: dict[tuple[str, str], list[TaskReport]] = {}
    for task in run.tasks.values():
        if task.state == State.FAILED:
            error = task.error
            key = (error.type, error.place) if error and error.place else (task.name, "")
            alike.setdefault(key, []).append(task)
    # Failures that fail the run come before allowed ones.
    groups = sorted(alike.values(), key=lambda tasks: all(task.allowed for task in tasks))
    cards = "".join(_card(tasks, run, links) for tasks in groups[:_MOST_CARDS])
    if not cards:
        return ""
    rest = len(groups) - _MOST_CARDS
    if rest > 0:
        cards += (
            f'<p class="mut">and {rest:,} more error{"s" * (rest != 1)}; '
            "<kbd>n</kbd> goes through all failures</p>"
        )
    if run.resume:
        command = escaped(run.resume)
        cards += (
            f'<p class="cmd"><span class="mut">Resume after a fix</span><code>{command}</code>'
            f'<button type="button" data-copy="{command}">Copy</button></p>'
        )
    return f'<section class="fails" aria-label="Failures">{cards}</section>'


def _card(tasks: Sequence[TaskReport], run: Report, links: Links) -> str:
    first = tasks[0]
    error = first.error
    if len(tasks) > 1:
        said = f"and {len(tasks) - 1:,} more failed"
    else:
        said = "failed" + (f" after {n} attempts" if (n := len(first.attempts)) > 1 else "")
        said += "" if first.ended is None else f" at {lasted(first.ended)}"
    said += ", as it may" if all(task.allowed for task in tasks) else ""
    if error and error.place:
        said += f", {error.place}"
    head = (
        f'<h3><span class="s-failed">{icon("failed")}</span>'
        f'<a href="#{links.key(first.name)}">{code(first.name, 120)}</a>'
        f'<span class="mut">{escaped(shortened(in_one_line(said), 200))}</span></h3>'
    )
    body = error_html(error) if error else ""
    if not body and first.reason:
        body = f'<p class="err" tabindex="0">{escaped(first.reason)}</p>'
    names = {task.name for task in tasks}
    lost = [
        name
        for name, task in run.tasks.items()
        if task.state == State.SKIPPED and task.cause in names
    ]
    same = _named("The same in", [task.name for task in tasks[1:]], links)
    return (
        f'<article class="fail">{head}{body}{same}'
        f"{_named('Skipped because of it', lost, links)}</article>"
    )


def _named(what: str, names: Sequence[str], links: Links) -> str:
    if not names:
        return ""
    shown = links.some(names, _MOST_NAMES)
    return f'<p class="lost"><span class="mut">{what}</span><span>{shown}</span></p>'
