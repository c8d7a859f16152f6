"""AssetDecl and Check: an asset as plain frozen data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from mxm.pipeline.errors import repr_of

__all__ = ["AssetDecl", "Check", "Severity", "asset_id", "asset_ids", "checks_of"]

Severity: TypeAlias = Literal["block", "warn"]


@dataclass(frozen=True)
class Check:
    """A check of an asset's value, made before the value is written.

    Parameters
    ----------
    test
        A function of the value that returns True or False, or raises; or a schema of pandera or
        dataframely. It must not change the value.
    severity
        ``block``: if the check fails, so does the task, and nothing is written. ``warn``: the value
        is written, with a warning.
    name
        Its name in messages; by default the function's.

    Raises
    ------
    TypeError
        *test* is not a function or a schema, or is an async or a generator function; or *severity*
        is neither.

    Examples
    --------
    >>> from mxm.pipeline import AssetDecl, Check
    >>> def is_sorted(prices):
    ...     return prices["day"].is_monotonic_increasing
    >>> asset = AssetDecl("prices", checks=[Check(is_sorted, severity="warn")])
    """

    test: Any = field(hash=False)
    severity: Severity = "block"
    name: str = ""

    def __post_init__(self) -> None:
        severity: object = self.severity
        if severity not in ("block", "warn"):
            raise TypeError(f'severity must be "block" or "warn", not {repr_of(severity)}')
        if not callable(self.test) and not callable(getattr(self.test, "validate", None)):
            raise TypeError(
                f"a check must be a function of the value or a schema, not {repr_of(self.test)}"
            )
        flags = getattr(getattr(self.test, "__code__", None), "co_flags", 0)
        if flags & (_GENERATOR | _ASYNC):
            kind = "an async function" if flags & _ASYNC else "a generator function"
            name = _name_of(self.test)
            raise TypeError(f"a check must return True or False, and {name} is {kind}")
        if not self.name:
            object.__setattr__(self, "name", _name_of(self.test))


_GENERATOR = 0x20  # as in `inspect`, which takes long to load
_ASYNC = 0x80 | 0x200


def _name_of(test: Any) -> str:
    name = getattr(test, "__name__", None) or getattr(test, "name", None)
    return name if isinstance(name, str) and name else type(test).__name__


Checkable: TypeAlias = "Check | Callable[[Any], object] | Any"
"""A check: a function of the value, a schema, or one of these with a severity."""


@dataclass(frozen=True)
class AssetDecl:
    """Something a task produces that outlives the run: a table, a file.

    Parameters
    ----------
    id
        Name of the asset, such as ``"prices/daily"``.
    partition_key
        Name of the parameter whose value is the partition that a run writes.
    format
        Storage format: ``parquet``, ``csv``, ``feather``, ``json``, ``pickle``, or that of another
        distribution.
    path_template
        Where the value is written, relative to the project's root, with parameters of the task and
        the flow in braces: ``data/{symbol}/{day:%Y-%m}.parquet``. None: nothing is written.
    freshness_s
        Seconds after which what was written is stale; None for never.
    description
        What it is, for readers.
    checks
        What must hold before it is written: functions of the value, schemas of pandera or
        dataframely, and `Check` objects.

    Raises
    ------
    TypeError
        *freshness_s* is not a number above 0, or a check is not a function or a schema.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline import AssetDecl
    >>> PRICES = AssetDecl(
    ...     "prices", partition_key="day", path_template="data/{day:%Y-%m-%d}.parquet"
    ... )
    >>> @mxm.task(produces=PRICES)
    ... def load(day: str) -> list[float]: ...
    """

    id: str
    partition_key: str | None = None
    format: str = "parquet"
    path_template: str | None = None
    freshness_s: float | None = None
    description: str = ""
    checks: Iterable[Checkable] = ()

    def __post_init__(self) -> None:
        freshness: Any = self.freshness_s
        is_number = isinstance(freshness, int | float) and not isinstance(freshness, bool)
        if freshness is not None and not (is_number and freshness > 0):
            raise TypeError(
                f"asset {self.id!r}: freshness_s must be a number of seconds above 0, "
                f"not {repr_of(freshness)}"
            )
        checks: Any = self.checks
        if type(checks) not in (list, tuple):
            raise TypeError(f"asset {self.id!r}: checks must be a list, not {repr_of(checks)}")
        members: Iterable[Any] = checks
        made = tuple([each if isinstance(each, Check) else Check(each) for each in members])
        object.__setattr__(self, "checks", made)

    @property
    def is_handled(self) -> bool:
        """Whether a run writes or checks the value, rather than only naming the asset."""
        return self.path_template is not None or bool(self.checks)


def checks_of(asset: AssetDecl) -> tuple[Check, ...]:
    """The checks of *asset*."""
    made: Any = asset.checks
    return tuple(made)


def asset_id(asset: AssetDecl | str) -> str:
    """The name of *asset*, which may itself be a name."""
    return asset if isinstance(asset, str) else asset.id


def asset_ids(reads: AssetDecl | str | Iterable[AssetDecl | str]) -> tuple[str, ...]:
    """The names of the assets that *reads* lists, each once."""
    members = [reads] if isinstance(reads, AssetDecl | str) else reads
    return tuple(dict.fromkeys(map(asset_id, members)))
