"""Ready-made checks of tables: rows, columns, duplicates, missing values."""

from __future__ import annotations

from typing import Any

from mxm.pipeline.assets.declared import Check, Severity
from mxm.pipeline.assets.tables import library_of
from mxm.pipeline.errors import repr_of

__all__ = ["RowsWithin", "no_nulls", "not_empty", "row_count", "rows_between", "rows_within",
           "unique"]  # fmt: skip


def row_count(value: Any) -> int:
    """The number of rows of a table, or of members of another value.

    Raises
    ------
    TypeError
        It has none.
    """
    if library_of(value) == "pyarrow":
        rows: int = value.num_rows
        return rows
    return len(value)


def not_empty(value: Any) -> bool:
    """Whether *value* has at least one row or member.

    Parameters
    ----------
    value
        A table, or anything that has a length.

    Examples
    --------
    >>> from mxm.pipeline import AssetDecl, not_empty
    >>> asset = AssetDecl("prices", checks=[not_empty])
    """
    return row_count(value) > 0


def unique(*columns: str, severity: Severity = "block") -> Check:
    """Check that no two rows have the same values in *columns*.

    Parameters
    ----------
    *columns
        Names of columns; all columns if none is named.
    severity
        ``"block"``: a failed check fails the task, and nothing is written. ``"warn"``: it is a
        warning, and the value is written.

    Examples
    --------
    >>> from mxm.pipeline import AssetDecl, unique
    >>> asset = AssetDecl("prices", checks=[unique("symbol", "day")])
    """

    def test(value: Any) -> bool:
        names = _columns(value, columns)
        library = library_of(value)
        if library == "pandas":
            count = int(_with_index(value, names)[names].duplicated().sum())
        elif library == "polars":
            count = value.height - value.select(names).unique().height
        else:
            groups = value.group_by(names).aggregate([])
            count = value.num_rows - groups.num_rows
        if count:
            what = f"the same {', '.join(columns)}" if columns else "the same values"
            raise ValueError(f"{count:,} row{'s' * (count != 1)} with {what} as another row")
        return True

    return Check(test, severity, f"unique({', '.join(columns)})")


def no_nulls(*columns: str, severity: Severity = "block") -> Check:
    """Check that *columns* have a value in each row.

    Parameters
    ----------
    *columns
        Names of columns; all columns if none is named.
    severity
        ``"block"``: a failed check fails the task, and nothing is written. ``"warn"``: it is a
        warning, and the value is written.

    Examples
    --------
    >>> from mxm.pipeline import AssetDecl, no_nulls
    >>> asset = AssetDecl("prices", checks=[no_nulls("close")])
    """

    def test(value: Any) -> bool:
        names = _columns(value, columns)
        library = library_of(value)
        counts: dict[str, int] = {}
        for name in names:
            if library == "pandas":
                counts[name] = int(_with_index(value, names)[name].isna().sum())
            elif library == "polars":
                column = value[name]
                counts[name] = column.null_count()
                if column.dtype.is_float():
                    counts[name] += int(column.is_nan().sum())
            else:
                column = value.column(name)
                counts[name] = _nulls_of_arrow(column)
        lacking = [f"{count:,} in {name!r}" for name, count in counts.items() if count]
        if lacking:
            raise ValueError(f"missing values: {', '.join(lacking)}")
        return True

    return Check(test, severity, f"no_nulls({', '.join(columns)})")


def _nulls_of_arrow(column: Any) -> int:
    count: int = column.null_count
    if str(column.type) in ("float", "double", "halffloat"):
        count += sum(each != each for each in column.drop_null().to_pylist())
    return count


def rows_between(least: int, most: int, *, severity: Severity = "block") -> Check:
    """Check that there are at least *least* rows and at most *most*.

    Parameters
    ----------
    least, most
        Numbers of rows, both included.
    severity
        ``"block"``: a failed check fails the task, and nothing is written. ``"warn"``: it is a
        warning, and the value is written.

    Examples
    --------
    >>> from mxm.pipeline import AssetDecl, rows_between
    >>> asset = AssetDecl("prices", checks=[rows_between(100, 10_000)])
    """

    def test(value: Any) -> bool:
        count = row_count(value)
        if not least <= count <= most:
            raise ValueError(f"{count:,} rows, not {least:,} to {most:,}")
        return True

    return Check(test, severity, f"rows_between({least}, {most})")


class RowsWithin:
    """Compares the number of rows with that of the last write."""

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, value: Any) -> bool:
        """True, because without the last write there is nothing to compare with."""
        row_count(value)
        return True

    def compare(self, value: Any, last: int | None) -> bool:
        """Whether the number of rows of *value* is near *last*; None if there was no last write."""
        count = row_count(value)
        if last is not None and abs(count - last) > self.share * last:
            raise ValueError(
                f"{count:,} rows, {last:,} the last time: they differ by more than {self.share:.0%}"
            )
        return True


def rows_within(share: float, *, of: str = "last", severity: Severity = "block") -> Check:
    """Check that the number of rows differs by at most *share* from the last write.

    This is the last recorded write of the same partition, or else of the asset. On the first
    write, the check passes.

    Parameters
    ----------
    share
        The largest difference, as a share of the last number: 0.5 for half.
    of
        What to compare with; only ``"last"``.
    severity
        ``"block"``: a failed check fails the task, and nothing is written. ``"warn"``: it is a
        warning, and the value is written.

    Raises
    ------
    ValueError
        *share* is not a positive number, or *of* is not ``last``.

    Examples
    --------
    >>> from mxm.pipeline import AssetDecl, rows_within
    >>> asset = AssetDecl("prices", checks=[rows_within(0.5, severity="warn")])
    """
    if of != "last" or not share > 0:
        raise ValueError(f'rows_within takes a share above 0 and of="last", not {share!r}, {of!r}')
    return Check(RowsWithin(share), severity, f"rows_within({share:g})")


def _columns(value: Any, columns: tuple[str, ...]) -> list[str]:
    library = library_of(value)
    if not library:
        raise TypeError(f"{type(value).__name__} is not a table")
    names = list(map(str, value.column_names if library == "pyarrow" else value.columns))
    known = {*names, *(_index_names(value) if library == "pandas" else ())}
    missing = [name for name in columns if name not in known]
    if missing:
        raise ValueError(f"missing column {repr_of(missing[0])}; columns: {', '.join(names)}")
    return list(columns) or names


def _index_names(frame: Any) -> list[str]:
    return [name for name in frame.index.names if name is not None]


def _with_index(frame: Any, names: list[str]) -> Any:
    """*frame*, with those levels of its index that are in *names* as columns."""
    levels = [n for n in _index_names(frame) if n in names and n not in frame.columns]
    return frame.reset_index(levels) if levels else frame
