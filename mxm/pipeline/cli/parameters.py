"""Parameters as a command line gives them: typed, in files, in variables of the environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mxm.pipeline.cli.files import is_document, value_of
from mxm.pipeline.cli.output import few
from mxm.pipeline.cli.sources import Sources
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.params.declared import parameters_of, secret_names
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.values.conversion import Given, Text
from mxm.pipeline.values.parts import Fields, Members

__all__ = ["given_params"]

_NEEDS = "needs NAME=VALUE"


def given_params(params: Sequence[str], file: str | None, spec: FlowSpec) -> dict[str, Any]:
    """The values by name, as `mxm.pipeline.params.resolve.resolve` takes them.

    Parameters
    ----------
    params
        What follows each ``-p``, in order. A name given more than once is a list's members, one
        with dots a field of a value; each goes before what the file has.
    file
        What follows ``--params-file``.
    spec
        The flow; it says which names may be shown, and which hold secrets.

    Raises
    ------
    PipelineError
        One cannot be read. The message shows no value, nor a word that may be one.
    """
    reader = _Reader(spec)
    whole: dict[str, list[Text | Given]] = {}
    fields: dict[str, dict[tuple[str, ...], list[Text | Given]]] = {}
    if file is not None:
        whole.update({k: [Given(v, file)] for k, v in reader.params_file(file).items()})
    typed = set[str]()
    for number, item in enumerate(params, start=1):
        path, value = reader.split(item, f"the {_ordinal(number)} -p" if len(params) > 1 else "-p")
        name, *rest = path
        read = reader.value(".".join(path), value)
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


def _one_or_members(values: list[Text | Given]) -> Text | Given | Members:
    return values[0] if len(values) == 1 else Members(tuple(values))


def _ordinal(number: int) -> str:
    last = 0 if 10 < number % 100 < 20 else number % 10
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"


class _Reader:
    """Reads what is given for one flow; a value that may be a secret is in no message."""

    def __init__(self, spec: FlowSpec) -> None:
        self._known = {parameter.name for parameter in parameters_of(spec)}
        self._secrets = secret_names(spec)
        self._sources = Sources()

    def split(self, item: str, which: str) -> tuple[list[str], str]:
        """The name in *item*, at its dots, and the value; *which* names *item* in errors."""
        name, equals, value = item.partition("=")
        name = name.strip()
        if name.startswith("-"):
            hint = "write -p NAME=VALUE, and options before or after it"
            raise PipelineError(f"{which} {_NEEDS}: an option follows it", hint=hint)
        if not equals:  # a word that is no parameter may be a value
            if name.partition(".")[0] not in self._known:
                known = few(sorted(self._known))
                raise PipelineError(f"{which} {_NEEDS}", hint=known and f"known: {known}")
            raise PipelineError(f"-p {name} has no value", hint=f"write -p {name}=VALUE")
        path = name.split(".")
        if not all(path):
            hint = "write -p NAME=VALUE, or -p NAME.FIELD=VALUE for one field of a value"
            raise PipelineError(f"{which} {_NEEDS}: a name is empty", hint=hint)
        return path, value

    def value(self, name: str, value: str) -> Text | Given:
        """What *value* stands for: itself, or what is in a file or a variable."""
        if not value.startswith("@"):
            return Text(value)
        if value.startswith("@@"):
            return Text(value[1:])
        parameter = name.partition(".")[0]
        shown = parameter in self._known and parameter not in self._secrets
        whose = f"parameter {name!r}"
        verbatim = f"for the text itself: -p {name}=@{value if shown else '@...'}"
        if value.startswith("@env:"):
            return self._of_variable(value.removeprefix("@env:"), whose, verbatim, shown=shown)
        path = value[1:]
        if not path:
            hint = f"write -p {name}=@FILE, or -p {name}=@env:VARIABLE; {verbatim}"
            raise PipelineError(f"{whose}: @ needs a file name", hint=hint)
        text = self._sources.text_of(path, whose, verbatim, shown=shown)
        if is_document(path):
            return Given(value_of(path, text), path)
        text = text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
        return Given(Text(text), path)

    def _of_variable(self, variable: str, whose: str, verbatim: str, *, shown: bool) -> Given:
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
        return Given(Text(os.environ[variable]), f"environment variable {variable}")

    def params_file(self, path: str) -> dict[str, Any]:
        """The names and values in the file, or the stream, *path*."""
        if not is_document(path) and not Sources.is_stream(path):
            hint = "use a .toml, .json, .yaml or .yml file"
            name, equals, _ = path.partition("=")
            shown = f"{name}=..." if equals else path  # a parameter, whose value may be a secret
            raise PipelineError(f"--params-file: cannot tell the format of {shown!r}", hint=hint)
        values = value_of(path, self._sources.text_of(path, "--params-file"))
        kind = _kind(values)
        if kind == "null" and path.lower().endswith((".yaml", ".yml")):  # nothing but comments
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
