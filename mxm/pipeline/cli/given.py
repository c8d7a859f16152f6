"""The parameters that a command line gives: `-p KEY=VALUE`, and the files and variables it names."""

from __future__ import annotations

import importlib
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, cast

from mxm.pipeline.errors import PipelineError, did_you_mean
from mxm.pipeline.params import Given, Text

__all__ = ["given_params"]


def given_params(params: Sequence[str], file: str | None) -> dict[str, Any]:
    """The values by name, as `mxm.pipeline.params.resolve` takes them.

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
    text = _text(path, f"parameter {name!r}: ", verbatim)
    read = _READERS.get(_suffix(path))
    if read is not None:
        return Given(read(path, text), path)
    return Given(Text(text.removesuffix("\n").removesuffix("\r")), path)


def _params_file(path: str) -> dict[str, Any]:
    read = _READERS.get(_suffix(path))
    if read is None:
        hint = "it is a .toml, .json, .yaml or .yml file"
        raise PipelineError(f"--params-file: cannot tell the format of {path!r}", hint=hint)
    found = read(path, _text(path, "--params-file: ", None))
    if found is None and read is _yaml:  # nothing in it but comments
        return {}
    if not isinstance(found, dict):
        kind = _KINDS.get(type(found), "a single value")
        hint = f"give a mapping of names to values, {_MAPPINGS[_suffix(path)]} for instance"
        raise PipelineError(f"{path}: its top level is {kind}, not a mapping", hint=hint)
    values = cast("dict[Any, Any]", found)
    for key in values:
        if not isinstance(key, str):
            hint = f'put it in quotes: "{key}"'
            raise PipelineError(f"{path}: the name {key!r} is not text", hint=hint)
    return values


_KINDS: dict[type, str] = {list: "a list", str: "text", type(None): "null"}


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _text(path: str, whose: str, hint: str | None) -> str:
    """What stands in *path*, as UTF-8; *hint* is for a path that was meant otherwise."""
    full = os.path.expanduser(path)
    try:
        with open(full, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        folder = os.path.dirname(full)
        near = did_you_mean(os.path.basename(full), _names_in(folder))
        if near and near.startswith("known"):
            near = None
        told = "; ".join(filter(None, (near, hint))) or f"paths start at {os.getcwd()}"
        raise PipelineError(f"{whose}no such file: {path!r}", hint=told) from None
    except IsADirectoryError:
        raise PipelineError(f"{whose}{path!r} is a folder, not a file", hint=hint) from None
    except (OSError, ValueError) as error:  # a null character in the path is a ValueError
        why = getattr(error, "strerror", None) or str(error)
        raise PipelineError(f"{whose}cannot read {path!r}: {why}", hint=hint) from None
    try:
        return content.decode("utf-8-sig")  # some editors put a mark before the text
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        told = f"{path}:{line}: not UTF-8"
        raise PipelineError(told, hint="save the file as UTF-8") from None


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder or ".")
    except OSError:
        return []


def _json(path: str, text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")  # Python reads NaN and Infinity by itself

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        _refuse(path, "JSON", error.msg, error.lineno, error.colno)
    except ValueError as error:  # also a number that is too long
        _refuse(path, "JSON", str(error))
    except RecursionError:
        _refuse(path, "JSON", "nested too deeply")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands there twice")
        found[key] = value
    return found


def _toml(path: str, text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        why, _, place = str(error).partition(" (at ")
        at = re.match(r"line (\d+), column (\d+)", place)
        if at:
            _refuse(path, "TOML", why, int(at[1]), int(at[2]))
        _refuse(path, "TOML", f"{why} at the end" if place else why)
    except ValueError as error:  # a number that is too long, a date that is none
        _refuse(path, "TOML", str(error))
    except RecursionError:
        _refuse(path, "TOML", "nested too deeply")


def _yaml(path: str, text: str) -> Any:
    try:
        yaml = importlib.import_module("yaml")
    except ModuleNotFoundError:
        hint = "pip install 'mxm-pipeline[yaml]', or give a .toml or .json file"
        raise PipelineError(f"reading {path!r} needs PyYAML", hint=hint) from None

    class Loader(yaml.SafeLoader):
        """The safe loader, which would let the last of two equal keys win."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[Any] = set()
            for key, _ in node.value:
                if key.tag in _MERGE or not isinstance(key, yaml.ScalarNode):
                    continue
                if key.value in seen:
                    told = f"the key {key.value!r} stands there twice"
                    raise yaml.constructor.ConstructorError(None, None, told, key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        why = _without_values(error.problem or "it cannot be parsed")
        _refuse(path, "YAML", why, mark.line + 1 if mark else None, mark.column + 1 if mark else 0)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        _refuse(path, "YAML", f"the character #x{error.character:04x} is not allowed", line)
    except ValueError as error:  # a date that is none
        _refuse(path, "YAML", str(error))
    except RecursionError:
        _refuse(path, "YAML", "nested too deeply")


_MERGE = ("tag:yaml.org,2002:merge",)


def _without_values(problem: str) -> str:
    """*problem* without the words of the file: PyYAML names an alias or a tag, a password maybe."""
    if "stands there twice" in problem:
        return problem
    return re.sub(r"'[^'<]{2,}'", "'...'", problem)


def _refuse(
    path: str, kind: str, why: str, line: int | None = None, column: int | None = None
) -> NoReturn:
    place = ":".join(str(part) for part in (path, line, column) if part)
    raise PipelineError(f"{place}: not valid {kind}: {why}") from None


_READERS: Mapping[str, Callable[[str, str], Any]] = {
    ".json": _json,
    ".toml": _toml,
    ".yaml": _yaml,
    ".yml": _yaml,
}
_MAPPINGS = {
    ".json": '{"limit": 100}',
    ".toml": "limit = 100",
    ".yaml": "limit: 100",
    ".yml": "limit: 100",
}
