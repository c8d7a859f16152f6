"""Runs the checks of an asset on a value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CoroutineType
from typing import Any

from mxm.pipeline.assets import ready
from mxm.pipeline.assets.declared import AssetDecl, Check, checks_of
from mxm.pipeline.assets.formats import facts_of
from mxm.pipeline.assets.ready import RowsWithin
from mxm.pipeline.assets.tables import library_of
from mxm.pipeline.errors import text_of
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.values.assets import CheckResult
from mxm.pipeline.values.digest import UndigestibleError, digest_of
from mxm.pipeline.values.snapshot import Snapshot

__all__ = ["results_of"]


def results_of(
    asset: AssetDecl, value: Any, last_rows: Callable[[], int | None]
) -> list[CheckResult]:
    """The result of each check of *asset* on *value*; a check that changes the value has failed.

    Parameters
    ----------
    asset
        The asset.
    value
        The value to write.
    last_rows
        The number of rows of the last write; None if there was none.
    """
    checks = checks_of(asset)
    ours = [getattr(each.test, "__module__", None) == ready.__name__ for each in checks]
    changed = None if all(ours) else _watched(value)
    results = [
        CheckResult(check.name, check.severity, *_outcome(check, value, last_rows))
        for check in checks
    ]
    if changed is None or not changed():
        return results
    others = [check.name for check, is_ours in zip(checks, ours, strict=True) if not is_ours]
    who = "it" if len(others) == 1 else f"{', '.join(others[:-1])} or {others[-1]}"
    why = f"{who} changed the value in place: let it work on a copy"
    return [
        result if is_ours else _blocked(result, why)
        for result, is_ours in zip(results, ours, strict=True)
    ]


def _blocked(result: CheckResult, why: str) -> CheckResult:
    """*result* as a failure, whatever its severity, because the value to write is lost."""
    said = why if result.message is None else f"{result.message}; {why}"
    return CheckResult(result.name, "block", False, said)


def _watched(value: Any) -> Callable[[], bool] | None:
    """A function that says whether *value* has changed since; None if that cannot be known."""
    if not library_of(value):
        snapshot = Snapshot.of(value)
        if snapshot is not None:
            return lambda: snapshot.changed(value)
    before = _digest(value)
    return None if before is None else lambda: _digest(value) != before


def _digest(value: Any) -> str | None:
    """The digest of *value*; None if it has none, or objects in it may store one value in two ways.

    For example, a fitted model changes when it predicts for the first time.
    """
    kinds: set[type] = set()
    try:
        digest = digest_of(value, types=kinds)
    except UndigestibleError:
        return None
    return digest if all(kind.__module__.partition(".")[0] in _DATA for kind in kinds) else None


_DATA = {"builtins", "datetime", "decimal", "numpy", "pandas", "polars", "pyarrow", "pytz",
         "zoneinfo", "dateutil"}  # fmt: skip


def _outcome(
    check: Check, value: Any, last_rows: Callable[[], int | None]
) -> tuple[bool, str | None]:
    """Whether *value* passes, and why not."""
    test = check.test
    try:
        if isinstance(test, RowsWithin):
            said: object = test.compare(value, last_rows())
        elif _is_schema(test):
            changed = _changed(value, test.validate(value))  # raises if it is invalid
            if changed is not None:
                return False, changed
            said = True
        else:
            said = test(value)
    except BaseException as error:  # from users and schema libraries: of any type
        let_signals_pass(error)
        text = text_of(error).strip()
        return False, f"{text}" if text else type(error).__name__
    # NumPy's bool, too, but not a table of them.
    if isinstance(said, bool) or type(said).__name__ in ("bool", "bool_"):
        return bool(said), None if said else "it returned False"
    what = "None" if said is None else f"a {type(said).__name__}"
    if isinstance(said, CoroutineType):
        said.close()  # or Python warns that nothing awaits it
    return False, f"it returned {what}; a check returns True or False, or raises"


def _changed(value: Any, validated: Any) -> str | None:
    """How the table that a schema returned differs from *value*, which is what gets written."""
    if not library_of(validated) or validated is value:
        return None
    before, after = facts_of(value), facts_of(validated)
    for name in dict.fromkeys([*before.columns, *after.columns]):
        old, new = before.columns.get(name), after.columns.get(name)
        if old != new:
            became = f"of {old} is {new}" if old and new else "is new" if new else "is left out"
            return f"column {name!r} {became} in what the schema returns: {_RETURN}"
    if before.rows != after.rows:
        return f"{before.rows:,} rows are {after.rows:,} in what the schema returns: {_RETURN}"
    return None


_RETURN = "let the task return that"


def _is_schema(test: Any) -> bool:
    """Whether *test* is a schema of pandera or dataframely: an object or a class that validates."""
    return not inspect.isroutine(test) and callable(getattr(test, "validate", None))
