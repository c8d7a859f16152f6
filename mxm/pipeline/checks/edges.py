"""Finds edges of a flow whose annotations cannot fit."""

from __future__ import annotations

import collections.abc
import functools
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from types import GenericAlias
from typing import Any

from mxm.pipeline.bindings import (
    Binding,
    Collection,
    Const,
    Each,
    Param,
    PerItem,
    Upstream,
    upstreams_in,
)
from mxm.pipeline.introspection.annotations import (
    Unresolved,
    field_hints,
    hints_of,
    is_typed_dict,
    result_hint,
    texts_apart,
    type_text,
)
from mxm.pipeline.introspection.signatures import shape_of, source_of, unwrapped
from mxm.pipeline.problems import Problem, Source, did_you_mean
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.values.compatibility import Fit, element_of, fit, part_of, union_of
from mxm.pipeline.values.failure import Failure
from mxm.pipeline.values.items import items_of
from mxm.pipeline.values.iterators import read_once

__all__ = ["edge_problems", "inputs_of"]


def edge_problems(spec: FlowSpec, *, strict: bool = False) -> Iterator[Problem]:
    """Edges of *spec* whose types cannot fit, and notes on unresolved annotations.

    Parameters
    ----------
    spec
        The flow.
    strict
        Whether to warn of every edge that may not fit, instead of adding notes.
    """
    edges = _Edges(spec, strict=strict)
    for task in spec.tasks:
        for name, wanted, binding in inputs_of(task):
            yield from edges.input(task, name, wanted, binding)
    yield from edges.output()
    yield from edges.notes()


def inputs_of(task: TaskSpec) -> Iterator[tuple[str, Any, Binding]]:
    """The bound inputs of *task*, each with its annotation."""
    bindings = task.bindings
    if not bindings.args and not bindings.kwargs:
        return
    shape = shape_of(unwrapped(task.fn))
    hints = hints_of(task.fn)
    if bindings.args and shape is not None:
        for i, binding in enumerate(bindings.args):
            at = shape.name_at(i)
            if at is not None:
                yield at, hints.get(at, Any), binding
    rest = shape.var_keyword if shape is not None else None
    known = {*shape.positional, *shape.keyword_only} if shape is not None and rest else ()
    for name, binding in bindings.kwargs.items():
        hint = hints.get(rest, Any) if rest and name not in known else hints.get(name, Any)
        # **options: Unpack[Options] annotates all keys together, not each one.
        yield name, Any if typing.get_origin(hint) is typing.Unpack else hint, binding


class _Edges:
    """The edges of one flow; collects unresolved annotations on the way."""

    def __init__(self, spec: FlowSpec, *, strict: bool) -> None:
        self.spec = spec
        self.strict = strict
        # Of the task that is looked at, those whose results it takes item by item.
        self._by_item: frozenset[str] = frozenset()
        self.tasks: dict[str, TaskSpec] = {}
        for task in spec.tasks:
            self.tasks.setdefault(task.name, task)
        # By file and reason: each unresolved annotation, as text and with its place.
        self.unresolved: dict[tuple[str, str], dict[Any, tuple[str, Source | None]]] = {}

    def input(self, task: TaskSpec, name: str, wanted: Any, binding: Binding) -> Iterator[Problem]:
        """The problems of one input; of a collection, those of its members."""
        self._by_item = frozenset(task.by_item)
        if isinstance(binding, PerItem):
            binding = binding.binding
            if isinstance(binding, Each) and binding.path:
                return
        if isinstance(binding, Each):
            yield from self._items(task, name, wanted, binding.items)
            return
        if isinstance(binding, Collection) and not fit(_type_of(binding, _anything), wanted):
            made = type_text(_type_of(binding, self._leaf))
            what = f"a {binding.kind.__name__} of results is {made}"
            yield self._mismatch(task, name, type_text(wanted), what)
            wanted = Any  # only members that do not exist are reported
        yield from self._missing(task, name, wanted, binding)
        for part, within in _parts(binding):
            if part.name not in self.tasks:
                continue
            depth, made = self._followed(part)
            if depth < len(part.path):
                what = f"task {task.name!r} takes {part} for {name!r}"
                yield self._no_part(part, depth, made, what, task)
            else:
                yield from self._edge(task, name, wanted, part, made, within(made))

    def _items(self, task: TaskSpec, name: str, wanted: Any, items: Binding) -> Iterator[Problem]:
        """The problems of the items that *task* is mapped over; each item must be *wanted*."""
        if isinstance(items, Collection) and items.kind is not dict:
            for item in items.items:
                yield from self.input(task, name, wanted, item)
            return
        if isinstance(items, Upstream) and items.name in self.tasks:
            depth, made = self._followed(items)
            if depth < len(items.path):
                what = f"task {task.name!r} is mapped over {items}"
                yield self._no_part(items, depth, made, what, task)
                return
            element = element_of(made)
            if element is typing.Never:
                what = self._described(type_text(made), items)
                yield self._no_items(task, name, what)
            else:
                yield from self._edge(task, name, wanted, items, element, element)
        elif isinstance(items, Param):
            made = hints_of(self.spec.fn).get(items.name, Any) if self.spec.fn else Any
            for key in items.path:
                made = part_of(made, key)
            if element_of(made) is typing.Never:
                what = f"parameter {str(items)!r} of flow {self.spec.name!r} is {type_text(made)}"
                yield self._no_items(task, name, what)
        elif isinstance(items, Const | Collection):
            if isinstance(items, Const) and read_once(items.value) is not None:
                return  # MXM306
            kind: Any = items.kind if isinstance(items, Collection) else type(items.value)
            try:
                items_of(items.value if isinstance(items, Const) else {})
            except TypeError as error:
                yield self._no_items(task, name, f"it is a constant {kind.__name__}", str(error))

    def _no_items(
        self, task: TaskSpec, name: str, what: str, why: str = "map over a list of items"
    ) -> Problem:
        return Problem(
            "MXM205",
            f"task {task.name!r} cannot be mapped over the value of {name!r}: {what}",
            why,
            source=task.source,
            flow=self.spec.name,
            task=task.name,
        )

    def _missing(
        self, task: TaskSpec, name: str, wanted: Any, binding: Binding
    ) -> Iterator[Problem]:
        """Inputs that the run rule allows to be missing, but the annotation does not."""
        rule = task.run_if
        if rule == "succeeded" or (rule == "not_failed" and len(task.upstream) < 2):
            return  # with a single input, the rule requires its value
        instead: list[Any] = [types.NoneType]
        if rule != "not_failed":
            instead.append(Failure)
        for part, takes in _leaves(binding, wanted):
            lacking = [kind for kind in instead if fit(kind, takes) is Fit.NEVER]
            if lacking:
                names = ["None" if kind is types.NoneType else "Failure" for kind in lacking]
                text = type_text(takes)
                yield Problem(
                    "MXM204",
                    f"task {task.name!r} may run without a result of task {part.name!r} "
                    f'(run_if="{rule}"), and parameter {name!r} takes {text}, '
                    f"not {' or '.join(names)}",
                    f"annotate it: {' | '.join([text, *names])}",
                    source=task.source,
                    flow=self.spec.name,
                    task=task.name,
                )

    def output(self) -> Iterator[Problem]:
        """Parts that the flow returns, but that no task's result has."""
        self._by_item = frozenset()
        for part in upstreams_in([self.spec.output] if self.spec.output else []):
            if part.path and part.name in self.tasks:
                depth, made = self._followed(part)
                if depth < len(part.path):
                    what = f"flow {self.spec.name!r} returns {part}"
                    yield self._no_part(part, depth, made, what, None)

    def notes(self) -> Iterator[Problem]:
        """One note for each reason why annotations cannot be resolved."""
        for (_, why), places_of in self.unresolved.items():
            places = list(places_of.values())
            what, their = "an annotation", "its"
            if len(places) > 1:
                what, their = f"{len(places)} annotations", "their"
            yield Problem(
                "MXM203",
                f"{what} cannot be resolved, so {their} edges are not checked: {why}",
                "import the name outside of `if TYPE_CHECKING:`, or correct it",
                source=places[0][1],
                flow=self.spec.name,
                severity="note",
                places=tuple(places),
            )

    def _followed(self, part: Upstream) -> tuple[int, Any]:
        """How far the path of *part* can exist, and the type there."""
        task = self.tasks[part.name]
        made = result_hint(task.fn) if part.name in self._by_item else made_by(task)
        for depth, key in enumerate(part.path):
            inner = part_of(made, key)
            if inner is typing.Never:
                return depth, made
            made = inner
        return len(part.path), made

    def _leaf(self, binding: Binding) -> Any:
        if isinstance(binding, Const):
            return type(typing.cast("object", binding.value))
        if not isinstance(binding, Upstream) or binding.name not in self.tasks:
            return Any
        depth, made = self._followed(binding)
        return made if depth == len(binding.path) else Any

    def _edge(
        self, task: TaskSpec, name: str, wanted: Any, part: Upstream, made: Any, whole: Any
    ) -> Iterator[Problem]:
        """The problems of one edge; *whole* is *made* within the collection it is passed in."""
        if not self.strict and _same(whole, wanted):
            return
        fits = fit(whole, wanted)
        if fits is Fit.ALWAYS:
            return
        texts = texts_apart(made if whole is made else whole, wanted)
        what = self._described(texts[0] if whole is made else type_text(made), part)
        what += "" if whole is made else f", passed in {texts[0]}"
        if fits is Fit.NEVER:
            yield self._mismatch(task, name, texts[1], what)
        elif self.strict and _is_text_for_its_characters(whole, wanted):
            yield Problem(
                "MXM202",
                f"{what}, and parameter {name!r} of task {task.name!r} takes {texts[1]}: a string "
                "is a sequence of characters",
                "return a list, or take str",
                source=task.source,
                flow=self.spec.name,
                task=task.name,
                severity="warning",
            )
        elif self.strict:
            unknown = {str(one): one.why for one in (made, wanted) if isinstance(one, Unresolved)}
            yield Problem(
                "MXM202",
                f"{what}, which may not fit parameter {name!r} of task {task.name!r}, which takes "
                + texts[1]
                + "".join(f"; {one} could not be resolved: {why}" for one, why in unknown.items()),
                "annotate both so that every returned value is accepted",
                source=task.source,
                flow=self.spec.name,
                task=task.name,
                severity="warning",
            )
        else:
            source = self.tasks[part.name]
            self._note(made, source, "return", f"the result of task {source.name!r}")
            self._note(wanted, task, name, f"parameter {name!r} of task {task.name!r}")

    def _note(self, annotation: Any, task: TaskSpec, name: str, what: str) -> None:
        if isinstance(annotation, Unresolved):
            place = source_of(task.fn) or task.source
            places = self.unresolved.setdefault((place.file if place else "", annotation.why), {})
            places.setdefault((id(task.fn), name), (f"{what}: {annotation}", place))

    def _mismatch(self, task: TaskSpec, name: str, wanted: str, what: str) -> Problem:
        return Problem(
            "MXM201",
            f"{what}, and parameter {name!r} of task {task.name!r} takes {wanted}: "
            "no value can be both",
            "change one of the two annotations, or put a task in between",
            source=task.source,
            flow=self.spec.name,
            task=task.name,
        )

    def _no_part(
        self, part: Upstream, depth: int, made: Any, what: str, task: TaskSpec | None
    ) -> Problem:
        key = part.path[depth]
        near = did_you_mean(str(key), field_hints(made)) if is_typed_dict(made) else None
        return Problem(
            "MXM201",
            f"{what}, which does not exist: "
            + self._described(type_text(made), Upstream(part.name, part.path[:depth])),
            near or f"remove [{key!r}], or change what task {part.name!r} returns",
            source=task.source if task else self.spec.source,
            flow=self.spec.name,
            task=task.name if task else None,
        )

    def _described(self, made: str, part: Upstream) -> str:
        place = source_of(self.tasks[part.name].fn)
        whole = f"{part} of" if part.path else "the result of"
        at = f" at {place}" if place else ""
        return f"{whole} task {part.name!r} is {made}{at}"


def made_by(task: TaskSpec) -> Any:
    """The type of the result of *task*; a list for a mapped task."""
    made = result_hint(task.fn)
    if not task.mapped or isinstance(made, Unresolved):
        return made
    return GenericAlias(list, (union_of([made, Failure]) if task.outcomes else made,))


_CHARACTERS = (
    *(collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection),
    *(collections.abc.Container, collections.abc.Reversible),
)


def _is_text_for_its_characters(made: Any, wanted: Any) -> bool:
    """Whether a string would pass as a sequence: ``"SPY"`` as ``["S", "P", "Y"]``."""
    return made is str and typing.get_origin(wanted) in _CHARACTERS


def _same(made: Any, wanted: Any) -> bool:
    try:
        return made is wanted or bool(made == wanted)
    except BaseException as error:  # an annotation can be any object
        let_signals_pass(error)
        return False


def _leaves(binding: Binding, wanted: Any) -> Iterator[tuple[Upstream, Any]]:
    """Each result in *binding*, and the type wanted in its place."""
    if isinstance(binding, Upstream):
        yield binding, wanted
    elif isinstance(binding, Collection):
        keys: Sequence[Any] = binding.keys if binding.kind is dict else range(len(binding.items))
        for key, item in zip(keys, binding.items, strict=True):
            inner = part_of(wanted, key)
            yield from _leaves(item, Any if inner is typing.Never else inner)


def _parts(binding: Binding) -> Iterator[tuple[Upstream, Callable[[Any], Any]]]:
    """Each result in *binding*, and the type of the whole if everything else is Any."""
    if isinstance(binding, Upstream):
        yield binding, lambda made: made
    elif isinstance(binding, Collection):
        for i, item in enumerate(binding.items):
            for part, within in _parts(item):
                yield part, functools.partial(_with_one, binding, i, within)


def _with_one(binding: Collection, i: int, within: Callable[[Any], Any], made: Any) -> Any:
    if binding.kind is not tuple:  # the other members could be anything, or be missing
        return _container(binding.kind, [within(made)], binding.keys[i : i + 1])
    items: list[Any] = [Any] * len(binding.items)
    items[i] = within(made)
    return _container(tuple, items, ())


def _anything(_: Binding) -> Any:
    return Any


def _type_of(binding: Binding, leaf: Callable[[Binding], Any]) -> Any:
    """The type of *binding*, from its collections and the *leaf* types in them."""
    if not isinstance(binding, Collection):
        return leaf(binding)
    return _container(binding.kind, [_type_of(item, leaf) for item in binding.items], binding.keys)


def _container(kind: type, items: Sequence[Any], keys: Sequence[Any]) -> Any:
    if kind is tuple:
        return GenericAlias(tuple, tuple(items))
    if kind is list:
        return GenericAlias(list, (union_of(items),))
    if kind is dict:
        return GenericAlias(dict, (union_of(map(type, keys)), union_of(items)))
    return kind
