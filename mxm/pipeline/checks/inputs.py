"""Finds parameters and constants that a body passes to inputs whose types they cannot fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Never, Optional

from mxm.pipeline.bindings import Binding, Collection, Const, Each, Param, PerItem, Upstream
from mxm.pipeline.checks.defaults import broken_condition, literal_of, misfits
from mxm.pipeline.checks.edges import inputs_of
from mxm.pipeline.errors import repr_of
from mxm.pipeline.introspection.annotations import (
    Unresolved,
    field_hints,
    hints_of,
    is_typed_dict,
    texts_apart,
    type_text,
)
from mxm.pipeline.introspection.signatures import defaults_of, source_of, unwrapped
from mxm.pipeline.problems import Problem, Source, did_you_mean
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.values.compatibility import Fit, element_of, fit, part_of
from mxm.pipeline.values.items import items_of
from mxm.pipeline.values.secrets import is_secret

__all__ = ["input_problems"]


def input_problems(spec: FlowSpec) -> Iterator[Problem]:
    """Inputs of tasks that are parameters of *spec* or constants, and cannot fit.

    A parameter has its annotation's type when the flow runs, and nothing converts it again; nor is
    a constant ever converted.
    """
    inputs = _Inputs(spec)
    for task in spec.tasks:
        if all(type(binding) is Upstream for binding in task.bindings):
            continue
        for name, wanted, binding in inputs_of(task):
            if type(binding) is not Upstream and wanted is not Any:
                yield from inputs.problems(task, name, wanted, binding)


class _Inputs:
    def __init__(self, spec: FlowSpec) -> None:
        self.spec = spec
        self._own: dict[str, Any] | None = None

    def problems(
        self, task: TaskSpec, name: str, wanted: Any, binding: Binding, *, whole: bool = True
    ) -> Iterator[Problem]:
        """Those of one input of *task*; *whole* unless it is a part of what the body passes."""
        if isinstance(binding, PerItem):
            binding = binding.binding
        if isinstance(binding, Each):
            if not binding.path:
                yield from self._items(task, name, wanted, binding.items)
        elif isinstance(binding, Collection):
            keys: Sequence[Any] = range(len(binding.items))
            for key, item in zip(binding.keys or keys, binding.items, strict=True):
                inner = part_of(wanted, key)
                if inner is not Never:  # the collection itself does not fit: MXM201 of the edge
                    yield from self.problems(task, f"{name}[{key!r}]", inner, item, whole=False)
        elif isinstance(binding, Const):
            yield from self._constant(task, name, wanted, binding.value)
        elif isinstance(binding, Param):
            made = self._followed(task, binding)
            if isinstance(made, Problem):
                yield made
            elif not (whole and not binding.path and is_secret(wanted)):  # a run wraps its text
                yield from self._parameter(task, name, wanted, binding, made, made)

    def _items(self, task: TaskSpec, name: str, wanted: Any, items: Binding) -> Iterator[Problem]:
        """The problems of the items that *task* is mapped over."""
        if isinstance(items, Collection):
            for item in items.items if items.kind is not dict else ():
                yield from self.problems(task, name, wanted, item, whole=False)
        elif isinstance(items, Const):
            try:
                members = items_of(items.value)
            except BaseException as error:  # MXM205, MXM306, or what the user's class raises
                let_signals_pass(error)
                return
            bad = next(
                (m for m in members if misfits(m, wanted) or broken_condition(m, wanted)), None
            )
            if bad is not None:
                yield from self._constant(task, name, wanted, bad)
        elif isinstance(items, Param):
            made = self._followed(task, items)
            if isinstance(made, Problem):
                yield made
                return
            element = element_of(made)
            if element is not Never:  # else MXM205
                yield from self._parameter(task, name, wanted, items, made, element)

    def _constant(self, task: TaskSpec, name: str, wanted: Any, value: Any) -> Iterator[Problem]:
        if type(value) is wanted or is_secret(wanted):  # a secret may be tried with plain text
            return
        broken = None
        if not misfits(value, wanted):
            broken = broken_condition(value, wanted)
            if broken is None:
                return
        place = source_of(task.fn)
        yield self._problem(
            task,
            f"flow {self.spec.name!r} passes {repr_of(value)[:200]}, and parameter {name!r} of "
            f"task {task.name!r} takes {type_text(wanted)}"
            + (f" at {place}" if place else "")
            + (f": {broken}" if broken else ""),
            literal_of(value, wanted) or "a constant is not converted: pass a value of that type",
            self.spec.source,
        )

    def _parameter(
        self, task: TaskSpec, name: str, wanted: Any, part: Param, made: Any, passed: Any
    ) -> Iterator[Problem]:
        if defaults_of(task.fn).get(name, Never) is None:
            wanted = _or_none(wanted)  # "window: int = None" is common and takes None
        if fit(passed, wanted) is Fit.NEVER:
            texts = texts_apart(made, wanted)
            each = "" if made is passed else " for each item"
            yield self._problem(
                task,
                f"parameter {str(part)!r} of flow {self.spec.name!r} is {texts[0]}"
                f"{self._place()}, and parameter {name!r} of task {task.name!r} takes {texts[1]}"
                f"{each}: no value can be both",
                "change one of the two annotations, or put a task in between",
            )

    def _followed(self, task: TaskSpec, part: Param) -> Any:
        """The type of *part*, or the problem that it does not exist."""
        made = self._hints().get(part.name, Any)
        for depth, key in enumerate(part.path):
            inner = part_of(made, key)
            if inner is Never:
                near = did_you_mean(str(key), field_hints(made)) if is_typed_dict(made) else None
                whole = str(Param(part.name, part.path[:depth]))
                return self._problem(
                    task,
                    f"flow {self.spec.name!r} passes {part} to task {task.name!r}, which does not "
                    f"exist: {whole} is {type_text(made)}{self._place()}",
                    near or f"remove [{key!r}], or change the annotation of {part.name!r}",
                )
            made = inner
        return made

    def _hints(self) -> dict[str, Any]:
        """The flow's parameters by name; None is one of each that has it as its default."""
        if self._own is None:
            fn = self.spec.fn
            defaults = defaults_of(fn) if fn else dict[str, Any]()
            hints = hints_of(fn) if fn else dict[str, Any]()
            self._own = {
                name: _or_none(hint) if defaults.get(name, Never) is None else hint
                for name, hint in hints.items()
            }
        return self._own

    def _place(self) -> str:
        place = source_of(unwrapped(self.spec.fn)) if self.spec.fn else None
        return f" at {place}" if place else ""

    def _problem(
        self, task: TaskSpec, message: str, hint: str, source: Source | None = None
    ) -> Problem:
        place = source or task.source
        return Problem("MXM201", message, hint, source=place, flow=self.spec.name, task=task.name)


def _or_none(annotation: Any) -> Any:
    if isinstance(annotation, Unresolved):
        return annotation
    try:
        return Optional[annotation]  # noqa: UP045 - `|` is not defined for every annotation
    except TypeError:
        return Any
