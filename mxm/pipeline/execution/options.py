"""The options of a run, and the names of backends and runners."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from mxm.pipeline.errors import BackendError, repr_of
from mxm.pipeline.introspection.other_engines import option_hint
from mxm.pipeline.params.caching import cached_tasks
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.resources import Resource
from mxm.pipeline.timing.seconds import wrong_seconds

if TYPE_CHECKING:
    from mxm.pipeline.execution.events import Observer
    from mxm.pipeline.execution.kept.entries import Entries
    from mxm.pipeline.execution.plans.partial import Past
    from mxm.pipeline.execution.plans.plan import LastRows, Plan
    from mxm.pipeline.spec import FlowSpec

__all__ = [
    "BACKENDS",
    "RUNNERS",
    "EntriesMaker",
    "OptionsOfRun",
    "PLACES",
    "Recorder",
    "RunOptions",
    "backend_names",
    "backend_target",
    "place_target",
]

_NONE: Mapping[Any, Any] = MappingProxyType({})
_SWITCHES = (
    *("fail_fast", "strict_params", "strict_json", "engine_logs", "guard", "strict_cache"),
)
# Those beside the first two make calls elsewhere, in a place. Import strings, so that naming one
# loads no cluster.
PLACES: dict[str, str] = {
    "processes": "mxm.pipeline.execution.places.processes:WorkerPool",
    "dask": "mxm.pipeline.execution.places.dask_place:DaskPlace",
    "ray": "mxm.pipeline.execution.places.ray_place:RayPlace",
}
RUNNERS = ("sequential", "threads", *PLACES)


class OptionsOfRun(TypedDict, total=False):
    """The options as keywords: of `compile_flow`, `Flow.with_options`, `MXMFlow.run`.

    The fields of `RunOptions`, and *backend*, which chooses the backend.
    """

    backend: str
    runner: str
    workers: int | None
    address: str | None
    fail_fast: bool
    strict_params: bool
    strict_json: bool
    engine_logs: bool
    guard: bool
    grace_s: float
    observers: Sequence[Observer]
    overrides: Mapping[Any, object]
    resources: Mapping[Resource[Any], object]
    resource_settings: Mapping[str, Mapping[str, object]]
    limits: Mapping[str, int]
    record: bool | None
    select: str | Sequence[str] | None
    exclude: str | Sequence[str]
    force: bool | str | Sequence[str]
    cache: bool | None
    strict_cache: bool
    keep_results: float


class EntriesMaker(Protocol):
    """Opens the results that earlier runs kept, where there is a place for them."""

    def __call__(
        self, plan: Plan, /, *, is_quiet: bool = False, most_mb: float = 16.0
    ) -> Entries | None:
        """The results for a run of *plan*.

        Parameters
        ----------
        plan
            What runs.
        is_quiet
            Whether nothing is said where there is no place for results.
        most_mb
            Megabytes up to which the result of a task that is not cached is kept.
        """
        ...


class Recorder(Protocol):
    """Makes the observer that records one run, or None if it is not recorded.

    Attributes
    ----------
    in_project
        Whether it records in the project's store, where results of runs are kept, too.
    """

    in_project: bool

    def __call__(
        self, plan: Plan, params: Mapping[str, Any], options: RunOptions, /
    ) -> Observer | None:
        """Begin to record a run of *plan*, which was made from the parameters *params*."""
        ...


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a flow runs, with all defaults.

    Parameters
    ----------
    runner
        ``sequential`` (in topological, then declaration order), ``threads``, ``processes``,
        ``dask`` or ``ray``; or another one, by its name as an entry point in ``mxm.runners``.
    workers
        The number of tasks that run at once, except on ``sequential``; None for the number of
        processors, or of those of the cluster.
    address
        Of the cluster that ``dask`` or ``ray`` joins; None for one on this machine.
    fail_fast
        Whether no more tasks start after a failure.
    strict_params
        Whether a parameter that no task takes is an error instead of a warning.
    strict_json
        Whether a result without a JSON form is an error; otherwise it is described.
    engine_logs
        Whether to show the engine's own log lines.
    guard
        Whether to compare large values, too, after each task that takes them; a value changed in
        place gives a warning.
    grace_s
        Seconds that tasks with ``run_if="always"`` may take after a cancellation.
    observers
        Called with each event of the run; see `mxm.pipeline.execution.events.Observer`.
    overrides
        Replacements by task or step name: a callable replaces the function, anything else the
        result. Steps that are needed only by steps with a replaced result are skipped.
    resources
        By resource, another one that is opened in its place, or the value itself.
    resource_settings
        By name of a resource, the values of its parameters; they go before the project's.
    limits
        By name of a limit, how many attempts of the tasks that have it are at work at once; 1 for
        one that is not named.
    cache
        False neither uses nor keeps any result of a cached task; True also caches the tasks for
        which neither they nor their flow say anything.
    strict_cache
        Whether the result of a cached task is only kept where ``inputs`` names all files that it
        read.
    keep_results
        Megabytes up to which the results of a recorded run are kept, for `resume` and to be loaded
        later; 0 for none. Results of cached tasks are kept whatever their size.
    record
        Whether the run is recorded in the project's store; None: only if there is a store already.
    select
        Which tasks run; None for all: expressions as in
        `mxm.pipeline.execution.plans.selection`, one or a list of them.
    exclude
        Which of them do not: expressions of the same kind.
    force
        Which tasks run although an earlier run kept their results: True for all, or expressions of
        the same kind.
    recorder
        What records it; `compile_flow` sets it.
    last_rows
        Gives checks of assets the number of rows of the last time; `compile_flow` sets it.
    past
        Returns what is known about a flow's earlier runs; `compile_flow` sets it.
    root
        The folder that assets are written to in place of the project's, and none of them to a URL;
        `mxm.pipeline.testing.run_flow` sets it.
    entries
        Opens what earlier runs kept; `compile_flow` sets it.
    is_recorded
        Whether the run is; a run sets it.
    fetches
        Whether the flow's value comes from a cluster that ends with the run; not where the run is
        only shown, as JSON.
    resumes
        The runs whose finished tasks are reused, the newest first; `resume` sets it.

    Raises
    ------
    BackendError
        The runner is unknown, or the value of an option is invalid.
    """

    runner: str = "sequential"
    workers: int | None = None
    address: str | None = None
    fail_fast: bool = False
    strict_params: bool = False
    strict_json: bool = False
    engine_logs: bool = False
    guard: bool = False
    grace_s: float = 10.0
    observers: tuple[Observer, ...] = ()
    overrides: Mapping[Any, object] = field(
        default_factory=lambda: _NONE, repr=False, compare=False
    )
    resources: Mapping[Resource[Any], object] = field(
        default_factory=lambda: _NONE, repr=False, compare=False
    )
    resource_settings: Mapping[str, Mapping[str, object]] = field(
        default_factory=lambda: _NONE, repr=False, compare=False
    )
    limits: Mapping[str, int] = field(default_factory=lambda: _NONE)
    record: bool | None = None
    select: str | Sequence[str] | None = None
    exclude: str | Sequence[str] = ()
    force: bool | str | Sequence[str] = False
    cache: bool | None = None
    strict_cache: bool = False
    keep_results: float = 16.0
    recorder: Recorder | None = field(default=None, repr=False, compare=False)
    past: Callable[[FlowSpec], Past] | None = field(default=None, repr=False, compare=False)
    entries: EntriesMaker | None = field(default=None, repr=False, compare=False)
    last_rows: LastRows | None = field(default=None, repr=False, compare=False)
    root: str | None = field(default=None, repr=False, compare=False)
    is_recorded: bool = field(default=False, repr=False, compare=False)
    fetches: bool = field(default=True, repr=False, compare=False)
    resumes: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        # Checked at run time, because options also come from files and notebooks.
        runner: Any = self.runner
        if runner not in RUNNERS and not (isinstance(runner, str) and place_target(runner)):
            hint = did_you_mean(runner, RUNNERS) if isinstance(runner, str) else None
            raise BackendError(f"unknown runner {runner!r}", hint=hint)
        address: Any = self.address
        if address is not None and (not isinstance(address, str) or not address):
            raise BackendError(f"address must be text, not {repr_of(address)}")
        if address is not None and runner in ("sequential", "threads", "processes"):
            raise BackendError(
                f"runner {runner!r} has no address", hint="use runner 'dask' or 'ray' with it"
            )
        count: Any = self.workers
        if count is not None and (type(count) is not int or count < 1):
            raise BackendError(f"workers must be a positive number, not {repr_of(count)}")
        for name in _SWITCHES:
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise BackendError(f"{name} must be True or False, not {repr_of(value)}")
        for name in ("record", "cache"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, bool):
                raise BackendError(f"{name} must be True, False or None, not {repr_of(value)}")
        wrong = wrong_seconds(self.grace_s)
        if wrong is not None:
            raise BackendError(f"grace_s {wrong}")
        most: Any = self.keep_results
        if type(most) not in (int, float) or not 0 <= most < float("inf"):
            raise BackendError(
                f"keep_results must be a number of megabytes, 0 or more, not {repr_of(most)}"
            )
        observers: Any = self.observers
        if type(observers) not in (list, tuple) or not all(map(callable, observers)):
            hint = "give a list of functions that take one event"
            raise BackendError(
                f"observers must be a list of callables, not {repr_of(observers)}", hint=hint
            )
        object.__setattr__(self, "observers", tuple(observers))
        overrides: Any = self.overrides
        if not isinstance(overrides, Mapping):
            hint = "give a dict: overrides={load: frame}"
            raise BackendError(
                f"overrides must map tasks or names of steps to their replacements, "
                f"not {overrides!r:.80}",
                hint=hint,
            )
        if self.select is not None:
            object.__setattr__(self, "select", _expressions("select", self.select))
        object.__setattr__(self, "exclude", _expressions("exclude", self.exclude))
        if not isinstance(self.force, bool):
            object.__setattr__(self, "force", _expressions("force", self.force))
        _check_resources(self.resources, self.resource_settings)
        if not _is_mapping(self.limits):
            raise BackendError(
                f"limits must map names to whole numbers, not {repr_of(self.limits):.80}",
                hint='give a dict: limits={"bloomberg": 2}',
            )

    @property
    def is_elsewhere(self) -> bool:
        """Whether functions are called in other processes."""
        return self.runner not in ("sequential", "threads")

    def recording(self, plan: Plan, params: Mapping[str, Any]) -> RunOptions:
        """These options with what records a run of *plan*, where it is recorded."""
        if self.recorder is None or self.record is False:
            return self
        observer = self.recorder(plan, params, self)
        # The last one: what the command prints does not wait for it.
        if observer is None:
            return self
        observers = (*self.observers, observer)
        # Reading all the code takes time: for `resume`, of the command's runs, not of each call.
        is_recorded = self.record is True and self.recorder.in_project
        return replace(self, observers=observers, is_recorded=is_recorded)

    def keeps_results(self, plan: Plan) -> bool:
        """Whether results of a run of *plan* are kept, or those of an earlier one used."""
        if self.entries is None or self.cache is False or self.overrides:
            return False
        used = self.resumes or plan.kept_only or cached_tasks(plan.flow, self.cache)
        return self.is_recorded or bool(used)

    def changed(self, options: Mapping[str, Any] | None, *, also: Sequence[str] = ()) -> RunOptions:
        """These options with some replaced; *limits* are added to those there are.

        Parameters
        ----------
        options
            New values by field name.
        also
            More names to suggest for a typo.

        Raises
        ------
        TypeError
            There is no such option.
        BackendError
            The value of an option is invalid.
        """
        for option in options or ():
            if option not in self.__slots__:
                known = (*also, *self.__slots__)
                hint = option_hint("run", option, known) or did_you_mean(option, known)
                raise TypeError(f"a run has no option {option!r}" + (f": {hint}" if hint else ""))
        if options and _is_mapping(options.get("limits")):
            options = {**options, "limits": {**self.limits, **options["limits"]}}
        return replace(self, **options) if options else self


def _expressions(option: str, value: Any) -> tuple[str, ...]:
    """*value*, which is one expression or a list of them."""
    listed = type(value) in (list, tuple, set, frozenset)
    expressions: tuple[Any, ...] = tuple(value) if listed else (value,)
    if all(isinstance(each, str) for each in expressions):
        return expressions
    raise BackendError(
        f"{option} must be text or a list of texts, not {repr_of(value):.80}",
        hint=f'name tasks: {option}="load+ tag:daily"',
    )


def _check_resources(resources: Any, settings: Any) -> None:
    if not _is_mapping(resources):
        raise BackendError(
            f"resources must map resources to what replaces them, not {repr_of(resources):.80}",
            hint="give a dict: resources={db: fake}",
        )
    for key in resources:
        if not isinstance(key, Resource):
            raise BackendError(
                f"resources: a key must be a resource, not {repr_of(key):.80}",
                hint="pass what @mxm.resource made: resources={db: fake}",
            )
    if not _is_mapping(settings) or not all(map(_is_mapping, settings.values())):
        raise BackendError(
            "resource_settings must map names of resources to their settings",
            hint='give a dict of dicts: resource_settings={"db": {"url": "sqlite://"}}',
        )


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


ENTRY_POINTS = "mxm.backends"

# Import strings, so that naming a backend loads no engine.
BACKENDS: dict[str, str] = {
    "prefect": "mxm.pipeline.adapters.prefect_adapter:PrefectFlow",
    "inline": "mxm.pipeline.adapters.inline_adapter:InlineFlow",
}


def _entry_points(group: str = ENTRY_POINTS) -> dict[str, str]:
    # importlib.metadata takes a tenth of the command's start: load it only for other names.
    from importlib.metadata import entry_points

    return {entry.name: entry.value for entry in entry_points(group=group)}


def place_target(name: str) -> str | None:
    """The import string of the place that the runner *name* stands for, or None if there is none.

    Its object takes the flow and the `RunOptions`, and is a `mxm.pipeline.execution.places.Place`.
    """
    return PLACES.get(name) or _entry_points("mxm.runners").get(name)


def backend_names() -> list[str]:
    """Names of all backends, including those of other distributions."""
    return sorted({*BACKENDS, *_entry_points()})


def backend_target(name: str) -> str | None:
    """The import string of the backend *name*, or None if there is none."""
    return BACKENDS.get(name) or _entry_points().get(name)
