"""The tasks of a run as a table that is both a list and a Gantt chart."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.taskruns import State
from mxm.pipeline.views.bodies import band_name, bodies_of
from mxm.pipeline.views.cards import FOLD
from mxm.pipeline.views.fragments import TIMES, Links, code, pill
from mxm.pipeline.views.markup import escaped, shortened
from mxm.pipeline.views.picture import icon
from mxm.pipeline.views.reported import Report, TaskReport
from mxm.pipeline.views.run_cards import sub_flows
from mxm.pipeline.views.states import count_states, exceptions, word, worst
from mxm.pipeline.views.times import lasted

__all__ = ["timeline"]

_LEAST_WAIT = 1 / 300  # of the run; shorter waits cannot be seen
_UNITS = ((1.0, "s"), (60.0, "min"), (3600.0, "h"))
# Cells of rows have no end tags: HTML does not need them, and there may be thousands of rows.
_CRITICAL = '<td class="cm" title="on the critical chain">●'


def timeline(run: Report, links: Links, critical: Collection[str]) -> str:
    """The table of *run*; in a large one, the tasks of a sub-flow are folded below its row.

    Parameters
    ----------
    run
        The run.
    links
        To its tasks.
    critical
        The tasks that its end waited for.
    """
    rows = _Rows(run, links, critical)
    axis, grid = _axis(run.seconds)
    head = (
        '<thead><tr><th>Task</th><th>State</th><th class="num">Time</th>'
        '<th class="cm"><span class="sr">Critical</span></th>'
        f'<th class="tl"><div class="axis">{axis}</div></th></tr></thead>'
    )
    bodies = "".join(rows.bodies())
    return f'<table class="tasks gantt" style="--grid:{grid}">{head}{bodies}</table>'


class _Rows:
    def __init__(self, run: Report, links: Links, critical: Collection[str]) -> None:
        self.run = run
        self.links = links
        self.critical = critical
        self.total = run.seconds or 1.0

    def bodies(self) -> Iterator[str]:
        tasks = self.run.tasks
        folded = sub_flows(self.run) if len(tasks) > FOLD else {}
        return bodies_of(
            tasks,
            folded,
            lambda name: self._row(tasks[name]),
            lambda title, names: self._band(title, [tasks[name] for name in names]),
        )

    def _row(self, task: TaskReport) -> str:
        state = task.state
        key = self.links.key(task.name)
        name = f'<a href="#{key}">{code(task.name, 120)}</a>'
        if task.items:
            name += f'<span class="count">{_counted(task.items["count"])}</span>'
        tries = len(task.attempts)
        if tries > 1:
            name += f'<span class="badge" title="{tries} attempts">{TIMES}{tries}</span>'
        time = "" if state == State.CACHED else lasted(task.took)
        if state == State.RUNNING and task.started is not None:
            time = lasted(self.run.seconds - task.started)
        return (
            f'<tr id="r-{key}" class="s-{state}"><td class="tn">{name}<td>'
            f'<span class="state">{icon(state)}{word(state)}</span><td class="num">{time}'
            f"{_CRITICAL if task.name in self.critical else '<td>'}"
            f'<td class="tl">{_inside(self._bars(task))}</tr>'
        )

    def _bars(self, task: TaskReport) -> str:
        if task.state in (State.SKIPPED, State.CANCELLED) and task.started is None:
            return f'<span class="skip">{self._why(task)}</span>' if task.reason else ""
        if task.state == State.CACHED:
            at = task.started if task.started is not None else task.ended
            return "" if at is None else f'<i class="hit" style="left:{self._share(at)}"></i>'
        drawn: list[str] = []
        if task.ready is not None and task.started is not None:
            waited = task.started - task.ready
            if waited > self.total * _LEAST_WAIT:
                why = "a limit" if task.waited >= waited / 2 else "a worker"
                title = f"waited {lasted(waited)} for {why}"
                drawn.append(self._bar("wait", task.ready, task.started, title))
        return "".join(drawn) + self._attempts(task)

    def _attempts(self, task: TaskReport) -> str:
        """The bars of its attempts, and the waits between them."""
        drawn: list[str] = []
        attempts = task.attempts
        if not attempts and task.started is not None and task.ended is not None:
            drawn.append(self._bar(self._css(task, "", last=True), task.started, task.ended, ""))
        for i, attempt in enumerate(attempts):
            after = attempts[i + 1] if i + 1 < len(attempts) else None
            took = lasted(attempt.ended - attempt.started)
            title = f"attempt {i + 1}: {word(attempt.state)}, {took}"
            title += f", {attempt.error}" if attempt.error else ""
            css = self._css(task, attempt.state, last=after is None)
            drawn.append(
                self._bar(css, attempt.started, attempt.ended, title if len(attempts) > 1 else "")
            )
            if after and after.started - attempt.ended > self.total * _LEAST_WAIT:
                title = f"waited {lasted(after.started - attempt.ended)} before attempt {i + 2}"
                drawn.append(self._bar("wait", attempt.ended, after.started, title))
        return "".join(drawn)

    def _css(self, task: TaskReport, attempt: str, *, last: bool) -> str:
        failed = attempt == State.FAILED or (not attempt and task.state == State.FAILED)
        if failed and not last:
            return "b try"
        if failed and task.state == State.FAILED:
            return "b bad"
        if task.state == State.RUNNING and last:
            return "b now"
        return "b crit" if task.name in self.critical else "b"

    def _share(self, seconds: float) -> str:
        # Two digits are a hundredth of a percent of the width: less than a pixel.
        return f"{min(100.0, 100 * seconds / self.total):.2f}".rstrip("0").rstrip(".") + "%"

    def _bar(self, css: str, start: float, end: float, title: str) -> str:
        named = f' title="{escaped(shortened(in_one_line(title), 300))}"' if title else ""
        width = self._share(max(0.0, end - start))
        return f'<i class="{css}" style="left:{self._share(start)};width:{width}"{named}></i>'

    def _why(self, task: TaskReport) -> str:
        cause = self.run.tasks.get(task.cause)
        if task.reason == f"upstream {task.cause!r} failed" and cause is not None:
            return f"because {code(task.cause, 60)} failed"
        return escaped(shortened(in_one_line(task.reason), 120))

    def _band(self, title: str, tasks: Sequence[TaskReport]) -> str:
        """The row of a sub-flow: its size, worst state, span, and the tasks that stand out."""
        counts = count_states(task.state for task in tasks)
        state = worst(counts)
        said = f"{counts[state]:,} {word(state)}" if exceptions(counts) else word(state)
        bars = time = ""
        ran = [t for t in tasks if t.started is not None and t.attempts]
        starts = [t.started for t in ran if t.started is not None]
        if starts:
            ends = [self.run.seconds if t.ended is None else t.ended for t in ran]
            time = lasted(max(ends) - min(starts))
            bars = self._bar("span", min(starts), max(ends), "")
            for task in ran:
                if task.name in self.critical or task.state == State.FAILED:
                    bars += self._attempts(task)
        critical = any(task.name in self.critical for task in tasks)
        return (
            f'<tr class="band s-{state}">{band_name(title, len(tasks))}<td>{pill(state, said)}</td>'
            f'<td class="num">{time}</td>{_CRITICAL if critical else "<td></td>"}'
            f'<td class="tl">{_inside(bars)}</td></tr>'
        )


def _counted(items: Mapping[str, int]) -> str:
    """How many items there are, and how many of them failed."""
    failed = items.get(State.FAILED, 0)
    return f"{sum(items.values()):,}" + (f", {failed:,} failed" if failed else "")


def _inside(bars: str) -> str:
    """*bars* in a box without the padding of its cell."""
    return f'<div class="bars">{bars}</div>' if bars else ""


def _axis(total: float) -> tuple[str, str]:
    """The labels of the axis of *total* seconds, and the lines of the grid behind the bars."""
    total = total or 1.0
    size, unit = next(
        (size, unit) for size, unit in reversed(_UNITS) if total >= 2 * size or size == 1
    )
    ticks = _ticks(total / size)
    shares = [100 * tick * size / total for tick in ticks]
    labels = "".join(
        f'<span style="left:{share:.2f}%">{tick:g}{f" {unit}" if i == 0 else ""}</span>'
        for i, (tick, share) in enumerate(zip(ticks, shares, strict=True))
        if share < 97
    )
    stops: list[str] = []
    for share, until in zip(shares, [*shares[1:], 100.0], strict=True):
        line = f"calc({share:.2f}% + 1px)"
        stops.append(f"var(--line) {share:.2f}% {line},transparent {line} {until:.2f}%")
    return labels, f"linear-gradient(90deg,{','.join(stops)})"


def _ticks(total: float) -> list[float]:
    """Round numbers from 0 to *total*, at most seven."""
    step = 10.0 ** math.floor(math.log10(total / 5))
    step = next(step * factor for factor in (1, 2, 5, 10, 20) if total / (step * factor) < 7)
    return [i * step for i in range(math.floor(total / step + 1e-9) + 1)]
