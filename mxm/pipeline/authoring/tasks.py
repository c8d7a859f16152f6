"""`@task`, and the object that it makes of a function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    ParamSpec,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from mxm.pipeline.authoring.mappable import Mappable, Untyped
from mxm.pipeline.authoring.misuse import check_function, check_given, no_attribute, no_operator
from mxm.pipeline.authoring.plain import body_runs, called_plainly, nothing
from mxm.pipeline.execution.resources.plaincalls import outermost
from mxm.pipeline.introspection import reprs
from mxm.pipeline.introspection.decorated import TaskBase
from mxm.pipeline.introspection.signatures import source_of, unwrapped
from mxm.pipeline.introspection.uses import uses_of
from mxm.pipeline.problems import Source
from mxm.pipeline.spec import AssetDecl, TaskSpec
from mxm.pipeline.task_options import (
    CHECKED,
    CodeDep,
    OnItemError,
    RetryDelay,
    RetryOn,
    RunIf,
    Wrong,
    check_options,
)
from mxm.pipeline.tracing.assembly import spec_alone
from mxm.pipeline.tracing.marks import NO_ITEMS, Mark, refuse_each
from mxm.pipeline.tracing.placeholders import StandIn
from mxm.pipeline.tracing.recorder import active_trace

if TYPE_CHECKING:
    from mxm.pipeline.values.failure import Failure

__all__ = ["OPTIONS", "AnyTask", "Task", "TaskOptions", "remade", "task"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


def remade(made: Any, options: Mapping[str, Any]) -> Any:
    """*made*, a task or a flow, with other *options*: what a pickled one is loaded by."""
    return made.with_options(**options)


UpstreamRefs: TypeAlias = "str | AnyTask | Sequence[str | AnyTask] | Mapping[str, str | AnyTask]"
EachRefs: TypeAlias = "str | AnyTask | Mapping[str, str | AnyTask]"
AfterRefs: TypeAlias = "str | AnyTask | Sequence[str | AnyTask]"


class TaskOptions(TypedDict, total=False):
    """Options as keywords of `task`, which describes them, and of `Task.with_options`."""

    name: str | None
    upstream: UpstreamRefs
    after: AfterRefs
    params: Mapping[str, Any] | None
    retries: int
    retry_delay_s: RetryDelay
    retry_on: RetryOn
    timeout_s: float | None
    tags: Iterable[str]
    run_if: RunIf
    allow_failure: bool
    each: EachRefs
    item_key: Callable[[Any], object] | None
    on_item_error: OnItemError
    limits: Iterable[str]
    cache: bool | None
    cache_ttl_s: float | None
    inputs: Iterable[str]
    code_deps: CodeDep | Sequence[CodeDep]
    cache_version: str | int | None
    produces: AssetDecl | None
    reads: AssetDecl | str | Sequence[AssetDecl | str]


OPTIONS: Mapping[str, Sequence[str]] = {
    "task": tuple(TaskOptions.__annotations__),
    "flow": ("name", "tasks", "params", "schedule_cron", "timezone", "cache", "item_key"),
}
"""Those of both decorators: an error names the other one where an option is its own."""


class Task(Mappable[P, R_co], TaskBase):
    """A task, made from a function by ``@mxm.task``; calling it calls the function.

    In the body of a flow a call is recorded instead, and its result can be passed to other tasks.

    Attributes
    ----------
    fn
        The plain function.
    name
        What the task is called in a flow.

    Examples
    --------
    >>> import mxm
    >>> @mxm.task(retries=3)
    ... def load(symbol: str) -> list[float]:
    ...     return [100.0, 110.0]
    >>> load("SPY"), load.name, load.spec.retries
    ([100.0, 110.0], 'load', 3)
    """

    __wrapped__: Callable[P, R_co]

    def __init__(
        self,
        fn: Callable[P, R_co],
        options: Mapping[str, Any],
        origin: AnyTask | None = None,
        changed: Mapping[str, Any] | None = None,
    ) -> None:
        functools.update_wrapper(self, fn)
        self.fn: Callable[P, R_co] = fn
        self.name: str = options.get("name") or fn.__name__
        self.origin: AnyTask | None = origin
        self.changed: Mapping[str, Any] = changed or {}
        self.upstream: Any = options.get("upstream", ())
        self.after: Any = options.get("after", ())
        self.source: Source | None = source_of(fn)
        self._asks = bool(uses_of(fn))  # for resources
        to_check = {k: v for k, v in options.items() if k in CHECKED}
        checked, wrong = check_options(**to_check) if to_check else ({}, ())
        self.options: Mapping[str, Any] = {**options, **checked} if checked else options
        self.wrong: Sequence[Wrong] = wrong  # options, which have their default instead

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function; in the body of a flow, record the call."""
        trace = active_trace()
        if trace is None:
            if Mark in map(type, args) or Mark in map(type, kwargs.values()):
                refuse_each()
            if body_runs.get() or self._asks:
                return self._plainly(*args, **kwargs)
            return self.fn(*args, **kwargs)
        # The white lie of every tracing library: a placeholder, typed as the value it stands for.
        return cast("R_co", trace.call(self, args, kwargs))

    def _plainly(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function in a flow's body that runs as the Python it is, or with resources."""
        if self.options.get("run_if") != "failed" or not body_runs.get():
            if not self._asks:
                return called_plainly(self.fn, args, kwargs, in_body=False)
            # Loaded where something is opened.
            from mxm.pipeline.execution.resources.plain import call_plainly

            called = functools.partial(called_plainly, self.fn, in_body=False)
            return cast("R_co", call_plainly(self.fn, args, kwargs, called))
        # The body reached this line, so nothing failed.
        is_async = inspect.iscoroutinefunction(unwrapped(self.fn))
        return cast("R_co", nothing() if is_async else None)

    @overload
    def outcomes(  # type: ignore[misc]
        self: Callable[Concatenate[T, Q], Untyped],
        items: Iterable[T],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> list[Any]: ...
    @overload
    def outcomes(  # type: ignore[misc]
        self: Callable[Concatenate[T, Q], Coroutine[Any, Any, S]],
        items: Iterable[T],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Coroutine[Any, Any, list[S | Failure]]: ...
    @overload
    def outcomes(
        self: Callable[Concatenate[T, Q], R],
        items: Iterable[T],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> list[R | Failure]: ...
    def outcomes(self, items: Iterable[Any] = NO_ITEMS, /, *args: Any, **kwargs: Any) -> Any:
        """Call the task for each item, as `map` does; a failed item gives a `Failure`.

        The step succeeds even if every item failed. An item that raises `Skip` gives a
        `Failure` whose error is the `Skip`.

        Parameters
        ----------
        items, **kwargs
            As in `map`.

        Raises
        ------
        TypeError, ValueError
            As in `map`.
        """
        return self._mapped(items, args, kwargs, outcomes=True)

    def _mapped(
        self, items: Any, more: tuple[Any, ...], kwargs: Mapping[str, Any], *, outcomes: bool
    ) -> Any:
        trace = active_trace()
        if trace is not None:
            return trace.map(self, items, more, kwargs, outcomes=outcomes)
        # Loaded by those who map something.
        from mxm.pipeline.tracing.maps import calls_of, outcomes_of, require_mappable, values_of

        require_mappable("task", self.name, self.fn, items, len(more))
        calls = calls_of(self.name, self.fn, items, kwargs)
        call: Callable[..., Any] = cast("Any", self)

        def mapped() -> Any:
            if outcomes:
                return outcomes_of(self, call, calls)
            return values_of(self.fn, call, calls)

        return outermost(mapped) if self._asks else mapped()

    def named(self, name: str) -> Task[P, R_co]:
        """Give this task another name, for one of several uses in a flow; it must be unique."""
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"task {self.name!r}: named() takes a non-empty string, not {name!r}")
        return self.with_options(name=name)

    def with_options(self, **options: Unpack[TaskOptions]) -> Task[P, R_co]:
        """Return a task with other options for one use; this one does not change.

        The options that you pass replace this task's; the others stay. Without ``name=``
        the name stays, too, and calls in a body are numbered: ``load``, ``load_2``.

        Raises
        ------
        TypeError
            An option is unknown, or the name is not a non-empty string. Any other invalid value
        is a problem of the flow (MXM119).
        """
        where = f"task {self.name!r}: with_options()"
        check_given(where, "task", options, OPTIONS)
        changed: dict[str, Any] = {
            # A result of the body compares with nothing; in a list it is reported as it is.
            k: [v] if isinstance(v, StandIn) else v
            for k, v in options.items()
            if k != "name" or v is not None
        }
        made = Task(self.fn, {**self.options, **changed}, self, changed)
        made.wrong = [*(one for one in self.wrong if one.option not in changed), *made.wrong]
        return made

    @property
    def spec(self) -> TaskSpec:
        """The task as data, upstreams by name."""
        return spec_alone(self)

    def __repr__(self) -> str:
        return f"<task {self.name!r} at {self.source}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        del include, exclude  # a notebook picks the ones it wants
        return reprs.bundle(self, repr(self))

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self.origin is not None:
            return remade, (self.origin, self.changed)
        return self.fn.__qualname__  # like a function: by its name in its module

    if not TYPE_CHECKING:  # type checkers know what there is, and no word of another engine

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name)

        def __rshift__(self, other: object) -> Any:
            raise no_operator(self)

        __lshift__ = __rrshift__ = __rlshift__ = __rshift__


AnyTask: TypeAlias = "Task[..., object]"


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(**options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a task; ``@task`` and ``@task(...)`` both work.

    Parameters
    ----------
    name
        What the task is called; by default the function's name.
    upstream
        Tasks whose results this one takes. The results of one task or of a list arrive as
        positional arguments, in order; with a mapping they arrive by parameter name. A string
        names a task.
    after
        Tasks that must run before this one; nothing is passed.
    params
        Values for the function's parameters; the flow's and the run's override them.
    retries
        How many times a failing task is tried again.
    retry_delay_s
        Seconds between two attempts. A list gives one value for each retry, and its last value
        repeats. A function, such as `mxm.pipeline.backoff(1)`, gets the number of the attempt that
        failed, from 1. A task that raises `mxm.pipeline.RetryAfter` sets the seconds itself.
    retry_on
        Types of exceptions to retry after, or a function that gets the exception and says whether
        to retry.
    timeout_s
        Seconds after which an attempt is abandoned and counts as failed. The time that checks of
        its asset take does not count.
    tags
        Words to find the task by, for example with ``--select tag:eod`` or at a Prefect server.
    run_if
        When it runs: ``"succeeded"``, if every upstream succeeded; ``"not_failed"``, if none failed
        and at least one that passes it a value succeeded; ``"failed"``, if something upstream
        failed; ``"always"``. A missing input is None, or a `Failure`.
    allow_failure
        Whether the run succeeds even if this task fails.
    each
        A task whose list this one is mapped over: each item goes to the first parameter, and
        positional upstreams begin at the second. A mapping of parameters to tasks pairs lists.
    item_key
        A function that returns a readable name for an item of a map; by default the item's text.
    on_item_error
        What happens if an item of a map fails: with ``"fail"`` the task fails once the other items
        have ended; with ``"skip"`` the item is left out, with a warning.
    limits
        Names of limits, such as ``["bloomberg"]``. ``[tool.mxm.pipeline.limits]``, ``--limit`` or
        ``limits=`` of the run says how many attempts of the tasks with that limit, including the
        items of their maps, may run at once; without a number, one.
    cache
        Whether the result is kept for later runs, and a kept result is used if nothing that it
        depends on has changed; None for what the flow says.
    cache_ttl_s
        Seconds after which a kept result is no longer used.
    inputs
        What the task reads in addition to its arguments: paths and globs relative to the project's
        folder, and ``"env:NAME"`` for environment variables.
    code_deps
        Functions, classes and modules that the result depends on, if the code does not name them.
    cache_version
        A string or number; results kept under another one are not used.
    produces
        The asset that a successful run writes.
    reads
        Assets that the task reads by itself, or their names; mostly those of other flows.

    Raises
    ------
    TypeError
        The decorated object is not a plain function, or an option is unknown. An invalid value is
        a problem of the flow (MXM119).

    Examples
    --------
    >>> import mxm
    >>> @mxm.task
    ... def load(symbol: str) -> list[float]:
    ...     return [100.0, 110.0]
    >>> @mxm.task(upstream=load, retries=3, retry_delay_s=2)
    ... def gain(prices: list[float]) -> float:
    ...     return prices[-1] - prices[0]
    >>> gain(load("SPY"))
    10.0
    """
    check_given("@mxm.task", "task", options, OPTIONS)

    def decorate(fn: Callable[..., Any]) -> Task[..., Any]:
        check_function("task", fn)
        return Task(fn, options)

    return decorate if fn is None else decorate(fn)
