"""Every exception and problem of mxm-pipeline: each names the thing, the place and the way out."""

from __future__ import annotations

import difflib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from types import FrameType
from typing import Any, Literal

__all__ = [
    "AmbiguousFlowError",
    "BackendError",
    "EngineMissingError",
    "GraphError",
    "LoadError",
    "ParameterError",
    "PipelineError",
    "Problem",
    "ResultError",
    "Skip",
    "Source",
    "SpecError",
    "TaskTimeoutError",
    "UnknownBackendError",
    "UnknownFlowError",
    "WorkerDiedError",
    "closest",
    "described",
    "did_you_mean",
    "drawn_places",
    "shown_path",
]

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Source:
    """A place in the user's files.

    Parameters
    ----------
    file
        Path as Python gives it; shown relative to the working directory where it lies beneath it.
    line, column
        Counted from 1; None where not known.
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
        """Where *fn* is defined (its first decorator), or None for what has no Python code."""
        code = getattr(fn, "__code__", None)
        if code is None:
            return None
        return cls(code.co_filename, code.co_firstlineno)

    @classmethod
    def of_caller(cls) -> Source | None:
        """The nearest line outside this package and `dataclasses` in the current stack."""
        frame: FrameType | None = inspect.currentframe()
        while frame is not None:
            module: str = frame.f_globals.get("__name__", "")
            if module != "dataclasses" and not f"{module}.".startswith("mxm.pipeline."):
                return cls(frame.f_code.co_filename, frame.f_lineno)
            frame = frame.f_back
        return None


def shown_path(path: str) -> str:
    """*path* relative to the working directory where it lies beneath it, else unchanged.

    A notebook's cell is called what IPython calls it: ``Cell In[3]``.
    """
    cell = _cell(path)
    if cell is not None:
        return cell
    try:
        relative = os.path.relpath(path)
    except (ValueError, OSError):  # another drive; a working directory that was removed
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
    """One thing that is wrong with a flow, found before anything runs.

    Parameters
    ----------
    code
        Stable identifier, ``MXM101`` and so on; a page each in docs/errors/.
    message
        What is wrong, naming the thing.
    hint
        What to write instead.
    source
        The user's declaration.
    flow, task
        Names, where the problem belongs to one.
    severity
        ``error`` stops a run; ``warning`` and ``note`` do not.
    places
        What the message speaks of, with the place of each: the tasks of a cycle, both of two that
        share a name. Shown one under the other.
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
    """*places* as lines in two columns, each after a line break."""
    rows = list(places)
    width = max((len(name) for name, _ in rows), default=0)
    return "".join(f"\n    {name.ljust(width)}  {place or ''}".rstrip() for name, place in rows)


class PipelineError(Exception):
    """Base of every error that mxm-pipeline raises about a user's input.

    Attributes
    ----------
    hint
        What to do about it, or None.
    source
        The place in the user's files, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None, source: Source | None = None):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.source = source

    def __str__(self) -> str:
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{self.message}{hint}"

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with the message alone, which most of them do not take.
        return _copied, (type(self), self.args), self.__dict__


def _copied(kind: type[PipelineError], args: tuple[Any, ...]) -> PipelineError:
    return kind.__new__(kind, *args)


class SpecError(PipelineError, ValueError):
    """A spec cannot be read from, or written to, its dict form."""


class GraphError(PipelineError, ValueError):
    """A flow's graph is wrong; `problems` holds everything found, at once."""

    def __init__(self, flow: str, problems: Sequence[Problem]):
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = [f"flow {flow!r} has {count}", *map(str, problems)]
        super().__init__("\n".join(lines))
        self.flow = flow
        self.problems: tuple[Problem, ...] = tuple(problems)


class ParameterError(PipelineError, ValueError):
    """Parameters given to a run do not fit; `problems` holds all of them."""

    def __init__(self, flow: str, problems: Sequence[Problem]):
        missing = sum(problem.code == "MXM401" for problem in problems)
        told: list[str] = []
        for count, one, many in (
            (missing, "is missing", "are missing"),
            (len(problems) - missing, "cannot be used", "cannot be used"),
        ):
            if count:
                told.append(f"a parameter {one}" if count == 1 else f"{count} parameters {many}")
        lines = [f"flow {flow!r}: {', and '.join(told)}", *map(str, problems)]
        super().__init__("\n".join(lines))
        self.flow = flow
        self.problems: tuple[Problem, ...] = tuple(problems)


class UnknownFlowError(PipelineError, KeyError):
    """No flow has this name."""

    def __str__(self) -> str:
        # KeyError would print the repr of its argument.
        return PipelineError.__str__(self)


class AmbiguousFlowError(PipelineError, LookupError):
    """Two places register a flow of this name."""


class BackendError(PipelineError):
    """A backend cannot do what was asked of it."""


class UnknownBackendError(BackendError, ValueError):
    """No backend has this name."""


class EngineMissingError(BackendError, ImportError):
    """The engine of a backend is not installed."""


class LoadError(PipelineError, ImportError):
    """A module, file or name given as a target could not be loaded."""


class ResultError(PipelineError, TypeError):
    """A task's result cannot be written as JSON.

    Attributes
    ----------
    task
        The task that returned it, or None while only the value is known.
    path
        Where inside the value, ``$.rows[3]`` for instance.
    """

    def __init__(
        self, message: str, *, path: str, task: str | None = None, hint: str | None = None
    ):
        super().__init__(message, hint=hint)
        self.path = path
        self.task = task


class TaskTimeoutError(PipelineError, TimeoutError):
    """An attempt of a task took longer than its ``timeout_s``.

    Parameters
    ----------
    task
        The task.
    seconds
        The bound it passed.
    """

    def __init__(self, task: str, seconds: float) -> None:
        super().__init__(f"task {task!r} took longer than {seconds:g} s")
        self.task = task
        self.seconds = seconds

    def __reduce__(self) -> tuple[type, tuple[str, float]]:
        return type(self), (self.task, self.seconds)


class WorkerDiedError(PipelineError, RuntimeError):
    """The process in which a task ran ended before the task did."""


class Skip(Exception):  # noqa: N818 - not an error
    """Raise it in a task to skip that task, and what depends on it, without failing the run.

    Parameters
    ----------
    reason
        Shown as the reason of the skipped tasks, ``"market closed"`` for instance.
    """

    def __init__(self, reason: str = ""):
        super().__init__(reason)
        self.reason = reason


def described(error: BaseException) -> str:
    """Type and text of *error*, whatever its own code does when it is asked for them."""
    kind = type(error).__name__
    try:
        text = str(error)
    except Exception:
        text = "<unprintable>"
    return f"{kind}: {text}" if text else kind


def closest(name: str, known: Iterable[str]) -> str | None:
    """The name in *known* nearest to *name*, or None where nothing comes near."""
    by_folded = {other.casefold(): other for other in known}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """``did you mean 'x'?``, or the known names where few, or None."""
    names = sorted(set(known))
    near = closest(name, names)
    if near is not None:
        return f"did you mean {near!r}?"
    if 0 < len(names) <= 12:
        return "known: " + ", ".join(map(repr, names))
    return None
