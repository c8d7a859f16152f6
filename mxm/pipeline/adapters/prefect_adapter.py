"""Runs a flow through Prefect's own flow and task engines, in this process or at a server."""

from __future__ import annotations

import copy
import inspect
import keyword
import re
from collections.abc import Container, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID, uuid4

# First: it imports Prefect, and says what to install if it is missing.
from mxm.pipeline.adapters import prefect_api, prefect_fit  # isort: skip

with prefect_fit.known_prefect():
    import prefect
    from prefect.cache_policies import NO_CACHE
    from prefect.context import FlowRunContext
    from prefect.states import Cancelled, Completed, Failed
    from pydantic_core import to_jsonable_python

    from mxm.pipeline.adapters.prefect_leaving import (
        Carried,
        dereferenced,
        keep_results,
        lines_to_server,
        mask_with,
        masked,
        speak_plainly,
    )
    from mxm.pipeline.adapters.prefect_worker import state_of_runs

from mxm.pipeline.bindings import Binding, upstreams_in
from mxm.pipeline.checks.declarations import require_valid
from mxm.pipeline.errors import BackendError, ResultError, described, repr_of
from mxm.pipeline.execution.attempts.call import Call
from mxm.pipeline.execution.cancellation import CompiledFlow, Course, keep_json
from mxm.pipeline.execution.masking import Secrets
from mxm.pipeline.execution.openfiles import require_files
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.execution.places.engine_state import reporting
from mxm.pipeline.execution.planning import plan_with
from mxm.pipeline.execution.plans.plan import Step, make_plan
from mxm.pipeline.introspection.signatures import shape_of
from mxm.pipeline.params.declared import Parameter, parameters_of
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.runs import FlowRun, TaskRun
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.values.jsonvalue import JSONValue, to_json
from mxm.pipeline.values.secrets import MASK

__all__ = [
    "PrefectFlow",
    "build_prefect_flow",
    "deployed_prefect_flow",
    "execute_prefect_flow",
    "prefect_name",
]

_LONGEST_SHOWN = 200


@dataclass
class _Request:
    """One run on its way through Prefect's flow engine, with its outcome."""

    course: Course
    json: bool = False
    results: dict[str, JSONValue] | None = None
    error: BaseException | None = None
    state: prefect.State[Any] | None = None


_request: ContextVar[_Request | None] = ContextVar("mxm_prefect_request", default=None)


_FILES = 6  # three for its event loop, whose thread it would wait for without end, and what is read


class PrefectFlow(CompiledFlow):
    """A flow compiled for Prefect; an ``MXMFlow``."""

    backend = "prefect"

    def __init__(self, spec: FlowSpec, options: RunOptions | None = None) -> None:
        super().__init__(spec, options)
        with prefect_api.quiet():
            self._flow = _Flow(spec, typed=False)

    def _run(self, course: Course) -> FlowRun:
        require_files(_FILES, "Prefect")
        request = _Request(course)
        try:
            return self._flow.perform(request)
        except BackendError:
            raise
        except Exception as error:
            if course.run is not None and error is not request.error:
                return course.run  # the engine failed once the run was over
            raise BackendError(
                f"Prefect could not run flow {self.name!r}: {described(error)}",
                hint=prefect_api.unreachable(error),
            ) from error


def build_prefect_flow(spec: FlowSpec) -> _Flow:
    """*spec* as a ``prefect.Flow``, to inspect and to run with Prefect's own tools.

    Its signature has the flow's parameters with types and defaults, and ``**extra``; its result is
    the JSON of every task. If no API is configured, calls of the API are answered in process. To
    make a deployment of it, use `mxm-pipeline deploy` or `serve`: Prefect looks for entry points in
    files, and this object is in none.

    Raises
    ------
    EngineMissingError
        Prefect is not installed.
    GraphError
        The graph has errors; it lists all of them.

    Examples
    --------
    >>> from statistics import mean
    >>> from mxm.pipeline import FlowSpec, TaskSpec
    >>> from mxm.pipeline.adapters.prefect_adapter import build_prefect_flow
    >>> spec = FlowSpec("report", [TaskSpec("mean", mean)], params={"data": [1.0, 2.0]})
    >>> flow = build_prefect_flow(spec)
    >>> type(flow).__mro__[1].__module__, flow.name
    ('prefect.flows', 'report')
    """
    with prefect_api.quiet():
        return _Flow(require_valid(spec), typed=True)


def deployed_prefect_flow(spec: FlowSpec, options: RunOptions) -> prefect.Flow[..., Any]:
    """The flow that a deployment runs: its results and output are left at the server.

    Parameters
    ----------
    spec
        The flow.
    options
        How it runs.

    Raises
    ------
    GraphError
        The graph has errors; it lists all of them.
    """
    with prefect_api.quiet():
        flow = _Flow(require_valid(spec), typed=True)
    flow.options, flow.is_deployed = options, True
    speak_plainly()
    return flow


def execute_prefect_flow(
    flow: Any, params: Mapping[str, Any] | None = None
) -> dict[str, JSONValue]:
    """Run what `build_prefect_flow` returned; task names to results, as JSON.

    Parameters
    ----------
    flow
        What `build_prefect_flow` returned.
    params
        The run's parameters. Any name works, even those that a call of a ``prefect.Flow`` reserves,
        such as ``return_state``.

    Raises
    ------
    BaseException
        The first failed task's own exception.
    TypeError
        `build_prefect_flow` did not make *flow*.

    Examples
    --------
    >>> from statistics import mean
    >>> from mxm.pipeline import FlowSpec, TaskSpec
    >>> from mxm.pipeline.adapters.prefect_adapter import build_prefect_flow, execute_prefect_flow
    >>> spec = FlowSpec("report", [TaskSpec("mean", mean)], params={"data": [1.0, 2.0]})
    >>> execute_prefect_flow(build_prefect_flow(spec), {"data": [1.0, 4.0]})
    {'mean': 2.5}
    """
    if not isinstance(flow, _Flow):
        raise TypeError(
            f"execute_prefect_flow takes what build_prefect_flow returned, not {repr_of(flow)}"
        )
    return flow.execute(params or {})


class _Flow(prefect.Flow[..., Any]):
    """A ``prefect.Flow`` whose body drives the plan of a spec."""

    def __init__(self, spec: FlowSpec, *, typed: bool) -> None:
        self.spec = spec
        self.options: RunOptions = RunOptions()
        self.is_deployed = False
        self._parameters = [p for p in parameters_of(spec) if _is_shown(p.name)]
        self._tasks: dict[object, prefect.Task[..., Any]] = {}

        def body(**params: Any) -> Any:
            request = _request.get()
            if request is not None and request.course.plan.flow is spec:
                return self._body(request)
            if FlowRunContext.get() is None:  # a plain call of `fn`
                return self.execute(params)
            return self._body_of_prefects(params)

        body.__name__ = body.__qualname__ = prefect_name(spec.name)
        body.__doc__ = spec.doc or None
        vars(body)["__signature__"] = _signature(self._parameters, typed=typed)
        super().__init__(
            body,
            name=prefect_name(spec.name),
            validate_parameters=False,  # the plan does this, with our messages
            persist_result=False,
        )

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the flow; return the JSON of every task, or Prefect's final state.

        ``return_state`` and ``wait_for`` are Prefect's own keywords.
        """
        for name in _KEYWORDS_OF_PREFECT:
            if name in kwargs and any(p.name == name for p in parameters_of(self.spec)):
                raise TypeError(
                    f"flow {self.spec.name!r} has a parameter {name!r}, and so has Prefect's call: "
                    f"run it with execute_prefect_flow(flow, {{{name!r}: ...}})"
                )
        if kwargs.pop("wait_for", None):
            raise TypeError(
                "wait_for is not supported: a flow of mxm-pipeline has nothing to wait for"
            )
        return_state = kwargs.pop("return_state", False)
        params = inspect.signature(self.fn).bind_partial(*args, **kwargs).arguments
        params |= params.pop("extra", {})
        if return_state:
            return self._run(params)[0].state
        return self.execute(params)

    def execute(self, params: Mapping[str, Any]) -> dict[str, JSONValue]:
        """Run the flow with *params*, whatever their names; return JSON results by task name."""
        request, run = self._run(params)
        run.raise_for_failure()
        return request.results or {}

    def _run(self, params: Mapping[str, Any]) -> tuple[_Request, FlowRun]:
        options = RunOptions(observers=(keep_json,), fetches=False)
        course = Course(make_plan(self.spec, params), options, "prefect")
        request = _Request(course, json=True)
        return request, course.follow(lambda _: self.perform(request))

    def with_options(self, **options: Any) -> _Flow:
        """Return this flow with other Prefect options."""
        with prefect_api.quiet():
            other: Any = super().with_options(**options)
        other.__class__ = type(self)
        other.spec, other._tasks = self.spec, self._tasks
        other._parameters = self._parameters
        other.options, other.is_deployed = self.options, self.is_deployed
        flow: _Flow = other
        return flow

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Leave parameters as they are: they are JSON already, and Prefect would load FastAPI."""
        return parameters

    def perform(self, request: _Request) -> FlowRun:
        """Run *request* in Prefect's flow engine."""
        course = request.course
        defaults = {p.name: None if p.required else _masked(p) for p in self._parameters}
        params = course.plan.params
        shown = {name: _shown(params.get(name, default)) for name, default in defaults.items()}
        token = _request.set(request)
        try:
            options = course.options
            session = prefect_api.session(
                engine_logs=options.engine_logs, workers=options.is_elsewhere
            )
            with course.in_engine(), session:
                request.state = state = prefect_api.run_flow(self, shown)
        finally:
            _request.reset(token)
        if request.error is not None:
            raise request.error
        if course.run is None:
            raise BackendError(f"Prefect did not run flow {self.spec.name!r}: {state.message}")
        return course.run

    def _body(self, request: _Request) -> Any:
        """Drive *request*; return the result that Prefect should record."""
        course = request.course
        try:
            with reporting(state_of_runs):
                run = course.drive(_Perform(self._tasks, course))
        except BaseException as error:  # not from a task: for the caller, not for Prefect to store
            request.error = error
            if course.interrupted or not isinstance(error, Exception):
                return Cancelled(message="the run was cancelled")
            return Failed(message=described(error))
        if run.error is not None:
            # As text: Prefect would pickle the exception, with everything it holds, into the home
            # folder, and treats some exceptions as its own.
            return Failed(message=described(run.error[1]))
        request.results = run.results if request.json else None
        return request.results

    def _body_of_prefects(self, params: dict[str, Any]) -> Any:
        """Drive a run that Prefect started, as its ``run_flow`` does."""
        names = inspect.signature(self.fn).parameters
        # Prefect fills in the signature's defaults; the plan has its own, unmasked.
        params = {
            k: v for k, v in params.items() if k not in names or not _same(v, names[k].default)
        }
        try:
            return self._driven(params)
        except Exception as error:
            if not self.is_deployed:
                raise
            # As text: Prefect would pickle it, with everything it holds, where the worker is.
            return Failed(message=masked(described(error)))

    def _driven(self, params: dict[str, Any]) -> Any:
        if self.is_deployed:
            params = dereferenced(self.spec, params)
        options = self.options
        plan = plan_with(self.spec, params, options)
        ids = {step.name: uuid4() for step in plan.steps}
        observers = [keep_json, *options.observers]
        if self.is_deployed:
            mask_with(Secrets(plan).masked)
            observers.append(lines_to_server(ids))
        changed = options.changed({"observers": observers, "fetches": False})
        options = changed.recording(plan, params)
        course = Course(plan, options, "prefect")
        with reporting(state_of_runs):
            run = course.drive(_Perform(self._tasks, course, ids))
        if self.is_deployed:
            keep_results(self.name, run)
        if run.error is not None:
            return Failed(message=masked(described(run.error[1])))
        return run.results


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and repr_of(value) == repr_of(default))


class _Perform:
    """Makes the calls of one run in Prefect's task engine."""

    def __init__(
        self,
        tasks: dict[object, prefect.Task[..., Any]],
        course: Course,
        ids: Mapping[str, UUID] | None = None,
    ) -> None:
        self._tasks = tasks
        self._course = course
        self._at_server = prefect_api.server_url() is not None
        made = {step.name: uuid4() for step in course.plan.steps} if self._at_server else {}
        self._ids = {**made, **(ids or {})}

    def __call__(self, call: Call) -> TaskRun:
        with self._course.in_engine():
            state = self._run(call)
        call.error = prefect_api.refusal_in(call.error) or call.error
        if call.error is None and not state.is_completed():
            return call.ended(
                BackendError(
                    f"Prefect ended task {call.step.name!r}: {state.message or state.name}"
                )
            )
        return call.ended()

    def _run(self, call: Call) -> prefect.State[Any]:
        step = call.step
        if self._at_server:
            inputs = {k: [self._ids[n] for n in names] for k, names in _inputs(step).items()}
            task = _retried_by(_prefect_task(step.task, step.task.tags, list(inputs)), call)
            return prefect_api.run_task(task, call, run_id=self._ids[step.name], inputs=inputs)
        return prefect_api.run_task(_retried_by(self._task(step.task), call), call)

    def _task(self, spec: TaskSpec) -> prefect.Task[..., Any]:
        task = self._tasks.get(spec.name)
        if task is None:
            retries = (spec.retries, _shown_delay(spec))
            first = self._tasks.get(retries)  # a name is not a tuple
            if first is None:
                # Tags are kept from Prefect in process: it would ask its API for a limit on each.
                first = self._tasks[retries] = _prefect_task(spec, (), ())
            # Prefect reads the source of each new task, which takes a quarter of the task's run.
            task = self._tasks[spec.name] = copy.copy(first)
            task.name = task.task_key = prefect_name(spec.name)
        return task


def _inputs(step: Step) -> dict[str, list[str]]:
    """The upstreams of each parameter; ``after`` has the order-only ones.

    If Prefect cannot show a parameter's name, or two inputs would share one, underscores are added
    until it works.
    """
    shape = shape_of(step.task.fn)
    named = [
        ((shape.name_at(i) if shape else None) or f"arg{i}", b) for i, b in enumerate(step.args)
    ]
    inputs: dict[str, list[str]] = {}
    # Names that stay unchanged go first.
    for name, binding in sorted([*named, *step.kwargs.items()], key=lambda x: not _is_shown(x[0])):
        inputs[_free(name, inputs)] = _names(binding)
    if step.task.after:
        inputs[_free("after", inputs)] = list(step.task.after)
    return inputs


def _free(name: str, taken: Container[str]) -> str:
    name = name if _is_shown(name) else f"{name.lstrip('_') or 'arg'}_"
    while name in taken:
        name += "_"
    return name


def _names(binding: Binding) -> list[str]:
    return [upstream.name for upstream in upstreams_in([binding])]


def _prefect_task(
    task: TaskSpec, tags: Sequence[str], inputs: Sequence[str]
) -> prefect.Task[..., Any]:
    def attempt(call: Call, **_: Any) -> Any:
        try:
            call.attempt()
        except Exception as error:
            if _fit_for_prefect(error) and masked(described(error)) == described(error):
                raise
            raise Carried(error) from None
        if call.skipped is not None:
            return Completed(name="Skipped", message=call.skipped.reason or None)
        return None if call.message is None else Completed(message=call.message)

    shown = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=None) for n in inputs]
    first = inspect.Parameter("call", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    vars(attempt)["__signature__"] = inspect.Signature([first, *shown])
    # Values bypass Prefect from call to call: it has nothing to visit, hash or store.
    return prefect.Task(
        attempt,
        name=prefect_name(task.name),
        tags=tags,
        retries=task.retries,
        retry_delay_seconds=_shown_delay(task),
        persist_result=False,
        cache_policy=NO_CACHE,
    )


def _shown_delay(task: TaskSpec) -> float:
    """The delay that Prefect shows; a call sets the one that counts before each retry."""
    delay = task.retry_delay_s
    return delay if isinstance(delay, int | float) else 0


def _retried_by(task: prefect.Task[..., Any], call: Call) -> prefect.Task[..., Any]:
    """*task* for a single run, in which *call* decides on each retry and its delay."""
    if not task.retries:
        return task
    mine: Any = copy.copy(task)

    def retryable(_task: Any, _run: Any, _state: Any) -> bool:
        delay = call.retry_in()
        # Prefect reads it next. Its own lists end after 50 delays, and know no RetryAfter.
        mine.retry_delay_seconds = delay
        return delay is not None

    mine.retry_condition_fn = retryable
    return cast("prefect.Task[..., Any]", mine)


def _fit_for_prefect(error: Exception) -> bool:
    """Whether *error* can be printed and take a traceback; frozen exceptions cannot."""
    try:
        error.__traceback__ = error.__traceback__
        return bool(f"{error}{error!r}")
    except BaseException as broken:  # even SystemExit, which would end the run in another state
        let_signals_pass(broken)
        return False


def prefect_name(name: str) -> str:
    """The *name* of a flow or task without the characters that Prefect rejects."""
    return re.sub(r"[/%&<>]", "_", name) or "_"


_KEYWORDS_OF_PREFECT = ("return_state", "wait_for")
# Reserved names: in the signatures made for Prefect, and in the models of its schemas.
_RESERVED = (*_KEYWORDS_OF_PREFECT, "self", "cls", "extra", "call")
_PROTECTED = ("model_validate", "model_dump", "_")


def _is_shown(name: str) -> bool:
    """Whether Prefect can show a parameter with this *name*; the plan has all of them."""
    return (
        name.isidentifier()
        and not keyword.iskeyword(name)
        and name not in _RESERVED
        and not name.startswith(_PROTECTED)
    )


def _signature(parameters: Sequence[Parameter], *, typed: bool) -> inspect.Signature:
    """*parameters* as a signature.

    Types and defaults are for people who inspect the flow. Prefect makes a schema of the types, and
    a run need not wait for that; the plan has its own defaults, unmasked.
    """
    shown = [
        inspect.Parameter(
            p.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(p) if typed else None,
            annotation=p.annotation if typed else inspect.Parameter.empty,
        )
        for p in parameters
    ]
    extra = inspect.Parameter("extra", inspect.Parameter.VAR_KEYWORD)
    return inspect.Signature([*shown, extra])


def _default(parameter: Parameter) -> Any:
    """The default in a form that Prefect's schema can hold: shortened if it has no JSON form."""
    default = _masked(parameter)
    if parameter.required:
        return default
    try:
        to_jsonable_python(default)
    except BaseException as error:  # the user's serializer may raise anything
        let_signals_pass(error)
        return _shown(default)
    return default


def _masked(parameter: Parameter) -> Any:
    return MASK if hasattr(parameter.default, "get_secret_value") else parameter.default


def _shown(value: Any) -> JSONValue:
    """*value* as Prefect may show it: small JSON unchanged, anything else shortened."""
    if isinstance(value, str | int | float | bool | None):
        return value
    try:
        plain = to_json(value, strict=True).value
    except ResultError:
        plain = None
    if plain is not None and len(repr(plain)) <= _LONGEST_SHOWN:
        return plain
    return repr_of(value)[:_LONGEST_SHOWN]
