"""Checks the options of a task, and converts them to the form that a TaskSpec has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Literal, TypeAlias, TypeGuard, cast

from mxm.pipeline.errors import repr_of

__all__ = [
    "ANY_EXCEPTION",
    "CHECKED",
    "RUN_RULES",
    "CodeDep",
    "OnItemError",
    "RetryDelay",
    "RetryOn",
    "RunIf",
    "as_sequence",
    "check_cache",
    "check_options",
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
_DEFAULTS = ("succeeded", False, None, "fail", (), *_NO_CACHE)
CHECKED: tuple[str, ...] = (
    *("retries", "retry_delay_s", "retry_on", "timeout_s", "tags"),
    *("run_if", "allow_failure", "item_key", "on_item_error", "limits"),
    *("cache", "cache_ttl_s", "inputs", "code_deps", "cache_version"),
)
ANY_EXCEPTION: tuple[type[Exception], ...] = (Exception,)


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
    cache: object = None,
    cache_ttl_s: object = None,
    inputs: object = (),
    code_deps: object = (),
    cache_version: object = None,
) -> dict[str, Any]:
    """The options in a TaskSpec's form: sequences as tuples.

    Retries and seconds stay as given if they are invalid: `mxm.pipeline.checks` reports them with
    all other problems of the flow.

    Raises
    ------
    TypeError, ValueError
        Another option is invalid; the error names task and option.
    """
    rest = (run_if, allow_failure, item_key, on_item_error)
    caching = (cache, cache_ttl_s, inputs, code_deps, cache_version)
    delays: object = tuple(retry_delay_s) if _is_list(retry_delay_s) else retry_delay_s
    if retry_on is Exception:
        types: object = ANY_EXCEPTION
    elif isinstance(retry_on, type):
        types = (retry_on,)
    else:
        types = tuple(as_sequence(retry_on)) if type(retry_on) in _GROUPS else retry_on
    timed = (retries, delays, types, timeout_s)
    if tags == () and (*rest, limits, *caching) == _DEFAULTS:
        return dict(zip(CHECKED, (*timed, (), *rest, (), *caching), strict=True))
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
    caching = _cache_options(name, *caching)
    return dict(zip(CHECKED, (*timed, words, *rest, limited, *caching), strict=True))


_GROUPS = (list, tuple, set, frozenset)


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _cache_options(
    name: str, cache: object, ttl: object, inputs: Any, code: Any, version: object
) -> tuple[Any, ...]:
    """The options of the cache, in a TaskSpec's form."""
    check_cache(f"task {name!r}", cache)
    number = isinstance(ttl, int | float) and not isinstance(ttl, bool)
    if ttl is not None and not (number and 0 < cast("float", ttl) < _YEARS):
        raise TypeError(
            f"task {name!r}: cache_ttl_s must be a positive number of seconds, not {repr_of(ttl)}"
        )
    texts = _words(name, "inputs", inputs) if inputs else ()
    deps = tuple(as_sequence(code))
    for dep in deps:
        if not callable(dep) and not isinstance(dep, ModuleType):
            raise TypeError(
                f"task {name!r}: code_deps must be functions, classes or modules, "
                f"not {repr_of(dep)}"
            )
    if version is not None and type(version) not in (str, int):
        raise TypeError(
            f"task {name!r}: cache_version must be a string or a whole number, "
            f"not {repr_of(version)}"
        )
    return cache, ttl, texts, deps, version


_YEARS = 1e10  # seconds; later than any date


def check_cache(owner: str, cache: object) -> None:
    """Check the option ``cache`` of *owner*.

    Raises
    ------
    TypeError
        It is not True, False or None.
    """
    if cache is not None and not isinstance(cache, bool):
        raise TypeError(f"{owner}: cache must be True or False, not {repr_of(cache)}")


def _words(name: str, option: str, value: Any) -> tuple[str, ...]:
    """*value* as the words that a list of names is."""
    words: tuple[Any, ...] = tuple(value) if _is_listed(value) else (None,)
    if all(isinstance(word, str) and word for word in words):
        return words
    hint = ""
    if value and type(value) is str:
        hint = f": write [{value!r}]"
    elif option == "limits" and hasattr(value, "keys"):
        hint = ": give their numbers to the run, in [tool.mxm.pipeline.limits] for one"
    elif option == "inputs" and hasattr(value, "__fspath__"):
        hint = f": write [{str(value)!r}]"
    raise TypeError(
        f"task {name!r}: {option} must be a list of strings, not {repr_of(value)}{hint}"
    )


def _is_listed(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | Mapping)


def as_sequence(references: object) -> Sequence[Any]:
    """*references* as a sequence; anything but a list, tuple or set becomes its only member."""
    if isinstance(references, (list, tuple)):  # half the time of `list | tuple`
        return cast("Sequence[Any]", references)
    if isinstance(references, (set, frozenset)):
        return sorted(cast("Iterable[Any]", references), key=repr_of)
    return [references]
