"""Assertions about graphs: the edges of a flow as a test draws them, and flows without problems."""

from __future__ import annotations

import itertools
import os
import sys
from typing import Any

from mxm.pipeline.api import check_flow
from mxm.pipeline.discovery.search import discover
from mxm.pipeline.graph import FlowGraph
from mxm.pipeline.testing.running import spec_of

__all__ = ["assert_flows_valid", "assert_graph"]

__tracebackhide__ = True  # pytest shows the lines of the test and of its tasks, not these


def assert_graph(flow: Any, drawing: str) -> None:
    """Compare the edges of *flow* with a drawing.

    Parameters
    ----------
    flow
        A decorated flow, or a spec.
    drawing
        Chains of names, one a line or with ``;`` between them: ``load -> returns -> volatility``.
        A comma means several: ``load -> returns, drawdown``. A name alone is a task without edges.

    Raises
    ------
    AssertionError
        Tasks or edges are missing, or there are others.
    ValueError
        The drawing cannot be read.

    Examples
    --------
    >>> import mxm
    >>> from mxm.pipeline.testing import assert_graph
    >>> @mxm.task
    ... def load() -> list[float]: ...
    >>> @mxm.task
    ... def gain(prices: list[float]) -> float: ...
    >>> @mxm.flow
    ... def risk():
    ...     return gain(load())
    >>> assert_graph(risk, "load -> gain")
    """
    spec = spec_of(flow)
    graph = FlowGraph(spec)
    edges = {(up, name) for name, ups in graph.upstreams.items() for up in ups}
    drawn, names = _read(drawing)
    lines = [f"  - {up} -> {name}" for up, name in sorted(drawn - edges)]
    lines += [f"  + {up} -> {name}" for up, name in sorted(edges - drawn)]
    lines += [f"  - {name}" for name in sorted(names - set(graph.tasks))]
    lines += [f"  + {name}" for name in sorted(set(graph.tasks) - names)]
    if lines:
        text = "\n".join(lines)
        raise AssertionError(
            f"flow {spec.name!r} has a different graph; - is missing, + is not expected:\n{text}"
        )


def _read(drawing: str) -> tuple[set[tuple[str, str]], set[str]]:
    edges: set[tuple[str, str]] = set()
    names: set[str] = set()
    for line in drawing.replace(";", "\n").splitlines():
        if not line.strip():
            continue
        steps = [[name.strip() for name in part.split(",")] for part in line.split("->")]
        if any(not name for step in steps for name in step):
            raise ValueError(f"a name is missing in {line.strip()!r}")
        names.update(name for step in steps for name in step)
        for before, after in itertools.pairwise(steps):
            edges.update((up, name) for up in before for name in after)
    return edges, names


def assert_flows_valid(*modules: str) -> None:
    """Check every flow of *modules*.

    Parameters
    ----------
    *modules
        Modules and packages by dotted name; none for those of the project.

    Raises
    ------
    AssertionError
        There is no flow, or one has errors; it names all of them.

    Examples
    --------
    >>> from mxm.pipeline.testing import assert_flows_valid
    >>> assert_flows_valid("json")
    Traceback (most recent call last):
        ...
    AssertionError: there is no flow in 'json'
    """
    result = discover(modules)
    if result.failures:
        raise AssertionError("\n".join(str(failure.error) for failure in result.failures))
    files = tuple(map(_file_of, modules)) or ("",)
    entries = [entry for entry in result.flows if entry.place.file.startswith(files)]
    if not entries:
        raise AssertionError(f"there is no flow in {', '.join(modules) or 'this project'}")
    problems = [problem for entry in entries for problem in check_flow(entry.spec())]
    errors = [str(problem) for problem in problems if problem.severity == "error"]
    if errors:
        raise AssertionError("\n".join(errors))


def _file_of(module: str) -> str:
    """The file of a module, or the folder of a package."""
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    if not file:
        raise AssertionError(f"module {module!r} cannot be imported")
    name = os.path.basename(file)
    return os.path.dirname(file) + os.sep if name == "__init__.py" else file
