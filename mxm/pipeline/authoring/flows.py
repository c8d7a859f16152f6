"""`@flow`, and the object that it makes of a function."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Never,
    ParamSpec,
    TypeAlias,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from mxm.pipeline.authoring.mappable import Mappable
from mxm.pipeline.authoring.misuse import check_function, check_given, no_attribute, no_positional
from mxm.pipeline.authoring.plain import called_plainly
from mxm.pipeline.authoring.tasks import OPTIONS, AnyTask, remade
from mxm.pipeline.errors import repr_of
from mxm.pipeline.execution.resources.plaincalls import outermost
from mxm.pipeline.introspection import reprs
from mxm.pipeline.introspection.decorated import FlowBase, TaskBase
from mxm.pipeline.introspection.signatures import signature_of, source_of
from mxm.pipeline.problems import Source
from mxm.pipeline.registry import Place, Registration, enter
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.task_options import (
    Wrong,
    check_cache,
    check_item_key,
    check_params,
    check_schedule,
    check_timezone,
)
from mxm.pipeline.tracing.assembly import current
from mxm.pipeline.tracing.body import Body
from mxm.pipeline.tracing.recorder import Trace, active_trace
from mxm.pipeline.tracing.subflows import inline, inline_map

if TYPE_CHECKING:  # declaring flows loads nothing that runs them
    from mxm.pipeline.execution.options import OptionsOfRun
    from mxm.pipeline.runs import FlowRun

__all__ = ["Flow", "flow"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


class Flow(Mappable[P, R_co], FlowBase):
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
        self._require_no_overrides()
        trace = active_trace()
        if trace is not None:
            self._used_in(trace)
            return cast("R_co", inline(trace, self.spec, args, kwargs))
        if self._body.declared:
            raise TypeError(
                f"flow {self.name!r} is declared by its tasks, so there is no body to call: "
                f"run it with {self.fn.__name__}.run(...)"
            )
        called = functools.partial(called_plainly, self.fn, args, kwargs, in_body=True)
        return cast("R_co", outermost(called, self.run_options.get("resources")))

    def _mapped(
        self, items: Any, more: tuple[Any, ...], kwargs: Mapping[str, Any], *, outcomes: bool
    ) -> Any:
        del outcomes  # a flow has none
        self._require_no_overrides()
        trace = active_trace()
        if trace is not None:
            self._used_in(trace)
            item_key = self.options.get("item_key")
            return inline_map(trace, self.spec, items, len(more), kwargs, item_key)
        # Loaded by those who map something.
        from mxm.pipeline.tracing.maps import calls_of, require_mappable, values_of

        require_mappable("flow", self.name, self.fn, items, len(more))
        call: Callable[..., Any] = cast("Any", self)
        calls = calls_of(self.name, self.fn, items, kwargs)

        def mapped() -> Any:
            return values_of(self.fn, call, calls)

        return outermost(mapped, self.run_options.get("resources"))

    def _require_no_overrides(self) -> None:
        if self.run_options.get("overrides"):
            raise TypeError(
                f"flow {self.name!r} has overrides, which apply only to runs: run it with .run(...)"
            )

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

        It is built again each time as long as the name of an upstream is unknown, so that the order
        of definitions in a module does not matter; and also if one of its tasks, or a flow that its
        body calls, has changed since, by a later definition or a notebook cell that ran again.
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
            The graph is invalid; the error lists every problem.
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
        """Return this flow with options for `run`, those of `compile_flow`; None changes nothing.

        Raises
        ------
        TypeError
            An option is unknown.
        BackendError
            An option has an invalid value.
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
            return remade, (self._of, self.run_options)
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

    The signature of the function gives the flow's parameters. The flow's tasks are those in
    *tasks*, or else those that its body calls or returns, and everything upstream of them.

    Parameters
    ----------
    name
        What the command calls it; by default the function's name.
    tasks
        The flow's last tasks; the body is then not run.
    params
        Values for parameters of the tasks; the parameters of a run override them.
    schedule_cron
        When it should run, in cron's five fields: ``"0 18 * * 1-5"`` is 18:00 from Monday to
        Friday. `mxm-pipeline schedule`, `serve` and `deploy` pass it to cron, systemd or Prefect.
    timezone
        The IANA name of the schedule's zone, such as ``"Europe/London"``; None for the zone of the
        machine on which one of these commands is called.
    cache
        Whether the results of tasks that do not set ``cache`` are kept and reused; None for the
        project's setting, ``[tool.mxm.pipeline] cache``.
    item_key
        A function that returns a readable name for an item, if the flow is mapped.

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
    >>> @mxm.flow
    ... def prices(symbol: str = "SPY") -> list[float]:
    ...     return load(symbol)
    >>> prices.with_options(backend="inline").run(symbol="QQQ").value()
    [100.0, 110.0]
    """
    check_given("@mxm.flow", "flow", options, OPTIONS)
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
