"""WrittenAsset, ReadAsset and CheckResult: what a task wrote, read and checked, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from mxm.pipeline.problems import Problem
from mxm.pipeline.values.jsonvalue import JSONValue

__all__ = ["CheckResult", "ReadAsset", "WrittenAsset"]


What: TypeAlias = Literal["value", "history", "all"]


@dataclass(frozen=True, slots=True)
class ReadAsset:
    """An asset that was read: an input of the task, known by its content.

    Parameters
    ----------
    id
        Its name.
    what
        What was read: a ``value``, the ``history`` of its writes, or ``all`` of its files.
    partition, run
        The partition and the run that were asked for.
    content
        What was there: partitions and digests of files; None if that is not known.
    """

    id: str
    what: What = "value"
    partition: str | None = None
    run: str | None = None
    content: str | None = None

    def to_dict(self) -> dict[str, JSONValue]:
        """The read in the form of its run's document."""
        return {
            "id": self.id,
            "what": self.what,
            "partition": self.partition,
            "run": self.run,
            "content": self.content,
        }


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check.

    Parameters
    ----------
    name
        The check.
    severity
        ``block`` or ``warn``.
    passed
        Whether the value passed.
    message
        Why not.
    """

    name: str
    severity: str
    passed: bool
    message: str | None = None

    def to_dict(self) -> dict[str, JSONValue]:
        """The result in the form of its run's document."""
        return {
            "name": self.name,
            "severity": self.severity,
            "passed": self.passed,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class WrittenAsset:
    """An asset that a task wrote in a run.

    Parameters
    ----------
    id
        Its name, as declared.
    partition
        ``key:value``, if it has partitions.
    path
        The file relative to the project's root; None where the declaration has no path.
    format
        Its format.
    digest
        ``sha256-`` and the digest of the file.
    size
        Bytes of the file.
    rows, columns
        The number of rows, and the type of each column by name, where that is known.
    index
        The name and the type of each level of a table's index, if it is more than a count.
    library
        The library of a table, for readers.
    by
        Who wrote the file: ``value``, if it is what the task returned, or ``task`` itself.
    upstream
        The names of the assets that it is made from.
    reads
        Those of them that its task loaded, as it asked for them.
    checks
        What its checks said.
    problems
        Warnings.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline import AssetDecl
    >>> @mxm.task(produces=AssetDecl("closes", format="json", path_template="closes.json"))
    ... def closes() -> list[float]:
    ...     return [473.2, 475.1]
    >>> @mxm.flow
    ... def prices() -> None:
    ...     closes()
    >>> written = prices.with_options(backend="inline").run().tasks["closes"].asset
    >>> written.id, written.path, written.by, written.size
    ('closes', 'closes.json', 'value', 18)
    """

    id: str
    partition: str | None = None
    path: str | None = None
    format: str | None = None
    digest: str | None = None
    size: int | None = None
    rows: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    index: Sequence[Sequence[str | None]] = field(default=(), hash=False)
    library: str = ""
    by: str = ""
    upstream: tuple[str, ...] = ()
    reads: tuple[ReadAsset, ...] = field(default=(), repr=False)
    checks: tuple[CheckResult, ...] = ()
    problems: tuple[Problem, ...] = field(default=(), compare=False, repr=False)

    def to_dict(self) -> dict[str, JSONValue]:
        """The asset in the form of its run's document."""
        named: dict[str, JSONValue] = {"id": self.id, "partition": self.partition}
        checks: list[JSONValue] = [check.to_dict() for check in self.checks]
        if checks:
            named["checks"] = checks
        if self.path is None:
            return named
        columns: dict[str, JSONValue] = {**self.columns}
        index: list[JSONValue] = [[*level] for level in self.index]
        upstream: list[JSONValue] = [*self.upstream]
        return {
            **named,
            "checks": checks,
            "path": self.path,
            "format": self.format,
            "digest": self.digest,
            "size": self.size,
            "rows": self.rows,
            "columns": columns,
            "index": index,
            "library": self.library,
            "by": self.by,
            "upstream": upstream,
            "reads": [read.to_dict() for read in self.reads],
        }
