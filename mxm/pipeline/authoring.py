"""The decorators: @task and @flow, and the objects they make of functions."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Never,
    ParamSpec,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    final,
    overload,
)

from mxm.pipeline import reprs
from mxm.pipeline.errors import repr_of
from mxm.pipeline.introspection.decorated import FlowBase, TaskBase
from mxm.pipeline.introspection.signatures import signature_of, source_of, unwrapped
from mxm.pipeline.introspection.uses import Use, uses_of
from mxm.pipeline.misuse import (
    check_function,
    check_given,
    no_attribute,
    no_operator,
    no_positional,
)
from mxm.pipeline.plaincalls import outermost
from mxm.pipeline.problems import Source
from mxm.pipeline.registry import Place, Registration, enter
from mxm.pipeline.resources import Resource
from mxm.pipeline.spec import AssetDecl, FlowSpec, TaskSpec
from mxm.pipeline.task_options import (
    CHECKED,
    CodeDep,
    OnItemError,
    RetryDelay,
    RetryOn,
    RunIf,
    Wrong,
    check_cache,
    check_item_key,
    check_options,
    check_params,
    check_schedule,
    check_timezone,
)
from mxm.pipeline.tracing.assembly import current, spec_alone
from mxm.pipeline.tracing.body import Body
from mxm.pipeline.tracing.marks import NO_ITEMS, Mark, each, refuse_each
from mxm.pipeline.tracing.placeholders import StandIn, TracingError, body_source
from mxm.pipeline.tracing.recorder import Trace, active_trace
from mxm.pipeline.tracing.subflows import inline, inline_map

if TYPE_CHECKING:  # declaring flows loads nothing that runs them
    from mxm.pipeline.execution.options import OptionsOfRun
    from mxm.pipeline.failure import Failure
    from mxm.pipeline.runs import FlowRun

__all__ = ["Flow", "Task", "each", "flow", "task", "use"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


# Whether a flow's body runs here as plain Python, rather than a task that it called.
_in_body: ContextVar[bool] = ContextVar("mxm_in_body", default=False)


def _called(fn: Callable[..., R], args: Any, kwargs: Any, *, in_body: bool) -> R:
    token = _in_body.set(in_body)
    try:
        value = fn(*args, **kwargs)
    finally:
        _in_body.reset(token)
    if not inspect.iscoroutine(value):
        return value
    coroutine: Any = value
    later: Any = _awaited(coroutine, in_body=in_body)
    later.__name__, later.__qualname__ = coroutine.__name__, coroutine.__qualname__
    return cast("R", later)


async def _awaited(coroutine: Coroutine[Any, Any, Any], *, in_body: bool) -> Any:
    token = _in_body.set(in_body)
    try:
        return await coroutine
    finally:
        _in_body.reset(token)


async def _nothing() -> None:
    """The value of an async task that does not run."""


def _with_options(made: Any, options: Mapping[str, Any]) -> Any:
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


_KNOWN: Mapping[str, Sequence[str]] = {
    "task": tuple(TaskOptions.__annotations__),
    "flow": ("name", "tasks", "params", "schedule_cron", "timezone", "cache", "item_key"),
}


@final
class _Untyped: ...  # only Any fits it, so that a task that returns Any maps to list[Any]


# `self` is a Callable and not a Task, so that mypy sees wrong items; a Coroutine and not an
# Awaitable, so that a forgotten `await` is reported.
class _Mappable(Generic[P, R_co]):
    """Something that can be called for each item of a list: a task or a flow."""

    @overload
    def map(  # type: ignore[misc]
        self: Callable[Concatenate[T, Q], _Untyped],
        items: Iterable[T],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> list[Any]: ...
    @overload
    def map(  # type: ignore[misc]
        self: Callable[Concatenate[T, Q], Coroutine[Any, Any, S]],
        items: Iterable[T],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Coroutine[Any, Any, list[S]]: ...
    @overload
    def map(  # type: ignore[misc]
        self: Callable[Concatenate[T, Q], R],
        items: Iterable[T],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> list[R]: ...
    def map(self, items: Iterable[Any] = NO_ITEMS, /, *args: Any, **kwargs: Any) -> Any:
        """Call it for each item of a list, which fills its first parameter; a list of the results.

        In the body of a flow this is one step, whose items run side by side where the runner can.

        Parameters
        ----------
        items
            A list, a tuple, a range, an array, a set (in sorted order), a task's result, a
            parameter of the flow, or a list of these.
        **kwargs
            The other arguments, by name and the same for every item; `mxm.each` marks one as a
            further list, of which each call gets one item.

        Raises
        ------
        TypeError
            More than one list is positional, or the mapped value has no items.
        ValueError
            The lists have different lengths.

        Examples
        --------
        >>> import mxm
        >>> @mxm.task
        ... def double(x: int, times: int = 2) -> int:
        ...     return x * times
        >>> double.map([1, 2, 3], times=10)
        [10, 20, 30]
        """
        made: Any = self
        return made._mapped(items, args, kwargs, outcomes=False)


class Task(_Mappable[P, R_co], TaskBase):
    """A function that is a task: calling it calls the function.

    Inside the body of a flow a call is recorded instead, and its result may be passed to tasks.

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
            if _in_body.get() or self._asks:
                return self._plainly(*args, **kwargs)
            return self.fn(*args, **kwargs)
        # The white lie of every tracing library: a placeholder, typed as the value it stands for.
        return cast("R_co", trace.call(self, args, kwargs))

    def _plainly(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function in a flow's body that runs as the Python it is, or with resources."""
        if self.options.get("run_if") != "failed" or not _in_body.get():
            if not self._asks:
                return _called(self.fn, args, kwargs, in_body=False)
            # Loaded where something is opened.
            from mxm.pipeline.execution.plain_resources import call_plainly

            called = functools.partial(_called, self.fn, in_body=False)
            return cast("R_co", call_plainly(self.fn, args, kwargs, called))
        # The body reached this line, so nothing failed.
        is_async = inspect.iscoroutinefunction(unwrapped(self.fn))
        return cast("R_co", _nothing() if is_async else None)

    @overload
    def outcomes(  # type: ignore[misc]
        self: Callable[Concatenate[T, Q], _Untyped],
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
        """Call the task for each item as `map` does; one that fails is a `Failure` in its place.

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
        from mxm.pipeline.tracing.maps import calls_of, gathered, outcomes_of, require_mappable

        require_mappable("task", self.name, self.fn, items, len(more))
        calls = calls_of(self.name, self.fn, items, kwargs)
        call: Callable[..., Any] = cast("Any", self)

        def mapped() -> Any:
            if outcomes:
                return outcomes_of(self, call, calls)
            values: list[Any] = [call(item, **named) for item, named in calls]
            is_async = inspect.iscoroutinefunction(unwrapped(self.fn))
            return gathered(values) if is_async else values

        return outermost(mapped) if self._asks else mapped()

    def named(self, name: str) -> Task[P, R_co]:
        """Give this task another name, for one of several uses in a flow; it must be unique."""
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"task {self.name!r}: named() takes a non-empty string, not {name!r}")
        return self.with_options(name=name)

    def with_options(self, **options: Unpack[TaskOptions]) -> Task[P, R_co]:
        """Return a task with other options for one use; this one does not change.

        Each given option replaces this task's; the others stay. Without ``name=``
        the name stays, too: uses in a body are numbered as ``load``, ``load_2``.

        Raises
        ------
        TypeError
            An option is unknown, or the name is not a non-empty string. Another option with a value
        that it does not take is a problem of the flow.
        """
        where = f"task {self.name!r}: with_options()"
        check_given(where, "task", options, _KNOWN)
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
            return _with_options, (self.origin, self.changed)
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
        Tasks whose results this one takes: one or a list arrive as positional arguments, in
        order; a mapping arrives by parameter name. A string names a task.
    after
        Tasks that must run before this one; nothing is passed.
    params
        Values for the function's parameters; the flow's and the run's override them.
    retries
        How many times a failing task is tried again.
    retry_delay_s
        Seconds between two attempts; a list gives one for each, and its last for those beyond; a
        function gets the number of the attempt that failed, from 1: `mxm.pipeline.backoff(1)`.
        A task that raises `mxm.pipeline.RetryAfter` names the seconds itself.
    retry_on
        Types of exceptions to retry after, or a function that gets the exception and says whether
        to retry.
    timeout_s
        Seconds after which an attempt is given up and counts as failed.
    tags
        Words to find the task by, at a Prefect server for instance.
    run_if
        When it runs: ``"succeeded"``, where every upstream did; ``"not_failed"``, where none failed
        and one of those it takes a value from succeeded; ``"failed"``, where something upstream
        failed; ``"always"``. What is missing arrives as None or as a `Failure`.
    allow_failure
        Whether the run succeeds although this task fails.
    each
        A task whose list this one is mapped over: each item goes to the first parameter, and
        positional upstreams begin at the second. A mapping of parameters to tasks pairs lists.
    item_key
        A function that names an item of a map, for people to read; by default its text.
    on_item_error
        What a failed item of a map does: ``"fail"``, the task fails once the others have ended;
        ``"skip"``, the item is left out with a warning.
    limits
        Names of limits, ``["bloomberg"]``: of all tasks with that name, and of the items of their
        maps, only so many attempts are at work at once as ``[tool.mxm.pipeline.limits]``,
        ``--limit`` or ``limits=`` of the run says; 1 where none does.
    cache
        Whether a run takes the result from an earlier one where nothing that it depends on has
        changed, and keeps it for later ones; None for what the flow says.
    cache_ttl_s
        Seconds after which a kept result is no longer used.
    inputs
        What the task reads beside its arguments: paths and globs relative to the project's
        folder, and ``"env:NAME"`` for variables of the environment.
    code_deps
        Functions, classes and modules that the result depends on, where the code does not name
        them.
    cache_version
        A text or number; results kept under another one are not used.
    produces
        The asset that a successful run writes.
    reads
        Assets that it reads by itself, or their names: those of other flows, above all.

    Raises
    ------
    TypeError
        The decorated object is not a plain function, or an option is unknown. One with a value that
        it does not take is a problem of the flow (MXM119).

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
    check_given("@mxm.task", "task", options, _KNOWN)

    def decorate(fn: Callable[..., Any]) -> Task[..., Any]:
        check_function("task", fn)
        return Task(fn, options)

    return decorate if fn is None else decorate(fn)


class Flow(_Mappable[P, R_co], FlowBase):
    """A function that declares a flow; calling it runs its body as plain Python.

    Attributes
    ----------
    fn
        The plain function.
    name
        What the command calls the flow.

    Examples
    --------
    >>> import mxm
    >>> @mxm.task
    ... def load(symbol: str = "SPY") -> list[float]:
    ...     return [100.0, 110.0]
    >>> @mxm.task
    ... def gain(prices: list[float]) -> float:
    ...     return prices[-1] - prices[0]
    >>> @mxm.flow
    ... def risk(symbol: str = "SPY") -> float:
    ...     return gain(load(symbol))
    >>> risk("QQQ"), risk.name, risk.spec.params
    (10.0, 'risk', mappingproxy({'symbol': 'SPY'}))
    """

    __wrapped__: Callable[P, R_co]

    def __init__(
        self, fn: Callable[P, R_co], options: Mapping[str, Any], run_options: Mapping[str, Any]
    ) -> None:
        functools.update_wrapper(self, fn)
        self.fn: Callable[P, R_co] = fn
        self.options = options
        self.run_options = run_options
        self.name: str = options.get("name") or fn.__name__
        self.source: Source | None = source_of(fn)
        self._of: AnyFlow | None = None  # the flow that this one is, with other options
        self._body = self._read()

    def _read(self) -> Body:
        tasks: list[Any] | None = self.options.get("tasks")
        params: Mapping[str, Any] = self.options.get("params") or {}
        schedule = self.options.get("schedule_cron"), self.options.get("timezone")
        cache, wrong = self.options.get("cache"), self.options.get("wrong", ())
        return Body(self.fn, self.name, self.source, tasks, params, schedule, cache, wrong)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the body as plain Python; in the body of a flow, record its tasks there."""
        if self.run_options.get("overrides"):
            raise TypeError(
                f"flow {self.name!r} has overrides, which apply only to runs: run it with .run(...)"
            )
        trace = active_trace()
        if trace is not None:
            self._used_in(trace)
            return cast("R_co", inline(trace, self.spec, args, kwargs))
        if self._body.declared:
            raise TypeError(
                f"flow {self.name!r} is declared by its tasks, so there is no body to call: "
                f"run it with {self.fn.__name__}.run(...)"
            )
        called = functools.partial(_called, self.fn, args, kwargs, in_body=True)
        return cast("R_co", outermost(called, self.run_options.get("resources")))

    def _mapped(
        self, items: Any, more: tuple[Any, ...], kwargs: Mapping[str, Any], *, outcomes: bool
    ) -> Any:
        del outcomes  # a flow has none
        trace = active_trace()
        if trace is not None:
            self._used_in(trace)
            item_key = self.options.get("item_key")
            return inline_map(trace, self.spec, items, len(more), kwargs, item_key)
        # Loaded by those who map something.
        from mxm.pipeline.tracing.maps import calls_of, gathered, require_mappable

        require_mappable("flow", self.name, self.fn, items, len(more))
        call: Callable[..., Any] = cast("Any", self)
        calls = calls_of(self.name, self.fn, items, kwargs)

        def mapped() -> Any:
            values: list[Any] = [call(item, **named) for item, named in calls]
            is_async = inspect.iscoroutinefunction(unwrapped(self.fn))
            return gathered(values) if is_async else values

        return outermost(mapped, self.run_options.get("resources"))

    def _used_in(self, trace: Trace) -> None:
        """Note that the body which *trace* reads calls this flow."""
        if self.run_options.get("resources"):
            raise TypeError(
                f"flow {self.name!r} has resources of its own, which apply only to its "
                "runs and plain calls: in another flow's body, its tasks use that flow's resources"
            )
        if trace.reads(self.fn):
            raise RecursionError(f"flow {self.name!r} calls itself")
        now = current(self)
        if not trace.reads(now.fn):  # else its body calls the previous object of that name
            trace.flows.append((now, now.spec))

    @property
    def spec(self) -> FlowSpec:
        """The flow as data.

        While a name among its upstreams is unknown it is made anew each time, so that the order of
        definitions in a module does not matter; and so it is once a task of it, or a flow that its
        body calls, has changed since: by a later definition, or by a notebook's cell run again.
        """
        if self._of is not None:
            return self._of.spec
        if self._body.outdated(self):
            self._body = self._read()
        return self._body.spec()

    def run(self, /, *unnamed: Never, **params: Any) -> FlowRun:
        """Run the flow; a failed task does not raise.

        Parameters
        ----------
        **params
            The run's parameters.

        Raises
        ------
        GraphError
            The graph is wrong; every problem is named.
        ParameterError
            Parameters are missing or do not fit.
        TypeError
            One was passed without its name.
        """
        if unnamed:
            signature = signature_of(self.fn)
            raise no_positional(self, len(unnamed), list(signature.parameters) if signature else ())
        # Loaded when it is needed: declaring flows takes no adapters.
        from mxm.pipeline.api import compile_flow

        return compile_flow(self.spec, **self.run_options).run(params)

    def with_options(self, **options: Unpack[OptionsOfRun]) -> Flow[P, R_co]:
        """Give this flow options for `run`, as `compile_flow` takes them; None leaves one as it is.

        Raises
        ------
        TypeError
            An option is unknown.
        BackendError
            An option has a value that it does not take.
        """
        # Loaded when it is needed: declaring flows takes no adapters.
        from mxm.pipeline.execution.options import RunOptions

        changes = {name: value for name, value in options.items() if value is not None}
        backend = changes.pop("backend", None)
        RunOptions().changed(changes, also=["backend"])
        if backend is not None:
            changes["backend"] = backend
        other = Flow[P, R_co].__new__(type(self))
        run_options = {**self.run_options, **changes}
        other.__dict__.update(self.__dict__, run_options=run_options, _of=self._of or self)
        return other

    if not TYPE_CHECKING:  # type checkers know what there is, and no word of another engine

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name)

    def __repr__(self) -> str:
        return reprs.drawn(self, self._short)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        del include, exclude  # a notebook picks the ones it wants
        return reprs.bundle(self, self._short)

    @property
    def _short(self) -> str:
        return f"<flow {self.name!r} at {self.source}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self._of is not None:
            return _with_options, (self._of, self.run_options)
        return self.fn.__qualname__


AnyFlow: TypeAlias = "Flow[..., object]"

_FLOW_CHECKS: Mapping[str, Callable[[object], Wrong | None]] = {
    "params": check_params,
    "schedule_cron": check_schedule,
    "timezone": check_timezone,
    "cache": check_cache,
    "item_key": check_item_key,
}


def _usable(options: Mapping[str, Any]) -> dict[str, Any]:
    """*options* of a flow without those that it cannot take; they are under ``wrong``."""
    checked = {k: _FLOW_CHECKS[k](v) for k, v in options.items() if k in _FLOW_CHECKS}
    wrong = [one for one in checked.values() if one is not None]
    taken = {k: v for k, v in options.items() if checked.get(k) is None}
    return {**taken, "wrong": wrong} if wrong else taken


def use(resource: Resource[T], /) -> T:
    """Ask for *resource*, as the default of a parameter of a task or of another resource.

    No key of a run and no edge fills such a parameter; a plain call may pass a value instead.
    Anywhere else than in such a default nothing opens it, and it is a problem.

    Parameters
    ----------
    resource
        What ``@mxm.resource`` made.

    Examples
    --------
    >>> import mxm
    >>> @mxm.resource
    ... def rates():
    ...     yield {"USD": 1.0, "EUR": 1.1}
    >>> @mxm.task
    ... def convert(amount: float, rates: dict[str, float] = mxm.use(rates)) -> float:
    ...     return amount * rates["EUR"]
    >>> convert(100.0, rates={"EUR": 1.5})
    150.0
    """
    trace = active_trace()
    if trace is not None:
        error = TracingError(
            "mxm.use is called in the body of a flow",
            hint="make it the default of a parameter of the task: engine: Engine = mxm.use(db)",
            source=body_source(),
        )
        error.code = "MXM602"
        trace.keep(error)
        raise error
    # The white lie of every such library: a marker, typed as what will be in its place.
    return cast("T", Use(resource))


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def flow(
    *,
    name: str | None = None,
    tasks: Iterable[AnyTask] | None = None,
    params: Mapping[str, Any] | None = None,
    schedule_cron: str | None = None,
    timezone: str | None = None,
    cache: bool | None = None,
    item_key: Callable[[Any], object] | None = None,
) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
def flow(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a flow and register it; ``@flow`` and ``@flow(...)`` both work.

    The function's signature is the flow's parameters. Its tasks are those in *tasks*, else those
    that its body calls or returns, and everything upstream of them.

    Parameters
    ----------
    name
        What the command calls it; by default the function's name.
    tasks
        The flow's last tasks; the body is then not run.
    params
        Values for the tasks' parameters; a run's own override them.
    schedule_cron
        When it should run, in cron's five fields: ``"0 18 * * 1-5"`` is 18:00 from Monday to
        Friday. `mxm-pipeline schedule`, `serve` and `deploy` hand it to what runs it.
    timezone
        The IANA name of the zone that the schedule is read in, such as ``"Europe/London"``; None
        for that of the machine where it is handed over.
    cache
        Whether results of its tasks are kept and used again, where they do not say; None for the
        project's setting, ``[tool.mxm.pipeline] cache``.
    item_key
        A function that names an item where the flow is mapped, for people to read.

    Raises
    ------
    TypeError
        The decorated object is not a plain function, or an option is unknown. One with a value that
        it does not take is a problem of the flow (MXM119).

    Examples
    --------
    >>> import mxm
    >>> @mxm.task
    ... def load(symbol: str) -> list[float]:
    ...     return [100.0, 110.0]
    >>> @mxm.flow
    ... def prices(symbol: str = "SPY") -> list[float]:
    ...     return load(symbol)
    >>> prices.with_options(backend="inline").run(symbol="QQQ").value()
    [100.0, 110.0]
    """
    check_given("@mxm.flow", "flow", options, _KNOWN)
    tasks = options.get("tasks")
    if tasks is not None:
        if isinstance(tasks, str | TaskBase) or not isinstance(tasks, Iterable):
            what = f"flow {tasks.name!r}" if isinstance(tasks, Flow) else repr_of(tasks)
            raise TypeError(f"@mxm.flow: tasks must be a list of tasks, not {what}")
        options["tasks"] = list(cast("Any", tasks))
    options = _usable(options)

    def decorate(fn: Callable[..., Any]) -> Flow[..., Any]:
        check_function("flow", fn)
        for name in options.get("params") or ():
            signature = signature_of(fn)
            parameter = signature.parameters.get(name) if signature else None
            if parameter is not None and parameter.default is not parameter.empty:
                raise TypeError(
                    f"@mxm.flow at {source_of(fn)}: params gives {name!r} a value, and so does the "
                    "signature; keep one"
                )
        made: Flow[..., Any] = Flow(fn, options, {})
        file = made.source.file if made.source else fn.__code__.co_filename
        interactive = fn.__module__ == "__main__" or (
            fn.__globals__.get("__spec__") is None and not os.path.exists(file)
        )
        enter(
            Registration(
                made.name,
                Place.of(file, fn.__qualname__),
                lambda: made.spec,
                made.source,
                interactive,
                made,
            )
        )
        return made

    return decorate if fn is None else decorate(fn)
