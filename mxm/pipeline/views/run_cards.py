"""The tasks of a run as cards and edges: their states, times, and what bound the run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.taskruns import State
from mxm.pipeline.views.bound import Bound, Span, bound_of
from mxm.pipeline.views.cards import View, groups_of, views_of_cards
from mxm.pipeline.views.layers import Edge
from mxm.pipeline.views.markup import Keys
from mxm.pipeline.views.picture import Card
from mxm.pipeline.views.reported import Report, TaskReport
from mxm.pipeline.views.states import count_states, exceptions, word, worst
from mxm.pipeline.views.times import lasted

__all__ = ["bound_of_run", "edges_of_run", "sub_flows", "views_of_run"]


def bound_of_run(run: Report) -> Bound | None:
    """What bound *run*; None if it is not over, or was cancelled."""
    if run.state in (State.RUNNING, State.CRASHED, State.CANCELLED):
        return None
    spans = {
        name: Span(
            [other for other in task.needs if other in run.tasks],
            task.ready,
            task.started,
            task.ended,
            task.waited,
        )
        for name, task in run.tasks.items()
    }
    return bound_of(spans, run.seconds, run.workers)


def edges_of_run(run: Report) -> list[Edge]:
    """The edges between the tasks of *run*."""
    return [
        Edge(other, name, order=other not in task.upstream)
        for name, task in run.tasks.items()
        for other in dict.fromkeys(task.needs)
        if other in run.tasks and other != name
    ]


def sub_flows(run: Report) -> dict[str, list[str]]:
    """The groups that the table of *run* folds, like its drawing: members by title."""
    return groups_of(list(run.tasks), edges_of_run(run))


def views_of_run(run: Report, bound: Bound | None, keys: Keys) -> list[View]:
    """The drawings of *run*; the first shows the whole, folded if it is large.

    Parameters
    ----------
    run
        The run.
    bound
        What bound it.
    keys
        The parts of tasks and sub-flows in a page's address.
    """
    chain = bound.chain if bound else ()
    critical = set(chain)
    cards = {
        name: _card(task, keys.of(name), is_critical=name in critical)
        for name, task in run.tasks.items()
    }

    def group_card(name: str, title: str, members: Sequence[str]) -> Card:
        counts = count_states(run.tasks[member].state for member in members)
        label = in_one_line(title)
        text = exceptions(counts) or f"{len(members):,} tasks"
        in_words = ", ".join(f"{count:,} {word(state)}" for state, count in counts.items())
        return Card(
            name,
            label,
            text,
            f"{label}, {len(members):,} tasks: {in_words}",
            f"#/{keys.of('', title)}",
            many=True,
            state=worst(counts),
            counts=tuple(counts.items()),
            is_critical=not critical.isdisjoint(members),
        )

    views = views_of_cards(cards, edges_of_run(run), group_card, keys)
    hot = list(itertools.pairwise(chain))
    return [replace(view, critical=_critical_in(view, hot, run)) for view in views]


def _critical_in(
    view: View, hot: Sequence[tuple[str, str]], run: Report
) -> Sequence[tuple[str, str]]:
    """The edges of the critical chain, between the cards that stand for its tasks in *view*."""
    names = {card.name for card in view.cards}
    if names <= run.tasks.keys():
        return hot
    card_of = {
        member: f"\0{title}" for title, members in sub_flows(run).items() for member in members
    }
    critical: list[tuple[str, str]] = []
    for source, target in hot:
        ends = (
            source if source in names else card_of.get(source, source),
            target if target in names else card_of.get(target, target),
        )
        if ends[0] != ends[1]:
            critical.append(ends)
    return critical


def _card(task: TaskReport, key: str, *, is_critical: bool) -> Card:
    label = in_one_line(task.name)
    tries = f"{len(task.attempts)} attempts" if len(task.attempts) > 1 else ""
    text = _text(task)
    title = ", ".join(filter(None, [label, word(task.state), lasted(task.took), tries]))
    return Card(
        task.name,
        label,
        text,
        title,
        f"#{key}",
        writes=bool(task.declares),
        many=task.mapped,
        state=task.state,
        attempts=len(task.attempts),
        counts=tuple(_item_counts(task).items()),
        is_critical=is_critical,
    )


def _item_counts(task: TaskReport) -> Mapping[str, int]:
    if not task.mapped:
        return {}
    if task.items and task.items["count"]:
        counts: dict[str, int] = dict(task.items["count"])
        return {state: counts[state] for state in count_states(counts)}
    return {task.state: 1}


def _text(task: TaskReport) -> str:
    """The second line: how long it took, and what it returned or raised."""
    took = lasted(task.took)
    if task.state == State.FAILED:
        kind = task.error.type if task.error else "failed"
        return f"{took} · {kind}" if took else kind
    if task.state == State.SUCCEEDED:
        made = task.returns
        if task.items:
            count = sum(task.items["count"].values())
            made = exceptions(task.items["count"]) or f"{count:,} item{'s' * (count != 1)}"
        return " · ".join(filter(None, [took, made]))
    if task.state == State.RUNNING and len(task.attempts) > 1:
        return f"running · attempt {len(task.attempts)}"
    return word(task.state)
