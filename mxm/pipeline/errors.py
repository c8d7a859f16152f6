"""Every exception of mxm-pipeline: each names what is wrong, where, and how to fix it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mxm.pipeline.problems import Problem, Source
from mxm.pipeline.process.interrupts import let_signals_pass

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
    """A spec cannot be read from, or written to, its dict form.

    Examples
    --------
    >>> from mxm.pipeline.errors import SpecError
    >>> from mxm.pipeline.specdict import flow_from_dict
    >>> try:
    ...     flow_from_dict({"name": "report"})
    ... except SpecError as error:
    ...     print(error)
    not the dict form of a flow: 'tasks' is missing
    """


class GraphError(PipelineError, ValueError):
    """A flow's graph has errors; `problems` has all of them.

    Parameters
    ----------
    flow
        The name of the flow.
    problems
        What is wrong.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.errors import GraphError
    >>> spec = FlowSpec("risk", [TaskSpec("total", sum, upstream=["load"])])
    >>> try:
    ...     compile_flow(spec, backend="inline")
    ... except GraphError as error:
    ...     print(error.problems[0].code, error.problems[0].message)
    MXM102 unknown upstream 'load' of task 'total'
    """

    def __init__(self, flow: str, problems: Sequence[Problem]):
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = [f"flow {flow!r} has {count}", *map(str, problems)]
        super().__init__("\n".join(lines))
        self.flow = flow
        self.problems: tuple[Problem, ...] = tuple(problems)


class ParameterError(PipelineError, ValueError):
    """Parameters of a run are missing or do not fit; `problems` has all of them.

    Parameters
    ----------
    flow
        The name of the flow.
    problems
        What is wrong.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline.errors import ParameterError
    >>> @mxm.task
    ... def load(limit: int) -> list[int]:
    ...     return list(range(limit))
    >>> @mxm.flow
    ... def prices(limit: int):
    ...     return load(limit)
    >>> try:
    ...     prices.with_options(backend="inline").run(limit="ten")
    ... except ParameterError as error:
    ...     print(error.problems[0].code)
    MXM402
    """

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
    """No flow has this name.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, get_flow, register_flow
    >>> from mxm.pipeline.errors import UnknownFlowError
    >>> spec = register_flow(FlowSpec("risk", [TaskSpec("load", print)]))
    >>> try:
    ...     get_flow("rsk")
    ... except UnknownFlowError as error:
    ...     print(error)
    unknown flow 'rsk'
      hint: did you mean 'risk'?
    """

    def __str__(self) -> str:
        # KeyError would print the repr of its argument.
        return PipelineError.__str__(self)


class AmbiguousFlowError(PipelineError, LookupError):
    """Two places register a flow with this name.

    Examples
    --------
    >>> from mxm.pipeline.errors import AmbiguousFlowError
    >>> issubclass(AmbiguousFlowError, LookupError)
    True
    """


class SelectionError(PipelineError, ValueError):
    """A run selects a task that does not exist, or tasks that cannot run alone.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline.errors import SelectionError
    >>> @mxm.task
    ... def load() -> int:
    ...     return 1
    >>> @mxm.flow
    ... def prices():
    ...     return load()
    >>> try:
    ...     prices.with_options(backend="inline", select="lod").run()
    ... except SelectionError as error:
    ...     print(error)
    select: no task 'lod'
      hint: did you mean 'load'?
    """


class NothingSelectedError(SelectionError):
    """A run selects no task at all.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline.errors import NothingSelectedError
    >>> @mxm.task
    ... def load() -> int:
    ...     return 1
    >>> @mxm.flow
    ... def prices():
    ...     return load()
    >>> try:
    ...     prices.with_options(backend="inline", exclude="load").run()
    ... except NothingSelectedError as error:
    ...     print(error)
    flow 'prices': no task is selected by ...
    """


class BackendError(PipelineError):
    """A backend, or a run, cannot do what an option asks for.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.errors import BackendError
    >>> spec = FlowSpec("prices", [TaskSpec("load", dict)])
    >>> try:
    ...     compile_flow(spec, backend="inline", workers=0)
    ... except BackendError as error:
    ...     print(error)
    workers must be a positive number, not 0
    """


class UnknownBackendError(BackendError, ValueError):
    """No backend has this name.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> from mxm.pipeline.errors import UnknownBackendError
    >>> try:
    ...     compile_flow(FlowSpec("prices", [TaskSpec("load", dict)]), backend="prefct")
    ... except UnknownBackendError as error:
    ...     print(error)
    unknown backend 'prefct'
      hint: did you mean 'prefect'?
    """


class EngineMissingError(BackendError, ImportError):
    """The engine of a backend is not installed.

    Examples
    --------
    >>> from mxm.pipeline.errors import EngineMissingError
    >>> issubclass(EngineMissingError, ImportError)
    True
    """


class LoadError(PipelineError, ImportError):
    """A module, a file, or a name in it could not be loaded.

    Examples
    --------
    >>> from mxm.pipeline.errors import LoadError
    >>> issubclass(LoadError, ImportError)
    True
    """


class ResultError(PipelineError, TypeError):
    """A task's result has no JSON form, and ``strict_json`` requires one.

    Attributes
    ----------
    task
        The task that returned it, or None if only the value is known.
    path
        Where inside the value, ``$.rows[3]`` for instance.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow, execute_flow
    >>> from mxm.pipeline.errors import ResultError
    >>> spec = FlowSpec("prices", [TaskSpec("load", lambda: {"open": print})])
    >>> try:
    ...     execute_flow(compile_flow(spec, backend="inline", strict_json=True))
    ... except ResultError as error:
    ...     print(error.task, error.path)
    load $.open
    """

    def __init__(
        self, message: str, *, path: str, task: str | None = None, hint: str | None = None
    ):
        super().__init__(message, hint=hint)
        self.path = path
        self.task = task


class ResourceError(PipelineError, RuntimeError):
    """A resource cannot be opened.

    Examples
    --------
    >>> import mxm
    >>> @mxm.resource
    ... def db():
    ...     if False:
    ...         yield
    >>> @mxm.task
    ... def load(connection: object = mxm.use(db)) -> int:
    ...     return 1
    >>> @mxm.flow
    ... def prices():
    ...     return load()
    >>> prices.with_options(backend="inline").run().tasks["load"].error
    ResourceError("MXM610 resource 'db' yields nothing")
    """


class UseError(PipelineError, AttributeError, TypeError):
    """``mxm.use(...)`` is used where nothing opens the resource.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline.errors import UseError
    >>> @mxm.resource
    ... def db():
    ...     yield {"SPY": 500.0}
    >>> try:
    ...     mxm.use(db).keys()
    ... except UseError as error:
    ...     print(error.hint)
    put @mxm.task above the function, or open it by hand: with db.open() as ...
    """


class StoreError(PipelineError):
    """The records of runs cannot be read or written.

    Attributes
    ----------
    store
        The folder.
    passing
        Whether a later attempt may succeed: the store is locked, or its disk is full.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline import load_run
    >>> from mxm.pipeline.errors import StoreError
    >>> @mxm.task
    ... def load() -> int:
    ...     return 1
    >>> @mxm.flow
    ... def prices():
    ...     return load()
    >>> run = prices.with_options(backend="inline", record=True, keep_results=0).run()
    >>> try:
    ...     load_run("last").tasks["load"].value
    ... except StoreError as error:
    ...     print(error)
    the value of task 'load' in run ... was not kept: ...
    """

    def __init__(
        self, message: str, *, store: str = "", hint: str | None = None, passing: bool = False
    ):
        super().__init__(message, hint=hint)
        self.store = store
        self.passing = passing


class AssetError(PipelineError, RuntimeError):
    """An asset cannot be written, checked or read as it is declared.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline import AssetDecl
    >>> @mxm.task(produces=AssetDecl("days", format="json", path_template="days.json"))
    ... def days():
    ...     return {1, 2}
    >>> @mxm.flow
    ... def calendar():
    ...     return days()
    >>> type(calendar.with_options(backend="inline").run().tasks["days"].error).__name__
    'AssetError'
    """


class AssetCheckError(AssetError):
    """A check of an asset failed, so the value was not written.

    Attributes
    ----------
    results
        The result of each check of the asset.
    rejected
        Where the rejected value is kept, to look at; None if it could not be kept.
    partition
        ``key:value``, if the asset has partitions.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline import AssetDecl, not_empty
    >>> @mxm.task(
    ...     produces=AssetDecl("days", format="json", path_template="days.json", checks=[not_empty])
    ... )
    ... def days() -> list[int]:
    ...     return []
    >>> @mxm.flow
    ... def calendar():
    ...     return days()
    >>> error = calendar.with_options(backend="inline").run().tasks["days"].error
    >>> [(result.name, result.passed) for result in error.results]
    [('not_empty', False)]
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
    """Two tasks, or two items of one, write the same file.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline import AssetDecl
    >>> @mxm.task(produces=AssetDecl("prices", format="json", path_template="{symbol}.json"))
    ... def load(symbol: str) -> list[float]:
    ...     return [100.0]
    >>> @mxm.flow
    ... def prices():
    ...     return load.map(["SPY", "SPY"])
    >>> type(prices.with_options(backend="inline").run().tasks["load"].error).__name__
    'AssetClashError'
    """


class TaskTimeoutError(PipelineError, TimeoutError):
    """An attempt of a task took longer than its ``timeout_s``.

    Parameters
    ----------
    task
        The task.
    seconds
        The limit that it exceeded.

    Examples
    --------
    >>> from mxm.pipeline.errors import TaskTimeoutError
    >>> raise TaskTimeoutError("load", 60)
    Traceback (most recent call last):
        ...
    mxm.pipeline.errors.TaskTimeoutError: task 'load' took longer than 60 s
    """

    def __init__(self, task: str, seconds: float) -> None:
        super().__init__(f"task {task!r} took longer than {seconds:g} s")
        self.task = task
        self.seconds = seconds

    def __reduce__(self) -> tuple[type, tuple[str, float]]:
        return type(self), (self.task, self.seconds)


class TaskCancelledError(PipelineError):
    """A task did not finish, because its run was cancelled.

    Examples
    --------
    >>> from mxm.pipeline.errors import PipelineError, TaskCancelledError
    >>> issubclass(TaskCancelledError, PipelineError)
    True
    """


class WorkerDiedError(PipelineError, RuntimeError):
    """The worker process of a task ended before the task did.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline.errors import WorkerDiedError
    >>> @mxm.task(retries=2, retry_on=WorkerDiedError)
    ... def load() -> int:
    ...     return 1
    >>> load.spec.retry_on
    (<class 'mxm.pipeline.errors.WorkerDiedError'>,)
    """


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
