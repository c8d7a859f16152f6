"""The options of a task: checked, and brought to the one form that a TaskSpec has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard, cast

__all__ = ["CHECKED", "as_sequence", "check_options"]

_DEFAULTS = (0, 0, Exception, None, ())
CHECKED: tuple[str, ...] = ("retries", "retry_delay_s", "retry_on", "timeout_s", "tags")


def check_options(
    name: str,
    retries: object = 0,
    retry_delay_s: object = 0,
    retry_on: object = Exception,
    timeout_s: object = None,
    tags: object = (),
) -> dict[str, Any]:
    """The options as a TaskSpec has them: sequences as tuples.

    Raises
    ------
    TypeError, ValueError
        One cannot be used; task and option are named.
    """
    given = (retries, retry_delay_s, retry_on, timeout_s, tags)
    if given == _DEFAULTS and type(retries) is type(retry_delay_s) is int:
        return dict(zip(CHECKED, (0, 0, (Exception,), None, ()), strict=True))
    if not isinstance(retries, int) or isinstance(retries, bool):
        raise TypeError(f"task {name!r}: retries must be a whole number, not {retries!r}")
    delays: tuple[Any, ...] = tuple(as_sequence(retry_delay_s))
    for delay in delays:
        if not _is_number(delay):
            raise TypeError(
                f"task {name!r}: retry_delay_s must be a number of seconds, or a list of them, "
                f"not {retry_delay_s!r}"
            )
        if delay < 0:
            raise ValueError(f"task {name!r}: retry_delay_s cannot be negative")
    if retries < 0:
        raise ValueError(f"task {name!r}: retries cannot be negative")
    types = tuple(as_sequence(retry_on))
    for kind in types:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise TypeError(
                f"task {name!r}: retry_on must be a type of exception, not {retry_on!r}"
            )
    if timeout_s is not None and not (_is_number(timeout_s) and timeout_s > 0):
        raise TypeError(f"task {name!r}: timeout_s must be a positive number, not {timeout_s!r}")
    words = () if isinstance(tags, str) else tuple(cast("Iterable[Any]", tags))
    if isinstance(tags, str) or not all(isinstance(word, str) for word in words):
        raise TypeError(f"task {name!r}: tags must be a list of strings, not {tags!r}")
    delay = delays if isinstance(retry_delay_s, (list, tuple)) else delays[0]
    return dict(zip(CHECKED, (retries, delay, types, timeout_s, words), strict=True))


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_sequence(references: object) -> Sequence[Any]:
    """*references* as a sequence; anything that is no list, tuple or set of them stands alone."""
    if isinstance(references, (list, tuple)):  # takes half as long as `list | tuple`
        return cast("Sequence[Any]", references)
    if isinstance(references, (set, frozenset)):
        return sorted(cast("Iterable[Any]", references), key=repr)
    return [references]
