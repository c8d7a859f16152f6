"""Checks the options of a task, and converts them to the form that a TaskSpec has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeGuard, cast

from mxm.pipeline.errors import repr_of

__all__ = ["CHECKED", "RUN_RULES", "OnItemError", "RunIf", "as_sequence", "check_options"]

RunIf: TypeAlias = Literal["succeeded", "not_failed", "failed", "always"]
"""The run rules of a task: how its upstreams must have ended for it to run."""
RUN_RULES: tuple[RunIf, ...] = ("succeeded", "not_failed", "failed", "always")

OnItemError: TypeAlias = Literal["fail", "skip"]
"""What a failed item of a mapped task does: fail the task, or be left out."""

_DEFAULTS = (0, 0, Exception, None, (), "succeeded", False, None, "fail", ())
CHECKED: tuple[str, ...] = (
    *("retries", "retry_delay_s", "retry_on", "timeout_s", "tags"),
    *("run_if", "allow_failure", "item_key", "on_item_error", "limits"),
)


def check_options(
    name: str,
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
) -> dict[str, Any]:
    """The options in a TaskSpec's form: sequences as tuples.

    Raises
    ------
    TypeError, ValueError
        An option is invalid; the error names task and option.
    """
    rest = (run_if, allow_failure, item_key, on_item_error)
    given = (retries, retry_delay_s, retry_on, timeout_s, tags, *rest, limits)
    if given == _DEFAULTS and type(retries) is type(retry_delay_s) is int:
        return dict(zip(CHECKED, (0, 0, (Exception,), None, (), *rest, ()), strict=True))
    if not isinstance(retries, int) or isinstance(retries, bool):
        raise TypeError(f"task {name!r}: retries must be a whole number, not {repr_of(retries)}")
    delays: tuple[Any, ...] = tuple(as_sequence(retry_delay_s))
    for delay in delays:
        if not _is_number(delay):
            raise TypeError(
                f"task {name!r}: retry_delay_s must be a number of seconds, or a list of them, "
                f"not {repr_of(retry_delay_s)}"
            )
        if delay < 0:
            raise ValueError(f"task {name!r}: retry_delay_s cannot be negative")
    if retries < 0:
        raise ValueError(f"task {name!r}: retries cannot be negative")
    types = tuple(as_sequence(retry_on))
    for kind in types:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise TypeError(
                f"task {name!r}: retry_on must be a type of exception, not {repr_of(retry_on)}"
            )
    if timeout_s is not None and not (_is_number(timeout_s) and timeout_s > 0):
        raise TypeError(
            f"task {name!r}: timeout_s must be a positive number, not {repr_of(timeout_s)}"
        )
    words = _words(name, "tags", tags)
    limited = tuple(sorted(set(_words(name, "limits", limits))))
    if not isinstance(run_if, str):
        raise TypeError(f"task {name!r}: run_if must be a string, not {repr_of(run_if)}")
    if not isinstance(allow_failure, bool):
        raise TypeError(
            f"task {name!r}: allow_failure must be True or False, not {repr_of(allow_failure)}"
        )
    if item_key is not None and not callable(item_key):
        raise TypeError(
            f"task {name!r}: item_key must be a function of an item, not {repr_of(item_key)}"
        )
    if on_item_error not in ("fail", "skip"):
        raise ValueError(
            f"task {name!r}: on_item_error must be 'fail' or 'skip', not {repr_of(on_item_error)}"
        )
    delay = delays if isinstance(retry_delay_s, (list, tuple)) else delays[0]
    return dict(
        zip(CHECKED, (retries, delay, types, timeout_s, words, *rest, limited), strict=True)
    )


def _words(name: str, option: str, given: Any) -> tuple[str, ...]:
    """*given* as the words that a list of names is."""
    words: tuple[Any, ...] = tuple(given) if _is_listed(given) else (None,)
    if all(isinstance(word, str) and word for word in words):
        return words
    hint = ""
    if given and type(given) is str:
        hint = f": write [{given!r}]"
    elif option == "limits" and hasattr(given, "keys"):
        hint = ": give their numbers to the run, in [tool.mxm.pipeline.limits] for one"
    raise TypeError(
        f"task {name!r}: {option} must be a list of strings, not {repr_of(given)}{hint}"
    )


def _is_listed(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | Mapping)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_sequence(references: object) -> Sequence[Any]:
    """*references* as a sequence; anything but a list, tuple or set becomes its only member."""
    if isinstance(references, (list, tuple)):  # half the time of `list | tuple`
        return cast("Sequence[Any]", references)
    if isinstance(references, (set, frozenset)):
        return sorted(cast("Iterable[Any]", references), key=repr_of)
    return [references]
