"""Problems of assets: templates, formats, and files that more than one task or item would write."""

from __future__ import annotations

import os
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Any

from mxm.pipeline.assets.declared import AssetDecl
from mxm.pipeline.assets.formats import unknown_format
from mxm.pipeline.assets.remote import is_url, refusal_of
from mxm.pipeline.assets.templates import Template, TemplateError, read_template
from mxm.pipeline.bindings import (
    Binding,
    Collection,
    Const,
    Each,
    Param,
    PerItem,
    Upstream,
    by_parameter,
)
from mxm.pipeline.introspection.annotations import Unresolved, named_type, result_hint, type_text
from mxm.pipeline.introspection.signatures import shape_of
from mxm.pipeline.problems import Problem, closest, did_you_mean
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.values.secrets import secret_parameters

__all__ = ["asset_problems", "differing_assets"]


def asset_problems(spec: FlowSpec) -> Iterator[Problem]:
    """The problems of the assets that the tasks of *spec* read and write."""
    yield from _unordered(spec)
    written: dict[tuple[object, ...], TaskSpec] = {}
    for task in spec.tasks:
        asset = task.produces
        if asset is None or asset.path_template is None:
            continue
        hint = unknown_format(asset.format)
        if hint is not None:
            yield _problem(
                "MXM801",
                spec,
                task,
                f"asset {asset.id!r} has unknown format {asset.format!r}",
                hint,
            )
        try:
            template = read_template(asset.path_template)
        except TemplateError as error:
            code = "MXM806" if error.leaves else "MXM802"
            what = "leaves the project" if error.leaves else "cannot be read"
            yield _problem(
                code,
                spec,
                task,
                f"path_template {asset.path_template!r} of asset {asset.id!r} {what}: {error}",
                'write it relative to the project\'s root: "data/{symbol}/{day:%Y-%m}.parquet"',
            )
            continue
        problems = list(_fields(spec, task, asset, template))
        yield from problems
        refusal = refusal_of(template.text) if is_url(template.text) else None
        if refusal is not None:
            yield _problem(
                "MXM814",
                spec,
                task,
                f"asset {asset.id!r} cannot be written to {template.text}: {refusal}",
                "install a package for such URLs, such as s3fs for s3://, or write it into the "
                "project",
            )
        if hint is None:
            yield from _format(spec, task, asset)
        if problems:
            continue
        yield from _items(spec, task, asset, template)
        key = _key(spec, task, template)
        other = written.setdefault(key, task)
        if other is not task:
            yield _twice(spec, other, task, asset)


def differing_assets(specs: Iterable[FlowSpec]) -> Iterator[Problem]:
    """Assets that two of *specs* write in different places or forms, under one name."""
    first: dict[str, tuple[FlowSpec, TaskSpec]] = {}
    for spec in specs:
        for task in spec.tasks:
            asset = task.produces
            if asset is None or asset.path_template is None:
                continue
            flow, other = first.setdefault(asset.id, (spec, task))
            if other.produces is None or _place(other.produces) == _place(asset):
                continue
            who = f"flows {flow.name!r} and {spec.name!r} declare"
            if flow is spec:
                who = f"flow {spec.name!r} declares"
            yield Problem(
                "MXM817",
                f"{who} asset {asset.id!r} differently: "
                f"{_shown(other.produces)} and {_shown(asset)}",
                "declare it once and use that in both, or give each a name of its own",
                source=task.source,
                flow=spec.name,
                task=task.name,
                places=((other.name, other.source), (task.name, task.source)),
                severity="warning",
            )


def _place(asset: AssetDecl) -> tuple[str | None, str, str | None]:
    return asset.path_template, asset.format, asset.partition_key


def _shown(asset: AssetDecl) -> str:
    key = f" by {asset.partition_key}" if asset.partition_key else ""
    return f"{asset.path_template} ({asset.format}{key})"


def _unordered(spec: FlowSpec) -> Iterator[Problem]:
    """Tasks that read an asset that another task writes, where nothing says which is first."""
    tasks = {task.name: task for task in spec.tasks}
    for reader in spec.tasks:
        for writer in spec.tasks if reader.reads else ():
            asset = writer.produces
            if writer is reader or asset is None or asset.id not in reader.reads:
                continue
            if writer.name in _behind(reader, tasks) or reader.name in _behind(writer, tasks):
                continue
            yield Problem(
                "MXM816",
                f"task {reader.name!r} reads asset {asset.id!r}, which task {writer.name!r} writes "
                "in the same run: nothing says which comes first",
                f"take its result, or write after={writer.name!r}",
                source=reader.source,
                flow=spec.name,
                task=reader.name,
                places=((reader.name, reader.source), (writer.name, writer.source)),
            )


def _behind(task: TaskSpec, tasks: Mapping[str, TaskSpec]) -> set[str]:
    """The names of all tasks that come before *task*."""
    behind: set[str] = set()
    waiting = [*task.upstream, *task.after]
    while waiting:
        name = waiting.pop()
        if name not in behind and name in tasks:
            behind.add(name)
            waiting += [*tasks[name].upstream, *tasks[name].after]
    return behind


def _problem(code: str, spec: FlowSpec, task: TaskSpec, message: str, hint: str) -> Problem:
    return Problem(
        code,
        f"task {task.name!r}: {message}",
        hint,
        source=task.source,
        flow=spec.name,
        task=task.name,
    )


def _fields(
    spec: FlowSpec, task: TaskSpec, asset: AssetDecl, template: Template
) -> Iterator[Problem]:
    """Unknown fields of *template*, and those that would show a secret."""
    known = {*_names(task.fn), *(_names(spec.fn) if spec.fn else ()), *spec.params, *task.params}
    if asset.partition_key is not None:
        known.add(asset.partition_key)
    if not spec.traced:  # the parameters of every task are the flow's
        known.update(name for other in spec.tasks for name in _names(other.fn))
    secrets = secret_parameters(spec.fn).union(*(secret_parameters(t.fn) for t in spec.tasks))
    for name in template.names:
        if name not in known:
            near = did_you_mean(name, known) if closest(name, known) else None
            yield _problem(
                "MXM803",
                spec,
                task,
                f"path_template {template.text!r} of asset {asset.id!r} has an unknown field "
                f"{{{name}}}",
                near or f"use a parameter of the task or the flow, or partition_key={name!r}",
            )
        elif name in secrets:
            yield _problem(
                "MXM808",
                spec,
                task,
                f"path_template {template.text!r} of asset {asset.id!r} would show the secret "
                f"{name!r} in the name of a file",
                "name a parameter that is not a secret",
            )


def _names(fn: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the parameters of *fn*, without ``*args`` and ``**kwargs``."""
    shape = shape_of(fn)
    return (*shape.positional, *shape.keyword_only) if shape else ()


def _items(
    spec: FlowSpec, task: TaskSpec, asset: AssetDecl, template: Template
) -> Iterator[Problem]:
    """A template that gives every item of a mapped task the same path."""
    if not task.mapped:
        return
    inputs = by_parameter(task.fn, task.bindings)
    varying = [name for name, binding in inputs.items() if _varies(binding, task)]
    if any(name in varying for name in template.names):
        return
    names = " or ".join(f"{{{name}}}" for name in varying)
    yield _problem(
        "MXM805",
        spec,
        task,
        f"all items would write {template.text!r}, the file of asset {asset.id!r}",
        f"name what differs between items in path_template: {names}"
        if names
        else "name a parameter that differs between items in path_template",
    )


def _varies(binding: Binding, task: TaskSpec) -> bool:
    """Whether *binding* gives each item a different value."""
    by_item = isinstance(binding, Upstream) and binding.name in task.by_item
    return by_item or isinstance(binding, Each | PerItem)


def _key(spec: FlowSpec, task: TaskSpec, template: Template) -> tuple[object, ...]:
    """What is equal for two tasks whose paths are certainly equal."""
    inputs = by_parameter(task.fn, task.bindings)
    own = _names(task.fn)
    parts: list[object] = []
    for piece in template.pieces:
        if isinstance(piece, str):
            parts.append(os.path.normcase(piece))
            continue
        bound = inputs.get(piece.name)
        source: object = f"parameter {piece.name}"
        if isinstance(bound, Const):
            source = f"constant {bound.value!r}"
        elif isinstance(bound, Param):
            source = f"parameter {bound}"
        elif bound is not None:
            source = _text(bound, task)
        elif piece.name in own and piece.name in task.params:
            source = f"constant {task.params[piece.name]!r} of parameter {piece.name}"
        elif spec.traced and piece.name in own:  # the task's default
            source = f"default {piece.name} of {id(task.fn)}"
        parts.append((source, piece.spec))
    return tuple(parts)


def _text(binding: Binding, task: TaskSpec) -> str:
    if isinstance(binding, PerItem):
        return f"item {_text(binding.binding, task)} of {task.over}"
    if isinstance(binding, Each):
        return f"each {_text(binding.items, task)} {binding.path}"
    if isinstance(binding, Upstream):
        return f"result {binding}"
    if isinstance(binding, Collection):
        return f"collection of {id(task)}"
    return repr(binding) if isinstance(binding, Param) else f"constant {binding.value!r}"


def _twice(spec: FlowSpec, one: TaskSpec, other: TaskSpec, asset: AssetDecl) -> Problem:
    return Problem(
        "MXM804",
        f"tasks {one.name!r} and {other.name!r} write the same file, {asset.path_template}",
        "name in path_template what distinguishes them, or let one of them write it",
        source=other.source,
        flow=spec.name,
        task=other.name,
        places=((one.name, one.source), (other.name, other.source)),
    )


# ---------------------------------------------------------------------------------------------
# What a format cannot hold

_TABLES = {("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "Table")}
_JSON = (dict, list, str, int, float, bool)


def _format(spec: FlowSpec, task: TaskSpec, asset: AssetDecl) -> Iterator[Problem]:
    """A return annotation none of whose values the format can hold."""
    hint = result_hint(task.fn)
    if asset.format not in ("parquet", "csv", "feather", "json") or _may_hold(asset.format, hint):
        return
    yield _problem(
        "MXM807",
        spec,
        task,
        f"{asset.format} cannot store what it returns, {type_text(hint)}, for asset {asset.id!r}",
        "return the table, or let the task write the file and return None or its path",
    )


def _may_hold(name: str, hint: Any) -> bool:
    """Whether some value of *hint* can be written, or says that the task wrote the file."""
    hint = named_type(hint)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object or isinstance(hint, Unresolved | typing.TypeVar):
        return True
    if origin is typing.Annotated:
        return _may_hold(name, args[0])
    if origin in (typing.Union, UnionType):
        return any(_may_hold(name, member) for member in args)
    if origin is typing.Literal:
        return True
    kind: Any = origin or hint
    if kind is None or not isinstance(kind, type):
        return True
    if kind in (NoneType, str) or hasattr(kind, "__fspath__"):
        return True  # None, or the path of a file that the task wrote
    if getattr(kind, "_is_protocol", False):
        return True
    if name == "json":
        return _is_plain(kind) or _is_abstract(kind)  # a Sequence may be a list
    root = kind.__module__.partition(".")[0]
    if _is_abstract(kind):
        return False
    if (root, kind.__qualname__) in _TABLES:
        return True
    # Frames as annotated by a schema's library are frames of pandas or polars.
    return root in ("pandera", "dataframely")


def _is_plain(kind: type) -> bool:
    return kind in _JSON or typing.is_typeddict(kind)


def _is_abstract(kind: type) -> bool:
    return kind.__module__ in ("collections.abc", "typing")
