"""Which tasks of a graph a selection means: dbt's grammar, `a+ +b 2+c,tag:x @d`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from mxm.pipeline.errors import SelectionError
from mxm.pipeline.problems import did_you_mean

__all__ = ["Methods", "selected"]

Methods = Mapping[str, Callable[[str], Collection[str]]]
"""By method, such as ``tag``, what gives the tasks that a value of it means."""

_ELEMENT = re.compile(
    r"(?P<around>@)?(?:(?P<up>[0-9]{0,9})\+)?(?P<value>.*?)(?:\+(?P<down>[0-9]{0,9}))?", re.DOTALL
)
_METHOD = re.compile(r"([A-Za-z_]+):(.*)", re.DOTALL)


def selected(
    upstreams: Mapping[str, Collection[str]],
    select: Sequence[str] | None,
    exclude: Sequence[str] = (),
    methods: Methods | None = None,
    option: str = "select",
) -> set[str]:
    """The tasks that *select* means, without those that *exclude* means.

    Parameters
    ----------
    upstreams
        By task, the tasks directly upstream of it.
    select
        Expressions, of which a task must be in one; None for all tasks. In an expression, spaces
        separate alternatives, and commas the parts of one that must all apply.
    exclude
        The same, of which a task may be in none.
    methods
        What ``tag:x`` and the like mean.
    option
        What errors about *select* call it.

    Raises
    ------
    SelectionError
        An expression is empty or names something that the graph does not have.

    Examples
    --------
    >>> graph = {"load": [], "clean": ["load"], "plot": ["clean"], "save": ["clean"]}
    >>> sorted(selected(graph, ["load+1 +save"], ["clean"]))
    ['load', 'save']
    """
    graph = _Graph(upstreams, methods or {})
    chosen = set(upstreams) if select is None else graph.any_of(option, select)
    return chosen - graph.any_of("exclude", exclude) if exclude else chosen


class _Graph:
    def __init__(self, upstreams: Mapping[str, Collection[str]], methods: Methods) -> None:
        self.upstreams = upstreams
        self.methods = methods
        self.downstreams: dict[str, list[str]] = {name: [] for name in upstreams}
        for name, others in upstreams.items():
            for other in others:
                self.downstreams[other].append(name)

    def any_of(self, option: str, expressions: Sequence[str]) -> set[str]:
        """The tasks that are in one of *expressions*."""
        chosen: set[str] = set()
        for expression in expressions:
            if expression in self.upstreams:  # a name with a space or a comma in it
                chosen.add(expression)
                continue
            alternatives = expression.split()
            if not alternatives:
                raise SelectionError(
                    f"{option}: an empty expression",
                    hint="name tasks: 'load', 'load+', '+report', 'tag:daily'",
                )
            for alternative in alternatives:
                chosen |= self._all_of(option, alternative)
        return chosen

    def _all_of(self, option: str, text: str) -> set[str]:
        if text in self.upstreams:
            return {text}
        first, *rest = (self._element(option, part, text) for part in text.split(","))
        return first.intersection(*rest)

    def _element(self, option: str, text: str, whole: str) -> set[str]:
        if text in self.upstreams:
            return {text}
        match = _ELEMENT.fullmatch(text)
        around, up, value, down = match.groups() if match else (None, None, "", None)
        if not value:
            said = repr(text) if text == whole else f"{text!r} in {whole!r}"
            raise SelectionError(f"{option}: {said} names no task")
        named = self._meant(option, value)
        if around:
            if up is not None or down is not None:
                raise SelectionError(
                    f"{option}: {text!r} has both @ and +",
                    hint=f"@{value} already means everything downstream, and what that needs",
                )
            below = named | _reached(named, self.downstreams)
            return below | _reached(below, self.upstreams)
        above = _reached(named, self.upstreams, up) if up is not None else set[str]()
        below = _reached(named, self.downstreams, down) if down is not None else set[str]()
        return named | above | below

    def _meant(self, option: str, value: str) -> set[str]:
        """The tasks that *value* means: by its name, a pattern, an inner flow or a method."""
        names = self.upstreams
        if value in names:
            return {value}
        of_flow = {name for name in names if name.startswith(f"{value}.")}
        if of_flow:
            return of_flow
        method = _METHOD.fullmatch(value)
        if method is not None:
            if method[1] not in self.methods:
                known = did_you_mean(method[1], self.methods)
                raise SelectionError(f"{option}: unknown method {method[1]!r}", hint=known)
            try:
                return set(self.methods[method[1]](method[2])) & set(names)
            except SelectionError as error:
                raise SelectionError(f"{option}: {error.message}", hint=error.hint) from None
        step, bracket, _ = value.partition("[")
        if bracket and step in names:
            raise SelectionError(
                f"{option}: {value!r} is an item of a mapped task",
                hint=f"select the task: {step!r}",
            )
        if any(sign in value for sign in "*?["):
            return {name for name in names if fnmatchcase(name, value)}
        inner = {name.rpartition(".")[0] for name in names if "." in name}
        raise SelectionError(
            f"{option}: no task {value!r}", hint=did_you_mean(value, [*names, *inner])
        )


def _reached(
    start: Iterable[str], neighbours: Mapping[str, Collection[str]], steps: str | None = None
) -> set[str]:
    """What can be reached from *start*, in so many *steps*; itself only where it is reached."""
    left = int(steps) if steps else -1
    reached: set[str] = set()
    front = set(start)
    while front and left:
        front = {other for name in front for other in neighbours[name]} - reached
        reached |= front
        left -= 1
    return reached
