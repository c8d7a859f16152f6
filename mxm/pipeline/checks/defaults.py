"""Defaults in signatures: each must be an instance of its annotation, because none is converted."""

from __future__ import annotations

import itertools
import typing
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from mxm.pipeline.errors import repr_of, text_of
from mxm.pipeline.introspection.annotations import hints_of, parts_of, type_text
from mxm.pipeline.introspection.signatures import defaults_of, source_of
from mxm.pipeline.problems import Problem, Source
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.values.secrets import secret_parameters

__all__ = ["broken_condition", "default_problems", "defaults_in", "literal_of", "misfits"]

# Types of literal values. Anything else may be a marker, which is not a value.
_WRITTEN = (
    *(bool, int, float, complex, str, bytes, Decimal, date, datetime, time, timedelta, UUID),
    *(list, tuple, dict, set, frozenset),
)


def default_problems(spec: FlowSpec) -> Iterator[Problem]:
    """The defaults of *spec* and its tasks that do not fit their annotations."""
    if spec.fn is not None:
        yield from defaults_in(spec.fn, f"flow {spec.name!r}", spec.source, spec.name, None)
    seen: set[int] = set()
    for task in spec.tasks:
        if id(task.fn) not in seen:
            seen.add(id(task.fn))
            owner = f"task {task.name!r}"
            yield from defaults_in(task.fn, owner, task.source, spec.name, task.name)


def defaults_in(
    fn: Callable[..., Any], owner: str, source: Source | None, flow: str, task: str | None
) -> Iterator[Problem]:
    """The defaults of *fn* that do not fit their annotations."""
    raw = getattr(fn, "__annotations__", {})
    doubtful = {
        name: default
        for name, default in defaults_of(fn).items()
        if type(default) is not raw.get(name) and _is_written(default)
    }
    if not doubtful:  # the usual case: annotations are not even evaluated
        return
    hints = hints_of(fn)
    for name, default in doubtful.items():
        if name not in hints or type(default) is hints[name]:
            continue
        if name in secret_parameters(fn):
            continue
        wanted = type_text(hints[name])
        hint: str | None = None
        if misfits(default, hints[name]):
            why = f"is not {wanted}"
            hint = literal_of(default, hints[name]) or f"write a value that is {wanted}"
        elif broken := broken_condition(default, hints[name]):
            why = f"does not fit its annotation: {broken}"
        else:
            why = ""
        if why:
            yield Problem(
                "MXM404",
                f"default {repr_of(default)} of parameter {name!r} of {owner} {why}",
                hint,
                source=source_of(fn) or source,
                flow=flow,
                task=task,
            )


def _is_written(default: Any) -> bool:
    return type(default) in _WRITTEN or isinstance(default, Enum | PurePath)


def misfits(value: Any, annotation: Any) -> bool:
    """Whether the literal *value*, or a literal in it, is certainly not of *annotation*."""
    if not _is_written(value) or type(value) is annotation:
        return False
    # Loaded only for a value that is not obviously of its type, which is rare.
    from mxm.pipeline.values.membership import is_no_instance, members_with_hints

    if is_no_instance(value, annotation):
        return True
    readings = members_with_hints(value, annotation)
    return bool(readings) and all(any(itertools.starmap(misfits, one)) for one in readings)


def broken_condition(value: Any, annotation: Any) -> str | None:
    """Which condition in Annotated, such as ``Gt(0)``, the literal *value* breaks, if any."""
    if not _is_written(value) or not _has_bounds(annotation):
        return None
    from mxm.pipeline.values.conversion import coerce  # loads pydantic, for these alone

    try:
        coerce(value, annotation)
    except ValueError as error:
        return text_of(error)
    return None


# What these refuse, they always refuse; another condition may ask for a file, or the time.
_BOUNDS = ("annotated_types", "pydantic.fields")


def _has_bounds(annotation: Any) -> bool:
    """Whether *annotation* has conditions in Annotated, all of them fixed bounds."""
    marks = [
        mark
        for part in parts_of(annotation)
        if typing.get_origin(part) is typing.Annotated
        for mark in part.__metadata__
        if not isinstance(mark, str)
    ]
    return bool(marks) and all(type(mark).__module__ in _BOUNDS for mark in marks)


def literal_of(default: Any, annotation: Any) -> str | None:
    """What to write instead of *default*: its converted value, if it converts."""
    from mxm.pipeline.values.conversion import Text, coerce  # loaded only for a problem

    for value in (Text(default), default) if isinstance(default, str) else (default,):
        try:
            meant: Any = coerce(value, annotation)
        except ValueError:
            continue
        return f"write the value itself: {name_of(meant)}"
    return None


def name_of(value: Any) -> str:
    """*value* as source code, its type imported by name: ``date(2024, 1, 31)``."""
    module = type(value).__module__
    return repr_of(value).removeprefix(f"{module}.")
