"""Problem, Source and the table of codes: what is wrong, where, and what to write instead."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from types import FrameType
from typing import Any, Literal

from mxm.pipeline.process.printable import in_one_line

__all__ = [
    "CODES",
    "Problem",
    "Source",
    "caller",
    "closest",
    "did_you_mean",
    "drawn_places",
    "shown_path",
]

CODES: dict[str, str] = {
    "MXM101": "duplicate task name",
    "MXM102": "unknown upstream",
    "MXM103": "cycle",
    "MXM104": "the signature does not fit the upstreams",
    "MXM105": "a flow without tasks",
    "MXM106": "not a task",
    "MXM107": "two flows with the same name",
    "MXM108": "a run rule that cannot apply",
    "MXM109": "a map that cannot be made",
    "MXM110": "a limit without a number",
    "MXM111": "a limit that is not a whole number of at least 1",
    "MXM112": "an unknown limit",
    "MXM113": "an invalid number of retries",
    "MXM114": "an invalid number of seconds",
    "MXM115": "a retry_on that names no exceptions",
    "MXM116": "a retry function that cannot be called",
    "MXM117": "an invalid backoff",
    "MXM118": "retry options without retries",
    "MXM119": "an invalid option",
    "MXM120": "a missing part of a flow's value",
    "MXM201": "types that cannot fit",
    "MXM202": "types that may not fit",
    "MXM203": "an annotation that cannot be resolved",
    "MXM204": "an input that may be missing",
    "MXM205": "items that cannot be mapped",
    "MXM301": "a value of the run used in a body",
    "MXM302": "the body raised",
    "MXM303": "a body awaits something else",
    "MXM304": "a flow with *args or **kwargs",
    "MXM305": "a task called inside try, with or a thread",
    "MXM306": "a value that can be read only once",
    "MXM307": "mxm.each outside of a map",
    "MXM401": "missing parameter",
    "MXM402": "a value that does not fit",
    "MXM403": "unknown parameter",
    "MXM404": "a default that does not fit its annotation",
    "MXM405": "a key that a TypedDict does not have",
    "MXM501": "NaN became null",
    "MXM503": "a part of the flow's value was skipped",
    "MXM504": "an input changed in place",
    "MXM505": "a result that JSON has no form for",
    "MXM506": "failed items left out of a result",
    "MXM507": "lists that do not match by position",
    "MXM601": "not a resource",
    "MXM602": "a resource asked for in the wrong place",
    "MXM603": "an input in place of a resource",
    "MXM604": "a cycle of resources",
    "MXM605": "two resources with the same name",
    "MXM606": "a sync function that asks for an async resource",
    "MXM607": "missing setting of a resource",
    "MXM608": "a setting that does not fit",
    "MXM609": "unknown setting of a resource",
    "MXM610": "a resource that does not yield once",
    "MXM611": "a resource that could not be closed",
    "MXM701": "a task that cannot be cached",
    "MXM702": "a cached task that depends on when it runs",
    "MXM703": "a cached task that changes its argument",
    "MXM704": "a result that is not kept",
    "MXM705": "a cached task without a key",
    "MXM706": "a file that inputs do not name",
    "MXM707": "a cached task that writes a file",
    "MXM708": "code that changed while a cached task ran",
    "MXM709": "an input that changed while a cached task ran",
    "MXM801": "an unknown format of an asset",
    "MXM802": "a path template that cannot be read",
    "MXM803": "an unknown field of a path template",
    "MXM804": "two tasks that write the same file",
    "MXM805": "items that all write the same file",
    "MXM806": "a path that leaves the project",
    "MXM807": "a result that the format cannot store",
    "MXM808": "a secret in the path of an asset",
    "MXM809": "types that a format does not keep",
    "MXM810": "a check of an asset that failed",
    "MXM812": "a value that cannot be part of a path",
    "MXM813": "a cached task that reads an asset without a recorded file",
    "MXM814": "a URL that nothing installed can write",
    "MXM815": "a file that held another partition",
    "MXM816": "an asset that is read and written in any order",
    "MXM817": "an asset that two flows declare differently",
    "MXM930": "a schedule without five cron fields",
    "MXM931": "an unknown time zone",
    "MXM932": "a schedule that never runs",
    "MXM933": "an ambiguous schedule",
    "MXM934": "a time zone that may be a mistake",
    "MXM935": "a value that worker processes do not have",
    "MXM936": "cached results that stay on a cluster",
}
"""Every code with its title; a page each in docs/errors."""


Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Source:
    """A place in the user's files.

    Parameters
    ----------
    file
        Path as Python gives it; shown relative to the working directory if it is below it.
    line, column
        Counted from 1; None if unknown.

    Examples
    --------
    >>> from mxm.pipeline.problems import Source
    >>> print(Source("risk.py", 16))
    risk.py:16
    """

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        parts = [shown_path(self.file)]
        if self.line is not None:
            parts.append(str(self.line))
            if self.column is not None:
                parts.append(str(self.column))
        return ":".join(parts)

    @classmethod
    def of_function(cls, fn: Callable[..., object]) -> Source | None:
        """Where *fn* is defined (its first decorator), or None if it has no Python code."""
        code = getattr(fn, "__code__", None)
        if code is None:
            return None
        return cls(code.co_filename, code.co_firstlineno)

    @classmethod
    def of_caller(cls) -> Source | None:
        """The nearest line outside this package and `dataclasses` in the current stack."""
        frame = caller()
        return cls(frame.f_code.co_filename, frame.f_lineno) if frame else None


def caller() -> FrameType | None:
    """The nearest frame outside this package and `dataclasses` in the current stack."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        module: str = frame.f_globals.get("__name__", "")
        if module != "dataclasses" and not f"{module}.".startswith("mxm.pipeline."):
            return frame
        frame = frame.f_back
    return None


def shown_path(path: str) -> str:
    """*path* relative to the working directory if it is below it, else unchanged.

    A notebook cell has IPython's name: ``Cell In[3]``.
    """
    cell = _cell(path)
    if cell is not None:
        return cell
    try:
        relative = os.path.relpath(path)
    except (ValueError, OSError):  # another drive, or a removed working directory
        return path
    return path if relative.startswith("..") else relative


def _cell(path: str) -> str | None:
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    named = getattr(getattr(shell, "compile", None), "format_code_name", None)
    words = named(path) if named else None
    return " ".join(words) if words else None


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a flow, found before anything runs.

    Parameters
    ----------
    code
        Stable identifier, such as ``MXM101``; each has a page in docs/errors/.
    message
        What is wrong, naming the thing.
    hint
        What to write instead.
    source
        The user's declaration.
    flow, task
        Names, if the problem belongs to one.
    severity
        ``error`` stops a run; ``warning`` and ``note`` do not.
    places
        The things in the message, each with its place: the tasks of a cycle, or two that share a
        name. Shown one per line.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec
    >>> from mxm.pipeline.api import check_flow
    >>> for problem in check_flow(FlowSpec("risk", [TaskSpec("total", sum, upstream=["load"])])):
    ...     print(problem.code, problem.severity, problem.message)
    MXM102 error unknown upstream 'load' of task 'total'
    """

    code: str
    message: str
    hint: str | None = None
    _: KW_ONLY
    source: Source | None = None
    flow: str | None = None
    task: str | None = None
    severity: Severity = "error"
    places: tuple[tuple[str, Source | None], ...] = ()

    def __str__(self) -> str:
        place = f"{self.source}: " if self.source else ""
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{place}{self.code} {self.message}{drawn_places(self.places)}{hint}"


def drawn_places(places: Iterable[tuple[str, Source | None]]) -> str:
    """*places* as lines in two columns, each preceded by a line break."""
    rows = list(places)
    names = [in_one_line(name) for name, _ in rows]
    width = max(map(len, names), default=0)
    lines = zip(names, rows, strict=True)
    return "".join(f"\n    {name.ljust(width)}  {row[1] or ''}".rstrip() for name, row in lines)


def closest(name: str, known: Iterable[str]) -> str | None:
    """The name in *known* closest to *name*, or None if none is close."""
    by_folded = {other.casefold(): other for other in known}
    import difflib  # needed only for a mistake

    matches = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """``did you mean 'x'?``, or the known names if there are few, or None."""
    names = sorted(set(known))
    near = closest(name, names)
    if near is not None:
        return f"did you mean {near!r}?"
    if 0 < len(names) <= 12:
        return "known: " + ", ".join(map(repr, names))
    return None
