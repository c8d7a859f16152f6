"""Checks the options of tasks and flows, and gives them the form that a spec has."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Literal, NamedTuple, TypeAlias, TypeGuard, cast

from mxm.pipeline.assets.declared import AssetDecl
from mxm.pipeline.errors import repr_of
from mxm.pipeline.problems import Problem, Source, closest

__all__ = [
    "ANY_EXCEPTION",
    "CHECKED",
    "RUN_RULES",
    "CodeDep",
    "OnItemError",
    "RetryDelay",
    "RetryOn",
    "RunIf",
    "Wrong",
    "as_sequence",
    "check_cache",
    "check_item_key",
    "check_timezone",
    "check_options",
    "check_params",
    "check_produces",
    "check_reads",
    "check_schedule",
]

RunIf: TypeAlias = Literal["succeeded", "not_failed", "failed", "always"]
"""The run rules of a task: how its upstreams must have ended for it to run."""
RUN_RULES: tuple[RunIf, ...] = ("succeeded", "not_failed", "failed", "always")

OnItemError: TypeAlias = Literal["fail", "skip"]
"""What a failed item of a mapped task does: fail the task, or be left out."""

RetryDelay: TypeAlias = float | Sequence[float] | Callable[[int], float]
"""Seconds between attempts: a number, a list of them, or a function of the attempt that failed."""
RetryOn: TypeAlias = type[Exception] | Sequence[type[Exception]] | Callable[[Exception], object]
"""What to try again after: types of exceptions, or a function of the exception."""

CodeDep: TypeAlias = "Callable[..., Any] | ModuleType"
"""Code that a result depends on: a function, a class or a module."""

_NO_CACHE = (None, None, (), (), None)
_DEFAULTS = ((), "succeeded", False, None, "fail", (), *_NO_CACHE)
CHECKED: tuple[str, ...] = (
    *("retries", "retry_delay_s", "retry_on", "timeout_s", "tags"),
    *("run_if", "allow_failure", "item_key", "on_item_error", "limits"),
    *("cache", "cache_ttl_s", "inputs", "code_deps", "cache_version"),
)
ANY_EXCEPTION: tuple[type[Exception], ...] = (Exception,)


class Wrong(NamedTuple):
    """An option with a value that it does not take.

    Parameters
    ----------
    option
        Its name.
    what
        What it must be, and what it is.
    hint
        What to write instead.
    """

    option: str
    what: str
    hint: str

    def problem(self, kind: str, name: str, source: Source | None) -> Problem:
        """The problem of the task or flow called *name*."""
        flow, task = (None, name) if kind == "task" else (name, None)
        message = f"{kind} {name!r}: {self.what}"
        return Problem("MXM119", message, self.hint, source=source, flow=flow, task=task)


def check_options(
    retries: object = 0,
    retry_delay_s: object = 0,
    retry_on: object = Exception,
    timeout_s: object = None,
    tags: object = (),
    run_if: object = "succeeded",
    allow_failure: object = False,
    item_key: object = None,
    on_item_error: object = "fail",
    limits: object = (),
    cache: object = None,
    cache_ttl_s: object = None,
    inputs: object = (),
    code_deps: object = (),
    cache_version: object = None,
) -> tuple[dict[str, Any], Sequence[Wrong]]:
    """The options in a TaskSpec's form, sequences as tuples, and those that cannot be used.

    Those have their default. Retries, seconds and texts of run rules stay as they are:
    `mxm.pipeline.checks` looks at them.
    """
    delays: object = tuple(retry_delay_s) if _is_list(retry_delay_s) else retry_delay_s
    if retry_on is Exception:
        types: object = ANY_EXCEPTION
    elif isinstance(retry_on, type):
        types = (retry_on,)
    else:
        types = tuple(as_sequence(retry_on)) if type(retry_on) in _GROUPS else retry_on
    timed = (retries, delays, types, timeout_s)
    rest = (tags, run_if, allow_failure, item_key, on_item_error, limits)
    caching = (cache, cache_ttl_s, inputs, code_deps, cache_version)
    options = dict(zip(CHECKED, (*timed, *rest, *caching), strict=True))
    # By identity: `==` of what a user wrote may be anything.
    if all(map(operator.is_, (*rest, *caching), _DEFAULTS)):
        return options, ()
    wrong: list[Wrong] = []
    for option, default in zip(CHECKED[len(timed) :], _DEFAULTS, strict=True):
        value = options[option]
        if value is default:
            continue
        checked = _CHECKS[option](option, value)
        if isinstance(checked, Wrong):
            wrong.append(checked)
            options[option] = default
        else:
            options[option] = checked[0]
    return options, wrong


_GROUPS = (list, tuple, set, frozenset)
_Checked: TypeAlias = "tuple[Any] | Wrong"


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _must(option: str, must: str, value: object, hint: str) -> Wrong:
    return Wrong(option, f"{option} must be {must}, not {repr_of(value):.80}", hint)


def _words(option: str, value: Any) -> _Checked:
    """*value* as the words that a list of names is."""
    words: tuple[Any, ...] = tuple(value) if _is_listed(value) else (None,)
    if all(isinstance(word, str) and word for word in words):
        return (words,)
    hint = _EXAMPLES[option]
    if value and type(value) is str:
        hint = f"write {option}=[{value!r}]"
    elif option == "limits" and hasattr(value, "keys"):
        hint = "write limits= with their names; their numbers go to [tool.mxm.pipeline.limits]"
    elif hasattr(value, "__fspath__"):
        hint = f"write {option}=[{str(value)!r}]"
    return _must(option, "a list of strings", value, hint)


_EXAMPLES = {
    "tags": 'write tags=["daily"], or leave it out',
    "limits": 'write limits=["bloomberg"], or leave it out',
    "inputs": 'write inputs=["rates.csv"], or leave it out',
}


def _is_listed(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | Mapping)


def _limits(option: str, value: Any) -> _Checked:
    words = _words(option, value)
    return words if isinstance(words, Wrong) else (tuple(sorted(set(words[0]))),)


def _rule(option: str, value: Any) -> _Checked:
    if isinstance(value, str):
        return (value,)
    known = ", ".join(f'"{rule}"' for rule in RUN_RULES)
    return _must(option, "a run rule", value, f"write run_if= with one of {known}")


def _flag(option: str, value: Any) -> _Checked:
    if isinstance(value, bool):
        return (value,)
    return _must(option, "True or False", value, f"write {option}=True, or leave it out")


def _item_key(option: str, value: Any) -> _Checked:
    if callable(value):
        return (value,)
    hint = "write item_key=lambda item: item.name, or leave it out for the item's text"
    return _must(option, "a function of an item", value, hint)


def _on_item_error(option: str, value: Any) -> _Checked:
    if isinstance(value, str) and value in _ON_ITEM_ERROR:
        return (value,)
    near = closest(value, _ON_ITEM_ERROR) if isinstance(value, str) else None
    hint = 'write on_item_error="skip" to leave failed items out, or nothing for "fail"'
    hint = f"did you mean {near!r}?" if near else hint
    return _must(option, '"fail" or "skip"', value, hint)


_ON_ITEM_ERROR = ("fail", "skip")


def _ttl(option: str, value: Any) -> _Checked:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and 0 < cast("float", value) < _YEARS:
        return (value,)
    hint = "write cache_ttl_s=3600 for an hour, or leave it out for no limit"
    return _must(option, "a positive number of seconds", value, hint)


_YEARS = 1e10  # seconds; later than any date


def _code_deps(option: str, value: Any) -> _Checked:
    deps = tuple(as_sequence(value))
    for dep in deps:
        if not callable(dep) and not isinstance(dep, ModuleType):
            hint = "name the object, not its text: code_deps=[helper]"
            return _must(option, "functions, classes or modules", dep, hint)
    return (deps,)


def _version(option: str, value: Any) -> _Checked:
    if type(value) in (str, int):
        return (value,)
    return _must(option, "a string or a whole number", value, 'write cache_version="2"')


_CHECKS: Mapping[str, Callable[[str, Any], _Checked]] = {
    "tags": _words,
    "run_if": _rule,
    "allow_failure": _flag,
    "item_key": _item_key,
    "on_item_error": _on_item_error,
    "limits": _limits,
    "cache": _flag,
    "cache_ttl_s": _ttl,
    "inputs": _words,
    "code_deps": _code_deps,
    "cache_version": _version,
}


def check_params(value: object) -> Wrong | None:
    """What is wrong with the option ``params`` of a task or a flow."""
    if value is None:
        return None
    hint = 'write params={"limit": 100}'
    if not isinstance(value, Mapping):
        return _must("params", "a mapping of parameter names to values", value, hint)
    odd = [key for key in cast("Iterable[Any]", value) if not isinstance(key, str)]
    return _must("params", "keyed by names of parameters", odd[0], hint) if odd else None


def check_produces(value: object) -> Wrong | None:
    """What is wrong with the option ``produces`` of a task."""
    if value is None or isinstance(value, AssetDecl):
        return None
    asset = value if isinstance(value, str) and value else "prices"
    return _must("produces", "an AssetDecl", value, f"write produces=AssetDecl({asset!r})")


def check_reads(value: object) -> Wrong | None:
    """What is wrong with the option ``reads`` of a task."""
    members: Any = [value] if isinstance(value, AssetDecl | str) else value
    hint = 'write reads=["prices"], or name the AssetDecl'
    if not _is_list(members):
        return _must("reads", "a list of assets", value, hint)
    odd = [one for one in members if not isinstance(one, AssetDecl | str) or one == ""]
    return _must("reads", "assets or names of assets", odd[0], hint) if odd else None


def check_cache(value: object) -> Wrong | None:
    """What is wrong with the option ``cache`` of a flow."""
    checked = None if value is None else _flag("cache", value)
    return checked if isinstance(checked, Wrong) else None


def check_schedule(value: object) -> Wrong | None:
    """What is wrong with the option ``schedule_cron`` of a flow."""
    if value is None or isinstance(value, str):  # checks/schedules reads it
        return None
    hint = 'write schedule_cron="0 6 * * 1-5" for 6:00 on weekdays, or leave it out'
    return _must("schedule_cron", "a string of cron's five fields", value, hint)


def check_timezone(value: object) -> Wrong | None:
    """What is wrong with the option ``timezone`` of a flow."""
    if value is None or (isinstance(value, str) and value):
        return None
    hint = 'write timezone="Europe/London", or leave it out for the zone of the machine'
    return _must("timezone", "the name of a time zone", value, hint)


def check_item_key(value: object) -> Wrong | None:
    """What is wrong with the option ``item_key`` of a flow."""
    checked = None if value is None else _item_key("item_key", value)
    return checked if isinstance(checked, Wrong) else None


def as_sequence(references: object) -> Sequence[Any]:
    """*references* as a sequence; anything but a list, tuple or set becomes its only member."""
    if isinstance(references, (list, tuple)):  # half the time of `list | tuple`
        return cast("Sequence[Any]", references)
    if isinstance(references, (set, frozenset)):
        return sorted(cast("Iterable[Any]", references), key=repr_of)
    return [references]
