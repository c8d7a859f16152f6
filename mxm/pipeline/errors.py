"""Every exception of mxm-pipeline: each names what is wrong, where, and how to fix it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mxm.pipeline.interrupts import let_signals_pass
from mxm.pipeline.problems import Problem, Source

__all__ = [
    "AmbiguousFlowError",
    "AssetCheckError",
    "AssetClashError",
    "AssetError",
    "BackendError",
    "EngineMissingError",
    "GraphError",
    "LoadError",
    "NothingSelectedError",
    "ParameterError",
    "PipelineError",
    "ResourceError",
    "ResultError",
    "SelectionError",
    "Skip",
    "SpecError",
    "StoreError",
    "TaskCancelledError",
    "TaskTimeoutError",
    "UnknownBackendError",
    "UnknownFlowError",
    "UseError",
    "WorkerDiedError",
    "add_note",
    "described",
    "repr_of",
    "text_of",
]


class PipelineError(Exception):
    """Base of every error that mxm-pipeline raises about a user's input.

    Attributes
    ----------
    hint
        What to do about it, or None.
    source
        The place in the user's files, or None.

    Examples
    --------
    >>> from mxm.pipeline import PipelineError, get_flow
    >>> try:
    ...     get_flow("rsk")
    ... except PipelineError as error:
    ...     print(error.hint)
    no flows are registered
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
        # The default calls the class with only the message, which most subclasses do not accept.
        return _copied, (type(self), self.args), self.__dict__


def _copied(kind: type[PipelineError], args: tuple[Any, ...]) -> PipelineError:
    return kind.__new__(kind, *args)


class SpecError(PipelineError, ValueError):
    """A spec cannot be read from, or written to, its dict form."""


class GraphError(PipelineError, ValueError):
    """A flow's graph has errors; `problems` has all of them."""

    def __init__(self, flow: str, problems: Sequence[Problem]):
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = [f"flow {flow!r} has {count}", *map(str, problems)]
        super().__init__("\n".join(lines))
        self.flow = flow
        self.problems: tuple[Problem, ...] = tuple(problems)


class ParameterError(PipelineError, ValueError):
    """Parameters of a run do not fit; `problems` has all of them."""

    def __init__(self, flow: str, problems: Sequence[Problem]):
        missing = sum(problem.code in ("MXM401", "MXM607") for problem in problems)
        counts: list[str] = []
        noun = "parameter" if any(p.code[:4] != "MXM6" for p in problems) else "setting"
        for count, one, many in (
            (missing, "is missing", "are missing"),
            (len(problems) - missing, "cannot be used", "cannot be used"),
        ):
            if count:
                counts.append(f"a {noun} {one}" if count == 1 else f"{count} {noun}s {many}")
        lines = [f"flow {flow!r}: {', and '.join(counts)}", *map(str, problems)]
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


class SelectionError(PipelineError, ValueError):
    """The tasks that a run selects cannot run alone, or there are none of that name."""


class NothingSelectedError(SelectionError):
    """A run selects no task at all."""


class BackendError(PipelineError):
    """A backend cannot do what it was asked to do."""


class UnknownBackendError(BackendError, ValueError):
    """No backend has this name."""


class EngineMissingError(BackendError, ImportError):
    """The engine of a backend is not installed."""


class LoadError(PipelineError, ImportError):
    """A module, file or name given as a target could not be loaded."""


class ResultError(PipelineError, TypeError):
    """A task's result has no JSON form.

    Attributes
    ----------
    task
        The task that returned it, or None if only the value is known.
    path
        Where inside the value, ``$.rows[3]`` for instance.
    """

    def __init__(
        self, message: str, *, path: str, task: str | None = None, hint: str | None = None
    ):
        super().__init__(message, hint=hint)
        self.path = path
        self.task = task


class ResourceError(PipelineError, RuntimeError):
    """A resource cannot be opened."""


class UseError(PipelineError, AttributeError, TypeError):
    """``mxm.use(...)`` is used where nothing opens the resource."""


class StoreError(PipelineError):
    """The records of runs cannot be read or written.

    Attributes
    ----------
    store
        The folder.
    passing
        Whether it may be possible later: it is locked, or its disk is full.
    """

    def __init__(
        self, message: str, *, store: str = "", hint: str | None = None, passing: bool = False
    ):
        super().__init__(message, hint=hint)
        self.store = store
        self.passing = passing


class AssetError(PipelineError, RuntimeError):
    """An asset cannot be written, checked or read as it is declared."""


class AssetCheckError(AssetError):
    """A check says that a value is wrong, and blocks it.

    Attributes
    ----------
    results
        What each check of the asset said.
    rejected
        Where the value is kept for looking; None where it could not be.
    partition
        ``key:value``, if the asset has partitions.
    """

    def __init__(
        self,
        message: str,
        *,
        results: Sequence[Any] = (),
        rejected: str | None = None,
        partition: str | None = None,
        hint: str | None = None,
    ):
        super().__init__(message, hint=hint)
        self.results: tuple[Any, ...] = tuple(results)
        self.rejected = rejected
        self.partition = partition


class AssetClashError(AssetError):
    """Two tasks, or two items of one, write the same file."""


class TaskTimeoutError(PipelineError, TimeoutError):
    """An attempt of a task took longer than its ``timeout_s``.

    Parameters
    ----------
    task
        The task.
    seconds
        The limit that it exceeded.
    """

    def __init__(self, task: str, seconds: float) -> None:
        super().__init__(f"task {task!r} took longer than {seconds:g} s")
        self.task = task
        self.seconds = seconds

    def __reduce__(self) -> tuple[type, tuple[str, float]]:
        return type(self), (self.task, self.seconds)


class TaskCancelledError(PipelineError):
    """A task did not finish, because its run was cancelled."""


class WorkerDiedError(PipelineError, RuntimeError):
    """The worker process of a task ended before the task did."""


class Skip(Exception):  # noqa: N818 - not an error
    """Raise it in a task to skip that task and its dependents, without failing the run.

    Parameters
    ----------
    reason
        Shown as the reason of the skipped tasks, such as ``"market closed"``.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline import Skip
    >>> @mxm.task
    ... def load() -> float:
    ...     raise Skip("market closed")
    >>> @mxm.flow
    ... def risk():
    ...     return load()
    >>> run = risk.with_options(backend="inline").run()
    >>> run.state, run.tasks["load"].state, run.tasks["load"].reason
    (<State.SUCCEEDED: 'succeeded'>, <State.SKIPPED: 'skipped'>, 'market closed')
    """

    def __init__(self, reason: str = ""):
        super().__init__(reason)
        self.reason: str = text_of(reason)


def described(error: BaseException) -> str:
    """Type and text of *error*, even if its own code fails."""
    kind = type(error).__name__
    text = text_of(error)
    return f"{kind}: {text}" if text else kind


def add_note(error: BaseException, note: str) -> None:
    """Add *note* to *error*, once; a frozen exception, or one with code of its own, may refuse."""
    try:
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
    except BaseException as refused:
        let_signals_pass(refused)


def text_of(value: object) -> str:
    """``str(value)``, even if its own code fails: that must not change the outcome of a run."""
    try:
        return str(value)
    except BaseException as error:
        let_signals_pass(error)
        return "<unprintable>"


def repr_of(value: object) -> str:
    """``repr(value)``, even if its own code fails."""
    try:
        return repr(value)
    except BaseException as error:
        let_signals_pass(error)
        return f"<unprintable {type(value).__name__}>"
