"""Reads parameters from the command line: typed, in files, in environment variables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mxm.pipeline.cli.files import is_document, value_of
from mxm.pipeline.cli.output import few
from mxm.pipeline.cli.sources import Sources
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.introspection.uses import settings_of, used_by
from mxm.pipeline.params.declared import parameters_of, secret_names
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.values.conversion import Sourced, Text
from mxm.pipeline.values.parts import Fields, Members
from mxm.pipeline.values.secrets import secret_parameters

__all__ = ["given_limits", "given_params", "given_settings"]


def given_params(params: Sequence[str], file: str | None, spec: FlowSpec) -> dict[str, Any]:
    """The values by name, in the form that `mxm.pipeline.params.resolve.resolve` takes.

    Parameters
    ----------
    params
        The words after each ``-p``, in order. A repeated name gives the members of a list, a name
        with dots a field of a value; they take precedence over the file.
    file
        The word after ``--params-file``.
    spec
        The flow; it decides which names may be shown, and which are secret.

    Raises
    ------
    PipelineError
        One cannot be read. The message shows no value, nor a word that may be one.
    """
    known = {parameter.name for parameter in parameters_of(spec)}
    reader = _Reader("-p", known, secret_names(spec), "parameter")
    whole: dict[str, list[Text | Sourced]] = {}
    if file is not None:
        whole.update({k: [Sourced(v, file)] for k, v in reader.params_file(file).items()})
    return _collected(reader, params, whole, depth=1)


def given_settings(settings: Sequence[str], spec: FlowSpec) -> dict[str, dict[str, Any]]:
    """The settings of resources by name of each, as `compile_flow` takes them.

    Parameters
    ----------
    settings
        What follows each ``--resource``, in order: ``db.url=VALUE``, read as ``-p`` is.
    spec
        The flow; its resources say which names may be shown.

    Raises
    ------
    PipelineError
        One cannot be read. The message shows no value, nor a word that may be one.
    """
    known: set[str] = set()
    secrets: set[str] = set()
    for resource in used_by(task.fn for task in spec.tasks) if settings else ():
        known |= {f"{resource.name}.{name}" for name in settings_of(resource)}
        secrets |= {f"{resource.name}.{name}" for name in secret_parameters(resource.fn)}
    reader = _Reader("--resource", known, frozenset(secrets), "setting")
    by_resource: dict[str, dict[str, Any]] = {}
    for name, value in _collected(reader, settings, {}, depth=2).items():
        resource_name, _, setting = name.partition(".")
        by_resource.setdefault(resource_name, {})[setting] = value
    return by_resource


def given_limits(limits: Sequence[str]) -> dict[str, object]:
    """The numbers of limits by name, as `compile_flow` takes them; other text stays text.

    Parameters
    ----------
    limits
        What follows each ``--limit``: ``bloomberg=2``.

    Raises
    ------
    PipelineError
        One has no name or no number, or a name is given twice.
    """
    numbers: dict[str, object] = {}
    for text in limits:
        name, equals, number = text.partition("=")
        if not name or not equals:
            raise PipelineError(f"--limit takes NAME=N, not {text!r}", hint="--limit bloomberg=2")
        if name in numbers:
            raise PipelineError(f"--limit {name} is given twice", hint="give one number")
        numbers[name] = int(number) if number.isascii() and number.isdigit() else number
    return numbers


def _collected(
    reader: _Reader,
    items: Sequence[str],
    whole: dict[str, list[Text | Sourced]],
    *,
    depth: int,
) -> dict[str, Any]:
    """The values of *items* by name; they win over those in *whole*.

    The first *depth* words of a path, at its dots, are a name; the others lead to a field.
    """
    fields: dict[str, dict[tuple[str, ...], list[Text | Sourced]]] = {}
    typed = set[str]()
    flag = reader.flag
    for number, item in enumerate(items, start=1):
        which = f"the {_ordinal(number)} {flag}" if len(items) > 1 else flag
        path, value = reader.split(item, which, depth)
        name, rest = ".".join(path[:depth]), path[depth:]
        read = reader.value(".".join(path), value, name)
        if rest:
            fields.setdefault(name, {}).setdefault(tuple(rest), []).append(read)
        elif name in typed:
            whole[name].append(read)
        else:
            whole[name] = [read]
            typed.add(name)
    values: dict[str, Any] = {name: _one_or_members(items) for name, items in whole.items()}
    for name, changes in fields.items():
        parts = {path: _one_or_members(items) for path, items in changes.items()}
        values[name] = Fields(parts, **({"base": values[name]} if name in values else {}))
    return values


def _one_or_members(values: list[Text | Sourced]) -> Text | Sourced | Members:
    return values[0] if len(values) == 1 else Members(tuple(values))


def _ordinal(number: int) -> str:
    last = 0 if 10 < number % 100 < 20 else number % 10
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"


class _Reader:
    """Reads the parameters for one flow; messages never contain a value that may be a secret.

    Parameters
    ----------
    flag
        The option that sets it: ``-p`` or ``--resource``.
    known, secrets
        The existing names, and those whose values must not be shown.
    kind
        What is named.
    """

    def __init__(self, flag: str, known: set[str], secrets: frozenset[str], kind: str) -> None:
        self.flag = flag
        self._known = known
        self._secrets = secrets
        self._kind = kind
        self._sources = Sources()
        self._name = "NAME" if flag == "-p" else "RESOURCE.KEY"

    def split(self, item: str, which: str, depth: int) -> tuple[list[str], str]:
        """The path in *item*, at its dots, and the value; *which* names *item* in errors."""
        needs, write = f"{which} needs {self._name}=VALUE", f"write {self.flag} {self._name}=VALUE"
        name, equals, value = item.partition("=")
        name = name.strip()
        if name.startswith("-"):
            hint = f"{write}, and options before or after it"
            raise PipelineError(f"{needs}: an option follows it", hint=hint)
        path = name.split(".")
        if not equals:  # a word that is not a parameter may be a value
            if ".".join(path[:depth]) not in self._known:
                known = few(sorted(self._known))
                raise PipelineError(needs, hint=known and f"known: {known}")
            hint = f"write {self.flag} {name}=VALUE"
            raise PipelineError(f"{self.flag} {name} has no value", hint=hint)
        if not all(path):
            hint = f"{write}, or {self.flag} {self._name}.FIELD=VALUE for one field of a value"
            raise PipelineError(f"{needs}: a name is empty", hint=hint)
        if len(path) < depth:
            known = few(sorted(self._known))
            raise PipelineError(needs, hint=f"known: {known}" if known else write)
        return path, value

    def value(self, path: str, value: str, name: str) -> Text | Sourced:
        """*value* for *path* of *name*, or the content of the file or variable it names."""
        if not value.startswith("@"):
            return Text(value)
        if value.startswith("@@"):
            return Text(value[1:])
        shown = name in self._known and name not in self._secrets
        whose = f"{self._kind} {path!r}"
        flag = self.flag
        verbatim = f"for the text itself: {flag} {path}=@{value if shown else '@...'}"
        if value.startswith("@env:"):
            return self._of_variable(value.removeprefix("@env:"), whose, verbatim, shown=shown)
        file = value[1:]
        if not file:
            hint = f"write {flag} {path}=@FILE, or {flag} {path}=@env:VARIABLE; {verbatim}"
            raise PipelineError(f"{whose}: @ needs a file name", hint=hint)
        text = self._sources.text_of(file, whose, verbatim, shown=shown)
        if is_document(file):
            return Sourced(value_of(file, text), file)
        text = text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
        return Sourced(Text(text), file)

    def _of_variable(self, variable: str, whose: str, verbatim: str, *, shown: bool) -> Sourced:
        if not variable:
            hint = f"write @env:VARIABLE; {verbatim}"
            raise PipelineError(f"{whose}: @env: needs a variable name", hint=hint)
        if variable not in os.environ:
            if not shown:
                message = f"{whose}: the variable that @env: names is not set"
                raise PipelineError(message, hint=f"export it; {verbatim}")
            near = did_you_mean(variable, os.environ)  # names only, never a value
            message = f"{whose}: environment variable {variable!r} is not set"
            raise PipelineError(message, hint=near or f"export {variable}; {verbatim}")
        return Sourced(Text(os.environ[variable]), f"environment variable {variable}")

    def params_file(self, path: str) -> dict[str, Any]:
        """The names and values in the file, or the stream, *path*."""
        if not is_document(path) and not Sources.is_stream(path):
            hint = "use a .toml, .json, .yaml or .yml file"
            name, equals, _ = path.partition("=")
            shown = f"{name}=..." if equals else path  # a parameter whose value may be secret
            raise PipelineError(f"--params-file: cannot tell the format of {shown!r}", hint=hint)
        values = value_of(path, self._sources.text_of(path, "--params-file"))
        kind = _kind(values)
        if kind == "null" and path.lower().endswith((".yaml", ".yml")):  # only comments
            return {}
        if kind != "a mapping":
            hint = 'give names and values, {"limit": 100} for instance'
            raise PipelineError(f"{path}: its top level is {kind}, not a mapping", hint=hint)
        for key in values:
            if not isinstance(key, str):
                message = f"{path}: the name {key!r} is not text"
                raise PipelineError(message, hint="put it in quotes")
        return dict(values)


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    return "null" if value is None else "a list" if isinstance(value, list) else "a single value"
