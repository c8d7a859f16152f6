"""The decorators: @task and @flow, and the objects they make of functions."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    ParamSpec,
    TypeAlias,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from mxm.pipeline import reprs
from mxm.pipeline.introspection.decorated import TaskBase
from mxm.pipeline.introspection.signatures import signature_of, source_of
from mxm.pipeline.problems import Source, did_you_mean
from mxm.pipeline.registry import Place, Registration, enter
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.spec import AssetDecl, FlowSpec, TaskSpec
from mxm.pipeline.task_options import CHECKED, check_options
from mxm.pipeline.tracing.assembly import CARRIED, current, spec_alone
from mxm.pipeline.tracing.body import Body
from mxm.pipeline.tracing.recorder import active_trace
from mxm.pipeline.tracing.subflows import inline

if TYPE_CHECKING:  # declaring flows loads nothing that runs them
    from mxm.pipeline.execution.options import OptionsOfRun

__all__ = ["Flow", "Task", "flow", "task"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Task(TaskBase, Generic[P, R_co]):
    """A function that is a task: called, it still is that function.

    Inside the body of a flow a call is recorded instead, and its result may be passed to tasks.

    Attributes
    ----------
    fn
        The plain function.
    name
        What the task is called in a flow.
    """

    __wrapped__: Callable[P, R_co]

    def __init__(
        self, fn: Callable[P, R_co], options: Mapping[str, Any], origin: AnyTask | None = None
    ) -> None:
        functools.update_wrapper(self, fn)
        self.fn: Callable[P, R_co] = fn
        self.name: str = options.get("name") or fn.__name__
        self.origin: AnyTask | None = origin
        self.upstream: Any = options.get("upstream", ())
        self.after: Any = options.get("after", ())
        self.source: Source | None = source_of(fn)
        given = {k: v for k, v in options.items() if k in CHECKED}
        checked = check_options(self.name, **given) if given else {}
        self.options: Mapping[str, Any] = {**options, **checked} if checked else options

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function; in the body of a flow, record the call."""
        trace = active_trace()
        if trace is None:
            return self.fn(*args, **kwargs)
        # The white lie of every tracing library: a stand-in, typed as the value it stands for.
        return cast("R_co", trace.call(self, args, kwargs))

    def named(self, name: str) -> Task[P, R_co]:
        """Give this task another name, for one of several uses in a flow; it must be unique."""
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"task {self.name!r}: named() takes a non-empty string, not {name!r}")
        return Task(self.fn, {**self.options, "name": name}, self)

    @property
    def spec(self) -> TaskSpec:
        """The task as data, upstreams by name."""
        return spec_alone(self)

    def __repr__(self) -> str:
        return f"<task {self.name!r} at {self.source}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self.origin is not None:
            return type(self).named, (self.origin, self.name)
        return self.fn.__qualname__  # like a function: by its name in its module


AnyTask: TypeAlias = "Task[..., object]"
UpstreamRefs: TypeAlias = "str | AnyTask | Sequence[str | AnyTask] | Mapping[str, str | AnyTask]"
AfterRefs: TypeAlias = "str | AnyTask | Sequence[str | AnyTask]"


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    upstream: UpstreamRefs = (),
    after: AfterRefs = (),
    params: Mapping[str, Any] | None = None,
    retries: int = 0,
    retry_delay_s: float | Sequence[float] = 0,
    retry_on: type[Exception] | Sequence[type[Exception]] = Exception,
    timeout_s: float | None = None,
    tags: Iterable[str] = (),
    produces: AssetDecl | None = None,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
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
        Tasks that must have run before; nothing is passed.
    params
        Values for the function's parameters; the flow's and the run's go before them.
    retries
        How many times a failing task is tried again.
    retry_delay_s
        Seconds between two attempts; a list gives one for each, and its last for those beyond.
    retry_on
        Types of exceptions that are worth another attempt.
    timeout_s
        Seconds after which an attempt is given up and counts as failed.
    tags
        Words to find the task by, at a Prefect server for instance.
    produces
        The asset that a successful run writes.

    Raises
    ------
    TypeError
        What is decorated is no plain function, or an option is unknown or of the wrong type.
    """
    _check_options("task", options, _TASK_OPTIONS)

    def decorate(fn: Callable[..., Any]) -> Task[..., Any]:
        _check_function("task", fn)
        return Task(fn, options)

    return decorate if fn is None else decorate(fn)


_TASK_OPTIONS = ("name", "upstream", "after", *CARRIED)
_FLOW_OPTIONS = ("name", "tasks", "params", "schedule_cron")


_OPTION_TYPES: dict[str, tuple[type, str]] = {
    "name": (str, "a non-empty string"),
    "params": (Mapping, "a mapping of parameter names to values"),
    "produces": (AssetDecl, "an AssetDecl"),
    "schedule_cron": (str, "a string of cron's five fields"),
}


def _check_options(kind: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    for option, value in options.items():
        if option not in known:
            raise TypeError(f"@mxm.{kind} has no option {option!r}: {did_you_mean(option, known)}")
        types, told = _OPTION_TYPES.get(option, (object, ""))
        if value is not None and (not isinstance(value, types) or (told and value == "")):
            raise TypeError(f"@mxm.{kind}: {option} is {told}, not {value!r}")


def _check_function(kind: str, fn: object) -> None:
    if not isinstance(fn, FunctionType):
        raise TypeError(_no_function(kind, fn))
    owner = fn.__qualname__.rpartition(".")[0]
    if fn.__name__ == "<lambda>":
        wrong = "a lambda has no name; define it with def"
    elif fn.__code__.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        wrong = f"{fn.__name__!r} is a generator; return a list instead"
    elif owner and not owner.endswith("<locals>"):
        wrong = f"{fn.__qualname__!r} is a method; move it out of its class"
    else:
        return
    raise TypeError(f"@mxm.{kind} at {Source.of_function(fn)}: {wrong}")


def _no_function(kind: str, fn: object) -> str:
    """What is said of *fn*, which is decorated with ``@mxm.kind`` and is no function."""
    if isinstance(fn, Task | Flow):
        what = "flow" if isinstance(fn, Flow) else "task"
        return f"@mxm.{kind}: <{what} {fn.name!r} at {fn.source}> is decorated already"
    if isinstance(fn, type):
        return f"@mxm.{kind} decorates functions; {fn.__qualname__!r} is a class"
    if isinstance(fn, staticmethod | classmethod):
        return f"@mxm.{kind} decorates functions; move the method out of its class"
    if isinstance(fn, str):
        return f"@mxm.{kind}({fn!r}): options are given by name, name={fn!r}"
    return f"@mxm.{kind} decorates functions defined with def, not {fn!r}"


class Flow(Generic[P, R_co]):
    """A function that declares a flow; calling it runs its body as the Python it is.

    Attributes
    ----------
    fn
        The plain function.
    name
        What the command calls the flow.
    """

    __wrapped__: Callable[P, R_co]

    def __init__(
        self, fn: Callable[P, R_co], options: Mapping[str, Any], run_options: Mapping[str, Any]
    ) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.options = options
        self.run_options = run_options
        self.name: str = options.get("name") or fn.__name__
        self.source: Source | None = source_of(fn)
        self._of: AnyFlow | None = None  # the flow that this one is, with other options
        self._body = self._read()

    def _read(self) -> Body:
        tasks: list[Any] | None = self.options.get("tasks")
        params: Mapping[str, Any] = self.options.get("params") or {}
        return Body(
            self.fn, self.name, self.source, tasks, params, self.options.get("schedule_cron")
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the body as the Python it is; in the body of a flow, record its tasks there."""
        trace = active_trace()
        if trace is not None:
            if trace.reads(self.fn):
                raise RecursionError(f"flow {self.name!r} calls itself")
            now = current(self)
            if not trace.reads(now.fn):  # else its body calls what had its name before
                trace.flows.append((now, now.spec))
            return cast("R_co", inline(trace, self.spec, args, kwargs))
        if self._body.declared:
            raise TypeError(
                f"flow {self.name!r} is declared by its tasks, so there is no body to call: "
                f"run it with {self.fn.__name__}.run(...)"
            )
        return self.fn(*args, **kwargs)

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

    def run(self, **params: Any) -> FlowRun:
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
        """
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

        given = {name: value for name, value in options.items() if value is not None}
        backend = given.pop("backend", None)
        RunOptions().changed(given, also=["backend"])
        if backend is not None:
            given["backend"] = backend
        other = Flow[P, R_co].__new__(type(self))
        run_options = {**self.run_options, **given}
        other.__dict__.update(self.__dict__, run_options=run_options, _of=self._of or self)
        return other

    def __repr__(self) -> str:
        return reprs.drawn(self, self._short)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        del include, exclude  # a notebook takes what it wants of them
        return reprs.bundle(self, self._short)

    @property
    def _short(self) -> str:
        return f"<flow {self.name!r} at {self.source}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self._of is not None:
            return _with_options, (self._of, self.run_options)
        return self.fn.__qualname__


def _with_options(flow: AnyFlow, options: Mapping[str, Any]) -> AnyFlow:
    return flow.with_options(**options)


AnyFlow: TypeAlias = "Flow[..., object]"


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def flow(
    *,
    name: str | None = None,
    tasks: Iterable[AnyTask] | None = None,
    params: Mapping[str, Any] | None = None,
    schedule_cron: str | None = None,
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
        Values for the tasks' parameters; a run's own go before them.
    schedule_cron
        When it should run, in cron's five fields.

    Raises
    ------
    TypeError
        What is decorated is no plain function, or an option is unknown or of the wrong type.
    """
    _check_options("flow", options, _FLOW_OPTIONS)
    tasks = options.get("tasks")
    if tasks is not None:
        if isinstance(tasks, str | TaskBase) or not isinstance(tasks, Iterable):
            given = f"flow {tasks.name!r}" if isinstance(tasks, Flow) else repr(tasks)
            raise TypeError(f"@mxm.flow: tasks is a list of tasks, not {given}")
        options["tasks"] = list(cast("Any", tasks))

    def decorate(fn: Callable[..., Any]) -> Flow[..., Any]:
        _check_function("flow", fn)
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
