"""Runs flows in tests: in this process, with values in place of tasks' results."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from mxm.pipeline.api import HasSpec, compile_flow
from mxm.pipeline.errors import PipelineError, SelectionError, repr_of
from mxm.pipeline.introspection.decorated import TaskBase
from mxm.pipeline.introspection.signatures import unwrapped
from mxm.pipeline.introspection.uses import ResourceBase, used_by
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.testing.guard import guarded_inputs
from mxm.pipeline.tracing.assembly import current
from mxm.pipeline.values.digest import UndigestibleError, digest_of

__all__ = ["assert_same_everywhere", "no_delays", "options_of", "run_flow", "spec_of"]

__tracebackhide__ = True  # pytest shows the lines of the test and of its tasks, not these
_NOTHING: Mapping[Any, Any] = {}


def spec_of(flow: Any) -> FlowSpec:
    """The spec of *flow*, a decorated flow or a spec.

    Raises
    ------
    TypeError
        It is neither.
    """
    spec = flow if isinstance(flow, FlowSpec) else getattr(flow, "spec", None)
    if not isinstance(spec, FlowSpec):
        raise TypeError(f"{repr_of(flow):.80} is not a flow")
    return spec


def options_of(flow: Any) -> dict[str, Any]:
    """The options that ``with_options`` gave *flow*."""
    return dict(getattr(flow, "run_options", _NOTHING))


def run_flow(
    flow: Any,
    *,
    params: Mapping[str, Any] | None = None,
    overrides: Mapping[Any, object] = _NOTHING,
    resources: Mapping[Any, object] = _NOTHING,
    only: Any = None,
    **options: Any,
) -> FlowRun:
    """Run *flow* in this process, without an engine; the fixture ``mxm_run`` is this function.

    A task that changes its input in place fails. A failed task does not raise. Assets are written
    to a folder of the test's, beside its store, and never to the project or a URL.

    Parameters
    ----------
    flow
        A decorated flow, or a spec.
    params
        The parameters of the run.
    overrides
        For each task, or its name, a value to use as its result, or a callable to use as its
        function.
    resources
        For each resource, another resource, or the value to use.
    only
        The task to run, its name, or a list of these, in addition to those in *overrides*; None
        for all.
    **options
        Other options of a run: ``backend="prefect"``, ``runner="threads"``.

    Raises
    ------
    PipelineError
        The flow has problems, a parameter is missing, or a task is unknown; a task of *only* takes
        the result of one that neither runs nor is in *overrides*.
    TypeError
        *flow* is not a flow.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline.testing import run_flow
    >>> @mxm.task
    ... def load() -> float:
    ...     raise ConnectionError
    >>> @mxm.task
    ... def double(price: float) -> float:
    ...     return 2 * price
    >>> @mxm.flow
    ... def risk():
    ...     return double(load())
    >>> run_flow(risk, overrides={load: 21.0}).value()
    42.0
    """
    spec = spec_of(flow)
    _warn_of_patches(spec)
    own = options_of(flow)
    chosen: dict[str, Any] = {"backend": "inline", "root": _root(spec), **own, **options}
    chosen["overrides"] = {**own.get("overrides", {}), **overrides}
    chosen["resources"] = {**own.get("resources", {}), **resources}
    if only is not None:
        keys = [*_several(only), *chosen["overrides"]]
        chosen["select"] = list(dict.fromkeys(name for key in keys for name in _names(spec, key)))
    try:
        with guarded_inputs():
            return compile_flow(spec, **chosen).run(params or {})
    except SelectionError as error:
        if only is None:
            raise
        hint = "name it in only=, too, or give its value in overrides="
        raise PipelineError(str(error).partition("\n")[0], hint=hint) from None
    except PipelineError as error:
        # The lines of a test that led here say more than ours that found the mistake.
        raise error.with_traceback(None)  # noqa: B904 - the same error


def _root(spec: FlowSpec) -> str | None:
    """Where a run in a test writes the assets of *spec*; None if it writes none."""
    if all(task.produces is None for task in spec.tasks):
        return None
    store = os.environ.get("MXM_HOME")
    if store is None:  # not in a session of pytest
        return tempfile.mkdtemp(prefix="mxm-assets-")
    root = os.path.join(os.path.dirname(os.path.abspath(store)), "assets")
    os.makedirs(root, exist_ok=True)
    return root


def _several(keys: Any) -> Iterable[Any]:
    return (keys,) if isinstance(keys, (str, TaskBase)) or callable(keys) else keys


def _names(spec: FlowSpec, key: Any) -> list[str]:
    """The tasks of *spec* that *key* means: a name, a task, or a function."""
    names = [task.name for task in spec.tasks]
    if isinstance(key, str):
        if key in names:
            return [key]
        raise PipelineError(
            f"flow {spec.name!r} has no task {key!r}", hint=did_you_mean(key, names)
        )
    fn = current(key).fn if isinstance(key, TaskBase) else key
    meant = [task.name for task in spec.tasks if task.fn is fn]
    if not meant:
        name = getattr(key, "name", None) or getattr(key, "__name__", repr_of(key))
        raise PipelineError(
            f"flow {spec.name!r} has no task made from {name!r}",
            hint=did_you_mean(str(name), names),
        )
    return meant


def _warn_of_patches(spec: FlowSpec) -> None:
    tasks = [(task.fn, "task", f"overrides={{{task.name!r}: ...}}") for task in spec.tasks]
    used = used_by(task.fn for task in spec.tasks)
    opened = [(each.fn, "resource", f"resources={{{each.name}: ...}}") for each in used]
    for decorated, what, instead in tasks + opened:
        fn = unwrapped(decorated)
        if _is_replaced(fn):
            warnings.warn(
                f"{fn.__module__}.{fn.__qualname__} was replaced, which changes nothing: flow "
                f"{spec.name!r} was built from the {what} when its module was imported. "
                f"Give mxm_run {instead}",
                stacklevel=3,
            )


def _is_replaced(fn: Callable[..., Any]) -> bool:
    """Whether the module of *fn* has something else under its name."""
    name = getattr(fn, "__qualname__", "")
    module = sys.modules.get(getattr(fn, "__module__", None) or "")
    there = getattr(module, name, None) if name.isidentifier() else None
    if isinstance(there, (TaskBase, ResourceBase)):
        there = there.fn
    if there is None or unwrapped(there) is fn:
        return False
    place = getattr(there, "__module__", None), getattr(there, "__qualname__", None)
    return place != (fn.__module__, name)  # else it is defined twice there


@dataclass(frozen=True)
class _WithOptions:
    """A spec, and the options that a decorated flow has for its runs."""

    spec: FlowSpec
    run_options: Mapping[str, Any]


def no_delays(flow: Any) -> FlowSpec | HasSpec:
    """Return *flow* with its options, and with retries that do not wait.

    Parameters
    ----------
    flow
        A decorated flow, or a spec.

    Returns
    -------
    FlowSpec | HasSpec
        What `run_flow` and `compile_flow` take; a spec, if *flow* has no options.

    Raises
    ------
    TypeError
        *flow* is not a flow.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline.testing import no_delays, run_flow
    >>> @mxm.task(retries=2, retry_delay_s=60)
    ... def load() -> float:
    ...     raise ConnectionError
    >>> @mxm.flow
    ... def risk():
    ...     return load()
    >>> run_flow(no_delays(risk)).tasks["load"].attempts
    3
    """
    spec = spec_of(flow)
    at_once = replace(spec, tasks=tuple(_at_once(task) for task in spec.tasks))
    options = options_of(flow)
    return _WithOptions(at_once, options) if options else at_once


def _at_once(task: TaskSpec) -> TaskSpec:
    return replace(task, retry_delay_s=0)


_WAYS = [
    (backend, runner)
    for backend in ("inline", "prefect")
    for runner in ("sequential", "threads", "processes")
]


def assert_same_everywhere(flow: Any, *, params: Mapping[str, Any] | None = None) -> None:
    """Run *flow* on each backend and runner, and compare the states and results of its tasks.

    Each run is a whole one: cached tasks run, too, and nothing is recorded.

    Parameters
    ----------
    flow
        A decorated flow, or a spec.
    params
        The parameters of each run.

    Raises
    ------
    AssertionError
        They differ; the message names the task and the difference.
    PipelineError
        As for `run_flow`.

    Examples
    --------
    >>> from mxm.pipeline import FlowSpec, TaskSpec
    >>> from mxm.pipeline.testing import assert_same_everywhere
    >>> assert_same_everywhere(  # doctest: +SKIP
    ...     FlowSpec("risk", [TaskSpec("total", sum, params={"iterable": [1.0, 2.0]})])
    ... )
    """
    outcomes: dict[str, dict[str, Any]] = {}
    for backend, runner in _WAYS:
        options = {**options_of(flow), "backend": backend, "runner": runner}
        options |= {"cache": False, "record": False, "root": _root(spec_of(flow))}
        run = compile_flow(spec_of(flow), **cast("Any", options)).run(params or {})
        outcomes[f"{backend}, {runner}"] = {
            name: _outcome(run, name) for name in (task.name for task in run.flow.tasks)
        }
    (first, expected), *others = outcomes.items()
    for way, outcome in others:
        for name, one in expected.items():
            if outcome[name] != one:
                raise AssertionError(
                    f"task {name!r} of flow {spec_of(flow).name!r} is not the same everywhere:\n"
                    f"  {first}: {one}\n  {way}: {outcome[name]}"
                )


def _outcome(run: FlowRun, name: str) -> str:
    task = run.tasks[name]
    if task.has_value:
        value, _ = task.to_json()
        return f"{task.state}: {repr_of(value)}{_content(task.value)}"
    return f"{task.state}: {task.reason}" if task.reason else str(task.state)


def _content(value: Any) -> str:
    """What tells *value* from another of the same JSON, as a long table has; empty if nothing."""
    try:
        return f", content {digest_of(value, code=_name_of)[7:15]}"
    except UndigestibleError:
        return ""


def _name_of(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"
