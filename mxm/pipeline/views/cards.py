"""The tasks of a flow as cards and edges; in large flows, one card per sub-flow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mxm.pipeline.graph import FlowGraph
from mxm.pipeline.introspection.annotations import result_hint, type_text
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.views.calls import item_sources, rules_of
from mxm.pipeline.views.layers import Edge
from mxm.pipeline.views.layout import fold
from mxm.pipeline.views.markup import Keys
from mxm.pipeline.views.names import stem
from mxm.pipeline.views.picture import Card

__all__ = [
    "FOLD",
    "View",
    "alone",
    "edges_of",
    "group_of",
    "groups_of",
    "overview",
    "result_text",
    "views_of",
    "views_of_cards",
]

FOLD = 150
"""With more tasks than this, each sub-flow is one card."""
_TIMES = "\N{MULTIPLICATION SIGN}"
_ALL = 600  # with more tasks than this, there is no full drawing next to the folded one


@dataclass(frozen=True)
class View:
    """One drawing of a flow, before it is drawn.

    Attributes
    ----------
    key
        Its part of a page's address, below that of its flow; empty for the first.
    title
        What it shows.
    cards, edges, critical
        As `draw` takes them.
    """

    key: str
    title: str
    cards: Sequence[Card]
    edges: Sequence[Edge]
    critical: Collection[tuple[str, str]] = ()


def result_text(task: TaskSpec) -> str:
    """The type that *task* returns, as written; for a mapped task, a list of it."""
    text = type_text(result_hint(task.fn))
    text = "any" if text == "Any" else text
    if task.outcomes:
        text = f"{text} | Failure"
    return f"list[{text}]" if task.mapped else text


def edges_of(graph: FlowGraph) -> list[Edge]:
    """The edges of *graph*, each pair of tasks once; data goes before order."""
    return [
        Edge(other, name, order=other not in graph.tasks[name].upstream)
        for name in graph.tasks
        for other in graph.upstreams[name]
    ]


def group_of(name: str) -> str:
    """The sub-flow of the task *name*, ``inner`` of ``inner.load``; empty for none."""
    return name.rpartition(".")[0]


def views_of(spec: FlowSpec, keys: Keys, path: tuple[str, ...] = ()) -> list[View]:
    """The drawings of *spec*; the first shows the whole, folded if it is large.

    Parameters
    ----------
    spec
        A valid flow.
    keys
        The parts of tasks and sub-flows in a page's address.
    path
        The part before their names: the flow's, if there are several.
    """
    graph = FlowGraph(spec)
    cards = {name: _card(graph.tasks[name], keys.of(*path, name)) for name in graph.order()}

    def group_card(name: str, title: str, members: Sequence[str]) -> Card:
        text = f"{len(members):,} tasks"
        label = in_one_line(title)
        link = f"#/{keys.of(*path, '', title)}"
        return Card(name, label, text, f"{label}, {text}", link, many=True)

    return views_of_cards(cards, edges_of(graph), group_card, keys, path)


GroupCard: TypeAlias = Callable[[str, str, Sequence[str]], Card]
"""Makes the card of a folded group from its name, title and members."""


def views_of_cards(
    cards: Mapping[str, Card],
    edges: Sequence[Edge],
    group_card: GroupCard,
    keys: Keys,
    path: tuple[str, ...] = (),
) -> list[View]:
    """The drawings of a graph; the first shows the whole, folded if it is large.

    Parameters
    ----------
    cards, edges
        The graph, each card after those upstream of it.
    group_card
        Makes the card of a folded group.
    keys, path
        As `views_of` takes them.
    """
    everything = View("", "All tasks", list(cards.values()), edges)
    groups = groups_of(list(cards), edges) if len(cards) > FOLD else {}
    if not groups:
        return [everything]
    views = [_folded(everything, groups, group_card)]
    views += _parts(cards, edges, groups, keys, path)
    if len(cards) <= _ALL:
        views.append(View("*", "All tasks", everything.cards, edges))
    return views


def _card(task: TaskSpec, key: str) -> Card:
    made = result_text(task)
    sources = [f"each of {text}" for text in item_sources(task)]
    rules = rules_of(task)
    # There is little room: a mapped task returns a list, and a task with a rule often nothing.
    first = sources[:1] or ([] if rules and made == "None" else [made])
    label = in_one_line(task.name)
    return Card(
        task.name,
        label,
        " · ".join([*rules, *first]),  # long text is cut near its end
        ", ".join([label, made, *sources, *rules]),
        f"#{key}",
        writes=task.produces is not None,
        many=task.mapped,
    )


def alone(task: TaskSpec) -> View:
    """*task*, which is not in a flow yet, below the upstreams that it names."""
    others = [name for name in dict.fromkeys((*task.upstream, *task.after)) if name != task.name]
    cards = [Card(name, in_one_line(name)) for name in others]
    edges = [Edge(name, task.name, name not in task.upstream) for name in others]
    return View("", task.name, [*cards, _card(task, "")], edges)


def groups_of(order: Sequence[str], edges: Iterable[Edge]) -> dict[str, list[str]]:
    """The groups to fold, by title: sub-flows, or, without any, repeats in one layer.

    Parameters
    ----------
    order
        The names, each after those upstream of it.
    edges
        Between them.
    """
    groups: dict[str, list[str]] = {}
    for name in order:
        if group_of(name):
            groups.setdefault(group_of(name), []).append(name)
    groups = {group: names for group, names in groups.items() if len(names) > 1}
    if groups:
        return groups
    upstreams: dict[str, list[str]] = {name: [] for name in order}
    for edge in edges:
        upstreams[edge.target].append(edge.source)
    layer: dict[str, int] = {}
    alike: dict[tuple[str, int], list[str]] = {}
    for name in order:
        layer[name] = max((layer[other] + 1 for other in upstreams[name]), default=0)
        alike.setdefault((stem(name), layer[name]), []).append(name)
    titles: dict[str, list[str]] = {}
    for (text, at), names in alike.items():
        if len(names) > 1:
            title = f"{text} {_TIMES}{len(names)}"
            titles[title if title not in titles else f"{title}, layer {at + 1}"] = names
    return titles


def _folded(whole: View, groups: Mapping[str, Sequence[str]], group_card: GroupCard) -> View:
    # A name that no task has, because groups and tasks may have the same names.
    name_of = {title: f"\0{title}" for title in groups}
    member = {name: name_of[title] for title, names in groups.items() for name in names}
    names, edges = fold([card.name for card in whole.cards], whole.edges, member)
    cards = {card.name: card for card in whole.cards}
    for title, members in groups.items():
        cards[name_of[title]] = group_card(name_of[title], title, members)
    return View("", "Overview", [cards[name] for name in names], edges)


def _parts(
    cards: Mapping[str, Card],
    edges: Iterable[Edge],
    groups: Mapping[str, Sequence[str]],
    keys: Keys,
    path: tuple[str, ...],
) -> list[View]:
    """A drawing of each group, with the tasks just outside it."""
    title_of = {name: title for title, names in groups.items() for name in names}
    touching: dict[str, list[Edge]] = {title: [] for title in groups}
    for edge in edges:
        ends = (title_of.get(edge.source), title_of.get(edge.target))
        for title in dict.fromkeys(end for end in ends if end is not None):
            touching[title].append(edge)
    place = {name: i for i, name in enumerate(cards)}
    views: list[View] = []
    for title, names in groups.items():
        shown = set(names).union(*(edge[:2] for edge in touching[title]))
        ordered = sorted(shown, key=place.__getitem__)
        key = keys.of(*path, "", title)
        views.append(View(key, title, [cards[name] for name in ordered], touching[title]))
    return views


def overview(specs: Sequence[FlowSpec], paths: Sequence[tuple[str, ...]], keys: Keys) -> View:
    """Several flows, and the assets that they write.

    Parameters
    ----------
    specs
        The flows.
    paths, keys
        By flow, what `views_of` takes.
    """
    cards: list[Card] = []
    assets: dict[str, Card] = {}
    edges: dict[tuple[str, str], Edge] = {}
    for spec, path in zip(specs, paths, strict=True):
        name, label, count = f"flow {path}", in_one_line(spec.name), len(spec.tasks)
        text = f"{count:,} task{'s' * (count != 1)}"
        link = f"#/{keys.of('', *path)}"
        cards.append(Card(name, label, text, f"flow {label}, {text}", link, many=True))
        for task in spec.tasks:
            if task.produces:
                asset = f"asset {task.produces.id}"
                label = in_one_line(task.produces.id)
                link = f"#{keys.of(*path, task.name)}"
                title = f"asset {label}"
                assets.setdefault(asset, Card(asset, label, "asset", title, link, is_asset=True))
                edges.setdefault((name, asset), Edge(name, asset))
    return View("", "Flows", [*cards, *assets.values()], list(edges.values()))
