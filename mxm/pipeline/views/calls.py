"""Describes calls of a task in a flow by their constants, which distinguish repeats."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any, cast
from uuid import UUID

from mxm.pipeline.bindings import (
    Binding,
    Collection,
    Const,
    Each,
    Param,
    PerItem,
    Upstream,
    by_parameter,
)
from mxm.pipeline.errors import repr_of
from mxm.pipeline.introspection.uses import resources_of
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.spec import TaskSpec
from mxm.pipeline.task_options import as_sequence
from mxm.pipeline.timing.retries import Backoff
from mxm.pipeline.values.secrets import mask, secret_parameters

__all__ = [
    "call_text",
    "constants_of",
    "delays_of",
    "inputs_text",
    "item_sources",
    "rules_of",
    "seconds_text",
    "value_text",
]

_LONGEST = 60  # characters for all constants of a call
_LONGEST_VALUE = 24
_MOST = 3  # members of a list


def constants_of(task: TaskSpec) -> dict[str, Any]:
    """The constant arguments of the call of *task*, by parameter; secrets are masked."""
    if not task.bindings.args and not task.bindings.kwargs:
        return {}
    bound = by_parameter(task.fn, task.bindings)
    constants = {name: each.value for name, each in bound.items() if isinstance(each, Const)}
    secrets = secret_parameters(task.fn) if constants else ()
    return {n: mask(value) if n in secrets else value for n, value in constants.items()}


def call_text(task: TaskSpec) -> str:
    """``mean_2(window=20)``: the name of *task* with its `inputs_text`."""
    return in_one_line(task.name) + inputs_text(task)


def inputs_text(task: TaskSpec) -> str:
    """``(window=20)``: the arguments of the call of *task* that are not results; empty if none.

    A parameter of the flow is left out if it has the same name, else ``(symbol=first)``; a resource
    is shown as ``(engine=use(db))``.
    """
    used = resources_of(task.fn)
    if not task.bindings.args and not task.bindings.kwargs and not used and not task.over:
        return ""
    secrets = secret_parameters(task.fn)
    inputs: list[str] = []
    for parameter, binding in by_parameter(task.fn, task.bindings).items():
        text = _text(binding, hidden=parameter in secrets)
        if text and text != parameter:
            inputs.append(f"{in_one_line(parameter)}={text}")
    if task.over is not None and not any(_list_in(each) for each in task.bindings):
        inputs.append(
            _text(task.over, hidden=bool(secrets))
        )  # its flow is mapped, and it takes results of others
    inputs += [in_one_line(f"{name}=use({one.name})") for name, one in used.items()]
    shown = ", ".join(inputs)
    if len(shown) > _LONGEST:
        shown = shown[: _LONGEST - 3] + "..."
    return f"({shown})" if shown else ""


def item_sources(task: TaskSpec) -> list[str]:
    """Where the items of a mapped task come from, one text per list; empty for other tasks."""
    secrets = secret_parameters(task.fn)
    named = {id(one): name for name, one in by_parameter(task.fn, task.bindings).items()}
    lists = [
        (each, named.get(id(one), "") in secrets)
        for one in task.bindings
        if (each := _list_in(one))
    ]
    lists += [(task.over, bool(secrets))] if task.over else []
    return list(dict.fromkeys(_source(each, hidden) for each, hidden in lists))


def _list_in(binding: Binding) -> Each | None:
    """The list whose items *binding* takes, if it takes items."""
    inner = binding.binding if isinstance(binding, PerItem) else binding
    return inner if isinstance(inner, Each) else None


def _source(each: Each, hidden: bool) -> str:
    over = each.items
    text = str(over) if isinstance(over, Upstream) else _text(over, hidden=hidden)
    return in_one_line(text) or "a list"


def rules_of(task: TaskSpec) -> list[str]:
    """In words, when *task* runs and whether it may fail; empty if neither is special."""
    rules = [_RULES[task.run_if]] if task.run_if in _RULES else []
    return [*rules, "may fail"] if task.allow_failure else rules


def delays_of(task: TaskSpec) -> str:
    """The delays between the attempts of *task*: ``, 1 5 s apart``; empty if there are none."""
    delays: Any = task.retry_delay_s
    if isinstance(delays, Backoff):
        return f", {delays!r}"
    if callable(delays):
        return f", after {getattr(delays, '__name__', None) or type(delays).__name__}()"
    listed = list(as_sequence(delays))
    text = " ".join(seconds_text(delay).removesuffix(" s") for delay in listed)
    return "" if set(text.split()) <= {"0"} else f", {text} s apart"


def seconds_text(seconds: object) -> str:
    """``2.5 s``; a value that is not a number, in a flow with problems, unchanged."""
    return f"{seconds:g} s" if isinstance(seconds, int | float) else f"{repr_of(seconds):.40}"


# "succeeded" is the rule of all tasks that name none.
_RULES = {
    "not_failed": "run if not_failed",
    "failed": "run if failed",
    "always": "run always",
}


def _text(binding: Binding, *, hidden: bool) -> str:
    """*binding* as written in a body, constants masked if *hidden*; empty if all are results."""
    if isinstance(binding, PerItem):
        return _text(binding.binding, hidden=hidden)
    if isinstance(binding, Each):
        part = "".join(f"[{key!r}]" for key in binding.path)
        return in_one_line(f"each{part} of {_source(binding, hidden)}")
    if isinstance(binding, Param):
        return binding.name + "".join(f"[{key!r}]" for key in binding.path)
    if isinstance(binding, Const):
        return value_text(mask(binding.value) if hidden else binding.value)
    if isinstance(binding, Collection):
        items = [_text(item, hidden=hidden) for item in binding.items]
        if all(items) and binding.kind in (list, tuple):
            return _within(items, "[]" if binding.kind is list else "()")
    return ""


_PLAIN = (str, bytes, int, float, complex, bool, type(None))
_TEXTUAL = (Decimal, date, datetime, time, timedelta, UUID)


def value_text(value: object) -> str:
    """*value* in a few characters, without running user code."""
    kind = type(value)
    if kind in _PLAIN:
        return _cut(repr(value))
    if kind in _TEXTUAL or isinstance(value, PurePath):
        return _cut(str(value))
    if isinstance(value, enum.Enum):
        return f"{kind.__name__}.{value.name}"
    if kind in (list, tuple, set, frozenset):
        items = itertools.islice(cast("Any", value), _MOST + 1)
        brackets = {list: "[]", tuple: "()"}.get(cast("Any", kind), "{}")
        return _within([value_text(item) for item in items], brackets)
    if kind is dict:
        pairs = itertools.islice(cast("Mapping[Any, Any]", value).items(), _MOST + 1)
        return _within([f"{value_text(k)}: {value_text(v)}" for k, v in pairs], "{}")
    if hasattr(kind, "get_secret_value"):
        return "**********"
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) else f"<{kind.__name__}>"


def _within(items: list[str], brackets: str) -> str:
    shown = items if len(items) <= _MOST else [*items[:_MOST], "..."]
    return brackets[0] + ", ".join(shown) + brackets[1]


def _cut(text: str) -> str:
    text = in_one_line(text)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."
