"""Where the steps of a run write their assets: known before it, and each file for one of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mxm.pipeline.assets.declared import AssetDecl
from mxm.pipeline.assets.remote import is_url
from mxm.pipeline.assets.templates import PathError, Template, read_template
from mxm.pipeline.bindings import Binding, Bindings, Const, Param, by_parameter
from mxm.pipeline.errors import (
    AssetClashError,
)
from mxm.pipeline.execution.publishing.lineage import made_from
from mxm.pipeline.introspection.signatures import defaults_of, shape_of
from mxm.pipeline.introspection.uses import Use
from mxm.pipeline.problems import Problem
from mxm.pipeline.project.roots import project_root
from mxm.pipeline.runs import gather
from mxm.pipeline.spec import FlowSpec, TaskSpec

__all__ = ["Claims", "Target", "targets_of"]

LastRows: TypeAlias = Callable[[str, str | None, str | None], int | None]
"""Gives the number of rows of an asset's partition at a path of the last time."""


class Claims:
    """Which step of a run, or which item, writes a file: no other one does."""

    def __init__(self) -> None:
        self._by_path: dict[str, tuple[str, str | None]] = {}
        self._lock = threading.Lock()

    def claim(self, real: str, shown: str, step: str, item: str | None) -> None:
        """Note that *step*, or its *item*, writes the file *real*.

        Raises
        ------
        AssetClashError
            Another one does.
        """
        with self._lock:
            other = self._by_path.setdefault(real, (step, item))
        if other == (step, item):
            return
        if other[0] == step:
            raise AssetClashError(
                f"items {other[1]!r} and {item!r} of task {step!r} both write {shown}",
                hint="name in path_template what distinguishes the items",
            )
        raise AssetClashError(
            f"tasks {other[0]!r} and {step!r} both write {shown}",
            hint="name in path_template what distinguishes them",
        )


@dataclass(frozen=True, slots=True)
class Target:
    """Where a step writes its asset, before its inputs are known.

    Parameters
    ----------
    asset
        The asset.
    template
        Its path template; None if nothing is written, and the value only checked.
    task
        The task that writes it.
    root
        The project's root.
    outer
        Values of fields that are not parameters of the function.
    claims
        Those of the run.
    reads
        The assets that it is made from.
    last_rows
        Gives the number of rows of the last time; None if nothing is recorded.
    """

    asset: AssetDecl
    template: Template | None
    task: TaskSpec
    root: str
    outer: Mapping[str, Any]
    claims: Claims = field(compare=False)
    reads: tuple[str, ...] = ()
    last_rows: LastRows | None = field(default=None, compare=False)

    @property
    def is_remote(self) -> bool:
        """Whether the asset is written to a URL."""
        return self.template is not None and is_url(self.template.text)

    @property
    def names(self) -> set[str]:
        """The parameters that the path and the partition are made of."""
        names = {*self.template.names} if self.template else set[str]()
        return names | ({self.asset.partition_key} if self.asset.partition_key else set())

    def values(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The value of each field in a call with *args* and *kwargs*."""
        shape = shape_of(self.task.fn)
        named = dict(zip(shape.positional if shape else (), args, strict=False))
        defaults = {k: v for k, v in defaults_of(self.task.fn).items() if type(v) is not Use}
        return {**self.outer, **defaults, **named, **kwargs}

    def known(
        self,
        args: tuple[Binding, ...],
        kwargs: Mapping[str, Binding],
        params: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The value of each field that is known before the run, whose parameters are *params*."""
        inputs = by_parameter(self.task.fn, Bindings(args, kwargs))
        values = self.values((), {})
        known: dict[str, Any] = {}
        for name in self.template.names if self.template else ():
            bound = inputs.get(name)
            if isinstance(bound, Const):
                known[name] = bound.value
            elif isinstance(bound, Param):
                known[name] = gather(bound, {}, params)
            elif bound is None and name in values:
                known[name] = values[name]
        return known

    def problems(
        self,
        flow: str,
        args: tuple[Binding, ...],
        kwargs: Mapping[str, Binding],
        params: Mapping[str, Any],
    ) -> Iterator[Problem]:
        """The values that are known before the run, and cannot be part of a path."""
        known = self.known(args, kwargs, params)
        for each in self.template.fields if self.template else ():
            if each.name not in known:
                continue
            try:
                each.text(known[each.name])
            except PathError as error:
                yield Problem(
                    "MXM812",
                    f"asset {self.asset.id!r} of task {self.task.name!r} cannot be written to "
                    f"{self.asset.path_template}: {error}",
                    "give a value that is the name of a file or a folder",
                    source=self.task.source,
                    flow=flow,
                    task=self.task.name,
                )


def targets_of(
    spec: FlowSpec,
    inputs: Mapping[str, tuple[tuple[Binding, ...], Mapping[str, Binding]]],
    flow: Mapping[str, Any],
    last_rows: LastRows | None = None,
) -> tuple[dict[str, Target], list[Problem]]:
    """Where each step writes its asset, and the values that cannot be part of a path.

    Parameters
    ----------
    spec
        The flow, which has been checked.
    inputs
        The arguments of each task, as far as they are known.
    flow
        The flow's parameters in this run.
    last_rows
        Gives the number of rows of an asset's partition of the last time.
    """
    root = project_root(spec.source.file if spec.source else None)
    claims = Claims()
    tasks = {task.name: task for task in spec.tasks}
    targets: dict[str, Target] = {}
    problems: list[Problem] = []
    for task in spec.tasks:
        asset = task.produces
        if asset is None or (asset.path_template is None and not asset.checks):
            continue
        template = None if asset.path_template is None else read_template(asset.path_template)
        names = {*(template.names if template else ()), asset.partition_key}
        outer = {k: v for k, v in {**task.params, **flow}.items() if k in names}
        reads = tuple(made_from(task, tasks))
        targets[task.name] = target = Target(
            asset, template, task, root, outer, claims, reads, last_rows
        )
        problems += target.problems(spec.name, *inputs[task.name], flow)
    return targets, problems
