"""Assertions for tests: the edges of a flow, and flows without problems."""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
from typing import Any

from mxm.pipeline.api import check_flow
from mxm.pipeline.discovery.scan import scan
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
        Chains of names, such as ``load -> returns -> volatility``, one per line or separated by
        ``;``. A comma separates several tasks: ``load -> returns, drawdown``. A single name is a
        task without edges.

    Raises
    ------
    AssertionError
        Tasks or edges are missing or not expected; the message lists them.
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
    """Check every flow of *modules*, and of the modules in a package.

    Parameters
    ----------
    *modules
        Modules and packages by dotted name; without any, those of the project.

    Raises
    ------
    AssertionError
        There is no flow, or flows have errors; the message lists all of them.

    Examples
    --------
    >>> from mxm.pipeline.testing import assert_flows_valid
    >>> assert_flows_valid("json")
    Traceback (most recent call last):
        ...
    AssertionError: there is no flow in 'json'
    """
    result = discover(modules)  # its settings say what can be imported
    if within := [each for module in modules for each in _modules_in(module)]:
        result = discover([*modules, *within])
    if result.failures:
        raise AssertionError("\n".join(str(failure.error) for failure in result.failures))
    files = tuple(file for module in modules for file in _files_of(module)) or ("",)
    entries = [entry for entry in result.flows if entry.place.file.startswith(files)]
    if not entries:
        raise AssertionError(f"there is no flow in {', '.join(modules) or 'this project'}")
    problems = [problem for entry in entries for problem in check_flow(entry.spec())]
    errors = [str(problem) for problem in problems if problem.severity == "error"]
    if errors:
        raise AssertionError("\n".join(errors))


def _modules_in(package: str) -> list[str]:
    """The modules of *package* that declare flows, by dotted name."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # `discover` says so
        return []
    folders = list(spec.submodule_search_locations or ()) if spec else []
    paths = [os.path.relpath(p, folder) for folder in folders for p in scan(folder).declaring]
    names = [path.removesuffix(".py").split(os.sep) for path in paths]
    return [".".join((package, *parts)) for parts in names if parts[-1] != "__init__"]


def _files_of(module: str) -> list[str]:
    """The file of a module, or the folders of a package: one without a file may have several."""
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if file and os.path.basename(file) != "__init__.py":
        return [file]
    folders = [os.path.dirname(file)] if file else list(getattr(loaded, "__path__", ()))
    if not folders:
        raise AssertionError(f"module {module!r} cannot be imported")
    return [os.path.join(os.path.realpath(folder), "") for folder in folders]
