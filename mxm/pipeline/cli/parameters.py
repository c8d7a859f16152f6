"""Parameters as a command line gives them: typed, in files, in variables of the environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mxm.pipeline.cli.files import is_document, text_of, value_of
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.values.conversion import Given, Text

__all__ = ["given_params"]


def given_params(params: Sequence[str], file: str | None) -> dict[str, Any]:
    """The values by name, as `mxm.pipeline.params.declared.resolve` takes them.

    Parameters
    ----------
    params
        What stands after ``-p``, in order: the last of a name wins, and goes before the file's.
    file
        What stands after ``--params-file``.

    Raises
    ------
    PipelineError
        One cannot be read; the message tells no value.
    """
    found: dict[str, Any] = {}
    if file is not None:
        found.update({name: Given(v, file) for name, v in _params_file(file).items()})
    for item in params:
        name, equals, value = item.partition("=")
        name = name.strip()
        if not name:
            raise PipelineError("-p names no parameter", hint="write -p name=VALUE")
        if name.startswith("-"):
            told = f"-p is followed by {item!r}, not by a parameter"
            raise PipelineError(told, hint="write -p name=VALUE, and options before or after it")
        if not equals:
            raise PipelineError(f"parameter {item!r} has no value", hint=f"write -p {item}=VALUE")
        found[name] = _value(name, value)
    return found


def _value(name: str, value: str) -> Text | Given:
    if not value.startswith("@"):
        return Text(value)
    if value.startswith("@@"):
        return Text(value[1:])
    verbatim = f"for the text itself: -p {name}=@{value}"
    if value.startswith("@env:"):
        variable = value.removeprefix("@env:")
        if not variable:
            hint = f"write -p {name}=@env:VARIABLE; {verbatim}"
            raise PipelineError(f"parameter {name!r}: @env: names no variable", hint=hint)
        if variable not in os.environ:
            near = did_you_mean(variable, os.environ)  # names only, never a value
            told = f"parameter {name!r}: the environment has no variable {variable!r}"
            raise PipelineError(told, hint=near or f"export {variable}; {verbatim}")
        return Given(Text(os.environ[variable]), f"the environment's {variable}")
    path = value[1:]
    if not path:
        hint = f"write -p {name}=@FILE, or -p {name}=@env:VARIABLE; {verbatim}"
        raise PipelineError(f"parameter {name!r}: @ names no file", hint=hint)
    text = text_of(path, f"parameter {name!r}: ", verbatim)
    if is_document(path):
        return Given(value_of(path, text), path)
    text = text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
    return Given(Text(text), path)


def _params_file(path: str) -> dict[str, Any]:
    if not is_document(path):
        hint = "it is a .toml, .json, .yaml or .yml file"
        raise PipelineError(f"--params-file: cannot tell the format of {path!r}", hint=hint)
    found = value_of(path, text_of(path, "--params-file: "))
    kind = _kind(found)
    if kind == "null" and not path.lower().endswith(".json"):  # YAML with nothing but comments
        return {}
    if kind != "a mapping":
        hint = 'give names and values, {"limit": 100} for instance'
        raise PipelineError(f"{path}: its top level is {kind}, not a mapping", hint=hint)
    for key in found:
        if not isinstance(key, str):
            raise PipelineError(f"{path}: the name {key!r} is not text", hint="put it in quotes")
    return dict(found)


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    return "null" if value is None else "a list" if isinstance(value, list) else "a single value"
