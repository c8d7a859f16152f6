"""TaskSpec and FlowSpec: a pipeline as plain frozen data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Self, TypeAlias, cast

from mxm.pipeline.assets.declared import AssetDecl, asset_ids
from mxm.pipeline.bindings import Binding, Bindings, Each, Unpacked, Upstream, upstreams_in
from mxm.pipeline.errors import SpecError, repr_of
from mxm.pipeline.introspection import reprs
from mxm.pipeline.introspection.entrypoints import entrypoint, resolve_entrypoint
from mxm.pipeline.problems import Problem, Source
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.task_options import (
    CodeDep,
    OnItemError,
    RetryDelay,
    RetryOn,
    RunIf,
    Wrong,
    as_sequence,
    check_cache,
    check_options,
    check_params,
    check_produces,
    check_reads,
    check_schedule,
)
from mxm.pipeline.values.equality import alike, alike_mappings

__all__ = [
    "AssetDecl",
    "FlowSpec",
    "TaskSpec",
    "last_of",
]

_EMPTY: Mapping[str, Any] = MappingProxyType({})


_NO_BINDINGS = Bindings()


UpstreamNames: TypeAlias = (
    "str | TaskSpec | Sequence[str | TaskSpec] | Mapping[str, str | TaskSpec]"
)
Names: TypeAlias = "str | TaskSpec | Sequence[str | TaskSpec]"
EachNames: TypeAlias = "str | TaskSpec | Mapping[str, str | TaskSpec] | tuple[()]"


class _Spec:
    """The common part of both specs: equality, hash and pickle for any content.

    Constants are equal if their values are. If ``==`` does not give a bool, as for tables, they are
    equal only if they are the same object.
    """

    name: str
    params: Mapping[str, Any]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Spec) or type(other) is not type(self):
            return NotImplemented
        kept = [f.name for f in fields(cast("Any", self)) if f.compare and f.name != "params"]
        return alike_mappings(self.params, other.params) and all(
            alike(getattr(self, name), getattr(other, name)) for name in kept
        )

    def __hash__(self) -> int:
        return hash((self.name, _hash(vars(self)["fn"]), self._edges()))

    def _edges(self) -> tuple[Any, ...]:
        """What the hash uses besides name and function."""
        raise NotImplementedError

    def __copy__(self) -> Self:
        return self  # frozen, and its values are passed by reference

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        fn: Callable[..., Any] | None = vars(self)["fn"]
        kind = "task" if isinstance(self, TaskSpec) else "flow"
        packed = None if fn is None else _packed(fn, f"{kind} {self.name!r}")
        return {**vars(self), "fn": packed, "params": dict(self.params)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        fn = state["fn"]
        vars(self).update(  # it is frozen
            state,
            fn=resolve_entrypoint(fn) if isinstance(fn, str) else fn,
            params=MappingProxyType(state["params"]) if state["params"] else _EMPTY,
        )


@dataclass(frozen=True, init=False, eq=False)
class TaskSpec(_Spec):
    """One task of a flow.

    Parameters
    ----------
    name
        Unique in the flow; the key of the task's result.
    fn
        An ordinary callable.
    upstream
        Names of tasks whose results are passed on: one name or a list gives positional arguments,
        in order; a mapping gives arguments by parameter name. Short for *bindings*.
    params
        Values for parameters of *fn*; the flow's and the run's take precedence.
    retries
        The number of further attempts after a failure.
    retry_delay_s
        Seconds between attempts; a list gives one value per retry, and the last one repeats; a
        function gets the number of the attempt that failed, from 1, such as
        `mxm.pipeline.backoff`.
    produces
        The asset that a successful run of this task writes.
    reads
        Assets that the task itself reads, or their names; mostly those of other flows.
    after
        Names of tasks that must end first, without passing anything.
    retry_on
        Types of exceptions to retry on, or a function that gets the exception.
    timeout_s
        Seconds after which an attempt is abandoned and counts as failed; None for no limit. The
        time that checks of its asset take does not count.
    tags
        Words to find the task by, for example at a Prefect server.
    run_if
        When it runs: ``succeeded``, if every upstream did; ``not_failed``, if none failed and at
        least one that passes it a value succeeded; ``failed``, if something upstream
        failed; ``always``.
    allow_failure
        Whether the run succeeds even if this task fails.
    item_key
        Function that names an item of a mapped task; None for the item's text.
    on_item_error
        ``fail``, or ``skip`` to leave a failed item of a mapped task out of its result.
    limits
        Names of limits: the tasks with a limit run at most as many attempts at once as the run
        allows, or 1 if it sets no number.
    cache
        Whether the result is kept for later runs, and a kept result may be used; None for what its
        flow says.
    cache_ttl_s
        Seconds after which a kept result is no longer used; None for no limit.
    inputs
        What it reads in addition to its arguments: paths and globs relative to the project's
        folder, and ``env:NAME`` for environment variables.
    code_deps
        Functions, classes and modules that its result depends on, if its code does not name them.
    cache_version
        A string or number; results kept under another one are not used.
    each
        Tasks whose lists this one is mapped over: a single one fills the first parameter, and
        positional upstreams start at the second; a mapping gives lists by parameter name.
    outcomes
        Whether a failed item appears as a `Failure` in the result of a mapped task.
    over
        The list that the task's flow is mapped over: it is called for each item, whatever it takes.
    by_item
        Tasks upstream, of the same mapped flow, whose result for the same item it takes or
        waits for.
    flow_cache
        The option ``cache`` of the flow that it comes from, where another one's body calls that.
    bindings
        The source of each input, in full, with a list to map over as `Each`; replaces *upstream*
        and *each*.
    source
        Where the task is declared; by default the caller's line. Specs that differ only in this are
        equal.
    problems
        Problems of the declaration itself, reported with the flow.

    Raises
    ------
    TypeError
        *name*, *fn* or *bindings* has the wrong type, or both *upstream* and *bindings* are given.
        Another option with a value that it does not take is a problem (MXM119).

    Examples
    --------
    >>> from mxm.pipeline import TaskSpec
    >>> task = TaskSpec("total", sum, upstream=["load"], retries=3)
    >>> task.upstream, task.retries
    (('load',), 3)
    """

    name: str
    fn: Callable[..., Any]
    bindings: Bindings
    after: tuple[str, ...]
    params: Mapping[str, Any] = field(repr=False)  # one may be a secret, in plain text
    retries: int
    retry_delay_s: float | tuple[float, ...] | Callable[[int], float]
    retry_on: tuple[type[Exception], ...] | Callable[[Exception], object]
    timeout_s: float | None
    tags: tuple[str, ...]
    run_if: RunIf
    allow_failure: bool
    item_key: Callable[[Any], object] | None
    on_item_error: OnItemError
    limits: tuple[str, ...]
    cache: bool | None
    cache_ttl_s: float | None
    inputs: tuple[str, ...]
    code_deps: tuple[CodeDep, ...]
    cache_version: str | int | None
    outcomes: bool
    over: Each | None
    by_item: tuple[str, ...]
    flow_cache: bool | None
    produces: AssetDecl | None
    reads: tuple[str, ...]
    source: Source | None = field(compare=False)
    problems: tuple[Problem, ...]
    _upstream: tuple[str, ...] = field(repr=False, compare=False, init=False)
    _mapped: bool = field(repr=False, compare=False, init=False)

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        upstream: UpstreamNames = (),
        params: Mapping[str, Any] | None = None,
        retries: int = 0,
        retry_delay_s: RetryDelay = 0,
        produces: AssetDecl | None = None,
        *,
        after: Names = (),
        retry_on: RetryOn = Exception,
        timeout_s: float | None = None,
        tags: Iterable[str] = (),
        run_if: RunIf = "succeeded",
        allow_failure: bool = False,
        item_key: Callable[[Any], object] | None = None,
        on_item_error: OnItemError = "fail",
        limits: Iterable[str] = (),
        cache: bool | None = None,
        cache_ttl_s: float | None = None,
        inputs: Iterable[str] = (),
        code_deps: CodeDep | Sequence[CodeDep] = (),
        cache_version: str | int | None = None,
        each: EachNames = (),
        outcomes: bool = False,
        over: Each | None = None,
        by_item: Iterable[str] = (),
        flow_cache: bool | None = None,
        bindings: Bindings | None = None,
        reads: AssetDecl | str | Iterable[AssetDecl | str] = (),
        source: Source | None = None,
        problems: Iterable[Problem] = (),
    ) -> None:
        _check_name("task", name)
        if not callable(fn):
            raise TypeError(f"task {name!r}: fn must be callable, not {fn!r}")
        if bindings is not None and (upstream or each):
            raise TypeError(
                f"task {name!r}: give upstream= and each=, or bindings=, not both; "
                "dataclasses.replace() keeps the bindings, so give it those"
            )
        checked, unusable = check_options(
            *(retries, retry_delay_s, retry_on, timeout_s, tags),
            *(run_if, allow_failure, item_key, on_item_error, limits),
            *(cache, cache_ttl_s, inputs, code_deps, cache_version),
        )
        source = source or Source.of_caller()
        wrong = list(problems)
        if unusable:
            wrong += [option.problem("task", name, source) for option in unusable]
        if _is_wrong(check_params(params), "task", name, source, wrong):
            params = None
        if _is_wrong(check_produces(produces), "task", name, source, wrong):
            produces = None
        if _is_wrong(check_reads(reads), "task", name, source, wrong):
            reads = ()
        bindings = bindings or _bind(name, upstream, each, source, wrong)
        after = _after(name, after, source, wrong)
        taken = bindings if over is None else (*bindings, over)
        vars(self).update(  # it is frozen
            checked,
            name=name,
            fn=fn,
            bindings=bindings,
            after=after,
            params=MappingProxyType(dict(params)) if params else _EMPTY,
            produces=produces,
            reads=asset_ids(reads) if reads != () else (),
            source=source,
            problems=tuple(wrong),
            outcomes=outcomes,
            over=over,
            by_item=tuple(by_item),
            flow_cache=flow_cache,
            _upstream=tuple(dict.fromkeys([u.name for u in upstreams_in(taken)])),
            _mapped=over is not None or any(type(binding) is Each for binding in bindings),
        )

    @property
    def upstream(self) -> tuple[str, ...]:
        """Names of the tasks whose results this task takes, each once, in order."""
        return self._upstream

    @property
    def mapped(self) -> bool:
        """Whether the task runs once for each item of a list."""
        return self._mapped

    def _edges(self) -> tuple[Any, ...]:
        return self._upstream, self.after

    def retry_delay(self, attempts: int) -> float:
        """Seconds to wait after *attempts* failed attempts.

        Raises
        ------
        Exception
            That of the function under ``retry_delay_s``.
        """
        delays = self.retry_delay_s
        if callable(delays):
            return delays(attempts)
        if not isinstance(delays, tuple):
            return delays
        return delays[min(attempts, len(delays)) - 1] if delays else 0


@dataclass(frozen=True, init=False, eq=False)
class FlowSpec(_Spec):
    """A flow: tasks, parameters, and their known problems.

    It never raises for an invalid graph: `mxm.pipeline.checks` finds all problems at once.

    Parameters
    ----------
    name
        Its name, also on the command line.
    tasks
        The tasks in order of declaration.
    params
        Values for the parameters of the tasks' functions; a run's own take precedence.
    schedule_cron
        When it should run: the five fields of cron. `mxm-pipeline schedule`, `serve` and `deploy`
        use it; mxm-pipeline itself starts nothing by it.
    timezone
        The IANA name of the schedule's zone; None for the zone of the machine on which one of these
        commands is called.
    cache
        Whether the results of tasks that do not set ``cache`` are kept; None for the project's
        setting.
    fn
        The decorated function, whose signature gives the flow's parameters; None for a spec made by
        hand.
    output
        The flow's value, as a binding over its tasks; None for the last task's value.
    traced
        True if the edges were recorded from calls in the body, so that a parameter reaches a task
        only if the body passes it.
    unpacked
        What the body unpacks, as in ``a, b = split(x)``, and into how many parts; a run checks it.
    source, problems
        As in `TaskSpec`.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
    >>> def load(limit: int) -> list[float]:
    ...     return [100.0] * limit
    >>> spec = FlowSpec(
    ...     "risk",
    ...     [TaskSpec("load", load), TaskSpec("total", sum, upstream=["load"])],
    ...     params={"limit": 3},
    ... )
    >>> compile_flow(spec, backend="inline").run().value()
    300.0
    """

    name: str
    tasks: tuple[TaskSpec, ...]
    params: Mapping[str, Any] = field(repr=False)  # one may be a secret, in plain text
    schedule_cron: str | None
    timezone: str | None
    cache: bool | None
    fn: Callable[..., Any] | None
    output: Binding | None
    traced: bool
    unpacked: tuple[Unpacked, ...]
    source: Source | None = field(compare=False)
    problems: tuple[Problem, ...]

    def __init__(
        self,
        name: str,
        tasks: Iterable[TaskSpec] = (),
        params: Mapping[str, Any] | None = None,
        schedule_cron: str | None = None,
        *,
        timezone: str | None = None,
        cache: bool | None = None,
        fn: Callable[..., Any] | None = None,
        output: Binding | None = None,
        traced: bool = False,
        unpacked: Iterable[Unpacked] = (),
        source: Source | None = None,
        problems: Iterable[Problem] = (),
    ) -> None:
        _check_name("flow", name)
        source = source or Source.of_caller()
        wrong = list(problems)
        if _is_wrong(check_cache(cache), "flow", name, source, wrong):
            cache = None
        if _is_wrong(check_params(params), "flow", name, source, wrong):
            params = None
        if _is_wrong(check_schedule(schedule_cron), "flow", name, source, wrong):
            schedule_cron = None
        members = tuple(tasks)
        for member in members:
            if not isinstance(member, TaskSpec):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(
                    f"flow {name!r}: tasks= takes TaskSpec objects, not {member!r}; "
                    "decorated tasks belong to @mxm.flow(tasks=[...])"
                )
        vars(self).update(  # it is frozen
            name=name,
            tasks=members,
            params=MappingProxyType(dict(params or {})),
            schedule_cron=schedule_cron,
            timezone=timezone,
            cache=cache,
            fn=fn,
            output=output,
            traced=traced,
            unpacked=tuple(unpacked),
            source=source,
            problems=tuple(wrong),
        )

    def _edges(self) -> tuple[Any, ...]:
        return self.tasks

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        del include, exclude  # a notebook chooses among them
        return reprs.bundle(self, repr(self))

    @property
    def doc(self) -> str:
        """The docstring of the decorated function, or ``""``."""
        return inspect.cleandoc((self.fn and self.fn.__doc__) or "")


def _check_name(kind: str, name: object) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"a {kind}'s name must be a non-empty string, not {name!r}")


def _is_wrong(
    wrong: Wrong | None, kind: str, name: str, source: Source | None, problems: list[Problem]
) -> bool:
    """Whether an option cannot be used; it is then kept as a problem."""
    if wrong is not None:
        problems.append(wrong.problem(kind, name, source))
    return wrong is not None


def _hash(fn: object) -> int:
    try:
        return hash(fn)
    except TypeError:  # a callable object with ==, but unhashable
        return 0


def _packed(fn: Callable[..., Any], owner: str) -> Any:
    """The form of *fn* in a pickle: its name, or itself if it is an object that can be pickled.

    Raises
    ------
    SpecError
        No name leads to it, and it cannot be pickled.
    """
    name = entrypoint(fn)
    if name is not None and _leads_to(name, fn):
        return name
    try:
        import pickle  # only for functions without a name

        pickle.dumps(fn)
    except BaseException as error:  # any type may refuse, with any error
        let_signals_pass(error)
        raise SpecError(
            f"{owner} cannot be pickled: {repr_of(fn)} has no importable name",
            hint="define it with def at the top level of a module",
        ) from None
    return fn


def _leads_to(name: str, fn: object) -> bool:
    try:
        return resolve_entrypoint(name) is fn
    except SpecError:
        return False


def last_of(tasks: Iterable[TaskSpec]) -> list[str]:
    """The names of *tasks* with no others downstream, in order.

    Examples
    --------
    >>> from mxm.pipeline.spec import TaskSpec, last_of
    >>> last_of([TaskSpec("a", print), TaskSpec("b", print, upstream="a")])
    ['b']
    """
    members = list(tasks)
    needed = {name for task in members for name in (*task.upstream, *task.after)}
    return [task.name for task in members if task.name not in needed]


def _name_of(
    task: str, reference: object, source: Source | None, problems: list[Problem]
) -> str | None:
    """The task name that *reference* means; anything else becomes a problem."""
    if isinstance(reference, str):
        return reference
    if isinstance(reference, TaskSpec):
        return reference.name
    problems.append(not_a_task(task, reference, source))
    return None


def not_a_task(task: str, reference: object, source: Source | None) -> Problem:
    """The problem of an upstream that is not a task, such as a plain function."""
    name = getattr(reference, "__name__", None)
    try:
        is_flow = isinstance(getattr(reference, "spec", None), FlowSpec)
    except Exception:  # a value of the run, in a body, refuses its attributes
        is_flow = False
    if is_flow:
        return Problem(
            "MXM102",
            f"unknown upstream of task {task!r}: {name!r} is a flow, not a task",
            hint=f"give the task whose result is wanted, or call both in a body: {name}(...)",
            source=source,
            task=task,
        )
    if callable(reference) and name:
        place = Source.of_function(reference)
        where = f", defined at {place}," if place else ""
        return Problem(
            "MXM102",
            f"unknown upstream of task {task!r}: {name!r}{where} is a plain function, not a task",
            hint=f"put @mxm.task above {name!r}, or give the name of a task",
            source=source,
            task=task,
        )
    return Problem(
        "MXM102",
        f"unknown upstream of task {task!r}: {reference!r} is not a task",
        hint="give a task, its name, a list of them, or a mapping of parameter names to them",
        source=source,
        task=task,
    )


def _bind(
    task: str, upstream: object, each: object, source: Source | None, problems: list[Problem]
) -> Bindings:
    def bound(references: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Upstream]]:
        named = [(k, _name_of(task, ref, source, problems)) for k, ref in references]
        return [(k, Upstream(name)) for k, name in named if name is not None]

    def by_name(references: object) -> list[tuple[Any, Upstream]]:
        return bound((str(k), ref) for k, ref in cast("Any", references).items())

    args: list[Binding] = []
    kwargs: dict[str, Binding] = {}
    if isinstance(each, Mapping):
        kwargs = {k: Each(binding) for k, binding in by_name(cast("Any", each))}
    elif each != ():
        args = [Each(binding) for _, binding in bound([(0, each)])]
    if isinstance(upstream, Mapping):
        taken = by_name(cast("Any", upstream))
        twice = sorted(kwargs.keys() & {k for k, _ in taken})
        problems += [_filled_twice(task, k, source) for k in twice]
        kwargs = {**dict(taken), **kwargs}
    else:
        args += [binding for _, binding in bound(enumerate(as_sequence(upstream)))]
    return Bindings(tuple(args), kwargs) if args or kwargs else _NO_BINDINGS


def _filled_twice(task: str, parameter: str, source: Source | None) -> Problem:
    return Problem(
        "MXM109",
        f"task {task!r}: parameter {parameter!r} is in both each= and upstream=",
        "name it in one of the two",
        source=source,
        task=task,
    )


def _after(
    task: str, after: object, source: Source | None, problems: list[Problem]
) -> tuple[str, ...]:
    if after == ():
        return ()
    names = [_name_of(task, ref, source, problems) for ref in as_sequence(after)]
    return tuple(name for name in names if name is not None)
