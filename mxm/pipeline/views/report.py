"""The report of a run: one page of HTML, which loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.taskruns import State
from mxm.pipeline.version import __version__
from mxm.pipeline.views.bound import Bound, shown_steps
from mxm.pipeline.views.failures import failure_cards
from mxm.pipeline.views.fragments import TIMES, Links, code, counted, pill
from mxm.pipeline.views.frame import graph_box, keys_panel, page_text, top_of
from mxm.pipeline.views.markup import Keys, escaped, middle_out, shortened
from mxm.pipeline.views.picture import icon
from mxm.pipeline.views.reported import Report
from mxm.pipeline.views.run_assets import asset_rows
from mxm.pipeline.views.run_cards import bound_of_run, views_of_run
from mxm.pipeline.views.run_panel import origin_of, run_panel, task_panel
from mxm.pipeline.views.states import count_states, word
from mxm.pipeline.views.timeline import timeline
from mxm.pipeline.views.times import lasted
from mxm.pipeline.views.values import in_short, parameter_text

__all__ = ["draw_report"]

_MOST_CHIPS = 8
_MOST_WARNINGS = 20
_MOST_DETAILS = 5_000  # tasks, above which those that succeeded have no details
_LEGEND = (
    '<p class="legend gl"><span><i class="b crit"></i>critical chain</span>'
    '<span><i class="b"></i>other</span><span><i class="b try"></i>failed attempt</span>'
    '<span><i class="wait"></i>waiting</span><span><i class="hit"></i>cached</span></p>'
)


def draw_report(run: Report) -> str:
    """The page of *run*."""
    return _Page(run).text()


class _Page:
    def __init__(self, run: Report) -> None:
        self.run = run
        self.keys = Keys()
        states = {name: task.state for name, task in run.tasks.items()}
        self.links = Links(self.keys, (), states)
        for (
            name
        ) in run.tasks:  # before sub-flows, because links from elsewhere contain the keys of tasks
            self.links.key(name)
        self.bare = Links(self.keys, (), states, bare=True)
        self.bound = bound_of_run(run)
        self.downstreams: dict[str, list[str]] = {name: [] for name in run.tasks}
        for name, task in run.tasks.items():
            for other in dict.fromkeys(task.needs):
                if other in self.downstreams:
                    self.downstreams[other].append(name)

    def text(self) -> str:
        run = self.run
        views = views_of_run(run, self.bound, self.keys)
        boxes = [
            failure_cards(run, self.links),
            graph_box([(view, view.key) for view in views], ran=True),
            self._timeline(),
            self._warnings(),
            _parameters(run.params),
            self._assets(),
            _versions(run),
        ]
        place = f" · {escaped(run.source)}" if run.source else ""
        return page_text(
            f"{shortened(in_one_line(run.flow), 80)} · {run.state}",
            top=self._top(),
            main="".join(boxes),
            panel=run_panel(run, self.links) + keys_panel("failure"),
            details=self._details(),
            footer=f"mxm-pipeline {escaped(__version__)}{place} · times in UTC",
        )

    def _top(self) -> str:
        run = self.run
        name = f"<h1>{code(run.flow, 120)}</h1>{pill(run.state, run.state.capitalize(), 'pill')}"
        of_run = [each for each in run.params if each.get("origin") == "run"]
        chips = [
            f'<span class="chip"><span>{escaped(in_short(each["name"], 40))}</span>'
            f"{escaped(parameter_text(each, 40))}</span>"
            for each in of_run[:_MOST_CHIPS]
        ]
        rest = len(run.params) - len(chips)
        if rest:
            said = f"{rest:,} by default" if len(of_run) <= _MOST_CHIPS else f"and {rest:,} more"
            chips.append(f'<a class="chip more" href="#:params">{said}</a>')
        return top_of(name, self._facts(), "".join(chips), self._summary())

    def _facts(self) -> list[str]:
        run = self.run
        ended = run.state not in (State.RUNNING, State.CRASHED)
        facts = [f"<b>{lasted(run.seconds)}</b>" + ("" if ended else " so far as is known")]
        if run.started:
            facts.append(f"{run.started:%a %d %b %Y, %H:%M:%S} UTC")
        facts.append(f"run {code(run.id, 40)}")
        if run.git:
            facts.append(_git(run.git))
        workers = f" {TIMES} {run.workers}" if (run.workers or 1) > 1 else ""
        facts.append(escaped(f"{run.backend}, {run.runner}{workers}"))
        if run.overridden:
            facts.append("<b>values were overridden: this run is a test</b>")
        return facts

    def _summary(self) -> str:
        run = self.run
        counts = count_states(task.state for task in run.tasks.values())
        done = sum(counts.get(s, 0) for s in (State.SUCCEEDED, State.CACHED, State.OVERRIDDEN))
        meter = "".join(
            f'<i class="s-{state}" style="flex:{count}"></i>' for state, count in counts.items()
        )
        words = "".join(
            f'<a class="cnt s-{state}" href="#s:{state}">{icon(state)}<b>{count:,}</b> '
            f"{word(state)}</a>"
            for state, count in counts.items()
        )
        said = self._sentence()
        label = f"{done:,} of {counted(len(run.tasks), 'task')} done"
        return (
            f'<div class="sum"><div class="meter" role="img" aria-label="{label}">{meter}</div>'
            f'<p class="cnts">{words}</p><p class="bound">{said}</p></div>'
        )

    def _sentence(self) -> str:
        """What bound the run, in a sentence."""
        bound = self.bound
        if bound is None:
            return ""
        share = f"<b>{bound.share}</b>"
        if bound.by == "one":
            return (
                f"Ran one task at a time: the longest chain is {share}; "
                "<code>--runner threads</code> saves at most the rest."
            )
        if bound.by == "workers":
            return (
                f"Bound by <b>{self.run.workers} workers</b>: ready tasks waited "
                f"{lasted(bound.waited)} in all for a free one; the longest chain is {share}."
            )
        return f"Bound by the chain {self._steps(bound)}: {share}."

    def _steps(self, bound: Bound) -> str:
        before, after = shown_steps(bound)
        shown = [self._step(name) for name in before]
        shown += ["…", *map(self._step, after)] if after else []
        return " → ".join(shown)

    def _step(self, name: str) -> str:
        return f'<a href="#{self.links.key(name)}">{escaped(middle_out(in_one_line(name), 40))}</a>'

    def _timeline(self) -> str:
        table = timeline(self.run, self.links, self.bound.chain if self.bound else ())
        return (
            '<section class="box tasks-of"><header class="bh"><h2>Tasks '
            f'<span class="mut">{len(self.run.tasks):,}</span></h2>{_LEGEND}</header>'
            f"{table}</section>"
        )

    def _warnings(self) -> str:
        warnings = self.run.warnings
        if not warnings:
            return ""
        rows = "".join(
            f"<tr><td>{code(str(each['code']), 20)}</td>"
            f"<td>{escaped(shortened(str(each['message']), 2_000))}</td></tr>"
            for each in warnings[:_MOST_WARNINGS]
        )
        rest = len(warnings) - _MOST_WARNINGS
        more = f'<tr><td></td><td class="mut">and {rest:,} more</td></tr>' if rest > 0 else ""
        count = f'<span class="mut">{len(warnings):,}</span>'
        return _box(
            "warnings", f"Warnings {count}", f'<table class="grid wrap">{rows}{more}</table>'
        )

    def _assets(self) -> str:
        rows = asset_rows(self.run, self.links)
        head = ("Asset", "Partition", "By", "Shape", "Size", "State")
        table = _table(head, rows, numbers=("Shape", "Size"))
        return _box("assets", "Assets", table) if rows else ""

    def _details(self) -> str:
        tasks = list(self.run.tasks.values())
        if len(tasks) > _MOST_DETAILS:
            tasks = [task for task in tasks if task.state != State.SUCCEEDED]
        return "".join(
            f'<template id="d-{self.links.key(task.name)}">'
            f"{task_panel(task, self.run, self.downstreams[task.name], self.bare)}</template>"
            for task in tasks
        )


def _git(git: Mapping[str, Any]) -> str:
    commit = str(git.get("commit") or "no commit")[:12]
    branch = f"{git['branch']}@" if git.get("branch") else ""
    dirty = git.get("dirty")
    changed = (
        " with uncommitted changes" if dirty else "" if dirty is False else ", changes unknown"
    )
    return f"{code(f'{branch}{commit}', 80)}{changed}"


def _box(key: str, title: str, body: str) -> str:
    return (
        f'<section class="box" id=":{key}"><header class="bh"><h2>{title}</h2></header>'
        f'<div class="wide" tabindex="0">{body}</div></section>'
    )


def _table(head: Sequence[str], rows: str, numbers: Sequence[str] = ()) -> str:
    cells = "".join(f"<th{' class=num' if name in numbers else ''}>{name}</th>" for name in head)
    return f'<table class="grid"><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table>'


def _parameters(params: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{code(str(each['name']), 60)}</td><td>{code(parameter_text(each), 240)}</td>"
        f'<td class="mut">{escaped(shortened(str(each.get("type") or ""), 60))}</td>'
        f'<td class="mut">{escaped(shortened(origin_of(each), 60))}</td></tr>'
        for each in params
    )
    return (
        _box("params", "Parameters", _table(("Name", "Value", "Type", "From"), rows))
        if rows
        else ""
    )


def _versions(run: Report) -> str:
    named = {**run.versions, "host": run.host, "user": run.user}
    rows = "".join(
        f"<div><dt>{escaped(str(name))}</dt><dd>{escaped(str(text))}</dd></div>"
        for name, text in named.items()
        if text
    )
    return _box("versions", "Versions", f'<dl class="vers">{rows}</dl>') if rows else ""
