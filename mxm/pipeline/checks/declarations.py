"""All problems of a flow's declaration: names, upstreams, cycles, signatures, edges."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mxm.pipeline.bindings import Each, free_parameters, upstreams_in
from mxm.pipeline.checks.caching import cache_problems
from mxm.pipeline.checks.defaults import default_problems
from mxm.pipeline.checks.edges import edge_problems
from mxm.pipeline.checks.inputs import input_problems
from mxm.pipeline.checks.iterators import iterator_problems
from mxm.pipeline.checks.resources import resource_problems
from mxm.pipeline.checks.retries import retry_problems
from mxm.pipeline.errors import GraphError, repr_of
from mxm.pipeline.graph import FlowGraph
from mxm.pipeline.introspection.decorated import tasks_beside
from mxm.pipeline.introspection.signatures import POSITIONAL, shape_of
from mxm.pipeline.problems import Problem, did_you_mean
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.task_options import RUN_RULES
from mxm.pipeline.values.secrets import signature_text

__all__ = ["find_errors", "find_problems", "require_valid"]


def find_problems(spec: FlowSpec, *, strict_types: bool = False) -> list[Problem]:
    """All problems of *spec*, in the order of declaration."""
    if not spec.tasks and not spec.problems:
        return [_no_tasks(spec)]
    problems = list(spec.problems)
    for task in spec.tasks:
        problems.extend(task.problems)
    problems.extend(_duplicates(spec))
    problems.extend(_unknown_upstreams(spec))
    problems.extend(_cycles(spec))
    problems.extend(_signatures(spec))
    problems.extend(_not_passed(spec))
    problems.extend(_rules(spec))
    problems.extend(retry_problems(spec))
    problems.extend(default_problems(spec))
    problems.extend(iterator_problems(spec))
    problems.extend(resource_problems(spec))
    problems.extend(cache_problems(spec))
    if spec.schedule_cron is not None or spec.timezone is not None:
        from mxm.pipeline.checks.schedules import schedule_problems  # few flows have one

        problems.extend(schedule_problems(spec))
    if any(t.reads or (t.produces and t.produces.path_template is not None) for t in spec.tasks):
        from mxm.pipeline.checks.assets import asset_problems  # few flows have such tasks

        problems.extend(asset_problems(spec))
    problems.extend(edge_problems(spec, strict=strict_types))
    problems.extend(input_problems(spec))
    return problems


def find_errors(spec: FlowSpec) -> list[Problem]:
    """The problems of *spec* that keep it from running."""
    return [problem for problem in find_problems(spec) if problem.severity == "error"]


def require_valid(spec: FlowSpec) -> FlowSpec:
    """Return *spec* if it has no errors.

    Raises
    ------
    GraphError
        It has errors; the exception lists all of them.
    """
    errors = find_errors(spec)
    if errors:
        raise GraphError(spec.name, errors)
    return spec


def _no_tasks(spec: FlowSpec) -> Problem:
    hint = (
        "return a task from the body, or list them: @mxm.flow(tasks=[...])"
        if spec.fn
        else "FlowSpec(name, tasks=[TaskSpec(...), ...])"
    )
    return Problem(
        "MXM105", f"flow {spec.name!r} has no tasks", hint, source=spec.source, flow=spec.name
    )


def _duplicates(spec: FlowSpec) -> Iterator[Problem]:
    first: dict[str, TaskSpec] = {}
    for task in spec.tasks:
        if task.name not in first:
            first[task.name] = task
        else:
            both = (first[task.name], task)
            yield Problem(
                "MXM101",
                f"duplicate task name {task.name!r}",
                "give one of them another name: name=...",
                source=task.source,
                flow=spec.name,
                task=task.name,
                places=tuple((_fn_name(one.fn), one.source) for one in both),
            )


def _unknown_upstreams(spec: FlowSpec) -> Iterator[Problem]:
    known = {task.name for task in spec.tasks}
    hints: dict[str, str] = {}
    for task in spec.tasks:
        for name in dict.fromkeys((*task.upstream, *task.after)):
            if name in known:
                continue
            if len(hints) >= _MOST_SEARCHED:
                hints.setdefault(name, f"`mxm-pipeline show {spec.name}` lists the tasks")
            if name not in hints:
                beside = {other.name for other in tasks_beside(task.fn).values()}
                near = did_you_mean(name, (known | beside) - {task.name})
                hints[name] = near or f"`mxm-pipeline show {spec.name}` lists the tasks"
            yield Problem(
                "MXM102",
                f"unknown upstream {name!r} of task {task.name!r}",
                hints[name],
                source=task.source,
                flow=spec.name,
                task=task.name,
            )


_MOST_SEARCHED = 50  # finding the nearest name among thousands is slow
_MOST_CYCLES = 20  # each needs a new search; with more, fix the graph in rounds


def _cycles(spec: FlowSpec) -> Iterator[Problem]:
    graph = FlowGraph(spec)
    for _ in range(_MOST_CYCLES):
        path = graph.cycle()
        if path is None:
            return
        first, more, last = _ends(path[:-1])
        left_out = [f"... {more} more ..."] if more else []
        places = [(name, graph.tasks[name].source) for name in first]
        places += [(note, None) for note in left_out]
        places += [(name, graph.tasks[name].source) for name in last]
        yield Problem(
            "MXM103",
            "cycle: " + " -> ".join([*first, *left_out, *last, path[0]]),
            "a task cannot need its own result: remove one of these upstreams",
            source=graph.tasks[path[0]].source,
            flow=spec.name,
            task=path[0],
            places=tuple(places),
        )
        # Cut this cycle where it closes, to find the next one too.
        graph.upstreams[path[0]] = tuple(n for n in graph.upstreams[path[0]] if n != path[-2])
        graph.downstreams[path[-2]].remove(path[0])


_MOST_DRAWN = 8  # tasks shown of a cycle; a longer one shows only its two ends


def _ends(names: Sequence[str]) -> tuple[Sequence[str], int, Sequence[str]]:
    """The first of *names*, the number left out, and the last."""
    if len(names) <= _MOST_DRAWN:
        return names, 0, ()
    half = _MOST_DRAWN // 2
    return names[:half], len(names) - 2 * half, names[-half:]


def _signatures(spec: FlowSpec) -> Iterator[Problem]:
    for task in spec.tasks:
        bindings = task.bindings
        if not bindings.args and not bindings.kwargs:
            continue
        shape = shape_of(task.fn)
        if shape is None or shape.takes(len(bindings.args), list(bindings.kwargs)):
            continue
        signature = inspect.signature(task.fn)
        for message, hint in _misfits(task, signature):
            yield Problem(
                "MXM104", message, hint, source=task.source, flow=spec.name, task=task.name
            )


def _misfits(task: TaskSpec, signature: inspect.Signature) -> Iterator[tuple[str, str]]:
    """The bindings of *task* that its function cannot take, each as message and hint."""
    parameters = signature.parameters
    kinds = {p.kind for p in parameters.values()}
    positional = [name for name, p in parameters.items() if p.kind in POSITIONAL]
    args, kwargs = task.bindings.args, task.bindings.kwargs
    drawn = f"signature {_fn_name(task.fn)}{signature_text(task.fn, annotated=False)}"
    if len(args) > len(positional) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        origin = ", ".join(repr(name) for name in task.upstream) or "the call"
        named = [n for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY]
        takes = f"{len(positional)} positional argument{'s' * (len(positional) != 1)}"
        hint = (
            f"pass by name: upstream={{{named[0]!r}: {task.upstream[0]!r}}}"
            if named and task.upstream
            else "add a parameter for each, or name order-only tasks in after="
        )
        yield f"task {task.name!r}: {drawn} takes {takes} but gets {len(args)}, from {origin}", hint
    for name in kwargs:
        if name in positional[: len(args)]:
            yield (
                (
                    f"task {task.name!r}: parameter {name!r} of {drawn} is passed twice, "
                    "by position and by name"
                ),
                "remove one of the two",
            )
        elif name not in parameters:
            if inspect.Parameter.VAR_KEYWORD not in kinds:
                hint = did_you_mean(name, parameters) or "add the parameter to the function"
                yield f"task {task.name!r}: {drawn} has no parameter {name!r}", hint
        elif parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY:
            yield (
                f"task {task.name!r}: parameter {name!r} of {drawn} is positional-only",
                "give upstream= a list, in the order of the parameters",
            )


def _not_passed(spec: FlowSpec) -> Iterator[Problem]:
    """Parameters that only the body of a traced flow can pass, but does not."""
    if spec.problems:  # a call that could not be recorded passes nothing
        return
    shape = shape_of(spec.fn) if spec.fn and spec.traced else None
    own = {*shape.positional, *shape.keyword_only} if shape else set[str]()
    for task in spec.tasks if own else ():
        shape = shape_of(task.fn)
        if shape is None or own.isdisjoint((*shape.positional, *shape.keyword_only)):
            continue
        for parameter in free_parameters(task.fn, task.bindings):
            name = parameter.name
            if name in own and parameter.default is parameter.empty and name not in task.params:
                yield Problem(
                    "MXM401",
                    f"missing parameter {name!r}: task {task.name!r} needs it, and the body of "
                    f"flow {spec.name!r} does not pass it",
                    f"pass it in the call: {name}={name}",
                    source=task.source,
                    flow=spec.name,
                    task=task.name,
                )


def _rules(spec: FlowSpec) -> Iterator[Problem]:
    """Unknown run rules, and rules that can never hold."""
    for task in spec.tasks:
        rule: str = task.run_if
        if rule not in RUN_RULES:
            what = f"task {task.name!r}: run_if={rule!r} is not a run rule"
            hint = did_you_mean(rule, RUN_RULES)
        elif rule == "failed" and not task.upstream and not task.after:
            what = f'task {task.name!r} has run_if="failed" and nothing upstream that could fail'
            hint = "name what it watches: after=[load, report]"
        elif rule != "succeeded" and task.mapped and not task.over and not _beside_lists(task):
            what = (
                f'task {task.name!r} is mapped and has run_if="{rule}", and takes nothing but items'
            )
            hint = "an item runs where its own item upstream succeeded; to get failures as items, "
            hint += "map over .outcomes(...)"
        else:
            continue
        yield Problem("MXM108", what, hint, source=task.source, flow=spec.name, task=task.name)


def _beside_lists(task: TaskSpec) -> bool:
    """Whether *task* has any upstream other than the lists that it maps."""
    beside = (binding for binding in task.bindings if not isinstance(binding, Each))
    return bool(task.after) or any(True for _ in upstreams_in(beside))


def _fn_name(fn: Callable[..., Any]) -> str:
    return getattr(fn, "__name__", None) or repr_of(fn)
